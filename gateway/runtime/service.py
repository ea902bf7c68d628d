"""The gateway service: takes messages, judges, commits, acknowledges; beside it everything that reads the ledger.

One TaskGroup owns every task. All work on the ledger is done by one worker thread, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from collectors import Message, Source
from gateway.ledger.store import Checkpoints, Ledger
from gateway.metrology.readings import Reading, Readings, Refusal
from gateway.pipeline.plan import Plan
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.priority import give_way
from gateway.runtime.sparing import process

__all__ = ["FRESH_NS", "STALLED_S", "Announce", "Beside", "Decode", "Decoded", "Service", "Write", "slices"]

log = logging.getLogger("metergate")

T = TypeVar("T")

SLICE_READINGS = 6000
"""So many readings at most are judged and committed at once."""
FEW_MESSAGES = 100
"""So many messages are taken first, while it is not known how many readings are in one."""
TAKE_S = 0.1
M_ARENA_MAX = -8
TICK_S = 1.0
TELL_S = 0.1
TELL_BUSY_S = 0.3
BUSY_READINGS = 100
"""From so many readings in a batch on, what is not for them costs them time."""
SHARE, SHARE_BUSY = 0.25, 0.05
TELL_BEHIND_S = 0.5
WATCH_S = 0.25
CHECKPOINT_S = 0.5
LONG_LOG_PAGES = 16384
MOVES = 2
BUSY_S = 1.0
HOUSE_TROUBLE_S = BESIDE_TROUBLE_S = 60.0
FRESH_NS = 60 * 10**9
"""Readings this old at most are fresh: what they say is so now."""
RETRY_S = (0.5, 1.0, 2.0, 5.0)
STALLED_S = 10.0
"""Work on the ledger that takes longer is taken for stuck: a disk that answers no more raises no error."""


class Decoded(Protocol):
    """What decoders made of one message or more."""

    @property
    def readings(self) -> Sequence[Reading]:
        """The readings, `source` being the place of their message."""
        ...

    @property
    def refused(self) -> Sequence[Refusal]:
        """What could not be read."""
        ...


Decode = Callable[[Sequence[Message]], Iterable[Decoded]]
"""Messages of a batch -> what they say, in their order, some at a time; never raises."""


class OnLedger(Protocol):
    """Runs work on the ledger's thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what the work returned, in order with all other work."""
        ...


class Write(Protocol):
    """Has the ledger's thread write something short."""

    def __call__(self, work: Callable[[Ledger], T], /) -> Awaitable[T]:
        """Return what the work returned, in order with all other work."""
        ...


class Beside(Protocol):
    """Work beside the service for as long as it runs. Its trouble is its own."""

    async def __call__(self, write: Write, share: Callable[[], float], /) -> None:
        """Work until cancelled, a `share` of the time; none of it while that is 0."""
        ...


class Announce(Protocol):
    """Who is told what has become durable."""

    def __call__(self, ingest: Ingest, done: Done, /) -> None:
        """Take note of one committed batch; never blocks."""
        ...


@dataclass(slots=True)
class Totals:
    """What the service has done since it started."""

    messages: int = 0
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    late: int = 0
    checks: int = 0
    batches: int = 0

    def add(self, done: Done) -> None:
        """Add one committed batch."""
        self.received += done.received
        self.stored += done.stored
        self.duplicate += done.duplicate
        self.quarantined += done.quarantined
        self.late += done.late
        self.checks += done.checks
        self.batches += 1


@dataclass(slots=True)
class _Committed:
    """How many parts of a batch of messages are durable."""

    parts: int = 0


@dataclass(kw_only=True)
class Service:
    """One gateway at work. `clock` gives ns; `replan` builds a plan from the ledger's registry.

    `horizon` says up to when (ns) everything sent has been received, where that is known; else silence is judged only
    while readings arrive fresh, so that a backlog after an outage does not look like silent instruments.
    """

    ledger: Callable[[], Ledger]
    source: Source
    decode: Decode
    replan: Callable[[Ledger], Plan]
    announce: Announce
    clock: Callable[[], int]
    lateness_ns: int
    flush: Callable[[Ingest], None] = lambda _ingest: None
    horizon: Callable[[], int] | None = None
    housekeeping: Callable[[Ingest, int], float] | None = None
    beside: Sequence[Beside] = ()
    totals: Totals = field(default_factory=Totals)
    ingest: Ingest | None = None
    trouble: str | None = None
    fresh: bool = False
    _records: int = 0
    _last_at: int = 0
    _last_times: Sequence[int] = ()
    _version: int | None = None
    _marks: tuple[int, int, int] = (0, 0, 0)
    _at: Callable[[], float] = lambda: 0.0
    _busy_since: float | None = None

    @property
    def behind(self) -> bool:
        """Whether the last batch was so large that more must be waiting."""
        return self._records > SLICE_READINGS // 2

    @property
    def share(self) -> float:
        """How much of the time is for work beside: none behind a backlog, little while readings pour in."""
        return 0.0 if self.behind else SHARE_BUSY if self._records > BUSY_READINGS else SHARE

    @property
    def heard(self) -> tuple[int, int]:
        """How many readings have come, and how far (ns) the clock was ahead of most of the last that came together."""
        times = sorted(self._last_times)
        return self.totals.received, self._last_at - times[len(times) // 2] if times else 0

    @property
    def busy_s(self) -> float:
        """How long (s) the ledger's thread has been at its present piece of work, since it last told of progress; 0
        while it waits for some."""
        since = self._busy_since
        return 0.0 if since is None else self._at() - since

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Ingest until `stop` is set or the source ends; a batch in hand is finished and acknowledged first."""
        loop = asyncio.get_running_loop()
        self._at = loop.time
        with ThreadPoolExecutor(1, thread_name_prefix="ledger") as worker:

            def on_ledger(work: Callable[[], T]) -> Awaitable[T]:
                return loop.run_in_executor(worker, self._timed, work)

            await on_ledger(self._open)
            try:
                async with self.source, asyncio.TaskGroup() as tasks:
                    ready()
                    beside = [
                        tasks.create_task(self._tick(on_ledger), name="tick"),
                        tasks.create_task(self._tell(on_ledger), name="tell"),
                        tasks.create_task(self._watch(on_ledger), name="watch"),
                        tasks.create_task(self._checkpoint(on_ledger), name="checkpoint"),
                        tasks.create_task(self._keep_house(on_ledger), name="housekeeping"),
                        *(tasks.create_task(self._at_work_beside(work, on_ledger)) for work in self.beside),
                    ]
                    await self._ingest(on_ledger, stop)
                    for task in beside:
                        task.cancel()
            finally:
                await on_ledger(self._end)

    def _timed(self, work: Callable[[], T]) -> T:
        """Do a piece of work; `busy_s` shows how long it takes."""
        self._busy_since = self._at()
        try:
            return work()
        finally:
            self._busy_since = None

    def _moved_on(self) -> None:
        if self._busy_since is not None:
            self._busy_since = self._at()

    def _ingest_of(self, ledger: Ledger) -> Ingest:
        ingest = Ingest(ledger, self.replan(ledger), self.lateness_ns)
        ingest.progress = self._moved_on
        return ingest

    def _open(self) -> None:
        share_memory()
        ledger = self._open_ledger()
        self._marks = _marks(ledger)
        self.ingest = self._ingest_of(ledger)
        give_back_memory()
        self.announce(self.ingest, self.ingest.rejudge(self.clock()))

    def _open_ledger(self) -> Ledger:
        ledger = self.ledger()
        ledger.leave_checkpoints()
        return ledger

    def _close(self) -> None:
        if self.ingest is not None:
            self.ingest.ledger.close()

    def _end(self) -> None:
        """Leave the ledger tidy: another version finds rows of states, whatever it knows of changes."""
        with contextlib.suppress(sqlite3.Error):
            if self.ingest is not None and self.trouble is None:
                self.ingest.catch_up()
        self._close()

    @property
    def _at_work(self) -> Ingest:
        if self.ingest is None:
            raise RuntimeError("the service has not been started")
        return self.ingest

    async def _ingest(self, on_ledger: OnLedger, stop: asyncio.Event) -> None:
        """Take what has come, have it decoded, judged and committed, and only then acknowledge it, as it was taken.

        All of it is done by the ledger's thread: while SQLite works, the loop receives what is taken next. A thread
        that decodes beside it costs more in handing the interpreter over than it gains. The thread has its next
        messages before those it has done are acknowledged.
        """
        limit = FEW_MESSAGES
        done: Sequence[Message] = ()
        while not stop.is_set():
            messages = await self.source.take(limit, 0.0 if done else TAKE_S)
            if messages:
                work = self._durably(on_ledger, partial(self._commit, messages, _Committed()), stop)
                committing = asyncio.create_task(work, name="commit")
                await asyncio.sleep(0)  # it begins
                done = await self._acknowledged(done)
                records = await committing
                if records is None:
                    return
                done, self._records = messages, records
                limit = max(1, min(2 * limit, SLICE_READINGS, SLICE_READINGS * len(messages) // max(records, 1)))
            elif done:
                done = await self._acknowledged(done)
            elif messages is None:
                return
            else:
                self.fresh, self._records = True, 0
        await self._acknowledged(done)

    async def _acknowledged(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Acknowledge messages; none are left to be."""
        if messages:
            await self.source.acknowledge(messages)
            self.totals.messages += len(messages)
        return ()

    async def _durably(self, on_ledger: OnLedger, work: Callable[[], T], stop: asyncio.Event) -> T | None:
        """Do the work until it is durable. A ledger that fails is opened anew: nothing is acknowledged meanwhile."""
        attempt = 0
        while True:
            try:
                result = await on_ledger(work)
            except (sqlite3.Error, OSError) as error:
                wait = RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                self.trouble = f"the ledger cannot be written: {error}"
                log.error("%s; nothing is acknowledged until it can, next try in %.1f s", self.trouble, wait)
                if await _stopped_within(stop, wait):
                    return None
                await on_ledger(self._reopen)
            else:
                if self.trouble is not None:
                    log.warning("the ledger can be written again; nothing was lost")
                    self.trouble = None
                return result

    def _reopen(self) -> None:
        try:
            self._close()
            ledger = self._open_ledger()
            self._marks, self._version = _marks(ledger), None
            self.ingest = self._ingest_of(ledger)
        except (sqlite3.Error, OSError) as error:
            log.error("the ledger cannot be opened: %s", error)

    def _commit(self, messages: Sequence[Message], committed: _Committed) -> int:
        """Decode, judge and commit messages; return how many records that was, refused ones included.

        Parts that were `committed` before the ledger failed are passed over when it is tried again.
        """
        ingest, at = self._at_work, self.clock()
        received_at = [m.received_at for m in messages]
        topic, payload = [m.topic for m in messages], [m.payload for m in messages]
        newest, total, records, number = 0, 0, 0, 0
        for readings, refused in self._decoded(messages):
            times = readings.column("time")
            newest = max(newest, max(times, default=0))
            if times:
                self._last_at, self._last_times = at, times
            total += len(readings)
            records += len(readings) + len(refused)
            for i, part in enumerate(slices(readings, SLICE_READINGS)):
                number += 1
                if number <= committed.parts:
                    continue
                batch = Batch(
                    readings=part,
                    refused=refused if i == 0 else (),
                    received_at=received_at,
                    topic=topic,
                    payload=payload,
                    at=at,
                )
                done = process(ingest, batch)
                committed.parts = number
                self.totals.add(done)
                self.announce(ingest, done)
        self.fresh = not total or at - newest < FRESH_NS
        return records

    def _decoded(self, messages: Sequence[Message]) -> Iterator[tuple[Readings, list[Refusal]]]:
        """Yield what is in the messages, as soon as it is enough to be committed, so that little is held at once."""
        parts: list[Sequence[Reading]] = []
        refused: list[Refusal] = []
        held = 0
        for found in self.decode(messages):
            if held >= SLICE_READINGS:
                yield Readings.join(parts), refused
                parts, refused, held = [], [], 0
            parts.append(found.readings)
            refused += found.refused
            held += len(found.readings) + len(found.refused)
        yield Readings.join(parts), refused

    async def _tick(self, on_ledger: OnLedger) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await on_ledger(self.let_time_pass)

    async def _tell(self, on_ledger: OnLedger) -> None:
        """Let the announcer say a little at a time: no reading waits long for what is said about others."""
        while True:
            busy = self._records > BUSY_READINGS
            await asyncio.sleep(TELL_BEHIND_S if self.behind else TELL_BUSY_S if busy else TELL_S)
            await on_ledger(lambda: self.flush(self._at_work))

    def let_time_pass(self) -> None:
        """Raise what silence has made due, up to the moment everything has been received; on the ledger's thread."""
        try:
            if self.horizon is None and not self.fresh:
                return
            ingest, at = self._at_work, self.clock()
            done = ingest.tick(at if self.horizon is None else self.horizon())
            if done.happenings:
                self.announce(ingest, done)
        except (sqlite3.Error, OSError) as error:
            log.error("the ledger cannot be written: %s", error)

    async def _keep_house(self, on_ledger: OnLedger) -> None:
        """Have deleted what is not to be kept any longer, a little at a time, but not behind a backlog."""
        if self.housekeeping is None:
            return
        while True:
            wait = BUSY_S if self.behind else await on_ledger(partial(self._clear, self.housekeeping))
            await asyncio.sleep(wait)

    async def _at_work_beside(self, work: Beside, on_ledger: OnLedger) -> None:
        def write(some: Callable[[Ledger], T]) -> Awaitable[T]:
            return on_ledger(lambda: some(self._at_work.ledger))

        while True:
            try:
                return await work(write, lambda: self.share)
            except Exception:  # the last line of defence: an error of ours there must not end the gateway
                log.exception("what works beside ingest has failed; readings are taken on, and it is tried again")
            await asyncio.sleep(BESIDE_TROUBLE_S)

    def _clear(self, housekeeping: Callable[[Ingest, int], float]) -> float:
        try:
            return housekeeping(self._at_work, self.clock())
        except (sqlite3.Error, OSError) as error:
            log.error("retention: the ledger cannot be written: %s", error)
            return HOUSE_TROUBLE_S

    async def _checkpoint(self, on_ledger: OnLedger) -> None:
        """Move the log into the ledger's file on a thread of its own, so that no message waits for it.

        While messages keep coming the log is never empty. Once it is long, what came while most was moved is moved
        too, then the ledger's thread moves the little that is left, and the next commit begins the log anew.
        """
        loop = asyncio.get_running_loop()
        beside = Checkpoints(self._at_work.ledger.path)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="checkpoint", initializer=give_way) as worker:
                while True:
                    await asyncio.sleep(CHECKPOINT_S)
                    with contextlib.suppress(sqlite3.Error):
                        if await loop.run_in_executor(worker, beside.move) > LONG_LOG_PAGES:
                            for _ in range(MOVES):
                                await loop.run_in_executor(worker, beside.move)
                            await on_ledger(self._at_work.ledger.checkpoint)
        finally:
            beside.close()

    async def _watch(self, on_ledger: OnLedger) -> None:
        """Take over what other commands have changed in the ledger, within a second."""
        wait = WATCH_S
        while True:
            await asyncio.sleep(wait)
            wait = WATCH_S if await on_ledger(self._take_over) else RETRY_S[-1]

    def _take_over(self) -> bool:
        """Return whether all that was changed is taken over: what a failing ledger leaves undone is tried again."""
        try:
            ingest = self._at_work
            version = ingest.ledger.data_version()
            if version == self._version:
                return True
            marks = _marks(ingest.ledger)
            if marks == self._marks:  # a reader with a cursor has moved on, nothing more
                self._version = version
                return True
            ingest.reload_alarms()
            if marks[0] != self._marks[0]:
                plan = self.replan(ingest.ledger)
                self._moved_on()
                if plan.fingerprints != ingest.plan.fingerprints or plan.index != ingest.plan.index or ingest.stale:
                    log.info("the registry has changed: %d channels", len(plan))
                    self.announce(ingest, ingest.replan(plan, self.clock()))
            self.announce(ingest, Done())
            self._release(ingest)
        except (sqlite3.Error, OSError) as error:
            log.error("what was changed cannot be taken over: %s", error)
            return False
        self._version, self._marks = version, marks
        return True

    def _release(self, ingest: Ingest) -> None:
        """Run approved quarantine entries through the pipeline again."""
        from gateway.runtime.release import release_approved

        done = release_approved(ingest, self.decode, self.clock())
        if done is not None:
            self.totals.add(done)
            self.announce(ingest, done)


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _marks(ledger: Ledger) -> tuple[int, int, int]:
    """Return what tells whether people or other commands have changed something: registry, alarms, quarantine."""
    row = ledger.connection.execute(
        """SELECT COALESCE((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'registry_version'), 0),
                  COALESCE((SELECT MAX(id) FROM alarm_event), 0),
                  (SELECT COUNT(*) FROM quarantine WHERE state = 'approved')"""
    ).fetchone()
    return int(row[0]), int(row[1]), int(row[2])


def slices(readings: Sequence[Reading], size: int) -> list[Sequence[Reading]]:
    """Cut readings into slices of at most `size`; one empty slice if there are none."""
    return [readings[i : i + size] for i in range(0, len(readings), size)] or [()]


def share_memory() -> None:
    """Have all threads take memory from two arenas: with one each, what one gives back no other uses."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back_memory() -> None:
    """Return to the system what reading a large registry took, where the C library can.

    What is left stays: the collector need not look through it again, 45 ms each time with 1 000 devices.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
