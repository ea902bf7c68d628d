"""What must be worked out of readings before they are deleted."""

from __future__ import annotations

import sqlite3

import numpy as np
import numpy.typing as npt

from gateway.history.hours import hour_pieces
from gateway.history.pieces import Rows, moments
from gateway.history.rows import Margins, read_rows, rows_after, rows_before
from gateway.history.steps import AROUND, Surroundings, piece_steps

__all__ = ["steps_to_keep"]

Ints = npt.NDArray[np.int64]


def steps_to_keep(
    connection: sqlite3.Connection, channel: int, start: int, end: int, turn: float, exchanges: Ints
) -> list[tuple[int, float]]:
    """Return (hour, what the register advanced in it, not yet times its multiplier) of the readings in [start, end).

    `start` and `end` are whole hours (ns); `start` is the horizon, or before the first reading.
    """
    margins = Margins(connection)
    pieces = hour_pieces(connection, margins, channel, start, end, None)
    if not len(pieces):
        return []

    def read(a: int, b: int) -> Rows | None:
        return Rows.join(read_rows(connection, margins, channel, a, b))

    about = Surroundings(
        before=moments(rows_before(connection, margins, channel, start, AROUND)),
        after=moments(rows_after(connection, margins, channel, end, AROUND)),
        read=read,
    )
    steps = piece_steps(pieces, about, turn, exchanges)
    return list(zip(pieces["start"].tolist(), steps.tolist(), strict=True))
