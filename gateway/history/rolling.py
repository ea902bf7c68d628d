"""Keep the hourly roll-ups: a reader of the ledger with a cursor of its own. A query never needs it to be right.

One step marks the hours of what has come since, the other makes marked hours that are over. Each first looks, which is
most of the work and can be done beside whoever writes the ledger; what it found is written in a short transaction,
which gives way if somebody else was there in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from gateway.history.keeping import carry_over
from gateway.history.pieces import LAYOUT, PIECE, Pieces, cut
from gateway.history.rows import Margins, read_rows
from gateway.ledger import moments, rollups
from gateway.ledger.rollups import HOUR_NS, Stale
from gateway.ledger.store import Ledger

__all__ = ["Advance", "Found", "Step", "advance", "catch_up", "look_for_unmade", "look_for_unmarked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How much is done in one step: the hours of so many new readings `marked`; `hours` made at most, and no more once
    so many `readings` have been looked at. Up to `together` neighbouring hours of a channel are read at once.
    """

    marked: int = 20_000
    hours: int = 1_000
    readings: int = 10_000
    together: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What one step did: readings marked, hours made, and whether there is more to do at once."""

    marked: int = 0
    made: int = 0
    more: bool = False


Found = Callable[[Ledger], Advance]
"""Writes what was found, in one transaction of the ledger that it is given. Raises sqlite3.Error."""


def advance(ledger: Ledger, at: int) -> Advance:
    """Take one bounded step; hours that end by `at` (ns) are made. Raises sqlite3.Error."""
    marked = look_for_unmarked(ledger)(ledger)
    made = look_for_unmade(ledger, at)(ledger)
    return Advance(marked=marked.marked, made=made.made, more=marked.more or made.more)


def catch_up(ledger: Ledger, at: int, report: Callable[[int], None] = lambda _hours: None) -> int:
    """Advance until nothing is left to do; return how many hours were made. `report` is told of each step's hours."""
    total = 0
    while True:
        step = advance(ledger, at)
        total += step.made
        report(step.made)
        if not step.more:
            return total


def look_for_unmarked(ledger: Ledger, step: Step = Step()) -> Found:
    """Look for the hours of the next readings; what is found marks them."""
    connection = ledger.connection
    with ledger.snapshot():
        after = rollups.cursor(connection, LAYOUT)
        top, hours = rollups.unmarked(connection, after or 0, step.marked)
    more = top - (after or 0) >= step.marked
    return partial(_mark, after=after, top=top, hours=hours, more=more)


def _mark(ledger: Ledger, after: int | None, top: int, hours: Sequence[tuple[int, int]], *, more: bool) -> Advance:
    if after == top:
        return Advance()
    with ledger.transaction() as connection:
        if rollups.begin(connection, LAYOUT) != (after or 0):
            return Advance(more=True)
        if after is None:
            carry_over(connection)
        rollups.note_marked(connection, top, hours)
    return Advance(marked=top - (after or 0), more=more)


def look_for_unmade(ledger: Ledger, at: int, step: Step = Step()) -> Found:
    """Read some marked hours that end by `at` (ns); what is found writes their roll-ups."""
    connection = ledger.connection
    with ledger.snapshot():
        revision = rollups.revision(connection)
        stale = rollups.waiting(connection, at, step.hours)
        made, pieces = _read(connection, stale, step)
    rows = [(c, int(p["start"][0]), p.tobytes()) for c, some in pieces for p in np.split(some, len(some))]
    more = len(made) < len(stale) or (len(made) > 0 and len(stale) == step.hours)
    return partial(_make, revision=revision, made=made, rows=rows, more=more)


def _make(
    ledger: Ledger, revision: int, made: Sequence[Stale], rows: Sequence[tuple[int, int, bytes]], *, more: bool
) -> Advance:
    if not made:
        return Advance()
    with ledger.transaction() as connection:
        if rollups.revision(connection) != revision:
            return Advance(more=True)
        rollups.put(connection, made, rows, revision + 1)
    return Advance(made=len(made), more=more)


def _read(
    connection: sqlite3.Connection, stale: Sequence[Stale], step: Step
) -> tuple[list[Stale], list[tuple[int, Pieces]]]:
    """Return the hours that were read, and their pieces by channel; stops when enough readings have been looked at."""
    margins = Margins(connection)
    made: list[Stale] = []
    pieces: list[tuple[int, Pieces]] = []
    looked, unplaced = 0, moments.first_unplaced(connection)
    for run in _runs(stale, step.together):
        start, end = run[0].start, run[-1].start + HOUR_NS
        rows = read_rows(connection, margins, run[0].channel, start, end, placed=end <= unplaced)
        found = np.concatenate([np.zeros(0, PIECE), *cut(rows, lambda time: time - time % HOUR_NS)])
        made += run
        pieces += [(run[0].channel, found)] if len(found) else []
        looked += int(found["n"].sum())
        if looked >= step.readings:
            break
    return made, pieces


def _runs(stale: Sequence[Stale], together: int) -> Iterator[list[Stale]]:
    """Yield neighbouring hours of one channel, so many at most, together."""
    numbered = enumerate(stale)
    for _, group in groupby(numbered, lambda e: (e[1].channel, e[1].start // HOUR_NS - e[0], e[0] // together)):
        yield [s for _, s in group]
