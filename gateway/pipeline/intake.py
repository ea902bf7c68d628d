"""Readings -> columns in the channels' units, or named refusals; duplicates and conflicts told from new readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from gateway.metrology.instants import format_instant
from gateway.metrology.readings import EVIDENCE, READING_FIELDS, Reading, Readings, Refusal, Why, power_factor_text
from gateway.metrology.units import UnitError, convert_float
from gateway.pipeline.columns import Columns, Ints, runs, text_codes
from gateway.pipeline.plan import AXES, Plan
from gateway.registry.model import Axis

__all__ = [
    "FUTURE_NS",
    "SEEN",
    "Intake",
    "Question",
    "Seen",
    "Settled",
    "Stretch",
    "as_document",
    "fresh_seen",
    "receive",
    "refusal_of",
    "settle",
    "without_repeats",
]

FUTURE_NS = 300 * 10**9
"""A live reading may be this far ahead of its receipt (CONTRACTS §3)."""

SEEN = np.dtype([("newest", np.int64), ("boot", np.int64), ("seq", np.int64)])
"""What has arrived of a channel: its newest time, and the highest seq of the boot seen last. 0 boot: none yet."""

_EVIDENCE_CODE = {None: -1} | {name: code for code, name in enumerate(EVIDENCE)}

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
class Stretch:
    """A channel's doubtful rows: how many, and from when to when (ns, both included)."""

    channel: int
    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Readings received, sorted columns of those that fit, what to ask of the store, what was refused.

    `place`: the reading that a row is; `arrival` says which row came when; what is recorded is not late for standing
    out of order in its file. `repeats`: rows already left out because the very same reading is stored.
    """

    readings: Readings
    columns: Columns
    place: Ints
    arrival: Ints
    recorded: bool
    doubtful: Bools
    refused: list[Refusal] = field(default_factory=list)
    repeats: int = 0

    def stretches(self) -> list[Stretch]:
        """Return where stored readings may be met again, channel by channel."""
        rows = np.flatnonzero(self.doubtful)
        channels, first, counts = np.unique(self.columns.channel[rows], return_index=True, return_counts=True)
        begins, ends = self.columns.time[rows[first]], self.columns.time[rows[first + counts - 1]]
        found = zip(channels.tolist(), begins.tolist(), ends.tolist(), counts.tolist(), strict=True)
        return [Stretch(channel=c, first=a, last=b, rows=n) for c, a, b, n in found]

    def questions(self) -> list[Question]:
        """Return what the store must be asked: one question per doubtful row, in row order."""
        c = self.columns
        return [
            Question(channel=int(c.channel[i]), time=int(c.time[i]), boot=c.boot[i], seq=int(c.seq[i]))
            for i in np.flatnonzero(self.doubtful).tolist()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """New readings only, sorted, the message or file each came in, the row of the file, and which came when.

    `late`: older than the channel's newest on arrival.
    """

    columns: Columns
    source: Ints
    record: Ints
    arrival: Ints
    late: Bools
    beyond: Bools
    duplicates: int
    refused: list[Refusal]
    seen: Seen


def receive(plan: Plan, seen: Seen, readings: Sequence[Reading], at: int | None, horizon: Ints | None = None) -> Intake:
    """Check readings against the plan and make sorted columns of those that fit.

    `at` (ns) is the moment of receipt; None for recorded files, which may hold any time. `seen`: a row per channel.
    `horizon`: per channel, before when (ns) readings were deleted, so that a repeat could not be told from a new one.
    """
    said = Readings.of(readings)
    found = zip(said.column("device"), said.column("channel"), strict=True)
    channel = np.fromiter(map(plan.index.get, found, repeat(-1)), np.int64, len(said))
    columns = _columns(said, channel)
    refused: list[Refusal] = []
    keep = np.ones(len(said), np.bool_)
    latest = None if at is None else at + FUTURE_NS
    for i in np.flatnonzero(_suspicious(plan, columns, said.column("unit"), latest, horizon)).tolist():
        problem = _problem(plan, columns, i, said[i], latest, horizon)
        if problem is not None:
            keep[i] = False
            refused.append(refusal_of(said[i], *problem, recorded=at is None))
    order = columns.sorted_rows()
    order = order[keep[order]] if refused else order
    columns = columns.take(order)
    return Intake(
        readings=said,
        columns=columns,
        place=order,
        arrival=(np.cumsum(keep) - 1)[order] if refused else order,
        recorded=at is None,
        doubtful=_doubtful(columns, seen),
        refused=refused,
    )


def _suspicious(plan: Plan, columns: Columns, units: Sequence[str], latest: int | None, horizon: Ints | None) -> Bools:
    """Return the rows that cannot be taken as they are: unknown, out of their time, ambiguous, in another unit."""
    channel = columns.channel
    odd: Bools = channel < 0
    if latest is not None:
        odd |= columns.time > latest
    if not len(plan):
        return odd
    given = np.empty(len(units), object)
    given[:] = units
    odd |= (plan.unit[channel] != given).astype(np.bool_)
    if horizon is not None:
        odd |= columns.time < horizon[channel]
    return odd | (plan.register[channel] & np.isnan(columns.value_start) & ~np.isnan(columns.reference))


def _problem(
    plan: Plan, columns: Columns, row: int, r: Reading, latest: int | None, horizon: Ints | None
) -> tuple[Why, str] | None:
    """Return why a reading cannot be taken; None when it can, its row then being in the channel's unit."""
    channel = int(columns.channel[row])
    if channel < 0:
        return _unknown(plan, r)
    if latest is not None and r.time > latest:
        return Why.FUTURE_TIME, "more than 5 min ahead of its receipt; set the instrument's clock"
    if horizon is not None and r.time < horizon[channel]:
        since = format_instant(int(horizon[channel]))
        return Why.BAD_TIME, f"readings before {since} were deleted by retention: it may have been one of them"
    if r.reference is not None and r.value_start is None and plan.register[channel]:
        return Why.AMBIGUOUS_CHECK, "a check on a register needs value_start: the amount is value - value_start"
    return None if r.unit == plan.facts[channel].unit else _unit_problem(plan, columns, row, r.unit)


def _unit_problem(plan: Plan, columns: Columns, row: int, given: str) -> tuple[Why, str] | None:
    """Convert a row from another unit; return why it cannot be."""
    try:
        convert_float(1.0, given, plan.facts[int(columns.channel[row])].unit)
    except UnitError as error:
        return Why(error.why), str(error)
    if not _convert(plan, columns, row, given):
        return Why.NOT_FINITE, "too large a number for the channel's unit"
    return None


def _unknown(plan: Plan, r: Reading) -> tuple[Why, str]:
    if r.device not in plan.devices:
        return Why.UNKNOWN_DEVICE, f"no device {r.device} in the registry; add it with `metergate apply`"
    known = ", ".join(plan.facts[i].channel for i in plan.devices[r.device])
    return Why.UNKNOWN_CHANNEL, f"{r.device} has no channel {r.channel}; it has {known}"


def refusal_of(r: Reading, reason: Why, detail: str, *, recorded: bool) -> Refusal:
    """Return why a reading is refused; with itself as a line where it is `recorded`."""
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


def _columns(readings: Readings, channel: Ints) -> Columns:
    """Return readings as columns; None becomes NaN, -1 or stays."""
    n, said = len(readings), readings.columns
    absent = np.full(n, np.nan)  # shared: `_convert` leaves NaN alone

    def numbers(name: str) -> npt.NDArray[np.float64]:
        return np.array(said[name], np.float64) + 0.0 if name in said else absent  # no -0.0: SQLite keeps none

    def whole(name: str, code: Any) -> npt.NDArray[Any]:
        values = said.get(name)
        if values is None:
            return np.full(n, -1, code)
        return np.array([-1 if v is None else v for v in values] if None in values else values, code)

    def truths(name: str) -> Bools:
        return np.array(said[name], np.bool_) if name in said else np.zeros(n, np.bool_)

    def texts(name: str) -> npt.NDArray[np.object_]:
        column = np.empty(n, object)
        if name in said:
            column[:] = said[name]
        return column

    evidence = [_EVIDENCE_CODE[e] for e in said["evidence"]] if "evidence" in said else np.full(n, -1)
    return Columns(
        channel=channel,
        time=np.array(readings.column("time"), np.int64),
        value=numbers("value"),
        reference=numbers("reference"),
        reference_u=numbers("reference_u"),
        x=numbers("x"),
        value_start=numbers("value_start"),
        reference_start=numbers("reference_start"),
        flow_m3h=numbers("flow_m3h"),
        current_A=numbers("current_A"),
        power_factor=numbers("power_factor"),
        temperature_C=numbers("temperature_C"),
        seq=whole("seq", np.int64),
        stable=whole("stable", np.int8),
        evidence=np.array(evidence, np.int8),
        clock=truths("clock_suspect"),
        seq_per_device=truths("seq_per_device"),
        missing=np.zeros(n, np.int64),
        boot=texts("boot"),
        standard=texts("standard"),
        phase=texts("phase"),
        direction=texts("direction"),
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
            converted = convert_float(float(column[row]), given, wanted, difference=name == "reference_u")
            column[row] = converted + 0.0  # no -0.0: SQLite keeps none
            if not np.isfinite(column[row]):
                return False
    return True


def _doubtful(columns: Columns, seen: Seen) -> Bools:
    """Return which rows may repeat something stored: not newer than the channel, or a (boot, seq) not known as new."""
    if not len(columns):
        return np.zeros(0, np.bool_)
    channel = columns.channel
    doubtful: Bools = columns.time <= seen["newest"][channel]
    codes = _codes(columns)
    numbered = codes != 0
    if numbered.any():
        boot = seen["boot"][channel]
        doubtful |= numbered & np.where(codes == boot, columns.seq <= seen["seq"][channel], boot != 0)
    return doubtful


def without_repeats(intake: Intake, stored: Columns) -> Intake:
    """Leave out the doubtful rows that equal a stored reading in everything: duplicates, whatever else came.

    Nothing hangs on whether `stored` holds all that is stored there; what is left is asked about row by row.
    """
    rows = np.flatnonzero(intake.doubtful)
    if not len(rows) or not len(stored):
        return intake
    known = set(stored.identities())
    again = np.array([one in known for one in intake.columns.take(rows).identities()])
    if not again.any():
        return intake
    keep = np.ones(len(intake.columns), np.bool_)
    keep[rows[again]] = False
    return replace(
        intake,
        columns=intake.columns.take(keep),
        place=intake.place[keep],
        arrival=intake.arrival[keep],
        doubtful=intake.doubtful[keep],
        repeats=intake.repeats + int(again.sum()),
    )


def settle(intake: Intake, seen: Seen, stored: Sequence[Columns], lateness_ns: int | None) -> Settled:
    """Tell duplicates and sequence conflicts from new readings.

    `stored` answers `intake.questions()`: per doubtful row the stored readings of the channel with its time or its
    (boot, seq). Older than `lateness_ns` before the channel's newest is beyond; None means nothing ever is.
    """
    columns = intake.columns
    refused = list(intake.refused)
    keep = np.ones(len(columns), np.bool_)
    duplicates = intake.repeats
    answers = dict(zip(np.flatnonzero(intake.doubtful).tolist(), stored, strict=True))
    moments: dict[tuple[int, int, int], set[tuple[object, ...]]] = {}
    numbers: dict[tuple[int, str, int], tuple[int, tuple[object, ...]]] = {}
    answered = [i for i, answer in answers.items() if len(answer)]
    suspects = _suspects(columns, answered)
    for i in np.flatnonzero(suspects).tolist():
        verdict = _compare(columns, i, answers.get(i), moments, numbers)
        if verdict is None:
            continue
        keep[i] = False
        if verdict is Why.SEQUENCE_CONFLICT:
            refused.append(_conflict(intake, i))
        else:
            duplicates += 1
    new, place, arrival = columns, intake.place, intake.arrival
    if not keep.all():
        new, place, arrival = columns.take(keep), place[keep], arrival[keep]
    late, beyond = _lateness(new, np.arange(len(new)) if intake.recorded else arrival, seen, lateness_ns)
    return Settled(
        columns=new,
        source=np.array(intake.readings.column("source"), np.int64)[place],
        record=_records(intake.readings)[place] if intake.recorded else arrival,
        arrival=arrival,
        late=late,
        beyond=beyond,
        duplicates=duplicates,
        refused=refused,
        seen=_seen_after(new, seen),
    )


def _records(readings: Readings) -> Ints:
    return np.array([n or 0 for n in readings.column("record")], np.int64)


def _suspects(columns: Columns, answered: Sequence[int]) -> Bools:
    """Return the rows met in the store and those that share a moment, or a (boot, seq), with another of this batch."""
    suspects = np.zeros(len(columns), np.bool_)
    suspects[answered] = True
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
    r = intake.readings[int(intake.place[i])]
    detail = f"boot {r.boot}, seq {r.seq} was received before with other content"
    return refusal_of(r, Why.SEQUENCE_CONFLICT, detail, recorded=intake.recorded)


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
    channels, first, counts = runs(new.channel)
    last = first + counts - 1
    after["newest"][channels] = np.maximum(seen["newest"][channels], new.time[last])
    codes = _codes(new)
    if not codes.any():
        return after
    boot = np.where(codes[last] != 0, codes[last], seen["boot"][channels])
    seq = np.where(boot == seen["boot"][channels], seen["seq"][channels], -1)
    counted = (codes != 0) & (codes == np.repeat(boot, counts))
    after["boot"][channels] = boot
    after["seq"][channels] = np.maximum(seq, np.maximum.reduceat(np.where(counted, new.seq, -1), first))
    return after


def _codes(columns: Columns) -> Ints:
    """Return the boot codes of rows that carry both boot and seq, else 0."""
    numbered = columns.seq >= 0
    if not numbered.any():
        return np.zeros(len(columns), np.int64)
    return np.where(numbered, text_codes(columns.boot), 0)


def fresh_seen(n: int) -> Seen:
    """Return `seen` of channels of which nothing has arrived."""
    seen = np.zeros(n, SEEN)
    seen["newest"] = -(2**63)
    return seen
