"""Histories from the ledger itself; works beside a running gateway and sees everything acknowledged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.history import RESOLUTIONS_NS, Bucket, Query, RawRow
from gateway.ledger import readings
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_duration
from gateway.pipeline.columns import Quality

__all__ = ["ChannelSettings", "LedgerHistory", "channel_settings", "day_starts"]

_RAW = """
    SELECT time, value, reference, reference_u, x, seq, boot, stable, quality, received_at, late
    FROM reading WHERE channel = ? AND time >= ? AND time < ? ORDER BY time, boot, seq, id"""
_BUCKET = """
    SELECT r.time, r.value, r.seq, r.boot, r.quality, COALESCE(a.context, r.context), COALESCE(a.verdict, r.verdict)
    FROM reading r LEFT JOIN amendment a ON a.reading = r.id
     AND a.version = (SELECT MAX(b.version) FROM amendment b WHERE b.reading = r.id)
    WHERE r.channel = ? AND r.time >= ? AND r.time < ? ORDER BY r.time, r.boot, r.seq, r.id"""

FIRST, LAST = -(2**63), 2**63 - 1


class ChannelSettings:
    """What a history needs to know of a channel from the registry."""

    __slots__ = ("every_ns", "register", "unit")

    def __init__(self, *, unit: str, register: bool = False, every_ns: int | None = None) -> None:
        self.unit = unit
        self.register = register
        self.every_ns = every_ns


def channel_settings(documents: Iterable[tuple[str, str, bytes]]) -> dict[tuple[str, str], ChannelSettings]:
    """Return what histories need of the registry, from its stored documents: no need to check them again."""
    found: dict[tuple[str, str], ChannelSettings] = {}
    for kind, device, text in documents:
        if kind != "device":
            continue
        for name, channel in json.loads(text)["channels"].items():
            every = channel.get("every")
            found[device, name] = ChannelSettings(
                unit=channel["unit"],
                register=channel.get("type") == "register",
                every_ns=None if every is None else parse_duration(every),
            )
    return found


class LedgerHistory:
    """The ledger as a history store. `settings`: (device, channel) -> what the registry says of it."""

    def __init__(self, ledger: Ledger, settings: Mapping[tuple[str, str], ChannelSettings]) -> None:
        self._connection = ledger.connection
        self._settings = settings

    def _channels(self, query: Query) -> list[tuple[int, str]]:
        rows = self._connection.execute(
            "SELECT id, channel FROM channel WHERE device = ?1 AND (?2 IS NULL OR channel = ?2) ORDER BY channel",
            (query.device, query.channel),
        )
        return [(int(i), str(c)) for i, c in rows]

    def _of(self, device: str, channel: str) -> ChannelSettings:
        return self._settings.get((device, channel), ChannelSettings(unit=""))

    def raw(self, query: Query) -> Iterator[RawRow]:
        """Yield every stored reading, channel by channel in time order."""
        span = (FIRST if query.start is None else query.start, LAST if query.end is None else query.end)
        for number, channel in self._channels(query):
            unit = self._of(query.device, channel).unit
            for r in self._connection.execute(_RAW, (number, *span)):
                yield {
                    "time": format_instant(r[0]),
                    "device": query.device,
                    "channel": channel,
                    "value": r[1],
                    "unit": unit,
                    "reference": r[2],
                    "reference_u": r[3],
                    "x": r[4],
                    "seq": r[5],
                    "boot": r[6],
                    "stable": None if r[7] is None else bool(r[7]),
                    "quality": Quality(r[8]).name.lower(),
                    "received_at": format_instant(r[9]),
                    "late": bool(r[10]),
                }

    def buckets(self, query: Query, resolution: str) -> Iterator[Bucket]:
        """Yield one bucket per stretch that holds readings: 1m and 1h aligned to UTC, 1d to the zone."""
        span = (FIRST if query.start is None else query.start, LAST if query.end is None else query.end)
        for number, channel in self._channels(query):
            rows = self._connection.execute(_BUCKET, (number, *span)).fetchall()
            if rows:
                yield from self._channel_buckets(query, channel, rows, resolution)

    def _channel_buckets(
        self, query: Query, channel: str, rows: list[tuple[Any, ...]], resolution: str
    ) -> Iterator[Bucket]:
        settings = self._of(query.device, channel)
        time = np.array([r[0] for r in rows], np.int64)
        value = np.array([r[1] for r in rows], np.float64)
        starts = _starts(time, resolution, query.zone)
        first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1]))
        ends = np.append(first[1:], len(rows))
        margin = _margins(self._connection, rows)
        is_check = np.array([r[6] is not None for r in rows])
        missing = _missing(rows)
        quality = np.array([r[4] for r in rows], np.int64)
        low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
        mean = np.add.reduceat(value, first) / (ends - first)
        checks = np.add.reduceat(is_check.astype(np.int64), first)
        gaps = np.add.reduceat((missing > 0).astype(np.int64), first)
        worst = np.fmin.reduceat(margin, first)
        worst_quality = np.maximum.reduceat(quality, first)
        previous = np.append(np.nan, value[:-1])
        for i, (a, b) in enumerate(zip(first.tolist(), ends.tolist(), strict=True)):
            length = _length(int(starts[a]), resolution, query.zone)
            expected = None if settings.every_ns is None else max(1, round(length / settings.every_ns))
            before = previous[a] if a else value[a]
            yield {
                "time": format_instant(int(starts[a])),
                "device": query.device,
                "channel": channel,
                "unit": settings.unit,
                "n": b - a,
                "checks": int(checks[i]),
                "min": float(low[i]),
                "max": float(high[i]),
                "mean": None if settings.register else float(mean[i]),
                "first": float(value[a]),
                "last": float(value[b - 1]),
                "delta": float(value[b - 1] - before) if settings.register else None,
                "worst_margin_percent": None if np.isnan(worst[i]) else float(worst[i]),
                "completeness": None if expected is None else min(1.0, (b - a) / expected),
                "gaps": int(gaps[i]),
                "quality": Quality(int(worst_quality[i])).name.lower(),
            }


def _starts(time: npt.NDArray[np.int64], resolution: str, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    if resolution != "1d":
        return time - time % RESOLUTIONS_NS[resolution]
    edges = day_starts(int(time[0]), int(time[-1]), zone)
    return edges[np.searchsorted(edges, time, side="right") - 1]


def day_starts(first: int, last: int, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    """Return the beginnings (ns) of the zone's days that cover [first, last]."""
    day = datetime.fromtimestamp(first // 10**9, UTC).astimezone(zone).date()
    edges: list[int] = []
    while not edges or edges[-1] <= last:
        local = datetime(day.year, day.month, day.day, tzinfo=zone)
        edges.append(int(local.timestamp()) * 10**9)
        day += timedelta(days=1)
    return np.array(edges, np.int64)


def _length(start: int, resolution: str, zone: ZoneInfo) -> int:
    if resolution != "1d":
        return RESOLUTIONS_NS[resolution]
    edges = day_starts(start, start, zone)
    return int(edges[-1] - edges[0])


def _margins(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> npt.NDArray[np.float64]:
    """Return margin_percent of each reading's verdict, NaN where there is none."""
    margin = np.full(len(rows), np.nan)
    dtypes: dict[int, np.dtype[Any]] = {}
    for i, r in enumerate(rows):
        if r[6] is None:
            continue
        if r[5] not in dtypes:
            document = connection.execute("SELECT document FROM context WHERE id = ?", (r[5],)).fetchone()[0]
            dtypes[r[5]] = readings.layout(connection, int(json.loads(document)["layout"]))
        margin[i] = np.frombuffer(r[6], dtypes[r[5]])["margin_percent"][0]
    return margin


def _missing(rows: list[tuple[Any, ...]]) -> npt.NDArray[np.int64]:
    """Return how many seq numbers are missing before each reading."""
    seq = np.array([-1 if r[2] is None else r[2] for r in rows], np.int64)
    same = np.array([True, *(a[3] == b[3] for a, b in zip(rows, rows[1:], strict=False))])
    before = np.append(-1, seq[:-1])
    counted = same & (seq >= 0) & (before >= 0) & (seq > before)
    return np.where(counted, seq - before - 1, 0)
