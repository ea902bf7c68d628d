"""The alarm that the gateway's clock was set: what hangs on it, receipt and silence, may be wrong until it is right.

Whether it is right the readings say: instruments whose clocks agree with it again end the alarm. So a clock that was
wrong and has been corrected leaves no more than two entries in the record of alarms.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable

from gateway.alarms.conditions import Severity
from gateway.errors import MetergateError
from gateway.ledger.store import Ledger
from gateway.metrology.instants import SECOND_NS, format_duration
from gateway.runtime.service import FRESH_NS, Write
from gateway.runtime.system_alarms import calm, trouble

__all__ = ["PART", "ClockWatch"]

log = logging.getLogger("metergate")

PART = "clock"
LOOK_S = 1.0
STEP_NS = 5 * SECOND_NS
"""A clock that is slewed moves by less in a second; one that is set by less does no harm."""


class ClockWatch:
    """Works beside the service. `clock` gives ns; `heard`: how many readings have come, and how far (ns) the clock was
    ahead of the last of them, of most.

    It writes on a connection of its own, as other commands do: so the service takes note and tells of the alarm.
    """

    def __init__(
        self,
        site: str,
        open_ledger: Callable[[], Ledger],
        clock: Callable[[], int],
        heard: Callable[[], tuple[int, int]],
    ) -> None:
        self._site, self._open, self._clock, self._heard = site, open_ledger, clock, heard

    async def __call__(self, write: Write, share: Callable[[], float]) -> None:  # noqa: ARG002  the contract's arguments
        """Compare the clock with the loop's, which nobody sets, until cancelled."""
        loop = asyncio.get_running_loop()
        told, elapsed = self._clock(), loop.time()
        stands, since_count = True, 0  # an alarm of an earlier run may stand
        while True:
            await asyncio.sleep(LOOK_S)
            before, since = told, elapsed
            told, elapsed = self._clock(), loop.time()
            step = told - before - round((elapsed - since) * SECOND_NS)
            count, ahead = self._heard()
            if abs(step) >= STEP_NS:
                log.warning("%s", _text(step))
                stands, since_count = await self._settled(step) or stands, count
            elif stands and count > since_count and abs(ahead) < FRESH_NS:
                stands = not await self._settled(None)

    async def _settled(self, step: int | None) -> bool:
        """Raise the alarm of a step, or clear it; return whether it is written."""
        try:
            await asyncio.to_thread(self._settle, step)
        except (sqlite3.Error, OSError, MetergateError) as error:
            log.warning("the alarm of the clock cannot be written: %s", error)
            return False
        return True

    def _settle(self, step: int | None) -> None:
        with self._open() as ledger:
            if step is None:
                calm(ledger, PART, "the clock and the readings agree", self._clock())
            else:
                evidence = {"step_s": step / SECOND_NS}
                trouble(ledger, self._site, PART, Severity.MAJOR, _text(step), evidence, self._clock())


def _text(step: int) -> str:
    by = format_duration(round(abs(step) / SECOND_NS) * SECOND_NS)
    if step > 0:
        return f"the gateway's clock was set forward by {by}; if that is wrong, no silence is noticed until it is right"
    return (
        f"the gateway's clock was set back by {by}; if that is wrong, readings are quarantined as future_time until it "
        "is right: approve them then"
    )
