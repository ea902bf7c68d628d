"""Roll-ups on their way to InfluxDB: what was made anew, what hangs on it, and what the registry now says otherwise.

A bucket says more than its own readings do: gaps and what a register has advanced hang on the readings about it. So
with an hour go the hours that hold those readings, and the days all of them lie in.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

from gateway.history import Bucket, ChannelSettings, Query
from gateway.history.buckets import day_starts
from gateway.history.ledger import LedgerHistory, channel_settings
from gateway.history.lineprotocol import Field, Unencodable, fields_text
from gateway.history.points import Tags, predicate
from gateway.history.steps import AROUND
from gateway.ledger import forwarding as sent
from gateway.ledger import retention, rollups
from gateway.ledger.registry import documents
from gateway.ledger.rollups import HOUR_NS
from gateway.ledger.store import Ledger
from gateway.metrology.instants import parse_rfc3339

__all__ = ["LAST", "Changed", "Made", "RollUps", "Series", "Stretch"]

Series = Callable[[int, int], Tags]
"""(channel, time) -> the series of the readings of that channel at that time. Raises Unencodable."""
Stretch = tuple[str, int, int]
"""Points to delete: predicate, first, last ns."""
Point = tuple[str, tuple[str, int]]
"""A line and its mark: measurement, channel · 2^32 + hour since 1970."""

NEAR_NS = 48 * HOUR_NS
"""Hours no further apart are asked for together."""
LAST = 2**63 - 2
"""The last nanosecond that InfluxDB has."""
_NUMBERS = (
    "n", "checks", "min", "max", "mean", "first", "last", "delta", "worst_margin_percent", "completeness", "gaps",
)  # fmt: skip
_TEXTS = ("unit", "quality")
_NOTHING = ChannelSettings(unit="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Roll-ups up to a revision as points; `cleared`: which of them are to be deleted before, for they lack what they
    may have had."""

    revision: int
    points: Sequence[Point]
    cleared: Sequence[Stretch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What was sent of some channels is no longer so: `note` has it sent anew, in a transaction, after a deletion of
    what would be left standing."""

    cleared: Sequence[Stretch]
    note: Callable[[sqlite3.Connection], None]


class RollUps:
    """Makes points of roll-ups; days are those of `zone`."""

    def __init__(self, ledger: Ledger, zone: ZoneInfo, series: Series) -> None:
        self._ledger = ledger
        self._zone = zone
        self._series = series
        self._version: str | None = None
        self._settings: Mapping[tuple[str, str], ChannelSettings] = {}

    def changed(self, after: int) -> Changed | None:
        """Take over the registry; return what of the roll-ups up to the revision `after` now says something else."""
        connection = self._ledger.connection
        found = connection.execute("SELECT value FROM meta WHERE key = 'registry_version'").fetchone()
        version = "" if found is None else str(found[0])
        if version == self._version:
            return None
        self._settings = channel_settings(documents(connection), self._zone)
        self._version = version
        said = {key: json.dumps(asdict(settings)) for key, settings in self._settings.items()}
        known, nothing = sent.said_settings(connection), json.dumps(asdict(_NOTHING))
        new = {key: text for key, text in said.items() if known.get(key, nothing) != text}
        old = {k: number for number, k in self._names().items() if k in new and self._is_sent(number, after)}
        with self._ledger.transaction():
            sent.put_settings(connection, {key: text for key, text in new.items() if key not in old})
        if not old:
            return None
        bare = [key for key in sorted(old) if _says_less(known.get(key, nothing), self._settings[key])]
        cleared = [
            (predicate(f"rollup_{r}", {"device": key[0], "channel": key[1]}), self._kept_from(old[key]), LAST)
            for key in bare
            for r in ("1h", "1d")
        ]
        return Changed(cleared=cleared, note=partial(_anew, old, {key: said[key] for key in old}))

    def _kept_from(self, channel: int) -> int:
        """Return from when (ns) on the ledger still has roll-ups: what is older is in InfluxDB alone."""
        horizon = retention.horizon_of(self._ledger.connection, channel)
        return 0 if horizon is None else horizon.rolled

    def _is_sent(self, channel: int, after: int) -> bool:
        return after > 0 and rollups.is_rolled(self._ledger.connection, channel, after)

    def points(self, after: int, limit: int) -> Made | None:
        """Return the roll-ups made after a revision, with those that hang on their readings; None: there are none.

        `rollup_1h` at the hour; `rollup_1d` at the beginning of the day, sent anew with each of its hours.
        """
        connection = self._ledger.connection
        made = rollups.changed(connection, after, limit)
        if not made:
            return None
        names = self._names()
        points: list[Point] = []
        cleared: list[Stretch] = []
        for channel, rows in groupby(sorted((c, s) for _, c, s, _ in made), key=lambda r: r[0]):
            for said in self._buckets(channel, *names[channel], [start for _, start in rows]):
                try:
                    tags = self._series(channel, said.start)
                except Unencodable:  # its readings were set aside with the reason
                    break
                points.append(_point(said, tags, channel))
                if _has_lost_its_margin(connection, channel, said):
                    cleared.append((predicate(said.measurement, tags.tags), said.start, said.start))
        return Made(revision=made[-1][0], points=points, cleared=cleared)

    def _buckets(self, channel: int, device: str, name: str, made: Sequence[int]) -> Iterator[_Said]:
        """Yield the buckets that say something else since these hours (ns, ascending) were made."""
        history = LedgerHistory(self._ledger, self._settings)
        register = self._settings.get((device, name), _NOTHING).register
        hours = _with_neighbours(self._ledger.connection, channel, made, register=register)
        kept_from = self._kept_from(channel)
        for first, last in _stretches(sorted(hours)):
            query = Query(device=device, channel=name, start=first, end=last + HOUR_NS, zone=self._zone)
            for bucket in history.buckets(query, "1h"):
                at = parse_rfc3339(str(bucket["time"]))
                if at in hours:
                    yield _Said(measurement="rollup_1h", start=at, end=at + HOUR_NS, bucket=bucket)
            days = [d for d in day_starts(first, last + HOUR_NS - 1, self._zone).tolist() if d >= kept_from]
            if len(days) < 2:
                continue
            ends = dict(pairwise(days))
            for bucket in history.buckets(replace(query, start=days[0], end=days[-1]), "1d"):
                at = parse_rfc3339(str(bucket["time"]))
                yield _Said(measurement="rollup_1d", start=at, end=ends[at], bucket=bucket)

    def _names(self) -> dict[int, tuple[str, str]]:
        known = self._ledger.connection.execute("SELECT id, device, channel FROM channel")
        return {int(i): (str(d), str(c)) for i, d, c in known}


def _says_less(before: str, now: ChannelSettings) -> bool:
    """Return whether buckets lack something by these settings that they had before."""
    had = json.loads(before)
    return bool(had["register"]) != now.register or (had["every_ns"] is not None and now.every_ns is None)


def _anew(
    channels: Mapping[tuple[str, str], int], said: Mapping[tuple[str, str], str], connection: sqlite3.Connection
) -> None:
    sent.put_settings(connection, said)
    for number in channels.values():
        rollups.touch(connection, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A bucket of [start, end) ns."""

    measurement: str
    start: int
    end: int
    bucket: Bucket


def _with_neighbours(connection: sqlite3.Connection, channel: int, made: Sequence[int], *, register: bool) -> set[int]:
    """Return the hours (ns, ascending) and those of the readings about them, as far as those are rolled up.

    A gap shows at the next reading. What a register has advanced hangs on `AROUND` readings on either side at most.
    """
    before, after = (AROUND, AROUND) if register else (0, 1)
    hours = set(made)
    for start in made:
        if start - HOUR_NS not in hours and before:
            hours |= rollups.hours_before(connection, channel, start, before)
        if start + HOUR_NS not in hours:
            hours |= rollups.hours_after(connection, channel, start + HOUR_NS, after)
    return hours


def _stretches(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) hour of stretches that are asked for together."""
    first = last = hours[0]
    for hour in hours[1:]:
        if hour - last > NEAR_NS:
            yield first, last
            first = hour
        last = hour
    yield first, last


def _has_lost_its_margin(connection: sqlite3.Connection, channel: int, said: _Said) -> bool:
    """Return whether there may have been a worst margin that there is none of any more: verdicts were superseded."""
    if said.bucket["worst_margin_percent"] is not None or not said.bucket["checks"]:
        return False
    return rollups.is_amended(connection, channel, said.start, said.end)


def _point(said: _Said, tags: Tags, channel: int) -> Point:
    bucket = said.bucket
    fields: dict[str, Field | None] = {n: _float(bucket[n]) for n in _NUMBERS}
    fields |= {n: str(bucket[n]) or None for n in _TEXTS}
    head = said.measurement + tags.reading.removeprefix("reading")
    mark = (said.measurement, channel << 32 | said.start // HOUR_NS)
    return f"{head} {fields_text(fields)} {said.start}", mark


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
