"""The service acknowledges what is durable, and nothing else."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors import Message
from collectors.memory import MemorySource
from collectors.mqtt import MqttSource
from collectors.mqtt_settings import MqttSettings
from collectors.profiles import read_profiles
from collectors.topics import Router
from gateway.api.health import readiness
from gateway.ledger import state_changes, states
from gateway.ledger.store import Ledger
from gateway.runtime import service as services
from gateway.runtime import watching
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.service import Service, Write
from gateway.runtime.sparing import process
from tests.pipeline.centre import DAY, LATENESS, certificate, check, plan_of, scale

PLAN = plan_of([scale("a")], [certificate("a")])
NOW = 100 * DAY
PATIENCE_S = 20.0
ROUTER = Router([], read_profiles(()), site="s")


def message(number: int, *, device: str = "a") -> Message:
    value = 5.001 + 0.0004 * (number % 3 - 1)
    payload = {"ts": number * 86_400_000, "value": value, "unit": "kg", "reference": 5, "seq": number, "boot": "b1"}
    return Message(topic=f"metergate/reading/s/{device}/mass", payload=json.dumps(payload).encode(), received_at=NOW)


class Place:
    """A folder whose disk can be full, a source, and the service between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.full = threading.Event()
        self.source = MemorySource()
        self.stop = asyncio.Event()
        self.announced: list[Done] = []
        self.stored_when_acknowledged: list[int] = []
        self.service = Service(
            ledger=self._open, source=self.source, decode=ROUTER.decode_batch, replan=lambda _ledger: PLAN,
            announce=self._announce, clock=lambda: NOW, lateness_ns=LATENESS,
        )  # fmt: skip

    def _open(self) -> Ledger:
        ledger = Ledger.open(self.folder)
        if self.full.is_set():
            (pages,) = ledger.connection.execute("PRAGMA page_count").fetchone()
            ledger.connection.execute(f"PRAGMA max_page_count = {pages}")
        return ledger

    def _announce(self, _ingest: Ingest, done: Done) -> None:
        if done.received:
            self.announced.append(done)

    def stored(self) -> list[int]:
        with Ledger.open(self.folder) as ledger:
            return [n for (n,) in ledger.connection.execute("SELECT seq FROM reading ORDER BY seq")]

    async def put(self, first: int, last: int) -> None:
        for number in range(first, last):
            await self.source.put(message(number))


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(place.service.run(place.stop))
    try:
        yield task
    finally:
        place.stop.set()
        await asyncio.wait_for(task, PATIENCE_S)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  what is watched is a ledger on another thread
            await asyncio.sleep(0.01)


def test_everything_is_durable_before_it_is_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        acknowledge = place.source.acknowledge

        async def watched(batch: list[Message]) -> None:
            place.stored_when_acknowledged.append(len(place.stored()))
            await acknowledge(batch)

        place.source.acknowledge = watched  # type: ignore[method-assign,assignment]
        async with running(place):
            for start in range(0, 30, 10):
                await place.put(start, start + 10)
                await until(lambda: place.source.unacknowledged == 0)
        assert place.stored() == list(range(30))
        assert place.stored_when_acknowledged[-1] == 30
        assert sum(d.stored for d in place.announced) == place.service.totals.stored == 30

    asyncio.run(run())


def test_nothing_is_acknowledged_while_the_disk_is_full_and_all_of_it_after(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        Ledger.open(tmp_path).close()
        place.full.set()
        async with running(place):
            await place.put(0, 50)
            await until(lambda: place.service.trouble is not None)
            assert "full" in str(place.service.trouble)
            assert place.source.unacknowledged == 50
            assert place.stored() == []
            assert place.announced == []
            place.full.clear()
            await until(lambda: place.source.unacknowledged == 0)
        assert place.stored() == list(range(50))
        assert place.service.trouble is None

    asyncio.run(run())


def test_a_ledger_that_fails_half_way_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fails_once(ingest: Ingest, batch: Batch) -> Done:
        calls.append(len(batch.readings))
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        return process(ingest, batch)

    monkeypatch.setattr(services, "process", fails_once)
    monkeypatch.setattr(services, "SLICE_READINGS", 10)
    monkeypatch.setattr(services, "RETRY_S", (0.01,))

    async def run() -> None:
        place = Place(tmp_path)
        records = [json.loads(message(n).payload) for n in range(24)]
        pack = json.dumps([{"value": 5}, *records]).encode()
        async with running(place):
            await place.source.put(Message(topic=message(0).topic, payload=pack, received_at=NOW))
            await until(lambda: place.source.unacknowledged == 0)
        assert place.stored() == list(range(24))
        totals = place.service.totals
        assert (totals.received, totals.stored, totals.quarantined, totals.duplicate) == (25, 24, 1, 0)

    asyncio.run(run())
    assert calls == [10, 10, 10, 4]


def test_told_to_stop_while_the_disk_is_full_it_ends_and_acknowledges_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        Ledger.open(tmp_path).close()
        place.full.set()
        async with running(place):
            await place.put(0, 50)
            await until(lambda: place.service.trouble is not None)
        assert place.source.unacknowledged == 50
        assert place.stored() == []

    asyncio.run(run())


def test_what_is_refused_is_acknowledged_too_once_it_is_in_the_inbox(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        async with running(place):
            await place.source.put(message(1))
            await place.source.put(message(2, device="nobody"))
            await place.source.put(Message(topic="metergate/reading/s/a/mass", payload=b"\xff", received_at=NOW))
            await until(lambda: place.source.unacknowledged == 0)
        with Ledger.open(tmp_path) as ledger:
            reasons = [r for (r,) in ledger.connection.execute("SELECT reason FROM quarantine ORDER BY reason")]
        assert reasons == ["not_utf8", "unknown_device"]
        t = place.service.totals
        assert (t.received, t.stored, t.duplicate, t.quarantined) == (3, 1, 0, 2)

    asyncio.run(run())


def test_packs_of_nothing_but_bad_records_are_taken_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "SLICE_READINGS", 60)
    pack = b"[" + b"0," * 49 + b"0]"

    async def run() -> None:
        place = Place(tmp_path)
        took: list[int] = []
        take = place.source.take

        async def watched(limit: int, wait_s: float) -> Sequence[Message] | None:
            messages = await take(limit, wait_s)
            took.append(len(messages or ()))
            return messages

        place.source.take = watched  # type: ignore[method-assign]
        for _ in range(110):
            await place.source.put(Message(topic="metergate/reading/s/a/mass", payload=pack, received_at=NOW))
        async with running(place):
            await until(lambda: place.source.unacknowledged == 0)
        assert max(d.quarantined for d in place.announced) == 100
        assert place.service.totals.quarantined == 110 * 50
        assert took[1:11] == [1] * 10

    asyncio.run(run())


def test_what_the_source_delivers_again_is_counted_and_not_stored_twice(tmp_path: Path) -> None:
    async def run() -> None:
        first = Place(tmp_path)
        async with running(first):
            await first.put(0, 20)
            await until(lambda: first.source.unacknowledged == 0)
        second = Place(tmp_path)
        async with running(second):
            await second.put(10, 30)
            await until(lambda: second.source.unacknowledged == 0)
        assert second.stored() == list(range(30))
        assert (second.service.totals.stored, second.service.totals.duplicate) == (10, 10)

    asyncio.run(run())


def test_it_ends_when_its_source_ends(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        await place.put(0, 5)
        await place.source.close()
        await asyncio.wait_for(place.service.run(place.stop), PATIENCE_S)
        assert place.stored() == list(range(5))
        assert place.source.unacknowledged == 0

    asyncio.run(run())


def test_moving_the_log_into_the_file_is_never_left_to_a_commit(tmp_path: Path) -> None:
    async def scene() -> None:
        place = Place(tmp_path)
        async with running(place):
            await place.put(1, 3)
            await until(lambda: len(place.announced) > 0)
            assert place.service.ingest is not None
            connection = place.service.ingest.ledger.connection
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)

    asyncio.run(scene())


def test_a_ledger_thread_that_is_stuck_shows_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "STALLED_S", 0.05)
    let_go = threading.Event()

    async def scene() -> None:
        place = Place(tmp_path)
        source = MqttSource(MqttSettings(host="localhost", client_id="g"), ["#"], lambda: NOW)
        work = watching.watched(place.service, source)
        async with running(place):
            await place.put(0, 5)
            await until(lambda: place.source.unacknowledged == 0)
            await until(lambda: place.service.busy_s == 0.0)
            assert work().writable
            place.service.flush = lambda _ingest: _wait(let_go)
            try:
                await until(lambda: not work().writable)
                assert readiness(work).status == 503
                assert "one piece of work" in str(work().trouble)
            finally:
                let_go.set()
            await until(lambda: work().writable)
            assert work().trouble is None
            await place.put(5, 6)
            await until(lambda: place.source.unacknowledged == 0)

    asyncio.run(scene())
    assert watching.stalled(0.0) is None


def test_much_that_is_judged_again_is_no_stuck_disk(tmp_path: Path) -> None:
    """Time here is the number of statements the ledger was asked: 40 channels, and 3000 checks in one of them."""
    scales = [scale(f"s{i}") for i in range(40)]
    with Ledger.open(tmp_path) as ledger:
        ingest = Ingest(ledger, plan_of(scales), LATENESS)
        some = [check(f"s{i}", d, 5.001 + 0.0004 * (d % 3), seq=d) for i in range(40) for d in range(20)]
        many = [check("s0", d / 100, 5.001 + 0.0004 * (d % 3), seq=d) for d in range(2_100, 5_100)]
        for part in (some, many):
            ingest.process(Batch(readings=part, received_at=[NOW], topic=["t"], payload=[b"{}"], at=NOW))
    now, busy = 0.0, list[float]()

    def asked(_statement: str) -> None:
        nonlocal now
        now += 1
        busy.append(place.service.busy_s)

    place = Place(tmp_path)
    plan = plan_of(scales)
    place.service.replan = lambda _ledger: plan
    place.service._open()
    place.service._at = lambda: now
    try:
        ingest = place.service._at_work
        ingest.ledger.connection.set_trace_callback(asked)
        certified = plan_of(scales, [certificate(f"s{i}", name=f"c{i}") for i in range(40)])
        done = place.service._timed(lambda: ingest.replan(certified, NOW))
        assert len(done.channels) == 40
        assert now > 4000
        assert max(busy) < now / 5
        assert place.service.busy_s == 0.0
    finally:
        place.service._close()


@pytest.mark.parametrize("failing", ["replan", "announce"])
def test_a_change_that_a_failing_ledger_keeps_from_being_taken_over_is_taken_over_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    place = Place(tmp_path)
    place.service.replan = lambda _ledger: plan_of([scale("a")])
    place.service._open()
    try:
        assert place.service._take_over()
        with Ledger.open(tmp_path) as other, other.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('registry_version', '7')")
        place.service.replan = lambda _ledger: PLAN
        with monkeypatch.context() as patched:
            patched.setattr(place.service, failing, _fail)
            assert not place.service._take_over()
            assert not place.service._take_over()
        assert place.service._take_over()
        assert place.service._at_work.plan is PLAN
        assert place.service._at_work.stale == {}
    finally:
        place.service._close()


def _fail(*_what: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


def _wait(let_go: threading.Event) -> None:
    assert let_go.wait(PATIENCE_S)


def test_house_is_kept_on_the_ledgers_thread_and_trouble_there_stops_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(tmp_path)
        seen: list[tuple[str, int]] = []

        def keep(ingest: Ingest, at: int) -> float:
            seen.append((threading.current_thread().name, at))
            if len(seen) == 2:
                raise sqlite3.OperationalError("database or disk is full")
            assert ingest.ledger.connection.execute("SELECT 1").fetchone() == (1,)
            return 0.0

        place.service.housekeeping = keep
        async with running(place):
            await until(lambda: len(seen) == 2)
            await place.put(0, 5)
            await until(lambda: place.source.unacknowledged == 0)
        assert place.stored() == list(range(5))
        assert all(name.startswith("ledger") and at == NOW for name, at in seen)

    asyncio.run(run())


def test_what_works_beside_has_the_ledgers_thread_write(tmp_path: Path) -> None:
    """Two threads that write would wait for each other; one does it all, in turns."""
    place, wrote = Place(tmp_path), list[str]()

    async def beside(write: Write, share: Callable[[], float]) -> None:
        assert share() > 0

        def name(ledger: Ledger) -> str:
            with ledger.transaction():
                return threading.current_thread().name

        while True:
            wrote.append(await write(name))
            await asyncio.sleep(0.001)

    place.service.beside = [beside]

    async def live() -> None:
        async with running(place):
            await place.put(0, 50)
            await until(lambda: place.source.unacknowledged == 0 and len(wrote) >= 5)
            place.stop.set()

    asyncio.run(asyncio.wait_for(live(), PATIENCE_S))
    assert {w.split("_")[0] for w in wrote} == {"ledger"}
    assert place.stored() == list(range(50))


def test_an_error_of_work_beside_is_told_and_the_work_tried_again_while_readings_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(services, "BESIDE_TROUBLE_S", 0.01)
    place, tries = Place(tmp_path), list[int]()

    async def beside(_write: Write, _share: Callable[[], float]) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise ZeroDivisionError
        await asyncio.Event().wait()

    place.service.beside = [beside]

    async def live() -> None:
        async with running(place):
            await until(lambda: len(tries) == 4)
            await place.put(0, 50)
            await until(lambda: place.source.unacknowledged == 0)
            place.stop.set()

    asyncio.run(asyncio.wait_for(live(), PATIENCE_S))
    assert place.stored() == list(range(50))
    assert caplog.text.count("what works beside ingest has failed") == caplog.text.count("raise ZeroDivisionError") == 3


def test_a_service_that_ends_leaves_every_row_of_a_state_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "FEW", 0)
    monkeypatch.setattr(services, "TICK_S", 60.0)
    plan, place = plan_of([scale(name) for name in "abc"]), Place(tmp_path)
    place.service.replan = lambda _ledger: plan

    def behind() -> int:
        with Ledger.open(tmp_path) as ledger:
            found, _ = state_changes.latest(ledger.connection)
            rows = dict(ledger.connection.execute("SELECT channel, up_to FROM state").fetchall())
        return sum(change.number > rows[channel] for channel, change in found.items())

    async def live() -> None:
        async with running(place):
            for number in range(4):
                for name in "cba":
                    await place.source.put(message(number, device=name))
                    await until(lambda: place.source.unacknowledged == 0)
            assert behind() > 0
            place.stop.set()

    asyncio.run(asyncio.wait_for(live(), PATIENCE_S))
    assert behind() == 0
