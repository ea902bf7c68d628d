"""The arithmetic of a check: error, reference uncertainty, baseline, zero correction (CONTRACTS §4), in columns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.metrology.decimals import exact_difference, exact_error
from gateway.metrology.units import UnitError, convert_float
from gateway.pipeline.columns import Columns, Floats, Ints, rows_where
from gateway.pipeline.plan import AXES, Plan
from gateway.pipeline.registers import register_amounts
from gateway.pipeline.state import States
from gateway.registry.model import Axis

__all__ = ["FLAGS", "ZERO_WINDOW_NS", "Checks", "Flag", "check_columns", "epochs_of"]

Bools = npt.NDArray[np.bool_]

ZERO_WINDOW_NS = 600 * 10**9
"""A zero check corrects the load checks of the 10 min after it."""


class Flag(IntFlag):
    """Flags of a verdict, in contract order; the closed list of CONTRACTS §4."""

    NO_CERTIFICATE = 1 << 0
    OUTSIDE_BASELINE = 1 << 1
    AXIS_MISSING = 1 << 2
    MPE_UNKNOWN = 1 << 3
    RULE_PACK_UNVERIFIED = 1 << 4
    LEARNING = 1 << 5
    PROVISIONAL = 1 << 6
    REFERENCE_U_UNKNOWN = 1 << 7
    ZERO_REFERENCE = 1 << 8
    ZERO_UNCORRECTED = 1 << 9
    U_TOO_LARGE = 1 << 10
    RESOLUTION_LIMITED = 1 << 11
    CERTIFICATE_EXPIRED = 1 << 12
    STANDARD_EXPIRED = 1 << 13
    CONDITIONAL_PASS = 1 << 14
    CONDITIONAL_FAIL = 1 << 15
    AUTOCORRELATED = 1 << 16
    UNSTABLE = 1 << 17
    LATE = 1 << 18
    BEYOND_LATENESS = 1 << 19
    CLOCK = 1 << 20
    COMMON_MODE = 1 << 21
    CALIBRATION_MODE = 1 << 22


FLAGS = tuple((flag, flag.name.lower()) for flag in Flag if flag.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The checks among readings, in the channels' error units. `row` leads to the reading, `local` to the state."""

    row: Ints
    local: Ints
    channel: Ints
    time: Ints
    epoch: Ints
    indication: Floats
    reference: Floats
    reference_u: Floats
    x: Floats
    error: Floats
    reference_u_error: Floats
    rounding: Floats
    resolution: Floats
    baseline_error: Floats
    baseline_U: Floats
    baseline_k: Floats
    residual: Floats
    zero: Floats
    corrected_indication: Floats
    corrected_error: Floats
    mpe: Floats
    zero_reference: Bools
    relative: Bools
    flags: Ints

    def __len__(self) -> int:
        return len(self.row)


def epochs_of(plan: Plan, channel: Ints, time: Ints) -> Ints:
    """Return the epoch that holds for each (channel, time)."""
    first = plan.first_epoch[channel]
    count = plan.epoch_count[channel]
    epoch = first.copy()
    for step in range(1, int(count.max(initial=1))):
        following = first + np.minimum(step, count - 1)
        epoch = np.where((step < count) & (time >= plan.e_start[following]), following, epoch)
    return epoch


@np.errstate(invalid="ignore")
def check_columns(plan: Plan, states: States, c: Columns, local: Ints, epoch: Ints, *, alone: bool = False) -> Checks:
    """Return the checks among the readings with everything that does not depend on σ.

    With `alone` no reading knows of another: a zero check corrects none.
    """
    row = np.flatnonzero(~np.isnan(c.reference))
    channel, time, local, epoch = c.channel[row], c.time[row], local[row], epoch[row]
    relative = plan.relative[channel]
    indication, reference, started = register_amounts(plan, c, row, lambda: _standards(plan, c, row))
    flags = np.zeros(len(row), np.int64)
    x, flow, current = _axes(plan, c, row, channel, indication, reference)
    reference_u = _reference_u(plan, c, row, reference, flow, current, flags)
    zero_reference = relative & (reference == 0.0)
    scale = np.where(relative & ~zero_reference, 100.0 / np.where(reference == 0.0, 1.0, np.abs(reference)), 1.0)
    error = exact_error(indication, reference, relative & ~zero_reference)
    resolution = plan.resolution[channel] * plan.multiplier[channel]
    rounding = np.where(started, resolution / np.sqrt(6.0), resolution / np.sqrt(12.0)) * scale
    base, base_u, base_k = _baseline(plan, c, row, epoch, x, flags)
    zero, corrected = _zero_correction(
        plan, states, c, row, local, channel, time, indication, reference, flags, alone=alone
    )
    corrected_error = error.copy()
    moved = np.flatnonzero(zero != 0.0)
    moved = moved[~np.isnan(zero[moved])]
    if len(moved):
        corrected_error[moved] = exact_error(corrected[moved], reference[moved], (relative & ~zero_reference)[moved])
    mpe = _mpe(plan, c, row, epoch, reference, flow, current)
    mpe[zero_reference] = np.nan
    legal = plan.e_limits[epoch] >= 0
    flags[legal & np.isnan(mpe) & ~zero_reference] |= int(Flag.MPE_UNKNOWN)
    flags[legal & plan.e_unverified[epoch]] |= int(Flag.RULE_PACK_UNVERIFIED)
    flags[np.isnan(reference_u)] |= int(Flag.REFERENCE_U_UNKNOWN)
    flags[zero_reference] |= int(Flag.ZERO_REFERENCE)
    flags[time >= plan.e_valid_to[epoch]] |= int(Flag.CERTIFICATE_EXPIRED)
    flags[c.stable[row] == 0] |= int(Flag.UNSTABLE)
    flags[c.clock[row]] |= int(Flag.CLOCK)
    base = np.where(zero_reference, np.nan, base)
    return Checks(
        row=row,
        local=local,
        channel=channel,
        time=time,
        epoch=epoch,
        indication=indication,
        reference=reference,
        reference_u=reference_u,
        x=x,
        error=error,
        reference_u_error=reference_u * scale,
        rounding=rounding,
        resolution=resolution * scale,
        baseline_error=base,
        baseline_U=np.where(zero_reference, np.nan, base_u),
        baseline_k=base_k,
        residual=error - base,
        zero=zero,
        corrected_indication=corrected,
        corrected_error=corrected_error,
        mpe=mpe,
        zero_reference=zero_reference,
        relative=relative,
        flags=flags,
    )


def _reference_u(
    plan: Plan, c: Columns, row: Ints, reference: Floats, flow: Floats, current: Floats, flags: Ints
) -> Floats:
    """Return the reference's expanded uncertainty (k = 2, in `unit`): as sent, else by the standard's certificate."""
    out = c.reference_u[row].copy()
    which = _standards(plan, c, row)
    known = np.flatnonzero(which >= 0)
    if not len(known):
        return out
    time = c.time[row[known]]
    epoch = epochs_of(plan, which[known], time)
    flags[known[time >= plan.e_valid_to[epoch]]] |= int(Flag.STANDARD_EXPIRED)
    for n in np.flatnonzero(np.isnan(out[known])).tolist():
        i = int(known[n])
        standard, size = int(which[i]), float(reference[i])
        curve = _curve_of(plan, int(epoch[n]), c, int(row[i]))
        with suppress(UnitError):  # the standard's channel of that name is of another quantity: it says nothing
            x = float(current[i] if AXES[int(plan.axis[standard])] is Axis.CURRENT else flow[i])
            out[i] = _certified_u(plan, standard, curve, x, size, plan.facts[int(c.channel[row[i]])].unit)
    return out


def _certified_u(plan: Plan, standard: int, curve: int, x: float, size: float, unit: str) -> float:
    """Return the standard's U at k = 2 for an amount of `size` `unit`, in that unit; NaN where it has none.

    `x` is the flow or current of the check, for a standard certified over that. Raises UnitError.
    """
    own = plan.facts[standard].unit
    at = convert_float(size, unit, own)
    place = at if AXES[int(plan.axis[standard])] in {Axis.REFERENCE, Axis.INDICATION} else x
    _, U, k, _ = plan.curves.lookup(np.array([curve]), np.array([place]))
    at_k2 = float(U[0]) * 2.0 / float(k[0])
    if plan.relative[standard]:
        return at_k2 * abs(size) / 100.0
    return at_k2 if np.isnan(at_k2) else convert_float(at_k2, own, unit, difference=True)


def _standards(plan: Plan, c: Columns, row: Ints) -> Ints:
    """Return the channel of the standard each check was made with: as sent, else the channel's own; -1 if unknown."""
    which: Ints = plan.standard[c.channel[row]]
    names = c.standard[row]
    for i in np.flatnonzero(names != None).tolist():  # noqa: E711  element by element
        which[i] = plan.index.get((names[i], plan.facts[int(c.channel[row[i]])].channel), -1)
    return which


def _axes(
    plan: Plan, c: Columns, row: Ints, channel: Ints, indication: Floats, reference: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return x of the baseline, flow (m³/h) and current (A); a given x stands for the missing axis value."""
    axis = plan.axis[channel]
    given, flow, current = c.x[row], c.flow_m3h[row], c.current_A[row]
    natural = np.choose(axis, (reference, indication, flow, current)) if axis.any() else reference
    x = np.where(np.isnan(given), natural, given)
    return x, np.where(np.isnan(flow) & (axis == 2), x, flow), np.where(np.isnan(current) & (axis == 3), x, current)


def _baseline(plan: Plan, c: Columns, row: Ints, epoch: Ints, x: Floats, flags: Ints) -> tuple[Floats, Floats, Floats]:
    """Return baseline error, U and k at x; error 0 and U unknown without a certificate."""
    curve = plan.e_curve[epoch].copy()
    for i in np.flatnonzero(plan.e_conditional[epoch]).tolist():
        curve[i] = _curve_of(plan, int(epoch[i]), c, int(row[i]))
    base, base_u, base_k, _ = plan.curves.lookup(curve, x)
    bare = ~plan.e_certified[epoch]
    missing = ~bare & np.isnan(base)
    flags[bare] |= int(Flag.NO_CERTIFICATE)
    flags[missing & np.isnan(x)] |= int(Flag.AXIS_MISSING)
    flags[missing & ~np.isnan(x)] |= int(Flag.OUTSIDE_BASELINE)
    return np.where(bare, 0.0, base), np.where(bare, np.nan, base_u), np.where(bare, np.nan, base_k)


def _curve_of(plan: Plan, epoch: int, c: Columns, row: int) -> int:
    """Return the curve of an epoch for the conditions of a reading; -1 when there is none."""
    if not plan.e_conditional[epoch]:
        return int(plan.e_curve[epoch])
    said = (float(c.power_factor[row]), c.phase[row], c.direction[row])
    return _matching(plan.conditions[epoch], said)


def _matching(
    curves: tuple[tuple[tuple[float | None, str | None, str | None], int], ...],
    said: tuple[float, str | None, str | None],
) -> int:
    """Return the curve whose stated conditions all hold, the one that states most; -1 when none does."""
    fits = [
        (sum(v is not None for v in key), -place)
        for key, place in curves
        if all(want is None or want == have for want, have in zip(key, said, strict=True))
    ]
    return -max(fits)[1] if fits else -1


def _zero_correction(
    plan: Plan,
    states: States,
    c: Columns,
    row: Ints,
    local: Ints,
    channel: Ints,
    time: Ints,
    indication: Floats,
    reference: Floats,
    flags: Ints,
    *,
    alone: bool,
) -> tuple[Floats, Floats]:
    """Return E0 for load checks of scales that follow a zero check within 10 min, and the indication less E0."""
    weighing = plan.weighing[channel]
    if not weighing.any():
        return np.full(len(row), np.nan), indication
    is_zero = weighing & (reference == 0.0) & (c.stable[row] != 0) & (not alone)
    place = np.maximum.accumulate(np.where(is_zero, np.arange(len(row)), -1))
    inside = (place >= 0) & (channel[place] == channel)
    zero_time = np.where(inside, time[place], states["zero_time"][local])
    zero = np.where(inside, indication[place], states["zero"][local])
    load = weighing & (reference != 0.0)
    near = load & (zero_time > time - ZERO_WINDOW_NS - 1)
    flags[load & ~near] |= int(Flag.ZERO_UNCORRECTED)
    moved = np.flatnonzero(near & (zero != 0.0))
    corrected = indication.copy()
    corrected[moved] = exact_difference(indication[moved], zero[moved])
    return np.where(near, zero, np.nan), corrected


def _mpe(plan: Plan, c: Columns, row: Ints, epoch: Ints, reference: Floats, flow: Floats, current: Floats) -> Floats:
    """Return the MPE in the error unit; NaN where there is no limit or a condition it needs is missing."""
    which = plan.e_limits[epoch]
    mpe = np.full(len(row), np.nan)
    for place in set(which.tolist()) - {-1}:
        m = rows_where(which == place)
        single: Any = c.phase[row[m]] != None  # noqa: E711  element by element
        mpe[m] = plan.limits[place].evaluate(
            reference=reference[m],
            flow_m3h=flow[m],
            current_A=current[m],
            power_factor=c.power_factor[row[m]],
            single_phase=single,
            temperature_C=c.temperature_C[row[m]],
        )
    return mpe
