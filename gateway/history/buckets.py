"""Buckets from pieces (CONTRACTS §5): an exceedance is never averaged away (worst margin, min, max, quality)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, repeat
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.history import RESOLUTIONS_NS, Bucket, ChannelSettings, Query
from gateway.history.pieces import Cut, Pieces, missing
from gateway.metrology.readings import Quality
from gateway.metrology.units import exact

__all__ = ["bucket_starts", "buckets_of", "day_starts", "decimal_sum", "piece_starts"]

Ints = npt.NDArray[np.int64]


def buckets_of(
    pieces: Pieces,
    before: Pieces | None,
    query: Query,
    channel: str,
    settings: ChannelSettings,
    resolution: str,
    steps: npt.NDArray[np.float64] | None = None,
) -> list[Bucket]:
    """Return the buckets of some pieces, which must not share one with others; `before` is the piece next before.

    `steps`: what a register has advanced in each piece (gateway.history.steps); None for what is no register.
    """
    if not len(pieces):
        return []
    starts = bucket_starts(pieces["start"], resolution, query.zone)
    first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1]))
    last = np.append(first[1:], len(pieces)) - 1
    joined = pieces if before is None else np.concatenate((before, pieces))
    met = missing(joined["last_boot"][:-1], joined["last_seq"][:-1], joined["first_boot"][1:], joined["first_seq"][1:])
    gaps = pieces["gaps"].astype(np.int64)
    gaps[len(pieces) - len(met) :] += met
    n = np.add.reduceat(pieces["n"].astype(np.int64), first)
    margin = np.fmin.reduceat(pieces["margin"], first)
    qualities = np.bitwise_or.reduceat(pieces["qualities"], first)
    mean = None if settings.register else np.add.reduceat(pieces["sum"], first) / n
    return [
        {
            "time": start,
            "device": query.device,
            "channel": channel,
            "unit": settings.unit,
            "n": count,
            "checks": checks,
            "min": low,
            "max": high,
            "mean": average,
            "first": begun,
            "last": ended,
            "delta": step,
            "worst_margin_percent": None if worst != worst else worst,  # noqa: PLR0124  NaN: no verdict with a limit
            "completeness": complete,
            "gaps": lost,
            "quality": _GRAVEST[bits],
        }
        for start, count, checks, low, high, average, begun, ended, step, worst, complete, lost, bits in zip(
            _seconds(starts[first]), n.tolist(), np.add.reduceat(pieces["checks"].astype(np.int64), first).tolist(),
            np.minimum.reduceat(pieces["min"], first).tolist(), np.maximum.reduceat(pieces["max"], first).tolist(),
            repeat(None, len(first)) if mean is None else mean.tolist(), pieces["first"][first].tolist(),
            pieces["last"][last].tolist(), repeat(None, len(first)) if steps is None else _sums(steps, first),
            margin.tolist(), _completeness(n, starts[first], query, settings, resolution),
            np.add.reduceat(gaps, first).tolist(), qualities.tolist(), strict=True,
        )
    ]  # fmt: skip


def _seconds(starts: Ints) -> list[str]:
    """Return times on whole seconds as RFC 3339; as `format_instant`, many at a time."""
    found: list[str] = np.datetime_as_string((starts // 10**9).astype("M8[s]"), timezone="UTC").tolist()
    return found


def _gravest(bits: int) -> str:
    wrong = bits & ~1
    return Quality((wrong & -wrong).bit_length() - 1 if wrong else 0).name.lower()


_GRAVEST = tuple(_gravest(bits) for bits in range(1 << len(Quality)))
"""The gravest of some qualities, one bit each; good only if there is no other."""


def bucket_starts(time: Ints, resolution: str, zone: ZoneInfo) -> Ints:
    """Return the beginning of the bucket of each time (ns, ascending)."""
    if resolution != "1d":
        return time - time % RESOLUTIONS_NS[resolution]
    if not len(time):
        return time
    edges = day_starts(int(time[0]), int(time[-1]), zone)
    return edges[np.searchsorted(edges, time, side="right") - 1]


def decimal_sum(steps: Sequence[float]) -> float:
    """Return the sum of the decimals that the floats were written as."""
    return steps[0] if len(steps) == 1 else float(sum(map(exact, steps)))


def _sums(steps: npt.NDArray[np.float64], first: Ints) -> list[float]:
    """Return the sums of steps from each place in `first` to the next."""
    edges = [*first.tolist(), len(steps)]
    said = steps.tolist()
    return said if len(edges) == len(said) + 1 else [decimal_sum(said[a:b]) for a, b in pairwise(edges)]


def piece_starts(resolution: str, zone: ZoneInfo) -> Cut:
    """Return how readings are cut into pieces: by minutes; by hours; for days by hours in which no day begins."""

    def starts(time: Ints) -> Ints:
        if resolution != "1d":
            return bucket_starts(time, resolution, zone)
        cut: Ints = np.maximum(time - time % RESOLUTIONS_NS["1h"], bucket_starts(time, "1d", zone))
        return cut

    return starts


def day_starts(first: int, last: int, zone: ZoneInfo) -> Ints:
    """Return the beginnings (ns) of the zone's days that cover [first, last], and the end of the last one.

    A midnight that the clocks jump over is the moment of the jump; one that they pass twice is the first.
    """
    day = datetime.fromtimestamp(first // 10**9, UTC).astimezone(zone).date()
    edges: list[int] = []
    while not edges or edges[-1] <= last:
        local = datetime(day.year, day.month, day.day, tzinfo=zone)
        edges.append(int(local.timestamp()) * 10**9)
        day += timedelta(days=1)
    return np.array(edges, np.int64)


def _completeness(
    n: Ints, starts: Ints, query: Query, settings: ChannelSettings, resolution: str
) -> list[float | None]:
    """Return readings per reading expected, at most 1, of the part of each bucket that was asked for."""
    if settings.every_ns is None:
        return [None] * len(n)
    if resolution == "1d":
        edges = day_starts(int(starts[0]), int(starts[-1]), query.zone)
        ends = edges[np.searchsorted(edges, starts, side="right")]
    else:
        ends = starts + RESOLUTIONS_NS[resolution]
    asked_from = starts if query.start is None else np.maximum(starts, query.start)
    asked_to = ends if query.end is None else np.minimum(ends, query.end)
    expected = np.maximum(1, np.rint((asked_to - asked_from) / settings.every_ns))
    return list(np.minimum(1.0, n / expected).tolist())
