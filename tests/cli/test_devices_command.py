"""`metergate devices`: where the instruments stand."""

from __future__ import annotations

from tests.cli.support import Site, steady


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
    assert lines[-1].split() == ["due_suggested", "-"]


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
