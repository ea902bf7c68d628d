"""The one implementation that moves every chart: live, replayed, recomputed.

Checks are given channel by channel, each channel's in order. In round k the k-th check of every channel is charted at
once as columns; where only few channels are left, their remaining checks go one by one as floats through the same
`advance`. Both give the same bits, so cutting readings into other batches changes nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import gateway.drift
from gateway.drift import Detector, Floats

__all__ = ["chart_dtype", "detectors", "run"]

Ints = npt.NDArray[np.int64]

ROUND_US, LANE_US, CHECK_US = 100, 70, 4
"""What a round as columns costs, about, and as floats a channel and each of its checks."""
WIDE = ROUND_US // CHECK_US
"""From this many channels on, a round as columns is cheaper than as floats."""


@cache
def detectors() -> tuple[Detector, ...]:
    """Return every detector of the package, by name: adding one is adding a file."""
    found = []
    for module in pkgutil.iter_modules(gateway.drift.__path__):
        detector = getattr(importlib.import_module(f"gateway.drift.{module.name}"), "DETECTOR", None)
        if isinstance(detector, Detector):
            found.append(detector)
    names = [d.name for d in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two detectors share a name: {names}")
    return tuple(sorted(found, key=lambda d: d.name))


def chart_dtype(charts: Sequence[Detector]) -> np.dtype[Any]:
    """Return the layout of the state of these charts: one float64 or int64 per state column, `name_column`."""
    return _dtype(tuple((d.name, d.state, d.times) for d in charts))


@cache
def _dtype(charts: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]) -> np.dtype[Any]:
    fields: list[Any] = [(f"{name}_{f}", np.float64) for name, state, _ in charts for f in state]
    fields += [(f"{name}_{f}", np.int64) for name, _, times in charts for f in times]
    return np.dtype(fields)


def _pick(condition: Any, yes: Any, no: Any, /) -> Any:
    return yes if condition else no


def run(
    charts: Sequence[Detector],
    z: Floats,
    time: Ints,
    counts: Ints,
    parameters: Mapping[str, Sequence[Floats]],
    state: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Chart z and return (state after each check, state after each channel's last); one array if that is all checks.

    `z`, `time` (ns): one per check, channel after channel; for charts that take several columns, these as rows of `z`.
    `counts`: checks of each channel, all > 0;
    `parameters`: per chart name one column per parameter but the limit (then options), one value per channel;
    `state`: structured, one row per channel, with at least the columns of `chart_dtype`; it is not changed.
    """
    history = np.zeros(len(time), chart_dtype(charts))
    moved = [d for d in charts if (d.state or d.times) and not (d.bare and not parameters[d.name])]
    if len(counts) == len(time) > 1:
        _once(moved, z, time, parameters, state, history)
        return history, history
    last = np.empty(len(counts), history.dtype)
    order = np.argsort(-counts, kind="stable")
    sorted_counts = counts[order]
    firsts = (np.cumsum(counts) - counts)[order]
    columns = [(d, [p[order] for p in parameters[d.name]], [state[n][order] for n in _names(d)]) for d in moved]
    narrow = int(sorted_counts[WIDE - 1]) if len(counts) >= WIDE else 0
    left = np.maximum(sorted_counts - narrow, 0)
    if len(left) and ROUND_US * left[0] < LANE_US * np.count_nonzero(left) + CHECK_US * left.sum():
        narrow = int(sorted_counts[0])
    _rounds(columns, z, time, sorted_counts, firsts, history, narrow)
    _one_by_one(columns, z, time, sorted_counts, firsts, history, narrow)
    last.put(order, history.take(firsts + sorted_counts - 1))
    return history, last


_Columns = list[tuple[Detector, list[Floats], list[Any]]]


def _names(detector: Detector) -> list[str]:
    return [f"{detector.name}_{f}" for f in (*detector.state, *detector.times)]


def _once(
    charts: Sequence[Detector],
    z: Floats,
    time: Ints,
    parameters: Mapping[str, Sequence[Floats]],
    state: npt.NDArray[Any],
    history: npt.NDArray[Any],
) -> None:
    """Chart one check of each channel."""
    for detector in charts:
        names = _names(detector)
        after = detector.advance(np.where, z, time, parameters[detector.name], [state[name] for name in names])
        for name, column in zip(names, after, strict=True):
            history[name] = column


def _rounds(
    columns: _Columns, z: Floats, time: Ints, counts: Ints, firsts: Ints, history: npt.NDArray[Any], rounds: int
) -> None:
    """Chart the first `rounds` checks of the channels as columns; `columns` hold the state and are moved on."""
    widths = np.searchsorted(-counts, -np.arange(rounds), side="left")
    ends = np.cumsum(widths)
    starts = ends - widths
    lane = np.arange(int(widths.sum())) - np.repeat(starts, widths)
    rows = firsts[lane] + np.repeat(np.arange(rounds), widths)
    z_by_round, time_by_round = z.take(rows, axis=-1), time[rows]
    names = [_names(d) for d, _, _ in columns]
    kept = [[np.empty(len(rows), history.dtype[name]) for name in of_chart] for of_chart in names]
    for start, end, width in zip(starts.tolist(), ends.tolist(), widths.tolist(), strict=True):
        z_k, time_k = z_by_round[..., start:end], time_by_round[start:end]
        for (detector, parameters, state), keep in zip(columns, kept, strict=True):
            after = detector.advance(np.where, z_k, time_k, [p[:width] for p in parameters], [s[:width] for s in state])
            for column, old, new in zip(keep, state, after, strict=True):
                old[:width] = new
                column[start:end] = new
    for of_chart, keep in zip(names, kept, strict=True):
        for name, column in zip(of_chart, keep, strict=True):
            history[name][rows] = column


def _one_by_one(
    columns: _Columns, z: Floats, time: Ints, counts: Ints, firsts: Ints, history: npt.NDArray[Any], rounds: int
) -> None:
    """Chart what is left after `rounds`, channel by channel as floats."""
    for i in range(int(np.searchsorted(-counts, -rounds, side="left"))):
        first, end = int(firsts[i]) + rounds, int(firsts[i] + counts[i])
        zs, times = z[..., first:end].T.tolist(), time[first:end].tolist()
        for detector, parameters, state in columns:
            chosen = tuple(float(p[i]) for p in parameters)
            now = tuple(s[i].item() for s in state)
            advance = detector.advance
            states = []
            for z_i, time_i in zip(zs, times, strict=True):
                now = advance(_pick, z_i, time_i, chosen, now)
                states.append(now)
            for name, values in zip(_names(detector), zip(*states, strict=True), strict=True):
                history[name][first:end] = values
