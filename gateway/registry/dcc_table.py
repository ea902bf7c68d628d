"""One table of a DCC whose columns have roles, as calibrated points in one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from gateway.metrology.units import to_decimal
from gateway.registry.dcc import Column, Role, Table
from gateway.registry.dcc_hybrids import agree
from gateway.registry.dcc_units import comparable, is_ratio
from gateway.registry.dcc_values import DccError, Numbers, converted
from gateway.registry.dcc_xml import Node
from gateway.registry.model import Phase

__all__ = ["CalibratedPoint", "CalibrationTable", "Other"]

_CORRECTION_WORDS = ("correction", "korrektion", "korrektur", "correção", "corrección", "hiệu chính", "поправка")


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """What another column says at a point: a flow, a current, a temperature; `role` is x where a mapping says so."""

    name: str
    role: Role | None
    value: Decimal | None
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedPoint:
    """One point: `reference` and `indication` in `x_unit`, `error` and `U` in `unit`; None where the file has NaN.

    `error` is None too where a sensor's table has no error (an indication of another dimension). `k` None: the file
    states a relative uncertainty without a coverage factor. `others` are the columns without such a role.
    """

    phase: Phase
    reference: Decimal | None
    indication: Decimal | None
    error: Decimal | None
    U: Decimal | None
    k: Decimal | None
    unit: str
    x_unit: str
    place: Node
    table: str
    others: tuple[Other, ...]


class CalibrationTable:
    """One table whose columns have roles, on its way to points."""

    def __init__(self, table: Table, roles: Mapping[Role, Column], sign: Role | None, stated_k: str | None) -> None:
        self.table, self.roles, self.stated_k = table, roles, stated_k
        for role, column in roles.items():
            if not column.numbers:
                raise DccError(column.place, f"has no numbers, though it is to be the {role}")
            agree(column, difference=role in {Role.ERROR, Role.CORRECTION, Role.U})
        self.column = roles.get(Role.ERROR) or roles.get(Role.CORRECTION)
        self.negated = self._negated(sign)

    def _negated(self, sign: Role | None) -> bool:
        """Return whether the column of errors holds corrections; DccError where the file contradicts itself."""
        if self.column is None:
            return False
        if sign is not None:
            return sign is Role.CORRECTION
        words = " ".join(self.column.names).casefold()
        if Role.ERROR in self.roles and any(w in words for w in _CORRECTION_WORDS):
            raise DccError(
                self.column.place,
                f"is the error by its refType or mapping and a correction by its name, {self.column.name[:60]!r}; say"
                " --sign error or --sign correction",
            )
        return Role.CORRECTION in self.roles

    def points(self) -> list[CalibratedPoint]:
        """Return the points; DccError where the columns do not fit together."""
        error = None if self.column is None else self._preferred(self.column)
        x = self._x(error)
        columns = {r: x.get(r) for r in (Role.REFERENCE, Role.INDICATION)}
        count = self._count([*x.values(), *([] if error is None else [error])])
        reference, indication = (None if c is None else c.spread(count) for c in columns.values())
        anchor = reference or indication
        if anchor is None:
            raise DccError(self.table.place, "has neither a reference nor an indication")
        relative = error is not None and is_ratio(error.unit) and not is_ratio(anchor.unit)
        if error is None:
            return self._without_error(anchor, reference, indication)
        if relative:
            error = converted(error, "%", difference=True).spread(count)
        else:
            error = converted(error, anchor.unit, difference=True).spread(count)
        if self.negated:
            values = tuple(None if v is None else -v for v in error.values)
            error = Numbers(values=values, unit=error.unit, U=error.U, k=error.k, place=error.place)
        U, k = self._uncertainty(error, indication, relative=relative)
        self._check_sign(error, reference, indication, relative=relative)
        return [
            self._point(i, count, error, U, k, reference, indication, anchor.unit, relative=relative)
            for i in range(count)
        ]

    def _others(self, i: int, count: int) -> tuple[Other, ...]:
        """Return what the columns without a role, or with that of x, say at a point."""
        taken = {id(c) for role, c in self.roles.items() if role is not Role.X}
        given = self.roles.get(Role.X)
        found = []
        for column in self.table.columns:
            role = Role.X if column is given else None
            numbers = next((n for n in column.numbers if len(n.values) in {1, count}), None)
            if id(column) in taken or numbers is None:
                continue
            value = numbers.values[i if len(numbers.values) > 1 else 0]
            found.append(Other(name=column.name, role=role, value=value, unit=numbers.unit))
        return tuple(found)

    def _preferred(self, column: Column) -> Numbers:
        """Return the alternative of a hybrid that states the uncertainty, else the first."""
        return next((n for n in column.numbers if n.U is not None), column.numbers[0])

    def _x(self, error: Numbers | None) -> dict[Role, Numbers]:
        """Return reference and indication in one unit, that of the error where the file has it."""
        roles = [r for r in (Role.REFERENCE, Role.INDICATION) if r in self.roles]
        chosen: dict[Role, Numbers] = {}
        wanted = None if error is None else error.unit
        for role in roles:
            numbers = self.roles[role].numbers
            best = next((n for n in numbers if n.unit == wanted), None) or self._preferred(self.roles[role])
            if error is None or not chosen:
                chosen[role] = best
            else:
                chosen[role] = _fitting(numbers, next(iter(chosen.values())).unit, best)
            wanted = wanted or best.unit
        return chosen

    def _count(self, columns: Sequence[Numbers]) -> int:
        """Return how many points the table has; DccError when a list reads like thousands with blanks."""
        count = max(len(c.values) for c in columns)
        lengths = {len(c.values) for c in columns}
        if len(lengths) > 1:
            for c in columns:
                if len(c.values) > 1 and c.thousands:
                    text = " ".join(c.place.text.split())
                    raise DccError(
                        c.place, f"{text!r} has a thousands separator; write the digits together, such as 1400"
                    )
        return count

    def _without_error(
        self, anchor: Numbers, reference: Numbers | None, indication: Numbers | None
    ) -> list[CalibratedPoint]:
        """Return points whose error is I - R, or of a sensor whose indication is of another dimension."""
        if reference is None or indication is None:
            raise DccError(self.table.place, "has no error, and not both a reference and an indication to compute it")
        same = comparable(reference.unit, indication.unit)
        if same:
            indication = converted(indication, reference.unit, difference=False)
        U, k = self._uncertainty(indication, None, relative=False)
        found = []
        for i, (r, value) in enumerate(zip(reference.values, indication.values, strict=True)):
            found.append(
                CalibratedPoint(
                    phase=self.table.phase,
                    reference=r,
                    indication=value,
                    error=value - r if same and r is not None and value is not None else None,
                    U=U[i],
                    k=k[i],
                    unit=indication.unit,
                    x_unit=anchor.unit,
                    place=indication.place,
                    table=self.table.name,
                    others=self._others(i, len(reference.values)),
                )
            )
        return found

    def _uncertainty(
        self, error: Numbers, indication: Numbers | None, *, relative: bool
    ) -> tuple[Sequence[Decimal | None], Sequence[Decimal | None]]:
        """Return U in the error's unit and k by point: of the error, of a column of its own, or of the indication."""
        count = len(error.values)
        U, k = error.U, error.k
        if U is None and Role.U in self.roles:
            stated = self.roles[Role.U].numbers[0]
            own = converted(_percent(stated) if relative else stated, error.unit, difference=True).spread(count)
            if any(v is not None and v < 0 for v in own.values):
                raise DccError(own.place, "must be 0 or more")
            U = own.values
        if U is None and indication is not None and indication.U is not None:
            if relative:
                raise DccError(
                    indication.place, "states U of the indication for a relative error; give U with the error"
                )
            spread = converted(indication, error.unit, difference=False)
            U, k = spread.U, spread.k
        if U is None:
            raise DccError(
                error.place, "states no uncertainty; a calibrated point needs U and k, so ask the laboratory"
            )
        if Role.K in self.roles:
            k = self.roles[Role.K].numbers[0].spread(count).values
        if k is None and self.stated_k is not None:
            k = (Decimal(self.stated_k),) * count
        return U, k if k is not None else (None,) * count

    def _check_sign(
        self, error: Numbers, reference: Numbers | None, indication: Numbers | None, *, relative: bool
    ) -> None:
        """Raise DccError where the error column is clearly R - I, so that error and correction are confused."""
        if reference is None or indication is None:
            return
        direct, reverse = Fraction(0), Fraction(0)
        for e, r, i in zip(error.values, reference.values, indication.values, strict=True):
            if e is None or r is None or i is None or (relative and not r):
                continue
            expected = Fraction(i - r) * 100 / Fraction(r) if relative else Fraction(i - r)
            direct += (Fraction(e) - expected) ** 2
            reverse += (Fraction(e) + expected) ** 2
        if 4 * reverse < direct:
            raise DccError(
                error.place,
                f"is reference - indication, not indication - reference: error and correction (= -error) are confused;"
                f" say --sign {'error' if self.negated else 'correction'} if it is the other one",
            )

    def _point(
        self,
        i: int,
        count: int,
        error: Numbers,
        U: Sequence[Decimal | None],
        k: Sequence[Decimal | None],
        reference: Numbers | None,
        indication: Numbers | None,
        x_unit: str,
        *,
        relative: bool,
    ) -> CalibratedPoint:
        e = error.values[i]
        r = None if reference is None else reference.values[i]
        value = None if indication is None else indication.values[i]
        if e is not None and r is None and value is not None and reference is None:
            r = value - e if not relative else _divided(value, e, error.place)
        if e is not None and value is None and r is not None and indication is None:
            value = r + e if not relative else r * (1 + e / 100)
        return CalibratedPoint(
            phase=self.table.phase,
            reference=r,
            indication=value,
            error=e,
            U=U[i],
            k=k[i],
            unit=error.unit,
            x_unit=x_unit,
            place=error.place,
            table=self.table.name,
            others=self._others(i, count),
        )


def _divided(indication: Decimal, percent: Decimal, place: Node) -> Decimal:
    factor = 1 + Fraction(percent) / 100
    if not factor:
        raise DccError(place, "an error of -100 % leaves no indication to relate x to")
    return to_decimal(Fraction(indication) / factor)


def _percent(numbers: Numbers) -> Numbers:
    return converted(numbers, "%", difference=True) if is_ratio(numbers.unit) else numbers


def _fitting(numbers: Sequence[Numbers], wanted: str, best: Numbers) -> Numbers:
    """Return the alternative in the wanted unit, converted if need be."""
    fitting = next((n for n in numbers if n.unit == wanted), None)
    return fitting or converted(best, wanted, difference=False)
