"""Hours of a channel: from their roll-ups where those hold, else from their readings."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.history.buckets import day_starts, piece_starts
from gateway.history.keeping import kept_pieces
from gateway.history.pieces import LAYOUT, PIECE, Pieces, cut
from gateway.history.rows import Margins, read_rows
from gateway.ledger import retention, rollups
from gateway.ledger.rollups import HOUR_NS

__all__ = ["hour_pieces"]

Ints = npt.NDArray[np.int64]

_UTC = ZoneInfo("UTC")


def hour_pieces(
    connection: sqlite3.Connection,
    margins: Margins,
    channel: int,
    start: int,
    end: int,
    zone: ZoneInfo | None,
    *,
    rolled: bool = True,
) -> Pieces:
    """Return the pieces of the readings in [start, end), one per UTC hour, in time order.

    With a zone an hour in which a day of that zone begins is two pieces, so that pieces add up to its days. In one
    snapshot of the ledger: a roll-up and what makes it stale must be seen together. Hours before the channel's horizon
    are what is kept of them (`gateway.history.keeping`).
    """
    horizon = retention.horizon_of(connection, channel)
    if horizon is not None and start < horizon.time:
        kept = kept_pieces(connection, channel, max(start, horizon.rolled), min(end, horizon.time))
        if end <= horizon.time:
            return kept
        left = hour_pieces(connection, margins, channel, horizon.time, end, zone, rolled=rolled)
        return np.concatenate((kept, left))
    days = np.zeros(0, np.int64) if zone is None else day_starts(start, end, zone)
    starts = piece_starts("1h", _UTC) if zone is None else piece_starts("1d", zone)

    def made(a: int, b: int) -> Pieces:
        done = list(cut(read_rows(connection, margins, channel, a, b), starts))
        return np.concatenate(done) if done else np.zeros(0, PIECE)

    cursor = rollups.cursor(connection, LAYOUT) if rolled else None
    if cursor is None:
        return made(start, end)
    known = _known(connection, channel, start, end)
    stale = _stale(connection, channel, cursor, start, end, days)
    if len(stale):
        known = known[~np.isin(known["start"], stale)]
    parts = [known, *(made(a, b) for a, b in _stretches(stale, start, end))]
    joined = np.concatenate(parts)
    return joined[np.argsort(joined["start"], kind="stable")] if len(parts) > 1 else joined


def _known(connection: sqlite3.Connection, channel: int, start: int, end: int) -> Pieces:
    """Return the stored pieces of hours that begin in the range, or before it and reach into it."""
    return np.frombuffer(rollups.rolled(connection, channel, start - start % HOUR_NS, end), PIECE)


def _stale(connection: sqlite3.Connection, channel: int, cursor: int, start: int, end: int, days: Ints) -> Ints:
    """Return the hours that must be made from readings: touched since, or cut by the range or a day."""
    edges = (start, end, *days[(days > start) & (days < end)].tolist())
    cut = {edge - edge % HOUR_NS for edge in edges if edge % HOUR_NS}
    touched = cut.union(rollups.stale_hours(connection, channel, cursor))
    return np.array(sorted(h for h in touched if start - HOUR_NS < h < end), np.int64)


def _stretches(hours: Ints, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield [from, to) of neighbouring hours, within the range."""
    if not len(hours):
        return
    breaks = np.flatnonzero(np.diff(hours) != HOUR_NS)
    for a, b in zip(np.append(0, breaks + 1).tolist(), np.append(breaks, len(hours) - 1).tolist(), strict=True):
        yield max(start, int(hours[a])), min(end, int(hours[b]) + HOUR_NS)
