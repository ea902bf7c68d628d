"""Common mode: devices that share a standard and shift together are one alarm, on the standard (METROLOGY §5.7).

Together means: `drift` stands on at least three devices, all the same way, last checked against the same standard in
the same quantity, and their alarms rose within 30 days of each other: one shift is found at different checks by chance.
Then a `standard` alarm rises on the standard, dated by the third; `drift` alarms of the devices are cleared with reason
`common_mode` and its id in their evidence, or not raised at all. It falls when fewer than three are left, and devices
that are still off raise their own again.

What stands follows from the conditions of the channels alone, so it is the same however readings were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from heapq import heapify, heappop
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.alarms.conditions import AlarmKind, Severity, Transition
from gateway.alarms.life import Alarm, Happening, alarm_id, move
from gateway.metrology.instants import format_instant
from gateway.pipeline.columns import Columns
from gateway.pipeline.happenings import OpenAlarms, happen
from gateway.pipeline.plan import Plan
from gateway.pipeline.watch import Change

if TYPE_CHECKING:
    from gateway.pipeline.judge import Judgement

__all__ = ["FEWEST", "TOGETHER_NS", "Excursion", "excursion_of", "happen_in_order", "settle_common"]

FEWEST = 3
TOGETHER_NS = 30 * 86_400 * 10**9
REASON = "common_mode"

Place = tuple[str, str]
"""A standard (device id) and the quantity (channel) it was used for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion:
    """A `drift` condition that stands: which channel, since when (ns), which way (+1, -1), checked against what."""

    channel: int
    since: int
    sign: int
    severity: int
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Excursions that are one: since when there have been three (ns), and all that belong to it."""

    since: int
    members: tuple[Excursion, ...]


def excursion_of(plan: Plan, codes: Mapping[int, str], channel: int, state: Any) -> Excursion | None:
    """Return the excursion of a channel, None if its `drift` does not stand or no standard is known.

    `codes`: the standards there are, by the number a state knows them by (`boot_code`).
    """
    name = codes.get(int(state["standard"]))
    if name is None or not int(state["drift_level"]):
        return None
    way = float(state["centre"] if int(state["offset"]) else _way(*(state[name] for name in _OF_STATE)))
    return Excursion(
        channel=channel,
        since=int(state["drift_since"]),
        sign=1 if way > 0.0 else -1,
        severity=int(state["drift_level"]),
        place=(name, plan.facts[channel].channel),
    )


def excursion_at(plan: Plan, change: Change, columns: Columns, verdict: Any) -> Excursion | None:
    """Return the excursion that the check of a raised `drift` begins; None where no standard is known."""
    facts = plan.facts[change.channel]
    name = columns.standard[change.row] or facts.standard
    if name is None:
        return None
    signalled = any(verdict[f"{d.name}_signal"] for d in plan.charts if d.kind == "drift")
    way = float(_ways(verdict) if signalled else verdict["residual"])
    return Excursion(
        channel=change.channel,
        since=change.since,
        sign=1 if way > 0.0 else -1,
        severity=change.level,
        place=(name, facts.channel),
    )


def happen_in_order(plan: Plan, changes: Iterable[Change], columns: Columns, judgement: Judgement) -> list[Happening]:
    """Return what changes in the order of event time do to alarms, common modes seen: of all there is, at once."""
    standing: OpenAlarms = {}
    excursions: dict[int, Excursion] = {}
    turns: list[Turn] = []
    out: list[Happening] = []
    for change in changes:
        out += _turned(plan, turns, change.time, excursions, standing)
        happened = happen(plan, [change], columns, judgement, standing)
        if change.kind is AlarmKind.DRIFT:
            before = excursions.pop(change.channel, None)
            if change.transition is Transition.RAISED and change.row >= 0:
                check = int(np.searchsorted(judgement.check_row, change.row))
                begun = excursion_at(plan, change, columns, judgement.verdicts[check])
                if begun is not None:
                    excursions[change.channel] = begun
                    turns += _turns(plan, change, columns, judgement, check)
                    heapify(turns)
            elif change.transition is not Transition.CLEARED and before is not None:
                excursions[change.channel] = before
            if before is not None or change.channel in excursions:
                happened = settle_common(plan, excursions.values(), standing, happened, change.time)
        out += happened
    return [*out, *_turned(plan, turns, inf, excursions, standing)]


def _turned(
    plan: Plan, turns: list[Turn], until: float, excursions: dict[int, Excursion], standing: OpenAlarms
) -> list[Happening]:
    """Return what becomes of common modes by the turns before a moment (ns), which are taken out of the heap."""
    out: list[Happening] = []
    while turns and turns[0][0] < until:
        at, channel, since, sign = heappop(turns)
        if channel in excursions and excursions[channel].since == since:
            excursions[channel] = replace(excursions[channel], sign=sign)
            out += settle_common(plan, excursions.values(), standing, [], at)
    return out


Turn = tuple[int, int, int, int]
"""(time, channel, since when its `drift` stands, which way it goes from then on): times in ns."""


def _turns(plan: Plan, change: Change, columns: Columns, judgement: Judgement, check: int) -> Iterator[Turn]:
    """Yield where charts turn the way of an excursion that they signalled: its alarm may stand when the shift comes."""
    if not any(judgement.verdicts[check][f"{d.name}_signal"] for d in plan.charts if d.kind == "drift"):
        return
    end = int(np.searchsorted(columns.channel[judgement.check_row], change.channel, side="right"))
    later = judgement.verdicts[check:end]
    ways = _ways(later)
    charted = np.flatnonzero(~np.isnan(ways))
    up = ways[charted] > 0.0
    for n in np.flatnonzero(up[1:] != up[:-1]).tolist():
        time = int(columns.time[judgement.check_row[check + charted[n + 1]]])
        yield time, change.channel, change.since, 1 if up[n + 1] else -1


_OF_STATE = ("cusum_upper", "cusum_lower", "ewma_value", "self_starting_upper", "self_starting_lower")
_CHARTED = ("cusum_upper", "cusum_lower", "ewma_statistic")
_EARLY = ("self_starting_upper", "self_starting_lower")


def _ways(verdicts: Any) -> Any:
    """Return which way checks go; NaN where none of these charts says anything."""
    early = [verdicts[name] for name in _EARLY if name in verdicts.dtype.names]
    return _way(*(verdicts[name] for name in _CHARTED), *early)


@np.errstate(invalid="ignore")
def _way(upper: Any, lower: Any, ewma: Any, early_upper: Any = 0.0, early_lower: Any = 0.0) -> Any:
    """Return which way checks go: up if above 0. By CUSUM, which an end of the shift only wears off; at 0 by EWMA.

    While these have nothing to say, by the chart that starts by itself.
    """
    way = np.where(upper != lower, upper - lower, ewma)
    early = early_upper - early_lower
    return np.where((np.isnan(way) | (way == 0.0)) & (np.abs(early) > 0.0), early, way)


def _common(plan: Plan, excursions: Iterable[Excursion]) -> Common | None:
    """Return what these excursions at one place have in common, the earliest if there are two ways."""
    found = []
    for sign in (1, -1):
        alike = sorted((e for e in excursions if e.sign == sign), key=lambda e: (e.since, plan.facts[e.channel].device))
        for i, first in enumerate(alike):
            near = [e for e in alike[i:] if e.since - first.since <= TOGETHER_NS]
            devices: dict[str, Excursion] = {}
            for e in near:
                devices.setdefault(plan.facts[e.channel].device, e)
            if len(devices) >= FEWEST:
                since = list(devices.values())[FEWEST - 1].since
                members = tuple(e for e in alike[i:] if e.since - since <= TOGETHER_NS)
                found.append(Common(since=since, members=members))
                break
    return min(found, key=lambda c: c.since, default=None)


def settle_common(
    plan: Plan,
    excursions: Iterable[Excursion],
    standing: MutableMapping[tuple[str, str, AlarmKind], Alarm],
    happened: list[Happening],
    at: int,
    *,
    amended: bool = False,
) -> list[Happening]:
    """Return `happened` as it is with common modes seen, and move `standing` along.

    `excursions`: all that stand now; `standing`: the open alarms, `happened` what has just become of them; `at` (ns)
    is the event time by which it is so. `amended`: by late readings or other rules.
    """
    places: dict[Place, list[Excursion]] = {}
    for e in excursions:
        places.setdefault(e.place, []).append(e)
    for device, channel, kind in list(standing):
        if kind is AlarmKind.STANDARD:
            places.setdefault((device, channel), [])
    out = happened
    for place in sorted(places):
        out = _settle_place(plan, place, places[place], standing, out, at, amended=amended)
    return out


def _settle_place(
    plan: Plan,
    place: Place,
    excursions: list[Excursion],
    standing: MutableMapping[tuple[str, str, AlarmKind], Alarm],
    happened: list[Happening],
    at: int,
    *,
    amended: bool,
) -> list[Happening]:
    key = (*place, AlarmKind.STANDARD)
    common, alarm = _common(plan, excursions), standing.get(key)
    out = list(happened)
    stood = alarm is not None
    if common is None:
        if alarm is None:
            return out
        reason = "amended" if amended else "back to normal"
        gone = move(alarm, Transition.CLEARED, alarm.severity, max(at, alarm.raised_at), reason)
        del standing[key]
        return [*out, gone, *_raise_again(plan, excursions, standing, at)]
    if alarm is not None and (common.since < alarm.raised_at or (amended and common.since != alarm.raised_at)):
        out.append(move(alarm, Transition.CLEARED, alarm.severity, max(at, alarm.raised_at), "amended"))
        alarm = None
    if alarm is None:
        alarm = standing[key] = _standard_alarm(plan, place, common)
        out.append(Happening(time=common.since, transition=Transition.RAISED, alarm=alarm))
    for member in common.members:
        out = _suppress(plan, member, alarm, standing, out, stood=stood)
    return out


def _suppress(
    plan: Plan,
    member: Excursion,
    standard: Alarm,
    standing: MutableMapping[tuple[str, str, AlarmKind], Alarm],
    happened: list[Happening],
    *,
    stood: bool,
) -> list[Happening]:
    """Clear the device's own alarm, or take back one that is being raised just now, after the standard's.

    `stood`: the standard's alarm is not of this moment.
    """
    facts = plan.facts[member.channel]
    alarm = standing.pop((facts.device, facts.channel, AlarmKind.DRIFT), None)
    if alarm is None:
        return happened
    just_raised = any(h.alarm.id == alarm.id and h.transition is Transition.RAISED for h in happened)
    if just_raised and (stood or alarm.raised_at >= standard.raised_at):
        return [h for h in happened if h.alarm.id != alarm.id]
    linked = replace(alarm, evidence={**alarm.evidence, "common_mode": standard.id})
    moment = max(standard.raised_at, alarm.raised_at)
    return [*happened, move(linked, Transition.CLEARED, alarm.severity, moment, REASON)]


def _raise_again(
    plan: Plan,
    excursions: Iterable[Excursion],
    standing: MutableMapping[tuple[str, str, AlarmKind], Alarm],
    at: int,
) -> list[Happening]:
    """Return the alarms of devices that are still off though their standard no longer is."""
    out = []
    for e in excursions:
        facts = plan.facts[e.channel]
        key = (facts.device, facts.channel, AlarmKind.DRIFT)
        if key in standing:
            continue
        alarm = Alarm(
            id=alarm_id(*key, at),
            site=facts.site,
            device=facts.device,
            channel=facts.channel,
            kind=AlarmKind.DRIFT,
            severity=Severity(e.severity),
            raised_at=at,
            changed_at=at,
            evidence={"since": format_instant(e.since), "standard": e.place[0]},
            text=f"{facts.device} {facts.channel}: the error has changed, and not that of its standard's other devices",
        )
        standing[key] = alarm
        out.append(Happening(time=at, transition=Transition.RAISED, alarm=alarm))
    return out


def _standard_alarm(plan: Plan, place: Place, common: Common) -> Alarm:
    name, channel = place
    risen = [e for e in common.members if e.since <= common.since]
    devices = sorted({plan.facts[e.channel].device for e in risen})
    sign = common.members[0].sign
    own = plan.index.get(place)
    site = plan.facts[common.members[0].channel if own is None else own].site
    onset = min(e.since for e in risen)
    return Alarm(
        id=alarm_id(name, channel, AlarmKind.STANDARD, common.since),
        site=site,
        device=name,
        channel=channel,
        kind=AlarmKind.STANDARD,
        severity=Severity.MAJOR,
        raised_at=common.since,
        changed_at=common.since,
        evidence={
            "standard": name,
            "devices": devices,
            "direction": "up" if sign > 0 else "down",
            "first_signal": format_instant(onset),
            "suppressed": [
                alarm_id(plan.facts[e.channel].device, plan.facts[e.channel].channel, AlarmKind.DRIFT, e.since)
                for e in risen
            ],
        },
        text=(
            f"{name} {channel}: {len(devices)} devices checked against it have shifted "
            f"{'up' if sign > 0 else 'down'} together since {format_instant(onset)}: {', '.join(devices)}"
        ),
    )
