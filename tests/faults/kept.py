"""What must hold after every fault."""

from __future__ import annotations

from bench.kill import Gateway, Publisher

__all__ = ["assert_all_kept"]


def assert_all_kept(gateway: Gateway, publisher: Publisher) -> None:
    """Everything published was acknowledged and is stored once; the counters balance; nobody saw a traceback."""
    stored, counters = gateway.stored(), gateway.counters()
    assert publisher.published == len(publisher.acknowledged) == len(stored)
    assert set(stored.values()) == {1}
    assert counters["received"] == counters["stored"] + counters.get("duplicate", 0)
    assert "Traceback" not in (gateway.folder / "run.log").read_text()
