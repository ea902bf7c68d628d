"""What an instrument says: one reading, or the named reason why it could not be read (CONTRACTS §3).

These are the only values that `collectors` and `gateway` share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from itertools import chain, repeat
from typing import Any, Self, overload

import msgspec
from msgspec.structs import astuple

__all__ = ["EVIDENCE", "READING_FIELDS", "Quality", "Reading", "Readings", "Refusal", "Why", "power_factor_text"]


class Why(StrEnum):
    """The closed list of reasons for quarantine."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    UNKNOWN_UNIT = "unknown_unit"
    WRONG_DIMENSION = "wrong_dimension"
    UNKNOWN_DEVICE = "unknown_device"
    UNKNOWN_CHANNEL = "unknown_channel"
    UNKNOWN_PROFILE = "unknown_profile"
    IDENTITY_MISMATCH = "identity_mismatch"
    BAD_TOPIC = "bad_topic"
    SEQUENCE_CONFLICT = "sequence_conflict"
    AMBIGUOUS_CHECK = "ambiguous_check"
    CHECKSUM = "checksum"


class Quality(IntEnum):
    """What is wrong with a reading as a signal. One out of range says so, whatever else it is (CONTRACTS §3)."""

    GOOD = 0
    UNSTABLE = 1
    OUT_OF_RANGE = 2
    LATE = 3
    CLOCK = 4


EVIDENCE = ("check_weight", "reference_meter", "zero", "no_load", "self_test", "repeat_object")
"""The evidence classes a check may name."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One indication with its time, as the instrument sent it: units unconverted, nothing judged.

    `time` is integer nanoseconds since 1970-01-01T00:00Z. `reference`, `reference_u` (expanded, k = 2) and the start
    values are in `unit`. `power_factor` is signed: 1.0, 0.5 for `0.5i` (inductive), -0.8 for `0.8c` (capacitive).
    `boot` is any text that changes at each start of the device; `seq_per_device`: one `seq` counts the readings of all
    its channels, so that the numbers missing in one channel say nothing of a loss. `source` is the index of the message
    in its batch and `record` the index inside a pack (None for a single record): they lead back to the raw bytes.
    """

    device: str
    channel: str
    time: int
    value: float
    unit: str
    reference: float | None = None
    reference_u: float | None = None
    standard: str | None = None
    x: float | None = None
    value_start: float | None = None
    reference_start: float | None = None
    seq: int | None = None
    boot: str | None = None
    stable: bool | None = None
    flow_m3h: float | None = None
    current_A: float | None = None
    power_factor: float | None = None
    phase: str | None = None
    direction: str | None = None
    temperature_C: float | None = None
    evidence: str | None = None
    clock_suspect: bool = False
    seq_per_device: bool = False
    source: int = 0
    record: int | None = None


_NOT_SAID = frozenset({"source", "record", "clock_suspect", "seq_per_device"})
READING_FIELDS = tuple(n for n in Reading.__struct_fields__ if n not in _NOT_SAID)
"""The fields of a reading in files (`time`), in contract order; in MQTT `ts` stands for `time`."""


_FIELDS = Reading.__struct_fields__
_DEFAULTS = dict(zip(reversed(_FIELDS), reversed(Reading.__struct_defaults__), strict=False))


class Readings(Sequence[Reading]):
    """Readings as columns by field name, each as long as they are many; what none of them says may be left out.

    A `Reading` is made only of what is asked for one by one.
    """

    __slots__ = ("columns",)

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Self:
        """Return readings as columns, without those that hold nothing but a default."""
        if isinstance(readings, cls):
            return readings
        if not readings:
            return cls({})
        columns = zip(_FIELDS, zip(*map(astuple, readings), strict=True), strict=True)
        return cls({n: c for n, c in columns if n not in _DEFAULTS or c.count(_DEFAULTS[n]) < len(c)})

    @classmethod
    def join(cls, parts: Sequence[Sequence[Reading]]) -> Self:
        """Return all readings of all parts."""
        if len(parts) == 1:
            return cls.of(parts[0])
        found = [cls.of(part) for part in parts if part]
        names = dict.fromkeys(name for part in found for name in part.columns)
        return cls({name: list(chain.from_iterable(part.column(name) for part in found)) for name in names})

    def column(self, name: str) -> Sequence[Any]:
        """Return one field of all readings."""
        found = self.columns.get(name)
        return [_DEFAULTS.get(name)] * len(self) if found is None else found

    def __len__(self) -> int:
        return len(self.columns.get("time", ()))

    def __iter__(self) -> Iterator[Reading]:
        if not len(self):
            return iter(())
        absent = {name: repeat(default) for name, default in _DEFAULTS.items()}
        in_order = [self.columns.get(name) or absent[name] for name in _FIELDS]
        return map(Reading, *in_order)  # not by name: that takes several times as long

    @overload
    def __getitem__(self, place: int) -> Reading: ...

    @overload
    def __getitem__(self, place: slice) -> Self: ...

    def __getitem__(self, place: int | slice) -> Reading | Self:
        picked: dict[str, Any] = {name: column[place] for name, column in self.columns.items()}
        return type(self)(picked) if isinstance(place, slice) else Reading(**picked)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message, or one record of a pack, that could not be read: why, in words, and the bytes themselves.

    `raw` is the record alone when it came in a pack, else None (the whole message is meant).
    `device` and `channel` are what could still be made out.
    """

    reason: Why
    detail: str
    device: str | None = None
    channel: str | None = None
    source: int = 0
    record: int | None = None
    raw: bytes | None = None


def power_factor_text(value: float) -> str | None:
    """Return a signed power factor as people write it: `1`, `0.5i`, `0.8c`; None for NaN.

    >>> power_factor_text(1.0), power_factor_text(0.5), power_factor_text(-0.8)
    ('1', '0.5i', '0.8c')
    """
    if math.isnan(value):
        return None
    size = f"{abs(value):g}"
    return size if abs(value) == 1.0 or value == 0.0 else size + ("i" if value > 0 else "c")
