"""Histories: one query over the places where readings are kept. Here is the contract of a history store.

A store answers a `Query` with raw rows or buckets, in time order, without a cap on rows (CONTRACTS §5, §6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import Protocol
from zoneinfo import ZoneInfo

__all__ = ["BUCKET_FIELDS", "RAW_FIELDS", "RESOLUTIONS_NS", "Bucket", "ChannelSettings", "History", "Query", "RawRow"]

RAW_FIELDS = (
    "time", "device", "channel", "value", "unit", "reference", "reference_u", "x", "seq", "boot", "stable", "quality",
    "received_at", "late",
)  # fmt: skip
BUCKET_FIELDS = (
    "time", "device", "channel", "unit", "n", "checks", "min", "max", "mean", "first", "last", "delta",
    "worst_margin_percent", "completeness", "gaps", "quality",
)  # fmt: skip

_UTC = ZoneInfo("UTC")

RESOLUTIONS_NS = {"1m": 60 * 10**9, "1h": 3600 * 10**9, "1d": 86_400 * 10**9}

RawRow = dict[str, object]
"""One reading by `RAW_FIELDS`: times as RFC 3339 text, absent facts None."""
Bucket = dict[str, object]
"""One bucket by `BUCKET_FIELDS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked: one device, all its channels or one, [start, end) in ns (None: open)."""

    device: str
    channel: str | None = None
    start: int | None = None
    end: int | None = None
    zone: ZoneInfo = _UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What a history needs to know of a channel from the registry."""

    unit: str
    register: bool = False
    every_ns: int | None = None
    turn: float = nan
    """After how many units a register begins again; NaN: unknown."""
    multiplier: float = 1.0
    """What a register shows, times this, is what has passed (CT ratio)."""
    exchanges: tuple[int, ...] = ()
    """When the meter was exchanged, ns, ascending."""


class History(Protocol):
    """Where histories can be asked."""

    def channels(self, device: str) -> list[str]:
        """Return the channels the device has readings of, in the order in which they are given."""
        ...

    def span(self, query: Query) -> tuple[int, int] | None:
        """Return the times (ns) of the first and the last reading asked for; None: there are none."""
        ...

    def gone(self, query: Query, resolution: str) -> list[tuple[str, int]]:
        """Return (channel, before when in ns) of what is asked for and was deleted on purpose."""
        ...

    def raw(self, query: Query) -> Iterator[RawRow]:
        """Yield every stored reading, channel by channel in time order."""
        ...

    def buckets(self, query: Query, resolution: str) -> Iterator[Bucket]:
        """Yield one bucket per stretch that holds readings: 1m and 1h aligned to UTC, 1d to the zone."""
        ...
