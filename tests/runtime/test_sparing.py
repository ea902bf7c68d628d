"""The last line of defence: one reading that makes judging fail takes neither the others nor the gateway with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger import quarantine
from gateway.ledger.store import Ledger
from gateway.pipeline.judge import judge
from gateway.runtime import ingest as ingesting
from gateway.runtime.ingest import Batch, Ingest
from gateway.runtime.sparing import process
from tests.pipeline.centre import DAY, LATENESS, certificate, check, plan_of, scale

BAD = 7.75
ALONE = plan_of([scale("a")], [certificate("a")])


@pytest.fixture
def ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    """An ingest whose judging has a defect: it fails on one value."""

    def defective(plan: Any, states: Any, columns: Any, **more: Any) -> Any:
        if (columns.value == BAD).any():
            raise OverflowError("too much")
        return judge(plan, states, columns, **more)

    monkeypatch.setattr(ingesting, "judge", defective)
    with Ledger.open(tmp_path / "var") as ledger:
        yield Ingest(ledger, ALONE, LATENESS)


def batch(days: range, bad: int | None, **more: Any) -> Batch:
    readings = [check("a", d, BAD if d == bad else 5.001, seq=d) for d in days]
    at = days.stop * DAY
    return Batch(readings=readings, received_at=[at], topic=["t"], payload=[b"{}"], at=at, **more)


def test_only_the_reading_that_cannot_be_judged_is_quarantined(ingest: Ingest) -> None:
    done = process(ingest, batch(range(1, 12), bad=4))
    assert (done.received, done.stored, done.quarantined) == (11, 10, 1)
    (entry,) = quarantine.entries(ingest.ledger.connection, state="open")
    assert (entry.reason, entry.device) == ("not_finite", "a")
    assert "OverflowError: too much" in entry.detail
    counters = dict(ingest.ledger.connection.execute("SELECT name, n FROM counter"))
    assert counters["received"] == counters["stored"] + counters["quarantined"] == 11


def test_the_others_are_judged_as_if_it_had_not_come(ingest: Ingest, tmp_path: Path) -> None:
    process(ingest, batch(range(1, 12), bad=4))
    with Ledger.open(tmp_path / "other") as ledger:
        other = Ingest(ledger, ALONE, LATENESS)
        whole = batch(range(1, 12), bad=None)
        process(other, Batch(readings=[r for r in whole.readings if r.seq != 4], received_at=whole.received_at))
        asked = "SELECT r.time, r.verdict, c.document FROM reading r JOIN context c ON c.id = r.context ORDER BY 1"
        assert other.ledger.connection.execute(asked).fetchall() == ingest.ledger.connection.execute(asked).fetchall()


def test_a_ledger_that_fails_is_no_fault_of_a_reading(ingest: Ingest) -> None:
    ingest.ledger.close()
    with pytest.raises(sqlite3.Error):
        process(ingest, batch(range(1, 4), bad=None))
