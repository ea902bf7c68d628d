"""Roll-ups kept while the gateway runs: a reader beside the service, with a connection and a thread of its own.

It works a fraction of the time and in small steps, so that taking readings comes first; what it has not done yet a
query does from the readings. Trouble here is logged and tried again, and never reaches the service.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from gateway.errors import MetergateError
from gateway.history.rolling import advance
from gateway.ledger.store import Ledger
from gateway.runtime.priority import give_way

__all__ = ["rolling"]

log = logging.getLogger("metergate")

INTERVAL_S = 10.0
REST = 3.0
"""While there is more to do, so many times as long as a step took."""
TROUBLE_S = 60.0
BUSY_S = 1.0


@asynccontextmanager
async def rolling(
    open_ledger: Callable[[], Ledger], clock: Callable[[], int], busy: Callable[[], bool] = lambda: False
) -> AsyncIterator[None]:
    """Keep the roll-ups of a ledger while the block runs, but not while it is `busy`; `clock` gives ns.

    Leaves within one step.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="rollups", initializer=give_way) as worker:
        reader = _Reader(open_ledger, clock)
        task = asyncio.create_task(_keep(reader, worker, busy), name="rollups")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.get_running_loop().run_in_executor(worker, reader.close)


async def _keep(reader: _Reader, worker: ThreadPoolExecutor, busy: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        if busy():
            await asyncio.sleep(BUSY_S)
            continue
        begun = loop.time()
        wait = await loop.run_in_executor(worker, reader.step)
        await asyncio.sleep(REST * (loop.time() - begun) if wait is None else wait)


class _Reader:
    """Advances the roll-ups on the worker's thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], clock: Callable[[], int]) -> None:
        self._open, self._clock = open_ledger, clock
        self._ledger: Ledger | None = None
        self._trouble = False

    def step(self) -> float | None:
        """Take one step; return how long to wait (s), None if there is more to do."""
        try:
            if self._ledger is None:
                self._ledger = self._open()
                self._ledger.connection.execute("PRAGMA synchronous = NORMAL")  # a cache: the readings are the truth
                self._ledger.connection.execute("PRAGMA cache_size = -2048")
            more = advance(self._ledger, self._clock()).more
        except (sqlite3.Error, OSError, MetergateError) as error:
            if not self._trouble:
                log.warning("roll-ups cannot be kept: %s; histories are right without them, but slower", error)
            self._trouble = True
            self.close()
            return TROUBLE_S
        if self._trouble:
            log.info("roll-ups are kept again")
            self._trouble = False
        return None if more else INTERVAL_S

    def close(self) -> None:
        """Close the ledger, if it is open."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
