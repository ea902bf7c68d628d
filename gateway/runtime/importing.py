"""Recorded readings into the ledger, in event time, slice by slice; repeating it changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gateway.ledger.readings import first_marked
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Reading, Refusal
from gateway.runtime.filed import late_of
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.recorded import devices_of, raised
from gateway.runtime.sparing import process
from gateway.runtime.spool import Spool

__all__ = ["import_recordings"]

SLICE = 20_000


def import_recordings(
    ingest: Ingest,
    spool: Spool,
    unreadable: Sequence[Refusal],
    names: Sequence[str],
    at: int,
    advance: Callable[[int], None],
) -> dict[str, object]:
    """Ingest the readings of all files by time, and return the sums (CONTRACTS §5 summary).

    `source` of readings and of what is `unreadable` is the file's place in `names`. A file is never "late" against
    itself: what stands out of order in it is counted, not flagged.
    """
    total, alarms, late = Done(), Counter[str](), 0
    earliest: dict[tuple[str, str], int] = {}
    if unreadable:
        total = total.plus(_refuse(ingest, unreadable, names, at))
    for readings in spool.by_time():
        for start in range(0, len(readings), SLICE):
            part = readings[start : start + SLICE]
            done = process(ingest, _batch(part, names, at))
            alarms.update(raised(done.happenings))
            if spool.in_order:  # else it takes all places together to tell
                late += late_of(done.places)
                done = replace(done, places=())
            total = total.plus(replace(done, happenings=[]))
            for r in part:  # by time: the first of a channel is its earliest
                earliest.setdefault((r.device, r.channel), r.time)
            advance(len(part))
    return {
        "readings": {
            "received": total.received,
            "stored": total.stored,
            "duplicate": total.duplicate,
            "quarantined": total.quarantined,
            "late": late + late_of(total.places),
        },
        "quarantine": dict(sorted(total.reasons.items())),
        "checks": total.checks,
        "alarms": dict(sorted(alarms.items())),
        "devices": devices_of(ingest.plan, ingest.states, _first_signals(ingest, earliest)),
    }


def _first_signals(ingest: Ingest, earliest: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], str]:
    """Return, per (device, chart), when the chart first signalled since the `earliest` reading of its channel (ns)."""
    plan = ingest.plan
    charts = {f"{d.name}_signal": d.name for d in plan.charts}
    found: dict[tuple[str, str], int] = {}
    for named, time in earliest.items():
        channel = plan.index.get(named)
        if channel is None or not ingest.states["checks"][channel]:
            continue
        device = plan.facts[channel].device
        for name, moment in first_marked(ingest.ledger.connection, int(ingest.ids[channel]), time, charts).items():
            key = (device, charts[name])
            found[key] = min(moment, found.get(key, moment))
    return {key: format_instant(moment) for key, moment in found.items()}


def _batch(part: Sequence[Reading], names: Sequence[str], at: int) -> Batch:
    topics = [f"file:{name}" for name in names]
    return Batch(readings=part, received_at=[at] * len(names), topic=topics, recorded=True)


def _refuse(ingest: Ingest, unreadable: Sequence[Refusal], names: Sequence[str], at: int) -> Done:
    return ingest.process(
        Batch(
            refused=unreadable,
            received_at=[at] * len(names),
            topic=[f"file:{name}" for name in names],
            recorded=True,
        )
    )
