"""Uncertainty of a check and decisions on conformity, column by column (CONTRACTS §4, JCGM 106, ILAC-G8:09/2019).

NaN stands for an absent number. Every element sees additions, multiplications, divisions, square roots and `erfc` of
its own values only, so its bits do not depend on the batch it came in. Near a limit the decision is taken on the
decimals that were written: 2.505 kg against 2.5 kg is an error of exactly 5 g.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from gateway.metrology.units import exact

__all__ = [
    "Conformity", "Decided", "Rule", "conformance_probability", "decide", "en_score", "exceeds_third",
    "expanded_uncertainty", "within",
]  # fmt: skip

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]


class Conformity(IntEnum):
    """What a decision rule says of a check; UNKNOWN where no limit, or no U the rule needs, is known."""

    UNKNOWN = 0
    CONFORMING = 1
    NOT_CONFORMING = 2
    UNDECIDED = 3


class Rule(IntEnum):
    """The decision rules, numbered in contract order."""

    SIMPLE = 0
    GUARDED = 1
    NON_BINARY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Conformity codes, and which undecided checks are a conditional pass or a conditional fail."""

    conformity: Codes
    conditional_pass: Bools
    conditional_fail: Bools


CERTAIN = 9.0
"""An error this many standard uncertainties inside the limit conforms with a probability that rounds to 1."""


def expanded_uncertainty(reference_u: Floats, sigma: Floats) -> Floats:
    """Return U = 2 √((reference_u/2)² + σ²), k = 2; `reference_u` is expanded (k = 2), all in one unit."""
    half = reference_u / 2.0
    return 2.0 * np.sqrt(half * half + sigma * sigma)


def en_score(first: Floats, first_U: Floats, second: Floats, second_U: Floats, *, correlation: float = 0.0) -> Floats:
    """Return En = (x1 - x2)/√(U1² + U2² - 2 r U1 U2), expanded uncertainties; |En| ≤ 1 agrees. NaN where both U are 0.

    `correlation` r is that of two results with one reference standard (METROLOGY §4).
    """
    square = first_U * first_U + second_U * second_U
    if correlation:
        square = square - 2.0 * correlation * first_U * second_U
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (first - second) / np.sqrt(square)
    return np.where(np.isinf(score), np.nan, score)


def conformance_probability(error: Floats, mpe: Floats, u: Floats) -> Floats:
    """Return Φ((MPE - E)/u) - Φ((-MPE - E)/u) with standard uncertainty u; a certain error (u = 0) gives 1 or 0."""
    size = np.abs(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = (mpe - size) / u
        lower = (mpe + size) / u
    root = sqrt(2.0)
    p = np.ones(len(upper))
    rows = np.flatnonzero(~(upper > CERTAIN))
    above = np.array(list(map(erfc, (-upper[rows] / root).tolist())))
    below = np.array(list(map(erfc, (lower[rows] / root).tolist())))
    p[rows] = 0.5 * (above - below)
    unknown = np.isnan(error) | np.isnan(mpe) | np.isnan(u)
    return np.where(unknown, np.nan, np.where(u == 0.0, np.where(size <= mpe, 1.0, 0.0), p))


def within(error: Floats, mpe: Floats, indication: Floats, reference: Floats, relative: Bools) -> Bools:
    """Return |E| ≤ MPE, decided on decimals near the limit; False where a number is absent.

    `error` is I - R in the unit of I and R, or 100 (I - R)/|R| where `relative`.
    """
    return _at_most(error, mpe, np.zeros(len(error)), indication, reference, relative)


def decide(
    rule: Codes, error: Floats, mpe: Floats, U: Floats, indication: Floats, reference: Floats, relative: Bools
) -> Decided:
    """Return the decision of each check by its rule (codes of `Rule`).

    Simple: conforming iff |E| ≤ MPE. Guarded: iff |E| ≤ MPE - U. Non-binary: conforming up to MPE - U, not conforming
    beyond MPE + U, undecided between: a conditional pass up to the MPE, else a conditional fail.
    """
    simple, guarded, three = rule == int(Rule.SIMPLE), rule == int(Rule.GUARDED), rule == int(Rule.NON_BINARY)
    needs_u = ~simple
    known = ~(np.isnan(error) | np.isnan(mpe) | (needs_u & np.isnan(U)))
    inside = within(error, mpe, indication, reference, relative)
    surely = inside.copy()
    perhaps = inside.copy()
    if needs_u.any():
        guard = np.where(needs_u, U, 0.0)
        surely = _at_most(error, mpe, guard, indication, reference, relative)
        perhaps = _at_most(error, mpe, -guard, indication, reference, relative)
    undecided = known & three & ~surely & perhaps
    conforming = known & np.where(simple, inside, surely)
    out = np.full(len(error), int(Conformity.UNKNOWN), np.int8)
    out[known] = int(Conformity.NOT_CONFORMING)
    out[conforming] = int(Conformity.CONFORMING)
    out[undecided] = int(Conformity.UNDECIDED)
    out[~(simple | guarded | three)] = int(Conformity.UNKNOWN)
    return Decided(conformity=out, conditional_pass=undecided & inside, conditional_fail=undecided & ~inside)


def exceeds_third(U: Floats, mpe: Floats) -> Bools:
    """Return U > MPE/3, on decimals near that edge; False where a number is absent.

    >>> exceeds_third(np.array([0.1, 0.1000001]), np.array([0.3, 0.3])).tolist()
    [False, True]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        result: Bools = mpe < 3.0 * U
        doubtful = np.abs(3.0 * U - mpe) <= NEAR * mpe
    for i in np.flatnonzero(doubtful).tolist():
        result[i] = 3 * Fraction(f"{float(U[i]):.15g}") > Fraction(exact(float(mpe[i])))
    return result


NEAR = 1e-9
"""Relative distance to a limit within which decimals decide; far above what floats lose in E and U."""
LOST = 1e-14
"""What a float difference may have lost, relative to its terms."""


def _at_most(
    error: Floats, mpe: Floats, guard: Floats, indication: Floats, reference: Floats, relative: Bools
) -> Bools:
    """Return |E| + guard ≤ MPE."""
    size = np.abs(error)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = size + guard <= mpe
        scale = np.where(relative, 100.0 / np.abs(reference), 1.0)
        lost = LOST * (np.abs(indication) + np.abs(reference)) * scale
        doubtful = np.abs(size + guard - mpe) <= NEAR * (mpe + np.abs(guard)) + lost
    for i in np.flatnonzero(doubtful).tolist():
        terms = float(indication[i]), float(reference[i]), float(guard[i]), float(mpe[i])
        if np.isfinite(terms).all() and not (relative[i] and terms[1] == 0.0):
            result[i] = _exactly_at_most(*terms, relative=bool(relative[i]))
    return result


def _exactly_at_most(indication: float, reference: float, guard: float, mpe: float, *, relative: bool) -> bool:
    """Return |E| + guard ≤ MPE on the shortest decimals of the terms.

    The left side is rounded once to a float, for an MPE such as 100 · 2.5 g/3 kg has no finite decimal and is the
    nearest float itself. U comes out of a square root; to 15 digits it is the decimal it stands for.
    """
    size = abs(Fraction(exact(indication)) - Fraction(exact(reference)))
    if relative:
        size = 100 * size / abs(Fraction(exact(reference)))
    try:
        return float(size + Fraction(f"{guard:.15g}")) <= mpe
    except OverflowError:
        return False
