"""The order in which the points of a calibration may be written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
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
    return _first_out_of_order(tuple(x))


@lru_cache(maxsize=1024)
def _first_out_of_order(x: tuple[Decimal | Fraction, ...]) -> int | None:
    """Return what `out_of_order` does: the loads of a test bench are the same for a fleet."""
    at = [Fraction(value) for value in x]
    first = next((b - a for a, b in pairwise(at) if a != b), None)
    if first is None:
        return None
    near = (max(at) - min(at)) * RETURN
    passed: list[Fraction] = []
    for i, value in enumerate(at):
        place = bisect_left(passed, value)
        beyond = place == len(passed) if first > 0 else place == 0 and value not in passed[:1]
        neighbours = passed[max(0, place - 1) : place + 1]
        if not beyond and all(abs(value - other) > near for other in neighbours):
            return i
        passed.insert(place, value)
    return None
