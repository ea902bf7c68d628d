from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.cli import main
from gateway.drift.runlength import LimitShape, Sided, cusum_arl, ewma_arl, shewhart_arl
from tests.cli.support import DEVICES, Site

ARL = ("drift", "arl", "--chart")
KEYS = {
    "arl", "method", "chart", "lambda", "L", "k", "h", "headstart", "sided", "limits", "shift", "drift", "drift_from",
}  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(*arguments, "--json") == 0
    out, err = capsys.readouterr()
    assert not err
    document: dict[str, Any] = json.loads(out)
    return document


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("shewhart --L 3", shewhart_arl(3)),
        ("shewhart --L 3 --shift 1 --sided one", shewhart_arl(3, 1, Sided.ONE)),
        ("ewma --lambda 0.2 --L 2.962 --shift 1", ewma_arl(0.2, 2.962, 1)),
        ("ewma --lambda 0.2 --L 2.962 --limits fixed", ewma_arl(0.2, 2.962, limits=LimitShape.FIXED)),
        ("cusum --k 0.5 --h 5 --headstart 2.5 --sided one --shift 1", cusum_arl(0.5, 5, 1, Sided.ONE, 2.5)),
        ("cusum --k 0.5 --h 5 --drift 0.02 --drift-from 0", cusum_arl(0.5, 5, drift=0.02, drift_from=0)),
        ("cusum --k 0.5 --h 5 --drift 0.02 --drift-from 1", cusum_arl(0.5, 5, drift=0.02, drift_from=1)),
    ],
)
def test_a_run_length_is_answered(capsys: pytest.CaptureFixture[str], arguments: str, expected: float) -> None:
    document = answer(capsys, *ARL, *arguments.split())
    assert document["arl"] == expected
    assert set(document) == KEYS


def test_a_self_starting_chart_has_the_run_length_of_its_cusum_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, *ARL, "self_starting", "--k", "0.5", "--h", "5")
    assert document["arl"] == cusum_arl(0.5, 5)
    assert set(document) == KEYS
    for change in ("--shift", "--drift"):
        assert run(*ARL, "self_starting", "--k", "0.5", "--h", "5", change, "1") == 2
        assert "learns what is there" in capsys.readouterr().err
    assert run(*ARL, "self_starting", "--k", "0.5", "--h", "5", "--headstart", "2.5") == 2


def test_supplementary_rules_are_answered_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, *ARL, "shewhart", "--L", "3", "--rules", "8run,2of3")
    assert document["arl"] == pytest.approx(122.05, abs=0.005)
    assert document["rules"] == ["2of3", "8run"]
    assert set(document) == KEYS | {"rules"}


@pytest.mark.parametrize(
    "arguments",
    ["shewhart --L 3 --rules 9of9", "shewhart --L 3 --rules 8run --sided one", "ewma --lambda 0.2 --L 3 --rules 8run"],
)
def test_rules_without_sense_are_wrong_use(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert run(*ARL, *arguments.split()) == 2
    assert "rule" in capsys.readouterr().err


def test_settings_come_back_and_unused_ones_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, *ARL, "ewma", "--lambda", "0.1", "--L", "2.7", "--shift", "0.5")
    assert {name: document[name] for name in KEYS - {"arl", "method"}} == {
        "chart": "ewma", "lambda": 0.1, "L": 2.7, "k": None, "h": None, "headstart": None, "sided": "two",
        "limits": "varying", "shift": 0.5, "drift": None, "drift_from": None,
    }  # fmt: skip


def test_a_person_reads_the_run_length_and_the_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ARL, "cusum", "--k", "0.5", "--h", "5") == 0
    assert capsys.readouterr().out == "465.444 checks (integral equation)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "cusum --k 0.5",
        "ewma --L 3",
        "shewhart",
        "shewhart --L 3 --k 0.5",
        "cusum --k 0.5 --h 5 --shift 1 --drift 0.1",
        "cusum --k 0.5 --h 5 --drift-from 0",
        "cusum --k 0.5 --h 5 --drift 0.1 --drift-from 2",
        "ewma --lambda 0.2 --L 3 --headstart 1",
        "ewma --lambda 2 --L 3",
        "cusum --k 0.5 --h 5 --sided both",
        "ewma --lambda 0.2 --L 3 --limits wide",
        "trend --L 3",
        "cusum --k 0.5 --h 80",
        "shewhart --L nan",
    ],
)
def test_missing_and_contradicting_settings_are_wrong_use(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert run(*ARL, *arguments.split(), "--json") == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "; " in err


def test_a_design_keeps_the_budget_and_says_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, "drift", "design", "--devices", "200", "--checks-per-day", "1", "--budget", "1/month")
    assert document["arl0"] == pytest.approx(200 * 30.4375)
    assert document["false_alarms_per_day"] == pytest.approx(document["budget_per_day"])
    assert [c["chart"] for c in document["charts"]] == ["shewhart", "ewma", "cusum", "noise"]
    assert all(c["arl0"] == pytest.approx(4 * 200 * 30.4375, rel=0.01) for c in document["charts"])
    cusum = document["charts"][2]
    assert cusum["delays"][1]["size"] == 1.0
    assert cusum["delays"][1]["checks"] == pytest.approx(cusum_arl(0.5, cusum["limit"], 1.0))


def test_a_person_reads_a_design(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("drift", "design", "--devices", "200", "--checks-per-day", "1") == 0
    out = capsys.readouterr().out
    assert "once in 6087.5 checks" in out
    assert "lambda 0.2, L 4.0559" in out


@pytest.mark.parametrize(
    "arguments",
    ["--devices 10 --checks-per-day 0", "--devices 10 --checks-per-day 1 --budget often"],
)
def test_a_design_without_sense_is_wrong_use(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    assert run("drift", "design", *arguments.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("drift",), ("drift", "arl"), ("drift", "design")])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    assert run(*command, "--help") == 0
    assert "Example: metergate drift" in capsys.readouterr().out


def test_without_devices_design_shows_what_the_registry_would_get_and_apply_keeps_it(site: Site) -> None:
    site.apply()
    assert site.do("drift", "design", "--json").document()["changed"] == []
    many = DEVICES + "".join(
        f"  - {{id: m{i}, kind: water, rule_pack: none, channels: {{volume: {{unit: m3, type: run}}}}}}\n"
        for i in range(20)
    )
    site.write("devices.yaml", many)
    site.apply()
    site.write("config/gateway.yaml", "site: van-giang\ndrift: {budget: 5/year}\n")
    shown = site.do("drift", "design", "--json").document()
    assert (shown["applied"], shown["channels"], shown["budget"]) == (False, 22, "5/year")
    assert site.do("drift", "design", "--json").document()["changed"] != []
    kept = site.do("drift", "design", "--apply", "--json").document()
    assert kept["applied"] is True
    assert {(c["device"], c["channel"]) for c in kept["changed"]} >= {("scale-07", "mass"), ("m3", "volume")}
    assert all(c["since"] is not None for c in kept["changed"])
    after = site.do("drift", "design", "--json").document()
    assert (after["designed_for"], after["changed"]) == (22, [])


def test_channels_with_charts_set_by_hand_are_told_to_be_beside_the_budget(site: Site) -> None:
    site.apply()
    assert site.do("drift", "design", "--json").document()["by_hand"] == 0
    charts = "{shewhart: {L: 3, rules: [8run]}}"
    meter = f"  - {{id: m1, kind: water, rule_pack: none, channels: {{volume: {{unit: m3}}}}, drift: {charts}}}\n"
    site.write("devices.yaml", DEVICES + meter)
    site.apply()
    assert site.do("drift", "design", "--json").document()["by_hand"] == 1
    assert "Charts of 1 channel are set by hand" in site.do("drift", "design").out


@pytest.mark.parametrize("arguments", ["--devices 5 --apply", "--budget 1/month", "--budget 1/month --apply",
                                       "--devices 5 --centre-u 9", "--devices 5 --within 0.5"])  # fmt: skip
def test_a_design_for_no_site_is_refused(arguments: str) -> None:
    assert run("drift", "design", *arguments.split()) == 2


def test_a_design_says_what_it_can_find(capsys: pytest.CaptureFixture[str]) -> None:
    known = answer(capsys, "drift", "design", "--devices", "200")
    unsure = answer(capsys, "drift", "design", "--devices", "200", "--centre-u", "0.18")
    least = known["detectable"]
    assert least["within_checks"] == 30.0
    h = next(c["limit"] for c in known["charts"] if c["chart"] == "cusum")
    assert cusum_arl(0.5, h, least["shift"]) == pytest.approx(30.0, rel=0.02)
    assert unsure["detectable"]["shift"] > least["shift"]
    assert unsure["detectable"]["drift_per_check"] > least["drift_per_check"]


@pytest.mark.parametrize(("arguments", "months"), [
    ("--method a1 --interval 12 --found in", 13.2), ("--method a2 --interval 12 --found out", 0.6),
    ("--method drift --mpe 1 --error 0.2 --U 0.1 --rate 0.02", 35.0),
    ("--method drift --mpe 1 --error 0.2 --U 0.1 --rate 0.02 --statutory 12", 12.0),
    ("--method reliability --observed 0.92 --interval 12", 7.3816),
    ("--method drift --mpe 1 --error 0.2 --rate 0", None),
])  # fmt: skip
def test_an_interval_is_advised_within_the_law(
    capsys: pytest.CaptureFixture[str], arguments: str, months: float | None
) -> None:
    found = answer(capsys, "drift", "interval", *arguments.split())["months"]
    assert found == (None if months is None else pytest.approx(months, rel=1e-4))


@pytest.mark.parametrize("arguments", ["--method a1", "--method a9", "--method a1 --interval 12 --found maybe",
                                       "--method reliability --observed 1 --interval 12"])  # fmt: skip
def test_an_interval_from_too_little_is_refused(arguments: str) -> None:
    assert run("drift", "interval", *arguments.split()) == 2


def test_more_channels_than_any_site_has_are_refused(site: Site) -> None:
    plan = ("drift", "design", "--devices", "1000000000000", "--checks-per-day", "1", "--budget", "1/month")
    assert "1000000" in site.do(*plan, code=2).err


@pytest.mark.parametrize(
    "chart", [("ewma", "--lambda", "0.2", "--L", "3"), ("cusum", "--k", "0.5", "--h", "5"), ("shewhart", "--L", "3")]
)
@pytest.mark.parametrize("change", ["--shift", "--drift"])
def test_a_change_beyond_all_measure_is_found_at_once(site: Site, chart: tuple[str, ...], change: str) -> None:
    assert site.do("drift", "arl", "--chart", *chart, change, "1e300", "--json").document()["arl"] == 1.0
