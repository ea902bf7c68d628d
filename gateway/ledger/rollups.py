"""Hourly roll-ups as stored: which hours hold, which are stale, and how far the reader has come.

What a roll-up says is the business of `gateway.history.pieces`; here it is bytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = [
    "HOUR_NS", "Stale", "begin", "changed", "counted_with", "cursor", "first_stale", "hours_after", "hours_before",
    "is_amended", "is_rolled", "note_marked", "put", "revision", "rolled", "stale_hours", "touch",
    "unmarked", "waiting",
]  # fmt: skip

HOUR_NS = 3600 * 10**9
FAR = 100_000
"""With so many unmarked readings, a channel's own index is shorter than the list of what has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """An hour of a channel whose roll-up must be made again; `mark` is the last mark known for it."""

    channel: int
    start: int
    mark: int


def cursor(connection: sqlite3.Connection, layout: int) -> int | None:
    """Return up to which reading.id hours are marked; None: there are no roll-ups of this layout."""
    found = dict(connection.execute("SELECT name, n FROM rollup_cursor"))
    return int(found["reading"]) if found.get("layout") == layout else None


def begin(connection: sqlite3.Connection, layout: int) -> int:
    """Return the cursor; roll-ups of another layout are dropped, to be made again, but those whose readings are gone.

    In a transaction.
    """
    known = cursor(connection, layout)
    if known is not None:
        return known
    connection.execute(
        "DELETE FROM rollup WHERE NOT EXISTS"
        " (SELECT 1 FROM horizon h WHERE h.channel = rollup.channel AND h.time > rollup.start)"
    )
    connection.execute("DELETE FROM rollup_stale")
    connection.executemany(
        "INSERT INTO rollup_cursor VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n",
        [("reading", 0), ("layout", layout), ("revision", revision(connection) + 1)],
    )
    return 0


def revision(connection: sqlite3.Connection) -> int:
    """Return the last revision given; 0: none yet. It grows with every marking and making."""
    row = connection.execute("SELECT n FROM rollup_cursor WHERE name = 'revision'").fetchone()
    return 0 if row is None else int(row[0])


def unmarked(connection: sqlite3.Connection, after: int, limit: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the hours (channel, start) of the next readings after `after`, and the last id looked at.

    With those whose gaps these readings may change: of other channels too, where one `seq` counts them all.
    """
    top = connection.execute(
        "SELECT MAX(id) FROM (SELECT id FROM reading WHERE id > ? ORDER BY id LIMIT ?)", (after, limit)
    ).fetchone()[0]
    if top is None:
        return after, []
    rows = connection.execute(
        "SELECT DISTINCT channel, time - time % ?3, COALESCE(seq_per_device, 0) FROM reading"
        " WHERE id > ?1 AND id <= ?2",
        (after, top, HOUR_NS),
    ).fetchall()
    hours = {(int(channel), int(hour)) for channel, hour, _ in rows}
    for channel, group in groupby(sorted((c, h) for c, h, counts_device in rows if counts_device), lambda r: r[0]):
        touched = [hour for _, hour in group]
        hours.update(h for o in counted_with(connection, channel) for h in _told_by(connection, o, touched))
    return int(top), sorted(hours)


def counted_with(connection: sqlite3.Connection, channel: int) -> list[int]:
    """Return the channels, this one too, whose readings one `seq` of their device counts; none if it is not counted."""
    rows = connection.execute(
        "SELECT o.id FROM channel c JOIN channel o ON o.device = c.device WHERE c.id = ? AND EXISTS"
        " (SELECT 1 FROM reading r WHERE r.channel = o.id AND r.seq_per_device)",
        (channel,),
    )
    found = [int(o) for (o,) in rows]
    return found if channel in found else []


def _told_by(connection: sqlite3.Connection, channel: int, touched: Iterable[int]) -> set[tuple[int, int]]:
    """Return the hours (channel, start) of this channel with a reading whose gap hangs on readings of the device in the
    hours `touched`: the same hours, and those of the first reading after each.
    """
    first = "SELECT MIN(time) FROM reading WHERE channel = ? AND seq_per_device AND time >= ?"
    found: set[tuple[int, int]] = set()
    for hour in touched:
        for since in (hour, hour + HOUR_NS):
            time = connection.execute(first, (channel, since)).fetchone()[0]
            if time is not None:
                found.add((channel, int(time) - int(time) % HOUR_NS))
    return found


def note_marked(connection: sqlite3.Connection, top: int, hours: Iterable[tuple[int, int]]) -> None:
    """Mark hours (channel, start) as stale and move the cursor to `top`; in a transaction.

    Those whose readings are gone are left, and those that are marked already: whoever has read one of these since
    finds another revision.
    """
    connection.execute(
        "WITH hour (channel, start) AS"
        " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
        " INSERT INTO rollup_stale (channel, start) SELECT channel, start FROM hour"
        " WHERE NOT EXISTS (SELECT 1 FROM rollup_stale s WHERE s.channel = hour.channel AND s.start = hour.start)"
        " AND NOT EXISTS (SELECT 1 FROM horizon h WHERE h.channel = hour.channel AND h.time > hour.start)",
        (json.dumps([*hours]),),
    )
    connection.execute("UPDATE rollup_cursor SET n = ? WHERE name = 'reading'", (top,))
    connection.execute("UPDATE rollup_cursor SET n = n + 1 WHERE name = 'revision'")


def waiting(connection: sqlite3.Connection, until: int, limit: int) -> list[Stale]:
    """Return stale hours that end by `until` (ns), by channel and time."""
    rows = connection.execute(
        "SELECT channel, start, MAX(id) FROM rollup_stale WHERE start <= ? GROUP BY channel, start LIMIT ?",
        (until - HOUR_NS, limit),
    )
    return [Stale(channel=c, start=s, mark=m) for c, s, m in rows]


def put(
    connection: sqlite3.Connection, made: Sequence[Stale], pieces: Iterable[tuple[int, int, bytes]], number: int
) -> None:
    """Write the roll-ups (channel, start, piece) of the hours `made`; one without a piece is dropped.

    In a transaction, and only if `revision` is still what it was when the pieces were read; `number` is the next one.
    """
    keys = [(s.channel, s.start) for s in made]
    connection.executemany("DELETE FROM rollup WHERE channel = ? AND start = ?", keys)
    connection.executemany("INSERT INTO rollup VALUES (?, ?, ?, ?)", [(c, s, number, p) for c, s, p in pieces])
    connection.executemany(
        "DELETE FROM rollup_stale WHERE channel = ? AND start = ? AND id <= ?",
        [(s.channel, s.start, s.mark) for s in made],
    )
    connection.execute("UPDATE rollup_cursor SET n = ? WHERE name = 'revision'", (number,))


def rolled(connection: sqlite3.Connection, channel: int, start: int, end: int) -> bytes:
    """Return a channel's pieces of hours that begin in [start, end), one behind the other, stale ones too."""
    rows = connection.execute(
        "SELECT piece FROM rollup WHERE channel = ? AND start >= ? AND start < ? ORDER BY start", (channel, start, end)
    )
    return b"".join([piece for (piece,) in rows.fetchall()])


def first_stale(connection: sqlite3.Connection, channel: int) -> int:
    """Return the channel's first hour (ns) whose roll-up is marked as not holding; far ahead if there is none."""
    found = connection.execute("SELECT MIN(start) FROM rollup_stale WHERE channel = ?", (channel,)).fetchone()[0]
    return 2**63 - 1 if found is None else int(found)


def stale_hours(connection: sqlite3.Connection, channel: int, after: int) -> list[int]:
    """Return the channel's hours whose roll-up does not hold; `after` is the cursor."""
    marked = connection.execute("SELECT DISTINCT start FROM rollup_stale WHERE channel = ?", (channel,)).fetchall()
    newest = connection.execute("SELECT MAX(id) FROM reading").fetchone()[0] or 0
    rows = "moments WHERE +id > ?1" if newest - after > FAR else "reading WHERE id > ?1"  # + hides an index
    new = connection.execute(
        f"SELECT DISTINCT time - time % ?3 FROM {rows} AND channel = ?2",  # noqa: S608  constants only
        (after, channel, HOUR_NS),
    ).fetchall()
    hours = {int(s) for (s,) in (*marked, *new)}
    together = counted_with(connection, channel)
    if together:
        chosen = "+id > ?1 AND channel" if newest - after > FAR else "id > ?1 AND +channel"
        touched = connection.execute(
            f"SELECT DISTINCT time - time % ?2 FROM reading"  # noqa: S608  constants only
            f" WHERE {chosen} IN ({', '.join(map(str, together))}) AND seq_per_device",
            (after, HOUR_NS),
        ).fetchall()
        hours |= {start for _, start in _told_by(connection, channel, [int(t) for (t,) in touched])}
    return sorted(hours)


def changed(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, int, int, bytes]]:
    """Return roll-ups made after a revision, in the order of making: (revision, channel, start, piece).

    Whole revisions only, so that the last one returned is a cursor; at least one, however large.
    """
    last = connection.execute(
        "SELECT MAX(revision) FROM (SELECT revision FROM rollup WHERE revision > ? ORDER BY revision LIMIT ?)",
        (after, limit),
    ).fetchone()[0]
    if last is None:
        return []
    return connection.execute(
        "SELECT revision, channel, start, piece FROM rollup WHERE revision > ? AND revision <= ? ORDER BY revision",
        (after, last),
    ).fetchall()


def is_rolled(connection: sqlite3.Connection, channel: int, until: int) -> bool:
    """Return whether the channel has a roll-up made up to this revision."""
    found = "SELECT 1 FROM rollup WHERE channel = ? AND revision <= ? LIMIT 1"
    return connection.execute(found, (channel, until)).fetchone() is not None


def touch(connection: sqlite3.Connection, channel: int) -> None:
    """Give all roll-ups of a channel a new revision: who passes them on does so again. In a transaction."""
    number = revision(connection) + 1
    connection.execute("UPDATE rollup SET revision = ? WHERE channel = ?", (number, channel))
    connection.execute("UPDATE rollup_cursor SET n = ? WHERE name = 'revision'", (number,))


def hours_before(connection: sqlite3.Connection, channel: int, time: int, n: int) -> set[int]:
    """Return the hours that hold the channel's last `n` readings before `time`, as far as they have a roll-up."""
    return _rolled_hours(connection, channel, "time < ?2 ORDER BY time DESC", time, n)


def hours_after(connection: sqlite3.Connection, channel: int, time: int, n: int) -> set[int]:
    """Return the hours that hold the channel's first `n` readings from `time` on, as far as they have a roll-up."""
    return _rolled_hours(connection, channel, "time >= ?2 ORDER BY time", time, n)


def _rolled_hours(connection: sqlite3.Connection, channel: int, chosen: str, time: int, n: int) -> set[int]:
    rows = connection.execute(
        f"SELECT DISTINCT start FROM rollup WHERE channel = ?1 AND start IN "  # noqa: S608  constants only
        f"(SELECT time - time % {HOUR_NS} FROM (SELECT time FROM moments WHERE channel = ?1 AND {chosen} LIMIT ?3))",
        (channel, time, n),
    )
    return {int(start) for (start,) in rows}


def is_amended(connection: sqlite3.Connection, channel: int, start: int, end: int) -> bool:
    """Return whether a verdict of the channel in [start, end) has been superseded."""
    row = connection.execute(
        "SELECT 1 FROM by_time r WHERE r.channel = ? AND r.time >= ? AND r.time < ? AND r.verdict IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM amendment a WHERE a.reading = r.id) LIMIT 1",
        (channel, start, end),
    ).fetchone()
    return row is not None
