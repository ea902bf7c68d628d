"""Baselines: the error curve of a certificate and its uncertainty, interpolated inside its domain (METROLOGY §4).

Both lines are straight between points; U as if the same standard was used at both ends, which never flatters. Nothing
is extrapolated: the domain is [min x, max x] widened by max(resolution, 1 % of max x), and the end values hold there.
NaN stands for an absent number. Each element sees the same few operations, so bits do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gateway.metrology.units import exact

__all__ = ["Curve", "CurveTable", "Looked"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The points of one certificate under one condition, x ascending; one point with x None holds everywhere.

    `low` and `high` are the widened domain. E and U are in the error unit, x and the domain in the axis unit.
    """

    x: tuple[float | None, ...]
    E: tuple[float, ...]
    U: tuple[float, ...]
    k: tuple[float, ...]
    low: float
    high: float

    @staticmethod
    def of(points: Sequence[tuple[float | None, float, float, float]], *, resolution: float = 0.0) -> Curve:
        """Return the curve through points (x, E, U, k) in any order.

        ValueError without points, with two at one x, or with an x missing beside others.
        """
        return _through(tuple(points), resolution)


@lru_cache(maxsize=1024)
def _through(points: tuple[tuple[float | None, float, float, float], ...], resolution: float) -> Curve:
    """Return what `Curve.of` does: a certificate holds over several epochs, and is asked for in each."""
    if not points:
        raise ValueError("a curve needs at least one point")
    if any(p[0] is None for p in points):
        if len(points) > 1:
            raise ValueError("a point without x holds everywhere and must be the only one")
        ordered = list(points)
        low, high = -np.inf, np.inf
    else:
        ordered = sorted(points, key=_place)
        if any(_place(a) == _place(b) for a, b in pairwise(ordered)):
            raise ValueError("two points have the same x")
        low, high = _domain(_place(ordered[0]), _place(ordered[-1]), resolution)
    x, E, U, k = zip(*ordered, strict=True)
    return Curve(x=x, E=E, U=U, k=k, low=low, high=high)


def _place(point: tuple[float | None, float, float, float]) -> float:
    return 0.0 if point[0] is None else point[0]


def _domain(first: float, last: float, resolution: float) -> tuple[float, float]:
    """Return the widened domain, computed in decimals so that its edges are the numbers a person would name."""
    margin = max(exact(resolution), abs(exact(last)) / 100)
    return float(exact(first) - margin), float(exact(last) + margin)


class Looked(NamedTuple):
    """What curves say at x: error, U, k (NaN where nothing is known), and where x lies outside the domain."""

    E: Floats
    U: Floats
    k: Floats
    outside: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveTable:
    """Many curves end to end: points `first[c]` … `first[c] + count[c] - 1` are those of curve c."""

    first: Ints
    count: Ints
    everywhere: Bools
    low: Floats
    high: Floats
    x: Floats
    E: Floats
    U: Floats
    k: Floats

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> Self:
        """Return the table of these curves, numbered in their order."""
        count = np.array([len(c.x) for c in curves], np.int64)
        return cls(
            first=np.cumsum(count) - count,
            count=count,
            everywhere=np.array([c.x[0] is None for c in curves], np.bool_),
            low=np.array([c.low for c in curves], np.float64),
            high=np.array([c.high for c in curves], np.float64),
            x=np.array([0.0 if v is None else v for c in curves for v in c.x], np.float64),
            E=np.array([v for c in curves for v in c.E], np.float64),
            U=np.array([v for c in curves for v in c.U], np.float64),
            k=np.array([v for c in curves for v in c.k], np.float64),
        )

    def lookup(self, curve: Ints, x: Floats) -> Looked:
        """Return E, U, k of each curve at its x, in the order of the arguments.

        NaN outside the domain (`outside`), without x on a curve that needs one, and where `curve` is negative.
        """
        E, U, k = np.full((3, len(x)), np.nan)
        outside = np.zeros(len(x), np.bool_)
        rows = np.flatnonzero(curve >= 0)
        if not len(rows):
            return Looked(E, U, k, outside)
        c, at = curve[rows], x[rows]
        everywhere, low, high = self.everywhere[c], self.low[c], self.high[c]
        outside[rows] = ~everywhere & ((at < low) | (at > high))
        known = everywhere | ((at >= low) & (at <= high))
        if not known.all():
            rows, c, at = rows[known], c[known], at[known]
        left, t = self._segment(c, at)
        right = np.minimum(left + 1, self.first[c] + self.count[c] - 1)
        on_point = t == 0.0
        for out, column in ((E, self.E), (U, self.U), (k, self.k)):
            found = column[left]
            out[rows] = found if on_point.all() else np.where(on_point, found, (1.0 - t) * found + t * column[right])
        return Looked(E, U, k, outside)

    def _segment(self, c: Ints, at: Floats) -> tuple[Ints, Floats]:
        """Return the point at or left of each x and the share t ∈ [0, 1] of the way to the next one."""
        first, last = self.first[c], self.first[c] + self.count[c] - 1
        left, beyond = first.copy(), last + 1
        while True:
            middle = (left + beyond) // 2
            open_ = middle > left
            if not open_.any():
                break
            below = self.x[np.minimum(middle, last)] <= at
            left = np.where(open_ & below, middle, left)
            beyond = np.where(open_ & ~below, middle, beyond)
        right = np.minimum(left + 1, last)
        width = np.where(right > left, self.x[right] - self.x[left], 1.0)
        way = np.where(self.everywhere[c] | (right == left), 0.0, np.maximum(at - self.x[left], 0.0))
        return left, way / width
