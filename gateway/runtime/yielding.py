"""The alarm that another client has our name at the broker: two gateways of one name share out one session's readings.

It stands while our place is left to the other, and until we have had it back for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collectors.mqtt import EventKind, MqttEvent
from gateway.ledger.store import Ledger
from gateway.runtime.service import Write
from gateway.runtime.system_alarms import PartAlarm

__all__ = ["PART", "YieldingAlarm"]

PART = "broker"
STEADY_S = 60.0
"""So long the place must have been ours before the alarm is cleared."""
RETRY_S = 5.0
_ENDED = {EventKind.DISCONNECTED, EventKind.PASSIVE}


class YieldingAlarm:
    """Told of the connection's events by `note`; works beside the service. `client_id`: our name; `clock` gives ns."""

    def __init__(self, site: str, client_id: str, open_ledger: Callable[[], Ledger], clock: Callable[[], int]) -> None:
        self._alarm, self._client_id = PartAlarm(site, PART, open_ledger, clock), client_id
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
            if not await self._settled():
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _changes_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _settled(self) -> bool:
        if self._taken is None:
            return await self._alarm.clear("the gateway has had its place at the broker to itself")
        return await self._alarm.raise_(self._taken, {"client_id": self._client_id})
