"""Alarms in the ledger: how each stands, and every event of its life."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.alarms.conditions import AlarmKind, Severity
from gateway.alarms.life import Alarm, Happening
from gateway.pipeline.happenings import Key, event_record

__all__ = ["Past", "events", "find", "last_events", "open_alarms", "put", "recorded"]

_COLUMNS = (
    "id, site, device, channel, kind, severity, raised_at, changed_at, cleared_at, evidence, text, reason, "
    "acknowledged_at, acknowledged_by, acknowledged_reason, shelved_until, shelved_by, shelved_reason"
)


def put(connection: sqlite3.Connection, happenings: Iterable[Happening]) -> None:
    """Write what happened: the alarm as it now stands, and the event."""
    for h in happenings:
        a = h.alarm
        connection.execute(
            f"INSERT OR REPLACE INTO alarm ({_COLUMNS}) VALUES ({', '.join('?' * 18)})",  # noqa: S608  constants only
            (
                a.id, a.site, a.device, a.channel, a.kind.value, a.severity.text, a.raised_at, a.changed_at,
                a.cleared_at,
                orjson.dumps(dict(a.evidence)).decode(), a.text, a.reason, a.acknowledged_at, a.acknowledged_by,
                a.acknowledged_reason, a.shelved_until, a.shelved_by, a.shelved_reason,
            ),
        )  # fmt: skip
        connection.execute(
            "INSERT INTO alarm_event (alarm, document) VALUES (?, ?)", (a.id, orjson.dumps(event_record(h)).decode())
        )


def _alarm(row: Sequence[object]) -> Alarm:
    values: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["kind"] = AlarmKind(str(values["kind"]))
    values["severity"] = Severity[str(values["severity"]).upper()]
    values["evidence"] = json.loads(str(values["evidence"]))
    return Alarm(**values)


def open_alarms(connection: sqlite3.Connection) -> dict[Key, Alarm]:
    """Return the alarms that are not cleared, by (device, channel, kind)."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM alarm WHERE cleared_at IS NULL")  # noqa: S608  constants only
    alarms = [_alarm(r) for r in rows]
    return {(a.device or "", a.channel or "", a.kind): a for a in alarms}


def find(
    connection: sqlite3.Connection, *, only_open: bool = True, device: str | None = None, alarm: str | None = None
) -> list[Alarm]:
    """Return alarms, the gravest and newest first."""
    rows = connection.execute(
        f"""SELECT {_COLUMNS} FROM alarm
            WHERE (NOT ?1 OR cleared_at IS NULL) AND (?2 IS NULL OR device = ?2) AND (?3 IS NULL OR id = ?3)
        """,  # noqa: S608  constants only
        (only_open, device, alarm),
    )
    return sorted((_alarm(r) for r in rows), key=lambda a: (a.cleared_at is not None, -a.severity, -a.raised_at, a.id))


def events(connection: sqlite3.Connection, after: int = 0, limit: int = 1000) -> list[tuple[int, str, str]]:
    """Return alarm events in the order they were recorded: (number, alarm id, JSON)."""
    return list(
        connection.execute(
            "SELECT id, alarm, document FROM alarm_event WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
    )


def last_events(connection: sqlite3.Connection, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (alarm id, JSON) of the newest event of each of these alarms."""
    for name in sorted(names):
        row = connection.execute(
            "SELECT document FROM alarm_event WHERE alarm = ? ORDER BY id DESC LIMIT 1", (name,)
        ).fetchone()
        if row is not None:
            yield name, row[0]


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows of alarms that stand no more."""

    connection: sqlite3.Connection

    def latest(self, key: Key) -> Alarm | None:
        """Return the newest alarm of a condition, closed or not."""
        row = self.connection.execute(
            f"SELECT {_COLUMNS} FROM alarm WHERE device = ? AND channel = ? AND kind = ? "  # noqa: S608  constants only
            "ORDER BY raised_at DESC LIMIT 1",
            (key[0], key[1], key[2].value),
        ).fetchone()
        return None if row is None else _alarm(row)

    def closed_by_hand(self, name: str) -> bool:
        """Whether a person closed this alarm."""
        rows = self.connection.execute(
            "SELECT e.document FROM alarm_event e JOIN alarm a ON a.id = e.alarm "
            "WHERE a.id = ? AND a.cleared_at IS NOT NULL ORDER BY e.id DESC LIMIT 1",
            (name,),
        )
        return any(json.loads(document)["by"] is not None for (document,) in rows)


def recorded(connection: sqlite3.Connection, device: str, channel: str) -> frozenset[tuple[str, str, int]]:
    """Return (alarm id, transition, time in ns) of everything recorded of a channel's alarms."""
    from gateway.metrology.instants import parse_rfc3339

    rows = connection.execute(
        "SELECT e.alarm, e.document FROM alarm_event e JOIN alarm a ON a.id = e.alarm "
        "WHERE a.device = ? AND a.channel = ?",
        (device, channel),
    )
    found = [(alarm, json.loads(document)) for alarm, document in rows]
    return frozenset((alarm, d["transition"], parse_rfc3339(d["time"])) for alarm, d in found)
