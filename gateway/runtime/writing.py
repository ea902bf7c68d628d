"""How readings and their verdicts are written: packed, each with its context, superseded and never overwritten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt

import gateway
from gateway.ledger import readings, states
from gateway.ledger.moments import Unplaced
from gateway.metrology.readings import Quality
from gateway.pipeline.columns import Columns, Ints, runs
from gateway.pipeline.judge import Judgement, verdict_dtype
from gateway.pipeline.plan import Plan
from gateway.pipeline.records import Context, context_of, verdict_lines

__all__ = ["Writer"]

SOME_AMENDMENTS = 500
"""So many superseding verdicts are written at once."""


class Writer:
    """Writes what a plan has judged; `ids`: the ledger's ids of its channels."""

    def __init__(self, connection: sqlite3.Connection, plan: Plan, ids: Ints) -> None:
        self._plan, self._ids = plan, ids
        self._layouts = [
            readings.layout_id(connection, verdict_dtype(optional=some)) for some in (False, True)[: plan.optional + 1]
        ]
        self._contexts = np.zeros(len(plan.epochs), np.int64)
        self._written: list[Unplaced] = []

    def forget(self) -> None:
        """Forget what a transaction wrote that was undone, and ask the ledger for contexts again."""
        self._contexts[:] = 0
        self._written = []

    def written(self) -> list[Unplaced]:
        """Return the readings written since this was asked last, which are not placed."""
        found, self._written = self._written, []
        return found

    def _context(self, connection: sqlite3.Connection, channel: int, epoch: int) -> int:
        layout = self._layouts[int(self._plan.extra[channel])]
        document = context_of(self._plan, channel, epoch, gateway.__version__, layout)
        return states.context_ids(connection, [msgspec.json.encode(document).decode()])[0]

    def _packed(
        self, connection: sqlite3.Connection, columns: Columns, judgement: Judgement
    ) -> tuple[Sequence[int | None], Sequence[bytes | memoryview | None]]:
        """Return context and packed verdict per reading (None: no check).

        Those of channels without optional charts end before the columns of these, so that their bytes hang on no other
        channel.
        """
        view = memoryview(judgement.verdicts.tobytes())
        width = judgement.verdicts.dtype.itemsize
        epochs = judgement.verdicts["epoch"]
        distinct, first, _ = runs(epochs)
        for i in first[self._contexts[distinct] == 0].tolist():
            channel, epoch = int(columns.channel[judgement.check_row[i]]), int(epochs[i])
            self._contexts[epoch] = self._context(connection, channel, epoch)
        numbers = self._contexts[epochs].tolist()
        if self._plan.optional:
            narrow = verdict_dtype().itemsize
            sizes = np.where(self._plan.extra[columns.channel[judgement.check_row]], width, narrow).tolist()
            cut = [view[start : start + size] for start, size in zip(range(0, len(view), width), sizes, strict=True)]
        else:
            cut = [view[start : start + width] for start in range(0, len(view), width)]
        if len(cut) == len(columns):
            return numbers, cut
        context: list[int | None] = [None] * len(columns)
        packed: list[bytes | memoryview | None] = [None] * len(columns)
        for row, number, verdict in zip(judgement.check_row.tolist(), numbers, cut, strict=True):
            context[row], packed[row] = number, verdict
        return context, packed

    def write(
        self,
        connection: sqlite3.Connection,
        columns: Columns,
        judgement: Judgement,
        received_at: Ints,
        late: Ints,
    ) -> None:
        """Write readings with their verdicts. `late`: 0, 1, or `readings.BEYOND`; times in ns."""
        context, packed = self._packed(connection, columns, judgement)
        quality = np.zeros(len(columns), np.int8)
        quality[columns.clock] = Quality.CLOCK
        quality[late > 0] = Quality.LATE
        quality[columns.stable == 0] = Quality.UNSTABLE
        quality[judgement.out_of_range] = Quality.OUT_OF_RANGE
        channel = self._ids[columns.channel]
        ids = readings.add_readings(connection, columns, channel, received_at, late, quality, context, packed)
        numbered = bool((columns.seq >= 0).any())
        self._written.append(Unplaced(channel=channel, time=columns.time, reading=ids, numbered=numbered))

    def write_part(
        self,
        connection: sqlite3.Connection,
        columns: Columns,
        judgement: Judgement,
        rows: Ints,
        late: npt.NDArray[np.bool_],
        received_at: Ints,
    ) -> None:
        """Write only the new readings of a stretch judged again."""
        chosen = np.zeros(len(columns), np.bool_)
        chosen[rows] = True
        checks = chosen[judgement.check_row]
        new_row = np.cumsum(chosen) - 1
        was_late = np.zeros(len(columns), np.int64)
        was_late[rows] = late
        at = np.zeros(len(columns), np.int64)
        at[rows] = received_at
        part = replace(
            judgement,
            verdicts=judgement.verdicts.compress(checks),
            check_row=new_row[judgement.check_row[checks]],
            out_of_range=judgement.out_of_range[chosen],
        )
        self.write(connection, columns.take(chosen), part, at[chosen], was_late[chosen])

    def supersede(
        self,
        connection: sqlite3.Connection,
        columns: Columns,
        judgement: Judgement,
        old: readings.Stored,
        rows: Ints,
        at: int,
        progress: Callable[[], None],
    ) -> None:
        """Add superseding verdicts for stored checks that are now judged otherwise; `progress` is told now and then."""
        context, packed = self._packed(connection, columns, judgement)
        amendments = []
        for i, row in enumerate(rows.tolist()):
            now, was = packed[row], old.verdict[i]
            if now is None or was is None:
                continue
            if _same(bytes(now), was) and context[row] == old.context[i]:
                continue
            name = self._verdict_name(connection, old.columns.take([i]), was, old.context[i])
            amendments.append((old.ids[i], old.version[i] + 1, context[row] or 0, bytes(now), name, at))
            if len(amendments) == SOME_AMENDMENTS:
                readings.add_amendments(connection, amendments)
                amendments = []
                progress()
        readings.add_amendments(connection, amendments)

    def _verdict_name(
        self, connection: sqlite3.Connection, reading: Columns, verdict: bytes, context: int | None
    ) -> str:
        document = connection.execute("SELECT document FROM context WHERE id = ?", (context,)).fetchone()[0]
        decoded = msgspec.json.decode(document, type=Context)
        dtype = readings.layout(connection, decoded.layout)
        return next(verdict_lines(reading, np.frombuffer(verdict, dtype), [decoded]))[0]


def _same(now: bytes, was: bytes) -> bool:
    """Compare packed verdicts but for the place of the epoch, which belongs to the plan and not to the verdict."""
    layout = next((d for d in (verdict_dtype(), verdict_dtype(optional=True)) if d.itemsize == len(now)), None)
    if layout is None or len(now) != len(was):
        return False
    a, b = np.frombuffer(now, layout).copy(), np.frombuffer(was, layout).copy()
    a["epoch"] = b["epoch"] = 0
    return a.tobytes() == b.tobytes()
