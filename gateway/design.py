"""Limits for a whole site: every channel its share of the false-alarm budget, kept until the fleet has changed.

What is not known of a channel's centre and σ widens its limits, so that a fleet keeps its budget although every
instrument keeps the offset it happens to have (`gateway.drift.uncertain`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gateway.drift import Detector
from gateway.drift.design import DAYS, MEANS, PARAMETERS, Budget, Knowledge, design_for, detectable
from gateway.drift.phase1 import widened
from gateway.pipeline.compiling import Designed, phase_one_points
from gateway.pipeline.learning import SMALL_OFFSET
from gateway.pipeline.plan import NEVER
from gateway.registry.model import Center, Certificate, Channel, DriftSettings, ErrorKind, Registry

__all__ = ["Reach", "checks_per_day", "design_site", "fleet", "knowledge", "reach", "redesign", "widen"]

DAY_NS = 86_400 * 10**9
ALIKE = 1e-5
TOLERATED = 0.1
"""A fleet that has grown or shrunk by less than this share keeps its limits."""


def fleet(registry: Registry) -> int:
    """Return how many channels share the budget."""
    return sum(len(d.channels) for d in registry.devices.values())


@cache
def _charts(
    per_day: float, channels: int, alarms_per_day: float, known: Knowledge, allowances: tuple[tuple[str, float], ...]
) -> DriftSettings:
    arl = max(per_day * channels / alarms_per_day, 10.0)
    parameters = {**PARAMETERS, **{chart: {**PARAMETERS[chart], "k": k} for chart, k in allowances}}
    return {chart.chart: chart.settings for chart in design_for(arl, parameters=parameters, known=known)}


def checks_per_day(channel: Channel) -> float:
    """Return how often the charts of a channel advance: its checks a day, or its subgroups; unknown is once."""
    checks = 1.0 if channel.every_ns is None else DAY_NS / channel.every_ns
    if channel.subgroup_ns is not None:
        return min(checks, DAY_NS / channel.subgroup_ns)
    return checks / channel.subgroup_n


def knowledge(channel: Channel, certificates: Iterable[Certificate]) -> Knowledge:
    """Return how well the charts' centre and σ will be known, from what the registry says of the channel.

    A certificate's centre is uncertain by √((U/k)² + (reference_u/2)²) (CONTRACTS §4), which stays for as long as the
    certificate holds. `reference_u` comes with the checks only; it is taken to be as large as U: both are what a
    laboratory's standard does. Under `auto` more than 0.2 σ is learned instead; with σ unknown either may happen.
    """
    points = phase_one_points(channel)
    learned = 1.0 / math.sqrt(max(points, 1))
    sigma_checks = points if channel.sigma is None else 0
    newest = max(certificates, key=lambda c: c.performed_at, default=None)
    if newest is None or channel.center is Center.LEARNED or channel.influences:
        return Knowledge.of(learned, sigma_checks)
    if channel.sigma is None or not float(channel.sigma) > 0.0:
        return Knowledge.of(max(SMALL_OFFSET, learned), sigma_checks)
    offset = math.sqrt(2.0) * max(float(p.U) / float(p.k) for p in newest.points) / float(channel.sigma)
    if channel.center is Center.AUTO and offset > SMALL_OFFSET:
        return Knowledge.of(max(SMALL_OFFSET, learned), sigma_checks)
    size = channel.subgroup_n if channel.subgroup_ns is None else _checks_in_group(channel)
    return Knowledge.of(min(offset * math.sqrt(size), MOST_OFFSET), sigma_checks)


MOST_OFFSET = 3.0
"""A centre this uncertain (in σ) leaves nothing to find; the limits need not widen further."""


def _checks_in_group(channel: Channel) -> float:
    if channel.every_ns is None or channel.subgroup_ns is None:
        return 1.0
    return max(channel.subgroup_ns / channel.every_ns, 1.0)


def design_site(
    registry: Registry, budget: str, channels: int, known: Mapping[tuple[str, str], Designed] | None = None
) -> dict[tuple[str, str], DriftSettings]:
    """Return the designed charts of every channel, for a fleet of that many channels.

    What a chart's statistic hangs on (k) stays as in the designs `known` of a channel: only limits change.
    """
    per_day = Budget.parse(budget).per_day
    certificates: dict[str, list[Certificate]] = {}
    for certificate in registry.certificates:
        if certificate.points:
            certificates.setdefault(certificate.device, []).append(certificate)
    found: dict[tuple[str, str], DriftSettings] = {}
    for d in registry.devices.values():
        for c in d.channels.values():
            mine = [p for p in certificates.get(d.id, ()) if p.channel in {c.name, None}]
            before: Designed = (known or {}).get((d.id, c.name), ())
            allowances = (
                tuple((chart, s["k"]) for chart, s in sorted(before[-1][1].items()) if "k" in s) if before else ()
            )
            found[d.id, c.name] = _charts(checks_per_day(c), max(channels, 1), per_day, knowledge(c, mine), allowances)
    return found


def redesign(
    registry: Registry, budget: str, known: Mapping[tuple[str, str], Designed], known_fleet: int, at: int
) -> tuple[list[tuple[str, str, int, DriftSettings]], int]:
    """Return the designs to add (device, channel, from when, settings), and the fleet they are for.

    A new channel's limits hold from the beginning, changed ones from `at` (ns): the past stays as it was judged.
    """
    size = fleet(registry)
    if known_fleet and abs(size / known_fleet - 1.0) <= TOLERATED:
        size = known_fleet
    wanted = design_site(registry, budget, size, known)
    new: list[tuple[str, str, int, DriftSettings]] = []
    for (device, channel), settings in wanted.items():
        before: Sequence[tuple[int, DriftSettings]] = known.get((device, channel), ())
        if not before:
            new.append((device, channel, NEVER, settings))
        elif not _alike(before[-1][1], settings):
            new.append((device, channel, at, settings))
    return new, size


def _alike(kept: DriftSettings, wanted: DriftSettings) -> bool:
    """Return whether two designs differ by no more than the last digits that another processor or release computes."""
    return kept.keys() == wanted.keys() and all(
        kept[chart].keys() == wanted[chart].keys()
        and all(math.isclose(value, wanted[chart][name], rel_tol=ALIKE) for name, value in kept[chart].items())
        for chart in kept
    )


def widen(detector: Detector, limit: float, parameters: Mapping[str, float], checks: int) -> float:
    """Return the limit of a provisional chart, whose σ comes from that many checks (METROLOGY §5.3)."""
    return widened(detector.name, limit, parameters, checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The least change that a channel's charts find within so many checks in the mean (subgroups count as one).

    `shift` and `drift_per_check` are in σ, `step` and `drift_per_month` (30.4375 d) in the unit of the error; those
    are None while σ is unknown, the last one also where the registry states no cadence.
    """

    channel: str
    unit: str
    within_checks: float
    shift: float
    drift_per_check: float
    step: float | None
    drift_per_month: float | None


def reach(channel: Channel, charts: DriftSettings, learned: float | None, within: float) -> Reach | None:
    """Return what the charts of a channel can find; None where it has no chart of the mean.

    `charts` have complete settings; `learned` is the σ that the channel has learned (of means, where it has
    subgroups), in the unit of the error. The limits are those of a channel that has learned what it learns.
    """
    if not any(name in MEANS for name in charts):
        return None
    shift, drift = detectable(charts, within)
    sigma = learned
    if channel.sigma is not None:
        size = channel.subgroup_n if channel.subgroup_ns is None else _checks_in_group(channel)
        sigma = float(channel.sigma) / math.sqrt(size)
    known_cadence = channel.every_ns is not None or channel.subgroup_ns is not None
    monthly = checks_per_day(channel) * DAYS["month"]
    return Reach(
        channel=channel.name,
        unit="%" if channel.error is ErrorKind.RELATIVE else channel.unit,
        within_checks=within,
        shift=shift,
        drift_per_check=drift,
        step=None if sigma is None else shift * sigma,
        drift_per_month=None if sigma is None or not known_cadence else drift * sigma * monthly,
    )
