"""Where recorded readings stood in their files, and which of them stood there out of order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.pipeline.columns import Ints

__all__ = ["Places", "late_of", "out_of_order"]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Stored readings: channel, time (ns), the number of the file and the row in it; `late` against the ledger."""

    channel: Ints
    time: Ints
    source: Ints
    record: Ints
    late: Bools


def late_of(places: Sequence[Places]) -> int:
    """Return how many readings are late: older than what the ledger held, or than what stands above in the file."""
    if not any(len(p.time) for p in places):
        return 0
    channel, time, source, record = (
        np.concatenate([getattr(p, name) for p in places]) for name in ("channel", "time", "source", "record")
    )
    group = source * (int(channel.max()) + 1) + channel
    return int((out_of_order(group, time, record) | np.concatenate([p.late for p in places])).sum())


def out_of_order(group: Ints, time: Ints, position: Ints) -> Bools:
    """Return which readings stand after a newer one of their group; `position`: 0 or more, in any numbering."""
    late = np.zeros(len(time), np.bool_)
    if not len(time):
        return late
    order = np.lexsort((time, group))
    group, time, position = group[order], time[order], position[order]
    other = np.append(True, group[1:] != group[:-1])
    moment = np.append(True, other[1:] | (time[1:] != time[:-1]))
    came = position + (int(position.max()) + 1) * np.cumsum(other)  # later groups come after all of this one
    first_after = np.append(np.minimum.accumulate(came[::-1])[::-1], np.iinfo(np.int64).max)
    next_moment = np.append(np.flatnonzero(moment), len(time))[np.cumsum(moment)]
    late[order] = first_after[next_moment] < came
    return late
