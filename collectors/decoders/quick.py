"""Records read by msgspec, where it can prove them right; what it cannot is read field by field (`records`).

Repeated keys are found by counting: without escapes, a payload has as many quotes as what was kept has when it is
written again; a repeated key leaves more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec.structs import astuple

from collectors.decoders import Address
from collectors.decoders.records import (
    MAX_RECORDS,
    MAX_SEQ,
    MAX_TEXT,
    is_id,
    read_power_factor,
    read_rfc3339,
    read_time_in_file,
)
from collectors.decoders.strictjson import MAX_BYTES, UnreadableError
from gateway.metrology.instants import MILLISECOND_NS
from gateway.metrology.readings import Reading

__all__ = ["quick_line", "quick_objects", "quick_readings"]

_MAX_BOOT = 10**39
_MAX_MS = 9 * 10**12
_MS_DIGITS = 13
_NS_DIGITS = 6
_HEAD = 24
"""A point in so many first bytes is a fraction of the time, where that is written first."""

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Sequence = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
_Uncertainty = Annotated[float, msgspec.Meta(ge=0)]
_Evidence = Literal["check_weight", "reference_meter", "zero", "no_load", "self_test", "repeat_object"]


class _OnMqtt(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    ts: int | _Text
    value: float
    unit: _Text
    seq: _Sequence | None = None
    boot: int | _Text | None = None
    reference: float | None = None
    reference_u: _Uncertainty | None = None
    standard: _Text | None = None
    device: _Text | None = None
    channel: _Text | None = None
    flow_m3h: float | None = None
    current_A: float | None = None
    power_factor: float | _Text | None = None
    x: float | None = None
    value_start: float | None = None
    reference_start: float | None = None
    stable: bool | None = None
    phase: _Text | None = None
    direction: _Text | None = None
    temperature_C: float | None = None
    evidence: _Evidence | None = None


class _InFile(_OnMqtt, forbid_unknown_fields=True, omit_defaults=True, gc=False, rename={"ts": "time"}):
    ts: msgspec.Raw  # type: ignore[assignment]  # the number's text, which a float would lose


class _ByText(_OnMqtt, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    ts: msgspec.Raw  # type: ignore[assignment]  # a fraction of a millisecond, which a float would lose


_Presence: Any = msgspec.defstruct(
    "_Presence",
    [(name, Any | msgspec.UnsetType, msgspec.UNSET) for name in [*_OnMqtt.__struct_fields__, "time"]],
    gc=False,
)
_OPENINGS = frozenset({b"[", b"{"})
_COMMON = 10
_RARE = 13
_NOTHING_RARE = (None,) * (len(_OnMqtt.__struct_fields__) - _RARE)
_ONE = msgspec.json.Decoder(_OnMqtt)
_PACK = msgspec.json.Decoder(list[_OnMqtt])
_ONE_BY_TEXT = msgspec.json.Decoder(_ByText)
_PACK_BY_TEXT = msgspec.json.Decoder(list[_ByText])
_LINE = msgspec.json.Decoder(_InFile)
_write = msgspec.json.Encoder().encode
_ONE_PRESENT: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Presence)
_PACK_PRESENT: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[_Presence])
_NOT_PROVEN = (msgspec.DecodeError, ValueError, UnreadableError, RecursionError)


def quick_readings(payload: bytes, address: Address, source: int, only: int | None = None) -> list[Reading] | None:
    """Return the readings of an object or an array if every record can be proven right, else None.

    `only` is the index of the record when the payload is one record of a pack.
    """
    if len(payload) > MAX_BYTES or b"\\" in payload:
        return None
    opening = payload[:1] if payload[:1] in _OPENINGS else payload.lstrip()[:1]
    is_pack = opening == b"["
    if is_pack and only is not None:
        return None
    try:
        records = _records(payload, is_pack=is_pack, has_fractions=b"." in payload[:_HEAD])
        if not 0 < len(records) <= MAX_RECORDS:
            return None
        readings = []
        for index, record in enumerate(records):
            fields = astuple(record)
            readings.append(_reading(fields, _time(fields[0]), address, source, index if is_pack else only))
    except _NOT_PROVEN:
        return None
    quotes = _write(records).count(b'"')
    if b"null" in payload:
        quotes += 2 * _nulls(_PACK_PRESENT.decode(payload) if is_pack else [_ONE_PRESENT.decode(payload)])
    return readings if payload.count(b'"') == quotes else None


def quick_objects(payloads: Sequence[bytes], addresses: Sequence[Address], first: int) -> list[Reading] | None:
    """Return the readings of payloads that are one object each, if all can be proven right together, else None.

    They are read as one array. Each begins and ends with a brace outside any text (an even number of quotes, no
    escapes), and what was read has no inner braces; so each payload holds an object at least, and where there are as
    many objects as payloads, exactly its own.
    """
    joined = b",".join(payloads)
    if b"\\" in joined or b"null" in joined or max(map(len, payloads)) > MAX_BYTES:
        return None
    if any(p[:1] != b"{" or p[-1:] != b"}" or p.count(b'"') & 1 for p in payloads):
        return None
    try:
        records = _records(b"[%b]" % joined, is_pack=True, has_fractions=b"." in payloads[0][:_HEAD])
        if len(records) != len(payloads):
            return None
        fields = [astuple(record) for record in records]
        readings = [
            _reading(f, _time(f[0]), address, source, None)
            for source, (f, address) in enumerate(zip(fields, addresses, strict=True), start=first)
        ]
    except _NOT_PROVEN:
        return None
    return readings if joined.count(b'"') == _write(records).count(b'"') else None


def _records(payload: bytes, *, is_pack: bool, has_fractions: bool = False) -> Sequence[_OnMqtt]:
    """Return the records of a payload; their times as numbers or text, or where one has a fraction as it is written.

    `has_fractions` is a guess at the latter, which saves a vain try.
    """
    if has_fractions:
        return _PACK_BY_TEXT.decode(payload) if is_pack else [_ONE_BY_TEXT.decode(payload)]
    try:
        return _PACK.decode(payload) if is_pack else [_ONE.decode(payload)]
    except msgspec.ValidationError:
        return _PACK_BY_TEXT.decode(payload) if is_pack else [_ONE_BY_TEXT.decode(payload)]


def _time(ts: object) -> int:
    """Return the instant in ns of what stands as `ts`: milliseconds, or RFC 3339."""
    if type(ts) is int:
        return ts * MILLISECOND_NS if 0 <= ts < _MAX_MS else _closer()
    if type(ts) is str:
        return read_rfc3339(ts)
    text = bytes(ts).decode()  # type: ignore[call-overload]  # msgspec.Raw
    if text[:1] == '"':
        return read_rfc3339(text[1:-1])
    whole, _, fraction = text.partition(".")
    if not (text.isascii() and whole.isdigit() and len(whole) <= _MS_DIGITS and len(fraction) <= _NS_DIGITS):
        _closer()
    if int(whole) >= _MAX_MS or (fraction and not fraction.isdigit()):
        _closer()
    nanoseconds: int = int(fraction.ljust(_NS_DIGITS, "0"))
    return int(whole) * MILLISECOND_NS + nanoseconds


def quick_line(line: bytes, address: Address, source: int, number: int) -> Reading | None:
    """Return the reading of one line of a recorded file if it can be proven right, else None."""
    if len(line) > MAX_BYTES or b"\\" in line:
        return None
    try:
        record = _LINE.decode(line)
        fields = astuple(record)
        time = bytes(fields[0]).decode()
        is_text = time[:1] == '"'
        if not is_text and time[:1] not in _DIGITS:
            return None
        reading = _reading(fields, read_time_in_file(time[1:-1] if is_text else time), address, source, number)
    except _NOT_PROVEN:
        return None
    nulls = _nulls([_ONE_PRESENT.decode(line)]) if b"null" in line else 0
    return reading if line.count(b'"') == _write(record).count(b'"') + 2 * nulls else None


_DIGITS = frozenset("0123456789")


def _nulls(records: list[Any]) -> int:
    """Return how many fields of some records are there and null."""
    return sum(astuple(record).count(None) for record in records)


def _reading(fields: tuple[Any, ...], time: int, address: Address, source: int, record: int | None) -> Reading:
    """Return the reading of one record's fields; an error where a closer look is needed."""
    _, value, unit, seq, boot, reference, reference_u, standard, device, channel = fields[:_COMMON]
    device = address.device if device is None else _same_id(device, address.device)
    channel = address.channel if channel is None else _same_id(channel, address.channel)
    if device is None or channel is None or (standard is not None and not is_id(standard)):
        _closer()
    if type(boot) is int:
        boot = str(boot) if -_MAX_BOOT < boot < _MAX_BOOT else _closer()
    flow, current, power_factor = fields[_COMMON:_RARE]
    if power_factor is not None and power_factor != 1.0:
        power_factor = read_power_factor(power_factor) if type(power_factor) is str else _closer()
    rare = fields[_RARE:]
    if rare == _NOTHING_RARE:  # up to 15 keywords a call is three times as fast
        return Reading(
            device=device, channel=channel, time=time, value=value, unit=unit, reference=reference,
            reference_u=reference_u, standard=standard, seq=seq, boot=boot, flow_m3h=flow, current_A=current,
            power_factor=power_factor, source=source, record=record,
        )  # fmt: skip
    x, value_start, reference_start, stable, phase, direction, temperature, evidence = rare
    return Reading(
        device=device, channel=channel, time=time, value=value, unit=unit, reference=reference, reference_u=reference_u,
        standard=standard, x=x, value_start=value_start, reference_start=reference_start, seq=seq, boot=boot,
        stable=stable, flow_m3h=flow, current_A=current, power_factor=power_factor, phase=phase, direction=direction,
        temperature_C=temperature, evidence=evidence, source=source, record=record,
    )  # fmt: skip


def _same_id(said: str, expected: str | None) -> str | None:
    """Return what the payload says if it is an id that the topic does not contradict, else None."""
    if expected:
        return said if said == expected else None
    return said if is_id(said) else None


def _closer() -> NoReturn:
    raise ValueError("a closer look is needed")
