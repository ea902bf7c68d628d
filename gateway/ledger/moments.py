"""Places readings among those of their channel, many at a time: written as they come, they lie in order of arrival."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gateway.ledger.readings import insert_rows
from gateway.pipeline.columns import Ints

__all__ = ["SLOTS", "Unplaced", "misplaced", "place", "wrong"]

SLOTS = 64
"""Channels are placed in so many turns: those of one slot together. The schema counts on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """Readings that are written and not placed yet: ids of channels and readings, times in ns; `seq` -1: none."""

    channel: Ints
    time: Ints
    reading: Ints
    seq: Ints
    boot: npt.NDArray[np.object_]

    @classmethod
    def of(cls, parts: Sequence[Unplaced] = ()) -> Self:
        """Return all of them."""

        def joined(name: str, kind: Any) -> npt.NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, kind)

        return cls(
            channel=joined("channel", np.int64), time=joined("time", np.int64), reading=joined("reading", np.int64),
            seq=joined("seq", np.int64), boot=joined("boot", object),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.channel)

    def picked(self, rows: npt.NDArray[Any]) -> Unplaced:
        """Return some of them, in the order of `rows`."""
        return Unplaced(
            channel=self.channel[rows], time=self.time[rows], reading=self.reading[rows], seq=self.seq[rows],
            boot=self.boot[rows],
        )  # fmt: skip

    def insert(self, connection: sqlite3.Connection, table: str, names: Sequence[str]) -> None:
        """Insert them into a table, but those that are there already."""
        insert_rows(connection, table, {name: getattr(self, name).tolist() for name in names}, clash="IGNORE")

    def place(self, connection: sqlite3.Connection, slots: Sequence[int] = range(SLOTS)) -> Unplaced:
        """Place the readings of some slots; return the others. In a transaction."""
        due = np.isin(self.channel % SLOTS, slots) if len(slots) < SLOTS else np.ones(len(self), np.bool_)
        if not due.any():
            return self
        some = self.picked(due)
        some.picked(np.lexsort((some.time, some.channel))).insert(connection, "moment", ("channel", "time", "reading"))
        numbered = some.picked((some.seq >= 0) & (some.boot != None))  # noqa: E711  element by element
        if len(numbered):
            ordered = numbered.picked(np.lexsort((numbered.seq, numbered.channel)))
            ordered.insert(connection, "number", ("channel", "seq", "boot", "reading"))
        connection.execute(
            f"UPDATE placed SET up_to = MAX(up_to, ?) WHERE slot IN ({', '.join(map(str, slots))})",  # noqa: S608  numbers
            (int(self.reading.max()),),
        )
        return self.picked(~due)


def place(connection: sqlite3.Connection) -> None:
    """Place every reading that is not yet, whoever wrote it. In a transaction."""
    connection.execute("INSERT INTO moment SELECT channel, time, id FROM unplaced ORDER BY channel, time, id")
    connection.execute(
        "INSERT INTO number SELECT channel, seq, boot, id FROM unplaced WHERE boot IS NOT NULL AND seq IS NOT NULL "
        "ORDER BY channel, seq, boot, id"
    )
    connection.execute("UPDATE placed SET up_to = MAX(up_to, (SELECT COALESCE(MAX(id), 0) FROM reading))")


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
