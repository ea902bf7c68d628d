"""Judge readings: verdicts for checks, states after, changes of conditions. One implementation, live and replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import HOLD, AlarmKind, Severity
from gateway.drift import Detector, Readout, Z
from gateway.drift.charts import detectors, run
from gateway.metrology.conformity import (
    conformance_probability,
    decide,
    en_score,
    exceeds_third,
    expanded_uncertainty,
    within,
)
from gateway.metrology.decimals import exact_difference
from gateway.pipeline.causes import with_causes
from gateway.pipeline.checks import Checks, Flag, check_columns, epochs_of
from gateway.pipeline.columns import Columns, Floats, Ints, boot_code, rows_where, runs
from gateway.pipeline.dependent import chart_pairs_again, in_sigma, limits_of_dependent
from gateway.pipeline.forecasting import follow_trend, with_evidence
from gateway.pipeline.groups import with_held_checks
from gateway.pipeline.influenced import with_conditions
from gateway.pipeline.layout import Fields, aligned
from gateway.pipeline.learning import Learned, settle_phase_one
from gateway.pipeline.plan import Plan
from gateway.pipeline.points import Pointed, chart_points
from gateway.pipeline.state import CenterMode, States
from gateway.pipeline.watch import NO_OPINION, Change, Signals, apply_conditions, hold_unless_calm, watch_signal
from gateway.pipeline.zeros import calm_by_none, follow_zeros, remember_zeros, with_zeros

__all__ = ["Judgement", "chart_columns", "judge", "verdict_dtype"]

Bools = npt.NDArray[np.bool_]

MAJOR_SHARE = 0.8
"""|E| beyond this share of the MPE, confirmed by another check, is `major` (METROLOGY §5.7)."""
CALM_SHARE = 0.72
SURE = 0.95
CALM_SURE = 0.99
NOT_SURE = 0.05
NEAR_LIMIT = 0.5
"""A chart alarm falls only when every statistic is back within half of its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What readings caused. `verdicts` has one row per check, `check_row` leads to its reading.

    `states` has one row per channel of `channels`, after the last reading; `out_of_range` one value per reading.
    """

    channels: Ints
    states: States
    verdicts: npt.NDArray[Any]
    check_row: Ints
    out_of_range: Bools
    changes: list[Change]


@cache
def chart_columns(*, optional: bool = False) -> tuple[tuple[str, str, Any], ...]:
    """Return (chart, column, type) of everything charts report per check but `signal`, which follows from it.

    With `optional` those of the optional charts, else of the others.
    """
    empty = np.zeros(0)
    found: list[tuple[str, str, Any]] = []
    for d in _of(optional=optional):
        state: dict[str, Any] = dict.fromkeys(d.state, empty)
        state |= {name: np.zeros(0, np.int64) for name in d.times}
        parameters = [empty] * (len(d.parameters) - (not d.optional))
        columns = d.read(state, empty, parameters, empty).columns
        found += [(d.name, name, np.asarray(v).dtype) for name, v in columns.items() if name != "signal"]
    return tuple(found)


def _of(*, optional: bool) -> tuple[Detector, ...]:
    return tuple(d for d in detectors() if d.optional is optional)


@cache
def verdict_dtype(*, optional: bool = False) -> np.dtype[Any]:
    """Return the layout of a verdict as numbers; absent numbers are NaN, an absent onset is 0.

    With `optional` the columns of optional charts follow all others: a verdict without them is the first part of one.
    """
    some = np.dtype(aligned(_fields()))
    if not optional:
        return some
    fields = [(f"{chart}_{column}", code) for chart, column, code in chart_columns(optional=True)]
    fields += [(f"{d.name}_signal", np.bool_) for d in _of(optional=True)]
    return np.dtype([*((n, some[n]) for n in some.names or ()), *aligned(fields, "spare_optional")])


def _fields() -> Fields:
    fields: Fields = [
        (name, np.float64)
        for name in (
            "indication", "reference", "reference_u", "x", "zero_error", "error", "U", "mpe", "margin",
            "margin_percent", "p_conforming", "baseline_error", "baseline_U", "en", "residual", "sigma", "z",
        )
    ]  # fmt: skip
    fields += [("conformity", np.int8), ("mode", np.int8), ("learned_sigma", np.bool_), ("charted", np.bool_)]
    fields += [("epoch", np.int32), ("flags", np.int32)]
    fields += [(f"{chart}_{column}", code) for chart, column, code in chart_columns()]
    return fields + [(f"{d.name}_signal", np.bool_) for d in _of(optional=False)]


@np.errstate(divide="ignore", over="ignore", invalid="ignore")
def judge(plan: Plan, states: States, columns: Columns, *, alone: bool = False) -> Judgement:
    """Judge sorted readings of known channels.

    `states`: one row per distinct channel of `columns`, ascending. With `alone` nothing is charted, watched or
    remembered: the verdict of a reading beyond the lateness horizon.
    """
    channels, firsts, counts = runs(columns.channel)
    local = np.repeat(np.arange(len(channels)), counts)
    epoch = epochs_of(plan, columns.channel, columns.time)
    signals = watch_signal(plan, states, columns, firsts, counts)
    checks = check_columns(plan, states, columns, local, epoch, alone=alone)
    fit = ~checks.zero_reference & (columns.stable[checks.row] != 0) & ~signals.out_of_range[checks.row]
    chartable = fit & np.isfinite(checks.residual) & (not alone)
    if not alone:
        checks = with_held_checks(plan, states, checks, chartable)
        fit, chartable = _with_held(checks, fit), _with_held(checks, chartable)
    conditions, chartable = with_conditions(plan, checks, columns, chartable)
    learned = settle_phase_one(plan, states, checks, chartable, conditions)
    verdicts = _verdicts(plan, checks, learned)
    if alone:
        checks.flags[:] |= int(Flag.BEYOND_LATENESS)
        verdicts["flags"] = checks.flags
        return Judgement(
            channels=channels, states=states, verdicts=verdicts, check_row=checks.row,
            out_of_range=signals.out_of_range, changes=[],
        )  # fmt: skip
    readouts = _chart(plan, checks, learned, verdicts)
    points = chart_points(plan, checks, learned, verdicts)
    verdicts["flags"] = checks.flags
    zeros = follow_zeros(plan, states, checks, columns, learned.sigma)
    if zeros is not None:
        fit[zeros.silent] = False
    asked, major, nearness = _check_wanted(plan, states, checks, learned, verdicts, readouts, points, fit)
    if zeros is not None:
        calm_by_none(plan, checks, zeros, asked)
    followed = follow_trend(plan, checks, learned, verdicts["U"])
    asked[AlarmKind.FORECAST] = followed.wanted
    after = _moved_on(states, learned)
    real = rows_where(checks.row >= 0)
    row = checks.row[real]
    wanted = {kind: _spread(column[real], row, len(columns), NO_OPINION) for kind, column in asked.items()}
    started = _chapters_started(plan, states, checks, learned)
    changes = apply_conditions(
        plan, after, columns, firsts, counts, signals, wanted, started, _wanted_before(checks, asked),
        _spread(checks.x[real], row, len(columns), np.nan),
    )  # fmt: skip
    _remember(after, columns, firsts, counts, signals)
    _remember_checks(plan, after, columns, checks, verdicts, major, nearness, fit)
    remember_zeros(plan, after, checks, zeros)
    changes = with_zeros(plan, states, changes, checks, zeros, learned.sigma)
    return Judgement(
        channels=channels, states=after, verdicts=verdicts if len(row) == len(verdicts) else verdicts.take(real),
        check_row=row, out_of_range=signals.out_of_range,
        changes=with_causes(
            plan, with_evidence(plan, changes, checks, followed), checks, np.flatnonzero(verdicts["charted"]), readouts
        ),
    )  # fmt: skip


def _spread(column: npt.NDArray[Any], row: Ints, n: int, none: float) -> npt.NDArray[Any]:
    """Return one value per reading: those of checks, and `none`."""
    if len(row) == n:
        return column
    out = np.full(n, none, column.dtype)
    out[row] = column
    return out


def _with_held(checks: Checks, given: Bools) -> Bools:
    """Return `given`, one per real check, for all checks: what was held back is true."""
    if len(given) == len(checks):
        return given
    out = np.ones(len(checks), np.bool_)
    out[checks.row >= 0] = given
    return out


def _wanted_before(
    checks: Checks, asked: Mapping[AlarmKind, npt.NDArray[np.int8]]
) -> dict[int, list[tuple[AlarmKind, int, int]]]:
    """Return (kind, wanted level, time) by channel (local) of checks that had been held back."""
    return {
        int(checks.local[i]): [(kind, int(column[i]), int(checks.time[i])) for kind, column in asked.items()]
        for i in np.flatnonzero(checks.row < 0).tolist()
    }


def _verdicts(plan: Plan, checks: Checks, learned: Learned) -> npt.NDArray[Any]:
    """Fill everything but the charts (CONTRACTS §4)."""
    v = np.zeros(len(checks), verdict_dtype(optional=plan.optional))
    U = expanded_uncertainty(checks.reference_u_error, learned.sigma)
    size = np.abs(checks.corrected_error)
    v["indication"], v["reference"], v["reference_u"] = checks.indication, checks.reference, checks.reference_u
    v["x"], v["zero_error"], v["error"], v["U"], v["mpe"] = checks.x, checks.zero, checks.error, U, checks.mpe
    v["margin"] = exact_difference(checks.mpe, size)
    v["margin_percent"] = 100.0 * (1.0 - size / checks.mpe)
    v["en"] = en_score(checks.error, U, checks.baseline_error, checks.baseline_U)
    v["p_conforming"] = conformance_probability(checks.corrected_error, checks.mpe, U / 2.0)
    v["baseline_error"], v["baseline_U"] = checks.baseline_error, checks.baseline_U
    v["residual"], v["sigma"], v["z"] = checks.residual, learned.sigma, learned.z
    decision = decide(
        plan.decision[checks.channel], checks.corrected_error, checks.mpe, U,
        checks.corrected_indication, checks.reference, checks.relative,
    )  # fmt: skip
    v["conformity"] = decision.conformity
    checks.flags[decision.conditional_pass] |= int(Flag.CONDITIONAL_PASS)
    checks.flags[decision.conditional_fail] |= int(Flag.CONDITIONAL_FAIL)
    checks.flags[exceeds_third(U, checks.mpe)] |= int(Flag.U_TOO_LARGE)
    spare = learned.sigma * learned.sigma - checks.rounding * checks.rounding
    coarse = (checks.resolution > 0.0) & (checks.resolution > 2.0 * np.sqrt(np.maximum(spare, 0.0)))
    checks.flags[coarse & ~np.isnan(learned.sigma)] |= int(Flag.RESOLUTION_LIMITED)
    v["mode"], v["learned_sigma"] = learned.mode, learned.learned_sigma
    v["epoch"] = checks.epoch
    for chart, column, code in chart_columns() + (chart_columns(optional=True) if plan.optional else ()):
        if code == np.float64:
            v[f"{chart}_{column}"] = np.nan
    return v


def _chart(plan: Plan, checks: Checks, learned: Learned, verdicts: npt.NDArray[Any]) -> dict[str, Readout]:
    """Run the charts of z on every z there is; fill statistics and limits, and the units' chart states."""
    rows = rows_where(~np.isnan(learned.z))
    z, time, rho = learned.z[rows], checks.time[rows], learned.rho[rows]
    if not len(z):
        return {}
    units, first, counts = runs(learned.unit_of[rows])
    channel, epoch = checks.channel[rows], checks.epoch[rows]
    charts = [d for d in plan.charts if d.takes == Z]
    parameters = {d.name: [p[channel[first]] for p in plan.parameters[d.name]] for d in charts}
    before = learned.states_of(units)
    history, last = run(charts, z, time, counts, parameters, before)
    dependent = bool(rho.any())
    if dependent and "noise" in parameters:
        chart_pairs_again(charts, rho, z, time, counts, parameters["noise"], before, history, last)
    learned.keep(units, last)
    provisional = learned.provisional[rows]
    readouts: dict[str, Readout] = {}
    verdicts["charted"][rows] = True
    for d in charts:
        limit = plan.limit[d.name][epoch]
        if provisional.any():
            limit = np.where(provisional, plan.limit_provisional[d.name][epoch], limit)
        recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        chosen = [p[channel] for p in plan.parameters[d.name]]
        if dependent:
            limit = limits_of_dependent(d, limit, rho, chosen)
        readout = d.read(recorded, z, chosen, limit)
        if dependent:
            readout = in_sigma(d, readout, rho)
        for column, values in readout.columns.items():
            verdicts[f"{d.name}_{column}"][rows] = values
        readouts[d.name] = readout
    return readouts


def _check_wanted(
    plan: Plan,
    states: States,
    checks: Checks,
    learned: Learned,
    verdicts: npt.NDArray[Any],
    readouts: dict[str, Readout],
    points: Sequence[Pointed],
    fit: Bools,
) -> tuple[dict[AlarmKind, npt.NDArray[np.int8]], Bools, Floats]:
    """Return what each check asks of `drift`, `noisy` and `mpe`, who asked for `major`, and the charts' nearness.

    Nearness is NaN where no chart has an opinion.
    """
    charted = verdicts["charted"]
    rows = np.flatnonzero(charted)
    signal = {k: np.zeros(len(checks), np.bool_) for k in ("drift", "noisy")}
    near = {k: np.zeros(len(checks)) for k in ("drift", "noisy")}
    for d in plan.charts:
        if d.name in readouts:
            signal[d.kind][rows] |= readouts[d.name].signal
            near[d.kind][rows] = np.fmax(near[d.kind][rows], readouts[d.name].nearness)
    seen = charted
    for p in points:
        signal["drift"][p.rows] |= p.readout.signal
        near["drift"][p.rows] = np.fmax(near["drift"][p.rows], p.readout.nearness)
        seen = seen | p.scored
    coarse = (checks.flags & int(Flag.RESOLUTION_LIMITED)) != 0
    deaf = coarse & (learned.mode == int(CenterMode.CERTIFICATE))
    drift = hold_unless_calm(signal["drift"] | learned.offset, near["drift"] > NEAR_LIMIT, Severity.WARNING)
    drift[deaf] = 0
    drift[~seen & ~learned.offset] = NO_OPINION
    noisy = hold_unless_calm(signal["noisy"], near["noisy"] > NEAR_LIMIT, Severity.WARNING)
    noisy[~charted] = NO_OPINION
    mpe, major = _mpe_wanted(states, checks, verdicts, coarse, fit)
    wanted = {AlarmKind.DRIFT: drift, AlarmKind.MPE: mpe, AlarmKind.NOISY: noisy}
    return wanted, major, np.where(seen, near["drift"], np.nan)


def _mpe_wanted(
    states: States, checks: Checks, verdicts: npt.NDArray[Any], coarse: Bools, fit: Bools
) -> tuple[npt.NDArray[np.int8], Bools]:
    """Return the wanted level of `mpe`: critical at once, major when the check before asked for it too."""
    error, mpe, p = checks.corrected_error, checks.mpe, verdicts["p_conforming"]
    judged = fit & ~np.isnan(mpe)
    beyond = judged & ~within(error, mpe, checks.corrected_indication, checks.reference, checks.relative)
    size = np.abs(error)
    critical = beyond & (p < NOT_SURE)
    unsure = (p < SURE) & ~coarse
    major = judged & (unsure | (size > MAJOR_SHARE * mpe) | beyond)
    confirmed = major & _previous_major(states, checks, judged, major)
    hold = (size > CALM_SHARE * mpe) | ((p < CALM_SURE) & ~coarse)
    wanted = np.where(
        critical, int(Severity.CRITICAL), np.where(confirmed, int(Severity.MAJOR), np.where(hold, HOLD, 0))
    )
    return np.where(judged, wanted, NO_OPINION).astype(np.int8), major


def _previous_major(states: States, checks: Checks, judged: Bools, major: Bools) -> Bools:
    """Return, for each judged check, whether the judged check before it in its channel asked for major."""
    before = np.zeros(len(checks), np.bool_)
    rows = np.flatnonzero(judged)
    if not len(rows):
        return before
    local = checks.local[rows]
    first = np.append(True, local[1:] != local[:-1])
    previous = np.append(False, major[rows][:-1])
    previous[first] = states["major"][local[first]]
    before[rows] = previous
    return before


def _chapters_started(plan: Plan, states: States, checks: Checks, learned: Learned) -> dict[int, str]:
    """Return the readings at which a channel enters another chapter, with the reason for what falls there."""
    rows = np.flatnonzero(learned.unit_of >= 0)
    if not len(rows):
        return {}
    unit = learned.unit_of[rows]
    _, first, _ = runs(unit)
    rows = rows[first]
    chapter, before = plan.e_chapter[checks.epoch[rows]], states["chapter"][checks.local[rows]]
    begun = (checks.row[rows] >= 0) & (before != chapter) & ((before != 0) | (chapter > 1))
    started: dict[int, str] = {}
    for row in rows[begun].tolist():
        epoch = plan.epochs[int(checks.epoch[row])]
        started[int(checks.row[row])] = "new_segment" if epoch.segment == epoch.start else "new_baseline"
    return started


def _remember(after: States, c: Columns, firsts: Ints, counts: Ints, signals: Signals) -> None:
    """Keep each channel's last reading as a signal."""
    last = firsts + counts - 1
    after["time"], after["value"] = c.time[last], c.value[last]
    after["readings"] += counts
    after["same_n"], after["same_since"] = signals.same_n[last], signals.same_since[last]
    after["boot"], after["seq"] = signals.boot[last], signals.seq[last]


def _moved_on(states: States, learned: Learned) -> States:
    """Return the states with Phase I and charts as the channels' last units left them, which may be theirs."""
    if len(learned.unit_local) == len(states) and (learned.unit_local[1:] != learned.unit_local[:-1]).all():
        return learned.unit_state
    after: States = states.take(np.arange(len(states)))  # a copy of records goes field by field
    locals_, last = _last_of(learned.unit_local, np.arange(len(learned.unit_local)))
    after.put(locals_, learned.unit_state.take(last))
    return after


def _remember_checks(
    plan: Plan,
    after: States,
    c: Columns,
    checks: Checks,
    verdicts: npt.NDArray[Any],
    major: Bools,
    nearness: Floats,
    fit: Bools,
) -> None:
    """Keep each channel's last zero and last check."""
    if not len(checks):
        return
    locals_, index = _last_of(checks.local, np.arange(len(checks)))
    after["check_time"][locals_] = checks.time[index]
    after["error"][locals_] = checks.error[index]
    standard = plan.standard_code[checks.channel[index]]
    named = c.standard[checks.row[index]]
    for i in np.flatnonzero(named != None).tolist():  # noqa: E711  element by element
        standard[i] = boot_code(named[i])
    after["standard"][locals_] = standard
    after["margin_percent"][locals_] = verdicts["margin_percent"][index]
    after["conformity"][locals_] = verdicts["conformity"][index]
    np.add.at(after["checks"], checks.local[checks.row >= 0], 1)
    seen = np.flatnonzero(~np.isnan(nearness))
    locals_, index = _last_of(checks.local[seen], seen)
    after["nearness"][locals_] = nearness[index]
    judged = np.flatnonzero(~np.isnan(checks.mpe) & fit)
    locals_, index = _last_of(checks.local[judged], judged)
    after["major"][locals_] = major[index]
    zero = np.flatnonzero((checks.reference == 0.0) & (c.stable[checks.row] != 0))
    locals_, index = _last_of(checks.local[zero], zero)
    after["zero_time"][locals_], after["zero"][locals_] = checks.time[index], checks.indication[index]


def _last_of(local: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return the distinct channels of sorted rows and the last row of each."""
    if not len(local):
        return local, rows
    last = np.append(local[1:] != local[:-1], True)
    return local[last], rows[last]
