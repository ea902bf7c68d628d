"""JSON of other makers, read as a profile says: which path is which channel, in which unit, and where the time stands.

A path is keys joined by dots (`ENERGY.Power`). A number there is one reading; an array or object of numbers (one per
phase or tariff) is one reading each, the channel's name with `_0`, `_1`, … or the lower-case key behind it. Null says
nothing. A message without any of the profile's paths is refused. A time without zone is read in the profile's zone;
when the profile names none it is refused, unless the profile says that the receipt counts (the clock is then suspect).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from collectors.decoders import Address, Decoded, Example, Found, Profile, Quantity, TimeField
from collectors.decoders.records import is_id, refuse
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

__all__ = ["EXAMPLES", "NAME", "TIME_FORMATS", "decode"]

NAME = "json-paths"

TIME_FORMATS = ("rfc3339", "local", "epoch_s", "epoch_ms")

_LOCAL = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS = {"epoch_s": SECOND_NS, "epoch_ms": MILLISECOND_NS}
_SHORT = 64
_MANY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """One value found: the channel it is for, where it stands, and its unit."""

    channel: str
    path: str
    unit: str
    held: Value


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
    if isinstance(held, list):
        parts = [(str(i), v) for i, v in enumerate(held)]
    elif isinstance(held, Members):
        parts = [(k.lower(), v) for k, v in held]
    else:
        return [] if held is None else [_Leaf(channel=name, path=path, unit=quantity.unit, held=held)]
    if len(parts) > _MANY:
        raise UnreadableError(Why.TOO_LARGE, f"{path} holds {len(parts)} values; at most {_MANY} are read")
    return [
        _Leaf(channel=f"{name}_{suffix}", path=f"{path}.{suffix}", unit=quantity.unit, held=v)
        for suffix, v in parts
        if v is not None
    ]


def _at(message: Members, path: str) -> Value:
    held: Value = message
    for key in path.split("."):
        if not isinstance(held, Members):
            return None
        held = first(held, key)
    return held


def _reading(leaf: _Leaf, moment: _Moment, device: str, source: int, record: int | None) -> Reading:
    if isinstance(leaf.held, NotFinite):
        raise UnreadableError(Why.NOT_FINITE, f"{leaf.path} is {leaf.held}; a number must be finite")
    if not isinstance(leaf.held, NumberText):
        raise UnreadableError(Why.WRONG_TYPE, f"{leaf.path} is {kind_of(leaf.held)}, not a number")
    value = finite(leaf.held)
    if value is None:
        raise UnreadableError(Why.NOT_FINITE, f"{leaf.path} is beyond every number we can hold")
    if not is_id(leaf.channel):
        raise UnreadableError(
            Why.WRONG_TYPE, f'{leaf.path} has no name that makes a channel: "{shorten(leaf.channel)}"'
        )
    return Reading(
        device=device, channel=leaf.channel, time=moment.time, value=value, unit=leaf.unit,
        clock_suspect=moment.is_suspect, source=source, record=record,
    )  # fmt: skip


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
    Example(title="a sign of life", payload=b"Online", address=_ADDRESS, profile=_PLUG),
    Example(
        title="none of the quantities",
        payload=b'{"DHT11":{"Temperature":21.5}}',
        address=_ADDRESS,
        profile=_PLUG,
        refused=("missing_field",),
    ),
)
