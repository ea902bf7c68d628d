"""`metergate devices`: where the instruments stand."""

from __future__ import annotations

import pytest

from tests.cli.support import DEVICES, Site, steady


def test_devices_that_have_said_nothing_are_listed_too(site: Site) -> None:
    site.apply()
    found = {d["device"]: d for d in site.do("devices", "list", "--json").document()}
    assert set(found) == {"scale-07", "meter-01"}
    assert (found["scale-07"]["readings"], found["scale-07"]["verdict"]) == (0, None)
    assert found["scale-07"]["due"] is not None
    assert found["meter-01"]["due"] is None


def test_a_device_shows_its_last_verdict_and_margin(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 15))))
    shown = site.do("devices", "show", "scale-07", "--json").document()
    assert (shown["readings"], shown["checks"]) == (14, 14)
    assert (shown["verdict"], shown["drift"], shown["alarms"]) == ("conforming", "stable", [])
    assert 0 < shown["margin_percent"] <= 100
    assert shown["time"] == "2026-05-14T01:00:00Z"
    assert "scale-07" in site.do("devices", "list").out


def test_a_device_with_a_forecast_is_shown_as_text_too(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 15))))
    lines = site.do("devices", "show", "scale-07").out.splitlines()
    forecast = next(line for line in lines if line.startswith("forecast"))
    assert "rate " in forecast
    assert "recheck_by " in forecast
    assert lines[-2].split() == ["due_suggested", "-"]
    assert lines[-1].startswith("detectable")


def test_a_device_says_what_drift_its_charts_can_find(site: Site) -> None:
    site.write("devices.yaml", DEVICES.replace("timeout: 36h", "timeout: 36h, every: 24h"))
    site.apply()
    shown = site.do("devices", "show", "scale-07", "--json").document()["detectable"]
    planned = {"--devices": "2", "--checks-per-day": "1", "--budget": "1/month", "--centre-u": "0.1"}
    assert [(d["channel"], d["unit"], d["within_checks"]) for d in shown] == [("mass", "kg", 30)]
    (mass,) = shown
    assert mass["step"] == pytest.approx(mass["shift"] * 0.0016)
    assert mass["drift_per_month"] == pytest.approx(mass["drift_per_check"] * 0.0016 * 30.4375)
    arguments = [text for pair in planned.items() for text in pair]
    least = site.do("drift", "design", *arguments, "--json").document()["detectable"]
    assert mass["shift"] == pytest.approx(least["shift"], rel=0.2)


def test_a_channel_without_sigma_says_it_in_sigma(site: Site) -> None:
    site.apply()
    (energy,) = site.do("devices", "show", "meter-01", "--json").document()["detectable"]
    assert energy["shift"] > 0
    assert (energy["step"], energy["drift_per_month"]) == (None, None)


def test_an_unknown_device_is_exit_two_with_near_names(site: Site) -> None:
    site.apply()
    refused = site.do("devices", "show", "scale-7", code=2)
    assert "scale-07" in refused.err
    assert refused.out == ""


def test_without_a_ledger_it_says_what_to_do(site: Site) -> None:
    refused = site.do("devices", "list", code=2)
    assert "metergate apply" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not (site.folder / "var").exists()


def test_device_show_names_it_as_text_and_json(site: Site) -> None:
    site.apply()
    lines = [
        f"2026-05-{day:02}T{hour:02}:00:00Z,scale-07,mass,{value},kg,{reference},0.0002,{2 * day + (hour > 7)},b1"
        for day in range(1, 13)
        for hour, value, reference in ((7, 0, 0), (8, 5.0012, 5))
    ]
    site.do("import", site.recording("r.csv", lines))
    shown = site.do("devices", "show", "scale-07", "--json").document()
    assert shown["zero_tracking"]["mass"]["zero_checks"] == 12
    text = site.do("devices", "show", "scale-07").out
    assert "suspected on mass: all 12 zero checks read 0 (chance" in text
    assert {d["device"]: d["zero_tracking"] for d in site.do("devices", "list", "--json").document()}[
        "meter-01"
    ] is None
