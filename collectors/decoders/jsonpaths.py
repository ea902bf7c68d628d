"""JSON of other makers, read as a profile says: which path is which channel, in which unit, and where the time stands.

A path is keys joined by dots (`ENERGY.Power`). A number there is one reading; an array or object of numbers (one per
phase or tariff) is one reading each, the channel's name with `_0`, `_1`, … or the lower-case key behind it. Null says
nothing. `fields` name what else goes into a reading, such as `value_start` and `reference` of a run on a test bench;
`per` divides by a number or by what stands at a path, such as pulses by the meter's constant. A message without any of
the profile's paths is refused. A time without zone is read in the profile's zone; when the profile names none it is
refused, unless the profile says that the receipt counts (the clock is then suspect).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from collectors.decoders import Address, Decoded, Example, Found, Profile, Quantity, TimeField
from collectors.decoders.records import is_id, read_field, refuse
from collectors.decoders.strictjson import (
    Members,
    NotFinite,
    NumberText,
    UnreadableError,
    Value,
    finite,
    first,
    kind_of,
    parse,
    repeated_key,
    shorten,
)
from gateway.metrology.instants import MILLISECOND_NS, SECOND_NS, parse_epoch, parse_rfc3339
from gateway.metrology.readings import Reading, Refusal, Why
from gateway.metrology.units import exact

__all__ = ["EXAMPLES", "NAME", "TIME_FORMATS", "decode"]

NAME = "json-paths"

TIME_FORMATS = ("rfc3339", "local", "epoch_s", "epoch_ms")

_LOCAL = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS = {"epoch_s": SECOND_NS, "epoch_ms": MILLISECOND_NS}
_PER = "per"
_SHORT = 64
_MANY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """One value found: its channel, where it stands, its unit, and (field, path, value) of what goes with it."""

    channel: str
    path: str
    unit: str
    held: Value
    per: str = ""
    beside: tuple[tuple[str, str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    time: int
    is_suspect: bool = False
    note: str | None = None


def decode(payload: bytes, address: Address, source: int, profile: Profile | None, received_at: int) -> Decoded:
    """Read one JSON object as the profile says."""
    if profile is not None and (text := payload.strip()[:_SHORT].decode(errors="replace")) in profile.ignore:
        return Decoded(notes=[f'"{text}" holds no readings'])
    try:
        message, leaves = _found(payload, profile)
        if address.device is None:
            raise UnreadableError(Why.MISSING_FIELD, "the topic names no device")  # noqa: TRY301
        moment = _moment(message, profile, received_at)
    except UnreadableError as error:
        return Decoded(refused=[refuse(error, address, source=source)])
    readings: list[Reading] = []
    refused: list[Refusal] = []
    for index, leaf in enumerate(leaves):
        record = index if len(leaves) > 1 else None
        try:
            readings.append(_reading(leaf, moment, address.device, source, record))
        except UnreadableError as error:
            refused.append(refuse(error, replace(address, channel=leaf.channel), source=source, record=record))
    return Decoded(readings=readings, refused=refused, notes=[moment.note] if moment.note else [])


def _found(payload: bytes, profile: Profile | None) -> tuple[Members, list[_Leaf]]:
    """Return the message without its wrapper and every value the profile names; at least one."""
    if profile is None:
        raise UnreadableError(Why.UNKNOWN_PROFILE, "this decoder reads what a profile describes, and none was given")
    message = parse(payload)
    key = repeated_key(message)
    if key is not None:
        raise UnreadableError(Why.DUPLICATE_KEY, f'"{shorten(key)}" stands twice')
    for wrapper in profile.wrappers:
        inner = first(message, wrapper) if isinstance(message, Members) else None
        message = message if inner is None else inner
    if not isinstance(message, Members):
        raise UnreadableError(Why.WRONG_TYPE, f"the message is {kind_of(message)}, not an object")
    leaves = [leaf for name, quantity in profile.quantities.items() for leaf in _leaves(message, name, quantity)]
    if not leaves:
        paths = ", ".join(quantity.paths[0] for quantity in profile.quantities.values())
        raise UnreadableError(Why.MISSING_FIELD, f"none of the paths of {profile.name} is there: {paths}")
    return message, leaves


def _leaves(message: Members, name: str, quantity: Quantity) -> list[_Leaf]:
    """Return what stands at the first of a quantity's paths that is there; several values get suffixed channels."""
    path, held = next(((p, v) for p in quantity.paths if (v := _at(message, p)) is not None), ("", None))
    parts: list[tuple[str, Value]]
    beside: tuple[tuple[str, str, Value], ...] = tuple(
        (f, p, v) for f, p in quantity.fields.items() if (v := _at(message, p)) is not None
    )
    per = quantity.per
    if per and not _is_number(per):
        beside += ((_PER, per, _at(message, per)),)
    leaf = partial(_Leaf, unit=quantity.unit, per=per, beside=beside)
    if isinstance(held, list):
        parts = [(str(i), v) for i, v in enumerate(held)]
    elif isinstance(held, Members):
        parts = [(k.lower(), v) for k, v in held]
    else:
        return [] if held is None else [leaf(channel=name, path=path, held=held)]
    if len(parts) > _MANY:
        raise UnreadableError(Why.TOO_LARGE, f"{path} holds {len(parts)} values; at most {_MANY} are read")
    return [leaf(channel=f"{name}_{suffix}", path=f"{path}.{suffix}", held=v) for suffix, v in parts if v is not None]


def _at(message: Members, path: str) -> Value:
    held: Value = message
    for key in path.split("."):
        if not isinstance(held, Members):
            return None
        held = first(held, key)
    return held


def _reading(leaf: _Leaf, moment: _Moment, device: str, source: int, record: int | None) -> Reading:
    value = _number(leaf.path, leaf.held)
    if not is_id(leaf.channel):
        raise UnreadableError(
            Why.WRONG_TYPE, f'{leaf.path} has no name that makes a channel: "{shorten(leaf.channel)}"'
        )
    beside: dict[str, Any] = {name: read_field(name, held) for name, _, held in leaf.beside if name != _PER}
    if leaf.per:
        value = _divided(leaf, value)
    return Reading(
        device=device, channel=leaf.channel, time=moment.time, value=value, unit=leaf.unit,
        clock_suspect=moment.is_suspect, source=source, record=record, **beside,
    )  # fmt: skip


def _number(path: str, held: Value) -> float:
    if isinstance(held, NotFinite):
        raise UnreadableError(Why.NOT_FINITE, f"{path} is {held}; a number must be finite")
    if not isinstance(held, NumberText):
        raise UnreadableError(Why.WRONG_TYPE, f"{path} is {kind_of(held)}, not a number")
    value = finite(held)
    if value is None:
        raise UnreadableError(Why.NOT_FINITE, f"{path} is beyond every number we can hold")
    return value


def _divided(leaf: _Leaf, value: float) -> float:
    """Return the value by what it is counted per (METROLOGY §2: W = N/k), as decimals, rounded once."""
    held = next((v for name, _, v in leaf.beside if name == _PER), NumberText(leaf.per))
    if held is None:
        raise UnreadableError(Why.MISSING_FIELD, f"{leaf.per} is missing: {leaf.path} is counted by it")
    per = _number(leaf.per, held)
    if per <= 0.0:
        raise UnreadableError(Why.WRONG_TYPE, f"{leaf.per} is {held}; {leaf.path} can only be counted by more than 0")
    try:
        return float(Fraction(exact(value)) / Fraction(exact(per)))
    except OverflowError:
        raise UnreadableError(Why.NOT_FINITE, f"{leaf.path} by {leaf.per} is beyond every number we can hold") from None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _moment(message: Members, profile: Profile | None, received_at: int) -> _Moment:
    field = profile.time if profile else None
    held = _at(message, field.path) if field else None
    if field is None or held is None:
        return _Moment(time=received_at, note="the message has no time; the receipt counts")
    if (
        isinstance(held, NotFinite)
        or not isinstance(held, str)
        or isinstance(held, NumberText) != (field.format in _EPOCHS)
    ):
        raise UnreadableError(Why.BAD_TIME, f"{field.path} is {kind_of(held)}, not a time as {field.format}")
    try:
        return _read_time(held, field, profile.timezone if profile else None, received_at)
    except ValueError as error:
        raise UnreadableError(Why.BAD_TIME, f"{field.path}: {error}") from None


def _read_time(text: str, field: TimeField, zone: ZoneInfo | None, received_at: int) -> _Moment:
    """Return the time of a text in a profile's format; ValueError when it is none."""
    if field.format in _EPOCHS:
        return _Moment(time=parse_epoch(text, _EPOCHS[field.format]))
    local = _LOCAL.fullmatch(text) if field.format == "local" else None
    if local is None:
        return _Moment(time=parse_rfc3339(text))
    parse_rfc3339(text + "Z")
    if zone is None and not field.or_receipt:
        raise ValueError(f"{text!r} has no zone, and the profile names no timezone")
    if zone is None:
        note = f"{field.path} has no zone and the profile names no timezone; the receipt counts"
        return _Moment(time=received_at, is_suspect=True, note=note)
    return _in_zone(local[1], local[2] or "", zone)


def _in_zone(text: str, fraction: str, zone: ZoneInfo) -> _Moment:
    """Return a local time as an instant; suspect in the hour that comes twice, ValueError in the one left out."""
    wall = datetime.fromisoformat(text)
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early.astimezone(zone).replace(tzinfo=None) != wall:
        raise ValueError(f"{text} does not exist in {zone.key}")
    passed = early - _EPOCH
    time = (passed.days * 86400 + passed.seconds) * SECOND_NS + int(fraction.ljust(9, "0"))
    if early != late:
        return _Moment(time=time, is_suspect=True, note=f"{text} comes twice in {zone.key}; the earlier one is taken")
    return _Moment(time=time)


_PLUG = Profile(
    name="example-plug",
    decoder=NAME,
    wrappers=("StatusSNS",),
    ignore=("Online", "Offline"),
    time=TimeField(path="Time", format="rfc3339"),
    quantities={
        "active_energy": Quantity(paths=("ENERGY.Total",), unit="kWh", type="register"),
        "power": Quantity(paths=("ENERGY.Power",), unit="W"),
    },
)
_BENCH = Profile(
    name="example-bench",
    decoder=NAME,
    time=TimeField(path="ts", format="epoch_ms"),
    quantities={
        "volume": Quantity(
            paths=("V2",),
            unit="L",
            type="register",
            fields={"value_start": "V1", "reference": "Vc2", "reference_start": "Vc1", "power_factor": "pf"},
        ),
        "active_energy": Quantity(paths=("N",), unit="kWh", type="run", per="k", fields={"reference": "Wref"}),
    },
)
_ADDRESS = Address(device="plug-1")
_AT = 1772409600 * SECOND_NS

EXAMPLES = (
    Example(
        title="two quantities, one of them by phase",
        payload=b'{"StatusSNS":{"Time":"2026-03-02T00:00:00Z","ENERGY":{"Total":0.017,"Power":[8.15,0]}}}',
        address=_ADDRESS,
        profile=_PLUG,
        readings=(
            Found(channel="active_energy", value=0.017, unit="kWh", time=_AT),
            Found(channel="power_0", value=8.15, unit="W", time=_AT),
            Found(channel="power_1", value=0.0, unit="W", time=_AT),
        ),
    ),
    Example(
        title="a text where a number belongs",
        payload=b'{"Time":"2026-03-02T00:00:00Z","ENERGY":{"Total":0.017,"Power":"n/a"}}',
        address=_ADDRESS,
        profile=_PLUG,
        readings=(Found(channel="active_energy", value=0.017, unit="kWh", time=_AT),),
        refused=("wrong_type",),
    ),
    Example(
        title="a run on a water bench",
        payload=b'{"ts":1772409600000,"V1":100.2,"V2":110.3,"Vc1":50,"Vc2":60}',
        address=_ADDRESS,
        profile=_BENCH,
        readings=(Found(channel="volume", value=110.3, unit="L", time=_AT),),
    ),
    Example(
        title="pulses by the meter's constant",
        payload=b'{"ts":1772409600000,"N":1000,"k":3200,"Wref":0.312}',
        address=_ADDRESS,
        profile=_BENCH,
        readings=(Found(channel="active_energy", value=0.3125, unit="kWh", time=_AT),),
    ),
    Example(
        title="pulses without the constant, and a field that cannot be read",
        payload=b'{"ts":1772409600000,"N":1000,"V2":110.3,"pf":0.5}',
        address=_ADDRESS,
        profile=_BENCH,
        refused=("wrong_type", "missing_field"),
    ),
    Example(title="a sign of life", payload=b"Online", address=_ADDRESS, profile=_PLUG),
    Example(
        title="none of the quantities",
        payload=b'{"DHT11":{"Temperature":21.5}}',
        address=_ADDRESS,
        profile=_PLUG,
        refused=("missing_field",),
    ),
)
