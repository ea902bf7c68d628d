"""The numbers of one D-SI quantity: values, unit, expanded uncertainty and coverage factor, point by point.

The same fact has many spellings: one `si:real`, a list of them, an `si:realListXMLList` whose entries stand in one
text, a hybrid of the same values in several units; and the uncertainty under its old name (`expandedUnc…`, D-SI ≤ 2.1),
its new one (`measurementUncertaintyUnivariate…`, D-SI 2.2) or relative to the value (`dcc:relativeUncertainty`). An XML
list of one entry holds for all points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.errors import Mistake
from gateway.metrology.units import UnitError, convert, to_decimal
from gateway.registry.dcc_units import unit_symbol
from gateway.registry.dcc_xml import Node

__all__ = ["DccError", "Numbers", "converted", "numbers_of"]

Column = tuple[Decimal | None, ...]
"""Numbers of the points; None is NaN."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:\s[0-9]{3})+(?:[.,][0-9]+)?")
_STANDARD = {
    "standardMU": "valueStandardMU",
    "coverageIntervalMU": "valueStandardMU",
    "coverageInterval": "standardUnc",
}
_FINEST = 40
MOST_POINTS = 10_000


class DccError(Exception):
    """A place in a DCC that cannot be read, and why."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node

    def mistake(self, file: str) -> Mistake:
        """Return it as a mistake of a file."""
        return Mistake(file=file, line=self.node.line, key=self.node.path, message=str(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """One quantity in one unit: values, expanded uncertainty U and its k by point.

    U None: the file states none; k None: it states U without a coverage factor. `place` is where the values stand.
    """

    values: Column
    unit: str
    U: Column | None
    k: Column | None
    place: Node

    @property
    def thousands(self) -> bool:
        """Whether the list reads like one number with blanks between thousands."""
        return bool(_THOUSANDS.fullmatch(" ".join(self.place.text.split())))

    def spread(self, points: int) -> Numbers:
        """Return these numbers for so many points: one entry holds for all. DccError if there are others."""
        if len(self.values) == points:
            return self
        if len(self.values) != 1:
            raise DccError(
                self.place,
                f"has {len(self.values)} values where the table has {points}; a blank separates the values of a list,"
                " so write thousands without one, and one value for each point",
            )
        values, U, k = (None if c is None else c * points for c in (self.values, self.U, self.k))
        return Numbers(values=values or (), unit=self.unit, U=U, k=k, place=self.place)


def numbers_of(quantity: Node) -> list[Numbers]:
    """Return the numbers of a `dcc:quantity`, one entry for each unit a hybrid states; empty if it has none.

    Raises DccError where a number, a unit or a list length is wrong.
    """
    found = [n for n in (_numbers(c) for c in _alternatives(quantity)) if n is not None]
    relative = quantity.one("dcc:relativeUncertainty")
    if relative is None or not found:
        return found
    return [_with_relative(n, relative) for n in found]


def converted(numbers: Numbers, unit: str, *, difference: bool) -> Numbers:
    """Return the numbers in another unit of their dimension; DccError at their place when it is of another."""
    if numbers.unit == unit:
        return numbers

    def column(values: Column | None, *, interval: bool) -> Column | None:
        if values is None:
            return None
        return tuple(
            None if v is None else to_decimal(convert(v, numbers.unit, unit, difference=interval)) for v in values
        )

    try:
        values = column(numbers.values, interval=difference)
        U = column(numbers.U, interval=True)
    except UnitError as error:
        raise DccError(numbers.place, f"is in {numbers.unit}, the others of its table in {unit}: {error}") from None
    return Numbers(values=values or (), unit=unit, U=U, k=numbers.k, place=numbers.place)


def _alternatives(quantity: Node) -> Iterator[Node]:
    for child in quantity.all("si:real", "si:constant", "si:realListXMLList", "si:list", "si:realList", "si:hybrid"):
        if child.name == "si:hybrid":
            yield from child.all("si:real", "si:constant", "si:realListXMLList", "si:list", "si:realList")
        else:
            yield child


def _numbers(node: Node) -> Numbers | None:
    if node.name == "si:realListXMLList":
        return _xml_list(node)
    if node.name in {"si:real", "si:constant"}:
        return _reals([node], None, None)
    inner = [n for n in (_numbers(c) for c in node.all("si:realList", "si:realListXMLList", "si:list")) if n]
    if len(inner) > 1:
        raise DccError(node, "nests several lists; one list of values for each quantity is read")
    if inner:
        return inner[0]
    reals = list(node.all("si:real"))
    shared = node.one("si:listUnivariateUnc", "si:listMeasurementUncertaintyUnivariate")
    return _reals(reals, node.one("si:listUnit"), shared) if reals else None


def _xml_list(node: Node) -> Numbers:
    place = _needed(node, "si:valueXMLList")
    values = _column(place)
    units = [_symbol(u, _needed(node, "si:unitXMLList")) for u in _needed(node, "si:unitXMLList").text.split()]
    U, k = _uncertainty(node, "XMLList")
    U, k = (_broadcast(c, len(values), node) for c in (U, k))
    _expect_sizes(node, values, U, k)
    return _in_one_unit(values, units, U, k, place)


def _reals(reals: Sequence[Node], unit: Node | None, shared: Node | None) -> Numbers:
    values: list[Decimal | None] = []
    units: list[str] = []
    Us: list[Column] = []
    ks: list[Column] = []
    for real in reals:
        values.append(_value(_needed(real, "si:value")))
        place = real.one("si:unit") or unit or _needed(real, "si:unit")
        units.append(_symbol(place.plain, place))
        U, k = _uncertainty(real, "")
        if U is None and shared is not None:
            U, k = _stated(shared, "")
        _expect_sizes(real, values[-1:], U, k)
        Us += [] if U is None else [U[:1]]
        ks += [] if k is None else [k[:1]]
    U_all, k_all = (tuple(v for c in s for v in c) if len(s) == len(values) else None for s in (Us, ks))
    return _in_one_unit(tuple(values), units, U_all, k_all, _needed(reals[0], "si:value"))


def _in_one_unit(values: Column, units: Sequence[str], U: Column | None, k: Column | None, place: Node) -> Numbers:
    """Return numbers whose points may each have their own unit in that of the first one."""
    if len(units) not in {1, len(values)}:
        raise DccError(place, f"has {len(values)} values and {len(units)} units; give one unit, or one for each value")
    first = units[0]
    whole = Numbers(values=values, unit=first, U=U, k=k, place=place)
    if all(u == first for u in units):
        return whole
    rows = [
        converted(
            Numbers(values=(v,), unit=u, U=None if U is None else (U[i],), k=None, place=place), first, difference=False
        )
        for i, (v, u) in enumerate(zip(values, units, strict=True))
    ]
    U_new = None if U is None else tuple(u for r in rows for u in (r.U or (None,)))
    return Numbers(values=tuple(v for r in rows for v in r.values), unit=first, U=U_new, k=k, place=place)


def _uncertainty(node: Node, suffix: str) -> tuple[Column | None, Column | None]:
    """Return U and k as a real or a list states them; a standard uncertainty is U with k = 1."""
    new = node.one(f"si:measurementUncertaintyUnivariate{suffix}", "si:measurementUncertaintyUnivaraite")
    return _stated(node if new is None else new, suffix)


def _stated(node: Node, suffix: str) -> tuple[Column | None, Column | None]:
    for outer, inner in (("expandedUnc", "uncertainty"), ("expandedMU", "valueExpandedMU")):
        found = node.one(f"si:{outer}{suffix}")
        if found is not None:
            k = found.one(f"si:coverageFactor{suffix}")
            return _sizes(_needed(found, f"si:{inner}{suffix}")), None if k is None else _sizes(k, positive=True)
    for outer, inner in _STANDARD.items():
        found = node.one(f"si:{outer}{suffix}")
        if found is not None:
            U = _sizes(_needed(found, f"si:{inner}{suffix}"))
            return U, (Decimal(1),) * len(U)
    return None, None


def _with_relative(numbers: Numbers, relative: Node) -> Numbers:
    """Return the numbers with U = r |value| where they state no U of their own."""
    if numbers.U is not None:
        return numbers
    single = relative.one("dcc:relativeUncertaintySingle")
    listed = relative.one("dcc:relativeUncertaintyXmlList")
    stated = _reals([single], None, None) if single is not None else None if listed is None else _xml_list(listed)
    if stated is None:
        raise DccError(relative, "states no number; give relativeUncertaintyXmlList or relativeUncertaintySingle")
    try:
        ratio = converted(stated, "1", difference=True)
    except DccError:
        raise DccError(stated.place, f"is in {stated.unit}; a relative uncertainty is in \\one or \\percent") from None
    ratio = ratio.spread(len(numbers.values))
    U = tuple(None if v is None or r is None else abs(v) * r for v, r in zip(numbers.values, ratio.values, strict=True))
    if any(r is not None and r < 0 for r in ratio.values):
        raise DccError(stated.place, "is negative; an uncertainty is 0 or more")
    return Numbers(values=numbers.values, unit=numbers.unit, U=U, k=ratio.k, place=numbers.place)


def _broadcast(column: Column | None, points: int, node: Node) -> Column | None:
    if column is None or len(column) == points:
        return column
    if len(column) == 1:
        return column * points
    raise DccError(
        node, f"has {points} values and an uncertainty or factor with {len(column)}; give one, or one for each"
    )


def _column(node: Node) -> Column:
    """Return the numbers of an XML list."""
    words = node.text.split()
    if not words:
        raise DccError(node, "is empty; give the values with blanks between them")
    if len(words) > MOST_POINTS:
        raise DccError(node, f"has more than {MOST_POINTS} values; no certificate has")
    return tuple(_number(word, node) for word in words)


def _value(node: Node) -> Decimal | None:
    text = node.plain
    if _THOUSANDS.fullmatch(text) or len(text.split()) > 1:
        raise DccError(node, f"{text[:40]!r} has a thousands separator; write the digits together, such as 1400")
    return _number(text, node)


def _expect_sizes(node: Node, values: Sequence[Decimal | None], U: Column | None, k: Column | None) -> None:
    """Raise DccError where U or k of a value is NaN; where the value is, they may be."""
    for sizes, least in ((U, "0 or more"), (k, "above 0")):
        for value, size in zip(values, sizes or (), strict=False):
            if size is None and value is not None:
                raise DccError(node, f"has an uncertainty or factor NaN at {value}; it must be {least}, and a number")


def _sizes(node: Node, *, positive: bool = False) -> Column:
    """Return numbers that are not negative (or above 0); None is NaN."""
    found = _column(node)
    for number in found:
        if number is not None and (number < 0 or (positive and number == 0)):
            raise DccError(node, f"must be {'above 0' if positive else '0 or more'}, and a number")
    return found


def _number(text: str, node: Node) -> Decimal | None:
    if text == "NaN":
        return None
    if "," in text:
        raise DccError(node, f"{text[:40]!r} has a comma; write a decimal point and no thousands separator")
    if not _NUMBER.fullmatch(text):
        raise DccError(node, f"{text[:40]!r} is not a number")
    value = Decimal(text)
    if value and abs(value.adjusted()) > _FINEST:
        raise DccError(node, f"{text[:40]!r} is not a size that is met in practice")
    return value


def _symbol(text: str, node: Node) -> str:
    try:
        return unit_symbol(text)
    except ValueError as error:
        raise DccError(node, str(error)) from None


def _needed(node: Node, name: str) -> Node:
    found = node.one(name)
    if found is None:
        raise DccError(node, f"{name} is missing")
    return found
