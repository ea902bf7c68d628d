"""`metergate history`: resolutions chosen by what is there, Parquet, roll-ups beside and without, InfluxDB's words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.support import Site, steady


@pytest.fixture
def stored(site: Site) -> Site:
    site.write("config/gateway.yaml", "site: van-giang\ntimezone: Asia/Ho_Chi_Minh\n")
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 15))))
    return site


def ledger(site: Site) -> sqlite3.Connection:
    return sqlite3.connect(site.folder / "var" / "ledger.sqlite")


def test_an_import_leaves_nothing_to_roll_up(stored: Site) -> None:
    connection = ledger(stored)
    assert connection.execute("SELECT COUNT(*) FROM rollup").fetchone() == (14,)
    assert connection.execute("SELECT COUNT(*) FROM rollup_stale").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("resolution", ["1h", "1d"])
def test_without_roll_ups_the_answer_is_the_same(stored: Site, resolution: str) -> None:
    asked = ("history", "scale-07", "--resolution", resolution, "--json")
    before = stored.do(*asked).document()
    connection = ledger(stored)
    with connection:
        for table in ("rollup", "rollup_stale", "rollup_cursor"):
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    assert stored.do(*asked).document() == before


def test_a_late_reading_is_in_its_bucket_at_once(stored: Site) -> None:
    row = "2026-05-03T08:20:00+07:00,scale-07,mass,9.75,kg,,,99,b1"
    stored.do("import", stored.recording("late.csv", [row]))
    day = stored.do("history", "scale-07", "--resolution", "1d", "--from", "2026-05-03", "--to", "2026-05-04", "--json")
    assert [(b["n"], b["max"], b["last"]) for b in day.document()] == [(2, 9.75, 9.75)]


def test_the_sites_zone_may_change(stored: Site) -> None:
    asked = ("history", "scale-07", "--resolution", "1d", "--json")
    assert {b["time"][11:] for b in stored.do(*asked).document()} == {"17:00:00Z"}
    stored.write("config/gateway.yaml", "site: van-giang\ntimezone: Asia/Kolkata\n")
    assert {b["time"][11:] for b in stored.do(*asked).document()} == {"18:30:00Z"}


@pytest.mark.parametrize(
    ("end", "chosen"), [("2026-05-02T00:00:00Z", "raw"), ("2026-05-04T00:00:00Z", "1m"), ("2026-06-01T00:00:00Z", "1h")]
)
def test_auto_looks_at_what_there_is(stored: Site, end: str, chosen: str) -> None:
    asked = ("history", "scale-07", "--to", end, "--json", "--resolution")
    assert stored.do(*asked, "auto").document() == stored.do(*asked, chosen).document()


@pytest.mark.parametrize("resolution", ["raw", "1d"])
def test_parquet_holds_the_rows_and_comes_back(stored: Site, resolution: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: the extra `parquet`")
    rows = stored.do("history", "scale-07", "--resolution", resolution, "--json").document()
    stored.do("history", "scale-07", "--resolution", resolution, "--format", "parquet", "--out", "h.parquet")
    table = pq.read_table(stored.folder / "h.parquet")
    assert table.column_names == list(rows[0])
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    for name in ("device", "unit", "quality", "value" if resolution == "raw" else "worst_margin_percent"):
        assert table.column(name).to_pylist() == [r[name] for r in rows]


def test_an_empty_history_is_a_parquet_file_with_its_columns(stored: Site) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: the extra `parquet`")
    stored.do("history", "meter-01", "--format", "parquet", "--out", "e.parquet")
    table = pq.read_table(stored.folder / "e.parquet")
    assert (table.num_rows, table.column_names[0]) == (0, "time")


def test_parquet_is_imported_and_replayed_like_csv(stored: Site) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: the extra `parquet`")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"device": ["scale-07"] * 2, "channel": ["mass"] * 2, "value": [5.001, 5.002], "unit": ["kg"] * 2}
    times = pa.array([1_780_272_000_000_000_000, 1_780_275_600_000_000_000], pa.timestamp("ns", tz="UTC"))
    pq.write_table(pa.table({"time": times, **columns, "reference": [5.0, 5.0]}), stored.folder / "more.parquet")
    said = stored.do("replay", "more.parquet", "--json").document()
    assert (said["readings"]["stored"], said["checks"]) == (2, 2)
    for stored_now in (2, 0):
        said = stored.do("import", "more.parquet", "--json").document()
        assert (said["readings"]["stored"], said["readings"]["duplicate"]) == (stored_now, 2 - stored_now)
    (stored.folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    refused = stored.do("import", "broken.parquet", code=2)
    assert "broken.parquet" in refused.err


def test_influx_is_one_line_when_it_cannot_answer(
    stored: Site, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    asked = ("history", "scale-07", "--store", "influx")
    refused = stored.do(*asked, code=2)
    assert "not configured" in refused.err
    monkeypatch.setenv("METERGATE_INFLUX__URL", f"http://127.0.0.1:{unused_port}")
    refused = stored.do(*asked, code=1)
    assert len(refused.err.splitlines()) == 1
    assert "no answer" in refused.err
    assert "--store" in stored.do("history", "scale-07", "--store", "cloud", code=2).err


@pytest.fixture
def unused_port(tmp_path: Path) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
