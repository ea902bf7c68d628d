"""Phase I: σ and centre of a chapter, learned from its first checks, and z from there on (CONTRACTS §4).

A unit is the stretch of chartable checks of one channel in one chapter. Its first checks may have to be taken one by
one (Welford 1962); from the check where σ and centre are settled everything is columns again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift.dependence import follow_dependence
from gateway.drift.influence import Sums, removed
from gateway.pipeline.checks import Checks, Flag
from gateway.pipeline.columns import Floats, Ints
from gateway.pipeline.groups import Groups, group_checks
from gateway.pipeline.plan import CENTERS, FEWEST_GROUPS, Plan
from gateway.pipeline.state import CenterMode, States, chapter_fields, fresh
from gateway.registry.model import Center

__all__ = ["PROVISIONAL_CHECKS", "Learned", "settle_phase_one"]

PROVISIONAL_CHECKS = 100
"""Until a chapter has this many checks, charts on a learned σ have widened limits."""

SMALL_OFFSET = 0.2
"""A constant offset of z above this is not taken from the certificate (METROLOGY §5.3: false alarms × 2.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """σ, centre and z of every check, and the units with their state after the batch (one row per unit).

    `sigma` is σ_used, NaN while unknown; `z` NaN where not charted; `first`, `count`: the units' rows in `charted`;
    `rho` the autocorrelation of the checks before, 0 where they count as independent; `rows` the chartable checks, and
    `groups` what subgroups make of them.
    """

    sigma: Floats
    z: Floats
    mode: npt.NDArray[np.int8]
    learned_sigma: npt.NDArray[np.bool_]
    provisional: npt.NDArray[np.bool_]
    offset: npt.NDArray[np.bool_]
    unit_local: Ints
    unit_state: States
    unit_of: Ints
    rho: Floats
    rows: Ints
    groups: Groups

    def states_of(self, units: Ints) -> States:
        """Return the states of some units, ascending; not to be changed."""
        return self.unit_state if len(units) == len(self.unit_state) else self.unit_state.take(units)

    def keep(self, units: Ints, charts: npt.NDArray[Any]) -> None:
        """Keep the states of these charts of some units, ascending."""
        rows = slice(None) if len(units) == len(self.unit_state) else units
        for name in charts.dtype.names or ():
            self.unit_state[name][rows] = charts[name]


def settle_phase_one(
    plan: Plan, states: States, checks: Checks, chartable: npt.NDArray[np.bool_], conditions: Floats | None = None
) -> Learned:
    """Return σ, centre and z for each check; learning rows are flagged, states are not changed.

    `conditions`: of each check those of the channel's influences (`gateway.pipeline.influenced`).
    """
    n = len(checks)
    rows = np.flatnonzero(chartable)
    channel, local = checks.channel[rows], checks.local[rows]
    chapter = plan.e_chapter[checks.epoch[rows]]
    starts = np.flatnonzero(np.append(True, (channel[1:] != channel[:-1]) | (chapter[1:] != chapter[:-1])))
    if not len(rows):
        starts = starts[:0]
    ends = np.append(starts[1:], len(rows))
    unit_local = local[starts]
    unit_state = states.take(unit_local)
    new = unit_state["chapter"] != chapter[starts]
    if new.any():
        blank = fresh(1)
        for name in chapter_fields():
            unit_state[name][new] = blank[name]
    unit_state["chapter"] = chapter[starts]
    before = unit_state["n"].copy()

    declared = plan.sigma[checks.channel]
    rounding = checks.rounding
    sigma = np.where(np.isnan(declared), np.nan, np.maximum(declared, rounding))
    groups = group_checks(plan, checks, rows, starts, ends, unit_state)
    settled_from = _learn_units(plan, checks, rows, starts, ends, unit_state, groups, conditions)

    counts = ends - starts
    unit = np.repeat(np.arange(len(starts)), counts)
    position = np.arange(len(rows)) - starts[unit] if len(rows) else np.zeros(0, np.int64)
    unit_state["n"] = before + counts - groups.held
    learned = np.isnan(declared[rows])
    ready = position >= settled_from[unit]
    mine = np.where(ready & learned, np.maximum(unit_state["sigma"][unit], rounding[rows]), sigma[rows])
    sigma[rows] = mine
    _sigma_beside(plan, states, checks, rows, unit, position, settled_from, unit_state, sigma)
    charted, rest, spread = _without_influences(plan, checks, rows, unit, ready, groups, unit_state, conditions)
    with np.errstate(divide="ignore", invalid="ignore"):
        z_rows = (rest - unit_state["centre"][unit]) * np.sqrt(groups.size) / (mine * spread)
    z = np.full(n, np.nan)
    z[rows] = np.where(ready & charted & (mine > 0.0), z_rows, np.nan)
    checks.flags[rows[~ready]] |= int(Flag.LEARNING)
    young = before[unit] + position + 1 < PROVISIONAL_CHECKS
    provisional = np.zeros(n, np.bool_)
    provisional[rows] = ready & learned & young
    checks.flags[provisional] |= int(Flag.PROVISIONAL)
    learned_sigma = np.isnan(declared) & ~np.isnan(sigma)
    mode = np.zeros(n, np.int8)
    mode[rows] = np.where(ready, unit_state["mode"][unit], _early_mode(plan, checks.channel[rows]))
    offset = np.zeros(n, np.bool_)
    offset[rows] = ready & (unit_state["offset"][unit] > 0)
    unit_of = np.full(n, -1, np.int64)
    unit_of[rows] = unit
    return Learned(
        sigma=sigma,
        z=z,
        mode=mode,
        learned_sigma=learned_sigma,
        provisional=provisional,
        offset=offset,
        unit_local=unit_local,
        unit_state=unit_state,
        unit_of=unit_of,
        rho=_dependence(checks, rows, unit, unit_state, declared[rows[starts]], charted, rest),
        rows=rows,
        groups=groups,
    )


def _without_influences(
    plan: Plan,
    checks: Checks,
    rows: Ints,
    unit: Ints,
    ready: npt.NDArray[np.bool_],
    groups: Groups,
    unit_state: States,
    conditions: Floats | None,
) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    """Return which checks can be charted, what is left of their residuals, and by what their σ is to be multiplied.

    Where what was learned does not cover the conditions, a check is flagged as outside and left alone.
    """
    if conditions is None:
        return groups.last, groups.mean, np.ones(len(rows))
    told = removed(unit_state, unit, conditions[rows])
    checks.flags[rows[ready & ~told.covered]] |= int(Flag.OUTSIDE_BASELINE)
    charted = groups.last & ((plan.influences[checks.channel[rows], 0] < 0) | (ready & told.covered))
    rest = np.where(ready, groups.mean - told.shift, groups.mean)
    return charted, rest, np.where(ready, told.spread, 1.0)


def _dependence(
    checks: Checks,
    rows: Ints,
    unit: Ints,
    unit_state: States,
    declared: Floats,
    last: npt.NDArray[np.bool_],
    rest: Floats,
) -> Floats:
    """Return the autocorrelation of each chartable check's predecessors, learning ones included, and flag it.

    `rest`: what is left of residuals; of channels with influences only where these are removed, for they vary slowly.
    """
    sigma = np.where(np.isnan(declared), unit_state["sigma"], declared)
    rho = np.zeros(len(checks))
    rho[rows[last]] = follow_dependence(unit_state, unit[last], rest[last], sigma)
    checks.flags[rho != 0.0] |= int(Flag.AUTOCORRELATED)
    return rho


def _sigma_beside(
    plan: Plan,
    states: States,
    checks: Checks,
    rows: Ints,
    unit: Ints,
    position: Ints,
    settled_from: Ints,
    unit_state: States,
    sigma: Floats,
) -> None:
    """Give checks that are not charted the σ of their chapter where it is known, else flag them as learning.

    A relative channel's σ says nothing about an absolute error at R = 0.
    """
    sigma[checks.zero_reference] = np.nan
    wanting = np.isnan(plan.sigma[checks.channel]) & ~checks.zero_reference
    wanting[rows] = False
    for i in np.flatnonzero(wanting).tolist():
        before = int(np.searchsorted(rows, i)) - 1
        local, chapter = checks.local[i], plan.e_chapter[checks.epoch[i]]
        state, ready = states[local], True
        if before >= 0 and checks.local[rows[before]] == local:
            state = unit_state[unit[before]]
            ready = position[before] + 1 >= settled_from[unit[before]]
        if ready and state["chapter"] == chapter and state["sigma"] > 0.0:
            sigma[i] = max(float(state["sigma"]), float(checks.rounding[i]))
        else:
            checks.flags[i] |= int(Flag.LEARNING)


def _early_mode(plan: Plan, channel: Ints) -> npt.NDArray[np.int8]:
    """While learning, the centre is certain only where the registry says it: σ, yet to be learned, may decide it."""
    said = plan.center[channel] == CENTERS.index(Center.CERTIFICATE)
    return np.where(said, int(CenterMode.CERTIFICATE), int(CenterMode.LEARNED)).astype(np.int8)


def _learn_units(
    plan: Plan,
    checks: Checks,
    rows: Ints,
    starts: Ints,
    ends: Ints,
    unit_state: States,
    groups: Groups,
    conditions: Floats | None,
) -> Ints:
    """Take the checks of unsettled units one by one; return, per unit, the position from which z is known."""
    settled_from = np.zeros(len(starts), np.int64)
    channel = checks.channel[rows[starts]] if len(starts) else np.zeros(0, np.int64)
    known = ~np.isnan(plan.sigma[channel]) | (unit_state["sigma"] > 0.0)
    centred = (unit_state["mode"] == int(CenterMode.CERTIFICATE)) | (unit_state["settled"] > 0)
    for u in np.flatnonzero(~(known & centred)).tolist():
        stretch = range(int(starts[u]), int(ends[u]))
        state = unit_state[u : u + 1]
        influences = conditions if plan.influences[channel[u], 0] >= 0 else None
        settled_from[u] = _learn_unit(plan, checks, rows, stretch, groups, bool(groups.held[u]), state, influences)
    return settled_from


def _learn_unit(
    plan: Plan,
    checks: Checks,
    rows: Ints,
    stretch: range,
    groups: Groups,
    held: bool,
    state: States,
    conditions: Floats | None,
) -> int:
    """Learn from these checks until σ and centre are settled; return how many it took. Changes `state` (one row).

    What is learned from is the mean of a subgroup, weighted by its checks: σ² = Σ n(D̄ - D̄̄)²/(groups - 1), the mean
    square between groups (one-way analysis of variance), so that z = (D̄ - D₀)·√n/σ; alone, a check is its own group.
    With `conditions` σ² is that about their regression, each slope a degree of freedom.
    """
    channel = int(checks.channel[rows[stretch.start]])
    declared = float(plan.sigma[channel])
    wanted = CENTERS[int(plan.center[channel])]
    learn = int(plan.learn[channel])
    alone = plan.subgroup_n[channel] == 1 and not plan.subgroup_ns[channel]
    fewest = 1 if alone or not math.isnan(declared) else FEWEST_GROUPS
    n, mean, m2 = int(state["n"][0]), float(state["mean"][0]), float(state["m2"][0])
    mode, sigma, count = int(state["mode"][0]), float(state["sigma"][0]), int(state["groups"][0])
    centre, offset, settled = float(state["centre"][0]), int(state["offset"][0]), int(state["settled"][0])
    sums = None if conditions is None else Sums.of(state)
    fit: Sums | None = None
    taken = 0
    for i in stretch:
        row = int(rows[i])
        known = declared if not math.isnan(declared) else sigma
        if mode == CenterMode.UNDECIDED:
            mode = _mode(wanted, checks, row, known)
        if known > 0.0 and (mode == CenterMode.CERTIFICATE or (mode == CenterMode.LEARNED and settled)):
            break
        taken += 1
        if held and i == stretch.stop - 1:
            break
        n += 1
        if not groups.last[i]:
            continue
        count += 1
        size, residual = float(groups.size[i]), float(groups.mean[i])
        delta = residual - mean
        mean += delta * size / n
        m2 += size * delta * (residual - mean)
        sums = _with_check(sums, n, conditions, row, residual - mean)
        if n < learn or count < fewest:
            continue
        fit, left, free = _settled(sums, n, m2, count)
        if math.isnan(declared):
            rounding = float(checks.rounding[row])
            sigma = known = math.sqrt(left / free) if free > 0 and left > 0.0 else max(rounding, 0.0)
        if mode == CenterMode.UNDECIDED:
            mode = _mode(wanted, checks, row, known)
        if mode == CenterMode.LEARNED:
            centre, settled = mean, 1
            offset = _significant(mean, known, n, checks, row)
    _keep(state, sums, fit if settled and (declared > 0.0 or sigma > 0.0) else None)
    state["mean"], state["m2"], state["mode"], state["sigma"] = mean, m2, mode, sigma
    state["centre"], state["offset"], state["settled"], state["groups"] = centre, offset, settled, count
    return taken


def _with_check(sums: Sums | None, n: int, conditions: Floats | None, row: int, rest: float) -> Sums | None:
    return None if sums is None or conditions is None else sums.with_check(n, conditions[row].tolist(), rest)


def _settled(sums: Sums | None, n: int, squares: float, points: int) -> tuple[Sums | None, float, int]:
    """Return the fit if there are influences, the sum of squares that is left, and its degrees of freedom."""
    if sums is None:
        return None, squares, points - 1
    fit, left, slopes = sums.settled(n, squares)
    return fit, left, points - 1 - slopes


def _keep(state: States, sums: Sums | None, fit: Sums | None) -> None:
    """Put the sums of a channel with influences into its state, once settled the fit."""
    if sums is not None:
        (fit or sums).store(state)


def _mode(wanted: Center, checks: Checks, row: int, sigma: float) -> int:
    """Return where the centre is: `auto` trusts the certificate when its constant offset is small against σ."""
    if wanted is Center.CERTIFICATE:
        return CenterMode.CERTIFICATE
    if wanted is Center.LEARNED or checks.flags[row] & Flag.NO_CERTIFICATE:
        return CenterMode.LEARNED
    used = max(sigma, float(checks.rounding[row]))
    if not sigma > 0.0:
        return CenterMode.UNDECIDED
    base = float(checks.baseline_U[row]) / float(checks.baseline_k[row])
    reference_u = float(checks.reference_u_error[row])
    half = 0.0 if math.isnan(reference_u) else reference_u / 2.0
    small = math.sqrt(base * base + half * half) <= SMALL_OFFSET * used
    return CenterMode.CERTIFICATE if small else CenterMode.LEARNED


def _significant(mean: float, sigma: float, n: int, checks: Checks, row: int) -> int:
    """Return 1 if the learned centre disagrees with the certificate: |En| > 1 (ISO 13528), U = 2 u for the mean."""
    base = float(checks.baseline_U[row])
    if math.isnan(base):
        return 0
    reference_u = float(checks.reference_u_error[row])
    reference_u = 0.0 if math.isnan(reference_u) else reference_u
    own = 4.0 * sigma * sigma / n + reference_u * reference_u
    return int(abs(mean) > math.sqrt(own + base * base))
