"""Differences and errors of columns as decimal arithmetic gives them, rounded once to a float.

2.505 kg - 2.5 kg is 0.005 kg here, not 0.004999999999999893. A float that is the nearest one to n/10^q, n an integer of
at most 15 digits, was written as that decimal; integers subtract exactly and one division rounds once. What does not
fit goes through `Decimal`, to the same result, so bits do not depend on the batch. NaN stands for an absent number.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.metrology.units import exact

__all__ = ["exact_difference", "exact_error"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_PLACES = (6, 3, 9)
"""Tried in this order: most numbers have no more than six, large ones fewer. Where several fit, all say the same."""

_FIFTEEN_DIGITS = 1e15
_WHOLE = 2.0**53


def exact_difference(a: Floats, b: Floats) -> Floats:
    """Return a - b of the decimals the floats were written as.

    >>> exact_difference(np.array([2.505]), np.array([2.5])).tolist()
    [0.005]
    """
    return exact_error(a, b, np.zeros(len(a), np.bool_))


def exact_error(indication: Floats, reference: Floats, relative: Bools) -> Floats:
    """Return the error I - R, or 100 (I - R)/|R| % where `relative`.

    NaN for a relative error at R = 0, and for one beyond the floats.

    >>> exact_error(np.array([20.0]), np.array([19.93]), np.array([True])).round(4).tolist()
    [0.3512]
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out = indication - reference
    open_ = np.isfinite(out)
    out[relative & (reference == 0.0)] = np.nan
    open_ &= ~np.isnan(out)
    for places in _PLACES:
        if not open_.any():
            return out
        rows: Any = slice(None) if open_.all() else open_.nonzero()[0]
        done, values = _by_integers(indication[rows], reference[rows], relative[rows], 10.0**places)
        out[rows] = np.where(done, values, out[rows])
        open_[rows] = ~done
    for i in np.flatnonzero(open_).tolist():
        out[i] = _by_fractions(float(indication[i]), float(reference[i]), relative=bool(relative[i]))
    return out


def _by_integers(a: Floats, b: Floats, relative: Bools, scale: float) -> tuple[Bools, Floats]:
    """Return where both are integers over `scale`, and the error there."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        whole_a, whole_b = np.rint(a * scale), np.rint(b * scale)
        fits = (np.abs(whole_a) < _FIFTEEN_DIGITS) & (np.abs(whole_b) < _FIFTEEN_DIGITS)
        fits &= (whole_a / scale == a) & (whole_b / scale == b)
        top: Floats = whole_a - whole_b
        divisor: Floats | float = scale
        if relative.any():
            top, divisor = np.where(relative, 100.0, 1.0) * top, np.where(relative, np.abs(whole_b), scale)
        fits &= np.abs(top) < _WHOLE
        return fits, top / divisor


def _by_fractions(a: float, b: float, *, relative: bool) -> float:
    difference = Fraction(exact(a)) - Fraction(exact(b))
    value = 100 * difference / abs(Fraction(exact(b))) if relative else difference
    try:
        return float(value)
    except OverflowError:
        return float("nan")
