"""The forwarder at work: one task beside the service, with a thread and a ledger connection of its own.

It reads the ledger behind its cursors and posts one parcel after another to InfluxDB; the next is made meanwhile.
Whatever InfluxDB does, ingest is not concerned: nothing waits for this task, and what is unsent lies in the ledger.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from gateway.alarms.conditions import Severity
from gateway.errors import MetergateError
from gateway.history.delivery import Delivery
from gateway.history.forward import Feed, Parcel
from gateway.history.influx_wire import Answer, Outcome, backoff
from gateway.ledger.forwarding import put_words
from gateway.ledger.store import Ledger
from gateway.runtime.influx_link import InfluxLink, load_client
from gateway.runtime.system_alarms import calm, trouble
from gateway.settings import Influx, Settings

__all__ = ["Forwarder", "Pace", "forwarding"]

log = logging.getLogger("metergate.influx")

T = TypeVar("T")

PART, REFUSED_PART = "influxdb", "influxdb-refused"
"""What stands in `channel` of the system alarms: InfluxDB itself, and points it refused."""

REMEDY = {
    401: "write a valid token to influx.token_file",
    403: "give the token the right to write to the bucket (`metergate influx setup`)",
    404: "correct influx.org and influx.bucket, or make them with `metergate influx setup`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things are left alone (s). `alarm_s`: an outage so long is an alarm."""

    start_s: float = 1.0
    poll_s: float = 0.25
    probe_s: float = 30.0
    alarm_s: float = 60.0
    reopen_s: float = 5.0
    backoff: Callable[[int], float] = field(default=lambda attempt: backoff(attempt, random.random()))  # noqa: S311


class Forwarder:
    """Ledger -> InfluxDB for ever. `clock` gives ns; days are those of `zone`."""

    def __init__(
        self,
        data_dir: Path,
        site: str,
        influx: Influx,
        clock: Callable[[], int],
        pace: Pace | None = None,
        zone: ZoneInfo | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._site = site
        self._influx = influx
        self._clock = clock
        self._pace = pace or Pace()
        self._zone = zone or ZoneInfo("UTC")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._failing_since: int | None = None
        self._alarmed = False

    def _aside(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._worker, work)

    async def run(self) -> None:
        """Forward until cancelled. What fails here is logged and tried again: the gateway goes on without it."""
        try:
            await asyncio.sleep(self._pace.start_s)
            await self._aside(load_client)
            while True:
                try:
                    await self._forward()
                except (sqlite3.Error, OSError, MetergateError) as error:
                    log.error("forwarding to InfluxDB stands still: %s; readings stay in the ledger", error)
                except Exception:  # the last line of defence: an error of ours must not end the gateway
                    log.exception("forwarding to InfluxDB stands still; readings stay in the ledger")
                await asyncio.sleep(self._pace.reopen_s)
        except MetergateError as error:
            log.error("nothing is forwarded to InfluxDB: %s", error)
        finally:
            self._worker.shutdown(wait=True, cancel_futures=True)

    def _open(self) -> Feed:
        return Feed(Ledger.open(self._data_dir), self._site, self._influx.target, self._zone)

    async def _forward(self) -> None:
        feed = await self._aside(self._open)
        try:
            await self._aside(partial(self._recall, feed))
            async with InfluxLink(self._influx, self._influx.secret) as link:
                await self._send_all(feed, link)
        finally:
            with suppress(RuntimeError):  # the thread is gone when the gateway ends
                await asyncio.shield(self._aside(feed.ledger.close))

    async def _send_all(self, feed: Feed, link: InfluxLink) -> None:
        """Send parcel after parcel; while one is under way the next is made."""
        ahead = self._aside(partial(self._make, feed))
        try:
            while True:
                parcel, delivery, body = await ahead
                ahead = self._aside(partial(self._make, feed))
                if parcel is None:
                    await asyncio.sleep(self._pace.poll_s)
                else:
                    await self._deliver(feed, link, parcel, delivery, body)
        finally:
            ahead.cancel()

    def _make(self, feed: Feed) -> tuple[Parcel | None, Delivery, bytes]:
        parcel = feed.next()
        delivery = Delivery(size=0 if parcel is None else len(parcel.lines))
        return parcel, delivery, b"" if parcel is None else self._body(parcel, delivery.piece)

    def _body(self, parcel: Parcel, piece: tuple[int, int] | None) -> bytes:
        """Return the bytes of some lines: always the same for the same lines."""
        body = b"" if piece is None else "\n".join(parcel.lines[slice(*piece)]).encode()
        return gzip.compress(body, compresslevel=1, mtime=0) if self._influx.compressed else body

    async def _deliver(self, feed: Feed, link: InfluxLink, parcel: Parcel, delivery: Delivery, body: bytes) -> None:
        """Send one parcel until every line is stored or refused, then move the cursor."""
        await self._clear(feed, link, parcel)
        last = None
        while delivery.piece is not None:
            last = await link.write(body)
            if delivery.take(last):
                if delivery.piece is not None:
                    body = await self._aside(partial(self._body, parcel, delivery.piece))
            else:
                await self._aside(partial(self._note_trouble, feed.ledger, last))
                await asyncio.sleep(self._wait(last, delivery.attempt - 1))
        await self._aside(partial(self._settle, feed, parcel, delivery, last))

    async def _clear(self, feed: Feed, link: InfluxLink, parcel: Parcel) -> None:
        """Delete what is to be written anew without some of its numbers. A server that refuses keeps the old ones."""
        for predicate, first, last in parcel.cleared:
            attempt = 0
            while (answer := await link.delete(predicate, first, last)).outcome is Outcome.LATER:
                await self._aside(partial(self._note_trouble, feed.ledger, answer))
                await asyncio.sleep(self._wait(answer, attempt))
                attempt += 1
            if answer.outcome is not Outcome.STORED:
                log.warning("InfluxDB does not delete what is superseded, old numbers may remain: %s", answer.words)

    def _wait(self, answer: Answer, attempt: int) -> float:
        if answer.outcome is Outcome.HELD:
            return self._pace.probe_s
        return max(answer.wait_s or 0.0, self._pace.backoff(attempt))

    def _settle(self, feed: Feed, parcel: Parcel, delivery: Delivery, last: Answer | None) -> None:
        at = self._clock()
        feed.settle(parcel, delivery.refused, at)
        refused = [*(w for _, w in delivery.refused), *(r.words for r in parcel.unencodable)]
        if refused:
            log.warning("InfluxDB refused %d points, the first with: %s", len(refused), refused[0])
            text = f"InfluxDB refused points: {refused[0]}; see `metergate influx status`"
            trouble(feed.ledger, self._site, REFUSED_PART, Severity.WARNING, text, {"answer": refused[0]}, at)
        if last is not None:
            self._note_well(feed.ledger, last, at)

    def _recall(self, feed: Feed) -> None:
        """Take over how things stood when the gateway last ended."""
        from gateway.ledger.forwarding import words

        since = words(feed.ledger.connection).get("failing_since")
        self._failing_since = None if since is None else int(since)
        self._alarmed = since is not None

    def _note_well(self, ledger: Ledger, answer: Answer, at: int) -> None:
        said: dict[str, str | int | None] = {"answer": answer.words, "answer_at": at, "sent_at": at}
        if self._failing_since is not None:
            log.warning("InfluxDB takes points again after %.0f s", (at - self._failing_since) / 1e9)
            said |= {"failing_since": None, "held_since": None}
        with ledger.transaction() as connection:
            put_words(connection, said)
        if self._alarmed:
            calm(ledger, PART, "InfluxDB takes points again", at)
        self._failing_since, self._alarmed = None, False

    def _note_trouble(self, ledger: Ledger, answer: Answer) -> None:
        """Say once that points are not taken, and raise the alarm when a person must act or it lasts."""
        at = self._clock()
        held = answer.outcome is Outcome.HELD
        said: dict[str, Any] = {"answer": answer.words, "answer_at": at}
        if self._failing_since is None:
            self._failing_since = said["failing_since"] = at
            log.warning("InfluxDB does not take points: %s; they wait in the ledger", answer.words)
        said["held_since"] = self._failing_since if held else None
        with ledger.transaction() as connection:
            put_words(connection, said)
        if held or at - self._failing_since >= self._pace.alarm_s * 1e9:
            self._alarmed = True
            remedy = REMEDY.get(answer.status or 0, "see `metergate influx status`")
            text = f"InfluxDB does not take points: {answer.words}; {remedy}"
            severity = Severity.MAJOR if held else Severity.WARNING
            trouble(ledger, self._site, PART, severity, text, {"answer": answer.words}, at)


@asynccontextmanager
async def forwarding(settings: Settings, clock: Callable[[], int]) -> AsyncIterator[None]:
    """Forward to InfluxDB while the block runs, if it is configured."""
    if settings.influx is None:
        yield
        return
    forwarder = Forwarder(settings.data_dir, settings.site, settings.influx, clock, zone=settings.zone)
    task = asyncio.create_task(forwarder.run(), name="forwarding")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
