"""Instants and durations as integer nanoseconds, read from and written as text (CONTRACTS §1).

Nothing passes through a float. Instants lie between 1970-01-01 and 2262-04-11 (63 bits); days are those of the
proleptic Gregorian calendar, leap seconds are not counted.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = [
    "DAY_NS", "HOUR_NS", "MILLISECOND_NS", "MINUTE_NS", "SECOND_NS", "add_months", "format_duration", "format_instant",
    "parse_date", "parse_duration", "parse_epoch", "parse_instant_file", "parse_rfc3339",
]  # fmt: skip

MILLISECOND_NS = 10**6
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 86400 * SECOND_NS

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 2**63 - 1

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    """Return days since 1970-01-01 of `YYYY-MM-DD`; ValueError when there is no such day."""
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:])
    try:
        return date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise ValueError(f"there is no day {text}") from None


def _bounded(ns: int, text: str) -> int:
    if not 0 <= ns <= _LAST:
        raise ValueError(f"{text[:40]!r} is not between 1970 and 2262")
    return ns


def parse_rfc3339(text: str) -> int:
    """Return the instant of an RFC 3339 text with offset, to 9 fraction digits; ValueError otherwise.

    A leap second (23:59:60 UTC at the end of a month) is the first instant after it.

    >>> parse_rfc3339("2026-03-02T07:00:00.5+07:00")
    1772409600500000000
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        if _LOCAL.fullmatch(text):
            _day(text[:10])
            raise ValueError(f"{text!r} has no zone; add Z or an offset such as +07:00")
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time such as 2026-03-02T08:00:00+07:00")
    day, hours, minutes, seconds, fraction, sign, offset_hours, offset_minutes = found.groups()
    hour, minute, second = int(hours), int(minutes), int(seconds)
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(f"{text[:40]!r} has no such time of day")
    moment = _day(day) * 86400 + hour * 3600 + minute * 60 + second
    if sign is not None:
        ahead_h, ahead_min = int(offset_hours), int(offset_minutes)
        if ahead_h > 23 or ahead_min > 59:
            raise ValueError(f"{text[:40]!r} has no such offset")
        ahead = ahead_h * 3600 + ahead_min * 60
        moment += ahead if sign == "-" else -ahead
    if second == 60:
        _expect_month_end(moment, text)
    if fraction is None:
        return _bounded(moment * SECOND_NS, text)
    if len(fraction) > 9:
        raise ValueError(f"{text[:40]!r} is finer than a nanosecond; give at most 9 fraction digits")
    return _bounded(moment * SECOND_NS + (0 if second == 60 else int(fraction.ljust(9, "0"))), text)


def _expect_month_end(moment: int, text: str) -> None:
    """Raise unless the second after a leap second is the first of a month, UTC."""
    days, rest = divmod(moment, 86400)
    if rest != 0 or days < 0 or date.fromordinal(days + _EPOCH_DAY).day != 1:
        raise ValueError(f"{text[:40]!r} is not a leap second: those end a month, at 23:59:60 UTC")


def parse_epoch(text: str, scale_ns: int) -> int:
    """Return the instant of a decimal text that counts units of `scale_ns` since 1970; exact, ValueError otherwise.

    >>> parse_epoch("1772409600.5", SECOND_NS), parse_epoch("1772409600500", MILLISECOND_NS)
    (1772409600500000000, 1772409600500000000)
    """
    if text.isascii() and text.isdigit() and len(text) <= 30:
        return _bounded(int(text) * scale_ns, text)
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a decimal number of an epoch")
    ns = Fraction(Decimal(text)) * scale_ns
    if ns.denominator != 1:
        raise ValueError(f"{text[:40]!r} is finer than a nanosecond")
    return _bounded(ns.numerator, text)


def parse_instant_file(text: str) -> int:
    """Return the instant of a file: RFC 3339 with offset, or epoch seconds as decimal text; ValueError otherwise."""
    if _NUMBER.fullmatch(text):
        return parse_epoch(text, SECOND_NS)
    return parse_rfc3339(text)


@lru_cache(maxsize=4096)
def _day_text(days: int) -> str:
    return date.fromordinal(days + _EPOCH_DAY).isoformat()


@lru_cache(maxsize=65536)
def _second_text(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    minutes, second = divmod(rest, 60)
    return f"{_day_text(days)}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def format_instant(ns: int) -> str:
    """Return the instant as RFC 3339 UTC with `Z` and 0, 3, 6 or 9 fraction digits, as many as it needs.

    >>> format_instant(1772409600500000000)
    '2026-03-02T00:00:00.500Z'
    """
    seconds, rest = divmod(ns, SECOND_NS)
    text = _second_text(seconds)
    if rest == 0:
        return text + "Z"
    if rest % 10**6 == 0:
        return f"{text}.{rest // 10**6:03d}Z"
    if rest % 1000 == 0:
        return f"{text}.{rest // 1000:06d}Z"
    return f"{text}.{rest:09d}Z"


def parse_date(text: str, zone: ZoneInfo) -> int:
    """Return the instant a day `YYYY-MM-DD` begins (00:00) in a zone; ValueError otherwise."""
    if not _DATE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a date such as 2026-03-02")
    _day(text)
    if not 1970 <= int(text[:4]) <= 2261:
        raise ValueError(f"{text!r} is not between 1970 and 2261")
    return _instant(datetime(int(text[:4]), int(text[5:7]), int(text[8:]), tzinfo=zone))


def _instant(moment: datetime) -> int:
    passed = moment.astimezone(UTC) - _EPOCH
    return (passed.days * 86400 + passed.seconds) * SECOND_NS + passed.microseconds * 1000


def add_months(ns: int, months: int, zone: ZoneInfo) -> int:
    """Return the instant some months later at the same time of day in the zone, clamped to the end of the month.

    >>> hcm = ZoneInfo("Asia/Ho_Chi_Minh")
    >>> format_instant(add_months(parse_date("2026-08-31", hcm), 18, hcm) + 7 * HOUR_NS)
    '2028-02-29T00:00:00Z'
    """
    seconds, rest = divmod(ns, SECOND_NS)
    local = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    years, month = divmod(local.month - 1 + months, 12)
    year = local.year + years
    if not 1970 <= year <= 2261:
        raise ValueError(f"{months} months after {format_instant(ns)} is not between 1970 and 2261")
    day = min(local.day, monthrange(year, month + 1)[1])
    return _instant(local.replace(year=year, month=month + 1, day=day, fold=0)) + rest


_DURATION_UNITS = {
    "w": 7 * DAY_NS, "d": DAY_NS, "h": HOUR_NS, "min": MINUTE_NS, "m": MINUTE_NS, "s": SECOND_NS,
    "ms": MILLISECOND_NS, "us": 1000, "µs": 1000, "ns": 1,
}  # fmt: skip
_DURATION = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?\s?(?:w|d|h|min|ms|m|s|us|µs|ns)\s?)+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?(w|d|h|min|ms|m|s|us|µs|ns)")
_WRITTEN = (("d", DAY_NS), ("h", HOUR_NS), ("min", MINUTE_NS), ("s", SECOND_NS), ("ms", MILLISECOND_NS), ("us", 1000))


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration such as `36h`, `30d`, `10min` or `1h30min`; ValueError otherwise.

    Units are w d h min (or m) s ms us ns, from large to small, each once; there are no months, for they differ.

    >>> parse_duration("1h30min") == 90 * MINUTE_NS
    True
    """
    plain = text.strip()
    if len(plain) > 80 or not _DURATION.fullmatch(plain):
        raise ValueError(f"{plain[:40]!r} is not a duration such as 36h, 30d or 10min")
    total, before = Fraction(0), None
    for number, name in _DURATION_PART.findall(plain):
        size = _DURATION_UNITS[name]
        if before is not None and size >= before:
            raise ValueError(f"{plain!r} is not a duration: units go from large to small, each once")
        before = size
        total += Fraction(Decimal(number)) * size
    if total.denominator != 1 or total > _LAST:
        raise ValueError(f"{plain!r} is not a whole number of nanoseconds within 292 years")
    return total.numerator


def format_duration(ns: int) -> str:
    """Return a duration as `parse_duration` reads it, e.g. `1d12h`; negative ones with a leading minus.

    >>> format_duration(36 * HOUR_NS)
    '1d12h'
    """
    if ns == 0:
        return "0s"
    parts, rest = [], abs(ns)
    for name, size in _WRITTEN:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    if rest:
        parts.append(f"{rest}ns")
    return ("-" if ns < 0 else "") + "".join(parts)
