"""Places readings among those of their channel, many at a time: written as they come, they lie in order of arrival."""

from __future__ import annotations

import sqlite3

__all__ = ["SLOTS", "misplaced", "place", "unplaced", "wrong"]

SLOTS = 8
"""Channels are placed in so many turns."""

_NEW = """FROM reading WHERE id > (SELECT MIN(up_to) FROM placed WHERE ?1 IS NULL OR slot = ?1)
    AND (?1 IS NULL OR channel % 8 = ?1) AND id > (SELECT up_to FROM placed WHERE slot = channel % 8)"""


def place(connection: sqlite3.Connection, slot: int | None = None) -> None:
    """Place the readings that are not yet, so that they are found by time and number without a search: all of them, or
    those of one slot. In a transaction.
    """
    connection.execute(f"INSERT INTO moment SELECT channel, time, id {_NEW} ORDER BY channel, time, id", (slot,))
    connection.execute(
        f"INSERT INTO number SELECT channel, seq, boot, id {_NEW} AND boot IS NOT NULL AND seq IS NOT NULL "
        "ORDER BY channel, seq, boot, id",
        (slot,),
    )
    connection.execute(
        "UPDATE placed SET up_to = MAX(up_to, (SELECT COALESCE(MAX(id), 0) FROM reading)) "
        "WHERE ?1 IS NULL OR slot = ?1",
        (slot,),
    )


def unplaced(connection: sqlite3.Connection) -> int:
    """Return how many readings are not placed yet."""
    return int(connection.execute(f"SELECT COUNT(*) {_NEW}", (None,)).fetchone()[0])


def misplaced(connection: sqlite3.Connection) -> list[tuple[int, int | None, int | None]]:
    """Return (channel, time it is placed at, its own time) of what is wrong; None: not there. None of it can be but by
    damage or by other hands.
    """
    found = connection.execute(
        """SELECT m.channel, m.time, r.time FROM moment m
           LEFT JOIN reading r ON r.id = m.reading AND r.channel = m.channel WHERE r.time IS NOT m.time
           UNION ALL
           SELECT channel, NULL, time FROM reading r JOIN placed p ON p.slot = channel % 8
           WHERE id <= up_to AND NOT EXISTS
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
                + ABS((SELECT COUNT(*) FROM reading JOIN placed ON slot = channel % 8
                       WHERE id <= up_to AND boot IS NOT NULL AND seq IS NOT NULL) - (SELECT COUNT(*) FROM number))"""
    ).fetchone()
    return len(misplaced(connection)) + int(numbers)
