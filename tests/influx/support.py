"""What tests of the forwarder share: a ledger with readings, a forwarder in a hurry, and the two sets side by side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from gateway.history.forward import Feed
from gateway.history.forward_state import ForwardingState, forwarding_state
from gateway.ledger.store import Ledger
from gateway.registry.model import Center, Event, EventKind
from gateway.runtime.clock import now_ns
from gateway.runtime.forwarding import Forwarder, Pace
from gateway.settings import Influx
from tests.influx.lines import FieldValue, Point, parse_line
from tests.influx.standin import StandIn
from tests.pipeline.centre import DAY, check, feed, ingest_in, plan_of, scale

HURRY = Pace(start_s=0, poll_s=0.02, probe_s=0.05, alarm_s=0.2, reopen_s=0.05, backoff=lambda _: 0.02)
WAIT_S = 30.0

Row = tuple[str, str, int, float]
"""device, channel, time as sent, value."""


def settings(standin: StandIn, **more: object) -> Influx:
    given = {"url": standin.url, "token": SecretStr(standin.token), "gzip": "off"} | more
    return Influx.model_validate(given)


@contextlib.asynccontextmanager
async def forwarding(
    folder: Path, influx: Influx, pace: Pace = HURRY, clock: Callable[[], int] = now_ns, zone: str = "UTC"
) -> AsyncIterator[None]:
    """Forward while the block runs."""
    task = asyncio.create_task(Forwarder(folder, "van-giang", influx, clock, pace, ZoneInfo(zone)).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fails by naming it."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


def state(folder: Path) -> ForwardingState:
    with Ledger.open(folder) as ledger:
        return forwarding_state(ledger)


async def drained(folder: Path) -> ForwardingState:
    """Wait until everything is sent."""
    with Ledger.open(folder) as ledger:

        def empty() -> bool:
            s = forwarding_state(ledger)
            return s.target is not None and s.lag == 0 and s.waiting == 0 and s.failing_since is None

        await until(empty, "drained")
        return forwarding_state(ledger)


def in_ledger(folder: Path) -> list[Row]:
    with Ledger.open(folder) as ledger:
        rows = ledger.connection.execute(
            "SELECT c.device, c.channel, r.time, r.value FROM reading r JOIN channel c ON c.id = r.channel"
        ).fetchall()
    return sorted(rows)


def _row(tags: Iterable[tuple[str, str]], fields: dict[str, FieldValue], at: int) -> Row:
    known = dict(tags)
    shift, value = fields["shift_ns"], fields["value"]
    assert isinstance(shift, float)
    assert isinstance(value, float)
    return known["device"], known["channel"], at - int(shift), value


def in_influx(standin: StandIn) -> list[Row]:
    return sorted(_row(tags, fields, at) for (_, tags, at), fields in standin.measurement("reading").items())


def all_points(feed: Feed, at: int = 1) -> list[Point]:
    """Take everything a feed has, as if all of it were delivered."""
    found = []
    while (parcel := feed.next()) is not None:
        found += [parse_line(line) for line in parcel.lines]
        assert len(parcel.lines) == len(parcel.marks)
        feed.settle(parcel, [], at)
    return found


def adjusted(folder: Path, *, after: Callable[[], None]) -> int:
    """Chart 20 checks, call `after`, then learn of an adjustment on day 12; return how many verdicts lost their z."""
    learner = scale("a", center=Center.LEARNED, learn=5)
    ingest = ingest_in(folder, plan_of([learner]))
    checks = [check("a", d, 5.001 + 0.0004 * (d % 3), seq=d) for d in range(20)]
    feed(ingest, checks, at=21 * DAY)
    after()
    event = Event(device="a", time=12 * DAY, kind=EventKind.ADJUSTMENT)
    ingest.replan(plan_of([learner], (), [event]), 21 * DAY)
    ingest.ledger.close()
    return 5
