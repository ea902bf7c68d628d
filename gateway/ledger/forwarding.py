"""What the forwarder keeps in the ledger: cursors, the nanosecond of each twin, tags, refused points, last answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.ledger.store import Ledger

__all__ = [
    "ALARM",
    "AMENDED",
    "READING",
    "ROLLUP",
    "Cursor",
    "Refused",
    "aim",
    "alarm_slots",
    "amended_after",
    "beginning",
    "cursors",
    "forget_sent",
    "put_cursor",
    "put_refused",
    "put_series",
    "put_settings",
    "put_words",
    "refused_points",
    "said_settings",
    "series_of",
    "slots",
    "words",
]  # fmt: skip

READING, AMENDED, ALARM, ROLLUP = "reading", "amendment", "alarm", "rollup"
"""The streams: rows of the ledger in the order of their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a stream is sent: rows up to `done`, and rows after `jumped` up to `live`."""

    done: int = 0
    jumped: int = 0
    live: int = 0

    @property
    def whole(self) -> int:
        """Everything up to this row is sent."""
        return self.live if self.done >= self.jumped else self.done


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A point that InfluxDB refused: of which row, and its words."""

    measurement: str
    id: int
    words: str


def aim(ledger: Ledger, target: str) -> None:
    """Note where points go to; for another target everything is to be sent from the beginning."""
    if words(ledger.connection).get("target") != target:
        with ledger.transaction() as connection:
            forget_sent(connection)
            put_words(connection, {"target": target})


def forget_sent(connection: sqlite3.Connection) -> None:
    """Start again from the beginning: the same points are made, so nothing is doubled. In a transaction."""
    number = beginning(connection) + 1
    for table in ("forward_cursor", "forward_poison", "forward_state"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  constants only
    put_words(connection, {"beginning": number})


def beginning(connection: sqlite3.Connection) -> int:
    """Return how often sending has begun anew; a cursor counts only within its own."""
    row = connection.execute("SELECT value FROM forward_state WHERE key = 'beginning'").fetchone()
    return 0 if row is None else int(row[0])


def cursors(connection: sqlite3.Connection) -> dict[str, Cursor]:
    """Return the cursor of each stream that has one."""
    rows = connection.execute("SELECT stream, done, jumped, live FROM forward_cursor")
    return {str(s): Cursor(done=d, jumped=j, live=n) for s, d, j, n in rows}


def put_cursor(connection: sqlite3.Connection, stream: str, cursor: Cursor) -> None:
    """Write how far a stream is sent. In a transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO forward_cursor VALUES (?, ?, ?, ?)", (stream, cursor.done, cursor.jumped, cursor.live)
    )


def words(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what is noted: target, answer, answer_at, sent_at, failing_since, held_since."""
    return {str(k): str(v) for k, v in connection.execute("SELECT key, value FROM forward_state")}


def put_words(connection: sqlite3.Connection, said: Mapping[str, str | int | None]) -> None:
    """Note some of what `words` returns; None: it no longer holds. In a transaction."""
    for key, value in said.items():
        if value is None:
            connection.execute("DELETE FROM forward_state WHERE key = ?", (key,))
        else:
            connection.execute("INSERT OR REPLACE INTO forward_state VALUES (?, ?)", (key, str(value)))


def put_refused(connection: sqlite3.Connection, refused: Iterable[Refused], at: int) -> None:
    """Keep refused points with the words. In a transaction."""
    for r in refused:
        connection.execute("INSERT OR IGNORE INTO forward_words (words) VALUES (?)", (r.words,))
        connection.execute(
            "INSERT OR REPLACE INTO forward_poison SELECT ?, ?, id, ? FROM forward_words WHERE words = ?",
            (r.measurement, r.id, at, r.words),
        )


def refused_points(connection: sqlite3.Connection, limit: int = 1000) -> list[Refused]:
    """Return refused points, the newest first."""
    rows = connection.execute(
        "SELECT p.measurement, p.id, w.words FROM forward_poison p JOIN forward_words w ON w.id = p.words "
        "ORDER BY p.refused_at DESC, p.id DESC LIMIT ?",
        (limit,),
    )
    return [Refused(measurement=m, id=i, words=w) for m, i, w in rows]


def series_of(connection: sqlite3.Connection) -> dict[int, list[tuple[int, str, str]]]:
    """Return the tags of each channel: (from which reading on, site, kind), in that order."""
    found: dict[int, list[tuple[int, str, str]]] = {}
    rows = connection.execute("SELECT channel, since, site, kind FROM forward_series ORDER BY channel, since")
    for channel, since, site, kind in rows:
        found.setdefault(channel, []).append((since, site, kind))
    return found


def put_series(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, str, str]]) -> None:
    """Fix the tags of channels: (channel, from which reading on, site, kind). In a transaction."""
    connection.executemany("INSERT OR REPLACE INTO forward_series VALUES (?, ?, ?, ?)", rows)


def said_settings(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return what the registry said of each (device, channel) when its roll-ups were sent."""
    rows = connection.execute("SELECT device, channel, settings FROM forward_settings")
    return {(str(d), str(c)): str(s) for d, c, s in rows}


def put_settings(connection: sqlite3.Connection, said: Mapping[tuple[str, str], str]) -> None:
    """Note what the registry says of some channels. In a transaction."""
    rows = [(*key, text) for key, text in said.items()]
    connection.executemany("INSERT OR REPLACE INTO forward_settings VALUES (?, ?, ?)", rows)


def amended_after(connection: sqlite3.Connection, after: int, limit: int) -> tuple[int, list[int]]:
    """Return the last of the next superseded verdicts, and the readings they belong to, each once, in order of id."""
    rows = connection.execute(
        "SELECT id, reading FROM amended WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).fetchall()
    return (rows[-1][0], sorted({r for _, r in rows})) if rows else (after, [])


_CROWDED = """
    WITH mine AS MATERIALIZED (SELECT r.id, r.channel, r.time FROM reading r WHERE {which})
    SELECT m.id, m.channel, m.time FROM mine m
    WHERE EXISTS (SELECT 1 FROM moment o WHERE o.channel = m.channel AND o.time = m.time AND o.reading < m.id)
        OR m.id IN (SELECT n.id FROM unplaced o CROSS JOIN mine n
                    ON n.channel = o.channel AND n.time = o.time AND n.id > o.id)
        OR EXISTS (SELECT 1 FROM forward_shift s WHERE s.channel = m.channel AND s.slot = m.time AND s.reading <> m.id)
    ORDER BY m.id"""
_TAKEN = """
    SELECT time FROM moments WHERE channel = ?1 AND time BETWEEN ?2 AND ?3
    UNION SELECT slot FROM forward_shift WHERE channel = ?1 AND slot BETWEEN ?2 AND ?3"""
BLOCK_NS = 4096


class _Free:
    """Finds free nanoseconds of channels and gives each once; within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loaded: set[tuple[int, int]] = set()
        self._next: dict[tuple[int, int], int] = {}
        """From a nanosecond that is taken to one behind it."""

    def take(self, channel: int, slot: int) -> int:
        """Return the first free nanosecond from `slot` on; it is taken now."""
        passed = []
        while True:
            block = slot // BLOCK_NS
            if (channel, block) not in self._loaded:
                self._loaded.add((channel, block))
                bounds = (channel, block * BLOCK_NS, (block + 1) * BLOCK_NS - 1)
                for (taken,) in self._connection.execute(_TAKEN, bounds):
                    self._next.setdefault((channel, taken), taken + 1)
            if (channel, slot) not in self._next:
                break
            passed.append(slot)
            slot = self._next[channel, slot]
        for at in [*passed, slot]:
            self._next[channel, at] = slot + 1
        return slot


def slots(ledger: Ledger, which: str, bounds: Sequence[int]) -> dict[int, int]:
    """Return the nanosecond of each reading of `which` (SQL on `r`) that cannot have its own; kept for ever.

    Of readings of one channel and moment the first to arrive has its time, the others the next free nanosecond. Once
    given it is durable before it is used, so a resend makes the same point; and a later reading that was made at a
    nanosecond given away moves on itself.
    """
    connection = ledger.connection
    crowded = connection.execute(_CROWDED.format(which=which), bounds).fetchall()
    if not crowded:
        return {}
    known = "SELECT s.reading, s.slot FROM forward_shift s JOIN reading r ON r.id = s.reading WHERE "
    found = {int(i): int(s) for i, s in connection.execute(known + which, bounds)}
    new = [row for row in crowded if row[0] not in found]
    if not new:
        return found
    connection.execute("PRAGMA synchronous = FULL")
    try:
        with ledger.transaction():
            free = _Free(connection)
            for reading, channel, time in new:
                slot = free.take(channel, time + 1)
                connection.execute("INSERT INTO forward_shift VALUES (?, ?, ?)", (reading, channel, slot))
                found[reading] = slot
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")
    return found


def alarm_slots(ledger: Ledger, events: Sequence[tuple[int, str, int]]) -> dict[int, int]:
    """Return the nanosecond of alarm events (number, series, time): its time, or the next free one; kept for ever."""
    connection = ledger.connection
    found: dict[int, int] = {}
    connection.execute("PRAGMA synchronous = FULL")
    try:
        with ledger.transaction():
            for number, series, time in events:
                known = connection.execute("SELECT slot FROM forward_alarm WHERE event = ?", (number,)).fetchone()
                slot = time if known is None else int(known[0])
                while known is None:
                    taken = "SELECT 1 FROM forward_alarm WHERE series = ? AND slot = ?"
                    if connection.execute(taken, (series, slot)).fetchone() is None:
                        connection.execute("INSERT INTO forward_alarm VALUES (?, ?, ?)", (number, series, slot))
                        break
                    slot += 1
                found[number] = slot
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")
    return found
