"""`metergate apply`: registry files into the ledger, all or nothing (CONTRACTS §2)."""

from __future__ import annotations

import pytest

from tests.cli.support import CERTIFICATES, DEVICES, Site, check, steady


def actions(document: dict[str, list[dict[str, str]]]) -> list[tuple[str, str]]:
    return [(c["kind"], c["action"]) for c in document["changes"]]


def test_applying_again_changes_nothing(site: Site) -> None:
    first = site.do("apply", "devices.yaml", "certificates.yaml", "--json").document()
    assert actions(first) == [("device", "added"), ("device", "added"), ("certificate", "added")]
    again = site.do("apply", "devices.yaml", "certificates.yaml", "--json").document()
    assert {action for _, action in actions(again)} == {"unchanged"}
    assert again["superseded"] == []


def test_a_dry_run_shows_and_changes_nothing(site: Site) -> None:
    shown = site.do("apply", "devices.yaml", "--dry-run", "--json").document()
    assert actions(shown) == [("device", "added"), ("device", "added")]
    assert site.do("devices", "list", "--json").document() == []
    site.apply()
    site.write("devices.yaml", DEVICES.replace("timeout: 36h", "timeout: 48h"))
    told = site.do("apply", "devices.yaml", "--dry-run")
    assert "scale-07" in told.out
    assert "1d12h -> 2d" in told.out
    assert actions(site.do("apply", "devices.yaml", "--dry-run", "--json").document())[0] == ("device", "changed")


def test_a_certificate_never_changes(site: Site) -> None:
    site.apply()
    site.write("certificates.yaml", CERTIFICATES.replace("error: 1.2 g", "error: 1.3 g"))
    refused = site.do("apply", "certificates.yaml", code=1)
    assert "3681-26" in refused.err
    assert refused.out == ""
    again = site.do("certificates", "list", "--json").out
    assert "1.3" not in again


def test_a_folder_is_its_files(site: Site) -> None:
    site.write("config/devices/a.yaml", DEVICES)
    site.write("config/devices/sub/ignored.txt", "not yaml: [")
    site.write("config/devices/b.yaml", CERTIFICATES)
    assert len(actions(site.do("apply", "config/devices", "--json").document())) == 3


@pytest.mark.parametrize(
    ("change", "line", "key"),
    [
        (("sigma: 1.6 g", "sigmo: 1.6 g"), 9, "sigmo"),
        (("sigma: 1.6 g", "sigma: 1.6 kWh"), 9, "sigma"),
        (("sigma: 1.6 g", "sigma: 1.6"), 9, "sigma"),
        (("rule_pack: oiml-r76", "rule_pack: oiml-r77"), 5, "rule_pack"),
        (("{class: III, max: 15 kg", "{class: III, maximum: 15 kg"), 6, "maximum"),
        (("id: scale-07", "id: Scale 07"), 2, "id"),
        (("kind: weighing", "kind: weighing\n    kind: water"), 4, "kind"),
        (("in_service: true", "in_service: sometimes"), 7, "in_service"),
        (("    kind: weighing\n", ""), 2, "kind"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_nothing_is_applied(
    site: Site, change: tuple[str, str], line: int, key: str
) -> None:
    site.write("good.yaml", DEVICES.replace("scale-07", "scale-08").replace("meter-01", "meter-02"))
    text = DEVICES.replace(*change)
    assert text != DEVICES
    site.write("devices.yaml", text)
    refused = site.do("apply", "good.yaml", "devices.yaml", code=2)
    first = refused.err.splitlines()[0]
    assert first.startswith(f"devices.yaml:{line}:"), refused.err
    assert key in refused.err
    assert refused.out == ""
    ledger = site.folder / "var/ledger.sqlite"
    assert not ledger.exists() or site.do("devices", "list", "--json").document() == []


def test_every_mistake_is_told_at_once(site: Site) -> None:
    site.write("devices.yaml", DEVICES.replace("sigma:", "sigmo:").replace("unit: kWh", "unit: kWhh"))
    refused = site.do("apply", "devices.yaml", code=2)
    assert "devices.yaml:9:" in refused.err
    assert "devices.yaml:15:" in refused.err


@pytest.mark.parametrize("text", ["devices: [", "- 1", "devices:\n\t- id: x\n", "\x00"])
def test_what_is_not_a_registry_file_is_exit_two(site: Site, text: str) -> None:
    site.write("broken.yaml", text)
    refused = site.do("apply", "broken.yaml", code=2)
    assert "broken.yaml" in refused.err


def test_a_certificate_of_an_unknown_device_is_a_mistake(site: Site) -> None:
    assert "scale-07" in site.do("apply", "certificates.yaml", code=2).err


BACK_DATED = """\
certificates:
  - {id: "3799-26", device: scale-07, channel: mass, kind: calibration, phase: as_left, performed_at: 2026-05-08,
     interval_months: 12, points: [{x: 5 kg, error: 4 g, U: 0.2 g, k: 2}]}
"""


def test_a_back_dated_certificate_supersedes_later_verdicts(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 15))))
    site.write("late.yaml", BACK_DATED)
    shown = site.do("apply", "late.yaml", "--dry-run", "--json").document()["superseded"]
    assert [(s["device"], s["channel"], s["verdicts"]) for s in shown] == [("scale-07", "mass", 7)]
    before = site.do("devices", "show", "scale-07", "--json").document()
    assert before["drift"] == "stable"
    applied = site.do("apply", "late.yaml", "--json").document()["superseded"]
    assert applied == shown
    assert site.do("devices", "show", "scale-07", "--json").document()["drift"] != "stable"
    assert site.do("apply", "late.yaml", "--json").document()["superseded"] == []


def test_a_back_dated_certificate_ends_where_a_replay_with_it_ends(site: Site) -> None:
    site.apply()
    rows = [*steady(range(1, 15)), *(check(d, 5.0052, d) for d in range(15, 25))]
    name = site.recording("r.csv", rows)
    site.do("import", name)
    assert site.do("devices", "show", "scale-07", "--json").document()["drift"] == "drifting"
    site.write("late.yaml", BACK_DATED.replace("2026-05-08", "2026-05-15").replace("error: 4 g", "error: 5.2 g"))
    site.do("apply", "late.yaml")
    shown = site.do("devices", "show", "scale-07", "--json").document()
    said = site.do("replay", name, "--json").document()["devices"]["scale-07"]
    assert (shown["drift"], shown["margin_percent"]) == (said["drift"], said["margin_percent"])
    assert shown["drift"] == "stable"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("certificates: [{id: c, device: d, performed_at: 2099-01-01}]", "performed_at: 2099-01-01 has not come yet;"),
        ("events: [{device: d, time: 2099-01-01, kind: repair}]", "time: 2099-01-01 has not come yet;"),
        ("certificates: [{id: c, device: d, performed_at: 2026-01-01, interval_months: -3}]", "-3 is below 0;"),
        ("devices: [{id: e, kind: weighing, channels: {mass: {unit: m}}}]", "unit 'm' is not known; write one such as"),
        ("", "wrong.yaml:1: is empty; list devices, certificates, events in it"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_its_place_and_remedy(site: Site, text: str, wanted: str) -> None:
    site.write("d.yaml", "devices: [{id: d, kind: other, channels: {x: {unit: m}}}]")
    site.write("wrong.yaml", text)
    assert wanted in site.do("apply", "d.yaml", "wrong.yaml", code=2).err
    assert wanted in site.do("config", "check", "d.yaml", "wrong.yaml", code=2).err
    assert wanted in site.do("apply", "d.yaml", "wrong.yaml", "--keep-going", code=1).err
    assert [d["device"] for d in site.do("devices", "list", "--json").document()] == ["d"]


def test_a_dry_run_leaves_no_ledger_behind(site: Site) -> None:
    site.do("apply", "devices.yaml", "--dry-run")
    assert [p for p in site.folder.rglob("*") if "ledger" in p.name] == []
    for command in ("devices", "certificates", "alarms", "quarantine"):
        assert site.do(command, "list", "--json").document() == []


def test_files_that_hold_nothing_are_told(site: Site) -> None:
    site.write("comments.yaml", "# devices:\n#   - {id: scale-01}\n")
    assert "hold no devices" in site.do("apply", "comments.yaml").err


def test_a_damaged_document_in_the_ledger_is_told_by_every_command(site: Site) -> None:
    import sqlite3
    from contextlib import closing

    site.apply()
    with closing(sqlite3.connect(site.folder / "var/ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE registry SET document = X'7b226964' WHERE id = 'scale-07'")
    for command in (
        ["devices", "list"], ["certificates", "list"], ["history", "scale-07"], ["apply", "devices.yaml"],
        ["import", site.recording("r.csv", steady([1]))], ["rule-packs", "show", "--device", "scale-07"],
        ["certificates", "compare"], ["verify", "verdicts"], ["drift", "design"], ["run"],
    ):  # fmt: skip
        said = site.do(*command, code=2).err
        assert "damaged" in said, command
        assert "restore" in said, command
        assert len(said.splitlines()) == 1, command
