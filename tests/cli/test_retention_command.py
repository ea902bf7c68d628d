"""`metergate retention`, and what other commands say of what it has deleted."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.ledger.store import hold
from tests.cli.support import CERTIFICATES, Result, Site, check, steady

SETTINGS = "ledger: {retention: {raw: 1d, rollups: 7300d}}\nlateness: 1d\n"
SECOND = CERTIFICATES.replace("3681-26", "3682-26").replace("2026-03-02", "2026-05-20T00:00:00Z")


def centre(site: Site) -> Site:
    """Make a site with two certificates of a scale and a checks a day before and after the second."""
    site.write("config/gateway.yaml", SETTINGS)
    site.apply()
    site.write("second.yaml", SECOND)
    site.do("apply", "second.yaml")
    site.do("import", site.recording("checks.csv", steady(range(1, 31))))
    return site


def raw(site: Site, *more: str) -> Result:
    return site.do("history", "scale-07", "--format", "ndjson", *more)


def test_a_run_deletes_the_chapter_that_is_over_and_history_says_so(site: Site) -> None:
    centre(site)
    assert len(raw(site).lines()) == 30
    days = site.do("history", "scale-07", "--resolution", "1d", "--json").document()
    due = site.do("retention", "run", "--dry-run", "--json").document()
    assert due == [{"device": "scale-07", "channel": "mass", "before": "2026-05-20T00:00:00Z", "readings": 19}]
    done = site.do("retention", "run", "--json").document()
    assert done["waiting"] is None
    left = raw(site)
    assert left.lines()[0]["time"] == "2026-05-20T01:00:00Z"
    assert len(left.lines()) == 11
    assert left.err.splitlines() == [
        "raw readings of scale-07 mass before 2026-05-20T00:00:00Z were deleted by retention; --resolution 1h has them"
    ]
    assert raw(site, "--from", "2026-05-21").err == ""
    again = site.do("history", "scale-07", "--resolution", "1d", "--json")
    assert again.document() == days
    assert again.err == ""
    assert raw(site, "--resolution", "auto").lines()[0]["n"] == 1


def test_what_has_to_wait_for_influxdb_says_for_what_and_what_to_do(site: Site) -> None:
    centre(site)
    file = site.folder / "config/gateway.yaml"
    site.write("config/gateway.yaml", f"{file.read_text()}influx: {{url: http://127.0.0.1:9, token: t}}\n")
    said = site.do("retention", "run")
    assert said.out.startswith("0 readings")
    assert "InfluxDB" in said.err
    assert "`metergate run` catches up" in said.err


def test_verify_begins_at_the_horizon_and_says_so(site: Site) -> None:
    centre(site)
    site.do("retention", "run")
    found = site.do("verify", "verdicts", "--json").document()
    assert (found["sound"], found["verdicts"]) == (True, 11)
    assert found["horizons"] == [{"device": "scale-07", "channel": "mass", "from": "2026-05-20T00:00:00Z"}]
    assert "before 2026-05-20T00:00:00Z were deleted by retention" in site.do("verify", "verdicts").err


def test_importing_what_was_deleted_doubles_nothing(site: Site) -> None:
    centre(site)
    site.do("retention", "run")
    said = site.do("import", "checks.csv", "--json").document()
    assert said["readings"]["received"] == 30
    assert (said["readings"]["stored"], said["readings"]["duplicate"], said["readings"]["quarantined"]) == (0, 11, 19)
    inbox = site.do("quarantine", "list", "--json").document()
    assert {entry["reason"] for entry in inbox} == {"bad_time"}
    assert len(raw(site).lines()) == 11


def test_a_change_from_before_the_horizon_says_that_it_begins_there(site: Site) -> None:
    centre(site)
    site.do("retention", "run")
    older = CERTIFICATES.replace("3681-26", "3600-26").replace("2026-03-02", "2026-05-10")
    site.write("older.yaml", older)
    for arguments in (["--dry-run"], []):
        said = site.do("apply", "older.yaml", *arguments)
        assert "! scale-07 mass: what was before 2026-05-20T00:00:00Z was deleted by retention" in said.err
    assert site.do("verify", "verdicts", "--json").document()["sound"]


def test_the_log_and_doctor_say_what_was_deleted(site: Site) -> None:
    centre(site)
    assert site.do("retention", "log", "--json").document() == []
    done = site.do("retention", "run", "--compact", "--json").document()
    (record,) = site.do("retention", "log", "--json").document()
    assert {**record, "waiting": None} == done
    assert record["readings"] == record["verdicts"] > 0
    said = json.loads(site.do("doctor", "retention", "--json").out)
    text = json.dumps(said)
    assert "raw readings of 1 channels are deleted before 2026-05-20T00:00:00Z" in text
    assert "kept for 1d" in text


def test_without_the_setting_everything_is_kept(site: Site) -> None:
    centre(site)
    site.write("config/gateway.yaml", "lateness: 1d\n")
    refused = site.do("retention", "run", code=2)
    assert "everything is kept" in refused.err
    assert "ledger.retention" in refused.err


def test_beside_a_running_gateway_it_is_refused_but_for_a_look(site: Site) -> None:
    centre(site)
    with hold(Path("var")):
        assert "another gateway runs" in site.do("retention", "run", code=1).err
        assert site.do("retention", "run", "--dry-run").out.splitlines()[-1].split()[:2] == ["scale-07", "mass"]
    assert check(1, 5.0, 1)


def test_settings_that_cannot_be_are_refused_with_their_line(site: Site) -> None:
    site.write("config/gateway.yaml", "ledger: {retention: {raw: 90d, rollups: 30d}}\n")
    assert "rollups must be kept as long as raw" in site.do("config", "check", code=2).err


def test_rollups_that_are_gone_too_are_said_to_be(site: Site) -> None:
    centre(site)
    site.write("config/gateway.yaml", SETTINGS.replace("7300d", "60d"))
    assert site.do("retention", "run", "--json").document()["rollups"] == 19
    said = site.do("history", "scale-07", "--resolution", "1h", "--json")
    assert len(said.document()) == 11
    assert "roll-ups of scale-07 mass before 2026-05-20T00:00:00Z were deleted by retention" in said.err
