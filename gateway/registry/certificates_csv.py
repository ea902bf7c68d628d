"""Certificates as CSV: one row a point, the rows of one certificate (`id`, `phase`) together or apart.

Columns, in any order, named in the first line:

- of the certificate, the same in all its rows: `id`, `device`, `channel`, `kind`, `phase` (as_found or as_left),
  `performed_at`, `valid_to` or `interval_months`, `laboratory`, `x_is`;
- of the point: `x`, `error` or `correction`, `U`, `k`, `power_factor`, `point_phase` (electrical),
  `direction`;
- `unit` and `x_unit`: the unit of bare numbers in `error`, `correction`, `U` and, if there is no `x_unit`, `x`. A cell
  with its own unit (`5 kg`) needs neither.

An empty cell is absent; a row without `U`, `error` and `correction` gives a certificate without points. Numbers have a
decimal point: a decimal comma, or a blank between thousands, is refused with its line. Columns are separated by commas,
text is UTF-8.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from gateway.errors import Mistake
from gateway.registry.specs import CertificateSpec, Specs
from gateway.registry.texts import entries
from gateway.registry.yamltext import Document, Path, Tree

__all__ = ["parse_certificates_csv"]

CERTIFICATE = (
    "id", "device", "channel", "kind", "phase", "performed_at", "valid_to", "interval_months", "laboratory", "x_is",
)  # fmt: skip
POINT = {
    "x": "x", "error": "error", "correction": "correction", "U": "U", "k": "k", "power_factor": "power_factor",
    "point_phase": "phase", "direction": "direction",
}  # fmt: skip
UNITS = ("unit", "x_unit")
NEEDED = ("id", "device", "performed_at")

_BARE = re.compile(r"[+\-−]?[0-9.]+(?:[eE][+\-]?[0-9]+)?")

Row = Mapping[str, str]


def parse_certificates_csv(text: str, file: str) -> Specs:
    """Return the certificates in a CSV text; all its mistakes are part of the result."""
    rows, damaged, mistakes = _rows(text.removeprefix("\ufeff"), file)
    if mistakes and not rows:
        return Specs(mistakes=tuple(mistakes))
    groups: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for line, row in rows:
        groups.setdefault(_identity(row), []).append((line, row))
    trees: list[tuple[Path, Tree]] = []
    lines: dict[Path, int] = {(): 1}
    for number, (identity, group) in enumerate(groups.items()):
        path: Path = ("certificates", number)
        before = len(mistakes)
        tree = _certificate(group, path, lines, file, mistakes)
        if len(mistakes) == before and damaged is not None and identity not in damaged:
            trees.append((path, tree))
    document = Document(file=file, tree=None, lines=lines)
    sound, wrong = entries(CertificateSpec, trees, document)
    return Specs(certificates=sound, mistakes=(*mistakes, *wrong))


def _identity(row: Row) -> tuple[str, str]:
    return (row.get("id", ""), row.get("phase", ""))


def _rows(text: str, file: str) -> tuple[list[tuple[int, Row]], set[tuple[str, str]] | None, list[Mistake]]:
    """Return the rows with their lines (1 is the header), the certificates that lost one, and the mistakes of form.

    None for those that lost one: it may be any of them.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, Row]] = []
    mistakes: list[Mistake] = []
    damaged: set[tuple[str, str]] | None = set()
    header: Sequence[str] = ()

    def wrong(line: int | None, message: str, key: str = "") -> None:
        mistakes.append(Mistake(file=file, line=line, key=key, message=message))

    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(header, wrong)
                if mistakes:
                    break
            elif len(cells) > len(header):
                wrong(line, f"has {len(cells)} cells for {len(header)} columns; write decimal points, not commas")
                damaged = _lost(header, cells, damaged)
            else:
                named = zip(header, (cell.strip() for cell in cells), strict=False)
                rows.append((line, {name: cell for name, cell in named if cell}))
    except csv.Error as error:
        wrong(reader.line_num, f"not CSV: {error}")
        damaged = None
    if not header and not mistakes:
        wrong(1, f"is empty; the first line names the columns, such as {', '.join(NEEDED)}, x, error, U, k")
    return rows, damaged, mistakes


def _lost(
    header: Sequence[str], cells: Sequence[str], damaged: set[tuple[str, str]] | None
) -> set[tuple[str, str]] | None:
    """Return the certificates that lost a row, one more: whose it was is known where no comma stands before its id."""
    shifted = min((header.index(name) for name in (*POINT, "laboratory") if name in header), default=len(header))
    named = [header.index(name) for name in ("id", "phase") if name in header]
    if damaged is None or any(place > shifted for place in named):
        return None
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}
    return {*damaged, _identity(row)}


def _check_header(header: Sequence[str], wrong: Callable[..., None]) -> None:
    known = {*CERTIFICATE, *POINT, *UNITS}
    if len(header) == 1 and ";" in header[0]:
        wrong(1, "the columns are separated by semicolons; save it with commas, and with decimal points")
        return
    for name in header:
        if name not in known:
            wrong(1, f"unknown column; known are {', '.join([*CERTIFICATE, *POINT, *UNITS])}", name)
        elif header.count(name) > 1:
            wrong(1, "this column is there twice", name)
    for name in NEEDED:
        if name not in header:
            wrong(1, "this column is missing", name)


def _certificate(
    group: Sequence[tuple[int, Row]], path: Path, lines: dict[Path, int], file: str, mistakes: list[Mistake]
) -> Tree:
    """Return the tree of one certificate; its rows must agree on all but the point."""
    first_line, first = group[0]
    lines[path] = first_line
    tree: dict[str, Tree] = {name: first[name] for name in CERTIFICATE if name in first}
    points: list[Tree] = []
    for line, row in group:
        for name in CERTIFICATE:
            if row.get(name) != first.get(name):
                message = f"{row.get(name, 'nothing')} contradicts {first.get(name, 'nothing')} in line {first_line}"
                mistakes.append(Mistake(file=file, line=line, key=name, message=message))
        if not row.keys() & {"x", "error", "correction", "U", "k"}:
            continue
        lines[*path, "points", len(points)] = line
        points.append({key: _with_unit(row, column) for column, key in POINT.items() if column in row})
    if points:
        tree["points"] = points
    return tree


def _with_unit(row: Row, column: str) -> str:
    """Return a cell, a bare number with the unit of its column."""
    cell = row[column]
    if column not in {"x", "error", "correction", "U"} or not _BARE.fullmatch(cell):
        return cell
    unit = row.get("x_unit") or row.get("unit") if column == "x" else row.get("unit")
    return f"{cell} {unit}" if unit else cell
