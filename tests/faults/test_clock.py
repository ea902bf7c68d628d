"""A gateway's clock that is set, forward, back, by years (F17): it is said, and over when readings agree again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.alarms.conditions import AlarmKind
from gateway.ledger import alarms as alarm_rows
from gateway.ledger.store import Ledger
from gateway.metrology.instants import DAY_NS, HOUR_NS, SECOND_NS
from gateway.runtime import clock_watch
from gateway.runtime.clock_watch import ClockWatch

NOW = 1_767_225_600 * SECOND_NS
KEY = ("", clock_watch.PART, AlarmKind.SYSTEM)


class World:
    """A clock that can be set, and readings of instruments whose clocks are right."""

    def __init__(self) -> None:
        self.begun, self.off, self.count, self.ahead = time.monotonic_ns(), 0, 0, 0

    def clock(self) -> int:
        return NOW + time.monotonic_ns() - self.begun + self.off

    def read(self, delay: int = 0) -> None:
        self.count, self.ahead = self.count + 1, self.off + delay


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  a ledger tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", [HOUR_NS, -HOUR_NS, 3650 * DAY_NS, -20_000 * DAY_NS])
def test_a_step_is_an_alarm_until_readings_agree_with_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: int
) -> None:
    monkeypatch.setattr(clock_watch, "LOOK_S", 0.01)
    world = World()

    def stands() -> bool:
        with Ledger.open(tmp_path) as ledger:
            return KEY in alarm_rows.open_alarms(ledger.connection)

    async def never(_work: object) -> None:
        raise AssertionError("it writes on a connection of its own")

    async def run() -> None:
        watch = ClockWatch("site", lambda: Ledger.open(tmp_path), world.clock, lambda: (world.count, world.ahead))
        work = asyncio.create_task(watch(never, lambda: 1.0))  # type: ignore[arg-type]
        world.read()
        await asyncio.sleep(0.1)
        assert not stands()
        world.off = step
        await until(stands)  # the reading from before the step agreed with another clock
        world.read()
        await asyncio.sleep(0.2)
        assert stands()
        world.off = 0
        await until(lambda: "set back" in caplog.text and "set forward" in caplog.text)
        assert stands()
        world.read(delay=-2 * SECOND_NS)
        await until(lambda: not stands())
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    asyncio.run(run())
    with Ledger.open(tmp_path) as ledger:
        events = [json.loads(document) for _, _, document in alarm_rows.events(ledger.connection, 0)]
    assert [(e["kind"], e["channel"], e["transition"], e["severity"]) for e in events] == [
        ("system", "clock", "raised", "major"), ("system", "clock", "cleared", "major"),
    ]  # fmt: skip
    assert events[0]["evidence"]["step_s"] == pytest.approx(step / SECOND_NS, abs=1.0)


def test_a_step_that_could_not_be_written_is_written_as_soon_as_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clock_watch, "LOOK_S", 0.01)
    world, tries = World(), list[int]()

    def open_ledger() -> Ledger:
        tries.append(1)
        if len(tries) < 4:
            raise sqlite3.OperationalError("database or disk is full")
        return Ledger.open(tmp_path)

    async def run() -> None:
        watch = ClockWatch("site", open_ledger, world.clock, lambda: (0, 0))
        work = asyncio.create_task(watch(None, lambda: 1.0))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        world.off = HOUR_NS
        await until(lambda: len(tries) == 4)
        await asyncio.sleep(0.1)
        work.cancel()

    asyncio.run(run())
    with Ledger.open(tmp_path) as ledger:
        assert KEY in alarm_rows.open_alarms(ledger.connection)
    assert caplog.text.count("the alarm of the clock cannot be written: database or disk is full") == 3


def test_a_stalled_loop_is_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_watch, "LOOK_S", 0.01)
    monkeypatch.setattr(clock_watch, "STEP_NS", SECOND_NS // 10)
    world = World()

    def open_ledger() -> Ledger:
        raise AssertionError("nothing is to be written")

    async def run() -> None:
        watch = ClockWatch("site", open_ledger, world.clock, lambda: (0, 0))
        work = asyncio.create_task(watch(None, lambda: 1.0))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        time.sleep(0.5)  # noqa: ASYNC251  the stall
        await asyncio.sleep(0.05)
        assert not work.done()
        work.cancel()

    asyncio.run(run())
