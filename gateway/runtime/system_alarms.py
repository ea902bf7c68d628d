"""Alarms of the gateway's own parts: raised and cleared in the ledger like those of instruments, with no device."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.alarms.conditions import AlarmKind, Severity, Transition
from gateway.alarms.life import Alarm, Happening, alarm_id, move
from gateway.ledger import alarms as alarm_rows
from gateway.ledger.store import Ledger

__all__ = ["calm", "trouble"]


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
