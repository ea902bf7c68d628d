"""A `seq` that counts a whole device: what is missing before each reading, of a batch and of what is stored."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np

from gateway.ledger.readings import Stored, numbered
from gateway.pipeline.columns import Columns, Ints
from gateway.pipeline.counting import Numbered, missing_before
from gateway.pipeline.intake import Settled
from gateway.pipeline.plan import Plan

__all__ = ["DeviceCounts"]


class DeviceCounts:
    """The counts of the devices of one batch, beside the ledger that does not hold the batch yet.

    `shifted`: channel -> from when (ns) on stored readings of it have more or less missing before them than before the
    batch that was `counted`.
    """

    def __init__(self, connection: sqlite3.Connection, plan: Plan, ids: Ints) -> None:
        self._connection, self._plan, self._ids = connection, plan, ids
        self._fresh: dict[str, list[Numbered]] = {}
        self.shifted: dict[int, int] = {}

    def counted(self, settled: Settled) -> Columns:
        """Return the batch's readings with what is missing before each."""
        new, facts = settled.columns, self._plan.facts
        marked = np.flatnonzero(new.seq_per_device & ~settled.beyond).tolist()
        if not marked:
            return new
        for i in marked:
            f = facts[int(new.channel[i])]
            row = (int(new.time[i]), new.boot[i] or "", int(new.seq[i]), f.channel, -1 - i)
            self._fresh.setdefault(f.device, []).append(row)
        missing = new.missing.copy()
        for device, rows in self._fresh.items():
            before, stored = numbered(self._connection, self._names(device), min(rows)[0] - 1)
            was, now = missing_before(stored, before), missing_before([*stored, *rows], before)
            for row in rows:
                missing[-1 - row[4]] = now.get(row[4], 0)
            for time, _, _, name, key in stored:
                if was.get(key, 0) != now.get(key, 0):
                    channel = self._plan.index[device, name]
                    self.shifted[channel] = min(time, self.shifted.get(channel, time))
        return replace(new, missing=missing)

    def _names(self, device: str) -> dict[int, str]:
        return {int(self._ids[c]): self._plan.facts[c].channel for c in self._plan.devices[device]}

    def filled(self, stored: Stored, channel: int, after: int, until: int = 2**63 - 1) -> Stored:
        """Return the channel's stored readings, later than `after` up to `until` (ns), with what is missing before."""
        if not stored.columns.seq_per_device.any():
            return stored
        device = self._plan.facts[channel].device
        before, later = numbered(self._connection, self._names(device), after, until)
        now = missing_before([*later, *self._fresh.get(device, ())], before)
        missing = np.array([now.get(i, 0) for i in stored.ids], np.int64)
        return replace(stored, columns=replace(stored.columns, missing=missing))
