"""Validity by law: the calendar, which interval fits an instrument, and files of one's own (METROLOGY §9)."""

from __future__ import annotations

import calendar
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Mistakes
from gateway.metrology.instants import add_months, format_instant, parse_date
from gateway.metrology.validity import Suggestion, interval_catalogue, suggest
from gateway.shipped import shipped_texts

HCM = ZoneInfo("Asia/Ho_Chi_Minh")
SHIPPED = shipped_texts("rulepacks/intervals")
KNOWN = interval_catalogue(SHIPPED, zone=HCM)
DAY_2026 = parse_date("2026-09-04", HCM)


def ask(
    kind: str, rule_pack: str | None, parameters: dict[str, str], at: int = DAY_2026, zone: ZoneInfo = HCM
) -> Suggestion | None:
    return suggest(KNOWN, performed_at=at, zone=zone, kind=kind, rule_pack=rule_pack, parameters=parameters)


@pytest.mark.parametrize(
    ("performed", "months", "due"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-08-31", 18, "2028-02-29"),
        ("2025-08-31", 18, "2027-02-28"),
        ("2026-09-04", 18, "2028-03-04"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2026-03-31", 60, "2031-03-31"),
    ],
)
def test_months_are_clamped_to_the_end_of_the_month(performed: str, months: int, due: str) -> None:
    assert add_months(parse_date(performed, HCM), months, HCM) == parse_date(due, HCM)


@given(st.dates(date(1976, 1, 1), date(2200, 12, 31)), st.integers(1, 600))  # at UTC+7 since June 1975
def test_no_month_is_skipped_and_no_day_invented(performed: date, months: int) -> None:
    found = format_instant(add_months(parse_date(performed.isoformat(), HCM), months, HCM) + 7 * 3600 * 10**9)
    due = date.fromisoformat(found[:10])
    assert (due.year - performed.year) * 12 + due.month - performed.month == months
    assert due.day == min(performed.day, calendar.monthrange(due.year, due.month)[1])


@pytest.mark.parametrize(
    ("kind", "rule_pack", "parameters", "months", "instruments", "verified"),
    [
        ("weighing", "oiml-r76", {"class": "II"}, 12, 1, True),
        ("weighing", "oiml-r76", {"class": "III"}, 12, 4, False),
        ("weighing", None, {}, 12, 5, False),
        ("fuel", "oiml-r117", {"class": "0.5", "MMQ": "5 L"}, 12, 2, False),
        ("water", "oiml-r49", {"class": "2"}, 36, 2, False),
        ("electricity", "iec-62053-21", {"class": "1"}, 36, 2, False),
        ("electricity", "oiml-r46", {"class": "B"}, 36, 4, False),
        ("gas", "oiml-r137", {"Qmax": "6 m3/h"}, 12, 3, False),
        ("gas", "oiml-r137", {"Qmax": "16000 L/h"}, 12, 3, False),
    ],
)
def test_the_shortest_interval_that_fits_is_suggested(
    kind: str, rule_pack: str | None, parameters: dict[str, str], months: int, instruments: int, verified: bool
) -> None:
    found = ask(kind, rule_pack, parameters)
    assert found is not None
    assert (found.months, len(found.candidates), found.verified) == (months, instruments, verified)
    assert found.due == add_months(DAY_2026, months, HCM)
    assert found.source == "vn-tt23@2024"


def test_the_size_of_a_gas_meter_decides_between_intervals() -> None:
    for flow, months in (("15.999 m³/h", 60), ("16 m³/h", 36)):
        found = ask("gas", "oiml-r137", {"Qmax": flow})
        assert found is not None
        assert {c.months for c in found.candidates if "diaphragm" in c.instrument} == {months}


def test_the_version_of_the_day_holds_and_only_where_it_is_law() -> None:
    before = ask("electricity", "oiml-r46", {}, parse_date("2024-10-14", HCM))
    assert before is not None
    assert (before.source, before.months) == ("vn-tt23@2013", 24)
    assert ask("water", None, {}, parse_date("2013-11-14", HCM)) is None
    assert ask("weighing", None, {}, zone=ZoneInfo("Europe/Berlin")) is None
    assert ask("other", None, {}) is None


def test_a_sites_own_file_replaces_and_its_mistakes_are_named() -> None:
    own = dict(SHIPPED)["vn-tt23-2024.yaml"].replace("months: 12", "months: 6", 1)
    found = suggest(
        interval_catalogue(SHIPPED, [("mine.yaml", own)], zone=HCM),
        performed_at=DAY_2026, zone=HCM, kind="weighing", rule_pack=None, parameters={"class": "I"},
    )  # fmt: skip
    assert found is not None
    assert found.months == 6
    bad = (
        own.replace("kind: weighing", "kind: scale", 1).replace("months: 24", "months: two", 1).replace("note:", "not:")
    )
    with pytest.raises(Mistakes) as said:
        interval_catalogue(SHIPPED, [("mine.yaml", bad)], zone=HCM)
    text = str(said.value)
    assert "mine.yaml:10: intervals[0].kind: 'scale' is not one of" in text
    assert "months: 'two' is not a number of months" in text
    assert "not: is an unknown key" in text
