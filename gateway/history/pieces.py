"""Pieces: what the readings of one channel in one short stretch amount to, so made that pieces add up to buckets.

A piece is made of its own readings alone. What depends on the reading before it (a step of a register, a gap in `seq`)
is found where two pieces meet, so that a late reading changes its own piece and no other. One thing is not: where `seq`
counts a whole device, what is missing before a reading is told from the readings of all its channels, and so is in its
piece (`Rows.lost`); who keeps pieces makes those again that a late reading may change (`gateway.ledger.rollups`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["LAYOUT", "PIECE", "Cut", "Pieces", "Rows", "cut", "make_pieces", "missing", "moments"]

Pieces = npt.NDArray[np.void]
"""Rows of `PIECE`, in time order."""

LAYOUT = 2
"""Of PIECE and what is in it; another number makes all roll-ups again."""

PIECE = np.dtype(
    [
        ("start", np.int64),  # of the stretch, ns
        ("n", np.int32),
        ("checks", np.int32),
        ("gaps", np.int32),  # seq numbers missing once or more, inside; of the device, before any reading
        ("falls", np.int32),  # a value less than the one before, inside
        ("qualities", np.uint8),  # one bit per Quality
        ("min", np.float64),
        ("max", np.float64),
        ("sum", np.float64),
        ("margin", np.float64),  # worst margin_percent of a verdict, NaN: none
        ("first", np.float64),
        ("last", np.float64),
        ("first_time", np.int64),
        ("last_time", np.int64),
        ("first_seq", np.int64),  # -1: none, or of the device
        ("last_seq", np.int64),
        ("first_boot", np.int64),  # gateway.pipeline.columns.boot_code
        ("last_boot", np.int64),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Readings of one channel by (time, boot, seq, content), as far as pieces need them; arrays of one length.

    `seq` is -1 where it counts the whole device; `lost` then says whether numbers are missing before the reading.
    """

    time: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    seq: npt.NDArray[np.int64]
    boot: npt.NDArray[np.int64]
    quality: npt.NDArray[np.int64]
    checked: npt.NDArray[np.bool_]
    margin: npt.NDArray[np.float64]
    lost: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    def between(self, start: int, end: int) -> Self:
        """Return the rows at these places."""
        return type(self)(**{f.name: getattr(self, f.name)[start:end] for f in fields(self)})

    @classmethod
    def join(cls, parts: Iterable[Rows]) -> Self | None:
        """Return all rows of all parts; None: there are none."""
        given = list(parts)
        if not given:
            return None
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in given]) for f in fields(cls)})

    def then(self, later: Rows) -> Self:
        """Return these rows and later ones."""
        return type(self)(**{f.name: np.append(getattr(self, f.name), getattr(later, f.name)) for f in fields(self)})


Cut = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]
"""Times (ns, ascending) -> the beginning of the stretch each belongs to."""


def cut(parts: Iterable[Rows], starts: Cut) -> Iterator[Pieces]:
    """Yield the pieces of readings that come in parts, in time order; a stretch that lies in two parts is one piece."""
    kept: Rows | None = None
    for part in parts:
        rows = part if kept is None else kept.then(part)
        begun = starts(rows.time)
        open_from = int(np.searchsorted(begun, begun[-1]))
        if open_from:
            yield make_pieces(rows.between(0, open_from), begun[:open_from])
        kept = rows.between(open_from, len(rows))
    if kept is not None:
        yield make_pieces(kept, starts(kept.time))


def make_pieces(rows: Rows, starts: npt.NDArray[np.int64]) -> Pieces:
    """Return one piece per distinct start; `starts` (ns) says row by row to which stretch a reading belongs."""
    n = len(rows)
    if n == 0:
        return np.zeros(0, PIECE)
    first = np.flatnonzero(np.append(True, starts[1:] != starts[:-1]))
    last = np.append(first[1:], n) - 1
    inside = np.ones(n, np.bool_)
    inside[first] = False
    gap, fall = np.zeros(n, np.int64), np.zeros(n, np.int64)
    gap[1:] = inside[1:] & missing(rows.boot[:-1], rows.seq[:-1], rows.boot[1:], rows.seq[1:])
    gap |= rows.lost
    fall[1:] = inside[1:] & (rows.value[1:] < rows.value[:-1])
    made = np.zeros(len(first), PIECE)
    made["start"] = starts[first]
    made["n"] = last - first + 1
    made["checks"] = np.add.reduceat(rows.checked.astype(np.int64), first)
    made["gaps"] = np.add.reduceat(gap, first)
    made["falls"] = np.add.reduceat(fall, first)
    made["qualities"] = np.bitwise_or.reduceat(1 << rows.quality, first)
    made["min"] = np.minimum.reduceat(rows.value, first)
    made["max"] = np.maximum.reduceat(rows.value, first)
    with np.errstate(over="ignore"):  # sums beyond the floats are infinite
        made["sum"] = np.add.reduceat(rows.value, first)
    made["margin"] = np.fmin.reduceat(rows.margin, first)
    for name in ("time", "seq", "boot"):
        column = getattr(rows, name)
        made[f"first_{name}"], made[f"last_{name}"] = column[first], column[last]
    made["first"], made["last"] = rows.value[first], rows.value[last]
    return made


def moments(rows: Rows | None) -> Pieces:
    """Return each moment of some readings as a piece."""
    return np.zeros(0, PIECE) if rows is None else make_pieces(rows, rows.time)


def missing(
    boot_before: npt.NDArray[np.int64],
    seq_before: npt.NDArray[np.int64],
    boot: npt.NDArray[np.int64],
    seq: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Return where seq numbers are missing between a reading and the one before it, of the same boot."""
    gone: npt.NDArray[np.bool_] = (boot == boot_before) & (seq_before >= 0) & (seq > seq_before + 1)
    return gone
