"""Signal health and alarm conditions: what each reading asks of each kind, and what became of the conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import HOLD, RULES, AlarmKind, Condition, Severity, Transition, step
from gateway.pipeline.columns import Columns, Floats, Ints, text_codes
from gateway.pipeline.plan import FOREVER, Plan
from gateway.pipeline.registers import went_back
from gateway.pipeline.state import NEVER, States

__all__ = ["NO_OPINION", "Change", "Signals", "apply_conditions", "hold_unless_calm", "silent_since", "watch_signal"]

Bools = npt.NDArray[np.bool_]
Wanted = npt.NDArray[np.int8]

NO_OPINION = 9
"""This reading says nothing about this kind."""

Before = Mapping[int, Sequence[tuple[AlarmKind, int, int]]]
"""Channel (local) -> (kind, wanted level, time in ns) of a check that was held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A transition of one condition: which channel (index in the plan), what, how grave, when (ns, event time).

    `row` is the reading that caused it (-1: the passing of time), `since` when the condition rose.
    """

    channel: int
    kind: AlarmKind
    transition: Transition
    level: int
    time: int
    since: int
    row: int
    reason: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What the readings say as signals, one value per reading.

    `mute`: zero checks that add nothing to a run of 0; None where there are none.
    """

    out_of_range: Bools
    went_back: Bools
    silence: Ints
    missing: Ints
    same_n: Ints
    same_since: Ints
    mute: Bools | None
    boot: Ints
    seq: Ints


def _previous(values: npt.NDArray[Any], firsts: Ints, initial: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return, per reading, the value of the reading before it in its channel."""
    out = np.empty_like(values)
    out[1:] = values[:-1]
    out[firsts] = initial
    return out


def watch_signal(plan: Plan, states: States, c: Columns, firsts: Ints, counts: Ints) -> Signals:
    """Return range, registers gone back, silence (ns) and missing seq numbers before (0: none), equal values."""
    channel = c.channel
    before = _previous(c.time, firsts, states["time"])
    elapsed = c.time - np.where(before == NEVER, c.time, before)
    boot = text_codes(c.boot)
    seq = c.channel_seq()
    seq_before = _previous(seq, firsts, states["seq"])
    same_boot = _previous(boot, firsts, states["boot"]) == boot
    counted = (seq >= 0) & (seq_before >= 0) & same_boot & (seq > seq_before)
    value_before = _previous(c.value, firsts, states["value"])
    changed = c.value != value_before
    changed[firsts[states["readings"] == 0]] = True
    local, place = np.repeat(np.arange(len(firsts)), counts), np.arange(len(c))
    begins = changed.copy()
    begins[firsts] = True
    start = np.maximum.accumulate(np.where(begins, place, 0))
    carried = ~changed[start]
    n_before = np.where(carried, states["same_n"][local], 0)
    same_n = place - start + 1 + n_before
    since_before = states["same_since"][local]
    same_since = np.where(n_before > 0, since_before, c.time[start])
    empty = _empty(plan, c)
    if empty is not None:
        same_n, same_since = _without(empty, c.time, start, n_before, since_before)
    return Signals(
        out_of_range=(c.value < plan.low[channel]) | (c.value > plan.high[channel]),
        went_back=went_back(plan, c, value_before, before),
        silence=np.where(elapsed > plan.timeout[channel], elapsed, 0),
        missing=np.where(counted, seq - seq_before - 1, c.missing),
        same_n=same_n,
        same_since=same_since,
        mute=None if empty is None else empty & ~changed,
        boot=boot,
        seq=seq,
    )


def _empty(plan: Plan, c: Columns) -> Bools | None:
    """Return the zero checks at which a scale reads 0, as every good one does; None where there are none."""
    rows = np.flatnonzero(c.reference == 0.0)
    if not len(rows):
        return None
    channel, size = c.channel[rows], np.abs(c.value[rows])
    resolution = plan.resolution[channel] * plan.multiplier[channel]
    rows = rows[plan.weighing[channel] & ((size < resolution / 2.0) | (size == 0.0))]
    if not len(rows):
        return None
    found = np.zeros(len(c), np.bool_)
    found[rows] = True
    return found


def _without(empty: Bools, time: Ints, start: Ints, n_before: Ints, since_before: Ints) -> tuple[Ints, Ints]:
    """Return the length of each run of equal values and since when it has lasted (ns), by its readings but `empty`.

    `start`: where the run begins in these readings; before them it had `n_before`, since `since_before` where any.
    Since 0 where none counts.
    """
    place = np.arange(len(time))
    says = (~empty).astype(np.int64)
    counted = np.cumsum(says)
    n = counted - counted[start] + says[start] + n_before
    following = np.minimum.accumulate(np.where(empty, len(time), place)[::-1])[::-1]
    first = following[start]
    since = np.where(first <= place, time[np.minimum(first, len(time) - 1)], 0)
    return n, np.where(n_before > 0, since_before, since)


def _health_wanted(plan: Plan, c: Columns, signals: Signals) -> dict[AlarmKind, Wanted]:
    """Return what the readings ask of the kinds that any reading decides."""
    channel = c.channel
    stuck_n, stuck_ns = plan.stuck_n[channel], plan.stuck_ns[channel]
    stuck = (signals.same_n >= stuck_n) | ((stuck_ns != FOREVER) & (c.time - signals.same_since >= stuck_ns))
    wanted = np.where(stuck, int(Severity.WARNING), 0).astype(np.int8)
    if signals.mute is not None:
        wanted[signals.same_n == 0] = 0
        wanted[signals.mute] = NO_OPINION
    return {
        AlarmKind.STUCK: wanted,
        AlarmKind.RANGE: np.where(signals.out_of_range | signals.went_back, int(Severity.WARNING), 0).astype(np.int8),
        AlarmKind.GAP: np.where(signals.missing > 0, int(Severity.WARNING), 0).astype(np.int8),
    }


def apply_conditions(
    plan: Plan,
    states: States,
    c: Columns,
    firsts: Ints,
    counts: Ints,
    signals: Signals,
    check_wanted: Mapping[AlarmKind, Wanted],
    chapter_started: Mapping[int, str],
    before: Before,
    point: Floats,
) -> list[Change]:
    """Step every condition through its channel's readings; `states` (one row per channel) are changed.

    `check_wanted` covers all readings, NO_OPINION where a reading is no judged check. `chapter_started` maps rows
    at which a new chapter begins to its reason: conditions of charts fall there. `before`: what checks before these
    readings ask for only now. `point`: x of each check, NaN where it is none.
    """
    wanted = {**_health_wanted(plan, c, signals), **check_wanted}
    levels = np.array(list(wanted.values()))
    busy = ((levels > 0) & (levels != NO_OPINION)).any(axis=0) | (signals.silence > 0)
    asked = np.logical_or.reduceat(busy, firsts) if len(firsts) else np.zeros(0, np.bool_)
    asked[list(before)] = True
    standing = {kind: states[f"{kind}_level"] > 0 for kind in RULES}
    interesting = np.logical_or.reduce([asked, *standing.values()])
    changes: list[Change] = []
    for local in np.flatnonzero(interesting).tolist():
        rows = range(int(firsts[local]), int(firsts[local] + counts[local]))
        kinds = [
            kind
            for kind in RULES
            if standing[kind][local]
            or (asked[local] and _asks(kind, wanted, signals, rows.start, rows.stop))
            or any(kind is earlier and want > 0 for earlier, want, _ in before.get(local, ()))
        ]
        asking = {k: wanted.get(k) for k in kinds}
        changes += _walk(plan, states, local, c, rows, signals, asking, chapter_started, before.get(local, ()), point)
    return changes


def _asks(kind: AlarmKind, wanted: Mapping[AlarmKind, Wanted], signals: Signals, start: int, stop: int) -> bool:
    """Return whether any of these readings asks for this kind."""
    if kind is AlarmKind.SILENT:
        return bool(signals.silence[start:stop].any())
    column = wanted[kind][start:stop]
    return bool(((column > 0) & (column != NO_OPINION)).any())


def _walk(  # noqa: C901  one pass over the readings, every condition in its turn
    plan: Plan,
    states: States,
    local: int,
    c: Columns,
    rows: range,
    signals: Signals,
    wanted: Mapping[AlarmKind, Wanted | None],
    chapter_started: Mapping[int, str],
    before: Sequence[tuple[AlarmKind, int, int]],
    point: Floats,
) -> list[Change]:
    """Walk one channel's readings through those of its conditions that stand or are asked for."""
    state = states[local]
    channel = int(c.channel[rows[0]])
    timeout = int(plan.timeout[channel])
    times = c.time[rows.start : rows.stop].tolist()
    silences = signals.silence[rows.start : rows.stop].tolist()
    asked = {k: column[rows.start : rows.stop].tolist() for k, column in wanted.items() if column is not None}
    conditions = {kind: Condition.of(state, kind) for kind in wanted}
    can_be_silent = AlarmKind.SILENT in conditions
    points = point[rows.start : rows.stop].tolist() if AlarmKind.MPE in conditions else []
    asked_at, asked_when = float(state["mpe_x"]), int(state["mpe_time"])
    changes: list[Change] = []

    def note(kind: AlarmKind, transition: Transition, time: int, row: int, reason: str, since: int) -> None:
        changes.append(
            Change(
                channel=channel,
                kind=kind,
                transition=transition,
                level=conditions[kind].level,
                time=time,
                since=since,
                row=row,
                reason=reason,
            )
        )

    def move(kind: AlarmKind, want: int, time: int, row: int, reason: str = "") -> None:
        was = conditions[kind]
        conditions[kind], transition = step(was, want, time, RULES[kind])
        if transition is not None:
            note(kind, transition, time, row, reason, was.since or conditions[kind].since)

    def speaks(want: int, x: float, time: int) -> bool:
        nonlocal asked_at, asked_when
        if want >= conditions[AlarmKind.MPE].level:
            asked_at, asked_when = x, time
        return want == HOLD or comparable(x, asked_at) or time - asked_when >= POINT_FORGOTTEN_NS

    for kind, want, time in before:
        if kind in conditions and want != NO_OPINION and (want > 0 or conditions[kind].level):
            move(kind, want, time, -1)
    for i, time in enumerate(times):
        row = rows.start + i
        if can_be_silent and silences[i] and not conditions[AlarmKind.SILENT].level:
            move(AlarmKind.SILENT, Severity.WARNING, time - silences[i] + timeout, -1)
        if can_be_silent and conditions[AlarmKind.SILENT].level:
            since = conditions[AlarmKind.SILENT].since
            move(AlarmKind.SILENT, 0, max(time, since), row, "amended" if time <= since else "")
        if row in chapter_started:
            asked_at = math.nan
            for kind in (AlarmKind.DRIFT, AlarmKind.NOISY, AlarmKind.FORECAST):
                if kind in conditions and conditions[kind].level:
                    since = conditions[kind].since
                    conditions[kind] = Condition()
                    note(kind, Transition.CLEARED, time, row, chapter_started[row], since)
        for kind, column in asked.items():
            want = column[i]
            if want == NO_OPINION or not (want > 0 or conditions[kind].level):
                continue
            if kind is not AlarmKind.MPE or speaks(want, points[i], time):
                move(kind, want, time, row)
    state["mpe_x"], state["mpe_time"] = asked_at, asked_when
    for kind, condition in conditions.items():
        condition.store(state, kind)
    return changes


POINT_FORGOTTEN_NS = 35 * 86_400 * 10**9
"""A point of the error curve that has not been checked for so long tells nothing any more."""


def comparable(x: float, other: float) -> bool:
    """Return whether a good check at x speaks for an error found at `other`: zero for zero, else within a fifth.

    A scale whose zero is off shows it at no load above; its `mpe` must not fall by the good checks of other loads.

    >>> comparable(0.0, 5.0), comparable(5.0, 5.1), comparable(1.0, math.nan)
    (False, True, True)
    """
    if math.isnan(x) or math.isnan(other) or x == other:
        return True
    return x * other > 0.0 and abs(x - other) <= 0.2 * max(abs(x), abs(other))


def silent_since(plan: Plan, states: States, at: int) -> Ints:
    """Return the channels (indexes) newly silent by `at` (ns): no reading for longer than `timeout`."""
    heard = (states["time"] != NEVER) & (states["silent_level"] == 0) & (plan.retired > at)
    elapsed = at - np.where(heard, states["time"], at)
    return np.flatnonzero(heard & (elapsed > plan.timeout))


def hold_unless_calm(signal: Bools, near: Bools, severity: Severity) -> Wanted:
    """Return `severity` on a signal, HOLD while near the limit, else calm."""
    return np.where(signal, int(severity), np.where(near, HOLD, 0)).astype(np.int8)
