"""Where states have come to since their rows were written: one entry for all channels that one batch has moved.

A row for each would change a page of its own, or nearly; an entry is written one byte after the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateway.pipeline.columns import Ints
from gateway.pipeline.intake import Seen
from gateway.pipeline.state import States, dump, dump_together, load_together

__all__ = ["Change", "add", "fold", "forget", "latest", "newest"]

_VERSION = 1
_HEAD = 2
"""Words before the columns: the version, and how many channels there are."""
_COLUMNS = 4
"""One word per channel in each: channel, newest time, boot and seq."""
_WORD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Where a channel stood after a batch. `number`: of the entry; the others are as in its row."""

    number: int
    newest: int
    boot: int
    seq: int
    state: bytes


def add(connection: sqlite3.Connection, channel_ids: Ints, seen: Seen, states: States) -> int:
    """Add an entry of these channels, by the ledger's ids; return its number. In a transaction."""
    head = np.array([_VERSION, len(states)], np.int64)
    columns = np.concatenate((head, channel_ids, seen["newest"], seen["boot"], seen["seq"]))
    blob = columns.astype("<i8").tobytes() + dump_together(states)
    return int(connection.execute("INSERT INTO state_change (states) VALUES (?)", (blob,)).lastrowid or 0)


def newest(connection: sqlite3.Connection) -> int:
    """Return the number of the last entry; 0: there is none."""
    return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM state_change").fetchone()[0])


def latest(connection: sqlite3.Connection) -> tuple[dict[int, Change], int]:
    """Return the last change of each channel, and the last damaged entry, after which older rows lack one; 0: none."""
    found: dict[int, Change] = {}
    damaged = 0
    for number, blob in connection.execute("SELECT id, states FROM state_change ORDER BY id DESC"):
        try:
            found |= _changes(number, blob, found)
        except ValueError:
            damaged = max(damaged, number)
    return found, damaged


def _changes(number: int, blob: bytes, known: Mapping[int, Change]) -> dict[int, Change]:
    """Return the changes of an entry by channel, but of those `known`. Raises ValueError if damaged."""
    version, width = np.frombuffer(blob, "<i8", _HEAD).tolist()
    if version != _VERSION or not 0 <= width <= len(blob):
        raise ValueError("not an entry of states")
    columns = np.frombuffer(blob, "<i8", _COLUMNS * width, _HEAD * _WORD).reshape(_COLUMNS, width)
    states = load_together(blob[(_HEAD + _COLUMNS * width) * _WORD :], width)
    new = [i for i, channel in enumerate(columns[0].tolist()) if channel not in known]
    return {
        channel: Change(number=number, newest=newest, boot=boot, seq=seq, state=state)
        for channel, newest, boot, seq, state in zip(*columns[:, new].tolist(), dump(states[new]), strict=True)
    }


def fold(connection: sqlite3.Connection) -> None:
    """Bring all rows up to date. In a transaction."""
    found, damaged = latest(connection)
    connection.execute("UPDATE state SET state = X'', up_to = ? WHERE up_to < ?", (damaged, damaged))
    connection.executemany(
        "UPDATE state SET up_to = ?1, newest = ?2, seen_boot = ?3, seen_seq = ?4, state = ?5"
        " WHERE channel = ?6 AND up_to < ?1",
        [(c.number, c.newest, c.boot, c.seq, c.state, channel) for channel, c in found.items()],
    )
    forget(connection, newest(connection))


def forget(connection: sqlite3.Connection, before: int) -> None:
    """Delete the entries before this one. In a transaction."""
    connection.execute("DELETE FROM state_change WHERE id < ?", (before,))
