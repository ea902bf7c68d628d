"""Recorded readings in CSV with a header, NDJSON or Parquet: the fields of CONTRACTS §3, and the time as `time`.

    time,device,channel,value,unit,reference
    2026-03-02T08:00:00+07:00,scale-07,mass,10.012,kg,10

`time` is RFC 3339 with an offset or epoch seconds. An empty cell is an absent fact. Rows are read a few thousand at a
time, column by column; where that fails they are read one by one, and what is unreadable is named by file and line.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from collectors.decoders import Address
from collectors.decoders.quick import quick_lines
from collectors.decoders.records import (
    IN_FILES,
    MAX_SEQ,
    MAX_TEXT,
    NUMBERS,
    is_id,
    read_power_factor,
    read_record,
    read_time_in_file,
    refuse,
    unknown,
)
from collectors.decoders.strictjson import Members, NotFinite, NumberText, UnreadableError, Value, parse
from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.readings import EVIDENCE, Reading, Readings, Refusal, Why

__all__ = ["Keep", "Recording", "read", "read_line"]

_CHUNK = 4000
_TOGETHER = 64
"""So many lines are read at once: one that must be read alone makes so many be."""
_FORMS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
_HINTED = 100
_NAMED = 10_000
_ADDRESS = Address()
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARK = b"\xef\xbb\xbf"
_NUMBER_BYTES = b"0123456789+-.eE"
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


Keep = Callable[[list[Reading]], None]
"""Takes some readings over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a file holds, in its order; `record` of readings and refusals is the line, counted from 1.

    `unreadable` are the rows that could not be read (only with `keep_going`), `mistakes` the same as places and words.
    """

    readings: list[Reading] = field(default_factory=list)
    unreadable: list[Refusal] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


def read(
    path: Path, form: str = "auto", *, keep_going: bool = False, source: int = 0, keep: Keep | None = None
) -> Recording:
    """Return the readings of a file; `form` is csv, ndjson, or auto (by its name); `source` is put into each of them.

    With `keep` they are given to it some thousand at a time, in their order, before it is known whether all of the file
    can be read, and are not returned.
    Mistakes names every unreadable row by file and line, or with `keep_going` only a header that cannot be used.
    WrongUse when the file cannot be opened or its form is unknown.
    """
    if form == "auto":
        form = _FORMS.get(path.suffix.lower(), "")
        if not form and not path.exists():
            raise WrongUse(f"there is no file {path}", remedy="check the path")
        if not form:
            raise WrongUse(
                f"cannot tell the form of {path}", remedy="name it .csv, .ndjson or .parquet, or say the format"
            )
    into = _Rows(file=str(path), source=source, keep=keep)
    try:
        if form == "csv":
            with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
                _read_csv(text, into)
        elif form == "ndjson":
            with path.open("rb") as lines:
                _read_ndjson(lines, into)
        elif form == "parquet":
            _read_parquet(path, into)
        else:
            raise WrongUse(f"recorded readings cannot be {form}", remedy="give csv, ndjson or parquet")
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}", remedy="check the path and its permissions") from None
    into.hand_over(0)
    into.mistakes.sort(key=lambda mistake: mistake.line or 0)
    into.unreadable.sort(key=lambda refusal: refusal.record or 0)
    if into.mistakes and not keep_going:
        raise Mistakes(into.named())
    return Recording(readings=into.readings, unreadable=into.unreadable, mistakes=into.mistakes)


def read_line(line: bytes) -> tuple[list[Reading], list[Refusal]]:
    """Return the reading of one NDJSON line, or why there is none."""
    into = _Rows(file="line", source=0)
    _read_ndjson(BytesIO(line), into)
    return into.readings, into.unreadable


@dataclass(slots=True, kw_only=True)
class _Rows:
    """What has been read of one file so far."""

    file: str
    source: int
    readings: list[Reading] = field(default_factory=list)
    unreadable: list[Refusal] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    keep: Keep | None = None

    def hand_over(self, above: int = _CHUNK - 1) -> None:
        """Give readings to who keeps them, if there are more than so many."""
        if self.keep is not None and len(self.readings) > above:
            self.keep(self.readings)
            self.readings = []

    def add(self, members: Members, line: int, raw: bytes) -> None:
        """Add the reading of one row, or why there is none."""
        hints = len(self.mistakes) < _HINTED
        try:
            reading = read_record(members, _ADDRESS, IN_FILES, source=self.source, record=line, hints=hints)
        except UnreadableError as error:
            self.refuse(error, line, raw)
        else:
            self.readings.append(reading)

    def refuse(self, error: UnreadableError, line: int, raw: bytes) -> None:
        """Note a row that cannot be read."""
        self.mistakes.append(Mistake(file=self.file, line=line, key=error.why.value, message=error.detail))
        placed = UnreadableError(error.why, f"{self.file}:{line}: {error.detail}")
        self.unreadable.append(refuse(placed, _ADDRESS, source=self.source, record=line, raw=raw))

    def named(self) -> list[Mistake]:
        """Return the mistakes to show: all, up to a number nobody reads."""
        more = len(self.mistakes) - _NAMED
        if more <= 0:
            return self.mistakes
        last = Mistake(file=self.file, line=self.mistakes[_NAMED].line, key="", message=f"and {more} more such rows")
        return [*self.mistakes[:_NAMED], last]


def _read_ndjson(lines: BinaryIO, into: _Rows) -> None:
    filled = ((n, line) for n, line in enumerate(_without_mark(lines), start=1) if line.strip())
    while together := list(islice(filled, _TOGETHER)):
        numbers, some = zip(*together, strict=True)
        readings = quick_lines(some, _ADDRESS, into.source, numbers)
        if readings is not None:
            into.readings += readings
        else:
            for number, line in together:
                _read_alone(line, number, into)
        into.hand_over()


def _without_mark(lines: BinaryIO) -> Iterator[bytes]:
    """Yield lines, the first one without what some editors put before the text."""
    yield next(lines, b"").removeprefix(_MARK)
    yield from lines


def _read_alone(line: bytes, number: int, into: _Rows) -> None:
    readings = quick_lines([line], _ADDRESS, into.source, [number])
    if readings is not None:
        into.readings += readings
        return
    raw = line.rstrip(b"\r\n")
    try:
        value = parse(raw)
        if not isinstance(value, Members):
            value = Members()
            raise UnreadableError(Why.WRONG_TYPE, "the line is no JSON object")  # noqa: TRY301
    except UnreadableError as error:
        into.refuse(error, number, raw)
    else:
        into.add(value, number, raw)


def _read_csv(text: TextIO, into: _Rows) -> None:
    reader = csv.reader(text, strict=True, skipinitialspace=True)
    names = _header(reader, into.file)
    for rows, lines in _chunks(reader, into):
        _take(names, rows, lines, into)


def _read_parquet(path: Path, into: _Rows) -> None:
    """Read a Parquet table as the CSV it would be; rows are counted from 1."""
    from collectors.parquet import read_cells

    names, chunks = read_cells(path)
    _expect_columns(names, into.file)
    line = 1
    for rows in chunks:
        _take(names, rows, list(range(line, line + len(rows))), into)
        line += len(rows)


def _take(names: Sequence[str], rows: list[list[str]], lines: list[int], into: _Rows) -> None:
    readings = _columns(names, rows, lines, into.source) if set(map(len, rows)) == {len(names)} else None
    if readings is not None:
        into.readings += readings
    else:
        for row, line in zip(rows, lines, strict=True):
            _add_row(names, row, line, into)
    into.hand_over()


def _add_row(names: Sequence[str], row: list[str], line: int, into: _Rows) -> None:
    text = ",".join(row)
    raw = text.encode(errors="surrogateescape")
    if any("\ud800" <= c <= "\udfff" for c in text):
        into.refuse(UnreadableError(Why.NOT_UTF8, "the row is not UTF-8; save the file as UTF-8"), line, raw)
    elif len(row) != len(names):
        into.refuse(UnreadableError(Why.WRONG_TYPE, _width_words(len(row), len(names))), line, raw)
    else:
        into.add(Members((name, _value(name, cell)) for name, cell in zip(names, row, strict=True)), line, raw)


def _width_words(cells: int, columns: int) -> str:
    hint = "; decimal commas? write decimal points" if cells > columns else ""
    return f"the row has {cells} cells, the header {columns}{hint}"


def _header(reader: Any, file: str) -> list[str]:
    """Return the column names; Mistakes names all that is wrong with them."""
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise Mistakes([Mistake(file=file, line=1, key="", message=f"the header is no CSV: {error}")]) from None
    _expect_columns(names, file)
    return names


def _expect_columns(names: Sequence[str], file: str) -> None:
    wrong = list(_header_mistakes(names))
    if wrong:
        raise Mistakes([Mistake(file=file, line=1, key=key, message=message) for key, message in wrong])


def _header_mistakes(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not any(names):
        yield "", "the file has no header; the first line names the columns, such as time,device,channel,value,unit"
        return
    if len(names) == 1 and (mark := next((m for m in ";\t|" if m in names[0]), None)):
        yield "", f"columns are separated by {mark!r}; write commas between columns and points in numbers"
        return
    for name in dict.fromkeys(names):
        if name not in IN_FILES.fields:
            yield name, unknown(name, IN_FILES.fields)
        elif names.count(name) > 1:
            yield name, "the column stands twice"
    for name in ("time", "device", "channel", "value", "unit"):
        if name not in names:
            yield name, "the column is missing"


def _chunks(reader: Any, into: _Rows) -> Iterator[tuple[list[list[str]], list[int]]]:
    """Yield rows and the lines they begin on; a row that is no CSV is noted, blank lines are passed over."""
    rows: list[list[str]]
    more = True
    while more:
        before, rows = reader.line_num, []
        try:
            rows.extend(islice(reader, _CHUNK))
            more = len(rows) == _CHUNK
        except csv.Error as error:
            begun = before + sum(_height(row) for row in rows) + 1
            into.refuse(UnreadableError(Why.WRONG_TYPE, f"the row is no CSV: {error}"), begun, b"")
        if not rows:
            continue
        lines = list(range(before + 1, before + 1 + len(rows)))
        if reader.line_num != before + len(rows):
            heights = map(_height, rows)
            lines = list(accumulate(heights, initial=before + 1))[:-1]
        if [] in rows:
            lines = [line for row, line in zip(rows, lines, strict=True) if row]
            rows = [row for row in rows if row]
        if rows:
            yield rows, lines


def _height(row: Sequence[str]) -> int:
    """Return how many lines of the file a row takes: quoted cells may hold line ends."""
    return 1 + sum(len(_LINE_END.findall(cell)) for cell in row)


def _value(name: str, cell: str) -> Value:
    """Return a cell as the JSON value it stands for."""
    if not cell:
        return None
    if name in NUMBERS or name == "seq":
        return (
            NumberText(cell) if _DECIMAL.fullmatch(cell) else NotFinite(cell) if _NOT_FINITE.fullmatch(cell) else cell
        )
    if name == "stable":
        return _TRUTHS.get(cell.lower(), cell)
    return cell


def _columns(names: Sequence[str], rows: list[list[str]], lines: list[int], source: int) -> Readings | None:
    """Return the readings of rows of equal width, None when any cell needs a closer look."""
    try:
        columns = {name: _COLUMNS[name](cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}
    except (ValueError, KeyError, UnreadableError):
        return None
    kept = {name: cells for name, cells in columns.items() if cells is not None}
    return Readings({**kept, "source": [source] * len(rows), "record": lines})


_Column = Sequence[Any] | None


def _needed(convert: Callable[[tuple[str, ...]], _Column]) -> Callable[[tuple[str, ...]], _Column]:
    """Return a conversion that refuses empty cells."""

    def converted(cells: tuple[str, ...]) -> _Column:
        if "" in cells:
            raise ValueError("an empty cell")
        return convert(cells)

    return converted


def _times(cells: tuple[str, ...]) -> _Column:
    different = set(cells)
    if len(different) > len(cells) // 2:
        return list(map(read_time_in_file, cells))
    moments = {cell: read_time_in_file(cell) for cell in different}
    return [moments[cell] for cell in cells]


def _numbers(cells: tuple[str, ...]) -> _Column:
    if "" in cells:
        present = [cell for cell in cells if cell]
        if not present:
            return None
        _expect_numbers(present)
        found: list[Any] = [float(cell) if cell else None for cell in cells]
        return _finite(found, [value for value in found if value is not None])
    _expect_numbers(cells)
    values = list(map(float, cells))
    return _finite(values, values)


def _expect_numbers(cells: Sequence[str]) -> None:
    if "".join(cells).encode("ascii").translate(None, _NUMBER_BYTES):
        raise ValueError("a cell that is no number")


def _finite(cells: list[Any], present: list[float]) -> _Column:
    if not all(map(math.isfinite, present)):
        raise ValueError("a number that is not finite")
    return cells


def _uncertainties(cells: tuple[str, ...]) -> _Column:
    if any(cell.startswith("-") for cell in cells):
        raise ValueError("a negative uncertainty")
    return _numbers(cells)


def _by_text(convert: Callable[[str], object]) -> Callable[[tuple[str, ...]], _Column]:
    """Return a conversion that looks at each different text once."""

    def converted(cells: tuple[str, ...]) -> _Column:
        found = {cell: convert(cell) if cell else None for cell in set(cells)}
        return None if found.keys() == {""} else [found[cell] for cell in cells]

    return converted


def _text(cell: str) -> str:
    cell.encode()
    if len(cell) > MAX_TEXT:
        raise ValueError("a long text")
    return cell


def _id(cell: str) -> str:
    if not is_id(cell):
        raise ValueError("no id")
    return cell


def _evidence(cell: str) -> str:
    if cell not in EVIDENCE:
        raise ValueError("no class of evidence")
    return cell


def _sequence(cells: tuple[str, ...]) -> _Column:
    joined = "".join(cells)
    if not joined:
        return None
    if not (joined.isascii() and joined.isdigit()) or len(max(cells, key=len)) > len(str(MAX_SEQ)):
        raise ValueError("no sequence number")
    found = [int(cell) if cell else None for cell in cells]
    if max(seq for seq in found if seq is not None) > MAX_SEQ:
        raise ValueError("a large sequence number")
    return found


_COLUMNS: Mapping[str, Callable[[tuple[str, ...]], _Column]] = {
    **dict.fromkeys(NUMBERS, _numbers),
    "time": _needed(_times), "device": _needed(_by_text(_id)), "channel": _needed(_by_text(_id)),
    "value": _needed(_numbers), "unit": _needed(_by_text(_text)), "reference_u": _uncertainties,
    "standard": _by_text(_id), "seq": _sequence, "boot": _by_text(_text),
    "stable": _by_text(lambda cell: _TRUTHS[cell.lower()]), "power_factor": _by_text(read_power_factor),
    "phase": _by_text(_text), "direction": _by_text(_text), "evidence": _by_text(_evidence),
}  # fmt: skip
