"""Ledger -> InfluxDB, the part without tasks: which rows go next, as lines, and how far everything is sent.

What is new goes first, a backlog behind it. A row makes the same points whenever it is sent, so a parcel whose answer
was lost is simply sent again; a cursor moves only after InfluxDB has answered that all is durable.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from gateway.history.forward_rollups import LAST, RollUps
from gateway.history.forward_series import ChannelSeries
from gateway.history.lineprotocol import Unencodable
from gateway.history.points import (
    ReadingRow,
    alarm_point,
    alarm_series,
    predicate,
    reading_lines,
    said_numbers,
    verdict_lines,
)
from gateway.ledger import alarms as alarm_rows
from gateway.ledger import forwarding as sent
from gateway.ledger import readings, retention
from gateway.ledger.forwarding import ALARM, AMENDED, READING, ROLLUP, Cursor, Refused
from gateway.ledger.store import Ledger
from gateway.metrology.instants import parse_rfc3339
from gateway.pipeline.records import Context

__all__ = ["BACKLOG", "ROWS", "Feed", "Parcel"]

ROWS = 5000
"""So many rows are made into one parcel at most."""
HOURS = 500
"""So many roll-ups are looked after at once."""
BACKLOG = 20_000
"""With so many unsent readings the new ones go first and the rest becomes a backlog."""

_ROWS = """
    SELECT r.id, r.channel, r.time, r.boot, r.seq, r.value, r.reference, r.reference_u, r.x, r.received_at, r.late,
           r.quality, r.stable, r.seq_per_device, r.context, r.verdict FROM reading r WHERE {} ORDER BY r.id"""
_AMENDED = (
    "SELECT a.reading, a.version, a.context, a.verdict FROM amendment a JOIN reading r ON r.id = a.reading WHERE {}"
)
_CHECKS = """
    SELECT r.id, COALESCE(s.slot, r.time) FROM reading r LEFT JOIN forward_shift s ON s.reading = r.id
    WHERE r.channel = ? AND r.time BETWEEN ? AND ? AND r.verdict IS NOT NULL ORDER BY 2"""
_UTC = ZoneInfo("UTC")
_RANGE = "r.id BETWEEN ? AND ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Lines of one stream and the cursor that holds once they are delivered; `marks` say which row each line is of.

    `cleared`: points to delete before, as (predicate, first, last ns), which are among the lines or come later.
    `note` is written with the cursor.
    """

    stream: str
    after: Cursor
    lines: list[str]
    marks: list[tuple[str, int]]
    unencodable: list[Refused]
    cleared: Sequence[tuple[str, int, int]] = ()
    note: Callable[[sqlite3.Connection], None] = lambda _connection: None
    beginning: int = 0


class Feed:
    """Makes parcels. Not shared between threads. `site` is that of devices that name none; days are those of `zone`."""

    def __init__(self, ledger: Ledger, site: str, target: str, zone: ZoneInfo = _UTC) -> None:
        self.ledger = ledger
        self._zone = zone
        ledger.connection.execute("PRAGMA synchronous = NORMAL")  # a cursor lost with the power only resends
        ledger.connection.execute("PRAGMA wal_autocheckpoint = 0")  # those who take readings keep the log short
        sent.aim(ledger, target)
        self._beginning = sent.beginning(ledger.connection)
        self._planned = sent.cursors(ledger.connection)
        self._ways: list[Callable[[], Parcel | None]] = [
            self._days, self._alarms, self._new, self._amendments, self._rollups, self._behind,
        ]  # fmt: skip
        self._series = ChannelSeries(ledger, site)
        self._rolled = RollUps(ledger, zone, self._series.at)
        self._zone_before = sent.words(ledger.connection).get("zone", zone.key)
        self._layouts: dict[int, tuple[Context, np.dtype[Any]]] = {}

    def next(self) -> Parcel | None:
        """Return what is to be sent next, taking turns between the streams; None: all is sent."""
        beginning = sent.beginning(self.ledger.connection)
        if beginning != self._beginning:
            self._beginning, self._planned = beginning, sent.cursors(self.ledger.connection)
        for _ in range(len(self._ways)):
            way = self._ways.pop(0)
            self._ways.append(way)
            parcel = way()
            if parcel is not None:
                self._planned[parcel.stream] = parcel.after
                return replace(parcel, beginning=beginning)
        return None

    def settle(self, parcel: Parcel, refused: Sequence[tuple[int, str]], at: int) -> None:
        """Note that a parcel is delivered, but for the lines `refused` (index, InfluxDB's words); `at` in ns."""
        points = [Refused(measurement=parcel.marks[i][0], id=parcel.marks[i][1], words=w) for i, w in refused]
        with self.ledger.transaction() as connection:
            if sent.beginning(connection) != parcel.beginning:  # everything is to be sent again
                return
            sent.put_cursor(connection, parcel.stream, parcel.after)
            sent.put_refused(connection, [*points, *parcel.unencodable], at)
            parcel.note(connection)
            if parcel.stream == ROLLUP:
                sent.put_words(connection, {"zone": self._zone.key})

    def _cursor(self, stream: str) -> Cursor:
        return self._planned.get(stream, Cursor())

    def _head(self, table: str) -> int:
        return int(self.ledger.connection.execute(f"SELECT MAX(id) FROM {table}").fetchone()[0] or 0)  # noqa: S608

    def _days(self) -> Parcel | None:
        """Where the site has changed its time zone: take away the old days, and send all roll-ups again."""
        if self._zone_before == self._zone.key:
            return None
        self._zone_before = self._zone.key
        sites = {site for rows in sent.series_of(self.ledger.connection).values() for _, site, _ in rows}
        first = retention.rolled_until(self.ledger.connection)  # what the ledger has no more stays as it is
        cleared = [(predicate("rollup_1d", {"site": site}), first, LAST) for site in sorted(sites)]
        return Parcel(stream=ROLLUP, after=Cursor(), lines=[], marks=[], unencodable=[], cleared=cleared)

    def _alarms(self) -> Parcel | None:
        cursor = self._cursor(ALARM)
        rows = alarm_rows.events(self.ledger.connection, cursor.live, 1000)
        if not rows:
            return None
        lines, marks, bad = [], [], []
        events: list[tuple[int, str, dict[str, Any]]] = []
        for number, _, document in rows:
            event = json.loads(document)
            try:
                events.append((number, alarm_series(event), event))
            except Unencodable as error:
                bad.append(Refused(measurement="alarm", id=number, words=f"not sent: {error}"))
        slots = sent.alarm_slots(self.ledger, [(n, s, parse_rfc3339(e["time"])) for n, s, e in events])
        for number, _, event in events:
            lines.append(alarm_point(event, slots[number]))
            marks.append(("alarm", number))
        return Parcel(stream=ALARM, after=replace(cursor, live=rows[-1][0]), lines=lines, marks=marks, unencodable=bad)

    def _new(self) -> Parcel | None:
        """The newest readings that are not sent. Too many of them become a backlog first."""
        cursor, head = self._cursor(READING), self._head("reading")
        if head - cursor.live > BACKLOG:
            # A backlog that is not done yet is joined to the new one; what was sent between them is sent once more.
            cursor = Cursor(done=cursor.whole, jumped=head, live=head)
            self._planned[READING] = cursor
        if head <= cursor.live:
            return None
        last = min(head, cursor.live + ROWS)
        return self._readings(cursor.live + 1, last, replace(cursor, live=last))

    def _behind(self) -> Parcel | None:
        cursor = self._cursor(READING)
        if cursor.done >= cursor.jumped:
            return None
        last = min(cursor.jumped, cursor.done + ROWS)
        return self._readings(cursor.done + 1, last, replace(cursor, done=last))

    def _readings(self, first: int, last: int, after: Cursor) -> Parcel:
        return self._parcel(READING, after, _RANGE, (first, last))

    def _amendments(self) -> Parcel | None:
        cursor = self._cursor(AMENDED)
        last, ids = sent.amended_after(self.ledger.connection, cursor.live, ROWS)
        if not ids:
            return None
        which = f"r.id IN ({', '.join('?' * len(ids))})"
        parcel = self._parcel(AMENDED, replace(cursor, live=last), which, ids, verdicts_only=True)
        return replace(parcel, cleared=self._cleared(which, ids))

    def _cleared(self, which: str, ids: Sequence[int]) -> list[tuple[str, int, int]]:
        """Return the stretches of these superseding verdicts in which one lacks a number that it once had.

        Writing a point anew leaves standing what it no longer says. A stretch holds no verdict but these.
        """
        connection = self.ledger.connection
        spans: dict[int, tuple[int, int]] = {}
        bare = self._lacking(which, ids)
        for channel, time in connection.execute(f"SELECT channel, time FROM reading r WHERE {which}", ids):  # noqa: S608
            low, high = spans.get(channel, (time, time))
            spans[channel] = (min(low, time), max(high, time))
        here, found = set(ids), []
        for channel, span in spans.items():
            run: list[tuple[int, int]] = []
            for row in [*connection.execute(_CHECKS, (channel, *span)), (0, 0)]:
                if row[0] in here:
                    run.append(row)
                    continue
                if bare.intersection(i for i, _ in run):
                    found.append(
                        (predicate("verdict", self._series.tags(run[0][0], channel).tags), run[0][1], run[-1][1])
                    )
                run = []
        return found

    def _lacking(self, which: str, ids: Sequence[int]) -> set[int]:
        """Return the readings whose verdict now lacks a number that an earlier version of it had."""
        first = f"SELECT r.id, 0, r.context, r.verdict FROM reading r WHERE {which} AND r.verdict IS NOT NULL"  # noqa: S608
        versions = f"{first} UNION ALL {_AMENDED.format(which)} ORDER BY 1, 2"
        had: dict[int, set[str]] = {}
        now: dict[int, set[str]] = {}
        for reading, _, context, verdict in self.ledger.connection.execute(versions, (*ids, *ids)):
            v = np.frombuffer(verdict, self._context(context)[1])[0]
            had.setdefault(reading, set()).update(now.get(reading, ()))
            now[reading] = said_numbers(v)
        return {i for i, names in had.items() if names - now[i]}

    def _rollups(self) -> Parcel | None:
        cursor = self._cursor(ROLLUP)
        changed = self._rolled.changed(cursor.live)
        if changed is not None:
            empty = Parcel(stream=ROLLUP, after=cursor, lines=[], marks=[], unencodable=[])
            return replace(empty, cleared=changed.cleared, note=changed.note)
        made = self._rolled.points(cursor.live, HOURS)
        if made is None:
            return None
        after = replace(cursor, live=made.revision)
        lines, marks = [line for line, _ in made.points], [mark for _, mark in made.points]
        return Parcel(stream=ROLLUP, after=after, lines=lines, marks=marks, unencodable=[], cleared=made.cleared)

    def _parcel(
        self, stream: str, after: Cursor, which: str, bounds: Sequence[int], *, verdicts_only: bool = False
    ) -> Parcel:
        """Return the points of some readings and of the verdicts that hold for them now."""
        connection = self.ledger.connection
        slots = sent.slots(self.ledger, which, bounds)
        rows = connection.execute(_ROWS.format(which), bounds).fetchall()
        amended = {r[0]: r[1:] for r in connection.execute(_AMENDED.format(which) + " ORDER BY 1, 2", bounds)}
        self._series.know({r[1] for r in rows}, self._head("reading"))
        good, bad = self._series.parted(rows)
        lines: list[str] = []
        marks: list[tuple[str, int]] = []
        if not verdicts_only:
            plain: list[ReadingRow] = [r[:14] for r in rows if r[0] in good]
            lines = reading_lines(plain, self._series.tags, slots)
            marks = [("reading", r[0]) for r in plain]
        checks = [(r, *amended.get(r[0], (0, r[14], r[15]))) for r in rows if r[15] is not None and r[0] in good]
        said, of = self._verdicts(checks, slots)
        return Parcel(stream=stream, after=after, lines=lines + said, marks=marks + of, unencodable=bad)

    def _verdicts(self, checks: Sequence[tuple[Any, ...]], slots: Mapping[int, int]) -> tuple[list[str], list[Any]]:
        """Return the verdict lines of (row, version, context, verdict), and their marks; layout by layout."""
        by_layout: dict[str, list[tuple[Any, ...]]] = {}
        for check in checks:
            by_layout.setdefault(str(self._context(check[2])[1]), []).append(check)
        lines: list[str] = []
        marks: list[tuple[str, int]] = []
        for group in by_layout.values():
            known = [self._context(c[2]) for c in group]
            rows = [c[0] for c in group]
            lines += verdict_lines(
                np.frombuffer(b"".join(c[3] for c in group), known[0][1]),
                [k for k, _ in known],
                [self._series.tags(r[0], r[1]) for r in rows],
                [r[2] for r in rows],
                [slots.get(r[0], r[2]) for r in rows],
                [c[1] for c in group],
            )
            marks += [("verdict", r[0]) for r in rows]
        return lines, marks

    def _context(self, number: int) -> tuple[Context, np.dtype[Any]]:
        known = self._layouts.get(number)
        if known is None:
            found = self.ledger.connection.execute("SELECT document FROM context WHERE id = ?", (number,)).fetchone()
            context = msgspec.json.decode(found[0], type=Context)
            known = self._layouts[number] = (context, readings.layout(self.ledger.connection, context.layout))
        return known
