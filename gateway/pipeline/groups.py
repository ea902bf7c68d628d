"""Subgroups: checks charted as one mean (CONTRACTS §4; Montgomery, Introduction to SQC, §6.2 on rational subgroups).

A group of `subgroup: n` is n chartable checks in a row, counted from the start of the chapter. A group of
`subgroup: 1h` is the chartable checks of one such stretch of time, aligned to the epoch in UTC. Which check is the
last of its group the count tells at once, time only when the next check has come. So the newest check of a channel
grouped by time is held back: it is not taken into the state, but kept beside it and taken first with what comes next.
Thus any cutting into batches gives the same groups. A group that the end of its chapter cuts off is never charted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.pipeline.checks import Checks, Flag, epochs_of
from gateway.pipeline.columns import Columns, Floats, Ints, runs
from gateway.pipeline.plan import FOREVER, Plan
from gateway.pipeline.state import HELD, States

__all__ = ["Groups", "group_checks", "group_start", "reopens_group", "with_held_checks"]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Per chartable check: whether it is the last of its group, and of such the group's mean residual and size.

    `held`, one per unit: whether its last check waits for the next one.
    """

    last: Bools
    mean: Floats
    size: Ints
    held: Bools


def with_held_checks(plan: Plan, states: States, checks: Checks, chartable: Bools) -> Checks:
    """Return the checks with those that were held back, and now have a successor, put first in their channels.

    Checks held back have row -1, and of their facts only those that charts need.
    """
    if not len(checks) or not plan.subgroup_ns[checks.channel].any():
        return checks
    local, first, _ = runs(checks.local)
    followed = np.zeros(len(states), np.bool_)
    followed[checks.local[chartable]] = True
    waiting = (states["held"][local] > 0) & followed[local]
    local, first = local[waiting], first[waiting]
    if not len(local):
        return checks
    channel, state = checks.channel[first], states.take(local)
    epoch = epochs_of(plan, channel, state["held_time"])
    known: dict[str, npt.NDArray[np.generic]] = {name: state[f"held_{name}"] for name in HELD}
    known |= {
        "row": np.full(len(local), -1, np.int64),
        "local": local,
        "channel": channel,
        "epoch": epoch,
        "zero_reference": np.zeros(len(local), np.bool_),
        "relative": plan.relative[channel],
        "flags": np.where(plan.e_certified[epoch], 0, Flag.NO_CERTIFICATE).astype(np.int64),
    }
    unknown = np.full(len(local), np.nan)
    joined = {f.name: np.insert(getattr(checks, f.name), first, known.get(f.name, unknown)) for f in fields(Checks)}
    return replace(checks, **joined)


def group_checks(plan: Plan, checks: Checks, rows: Ints, starts: Ints, ends: Ints, unit_state: States) -> Groups:
    """Group the chartable checks `rows`, unit after unit; the units' open groups in `unit_state` are moved on."""
    residual = checks.residual[rows]
    channel = checks.channel[rows[starts]]
    size, length = plan.subgroup_n[channel], plan.subgroup_ns[channel]
    by_time = length > 0
    if not len(starts) or not (by_time | (size > 1)).any():
        return Groups(last=np.ones(len(rows), np.bool_), mean=residual, size=np.ones(len(rows), np.int64), held=by_time)
    unit = np.repeat(np.arange(len(starts)), ends - starts)
    taken = unit_state["n"][unit] + np.arange(len(rows)) - starts[unit]
    time = checks.time[rows]
    window = np.where(by_time[unit], time // np.where(by_time, length, 1)[unit], taken // size[unit])
    before = np.where(by_time, unit_state["group_window"], (unit_state["n"] - 1) // size)
    opens = np.append(True, window[1:] != window[:-1])
    opens[starts] = (window[starts] != before) | (unit_state["group_n"] == 0)
    boundary = opens.copy()
    boundary[starts] = True
    group = np.cumsum(boundary) - 1
    head = np.flatnonzero(boundary)
    carried = ~opens[head]
    total = np.where(carried, unit_state["group_sum"][unit[head]], 0.0)
    count = np.where(carried, unit_state["group_n"][unit[head]], 0)
    ends_unit = np.zeros(len(rows), np.bool_)
    ends_unit[ends - 1] = True
    held = by_time
    counted = ~(ends_unit & held[unit])
    np.add.at(total, group[counted], residual[counted])  # one after the other, in order: cutting changes no bit
    np.add.at(count, group[counted], 1)
    last = np.where(by_time[unit], np.append(opens[1:], False) & ~ends_unit, (taken + 1) % size[unit] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count[group] == 1, residual, (total / count)[group])
    final = group[ends - 1]
    closed = last[ends - 1]
    unit_state["group_sum"] = np.where(closed, 0.0, total[final])
    unit_state["group_n"] = np.where(closed, 0, count[final])
    unit_state["group_window"] = np.where(by_time, window[ends - 1], 0)
    since = np.where(carried[final], unit_state["group_since"], time[head[final]])
    unit_state["group_since"] = np.where(by_time, since, 0)
    unit_state["held"] = held
    for name in HELD:
        unit_state[f"held_{name}"] = np.where(held, getattr(checks, name)[rows[ends - 1]], 0)
    return Groups(last=last, mean=np.where(last, mean, np.nan), size=count[group], held=held)


def reopens_group(plan: Plan, states: States, new: Columns) -> Bools:
    """Return the readings that end a group of time whose last check has been judged already.

    `states`: one per channel of the plan. The verdict of that check changes, so it must be judged again, together
    with what came from `group_since` on.
    """
    length = plan.subgroup_ns[new.channel]
    ends: Bools = length > 0
    if ends.any():
        window = new.time // np.where(length > 0, length, 1)
        ends &= (states["held"][new.channel] > 0) & (window != states["group_window"][new.channel])
    return ends


def group_start(plan: Plan, state: Any, channel: int) -> int:
    """Return when (ns) the open group of time of a channel began; FOREVER if it has none."""
    if not plan.subgroup_ns[channel] or not state["held"]:
        return FOREVER
    return int(state["group_since"])
