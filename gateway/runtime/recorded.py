"""Recorded readings judged at once, in event time, beside any ledger: what `replay` does."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import gateway
from gateway.alarms.conditions import AlarmKind, Severity, Transition
from gateway.alarms.life import Happening
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Reading, Refusal
from gateway.pipeline.columns import Columns, Ints
from gateway.pipeline.common import happen_in_order
from gateway.pipeline.forecasting import device_forecast
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.records import Context, context_of, in_contract_order, verdict_lines
from gateway.pipeline.standing import device_drift, last_channel
from gateway.pipeline.state import States, fresh
from gateway.pipeline.watch import Change, silent_since
from gateway.runtime.filed import out_of_order

__all__ = ["Replay", "devices_of", "raised", "replay", "summary", "verdict_lines_of", "write_verdicts"]

CHUNK = 1000
WORTH_FORKING = 50_000
"""From so many checks on, a process per core writes verdicts: making the lines is two thirds of a replay."""


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
    states.put(judgement.channels, judgement.states)
    changes = list(judgement.changes)
    if len(columns):
        changes += _silent_at(plan, states, int(columns.time.max()))
    changes.sort(key=lambda c: (c.time, plan.facts[c.channel].device, plan.facts[c.channel].channel))
    return Replay(
        columns=columns,
        judgement=judgement,
        states=states,
        happenings=happen_in_order(plan, changes, columns, judgement),
        refused=[*unreadable, *settled.refused],
        received=len(readings) + len(unreadable),
        duplicates=settled.duplicates,
        late=int(out_of_order(columns.channel, columns.time, settled.arrival).sum()),
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


def verdict_lines_of(plan: Plan, result: Replay, rows: Ints) -> Iterator[list[bytes]]:
    """Yield the verdict lines of these checks, in this order, some at a time."""
    verdicts, readings = result.judgement.verdicts, result.judgement.check_row
    contexts: dict[int, Context] = {}
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        columns = result.columns.take(readings[part])
        chosen = verdicts[part]
        pairs = zip(columns.channel.tolist(), chosen["epoch"].tolist(), strict=True)
        named = [_context(plan, contexts, channel, epoch) for channel, epoch in pairs]
        yield [line for _, line in verdict_lines(columns, chosen, named)]


def write_verdicts(plan: Plan, result: Replay, path: Path, advance: Callable[[int], None]) -> None:
    """Write `verdicts.ndjson` in time order. A long file is written by a process per core, each its stretch."""
    readings = result.judgement.check_row
    order = np.lexsort((readings, result.columns.time[readings]))
    workers = min(os.cpu_count() or 1, 8) if len(order) >= WORTH_FORKING else 1
    parts = np.array_split(order, workers)
    others = [(path.with_name(f".{path.name}.{n}"), part) for n, part in enumerate(parts[1:], start=1)]
    fork = multiprocessing.get_context("fork")
    helpers = [fork.Process(target=_write_part, args=(plan, result, part, place)) for place, part in others]
    for helper in helpers:
        helper.start()
    try:
        _write_part(plan, result, parts[0], path, advance)
        with path.open("ab") as target:
            for helper, (place, part) in zip(helpers, others, strict=True):
                helper.join()
                if helper.exitcode:
                    raise OSError(f"writing {path} failed in a helper process")
                with place.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
                advance(len(part))
    finally:
        for helper, (place, _) in zip(helpers, others, strict=True):
            helper.kill()
            place.unlink(missing_ok=True)


def _write_part(
    plan: Plan, result: Replay, rows: Ints, path: Path, advance: Callable[[int], None] = lambda _n: None
) -> None:
    with path.open("wb") as target:
        for lines in verdict_lines_of(plan, result, rows):
            target.write(b"\n".join(lines) + b"\n")
            advance(len(lines))


def _context(plan: Plan, known: dict[int, Context], channel: int, epoch: int) -> Context:
    if epoch not in known:
        known[epoch] = context_of(plan, channel, epoch, gateway.__version__)
    return known[epoch]


def summary(plan: Plan, result: Replay, elapsed_s: float) -> dict[str, object]:
    """Return `summary.json` (CONTRACTS §5)."""
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
        "alarms": raised(result.happenings),
        "devices": devices_of(plan, result.states, _first_signals(plan, result)),
        "elapsed_s": round(elapsed_s, 3),
        "readings_per_s": round(result.received / elapsed_s) if elapsed_s > 0 else None,
    }


def raised(happenings: Iterable[Happening]) -> dict[str, int]:
    """Return how many alarms were raised, by kind."""
    return dict(sorted(Counter(h.alarm.kind.value for h in happenings if h.transition is Transition.RAISED).items()))


def devices_of(plan: Plan, states: States, signals: Mapping[tuple[str, str], str]) -> dict[str, object]:
    """Return the summary's `devices`; `signals`: (device, chart) -> the time of its first signal."""
    usual = [d.name for d in plan.charts if d.kind == "drift" and not d.optional]
    more = [d.name for d in plan.charts if d.optional]
    found: dict[str, object] = {}
    for device, channels in plan.devices.items():
        last = last_channel(plan, device, states)
        charts = in_contract_order([*usual, *more] if plan.extra[list(channels)].any() else usual)
        found[device] = {
            "checks": sum(int(states["checks"][c]) for c in channels),
            "last_time": None if last is None else format_instant(int(states["check_time"][last])),
            "last_error": None if last is None else _number(states["error"][last]),
            "margin_percent": None if last is None else _number(states["margin_percent"][last]),
            "drift": device_drift(plan, device, states).value,
            "first_signal": {name: signals.get((device, name)) for name in charts},
            "forecast": device_forecast(plan, device, states),
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
