"""Points as InfluxDB line protocol: one line of text per point, exact, and nothing that could break out of its place.

    measurement,tag=value,tag=value field=1.5,field="text",field=true 1700000000000000000

Rules of the InfluxDB 2 parser (line-protocol reference and corpus): commas and spaces in a measurement, and commas,
equals signs and spaces in tags and field keys stand behind a backslash; a backslash itself stands for itself, so it
cannot be the last character. Text fields are in double quotes, in which quotes and backslashes stand behind one.
Numbers are always written as floats: the first type written makes a field's type for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Field", "Unencodable", "fields_text", "number", "point", "series", "text"]

Field = float | bool | str
"""A number (always stored as float), a fact, or text."""

_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ "})
_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_QUOTED = str.maketrans({'"': r"\"", "\\": r"\\"})
_BREAKS = frozenset("\n\r\0\t\f\v")


class Unencodable(ValueError):
    """This name, text or number has no place in line protocol; says which and why."""


def _name(value: str, what: str) -> str:
    """Return `value` if line protocol can carry it as a name; what it cannot carry is refused, never changed."""
    if not value:
        raise Unencodable(f"the {what} is empty")
    if value[-1] == "\\":
        raise Unencodable(f"the {what} {value[:40]!r} ends in a backslash, which would swallow what follows")
    if not _BREAKS.isdisjoint(value):
        raise Unencodable(f"the {what} {value[:40]!r} holds a line break or control character")
    _utf8(value, what)
    return value


def _utf8(value: str, what: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unencodable(f"the {what} {value[:40]!r} is no Unicode text: it holds half a surrogate pair") from None


def series(measurement: str, tags: Mapping[str, str]) -> str:
    """Return the part of a line before the fields; tags in byte order of their keys. Raises Unencodable.

    >>> series("reading", {"site": "Văn Giang", "device": "a=b"})
    'reading,device=a\\\\=b,site=Văn\\\\ Giang'
    """
    if measurement.startswith("#"):
        raise Unencodable(f"the measurement {measurement[:40]!r} begins like a comment")
    parts = [_name(measurement, "measurement").translate(_MEASUREMENT)]
    for key in sorted(tags, key=str.encode):
        name = _name(key, "tag")
        parts.append(f"{name.translate(_KEY)}={_name(tags[key], f'tag {name}').translate(_KEY)}")
    return ",".join(parts)


def number(value: float) -> str:
    """Return a number as float, in the shortest text that reads back as the same. Raises Unencodable if not finite.

    >>> number(21), number(0.1), number(1e300)
    ('21.0', '0.1', '1e+300')
    """
    if not math.isfinite(value):
        raise Unencodable(f"{value} is no number that InfluxDB can store")
    return repr(float(value))


def text(value: str) -> str:
    """Return a text field's value in quotes. Raises Unencodable for half a surrogate pair.

    >>> text('5" pipe')
    '"5\\\\" pipe"'
    """
    _utf8(value, "text")
    return f'"{value.translate(_QUOTED)}"'


def fields_text(fields: Mapping[str, Field | None]) -> str:
    """Return the fields of a line, absent (None) ones left out; empty if there is none. Raises Unencodable."""
    parts = []
    for key, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bool):
            said = "true" if value else "false"
        else:
            said = text(value) if isinstance(value, str) else number(value)
        parts.append(f"{_name(key, 'field').translate(_KEY)}={said}")
    return ",".join(parts)


def point(measurement: str, tags: Mapping[str, str], fields: Mapping[str, Field | None], time: int) -> str:
    """Return one point as a line without its line break; `time` in ns. Raises Unencodable.

    >>> point("reading", {"device": "scale-07"}, {"value": 5, "boot": None, "late": False}, 7)
    'reading,device=scale-07 value=5.0,late=false 7'
    """
    said = fields_text(fields)
    if not said:
        raise Unencodable(f"a point of {measurement} has no field")
    return f"{series(measurement, tags)} {said} {time}"
