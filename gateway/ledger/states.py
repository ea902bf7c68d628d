"""Where each channel stands: states, checkpoints, contexts and counters, committed with the readings behind them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.ledger import state_changes
from gateway.ledger.readings import insert_rows
from gateway.pipeline.columns import Ints
from gateway.pipeline.fingerprints import changed_from
from gateway.pipeline.intake import SEEN, Seen, fresh_seen
from gateway.pipeline.plan import NEVER, Plan
from gateway.pipeline.state import States, dump, fresh, load

__all__ = [
    "NO_ROW", "Behind", "Standing", "add_to_counters", "channel_ids", "checkpoint_before", "context_ids", "counters",
    "forget_checkpoints", "put_checkpoints", "put_moved", "put_states", "standing",
]  # fmt: skip

FEW = 32
"""The rows of so few channels are written at once."""
OFTEN = 4
"""From so many readings of each channel on as well: they have paid for their row."""
TURNS = 8
TOGETHER = 64
"""So many rows that are due are brought up to date together."""
NO_ROW = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All channels of a plan as the ledger knows them; `stale`: index -> from when (ns) they were judged by
    another plan than this; `current`: those with a row of this plan."""

    ids: Ints
    seen: Seen
    states: States
    stale: dict[int, int]
    current: npt.NDArray[np.bool_]


def channel_ids(connection: sqlite3.Connection, pairs: Sequence[tuple[str, str]]) -> Ints:
    """Return the ledger's number of each (device, channel), added if new."""
    known = {(d, c): i for i, d, c in connection.execute("SELECT id, device, channel FROM channel")}
    missing = [p for p in pairs if p not in known]
    if missing:
        connection.executemany("INSERT INTO channel (device, channel) VALUES (?, ?)", missing)
        known = {(d, c): i for i, d, c in connection.execute("SELECT id, device, channel FROM channel")}
    return np.array([known[p] for p in pairs], np.int64)


def standing(connection: sqlite3.Connection, plan: Plan) -> Standing:
    """Return what the ledger knows of the plan's channels; unknown or unreadable states are fresh, and stale."""
    ids = channel_ids(connection, [(f.device, f.channel) for f in plan.facts])
    seen, states = fresh_seen(len(ids)), fresh(len(ids))
    place = {int(i): n for n, i in enumerate(ids)}
    stale: dict[int, int] = {}
    changed, damaged = state_changes.latest(connection)
    rows = [
        _changed(row, changed.get(row[0]), damaged)
        for row in connection.execute(
            "SELECT channel, fingerprint, newest, seen_boot, seen_seq, state, up_to FROM state"
        )
        if row[0] in place
    ]
    current = np.zeros(len(ids), np.bool_)
    for (channel, fingerprint, newest, boot, seq, _), state in zip(rows, _loaded([r[-1] for r in rows]), strict=True):
        n = place[channel]
        current[n] = fingerprint == plan.fingerprints[n]
        seen[n] = np.array((newest, boot, seq), SEEN)
        if state is None:
            stale[n] = NEVER
            continue
        states[n] = state
        since = changed_from(fingerprint, plan.fingerprints[n])
        if since is not None:
            stale[n] = since
    return Standing(ids=ids, seen=seen, states=states, stale=stale, current=current)


def _changed(row: tuple[Any, ...], change: state_changes.Change | None, damaged: int) -> tuple[Any, ...]:
    """Return a row without its `up_to`, as the changes after that leave it; unreadable where one may be lost."""
    *kept, up_to = row
    if change is not None and change.number > up_to:
        kept, up_to = [*kept[:2], change.newest, change.boot, change.seq, change.state], change.number
    return (*kept[:-1], b"" if up_to < damaged else kept[-1])


def _loaded(blobs: Sequence[bytes]) -> list[Any]:
    """Return the states; None for those that cannot be read."""
    try:
        return list(load(blobs))
    except ValueError:
        return [None] if len(blobs) == 1 else [state for blob in blobs for state in _loaded([blob])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Which rows of states are behind, by channel of the plan: `first` change that is not in it, 0 none, `NO_ROW` of
    this plan there is none; `turn`: whose row is next to be written; `owed`: how many rows are due and not written."""

    first: Ints
    turn: int = 0
    owed: int = 0

    def __bool__(self) -> bool:
        """Return whether any row is."""
        return bool((self.first > 0).any())


def put_states(
    connection: sqlite3.Connection, plan: Plan, ids: Ints, channels: Ints, states: States, seen: Seen
) -> None:
    """Write the rows of `channels` (indexes in the plan; `states` row by row, `seen` and `ids` whole)."""
    columns = {
        "channel": ids[channels].tolist(),
        "fingerprint": [plan.fingerprints[i] for i in channels.tolist()],
        "newest": seen["newest"][channels].tolist(),
        "seen_boot": seen["boot"][channels].tolist(),
        "seen_seq": seen["seq"][channels].tolist(),
        "state": dump(states),
        "up_to": [state_changes.newest(connection)] * len(channels),
    }
    insert_rows(connection, "state", columns, clash="REPLACE")


def put_moved(
    connection: sqlite3.Connection, plan: Plan, ids: Ints, channels: Ints, states: States, seen: Seen, *,
    others: States, readings: int, behind: Behind,
) -> Behind:  # fmt: skip
    """Write where `channels` have come to (as in `put_states`; `others`: all states as they were) by so many readings.

    Few of them, or with many readings each, have their rows written. Many are one change, and some rows are brought up
    to date, in turn: those of `TURNS` batches that move all channels are all rows.
    """
    first = behind.first.copy()
    if len(channels) <= FEW or readings >= OFTEN * len(channels):
        put_states(connection, plan, ids, channels, states, seen)
        first[channels] = 0
        return replace(behind, first=first)
    number = state_changes.add(connection, ids[channels], seen[channels], states)
    new = channels[first[channels] == NO_ROW]
    first[channels] = np.where(first[channels] > 0, first[channels], number)
    owed = behind.owed + max(1, len(channels) // TURNS)
    paid = owed if owed >= TOGETHER else 0
    turn = np.arange(behind.turn, behind.turn + paid) % len(first)
    left = Behind(first=first, turn=(behind.turn + paid) % len(first), owed=owed - paid)
    due = np.union1d(turn[first[turn] > 0], new)
    if not len(due):
        return left
    rows = others.take(due)
    places = np.searchsorted(channels, due).clip(max=len(channels) - 1)
    moved = np.flatnonzero(channels[places] == due)
    rows.put(moved, states.take(places[moved]))  # whole rows: an assignment goes field by field
    put_states(connection, plan, ids, due, rows, seen)
    first[due] = 0
    waiting = first[first > 0]
    state_changes.forget(connection, int(waiting.min()) if len(waiting) else number)
    return left


def put_checkpoints(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, bytes]]) -> None:
    """Keep earlier states: (channel id, time of its last reading, state)."""
    connection.executemany("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?)", rows)


def checkpoint_before(connection: sqlite3.Connection, channel_id: int, time: int) -> tuple[int, bytes] | None:
    """Return the latest earlier state whose last reading is before `time`: (its time, state)."""
    row = connection.execute(
        "SELECT time, state FROM checkpoint WHERE channel = ? AND time < ? ORDER BY time DESC LIMIT 1",
        (channel_id, time),
    ).fetchone()
    return None if row is None else (int(row[0]), bytes(row[1]))


def forget_checkpoints(connection: sqlite3.Connection, channel_id: int, from_time: int) -> None:
    """Drop earlier states that a late reading or a changed plan has made stale."""
    connection.execute("DELETE FROM checkpoint WHERE channel = ? AND time >= ?", (channel_id, from_time))


def context_ids(connection: sqlite3.Connection, documents: Sequence[str]) -> list[int]:
    """Return the number of each context document, added if new."""
    numbers: dict[str, int] = {}
    for document in documents:
        if document not in numbers:
            connection.execute("INSERT OR IGNORE INTO context (document) VALUES (?)", (document,))
            row = connection.execute("SELECT id FROM context WHERE document = ?", (document,)).fetchone()
            numbers[document] = int(row[0])
    return [numbers[d] for d in documents]


def add_to_counters(connection: sqlite3.Connection, amounts: Mapping[str, int]) -> None:
    """Add to the named counters."""
    added = [(name, n) for name, n in amounts.items() if n]
    if added:
        connection.execute(
            f"INSERT INTO counter VALUES {', '.join(['(?, ?)'] * len(added))} "  # noqa: S608  constants only
            "ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
            [part for pair in added for part in pair],
        )


def counters(connection: sqlite3.Connection) -> dict[str, int]:
    """Return all counters."""
    found: dict[str, int] = dict.fromkeys(("received", "stored", "duplicate", "quarantined", "late"), 0)
    found.update({str(name): int(n) for name, n in connection.execute("SELECT name, n FROM counter")})
    return found
