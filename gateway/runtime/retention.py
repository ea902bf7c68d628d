"""Retention at work: draws the horizons of channels and deletes what lies behind them, step by step.

Runs where readings are taken, on the ledger's thread, so that no reading is taken in behind a horizon being drawn. A
step is short, each is a transaction or two, and a death between two leaves nothing half done.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.history.deleting import steps_to_keep
from gateway.history.keeping import note_layout
from gateway.history.pieces import LAYOUT
from gateway.history.steps import AROUND
from gateway.ledger import forwarding, readings, retention, rollups, states
from gateway.metrology.instants import DAY_NS, HOUR_NS
from gateway.pipeline.groups import group_start
from gateway.pipeline.judge import judge
from gateway.pipeline.plan import NEVER
from gateway.pipeline.state import States, dump, fresh, load
from gateway.runtime.counting import DeviceCounts
from gateway.runtime.ingest import Ingest
from gateway.settings import Settings

__all__ = ["Due", "Housekeeping", "Keeper", "Policy", "due", "oldest_alarms", "policy_of"]

log = logging.getLogger("metergate")

BUDGET_S = 0.02
"""So long a step goes on with channels for which there is little to do."""
STRETCH_DAYS = 14
"""A horizon moves by so much at once."""
WALK = 128
"""So many readings are judged at once on the way to a horizon."""
BELIEVED_NS = 31 * DAY_NS
"""So far ahead of the newest reading the clock is believed: one that is years ahead must not have histories deleted."""
LOOK_S = 60.0
REST_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long readings (`raw_ns`) and roll-ups are kept, and whether InfluxDB must have them first."""

    raw_ns: int
    rollups_ns: int
    forwarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be deleted of one channel: readings before `time` (ns). `held`: by what it is kept longer than raw."""

    channel: int
    time: int
    held: str | None


Raised = Mapping[tuple[str, str], int]
"""(device, channel) -> when (ns) the oldest of its open alarms was raised."""


def due(ingest: Ingest, channel: int, raw_before: int, raised: Raised) -> Due | None:
    """Return up to when the readings of a channel may be deleted; None: nothing may.

    Kept are: the chapter (segment and baseline) that held at `raw_before` (ns) and all since, if the channel has had
    checks, so that every verdict of a chapter is there or none; what came since the oldest open alarm of the channel
    was `raised` (ns); what late data could still change. Whole UTC days, and whole subgroups of time.
    """
    plan, state, facts = ingest.plan, ingest.states[channel], ingest.plan.facts[channel]
    bounds = [(raw_before, None), (_chapter_start(ingest, channel, raw_before), "chapter")]
    if (facts.device, facts.channel) in raised:
        bounds.append((raised[facts.device, facts.channel], "alarm"))
    bounds.append((max(int(ingest.seen["newest"][channel]), 0) - ingest.lateness_ns, "lateness"))
    bounds.append((group_start(plan, state, channel), "subgroup"))
    time_, held = min(bounds, key=lambda b: b[0])
    time_ -= time_ % _whole(ingest, channel)
    return Due(channel=channel, time=time_, held=held) if time_ > 0 else None


def oldest_alarms(ingest: Ingest) -> dict[tuple[str, str], int]:
    """Return by (device, channel) when (ns) the oldest of its open alarms was raised."""
    found: dict[tuple[str, str], int] = {}
    for (device, channel, _), alarm in ingest.alarms.items():
        found[device, channel] = min(alarm.raised_at, found.get((device, channel), alarm.raised_at))
    return found


def _whole(ingest: Ingest, channel: int) -> int:
    """Return what horizons of a channel are multiples of, ns: a day and its subgroups of time."""
    return math.lcm(DAY_NS, int(ingest.plan.subgroup_ns[channel]) or DAY_NS)


def _chapter_start(ingest: Ingest, channel: int, at: int) -> int:
    """Return when the chapter that holds at `at` began, for a channel that has had checks; else `at`."""
    if not int(ingest.states["checks"][channel]):
        return at
    plan = ingest.plan
    first, n = int(plan.first_epoch[channel]), int(plan.epoch_count[channel])
    starts, chapters = plan.e_start[first : first + n], plan.e_chapter[first : first + n]
    now = int(np.searchsorted(starts, at, side="right")) - 1
    return int(starts[chapters == chapters[now]].min())


def policy_of(settings: Settings) -> Policy | None:
    """Return the policy of these settings; None: everything is kept."""
    wanted = settings.ledger.retention
    if wanted is None:
        return None
    return Policy(raw_ns=wanted.raw, rollups_ns=wanted.rollups, forwarded=settings.influx is not None)


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Deletes by a policy. `begin` looks what is due, then `step` is called until it returns False."""

    policy: Policy
    waiting: str | None = None
    """Why less was deleted than is due; None: nothing waits."""
    raw_before: int = 0
    rolled_before: int = 0
    _channels: list[int] = field(default_factory=list)

    def begin(self, ingest: Ingest, at: int) -> None:
        """Look anew at all channels; `at` in ns."""
        raw, rolled = at - self.policy.raw_ns, at - self.policy.rollups_ns
        self.raw_before, self.rolled_before = raw - raw % DAY_NS, rolled - rolled % DAY_NS
        self._channels = list(range(len(ingest.plan)))[::-1]
        self.waiting = None

    def due(self, ingest: Ingest) -> list[tuple[Due, int]]:
        """Return the channels of which readings may be deleted, and how many; nothing is."""
        connection, raised = ingest.ledger.connection, oldest_alarms(ingest)
        found = []
        for channel in range(len(ingest.plan)):
            wanted = due(ingest, channel, self.raw_before, raised)
            if wanted is not None:
                number = int(ingest.ids[channel])
                known = retention.horizon_of(connection, number)
                n = retention.count_between(connection, number, 0 if known is None else known.time, wanted.time)
                found += [(wanted, n)] if n else []
        return found

    def step(self, ingest: Ingest, at: int) -> bool:
        """Do a little; return whether there is more to do. On the thread that takes readings. Raises sqlite3.Error."""
        ledger = ingest.ledger
        behind = retention.pending(ledger.connection)
        if behind is not None:
            ingest.catch_up()  # what is deleted waits for nothing
            with ledger.transaction() as connection:
                run = retention.open_run(connection, at, self.raw_before, self.rolled_before)
                retention.delete_some(connection, behind, run, AROUND)
            return True
        if self._channels:
            return self._draw_some(ingest)
        with ledger.transaction() as connection:
            if retention.draw_rolled(connection, self.rolled_before, self._settled_rollups(ingest)):
                return True
            retention.close_run(connection, at)
        return False

    def _settled_rollups(self, ingest: Ingest) -> int | None:
        if not self.policy.forwarded:
            return None
        return forwarding.cursors(ingest.ledger.connection).get(forwarding.ROLLUP, forwarding.Cursor()).live

    def _draw_some(self, ingest: Ingest) -> bool:
        """Go on with the channels until something was done or the time is over."""
        begun = time.perf_counter()
        taken = self._taken_over(ingest)
        if taken is None:
            self._channels = []
            return True
        raised = oldest_alarms(ingest)
        while self._channels and time.perf_counter() - begun < BUDGET_S:
            wanted = due(ingest, self._channels[-1], self.raw_before, raised)
            if wanted is not None and self._advance(ingest, wanted, taken, raised):
                return True
            self._channels.pop()
        return True

    def _taken_over(self, ingest: Ingest) -> _TakenOver | None:
        """Return how far roll-ups, and InfluxDB where it must, have come; None: not far enough for anything."""
        connection = ingest.ledger.connection
        rolled = rollups.cursor(connection, LAYOUT)
        if rolled is None:
            self.waiting = "roll-ups have not been made"
            return None
        if not self.policy.forwarded:
            return _TakenOver(read=rolled, superseded={})
        sent = forwarding.cursors(connection)
        superseded = retention.unsettled(connection, sent.get(forwarding.AMENDED, forwarding.Cursor()).live)
        if superseded is None:
            self.waiting = "InfluxDB is far behind"
            return None
        whole = sent.get(forwarding.READING, forwarding.Cursor()).whole
        return _TakenOver(read=min(rolled, whole), superseded=superseded)

    def _advance(self, ingest: Ingest, wanted: Due, taken: _TakenOver, raised: Raised) -> bool:
        """Move the horizon of a channel, or the state that is to stand there, on; False: there is nothing to do."""
        connection, channel = ingest.ledger.connection, wanted.channel
        edge = _Edge.of(ingest, channel)
        if edge.first is None or edge.first >= wanted.time:
            return False
        siblings = ingest.plan.devices[ingest.plan.facts[channel].device]
        whole = math.lcm(*(_whole(ingest, c) for c in siblings))
        stretch = max(STRETCH_DAYS * DAY_NS // whole, 1) * whole
        reach = min(wanted.time, edge.first - edge.first % whole + stretch)
        together = _counted_together(ingest, edge, siblings, reach)
        limits = [due(ingest, e.channel, self.raw_before, raised) for e in together]
        until = min(reach, *(0 if limit is None else limit.time for limit in limits))
        until -= until % whole
        edges = [e for e in together if e.first is not None and e.first < until]
        if not edges:
            return False
        if any(e.channel in ingest.stale or not taken.holds(connection, e, until) for e in edges):
            self.waiting = "some hours are not rolled up, or not in InfluxDB"
            return False
        left = [_walk(ingest, e, until) for e in edges]
        there = [(e, state) for e, state in zip(edges, left, strict=True) if state is not None]
        if len(there) == len(edges):
            _draw(ingest, until, there)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """Where a channel begins today: its horizon, and the time (ns) of its first reading behind nothing."""

    channel: int
    number: int
    known: retention.Horizon | None
    first: int | None

    @classmethod
    def of(cls, ingest: Ingest, channel: int) -> _Edge:
        connection, number = ingest.ledger.connection, int(ingest.ids[channel])
        known = retention.horizon_of(connection, number)
        first = retention.first_time(connection, number, NEVER if known is None else known.time)
        return cls(channel=channel, number=number, known=known, first=first)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TakenOver:
    """What others have taken over: readings up to an id, and verdicts but those superseded since a time by channel."""

    read: int
    superseded: Mapping[int, int]

    def holds(self, connection: sqlite3.Connection, edge: _Edge, until: int) -> bool:
        """Return whether everything of a channel before `until` (ns) is rolled up, and in InfluxDB where it must."""
        return (
            edge.first is not None
            and retention.is_settled(connection, edge.number, edge.first, until, self.read)
            and self.superseded.get(edge.number, until) >= until
            and rollups.first_stale(connection, edge.number) >= until
        )


def _counted_together(ingest: Ingest, edge: _Edge, siblings: Sequence[int], until: int) -> list[_Edge]:
    """Return the channels whose horizons move together: those of a device whose `seq` counts them all, else one.

    What is missing before a reading of one is told from the readings of all. Looked at are those before `until` (ns).
    """

    def is_counted(e: _Edge) -> bool:
        return e.first is not None and retention.counts_device(ingest.ledger.connection, e.number, e.first, until)

    if len(siblings) == 1 or not is_counted(edge):
        return [edge]
    others = [_Edge.of(ingest, c) for c in siblings if c != edge.channel]
    return [edge, *(e for e in others if is_counted(e))]


def _walk(ingest: Ingest, edge: _Edge, until: int) -> States | None:
    """Return the state that all readings before `until` leave behind; None: a part of the way was gone."""
    ledger, channel = ingest.ledger, edge.channel
    earlier = states.checkpoint_before(ledger.connection, edge.number, until)
    if earlier is not None:
        after, state = earlier[0], load([earlier[1]])
    elif edge.known is not None:
        after, state = edge.known.time - 1, load([edge.known.state])
    else:
        after, state = NEVER, fresh(1)
    far = ledger.connection.execute(
        "SELECT time FROM moments WHERE channel = ? AND time > ? AND time < ? ORDER BY time LIMIT 1 OFFSET ?",
        (edge.number, after, until, WALK),
    ).fetchone()
    last = until - 1 if far is None else int(far[0])
    some = readings.since(ledger.connection, channel, edge.number, after, last)
    some = DeviceCounts(ledger.connection, ingest.plan, ingest.ids).filled(some, channel, after, last)
    state = judge(ingest.plan, state, some.columns).states if len(some.columns) else state
    if far is None:
        return state
    with ledger.transaction() as connection:
        states.put_checkpoints(connection, [(edge.number, last, dump(state)[0])])
    return None


def _draw(ingest: Ingest, until: int, left: Sequence[tuple[_Edge, States]]) -> None:
    """Draw the horizons of some channels at `until`, with the states that are left behind there."""
    plan = ingest.plan
    with ingest.ledger.transaction() as connection:
        for edge, state in left:
            steps: Iterable[tuple[int, float]] = ()
            if plan.register[edge.channel] and edge.first is not None:
                turn = float(plan.turn[edge.channel])
                exchanged = plan.exchanged.get(edge.channel, np.zeros(0, np.int64))
                steps = steps_to_keep(connection, edge.number, edge.first - edge.first % DAY_NS, until, turn, exchanged)
            retention.draw(connection, edge.number, until, dump(state)[0], steps)
        note_layout(connection)
    for edge, _ in left:
        ingest.draw_horizon(edge.channel, until)


@dataclass(slots=True, kw_only=True)
class Housekeeping:
    """What a running gateway does by a policy: looks every hour what is due, and deletes it with rests between.

    A clock far ahead of all readings may be wrong; a person who knows it to be right has `metergate retention run`.
    """

    keeper: Keeper
    _hour: int = -1
    _busy: bool = False
    _doubted: bool = False

    def __call__(self, ingest: Ingest, at: int) -> float:
        """Do a little at the moment `at` (ns); return how long to wait (s) before the next time."""
        if not self._busy:
            if at // HOUR_NS == self._hour:
                return LOOK_S
            self._hour, self._busy = at // HOUR_NS, True
            self.keeper.begin(ingest, self._believed(ingest, at))
        run = next(iter(retention.deletions(ingest.ledger.connection, 1)), None)
        self._busy = self.keeper.step(ingest, at)
        if not self._busy and run is not None and run.ended_at is None:
            log.info("retention: %d readings and %d hourly roll-ups deleted", run.readings, run.rollups)
        return REST_S if self._busy else LOOK_S

    def _believed(self, ingest: Ingest, at: int) -> int:
        """Return the moment (ns) that ages are counted from."""
        newest = max(int(ingest.seen["newest"].max(initial=0)), 0)
        doubted = at > newest + BELIEVED_NS
        if doubted and newest and not self._doubted:
            log.warning(
                "retention: the clock is %d days ahead of the newest reading, and what is deleted is counted from the "
                "readings; if the clock is right, `metergate retention run` goes by it", (at - newest) // DAY_NS,
            )  # fmt: skip
        self._doubted = doubted
        return min(at, newest + BELIEVED_NS)
