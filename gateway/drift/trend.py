"""The straight line through E/MPE against time, kept as centred sums that each check moves on (Welford 1962).

Time is in months of 30.4375 days since the first check of the chapter. Beside the sums of least squares stand those of
the steps from check to check: the Durbin-Watson statistic Σ(e_i - e_{i-1})²/Σe_i² of the residuals follows from them
for whatever line the data end in, and from it their lag-1 autocorrelation ρ ≈ 1 - DW/2. Where ρ is above 0.1 and above
1.645/√n, it is corrected for the bias of fitting a line, (nρ + 2)/(n - 4) (Kendall 1954), and the variances of slope
and mean grow by (1 + ρ)/(1 - ρ), as those of an AR(1) process do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.drift import Detector, Floats, Readout, Where

__all__ = ["MONTH_NS", "TREND", "Trend", "trend_of"]

MONTH_NS = 30.4375 * 86_400e9
DEPENDENT = 0.1
"""Autocorrelation below which residuals count as independent (METROLOGY §5.3)."""

SURE = 1.645
LEAST = 3.0
"""However dependent, that many points remain."""


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001  the contract's arguments
    """Return the sums after one more E/MPE `z` at `time` (ns)."""
    n, t_mean, y_mean, sxx, sxy, syy, t_last, y_last, dtt, dty, dyy, first = state
    new = n == 0.0
    first = where(new, time, first)
    t = (time - first) / MONTH_NS
    n = n + 1.0
    dt, dy = t - t_mean, z - y_mean
    t_mean, y_mean = t_mean + dt / n, y_mean + dy / n
    t_step, y_step = where(new, 0.0, t - t_last), where(new, 0.0, z - y_last)
    return (
        n,
        t_mean,
        y_mean,
        sxx + dt * (t - t_mean),
        sxy + dt * (z - y_mean),
        syy + dy * (z - y_mean),
        t,
        z,
        dtt + t_step * t_step,
        dty + t_step * y_step,
        dyy + y_step * y_step,
        first,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Lines as columns: slope per month, its t, ρ, widening of the variances, degrees of freedom. NaN before n = 3.

    `t_sure` is t for residuals as dependent as they may be: ρ two standard errors (2/√n) above what is seen.
    """

    n: Floats
    slope: Floats
    t: Floats
    t_sure: Floats
    rho: Floats
    widening: Floats
    dof: Floats


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def trend_of(state: Mapping[str, Any]) -> Trend:
    """Return the lines of recorded sums (columns by name, without prefix)."""
    n, sxx = state["n"], state["sxx"]
    slope = np.where((n >= LEAST) & (sxx > 0.0), state["sxy"] / sxx, np.nan)
    left = np.maximum(state["syy"] - slope * state["sxy"], 0.0)
    steps = state["dyy"] - 2.0 * slope * state["dty"] + slope * slope * state["dtt"]
    rho = 1.0 - steps / (2.0 * left)
    dependent = (n > 4.0) & (rho > DEPENDENT) & (rho > SURE / np.sqrt(n))
    corrected = np.minimum((n * rho + 2.0) / (n - 4.0), 0.999)
    widening = np.where(dependent, (1.0 + corrected) / (1.0 - corrected), 1.0)
    widening = np.minimum(widening, np.maximum(n / LEAST, 1.0))
    alone = slope / np.sqrt(left / (n - 2.0) / sxx)
    highest = np.clip(rho + 2.0 / np.sqrt(n), 0.0, 0.999)
    most = np.maximum(widening, (1.0 + highest) / (1.0 - highest))
    t, t_sure = alone / np.sqrt(widening), alone / np.sqrt(most)
    return Trend(
        n=n, slope=slope, t=t, t_sure=t_sure, rho=rho, widening=widening, dof=np.maximum(n / widening - 2.0, 1.0)
    )


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:  # noqa: ARG001  the contract's arguments
    """Return t of the slope against `limit`."""
    t = trend_of(state).t
    with np.errstate(invalid="ignore"):
        signal = np.abs(t) > limit
        nearness = np.abs(t) / limit
    return Readout(columns={"statistic": t, "limit": limit, "signal": signal}, signal=signal, nearness=nearness)


TREND = Detector(
    name="trend",
    parameters={"t": 1.96},
    limit="t",
    state=("n", "t_mean", "y_mean", "sxx", "sxy", "syy", "t_last", "y_last", "dtt", "dty", "dyy"),
    times=("first",),
    advance=advance,
    read=read,
    kind="forecast",
)
"""Moved like a chart, but no chart of z: not among the detectors of a verdict."""
