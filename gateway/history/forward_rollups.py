"""Roll-ups on their way to InfluxDB: the hours whose roll-up was made anew, and the days they lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from zoneinfo import ZoneInfo

from gateway.history import Bucket, Query
from gateway.history.buckets import day_starts
from gateway.history.ledger import LedgerHistory, channel_settings
from gateway.history.lineprotocol import Field, Unencodable, fields_text
from gateway.ledger import rollups
from gateway.ledger.registry import documents
from gateway.ledger.rollups import HOUR_NS
from gateway.ledger.store import Ledger
from gateway.metrology.instants import parse_rfc3339

__all__ = ["Series", "rollup_points"]

Series = Callable[[int, int], str]
"""(channel, time) -> the series of the readings of that channel at that time."""

NEAR_NS = 48 * HOUR_NS
"""Hours no further apart are asked for together."""
_NUMBERS = (
    "n", "checks", "min", "max", "mean", "first", "last", "delta", "worst_margin_percent", "completeness", "gaps",
)  # fmt: skip
_TEXTS = ("unit", "quality")

Point = tuple[str, tuple[str, int]]
"""A line and its mark: measurement, channel · 2^32 + hour since 1970."""


def rollup_points(
    ledger: Ledger, after: int, limit: int, zone: ZoneInfo, series: Series
) -> tuple[int, list[Point]] | None:
    """Return the roll-ups made after a revision as points, and the last revision among them; None: there are none.

    `rollup_1h` at the hour; `rollup_1d` at the beginning of the day in `zone`, sent anew with each of its hours.
    """
    made = rollups.changed(ledger.connection, after, limit)
    if not made:
        return None
    known = ledger.connection.execute("SELECT id, device, channel FROM channel")
    names = {int(i): (str(d), str(c)) for i, d, c in known}
    history = LedgerHistory(ledger, channel_settings(documents(ledger.connection)))
    points: list[Point] = []
    for channel, rows in groupby(sorted((c, s) for _, c, s, _ in made), key=lambda r: r[0]):
        hours = [start for _, start in rows]
        device, name = names[channel]
        for first, last in _stretches(hours):
            days = day_starts(first, last + HOUR_NS - 1, zone)
            for resolution, start, end in (("1h", first, last + HOUR_NS), ("1d", int(days[0]), int(days[-1]))):
                query = Query(device=device, channel=name, start=start, end=end, zone=zone)
                wanted = set(hours) if resolution == "1h" else None
                points += _points(history.buckets(query, resolution), f"rollup_{resolution}", channel, wanted, series)
    return made[-1][0], points


def _stretches(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) hour of stretches that are asked for together."""
    first = last = hours[0]
    for hour in hours[1:]:
        if hour - last > NEAR_NS:
            yield first, last
            first = hour
        last = hour
    yield first, last


def _points(
    buckets: Iterable[Bucket], measurement: str, channel: int, wanted: set[int] | None, series: Series
) -> Iterator[Point]:
    for bucket in buckets:
        at = parse_rfc3339(str(bucket["time"]))
        if wanted is not None and at not in wanted:
            continue
        try:
            head = measurement + series(channel, at).removeprefix("reading")
        except Unencodable:  # its readings were set aside with the reason
            return
        said: dict[str, Field | None] = {n: _float(bucket[n]) for n in _NUMBERS}
        said |= {n: str(bucket[n]) or None for n in _TEXTS}
        yield f"{head} {fields_text(said)} {at}", (measurement, channel << 32 | at // HOUR_NS)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
