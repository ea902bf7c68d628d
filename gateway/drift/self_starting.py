"""Self-starting CUSUM for small baselines (Hawkins 1987; Hawkins & Olwell 1998, ch. 7): nothing need be known before.

Each point x (residual, or mean of a subgroup of w checks) is compared with the mean and deviation of the points before
it. For normal checks in control T = (x_n - x̄_{n-1}) / (s_{n-1} √(1/w_n + 1/W_{n-1})), without subgroups this is
(x_n - x̄_{n-1})/s_{n-1} · √((n - 1)/n), is Student's t with n - 2 degrees of freedom, and U = Φ⁻¹(F(T)) are independent
N(0, 1) whatever μ and σ are. So the CUSUM of U (`gateway.drift.cusum`) has its textbook run length from the third point
on. Where σ is declared, U = (x_n - x̄_{n-1}) / (σ √(1/w_n + 1/W_{n-1})), from the second on. s counts as no less
than the rounding.

What it learns it forgets to see: its mean takes in a drift, faster the fewer points there are. So a point at which a
sum is beyond h teaches nothing: what is found does not fade by being learned. And it is a chart for small baselines:
with `POINTS` points learned it ends, and charts with a fixed centre see better.

>>> pick = lambda c, a, b: a if c else b
>>> s = (0.0,) * 9 + (0, 0)
>>> for i, x in enumerate((0.3, -0.2, 0.1, 3.0)):
...     s = advance(pick, (x, 1.0, 0.0, 0.0), i, (0.5, 5.0), s)
>>> s[0], round(s[4], 6), s[8]
(4.0, 2.087344, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway.drift import Detector, Floats, Readout, Where, cusum
from gateway.metrology.student import normal_score

__all__ = ["DETECTOR", "POINTS", "advance"]

POINTS = 100
"""Points after which a learned centre and σ count as known (METROLOGY §5.3)."""


def advance(
    where: Where, x: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any], points: float = POINTS
) -> tuple[Any, ...]:
    """Return (n, weight, mean, m2, upper, lower, n_upper, n_lower, scored, since_upper, since_lower) after x.

    n points are learned, of so many checks (`weight`), with the sum of squares `m2` about their mean; `scored` is 1
    where this point has a U.
    """
    residual, size, sigma, rounding = x
    k, h = parameters
    n, weight, mean, m2, *sums, _, since_upper, since_lower = state
    going = n < points
    known = sigma > 0.0
    deviation = _sqrt(where(m2 > 0.0, m2, 0.0) / where(n > 1.0, n - 1.0, 1.0))
    deviation = where(known, sigma, where(deviation > rounding, deviation, rounding))
    away = residual - mean
    ready = going & (n > where(known, 0.0, 1.0)) & (deviation > 0.0) & (abs(away) < math.inf)
    t = away / (where(ready, deviation, 1.0) * _sqrt(1.0 / size + 1.0 / where(n > 0.0, weight, 1.0)))
    score = _scores(t, n - 1.0, ready & (sigma == 0.0))
    moved = cusum.advance(where, score, time, (k,), (*sums, 0.0, since_upper, since_lower))
    upper, lower, n_upper, n_lower = (
        where(ready, new, where(going, old, 0.0)) for new, old in zip(moved[:4], sums, strict=True)
    )
    learns = going & (upper <= h) & (lower <= h)
    weight = where(learns, weight + size, weight)
    after = mean + away * size / where(learns, weight, 1.0)
    return (
        where(learns, n + 1.0, n),
        weight,
        where(learns, after, mean),
        where(learns & (n > 0.0), m2 + size * away * (residual - after), m2),
        upper,
        lower,
        n_upper,
        n_lower,
        where(ready, 1.0, 0.0),
        where(ready, moved[5], since_upper),
        where(ready, moved[6], since_lower),
    )


def _sqrt(value: Any) -> Any:
    """Return the square root: correctly rounded, so the same bits for a float and a float of an array."""
    return np.sqrt(value) if isinstance(value, np.ndarray) else math.sqrt(value)


def _scores(t: Any, dof: Any, wanted: Any) -> Any:
    """Return the normal score of each t that is wanted, else t: float by float, for its functions are those of libm."""
    if not isinstance(t, np.ndarray):
        return normal_score(t, dof) if wanted else t
    scores = t.copy()
    rows = np.flatnonzero(wanted)
    scores[rows] = [normal_score(a, b) for a, b in zip(t[rows].tolist(), dof[rows].tolist(), strict=True)]
    return scores


def read(state: Mapping[str, Any], x: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:
    """Return what the CUSUM of U says, size in U; nothing at points without one."""
    told = cusum.read(state, x, parameters[:1], limit)
    scored = state["scored"] > 0.0
    columns = {
        name: np.where(scored, column, np.nan) if column.dtype == np.float64 else np.where(scored, column, 0)
        for name, column in told.columns.items()
        if name != "signal"
    }
    signal = told.signal & scored
    nearness = np.where(scored, told.nearness, 0.0)
    return Readout(columns={**columns, "signal": signal}, signal=signal, nearness=nearness)


DETECTOR = Detector(
    name="self_starting",
    parameters={"k": 0.5, "h": 5.0},
    limit="h",
    state=("n", "weight", "mean", "m2", "upper", "lower", "n_upper", "n_lower", "scored"),
    times=("since_upper", "since_lower"),
    takes=("residual", "size", "sigma", "rounding"),
    optional=True,
    advance=advance,
    read=read,
)
