"""SenML JSON packs (RFC 8428): base fields are resolved, exactly, and every numeric record becomes a reading.

    [{"bn": "urn:dev:sn:123:", "bt": 1.7e9, "bu": "kg", "n": "mass", "v": 12.3}, {"n": "tare", "v": 0.4, "t": -5}]

The name (bn + n) ends in the channel, after `/` or `:`; without such an ending the topic's channel is meant. What
stands before is another name of the topic's device; an id (CONTRACTS §1) there must be the topic's device itself.
Times below 2^28 s count from the receipt (RFC 8428 §4.5.3). Units are those of RFC 8428 §12.1 and RFC 8798.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow

from collectors.decoders import Address, Decoded, Example, Found, Profile
from collectors.decoders.records import MAX_RECORDS, is_id, refuse
from collectors.decoders.strictjson import (
    Members,
    NotFinite,
    NumberText,
    UnreadableError,
    Value,
    elements,
    finite,
    kind_of,
    parse,
    shorten,
)
from gateway.metrology.instants import SECOND_NS
from gateway.metrology.readings import READING_FIELDS, Reading, Refusal, Why

__all__ = ["EXAMPLES", "NAME", "Resolved", "decode", "is_pack", "resolve", "resolve_record"]

NAME = "senml"

_VERSION = 10
_RELATIVE_S = 2**28
_LAST = 2**63 - 1

_TEXTS = frozenset({"bn", "bu", "n", "u", "vs", "vd"})
_NUMBERS = frozenset({"bt", "bv", "bs", "bver", "v", "s", "t", "ut"})
_KEYS = _TEXTS | _NUMBERS | {"vb"}
_OURS = frozenset(READING_FIELDS) | {"ts"}
_BASES = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
_TAIL = re.compile(r"(?:(.*)[:/])?([^:/]*)", re.DOTALL)
_DEVICE_URN = re.compile(r"(urn:dev:[a-z]+:[^:/]+)(?:[:/](.*))?", re.DOTALL)
_EXACT = Context(prec=120, traps=[InvalidOperation, Inexact, Overflow])

_UNITS: Mapping[str, str] = {
    "Cel": "°C",
    "l": "L",
    "l/s": "L/s",
    "/100": "%",
    "W/m2": "W/m²",
    "m2": "m²",
    "m3": "m³",
    "m3/s": "m³/s",
}
"""SenML unit names that differ from ours; all others are passed on as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """The base fields in force."""

    name: str = ""
    time: Decimal = Decimal(0)
    unit: str | None = None
    value: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One record with everything of the base in it; `time_s` as sent, perhaps relative to the receipt."""

    name: str
    time_s: Decimal
    unit: str | None
    value: Decimal

    def time(self, received_at: int) -> int:
        """Return the instant in ns; UnreadableError (bad_time) when it is finer than that or out of range."""
        ns = _EXACT.multiply(self.time_s, Decimal(SECOND_NS))
        if abs(ns) >= 10**20 or ns != ns.to_integral_value():
            raise UnreadableError(Why.BAD_TIME, f"the time {shorten(str(self.time_s))} s is out of range or too fine")
        moment = int(ns) + (received_at if self.time_s < _RELATIVE_S else 0)
        if not 0 <= moment <= _LAST:
            raise UnreadableError(Why.BAD_TIME, f"the time {shorten(str(self.time_s))} s is not between 1970 and 2262")
        return moment


def is_pack(records: Sequence[Value]) -> bool:
    """Tell whether an array holds SenML records: its first object has SenML keys and none of ours."""
    members = next((value for value in records if isinstance(value, Members)), None)
    if members is None:
        return False
    keys = {key for key, _ in members}
    return bool(keys & _KEYS) and not keys & {"ts", "time", "value", "unit"}


def decode(payload: bytes, address: Address, source: int, profile: Profile | None, received_at: int) -> Decoded:  # noqa: ARG001
    """Read one SenML pack."""
    try:
        pack = _pack(payload)
    except UnreadableError as error:
        return Decoded(refused=[refuse(error, address, source=source)])
    return resolve(pack, address, source, received_at)


def _pack(payload: bytes) -> list[tuple[Value, bytes]]:
    pack = elements(payload, limit=MAX_RECORDS)
    if pack is None:
        raise UnreadableError(Why.WRONG_TYPE, f"a SenML pack is an array of records, not {kind_of(parse(payload))}")
    return pack


def resolve(pack: Sequence[tuple[Value, bytes]], address: Address, source: int, received_at: int) -> Decoded:
    """Return the readings of parsed records, in order; a record that cannot be read is refused alone.

    A broken base field is refused with its record, and all records after it, which would build on it.
    """
    readings: list[Reading] = []
    refused: list[Refusal] = []
    reader = _Reader(address, source, received_at)
    for index, (value, raw) in enumerate(pack):
        try:
            reading = reader.read(value, index)
        except UnreadableError as error:
            refused.append(refuse(error, address, source=source, record=index, raw=raw))
        else:
            readings += [] if reading is None else [reading]
    if not readings and not refused:
        nothing = UnreadableError(Why.MISSING_FIELD, "the pack only sets base fields: it holds no reading")
        refused.append(refuse(nothing, address, source=source))
    return Decoded(readings=readings, refused=refused, notes=list(reader.notes))


class _Reader:
    """Reads the records of one pack in their order: the base in force, and what the device calls itself."""

    def __init__(self, address: Address, source: int, received_at: int) -> None:
        self.address = address
        self.source = source
        self.received_at = received_at
        self.base: _Base | None = _Base()
        self.alias: str | None = None
        self.notes: dict[str, None] = {}

    def read(self, value: Value, index: int) -> Reading | None:
        """Return the reading of a record, None when it only sets the base."""
        base = self.base
        if base is None:
            raise UnreadableError(Why.MISSING_FIELD, "an earlier record's base fields could not be read")
        self.base = None if _touches_base(value) else base
        fields = _fields(value, self.notes)
        self.base = base = _based(base, fields)
        record = resolve_record(base, fields)
        if record is None:
            return None
        who = _whose(record.name, self.address)
        if who.alias is not None:
            self._expect_one_device(who.alias)
        reading = _reading(record, who, self.source, index, self.received_at)
        if record.time_s < _RELATIVE_S:
            self.notes["times count from the receipt"] = None
        return reading

    def _expect_one_device(self, alias: str) -> None:
        if self.alias is None:
            self.alias = alias
            self.notes[f'the device names itself "{shorten(alias)}"'] = None
        elif alias != self.alias:
            raise UnreadableError(
                Why.IDENTITY_MISMATCH,
                f'the pack names two devices, "{shorten(self.alias)}" and "{shorten(alias)}"',
            )


def _touches_base(value: Value) -> bool:
    return isinstance(value, Members) and any(key in _BASES for key, _ in value)


def _fields(value: Value, notes: dict[str, None]) -> dict[str, Value]:
    """Return the SenML fields of a record, types checked; unknown ones are noted, ours and `…_` are refused."""
    if not isinstance(value, Members):
        raise UnreadableError(Why.WRONG_TYPE, f"a SenML record is an object, not {kind_of(value)}")
    found: dict[str, Value] = {}
    for key, held in value:
        if key in found:
            raise UnreadableError(Why.DUPLICATE_KEY, f'"{shorten(key)}" stands twice')
        if key.endswith("_") or (key in _OURS and key not in _KEYS):
            raise UnreadableError(Why.UNKNOWN_FIELD, f'"{shorten(key)}" is no SenML field; send it as canonical JSON')
        found[key] = held
        if key not in _KEYS and len(notes) < _VERSION:
            notes[f'"{shorten(key)}" is no SenML field and was passed over (RFC 8428 §4.4)'] = None
    for key in found.keys() & _KEYS:
        _expect_type(key, found[key])
    return {key: held for key, held in found.items() if key in _KEYS}


def _expect_type(key: str, held: Value) -> None:
    if isinstance(held, NotFinite):
        raise UnreadableError(Why.NOT_FINITE, f"{key} is {held}; a number must be finite")
    if key == "vb":
        if not isinstance(held, bool):
            raise UnreadableError(Why.WRONG_TYPE, f"{key} is {kind_of(held)}, not true or false")
    elif not isinstance(held, str) or isinstance(held, NumberText) != (key in _NUMBERS):
        wanted = "a number" if key in _NUMBERS else "a text"
        raise UnreadableError(Why.WRONG_TYPE, f"{key} is {kind_of(held)}, not {wanted}")


def _based(base: _Base, fields: Mapping[str, Value]) -> _Base:
    """Return the base as this record changes it."""
    if "bver" in fields and _decimal(fields, "bver") > _VERSION:
        raise UnreadableError(Why.WRONG_TYPE, f"SenML version {fields['bver']} is newer than {_VERSION}, the one known")
    changed: dict[str, object] = {}
    if "bn" in fields:
        changed["name"] = fields["bn"]
    if "bu" in fields:
        changed["unit"] = fields["bu"]
    if "bt" in fields:
        changed["time"] = _decimal(fields, "bt")
    if "bv" in fields:
        changed["value"] = _decimal(fields, "bv")
    return replace(base, **changed) if changed else base  # type: ignore[arg-type]


def resolve_record(base: _Base, fields: Mapping[str, Value]) -> Resolved | None:
    """Return a record with its base added, None when it only sets the base; UnreadableError when it has no number."""
    if "v" not in fields:
        if "bv" in fields and not fields.keys() & {"vs", "vb", "vd", "n", "s"}:
            raise UnreadableError(Why.MISSING_FIELD, '"v" is missing')
        if fields and fields.keys() <= _BASES:
            return None
        other = next((key for key in ("vs", "vb", "vd", "s") if key in fields), None)
        if other is None:
            raise UnreadableError(Why.MISSING_FIELD, '"v" is missing')
        raise UnreadableError(Why.WRONG_TYPE, f'the record has "{other}" and no "v"; a reading is a number')
    name = base.name + _string(fields, "n")
    if name and not _NAME.fullmatch(name):
        raise UnreadableError(Why.WRONG_TYPE, f'the name "{shorten(name)}" is no SenML name (RFC 8428 §4.5.1)')
    value = _decimal(fields, "v")
    return Resolved(
        name=name,
        time_s=_add(base.time, _decimal(fields, "t")) if "t" in fields else base.time,
        unit=_string(fields, "u") or base.unit,
        value=value if base.value is None else _add(base.value, value),
    )


def _string(fields: Mapping[str, Value], key: str) -> str:
    held = fields.get(key, "")
    return held if isinstance(held, str) else ""


def _decimal(fields: Mapping[str, Value], key: str) -> Decimal:
    """Return a number exactly; not_finite beyond what a float holds, wrong_type with more digits than make sense."""
    text = _string(fields, key)
    if finite(text) is None:
        raise UnreadableError(Why.NOT_FINITE, f"{key} is {shorten(text)}, beyond every number we can hold")
    try:
        number = _EXACT.create_decimal(text)
    except DecimalException:
        raise UnreadableError(Why.WRONG_TYPE, f"{key} is {shorten(text)}, a number of more than 120 digits") from None
    return number if number and abs(number.adjusted()) < 400 else Decimal(0)


def _add(a: Decimal, b: Decimal) -> Decimal:
    try:
        return _EXACT.add(a, b)
    except DecimalException:
        return Context(prec=120).add(a, b)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Who:
    device: str
    channel: str
    alias: str | None


def _whose(name: str, address: Address) -> _Who:
    """Return device and channel of a resolved name on a topic, and what else the device calls itself."""
    urn = _DEVICE_URN.fullmatch(name)
    if urn is not None:
        prefix, tail = urn[1], urn[2] or ""
    else:
        parts = _TAIL.fullmatch(name)
        prefix, tail = (parts[1] or "", parts[2]) if parts else ("", name)
        if not prefix and address.device and tail == address.device:
            prefix, tail = tail, ""
    own = re.split(r"[:/]", prefix)[-1]
    is_known = address.device in {prefix, own}
    if prefix and not is_known and is_id(prefix) and address.device:
        raise UnreadableError(
            Why.IDENTITY_MISMATCH, f'the pack speaks of "{shorten(prefix)}", the topic of "{address.device}"'
        )
    device = address.device or (own if is_id(own) else address.device)
    channel = tail or address.channel
    if device is None or channel is None:
        raise UnreadableError(Why.MISSING_FIELD, f'the name "{shorten(name)}" says no device and channel')
    if channel and not is_id(channel):
        raise UnreadableError(Why.IDENTITY_MISMATCH, f'the name "{shorten(name)}" ends in no channel id')
    return _Who(device=device, channel=channel, alias=prefix if prefix and not is_known else None)


def _reading(record: Resolved, who: _Who, source: int, index: int, received_at: int) -> Reading:
    if not record.unit:
        raise UnreadableError(Why.MISSING_FIELD, 'the unit is missing: neither "u" nor "bu" is there')
    value = finite(str(record.value))
    if value is None:
        raise UnreadableError(Why.NOT_FINITE, "the value is beyond every number we can hold")
    return Reading(
        device=who.device, channel=who.channel, time=record.time(received_at), value=value,
        unit=_UNITS.get(record.unit, record.unit), source=source, record=index,
    )  # fmt: skip


_METER = Address(site="van-giang", device="meter-01", channel="voltage")

EXAMPLES = (
    Example(
        title="two channels of one device, the time in the base",
        payload=b'[{"bn":"meter-01:","bt":1276020076.001,"n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","t":-5,"v":1.2}]',
        address=_METER,
        readings=(
            Found(channel="voltage", value=120.1, unit="V", time=1276020076001000000),
            Found(channel="current", value=1.2, unit="A", time=1276020071001000000),
        ),
    ),
    Example(
        title="a record of another device, and one that is no number",
        payload=b'[{"bt":1320078429,"n":"meter-02/voltage","u":"V","v":230},{"n":"voltage","vs":"high"}]',
        address=_METER,
        refused=("identity_mismatch", "wrong_type"),
    ),
)
