"""The alternatives of a D-SI hybrid: one quantity in several units, which have to say the same."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from gateway.metrology.units import convert
from gateway.registry.dcc import Column
from gateway.registry.dcc_units import comparable
from gateway.registry.dcc_values import DccError

__all__ = ["agree"]


def agree(column: Column, *, difference: bool) -> None:
    """Raise DccError where the units of a hybrid say different quantities, beyond the digits they are written with."""
    first, *others = column.numbers
    for other in others:
        if not comparable(first.unit, other.unit):
            continue
        if len(other.values) != len(first.values):
            raise DccError(other.place, f"has {len(other.values)} values, in {first.unit} it has {len(first.values)}")
        for a, b in zip(first.values, other.values, strict=True):
            if a is None or b is None:
                continue
            same = Fraction(convert(b, other.unit, first.unit, difference=difference))
            step = Fraction(convert(_step(b), other.unit, first.unit, difference=True))
            if abs(Fraction(a) - same) > Fraction(_step(a)) + step:
                raise DccError(other.place, f"{b} {other.unit} is not the {a} {first.unit} it should repeat")


def _step(value: Decimal) -> Decimal:
    """Return one unit of the last digit a number is written with."""
    exponent = value.as_tuple().exponent
    return Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
