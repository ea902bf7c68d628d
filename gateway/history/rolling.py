"""Keep the hourly roll-ups: a reader of the ledger with a cursor of its own. A query never needs it to be right.

`advance` marks the hours of what has come since, then makes the marked hours that are over. Reading and computing are
done outside any write transaction; the short one that writes gives way if another reader was there in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from gateway.history.keeping import carry_over
from gateway.history.pieces import LAYOUT, PIECE, Pieces, cut
from gateway.history.rows import Margins, read_rows
from gateway.ledger import rollups
from gateway.ledger.rollups import HOUR_NS, Stale
from gateway.ledger.store import Ledger

__all__ = ["Advance", "advance", "catch_up", "pieces_of_hours"]

MARK_READINGS = 20_000
MAKE_HOURS = 1_000
MAKE_READINGS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What one step did: readings marked, hours made, and whether there is more to do at once."""

    marked: int = 0
    made: int = 0
    more: bool = False


def advance(ledger: Ledger, at: int) -> Advance:
    """Take one bounded step; hours that end by `at` (ns) are made. Raises sqlite3.Error."""
    marked, more = _mark(ledger)
    made, waiting = _make(ledger, at)
    return Advance(marked=marked, made=made, more=more or waiting)


def catch_up(ledger: Ledger, at: int, report: Callable[[int], None] = lambda _hours: None) -> int:
    """Advance until nothing is left to do; return how many hours were made. `report` is told of each step's hours."""
    total = 0
    while True:
        step = advance(ledger, at)
        total += step.made
        report(step.made)
        if not step.more:
            return total


def _mark(ledger: Ledger) -> tuple[int, bool]:
    """Mark the hours of the next readings; return how many readings, and whether more are left."""
    connection = ledger.connection
    with ledger.snapshot():
        after = rollups.cursor(connection, LAYOUT)
        top, hours = rollups.unmarked(connection, after or 0, MARK_READINGS)
    if after == top:
        return 0, False
    with ledger.transaction():
        if rollups.begin(connection, LAYOUT) != (after or 0):
            return 0, True
        if after is None:
            carry_over(connection)
        rollups.note_marked(connection, top, hours)
    return top - (after or 0), top - (after or 0) >= MARK_READINGS


def _make(ledger: Ledger, at: int) -> tuple[int, bool]:
    """Make marked hours; return how many, and whether more are left."""
    connection = ledger.connection
    with ledger.snapshot():
        revision = rollups.revision(connection)
        stale = rollups.waiting(connection, at, MAKE_HOURS)
        made, pieces = _read(connection, stale)
    if not made:
        return 0, False
    rows = [(c, int(p["start"][0]), p.tobytes()) for c, some in pieces for p in np.split(some, len(some))]
    with ledger.transaction():
        if rollups.revision(connection) != revision:
            return 0, True
        rollups.put(connection, made, rows, revision + 1)
    return len(made), len(made) < len(stale) or len(stale) == MAKE_HOURS


def _read(connection: sqlite3.Connection, stale: Sequence[Stale]) -> tuple[list[Stale], list[tuple[int, Pieces]]]:
    """Return the hours that were read, and their pieces by channel; stops when enough readings have been looked at."""
    margins = Margins(connection)
    made: list[Stale] = []
    pieces: list[tuple[int, Pieces]] = []
    looked = 0
    for run in _runs(stale):
        found = pieces_of_hours(connection, margins, run[0].channel, run[0].start, run[-1].start + HOUR_NS)
        made += run
        pieces += [(run[0].channel, found)] if len(found) else []
        looked += int(found["n"].sum())
        if looked >= MAKE_READINGS:
            break
    return made, pieces


def _runs(stale: Sequence[Stale]) -> Iterator[list[Stale]]:
    """Yield neighbouring hours of one channel together, a day at most."""
    numbered = enumerate(stale)
    for _, group in groupby(numbered, lambda e: (e[1].channel, e[1].start // HOUR_NS - e[0], e[0] // 24)):
        yield [s for _, s in group]


def pieces_of_hours(connection: sqlite3.Connection, margins: Margins, channel: int, start: int, end: int) -> Pieces:
    """Return one piece per UTC hour, from the readings of [start, end)."""
    done = list(cut(read_rows(connection, margins, channel, start, end), lambda time: time - time % HOUR_NS))
    return np.concatenate(done) if done else np.zeros(0, PIECE)
