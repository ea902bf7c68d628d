"""Straight lines through errors over time: least squares with Fieller's crossing, Theil-Sen with Kendall's interval.

Sums are exact (rationals), so that data with a large mean or small spread lose no digit before the one division.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist

from gateway.metrology.student import t_quantile

__all__ = ["Crossing", "Line", "Moments", "TheilSen", "fit_line", "kendall_p", "moments", "theil_sen"]

Number = float | int | Decimal
TAIL = 0.025
EXACT_KENDALL = 60
"""Up to this many points the distribution of Kendall's S is counted, not approximated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a line reaches a level: the point estimate and Fieller's 95 % interval, in units of x."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """y = intercept + slope·x by least squares from n points: means, centred sums, and how far they depend.

    `widening` ≥ 1 multiplies the variances of slope and mean (autocorrelated residuals); n/widening points count.
    """

    n: int
    x_mean: float
    y_mean: float
    sxx: float
    sxy: float
    syy: float
    widening: float = 1.0

    @property
    def slope(self) -> float:
        """Return b = Sxy/Sxx."""
        return self.sxy / self.sxx

    @property
    def intercept(self) -> float:
        """Return a."""
        return self.y_mean - self.slope * self.x_mean

    @property
    def dof(self) -> float:
        """Return the degrees of freedom of the residuals, at least 1."""
        return max(self.n / self.widening - 2.0, 1.0)

    @property
    def variance(self) -> float:
        """Return s² of the residuals, n - 2 degrees of freedom."""
        return max(self.syy - self.sxy * self.sxy / self.sxx, 0.0) / (self.n - 2)

    @property
    def slope_u(self) -> float:
        """Return the standard uncertainty s_b of the slope."""
        return math.sqrt(self.variance * self.widening / self.sxx)

    @property
    def t(self) -> float:
        """Return t(0.975) for the degrees of freedom."""
        return t_quantile(TAIL, self.dof)

    @property
    def g(self) -> float:
        """Return Fieller's g = (t·s_b/b)²: below 1 the slope is significant and crossings are finite."""
        slope = self.slope
        if slope == 0.0:
            return math.inf
        share = self.t * self.slope_u / slope
        return share * share  # not a power, which raises beyond the floats

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the slope."""
        half = self.t * self.slope_u
        return self.slope - half, self.slope + half

    def crossing(self, level: float, *, single: bool = False) -> Crossing | None:
        """Return where the line (`single`: one new observation) reaches `level`; None unless g < 1 (Fieller 1954).

        Roots d of (b² - t²s²/Sxx)d² - 2b(level - ȳ)d + (level - ȳ)² - t²s²/n = 0, x = x̄ + d.
        """
        if not self.g < 1.0:
            return None
        b, rise, square = self.slope, level - self.y_mean, self.t**2 * self.variance * self.widening
        leading = b * b * (1.0 - self.g)
        if not leading > 0.0:  # a slope whose square is below the floats
            return None
        share = square * ((1.0 if single else 0.0) + 1.0 / self.n)
        climb = b * rise
        root = math.sqrt(max(climb * climb - leading * (rise * rise - share), 0.0))
        low, high = sorted(((b * rise - root) / leading, (b * rise + root) / leading))
        return Crossing(at=self.x_mean + rise / b, low=self.x_mean + low, high=self.x_mean + high)


def _exact(values: Iterable[Number]) -> list[Fraction]:
    return [Fraction(v) for v in values]


def fit_line(x: Sequence[Number], y: Sequence[Number]) -> Line:
    """Return the least-squares line; at least 3 points, at least 2 of different x. Raises ValueError otherwise."""
    if len(x) != len(y) or len(x) < 3 or len(set(x)) < 2:
        raise ValueError("a line needs at least 3 points and 2 different x")
    xs, ys, n = _exact(x), _exact(y), len(x)
    x_mean, y_mean = sum(xs) / n, sum(ys) / n
    sxx = sum((v - x_mean) ** 2 for v in xs)
    sxy = sum((v - x_mean) * (w - y_mean) for v, w in zip(xs, ys, strict=True))
    residual = sum((w - y_mean) ** 2 for w in ys) - sxy * sxy / sxx
    return Line(
        n=n, x_mean=float(x_mean), y_mean=float(y_mean), sxx=float(sxx), sxy=float(sxy),
        syy=float(residual + sxy * sxy / sxx),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean, standard deviation (n - 1) and lag-1 autocorrelation of a series."""

    mean: float
    sd: float
    lag1: float


def moments(values: Sequence[Number]) -> Moments:
    """Return the moments of at least 2 values, correctly rounded; lag1 is NaN for a constant series."""
    if len(values) < 2:
        raise ValueError("moments need at least 2 values")
    exact, n = _exact(values), len(values)
    mean = sum(exact) / n
    off = [v - mean for v in exact]
    square = sum((d * d for d in off), Fraction(0))
    product = sum((a * b for a, b in pairwise(off)), Fraction(0))
    lag1 = float(product / square) if square else math.nan
    return Moments(mean=float(mean), sd=math.sqrt(square / (n - 1)), lag1=lag1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TheilSen:
    """Median of the pairwise slopes, its 95 % interval from Kendall's ranks, τ and two-sided p of no trend."""

    slope: float
    low: float
    high: float
    tau: float
    p: float


def theil_sen(x: Sequence[float], y: Sequence[float]) -> TheilSen:
    """Return the robust slope (Theil 1950, Sen 1968; breakdown 29 %). Raises ValueError without 2 different x."""
    pairs = [(x[j] - x[i], y[j] - y[i]) for i in range(len(x)) for j in range(i + 1, len(x)) if x[j] != x[i]]
    if not pairs:
        raise ValueError("a slope needs 2 different x")
    slopes = sorted(dy / dx for dx, dy in pairs)
    s = sum((v > 0.0) - (v < 0.0) for v in slopes)
    half = NormalDist().inv_cdf(1.0 - TAIL) * math.sqrt(_kendall_variance(x, y))
    n = len(slopes)
    low = min(max(round((n - half) / 2.0), 1), n)
    high = min(max(round((n + half) / 2.0) + 1, 1), n)
    middle = (slopes[(n - 1) // 2] + slopes[n // 2]) / 2.0
    untied = n == len(x) * (len(x) - 1) // 2 and len(set(y)) == len(y)
    p = kendall_p(s, len(x)) if untied else _normal_p(s, _kendall_variance(x, y))
    return TheilSen(slope=middle, low=slopes[low - 1], high=slopes[high - 1], tau=_tau_b(x, y, s), p=p)


def _ties(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for v in values:
        counts[v] = counts.get(v, 0) + 1
    return list(counts.values())


def _kendall_variance(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the variance of S without trend, corrected for ties (Sen 1968 eq. 2.6 for both)."""
    n = len(x)
    tied = sum(t * (t - 1) * (2 * t + 5) for values in (x, y) for t in _ties(values))
    return max(n * (n - 1) * (2 * n + 5) - tied, 0) / 18.0


def _tau_b(x: Sequence[float], y: Sequence[float], s: int) -> float:
    pairs = len(x) * (len(x) - 1) / 2.0
    x_tied, y_tied = (sum(t * (t - 1) / 2.0 for t in _ties(v)) for v in (x, y))
    whole = math.sqrt((pairs - x_tied) * (pairs - y_tied))
    return s / whole if whole else math.nan


def _normal_p(s: int, variance: float) -> float:
    if variance == 0.0:
        return 1.0
    return math.erfc(max(abs(s) - 1.0, 0.0) / math.sqrt(2.0 * variance))


def kendall_p(s: int, n: int) -> float:
    """Return P(|S| ≥ |s|) of Kendall's S for n untied points without trend: counted up to 60, normal beyond.

    >>> f"{kendall_p(56, 12):.2g}"
    '1.6e-05'
    """
    if n > EXACT_KENDALL:
        return _normal_p(s, n * (n - 1) * (2 * n + 5) / 18.0)
    inversions = [1]
    for size in range(2, n + 1):
        padded = [0] * (len(inversions) + size - 1)
        for shift in range(size):
            for i, ways in enumerate(inversions):
                padded[i + shift] += ways
        inversions = padded
    pairs = n * (n - 1) // 2
    extreme = sum(inversions[: (pairs - abs(s)) // 2 + 1])
    return min(1.0, float(Fraction(2 * extreme, sum(inversions))))
