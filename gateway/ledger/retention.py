"""What the ledger has deleted on purpose: the horizon of each channel, the rows behind it, and the record of it.

A horizon is drawn in one transaction: from then on nothing before it is read or taken in, and what is left behind
there (the channel's state, what its register had advanced) is data. The rows are deleted afterwards, some at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.pipeline.columns import Ints

__all__ = [
    "CHUNK", "Deletion", "Horizon", "begin_anew", "close_run", "count_between", "counts_device", "delete_some",
    "deletions", "draw", "draw_rolled", "first_left", "first_time", "horizon_of", "horizons", "is_settled",
    "kept_steps", "open_run", "pending", "rolled_until", "unsettled",
]  # fmt: skip

CHUNK = 500
"""So many rows are deleted in one transaction."""
FAR = 20_000
"""While so many superseded verdicts wait to be forwarded, nothing is deleted."""

_OLDEST = """
    SELECT id, time, value, reference, boot, seq, context, verdict FROM by_time
    WHERE channel = ? AND time < ? AND id < (SELECT MAX(id) FROM reading) ORDER BY time LIMIT ?"""

_DRAW_ROLLED = """
    UPDATE horizon SET rolled = MIN(?1, time), pending = 1
    WHERE rolled < MIN(?1, time)
      AND EXISTS (SELECT 1 FROM rollup r WHERE r.channel = horizon.channel AND r.start < MIN(?1, time))
      AND NOT EXISTS
          (SELECT 1 FROM rollup r WHERE r.channel = horizon.channel AND r.start < MIN(?1, time) AND r.revision > ?2)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Readings before `time` are gone, roll-ups before `rolled`; `state` is what was there. Times in ns."""

    time: int
    rolled: int
    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """One run: when, up to where (ns), how much, and a SHA-256 over the rows in the order of deletion."""

    begun_at: int
    ended_at: int | None
    raw_before: int
    rolled_before: int
    readings: int
    verdicts: int
    rollups: int
    first_time: int | None
    last_time: int | None
    digest: str


def horizon_of(connection: sqlite3.Connection, channel_id: int) -> Horizon | None:
    """Return the horizon of a channel; None: nothing of it was ever deleted."""
    row = connection.execute("SELECT time, rolled, state FROM horizon WHERE channel = ?", (channel_id,)).fetchone()
    return None if row is None else Horizon(time=int(row[0]), rolled=int(row[1]), state=bytes(row[2]))


def first_left(connection: sqlite3.Connection, channel_id: int) -> int:
    """Return from when (ns) on readings of the channel are kept; far back where none were ever deleted."""
    row = connection.execute("SELECT time FROM horizon WHERE channel = ?", (channel_id,)).fetchone()
    return -(2**63) if row is None else int(row[0])


def rolled_until(connection: sqlite3.Connection) -> int:
    """Return from when (ns) on no channel lacks roll-ups; 0: nothing of them was ever deleted."""
    return int(connection.execute("SELECT COALESCE(MAX(rolled), 0) FROM horizon").fetchone()[0])


def horizons(connection: sqlite3.Connection, channel_ids: Ints) -> Ints | None:
    """Return the horizon (ns) of each of these channels, NEVER where there is none; None: nothing was ever deleted."""
    known = {int(c): int(t) for c, t in connection.execute("SELECT channel, time FROM horizon")}
    if not known:
        return None
    import numpy as np

    from gateway.pipeline.plan import NEVER

    return np.array([known.get(c, NEVER) for c in channel_ids.tolist()], np.int64)


def draw(
    connection: sqlite3.Connection, channel_id: int, time: int, state: bytes, steps: Iterable[tuple[int, float]]
) -> None:
    """Draw the horizon of a channel at `time` (ns); `steps`: what its register had advanced, hour by hour.

    In a transaction. Earlier states before the horizon go with it: `state` stands for them.
    """
    connection.execute(
        "INSERT INTO horizon VALUES (?1, ?2, 0, ?3, 1)"
        " ON CONFLICT (channel) DO UPDATE SET time = ?2, state = ?3, pending = 1",
        (channel_id, time, state),
    )
    connection.execute("DELETE FROM checkpoint WHERE channel = ? AND time < ?", (channel_id, time))
    connection.executemany("INSERT OR REPLACE INTO rollup_step VALUES (?, ?, ?)", [(channel_id, *s) for s in steps])


def draw_rolled(connection: sqlite3.Connection, before: int, settled: int | None) -> int:
    """Let roll-ups go that begin before `before` (ns) and before their horizon; return of how many channels.

    Only those made up to the revision `settled`, where one is given. In a transaction.
    """
    done = connection.execute(_DRAW_ROLLED, (before, 2**63 - 1 if settled is None else settled))
    return done.rowcount


def begin_anew(connection: sqlite3.Connection, channel_id: int, state: bytes) -> None:
    """Put another state at the horizon: the one that was there was judged by other rules. In a transaction."""
    connection.execute("UPDATE horizon SET state = ? WHERE channel = ?", (state, channel_id))


def pending(connection: sqlite3.Connection) -> int | None:
    """Return a channel with rows behind its horizon that are still to be deleted; None: there is none."""
    row = connection.execute("SELECT channel FROM horizon WHERE pending LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def first_time(connection: sqlite3.Connection, channel_id: int, after: int) -> int | None:
    """Return the time (ns) of the channel's first reading from `after` on."""
    row = connection.execute(
        "SELECT time FROM moments WHERE channel = ? AND time >= ? ORDER BY time LIMIT 1", (channel_id, after)
    ).fetchone()
    return None if row is None else int(row[0])


def counts_device(connection: sqlite3.Connection, channel_id: int, start: int, end: int) -> bool:
    """Return whether the channel has readings in [start, end) ns whose `seq` counts all channels of the device."""
    found = "SELECT 1 FROM reading WHERE channel = ? AND time >= ? AND time < ? AND seq_per_device LIMIT 1"
    return connection.execute(found, (channel_id, start, end)).fetchone() is not None


def count_between(connection: sqlite3.Connection, channel_id: int, start: int, end: int) -> int:
    """Return how many readings of the channel lie in [start, end) ns."""
    row = connection.execute(
        "SELECT COUNT(*) FROM moments WHERE channel = ? AND time >= ? AND time < ?", (channel_id, start, end)
    ).fetchone()
    return int(row[0])


def is_settled(connection: sqlite3.Connection, channel_id: int, start: int, end: int, read: int) -> bool:
    """Return whether others have taken over all readings of the channel in [start, end) ns: those up to reading.id
    `read`."""
    later = "SELECT 1 FROM moments WHERE channel = ? AND time >= ? AND time < ? AND id > ? LIMIT 1"
    return connection.execute(later, (channel_id, start, end, read)).fetchone() is None


def unsettled(connection: sqlite3.Connection, amended: int) -> dict[int, int] | None:
    """Return by channel the earliest time (ns) whose verdict was superseded after `amended`, up to which others have
    come; None: they are far behind."""
    head = connection.execute("SELECT MAX(id) FROM amended").fetchone()[0] or 0
    if head - amended > FAR:
        return None
    rows = connection.execute(
        "SELECT r.channel, MIN(r.time) FROM amended a JOIN reading r ON r.id = a.reading WHERE a.id > ?"
        " GROUP BY r.channel",
        (amended,),
    )
    return {int(channel): int(time) for channel, time in rows}


def delete_some(connection: sqlite3.Connection, channel_id: int, run: int, around: int) -> int:
    """Delete some rows behind a channel's horizon, the oldest first; return how many. In a transaction.

    The last `around` readings before the horizon stay, unseen: what the next register reading means depends on them.
    So does the newest row of the ledger, whose number must not be given again.
    """
    (horizon, rolled) = connection.execute(
        "SELECT time, rolled FROM horizon WHERE channel = ?", (channel_id,)
    ).fetchone()
    edge = connection.execute(
        "SELECT time FROM moments WHERE channel = ? AND time < ? ORDER BY time DESC LIMIT 1 OFFSET ?",
        (channel_id, horizon, around - 1),
    ).fetchone()
    rows = [] if edge is None else connection.execute(_OLDEST, (channel_id, edge[0], CHUNK)).fetchall()
    ids = [(r[0],) for r in rows]
    connection.executemany("DELETE FROM amendment WHERE reading = ?", ids)
    connection.executemany("DELETE FROM forward_shift WHERE reading = ? AND slot < ?", [(*i, horizon) for i in ids])
    connection.executemany("DELETE FROM reading WHERE id = ?", ids)
    hours = _delete_rollups(connection, channel_id, rolled) if len(rows) < CHUNK else 0
    _note(connection, run, channel_id, rows, hours)
    if len(rows) < CHUNK and hours < CHUNK:
        connection.execute("UPDATE horizon SET pending = 0 WHERE channel = ?", (channel_id,))
    return len(rows) + hours


def _delete_rollups(connection: sqlite3.Connection, channel_id: int, before: int) -> int:
    which = "SELECT start FROM rollup WHERE channel = ?1 AND start < ?2 ORDER BY start LIMIT ?3"
    found = connection.execute(which, (channel_id, before, CHUNK)).fetchall()
    for table in ("rollup", "rollup_step"):
        connection.executemany(
            f"DELETE FROM {table} WHERE channel = ? AND start = ?",  # noqa: S608  constants only
            [(channel_id, start) for (start,) in found],
        )
    return len(found)


def _note(
    connection: sqlite3.Connection, run: int, channel_id: int, rows: list[tuple[object, ...]], hours: int
) -> None:
    """Add to the record of a run what has just been deleted."""
    if not rows and not hours:
        return
    (digest,) = connection.execute("SELECT digest FROM deletion WHERE id = ?", (run,)).fetchone()
    for row in rows:
        digest = sha256(f"{digest}{channel_id}{row!r}".encode()).hexdigest()
    times = [row[1] for row in rows] or [None]
    connection.execute(
        "UPDATE deletion SET readings = readings + ?2, verdicts = verdicts + ?3, rollups = rollups + ?4, digest = ?5,"
        " first_time = MIN(COALESCE(first_time, ?6), COALESCE(?6, first_time)),"
        " last_time = MAX(COALESCE(last_time, ?7), COALESCE(?7, last_time)) WHERE id = ?1",
        (run, len(rows), sum(row[-1] is not None for row in rows), hours, digest, times[0], times[-1]),
    )


def open_run(connection: sqlite3.Connection, at: int, raw_before: int, rolled_before: int) -> int:
    """Return the number of the run that is not ended, one that a death cut short too, or of a new one.

    In a transaction.
    """
    row = connection.execute("SELECT id FROM deletion WHERE ended_at IS NULL").fetchone()
    if row is not None:
        return int(row[0])
    added = connection.execute(
        "INSERT INTO deletion (begun_at, raw_before, rolled_before) VALUES (?, ?, ?)", (at, raw_before, rolled_before)
    )
    return int(added.lastrowid or 0)


def close_run(connection: sqlite3.Connection, at: int) -> None:
    """End the run, if one is open. In a transaction."""
    connection.execute("UPDATE deletion SET ended_at = ? WHERE ended_at IS NULL", (at,))


def deletions(connection: sqlite3.Connection, limit: int = 100) -> list[Deletion]:
    """Return the runs that deleted something, the newest first."""
    names = "begun_at, ended_at, raw_before, rolled_before, readings, verdicts, rollups, first_time, last_time, digest"
    rows = connection.execute(f"SELECT {names} FROM deletion ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608
    return [Deletion(**dict(zip(names.split(", "), row, strict=True))) for row in rows]


def kept_steps(connection: sqlite3.Connection, channel_id: int, start: int, end: int) -> list[tuple[int, float]]:
    """Return (hour, what the register had advanced in it) of hours before the horizon that begin in [start, end)."""
    rows = connection.execute(
        "SELECT start, step FROM rollup_step WHERE channel = ? AND start >= ? AND start < ? ORDER BY start",
        (channel_id, start, end),
    )
    return [(int(s), float(step)) for s, step in rows]
