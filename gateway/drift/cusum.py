"""Two-sided tabular CUSUM with onset and size (Page 1954; Montgomery, Introduction to SQC, ch. 9; ISO 7870-4).

C⁺ = max(0, C⁺ + z - k), C⁻ = max(0, C⁻ - z - k); signal when either is beyond h. N counts the checks since the side
was last 0: onset is the time of the first of them, size k + C/N in σ, signed by the side.

Fast initial response (Lucas & Crosier 1982): with `head_start` both sides begin a chapter there instead of at 0, so
that what is wrong from the first check on signals sooner. It is no evidence: until a side has been 0, its size is that
of C - head_start, the mean of its checks.

>>> pick = lambda c, a, b: a if c else b
>>> s = (0.0,) * 5 + (0, 0)
>>> for i, z in enumerate((0.2, -0.1, 1.1, 0.4), start=1):
...     s = advance(pick, z, i, (0.5,), s)
>>> round(s[0], 9), s[1], s[2], s[5]
(0.5, 0.0, 2.0, 3)
>>> s = advance(pick, 1.0, 1, (0.5, 2.5), (0.0,) * 5 + (0, 0))
>>> s[0], s[1]
(3.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway.drift import Detector, Floats, Readout, Where

__all__ = ["DETECTOR"]


def advance(where: Where, z: Any, time: Any, parameters: Sequence[Any], state: Sequence[Any]) -> tuple[Any, ...]:
    """Return (upper, lower, n_upper, n_lower, headed, since_upper, since_lower) after z; headed counts z."""
    k, *options = parameters
    upper, lower, n_upper, n_lower, headed, since_upper, since_lower = state
    if options:
        (head_start,) = options
        with_head = head_start > 0.0
        begins = with_head & (headed == 0.0)
        upper = where(begins, head_start, upper)
        lower = where(begins, head_start, lower)
        headed = where(with_head, headed + 1.0, 0.0)
    upper = upper + z - k
    up = upper > 0.0
    lower = lower - z - k
    down = lower > 0.0
    n_upper = where(up, n_upper + 1.0, 0.0)
    n_lower = where(down, n_lower + 1.0, 0.0)
    return (
        where(up, upper, 0.0),
        where(down, lower, 0.0),
        n_upper,
        n_lower,
        headed,
        where(n_upper == 1.0, time, since_upper),
        where(n_lower == 1.0, time, since_lower),
    )


def read(state: Mapping[str, Any], z: Floats, parameters: Sequence[Floats], limit: Floats) -> Readout:  # noqa: ARG001  the contract's arguments
    """Return both sums against h, with onset (ns, 0 when both are 0) and signed size of the larger side."""
    k, *options = parameters
    upper, lower = state["upper"], state["lower"]
    rising = upper >= lower
    largest = np.where(rising, upper, lower)
    n = np.where(rising, state["n_upper"], state["n_lower"])
    on = n > 0.0
    head = np.where(n == state["headed"], options[0], 0.0) if options else 0.0
    size = np.where(on, k + (largest - head) / np.where(on, n, 1.0), np.nan)
    signal = largest > limit
    columns = {
        "upper": upper,
        "lower": lower,
        "limit": limit,
        "signal": signal,
        "onset": np.where(on, np.where(rising, state["since_upper"], state["since_lower"]), 0),
        "size": np.where(rising, size, -size),
    }
    return Readout(columns=columns, signal=signal, nearness=largest / limit)


DETECTOR = Detector(
    name="cusum",
    parameters={"k": 0.5, "h": 5.0},
    limit="h",
    options={"head_start": 0.0},
    state=("upper", "lower", "n_upper", "n_lower", "headed"),
    times=("since_upper", "since_lower"),
    advance=advance,
    read=read,
)
