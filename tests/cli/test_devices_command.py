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
