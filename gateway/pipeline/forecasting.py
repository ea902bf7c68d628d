"""Forecasts in the flow of checks: E/MPE of each check moves its chapter's line; the line asks for an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.alarms.conditions import HOLD, AlarmKind, Severity
from gateway.drift.charts import run
from gateway.drift.trend import MONTH_NS, TREND, trend_of
from gateway.metrology.forecast import Forecast, forecast
from gateway.metrology.instants import format_instant
from gateway.metrology.student import t_quantile
from gateway.metrology.trend import Line
from gateway.pipeline.checks import Checks, epochs_of
from gateway.pipeline.columns import Floats, Ints, runs
from gateway.pipeline.learning import Learned
from gateway.pipeline.plan import FOREVER, Plan
from gateway.pipeline.state import States
from gateway.pipeline.watch import NO_OPINION, Change

__all__ = ["Followed", "channel_forecast", "device_forecast", "follow_trend", "with_evidence"]

TAIL = 5e-7
"""One-sided chance of a trend alarm at one check of a steady instrument; checks are many and tested in turn."""

FEWEST = 8
"""Checks below which a trend raises no alarm."""

NEAR = 3.0
"""|t| above which a raised trend stays."""

MATERIAL_MONTHS = 120.0
"""A trend that reaches the limits only after ten years is no news."""

NORMAL = NormalDist().inv_cdf(1.0 - TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """The line after each check that moved it: rows of `checks`, the state then, and what each check asks for."""

    rows: Ints
    history: npt.NDArray[Any]
    wanted: npt.NDArray[np.int8]


def follow_trend(plan: Plan, checks: Checks, learned: Learned, U: Floats) -> Followed:
    """Move the units' lines by their checks with an MPE and a load; `learned.unit_state` is changed."""
    wanted = np.full(len(checks), NO_OPINION, np.int8)
    fit = (learned.unit_of >= 0) & (checks.row >= 0) & (checks.mpe > 0.0) & (checks.reference != 0.0)
    rows = np.flatnonzero(fit & np.isfinite(checks.corrected_error))
    units, first, counts = runs(learned.unit_of[rows])
    if not len(rows):
        return Followed(rows=rows, history=learned.unit_state[:0], wanted=wanted)
    share = checks.corrected_error[rows] / checks.mpe[rows]
    history, last = run([TREND], share, checks.time[rows], counts, {"trend": ()}, learned.states_of(units))
    learned.keep(units, last)
    ends = rows[first + counts - 1]
    learned.unit_state["safe"][units] = 1.0 - U[ends] / checks.mpe[ends]
    wanted[rows] = _wanted(plan, checks.epoch[rows], history)
    return Followed(rows=rows, history=history, wanted=wanted)


def _columns(history: npt.NDArray[Any]) -> dict[str, Any]:
    return {name: history[f"trend_{name}"] for name in (*TREND.state, *TREND.times)}


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def _wanted(plan: Plan, epoch: Ints, history: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Return `warning` where a sure trend crosses before the due date, `info` where it does within ten years."""
    sums = _columns(history)
    line = trend_of(sums)
    size = np.abs(line.t_sure)
    wanted = np.where(size > NEAR, HOLD, 0).astype(np.int8)
    perhaps = np.flatnonzero((size > NORMAL) & (line.n >= FEWEST))
    if not len(perhaps):
        return wanted
    limits = np.array([t_quantile(TAIL, float(d)) for d in np.floor(line.dof[perhaps]).tolist()])
    sure = perhaps[size[perhaps] > limits]
    slope = line.slope[sure]
    months = sums["t_mean"][sure] + (np.sign(slope) - sums["y_mean"][sure]) / slope
    due = plan.e_valid_to[epoch[sure]]
    due_months = np.where(due == FOREVER, -np.inf, (due - sums["first"][sure]) / MONTH_NS)
    level = np.where(months < due_months, Severity.WARNING, Severity.INFO)
    wanted[sure] = np.where(months - sums["t_last"][sure] < MATERIAL_MONTHS, level, HOLD)
    return wanted


def with_evidence(plan: Plan, changes: Sequence[Change], checks: Checks, followed: Followed) -> list[Change]:
    """Return the changes, those of a forecast with the forecast that caused them."""
    out = []
    for change in changes:
        if change.kind is AlarmKind.FORECAST and change.row >= 0 and change.level:
            place = int(np.searchsorted(checks.row[followed.rows], change.row))
            row = int(followed.rows[min(place, len(followed.rows) - 1)]) if len(followed.rows) else -1
            if row >= 0 and int(checks.row[row]) == change.row:
                epoch = int(checks.epoch[row])
                found = _forecast(plan, epoch, followed.history[place], int(checks.time[row]), None)
                due = int(plan.e_valid_to[epoch])
                evidence = {
                    "rate": found.rate, "rate_low": found.rate_low, "rate_high": found.rate_high, "per": "month",
                    "crosses_at": None if found.crosses_at is None else format_instant(found.crosses_at),
                    "due": None if due == FOREVER else format_instant(due),
                }  # fmt: skip
                change = replace(change, evidence={**change.evidence, **evidence})  # noqa: PLW2901  the same change
        out.append(change)
    return out


def _forecast(plan: Plan, epoch: int, state: Any, last: int, safe: float | None) -> Forecast:
    """Return the forecast of recorded sums (one row)."""
    line = None
    if float(state["trend_n"]) >= 3.0 and float(state["trend_sxx"]) > 0.0:
        widening = float(trend_of({k: np.array([v]) for k, v in _columns(state).items()}).widening[0])
        line = Line(
            n=int(state["trend_n"]), x_mean=float(state["trend_t_mean"]), y_mean=float(state["trend_y_mean"]),
            sxx=float(state["trend_sxx"]), sxy=float(state["trend_sxy"]), syy=float(state["trend_syy"]),
            widening=widening,
        )  # fmt: skip
    due = int(plan.e_valid_to[epoch])
    return forecast(
        line, origin=int(state["trend_first"]), last=last, due=None if due == FOREVER else due, safe=safe,
        initial=_initial_share(plan, epoch),
    )  # fmt: skip


def _initial_share(plan: Plan, epoch: int) -> float:
    """Return the MPE of verification over the MPE in use: one number for all bands of a rule pack."""
    used, initial = plan.epochs[epoch].limits, plan.epochs[epoch].initial_limits
    if used is None or initial is None or not used.bands or not initial.bands or not used.bands[0].mpe:
        return 1.0
    return float(initial.bands[0].mpe / used.bands[0].mpe)


def channel_forecast(plan: Plan, channel: int, state: Any) -> Forecast | None:
    """Return the forecast of a channel after its last check; None without a check or without limits."""
    if not int(state["checks"]):
        return None
    last = int(state["check_time"])
    epoch = int(epochs_of(plan, np.array([channel]), np.array([last]))[0])
    if plan.epochs[epoch].limits is None:
        return None
    safe = float(state["safe"])
    return _forecast(plan, epoch, state, last, None if np.isnan(safe) else safe)


def device_forecast(plan: Plan, device: str, states: States) -> dict[str, object] | None:
    """Return the forecast of the channel that leaves its limits first, else of the first channel that has one."""
    found = [f for c in plan.devices[device] if (f := channel_forecast(plan, c, states[c])) is not None]
    if not found:
        return None
    finite = [f for f in found if f.crosses_at is not None]
    return (min(finite, key=lambda f: f.crosses_at or 0) if finite else found[0]).record()
