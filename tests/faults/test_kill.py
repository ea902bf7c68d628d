"""kill -9 of the gateway under load: everything acknowledged is stored exactly once, and the counters balance."""

from __future__ import annotations

from pathlib import Path

from bench.kill import Trial, run
from gateway.ledger import moments
from gateway.ledger.store import Ledger
from tests.conftest import Mosquitto


def test_killing_the_gateway_again_and_again_loses_and_doubles_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    outcome = run(Trial(port=mosquitto.port, folder=tmp_path / "site", cycles=5, rate=300, seed=7))
    assert outcome.cut_short == outcome.cycles
    assert outcome.acknowledged == outcome.published > 300
    assert (outcome.lost, outcome.doubled, outcome.differing) == (0, 0, 0)
    assert outcome.together > 0
    assert outcome.stored == outcome.published
    assert outcome.balanced
    assert outcome.counters["stored"] == outcome.stored
    assert outcome.counters.get("quarantined", 0) == 0
    assert outcome.exit_code == 0
    assert outcome.stop_s <= 5
    with Ledger.open(next((tmp_path / "site").rglob("ledger.sqlite")).parent, create=False) as ledger:
        assert moments.wrong(ledger.connection) == 0
        (found,) = ledger.connection.execute("SELECT COUNT(*) FROM moments").fetchone()
    assert found == outcome.stored
