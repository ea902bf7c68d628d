"""The fields of a reading on the wire and in files (CONTRACTS §3): what each may hold, and how one record is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from collectors.decoders import Address
from collectors.decoders.strictjson import (
    Members,
    NotFinite,
    NumberText,
    UnreadableError,
    Value,
    finite,
    kind_of,
    shorten,
)
from gateway.metrology.instants import MILLISECOND_NS, SECOND_NS, parse_epoch, parse_rfc3339
from gateway.metrology.readings import EVIDENCE, READING_FIELDS, Reading, Refusal, Why, power_factor_text

__all__ = [
    "FIELDS", "IN_FILES", "LAST_NS", "MAX_RECORDS", "MAX_SEQ", "MAX_TEXT", "NUMBERS", "ON_MQTT", "Form", "is_id",
    "power_factor_text", "read_field", "read_power_factor", "read_record", "read_rfc3339", "read_time_in_file",
    "refuse", "unknown",
]  # fmt: skip

MAX_SEQ = 2**63 - 1
MAX_TEXT = 256
"""Characters of a text field."""

MAX_RECORDS = 10_000
"""The most records one pack may hold."""

NUMBERS = (
    "value", "reference", "reference_u", "x", "value_start", "reference_start", "flow_m3h", "current_A",
    "temperature_C",
)  # fmt: skip
"""The fields that are plain numbers."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_INTEGER = re.compile(r"-?[0-9]{1,39}")
_DECIMAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_POWER_FACTOR = re.compile(r"(1(?:\.0*)?|0(?:\.[0-9]{1,15})?)([ic]?)")

LAST_NS = 2**63 - 1
"""The last instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a record is written: the name of its time, and the unit an epoch counts."""

    time: str
    epoch_ns: int
    fields: tuple[str, ...]


ON_MQTT = Form(time="ts", epoch_ns=MILLISECOND_NS, fields=tuple("ts" if n == "time" else n for n in READING_FIELDS))
IN_FILES = Form(time="time", epoch_ns=SECOND_NS, fields=READING_FIELDS)


@lru_cache(maxsize=65536)
def is_id(text: str) -> bool:
    """Tell whether a text is an id (CONTRACTS §1)."""
    return _ID.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _minute(head: str, zone: str) -> int:
    return parse_rfc3339(f"{head}00{zone}")


_SECONDS = {f"{s:02d}": s * SECOND_NS for s in range(60)}


def read_rfc3339(text: str) -> int:
    """Return the instant in ns as `parse_rfc3339` does, the minute being looked up; ValueError otherwise."""
    end = len(text) - (1 if text[-1:] in {"Z", "z"} else 6)
    second, fraction = _SECONDS.get(text[17:19]), text[20:end]
    if second is None or end < 19:
        return parse_rfc3339(text)
    if end > 19:
        if text[19] != "." or len(fraction) > 9 or not (fraction.isascii() and fraction.isdigit()):
            return parse_rfc3339(text)
        second += int(fraction) * 10 ** (9 - len(fraction))
    moment = _minute(text[:17], text[end:]) + second
    return moment if moment <= LAST_NS else parse_rfc3339(text)


def read_time_in_file(text: str) -> int:
    """Return the instant in ns of RFC 3339 text or epoch seconds, quickly; ValueError otherwise."""
    if text[4:5] == "-":
        return read_rfc3339(text)
    seconds, _, fraction = text.partition(".")
    if not (text.isascii() and seconds.isdigit() and len(seconds) <= 11 and len(fraction) <= 9):
        return parse_epoch(text, SECOND_NS)
    if not fraction:
        return parse_epoch(text, SECOND_NS) if "." in text else _bounded(int(seconds) * SECOND_NS, text)
    if not fraction.isdigit():
        return parse_epoch(text, SECOND_NS)
    return _bounded(int(seconds) * SECOND_NS + int(fraction) * 10 ** (9 - len(fraction)), text)


def _bounded(moment: int, text: str) -> int:
    return moment if moment <= LAST_NS else parse_epoch(text, SECOND_NS)


@lru_cache(maxsize=1024)
def read_power_factor(text: str) -> float:
    """Return the signed power factor of `1`, `0.5i` (positive) or `0.8c` (negative); UnreadableError otherwise."""
    found = _POWER_FACTOR.fullmatch(text)
    if found is None or (not found[2] and float(found[1]) != 1.0):
        raise UnreadableError(
            Why.WRONG_TYPE, f'power_factor "{shorten(text)}" is none; write 1, 0.5i (inductive) or 0.8c (capacitive)'
        )
    return -float(found[1]) if found[2] == "c" else float(found[1])


def read_record(
    value: Value, address: Address, form: Form, *, source: int = 0, record: int | None = None, hints: bool = True
) -> Reading:
    """Return the reading one record holds; UnreadableError names the reason.

    `hints` off leaves out the nearest name of an unknown field (it costs a comparison with every name).
    """
    if not isinstance(value, Members):
        raise UnreadableError(Why.WRONG_TYPE, f"a reading is an object, not {kind_of(value)}")
    found = _fields(value, form, hints=hints)
    device = _identity("device", found.pop("device", None), address.device)
    channel = _identity("channel", found.pop("channel", None), address.channel)
    moment = _instant(found.pop(form.time), form)
    read: dict[str, Any] = {name: _READERS[name](name, held) for name, held in found.items()}
    return Reading(device=device, channel=channel, time=moment, source=source, record=record, **read)


def read_field(name: str, held: Value) -> object:
    """Return what a field of a reading holds, any of `FIELDS`; UnreadableError names the reason."""
    return _READERS[name](name, held)


def refuse(
    error: UnreadableError, address: Address, *, source: int, record: int | None = None, raw: bytes | None = None
) -> Refusal:
    """Return the refusal of a message or record for a reason."""
    return Refusal(
        reason=error.why, detail=error.detail, device=address.device or None, channel=address.channel or None,
        source=source, record=record, raw=raw,
    )  # fmt: skip


def _fields(members: Members, form: Form, *, hints: bool) -> dict[str, Value]:
    """Return the fields that are present and not null; UnreadableError on a repeated, unknown or missing one."""
    found: dict[str, Value] = {}
    for name, held in members:
        if name in found:
            raise UnreadableError(Why.DUPLICATE_KEY, f'"{shorten(name)}" stands twice')
        found[name] = held
    names = form.fields
    for name in found:
        if name not in names:
            raise UnreadableError(Why.UNKNOWN_FIELD, unknown(name, names, hints=hints))
    present: dict[str, Value] = {name: held for name, held in found.items() if held is not None}
    for name in (form.time, "value", "unit"):
        if name not in present:
            raise UnreadableError(Why.MISSING_FIELD, f'"{name}" is missing')
    return present


def unknown(name: str, names: tuple[str, ...], *, hints: bool = True) -> str:
    """Say that a field is unknown, and which known one it resembles."""
    said = f'"{shorten(name)}" is no field of a reading'
    other = {"ts": "time", "time": "ts", "timestamp": "ts" if "ts" in names else "time"}.get(name)
    if other not in names:
        nearest = difflib.get_close_matches(name[:32], names, n=1) if hints else []
        other = nearest[0] if nearest else None
    return f'{said}; did you mean "{other}"?' if other else said


def _identity(name: str, held: Value, said: str | None) -> str:
    if held is None:
        if said is None:
            raise UnreadableError(Why.MISSING_FIELD, f'"{name}" is missing')
        return said
    text = _text(name, held)
    if said and text != said:
        raise UnreadableError(Why.IDENTITY_MISMATCH, f'the payload says {name} "{shorten(text)}", the topic "{said}"')
    if not is_id(text):
        raise UnreadableError(
            Why.WRONG_TYPE, f'{name} "{shorten(text)}" is no id; an id is [a-z0-9][a-z0-9._-]{{0,63}}'
        )
    return text


def _instant(held: Value, form: Form) -> int:
    if isinstance(held, NotFinite) or not isinstance(held, str):
        raise UnreadableError(Why.WRONG_TYPE, f"{form.time} is {kind_of(held)}, not a time")
    try:
        if isinstance(held, NumberText) or _DECIMAL.fullmatch(held):
            return parse_epoch(held, form.epoch_ns)
        return parse_rfc3339(held)
    except ValueError as error:
        raise UnreadableError(Why.BAD_TIME, f"{form.time}: {error}") from None


def _number(name: str, held: Value) -> float:
    if isinstance(held, NotFinite):
        raise UnreadableError(Why.NOT_FINITE, f"{name} is {held}; a number must be finite")
    if not isinstance(held, NumberText):
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}, not a number{_comma_hint(held)}")
    number = finite(held)
    if number is None:
        raise UnreadableError(Why.NOT_FINITE, f"{name} is {shorten(held)}, beyond every number we can hold")
    if number < 0 and name == "reference_u":
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {shorten(held)}; an uncertainty is not negative")
    return number


def _comma_hint(held: Value) -> str:
    is_comma = isinstance(held, str) and re.fullmatch(r"[+-]?[0-9]+,[0-9]+", held)
    return "; write a decimal point instead of the comma" if is_comma else ""


def _text(name: str, held: Value) -> str:
    if not isinstance(held, str) or isinstance(held, NumberText | NotFinite):
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}, not a text")
    if len(held) > MAX_TEXT:
        raise UnreadableError(Why.TOO_LARGE, f"{name} has {len(held)} characters; at most {MAX_TEXT} are read")
    return held


def _sequence(name: str, held: Value) -> int:
    if not isinstance(held, NumberText) or not _INTEGER.fullmatch(held) or not 0 <= int(held) <= MAX_SEQ:
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}, not an integer from 0 to 2^63 - 1")
    return int(held)


def _boot(name: str, held: Value) -> str:
    if not isinstance(held, NumberText):
        return _text(name, held)
    if not _INTEGER.fullmatch(held):
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}, not a text or a whole number")
    return str(int(held))


def _stable(name: str, held: Value) -> bool:
    if not isinstance(held, bool):
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}, not true or false")
    return held


def _standard(name: str, held: Value) -> str:
    text = _text(name, held)
    if not is_id(text):
        raise UnreadableError(Why.WRONG_TYPE, f'{name} "{shorten(text)}" is no device id')
    return text


def _power_factor(name: str, held: Value) -> float:
    if isinstance(held, NumberText):
        if finite(held) == 1.0:
            return 1.0
        raise UnreadableError(Why.WRONG_TYPE, f"{name} is {kind_of(held)}; write 0.5i (inductive) or 0.8c (capacitive)")
    return read_power_factor(_text(name, held))


def _evidence(name: str, held: Value) -> str:
    text = _text(name, held)
    if text not in EVIDENCE:
        raise UnreadableError(Why.WRONG_TYPE, f'{name} is "{shorten(text)}", not one of {", ".join(EVIDENCE)}')
    return text


_READERS: Mapping[str, Callable[[str, Value], object]] = {
    **dict.fromkeys(NUMBERS, _number),
    "unit": _text, "phase": _text, "direction": _text, "standard": _standard, "seq": _sequence, "boot": _boot,
    "stable": _stable, "power_factor": _power_factor, "evidence": _evidence,
}  # fmt: skip

FIELDS = frozenset(_READERS) - {"value", "unit"}
"""The fields a reading may have besides identity, time, value and unit."""
