"""Supplementary runs rules of a Shewhart chart, and its run lengths with them (Western Electric 1956; Nelson 1984).

The chart has zones of a third of its limit L; at L = 3 these are 1 σ and 2 σ. Besides |z| > L it then signals when, on
one side of the centre, 2 of 3 checks in a row lie beyond 2L/3, 4 of 5 beyond L/3, or 8 in a row at all, the newest
among them. Zones widen with a widened limit; the run of 8 hangs on the centre alone, so it suffers most where that is
not well known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gateway.drift import Floats
from gateway.drift.runlength import LONGEST, TooLong, normal_cdf
from gateway.errors import WrongUse

__all__ = ["RULES", "fired", "rules_arl", "rules_code", "rules_of"]

RULES = ("2of3", "4of5", "8run")
"""The rules in the order of their bits."""

TWO_OF_THREE, FOUR_OF_FIVE, EIGHT_RUN = 1, 2, 4
LONGEST_RUN = 8

Ints = npt.NDArray[np.int64]
State = tuple[tuple[int, ...], int]
"""Zones of the last four checks, the newest first, and the signed run."""


def rules_code(names: Iterable[str]) -> int:
    """Return the rules as one number. Raises WrongUse for an unknown one or one named twice.

    >>> rules_code(["8run", "2of3"]), rules_of(5)
    (5, ('2of3', '8run'))
    """
    code = 0
    for name in names:
        if name not in RULES:
            raise WrongUse(f"unknown rule {name!r}", remedy=f"choose of {', '.join(RULES)}")
        bit = 1 << RULES.index(name)
        if code & bit:
            raise WrongUse(f"rule {name!r} is named twice", remedy="name it once")
        code |= bit
    return code


def rules_of(code: int) -> tuple[str, ...]:
    """Return the names of rules given as one number."""
    return tuple(name for i, name in enumerate(RULES) if code >> i & 1)


def fired(rules: Ints, z: Floats, before: Sequence[Floats], run: Floats, limit: Floats) -> Ints:
    """Return the bits of the rules that signal at each z.

    `before`: the four z before each, the newest first, 0 where there was none; `run`: checks in a row on the side of z.
    """
    outer, inner = limit * (2.0 / 3.0), limit / 3.0
    found = np.zeros(len(z), np.int64)
    for side in (1.0, -1.0):
        here = side * z
        past = [side * b for b in before]
        wide = (here > outer) & ((past[0] > outer) | (past[1] > outer))
        count = sum((b > inner).astype(np.int64) for b in past)
        near = (here > inner) & (count >= 3)
        found |= np.where(wide, TWO_OF_THREE, 0) | np.where(near, FOUR_OF_FIVE, 0)
    found |= np.where(np.abs(run) >= LONGEST_RUN, EIGHT_RUN, 0)
    return found & rules


def _next(state: State, zone: int, rules: int) -> State | None:
    """Return the state after a check in that zone (±1, ±2, ±3 from the centre outwards), None if a rule signals."""
    zones, run = state
    side = 1 if zone > 0 else -1
    size = abs(zone)
    past = [side * z for z in zones]
    run = run + side if run * side > 0 else side
    if rules & TWO_OF_THREE and size == 3 and 3 in past[:2]:
        return None
    if rules & FOUR_OF_FIVE and size >= 2 and sum(p >= 2 for p in past) >= 3:
        return None
    if rules & EIGHT_RUN and abs(run) >= LONGEST_RUN:
        return None
    kept = (zone, *zones[:3])
    told = tuple(_told(z, age, rules) for age, z in enumerate(kept))
    return told, run if rules & EIGHT_RUN else side


def _told(zone: int, age: int, rules: int) -> int:
    """Return what of a zone may still matter to a rule: this keeps the states few."""
    side = 1 if zone > 0 else -1
    if abs(zone) == 3 and rules & TWO_OF_THREE and age < 2:
        return zone
    return 2 * side if abs(zone) >= 2 and rules & FOUR_OF_FIVE else 0


@lru_cache(maxsize=16)
def _chain(rules: int) -> tuple[Ints, Ints, Ints, int]:
    """Return moves that do not signal (from, zone, to) and the number of states, the first of them fresh."""
    fresh: State = ((0, 0, 0, 0), 0)
    places = {fresh: 0}
    waiting = deque([fresh])
    moves = []
    while waiting:
        state = waiting.popleft()
        for zone in (-3, -2, -1, 1, 2, 3):
            after = _next(state, zone, rules)
            if after is None:
                continue
            if after not in places:
                places[after] = len(places)
                waiting.append(after)
            moves.append((places[state], zone, places[after]))
    source, zones, target = (np.array(column, np.int64) for column in zip(*moves, strict=True))
    return source, zones, target, len(places)


def rules_arl(L: float, rules: int, shift: float = 0.0, *, scale: float = 1.0) -> float:
    """Return the run length of the two-sided chart with rules: Markov chain of Champ & Woodall (1987).

    z has mean `shift` and deviation `scale`. Raises WrongUse for an L that is not positive, TooLong.

    >>> round(rules_arl(3.0, rules_code(["2of3", "4of5", "8run"])), 2)
    91.75
    """
    if not (math.isfinite(L) and L > 0.0 and math.isfinite(shift) and scale > 0.0):
        raise WrongUse("L must be positive and the shift a finite number", remedy="see `metergate drift arl --help`")
    source, zone, target, n = _chain(rules)
    edges: Floats = (L / 3.0 * np.arange(-3, 4, dtype=np.float64) - shift) / scale
    of_zone = np.diff(normal_cdf(edges))
    kernel = np.zeros((n, n))
    np.add.at(kernel, (source, target), of_zone[np.where(zone < 0, zone + 3, zone + 2)])
    further = np.linalg.solve(np.eye(n) - kernel, np.ones(n))
    if not np.isfinite(further[0]) or not 0.0 < further[0] < LONGEST:
        raise TooLong
    return float(further[0])
