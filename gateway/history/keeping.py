"""Hours before the horizon: their readings are deleted, so their roll-ups are data and no longer a cache.

Such an hour is whole: a range that begins or ends inside it, or a day of a zone that begins inside it, has it where it
begins. What a register advanced in it was worked out while the readings were there, and is kept beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.history.pieces import PIECE, Pieces
from gateway.ledger import retention, rollups

__all__ = ["carry_over", "kept_pieces", "kept_steps", "last_kept", "note_layout"]

Floats = npt.NDArray[np.float64]


def kept_pieces(connection: sqlite3.Connection, channel: int, start: int, end: int) -> Pieces:
    """Return the pieces of hours before the horizon that begin in [start, end) ns."""
    return _as_pieces(rollups.rolled(connection, channel, start, end), _kept_layout(connection))


def last_kept(connection: sqlite3.Connection, channel: int, before: int, n: int) -> Pieces:
    """Return the pieces of the last `n` hours that begin before a time (ns), which is before the horizon."""
    rows = connection.execute(
        "SELECT piece FROM rollup WHERE channel = ? AND start < ? ORDER BY start DESC LIMIT ?", (channel, before, n)
    ).fetchall()
    return _as_pieces(b"".join([piece for (piece,) in reversed(rows)]), _kept_layout(connection))


def kept_steps(connection: sqlite3.Connection, channel: int, pieces: Pieces, steps: Floats) -> Floats:
    """Return the steps of a register's pieces, those that were kept in place of what can be told from roll-ups."""
    horizon = retention.horizon_of(connection, channel)
    if horizon is None or not len(pieces) or int(pieces["start"][0]) >= horizon.time:
        return steps
    known = dict(retention.kept_steps(connection, channel, int(pieces["start"][0]), horizon.time))
    return np.array([known.get(start, step) for start, step in zip(pieces["start"].tolist(), steps, strict=True)])


def note_layout(connection: sqlite3.Connection) -> None:
    """Note that what is kept has the layout of today. In a transaction."""
    from gateway.ledger import readings

    number = readings.layout_id(connection, PIECE)
    connection.execute(
        "INSERT INTO rollup_cursor VALUES ('kept', ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n", (number,)
    )


def carry_over(connection: sqlite3.Connection) -> None:
    """Rewrite what is kept in another layout, field by field of the same name. In a transaction."""
    layout = _kept_layout(connection)
    if layout == PIECE:
        return
    rows: Sequence[tuple[int, int, bytes]] = connection.execute(
        "SELECT r.channel, r.start, r.piece FROM rollup r JOIN horizon h ON h.channel = r.channel AND r.start < h.time"
    ).fetchall()
    connection.executemany(
        "UPDATE rollup SET piece = ? WHERE channel = ? AND start = ?",
        [(_as_pieces(piece, layout).tobytes(), channel, start) for channel, start, piece in rows],
    )
    note_layout(connection)


def _kept_layout(connection: sqlite3.Connection) -> np.dtype[Any]:
    row = connection.execute("SELECT n FROM rollup_cursor WHERE name = 'kept'").fetchone()
    if row is None:
        return PIECE
    from gateway.ledger import readings  # a fifth of a command's start-up

    return readings.layout(connection, int(row[0]))


def _as_pieces(packed: bytes, layout: np.dtype[Any]) -> Pieces:
    """Return packed pieces of a layout as pieces of today; what that layout had not is 0."""
    found = np.frombuffer(packed, layout)
    if layout == PIECE:
        return found
    pieces = np.zeros(len(found), PIECE)
    for name in set(PIECE.names or ()) & set(layout.names or ()):
        pieces[name] = found[name]
    return pieces
