"""Roll-ups are kept beside whatever else writes the ledger, and trouble with them stays with them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.errors import WrongUse
from gateway.history import Query
from gateway.history.rolling import Advance, advance, look_for_unmade, look_for_unmarked
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.runtime import rollup
from gateway.runtime.rollup import keep_rolling
from tests.history.support import DAY, MINUTE, START, Centre

T = TypeVar("T")


def volts(n: int, start: int = 0) -> list[Reading]:
    return [
        Reading(device="meter", channel="voltage", unit="V", time=START + (start + i) * MINUTE, value=230.0 + i % 7)
        for i in range(n)
    ]


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def rolling(
    centre: Centre, share: Callable[[], float] = lambda: 1.0, opened: Callable[[], Ledger] | None = None
) -> AsyncIterator[None]:
    """Keep the centre's roll-ups while the block runs."""

    async def write(work: Callable[[Ledger], T]) -> T:
        return work(centre.ledger)

    path = centre.ledger.path.parent
    work = keep_rolling(write, share, open_ledger=opened or (lambda: Ledger.open(path)), clock=lambda: START + DAY)
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def rolled_up(folder: Path) -> int:
    connection = sqlite3.connect(folder / "ledger.sqlite")
    try:
        return int(connection.execute("SELECT COUNT(*) FROM rollup").fetchone()[0])
    finally:
        connection.close()


def test_what_is_ingested_beside_it_is_rolled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "INTERVAL_S", 0.05)
    centre = Centre(tmp_path)
    centre.put(volts(600))

    async def live() -> None:
        async with rolling(centre):
            await until(lambda: rolled_up(tmp_path) == 10)
            for i in range(10, 30):
                centre.put(volts(60, 60 * i))
            await until(lambda: rolled_up(tmp_path) == 24)  # the hours after the clock's day are not over

    asyncio.run(live())
    query = Query(device="meter")
    assert centre.buckets(query, "1h") == centre.buckets(query, "1h", rollups=False)
    assert len(centre.buckets(query, "1h")) == 30
    centre.close()


def test_roll_ups_wait_while_a_backlog_is_taken_and_are_made_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "INTERVAL_S", 0.01)
    monkeypatch.setattr(rollup, "BUSY_S", 0.01)
    centre = Centre(tmp_path)
    centre.put(volts(600))
    behind, asked = True, 0

    def share() -> float:
        nonlocal asked
        asked += 1
        return 0.0 if behind else 0.5

    async def asked_again() -> None:
        before = asked
        await until(lambda: asked > before + 5)

    async def live() -> None:
        nonlocal behind
        async with rolling(centre, share):
            await asked_again()
            assert rolled_up(tmp_path) == 0
            behind = False
            await until(lambda: rolled_up(tmp_path) == 10)
            behind = True
            await asked_again()
            centre.put(volts(300, 600))
            await asked_again()
            assert rolled_up(tmp_path) == 10
            behind = False
            await until(lambda: rolled_up(tmp_path) == 15)

    asyncio.run(live())
    centre.close()


def test_a_ledger_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rollup, "TROUBLE_S", 0.01)
    monkeypatch.setattr(rollup, "INTERVAL_S", 0.01)
    centre = Centre(tmp_path)
    centre.put(volts(60))
    tries = []

    def opened() -> Ledger:
        tries.append(1)
        if len(tries) < 4:
            raise WrongUse("cannot open the ledger", remedy="check the disk")
        return Ledger.open(tmp_path)

    async def live() -> None:
        async with rolling(centre, opened=opened):
            await until(lambda: rolled_up(tmp_path) == 1)

    with caplog.at_level("INFO", "metergate"):
        asyncio.run(live())
    said = [r.message for r in caplog.records]
    assert len([m for m in said if "cannot be kept" in m]) == 1
    assert "roll-ups are kept again" in said
    centre.close()


def test_who_looks_for_work_never_holds_the_ledger(tmp_path: Path) -> None:
    """A thread that gives way to others while it holds the ledger keeps readings from it: 20 to 60 ms each second."""
    centre = Centre(tmp_path)
    centre.put(volts(600))
    while advance(centre.ledger, START).more:  # marked, and none of it over
        pass
    centre.put(volts(60, 600))
    with Ledger.open(tmp_path) as beside:
        beside.connection.execute("PRAGMA busy_timeout = 0")
        with centre.ledger.transaction():
            marks, makes = look_for_unmarked(beside), look_for_unmade(beside, START + DAY)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                marks(beside)
        assert makes(centre.ledger).made == 10
        assert marks(centre.ledger).marked == 60
    centre.close()


def test_an_hour_that_is_marked_is_not_marked_again(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    for i in range(5):
        centre.put(volts(10, 10 * i))
        look_for_unmarked(centre.ledger)(centre.ledger)
    assert centre.ledger.connection.execute("SELECT COUNT(*) FROM rollup_stale").fetchone() == (1,)
    found = look_for_unmade(centre.ledger, START + DAY)
    centre.put(volts(10, 50))
    look_for_unmarked(centre.ledger)(centre.ledger)
    assert found(centre.ledger) == Advance(more=True)  # it has read too little
    assert look_for_unmade(centre.ledger, START + DAY)(centre.ledger).made == 1
    query = Query(device="meter")
    assert centre.buckets(query, "1h") == centre.buckets(query, "1h", rollups=False)
    centre.close()
