"""Roll-ups as buckets for those who pass them on: what has been made since a cursor, hours and days.

A roll-up made again may change the bucket behind it too (a register's step, a gap), so that one is given again with it.
A bucket given twice is the same bucket: whoever writes it by its time writes it once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from zoneinfo import ZoneInfo

import numpy as np

from gateway.history import Bucket, ChannelSettings, Query
from gateway.history.buckets import day_starts
from gateway.history.ledger import LedgerHistory
from gateway.ledger.rollups import HOUR_NS, changed
from gateway.ledger.store import Ledger

__all__ = ["Rolled", "rolled_since"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """Buckets of hours and of days by the zone that are new or other than before; `after` is the next cursor."""

    after: int
    hours: list[Bucket]
    days: list[Bucket]


def rolled_since(
    ledger: Ledger, settings: Mapping[tuple[str, str], ChannelSettings], zone: ZoneInfo, after: int, limit: int = 2000
) -> Rolled | None:
    """Return what about `limit` roll-ups made after the cursor `after` (0: all) say; None: there are none.

    A day is given as far as it goes; it is given again whenever an hour of it is made.
    """
    connection = ledger.connection
    rows = changed(connection, after, limit)
    if not rows:
        return None
    names = {int(i): (str(d), str(c)) for i, d, c in connection.execute("SELECT id, device, channel FROM channel")}
    store = LedgerHistory(ledger, settings)
    hours: list[Bucket] = []
    days: list[Bucket] = []
    touched = sorted({(channel, start) for _, channel, start, _ in rows})
    for channel, group in groupby(touched, lambda t: t[0]):
        device, name = names[channel]
        starts = _with_next(connection, channel, [start for _, start in group])
        for a, b in _runs(starts):
            query = Query(device=device, channel=name, start=a, end=b, zone=zone)
            hours += store.buckets(query, "1h")
        for a, b in _days(starts, zone):
            days += store.buckets(Query(device=device, channel=name, start=a, end=b, zone=zone), "1d")
    return Rolled(after=max(r[0] for r in rows), hours=hours, days=days)


def _with_next(connection: sqlite3.Connection, channel: int, starts: list[int]) -> list[int]:
    """Return these hours of a channel and the next rolled-up hour behind each run of them."""
    found = set(starts)
    for _, end in _runs(starts):
        row = connection.execute(
            "SELECT MIN(start) FROM rollup WHERE channel = ? AND start >= ?", (channel, end)
        ).fetchone()
        if row[0] is not None:
            found.add(int(row[0]))
    return sorted(found)


def _runs(starts: list[int]) -> list[tuple[int, int]]:
    """Return [from, to) of neighbouring hours."""
    runs: list[tuple[int, int]] = []
    for start in starts:
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], start + HOUR_NS)
        else:
            runs.append((start, start + HOUR_NS))
    return runs


def _days(starts: list[int], zone: ZoneInfo) -> list[tuple[int, int]]:
    """Return the days [from, to) of the zone that these hours touch, neighbours joined."""
    days: list[tuple[int, int]] = []
    for start, end in _runs(starts):
        edges = day_starts(start, end - 1, zone)
        a, b = int(edges[0]), int(edges[np.searchsorted(edges, end - 1, side="right")])
        if days and days[-1][1] >= a:
            days[-1] = (days[-1][0], max(days[-1][1], b))
        else:
            days.append((a, b))
    return days
