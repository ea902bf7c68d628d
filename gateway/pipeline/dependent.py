"""Charts of channels whose checks are autocorrelated: limits widened so that run lengths hold (METROLOGY §5.3).

What `gateway.drift.dependence` has found is taken in here. Sums (CUSUM, noise) are moved on with z divided by the
spread and shown multiplied by it, so that statistic and limit stay in σ: as if k and h both were multiplied. A
statistic that began before the spread was known keeps its share of the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Readout
from gateway.drift.charts import run
from gateway.drift.dependence import spread_of
from gateway.pipeline.columns import Floats, Ints
from gateway.pipeline.plan import Plan

__all__ = ["Spread", "chart_again", "in_sigma", "spreads"]

_SHOWN = {"cusum": {"upper": 1, "lower": 1, "limit": 1, "size": 1}, "noise": {"statistic": 2, "limit": 2}}
"""The columns of a sum, with the power of σ they are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What z of each check is divided by, and what its limit is multiplied with."""

    z: Floats
    limit: Floats


def spreads(plan: Plan, rho: Floats, channel: Ints) -> dict[str, Spread]:
    """Return by chart what changes for checks of those channels; nothing where all are independent (ρ = 0)."""
    if not rho.any():
        return {}
    found = {}
    for d in plan.charts:
        weight = plan.parameters[d.name][0][channel] if plan.parameters[d.name] else np.zeros(len(rho))
        z, limit = spread_of(d.name, rho, weight)
        if (z != 1.0).any() or (limit != 1.0).any():
            found[d.name] = Spread(z=z, limit=limit)
    return found


def chart_again(
    plan: Plan,
    spread: Mapping[str, Spread],
    z: Floats,
    time: Ints,
    counts: Ints,
    parameters: Mapping[str, Sequence[Floats]],
    before: npt.NDArray[Any],
    history: npt.NDArray[Any],
    last: npt.NDArray[Any],
) -> None:
    """Chart units again whose z are spread, and write over their rows of `history` and `last` (`charts.run`)."""
    first = np.cumsum(counts) - counts
    for d in plan.charts:
        if d.name not in spread or not d.state:
            continue
        chosen = np.logical_or.reduceat(spread[d.name].z != 1.0, first)
        if not chosen.any():
            continue
        mine = np.repeat(chosen, counts)
        after, end = run(
            (d,), z[mine] / spread[d.name].z[mine], time[mine], counts[chosen],
            {d.name: [p[chosen] for p in parameters[d.name]]}, before[chosen],
        )  # fmt: skip
        for name in after.dtype.names or ():
            history[name][mine] = after[name]
            last[name][chosen] = end[name]


def in_sigma(chart: str, readout: Readout, spread: Spread) -> Readout:
    """Return the readout of spread z in σ of the channel; where nothing is spread, as it was."""
    powers = _SHOWN.get(chart, {})
    shown = {name: values * spread.z ** powers[name] if name in powers else values
             for name, values in readout.columns.items()}  # fmt: skip
    return replace(readout, columns=shown)
