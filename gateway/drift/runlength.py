"""How many checks a chart runs before it signals: zero-state average run lengths (ARL), signal included.

A check z ~ N(mean, scale²) moves U = retain·U + z - allowance: a CUSUM side (retain 1, allowance k, Page 1954) or an
EWMA divided by λ (retain 1 - λ, Roberts 1959). The run length from each state solves an integral equation of the
second kind, replaced by sums at Gauss-Legendre nodes (Nyström; Crowder 1987 for the EWMA, Vance 1986 and Champ &
Rigdon 1991 for the CUSUM). Where limits or the mean change with time, the density of the state is carried from check
to check on the same nodes. Doubling the nodes changes no result by 1 in 10⁶ (`tests/drift/test_runlength.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Floats
from gateway.errors import WrongUse

__all__ = [
    "LONGEST", "LimitShape", "Sided", "TooLong", "cusum_arl", "ewma_arl", "noise_arl", "normal_cdf", "shewhart_arl",
    "siegmund_arl",
]  # fmt: skip

LONGEST = 1e12
"""Beyond this the equations lose all digits in float64."""

WIDEST = 1500.0
"""Width of the interval between the limits, in standard deviations of one check, that still fits in memory."""

MOST_CHECKS = 300_000
DEAD = 1e-13
"""Probability of still running at which propagation ends."""

SETTLED = 1e-8
"""Time-varying limits this near (relative, squared) to their asymptote count as fixed."""


class TooLong(WrongUse):
    """The run length is beyond what can be computed, or is not finite."""

    code = "run_length_too_long"

    def __init__(self, checks: float = LONGEST) -> None:
        super().__init__(
            f"the run length is beyond {checks:.0e} checks", remedy="use narrower limits or a larger shift or drift"
        )


class Sided(StrEnum):
    """Watch both directions, or upwards only."""

    TWO = "two"
    ONE = "one"


class LimitShape(StrEnum):
    """EWMA limits that widen from the first check on, or asymptotic from the start."""

    VARYING = "varying"
    FIXED = "fixed"


def normal_cdf(x: Floats) -> Floats:
    """Return Φ(x), accurate in both tails."""
    return np.array([0.5 * math.erfc(v) for v in (x * -math.sqrt(0.5)).ravel().tolist()]).reshape(x.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """Where checks lie: mean of the i-th (from 1) is shift + drift·(i - 1 + first), standard deviation `scale`."""

    shift: float
    drift: float
    first: int
    scale: float

    def mean(self, i: int) -> float:
        return self.shift + self.drift * (i - 1 + self.first)

    def mirrored(self) -> _Course:
        return replace(self, shift=-self.shift, drift=-self.drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """U = retain·U + z - allowance from `start`; signals beyond `edge`; at 0 it reflects, else -edge signals too."""

    retain: float
    allowance: float
    edge: float
    reflecting: bool
    start: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _States:
    """Quadrature points between the limits; with `atom` the first is 0 itself, which holds probability."""

    at: Floats
    weight: Floats
    atom: bool

    def narrowed(self, ratio: float) -> _States:
        weight = self.weight * ratio
        if self.atom:
            weight[0] = 1.0
        return _States(at=self.at * ratio, weight=weight, atom=self.atom)


@lru_cache(maxsize=64)
def _legendre(n: int) -> tuple[Floats, Floats]:
    at, weight = np.polynomial.legendre.leggauss(n)
    return at, weight


def _states(walk: _Walk, scale: float, density: float = 1.0) -> _States:
    """Return nodes dense enough for a normal density of `scale`."""
    width = walk.edge if walk.reflecting else 2.0 * walk.edge
    if width / scale > WIDEST:
        raise WrongUse(f"limits {width / scale:.4g} standard deviations apart are too wide", remedy="use smaller ones")
    at, weight = _legendre(math.ceil(density * (30 + 2.5 * width / scale)))
    if not walk.reflecting:
        return _States(at=at * walk.edge, weight=weight * walk.edge, atom=False)
    half = walk.edge / 2.0
    return _States(at=np.append(0.0, (at + 1.0) * half), weight=np.append(1.0, weight * half), atom=True)


def _moves(walk: _Walk, source: Floats, to: _States, mean: float, scale: float) -> Floats:
    """Return the probability weight of moving from each source point (rows) to each state (columns) unsignalled."""
    middle = walk.retain * source - walk.allowance + mean
    distance = (to.at[None, :] - middle[:, None]) / scale
    with np.errstate(over="ignore"):  # a mean so far off leaves nothing unsignalled
        weight = np.exp(-0.5 * distance * distance)
    moves: Floats = weight * (to.weight / (scale * math.sqrt(2.0 * math.pi)))
    if to.atom:
        moves[:, 0] = normal_cdf(-middle / scale)
    return moves


def _further(walk: _Walk, states: _States, mean: float, scale: float) -> Floats:
    """Return the run length still to come from each state, for a mean and limits that stay."""
    kernel = _moves(walk, states.at, states, mean, scale)
    try:
        further = np.linalg.solve(np.eye(len(states.at)) - kernel, np.ones(len(states.at))).astype(np.float64)
    except np.linalg.LinAlgError:
        raise TooLong from None
    if not np.all(np.isfinite(further)) or further.min() < 0.0 or further.max() > LONGEST:
        raise TooLong
    return further


def _constant(walk: _Walk, mean: float, scale: float, density: float = 1.0) -> float:
    """Return the run length for a mean and limits that stay."""
    states = _states(walk, scale, density)
    further = _further(walk, states, mean, scale)
    return float(1.0 + _moves(walk, np.array([walk.start]), states, mean, scale)[0] @ further)


def _ratios(walk: _Walk, shape: LimitShape) -> Iterator[float]:
    """Yield limit over asymptotic limit, check by check."""
    square = walk.retain * walk.retain if shape is LimitShape.VARYING else 0.0
    unfilled = square
    while True:
        yield math.sqrt(1.0 - unfilled)
        unfilled *= square


def _propagated(walk: _Walk, course: _Course, shape: LimitShape, density: float = 1.0) -> float:
    """Return the run length by carrying the density of the state until limits and mean stay, or nothing is left."""
    widest = _states(walk, course.scale, density)
    points, mass, total = np.array([walk.start]), np.ones(1), 0.0
    for i, ratio in zip(range(1, MOST_CHECKS + 1), _ratios(walk, shape), strict=False):
        total += float(mass.sum())
        states = widest if ratio == 1.0 else widest.narrowed(ratio)
        mass = mass @ _moves(walk, points, states, course.mean(i), course.scale)
        points = states.at
        if course.drift == 0.0 and 1.0 - ratio * ratio < SETTLED:
            return total + float(mass @ _further(walk, widest, course.shift, course.scale))
        if mass.sum() < DEAD:
            return total
    raise TooLong(MOST_CHECKS)


def _both_sides(walk: _Walk, course: _Course) -> float:
    """Return the run length of two reflecting walks, one for each direction, while the mean moves.

    When one side signals the other is at 0 (start ≤ edge/2 + allowance). So the measure of one side that follows only
    runs of the pair is its own measure less what starts anew at 0 whenever the other side signals.
    """
    states = _states(walk, course.scale)
    courses = (course, course.mirrored())
    points = np.array([walk.start])
    masses = [np.ones(1), np.ones(1)]
    total = 0.0
    for i in range(1, MOST_CHECKS + 1):
        running = float(masses[0].sum())
        total += running
        moved = [m @ _moves(walk, points, states, c.mean(i), c.scale) for m, c in zip(masses, courses, strict=True)]
        up, down = (running - float(m.sum()) for m in moved)
        moved[0][0] -= down
        moved[1][0] -= up
        masses, points = moved, states.at
        if masses[0].sum() < DEAD:
            return total
    raise TooLong(MOST_CHECKS)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongUse(what, remedy="see `metergate drift arl --help`")


def _course(shift: float, drift: float, drift_from: int, scale: float, sided: Sided) -> _Course:
    _require(math.isfinite(shift) and math.isfinite(drift), "shift and drift must be finite numbers")
    _require(drift_from in {0, 1}, "drift-from must be 0 or 1")
    _require(math.isfinite(scale) and scale > 0.0, "scale must be positive")
    _require(sided is Sided.TWO or drift >= 0.0, "a one-sided chart may never signal on a falling drift")
    return _Course(shift=shift, drift=drift, first=drift_from, scale=scale)


def shewhart_arl(
    L: float, shift: float = 0.0, sided: Sided = Sided.TWO, *,
    drift: float = 0.0, drift_from: int = 1, scale: float = 1.0,
) -> float:  # fmt: skip
    """Return the run length of |z| > L (two-sided) or z > L: 1/p, or the sum of survival products (closed forms)."""
    _require(math.isfinite(L) and L > 0.0, "L must be positive")
    course = _course(shift, drift, drift_from, scale, sided)

    def silent(mean: float) -> float:
        beyond = math.erfc((L - mean) / scale * math.sqrt(0.5)) / 2.0
        below = math.erfc((L + mean) / scale * math.sqrt(0.5)) / 2.0 if sided is Sided.TWO else 0.0
        return beyond + below

    if drift == 0.0:
        p = silent(shift)
        if p * LONGEST < 1.0:
            raise TooLong
        return 1.0 / p
    running, total = 1.0, 0.0
    for i in range(1, MOST_CHECKS + 1):
        total += running
        running *= 1.0 - silent(course.mean(i))
        if running < DEAD:
            return total
    raise TooLong(MOST_CHECKS)


def ewma_arl(
    lam: float, L: float, shift: float = 0.0, sided: Sided = Sided.TWO, limits: LimitShape = LimitShape.VARYING, *,
    drift: float = 0.0, drift_from: int = 1, scale: float = 1.0,
) -> float:  # fmt: skip
    """Return the run length of the EWMA from 0; one-sided it is Z = max(0, λz + (1 - λ)Z) against the upper limit.

    Limits ±L√(λ/(2 - λ)·[1 - (1 - λ)^{2i}]) for z of σ 1, or without the bracket (fixed). Lucas & Saccucci 1990.
    """
    _require(0.0 < lam <= 1.0, "lambda must be above 0 and at most 1")
    _require(math.isfinite(L) and L > 0.0, "L must be positive")
    _require(limits is LimitShape.FIXED or lam >= 0.001, "lambda below 0.001 is computed with fixed limits only")
    course = _course(shift, drift, drift_from, scale, sided)
    edge = L / math.sqrt(lam * (2.0 - lam))
    walk = _Walk(retain=1.0 - lam, allowance=0.0, edge=edge, reflecting=sided is Sided.ONE)
    if limits is LimitShape.FIXED and drift == 0.0:
        return _constant(walk, shift, scale)
    return _propagated(walk, course, limits)


def cusum_arl(
    k: float, h: float, shift: float = 0.0, sided: Sided = Sided.TWO, headstart: float = 0.0, *,
    drift: float = 0.0, drift_from: int = 1, scale: float = 1.0,
) -> float:  # fmt: skip
    """Return the run length of the tabular CUSUM started at `headstart` (both sides), upper side only if one-sided.

    Two-sided from L⁺, L⁻ of the sides: [L⁺(c)L⁻(0) + L⁺(0)L⁻(c) - L⁺(0)L⁻(0)] / [L⁺(0) + L⁻(0)] (Lucas & Crosier 1982),
    which at c = 0 is 1/ARL = 1/L⁺ + 1/L⁻ (van Dobben de Bruyn 1968); exact for c ≤ h/2 + k, refused beyond.
    """
    _require(math.isfinite(k) and k >= 0.0, "k must not be negative")
    _require(math.isfinite(h) and h > 0.0, "h must be positive")
    _require(0.0 <= headstart <= h, "headstart must lie between 0 and h")
    _require(sided is Sided.ONE or headstart <= h / 2.0 + k, "a two-sided headstart must not exceed h/2 + k")
    course = _course(shift, drift, drift_from, scale, sided)
    walk = _Walk(retain=1.0, allowance=k, edge=h, reflecting=True, start=headstart)
    if drift != 0.0:
        return _propagated(walk, course, LimitShape.FIXED) if sided is Sided.ONE else _both_sides(walk, course)
    if sided is Sided.ONE:
        return _constant(walk, shift, scale)
    return _paired(walk, shift, scale)


def _paired(walk: _Walk, shift: float, scale: float) -> float:
    """Return the run length of a pair of sides from those of each, from the head start and from 0."""
    fresh = replace(walk, start=0.0)
    try:
        up, down = _constant(fresh, shift, scale), _constant(fresh, -shift, scale)
    except TooLong:
        return _constant(walk, abs(shift), scale)
    up_c, down_c = (up, down) if walk.start == 0.0 else (_constant(walk, shift, scale), _constant(walk, -shift, scale))
    return (up_c * down + up * down_c - up * down) / (up + down)


def siegmund_arl(k: Floats, h: Floats, shift: Floats) -> Floats:
    """Return the two-sided CUSUM run length by Siegmund's approximation (1985), within 2 % for h ≥ 4, k ≤ 0.5."""
    b = h + 1.166

    def side(delta: Floats) -> Floats:
        x = 2.0 * delta * b
        small = np.abs(x) < 1e-4
        x = np.where(small, 1e-4, x)
        exact = (np.exp(np.minimum(-x, 690.0)) + x - 1.0) * (b / x) ** 2 * 2.0
        return np.where(small, b * b, exact)

    result: Floats = 1.0 / (1.0 / side(shift - k) + 1.0 / side(-shift - k))
    return result


def noise_arl(k: float, h: float, cap: float, ratio: float = 1.0, *, cells: int = 240) -> float:
    """Return the run length in checks (two a pair) of C = max(0, C + v - k) > h, v = min(ratio²·χ²₁, cap).

    Markov chain (Brook & Evans 1972) on `cells` cells ± a factor √2, laid so that a capped pair moves from middle to
    middle. Within 1 in 100 up to a run length of 10⁷ for the k and cap of `gateway.drift.noise`; for h that is 0.03.
    """
    _require(math.isfinite(k) and k > 0.0, "k must be positive")
    _require(math.isfinite(h) and h > 0.0, "h must be positive")
    _require(math.isfinite(cap) and cap > k and ratio > 0.0, "cap must be above k and the ratio positive")
    if h > 60.0 * (cap - k):
        return 2.0 * _noise_ladder(k, h, cap, ratio)
    per_cap = 2.0 ** max(0, round(math.log2(cells * (cap - k) / h)))
    return 2.0 * _noise_pairs(k, h, cap, ratio, (cap - k) / per_cap)


def _noise_ladder(k: float, h: float, cap: float, ratio: float) -> float:
    """Return the run length in pairs to a far limit: h over the mean step (Wald), if the sum rises at all."""
    c = cap / (ratio * ratio)
    below = math.erf(math.sqrt(c / 2.0))
    moment = ratio * ratio * (below - math.sqrt(2.0 * c / math.pi) * math.exp(-c / 2.0))
    rise = moment + cap * (1.0 - below) - k
    if rise < 0.01 * k:
        raise TooLong
    return h / rise


def _noise_pairs(k: float, h: float, cap: float, ratio: float, step: float) -> float:
    """Return the run length in pairs with cells of `step` laid from h downwards, and 0 itself."""
    tops = h - step * np.arange(math.ceil(h / step - 1e-9))[::-1]
    edges = np.concatenate(([0.0, 0.0], tops))
    middle = (edges[:-1] + edges[1:]) / 2.0
    n = len(middle)

    def below_edge(at: npt.NDArray[np.floating[Any]]) -> Floats:
        v = np.maximum(at.astype(np.float64), 0.0)
        return np.where(v >= cap, 1.0, 2.0 * normal_cdf(np.sqrt(v) / ratio) - 1.0)

    below = np.empty((n, n))
    by_distance = below_edge((np.arange(1 - n, n) + 0.5) * step + k)
    below[2:, 1:] = by_distance[n - 1 + np.arange(1, n)[None, :] - np.arange(2, n)[:, None]]
    below[:, 0] = below_edge(k - middle)
    below[:2, 1:] = below_edge(edges[None, 2:] - middle[:2, None] + k)
    moves = np.diff(below, axis=1, prepend=0.0)
    further = np.linalg.solve(np.eye(len(middle)) - moves, np.ones(len(middle)))
    if not np.isfinite(further[0]) or not 0.0 < further[0] < LONGEST:
        raise TooLong
    return float(further[0])
