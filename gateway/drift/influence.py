"""Influence quantities: what of a residual follows temperature, flow or load is removed before charting.

VIM 4.21: that is no drift (METROLOGY §5.2). Least squares of the residual D on the conditions over the checks of Phase
I, from centred sums moved on one check after the other (Welford 1962), so that cutting changes no bit; solved by
sweeping (Goodnight 1979). A later check has D - b·(c - c̄).

b is uncertain, so the variance is σ²(1 + h), h = (c - c̄)ᵀ S⁻¹ (c - c̄) the leverage: z is divided by √(1 + h). Beyond
the conditions of Phase I the error of b is a constant offset at those conditions, which no division cures; so a check
with h above `FARTHEST` is not charted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gateway.drift import Floats

__all__ = ["FARTHEST", "INFLUENCE", "MOST", "Removed", "Sums", "removed"]

MOST = 3
"""Conditions a channel can be regressed on."""

FARTHEST = 0.5
"""Leverage beyond which what is learned says nothing: about twice the range that was seen while learning."""

COLLINEAR = 1e-8
"""A condition of which the others leave less than this share adds nothing and is left out."""

STEADY = 1e-6
"""A condition that moves by less than this share of itself has not varied."""

PAIRS = tuple((i, j) for i in range(MOST) for j in range(i, MOST))

INFLUENCE = np.dtype(
    [
        *((f"influence_mean_{i}", np.float64) for i in range(MOST)),
        *((f"influence_xx_{i}{j}", np.float64) for i, j in PAIRS),  # Σ dc_i dc_j; once settled, S⁻¹
        *((f"influence_xy_{i}", np.float64) for i in range(MOST)),  # Σ dc_i dD; once settled, the slopes b
    ]
)
"""What is kept of a chapter's conditions, in a channel's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Means, sums of products of conditions (`PAIRS`), and of conditions and residual; settled: S⁻¹ and slopes."""

    mean: tuple[float, ...]
    xx: tuple[float, ...]
    xy: tuple[float, ...]

    @classmethod
    def of(cls, state: npt.NDArray[Any]) -> Self:
        """Return the sums in a channel's state (one row)."""
        values = [float(state[name][0]) for name in INFLUENCE.names or ()]
        return cls(mean=tuple(values[:MOST]), xx=tuple(values[MOST:-MOST]), xy=tuple(values[-MOST:]))

    def store(self, state: npt.NDArray[Any]) -> None:
        """Put the sums into a channel's state (one row)."""
        for name, value in zip(INFLUENCE.names or (), (*self.mean, *self.xx, *self.xy), strict=True):
            state[name] = value

    def with_check(self, n: int, conditions: list[float], rest: float) -> Sums:
        """Return the sums with the n-th check; `rest`: its residual less the mean of all n residuals."""
        before = [c - m for c, m in zip(conditions, self.mean, strict=True)]
        mean = tuple(m + d / n for m, d in zip(self.mean, before, strict=True))
        after = [c - m for c, m in zip(conditions, mean, strict=True)]
        return Sums(
            mean=mean,
            xx=tuple(s + before[i] * after[j] for s, (i, j) in zip(self.xx, PAIRS, strict=True)),
            xy=tuple(s + d * rest for s, d in zip(self.xy, before, strict=True)),
        )

    def settled(self, n: int, squares: float) -> tuple[Sums, float, int]:
        """Return the fit to n checks, the residuals' sum of squares about it, and how many slopes it has.

        `squares`: that sum about the mean. A condition that has not varied has no slope, and covers only itself.
        """
        table = [[0.0] * (MOST + 1) for _ in range(MOST + 1)]
        for s, (i, j) in zip(self.xx, PAIRS, strict=True):
            table[i][j] = table[j][i] = s
        for i, s in enumerate(self.xy):
            table[i][MOST] = table[MOST][i] = s
        table[MOST][MOST] = squares
        swept = []
        for i, m in enumerate(self.mean):
            varied = table[i][i] > COLLINEAR * self.xx[PAIRS.index((i, i))]
            if varied and self.xx[PAIRS.index((i, i))] > n * _square(STEADY * m):
                _sweep(table, i)
                swept.append(i)
        fit = Sums(
            mean=self.mean,
            xx=tuple(table[i][j] if i in swept and j in swept else self._steady(n, i, j) for i, j in PAIRS),
            xy=tuple(table[i][MOST] if i in swept else 0.0 for i in range(MOST)),
        )
        return fit, max(table[MOST][MOST], 0.0), len(swept)

    def _steady(self, n: int, i: int, j: int) -> float:
        """Return what stands in S⁻¹ for a condition without a slope: so much that a departure is far at once."""
        square = _square(STEADY * self.mean[i])
        steady = i == j and square > 0.0 and self.xx[PAIRS.index((i, i))] <= n * square
        return FARTHEST / square if steady else 0.0


def _square(number: float) -> float:
    """Return number², infinite beyond the floats: a power of Python's would raise."""
    return number * number


def _sweep(table: list[list[float]], k: int) -> None:
    """Sweep a symmetric table on its k-th diagonal element (Goodnight 1979)."""
    size, pivot = len(table), table[k][k]
    for j in range(size):
        table[k][j] /= pivot
    for i in range(size):
        if i != k:
            factor = table[i][k]
            for j in range(size):
                table[i][j] -= factor * table[k][j]
            table[i][k] = -factor / pivot
    table[k][k] = 1.0 / pivot


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Of each check: what its conditions add to the residual, √(1 + h), and whether Phase I covers them."""

    shift: Floats
    spread: Floats
    covered: npt.NDArray[np.bool_]


def removed(state: npt.NDArray[Any], unit: npt.NDArray[np.int64], conditions: Floats) -> Removed:
    """Return what the fits in `state` (one row per unit, settled) say of checks; `conditions`: `MOST` columns each."""
    away = [conditions[:, i] - state[f"influence_mean_{i}"][unit] for i in range(MOST)]
    shift, leverage = np.zeros(len(unit)), np.zeros(len(unit))
    for i, d in enumerate(away):
        shift = shift + state[f"influence_xy_{i}"][unit] * d
    for i, j in PAIRS:
        twice = 1.0 if i == j else 2.0
        leverage = leverage + twice * state[f"influence_xx_{i}{j}"][unit] * away[i] * away[j]
    leverage = np.maximum(leverage, 0.0)
    return Removed(shift=shift, spread=np.sqrt(1.0 + leverage), covered=leverage <= FARTHEST)
