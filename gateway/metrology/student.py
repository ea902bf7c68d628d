"""Student's t: tail probability and quantile for real degrees of freedom (Abramowitz & Stegun 26.5, 26.7)."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

__all__ = ["normal_score", "t_quantile", "t_tail"]

TINY = 1e-300
NORMAL = NormalDist()


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function (A&S 26.5.8) by Lentz' method."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d or TINY)
    total = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        change = 1.0
        for step in (even, odd):
            d = 1.0 / ((1.0 + step * d) or TINY)
            c = (1.0 + step / c) or TINY
            change = c * d
            total *= change
        if abs(change - 1.0) < 1e-16:
            break
    return total


def t_tail(t: float, dof: float) -> float:
    """Return P(T > t) for t ≥ 0 and dof > 0, accurate far into the tail.

    >>> round(t_tail(2.228138851986273, 10.0), 12)
    0.025
    """
    x = dof / (dof + t * t)
    a, b = dof / 2.0, 0.5
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 0.5
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return 0.5 * front * _continued_fraction(a, b, x) / a
    return 0.5 * (1.0 - front * _continued_fraction(b, a, 1.0 - x) / b)


def normal_score(t: float, dof: float) -> float:
    """Return the normal quantile of P(T ≤ t): N(0, 1) where t is Student's; ±37 at most.

    >>> round(normal_score(2.228138851986273, 10.0), 9), normal_score(0.0, 1.0), round(normal_score(-1.0, 1.0), 9)
    (1.959963985, 0.0, -0.67448975)
    """
    score = abs(NORMAL.inv_cdf(max(t_tail(abs(t), dof), TINY)))
    return -score if t < 0.0 else score


@lru_cache(maxsize=4096)
def t_quantile(tail: float, dof: float) -> float:
    """Return t with P(T > t) = tail, 0 < tail < 0.5, by Newton's method within a bracket.

    >>> round(t_quantile(0.025, 10.0), 9)
    2.228138852
    """
    low, high = 0.0, 1.0
    while t_tail(high, dof) > tail:
        low, high = high, high * 2.0
    log_scale = math.lgamma((dof + 1.0) / 2.0) - math.lgamma(dof / 2.0) - 0.5 * math.log(dof * math.pi)
    z = NORMAL.inv_cdf(1.0 - tail)
    t = z + (z**3 + z) / (4.0 * dof)
    if not low < t < high:
        t = (low + high) / 2.0
    for _ in range(200):
        excess = t_tail(t, dof) - tail
        low, high = (t, high) if excess > 0.0 else (low, t)
        density = math.exp(log_scale - (dof + 1.0) / 2.0 * math.log1p(t * t / dof))
        following = t + excess / density if density > 0.0 else low
        if not low < following < high:
            following = (low + high) / 2.0
        if abs(following - t) <= 1e-15 * t:
            break
        t = following
    return t
