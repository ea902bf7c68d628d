"""A reader of line protocol, written from the reference and apart from our encoder: what the stand-in and tests use."""

from __future__ import annotations

from dataclasses import dataclass

FieldValue = float | int | bool | str


class Malformed(ValueError):
    """This is no line of line protocol."""


@dataclass(frozen=True)
class Point:
    """One point as read."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, FieldValue], ...]
    time: int | None

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What InfluxDB calls the series."""
        return self.measurement, self.tags


def parse(body: bytes) -> list[Point]:
    """Read all lines; raises Malformed at the first that is none."""
    text = body.decode()
    return [parse_line(line) for line in split_lines(text) if line.strip() and not line.startswith("#")]


def split_lines(text: str) -> list[str]:
    """Split at line breaks that are not in quotes."""
    lines, start, quoted, i = [], 0, False, 0
    while i < len(text):
        c = text[i]
        if c == "\\" and quoted:
            i += 1
        elif c == '"' and (quoted or _in_fields(text[start:i])):
            quoted = not quoted
        elif c == "\n" and not quoted:
            lines.append(text[start:i])
            start = i + 1
        i += 1
    return [*lines, text[start:]]


def _in_fields(line: str) -> bool:
    """Whether a quote here opens a text: right after an equals sign behind the first bare space."""
    end = _until(line, 0, " ")
    return end < len(line) and line.endswith("=")


def _until(text: str, start: int, stops: str) -> int:
    """Find the first of `stops` that is not behind a backslash."""
    i = start
    while i < len(text) and text[i] not in stops:
        i += 2 if text[i] == "\\" and i + 1 < len(text) and text[i + 1] in ', ="\\' and text[i + 1] != "\\" else 1
    return min(i, len(text))


def _plain(text: str, special: str) -> str:
    out, i = [], 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text) and text[i + 1] in special:
            i += 1
        out.append(text[i])
        i += 1
    return "".join(out)


def parse_line(line: str) -> Point:
    """Read one line; raises Malformed."""
    end = _until(line, 0, ", ")
    measurement = _plain(line[:end], ", ")
    if not measurement or measurement.startswith("#"):
        raise Malformed(f"unable to parse '{line}': missing measurement")
    tags = []
    while end < len(line) and line[end] == ",":
        equals = _until(line, end + 1, "=, ")
        if equals >= len(line) or line[equals] != "=":
            raise Malformed(f"unable to parse '{line}': missing tag value")
        stop = _until(line, equals + 1, ", ")
        key, value = _plain(line[end + 1 : equals], ",= "), _plain(line[equals + 1 : stop], ",= ")
        if not key or not value:
            raise Malformed(f"unable to parse '{line}': missing tag value")
        tags.append((key, value))
        end = stop
    if len(dict(tags)) != len(tags):
        raise Malformed(f"unable to parse '{line}': duplicate tags")
    fields, end = _fields(line, len(line) - len(line[end:].lstrip(" ")))
    rest = line[end:].strip()
    try:
        time = int(rest) if rest else None
    except ValueError:
        raise Malformed(f"unable to parse '{line}': bad timestamp") from None
    return Point(measurement, tuple(sorted(tags)), tuple(sorted(fields.items())), time)


def _fields(line: str, start: int) -> tuple[dict[str, FieldValue], int]:
    fields: dict[str, FieldValue] = {}
    while True:
        equals = _until(line, start, "=, ")
        if equals >= len(line) or line[equals] != "=" or equals == start:
            raise Malformed(f"unable to parse '{line}': missing fields")
        key = _plain(line[start:equals], ",= ")
        value, start = _value(line, equals + 1)
        fields[key] = value
        if start >= len(line) or line[start] != ",":
            return fields, start
        start += 1


def _value(line: str, start: int) -> tuple[FieldValue, int]:
    if line[start : start + 1] == '"':
        i = start + 1
        while i < len(line) and line[i] != '"':
            i += 2 if line[i] == "\\" else 1
        if i >= len(line):
            raise Malformed(f"unable to parse '{line}': unbalanced quotes")
        return _plain(line[start + 1 : i], '"\\'), i + 1
    end = _until(line, start, ", ")
    said = line[start:end]
    if said in {"true", "t", "T", "True", "TRUE", "false", "f", "F", "False", "FALSE"}:
        return said[0] in "tT", end
    try:
        return (int(said[:-1]) if said[-1:] in {"i", "u"} else _number(said)), end
    except ValueError:
        raise Malformed(f"unable to parse '{line}': invalid number") from None


def _number(said: str) -> float:
    if not said or said[0] not in "+-.0123456789" or said.lower().lstrip("+-") in {"inf", "nan", "infinity"}:
        raise ValueError(said)
    return float(said)
