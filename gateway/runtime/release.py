"""Approved quarantine entries go through the pipeline again; what they then are, they count as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from collectors import Message
from collectors.files import read_line
from gateway.ledger import quarantine
from gateway.runtime.ingest import Batch, Done, Ingest
from gateway.runtime.sparing import process

__all__ = ["release_approved"]


def release_approved(ingest: Ingest, decode: Callable[[Sequence[Message]], Iterable[Any]], at: int) -> Done | None:
    """Run every approved entry again, each in its own transaction; None if there was none.

    An entry that goes through is released; one that is refused again stays open with the new reason.
    """
    entries = quarantine.entries(ingest.ledger.connection, state="approved")
    total = None
    for entry in entries:
        topic = entry.topic or ""
        recorded = topic.startswith("file:")
        if recorded:
            readings, refused = read_line(entry.payload)
        else:
            (decoded,) = decode([Message(topic=topic, payload=entry.payload, received_at=entry.received_at)])
            readings, refused = decoded.readings, decoded.refused
        done = process(
            ingest,
            Batch(
                readings=readings,
                refused=refused,
                received_at=[entry.received_at],
                topic=[entry.topic],
                payload=[entry.payload],
                at=at,
                entry=entry.id,
                recorded=recorded,
            ),
        )
        total = done if total is None else total.plus(done)
    return total
