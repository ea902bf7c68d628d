"""Ways to ask any history store: by itself choosing the resolution, and page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.errors import WrongUse
from gateway.history import RESOLUTIONS_NS, History, Query
from gateway.metrology.instants import parse_rfc3339

__all__ = ["Page", "page", "resolution_for", "rows_of"]

Row = dict[str, object]

_FINEST = (("raw", 1), ("1m", 3), ("1h", 92))
"""Up to how many days each resolution is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows in order; `after` asks for those that follow, None: there are no more."""

    rows: list[Row]
    after: str | None


def rows_of(store: History, query: Query, resolution: str) -> Iterator[Row]:
    """Yield raw rows or buckets."""
    return store.raw(query) if resolution == "raw" else store.buckets(query, resolution)


def resolution_for(store: History, query: Query) -> str:
    """Return the resolution that shows what is asked for, as far as it holds readings, without losing sight of it."""
    span = store.span(query)
    days = 0.0 if span is None else (span[1] - span[0]) / RESOLUTIONS_NS["1d"]
    chosen = next((name for name, most in _FINEST if days <= most), "1d")
    return "1h" if chosen in {"raw", "1m"} and store.gone(query, chosen) else chosen


def page(store: History, query: Query, resolution: str, limit: int, after: str | None = None) -> Page:
    """Return about `limit` rows that follow the cursor `after`.

    The cursor is a place in the order (channel, time), not a count: readings that come meanwhile neither repeat nor
    hide a row. Raw rows of one moment stay together, so a page may be longer. WrongUse for a cursor that is none.
    """
    channel, start = _place(after)
    rows: list[Row] = []
    for name in store.channels(query.device):
        if (query.channel not in {None, name}) or name < channel:
            continue
        begin = query.start if name != channel else max(start, query.start or 0)
        for row in rows_of(store, replace(query, channel=name, start=begin), resolution):
            if len(rows) >= limit and (row["channel"], row["time"]) != (rows[-1]["channel"], rows[-1]["time"]):
                return Page(rows=rows, after=_cursor(rows[-1], query, resolution))
            rows.append(row)
    return Page(rows=rows, after=None)


def _place(after: str | None) -> tuple[str, int]:
    if after is None:
        return "", 0
    channel, _, time = after.rpartition("~")
    if not channel or not (time.isascii() and time.isdigit()) or len(time) > 19:
        raise WrongUse(f"{after[:80]!r} is no cursor of a history", remedy="give one that a page ended with")
    return channel, int(time)


def _cursor(row: Row, query: Query, resolution: str) -> str:
    """Return the cursor behind a row: its channel, and the first moment that is not its own."""
    time = parse_rfc3339(str(row["time"]))
    if resolution == "raw":
        time += 1
    elif resolution == "1d":
        from gateway.history.buckets import day_starts

        time = int(day_starts(time, time, query.zone)[-1])
    else:
        time += RESOLUTIONS_NS[resolution]
    return f"{row['channel']}~{time}"
