"""The registry as applied: every version of every document is kept, the newest holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.registry.model import DriftSettings

__all__ = [
    "Document", "designed", "designed_for", "documents", "put", "put_designed", "put_designed_for",
]  # fmt: skip

Document = tuple[str, str, bytes]
"""(kind, id, canonical JSON)."""


def _bump(connection: sqlite3.Connection) -> None:
    connection.execute(
        """INSERT INTO meta VALUES ('registry_version', '1')
           ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"""
    )


def documents(connection: sqlite3.Connection) -> list[Document]:
    """Return the newest version of every document, in the order in which they first came."""
    rows = connection.execute(
        """SELECT r.kind, r.id, r.document FROM registry r
           JOIN (SELECT MAX(version) AS newest, MIN(version) AS first FROM registry GROUP BY kind, id) v
             ON v.newest = r.version ORDER BY v.first"""
    )
    return [(str(k), str(i), bytes(d)) for k, i, d in rows]


def put(connection: sqlite3.Connection, new: Iterable[Document], at: int) -> None:
    """Add versions of documents; `at` in ns."""
    connection.executemany(
        "INSERT INTO registry (kind, id, document, applied_at) VALUES (?, ?, ?, ?)", [(k, i, d, at) for k, i, d in new]
    )
    _bump(connection)


def designed(connection: sqlite3.Connection) -> dict[tuple[str, str], list[tuple[int, DriftSettings]]]:
    """Return the designed chart settings per (device, channel): from when (ns), and what; in time order."""
    found: dict[tuple[str, str], list[tuple[int, DriftSettings]]] = {}
    shared: dict[str, DriftSettings] = {}
    for d, c, since, settings in connection.execute("SELECT * FROM designed ORDER BY device, channel, since"):
        if settings not in shared:
            shared[settings] = json.loads(settings)
        found.setdefault((str(d), str(c)), []).append((int(since), shared[settings]))
    return found


def put_designed(connection: sqlite3.Connection, new: Iterable[tuple[str, str, int, DriftSettings]]) -> None:
    """Add designed chart settings: (device, channel, from when in ns, settings)."""
    connection.executemany(
        "INSERT OR REPLACE INTO designed VALUES (?, ?, ?, ?)",
        [(d, c, since, json.dumps(s, sort_keys=True)) for d, c, since, s in new],
    )
    _bump(connection)


def designed_for(connection: sqlite3.Connection) -> int:
    """Return for how many channels the limits were last designed; 0: never."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'designed_for'").fetchone()
    return 0 if row is None else int(row[0])


def put_designed_for(connection: sqlite3.Connection, channels: int) -> None:
    """Remember for how many channels the limits were designed."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('designed_for', ?)", (str(channels),))
