"""Limits for a whole site: every channel its share of the false-alarm budget, kept until the fleet has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from gateway.drift import Detector
from gateway.drift.design import Budget, design_for
from gateway.drift.phase1 import widened
from gateway.pipeline.plan import NEVER, Designed
from gateway.registry.model import Channel, DriftSettings, Registry

__all__ = ["design_site", "fleet", "redesign", "widen"]

DAY_NS = 86_400 * 10**9
TOLERATED = 0.1
"""A fleet that has grown or shrunk by less than this share keeps its limits."""


def fleet(registry: Registry) -> int:
    """Return how many channels share the budget."""
    return sum(len(d.channels) for d in registry.devices.values())


@cache
def _charts(checks_per_day: float, channels: int, alarms_per_day: float) -> DriftSettings:
    arl = max(checks_per_day * channels / alarms_per_day, 10.0)
    return {chart.chart: chart.settings for chart in design_for(arl)}


def _rate(channel: Channel) -> float:
    return 1.0 if channel.every_ns is None else DAY_NS / channel.every_ns


def design_site(registry: Registry, budget: str, channels: int) -> dict[tuple[str, str], DriftSettings]:
    """Return the designed charts of every channel, for a fleet of that many channels."""
    per_day = Budget.parse(budget).per_day
    return {
        (d.id, c.name): _charts(_rate(c), max(channels, 1), per_day)
        for d in registry.devices.values()
        for c in d.channels.values()
    }


def redesign(
    registry: Registry, budget: str, known: Mapping[tuple[str, str], Designed], known_fleet: int, at: int
) -> tuple[list[tuple[str, str, int, DriftSettings]], int]:
    """Return the designs to add (device, channel, from when, settings), and the fleet they are for.

    A new channel's limits hold from the beginning, changed ones from `at` (ns): the past stays as it was judged.
    """
    size = fleet(registry)
    if known_fleet and abs(size / known_fleet - 1.0) <= TOLERATED:
        size = known_fleet
    wanted = design_site(registry, budget, size)
    new: list[tuple[str, str, int, DriftSettings]] = []
    for (device, channel), settings in wanted.items():
        before: Sequence[tuple[int, DriftSettings]] = known.get((device, channel), ())
        if not before:
            new.append((device, channel, NEVER, settings))
        elif before[-1][1] != settings:
            new.append((device, channel, at, settings))
    return new, size


def widen(detector: Detector, limit: float, parameters: Mapping[str, float], checks: int) -> float:
    """Return the limit of a provisional chart, whose σ comes from that many checks (METROLOGY §5.3)."""
    return widened(detector.name, limit, parameters, checks)
