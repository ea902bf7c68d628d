"""What a register has advanced in each piece: by its ends where it simply advances, else by its readings.

A register that only rises between pieces has advanced from the last reading of one to the last of the next. Where it
falls, or its meter was exchanged, what a reading means depends on up to `GLITCH_READINGS` neighbours on either side
(gateway.metrology.registers): the readings of those pieces, and of as many again, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gateway.history import Bucket, ChannelSettings, Query
from gateway.history.buckets import buckets_of, decimal_sum
from gateway.history.pieces import Pieces, Rows
from gateway.metrology.decimals import exact_difference
from gateway.metrology.registers import GLITCH_READINGS, increments, scaled

__all__ = ["AROUND", "Surroundings", "piece_steps", "register_buckets"]

AROUND = 3 * (GLITCH_READINGS + 1)
"""So many readings before and after what is asked for must be known."""

_NEAR = GLITCH_READINGS + 1

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The readings next before and after what is asked for, `AROUND` of them, each moment a piece; and how to read
    more: times [from, to) -> the channel's readings."""

    before: Pieces
    after: Pieces
    read: Callable[[int, int], Rows | None]
    kept: Callable[[Pieces, Floats], Floats] = lambda _pieces, steps: steps
    """What the pieces of hours whose readings are gone have advanced, in place of what was found."""


def register_buckets(
    parts: Sequence[Pieces],
    about: Surroundings,
    query: Query,
    channel: str,
    settings: ChannelSettings,
    resolution: str,
) -> list[Bucket]:
    """Return the buckets of a register."""
    if not parts:
        return []
    pieces = np.concatenate(parts)
    steps = about.kept(pieces, piece_steps(pieces, about, settings.turn, np.array(settings.exchanges, np.int64)))
    steps = scaled(steps, np.full(len(steps), settings.multiplier))
    before = about.before[-1:] if len(about.before) else None
    return buckets_of(pieces, before, query, channel, settings, resolution, steps)


def piece_steps(pieces: Pieces, about: Surroundings, turn: float, exchanges: Ints) -> Floats:
    """Return what the register has advanced in each piece, from the reading before it on.

    The first reading ever advances by 0. `turn`: units after which it begins again; `exchanges`: when the meter was
    exchanged (ns, ascending).
    """
    joined = np.concatenate((about.before, pieces, about.after))
    steps = np.empty(len(joined))
    steps[1:] = exact_difference(joined["last"][1:], joined["last"][:-1])
    steps[:1] = exact_difference(joined["last"][:1], joined["first"][:1])
    wild = joined["falls"] > 0
    wild[1:] |= joined["first"][1:] < joined["last"][:-1]
    met = np.searchsorted(joined["last_time"], exchanges)
    wild[met[met < len(joined)]] = True
    near = _widened(wild, _NEAR)
    for a, b in _stretches(wild, 2 * _NEAR):
        rows = about.read(int(joined["first_time"][a]), int(joined["last_time"][b]) + 1)
        if rows is None:
            continue
        meter = np.searchsorted(exchanges, rows.time, side="right")
        found = increments(rows.value, turn=turn, meter=meter).increment
        place = np.searchsorted(joined["first_time"], rows.time, side="right") - 1
        for i in (a + np.flatnonzero(near[a : b + 1])).tolist():
            steps[i] = _sum(found[place == i])
    return steps[len(about.before) : len(joined) - len(about.after)]


def _sum(steps: Floats) -> float:
    return decimal_sum(steps.tolist())


def _widened(marks: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Return the marks and the places up to `by` before and after one."""
    kernel = np.convolve(marks.astype(np.int64), np.ones(2 * by + 1, np.int64))
    wide: npt.NDArray[np.bool_] = kernel[by : by + len(marks)] > 0
    return wide


def _stretches(marks: npt.NDArray[np.bool_], by: int) -> list[tuple[int, int]]:
    """Return the stretches [first, last] of marks widened by so many places."""
    places = np.flatnonzero(_widened(marks, by)).tolist()
    if not places:
        return []
    breaks = [0, *(i for i, (p, q) in enumerate(pairwise(places), start=1) if q != p + 1), len(places)]
    return [(places[i], places[j - 1]) for i, j in pairwise(breaks)]
