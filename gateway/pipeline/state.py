"""What is remembered of a channel between readings: one row of fixed width, a value that round-trips as bytes."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import CONDITION_DTYPE
from gateway.drift.charts import chart_dtype, detectors
from gateway.drift.dependence import DEPENDENCE
from gateway.drift.influence import INFLUENCE
from gateway.drift.trend import TREND

__all__ = [
    "HELD", "STATE_VERSION", "CenterMode", "States", "chapter_fields", "dump", "fresh", "load", "state_dtype",
]  # fmt: skip

STATE_VERSION = 7
NEVER = -(2**63)

States = npt.NDArray[Any]


class CenterMode(IntEnum):
    """Where z has its centre in this chapter."""

    UNDECIDED = 0
    CERTIFICATE = 1
    LEARNED = 2


HELD = {"time": np.int64} | dict.fromkeys(
    ("residual", "baseline_U", "baseline_k", "reference_u_error", "rounding", "resolution"), np.float64
)
"""What is kept of a check that waits for the next one (`gateway.pipeline.groups`), by its name in `Checks`."""

_JUDGED = np.dtype(
    [
        ("time", np.int64),  # of the last reading judged, ns
        ("readings", np.int64),
        ("value", np.float64),
        ("same_n", np.int64),  # identical values in a row that say something
        ("same_since", np.int64),
        ("boot", np.int64),
        ("seq", np.int64),
        ("chapter", np.int64),  # 0: no chartable check yet
        ("n", np.int64),  # chartable checks of the chapter
        ("mode", np.int8),
        ("mean", np.float64),  # Phase I, Welford
        ("m2", np.float64),
        ("sigma", np.float64),  # learned, 0: not yet
        ("centre", np.float64),  # D0
        ("offset", np.int8),  # learned centre disagrees with the certificate, |En| > 1
        ("zero_time", np.int64),
        ("zero", np.float64),  # indication at the last zero check
        ("zeros_n", np.int32),  # zero checks of a chapter, all exactly 0; -1: not all
        ("zeros_chapter", np.int32),
        ("major", np.int8),  # the last check asked for `major`
        ("checks", np.int64),
        ("check_time", np.int64),
        ("error", np.float64),
        ("margin_percent", np.float64),
        ("conformity", np.int8),
        ("safe", np.float64),  # 1 - U/MPE of the last check of the trend
        ("nearness", np.float64),
        ("standard", np.int64),  # of the last check, as `boot_code` of its device id; 0: none
        ("mpe_x", np.float64),  # where and when `mpe` was last asked for
        ("mpe_time", np.int64),
        ("settled", np.int8),  # D0 is settled
        ("groups", np.int64),  # complete subgroups of the chapter
        ("group_n", np.int64),  # the open subgroup: checks, sum of residuals, which, since when (ns)
        ("group_sum", np.float64),
        ("group_window", np.int64),
        ("group_since", np.int64),
        ("held", np.int8),  # the newest check waits for the next one to say whether its group ends
        *((f"held_{name}", code) for name, code in HELD.items()),
    ]
)


_OF_CHAPTER = (
    "chapter", "n", "mode", "mean", "m2", "sigma", "centre", "offset", "settled", "groups", "group_n", "group_sum",
    "group_window", "group_since", "held", *(f"held_{name}" for name in HELD), "safe",
)  # fmt: skip


@cache
def chapter_fields() -> tuple[str, ...]:
    """Return the names of what belongs to a chapter, and begins anew with the next: Phase I, dependence, charts."""
    parts = (INFLUENCE, DEPENDENCE, chart_dtype((*detectors(), TREND)))
    return *_OF_CHAPTER, *(name for part in parts for name in part.names or ())


@cache
def state_dtype() -> np.dtype[Any]:
    """Return the layout of a channel's state: what was judged, conditions, charts, the optional ones last."""
    usual = [d for d in detectors() if not d.optional]
    parts = (_JUDGED, INFLUENCE, DEPENDENCE, CONDITION_DTYPE, chart_dtype((*usual, TREND)), _optional_dtype())
    fields: list[Any] = [(name, part[name]) for part in parts for name in part.names or ()]
    return np.dtype(fields)


@cache
def _optional_dtype() -> np.dtype[Any]:
    return chart_dtype([d for d in detectors() if d.optional])


def fresh(n: int) -> States:
    """Return the states of `n` channels that have said nothing yet."""
    states = np.zeros(n, state_dtype())
    for name in ("time", "zero_time", "check_time"):
        states[name] = NEVER
    states["seq"] = -1
    for name in ("value", "error", "margin_percent", "safe", "mpe_x"):
        states[name] = np.nan
    return states


def dump(states: States) -> list[bytes]:
    """Return each state as bytes, a version byte first; optional charts that have not begun are left out."""
    width = states.dtype.itemsize
    flat = np.ascontiguousarray(states).tobytes()
    head = bytes([STATE_VERSION])
    usual = width - _optional_dtype().itemsize
    begun = np.frombuffer(flat, np.uint8).reshape(len(states), width)[:, usual:].any(axis=1)
    if not begun.any():
        return [head + flat[i : i + usual] for i in range(0, len(flat), width)]
    ends = np.where(begun, width, usual).tolist()
    return [head + flat[i : i + end] for i, end in zip(range(0, len(flat), width), ends, strict=True)]


def load(blobs: list[bytes]) -> States:
    """Return the states that `dump` wrote. Raises ValueError for another version or a damaged one."""
    dtype = state_dtype()
    width = dtype.itemsize
    sizes = {width + 1, width + 1 - _optional_dtype().itemsize}
    for blob in blobs:
        if len(blob) not in sizes or blob[0] != STATE_VERSION:
            raise ValueError("a channel state of another version; judge the channel again from its readings")
    return np.frombuffer(b"".join(b[1:].ljust(width, b"\0") for b in blobs), dtype).copy()
