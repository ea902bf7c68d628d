"""Drift judges: charts on standardised residuals z ~ N(0, 1) in control. Here is the contract of a detector.

A detector is one file in this package that defines `DETECTOR`. It has no state of its own: `advance` takes the state
of a chart and one z and returns the state after it. A float and a float of an array must see the same operations and
give the same bits: additions, multiplications, divisions, square roots and comparisons do; any other function is to be
called float by float, also for arrays. A fresh chart is all zeros. A signal never resets a chart. `read` turns recorded
states into statistics and limits, column by column.

A chart that cannot be made of z names what else it `takes` of a check; `advance` then has a sequence of these in place
of z.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Detector", "Floats", "Readout", "Where", "Z"]

Floats = npt.NDArray[np.float64]

Z = ("z",)
"""What most charts take of a check."""


class Where(Protocol):
    """Choose element by element: `np.where` for columns, a conditional expression for one float."""

    def __call__(self, condition: Any, yes: Any, no: Any, /) -> Any:
        """Return `yes` where the condition holds, else `no`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """What a chart says at each check: signed statistic (one column or two), limit, signal; columns by contract name.

    `nearness` is |statistic| / limit, for hysteresis; 1 is the limit. `causes`, for a chart of several rules, holds the
    bits of those that signal, named by the detector's `causes`.
    """

    columns: Mapping[str, Any]
    signal: npt.NDArray[np.bool_]
    nearness: Floats
    causes: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One chart: its name, parameters, state columns, and the two pure functions that move and read it.

    `parameters` names all parameters in contract order with their textbook value; `limit` is the one that a
    false-alarm budget sets. `state` are float64 columns, `times` int64 columns (ns), advanced in that order.
    `advance(where, z, time, parameters, state) -> state`, parameters without the limit.
    `options` are parameters that do nothing at the value given here; their columns follow those of `parameters`, and
    are left out together where no channel uses one. With `bare`, a chart remembers nothing without them.
    `read(state columns, z, parameters, limit) -> Readout`, with what the chart takes in place of z.
    `takes`: what of a check `advance` is given: z, or several of `residual`, `size` (checks in its subgroup), `sigma`
    (as declared, 0 where learned) and `rounding` (standard uncertainty of the resolution), all in the error unit.
    `optional`: a channel has this chart only where its registry names it, with the limit written there: no budget sets
    it and nothing widens it, so `advance` is given it with the other parameters.
    `kind` is the alarm this chart speaks for: "drift", or "noisy" for a chart of the spread.
    """

    name: str
    parameters: Mapping[str, float]
    limit: str
    state: tuple[str, ...]
    times: tuple[str, ...] = ()
    advance: Callable[[Where, Any, Any, Sequence[Any], Sequence[Any]], tuple[Any, ...]]
    read: Callable[[Mapping[str, Any], Floats, Sequence[Floats], Floats], Readout]
    kind: str = "drift"
    options: Mapping[str, float] = field(default_factory=dict)
    bare: bool = False
    takes: tuple[str, ...] = Z
    optional: bool = False
    causes: tuple[str, ...] = ()
