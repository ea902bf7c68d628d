"""Where a device stands: the worst of its channels, in the words of CONTRACTS §5 (`stable … outside`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np

from gateway.metrology.conformity import Conformity
from gateway.metrology.instants import format_instant
from gateway.pipeline.forecasting import device_forecast
from gateway.pipeline.plan import FOREVER, Plan
from gateway.pipeline.state import NEVER, CenterMode, States

__all__ = ["Drift", "channel_drift", "device_drift", "device_state", "last_channel"]

SUSPECTED = 0.8
"""A chart statistic beyond this share of its limit makes a channel `suspected` before it makes an alarm."""


class Drift(StrEnum):
    """How a channel or device stands, the worst last."""

    STABLE = "stable"
    LEARNING = "learning"
    SUSPECTED = "suspected"
    DRIFTING = "drifting"
    OUTSIDE = "outside"


_ORDER = tuple(Drift)
_WORDS = {
    Conformity.CONFORMING: "conforming",
    Conformity.NOT_CONFORMING: "not_conforming",
    Conformity.UNDECIDED: "undecided",
}


def channel_drift(plan: Plan, channel: int, state: Any) -> Drift:
    """Return how a channel stands after its last check."""
    if int(state["checks"]) and int(state["conformity"]) == Conformity.NOT_CONFORMING:
        return Drift.OUTSIDE
    if int(state["drift_level"]):
        return Drift.DRIFTING
    unknown_sigma = np.isnan(plan.sigma[channel]) and not float(state["sigma"]) > 0.0
    mode = int(state["mode"])
    centring = mode == CenterMode.LEARNED and not int(state["settled"])
    if unknown_sigma or centring or mode == CenterMode.UNDECIDED:
        return Drift.LEARNING
    return Drift.SUSPECTED if float(state["nearness"]) > SUSPECTED else Drift.STABLE


def device_drift(plan: Plan, device: str, states: States) -> Drift:
    """Return the worst of the device's channels that have had checks; `learning` if none has."""
    channels = [c for c in plan.devices[device] if int(states["checks"][c])]
    found = [channel_drift(plan, c, states[c]) for c in channels]
    return max(found, key=_ORDER.index) if found else Drift.LEARNING


def last_channel(plan: Plan, device: str, states: States) -> int | None:
    """Return the channel whose check is the device's latest; None if it has had none."""
    channels = [c for c in plan.devices[device] if int(states["checks"][c])]
    return max(channels, key=lambda c: int(states["check_time"][c])) if channels else None


def device_state(plan: Plan, device: str, states: States, alarms: list[str]) -> dict[str, object]:
    """Return the payload of `metergate/state/{site}/{device}`."""
    channels = plan.devices[device]
    newest = max((int(states["time"][c]) for c in channels), default=NEVER)
    last = last_channel(plan, device, states)
    due = min((int(plan.e_valid_to[plan.first_epoch[c] + plan.epoch_count[c] - 1]) for c in channels), default=FOREVER)
    margin = float("nan") if last is None else float(states["margin_percent"][last])
    return {
        "time": None if newest == NEVER else format_instant(newest),
        "verdict": None if last is None else _WORDS.get(Conformity(int(states["conformity"][last]))),
        "margin_percent": None if np.isnan(margin) else margin,
        "drift": device_drift(plan, device, states).value,
        "alarms": alarms,
        "forecast": device_forecast(plan, device, states),
        "due": None if due == FOREVER else format_instant(due),
    }
