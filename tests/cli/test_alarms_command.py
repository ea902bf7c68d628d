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


def test_what_stands_again_after_a_person_closed_it_says_why(drifting: Site) -> None:
    first = only(drifting, "drift")
    drifting.do("alarms", "clear", first["alarm"], "--reason", "weights replaced")
    drifting.do("import", drifting.recording("more.csv", [check(20, 5.0112, 20)]))
    again = only(drifting, "drift")
    assert again["alarm"] != first["alarm"]
    assert again["evidence"]["reading"] == "2026-05-20T01:00:00Z"  # type: ignore[index]
    assert again["evidence"]["detectors"]  # type: ignore[index]
    assert "beyond" in again["text"]


def test_what_stands_again_at_a_reading_that_is_no_check_says_why(drifting: Site) -> None:
    first = only(drifting, "drift")
    drifting.do("alarms", "clear", first["alarm"], "--reason", "weights replaced")
    drifting.write("more.csv", "time,device,channel,value,unit\n2026-05-20T08:00:00+07:00,scale-07,mass,7.1,kg\n")
    drifting.do("import", "more.csv")
    again = only(drifting, "drift")
    assert again["alarm"] != first["alarm"]
    assert (again["evidence"], again["text"]) == (first["evidence"], first["text"])


def test_late_data_open_no_alarm_that_a_person_closed(drifting: Site) -> None:
    for alarm in drifting.do("alarms", "list", "--json").document():
        drifting.do("alarms", "clear", alarm["alarm"], "--reason", "weights replaced", "--by", "Lan")
    closed = drifting.do("alarms", "list", "--all", "--json").document()
    late = "2026-05-04T09:00:00+07:00,scale-07,mass,5.0012,kg,5,0.0001,99,b1"
    drifting.do("import", drifting.recording("late.csv", [late]))
    now = {a["alarm"]: a for a in drifting.do("alarms", "list", "--all", "--json").document()}
    assert {a["alarm"]: a for a in closed}.items() <= now.items()


def test_late_data_leave_the_alarm_that_came_after_one_that_a_person_closed(drifting: Site) -> None:
    first = only(drifting, "drift")
    drifting.do("alarms", "clear", first["alarm"], "--reason", "weights replaced")
    drifting.do("import", drifting.recording("more.csv", [check(20, 5.0112, 20)]))
    again = only(drifting, "drift")
    late = "2026-05-04T09:00:00+07:00,scale-07,mass,5.0012,kg,5,0.0001,99,b1"
    drifting.do("import", drifting.recording("late.csv", [late]))
    assert only(drifting, "drift") == again


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


@pytest.mark.parametrize("what", ["ack", "shelve", "clear"])
def test_a_blank_reason_is_none(drifting: Site, what: str) -> None:
    name = only(drifting, "drift")["alarm"]
    said = drifting.do("alarms", what, name, "--reason", " ", code=2).err
    assert said.endswith(f"say why; see `metergate alarms {what} --help`\n")
    assert only(drifting, "drift")["state"] == "raised"


def test_a_length_of_time_is_needed_to_shelve(drifting: Site) -> None:
    name = only(drifting, "drift")["alarm"]
    assert "--for" in drifting.do("alarms", "shelve", name, "--for", "soon", "--reason", "x", code=2).err
    assert only(drifting, "drift")["state"] == "raised"
