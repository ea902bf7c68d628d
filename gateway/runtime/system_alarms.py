"""Alarms of the gateway's own parts: raised and cleared in the ledger like those of instruments, with no device."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping

from gateway.alarms.conditions import AlarmKind, Severity, Transition
from gateway.alarms.life import Alarm, Happening, alarm_id, move
from gateway.errors import MetergateError
from gateway.ledger import alarms as alarm_rows
from gateway.ledger.store import Ledger

__all__ = ["PartAlarm", "calm", "trouble"]

log = logging.getLogger("metergate")


class PartAlarm:
    """The system alarm of one part, for who works beside the service; `clock` gives ns.

    It writes on a connection of its own, as other commands do: so the service takes note and tells of the alarm.
    """

    def __init__(self, site: str, part: str, open_ledger: Callable[[], Ledger], clock: Callable[[], int]) -> None:
        self._site, self._part, self._open, self._clock = site, part, open_ledger, clock

    async def raise_(self, text: str, evidence: Mapping[str, object]) -> bool:
        """Raise it if it does not stand; return whether that is written. It is major."""
        return await self._written(
            lambda ledger, at: trouble(ledger, self._site, self._part, Severity.MAJOR, text, evidence, at)
        )

    async def clear(self, reason: str) -> bool:
        """Clear it if it stands; return whether that is written."""
        return await self._written(lambda ledger, at: calm(ledger, self._part, reason, at))

    async def _written(self, work: Callable[[Ledger, int], None]) -> bool:
        def write() -> None:
            with self._open() as ledger:
                work(ledger, self._clock())

        try:
            await asyncio.to_thread(write)
        except (sqlite3.Error, OSError, MetergateError) as error:
            log.warning("the alarm of the %s cannot be written: %s; it is tried again", self._part, error)
            return False
        return True


def trouble(
    ledger: Ledger, site: str, part: str, severity: Severity, text: str, evidence: Mapping[str, object], at: int
) -> None:
    """Raise the system alarm of a part (it stands in `channel`), or let an open one escalate; `at` in ns."""
    with ledger.transaction() as connection:
        alarm = alarm_rows.open_alarms(connection).get(("", part, AlarmKind.SYSTEM))
        if alarm is None:
            raised = Alarm(
                id=alarm_id("", part, AlarmKind.SYSTEM, at),
                site=site,
                device=None,
                channel=part,
                kind=AlarmKind.SYSTEM,
                severity=severity,
                raised_at=at,
                changed_at=at,
                evidence=evidence,
                text=text,
            )
            alarm_rows.put(connection, [Happening(time=at, transition=Transition.RAISED, alarm=raised)])
        elif alarm.severity < severity:
            alarm_rows.put(connection, [move(alarm, Transition.ESCALATED, severity, at, text)])


def calm(ledger: Ledger, part: str, reason: str, at: int) -> None:
    """Clear the system alarm of a part if one is open."""
    if ("", part, AlarmKind.SYSTEM) not in alarm_rows.open_alarms(ledger.connection):
        return
    with ledger.transaction() as connection:
        alarm = alarm_rows.open_alarms(connection).get(("", part, AlarmKind.SYSTEM))
        if alarm is not None:
            alarm_rows.put(connection, [move(alarm, Transition.CLEARED, alarm.severity, at, reason)])
