"""Whether checks depend on the check before: lag-1 autocorrelation ρ, tested on the first checks of a chapter.

CUSUM and EWMA are designed for independent checks; positive ρ shortens their run lengths many times (Johnson & Bagshaw
1974; METROLOGY §5.3). ρ is tested when 30, 60, 120 and 240 values are there, at each look on all of them so far, and
holds from the next value until the next look: 30 values show only |ρ| above about 0.45, 240 above 0.17. The charts see
drifts on the same checks, and a drift must not pass for autocorrelation and widen its own limits. So ρ is that of the
residuals about a straight line, and where it is positive it must show in the differences of neighbours too: for an
AR(1) process E(y_i - y_{i-2})² / E(y_i - y_{i-1})² = 1 + ρ whatever the slow course of the mean. The largest jump is
left out of both, so that a step proves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Floats

__all__ = ["DEPENDENCE", "LOOKS", "dependent_limit", "follow_dependence", "lag_one", "pair_spread"]

Ints = npt.NDArray[np.int64]

LOOKS = (30, 60, 120, 240)
"""Numbers of values at which ρ is tested. The last one decides for the rest of the chapter."""

SURE = 2.576
"""Quantile of the normal distribution: independent values are taken for dependent once in 100 looks."""

DEPENDENT = 0.1
"""Autocorrelation below which checks count as independent, however sure it is (METROLOGY §5.3)."""

MOST = 0.95
"""However dependent, ρ counts as no more: beyond it a chart of single checks cannot tell a drift from a wave."""

SHOWN = 0.4
"""The share of a positive ρ that differences of neighbours must show."""

DUST = 0.1
"""Values that scatter from neighbour to neighbour by less than this share of σ are not tested: only the mean moves."""

BEYOND, ENDS = 1.166, 2.2
"""How far a sum of independent checks is beyond h on average (Siegmund 1985), and what correlated ends add."""

LEAST_K, ACCURATE = 1e-3, 1e-12

_LOOKS = np.array(LOOKS)
_LAGS, _SUMS, _LARGEST = 3, 5, 2

DEPENDENCE = np.dtype(
    [
        ("rho", np.float64),  # as tested at the last look; 0: independent
        ("rho_n", np.int64),  # values so far, up to the last look
        ("rho_first", np.float64),
        ("rho_last", np.float64, (_LAGS,)),  # the last three values less the first, the newest last
        ("rho_sums", np.float64, (_SUMS,)),  # of these: Σy, Σy², Σiy, Σ(y_i - y_{i-1})², Σ(y_i - y_{i-2})²
        ("rho_largest", np.float64, (_LARGEST,)),  # what the largest jump adds to the last two sums
    ]
)
"""What is kept of a chapter's values, in a channel's state."""


def follow_dependence(state: npt.NDArray[Any], unit: Ints, value: Floats, sigma: Floats) -> Floats:
    """Return, for each value, the ρ that the values before it have shown: 0 where independent. Moves `state` on.

    `state`: one row per unit with the fields of `DEPENDENCE`; `unit`: ascending, one per value; values in event order;
    `sigma`: σ of each unit in the values' unit, 0 or NaN where unknown. Sums are taken one value after the other, so
    cutting changes no bit.
    """
    rho: Floats = state["rho"][unit]
    taken = state["rho_n"].copy()
    if not len(unit) or int(taken.min()) >= LOOKS[-1]:
        return rho
    counts = np.bincount(unit, minlength=len(state))
    place = np.arange(len(unit)) + (taken - np.cumsum(counts) + counts)[unit]
    rows = np.flatnonzero(place < LOOKS[-1])
    if not len(rows):
        return rho
    after = np.minimum(taken + counts, LOOKS[-1])
    series = _Series.of(state, unit[rows], value[rows], place[rows], after - taken)
    passed, passes = _LOOKS.searchsorted(taken, side="right"), _LOOKS.searchsorted(after, side="right")
    if (passed == passes).all():
        series.add(slice(None))
    else:
        stage = _LOOKS.searchsorted(place[rows], side="right")
        for which, look in enumerate(LOOKS):
            series.add(stage == which)
            reached = np.flatnonzero((passed <= which) & (passes > which))
            if len(reached):
                last = series.y[series.first[reached] + look - 1 - taken[reached]]
                sums, largest = series.sums[reached], series.largest[reached]
                state["rho"][reached] = _tested(look, sums, largest, last, sigma[reached])
                now = np.zeros(len(state), np.bool_)
                now[reached] = True
                rho = np.where(now[unit] & (place >= look), state["rho"][unit], rho)
    state["rho_n"], state["rho_last"] = after, series.last
    state["rho_sums"], state["rho_largest"] = series.sums, series.largest
    return rho


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """Values less the first of their unit (`y`, each unit's from `first` on), their terms, and the units' sums."""

    unit: Ints
    y: Floats
    first: Ints
    terms: Floats
    steps: Floats
    last: Floats
    sums: Floats
    largest: Floats

    @classmethod
    def of(cls, state: npt.NDArray[Any], unit: Ints, value: Floats, place: Ints, new: Ints) -> _Series:
        """Take `new` values of each unit, and change the first ones in `state`."""
        first = np.cumsum(new) - new
        fresh = np.flatnonzero((new > 0) & (state["rho_n"] == 0))
        state["rho_first"][fresh] = value[first[fresh]]
        heads = (first + _LAGS * np.arange(len(new)))[:, None] + np.arange(_LAGS)
        index = np.arange(len(unit)) + _LAGS * (unit + 1)
        led = np.empty(len(unit) + _LAGS * len(new))
        led[heads] = state["rho_last"]
        led[index] = y = value - state["rho_first"][unit]
        y_1, y_2 = led[index - 1], led[index - 2]
        step, stride, before = (y - y_1) ** 2, (y - y_2) ** 2, (y_1 - led[index - _LAGS]) ** 2
        if (place < _LAGS).any():
            stride[place < _LAGS - 1] = 0.0
            before[place < _LAGS] = 0.0
        return cls(
            unit=unit, y=y, first=first, terms=np.array((y, y * y, place * y, step, stride)),
            steps=np.array((step, stride + before)), last=led[heads + new[:, None]],
            sums=state["rho_sums"].copy(), largest=state["rho_largest"].copy(),
        )  # fmt: skip

    def add(self, rows: slice | npt.NDArray[np.bool_]) -> None:
        """Add values to the sums of their units, in order."""
        unit = self.unit[rows]
        index = unit * _SUMS + np.arange(_SUMS)[:, None]
        np.add.at(self.sums.reshape(-1), index.reshape(-1), self.terms[:, rows].reshape(-1))
        index = unit * _LARGEST + np.arange(_LARGEST)[:, None]
        np.maximum.at(self.largest.reshape(-1), index.reshape(-1), self.steps[:, rows].reshape(-1))


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def lag_one(n: int, sums: Floats, largest: Floats, last: Floats) -> tuple[Floats, Floats, Floats]:
    """Return r₁ about a straight line, ρ as the differences show it, and their standard deviation over √2.

    `sums`, `largest` as in `DEPENDENCE`, of n values; `last` the last one less the first. r₁ = Σe_i e_{i-1}/Σe_i²
    follows from the sums, since Σ(e_i - e_{i-1})² = 2Σe² - e_1² - e_n² - 2Σe_i e_{i-1} and each e_i - e_{i-1} =
    y_i - y_{i-1} - slope.
    """
    total, squares, ramp, steps, strides = sums.T
    middle, spread = (n - 1) / 2.0, n * (n * n - 1.0) / 12.0
    slope = (ramp - middle * total) / spread
    mean = total / n
    left = squares - mean * total - slope * slope * spread
    begin = mean - slope * middle
    end = last - begin - slope * (n - 1)
    turns = steps - 2.0 * slope * last + (n - 1) * slope * slope
    r = 1.0 - (turns + begin * begin + end * end) / (2.0 * left)
    near, far = (steps - largest[:, 0]) / (n - 2), (strides - largest[:, 1]) / (n - 4)
    return r, far / near - 1.0, np.sqrt(np.maximum(near, 0.0) / 2.0)


@np.errstate(invalid="ignore")
def _tested(n: int, sums: Floats, largest: Floats, last: Floats, sigma: Floats) -> Floats:
    """Return ρ where it is sure and large enough to matter, else 0.

    About a line r₁ falls short of ρ by (2 + 4ρ)/n (Kendall 1954); for independent values its variance is 1/n.
    """
    r, shown, scatter = lag_one(n, sums, largest, last)
    rho = (n * r + 2.0) / (n - 4.0)
    sure = (np.abs(r + 2.0 / n) > SURE / np.sqrt(n)) & (np.abs(rho) > DEPENDENT)
    rho = np.clip(rho, -MOST, MOST)
    sure &= (rho < 0.0) | (shown > SHOWN * rho)
    sure &= ~(scatter <= DUST * sigma) & (scatter > 0.0)
    return np.where(sure, rho, 0.0)


@lru_cache(maxsize=4096)
def dependent_limit(chart: str, limit: float, rho: float, parameters: tuple[float, ...]) -> float:
    """Return the limit that keeps the run length of `limit` for AR(1) checks; never below it.

    `parameters`: those of the chart but its limit. EWMA: the limit grows as the deviation of the average does, by
    √((1 + ρ(1 - λ))/(1 - ρ(1 - λ))) (Schmid 1997). A Shewhart chart signals no more often than on independent checks.
    """
    if chart in {"cusum", "self_starting"}:
        return _cusum_limit(parameters[0], limit, rho) if rho > 0.0 else limit
    if chart == "ewma":
        kept = max(rho, 0.0) * (1.0 - parameters[0])
        return limit * math.sqrt((1.0 + kept) / (1.0 - kept))
    return limit * _dependence_of_pairs(rho) if chart == "noise" else limit


def pair_spread(rho: Floats) -> Floats:
    """Return what differences of neighbours grow by: E(z_i - z_{i-1})²/2 = 1 - ρ. They are not spread by less."""
    return np.sqrt(1.0 - np.minimum(rho, 0.0))


def _dependence_of_pairs(rho: float) -> float:
    """Return the long-run variance of (z_2j - z_2j-1)² over that of independent pairs, 1 + 2 Σ r_j², for ρ < 0.

    r_j = -ρ^(2j-1) (1 - ρ)/2 is the correlation of differences j pairs apart; of squares it is r_j².
    """
    if rho >= 0.0:
        return 1.0
    return 1.0 + (1.0 - rho) ** 2 * rho * rho / (2.0 * (1.0 - rho**4))


def _cusum_limit(k: float, h: float, rho: float) -> float:
    """Return h with the run length of independent checks, k being left alone (Siegmund 1985, for AR(1)).

    S_n + z_n ρ/(1 - ρ) is a random walk of independent steps with variance V = (1 + ρ)/(1 - ρ). A side then runs
    V/(2k²)·(eˣ - x - 1) checks, x = 2k(h + c)/V, where c is what the sum is beyond h when it is found, 1.166 √V, and
    what z adds to the walk between the start of a climb and its end. The latter, ENDS·ρ/(1 - ρ), is fitted to simulated
    run lengths of 300 to 18 000 at k of 0.25, 0.5 and 1 and ρ from 0.1 to 0.9 (`bench.autocorrelation` checks it).
    """
    spread = (1.0 + rho) / (1.0 - rho)
    k = max(k, LEAST_K)
    x = 2.0 * k * (h + BEYOND)
    wanted = _log_run(x) - math.log(spread)
    for _ in range(50):  # Newton in ln x, from above: falls until it is there
        step = (_log_run(x) - wanted) * _run_ratio(x)
        x *= math.exp(-step)
        if step < ACCURATE:
            break
    return max(h, x * spread / (2.0 * k) - BEYOND * math.sqrt(spread) - ENDS * rho / (1.0 - rho))


def _log_run(x: float) -> float:
    """Return ln(eˣ - x - 1)."""
    return x + math.log(-math.expm1(-x) - x * math.exp(-x))


def _run_ratio(x: float) -> float:
    """Return 1 / (d ln(eˣ - x - 1) / d ln x)."""
    return (-math.expm1(-x) - x * math.exp(-x)) / (-math.expm1(-x) * x)
