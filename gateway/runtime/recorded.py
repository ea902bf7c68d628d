"""Recorded readings judged at once, in event time, beside any ledger: what `replay` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gateway
from gateway.alarms.conditions import AlarmKind, Severity, Transition
from gateway.alarms.life import Happening
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Reading, Refusal
from gateway.pipeline.columns import Columns
from gateway.pipeline.happenings import OpenAlarms, happen
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.records import Context, context_of, verdict_lines
from gateway.pipeline.standing import device_drift, last_channel
from gateway.pipeline.state import States, fresh
from gateway.pipeline.watch import Change, silent_since

__all__ = ["Replay", "late_in_file", "replay", "summary", "verdict_stream"]

CHUNK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What recorded readings turned out to be."""

    columns: Columns
    judgement: Judgement
    states: States
    happenings: list[Happening]
    refused: list[Refusal]
    received: int
    duplicates: int
    late: int


def replay(plan: Plan, readings: Sequence[Reading], unreadable: Sequence[Refusal] = ()) -> Replay:
    """Judge recorded readings, sorted, as if they were all there is. Time ends with the last of them."""
    seen = fresh_seen(len(plan))
    settled = settle(receive(plan, seen, readings, None), seen, [], None)
    columns = settled.columns
    channels = np.unique(columns.channel)
    judgement = judge(plan, fresh(len(channels)), columns)
    states = fresh(len(plan))
    states[judgement.channels] = judgement.states
    changes = list(judgement.changes)
    if len(columns):
        changes += _silent_at(plan, states, int(columns.time.max()))
    changes.sort(key=lambda c: (c.time, plan.facts[c.channel].device, plan.facts[c.channel].channel))
    standing: OpenAlarms = {}
    return Replay(
        columns=columns,
        judgement=judgement,
        states=states,
        happenings=happen(plan, changes, columns, judgement, standing),
        refused=[*unreadable, *settled.refused],
        received=len(readings) + len(unreadable),
        duplicates=settled.duplicates,
        late=late_in_file(readings),
    )


def _silent_at(plan: Plan, states: States, end: int) -> list[Change]:
    silent = silent_since(plan, states, end)
    changes = []
    for channel in silent.tolist():
        since = int(states["time"][channel]) + int(plan.timeout[channel])
        states["silent_level"][channel], states["silent_since"][channel] = Severity.WARNING, since
        changes.append(
            Change(
                channel=channel,
                kind=AlarmKind.SILENT,
                transition=Transition.RAISED,
                level=Severity.WARNING,
                time=since,
                since=since,
                row=-1,
            )
        )
    return changes


def late_in_file(readings: Sequence[Reading]) -> int:
    """Return how many readings stand in the file after a newer one of their channel."""
    newest: dict[tuple[str, str], int] = {}
    late = 0
    for r in readings:
        key = (r.device, r.channel)
        before = newest.get(key)
        if before is None or r.time > before:
            newest[key] = r.time
        elif r.time < before:
            late += 1
    return late


def verdict_stream(plan: Plan, result: Replay) -> Iterator[tuple[int, list[bytes]]]:
    """Yield verdict lines in time order, some thousands at a time, with how many."""
    verdicts, rows = result.judgement.verdicts, result.judgement.check_row
    order = np.lexsort((rows, result.columns.time[rows]))
    contexts: dict[int, Context] = {}
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        readings = result.columns.take(rows[part])
        chosen = verdicts[part]
        pairs = zip(readings.channel.tolist(), chosen["epoch"].tolist(), strict=True)
        named = [_context(plan, contexts, channel, epoch) for channel, epoch in pairs]
        lines = [line for _, line in verdict_lines(readings, chosen, named)]
        yield len(lines), lines


def _context(plan: Plan, known: dict[int, Context], channel: int, epoch: int) -> Context:
    if epoch not in known:
        known[epoch] = context_of(plan, channel, epoch, gateway.__version__)
    return known[epoch]


def summary(plan: Plan, result: Replay, elapsed_s: float) -> dict[str, object]:
    """Return `summary.json` (CONTRACTS §5)."""
    raised = Counter(h.alarm.kind.value for h in result.happenings if h.transition is Transition.RAISED)
    stored = len(result.columns)
    return {
        "readings": {
            "received": result.received,
            "stored": stored,
            "duplicate": result.duplicates,
            "quarantined": len(result.refused),
            "late": result.late,
        },
        "quarantine": dict(sorted(Counter(r.reason.value for r in result.refused).items())),
        "checks": len(result.judgement.verdicts),
        "alarms": dict(sorted(raised.items())),
        "devices": _devices(plan, result),
        "elapsed_s": round(elapsed_s, 3),
        "readings_per_s": round(result.received / elapsed_s) if elapsed_s > 0 else None,
    }


def _devices(plan: Plan, result: Replay) -> dict[str, object]:
    signals = _first_signals(plan, result)
    states = result.states
    found: dict[str, object] = {}
    for device, channels in plan.devices.items():
        last = last_channel(plan, device, states)
        found[device] = {
            "checks": sum(int(states["checks"][c]) for c in channels),
            "last_time": None if last is None else format_instant(int(states["check_time"][last])),
            "last_error": None if last is None else _number(states["error"][last]),
            "margin_percent": None if last is None else _number(states["margin_percent"][last]),
            "drift": device_drift(plan, device, states).value,
            "first_signal": {d.name: signals.get((device, d.name)) for d in plan.charts if d.kind == "drift"},
            "forecast": None,
        }
    return found


def _number(value: Any) -> float | None:
    number = float(value)
    return None if np.isnan(number) else number


def _first_signals(plan: Plan, result: Replay) -> dict[tuple[str, str], str]:
    """Return, per (device, chart), the time of the first check at which the chart signalled."""
    found: dict[tuple[str, str], str] = {}
    verdicts, rows = result.judgement.verdicts, result.judgement.check_row
    for d in plan.charts:
        hits: npt.NDArray[np.int64] = rows[verdicts[f"{d.name}_signal"]]
        times = result.columns.time[hits]
        for i in np.argsort(times, kind="stable").tolist():
            device = plan.facts[int(result.columns.channel[hits[i]])].device
            found.setdefault((device, d.name), format_instant(int(times[i])))
    return found
