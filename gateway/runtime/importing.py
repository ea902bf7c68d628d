"""Recorded readings into the ledger, in event time, slice by slice; repeating it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.ledger.readings import first_marked
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Reading, Refusal
from gateway.runtime.filed import late_of
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.recorded import devices_of, raised

__all__ = ["import_recordings"]

SLICE = 20_000


def import_recordings(
    ingest: Ingest,
    recordings: Sequence[tuple[list[Reading], list[Refusal]]],
    names: Sequence[str],
    at: int,
    advance: Callable[[int], None],
) -> dict[str, object]:
    """Sort all readings of all files by time, ingest them, and return the sums (CONTRACTS §5 summary).

    A file is never "late" against itself: what stands out of order in it is counted, not flagged.
    """
    readings = [
        r if i == 0 else msgspec.structs.replace(r, source=i) for i, (some, _) in enumerate(recordings) for r in some
    ]
    order = sorted(range(len(readings)), key=lambda i: readings[i].time)
    total = Done()
    unreadable = [(i, u) for i, (_, some) in enumerate(recordings) for u in some]
    if unreadable:
        total = total.plus(_refuse(ingest, unreadable, names, at))
    for start in range(0, len(order), SLICE):
        part = [readings[i] for i in order[start : start + SLICE]]
        done = ingest.process(_batch(part, names, at))
        total = total.plus(done)
        advance(len(part))
    return {
        "readings": {
            "received": total.received,
            "stored": total.stored,
            "duplicate": total.duplicate,
            "quarantined": total.quarantined,
            "late": late_of(total.places),
        },
        "quarantine": dict(sorted(total.reasons.items())),
        "checks": total.checks,
        "alarms": raised(total.happenings),
        "devices": devices_of(ingest.plan, ingest.states, _first_signals(ingest, readings)),
    }


def _first_signals(ingest: Ingest, given: Sequence[Reading]) -> dict[tuple[str, str], str]:
    """Return, per (device, chart), when the chart first signalled since the first of these readings of its channel."""
    plan, earliest = ingest.plan, dict[int, int]()
    for r in given:
        channel = plan.index.get((r.device, r.channel))
        if channel is not None:
            earliest[channel] = min(r.time, earliest.get(channel, r.time))
    charts = {f"{d.name}_signal": d.name for d in plan.charts}
    found: dict[tuple[str, str], int] = {}
    for channel, time in earliest.items():
        if not ingest.states["checks"][channel]:
            continue
        device = plan.facts[channel].device
        for name, moment in first_marked(ingest.ledger.connection, int(ingest.ids[channel]), time, charts).items():
            key = (device, charts[name])
            found[key] = min(moment, found.get(key, moment))
    return {key: format_instant(moment) for key, moment in found.items()}


def _batch(part: Sequence[Reading], names: Sequence[str], at: int) -> Batch:
    topics = [f"file:{name}" for name in names]
    return Batch(readings=part, received_at=[at] * len(names), topic=topics, recorded=True)


def _refuse(ingest: Ingest, unreadable: Sequence[tuple[int, Refusal]], names: Sequence[str], at: int) -> Done:
    return ingest.process(
        Batch(
            refused=[msgspec.structs.replace(u, source=i) for i, u in unreadable],
            received_at=[at] * len(names),
            topic=[f"file:{name}" for name in names],
            recorded=True,
        )
    )
