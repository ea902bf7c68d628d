"""Zero tracking: an indicator that follows its zero shows 0 with nothing on it, whatever its zero does (OIML R 76-1).

R 76-1:2006, 4.5.7: the device keeps the zero by itself, by up to 0.5 d a second. Nothing in a payload says that it is
on, but it shows. Without it a zero indication is a rounding of μ + noise to the interval d, and noise of deviation σ₀
stays in the cell of 0 with probability P(|μ + noise| < d/2) ≤ p = 2Φ(d/(2σ₀)) - 1, the most there can be, at μ = 0.
n of n independent checks at 0 then happen with at most pⁿ, wherever the zero lies. σ₀ is what σ leaves without the
rounding (Sheppard): σ₀² = σ² - d²/12, so an instrument whose interval hides its noise is never suspected. What the
model does not know: a scale can be steadier with nothing on it than σ, that of its load checks, says.
"""

from __future__ import annotations

import math

__all__ = ["FEWEST_ZEROS", "UNLIKELY", "chance_of_zeros", "suspected"]

UNLIKELY = 0.01
"""Zeros that without zero tracking come with less than this chance are taken for tracked ones."""

FEWEST_ZEROS = 5
"""Fewer zero checks prove nothing: a person may have set the scale to zero before each of them."""


def chance_of_zeros(n: int, sigma: float, resolution: float) -> float:
    """Return the largest chance of n indications of exactly 0; `sigma` with the rounding in it, NaN while unknown.

    >>> round(chance_of_zeros(5, 1.6, 1.0), 6), chance_of_zeros(1000, 0.5, 5.0), chance_of_zeros(9, math.nan, 1.0)
    (0.000963, 1.0, 1.0)
    """
    spare = sigma * sigma - resolution * resolution / 12.0
    if not spare > 0.0 or not resolution > 0.0:
        return 1.0
    return math.erf(resolution / math.sqrt(8.0 * spare)) ** n


def suspected(n: int, sigma: float, resolution: float) -> bool:
    """Return whether n zero checks of a chapter, all of them exactly 0, are most likely those of a tracked zero."""
    return n >= FEWEST_ZEROS and chance_of_zeros(n, sigma, resolution) < UNLIKELY
