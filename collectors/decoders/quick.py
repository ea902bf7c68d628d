"""Records read by msgspec, many at once, where it can prove them right; what it cannot is read one by one (`records`).

Repeated keys are found by counting: without escapes, a payload has two quotes for each key and each text that was kept
of it; a repeated key leaves more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import UNSET, UnsetType
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
from gateway.metrology.readings import Readings

__all__ = ["quick_lines", "quick_objects", "quick_readings"]

_MAX_BOOT = 10**39
_MAX_NS = 9 * 10**18
_SCALE = (10**6, 10**5, 10**4, 10**3, 10**2, 10, 1)
"""What milliseconds with so many decimals are multiplied by, once they are written without the point."""

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Sequence = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
_Uncertainty = Annotated[float, msgspec.Meta(ge=0)]
_Evidence = Literal["check_weight", "reference_meter", "zero", "no_load", "self_test", "repeat_object"]


class _Usual(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly all records are made of: fewer fields are sooner looked through."""

    ts: msgspec.Raw  # the number's text: a float would lose a fraction of a millisecond
    value: float
    unit: _Text
    reference: float | UnsetType | None = UNSET
    reference_u: _Uncertainty | UnsetType | None = UNSET
    seq: _Sequence | UnsetType | None = UNSET
    boot: int | _Text | UnsetType | None = UNSET


class _Record(_Usual, forbid_unknown_fields=True, gc=False):
    device: _Text | UnsetType | None = UNSET
    channel: _Text | UnsetType | None = UNSET
    standard: _Text | UnsetType | None = UNSET
    x: float | UnsetType | None = UNSET
    value_start: float | UnsetType | None = UNSET
    reference_start: float | UnsetType | None = UNSET
    stable: bool | UnsetType | None = UNSET
    flow_m3h: float | UnsetType | None = UNSET
    current_A: float | UnsetType | None = UNSET
    power_factor: float | _Text | UnsetType | None = UNSET
    phase: _Text | UnsetType | None = UNSET
    direction: _Text | UnsetType | None = UNSET
    temperature_C: float | UnsetType | None = UNSET
    evidence: _Evidence | UnsetType | None = UNSET


class _Line(_Record, forbid_unknown_fields=True, gc=False, rename={"ts": "time"}):
    ts: msgspec.Raw


_ON_MQTT = (msgspec.json.Decoder(list[_Usual]), msgspec.json.Decoder(list[_Record]))
_IN_FILES = (msgspec.json.Decoder(list[_Line]),)
_INTEGERS = msgspec.json.Decoder(list[int])
_NEEDED = 3
_TEXTS = frozenset({"device", "channel", "standard", "boot", "power_factor", "phase", "direction", "evidence"})
_NOT_PROVEN = (msgspec.DecodeError, ValueError, IndexError, UnreadableError, RecursionError)
_Instants = Callable[[bytes, int], list[int]]


def quick_readings(payload: bytes, address: Address, source: int, only: int | None = None) -> Readings | None:
    """Return the readings of an object or an array if every record can be proven right, else None.

    `only` is the index of the record when the payload is one record of a pack.
    """
    is_pack = payload.lstrip()[:1] == b"["
    if len(payload) > MAX_BYTES or (is_pack and only is not None):
        return None
    records = _records(_ON_MQTT, payload if is_pack else b"[%b]" % payload)
    n = len(records)
    if not 0 < n <= (MAX_RECORDS if is_pack else 1):
        return None
    numbers = range(n) if is_pack else None if only is None else [only]
    return _proven(records, payload, [address] * n, [source] * n, numbers, _on_mqtt)


def quick_objects(payloads: Sequence[bytes], addresses: Sequence[Address], first: int) -> Readings | None:
    """Return the readings of payloads that are one object each, if all can be proven right together, else None."""
    n, joined = len(payloads), _joined(payloads)
    records = _records(_ON_MQTT, b"[%b]" % joined)
    if len(records) != n:
        return None
    return _proven(records, joined, addresses, range(first, first + n), None, _on_mqtt)


def quick_lines(lines: Sequence[bytes], address: Address, source: int, numbers: Sequence[int]) -> Readings | None:
    """Return the readings of lines of a recorded file if all can be proven right together, else None."""
    n, joined = len(lines), _joined([line.strip(b" \t\r\n") for line in lines])
    records = _records(_IN_FILES, b"[%b]" % joined)
    if len(records) != n:
        return None
    return _proven(records, joined, [address] * n, [source] * n, numbers, _in_file)


def _joined(payloads: Sequence[bytes]) -> bytes:
    r"""Return payloads as the inside of an array, empty unless each can only be its own object there.

    JSON has no bare \r inside a text. So where every one stands in `},\r{`, these braces are outside of texts as well;
    and what is read has no inner braces: each payload holds an object at least, and where there are as many objects as
    payloads, exactly its own.
    """
    between = len(payloads) - 1
    joined = b",\r".join(payloads)
    is_apart = not between or joined.count(b"\r") == between == joined.count(b"},\r{")
    is_small = len(joined) <= MAX_BYTES or max(map(len, payloads)) <= MAX_BYTES
    return joined if is_apart and is_small else b""


def _records(decoders: Sequence[msgspec.json.Decoder[Any]], array: bytes) -> Sequence[_Usual]:
    """Return the records of an array as the first of decoders that can reads them; none where it has escapes."""
    for decoder in () if b"\\" in array else decoders:
        with suppress(*_NOT_PROVEN):
            records: Sequence[_Usual] = decoder.decode(array)
            return records
    return ()


def _proven(
    records: Sequence[_Usual],
    written: bytes,
    addresses: Sequence[Address],
    sources: Sequence[int],
    numbers: Sequence[int] | None,
    instants: _Instants,
) -> Readings | None:
    """Return the readings of records, None where one needs a closer look; `numbers`: their places in a pack or file."""
    n = len(records)
    ts, value, unit, *rest = zip(*map(astuple, records), strict=True)
    times = b",".join(ts)
    columns: dict[str, Sequence[Any]] = {"value": value, "unit": unit, "source": sources}
    if numbers is not None:
        columns["record"] = numbers
    kept = (_NEEDED + 1) * n
    for name, column in zip(records[0].__struct_fields__[_NEEDED:], rest, strict=True):
        present = n - column.count(UNSET)
        if present:
            kept += present + (list(map(type, column)).count(str) if name in _TEXTS else 0)
            columns[name] = column if present == n else [None if v is UNSET else v for v in column]
    if written.count(b'"') != 2 * kept + times.count(b'"'):
        return None
    try:
        columns["time"] = instants(times, n)
        columns["device"] = _ids(columns.get("device"), [a.device for a in addresses])
        columns["channel"] = _ids(columns.get("channel"), [a.channel for a in addresses])
        for name in columns.keys() & _READERS.keys():
            columns[name] = _READERS[name](columns[name])
    except _NOT_PROVEN:
        return None
    return Readings(columns)


def _on_mqtt(written: bytes, n: int) -> list[int]:
    """Return `n` instants in ns, written with commas between: milliseconds, or RFC 3339."""
    marks, width = written.translate(None, b"0123456789"), (len(written) + 1) // n
    point = written.find(b".")
    if marks == b"," * (n - 1):
        times = [t * MILLISECOND_NS for t in _INTEGERS.decode(b"[%b]" % written)]
    elif (
        marks == (b".," * n)[:-1]
        and written[point::width] == b"." * n
        and written[width - 1 :: width] == b"," * (n - 1)
    ):
        scale = _SCALE[width - point - 2]
        times = [t * scale for t in _INTEGERS.decode(b"[%b]" % written.replace(b".", b""))]
    else:
        times = [_instant(text) for text in written.decode().split(",")]
    return times if len(times) == n and min(times) >= 0 and max(times) < _MAX_NS else _closer()


def _instant(text: str) -> int:
    if text[:1] == '"':
        return read_rfc3339(text[1:-1])
    whole, _, fraction = text.partition(".")
    return int(whole + fraction) * _SCALE[len(fraction)]


def _in_file(written: bytes, n: int) -> list[int]:
    """Return `n` instants in ns, written with commas between: seconds, or RFC 3339."""
    texts = written.decode().split(",")
    return [read_time_in_file(t[1:-1] if t[:1] == '"' else t) for t in texts] if len(texts) == n else _closer()


def _ids(said: Sequence[str | None] | None, expected: Sequence[str | None]) -> Sequence[str | None]:
    """Return the ids that payloads say, or else topics; an error where they contradict each other or there is none."""
    found = expected if said is None else [e if s is None else _same(s, e) for s, e in zip(said, expected, strict=True)]
    return _closer() if None in found else found


def _same(said: str, expected: str | None) -> str:
    return said if (said == expected if expected else is_id(said)) else _closer()


def _standards(said: Sequence[str | None]) -> Sequence[str | None]:
    return said if all(s is None or is_id(s) for s in said) else _closer()


def _boots(said: Sequence[int | str | None]) -> Sequence[Any]:
    return [_boot(s) if isinstance(s, int) else s for s in said] if int in map(type, said) else said


def _boot(said: int) -> str:
    return str(said) if -_MAX_BOOT < said < _MAX_BOOT else _closer()


def _power_factors(said: Sequence[float | str | None]) -> Sequence[float | None]:
    return [read_power_factor(s) if isinstance(s, str) else s if s in {None, 1.0} else _closer() for s in said]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "standard": _standards,
    "boot": _boots,
    "power_factor": _power_factors,
}


def _closer() -> NoReturn:
    raise ValueError("a closer look is needed")
