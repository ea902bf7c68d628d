"""Instants: exact nanoseconds in, RFC 3339 UTC out; no zone, no instant."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.instants import (
    DAY_NS,
    HOUR_NS,
    MILLISECOND_NS,
    MINUTE_NS,
    SECOND_NS,
    add_months,
    format_duration,
    format_instant,
    parse_date,
    parse_duration,
    parse_epoch,
    parse_instant_file,
    parse_rfc3339,
)  # fmt: skip

HCM = ZoneInfo("Asia/Ho_Chi_Minh")
BERLIN = ZoneInfo("Europe/Berlin")
INSTANTS = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2026-03-02T08:00:00+07:00", "2026-03-02T01:00:00Z"),
        ("2026-03-02t08:00:00.25z", "2026-03-02T08:00:00.250Z"),
        ("2026-03-02 08:00:00-00:30", "2026-03-02T08:30:00Z"),
        ("2026-03-02T08:00:00.000000001Z", "2026-03-02T08:00:00.000000001Z"),
        ("2026-03-02T08:00:00.1234560Z", "2026-03-02T08:00:00.123456Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T06:59:60.5+07:00", "2017-01-01T00:00:00Z"),
        ("2261-12-31T23:59:59.999999999Z", "2261-12-31T23:59:59.999999999Z"),
    ],
)
def test_rfc3339_becomes_utc(text: str, wanted: str) -> None:
    assert format_instant(parse_rfc3339(text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T08:00:00", "2026-03-02", "2026-02-30T00:00:00Z", "2026-03-02T24:00:00Z", "2026-03-02T08:60:00Z",
        "2026-03-02T08:00:60Z", "2016-12-30T23:59:60Z", "2026-03-02T08:00:00.1234567891Z", "2026-03-02T08:00:00,5Z",
        "2026-03-02T08:00:00+0700", "2026-03-02T08:00:00+24:00", "2026-03-02T08:00Z", "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+07:00", "2263-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "", "now", "٢٠٢٦-03-02T08:00:00Z",
        "2026-03-02T08:00:00Z ", "2026-03-02T08:00:00.Z",
    ],
)  # fmt: skip
def test_other_texts_are_no_instants(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|RFC 3339|day|offset|nanosecond|1970|leap"):
        parse_rfc3339(text)


def test_a_local_time_is_told_that_its_zone_is_missing() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        parse_rfc3339("2026-03-02T08:00:00")


@pytest.mark.parametrize(
    ("text", "scale", "ns"),
    [
        ("0", SECOND_NS, 0),
        ("1772409600.5", SECOND_NS, 1772409600500000000),
        ("1772409600500", MILLISECOND_NS, 1772409600500000000),
        ("1772409600123.456789", MILLISECOND_NS, 1772409600123456789),
        ("1.7724096e9", SECOND_NS, 1772409600000000000),
        ("1772409600.123456789000", SECOND_NS, 1772409600123456789),
        ("9007199254740993", 1000, 9007199254740993000),
    ],
)
def test_an_epoch_is_read_as_decimal_text(text: str, scale: int, ns: int) -> None:
    assert parse_epoch(text, scale) == ns


@pytest.mark.parametrize(
    "text",
    ["-1", "1e99", "1772409600.1234567891", "nan", "inf", "", "1_000", " 1", "0x10", "99999999999", "1e-99", "²"],
)
def test_what_is_no_epoch_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"1970|nanosecond|decimal"):
        parse_epoch(text, SECOND_NS)


def test_files_hold_either() -> None:
    assert parse_instant_file("1772409600") == parse_instant_file("2026-03-02T07:00:00+07:00")
    with pytest.raises(ValueError, match="has no zone"):
        parse_instant_file("2026-03-02 07:00")


@given(INSTANTS)
def test_an_instant_survives_being_written(ns: int) -> None:
    text = format_instant(ns)
    assert parse_rfc3339(text) == ns
    digits = len(text.partition(".")[2].rstrip("Z"))
    assert digits in {0, 3, 6, 9}
    assert datetime.fromisoformat(text[:19] + "+00:00") == datetime.fromtimestamp(ns // SECOND_NS, UTC)


@given(INSTANTS)
def test_epoch_seconds_survive_being_written(ns: int) -> None:
    assert parse_epoch(f"{Decimal(ns).scaleb(-9):f}", SECOND_NS) == ns


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    for parse in (parse_rfc3339, parse_instant_file, parse_duration, lambda t: parse_date(t, HCM)):
        try:
            assert parse(text) >= 0
        except ValueError:
            continue


def test_a_date_begins_at_midnight_of_its_zone() -> None:
    assert format_instant(parse_date("2026-03-02", HCM)) == "2026-03-01T17:00:00Z"
    assert format_instant(parse_date("2026-07-01", BERLIN)) == "2026-06-30T22:00:00Z"
    for wrong in ("2026-3-2", "2026-02-29", "02-03-2026", "1969-12-31", "2026-03-02T00:00:00Z"):
        with pytest.raises(ValueError, match=r"date|day|1970"):
            parse_date(wrong, HCM)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-08-31", 18, "2028-02-29"),
        ("2025-08-31", 18, "2027-02-28"),
        ("2026-09-04", 18, "2028-03-04"),
        ("2026-03-02", 12, "2027-03-02"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-03-31", -1, "2026-02-28"),
    ],
)
def test_months_are_added_on_the_calendar(start: str, months: int, end: str) -> None:
    assert add_months(parse_date(start, HCM), months, HCM) == parse_date(end, HCM)


def test_months_keep_the_time_of_day_across_summer_time() -> None:
    start = parse_rfc3339("2026-02-10T09:30:00.000000007+01:00")
    assert add_months(start, 6, BERLIN) == parse_rfc3339("2026-08-10T09:30:00.000000007+02:00")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("36h", 36 * HOUR_NS),
        ("30d", 30 * DAY_NS),
        ("10min", 10 * MINUTE_NS),
        ("10m", 10 * MINUTE_NS),
        ("90s", 90 * SECOND_NS),
        ("1h30m", 90 * MINUTE_NS),
        ("1 d 12 h", 36 * HOUR_NS),
        ("0.5s", SECOND_NS // 2),
        ("250ms", 250 * MILLISECOND_NS),
        ("2w", 14 * DAY_NS),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    "text", ["", "36", "h", "-1h", "1mo", "1y", "1h1h", "30m1h", "1,5h", "1e3s", "0.1ns", "400000000d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|nanoseconds"):
        parse_duration(text)


@given(INSTANTS)
def test_a_duration_survives_being_written(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-30T08:00:00"])
def test_a_day_there_is_not_is_told_before_its_zone(text: str) -> None:
    with pytest.raises(ValueError, match=f"no day {text[:10]}"):
        parse_rfc3339(text)
