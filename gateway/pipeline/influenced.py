"""The conditions of checks on channels with `influences`, as `gateway.drift.influence` takes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.drift.influence import MOST
from gateway.pipeline.checks import Checks, Flag
from gateway.pipeline.columns import Columns, Floats
from gateway.pipeline.plan import AXES, INFLUENCES, Plan
from gateway.registry.model import Axis, Influence

__all__ = ["with_conditions"]

Bools = npt.NDArray[np.bool_]


def with_conditions(plan: Plan, checks: Checks, c: Columns, chartable: Bools) -> tuple[Floats | None, Bools]:
    """Return the conditions of each check (columns as in `Plan.influences`, 0 for none), and what can be charted.

    None where no channel of the checks has influences. A check that does not state its conditions is not charted and
    flagged `axis_missing`: charted without, it would look like a drift of its instrument.
    """
    which = plan.influences[checks.channel]
    if not (which >= 0).any():
        return None, chartable
    real = checks.row >= 0
    said = np.full((len(INFLUENCES), len(checks)), np.nan)
    flow = c.flow_m3h[checks.row[real]]
    by_flow = plan.axis[checks.channel[real]] == AXES.index(Axis.FLOW)
    current = c.current_A[checks.row[real]]
    by_current = plan.axis[checks.channel[real]] == AXES.index(Axis.CURRENT)
    x = checks.x[real]
    for name, values in {
        Influence.TEMPERATURE: c.temperature_C[checks.row[real]],
        Influence.FLOW: np.where(np.isnan(flow) & by_flow, x, flow),
        Influence.CURRENT: np.where(np.isnan(current) & by_current, x, current),
        Influence.X: x,
    }.items():
        said[INFLUENCES.index(name), real] = values
    conditions = np.zeros((len(checks), MOST))
    for i in range(MOST):
        conditions[:, i] = np.where(which[:, i] >= 0, said[which[:, i], np.arange(len(checks))], 0.0)
    missing = chartable & np.isnan(conditions).any(axis=1)
    checks.flags[missing] |= int(Flag.AXIS_MISSING)
    return conditions, chartable & ~missing
