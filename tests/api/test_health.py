"""Health, readiness and metrics of a gateway whose ledger holds known things."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.alarms.conditions import AlarmKind, Severity
from gateway.api import Response
from gateway.api.health import answering, readiness
from gateway.api.metrics import Exposition, Survey
from gateway.api.watched import Work
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Why

NOW = 1_800_000_000 * 10**9
WORK = Work(
    ingesting=True, connected=True, trouble=None, messages=40, batches=3, checks=7, queued=5, paused=False, devices=2,
    channels=4, writable=True,
)  # fmt: skip


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "var"
    with Ledger.open(folder) as ledger, ledger.transaction() as connection:
        counters = {"received": 10, "stored": 6, "duplicate": 1, "quarantined": 3, "late": 2}
        connection.executemany("INSERT INTO counter VALUES (?, ?)", counters.items())
        connection.executemany(
            "INSERT INTO quarantine (received_at, reason, detail, payload, state) VALUES (0, ?, '', ?, ?)",
            [("not_json", b"{", "open"), ("not_json", b"[", "rejected"), ("unknown_unit", b"{}", "open")],
        )
        connection.executemany(
            "INSERT INTO alarm (id, kind, severity, raised_at, changed_at, cleared_at, evidence, text) "
            "VALUES (?, ?, ?, 0, 0, ?, '{}', '')",
            [("a", "drift", "major", None), ("b", "drift", "major", None), ("c", "mpe", "critical", 5)],
        )
    return folder


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return value by name and label values."""
    return {
        (s.name, tuple(s.labels.values())): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
    }


def scrape(data_dir: Path, work: Work = WORK) -> dict[tuple[str, tuple[str, ...]], float]:
    survey = Survey(data_dir)
    try:
        return samples(Exposition(lambda: work, survey, lambda: NOW).text())
    finally:
        survey.close()


def test_every_reading_is_in_exactly_one_outcome(data_dir: Path) -> None:
    found = scrape(data_dir)
    outcomes = {labels[0]: v for (name, labels), v in found.items() if name == "metergate_readings_total"}
    assert outcomes == {"stored": 6, "duplicate": 1, "quarantined": 3}
    assert sum(outcomes.values()) == found["metergate_readings_received_total", ()]
    assert found["metergate_readings_late_total", ()] == 2


def test_quarantine_is_counted_by_every_reason_of_the_closed_list(data_dir: Path) -> None:
    found = scrape(data_dir)
    reasons = {labels[0]: v for (name, labels), v in found.items() if name == "metergate_quarantined_total"}
    assert reasons == {w.value: {"not_json": 2, "unknown_unit": 1}.get(w.value, 0) for w in Why}
    assert found["metergate_quarantine_open", ()] == 2


def test_open_alarms_are_counted_and_closed_ones_are_not(data_dir: Path) -> None:
    found = scrape(data_dir)
    alarms = {labels: v for (name, labels), v in found.items() if name == "metergate_alarms_open"}
    assert len(alarms) == len(AlarmKind) * (len(Severity) - 1)
    assert {labels: v for labels, v in alarms.items() if v} == {("drift", "major"): 2}


def test_a_second_look_counts_what_came_between(data_dir: Path) -> None:
    survey = Survey(data_dir)
    assert survey().quarantined["not_json"] == 2
    with Ledger.open(data_dir) as ledger, ledger.transaction() as connection:
        connection.execute(
            "INSERT INTO quarantine (received_at, reason, detail, payload) VALUES (0, 'not_json', '', '')"
        )
    assert survey().quarantined["not_json"] == 3
    assert survey().quarantined["not_json"] == 3
    survey.close()


def test_the_number_of_series_does_not_grow_with_the_fleet(data_dir: Path) -> None:
    few = set(scrape(data_dir))
    with Ledger.open(data_dir) as ledger, ledger.transaction() as connection:
        connection.executemany(
            "INSERT INTO alarm (id, device, kind, severity, raised_at, changed_at, evidence, text) "
            "VALUES (?, ?, 'silent', 'warning', 0, 0, '{}', '')",
            [(f"n{i}", f"d{i}") for i in range(500)],
        )
    assert set(scrape(data_dir, replace(WORK, devices=10_000, channels=30_000))) == few


def test_a_ledger_that_is_not_there_leaves_the_numbers_of_the_work(tmp_path: Path) -> None:
    found = scrape(tmp_path)
    assert found["metergate_ledger_readable", ()] == 0
    assert found["metergate_messages_total", ()] == 40
    assert not (tmp_path / "ledger.sqlite").exists()


def test_the_age_of_the_last_reading_is_shown(data_dir: Path) -> None:
    assert ("metergate_last_reading_age_seconds", ()) not in scrape(data_dir)
    with Ledger.open(data_dir) as ledger, ledger.transaction() as connection:
        columns = "channel, time, value, clock, received_at, late, quality"
        connection.execute(f"INSERT INTO reading ({columns}) VALUES (1, 0, 1.0, 0, ?, 0, 0)", (NOW - 90 * 10**9,))
    assert scrape(data_dir)["metergate_last_reading_age_seconds", ()] == 90


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (replace(WORK, ingesting=False), "it is starting"),
        (replace(WORK, connected=False), "it is connecting to the broker"),
        (replace(WORK, connected=False, trouble="the broker does not answer"), "the broker does not answer"),
        (replace(WORK, writable=False, trouble="the disk is full"), "the disk is full"),
    ],
)
def test_a_gateway_is_ready_only_while_readings_are_stored(work: Work, reason: str) -> None:
    assert readiness(lambda: WORK).status == 200
    answer = readiness(lambda: work)
    assert answer.status == 503
    assert json.loads(answer.body)["detail"] == reason


def test_the_three_places_answer_and_others_do_not(data_dir: Path) -> None:
    async def ask() -> list[Response]:
        async with answering(lambda: WORK, data_dir, lambda: NOW) as respond:
            return [await respond("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/api")]

    alive, ready, metrics, other = asyncio.run(ask())
    assert (alive.status, ready.status, metrics.status, other.status) == (200, 200, 200, 404)
    assert metrics.content_type.startswith("text/plain; version=0.0.4")
    assert samples(metrics.body)["metergate_checks_total", ()] == 7
