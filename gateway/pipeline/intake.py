"""Readings -> columns in the channels' units, or named refusals; duplicates and conflicts told from new readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from gateway.metrology.instants import format_instant
from gateway.metrology.readings import EVIDENCE, READING_FIELDS, Reading, Refusal, Why, power_factor_text
from gateway.metrology.units import UnitError, convert_float
from gateway.pipeline.columns import Columns, Ints, boot_code
from gateway.pipeline.plan import AXES, Plan
from gateway.registry.model import Axis

__all__ = [
    "FUTURE_NS",
    "SEEN",
    "Intake",
    "Question",
    "Seen",
    "Settled",
    "as_document",
    "fresh_seen",
    "receive",
    "settle",
]

FUTURE_NS = 300 * 10**9
"""A live reading may be this far ahead of its receipt (CONTRACTS §3)."""

SEEN = np.dtype([("newest", np.int64), ("boot", np.int64), ("seq", np.int64)])
"""What has arrived of a channel: its newest time, and the highest seq of the boot seen last. 0 boot: none yet."""

Seen = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What must be looked up to call a reading new: the channel's readings of that moment or (boot, seq)."""

    channel: int
    time: int
    boot: str | None
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Readings received: sorted columns, the readings row by row, what to ask of the store, what was refused.

    `arrival` says which row came when; within a recorded file that means nothing.
    """

    columns: Columns
    readings: Sequence[Reading]
    arrival: Ints
    recorded: bool
    doubtful: Bools
    refused: list[Refusal] = field(default_factory=list)

    def questions(self) -> list[Question]:
        """Return what the store must be asked: one question per doubtful row, in row order."""
        c = self.columns
        return [
            Question(channel=int(c.channel[i]), time=int(c.time[i]), boot=c.boot[i], seq=int(c.seq[i]))
            for i in np.flatnonzero(self.doubtful).tolist()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """New readings only, sorted, and the message each came in; `late`: older than the channel's newest on arrival."""

    columns: Columns
    source: Ints
    late: Bools
    beyond: Bools
    duplicates: int
    refused: list[Refusal]
    seen: Seen


def receive(plan: Plan, seen: Seen, readings: Sequence[Reading], at: int | None) -> Intake:
    """Check readings against the plan and make sorted columns of those that fit.

    `at` (ns) is the moment of receipt; None for recorded files, which may hold any time. `seen`: a row per channel.
    """
    refused: list[Refusal] = []
    kept: list[Reading] = []
    channels: list[int] = []
    foreign: list[int] = []
    latest = None if at is None else at + FUTURE_NS
    index, facts, register = plan.index, plan.facts, plan.register
    for r in readings:
        channel = index.get((r.device, r.channel), -1)
        problem = None
        if channel < 0:
            problem = _unknown(plan, r)
        elif latest is not None and r.time > latest:
            problem = (Why.FUTURE_TIME, "more than 5 min ahead of its receipt; set the instrument's clock")
        elif r.reference is not None and r.value_start is None and register[channel]:
            problem = (
                Why.AMBIGUOUS_CHECK,
                "a check on a register needs value_start: the amount is value - value_start",
            )
        elif r.unit != facts[channel].unit:
            problem = _unit_problem(r.unit, facts[channel].unit)
            foreign.append(len(kept))
        if problem is None:
            kept.append(r)
            channels.append(channel)
        else:
            refused.append(_refusal(r, *problem, recorded=at is None))
            if foreign and foreign[-1] == len(kept):
                foreign.pop()
    columns = _columns(kept, channels)
    too_large = [i for i in foreign if not _convert(plan, columns, i, kept[i].unit)]
    if too_large:
        detail = "too large a number for the channel's unit"
        refused += [_refusal(kept[i], Why.NOT_FINITE, detail, recorded=at is None) for i in too_large]
        rest = [i for i in range(len(kept)) if i not in set(too_large)]
        columns, kept = columns.take(rest), [kept[i] for i in rest]
    order = columns.sorted_rows()
    columns = columns.take(order)
    return Intake(
        columns=columns,
        readings=[kept[i] for i in order.tolist()],
        arrival=np.arange(len(order)) if at is None else order.astype(np.int64),
        recorded=at is None,
        doubtful=_doubtful(columns, seen),
        refused=refused,
    )


def _unknown(plan: Plan, r: Reading) -> tuple[Why, str]:
    if r.device not in plan.devices:
        return Why.UNKNOWN_DEVICE, f"no device {r.device} in the registry; add it with `metergate apply`"
    known = ", ".join(plan.facts[i].channel for i in plan.devices[r.device])
    return Why.UNKNOWN_CHANNEL, f"{r.device} has no channel {r.channel}; it has {known}"


def _unit_problem(given: str, wanted: str) -> tuple[Why, str] | None:
    try:
        convert_float(1.0, given, wanted)
    except UnitError as error:
        return Why(error.why), str(error)
    return None


def _refusal(r: Reading, reason: Why, detail: str, *, recorded: bool) -> Refusal:
    return Refusal(
        reason=reason,
        detail=detail,
        device=r.device,
        channel=r.channel,
        source=r.source,
        record=r.record,
        raw=as_document(r) if recorded else None,
    )


def as_document(r: Reading) -> bytes:
    """Return a recorded reading as the NDJSON line it could have come from."""
    fields = {name: getattr(r, name) for name in READING_FIELDS if getattr(r, name) is not None}
    if r.power_factor is not None:
        fields["power_factor"] = power_factor_text(r.power_factor)
    return orjson.dumps(fields | {"time": format_instant(r.time)})


def _columns(kept: Sequence[Reading], channels: Sequence[int]) -> Columns:
    nan = float("nan")

    def numbers(values: list[float | None]) -> npt.NDArray[np.float64]:
        return np.array([nan if v is None else v for v in values], np.float64)

    def texts(values: list[str | None]) -> npt.NDArray[np.object_]:
        column = np.empty(len(values), object)
        column[:] = values
        return column

    return Columns(
        channel=np.array(channels, np.int64),
        time=np.array([r.time for r in kept], np.int64),
        value=np.array([r.value for r in kept], np.float64),
        reference=numbers([r.reference for r in kept]),
        reference_u=numbers([r.reference_u for r in kept]),
        x=numbers([r.x for r in kept]),
        value_start=numbers([r.value_start for r in kept]),
        reference_start=numbers([r.reference_start for r in kept]),
        flow_m3h=numbers([r.flow_m3h for r in kept]),
        current_A=numbers([r.current_A for r in kept]),
        power_factor=numbers([r.power_factor for r in kept]),
        temperature_C=numbers([r.temperature_C for r in kept]),
        seq=np.array([-1 if r.seq is None else r.seq for r in kept], np.int64),
        stable=np.array([-1 if r.stable is None else r.stable for r in kept], np.int8),
        evidence=np.array([-1 if r.evidence is None else EVIDENCE.index(r.evidence) for r in kept], np.int8),
        clock=np.array([r.clock_suspect for r in kept], np.bool_),
        boot=texts([r.boot for r in kept]),
        standard=texts([r.standard for r in kept]),
        phase=texts([r.phase for r in kept]),
        direction=texts([r.direction for r in kept]),
    )


def _convert(plan: Plan, columns: Columns, row: int, given: str) -> bool:
    """Convert one row in place, exactly: decimal text times an exact factor, rounded once; False if it overflows.

    `x` is in `unit` where the baseline runs over the reference or the indication; a flow or current is not.
    """
    channel = int(columns.channel[row])
    wanted = plan.facts[channel].unit
    own_axis = AXES[int(plan.axis[channel])] in {Axis.REFERENCE, Axis.INDICATION}
    for name in ("value", "reference", "reference_u", "value_start", "reference_start", *(["x"] if own_axis else [])):
        column = getattr(columns, name)
        if not np.isnan(column[row]):
            column[row] = convert_float(float(column[row]), given, wanted, difference=name == "reference_u")
            if not np.isfinite(column[row]):
                return False
    return True


def _doubtful(columns: Columns, seen: Seen) -> Bools:
    """Return which rows may repeat something stored: not newer than the channel, or a (boot, seq) not known as new."""
    if not len(columns):
        return np.zeros(0, np.bool_)
    known = seen[columns.channel]
    doubtful: Bools = columns.time <= known["newest"]
    codes = _codes(columns)
    numbered = codes != 0
    same = codes == known["boot"]
    again: Bools = doubtful | (numbered & np.where(same, columns.seq <= known["seq"], known["boot"] != 0))
    return again


def settle(intake: Intake, seen: Seen, stored: Sequence[Columns], lateness_ns: int | None) -> Settled:
    """Tell duplicates and sequence conflicts from new readings.

    `stored` answers `intake.questions()`: per doubtful row the stored readings of the channel with its time or its
    (boot, seq). Older than `lateness_ns` before the channel's newest is beyond; None means nothing ever is.
    """
    columns = intake.columns
    refused = list(intake.refused)
    keep = np.ones(len(columns), np.bool_)
    duplicates = 0
    answers = dict(zip(np.flatnonzero(intake.doubtful).tolist(), stored, strict=True))
    moments: dict[tuple[int, int, int], set[tuple[object, ...]]] = {}
    numbers: dict[tuple[int, str, int], tuple[int, tuple[object, ...]]] = {}
    suspects = _suspects(columns, intake.doubtful)
    for i in np.flatnonzero(suspects).tolist():
        verdict = _compare(columns, i, answers.get(i), moments, numbers)
        if verdict is None:
            continue
        keep[i] = False
        if verdict is Why.SEQUENCE_CONFLICT:
            refused.append(_conflict(intake, i))
        else:
            duplicates += 1
    new = columns.take(keep)
    late, beyond = _lateness(new, intake.arrival[keep], seen, lateness_ns)
    return Settled(
        columns=new,
        source=np.array([r.source for r in intake.readings], np.int64)[keep],
        late=late,
        beyond=beyond,
        duplicates=duplicates,
        refused=refused,
        seen=_seen_after(new, seen),
    )


def _suspects(columns: Columns, doubtful: Bools) -> Bools:
    """Return doubtful rows and those that share a moment, or a (boot, seq), with another row of this batch."""
    suspects = doubtful.copy()
    if len(columns) < 2:
        return suspects
    equal = (columns.channel[1:] == columns.channel[:-1]) & (columns.time[1:] == columns.time[:-1])
    suspects[1:] |= equal
    suspects[:-1] |= equal
    rows = np.flatnonzero(columns.seq >= 0)
    if len(rows) < 2:
        return suspects
    order = rows[np.lexsort((columns.seq[rows], columns.channel[rows]))]
    same = (columns.channel[order[1:]] == columns.channel[order[:-1]]) & (
        columns.seq[order[1:]] == columns.seq[order[:-1]]
    )
    suspects[order[1:][same]] = True
    suspects[order[:-1][same]] = True
    return suspects


def _compare(
    columns: Columns,
    i: int,
    answer: Columns | None,
    moments: dict[tuple[int, int, int], set[tuple[object, ...]]],
    numbers: dict[tuple[int, str, int], tuple[int, tuple[object, ...]]],
) -> Why | str | None:
    """Return None for a new reading, "duplicate", or SEQUENCE_CONFLICT; remembers what this batch has brought."""
    channel, time, seq, boot = int(columns.channel[i]), int(columns.time[i]), int(columns.seq[i]), columns.boot[i]
    content = columns.content(i)
    if boot is not None and seq >= 0:
        first = numbers.get((channel, boot, seq))
        if first is None and answer is not None:
            first = next(
                (
                    (int(answer.time[j]), answer.content(j))
                    for j in range(len(answer))
                    if answer.boot[j] == boot and int(answer.seq[j]) == seq
                ),
                None,
            )
        if first is None:
            numbers[channel, boot, seq] = (time, content)
            return None
        return "duplicate" if first == (time, content) else Why.SEQUENCE_CONFLICT
    known = moments.setdefault((channel, time, seq), set())
    if answer is not None:
        rows = np.flatnonzero((answer.time == time) & (answer.seq == seq)).tolist()
        known.update((answer.boot[j], answer.content(j)) for j in rows)
    if (boot, content) in known:
        return "duplicate"
    known.add((boot, content))
    return None


def _conflict(intake: Intake, i: int) -> Refusal:
    r = intake.readings[i]
    detail = f"boot {r.boot}, seq {r.seq} was received before with other content"
    return _refusal(r, Why.SEQUENCE_CONFLICT, detail, recorded=intake.recorded)


def _lateness(new: Columns, arrival: Ints, seen: Seen, lateness_ns: int | None) -> tuple[Bools, Bools]:
    newest = seen["newest"][new.channel] if len(new) else np.zeros(0, np.int64)
    disordered = (new.channel[1:] == new.channel[:-1]) & (arrival[1:] < arrival[:-1])
    if disordered.any():
        newest = _newest_on_arrival(new, arrival, newest)
    late = new.time < newest
    if lateness_ns is None:
        return late, np.zeros(len(new), np.bool_)
    return late, late & (newest - np.where(late, new.time, newest) > lateness_ns)


def _newest_on_arrival(new: Columns, arrival: Ints, stored: Ints) -> Ints:
    """Return the newest time of each row's channel when the row came: what was stored, and what came before it here."""
    newest = stored.copy()
    come: dict[int, int] = {}
    for i in np.argsort(arrival).tolist():
        channel, time = int(new.channel[i]), int(new.time[i])
        newest[i] = come.setdefault(channel, int(stored[i]))
        come[channel] = max(come[channel], time)
    return newest


def _seen_after(new: Columns, seen: Seen) -> Seen:
    """Return what has been seen, these readings included: the channels' rows, changed."""
    after = seen.copy()
    if not len(new):
        return after
    np.maximum.at(after["newest"], new.channel, new.time)
    codes = _codes(new)
    last = np.flatnonzero(np.append(new.channel[1:] != new.channel[:-1], True))
    current = np.zeros(len(seen), np.int64)
    current[new.channel[last]] = codes[last]
    changed = new.channel[last][(codes[last] != 0) & (codes[last] != seen["boot"][new.channel[last]])]
    after["boot"][changed] = current[changed]
    after["seq"][changed] = -1
    rows = (codes != 0) & (codes == after["boot"][new.channel])
    np.maximum.at(after["seq"], new.channel[rows], new.seq[rows])
    return after


def _codes(columns: Columns) -> Ints:
    """Return the boot codes of rows that carry both boot and seq, else 0."""
    numbered = (columns.seq >= 0).tolist()
    return np.array([boot_code(b) if n else 0 for b, n in zip(columns.boot, numbered, strict=True)], np.int64)


def fresh_seen(n: int) -> Seen:
    """Return `seen` of channels of which nothing has arrived."""
    seen = np.zeros(n, SEEN)
    seen["newest"] = -(2**63)
    return seen
