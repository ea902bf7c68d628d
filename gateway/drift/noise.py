"""CUSUM of the spread, blind to the mean: tells a noisy instrument from a drifting one (Hawkins & Olwell 1998, ch. 4).

Over disjoint pairs of checks v = min((z_2j - z_2j-1)²/2, cap) is χ² with one degree of freedom in control, whatever
the mean; a slow drift leaves it alone and a step touches one pair. C = max(0, C + v - k), signal when C > h.
k = 1.848 is the reference value for a doubled σ: 2 ln 2 · 4/3. The cap (in v, 10: a difference of 4.5 σ) keeps one
jump from looking like noise.

>>> pick = lambda c, a, b: a if c else b
>>> s = (0.0, 0.0, 0.0)
>>> for z in (3.0, -3.0, 2.5):
...     s = advance(pick, z, 0, (1.848, 10.0), s)
>>> round(s[0], 3), s[1], s[2]
(8.152, 2.5, 1.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.drift import Detector, Floats, Readout, Where

__all__ = ["DETECTOR"]


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001  the contract's arguments
    """Return (sum, first, waiting) after z: a first z waits for its partner."""
    k, cap = parameters
    total, first, waiting = state
    paired = waiting > 0.0
    difference = z - first
    square = difference * difference * 0.5
    raised = total + where(square < cap, square, cap) - k
    return (
        where(paired, where(raised > 0.0, raised, 0.0), total),
        where(paired, 0.0, z),
        where(paired, 0.0, 1.0),
    )


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:  # noqa: ARG001  the contract's arguments
    """Return the sum against h."""
    total = state["sum"]
    signal = total > limit
    columns = {"statistic": total, "limit": limit, "signal": signal}
    return Readout(columns=columns, signal=signal, nearness=total / limit)


DETECTOR = Detector(
    name="noise",
    parameters={"k": 1.848, "cap": 10.0, "h": 20.0},
    limit="h",
    state=("sum", "first", "waiting"),
    advance=advance,
    read=read,
    kind="noisy",
)
