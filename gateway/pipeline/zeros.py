"""Zero checks that say nothing: those of a scale that seems to track its zero (`gateway.metrology.zerotracking`).

Counted per chapter: zero checks so far, as long as every one of them has read exactly 0. One other indication, and the
zero checks of the chapter are taken for what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import AlarmKind
from gateway.metrology.readings import EVIDENCE
from gateway.metrology.zerotracking import FEWEST_ZEROS, chance_of_zeros, suspected
from gateway.pipeline.checks import Checks, epochs_of
from gateway.pipeline.columns import Columns, Floats, Ints
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import States
from gateway.pipeline.watch import NO_OPINION, Change

__all__ = ["Zeros", "calm_by_none", "follow_zeros", "remember_zeros", "tracked_zeros", "with_zeros"]

Bools = npt.NDArray[np.bool_]

OTHER = -1
"""In place of a number of zeros: some zero check of the chapter has read something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeros:
    """The zero checks (`rows` of the checks), and `n` of each: how many up to it, all exactly 0, or `OTHER`.

    `silent`: the rows of those that say nothing, since zero tracking is suspected.
    """

    rows: Ints
    n: Ints
    silent: Ints


def follow_zeros(plan: Plan, states: States, checks: Checks, c: Columns, sigma: Floats) -> Zeros | None:
    """Return what zero checks of scales say; None where there are none. `sigma`: σ_used of each check."""
    rows = np.flatnonzero(checks.reference == 0.0)
    if not len(rows):
        return None
    row, channel = checks.row[rows], checks.channel[rows]
    real = plan.weighing[channel] & ~checks.relative[rows] & (row >= 0)
    rows = rows[real & (c.stable[row] != 0) & _as_zero(c.evidence[row])]
    local, chapter, resolution = checks.local[rows], plan.e_chapter[checks.epoch[rows]], checks.resolution[rows]
    other = ~(np.abs(checks.indication[rows]) < resolution / 2.0)
    head = np.ones(len(rows), np.bool_)
    head[1:] = (local[1:] != local[:-1]) | (chapter[1:] != chapter[:-1])
    first = np.flatnonzero(head)
    group = np.cumsum(head) - 1
    others = np.cumsum(other)
    others -= (others[first] - other[first])[group]
    before = _before(states, local, chapter)
    n = np.where((others > 0) | (before < 0), OTHER, before + np.arange(1, len(rows) + 1) - first[group])
    many = np.flatnonzero(n >= FEWEST_ZEROS)
    told = zip(n[many].tolist(), sigma[rows[many]].tolist(), resolution[many].tolist(), strict=True)
    silent = np.array([suspected(*of_check) for of_check in told], np.bool_)
    return Zeros(rows=rows, n=n, silent=rows[many[silent]])


def _before(states: States, local: Ints, chapter: Ints) -> Ints:
    """Return the zero checks of these chapters before these readings, `OTHER` where not all read 0."""
    return np.where(states["zeros_chapter"][local] == chapter, states["zeros_n"][local], 0)


def _as_zero(evidence: npt.NDArray[np.int8]) -> Bools:
    """Return where the evidence of a check at R = 0 is that of an empty scale: as sent, or by default."""
    found: Bools = (evidence < 0) | (evidence == EVIDENCE.index("zero"))
    return found


def calm_by_none(plan: Plan, checks: Checks, zeros: Zeros, asked: Mapping[AlarmKind, npt.NDArray[np.int8]]) -> None:
    """Let zero checks that say nothing keep no chart alarm and calm none; what they still ask for is the charts'.

    Charts of means are judged by the last check of a group, whatever that is.
    """
    channel = checks.channel[zeros.silent]
    mute = zeros.silent[(plan.subgroup_n[channel] == 1) & (plan.subgroup_ns[channel] == 0)]
    for kind in (AlarmKind.DRIFT, AlarmKind.NOISY):
        asked[kind][mute[asked[kind][mute] <= 0]] = NO_OPINION


def remember_zeros(plan: Plan, after: States, checks: Checks, zeros: Zeros | None) -> None:
    """Keep the channels' counts."""
    if zeros is None or not len(zeros.rows):
        return
    local = checks.local[zeros.rows]
    last = np.append(local[1:] != local[:-1], True)
    after["zeros_n"][local[last]] = zeros.n[last]
    after["zeros_chapter"][local[last]] = plan.e_chapter[checks.epoch[zeros.rows[last]]]


def with_zeros(
    plan: Plan, states: States, changes: list[Change], checks: Checks, zeros: Zeros | None, sigma: Floats
) -> list[Change]:
    """Return the changes; `drift` and `mpe` of a scale whose zero checks say nothing have that as evidence.

    `states`: before these checks.
    """
    if not (zeros is not None and (zeros.n >= FEWEST_ZEROS).any()) and not (states["zeros_n"] >= FEWEST_ZEROS).any():
        return changes
    real = np.flatnonzero(checks.row >= 0)
    out = []
    for change in changes:
        told = change
        if (change.kind is AlarmKind.DRIFT or change.kind is AlarmKind.MPE) and change.level and change.row >= 0:
            i = int(real[np.searchsorted(checks.row[real], change.row)])
            n = _so_far(plan, states, checks, zeros, i)
            said = _told(n, float(sigma[i]), float(checks.resolution[i]))
            if said is not None:
                told = replace(change, evidence={**change.evidence, "zero_tracking": said})
        out.append(told)
    return out


def _so_far(plan: Plan, states: States, checks: Checks, zeros: Zeros | None, i: int) -> int:
    """Return the zero checks of its chapter up to check i, as `Zeros` counts them."""
    chapter = plan.e_chapter[checks.epoch]
    place = -1 if zeros is None else int(np.searchsorted(zeros.rows, i, side="right")) - 1
    if zeros is not None and place >= 0:
        row = int(zeros.rows[place])
        if checks.local[row] == checks.local[i] and chapter[row] == chapter[i]:
            return int(zeros.n[place])
    return int(_before(states, checks.local[i : i + 1], chapter[i : i + 1])[0])


def tracked_zeros(plan: Plan, channel: int, state: Any) -> dict[str, object] | None:
    """Return what tells of zero tracking on a channel after its last reading, None where nothing does."""
    if int(state["zeros_n"]) < FEWEST_ZEROS:
        return None
    epoch = epochs_of(plan, np.array([channel]), np.array([state["time"]], np.int64))
    if int(plan.e_chapter[epoch][0]) != int(state["zeros_chapter"]):
        return None
    resolution = float(plan.resolution[channel] * plan.multiplier[channel])
    sigma = float(plan.sigma[channel])
    if np.isnan(sigma) and int(state["chapter"]) == int(state["zeros_chapter"]):
        sigma = float(state["sigma"])
    return _told(int(state["zeros_n"]), sigma, resolution)


def _told(n: int, sigma: float, resolution: float) -> dict[str, object] | None:
    if not suspected(n, sigma, resolution):
        return None
    return {"zero_checks": n, "chance": chance_of_zeros(n, sigma, resolution)}
