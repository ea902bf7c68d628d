"""The person's side of an alarm, and its record: raised -> acknowledged -> cleared, or shelved until a moment.

An alarm is one excursion of one condition: its id follows from (device, channel, kind, moment it rose), so that the
same readings make the same alarm wherever they are judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b

from gateway.alarms.conditions import AlarmKind, Severity, Transition

__all__ = ["Alarm", "AlarmState", "Happening", "acknowledge", "alarm_id", "clear", "move", "shelve", "state_of"]


class AlarmState(StrEnum):
    """Where an alarm is in its life."""

    RAISED = "raised"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm as it stands; times in ns."""

    id: str
    site: str | None
    device: str | None
    channel: str | None
    kind: AlarmKind
    severity: Severity
    raised_at: int
    changed_at: int
    evidence: Mapping[str, object] = field(default_factory=dict)
    text: str = ""
    reason: str | None = None
    cleared_at: int | None = None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    acknowledged_reason: str | None = None
    shelved_until: int | None = None
    shelved_by: str | None = None
    shelved_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A transition of an alarm, with the alarm after it: one line of the alarm log."""

    time: int
    transition: Transition
    alarm: Alarm
    reason: str | None = None
    by: str | None = None
    until: int | None = None


def alarm_id(device: str, channel: str, kind: AlarmKind, raised_at: int) -> str:
    """Return the id of the alarm that this condition raised at that moment.

    >>> alarm_id("scale-07", "mass", AlarmKind.DRIFT, 0)
    'drift-075f14bc0774'
    """
    text = f"{device}\n{channel}\n{kind}\n{raised_at}"
    return f"{kind}-{blake2b(text.encode(), digest_size=6).hexdigest()}"


def state_of(alarm: Alarm, at: int) -> AlarmState:
    """Return where the alarm is in its life at `at` (ns): shelving ends by itself."""
    if alarm.cleared_at is not None:
        return AlarmState.CLEARED
    if alarm.shelved_until is not None and alarm.shelved_until > at:
        return AlarmState.SHELVED
    return AlarmState.RAISED if alarm.acknowledged_at is None else AlarmState.ACKNOWLEDGED


def move(alarm: Alarm, transition: Transition, severity: Severity, time: int, reason: str | None = None) -> Happening:
    """Return what the machine did to an alarm; an escalation asks for a new acknowledgement."""
    changed = replace(alarm, severity=severity, changed_at=time)
    if transition is Transition.CLEARED:
        changed = replace(alarm, changed_at=time, cleared_at=time, reason=reason)
    elif transition is Transition.ESCALATED:
        changed = replace(changed, acknowledged_at=None, acknowledged_by=None, acknowledged_reason=None)
    return Happening(time=time, transition=transition, alarm=changed, reason=reason)


def acknowledge(alarm: Alarm, at: int, by: str, reason: str) -> Happening:
    """Return the alarm as seen by a person."""
    changed = replace(alarm, acknowledged_at=at, acknowledged_by=by, acknowledged_reason=reason, changed_at=at)
    return Happening(time=at, transition=Transition.ACKNOWLEDGED, alarm=changed, reason=reason, by=by)


def shelve(alarm: Alarm, at: int, until: int, by: str, reason: str) -> Happening:
    """Return the alarm out of sight until a moment."""
    changed = replace(alarm, shelved_until=until, shelved_by=by, shelved_reason=reason, changed_at=at)
    return Happening(time=at, transition=Transition.SHELVED, alarm=changed, reason=reason, by=by, until=until)


def clear(alarm: Alarm, at: int, by: str, reason: str) -> Happening:
    """Return the alarm closed by a person. A condition that still stands raises a new one at the next reading."""
    changed = replace(alarm, cleared_at=at, changed_at=at, reason=reason)
    return Happening(time=at, transition=Transition.CLEARED, alarm=changed, reason=reason, by=by)
