"""The types of values people write in files: each reads a text, says what is wrong with it, and writes it back.

Every validator raises ValueError with a message for a person. Written back, equal values are equal texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import PlainSerializer, PlainValidator

from gateway.metrology.instants import (
    SECOND_NS,
    format_duration,
    parse_date,
    parse_duration,
    parse_epoch,
    parse_rfc3339,
)
from gateway.metrology.units import Quantity, parse_quantity

__all__ = [
    "ID", "AnyText", "Count", "Duration", "Flag", "Ident", "Label", "Moment", "NotNegative", "Number", "Positive",
    "PowerFactor", "Qty", "Run", "RunLength", "Text", "decimal", "decimal_text", "moment_text", "readable", "whole",
]  # fmt: skip

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Ids of CONTRACTS §1."""

LONGEST_TEXT = 500
FINEST = 40

_UTC = ZoneInfo("UTC")
_WHOLE = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"[+\-−]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+\-]?[0-9]{1,3})?")
_POWER_FACTOR = re.compile(r"(?P<unity>1(?:\.0+)?)|(?P<size>0?\.[0-9]{1,6}|1\.0+|1)(?P<side>[ic])")
_EPOCH = re.compile(r"[0-9]{9,19}(?:\.[0-9]{1,9})?")
_FLAGS: Mapping[str, bool] = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}


def readable(value: object) -> str:
    """Return a text as it is, if it is one line of printable characters; ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError("expected one value, found a list or keys")  # noqa: TRY004  pydantic reports ValueError
    text = value.strip()
    if not text:
        raise ValueError("is empty")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"is longer than {LONGEST_TEXT} characters")
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def decimal(text: str) -> Decimal:
    """Return the finite number in a text; ValueError for anything else, decimal commas included."""
    if "," in text:
        raise ValueError(f"{text[:40]!r} has a comma; write a decimal point and no thousands separator")
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return _bounded(Decimal(text.replace("−", "-")), text)


def _bounded(value: Decimal, text: str) -> Decimal:
    if value and abs(value.adjusted()) > FINEST:
        raise ValueError(f"{text[:40]!r} is not a size that is met in practice")
    return value


def decimal_text(value: Decimal) -> str:
    """Return the plain digits of a number, without trailing zeros.

    >>> decimal_text(Decimal("1.50")), decimal_text(Decimal("1E+2"))
    ('1.5', '100')
    """
    if not value:
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def whole(text: str) -> int:
    """Return the whole number in a text; ValueError otherwise."""
    if _WHOLE.fullmatch(text.removeprefix("-")) and text[:1] == "-":
        raise ValueError(f"{text[:40]} is below 0; write a whole number")
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a whole number")
    return int(text)


def _ident(value: object) -> str:
    text = readable(value)
    if not ID.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is not an id; use 1 to 64 of a-z 0-9 . _ - with a letter or digit first (no capitals)"
        )
    return text


def _number(value: object) -> Decimal:
    return value if isinstance(value, Decimal) else decimal(readable(value))


def _count(value: object) -> int:
    return value if isinstance(value, int) else whole(readable(value))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = readable(value)
    if text.lower() not in _FLAGS:
        raise ValueError(f"{text[:40]!r} is not true or false")
    return _FLAGS[text.lower()]


def _quantity(value: object) -> Quantity:
    if isinstance(value, Quantity):
        return value
    text = readable(value)
    found = parse_quantity(text)
    _bounded(found.value, text)
    return found


def _quantity_text(value: Quantity) -> str:
    return f"{decimal_text(value.value)} {value.unit}"


def _positive(value: object) -> Decimal:
    found = _number(value)
    if found <= 0:
        raise ValueError("must be above 0")
    return found


def _not_negative(value: object) -> Quantity:
    found = _quantity(value)
    if found.value < 0:
        raise ValueError("must not be negative")
    return found


def _duration(value: object) -> int:
    if isinstance(value, int):
        return value
    ns = parse_duration(readable(value))
    if ns <= 0:
        raise ValueError("must be longer than nothing")
    return ns


def moment_text(value: object) -> str:
    """Return a date or an instant with offset as written, once it is known to be one; ValueError otherwise."""
    text = readable(value)
    if _EPOCH.fullmatch(text):
        parse_epoch(text, SECOND_NS)
    elif len(text) <= 10:
        parse_date(text, _UTC)
    else:
        parse_rfc3339(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """So many in a row (`n`), or all within a time (`ns`); exactly one is set."""

    n: int | None = None
    ns: int | None = None


def _run(value: object) -> Run:
    if isinstance(value, Run):
        return value
    text = readable(value)
    if text.isdigit():
        n = whole(text)
        if n < 1:
            raise ValueError("must be at least 1")
        return Run(n=n)
    try:
        return Run(ns=_duration(text))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is neither a whole number nor a duration such as 1h") from None


def _run_text(value: Run) -> str:
    return str(value.n) if value.ns is None else format_duration(value.ns)


def _power_factor(value: object) -> float:
    if isinstance(value, float):
        return value
    text = readable(value)
    found = _POWER_FACTOR.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a power factor such as 1, 0.5i (inductive) or 0.8c (capacitive)")
    if found["unity"]:
        return 1.0
    size = float(found["size"])
    if size == 0:
        raise ValueError("a power factor of 0 carries no active energy")
    return -size if found["side"] == "c" else size


def _power_factor_text(value: float) -> str:
    if value == 1:
        return "1"
    return f"{decimal_text(Decimal(repr(abs(value))))}{'c' if value < 0 else 'i'}"


def _field(read: Callable[[object], Any], write: Callable[[Any], str]) -> tuple[PlainValidator, PlainSerializer]:
    return PlainValidator(read), PlainSerializer(write, return_type=str)


Ident = Annotated[str, PlainValidator(_ident)]
"""An id."""

Text = Annotated[str, PlainValidator(readable)]
"""One printable line."""


def _label(value: object) -> str:
    text = readable(value)
    if len(text) > 32:
        raise ValueError("is longer than 32 characters")
    return text


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected one value, found a list or keys")  # noqa: TRY004  pydantic reports ValueError
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"is longer than {LONGEST_TEXT} characters")
    return value


AnyText = Annotated[str, PlainValidator(_any_text)]
"""Any text, escaped where it is shown."""

Label = Annotated[str, PlainValidator(_label)]
"""A short condition (`L1`, `import`), matched exactly."""

Number = Annotated[Decimal, *_field(_number, decimal_text)]
"""A finite number."""

Count = Annotated[int, *_field(_count, str)]
"""A whole number."""

Flag = Annotated[bool, *_field(_flag, lambda value: "true" if value else "false")]
"""True or false."""

Qty = Annotated[Quantity, *_field(_quantity, _quantity_text)]
"""A number and its unit."""

Positive = Annotated[Decimal, *_field(_positive, decimal_text)]
"""A finite number above 0."""

NotNegative = Annotated[Quantity, *_field(_not_negative, _quantity_text)]
"""A quantity of 0 or more."""

Duration = Annotated[int, *_field(_duration, format_duration)]
"""A duration, as nanoseconds."""

Moment = Annotated[str, PlainValidator(moment_text)]
"""A date, an instant with offset or epoch seconds, kept as text: a date needs the site's zone to become an instant."""

RunLength = Annotated[Run, *_field(_run, _run_text)]
"""A count or a duration."""

PowerFactor = Annotated[float, *_field(_power_factor, _power_factor_text)]
"""A power factor: 1, positive when inductive, negative when capacitive."""
