"""The alarm that the gateway's clock was set: what hangs on it, receipt and silence, may be wrong until it is right.

Whether it is right the readings say: instruments whose clocks agree with it again end the alarm. So a clock that was
wrong and has been corrected leaves no more than two entries in the record of alarms.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.ledger.store import Ledger
from gateway.metrology.instants import SECOND_NS, format_duration
from gateway.runtime.service import FRESH_NS, Write
from gateway.runtime.system_alarms import PartAlarm

__all__ = ["PART", "ClockWatch"]

log = logging.getLogger("metergate")

PART = "clock"
LOOK_S = 1.0
STEP_NS = 5 * SECOND_NS
"""A clock that is slewed moves by less in a second; one that is set by less does no harm."""


class ClockWatch:
    """Works beside the service. `clock` gives ns; `heard`: how many readings have come, and how far (ns) the clock was
    ahead of the last of them, of most.
    """

    def __init__(
        self,
        site: str,
        open_ledger: Callable[[], Ledger],
        clock: Callable[[], int],
        heard: Callable[[], tuple[int, int]],
    ) -> None:
        self._alarm, self._clock, self._heard = PartAlarm(site, PART, open_ledger, clock), clock, heard

    async def __call__(self, write: Write, share: Callable[[], float]) -> None:  # noqa: ARG002  the contract's arguments
        """Compare the clock with the loop's, which nobody sets, until cancelled."""
        loop = asyncio.get_running_loop()
        told, elapsed = self._clock(), loop.time()
        untold: int | None = None
        stands, count_then = True, 0  # an alarm of an earlier run may stand
        while True:
            await asyncio.sleep(LOOK_S)
            before, since = told, elapsed
            told, elapsed = self._clock(), loop.time()
            step = told - before - round((elapsed - since) * SECOND_NS)
            if abs(step) >= STEP_NS:
                log.warning("%s", _text(step))
                untold, count_then = step, self._heard()[0]
            if untold is not None:
                if await self._alarm.raise_(_text(untold), {"step_s": untold / SECOND_NS}):
                    untold, stands = None, True
            elif stands and self._agrees(count_then):
                stands = not await self._alarm.clear("the clock and the readings agree")

    def _agrees(self, count_then: int) -> bool:
        """Return whether readings have come since there were so many, and the clock is right by them."""
        count, ahead = self._heard()
        return count > count_then and abs(ahead) < FRESH_NS


def _text(step: int) -> str:
    by = format_duration(round(abs(step) / SECOND_NS) * SECOND_NS)
    if step > 0:
        return f"the gateway's clock was set forward by {by}; if that is wrong, silence is misjudged until it is right"
    return (
        f"the gateway's clock was set back by {by}; if that is wrong, readings are quarantined as future_time until it "
        "is right: approve them then"
    )
