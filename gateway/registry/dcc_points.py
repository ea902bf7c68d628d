"""The tables of a DCC as calibrated points: reference, indication, error and U of each, in one unit a table.

E = I - R, or 100 (I - R)/R % where the error column is a ratio and the others are not (VIM 2.16, METROLOGY §0). What a
file does not say is not made up: a point without uncertainty is refused, a column whose name and whose refType or
numbers disagree on the sign is asked about, and a table whose columns nobody named gives no points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import Mistake
from gateway.metrology.ordering import out_of_order
from gateway.registry.dcc import Column, Dcc, Role, Table
from gateway.registry.dcc_table import CalibratedPoint, CalibrationTable
from gateway.registry.dcc_values import DccError

__all__ = ["Points", "points_of"]

Names = Mapping[Role, str]
"""Which column has which role, by its name in any language or as `#2`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """The points of a certificate, and the tables whose columns are not named."""

    points: tuple[CalibratedPoint, ...]
    unnamed: tuple[Table, ...]


def points_of(dcc: Dcc, names: Sequence[Names] = (), sign: Role | None = None) -> Points | list[Mistake]:
    """Return the points of all tables, or all their mistakes.

    `names` are mappings to try, in order, on tables whose refTypes do not say the roles; `sign` says whether columns of
    errors hold the error or the correction.
    """
    points: list[CalibratedPoint] = []
    unnamed: list[Table] = []
    mistakes: list[Mistake] = []
    groups: dict[str, list[CalibratedPoint]] = {}
    for number, table in enumerate(dcc.tables):
        try:
            roles = _roles(table, names)
            if roles is None:
                unnamed.append(table)
                continue
            found = CalibrationTable(table, roles, sign, dcc.stated_k).points()
        except DccError as error:
            mistakes.append(error.mistake(dcc.file))
            continue
        points += found
        groups.setdefault(f"{table.phase} {table.group or number}", []).extend(found)
    mistakes += [m for group in groups.values() for m in _order(group, dcc.file)]
    return mistakes or Points(points=tuple(points), unnamed=tuple(unnamed))


def _roles(table: Table, names: Sequence[Names]) -> dict[Role, Column] | None:
    """Return the columns by role; None if they have none, or too few to be a calibration."""
    found: dict[Role, Column] = {}
    for column in table.columns:
        if column.role is not None and found.setdefault(column.role, column) is not column:
            before = found[column.role].place.line
            raise DccError(column.place, f"is a second {column.role} beside line {before}; a table has one")
    for mapping in names:
        mapped = {role: c for role, name in mapping.items() if (c := _named(table, name)) is not None}
        together = mapped | found
        if len(mapped) == len(mapping) and _enough(together):
            return together
    return found if _enough(found) else None


def _enough(found: Mapping[Role, Column]) -> bool:
    errors, values = found.keys() & {Role.ERROR, Role.CORRECTION}, found.keys() & {Role.REFERENCE, Role.INDICATION}
    return len(values) == 2 or bool(errors and values)


def _named(table: Table, name: str) -> Column | None:
    if name.startswith("#") and name[1:].isdigit():
        place = int(name[1:])
        return table.columns[place - 1] if 1 <= place <= len(table.columns) else None
    wanted = " ".join(name.split()).casefold()
    return next((c for c in table.columns if wanted in {n.casefold() for n in c.names}), None)


def _order(points: Sequence[CalibratedPoint], file: str) -> Iterator[Mistake]:
    """Yield a mistake where the points of one table neither run one way nor come back over points they passed."""
    known = [(p, p.reference if p.reference is not None else p.indication) for p in points]
    placed = [(p, x) for p, x in known if x is not None]
    wrong = out_of_order([x for _, x in placed])
    if wrong is not None:
        point, x = placed[wrong]
        message = f"{x} {point.x_unit} is out of order after {placed[wrong - 1][1]}; give the points up or down"
        yield Mistake(file=file, line=point.place.line, key=point.place.path, message=message)
