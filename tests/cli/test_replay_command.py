"""`metergate replay`: the same judgement as the gateway's, from a file, beside any ledger (CONTRACTS §5, §6)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.cli.support import HEADER, Site, check, steady

REGISTRY = ("--registry", "devices.yaml", "--registry", "certificates.yaml")
DRIFTING = [*steady(range(1, 21)), *(check(d, round(5.0012 + 0.0008 * (d - 20), 4), d) for d in range(21, 32))]


def replayed(site: Site, name: str, *arguments: str, out: str = "replay", code: int = 0) -> dict[str, bytes]:
    site.do("replay", name, *REGISTRY, "--out", out, *arguments, code=code)
    return site.files(out)


def test_three_files_are_written_and_the_ledger_is_not_touched(site: Site) -> None:
    files = replayed(site, site.recording("r.csv", DRIFTING))
    assert set(files) == {"verdicts.ndjson", "alarms.ndjson", "summary.json"}
    assert not (site.folder / "var").exists()


def test_there_is_one_verdict_per_check_in_time_order(site: Site) -> None:
    rows = [*DRIFTING, "2026-05-03T12:00:00Z,scale-07,mass,7.5,kg,,,900,b1"]
    random.Random(1).shuffle(rows)
    files = replayed(site, site.recording("r.csv", rows))
    verdicts = [json.loads(line) for line in files["verdicts.ndjson"].splitlines()]
    assert len(verdicts) == len(DRIFTING)
    times = [v["time"] for v in verdicts]
    assert times == sorted(times)
    assert len({v["id"] for v in verdicts}) == len(verdicts)
    assert {v["supersedes"] for v in verdicts} == {None}


def test_a_check_is_judged_by_the_contracts_formulas(site: Site) -> None:
    row = "2026-05-01T08:00:00+07:00,scale-07,mass,5.012,kg,5,0.0001,1,b1"
    verdict = json.loads(replayed(site, site.recording("r.csv", [row]))["verdicts.ndjson"])
    assert verdict["error"] == pytest.approx(0.012)
    assert verdict["error_percent"] == pytest.approx(0.24)
    assert verdict["mpe"] == pytest.approx(0.010)
    assert verdict["margin"] == pytest.approx(-0.002)
    assert verdict["margin_percent"] == pytest.approx(-20)
    assert verdict["conformity"] == "not_conforming"
    assert pytest.approx(2 * (0.00005**2 + 0.0016**2) ** 0.5) == verdict["U"]
    assert verdict["baseline"] == "3681-26"
    assert verdict["baseline_error"] == pytest.approx(0.0012)
    assert verdict["residual"] == pytest.approx(0.0108)
    assert verdict["z"] == pytest.approx(6.75)
    assert set(verdict["detectors"]) == {"shewhart", "ewma", "cusum"}
    assert verdict["detectors"]["shewhart"]["signal"] is True
    assert verdict["rule_pack"].startswith("oiml-r76@")
    assert verdict["flags"] == ["zero_uncorrected"]


def test_the_summary_balances_and_names_what_happened(site: Site) -> None:
    rows = [*DRIFTING, DRIFTING[4], check(9, 5.001, 9, device="scale-99"), check(30, 5.5, 4)]
    site.recording("r.csv", rows)
    said = site.do("replay", "r.csv", *REGISTRY, "--json").document()
    readings = said["readings"]
    assert readings["received"] == len(rows)
    assert readings["received"] == readings["stored"] + readings["duplicate"] + readings["quarantined"]
    assert (readings["duplicate"], readings["quarantined"]) == (1, 2)
    assert said["quarantine"] == {"sequence_conflict": 1, "unknown_device": 1}
    assert said["checks"] == readings["stored"]
    assert said["alarms"]["drift"] == 1
    device = said["devices"]["scale-07"]
    assert device["checks"] == said["checks"]
    assert device["drift"] in {"drifting", "outside"}
    assert set(device["first_signal"]) == {"shewhart", "ewma", "cusum"}
    assert {"elapsed_s", "readings_per_s"} <= set(said)
    assert json.loads((site.folder / "replay/summary.json").read_text()) == said


def test_the_order_of_the_file_decides_nothing(site: Site) -> None:
    straight = replayed(site, site.recording("r.csv", DRIFTING), out="a")
    rows = list(DRIFTING)
    random.Random(3).shuffle(rows)
    mixed = replayed(site, site.recording("m.csv", rows), out="b")
    assert mixed["verdicts.ndjson"] == straight["verdicts.ndjson"]
    assert mixed["alarms.ndjson"] == straight["alarms.ndjson"]


def test_csv_and_ndjson_say_the_same(site: Site) -> None:
    names = HEADER.split(",")
    objects = []
    for row in DRIFTING:
        cells = dict(zip(names, row.split(","), strict=True))
        numbers = {k: float(v) for k, v in cells.items() if k in {"value", "reference", "reference_u"}}
        objects.append(json.dumps(cells | numbers | {"seq": int(cells["seq"])}))
    site.write("r.ndjson", "\n".join([*objects, ""]))
    from_csv = replayed(site, site.recording("r.csv", DRIFTING), out="a")
    from_ndjson = replayed(site, "r.ndjson", out="b")
    assert from_csv["verdicts.ndjson"] == from_ndjson["verdicts.ndjson"]


@pytest.mark.parametrize(
    "broken",
    [
        "2026-05-04T08:00:00,scale-07,mass,5,kg,5,0.0001,4,b1",
        "not a time,scale-07,mass,5,kg,5,0.0001,4,b1",
        "2026-05-04T08:00:00Z,scale-07,mass,five,kg,5,0.0001,4,b1",
        "2026-05-04T08:00:00Z,scale-07",
    ],
)
def test_an_unreadable_row_stops_everything_unless_told_to_go_on(site: Site, broken: str) -> None:
    rows = steady(range(1, 4))
    name = site.recording("r.csv", [*rows, broken, *steady(range(5, 8))])
    refused = site.do("replay", name, *REGISTRY, code=2)
    assert f"{name}:5:" in refused.err
    assert refused.out == ""
    assert not (site.folder / "replay").exists()
    said = site.do("replay", name, *REGISTRY, "--keep-going", "--json").document()
    assert said["readings"] == {"received": 7, "stored": 6, "duplicate": 0, "quarantined": 1, "late": 0}


def test_a_misspelt_column_is_refused(site: Site) -> None:
    site.write("r.csv", "time,device,channel,value,unit,referense\n2026-05-04T08:00:00Z,scale-07,mass,5,kg,5\n")
    refused = site.do("replay", "r.csv", *REGISTRY, code=2)
    assert "r.csv:1" in refused.err
    assert "reference" in refused.err


def test_alarms_do_not_change_the_exit_code(site: Site) -> None:
    files = replayed(site, site.recording("r.csv", [check(d, 5.2, d) for d in range(1, 9)]), code=0)
    events = [json.loads(line) for line in files["alarms.ndjson"].splitlines()]
    assert {"drift", "mpe"} <= {e["kind"] for e in events}
    assert set(events[0]) == {
        "time", "alarm", "site", "device", "channel", "kind", "transition", "state", "severity", "evidence", "reason",
        "by", "until", "text",
    }  # fmt: skip


def test_without_registry_files_the_ledgers_registry_is_used(site: Site) -> None:
    name = site.recording("r.csv", DRIFTING)
    assert "ledger" in site.do("replay", name, code=2).err
    site.apply()
    site.do("replay", name, "--out", "own")
    verdict = json.loads(site.files("own")["verdicts.ndjson"].splitlines()[0])
    assert verdict["baseline"] == "3681-26"


@pytest.mark.parametrize("arguments", [("missing.csv",), ("r.csv", "--format", "xlsx"), ("r.csv", "--budget", "many")])
def test_wrong_use_is_exit_two(site: Site, arguments: tuple[str, ...]) -> None:
    site.recording("r.csv", DRIFTING[:2])
    refused = site.do("replay", *arguments, *REGISTRY, code=2)
    assert refused.out == ""
    assert refused.err.strip()


def test_an_empty_recording_is_an_empty_summary(site: Site) -> None:
    said = site.do("replay", site.recording("r.csv", []), *REGISTRY, "--json").document()
    assert said["readings"]["received"] == 0
    assert Path("replay/verdicts.ndjson").read_bytes() == b""


def test_a_budget_designs_limits_for_the_fleet_of_the_ledger(site: Site) -> None:
    site.apply()
    recording = site.recording("r.csv", steady(range(1, 5)))
    site.do("replay", recording, "--budget", "1/month", "--out", "out")
    assert len(site.files("out")["verdicts.ndjson"].splitlines()) == 4
