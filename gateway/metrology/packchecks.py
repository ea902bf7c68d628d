"""Bands of a rule pack against each other: no gap, no overlap, edges ascending, no smaller limit for a larger load.

Edges are compared as formulas, so that a pack is sound or not whatever an instrument's parameters are. What cannot be
compared without numbers (`Qt` with `0.5 Qmax`) is taken to be meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from gateway.metrology.formulas import Product, Span
from gateway.metrology.packtext import Node
from gateway.metrology.rules import Parameter, Row, chosen_product

__all__ = ["check_bands"]

Placed = tuple[Row, Node]
"""A row and the node of its interval."""

Sizes = tuple[tuple[str, Span], ...]


def check_bands(
    rows: Sequence[Placed], parameters: Mapping[str, Parameter], ascending: Sequence[str], *, of_reference: bool
) -> None:
    """Note what is wrong with the bands that hold together: for each choice of parameters and each condition."""
    for choices in _choices(parameters):
        chosen = [(row, node) for row, node in rows if _for(row, choices)]
        for together in _conditions(chosen):
            _check_chain(together, choices, ascending, of_reference=of_reference)


def _choices(parameters: Mapping[str, Parameter]) -> Iterator[dict[str, str]]:
    choosers = [p for p in parameters.values() if p.values]
    for values in product(*(p.values for p in choosers)):
        yield {p.name: value for p, value in zip(choosers, values, strict=True)}


def _for(row: Row, choices: Mapping[str, str]) -> bool:
    return all(choices.get(name) in values for name, values in row.only.items())


def _asked(row: Row) -> tuple[object, ...]:
    sizes: Sizes | None = tuple(sorted(row.sizes.items(), key=lambda item: item[0])) or None
    return row.power_factors, row.single_phase, row.temperature, sizes


def _conditions(rows: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Yield, per combination of stated conditions, the rows that may hold under it."""
    asked = [_asked(row) for row, _ in rows]
    stated = [list(dict.fromkeys(a[i] for a in asked if a[i] is not None)) or [None] for i in range(4)]
    for cell in product(*stated):
        fits = [all(a is None or a == c for a, c in zip(said, cell, strict=True)) for said in asked]
        yield [placed for placed, fit in zip(rows, fits, strict=True) if fit]


def _check_chain(
    rows: Sequence[Placed], choices: Mapping[str, str], ascending: Sequence[str], *, of_reference: bool
) -> None:
    for row, node in rows:
        if _less(row.at.high, row.at.low, ascending) or (_same(row.at.high, row.at.low) and row.at.low is not None):
            node.wrong("ends where it begins, or before")
    first = _lowest([row for row, _ in rows], ascending)
    for row, node in rows:
        before = [other for other, _ in rows if other is not row and _same(other.at.high, row.at.low)]
        if not before and row is not first:
            node.wrong("begins where no other limit ends: there is a gap or an overlap before it")
        if any(other is not row and _same(other.at.low, row.at.low) for other, _ in rows):
            node.wrong("begins where another limit begins under the same conditions")
        for lower in before:
            if lower.at.high_closed == row.at.low_closed:
                whose = "both limits" if row.at.low_closed else "neither limit"
                node.wrong(f"begins at an edge that belongs to {whose}; write one of them with ( or )")
            if of_reference and _smaller(lower, row, choices):
                node.wrong("allows a larger amount a smaller error than the limit before it")


def _lowest(rows: Sequence[Row], ascending: Sequence[str]) -> Row | None:
    """Return the row that begins lowest, as far as edges can be compared; the earlier one otherwise."""
    lowest: Row | None = None
    for row in rows:
        if lowest is None or row.at.low is None or _less(row.at.low, lowest.at.low, ascending):
            lowest = row
    return lowest


def _same(a: Product | None, b: Product | None) -> bool:
    if a is None or b is None:
        return False
    return a.coefficient == b.coefficient and (not a.coefficient or a.powers == b.powers)


def _less(a: Product | None, b: Product | None, ascending: Sequence[str]) -> bool:
    """Return whether a is less than b for sure, whatever the parameters."""
    if a is None or b is None:
        return False
    if not a.coefficient or not b.coefficient or a.powers == b.powers:
        return a.coefficient < b.coefficient
    names = [dict(p.powers) for p in (a, b)]
    if any(len(n) != 1 or set(n.values()) != {1} for n in names) or a.coefficient > b.coefficient:
        return False
    (low,), (high,) = names
    return low in ascending and high in ascending and ascending.index(low) < ascending.index(high)


def _smaller(lower: Row, upper: Row, choices: Mapping[str, str]) -> bool:
    """Return whether, at the edge they share, the upper limit is surely the smaller amount."""
    edge = upper.at.low
    if edge is None or lower.power or upper.power:
        return False
    below, above = (_amount(row, edge, choices) for row in (lower, upper))
    return below.powers == above.powers and above.coefficient < below.coefficient


def _amount(row: Row, edge: Product, choices: Mapping[str, str]) -> Product:
    mpe = chosen_product(row.mpe, choices)
    return mpe.times(edge) if row.relative else mpe
