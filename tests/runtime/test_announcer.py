"""What stands on MQTT is what stands in the ledger, whoever changed it, whatever the broker forgot (CONTRACTS §7)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.alarms.life import clear
from gateway.ledger import alarms as alarm_rows
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.runtime.announcer import Announcer
from gateway.runtime.ingest import Batch, Done, Ingest
from tests.pipeline.centre import DAY, LATENESS, certificate, check, plan_of, scale

PLAN = plan_of([scale("a"), scale("b"), scale("never")], [certificate("a"), certificate("b")])


class Broker:
    """Keeps what is retained, and can forget it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def publish(self, topic: str, payload: bytes, retain: bool, _properties: dict[str, str]) -> None:
        assert retain
        if payload:
            self.kept[topic] = payload
        else:
            self.kept.pop(topic, None)


class Gateway:
    """Ingest and what tells of it."""

    def __init__(self, ledger: Ledger) -> None:
        self.broker = Broker()
        self.announcer = Announcer("s", self.broker.publish)
        self.ingest = Ingest(ledger, PLAN, LATENESS)
        self.announcer(self.ingest, Done())

    def take(self, *readings: Reading) -> None:
        at = max(r.time for r in readings)
        batch = Batch(readings=readings, received_at=[at], topic=["t"], payload=[b"{}"], at=at)
        self.announcer(self.ingest, self.ingest.process(batch))
        self.flush()

    def flush(self) -> None:
        for _ in range(3):
            self.announcer.flush(self.ingest)

    def alarms_of(self, device: str) -> list[str]:
        found: list[str] = json.loads(self.broker.kept[f"metergate/state/s/{device}"])["alarms"]
        return found


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Ledger.open(tmp_path) as ledger:
        gateway = Gateway(ledger)
        gateway.take(check("a", 1, 5.001, seq=1), check("b", 1, 5.001, seq=1))
        gateway.take(check("a", 2, 5.5, seq=2))
        yield gateway


def test_what_the_broker_forgot_is_said_again(gateway: Gateway) -> None:
    before = dict(gateway.broker.kept)
    assert {t.split("/")[1] for t in before} == {"alarm", "state"}
    gateway.broker.kept.clear()
    gateway.announcer.say_again()
    gateway.flush()
    assert gateway.broker.kept == before


def test_the_state_tells_at_once_that_a_person_closed_an_alarm(gateway: Gateway) -> None:
    assert gateway.alarms_of("a") == ["drift"]
    connection = gateway.ingest.ledger.connection
    with gateway.ingest.ledger.transaction():
        for alarm in alarm_rows.find(connection):
            alarm_rows.put(connection, [clear(alarm, 3 * DAY, "Lan", "weights replaced")])
    gateway.ingest.reload_alarms()
    gateway.announcer(gateway.ingest, Done())
    gateway.flush()
    assert gateway.alarms_of("a") == []
    assert not [t for t in gateway.broker.kept if "/alarm/" in t]
