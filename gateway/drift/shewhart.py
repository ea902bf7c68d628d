"""Shewhart individuals chart: signal when |z| > L (Shewhart 1931; ISO 7870-2). Catches faults, poor for drift.

With `rules` it signals by supplementary runs rules too (`gateway.drift.supplementary`); it then remembers the last five
z and how many in a row lie on one side of the centre.

>>> import numpy as np
>>> r = DETECTOR.read({}, np.array([0.5, -3.2]), (), np.array([3.0, 3.0]))
>>> r.signal.tolist()
[False, True]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway.drift import Detector, Floats, Readout, Where
from gateway.drift.supplementary import RULES, fired

__all__ = ["DETECTOR"]


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ARG001  the contract's arguments
    """Return (z, the four z before it, run: checks in a row above the centre, negative below), all 0 without rules."""
    (rules,) = parameters
    z_0, z_1, z_2, z_3, _, run = state
    watched = rules > 0.0
    above = where(run > 0.0, run + 1.0, 1.0)
    below = where(run < 0.0, run - 1.0, -1.0)
    run = where(z > 0.0, above, where(z < 0.0, below, 0.0))
    return (
        where(watched, z, 0.0),
        where(watched, z_0, 0.0),
        where(watched, z_1, 0.0),
        where(watched, z_2, 0.0),
        where(watched, z_3, 0.0),
        where(watched, run, 0.0),
    )


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:
    """Return z against the limit L, and what the rules say."""
    size = abs(z)
    signal = size > limit
    nearness = size / limit
    causes = None
    if parameters:
        before = [state[f"z_{i}"] for i in (1, 2, 3, 4)]
        causes = fired(parameters[0].astype(np.int64), z, before, state["run"], limit)
        signal = signal | (causes > 0)
        nearness = np.where(causes > 0, np.maximum(nearness, 1.0), nearness)
    columns = {"statistic": z, "limit": limit, "signal": signal}
    return Readout(columns=columns, signal=signal, nearness=nearness, causes=causes)


DETECTOR = Detector(
    name="shewhart",
    parameters={"L": 3.0},
    options={"rules": 0.0},
    limit="L",
    state=("z_0", "z_1", "z_2", "z_3", "z_4", "run"),
    bare=True,
    causes=RULES,
    advance=advance,
    read=read,
)
