"""Rules over a whole set of verification points: errors of one sign, and the weighted mean error.

Exact: numbers are fractions of the decimals a certificate states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from gateway.metrology.formulas import Product, Span, Table

__all__ = ["MeasuredPoint", "PointRule", "PointRuleKind", "PointSetFinding", "PointSetRule", "weighted_mean_error"]


class PointRuleKind(StrEnum):
    """What is asked of the points together."""

    SAME_SIGN = "same_sign"
    WEIGHTED_MEAN = "weighted_mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRule:
    """One such rule of a pack, for instruments of the choices in `only` and points in `at`.

    same_sign: if all errors have one sign, `some` of them (at least one) must be below that share of its MPE, or
    `every` one within that limit. weighted_mean: the mean weighted by flow/`full`, falling beyond `knee`, is within
    `limit`.
    """

    kind: PointRuleKind
    at: Span
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    some: Fraction | None = None
    every: Product | None = None
    limit: Product | Table | None = None
    full: Product | None = None
    knee: Fraction | None = None
    verified: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """One point: its flow (or load) in base units, its error in %, and its MPE in % (None: no requirement known)."""

    x: Fraction
    error: Fraction
    mpe: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSetFinding:
    """Whether a rule holds (None: the points do not say), the figure it was judged by, and its limit, in %."""

    kind: PointRuleKind
    holds: bool | None
    points: int
    value: float | None = None
    limit: float | None = None
    verified: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSetRule:
    """A rule with an instrument's numbers: `low`, `high` and `full` in base units, `limit` in %."""

    kind: PointRuleKind
    low: Fraction | None
    high: Fraction | None
    low_closed: bool
    high_closed: bool
    some: Fraction | None = None
    limit: Fraction | None = None
    full: Fraction | None = None
    knee: Fraction | None = None
    verified: bool = False
    source: str = ""

    def judge(self, points: Sequence[MeasuredPoint]) -> PointSetFinding:
        """Return what the rule says of these points; those outside its range do not count."""
        inside = [p for p in points if self._holds(p.x)]
        if self.kind is PointRuleKind.SAME_SIGN:
            holds, value, limit = self._same_sign(inside)
        else:
            holds, value, limit = self._weighted_mean(inside)
        return PointSetFinding(
            kind=self.kind,
            holds=holds,
            points=len(inside),
            value=None if value is None else float(value),
            limit=None if limit is None else float(limit),
            verified=self.verified,
            source=self.source,
        )

    def _holds(self, x: Fraction) -> bool:
        above = self.low is None or x > self.low or (self.low_closed and x == self.low)
        return above and (self.high is None or x < self.high or (self.high_closed and x == self.high))

    def _same_sign(self, points: Sequence[MeasuredPoint]) -> tuple[bool | None, Fraction | None, Fraction | None]:
        if len(points) < 2:
            return None, None, None
        if not (all(p.error > 0 for p in points) or all(p.error < 0 for p in points)):
            return True, None, None
        if self.limit is not None:
            largest = max(abs(p.error) for p in points)
            return largest <= self.limit, largest, self.limit
        shares = [abs(p.error) / p.mpe for p in points if p.mpe is not None]
        if self.some is None or not shares:
            return None, None, None
        smallest = min(shares)
        holds = smallest < self.some
        if not holds and len(shares) < len(points):
            return None, smallest * 100, self.some * 100
        return holds, smallest * 100, self.some * 100

    def _weighted_mean(self, points: Sequence[MeasuredPoint]) -> tuple[bool | None, Fraction | None, Fraction | None]:
        if self.full is None or self.knee is None or self.limit is None:
            return None, None, self.limit
        mean = weighted_mean_error([(p.x, p.error) for p in points], self.full, self.knee)
        return (None if mean is None else abs(mean) <= self.limit), mean, self.limit


def weighted_mean_error(
    points: Sequence[tuple[Fraction, Fraction]], full: Fraction, knee: Fraction = Fraction(7, 10)
) -> Fraction | None:
    """Return WME = Σ k E / Σ k of (flow, error) points (OIML R 137-1:2012); None without any weight.

    k = Q/Qmax up to the knee (0.7 Qmax), 2 · knee - Q/Qmax beyond it.

    >>> f = Fraction
    >>> weighted_mean_error([(f(10), f(1)), (f(7), f(0)), (f(4), f(-1))], f(10))
    Fraction(0, 1)
    """
    weights = [x / full if x / full <= knee else 2 * knee - x / full for x, _ in points]
    total = sum(weights, Fraction(0))
    if total <= 0:
        return None
    return sum((k * error for k, (_, error) in zip(weights, points, strict=True)), Fraction(0)) / total
