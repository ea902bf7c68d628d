"""Roll-ups kept while the gateway runs: a reader beside the service, with a connection and a thread of its own.

It works a fraction of the time and in small steps, so that taking readings comes first; what it has not done yet a
query does from the readings. It only looks: what it finds the ledger's thread writes, or a thread that gives way to
others would keep the ledger from them. Trouble here is logged and tried again, and never reaches the service.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.errors import MetergateError
from gateway.history.rolling import Found, Step, look_for_unmade, look_for_unmarked
from gateway.ledger.store import Ledger
from gateway.runtime.priority import give_way
from gateway.runtime.service import Write

__all__ = ["keep_rolling"]

log = logging.getLogger("metergate")

T = TypeVar("T")

INTERVAL_S = 10.0
TROUBLE_S = 60.0
BUSY_S = 1.0
STEP = Step(marked=5_000, hours=200, readings=500, together=4)
"""Readings wait for each step: for the interpreter while it is computed, and for the ledger while it is written."""


async def keep_rolling(
    write: Write, share: Callable[[], float], *, open_ledger: Callable[[], Ledger], clock: Callable[[], int]
) -> None:
    """Keep the roll-ups of a ledger until cancelled, in a `share` of the time; `clock` gives ns."""
    loop = asyncio.get_running_loop()
    reader = _Reader(open_ledger, clock)
    trouble = False
    with ThreadPoolExecutor(1, thread_name_prefix="rollups", initializer=give_way) as worker:

        def aside(work: Callable[[], T]) -> asyncio.Future[T]:
            return loop.run_in_executor(worker, work)

        try:
            while True:
                part, begun, more = share(), loop.time(), False
                try:
                    if part:
                        for look in (reader.unmarked, reader.unmade):
                            more |= (await write(await aside(look))).more
                    wait = BUSY_S if not part else (loop.time() - begun) * (1 / part - 1) if more else INTERVAL_S
                    if trouble:
                        log.info("roll-ups are kept again")
                    trouble = False
                except (sqlite3.Error, OSError, MetergateError) as error:
                    if not trouble:
                        log.warning("roll-ups cannot be kept: %s; histories are right without them, but slower", error)
                    trouble, wait = True, TROUBLE_S
                    await aside(reader.close)
                await asyncio.sleep(wait)
        finally:
            await aside(reader.close)


class _Reader:
    """Looks for what is to be done, on the worker's thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], clock: Callable[[], int]) -> None:
        self._open, self._clock = open_ledger, clock
        self._ledger: Ledger | None = None

    def unmarked(self) -> Found:
        """Look for readings whose hours are not marked yet."""
        return look_for_unmarked(self._opened(), STEP)

    def unmade(self) -> Found:
        """Look for marked hours that are over."""
        return look_for_unmade(self._opened(), self._clock(), STEP)

    def _opened(self) -> Ledger:
        if self._ledger is None:
            self._ledger = self._open()
            self._ledger.connection.execute("PRAGMA cache_size = -2048")
        return self._ledger

    def close(self) -> None:
        """Close the ledger, if it is open."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
