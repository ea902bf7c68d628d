"""Wider limits while centre and σ come from few checks (Phase I; METROLOGY §5.3; Jones, Champ & Rigdon 2004).

With mean X̄ and deviation s of m checks, later z = (X - X̄)/s have a mean -X̄/s and a deviation 1/s that no longer
change, so the true in-control run length is itself random. The widened limit keeps it at least at the nominal one (that
of the given limit on exact z) in a stated share of all cases. It is computed, not tabulated: a chart of z against L is
a chart of X - X̄ against L·s, so for Shewhart and EWMA one curve over the offset gives all; a CUSUM of z with k, h is
one of X - X̄ with k·s, h·s. X̄ ~ N(0, 1/m), (m - 1)s² ~ χ² with m - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from gateway.drift import Floats
from gateway.drift.design import LONGEST_DESIGN, as_written, limit_for
from gateway.drift.runlength import LimitShape, TooLong, ewma_arl, noise_arl, shewhart_arl, siegmund_arl
from gateway.errors import WrongUse

__all__ = ["FEWEST", "widened"]

FEWEST = 5
"""With fewer checks a deviation is hardly known at all; they are taken as this many."""

OFFSETS, DEVIATIONS = 96, 192
CURVE = 7
SPAN = 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _PhaseOne:
    """What the estimates may be: offsets |X̄| and deviations s on grids, with their probabilities."""

    offset: Floats
    offset_weight: Floats
    deviation: Floats
    deviation_weight: Floats

    def quantile(self, required: Floats, share: float) -> float:
        """Return the share-quantile of a limit given on the grid (offsets as rows)."""
        weight = (self.offset_weight[:, None] * self.deviation_weight[None, :]).ravel()
        order = np.argsort(required.ravel(), kind="stable")
        reached = np.cumsum(weight[order]) - weight[order] / 2.0
        return float(np.interp(share, reached, required.ravel()[order]))


def _phase_one(checks: int, centre_known: bool, sigma_known: bool) -> _PhaseOne:
    u = (np.arange(OFFSETS, dtype=np.float64) + 0.5) / OFFSETS * SPAN
    offset: Floats = np.zeros(1) if centre_known else u / math.sqrt(checks)
    offset_density = np.ones(1) if centre_known else np.exp(-0.5 * u * u)
    deviation: Floats = np.ones(1)
    density: Floats = np.ones(1)
    if not sigma_known:
        nu = checks if centre_known else checks - 1
        low = max(0.02, 1.0 - SPAN / math.sqrt(2.0 * nu))
        step = (1.0 + SPAN / math.sqrt(2.0 * nu) - low) / DEVIATIONS
        deviation = low + (np.arange(DEVIATIONS, dtype=np.float64) + 0.5) * step
        log_density = (nu - 1.0) * np.log(deviation) - nu * deviation * deviation / 2.0
        density = np.exp(log_density - log_density.max())
    return _PhaseOne(
        offset=offset,
        offset_weight=offset_density / offset_density.sum(),
        deviation=deviation,
        deviation_weight=density / density.sum(),
    )


def _required_cusum(k: float, h: float, phase: _PhaseOne) -> Floats:
    """Return, on the grid, the h with the run length of (k, h): by bisection on Siegmund's approximation."""
    offset, s = phase.offset[:, None], phase.deviation[None, :]
    target = float(siegmund_arl(np.array([k]), np.array([h]), np.zeros(1))[0])
    low = np.zeros((len(phase.offset), len(phase.deviation)))
    high = np.full_like(low, h)
    for _ in range(40):
        short = siegmund_arl(k * s, high * s, offset) < target
        if not short.any():
            break
        high = np.where(short, high * 2.0, high)
    for _ in range(40):
        middle = (low + high) / 2.0
        short = siegmund_arl(k * s, middle * s, offset) < target
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def _nominal(run_length: Callable[[float], float], limit: float) -> float:
    """Return the run length to keep: that of the limit, or the longest that can be designed for."""
    try:
        return min(run_length(limit), LONGEST_DESIGN)
    except TooLong:
        return LONGEST_DESIGN


def _at_offset(run_length: Callable[[float, float], float], offset: float, limit: float) -> float:
    return run_length(limit, offset)


def _required_scaled(run_length: Callable[[float, float], float], limit: float, phase: _PhaseOne) -> Floats:
    """Return, on the grid, the limit with the run length of `limit`: a curve over the offset, over s.

    `run_length(limit, offset)` in units of the true σ. The curve is even in the offset: a polynomial in its square.
    """
    target = _nominal(lambda L: run_length(L, 0.0), limit)
    if len(phase.offset) == 1:
        return limit / phase.deviation[None, :]
    end = float(phase.offset[-1])
    nodes = end * np.sqrt((1.0 - np.cos(math.pi * (np.arange(CURVE) + 0.5) / CURVE)) / 2.0)
    limits, guess = [], limit
    for node in nodes.tolist():
        guess = limit_for(partial(_at_offset, run_length, node), target, guess, tolerance=1e-4)
        limits.append(guess)
    scaled = (nodes / end) ** 2 * 2.0 - 1.0
    coefficients = np.polynomial.chebyshev.chebfit(scaled, np.array(limits), CURVE - 1)
    curve = np.polynomial.chebyshev.chebval((phase.offset / end) ** 2 * 2.0 - 1.0, coefficients)
    return np.asarray(curve)[:, None] / phase.deviation[None, :]


def _widened_noise(k: float, cap: float, limit: float, phase: _PhaseOne, share: float) -> float:
    """Return h for the smallest s that `share` of cases exceed: pairs know no offset, and less s is always worse."""
    if len(phase.deviation) == 1:
        return limit
    ratio = phase.quantile(np.broadcast_to(1.0 / phase.deviation, (len(phase.offset), len(phase.deviation))), share)
    target = _nominal(lambda h: noise_arl(k, h, cap), limit)
    return limit_for(lambda h: noise_arl(k, h, cap, ratio), target, limit, tolerance=0.003)


def widened(
    chart: str, limit: float, parameters: Mapping[str, float], checks: int, *,
    share: float = 0.9, centre_known: bool = False, sigma_known: bool = False,
) -> float:  # fmt: skip
    """Return the limit that keeps the nominal in-control run length in `share` of cases, never below `limit`.

    A nominal run length beyond 10¹¹ counts as 10¹¹. The charts are taken one by one and as started on known estimates.
    `checks` the estimates come from; a known σ and a known centre leave the limit as it is. `parameters` by contract
    name (the limit may be among them). Raises WrongUse for a chart without a run length.
    """
    names = {"shewhart": (), "ewma": ("lambda",), "cusum": ("k",), "noise": ("k", "cap")}.get(chart)
    if names is None:
        raise WrongUse(f"no run length is known for chart {chart!r}", remedy="give it fixed limits and a σ")
    if centre_known and sigma_known:
        return limit
    chosen = tuple(float(parameters[n]) for n in names)
    return _widened(chart, float(limit), chosen, max(checks, FEWEST), share, centre_known, sigma_known)


@lru_cache(maxsize=1024)
def _widened(
    chart: str, limit: float, parameters: tuple[float, ...], checks: int, share: float, centre_known: bool,
    sigma_known: bool,
) -> float:  # fmt: skip
    phase = _phase_one(checks, centre_known, sigma_known)
    if chart == "noise":
        k, cap = parameters
        return max(limit, as_written(_widened_noise(k, cap, limit, phase, share)))
    if chart == "cusum":
        required = _required_cusum(parameters[0], limit, phase)
    elif chart == "ewma":
        lam = parameters[0]
        required = _required_scaled(lambda L, x: ewma_arl(lam, L, x, limits=LimitShape.FIXED), limit, phase)
    else:
        required = _required_scaled(shewhart_arl, limit, phase)
    return max(limit, as_written(phase.quantile(required, share)))
