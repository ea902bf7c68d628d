"""Numbers missing in a `seq` that counts the readings of a whole device, channel by channel told together."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Numbered", "missing_before"]

Numbered = tuple[int, str, int, str, int]
"""A reading's time (ns), boot ("" for none), seq, channel, and a key of its own. This is also its order."""


def missing_before(rows: Iterable[Numbered], before: Iterable[Numbered] = ()) -> dict[int, int]:
    """Return how many numbers are missing before each reading of a device, by key; none missing: no entry.

    Counted against the reading before it in event order, of whatever channel, if of the same boot. `before`: readings
    earlier than all `rows`, of which only the last counts.

    >>> missing_before([(10, "b", 4, "mass", 1), (20, "b", 5, "flow", 2), (30, "b", 8, "mass", 3)])
    {3: 2}
    """
    found: dict[int, int] = {}
    last = max(before, default=None)
    for row in sorted(rows):
        if last is not None and last[1] == row[1] and row[2] > last[2] + 1:
            found[row[4]] = row[2] - last[2] - 1
        last = row
    return found
