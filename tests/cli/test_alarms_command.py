"""`metergate alarms`: a person sees, acknowledges, shelves and closes them (CONTRACTS §5)."""

from __future__ import annotations

import pytest

from tests.cli.support import Site, check, steady


@pytest.fixture
def drifting(site: Site) -> Site:
    site.apply()
    rows = [*steady(range(1, 15)), *(check(d, 5.0102, d) for d in range(15, 20))]
    site.do("import", site.recording("r.csv", rows))
    return site


def only(site: Site, kind: str, *arguments: str) -> dict[str, str]:
    found = [a for a in site.do("alarms", "list", *arguments, "--json").document() if a["kind"] == kind]
    assert len(found) == 1
    alarm: dict[str, str] = found[0]
    return alarm


def test_the_list_tells_what_stands_open(drifting: Site) -> None:
    alarm = only(drifting, "drift")
    assert (alarm["device"], alarm["channel"], alarm["state"]) == ("scale-07", "mass", "raised")
    assert "scale-07" in alarm["text"]
    assert alarm["alarm"] in drifting.do("alarms", "list").out
    assert drifting.do("alarms", "list", "--device", "meter-01", "--json").document() == []


def test_an_acknowledged_alarm_stays_open_and_says_by_whom_and_why(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    drifting.do("alarms", "ack", name, "--reason", "seen", "--by", "Lan")
    alarm = only(drifting, "drift")
    assert alarm["state"] == "acknowledged"
    assert (alarm["acknowledged_by"], alarm["acknowledged_reason"]) == ("Lan", "seen")


def test_a_shelved_alarm_says_until_when(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    said = drifting.do("alarms", "shelve", name, "--for", "7d", "--reason", "repair", "--json").document()
    assert said["state"] == "shelved"
    assert only(drifting, "drift")["shelved_until"] == said["shelved_until"]


def test_a_cleared_alarm_is_closed_for_good(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    drifting.do("alarms", "clear", name, "--reason", "weights replaced", "--by", "Lan")
    assert name not in drifting.do("alarms", "list", "--json").out
    closed = only(drifting, "drift", "--all")
    assert (closed["alarm"], closed["state"]) == (name, "cleared")
    assert closed["cleared_at"] is not None
    assert "closed already" in drifting.do("alarms", "ack", name, "--reason", "late", code=1).err


def test_what_people_did_survives_another_import(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    drifting.do("alarms", "ack", name, "--reason", "seen", "--by", "Lan")
    drifting.do("import", drifting.recording("more.csv", [check(d, 5.0102, d) for d in range(20, 25)]))
    alarm = only(drifting, "drift")
    assert (alarm["alarm"], alarm["acknowledged_by"]) == (name, "Lan")


@pytest.mark.parametrize(
    "arguments",
    [
        ("ack", "drift-000000000000", "--reason", "x"),
        ("shelve", "drift-000000000000", "--reason", "x"),
        ("clear", "drift-000000000000", "--reason", "x"),
        ("ack", "drift-000000000000"),
    ],
)
def test_wrong_use_is_exit_two(drifting: Site, arguments: tuple[str, ...]) -> None:
    refused = drifting.do("alarms", *arguments, code=2)
    assert refused.out == ""


def test_a_length_of_time_is_needed_to_shelve(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    assert "--for" in drifting.do("alarms", "shelve", name, "--for", "soon", "--reason", "x", code=2).err
    assert only(drifting, "drift")["state"] == "raised"
