"""Every record has the keys of CONTRACTS §4 to §6, in the order of the contract, null where absent."""

from __future__ import annotations

import json

import pytest

from tests.cli.support import Site, check, steady

ALARM = "time alarm site device channel kind transition state severity evidence reason by until text"
BUCKET = (
    "time device channel unit n checks min max mean first last delta worst_margin_percent completeness gaps quality"
)
RAW = "time device channel value unit reference reference_u x seq boot stable quality received_at late"
SUMMARY = "readings quarantine checks alarms devices elapsed_s readings_per_s"
DEVICE = "checks last_time last_error margin_percent drift first_signal forecast"
FORECAST = "rate rate_low rate_high per crosses_at earliest latest safe_until recheck_by reason"
STATE = "time verdict margin_percent drift alarms forecast due"

RISING = [check(d, round(5.0012 + 0.0006 * d, 4), d) for d in range(1, 21)]


@pytest.fixture
def imported(site: Site) -> Site:
    site.apply()
    site.do("import", site.recording("r.csv", RISING))
    return site


@pytest.mark.parametrize(("resolution", "keys"), [("raw", RAW), ("1m", BUCKET), ("1h", BUCKET), ("1d", BUCKET)])
def test_history_rows_in_every_form(imported: Site, resolution: str, keys: str) -> None:
    ask = ("history", "scale-07", "--resolution", resolution)
    rows = imported.do(*ask, "--json").document()
    assert {" ".join(row) for row in rows} == {keys}
    assert {" ".join(row) for row in imported.do(*ask, "--format", "ndjson").lines()} == {keys}
    assert imported.do(*ask, "--format", "csv").out.splitlines()[0] == ",".join(keys.split())


def test_alarm_events_and_the_summary(site: Site) -> None:
    site.recording("r.csv", [*steady(range(1, 10)), *(check(d, 5.05, d) for d in range(10, 15))])
    site.do("replay", "r.csv", "--registry", "devices.yaml", "--registry", "certificates.yaml", "--out", "o")
    events = [json.loads(line) for line in (site.folder / "o/alarms.ndjson").read_text().splitlines()]
    assert events
    assert {" ".join(event) for event in events} == {ALARM}
    assert {(e["reason"], e["by"], e["until"]) for e in events if e["transition"] == "raised"} == {(None, None, None)}
    summary = json.loads((site.folder / "o/summary.json").read_text())
    assert " ".join(summary) == SUMMARY
    assert " ".join(summary["readings"]) == "received stored duplicate quarantined late"
    assert {" ".join(device) for device in summary["devices"].values()} == {DEVICE}
    assert list(summary["devices"]["scale-07"]["first_signal"]) == ["shewhart", "ewma", "cusum"]
    assert " ".join(summary["devices"]["scale-07"]["forecast"]) == FORECAST
    idle = summary["devices"]["meter-01"]
    assert idle == {
        "checks": 0, "last_time": None, "last_error": None, "margin_percent": None, "drift": "learning",
        "first_signal": {"shewhart": None, "ewma": None, "cusum": None}, "forecast": None,
    }  # fmt: skip


def test_the_charts_of_a_verdict(site: Site) -> None:
    site.recording("r.csv", steady(range(1, 4)))
    site.do("replay", "r.csv", "--registry", "devices.yaml", "--registry", "certificates.yaml", "--out", "o")
    charts = json.loads((site.folder / "o/verdicts.ndjson").read_text().splitlines()[0])["detectors"]
    assert {name: " ".join(said) for name, said in charts.items()} == {
        "shewhart": "statistic limit signal", "ewma": "statistic limit signal",
        "cusum": "upper lower limit signal onset size",
    }  # fmt: skip
    assert list(charts) == ["shewhart", "ewma", "cusum"]


def test_the_state_of_a_device_holds_that_of_the_broker(imported: Site) -> None:
    shown = imported.do("devices", "show", "scale-07", "--json").document()
    assert " ".join(k for k in shown if k in STATE.split()) == STATE
    assert " ".join(shown["forecast"]) == FORECAST


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        (("shewhart", "--L", "3"), {"L": 3.0}),
        (("ewma", "--lambda", "0.2", "--L", "2.962"), {"lambda": 0.2, "L": 2.962, "limits": "varying"}),
        (("cusum", "--k", "0.5", "--h", "5"), {"k": 0.5, "h": 5.0, "headstart": 0.0}),
    ],
)
def test_a_run_length_is_said_with_every_setting(site: Site, asked: tuple[str, ...], own: dict[str, object]) -> None:
    said = site.do("drift", "arl", "--chart", *asked, "--json").document()
    assert list(said)[:2] == ["arl", "method"]
    assert said["chart"] == asked[0]
    assert own.items() <= said.items()
    assert {"sided", "shift"} <= said.keys()


def test_what_decode_says(site: Site) -> None:
    good, wrong = ({"ts": 1772409600000, "value": 1, "unit": unit} for unit in ("kg", "furlongs"))
    site.write("p.json", json.dumps([good, wrong]))
    said = site.do("decode", "p.json", "--topic", "metergate/reading/a/b/mass", "--json", code=1).document()
    assert list(said) == ["readings", "refused", "notes"]
    assert [list(r) for r in said["refused"]] == [["record", "reason", "detail"]]
