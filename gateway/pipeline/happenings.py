"""Changes of conditions -> what happens to alarms, with evidence and a sentence made from codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from gateway.alarms.conditions import RULES, AlarmKind, Severity, Transition
from gateway.alarms.life import Alarm, Happening, alarm_id, move, state_of
from gateway.metrology.instants import format_duration, format_instant
from gateway.pipeline.columns import Columns
from gateway.pipeline.judge import Judgement
from gateway.pipeline.plan import Plan
from gateway.pipeline.records import evidence_class
from gateway.pipeline.watch import Change

__all__ = ["Key", "OpenAlarms", "Past", "event_record", "happen", "reconcile"]

Key = tuple[str, str, AlarmKind]
OpenAlarms = MutableMapping[Key, Alarm]
Recorded = frozenset[tuple[str, str, int]]
_OF_CHECKS = {
    AlarmKind.MPE: "mpe", AlarmKind.DRIFT: "statistic", AlarmKind.NOISY: "statistic", AlarmKind.FORECAST: "rate"
}  # fmt: skip
"""Alarms that only a check can be the evidence of, and what such evidence cannot lack."""


def happen(
    plan: Plan,
    changes: Iterable[Change],
    columns: Columns | None,
    judgement: Judgement | None,
    standing: OpenAlarms,
    recorded: Recorded = frozenset(),
) -> list[Happening]:
    """Return what the changes do to alarms, and move `standing` (the open ones) along.

    `recorded` holds (alarm id, transition, time) of what is known already: judged again, it does not happen again.
    An excursion before the standing alarm was raised, which late data brought to light, is an alarm of its own; of one
    that is known, a moment that has moved is no news.
    """
    out: list[Happening] = []
    before: dict[Key, Alarm] = {}
    for change in changes:
        facts = plan.facts[change.channel]
        key = (facts.device, facts.channel, change.kind)
        name = alarm_id(*key, change.since)
        if (name, change.transition.value, change.time) in recorded:
            continue
        alarm = standing.get(key)
        risen = change.transition is Transition.RAISED
        earlier = before.get(key)
        if alarm is not None and alarm.id != name and (change.time < alarm.raised_at or _is(earlier, name)):
            happening = _earlier(plan, change, name, columns, judgement, earlier)
            if happening is not None:
                out.append(happening)
                before[key] = happening.alarm
            continue
        if (risen and (alarm is None or alarm.id != name)) or (
            change.transition is Transition.ESCALATED and alarm is None
        ):
            if alarm is not None:
                out.append(move(alarm, Transition.CLEARED, alarm.severity, change.time, "amended"))
            happening = _raise(plan, change, name, columns, judgement)
        elif alarm is None:
            continue
        else:
            severity = Severity(change.level) if change.level else alarm.severity
            happening = move(alarm, change.transition, severity, change.time, change.reason or _why(change))
        out.append(happening)
        if happening.transition is Transition.CLEARED:
            standing.pop(key, None)
        else:
            standing[key] = happening.alarm
    return out + [_absorbed(key, alarm, standing) for key, alarm in before.items() if alarm.cleared_at is None]


def _absorbed(key: Key, alarm: Alarm, standing: OpenAlarms) -> Happening:
    """Let an alarm from before the standing one stand, since it lasts; return the end of what was a part of it."""
    stood, standing[key] = standing[key], alarm
    return move(stood, Transition.CLEARED, stood.severity, max(stood.raised_at, alarm.changed_at), "amended")


def _is(alarm: Alarm | None, name: str) -> bool:
    return alarm is not None and alarm.id == name and alarm.cleared_at is None


def _earlier(
    plan: Plan, change: Change, name: str, columns: Columns | None, judgement: Judgement | None, alarm: Alarm | None
) -> Happening | None:
    """Return what happens to an alarm from before the one that stands; None where that is not known as news."""
    if change.transition is Transition.RAISED:
        return _raise(plan, change, name, columns, judgement)
    if alarm is None or not _is(alarm, name):
        return None
    severity = Severity(change.level) if change.level else alarm.severity
    return move(alarm, change.transition, severity, change.time, change.reason or _why(change))


class Past(Protocol):
    """What is recorded of alarms that stand no more."""

    def latest(self, key: Key, /) -> Alarm | None:
        """Return the newest alarm of a condition, closed or not."""
        ...

    def closed_by_hand(self, name: str, /) -> bool:
        """Whether a person closed this alarm."""
        ...


def reconcile(
    plan: Plan,
    states: Mapping[int, Any],
    standing: OpenAlarms,
    *,
    amended: bool,
    past: Past,
    columns: Columns | None = None,
    judgement: Judgement | None = None,
) -> list[Happening]:
    """Return what must happen so that open alarms and conditions agree again; `states`: channel -> its state.

    An alarm whose condition late data undid is cleared as `amended`; a condition that stands without an alarm
    (a person cleared it) raises a new one, dated by the channel's last reading. What a person closed stays closed:
    judged again, it is not raised a second time. `columns` and `judgement`: what was judged just now.
    """
    out: list[Happening] = []
    for channel, state in states.items():
        facts = plan.facts[channel]
        for kind in RULES:
            key = (facts.device, facts.channel, kind)
            alarm, level = standing.get(key), int(state[f"{kind}_level"])
            since, last = int(state[f"{kind}_since"]), int(state["time"])
            moved = amended and alarm is not None and alarm.raised_at != since
            by_hand = amended and level > 0 and (moved or alarm is None) and past.closed_by_hand(alarm_id(*key, since))
            if alarm is not None and (not level or (moved and not by_hand)):
                out.append(move(alarm, Transition.CLEARED, alarm.severity, last, "amended"))
                del standing[key]
                alarm = None
            if not level or alarm is not None:
                continue
            time = since if amended and not by_hand else last
            name = alarm_id(*key, time)
            if past.closed_by_hand(name):
                continue
            change = Change(
                channel=channel, kind=kind, transition=Transition.RAISED, level=level, time=time, since=time, row=-1
            )
            happening = _again(plan, change, name, columns, judgement, past)
            out.append(happening)
            standing[key] = happening.alarm
    return out


def _again(
    plan: Plan, change: Change, name: str, columns: Columns | None, judgement: Judgement | None, past: Past
) -> Happening:
    """Raise an alarm for a condition that has stood for a while: on what was judged last, else on what raised it."""
    if columns is not None and judgement is not None:
        rows = np.flatnonzero((columns.channel == change.channel) & (columns.time <= change.time))
        if change.kind in _OF_CHECKS:
            rows = rows[np.isin(rows, judgement.check_row)]
        if len(rows):
            happening = _raise(plan, replace(change, row=int(rows[-1])), name, columns, judgement)
            if _OF_CHECKS.get(change.kind, "reading") in happening.alarm.evidence:
                return happening
    happening = _raise(plan, change, name, None, None)
    facts = plan.facts[change.channel]
    before = past.latest((facts.device, facts.channel, change.kind))
    if before is None or not before.evidence:
        return happening
    return replace(happening, alarm=replace(happening.alarm, evidence=before.evidence, text=before.text))


def _why(change: Change) -> str | None:
    return "back to normal" if change.transition is Transition.CLEARED else None


def _raise(plan: Plan, change: Change, name: str, columns: Columns | None, judgement: Judgement | None) -> Happening:
    facts = plan.facts[change.channel]
    evidence = dict(change.evidence)
    if columns is not None and judgement is not None and change.row >= 0:
        evidence |= _evidence(plan, change, columns, judgement)
    elif change.kind is AlarmKind.SILENT:
        timeout = int(plan.timeout[change.channel])
        evidence |= {"last_reading": format_instant(change.time - timeout), "timeout": format_duration(timeout)}
    alarm = Alarm(
        id=name,
        site=facts.site,
        device=facts.device,
        channel=facts.channel,
        kind=change.kind,
        severity=Severity(change.level),
        raised_at=change.time,
        changed_at=change.time,
        evidence=evidence,
        text=_text(facts.device, facts.channel, change.kind, evidence) + _unsaid(evidence),
    )
    return Happening(time=change.time, transition=Transition.RAISED, alarm=alarm)


def _evidence(plan: Plan, change: Change, c: Columns, judgement: Judgement) -> dict[str, object]:
    """Return the facts behind a raised alarm, from the reading that raised it."""
    row, facts = change.row, plan.facts[change.channel]
    found: dict[str, object] = {"reading": format_instant(int(c.time[row])), "value": float(c.value[row])}
    if change.kind is AlarmKind.RANGE:
        low, high = float(plan.low[change.channel]), float(plan.high[change.channel])
        if low <= float(c.value[row]) <= high:
            return found | {"register": "went_back", "unit": facts.unit}
        return found | {"range": [low, high], "unit": facts.unit}
    if change.kind is AlarmKind.STUCK:
        return found | {"unit": facts.unit}
    if change.kind is AlarmKind.GAP:
        return found | {"seq": int(c.seq[row]), "boot": c.boot[row]}
    check = int(np.searchsorted(judgement.check_row, row))
    if check == len(judgement.check_row) or judgement.check_row[check] != row:
        return found
    v = judgement.verdicts[check]
    epoch = plan.epochs[int(v["epoch"])]
    found |= {
        "error": _number(v["error"]),
        "error_unit": facts.error_unit,
        "reference": _number(v["reference"]),
        "baseline": epoch.certificate and epoch.certificate.id,
        "standard": c.standard[row] or facts.standard,
        "evidence": evidence_class(int(c.evidence[row]), facts.kind.value, float(v["reference"])),
        "z": _number(v["z"]),
    }
    if change.kind is AlarmKind.MPE:
        found |= {
            "zero_error": _number(v["zero_error"]),
            "mpe": _number(v["mpe"]),
            "U": _number(v["U"]),
            "p_conforming": _number(v["p_conforming"]),
            "margin_percent": _number(v["margin_percent"]),
            "rule_pack": epoch.pack and epoch.pack.reference,
        }
    elif change.kind is not AlarmKind.FORECAST:
        found |= _chart_evidence(plan, change.kind, v)
    return found


def _chart_evidence(plan: Plan, kind: AlarmKind, v: Any) -> dict[str, object]:
    """Return which charts signalled: statistic, limit, onset and size of the one furthest beyond its limit."""
    signalled: list[tuple[float, str, float, float]] = []
    for d in plan.charts:
        if d.kind == kind.value and v[f"{d.name}_signal"]:
            columns = [c for c in ("statistic", "upper", "lower") if f"{d.name}_{c}" in (v.dtype.names or ())]
            statistic = max((float(v[f"{d.name}_{c}"]) for c in columns), key=abs)
            limit = float(v[f"{d.name}_limit"])
            signalled.append((abs(statistic) / limit, d.name, statistic, limit))
    if not signalled:
        return {"detectors": ["en"]}
    _, name, statistic, limit = max(signalled)
    found: dict[str, object] = {
        "detectors": sorted(s[1] for s in signalled),
        "statistic": statistic,
        "limit": limit,
        "chart": name,
    }
    dated = name if f"{name}_onset" in (v.dtype.names or ()) else "cusum"
    if kind is AlarmKind.DRIFT and v[f"{dated}_onset"]:
        found |= {"onset": format_instant(int(v[f"{dated}_onset"])), "size": _number(v[f"{dated}_size"])}
    return found


def _number(value: Any) -> float | None:
    number = float(value)
    return None if np.isnan(number) else number


def _text(  # noqa: PLR0911  one line per kind reads best
    device: str, channel: str, kind: AlarmKind, e: Mapping[str, object]
) -> str:
    """Return one English sentence made from the evidence."""
    place = f"{device} {channel}"
    if kind is AlarmKind.SILENT:
        return f"{place}: no reading since {e.get('last_reading')}, expected within {e.get('timeout')}"
    if kind is AlarmKind.STUCK:
        return f"{place}: the value {_short(e.get('value'))} {e.get('unit', '')} does not change"
    if kind is AlarmKind.RANGE and e.get("register"):
        return f"{place}: the register went back to {_short(e.get('value'))} {e.get('unit', '')}"
    if kind is AlarmKind.RANGE:
        return f"{place}: {_short(e.get('value'))} {e.get('unit', '')} is outside the range {e.get('range')}"
    if kind is AlarmKind.GAP:
        return f"{place}: readings are missing before seq {e.get('seq')}"
    if kind is AlarmKind.MPE:
        unit = e.get("error_unit", "")
        error, zero = e.get("error"), e.get("zero_error")
        judged = f"error {_short(error)} {unit}"
        if isinstance(error, float) and isinstance(zero, float) and zero:
            judged = f"error {_short(error - zero)} {unit} (zero error {_short(zero)} {unit} taken off)"
        return (
            f"{place}: {judged} against MPE {_short(e.get('mpe'))} {unit}, "
            f"conforming with probability {_short(e.get('p_conforming'))}"
        )
    if kind is AlarmKind.FORECAST:
        rate = _short(e.get("rate"))
        when = str(e.get("crosses_at"))[:10]
        return f"{place}: the error moves by {rate} MPE a month and leaves the limits about {when}"
    if "statistic" not in e:
        return f"{place}: differs from its certificate ({kind})"
    what = "spread" if kind is AlarmKind.NOISY else "error"
    since = f", since about {e['onset']}, size {_short(e.get('size'))} sigma" if e.get("onset") else ""
    return f"{place}: {what} has changed: {e['chart']} {_beyond(e)}{since}"


def _unsaid(e: Mapping[str, object]) -> str:
    """Return what zero checks do not say, where zero tracking is suspected."""
    told = e.get("zero_tracking")
    n = told.get("zero_checks") if isinstance(told, Mapping) else None
    return f"; all {n} zero checks read 0 and tell nothing (zero tracking suspected)" if n else ""


def _beyond(e: Mapping[str, object]) -> str:
    """Return how a chart signals: its statistic beyond the limit, or the rules of a Shewhart chart within it."""
    statistic, limit, rules = e["statistic"], e["limit"], e.get("rules")
    inside = isinstance(statistic, float) and isinstance(limit, float) and abs(statistic) <= limit
    if inside and isinstance(rules, list):
        return f"{_short(statistic)} by rule {' and '.join(map(str, rules))}"
    return f"{_short(statistic)} beyond {_short(limit)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "unknown"


def event_record(h: Happening) -> dict[str, object]:
    """Return the alarm event of CONTRACTS §5."""
    alarm = h.alarm
    return {
        "time": format_instant(h.time),
        "alarm": alarm.id,
        "site": alarm.site,
        "device": alarm.device,
        "channel": alarm.channel,
        "kind": alarm.kind.value,
        "transition": h.transition.value,
        "state": state_of(alarm, h.time).value,
        "severity": alarm.severity.text,
        "evidence": dict(alarm.evidence),
        "reason": h.reason,
        "by": h.by,
        "until": None if h.until is None else format_instant(h.until),
        "text": alarm.text,
    }
