"""Charts that take the points of a chapter, from the first one on, and not z (`gateway.drift.self_starting`).

A point is a chartable check, or the mean of a subgroup; those of Phase I are among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Readout, Z
from gateway.drift.charts import run
from gateway.pipeline.checks import Checks
from gateway.pipeline.columns import Ints, runs
from gateway.pipeline.dependent import limits_of_dependent
from gateway.pipeline.learning import Learned
from gateway.pipeline.plan import Plan

__all__ = ["Pointed", "chart_points"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """What one chart says of the checks `rows`; `scored`, one per check, where it says anything."""

    rows: Ints
    readout: Readout
    scored: npt.NDArray[np.bool_]


def chart_points(plan: Plan, checks: Checks, learned: Learned, verdicts: npt.NDArray[Any]) -> list[Pointed]:
    """Run the charts that take points; fill their statistics and limits, and the units' chart states."""
    found = []
    for d in plan.charts:
        if d.takes == Z:
            continue
        limits = plan.limit[d.name][checks.epoch[learned.rows]]
        place = np.flatnonzero(learned.groups.last & np.isfinite(limits))
        if not len(place):
            continue
        rows, limit = learned.rows[place], limits[place]
        units, first, counts = runs(learned.unit_of[rows])
        channel = checks.channel[rows]
        told = {
            "residual": learned.groups.mean[place],
            "size": learned.groups.size[place].astype(np.float64),
            "sigma": np.where(np.isnan(plan.sigma[channel]), 0.0, learned.sigma[rows]),
            "rounding": checks.rounding[rows],
        }
        taken = np.array([told[name] for name in d.takes])
        parameters = {d.name: [p[channel[first]] for p in plan.parameters[d.name]]}
        with np.errstate(over="ignore", invalid="ignore"):
            history, last = run((d,), taken, checks.time[rows], counts, parameters, learned.states_of(units))
        learned.keep(units, last)
        recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        chosen = [p[channel] for p in plan.parameters[d.name]]
        limit = limits_of_dependent(d, limit, learned.rho[rows], chosen)
        readout = d.read(recorded, taken, chosen, limit)
        scored = np.zeros(len(checks), np.bool_)
        for column, values in readout.columns.items():
            verdicts[f"{d.name}_{column}"][rows] = values
        scored[rows] = ~np.isnan(readout.columns["limit"])
        found.append(Pointed(rows=rows, readout=readout, scored=scored))
    return found
