"""Readings as columns: what the core computes on, and what the ledger gives back.

NaN stands for an absent number, -1 for an absent `seq`, `stable` or `evidence`, None for absent text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Columns", "Floats", "Ints", "boot_code", "rows_where", "runs", "text_codes"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]


@lru_cache(maxsize=65_536)
def boot_code(boot: str | None) -> int:
    """Return 63 bits that stand for a boot in states and indexes; 0 for none."""
    if boot is None:
        return 0
    return int.from_bytes(blake2b(boot.encode(), digest_size=8).digest(), "big") >> 1 or 1


def text_codes(column: Texts) -> Ints:
    """Return the `boot_code` of each text."""
    texts = column.tolist()
    codes = {text: boot_code(text) for text in set(texts)}
    return np.fromiter(map(codes.__getitem__, texts), np.int64, len(texts))


def runs(column: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the runs of equal values of a column: their values, where each begins, how long each is.

    >>> [part.tolist() for part in runs(np.array([3, 3, 7]))]
    [[3, 7], [0, 2], [2, 1]]
    """
    begins = np.ones(len(column), np.bool_)
    np.not_equal(column[1:], column[:-1], out=begins[1:])
    first = begins.nonzero()[0]
    ends = np.empty_like(first)
    ends[:-1] = first[1:]
    ends[-1:] = len(column)
    return column[first], first, ends - first


def rows_where(holds: npt.NDArray[np.bool_]) -> Any:
    """Return the rows where it holds, as an index: a slice where that is all of them, which copies nothing.

    >>> rows_where(np.array([True, True])), rows_where(np.array([False, True])).tolist()
    (slice(None, None, None), [1])
    """
    return slice(None) if holds.all() else holds.nonzero()[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Readings of known channels, in the channels' units; `channel` is the index in the plan.

    `missing`: where `seq` counts the whole device, how many numbers are missing before this reading of any channel.
    Sorted by (channel, time, boot, seq, content) wherever they are judged.
    """

    channel: Ints
    time: Ints
    value: Floats
    reference: Floats
    reference_u: Floats
    x: Floats
    value_start: Floats
    reference_start: Floats
    flow_m3h: Floats
    current_A: Floats
    power_factor: Floats
    temperature_C: Floats
    seq: Ints
    stable: npt.NDArray[np.int8]
    evidence: npt.NDArray[np.int8]
    clock: npt.NDArray[np.bool_]
    seq_per_device: npt.NDArray[np.bool_]
    missing: Ints
    boot: Texts
    standard: Texts
    phase: Texts
    direction: Texts

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Any) -> Self:
        """Return these rows, in this order."""
        return type(self)(**{name: getattr(self, name)[rows] for name in _NAMES})

    @classmethod
    def join(cls, parts: Sequence[Columns]) -> Self:
        """Return all rows of all parts."""
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in _NAMES})

    def channel_seq(self) -> Ints:
        """Return `seq` where it counts the readings of its channel alone, else -1: what gaps are judged by."""
        return np.where(self.seq_per_device, -1, self.seq)

    def content(self, row: int) -> tuple[object, ...]:
        """Return what one reading says besides channel, time, boot and seq: equal content, equal reading.

        Absent sorts before present; numbers compare as numbers, text as text.
        """
        parts: list[object] = []
        for name in _NUMBERS:
            number = float(getattr(self, name)[row])
            parts.append((0, 0.0) if number != number else (1, number))  # noqa: PLR0124  NaN is absent
        parts += [int(self.stable[row]), int(self.evidence[row])]
        for name in _TEXTS:
            text = getattr(self, name)[row]
            parts.append((0, "") if text is None else (1, text))
        return tuple(parts)

    def identities(self) -> list[bytes]:
        """Return what each reading is and says as bytes: equal for equal readings of one channel, and for no others.

        The same as comparing channel, time, boot, seq and `content`, many at once; texts stand as 63-bit codes.
        """
        parts: list[npt.NDArray[Any]] = [self.channel, self.time, self.seq, self.stable, self.evidence]
        for name in _NUMBERS:
            numbers = getattr(self, name)
            parts.append(np.where(np.isnan(numbers), np.nan, numbers + 0.0).view(np.int64))
        parts += [text_codes(getattr(self, name)) for name in ("boot", *_TEXTS)]
        packed, width = np.column_stack(parts).astype(np.int64).tobytes(), 8 * len(parts)
        return [packed[i : i + width] for i in range(0, len(packed), width)]

    def order_key(self, row: int) -> tuple[object, ...]:
        """Return the order of readings of one channel: time, boot, seq, then content; never arrival."""
        return int(self.time[row]), self.boot[row] or "", int(self.seq[row]), self.content(row)

    def sorted_rows(self) -> npt.NDArray[np.intp]:
        """Return the rows by (channel, time, boot, seq, content)."""
        order = np.lexsort((self.time, self.channel))
        channel, time = self.channel[order], self.time[order]
        equal = (channel[1:] == channel[:-1]) & (time[1:] == time[:-1])
        if not equal.any():
            return order
        edges = np.flatnonzero(np.diff(np.concatenate(([0], equal.astype(np.int8), [0]))))
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            tied = order[start : end + 1].tolist()
            order[start : end + 1] = sorted(tied, key=self.order_key)
        return order


_NAMES = tuple(f.name for f in fields(Columns))
_NUMBERS = (
    "value", "reference", "reference_u", "x", "value_start", "reference_start",
    "flow_m3h", "current_A", "power_factor", "temperature_C",
)  # fmt: skip
_TEXTS = ("standard", "phase", "direction")
