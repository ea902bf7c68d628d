"""EWMA chart with time-varying limits (Roberts 1959; Lucas & Saccucci 1990; ISO 7870-6).

Z_i = λ z_i + (1 - λ) Z_{i-1}, Z_0 = 0; signal when |Z_i| > L √(λ/(2 - λ) · [1 - (1 - λ)^{2i}]).
The bracket is carried as `filled` and built by f' = f + λ(2 - λ)(1 - f), which needs no power.

>>> import numpy as np
>>> s = (0.0, 0.0)
>>> for z in (0.2, -0.1, 1.1):
...     s = advance(lambda c, a, b: a if c else b, z, 0, (0.2,), s)
>>> state = {"value": np.array(s[:1]), "filled": np.array(s[1:])}
>>> r = read(state, np.array([1.1]), (np.array([0.2]),), np.array([2.962]))
>>> round(float(r.columns["statistic"][0]), 4), round(float(r.columns["limit"][0]), 4)
(0.2296, 0.8481)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway.drift import Detector, Floats, Readout, Where

__all__ = ["DETECTOR"]


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001  the contract's arguments
    """Return (value, filled) after z."""
    (weight,) = parameters
    value, filled = state
    return weight * z + (1.0 - weight) * value, filled + weight * (2.0 - weight) * (1.0 - filled)


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:  # noqa: ARG001  the contract's arguments
    """Return the average against its limit at that check."""
    (weight,) = parameters
    value = state["value"]
    edge = limit * np.sqrt(weight / (2.0 - weight) * state["filled"])
    size = abs(value)
    signal = size > edge
    columns = {"statistic": value, "limit": edge, "signal": signal}
    return Readout(columns=columns, signal=signal, nearness=size / edge)


DETECTOR = Detector(
    name="ewma",
    parameters={"lambda": 0.2, "L": 2.962},
    limit="L",
    state=("value", "filled"),
    advance=advance,
    read=read,
)
