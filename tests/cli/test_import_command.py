"""`metergate import`: recordings into the ledger, judged; repeating it changes nothing (CONTRACTS §6)."""

from __future__ import annotations

import pytest

from tests.cli.support import Site, check, steady

ROWS = [*steady(range(1, 15)), check(3, 5.001, 3, device="scale-99"), check(14, 5.3, 2)]


def everything(site: Site) -> tuple[str, str, str]:
    history = site.do("history", "scale-07", "--json").out
    inbox = site.do("quarantine", "list", "--state", "all", "--json").out
    return history, inbox, site.do("alarms", "list", "--all", "--json").out


def test_importing_twice_changes_nothing(site: Site) -> None:
    site.apply()
    name = site.recording("r.csv", ROWS)
    first = site.do("import", name, "--json").document()["readings"]
    assert first == {"received": 16, "stored": 14, "duplicate": 0, "quarantined": 2, "late": 0}
    before = everything(site)
    again = site.do("import", name, "--json").document()["readings"]
    assert (again["stored"], again["duplicate"]) == (0, 14)
    assert again["received"] == again["stored"] + again["duplicate"] + again["quarantined"]
    assert everything(site) == before


def test_two_files_are_one_recording(site: Site) -> None:
    site.apply()
    a, b = site.recording("a.csv", ROWS[8:]), site.recording("b.csv", ROWS[:8])
    site.do("import", a, b)
    split = site.do("history", "scale-07", "--json").document()
    assert [r["seq"] for r in split] == list(range(1, 15))
    assert not any(r["late"] for r in split)


def test_the_registry_can_come_with_it(site: Site) -> None:
    site.do("import", site.recording("r.csv", ROWS), "--registry", "devices.yaml", "--registry", "certificates.yaml")
    assert len(site.do("history", "scale-07", "--json").document()) == 14


def test_an_unreadable_row_keeps_everything_out_unless_told_to_go_on(site: Site) -> None:
    site.apply()
    name = site.recording("r.csv", [*steady(range(1, 4)), "x", *steady(range(5, 7))])
    good = site.recording("good.csv", steady(range(20, 25)))
    refused = site.do("import", good, name, code=2)
    assert f"{name}:5:" in refused.err
    assert site.do("history", "scale-07", "--json").document() == []
    assert site.do("quarantine", "list", "--json").document() == []
    said = site.do("import", name, "--keep-going", "--json").document()["readings"]
    assert said == {"received": 6, "stored": 5, "duplicate": 0, "quarantined": 1, "late": 0}
    inbox = site.do("quarantine", "list", "--json").document()
    assert [(e["payload"].strip(), e["state"]) for e in inbox] == [("x", "open")]


def test_a_damaged_row_at_the_end_of_a_large_file_keeps_it_out_whole(site: Site) -> None:
    site.apply()
    rows = [f"{1_700_000_000 + i},scale-07,mass,5.001,kg,,,{i},b1" for i in range(110_000)]
    name = site.recording("r.csv", [*rows, "1800000000,scale-07,mass,heavy,kg,,,1,b1"])
    before = site.files("var").keys()
    assert f"{name}:110002:" in site.do("import", name, code=2).err
    assert site.files("var").keys() == before
    assert site.do("history", "scale-07", "--json").document() == []


def test_a_readable_but_refused_row_is_quarantined_and_fine(site: Site) -> None:
    site.apply()
    rows = [
        "2026-05-01T08:00:00Z,scale-07,mass,5,kWh,,,1,b1",
        "2026-05-01T08:00:00Z,scale-07,mass,5,furlong,,,2,b1",
        "2026-05-01T08:00:00Z,scale-07,volume,5,L,,,3,b1",
        "2026-05-01T08:00:00Z,meter-01,active_energy,5,kWh,5,,4,b1",
    ]
    site.do("import", site.recording("r.csv", rows), code=0)
    reasons = [e["reason"] for e in site.do("quarantine", "list", "--json").document()]
    assert sorted(reasons) == ["ambiguous_check", "unknown_channel", "unknown_unit", "wrong_dimension"]


@pytest.mark.parametrize("unit", ["g", "kg", "t"])
def test_units_of_the_same_dimension_are_converted(site: Site, unit: str) -> None:
    site.apply()
    factor = {"g": 1000, "kg": 1, "t": 0.001}[unit]
    row = f"2026-05-01T08:00:00Z,scale-07,mass,{5.012 * factor:.10g},{unit},{5 * factor},,1,b1"
    site.do("import", site.recording("r.csv", [row]))
    stored = site.do("history", "scale-07", "--json").document()[0]
    assert stored["unit"] == "kg"
    assert (stored["value"], stored["reference"]) == (pytest.approx(5.012), pytest.approx(5))


def test_out_of_range_is_stored_with_an_alarm(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("r.csv", ["2026-05-01T08:00:00Z,scale-07,mass,16,kg,,,1,b1"]))
    assert site.do("history", "scale-07", "--json").document()[0]["quality"] == "out_of_range"
    assert [a["kind"] for a in site.do("alarms", "list", "--json").document()] == ["range"]


def test_a_replay_and_an_import_judge_alike(site: Site) -> None:
    rows = [*steady(range(1, 21)), *(check(d, round(5.0012 + 0.0008 * (d - 20), 4), d) for d in range(21, 32))]
    site.apply()
    name = site.recording("r.csv", rows)
    said = site.do("replay", name, "--json").document()
    site.do("import", name)
    shown = site.do("devices", "show", "scale-07", "--json").document()
    assert shown["checks"] == said["devices"]["scale-07"]["checks"]
    assert shown["margin_percent"] == said["devices"]["scale-07"]["margin_percent"]
    assert shown["drift"] == said["devices"]["scale-07"]["drift"]
    assert sorted(shown["alarms"]) == sorted(
        a["kind"] for a in site.do("alarms", "list", "--device", "scale-07", "--json").document()
    )


def test_an_import_says_what_a_replay_of_the_same_file_says(site: Site) -> None:
    site.apply()
    rows = [
        check(3, 5.001, 3, device="scale-99"), *steady(range(9, 20)), *steady(range(1, 9)), *steady(range(2, 4)),
        *[check(day, 5.05, day) for day in range(20, 26)], check(24, 5.3, 4),
        "2026-03-02T08:00:00Z,scale-07,mass,5,L,,,90,b1",
    ]  # fmt: skip
    name = site.recording("r.csv", rows)
    replayed = site.do("replay", name, "--json").document()
    imported = site.do("import", name, "--json").document()
    for timing in ("elapsed_s", "readings_per_s"):
        assert imported.pop(timing) >= 0
        assert replayed.pop(timing) >= 0
    assert imported == replayed
    assert imported["readings"] == {"received": 30, "stored": 25, "duplicate": 2, "quarantined": 3, "late": 8}
    assert imported["quarantine"] == {"sequence_conflict": 1, "unknown_device": 1, "wrong_dimension": 1}
    assert imported["devices"]["scale-07"]["first_signal"]["shewhart"] is not None
    again = site.do("import", name, "--json").document()
    assert again["devices"] == imported["devices"]
    assert (again["readings"]["late"], again["checks"], again["alarms"]) == (0, 0, {})
