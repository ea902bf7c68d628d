"""`metergate history`: everything that was stored, raw or in buckets, in four forms (CONTRACTS §5, §6)."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.cli.support import Site, steady

RAW = (
    "time", "device", "channel", "value", "unit", "reference", "reference_u", "x", "seq", "boot", "stable", "quality",
    "received_at", "late",
)  # fmt: skip
BUCKET = (
    "time", "device", "channel", "unit", "n", "checks", "min", "max", "mean", "first", "last", "delta",
    "worst_margin_percent", "completeness", "gaps", "quality",
)  # fmt: skip


@pytest.fixture
def stored(site: Site) -> Site:
    site.write("config/gateway.yaml", "site: van-giang\ntimezone: Asia/Ho_Chi_Minh\n")
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 15))))
    return site


def days(site: Site, *arguments: str) -> list[int]:
    return [r["seq"] for r in site.do("history", "scale-07", *arguments, "--json").document()]


def test_without_bounds_it_is_everything(stored: Site) -> None:
    rows = stored.do("history", "scale-07", "--json").document()
    assert [r["seq"] for r in rows] == list(range(1, 15))
    assert tuple(rows[0]) == RAW
    assert rows[0]["time"] == "2026-05-01T01:00:00Z"


def test_the_interval_is_half_open(stored: Site) -> None:
    at = [f"2026-05-{d:02}T08:00:00+07:00" for d in range(15)]
    assert days(stored, "--from", at[3], "--to", at[6]) == [3, 4, 5]
    assert days(stored, "--from", at[3], "--to", at[3]) == []
    assert days(stored, "--to", at[3]) == [1, 2]
    assert days(stored, "--from", at[13]) == [13, 14]


def test_a_date_is_midnight_in_the_sites_zone(stored: Site) -> None:
    assert days(stored, "--from", "2026-05-03", "--to", "2026-05-05") == [3, 4]


def test_every_form_has_the_same_rows(stored: Site) -> None:
    rows = stored.do("history", "scale-07", "--json").document()
    assert stored.do("history", "scale-07", "--format", "ndjson").lines() == rows
    text = stored.do("history", "scale-07", "--format", "csv").out
    cells = list(csv.DictReader(io.StringIO(text)))
    assert tuple(cells[0]) == RAW
    assert [(c["time"], float(c["value"]), int(c["seq"])) for c in cells] == [
        (r["time"], r["value"], r["seq"]) for r in rows
    ]
    table = stored.do("history", "scale-07").out.splitlines()
    assert table[0].split() == list(RAW)
    assert len(table) == 2 + len(rows)


@pytest.mark.parametrize("form", ["table", "csv", "ndjson"])
def test_only_an_empty_history_says_that_there_are_no_readings(stored: Site, form: str) -> None:
    assert "no readings" not in stored.do("history", "scale-07", "--format", form).err
    assert "no readings" in stored.do("history", "scale-07", "--format", form, "--from", "2030-01-01").err


def test_a_file_takes_the_place_of_stdout(stored: Site) -> None:
    printed = stored.do("history", "scale-07", "--format", "csv").out
    done = stored.do("history", "scale-07", "--format", "csv", "--out", "h.csv")
    assert done.out == ""
    assert (stored.folder / "h.csv").read_text(encoding="utf-8") == printed


def test_days_are_the_sites_days(stored: Site) -> None:
    rows = [f"2026-06-01T{h:02}:30:00+07:00,scale-07,mass,{5 + h / 1000},kg,,,{100 + h},b1" for h in (0, 6, 7, 23)]
    stored.do("import", stored.recording("june.csv", rows))
    found = stored.do("history", "scale-07", "--from", "2026-06-01", "--resolution", "1d", "--json").document()
    assert [(b["time"], b["n"], b["checks"]) for b in found] == [("2026-05-31T17:00:00Z", 4, 0)]
    assert tuple(found[0]) == BUCKET
    assert (found[0]["first"], found[0]["last"]) == (5.0, 5.023)
    assert (found[0]["min"], found[0]["max"]) == (5.0, 5.023)
    assert found[0]["mean"] == pytest.approx(5.009)


@pytest.mark.parametrize(("resolution", "n"), [("1m", 14), ("1h", 14), ("1d", 14)])
def test_empty_buckets_are_left_out(stored: Site, resolution: str, n: int) -> None:
    found = stored.do("history", "scale-07", "--resolution", resolution, "--json").document()
    assert len(found) == n
    assert sum(b["n"] for b in found) == sum(b["checks"] for b in found) == 14
    assert all(b["worst_margin_percent"] is not None for b in found)


def test_a_register_has_a_delta_and_no_mean(stored: Site) -> None:
    rows = [
        f"2026-06-01T{h:02}:00:00+07:00,meter-01,active_energy,{1000 + h * 2.5},kWh,,,{h},b1" for h in range(10, 15)
    ]
    stored.do("import", stored.recording("meter.csv", rows))
    found = stored.do("history", "meter-01", "--resolution", "1d", "--json").document()
    assert [b["mean"] for b in found] == [None]
    assert found[0]["delta"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scale-7",), "scale-07"),
        (("scale-07", "--channel", "mas"), "mass"),
        (("scale-07", "--from", "yesterday"), "yesterday"),
        (("scale-07", "--from", "2026-05-01T08:00:00"), "2026-05-01T08:00:00"),
        (("scale-07", "--resolution", "2h"), "2h"),
        (("scale-07", "--format", "xml"), "xml"),
        (("scale-07", "--format", "parquet"), "--out"),
    ],
)
def test_wrong_use_is_exit_two_and_names_what_is_near(stored: Site, arguments: tuple[str, ...], said: str) -> None:
    refused = stored.do("history", *arguments, code=2)
    assert refused.out == ""
    assert said in refused.err


def test_a_device_that_has_said_nothing_has_an_empty_history(stored: Site) -> None:
    assert stored.do("history", "meter-01", "--json").document() == []


def test_there_is_no_row_cap(stored: Site) -> None:
    rows = [f"{1_780_000_000 + i},scale-07,mass,5,kg,,,{i},b2" for i in range(12_000)]
    stored.do("import", stored.recording("many.csv", rows))
    lines = stored.do("history", "scale-07", "--format", "ndjson", "--from", "2026-05-28").out.splitlines()
    assert len(lines) == 12_000
    assert json.loads(lines[-1])["seq"] == 11_999


def test_an_end_before_the_beginning_is_wrong_use(stored: Site) -> None:
    done = stored.do("history", "scale-07", "--from", "2026-05-04", "--to", "2026-05-03", code=2)
    assert done.err == "--from 2026-05-04 is after --to 2026-05-03; exchange them\n"
    assert days(stored, "--from", "2026-05-04", "--to", "2026-05-04") == []


def test_a_reading_out_of_range_says_so_though_it_is_unstable_too(site: Site) -> None:
    site.apply()
    rows = "2026-05-01T08:00:00Z,scale-07,mass,15.5,kg,false\n2026-05-02T08:00:00Z,scale-07,mass,5,kg,false\n"
    site.write("r.csv", "time,device,channel,value,unit,stable\n" + rows)
    site.do("import", "r.csv")
    assert [r["quality"] for r in site.do("history", "scale-07", "--json").document()] == ["out_of_range", "unstable"]
    days = site.do("history", "scale-07", "--resolution", "1d", "--json").document()
    assert [d["quality"] for d in days] == ["out_of_range", "unstable"]
