"""The forwarder against a real InfluxDB 2: what the stand-in says of it must be so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.history.rolling import catch_up
from gateway.ledger.forwarding import refused_points, words
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.runtime.clock import now_ns
from gateway.settings import Influx
from tests.faults.proxy import Proxy
from tests.influx.real import Bucket, bucket
from tests.influx.support import adjusted, drained, forwarding, in_ledger, state, until
from tests.pipeline.centre import (
    DAY,
    certificate,
    check,
    feed,
    ingest_in,
    noisy_life,
    plan_of,
    scale,
    two_scales,
)


@pytest.fixture
def real() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


def a_life(folder: Path) -> None:
    ingest = ingest_in(folder, two_scales())
    feed(ingest, noisy_life(5))
    twins = [
        Reading(
            device="a", channel="mass", time=70 * DAY + i // 3, value=1.0 + i, unit="kg", seq=100 + i, boot='b "1"\\'
        )
        for i in range(9)
    ]
    feed(ingest, twins)
    ingest.ledger.close()


def forward(folder: Path, influx: Influx, zone: str = "UTC") -> None:
    async def whole() -> None:
        async with forwarding(folder, influx, zone=zone):
            if zone != "UTC":
                await until(lambda: zone_sent(folder) == zone, "other days")
            await asyncio.wait_for(drained(folder), 60)

    asyncio.run(whole())


def zone_sent(folder: Path) -> str | None:
    with Ledger.open(folder) as ledger:
        return words(ledger.connection).get("zone")


@pytest.mark.parametrize("gzip", ["on", "off"])
def test_the_server_holds_what_the_ledger_holds(real: Bucket, tmp_path: Path, gzip: str) -> None:
    a_life(tmp_path)
    forward(tmp_path, real.settings(gzip=gzip))
    assert real.readings() == in_ledger(tmp_path) != []
    assert state(tmp_path).poison == 0
    with Ledger.open(tmp_path) as ledger:
        checks = ledger.connection.execute("SELECT COUNT(verdict) FROM reading").fetchone()[0]
        events = ledger.connection.execute("SELECT COUNT(*) FROM alarm_event").fetchone()[0]
    assert len(real.points("verdict", "error")) == checks
    assert len(real.points("alarm", "transition")) == events > 0
    boots = {r["boot"] for r in real.points("reading", "boot", "value") if r["value"] == "9"}
    assert boots == {'b "1"\\'}


def test_a_superseded_verdict_overwrites_its_point(real: Bucket, tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")], [certificate("a")]))
    feed(ingest, [check("a", d, 5.001 + 0.0004 * (d % 3), seq=d) for d in range(8) if d != 3], at=8 * DAY)
    forward(tmp_path, real.settings())
    before = real.points("verdict", "ewma_statistic", "version")
    feed(ingest, [check("a", 3, 5.006, seq=3)], at=8 * DAY)
    forward(tmp_path, real.settings())
    after = real.points("verdict", "ewma_statistic", "version")
    assert (len(before), len(after)) == (7, 8)
    assert {r["version"] for r in after} == {"0", "1"}


def test_a_number_that_a_superseding_verdict_lacks_does_not_stay(real: Bucket, tmp_path: Path) -> None:
    lost = adjusted(tmp_path, after=lambda: forward(tmp_path, real.settings()))
    before = {r["_time"]: r["z"] for r in real.points("verdict", "z", "error") if r["z"]}
    forward(tmp_path, real.settings())
    after = {r["_time"]: r["z"] for r in real.points("verdict", "z", "error") if r["z"]}
    assert (len(before), len(after)) == (15, 15 - lost)
    assert len(real.points("verdict", "error")) == 20


def test_points_beyond_retention_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    now = now_ns()
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    ages = [0, 1, 2, 3, 100, 200, 300]
    rows = [
        Reading(device="a", channel="mass", time=now - age * DAY, value=1.0 + i, unit="kg", seq=i, boot="b")
        for i, age in enumerate(ages)
    ]
    feed(ingest, rows)
    with bucket(retention_s=30 * 86_400) as real:
        forward(tmp_path, real.settings())
        assert len(real.readings()) == 4
    with Ledger.open(tmp_path) as ledger:
        refused = [r for r in refused_points(ledger.connection) if r.measurement == "reading"]
    assert len(refused) == 3
    assert all("dropped" in r.words for r in refused)


def test_a_type_conflict_costs_the_point_and_is_quoted(real: Bucket, tmp_path: Path) -> None:
    """One reading's field is text already: its shard refuses the number, and only that."""
    a_life(tmp_path)
    path = f"/api/v2/write?org={real.org}&bucket={real.name}&precision=ns"
    real.call("POST", path, f'reading,site=x reference="text" {3 * DAY}'.encode())
    forward(tmp_path, real.settings())
    refused_ids: set[int] = set()
    with Ledger.open(tmp_path) as ledger:
        for r in refused_points(ledger.connection):
            assert "field type conflict" in r.words
            assert '"reference"' in r.words or "reference" in r.words
            refused_ids.add(r.id)
    assert refused_ids
    assert len(real.points("reading", "value", "shift_ns")) == len(in_ledger(tmp_path)) - len(refused_ids)


@pytest.mark.parametrize(("key", "value", "status"), [("token", "no", 401), ("bucket", "no", 404), ("org", "no", 404)])
def test_what_a_person_must_mend_is_held(real: Bucket, tmp_path: Path, key: str, value: str, status: int) -> None:
    a_life(tmp_path)

    async def whole() -> None:
        async with forwarding(tmp_path, real.settings(**{key: value})):
            await until(lambda: state(tmp_path).held_since is not None, "held")

    asyncio.run(whole())
    assert (state(tmp_path).last_answer or "").startswith(str(status))
    assert real.readings() == []
    forward(tmp_path, real.settings())
    assert real.readings() == in_ledger(tmp_path)


def test_a_link_that_is_cut_at_any_time_loses_and_doubles_nothing(real: Bucket, tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    parts = urlsplit(real.url)

    async def whole() -> None:
        async with Proxy(parts.port or 8086) as proxy:
            proxy.piece, proxy.delay_s = 32_768, 0.001
            through = replace(real, url=f"http://127.0.0.1:{proxy.port}")
            async with forwarding(tmp_path, through.settings()):
                for cut in range(30):
                    rows = [
                        Reading(
                            device="a", channel="mass", time=DAY + cut * 50 + i // 2, value=0.5 + i, unit="kg",
                            seq=cut * 200 + i, boot="b",
                        )
                        for i in range(200)
                    ]  # fmt: skip
                    feed(ingest, rows)
                    await asyncio.sleep(0.003 * (cut % 10))
                    proxy.cut()
                await asyncio.wait_for(drained(tmp_path), 60)

    asyncio.run(whole())
    assert real.readings() == in_ledger(tmp_path)
    assert len(in_ledger(tmp_path)) == 6000


def test_another_time_zone_has_other_days_and_none_of_the_old(real: Bucket, tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [check("a", 9 + i / 5, 5.0 + i / 1000, seq=i) for i in range(10)])
    catch_up(ingest.ledger, 20 * DAY)
    forward(tmp_path, real.settings())
    assert len(real.points("rollup_1d", "n")) == 2
    forward(tmp_path, real.settings(), "Asia/Tokyo")
    assert [r["_time"][11:16] for r in real.points("rollup_1d", "n")] == ["15:00"] * 3
    assert len(real.points("rollup_1h", "n")) == 10
