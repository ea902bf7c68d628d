"""Charts of channels whose checks are autocorrelated: limits widened so that run lengths hold (METROLOGY §5.3).

What `gateway.drift.dependence` has found is taken in here. Statistics stay what the contract says they are; only
limits grow. One chart is moved otherwise: where ρ is negative neighbours differ more, and the noise chart takes z
divided by that spread. Its sum is shown multiplied by it, in σ² as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector, Readout
from gateway.drift.charts import run
from gateway.drift.dependence import dependent_limit, pair_spread
from gateway.pipeline.columns import Floats, Ints

__all__ = ["chart_pairs_again", "in_sigma", "limits_of_dependent"]

PAIRED = "noise"
"""The chart of differences of neighbours."""


def limits_of_dependent(detector: Detector, limit: Floats, rho: Floats, parameters: Sequence[Floats]) -> Floats:
    """Return the limits as they are for checks of those ρ; where ρ is 0, the same bits."""
    rows = np.flatnonzero(rho)
    widened = limit.copy()
    told = zip(limit[rows].tolist(), rho[rows].tolist(), *(p[rows].tolist() for p in parameters), strict=True)
    widened[rows] = [dependent_limit(detector.name, h, r, tuple(chosen)) for h, r, *chosen in told]
    return widened


def chart_pairs_again(
    charts: Sequence[Detector],
    rho: Floats,
    z: Floats,
    time: Ints,
    counts: Ints,
    parameters: Sequence[Floats],
    before: npt.NDArray[Any],
    history: npt.NDArray[Any],
    last: npt.NDArray[Any],
) -> None:
    """Chart the noise of units with negative ρ again, over their rows of `history` and `last` (see `charts.run`).

    `parameters` of the noise chart, and `before`, the states: one per unit.
    """
    noise = next((d for d in charts if d.name == PAIRED), None)
    chosen = np.logical_or.reduceat(rho < 0.0, np.cumsum(counts) - counts)
    if noise is None or not chosen.any():
        return
    mine = np.repeat(chosen, counts)
    after, end = run(
        (noise,), z[mine] / pair_spread(rho[mine]), time[mine], counts[chosen],
        {noise.name: [p[chosen] for p in parameters]}, before.compress(chosen),
    )  # fmt: skip
    for name in after.dtype.names or ():
        history[name][mine] = after[name]
        last[name][chosen] = end[name]


def in_sigma(detector: Detector, readout: Readout, rho: Floats) -> Readout:
    """Return the readout of a chart moved with spread z in σ of the channel."""
    if detector.name != PAIRED:
        return readout
    spread = pair_spread(rho) ** 2
    columns = readout.columns
    shown = {name: columns[name] * spread for name in ("statistic", "limit")}
    return replace(readout, columns={**columns, **shown})
