"""What happened between two calibrations: as found now against as left before, by En (METROLOGY §4, ISO 13528)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.metrology.baseline import Curve, CurveTable
from gateway.metrology.conformity import en_score

__all__ = ["Found", "PointDrift", "drift_between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A point as found: x (None: holds everywhere), error E and expanded U in the error unit, coverage factor k."""

    x: float | None
    E: float
    U: float
    k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PointDrift:
    """One point of the later calibration against the curve of the earlier one; all but x in the error unit.

    `drift` is E after - E before. U of both are for k = 2. What the earlier one does not cover is None.
    """

    x: float | None
    before: float | None
    U_before: float | None
    after: float
    U_after: float
    drift: float | None
    en: float | None

    @property
    def significant(self) -> bool | None:
        """Whether the two results disagree, |En| > 1; None where they cannot be compared."""
        return None if self.en is None else abs(self.en) > 1


def drift_between(before: Curve, after: Sequence[Found], *, correlation: float = 0.0) -> list[PointDrift]:
    """Return the drift at each point found, against the earlier curve interpolated there.

    `correlation` is that of the two results, 0 unless one standard served both. Nothing is extrapolated.

    >>> curve = Curve.of([(None, 0.20, 0.10, 2.0)])
    >>> (found,) = drift_between(curve, [Found(x=None, E=0.45, U=0.12, k=2.0)])
    >>> round(found.en, 4)
    1.6005
    """
    x = np.array([np.nan if p.x is None else p.x for p in after], np.float64)
    looked = CurveTable.of([before]).lookup(np.zeros(len(after), np.int64), x)
    E = np.array([p.E for p in after], np.float64)
    U = np.array([2.0 * p.U / p.k for p in after], np.float64)
    U_before = 2.0 * looked.U / looked.k
    en = en_score(E, U, looked.E, U_before, correlation=correlation)
    drift = E - looked.E
    return [
        PointDrift(
            x=p.x,
            before=_known(looked.E[i]),
            U_before=_known(U_before[i]),
            after=p.E,
            U_after=float(U[i]),
            drift=_known(drift[i]),
            en=_known(en[i]),
        )
        for i, p in enumerate(after)
    ]


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
