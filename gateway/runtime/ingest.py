"""Ingest: one batch, one transaction. Takes readings and refusals, judges, commits; what it returns is durable.

The same object serves `run`, `import` and the demo. It is used by one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import RULES, AlarmKind, Severity, Transition
from gateway.alarms.life import Happening
from gateway.ledger import alarms as alarm_rows
from gateway.ledger import moments, quarantine, readings, retention, state_changes, states
from gateway.ledger.moments import Unplaced
from gateway.ledger.states import NO_ROW, Behind
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading, Refusal
from gateway.pipeline.columns import Columns, Ints, boot_code, runs
from gateway.pipeline.common import excursion_of, settle_common
from gateway.pipeline.groups import group_start, reopens_group
from gateway.pipeline.happenings import happen, reconcile
from gateway.pipeline.intake import Settled, receive, settle, without_repeats
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import NEVER, Plan
from gateway.pipeline.state import dump, fresh, load
from gateway.pipeline.watch import Change, silent_since
from gateway.runtime.counting import DeviceCounts
from gateway.runtime.filed import Places
from gateway.runtime.writing import Writer

__all__ = ["Batch", "Done", "Ingest"]

TURN_READINGS = 512
"""For so many new readings the channels of one more slot have theirs placed (`gateway.ledger.moments`)."""
FEW = 32
"""So few readings are placed at once."""
LOOKED_THROUGH = 4
"""For so few doubtful readings those that are not placed are looked through; for more all are placed first."""
CHECKPOINT_READINGS = 256
"""At most this many readings of a channel lie between two checkpoints, so that late data re-runs little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What decoders made of some messages. `payload`, `topic`, `received_at` (ns): by message.

    `entry` is the quarantine entry that is run again: counted before, it is not counted twice.
    `recorded` readings may hold any time; `at` (ns) is the moment of receipt of live ones.
    """

    readings: Sequence[Reading] = ()
    refused: Sequence[Refusal] = ()
    received_at: Sequence[int] = ()
    topic: Sequence[str | None] = ()
    payload: Sequence[bytes] = ()
    at: int | None = None
    entry: int | None = None
    recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a batch; all of it is durable. `reasons` of quarantine; `places` of what is `recorded`."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    late: int = 0
    checks: int = 0
    happenings: list[Happening] = field(default_factory=list)
    channels: frozenset[int] = frozenset()
    reasons: Counter[str] = field(default_factory=Counter)
    places: Sequence[Places] = ()

    def plus(self, other: Done) -> Done:
        """Return both together."""
        return Done(
            received=self.received + other.received,
            stored=self.stored + other.stored,
            duplicate=self.duplicate + other.duplicate,
            quarantined=self.quarantined + other.quarantined,
            late=self.late + other.late,
            checks=self.checks + other.checks,
            happenings=self.happenings + other.happenings,
            channels=self.channels | other.channels,
            reasons=self.reasons + other.reasons,
            places=[*self.places, *other.places],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """Where channels stand after a batch; nothing of it counts before the batch is durable."""

    channels: Ints
    states: npt.NDArray[Any]
    seen: npt.NDArray[Any]
    alarms: dict[Any, Any]
    since_checkpoint: Ints
    behind: Behind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Late:
    """What came of one channel that is to be judged again `since` (ns): nothing, where only other channels of a device
    with one count brought something.
    """

    readings: Columns
    late: npt.NDArray[np.bool_]
    received_at: Ints
    since: int


class Ingest:
    """The ledger with a plan: knows where every channel stands."""

    def __init__(self, ledger: Ledger, plan: Plan, lateness_ns: int) -> None:
        self.ledger = ledger
        self.lateness_ns = lateness_ns
        self.progress: Callable[[], None] = lambda: None
        """Told again and again while much is judged again: that is long work, and not a disk that is stuck."""
        self._load(plan)

    def _load(self, plan: Plan) -> None:
        self.plan = plan
        with self.ledger.transaction() as connection:
            state_changes.fold(connection)
            standing = states.standing(connection, plan)
            self._writer = Writer(connection, plan, standing.ids)
            self.alarms = alarm_rows.open_alarms(connection)
            self.horizon = retention.horizons(connection, standing.ids)
            moments.place(connection)
        self._unplaced, self._turn, self._rested = Unplaced.of(), 0, False
        self._behind = Behind(first=np.where(standing.current, 0, NO_ROW))
        self.ids, self.seen, self.states = standing.ids, standing.seen, standing.states
        self._since_checkpoint = np.full(len(plan), 2 * CHECKPOINT_READINGS, np.int64)
        self._standards = {boot_code(name): name for name in plan.devices}
        self._standards |= {boot_code(f.standard): f.standard for f in plan.facts if f.standard is not None}
        self.stale = standing.stale

    def replan(self, plan: Plan, at: int) -> Done:
        """Take a new plan, and judge again the channels that it judges differently."""
        self._load(plan)
        return self.rejudge(at)

    def rejudge(self, at: int) -> Done:
        """Judge again what was judged by another plan, from where the plans part; superseding verdicts are added.

        A channel is judged again as a whole or not at all; what raises leaves the others `stale`.
        """
        try:
            return self._rejudge(at)
        except BaseException:
            self._writer.forget()
            raise

    def _rejudge(self, at: int) -> Done:
        happenings: list[Happening] = []
        untouched = [c for c, since in self.stale.items() if since > int(self.states["time"][c])]
        with self.ledger.transaction() as connection:
            index = np.array(untouched, np.int64)
            states.put_states(connection, self.plan, self.ids, index, self.states.take(index), self.seen)
        touched = frozenset(self.stale) - frozenset(untouched)
        for channel in sorted(touched):
            with self.ledger.transaction() as connection:
                state, more, standing = self._rejudge_channel(connection, channel, self.stale[channel], at)
            self.progress()
            self.states[channel], self.alarms = state, standing
            happenings += more
        self.stale = {}
        standing = dict(self.alarms)
        none = np.zeros(0, np.int64)
        more = self._with_common(none, self.states[none], standing, [], at, amended=True) if touched else []
        if more:
            with self.ledger.transaction() as connection:
                alarm_rows.put(connection, more)
            self.alarms = standing
        return Done(happenings=happenings + more, channels=touched)

    def draw_horizon(self, channel: int, time: int) -> None:
        """Take nothing older than `time` (ns) of a channel any more: what is older has been deleted."""
        if self.horizon is None:
            self.horizon = np.full(len(self.plan), NEVER, np.int64)
        self.horizon[channel] = time

    def reload_alarms(self) -> None:
        """Take over what people did to alarms."""
        self.alarms = alarm_rows.open_alarms(self.ledger.connection)

    def process(self, batch: Batch) -> Done:
        """Judge and commit one batch; return what became of it. What raises has changed nothing.

        Should judging again not have been finished, it comes first: a state of another plan is not gone on from.
        """
        if self.stale:
            return self.rejudge(batch.at or max(batch.received_at, default=0)).plus(self.process(batch))
        try:
            return self._process(batch)
        except BaseException:
            self._writer.forget()
            raise

    def _process(self, batch: Batch) -> Done:
        plan = self.plan
        intake = receive(plan, self.seen, batch.readings, None if batch.recorded else batch.at, self.horizon)
        with self.ledger.transaction() as connection:
            waiting = self._unplaced
            if np.count_nonzero(intake.doubtful) > LOOKED_THROUGH:
                waiting = waiting.place(connection)
            if intake.doubtful.any():
                intake = without_repeats(intake, readings.met(connection, intake.stretches(), self.ids))
            stored = readings.find(connection, intake.questions(), self.ids)
            settled = settle(intake, self.seen, stored, self.lateness_ns)
            refused = [*batch.refused, *settled.refused]
            done, moved = self._store(connection, batch, settled)
            received = len(batch.readings) + len(batch.refused)
            done = replace(
                done, received=received, duplicate=settled.duplicates, quarantined=len(refused),
                reasons=Counter(r.reason.value for r in refused), places=[_places(settled)] if batch.recorded else (),
            )  # fmt: skip
            self._count(connection, batch, done, refused)
            waiting, turn = self._place(connection, waiting)
            if batch.entry is not None:  # it was counted when it came
                done = replace(done, received=done.received - 1, quarantined=done.quarantined - 1)
        self._adopt(moved)
        self._unplaced, self._turn, self._rested = waiting, turn, False
        return done

    def catch_up(self) -> None:
        """Place every reading among those of its channel, and bring the rows of all states up to date."""
        if self._unplaced or self._behind:
            with self.ledger.transaction() as connection:
                waiting = self._unplaced.place(connection)
                state_changes.fold(connection)
            self._unplaced = waiting
            self._behind = Behind(first=np.minimum(self._behind.first, 0))

    def _place(self, connection: sqlite3.Connection, waiting: Unplaced) -> tuple[Unplaced, int]:
        """Have readings placed, all of them or those of the slots whose turn it is; return the others, and how many
        have waited for a turn.
        """
        new = self._writer.written()
        waiting = Unplaced.of([waiting, *new]) if new else waiting
        if len(waiting) <= FEW:
            return waiting.place(connection), self._turn
        turn = self._turn + sum(map(len, new))
        turns = range(self._turn // TURN_READINGS, turn // TURN_READINGS)[: moments.SLOTS]
        return waiting.place(connection, [t % moments.SLOTS for t in turns]) if turns else waiting, turn

    def _count(self, connection: sqlite3.Connection, batch: Batch, done: Done, refused: Sequence[Refusal]) -> None:
        """Keep what was refused, and let every reading end in exactly one counter."""
        amounts = {
            "received": done.received,
            "stored": done.stored,
            "duplicate": done.duplicate,
            "quarantined": done.quarantined,
            "late": done.late,
        }
        if batch.entry is None:
            quarantine.put(connection, [self._evidence(batch, r) for r in refused], once=batch.recorded)
        else:
            amounts["received"] -= 1
            amounts["quarantined"] -= 1
            again = refused[0] if refused else None
            quarantine.reopen_or_release(connection, batch.entry, again, batch.at or 0)
        states.add_to_counters(connection, amounts)

    def _adopt(self, moved: _Moved | None) -> None:
        """Take over where channels stand, once it is durable."""
        if moved is not None:
            self.states.put(moved.channels, moved.states)
            self.seen, self.alarms = moved.seen, moved.alarms
            self._since_checkpoint, self._behind = moved.since_checkpoint, moved.behind

    def tick(self, at: int) -> Done:
        """Let time pass: channels that have been silent for longer than their timeout raise their alarm."""
        if self.stale:
            return self.rejudge(at).plus(self.tick(at))
        plan = self.plan
        if self._rested:  # nothing has come since the last tick
            self.catch_up()
        self._rested = True
        silent = silent_since(plan, self.states, at)
        if not len(silent):
            return Done()
        changes = []
        after = self.states.take(silent)
        after["silent_level"] = Severity.WARNING
        after["silent_since"] = after["time"] + plan.timeout[silent]
        after["silent_calm"] = 0
        for channel, since in zip(silent.tolist(), after["silent_since"].tolist(), strict=True):
            changes.append(
                Change(
                    channel=channel, kind=AlarmKind.SILENT, transition=Transition.RAISED, level=Severity.WARNING,
                    time=since, since=since, row=-1,
                )
            )  # fmt: skip
        standing = dict(self.alarms)
        with self.ledger.transaction() as connection:
            happenings = happen(plan, changes, None, None, standing)
            alarm_rows.put(connection, happenings)
            states.put_states(connection, plan, self.ids, silent, after, self.seen)
        self.alarms = standing
        self.states.put(silent, after)
        return Done(happenings=happenings, channels=frozenset(silent.tolist()))

    def _evidence(self, batch: Batch, refusal: Refusal) -> tuple[Refusal, int, str | None, bytes]:
        i = refusal.source
        payload = refusal.raw if refusal.raw is not None else (batch.payload[i] if i < len(batch.payload) else b"")
        if refusal.record is not None and refusal.raw is None:
            payload = _record(payload, refusal.record)
        return refusal, batch.received_at[i], batch.topic[i] if i < len(batch.topic) else None, payload

    def _store(self, connection: sqlite3.Connection, batch: Batch, settled: Settled) -> tuple[Done, _Moved | None]:
        """Judge the new readings and write them with everything they change."""
        if not len(settled.columns):
            return Done(), None
        plan = self.plan
        counts = DeviceCounts(connection, plan, self.ids)
        new, shifted = counts.counted(settled), counts.shifted
        received = np.array(batch.received_at, np.int64)[settled.source]
        rerun = self._needs_rerun(new, settled)
        if shifted:
            rerun |= np.isin(new.channel, list(shifted)) & ~settled.beyond
        amend = np.isin(new.channel, new.channel[rerun]) if rerun.any() else rerun
        plain = ~amend & ~settled.beyond
        happenings: list[Happening] = []
        after_seen = settled.seen
        standing = dict(self.alarms)
        touched, _, _ = runs(new.channel[~settled.beyond])
        if shifted:
            touched = np.union1d(touched, np.array(list(shifted), np.int64))
        after = self.states.take(touched)
        checks = 0
        part: Columns | None = None
        judgement: Judgement | None = None
        if plain.any():
            part = new if plain.all() else new.take(plain)
            channels = touched if part is new and not shifted else runs(part.channel)[0]
            judgement = judge(plan, self.states.take(channels), part)
            self._writer.write(connection, part, judgement, received[plain], settled.late[plain].astype(np.int64))
            happenings += happen(plan, judgement.changes, part, judgement, standing)
            after.put(np.searchsorted(touched, channels), judgement.states)
            checks += len(judgement.verdicts)
        for channel in sorted({*new.channel[amend & ~settled.beyond].tolist(), *shifted}):
            rows = (new.channel == channel) & ~settled.beyond
            late = _Late(
                readings=new.take(rows), late=settled.late[rows], received_at=received[rows],
                since=min([*new.time[rows].tolist(), *([shifted[channel]] if channel in shifted else [])]),
            )  # fmt: skip
            state, more, n = self._amend(connection, channel, late, int(received.max()), counts, standing)
            after[np.searchsorted(touched, channel)] = state
            happenings += more
            checks += n
        if settled.beyond.any():
            aside = new.take(settled.beyond)
            channels, _, _ = runs(aside.channel)
            alone = judge(plan, fresh(len(channels)), aside, alone=True)
            self._writer.write(connection, aside, alone, received[settled.beyond], np.full(len(aside), readings.BEYOND))
            checks += len(alone.verdicts)
        happenings += reconcile(
            plan, _with_conditions(touched, after), standing, amended=False, past=alarm_rows.Past(connection),
            columns=part, judgement=judgement,
        )  # fmt: skip
        at = int(new.time.max())
        happenings = self._with_common(touched, after, standing, happenings, at, amended=bool(amend.any()))
        alarm_rows.put(connection, happenings)
        behind = states.put_moved(
            connection, plan, self.ids, touched, after, after_seen, others=self.states, readings=len(new),
            behind=self._behind,
        )  # fmt: skip
        since_checkpoint = self._checkpoint(connection, touched, after, new)
        done = Done(
            stored=len(new),
            late=int(settled.late.sum()),
            checks=checks,
            happenings=happenings,
            channels=frozenset(touched.tolist()),
        )
        moved = _Moved(
            channels=touched,
            states=after,
            seen=after_seen,
            alarms=standing,
            since_checkpoint=since_checkpoint,
            behind=behind,
        )
        return done, moved

    def _with_common(
        self,
        touched: Ints,
        after: npt.NDArray[Any],
        standing: dict[Any, Any],
        happenings: list[Happening],
        at: int,
        *,
        amended: bool,
    ) -> list[Happening]:
        """Return what happened with common modes seen; `after`: the states of the channels touched."""
        elsewhere = self.states["drift_level"] > 0
        elsewhere[touched] = False
        drifting = [(c, self.states[c]) for c in np.flatnonzero(elsewhere).tolist()]
        drifting += [(int(touched[i]), after[i]) for i in np.flatnonzero(after["drift_level"] > 0).tolist()]
        if not drifting and not any(kind is AlarmKind.STANDARD for _, _, kind in standing):
            return happenings
        found = [excursion_of(self.plan, self._standards, channel, state) for channel, state in drifting]
        excursions = [e for e in found if e is not None]
        return settle_common(self.plan, excursions, standing, happenings, at, amended=amended)

    def _needs_rerun(self, new: Columns, settled: Settled) -> npt.NDArray[np.bool_]:
        """Return the readings that are not later than everything their channel was judged on, or end its group."""
        again = (new.time <= self.states["time"][new.channel]) | reopens_group(self.plan, self.states, new)
        return again & ~settled.beyond

    def _amend(
        self,
        connection: sqlite3.Connection,
        channel: int,
        come: _Late,
        at: int,
        counts: DeviceCounts,
        standing: dict[Any, Any],
    ) -> tuple[npt.NDArray[Any], list[Happening], int]:
        """Judge again the stretch of one channel that late readings fall into; return its state, events and checks."""
        channel_id, new, earliest = int(self.ids[channel]), come.readings, come.since
        states.forget_checkpoints(connection, channel_id, earliest)
        group = group_start(self.plan, self.states[channel], channel)
        known = states.checkpoint_before(connection, channel_id, min(earliest, group))
        start, state = _beginning(connection, channel_id, earliest) if known is None else (known[0], load([known[1]]))
        old = counts.filled(readings.since(connection, channel, channel_id, start), channel, start)
        joined = Columns.join([old.columns, new])
        order = joined.sorted_rows()
        columns = joined.take(order)
        judgement = judge(self.plan, state, columns)
        place = np.argsort(order, kind="stable")
        self._writer.write_part(connection, columns, judgement, place[len(old.columns) :], come.late, come.received_at)
        self._writer.supersede(connection, columns, judgement, old, place[: len(old.columns)], at, self.progress)
        facts = self.plan.facts[channel]
        seen = alarm_rows.recorded(connection, facts.device, facts.channel)
        happenings = happen(self.plan, judgement.changes, columns, judgement, standing, seen)
        happenings += reconcile(
            self.plan, {channel: judgement.states[0]}, standing, amended=True, past=alarm_rows.Past(connection),
            columns=columns, judgement=judgement,
        )  # fmt: skip
        return judgement.states[0], happenings, int((~np.isnan(new.reference)).sum())

    def _rejudge_channel(
        self, connection: sqlite3.Connection, channel: int, since: int, at: int
    ) -> tuple[npt.NDArray[Any], list[Happening], dict[Any, Any]]:
        channel_id = int(self.ids[channel])
        states.forget_checkpoints(connection, channel_id, since)
        known = states.checkpoint_before(connection, channel_id, since)
        start, state = _beginning(connection, channel_id, since) if known is None else (known[0], load([known[1]]))
        counts = DeviceCounts(connection, self.plan, self.ids)
        old = counts.filled(readings.since(connection, channel, channel_id, start), channel, start)
        standing = dict(self.alarms)
        happenings: list[Happening] = []
        index = np.array([channel], np.int64)
        self.progress()
        if len(old.columns):
            judgement = judge(self.plan, state, old.columns)
            self.progress()
            self._writer.supersede(
                connection, old.columns, judgement, old, np.arange(len(old.columns)), at, self.progress
            )
            facts = self.plan.facts[channel]
            seen = alarm_rows.recorded(connection, facts.device, facts.channel)
            happenings = happen(self.plan, judgement.changes, old.columns, judgement, standing, seen)
            state = judgement.states
            happenings += reconcile(
                self.plan, {channel: state[0]}, standing, amended=True, past=alarm_rows.Past(connection),
                columns=old.columns, judgement=judgement,
            )  # fmt: skip
        alarm_rows.put(connection, happenings)
        states.put_states(connection, self.plan, self.ids, index, state, self.seen)
        return state[0], happenings, standing

    def _checkpoint(self, connection: sqlite3.Connection, touched: Ints, after: npt.NDArray[Any], new: Columns) -> Ints:
        """Keep the states of channels that have had enough readings since; return how many each has had."""
        channels, _, counts = runs(new.channel)
        since = self._since_checkpoint.copy()
        since[channels] += counts
        due = since[touched] >= CHECKPOINT_READINGS
        if due.any():
            rows = zip(self.ids[touched[due]].tolist(), after["time"][due].tolist(), dump(after[due]), strict=True)
            states.put_checkpoints(connection, rows)
            first = (
                since[touched[due]] >= 2 * CHECKPOINT_READINGS
            )  # the second comes early, so that not all come at once
            since[touched[due]] = np.where(first, touched[due] % CHECKPOINT_READINGS, 0)
        return since


def _beginning(connection: sqlite3.Connection, channel_id: int, since: int) -> tuple[int, npt.NDArray[Any]]:
    """Return where judging a channel again begins that is judged otherwise from `since` on: after when (ns), and its
    state there.

    Where readings were deleted that is the horizon. If other rules hold from before it, the state that the deleted
    readings left behind counts no more: the channel is judged as if its history began there.
    """
    horizon = retention.horizon_of(connection, channel_id)
    if horizon is None:
        return NEVER, fresh(1)
    if since < horizon.time:
        retention.begin_anew(connection, channel_id, dump(fresh(1))[0])
        return horizon.time - 1, fresh(1)
    return horizon.time - 1, load([horizon.state])


def _places(settled: Settled) -> Places:
    new = settled.columns
    return Places(channel=new.channel, time=new.time, source=settled.source, record=settled.record, late=settled.late)


def _with_conditions(touched: Ints, after: npt.NDArray[Any]) -> dict[int, Any]:
    """Return the channels, with their states, in which some condition stands."""
    standing = np.zeros(len(after), np.bool_)
    for kind in RULES:
        standing |= after[f"{kind}_level"] > 0
    return {int(touched[i]): after[i] for i in np.flatnonzero(standing).tolist()}


def _record(payload: bytes, index: int) -> bytes:
    """Return one record of a pack as JSON, or the whole payload if it cannot be cut."""
    try:
        records = msgspec.json.decode(payload, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return payload
    return bytes(records[index]) if index < len(records) else payload
