"""Recorded readings set down in the order of their files and given back by time, however many they are.

A few stay in memory. More go to a file without a name that ends with the process, as marshalled columns some thousand
readings long: of all of them only the times are held, and on the way back as many readings as are asked for together.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from gateway.metrology.readings import Reading, Readings
from gateway.pipeline.columns import Ints

__all__ = ["Spool"]

FEW = 100_000
"""So many readings at most are in memory at once."""
CHUNK = 4000
"""So many are read back together."""


class Spool:
    """Readings of some recordings; `folder` is where a file goes if they are many."""

    def __init__(self, folder: Path, few: int = FEW) -> None:
        self._folder, self._few = folder, few
        self._kept: list[Reading] = []
        self._times: list[Ints] = []
        self._places: list[tuple[int, int, int]] = []
        """Of each chunk in the file: the number of its first reading, where it begins, its length."""
        self._file: IO[bytes] | None = None
        self._newest: dict[tuple[int, str, str], int] = {}
        self.in_order = True
        """Whether no reading stands behind a newer one of its channel in its recording."""
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, readings: Sequence[Reading]) -> None:
        """Set some readings down. Raises OSError where there is no room for them."""
        self._kept += readings
        self.size += len(readings)
        self._times.append(np.array([r.time for r in readings], np.int64))
        if self.in_order:
            self.in_order = self._go_on(readings)
        if len(self._kept) > (self._few if self._file is None else CHUNK):
            self._set_down()

    def _go_on(self, readings: Sequence[Reading]) -> bool:
        newest = self._newest
        for r in readings:
            key = r.source, r.device, r.channel
            if newest.get(key, r.time) > r.time:
                return False
            newest[key] = r.time
        return True

    def _set_down(self) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=self._folder, prefix=".import-")  # noqa: SIM115  closed with the spool
        first = self.size - len(self._kept)
        for start in range(0, len(self._kept), CHUNK):
            packed = _packed(self._kept[start : start + CHUNK])
            self._places.append((first + start, self._file.tell(), len(packed)))
            self._file.write(packed)
        self._kept = []

    def by_time(self) -> Iterator[list[Reading]]:
        """Yield all readings by time, those of one moment in the order they were added; many at a time."""
        times = np.concatenate(self._times) if self._times else np.zeros(0, np.int64)
        order = np.argsort(times, kind="stable")
        if self._file is None:
            kept = self._kept
            yield [kept[i] for i in order.tolist()]
            return
        self._set_down()
        begins = np.array([first for first, _, _ in self._places], np.int64)
        for start in range(0, len(order), self._few):
            yield self._pick(self._file, begins, order[start : start + self._few])

    def _pick(self, file: IO[bytes], begins: Ints, chosen: Ints) -> list[Reading]:
        """Return the readings of these numbers, in this order; a chunk is read once."""
        found: list[Any] = [None] * len(chosen)
        chunk = np.searchsorted(begins, chosen, side="right") - 1
        for number in np.unique(chunk).tolist():
            first, place, length = self._places[number]
            file.seek(place)
            some = _unpacked(file.read(length))
            rows = np.flatnonzero(chunk == number)
            for row, i in zip(rows.tolist(), (chosen[rows] - first).tolist(), strict=True):
                found[row] = some[i]
        return found


def _packed(readings: Sequence[Reading]) -> bytes:
    """Return readings as bytes, column by column."""
    columns: Any = Readings.of(readings).columns
    return marshal.dumps(columns)


def _unpacked(packed: bytes) -> list[Reading]:
    return list(Readings(marshal.loads(packed)))  # noqa: S302  our own file, which nobody else can open
