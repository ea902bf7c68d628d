"""False alarms of charts whose centre and σ are not exactly known, averaged over what they may be.

z = (D - D₀)/σ has a constant mean δ where the centre is off by δ σ, and a constant deviation where σ is. Each
instrument of a fleet has its own draw of both and keeps it, so its charts signal falsely once in ARL(δ, s) checks, and
by renewal the fleet expects Σ checks/ARL(δ, s): the budget is a mean of **1/ARL** over the draws, not of ARL, whose
mean hides the few instruments that alarm all the time. For the Shewhart chart on learned centre and σ this mean is the
two-sided tail of Student's t beyond L/√(1 + 1/m), the prediction interval.

δ ~ N(0, u²): u is the standard uncertainty of the centre in σ, of a certificate √((U/k)² + (reference_u/2)²)/σ, of a
mean of m checks 1/√m. A learned σ: (m - 1)s² ~ χ² with m - 1 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gateway.drift import Floats, runlength
from gateway.drift.runlength import LONGEST, LimitShape, TooLong, normal_cdf, siegmund_arl

__all__ = ["ALLOWANCES", "EXACT", "Knowledge", "mean_rate"]

ALLOWANCES = {"cusum": (0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0), "noise": (1.848, 2.5, 3.5)}
"""Reference values k that a chart may be given when its centre or σ is uncertain."""

STEP_U = 0.02
OFFSETS, OFFSET_SPAN = 36, 6.0
DEVIATIONS, NOISE_DEVIATIONS, DEVIATION_SPAN = 40, 10, 5.0
STEP_L, STEP_SHIFT = 0.25, 0.1
FAR = 12.0
"""Beyond this h Siegmund's approximation is corrected as at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """How well a channel's centre and σ are known: `centre_u` in σ, `sigma_checks` that σ was learned from (0: known).

    >>> Knowledge.of(0.155), Knowledge.of(0.0, 30).exact
    (Knowledge(centre_u=0.16, sigma_checks=0), False)
    """

    centre_u: float = 0.0
    sigma_checks: int = 0

    @classmethod
    def of(cls, centre_u: float, sigma_checks: int = 0) -> Knowledge:
        """Return the knowledge with `centre_u` rounded up to 0.02 σ, so that a fleet shares few designs."""
        return cls(centre_u=round(math.ceil(centre_u / STEP_U - 1e-9) * STEP_U, 2), sigma_checks=sigma_checks)

    @property
    def exact(self) -> bool:
        """Return whether centre and σ are taken as known."""
        return self.centre_u == 0.0 and self.sigma_checks == 0

    def offsets(self) -> tuple[Floats, Floats]:
        """Return nodes |δ| in σ and their probabilities."""
        if self.centre_u == 0.0:
            return np.zeros(1), np.ones(1)
        u = (np.arange(OFFSETS) + 0.5) / OFFSETS * OFFSET_SPAN
        weight = np.exp(-0.5 * u * u)
        return u * self.centre_u, weight / weight.sum()

    def deviations(self, nodes: int = DEVIATIONS) -> tuple[Floats, Floats]:
        """Return nodes of s, the learned σ over the true one, and their probabilities."""
        if self.sigma_checks == 0:
            return np.ones(1), np.ones(1)
        nu = max(self.sigma_checks, 3) - 1
        half = DEVIATION_SPAN / math.sqrt(2.0 * nu)
        low = max(0.05, 1.0 - half)
        s = low + (np.arange(nodes) + 0.5) / nodes * (1.0 + half - low)
        log_density = (nu - 1.0) * np.log(s) - nu * s * s / 2.0
        weight = np.exp(log_density - log_density.max())
        return s, weight / weight.sum()


EXACT = Knowledge()


def mean_rate(chart: str, parameters: Sequence[float], limit: float, known: Knowledge) -> float:
    """Return the false alarms per check of one chart, averaged over `known`; within 3 in 100, 0 below 10⁻¹².

    `parameters` in the order of the detector, without the limit.
    """
    if chart == "noise":
        k, cap = parameters
        s, of_s = known.deviations(NOISE_DEVIATIONS)
        return float(of_s @ np.array([_noise_rate(k, limit, cap, 1.0 / v) for v in s.tolist()]))
    offset, of_offset = known.offsets()
    s, of_s = known.deviations()
    if chart == "shewhart":
        beyond = normal_cdf(offset[:, None] - limit * s[None, :]) + normal_cdf(-offset[:, None] - limit * s[None, :])
    elif chart == "ewma":
        beyond = _ewma_rates(parameters[0], limit * s, offset)
    else:
        beyond = _cusum_rates(parameters[0], limit, s, offset)
    return float(of_offset @ beyond @ of_s)


def _noise_rate(k: float, h: float, cap: float, ratio: float) -> float:
    try:
        return 1.0 / runlength.noise_arl(k, h, cap, ratio, cells=120)
    except TooLong:
        return 0.0


def _cusum_rates(k: float, h: float, s: Floats, offset: Floats) -> Floats:
    """Return 1/ARL by Siegmund's approximation, scaled to be exact for an exact centre: z of s is X with ks and hs."""
    rates: Floats = _siegmund_over_exact(k, min(h, FAR)) / siegmund_arl(k * s[None, :], h * s[None, :], offset[:, None])
    return np.minimum(rates, 1.0)


@lru_cache(maxsize=8192)
def _siegmund_over_exact(k: float, h: float) -> float:
    nominal = float(siegmund_arl(np.array([k]), np.array([h]), np.zeros(1))[0])
    try:
        return nominal / runlength.cusum_arl(k, h)
    except TooLong:
        return 1.0


@lru_cache(maxsize=8192)
def _ewma_log_arl(lam: float, row: int, column: int) -> float:
    """Return ln ARL on the grid of limits and shifts, fixed limits; at the longest that can be computed it ends.

    The average is never likelier beyond its limit than in the long run, with probability p; so no run length is below
    1/(2p), and where that alone is too long, nothing needs solving: wide limits take hundreds of nodes.
    """
    L, shift = max(row, 1) * STEP_L, column * STEP_SHIFT
    inside = L - shift * math.sqrt((2.0 - lam) / lam)
    if inside > 0.0 and math.erfc(inside * math.sqrt(0.5)) * LONGEST < 0.5:
        return math.log(LONGEST)
    try:
        return math.log(runlength.ewma_arl(lam, L, shift, limits=LimitShape.FIXED))
    except TooLong:
        return math.log(LONGEST)


def _ewma_rates(lam: float, limits: Floats, offset: Floats) -> Floats:
    """Return 1/ARL for each offset (rows) and limit (columns), ln ARL linear between the points of a fine grid."""
    rows, columns = np.meshgrid(limits / STEP_L, offset / STEP_SHIFT)
    at, over = np.divmod(np.stack([rows, columns]), 1.0)
    cells = at.astype(np.int64)
    total = np.zeros((len(offset), len(limits)))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.where(down, over[0], 1.0 - over[0]) * np.where(right, over[1], 1.0 - over[1])
            logs = [
                _ewma_log_arl(lam, i + down, j + right)
                for i, j in zip(cells[0].ravel().tolist(), cells[1].ravel().tolist(), strict=True)
            ]
            total += weight * np.array(logs).reshape(total.shape)
    rates: Floats = np.exp(-total)
    return rates
