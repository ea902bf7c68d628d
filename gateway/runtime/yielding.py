"""The alarm that another client has our name at the broker: two gateways of one name share out one session's readings.

It stands while our place is left to the other, and until we have had it back for a while.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable

from collectors.mqtt import EventKind, MqttEvent
from gateway.alarms.conditions import Severity
from gateway.errors import MetergateError
from gateway.ledger.store import Ledger
from gateway.runtime.service import Write
from gateway.runtime.system_alarms import calm, trouble

__all__ = ["PART", "YieldingAlarm"]

log = logging.getLogger("metergate")

PART = "broker"
STEADY_S = 60.0
"""So long the place must have been ours before the alarm is cleared."""
RETRY_S = 5.0
_ENDED = {EventKind.DISCONNECTED, EventKind.PASSIVE}


class YieldingAlarm:
    """Told of the connection's events by `note`; works beside the service. `client_id`: our name; `clock` gives ns.

    It writes on a connection of its own, as other commands do: so the service takes note and tells of the alarm.
    """

    def __init__(self, site: str, client_id: str, open_ledger: Callable[[], Ledger], clock: Callable[[], int]) -> None:
        self._site, self._client_id, self._open, self._clock = site, client_id, open_ledger, clock
        self._taken: str | None = None
        self._is_ours = False
        self._changed = asyncio.Event()

    def note(self, event: MqttEvent) -> None:
        """Take note of an event; on the loop."""
        self._is_ours = event.kind is EventKind.CONNECTED or (self._is_ours and event.kind not in _ENDED)
        if event.kind is EventKind.PASSIVE:
            self._taken = str(event.trouble)
        elif self._is_ours:
            self._taken = None
        self._changed.set()

    async def __call__(self, write: Write, share: Callable[[], float]) -> None:  # noqa: ARG002  the contract's arguments
        """Keep the alarm until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._taken is None and (not self._is_ours or await self._changes_within(STEADY_S)):
                continue
            try:
                await asyncio.to_thread(self._settle, self._taken)
            except (sqlite3.Error, OSError, MetergateError) as error:
                log.warning("the alarm of the broker cannot be written: %s; it is tried again", error)
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _changes_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _settle(self, taken: str | None) -> None:
        with self._open() as ledger:
            if taken is None:
                calm(ledger, PART, "the gateway has had its place at the broker to itself", self._clock())
            else:
                evidence = {"client_id": self._client_id}
                trouble(ledger, self._site, PART, Severity.MAJOR, taken, evidence, self._clock())
