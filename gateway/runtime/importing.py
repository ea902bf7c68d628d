"""Recorded readings into the ledger, in event time, slice by slice; repeating it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.metrology.readings import Reading, Refusal
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.recorded import late_in_file

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
    late = sum(late_in_file(some) for some, _ in recordings)
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
            "late": max(late, total.late) if total.stored else 0,
        },
        "checks": total.checks,
    }


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
