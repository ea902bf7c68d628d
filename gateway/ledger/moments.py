"""Places readings among those of their channel, many at a time: written as they come, they lie in order of arrival."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from gateway.ledger.readings import insert_rows
from gateway.pipeline.columns import Ints

__all__ = ["SLOTS", "Unplaced", "first_unplaced", "misplaced", "place", "wrong"]

SLOTS = 64
"""Channels are placed in so many turns: those of one slot together. The schema counts on it; a power of two."""
_NUMBERS = (
    "INSERT OR IGNORE INTO number SELECT r.channel, r.seq, r.boot, r.id"
    " FROM json_each(?) given CROSS JOIN reading r ON r.id = given.value"
    " WHERE r.boot IS NOT NULL AND r.seq IS NOT NULL ORDER BY 1, 2, 3, 4"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """Readings that are written and not placed yet: ids of their channels, times (ns), own ids; `numbered`: some may
    have a number."""

    channel: Ints
    time: Ints
    reading: Ints
    numbered: bool = False

    @classmethod
    def of(cls, parts: Sequence[Unplaced] = ()) -> Self:
        """Return all of them."""
        none = np.zeros(0, np.int64)
        return cls(
            channel=np.concatenate([none, *(part.channel for part in parts)]),
            time=np.concatenate([none, *(part.time for part in parts)]),
            reading=np.concatenate([none, *(part.reading for part in parts)]),
            numbered=any(part.numbered for part in parts),
        )

    def __len__(self) -> int:
        return len(self.channel)

    def place(self, connection: sqlite3.Connection, slots: Sequence[int] = range(SLOTS)) -> Unplaced:
        """Place the readings of some slots; return the others. In a transaction."""
        turn = np.zeros(SLOTS, np.bool_)
        turn[list(slots)] = True
        due = turn[self.channel & (SLOTS - 1)]
        if not due.any():
            return self
        channel, time, reading = self.channel[due], self.time[due], self.reading[due]
        order = np.lexsort((reading, time, channel))
        rows = {"channel": channel[order], "time": time[order], "reading": reading[order]}
        insert_rows(connection, "moment", {name: column.tolist() for name, column in rows.items()}, clash="IGNORE")
        if self.numbered:
            connection.execute(_NUMBERS, (json.dumps(reading.tolist()),))
        connection.execute(
            f"UPDATE placed SET up_to = MAX(up_to, ?) WHERE slot IN ({', '.join(map(str, slots))})",  # noqa: S608  numbers
            (int(self.reading.max()),),
        )
        rest = ~due
        return Unplaced(
            channel=self.channel[rest], time=self.time[rest], reading=self.reading[rest], numbered=self.numbered
        )


def place(connection: sqlite3.Connection) -> None:
    """Place every reading that is not yet, whoever wrote it. In a transaction."""
    connection.execute("INSERT INTO moment SELECT channel, time, id FROM unplaced ORDER BY channel, time, id")
    connection.execute(
        "INSERT INTO number SELECT channel, seq, boot, id FROM unplaced WHERE boot IS NOT NULL AND seq IS NOT NULL "
        "ORDER BY channel, seq, boot, id"
    )
    connection.execute("UPDATE placed SET up_to = MAX(up_to, (SELECT COALESCE(MAX(id), 0) FROM reading))")


def first_unplaced(connection: sqlite3.Connection) -> int:
    """Return the first time (ns) of a reading that is not placed; far ahead if there is none."""
    found = connection.execute("SELECT MIN(time) FROM unplaced").fetchone()[0]
    return 2**63 - 1 if found is None else int(found)


def misplaced(connection: sqlite3.Connection) -> list[tuple[int, int | None, int | None]]:
    """Return (channel, time it is placed at, its own time) of what is wrong; None: not there. None of it can be but by
    damage or by other hands.
    """
    found = connection.execute(
        """SELECT m.channel, m.time, r.time FROM moment m
           LEFT JOIN reading r ON r.id = m.reading AND r.channel = m.channel WHERE r.time IS NOT m.time
           UNION ALL
           SELECT channel, NULL, time FROM reading r WHERE id NOT IN (SELECT id FROM unplaced) AND NOT EXISTS
               (SELECT 1 FROM moment m WHERE m.channel = r.channel AND m.time = r.time AND m.reading = r.id)"""
    ).fetchall()
    moved = {(channel, own) for channel, placed, own in found if placed is not None}
    return [row for row in found if row[1] is not None or (row[0], row[2]) not in moved]


def wrong(connection: sqlite3.Connection) -> int:
    """Return how many entries by time or number are wrong or missing: any means damage.

    A ledger of an older schema has indexes instead, which SQLite checks itself.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'placed'").fetchone() is None:
        return 0
    (numbers,) = connection.execute(
        """SELECT (SELECT COUNT(*) FROM number n WHERE NOT EXISTS
                   (SELECT 1 FROM reading r WHERE r.id = n.reading AND r.channel = n.channel AND r.seq = n.seq
                    AND r.boot = n.boot))
                + ABS((SELECT COUNT(*) FROM reading WHERE boot IS NOT NULL AND seq IS NOT NULL)
                      - (SELECT COUNT(*) FROM numbers))"""
    ).fetchone()
    return len(misplaced(connection)) + int(numbers)
