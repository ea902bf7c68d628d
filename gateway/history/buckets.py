"""Buckets made on the fly from stored readings: an exceedance is never averaged away (worst margin, min, max)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.history import RESOLUTIONS_NS, Bucket, ChannelSettings, Query
from gateway.ledger import readings
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Quality

__all__ = ["channel_buckets", "day_starts"]


def channel_buckets(
    connection: sqlite3.Connection,
    query: Query,
    channel: str,
    settings: ChannelSettings,
    rows: list[tuple[Any, ...]],
    resolution: str,
) -> Iterator[Bucket]:
    """Yield the buckets of one channel; rows (time, value, seq, boot, quality, context, verdict) in time order."""
    time = np.array([r[0] for r in rows], np.int64)
    value = np.array([r[1] for r in rows], np.float64)
    starts = _starts(time, resolution, query.zone)
    first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1]))
    ends = np.append(first[1:], len(rows))
    margin = _margins(connection, rows)
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
    same = np.array([True, *(a[3] == b[3] for a, b in pairwise(rows))])
    before = np.append(-1, seq[:-1])
    counted = same & (seq >= 0) & (before >= 0) & (seq > before)
    return np.where(counted, seq - before - 1, 0)
