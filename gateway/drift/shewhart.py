"""Shewhart individuals chart: signal when |z| > L (Shewhart 1931; ISO 7870-2). Catches faults, poor for drift.

>>> import numpy as np
>>> r = DETECTOR.read({}, np.array([0.5, -3.2]), (), np.array([3.0, 3.0]))
>>> r.signal.tolist()
[False, True]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.drift import Detector, Floats, Readout, Where

__all__ = ["DETECTOR"]


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001  the contract's arguments
    """Return the state unchanged: there is none."""
    return ()


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:  # noqa: ARG001  the contract's arguments
    """Return z against the limit L."""
    size = abs(z)
    signal = size > limit
    columns = {"statistic": z, "limit": limit, "signal": signal}
    return Readout(columns=columns, signal=signal, nearness=size / limit)


DETECTOR = Detector(name="shewhart", parameters={"L": 3.0}, limit="L", state=(), advance=advance, read=read)
