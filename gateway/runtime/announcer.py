"""Tells the world what has become durable: alarm events and device states to MQTT, alarms to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

import orjson

from gateway.alarms.conditions import Severity
from gateway.alarms.life import Happening
from gateway.ledger import alarms as alarm_rows
from gateway.pipeline.happenings import event_record
from gateway.pipeline.standing import device_state
from gateway.pipeline.state import NEVER
from gateway.runtime.ingest import Done, Ingest

__all__ = ["Announcer", "Publish", "event_attributes"]

log = logging.getLogger("metergate.alarms")

Publish = Callable[[str, bytes, bool, dict[str, str]], None]
"""(topic, payload, retain, MQTT 5 user properties); never blocks."""

STATES = 10
"""So many device states are published at once at most, ten times a second."""

_LEVEL = {
    Severity.CRITICAL: logging.ERROR,
    Severity.MAJOR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.INFO: logging.INFO,
    Severity.NONE: logging.INFO,
}


class Announcer:
    """Called with every committed batch, on the ledger's thread; publishes from a cursor over the alarm log.

    States are published by `flush`, for at most `STATES` devices at a time, those waiting longest first: what a fleet
    reports must not drown in what is said about it.
    """

    def __init__(self, site: str, publish: Publish) -> None:
        self._site = site
        self._publish = publish
        self._cursor: int | None = None
        self._waiting: dict[str, None] = {}
        self._afresh = False

    def say_again(self) -> None:
        """Say once more what stands: the broker has forgotten it. May be called from any thread."""
        self._afresh = True

    def __call__(self, ingest: Ingest, done: Done) -> None:
        """Announce a batch: its alarm events at once, the states of the devices it touched by and by."""
        for happening in done.happenings:
            _log(happening)
        if done.happenings or not done.channels:
            self.alarms(ingest)
        facts = ingest.plan.facts
        self._waiting.update(dict.fromkeys(facts[c].device for c in done.channels))

    def flush(self, ingest: Ingest) -> None:
        """Publish some of the states that wait, the oldest first."""
        if self._afresh:
            self._afresh = False
            self._everything(ingest)
        chosen = list(self._waiting)[:STATES]
        for device in chosen:
            del self._waiting[device]
        known = {d for d in chosen if d in ingest.plan.devices}
        if known:
            self.states(ingest, known)

    def _everything(self, ingest: Ingest) -> None:
        self.alarms(ingest)
        standing = {alarm.id for alarm in ingest.alarms.values()}
        for alarm, document in alarm_rows.last_events(ingest.ledger.connection, standing):
            self._publish(
                f"metergate/alarm/{self._site}/{alarm}",
                document.encode(),
                True,
                event_attributes(orjson.loads(document)),
            )
        heard = ingest.states["time"] != NEVER
        facts = ingest.plan.facts
        self._waiting.update(dict.fromkeys(facts[c].device for c in heard.nonzero()[0].tolist()))

    def states(self, ingest: Ingest, devices: set[str]) -> None:
        """Publish where these devices stand."""
        plan = ingest.plan
        open_: dict[str, list[str]] = {}
        for device, _, kind in ingest.alarms:
            if device in devices:
                open_.setdefault(device, []).append(kind.value)
        for device in devices:
            state = device_state(plan, device, ingest.states, sorted(open_.get(device, [])))
            self._publish(f"metergate/state/{self._site}/{device}", orjson.dumps(state), True, {})

    def alarms(self, ingest: Ingest) -> None:
        """Publish the alarm events recorded since the last time, whoever recorded them."""
        connection = ingest.ledger.connection
        if self._cursor is None:
            self._cursor = 0
            self._open_only(ingest)
            return
        for number, alarm, document in alarm_rows.events(connection, self._cursor):
            self._cursor = number
            event = orjson.loads(document)
            if event["device"] in ingest.plan.devices:  # its state names the alarms that are open
                self._waiting[event["device"]] = None
            payload = b"" if event["transition"] == "cleared" else document.encode()
            topic = f"metergate/alarm/{self._site}/{alarm}"
            self._publish(topic, payload, True, event_attributes(event) if payload else {})

    def _open_only(self, ingest: Ingest) -> None:
        """At the start: publish the open alarms' latest events, and empty payloads for those closed meanwhile."""
        latest: dict[str, str] = {}
        while rows := alarm_rows.events(ingest.ledger.connection, self._cursor or 0):
            for number, alarm, document in rows:
                self._cursor = number
                latest[alarm] = document
        standing = {a.id for a in ingest.alarms.values()}
        for alarm, document in latest.items():
            payload = document.encode() if alarm in standing else b""
            properties = event_attributes(orjson.loads(document)) if payload else {}
            self._publish(f"metergate/alarm/{self._site}/{alarm}", payload, True, properties)


def event_attributes(event: dict[str, object]) -> dict[str, str]:
    """Return the CloudEvents 1.0 attributes of an alarm event."""
    return {
        "specversion": "1.0",
        "id": f"{event['alarm']}-{event['transition']}-{event['time']}",
        "source": f"/sites/{event['site']}" + (f"/devices/{event['device']}" if event["device"] else ""),
        "type": f"metergate.{event['kind']}.alarm.{event['transition']}.v1",
        "time": str(event["time"]),
        "subject": str(event["channel"]),
    }


def _log(h: Happening) -> None:
    record = event_record(h)
    log.log(
        _LEVEL[h.alarm.severity], "%s %s %s: %s", h.alarm.severity.text, h.transition.value, h.alarm.id, record["text"]
    )
