"""Registers in the pipeline: amounts of checks over the top, times the multiplier; and where a register went back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from gateway.metrology.decimals import exact_difference
from gateway.metrology.registers import amounts, over_the_top, scaled
from gateway.metrology.units import UnitError, convert_float
from gateway.pipeline.columns import Columns, Floats, Ints
from gateway.pipeline.plan import Plan
from gateway.registry.model import ChannelType, Event, EventKind

__all__ = ["exchanges", "register_amounts", "went_back"]

Bools = npt.NDArray[np.bool_]


def exchanges(events: Sequence[Event], channels: Sequence[tuple[str, ChannelType]]) -> dict[int, Ints]:
    """Return when (ns, ascending) the meter behind each register was exchanged, by the place of its channel.

    `channels`: (device, type) in the order of the plan; registers whose meter never was are left out.
    """
    times: dict[str, list[int]] = {}
    for event in events:
        if event.kind is EventKind.METER_EXCHANGE:
            times.setdefault(event.device, []).append(event.time)
    return {
        i: np.array(sorted(times[device]), np.int64)
        for i, (device, type_) in enumerate(channels)
        if device in times and type_ is ChannelType.REGISTER
    }


def register_amounts(plan: Plan, c: Columns, row: Ints, standards: Callable[[], Ints]) -> tuple[Floats, Floats, Bools]:
    """Return the amount indicated, the reference amount, and which checks have a start value, of the checks `row`.

    A register counts from start to stop, over its top where its digits are known, times its multiplier (CT ratio): the
    channel's values are what the register shows, the reference is the true amount. A reference register runs over its
    top by the digits of the standard's channel; `standards` returns that channel per check (-1: unknown).
    """
    channel, indication, expected = c.channel[row], c.value[row], c.reference[row]
    started, counted = ~np.isnan(c.value_start[row]), ~np.isnan(c.reference_start[row])
    if counted.any():
        expected = _reference_amounts(plan, c, row, expected, counted, standards)
    multiplier = plan.multiplier[channel]
    if started.any():
        run = amounts(c.value_start[row], indication, expected / multiplier, plan.turn[channel])
        indication = np.where(started, run, indication)
    return scaled(indication, multiplier), expected, started


def _reference_amounts(
    plan: Plan, c: Columns, row: Ints, reference: Floats, counted: Bools, standards: Callable[[], Ints]
) -> Floats:
    """Return the reference amounts, start to stop where a start is given."""
    begun = c.reference_start[row]
    out = np.where(counted, exact_difference(reference, begun), reference)
    back = np.flatnonzero(counted & (out < 0.0))
    if len(back):
        turn = _turns(plan, c.channel[row], standards())
        for i in back.tolist():
            over = over_the_top(float(begun[i]), float(reference[i]), float(turn[i]))
            out[i] = out[i] if over is None else over
    return out


def _turns(plan: Plan, channel: Ints, standard: Ints) -> Floats:
    """Return the turn of each standard's register in the unit of the check's channel; NaN where unknown."""
    turns = np.full(len(channel), np.nan)
    for i in np.flatnonzero(standard >= 0).tolist():
        own = plan.facts[standard[i]].unit
        with suppress(UnitError):
            turns[i] = convert_float(float(plan.turn[standard[i]]), own, plan.facts[channel[i]].unit)
    return turns


def went_back(plan: Plan, c: Columns, value_before: Floats, time_before: Ints) -> Bools:
    """Return the readings at which a register stands lower than at the reading before, and nothing explains it.

    A plausible rollover does, and so does an exchange announced between the two. Whether it was a reset or a single
    wrong reading, the next reading tells (`gateway.metrology.registers`).
    """
    with np.errstate(invalid="ignore"):
        back = plan.register[c.channel] & (c.value < value_before)
    for i in np.flatnonzero(back).tolist():
        channel = int(c.channel[i])
        if over_the_top(float(value_before[i]), float(c.value[i]), float(plan.turn[channel])) is not None:
            back[i] = False
        elif channel in plan.exchanged:
            times = plan.exchanged[channel]
            met = np.searchsorted(times, [time_before[i], c.time[i]], side="right")
            back[i] = met[0] == met[1]
    return back
