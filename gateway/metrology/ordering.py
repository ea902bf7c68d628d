"""The order in which the points of a calibration may be written."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

__all__ = ["out_of_order"]

RETURN = Fraction(1, 100)
"""How near, as a share of the span, a load on the way back is to the one passed before (METROLOGY §2, domain)."""


def out_of_order(x: Sequence[Decimal | Fraction]) -> int | None:
    """Return the index of the first point that is out of order, None if there is none.

    Benches run up or down, and may come back over loads they passed (hysteresis): a step against the first direction
    is in order only where it repeats an earlier x, within 1 % of the span. Anything else is a slip of the pen.

    >>> out_of_order([Decimal(5), Decimal(50), Decimal(15)])
    2
    """
    at = [Fraction(value) for value in x]
    first = next((b - a for a, b in pairwise(at) if a != b), None)
    if first is None:
        return None
    near = (max(at) - min(at)) * RETURN
    low = high = at[0]
    for i, value in enumerate(at):
        further = not i or (value > high if first > 0 else value < low)
        if not further and all(abs(value - passed) > near for passed in at[:i]):
            return i
        low, high = min(low, value), max(high, value)
    return None
