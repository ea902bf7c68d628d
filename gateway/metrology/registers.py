"""Registers: what a cumulative count says between readings, and the four ways in which it does not simply advance.

- **rollover**: the register has passed its last figure (10^digits units) and goes on from 0;
- **reset**: it goes on from a lower count, and no rollover explains that;
- **replacement**: an exchange of the meter was announced: another one begins at its own count;
- **glitch**: one value out of line, said at most three times in a row, after which the register goes on as before.

A reading that goes back is a rollover only where the digits are known and the advance over the top would be at most a
tenth of a turn: else most resets would be taken for consumption. Whether it is a glitch, the next reading of another
value tells; until then it counts as what it would be without. Consumption never spikes: reset, replacement and glitch
advance by 0, and what was used in between is not guessed. Readings must stand in order; what one means depends on its
neighbours only, so the same readings give the same steps however and whenever they came.

Register differences are decimal (METROLOGY §0, Arithmetic); the four events are those of PRODUCT promise 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gateway.metrology.decimals import exact_difference
from gateway.metrology.units import exact

__all__ = [
    "GLITCH_READINGS", "PLAUSIBLE_SHARE", "RegisterEvent", "Steps", "amounts", "increments", "over_the_top", "scaled",
    "settled", "turn_of",
]  # fmt: skip

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GLITCH_READINGS = 3
"""A value out of line that is said more often than this is where the register stands."""

PLAUSIBLE_SHARE = Decimal("0.1")
"""A rollover advances the register by at most this share of a turn between two readings."""


class RegisterEvent(IntEnum):
    """What happened to a register at a reading."""

    NONE = 0
    ROLLOVER = 1
    RESET = 2
    REPLACEMENT = 3
    GLITCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Per reading: what the register has advanced since the reading before, in its unit, and the event it stands for.

    The first reading advances by 0. The event of a value that is repeated stands at its first reading.
    """

    increment: Floats
    event: npt.NDArray[np.int8]


def turn_of(digits: int | None) -> float:
    """Return after how many units a register of so many digits before the point begins again; NaN when unknown.

    >>> turn_of(5)
    100000.0
    """
    return float("nan") if digits is None else float(10**digits)


def increments(value: Floats, *, turn: float = float("nan"), meter: Ints | None = None) -> Steps:
    """Return the steps of one register's readings, which stand in order.

    `turn`: units after which it begins again (NaN: unknown). `meter`: a number per reading that grows with each
    announced exchange (None: one meter throughout).

    >>> increments(np.array([99990.0, 99998.0, 3.0, 9.0]), turn=100000.0).increment.tolist()
    [0.0, 8.0, 5.0, 6.0]
    >>> increments(np.array([40.0, 41.0, 0.0, 42.0])).increment.tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    n = len(value)
    increment, event = np.zeros(n), np.zeros(n, np.int8)
    if n > 1:
        increment[1:] = exact_difference(value[1:], value[:-1])
        first, said, exchanged = _runs(value, meter)
        _walk(value[first], said, exchanged, first, turn, increment, event)
    return Steps(increment=increment, event=event)


def settled(value: Floats, meter: Ints | None = None) -> Bools:
    """Return the readings at which the register surely stood, whatever came before the first and after the last.

    From one such reading to the next, steps depend on nothing outside.

    >>> settled(np.array([1.0, 2.0, 3.0, 0.0, 4.0])).tolist()
    [False, True, False, False, False]
    """
    sure = np.zeros(len(value), np.bool_)
    if len(value):
        first, said, exchanged = _runs(value, meter)
        runs = value[first]
        between = np.zeros(len(runs), np.bool_)
        rising = (runs[1:] > runs[:-1]) & ~exchanged[1:]
        between[1:-1] = rising[:-1] & rising[1:]
        sure = np.repeat(between | (said > GLITCH_READINGS), said)
    return sure


def over_the_top(before: float, after: float, turn: float) -> float | None:
    """Return the advance from `before` to `after` over the top of the register, None where that is not plausible.

    >>> over_the_top(99990.0, 12.0, 100000.0), over_the_top(45000.0, 0.0, 100000.0)
    (22.0, None)
    """
    if np.isnan(turn) or after >= before or before > turn or after < 0.0:
        return None
    over = exact(after) + exact(turn) - exact(before)
    return float(over) if over <= PLAUSIBLE_SHARE * exact(turn) else None


def amounts(start: Floats, stop: Floats, expected: Floats, turn: Floats) -> Floats:
    """Return what registers counted from start to stop, all in one unit; `expected` by the reference.

    A register that seems to have run against what was expected has passed its top (or, running backwards, 0) where
    its `turn` is known and that comes nearer to what was expected; else the difference stands as it is.

    >>> amounts(*map(np.array, ([99990.0, 10.0], [10.0, 7.0], [20.0, -3.0], [1e5, 1e5]))).tolist()
    [20.0, -3.0]
    """
    plain = exact_difference(stop, start)
    with np.errstate(invalid="ignore"):
        against = ~np.isnan(turn) & (plain * expected < 0.0)
    if not against.any():
        return plain
    rows = np.flatnonzero(against)
    out = plain.copy()
    for i in rows.tolist():
        over = exact(float(stop[i])) - exact(float(start[i])) + exact(float(np.copysign(turn[i], expected[i])))
        want = exact(float(expected[i]))
        if abs(over - want) < abs(exact(float(plain[i])) - want):
            out[i] = float(over)
    return out


def scaled(amount: Floats, multiplier: Floats) -> Floats:
    """Return amounts times their multipliers (CT ratio), as decimals, rounded once; NaN stays.

    >>> scaled(np.array([0.3, 0.3]), np.array([40.0, 1.0])).tolist()
    [12.0, 0.3]
    """
    rows = np.flatnonzero((multiplier != 1.0) & np.isfinite(amount))
    if not len(rows):
        return amount
    out = amount.copy()
    for i in rows.tolist():
        out[i] = float(exact(float(amount[i])) * exact(float(multiplier[i])))
    return out


def _runs(value: Floats, meter: Ints | None) -> tuple[Ints, Ints, Bools]:
    """Return where runs of equal values of one meter begin, how often each is said, and which begin another meter."""
    exchanged = np.zeros(len(value), np.bool_)
    if meter is not None:
        exchanged[1:] = meter[1:] != meter[:-1]
    first = np.flatnonzero(np.append(True, (value[1:] != value[:-1]) | exchanged[1:]))
    return first, np.diff(np.append(first, len(value))), exchanged[first]


def _walk(
    value: Floats,
    said: Ints,
    exchanged: Bools,
    place: Ints,
    turn: float,
    increment: Floats,
    event: npt.NDArray[np.int8],
) -> None:
    """Set increment and event of runs that are not simply an advance over the run before.

    A run between a lower and a higher one is always an advance: only the others are looked at.
    """
    suspect = exchanged.copy()
    suspect[1:] |= value[1:] < value[:-1]
    suspect[:-1] |= suspect[1:].copy()
    suspect[1:] |= suspect[:-1].copy()
    stood = float(value[0])
    for k in np.flatnonzero(suspect).tolist():
        if k == 0:
            continue
        stood = stood if suspect[k - 1] else float(value[k - 1])
        here, kind, step = float(value[k]), RegisterEvent.REPLACEMENT, 0.0
        if not exchanged[k]:
            is_last = k + 1 == len(value) or exchanged[k + 1]
            following = None if is_last or said[k] > GLITCH_READINGS else float(value[k + 1])
            kind, step = _meaning(stood, here, following, turn)
        increment[place[k]], event[place[k]] = step, kind
        if kind is not RegisterEvent.GLITCH:
            stood = here


def _meaning(stood: float, here: float, following: float | None, turn: float) -> tuple[RegisterEvent, float]:
    """Return what a reading of `here` is after the register stood at `stood`, when `following` comes next."""
    if following is not None and here != stood and following >= stood and (here < stood or following < here):
        return RegisterEvent.GLITCH, 0.0
    if here >= stood:
        return RegisterEvent.NONE, float(exact(here) - exact(stood))
    over = over_the_top(stood, here, turn)
    return (RegisterEvent.RESET, 0.0) if over is None else (RegisterEvent.ROLLOVER, over)
