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
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self, TypeVar

from collectors import Message, Source
from gateway.ledger.store import Checkpoints, Ledger
from gateway.metrology.readings import Reading, Refusal
from gateway.pipeline.plan import Plan
from gateway.runtime.ingest import Batch, Done, Ingest

__all__ = ["STALLED_S", "Announce", "Decode", "Decoded", "Service", "Taken", "Waiting", "slices"]

log = logging.getLogger("metergate")

T = TypeVar("T")

SLICE_READINGS = 6000
"""So many readings at most are judged and committed at once."""
TAKE_MESSAGES = 500
TAKE_READINGS = 1000
"""So many at most are decoded at once, so that taking and committing overlap."""
GATHER_S = 0.004
M_ARENA_MAX = -8
TICK_S = 1.0
TELL_S = 0.1
TELL_BEHIND_S = 0.5
WATCH_S = 0.25
CHECKPOINT_S = 0.5
LONG_LOG_PAGES = 8192
FRESH_NS = 60 * 10**9
RETRY_S = (0.5, 1.0, 2.0, 5.0)
STALLED_S = 10.0
"""Work on the ledger that takes longer is taken for stuck: a disk that answers no more raises no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What decoders made of one message."""

    readings: Sequence[Reading]
    refused: Sequence[Refusal]


Decode = Callable[[Message, int], Decoded]
"""(message, its index in the batch) -> readings and refusals; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Messages as taken from the source, numbered from `first`, and what the decoders made of them."""

    messages: Sequence[Message]
    first: int
    readings: Sequence[Reading]
    refused: Sequence[Refusal]


class Waiting:
    """What was taken and waits to be committed, in order; `room` readings make `put` wait. Left, it takes no more."""

    def __init__(self, *, room: int) -> None:
        self._room = room
        self._taken: deque[Taken] = deque()
        self._readings = 0
        self._left = False
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._left = True
        self._changed.set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._taken

    async def put(self, taken: Taken) -> None:
        """Add what was taken, then wait until there is room for more."""
        self._taken.append(taken)
        self._readings += len(taken.readings)
        self._changed.set()
        while self._readings >= self._room:
            await self._wait()

    async def next(self, readings: int) -> list[Taken]:
        """Return what waits, up to so many readings and at least one batch; nothing at the end."""
        while not (self._taken or self._left):
            await self._wait()
        found: list[Taken] = []
        n = 0
        while self._taken and (not found or n + len(self._taken[0].readings) <= readings):
            found.append(self._taken.popleft())
            n += len(found[-1].readings)
        self._readings -= n
        self._changed.set()
        return found

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class OnLedger(Protocol):
    """Runs work on the ledger's thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what the work returned, in order with all other work."""
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
    totals: Totals = field(default_factory=Totals)
    ingest: Ingest | None = None
    trouble: str | None = None
    fresh: bool = False
    behind: bool = False
    _version: int | None = None
    _marks: tuple[int, int, int] = (0, 0, 0)
    _at: Callable[[], float] = lambda: 0.0
    _busy_since: float | None = None

    @property
    def busy_s(self) -> float:
        """How long (s) the ledger's thread has been at its present piece of work; 0 while it waits for some."""
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
                    ]
                    await self._ingest(on_ledger, stop)
                    for task in beside:
                        task.cancel()
            finally:
                await on_ledger(self._close)

    def _timed(self, work: Callable[[], T]) -> T:
        """Do a piece of work; `busy_s` shows how long it takes."""
        self._busy_since = self._at()
        try:
            return work()
        finally:
            self._busy_since = None

    def _open(self) -> None:
        share_memory()
        ledger = self._open_ledger()
        self._marks = _marks(ledger)
        self.ingest = Ingest(ledger, self.replan(ledger), self.lateness_ns)
        give_back_memory()
        self.announce(self.ingest, self.ingest.rejudge(self.clock()))

    def _open_ledger(self) -> Ledger:
        ledger = self.ledger()
        ledger.leave_checkpoints()
        return ledger

    def _close(self) -> None:
        if self.ingest is not None:
            self.ingest.ledger.close()

    @property
    def _at_work(self) -> Ingest:
        if self.ingest is None:
            raise RuntimeError("the service has not been started")
        return self.ingest

    async def _ingest(self, on_ledger: OnLedger, stop: asyncio.Event) -> None:
        """Take and decode on one side, judge and commit on the other: SQLite leaves the interpreter to the decoder."""
        waiting = Waiting(room=SLICE_READINGS)
        taking = asyncio.create_task(self._take(waiting, stop), name="take")
        try:
            while taken := await waiting.next(SLICE_READINGS):
                self.behind = sum(len(some.readings) for some in taken) > SLICE_READINGS // 2
                if not await self._keep(taken, on_ledger, stop):
                    break
        finally:
            if not taking.done():
                taking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await taking

    async def _take(self, waiting: Waiting, stop: asyncio.Event) -> None:
        """Take and decode messages until `stop` or the end of the source, as far ahead as there is room."""
        loop = asyncio.get_running_loop()
        limit, number = TAKE_MESSAGES, 0
        with ThreadPoolExecutor(1, thread_name_prefix="decode") as worker, waiting:
            while not stop.is_set():
                messages = await self.source.take(limit, 0.1)
                if messages is None:
                    return
                if not messages:
                    self.fresh = waiting.is_empty
                    self.behind = self.behind and not waiting.is_empty
                    continue
                taken = await loop.run_in_executor(worker, self._decode, messages, number)
                number += len(messages)
                limit = max(1, min(TAKE_MESSAGES, TAKE_READINGS * len(messages) // max(len(taken.readings), 1) + 1))
                await waiting.put(taken)
                if not waiting.is_empty:  # the ledger is busy: let some more come, each turn costs the threads a switch
                    await asyncio.sleep(GATHER_S)

    def _decode(self, messages: Sequence[Message], first: int) -> Taken:
        """Decode messages, numbered from `first`; on the decoder's thread."""
        decoded = [self.decode(m, i) for i, m in enumerate(messages, start=first)]
        return Taken(
            messages=messages,
            first=first,
            readings=[r for d in decoded for r in d.readings],
            refused=[r for d in decoded for r in d.refused],
        )

    async def _keep(self, taken: Sequence[Taken], on_ledger: OnLedger, stop: asyncio.Event) -> bool:
        """Commit what was taken, and then acknowledge it as it was taken; False when it could not be done in time."""
        if await self._durably(on_ledger, partial(self._commit, taken), stop) is None:
            return False
        for some in taken:
            await self.source.acknowledge(some.messages)
            self.totals.messages += len(some.messages)
        return True

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
            self.ingest = Ingest(ledger, self.replan(ledger), self.lateness_ns)
        except (sqlite3.Error, OSError) as error:
            log.error("the ledger cannot be opened: %s", error)

    def _commit(self, taken: Sequence[Taken]) -> int:
        """Judge and commit what was taken; return how many readings that was."""
        ingest, at = self._at_work, self.clock()
        readings = [r for some in taken for r in some.readings]
        refused = [r for some in taken for r in some.refused]
        messages = [m for some in taken for m in some.messages]
        self.fresh = at - max((r.time for r in readings), default=at) < FRESH_NS
        received_at = [m.received_at for m in messages]
        topic, payload = [m.topic for m in messages], [m.payload for m in messages]
        for i, part in enumerate(slices(readings, SLICE_READINGS)):
            batch = Batch(
                readings=part,
                refused=refused if i == 0 else (),
                first=taken[0].first,
                received_at=received_at,
                topic=topic,
                payload=payload,
                at=at,
            )
            done = ingest.process(batch)
            self.totals.add(done)
            self.announce(ingest, done)
        return len(readings)

    async def _tick(self, on_ledger: OnLedger) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await on_ledger(self.let_time_pass)

    async def _tell(self, on_ledger: OnLedger) -> None:
        """Let the announcer say a little at a time: no reading waits long for what is said about others."""
        while True:
            await asyncio.sleep(TELL_BEHIND_S if self.behind else TELL_S)
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

    async def _checkpoint(self, on_ledger: OnLedger) -> None:
        """Move the log into the ledger's file on a thread of its own, so that no message waits for it.

        While messages keep coming the log is never empty; once it is long, the ledger's thread moves the little that
        is left, and the next commit begins the log anew.
        """
        loop = asyncio.get_running_loop()
        beside = Checkpoints(self._at_work.ledger.path)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as worker:
                while True:
                    await asyncio.sleep(CHECKPOINT_S)
                    with contextlib.suppress(sqlite3.Error):
                        if await loop.run_in_executor(worker, beside.move) > LONG_LOG_PAGES:
                            await on_ledger(self._at_work.ledger.checkpoint)
        finally:
            beside.close()

    async def _watch(self, on_ledger: OnLedger) -> None:
        """Take over what other commands have changed in the ledger, within a second."""
        while True:
            await asyncio.sleep(WATCH_S)
            await on_ledger(self._take_over)

    def _take_over(self) -> None:
        try:
            ingest = self._at_work
            version = ingest.ledger.data_version()
            if version == self._version:
                return
            self._version = version
            marks = _marks(ingest.ledger)
            if marks == self._marks:  # a reader with a cursor has moved on, nothing more
                return
            registry_changed, self._marks = marks[0] != self._marks[0], marks
            ingest.reload_alarms()
            if registry_changed:
                plan = self.replan(ingest.ledger)
                if plan.fingerprints != ingest.plan.fingerprints or plan.index != ingest.plan.index:
                    log.info("the registry has changed: %d channels", len(plan))
                    self.announce(ingest, ingest.replan(plan, self.clock()))
            self.announce(ingest, Done())
            self._release(ingest)
        except (sqlite3.Error, OSError) as error:
            log.error("the ledger cannot be read: %s", error)

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
    """Return to the system what reading a large registry took; does nothing where the C library cannot."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
