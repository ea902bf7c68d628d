"""The last line of defence: a reading that makes judging fail is set aside, and the others are judged."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from dataclasses import replace

from gateway.metrology.readings import Refusal, Why
from gateway.pipeline.intake import refusal_of
from gateway.runtime.ingest import Batch, Done, Ingest

__all__ = ["process"]

log = logging.getLogger("metergate")


def process(ingest: Ingest, batch: Batch) -> Done:
    """Judge and commit a batch as `Ingest.process` does; what cannot be judged is quarantined with what went wrong.

    Judging is tested to fail on nothing. Should it all the same, a message that comes again at each start must not
    keep a gateway from starting: the batch is halved until the reading is alone. A ledger that fails is raised.
    """
    try:
        return ingest.process(batch)
    except (sqlite3.Error, OSError, MemoryError):
        raise
    except Exception as error:
        if not batch.readings:
            raise
        if len(batch.readings) > 1 and batch.entry is None:
            middle = len(batch.readings) // 2
            first = process(ingest, replace(batch, readings=batch.readings[:middle]))
            return first.plus(process(ingest, replace(batch, readings=batch.readings[middle:], refused=())))
        refusal = _refusal(batch, error)
        log.error("%s %s: %s; please report it", refusal.device, refusal.channel, refusal.detail)
        return ingest.process(replace(batch, readings=(), refused=(*batch.refused, refusal)))


def _refusal(batch: Batch, error: Exception) -> Refusal:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    reason = Why.NOT_FINITE if isinstance(error, ArithmeticError) else Why.WRONG_TYPE
    return refusal_of(batch.readings[0], reason, f"it cannot be judged ({what}, {place})", recorded=batch.recorded)
