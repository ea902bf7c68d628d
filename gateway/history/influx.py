"""Histories from InfluxDB 2: what the forwarder has put there (CONTRACTS §8), answered as the ledger answers.

Readings are fetched in stretches and made into pieces and buckets by the code that serves the ledger, so that both say
the same. Text whose field InfluxDB has not is None. What is not forwarded yet, InfluxDB does not know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.history import Bucket, ChannelSettings, Query, RawRow
from gateway.history.buckets import buckets_of, piece_starts
from gateway.history.flux import FluxLink, text
from gateway.history.pieces import Pieces, Rows, cut, moments
from gateway.history.steps import AROUND, Surroundings, register_buckets
from gateway.metrology.instants import format_instant, parse_rfc3339
from gateway.metrology.readings import Quality
from gateway.pipeline.columns import boot_code
from gateway.pipeline.counting import missing_before

__all__ = ["InfluxHistory"]

STRETCH_NS = 7 * 86_400 * 10**9
SLACK_NS = 10**9
"""Readings of one moment lie within so many nanoseconds of it: a shift of 1 ns each."""
LAST_NS = 2**63 - 2

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_QUALITIES = {q.name.lower(): q.value for q in Quality}
_TRUTHS = {"true": True, "false": False}
_RAW = (
    "value", "reference", "reference_u", "x", "seq", "seq_text", "boot", "stable", "quality", "received_at", "late",
    "shift_ns",
)  # fmt: skip
_NEEDED = ("value", "reference", "seq", "seq_text", "seq_per_device", "boot", "quality", "shift_ns")

_COUNTED = ("seq", "seq_text", "seq_per_device", "boot", "shift_ns")

_Point = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One reading: its channel, its own time, its time in InfluxDB, and its fields as they were written."""

    channel: str
    time: int
    slot: int
    fields: _Point

    @property
    def seq(self) -> int | None:
        """The sequence number, exact."""
        if "seq_text" in self.fields:
            return int(self.fields["seq_text"])
        return int(float(self.fields["seq"])) if "seq" in self.fields else None

    def number(self, name: str) -> float | None:
        """Return a number, None if it is absent."""
        cell = self.fields.get(name)
        return None if cell is None else float(cell)

    @property
    def order(self) -> tuple[Any, ...]:
        """The order of readings: time, boot, seq, content; absent before present."""
        numbers = tuple(self.number(n) for n in ("value", "reference", "reference_u", "x"))
        seq = self.seq
        return self.time, self.fields.get("boot", ""), -1 if seq is None else seq, [(n is not None, n) for n in numbers]


class InfluxHistory:
    """A bucket of InfluxDB as a history store. `settings` as for the ledger."""

    def __init__(self, link: FluxLink, bucket: str, settings: Mapping[tuple[str, str], ChannelSettings]) -> None:
        self._link = link
        self._bucket = bucket
        self._settings = settings

    def channels(self, device: str) -> list[str]:
        """Return the channels the device has readings of, in the order in which they are given."""
        if not _ID.fullmatch(device):
            return []
        flux = (
            f'import "influxdata/influxdb/schema" schema.tagValues(bucket: {text(self._bucket)}, tag: "channel", '
            f'predicate: (r) => r._measurement == "reading" and r.device == {text(device)}, start: time(v: 0))'
        )
        return sorted(row["_value"] for row in self._link.ask(flux))

    def span(self, query: Query) -> tuple[int, int] | None:
        """Return the times (ns) of the first and the last reading asked for; None: there are none."""
        spans = [s for channel in self._asked(query) if (s := self._span(query, channel)) is not None]
        return (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None

    def gone(self, query: Query, resolution: str) -> list[tuple[str, int]]:  # noqa: ARG002
        """Return nothing: what InfluxDB drops by its own retention it does not say."""
        return []

    def raw(self, query: Query) -> Iterator[RawRow]:
        """Yield every forwarded reading, channel by channel in time order."""
        for channel in self._asked(query):
            unit = self._of(query.device, channel).unit
            for found in self._readings(query, channel, _RAW):
                for r in found:
                    yield _raw_row(query.device, channel, unit, r)

    def buckets(self, query: Query, resolution: str) -> Iterator[Bucket]:
        """Yield one bucket per stretch that holds readings: 1m and 1h aligned to UTC, 1d to the zone."""
        for channel in self._asked(query):
            settings = self._of(query.device, channel)
            if settings.register:
                held = list(cut(self._rows(query, channel), piece_starts(resolution, query.zone)))
                about = self._about(query, channel)
                yield from register_buckets(held, about, query, channel, settings, resolution)
                continue
            before = self._before(query, channel)
            parts = cut(self._rows(query, channel), piece_starts(resolution, query.zone))
            for pieces in parts if resolution == "1m" else _joined(parts):
                yield from buckets_of(pieces, before, query, channel, settings, resolution)
                before = pieces[-1:]

    def _asked(self, query: Query) -> list[str]:
        return [c for c in self.channels(query.device) if query.channel in {None, c}]

    def _of(self, device: str, channel: str) -> ChannelSettings:
        return self._settings.get((device, channel), ChannelSettings(unit=""))

    def _from(self, measurement: str, device: str, channel: str | None, start: int, end: int) -> str:
        """Return the beginning of a query for one channel of a device, or for all of them."""
        tags = f"r.device == {text(device)}" + ("" if channel is None else f" and r.channel == {text(channel)}")
        return (
            f"from(bucket: {text(self._bucket)}) |> range(start: time(v: {max(start, 0)}), stop: time(v: {end})) "
            f"|> filter(fn: (r) => r._measurement == {text(measurement)} and {tags})"
        )

    def _span(self, query: Query, channel: str) -> tuple[int, int] | None:
        """Return the first and last time; a moment's first reading is never shifted, its last one never early."""
        start, end = _bounds(query)
        if start >= end:
            return None
        edges: list[list[int]] = []
        for pick in ("first", "last"):
            flux = self._from("reading", query.device, channel, start, end)
            rows = self._link.ask(f'{flux} |> filter(fn: (r) => r._field == "shift_ns") |> {pick}()')
            edges.append([parse_rfc3339(r["_time"]) - int(float(r["_value"])) for r in rows])
        return (max(min(edges[0]), start), max(edges[1])) if edges[0] and edges[1] else None

    def _readings(self, query: Query, channel: str, fields: tuple[str, ...]) -> Iterator[list[_Found]]:
        """Yield the readings asked for in order, some days at a time."""
        span = self._span(query, channel)
        if span is None:
            return
        for a in range(span[0], span[1] + 1, STRETCH_NS):
            yield self._between(query.device, channel, fields, a, min(a + STRETCH_NS, span[1] + 1))

    def _between(self, device: str, channel: str | None, fields: tuple[str, ...], start: int, end: int) -> list[_Found]:
        chosen = " or ".join(f"r._field == {text(f)}" for f in fields)
        flux = self._from("reading", device, channel, start, min(end + SLACK_NS, LAST_NS))
        columns = '["_time", "_field", "_value", "channel", "site", "kind"]'
        points: dict[tuple[str, str, str, str], _Point] = {}
        for row in self._link.ask(f"{flux} |> filter(fn: (r) => {chosen}) |> keep(columns: {columns})"):
            key = (row["_time"], row["channel"], row["site"], row["kind"])
            points.setdefault(key, {})[row["_field"]] = row["_value"]
        found = []
        for (time, named, _, _), point in points.items():
            slot = parse_rfc3339(time)
            moment = slot - int(float(point["shift_ns"]))
            if start <= moment < end:
                found.append(_Found(channel=named, time=moment, slot=slot, fields=point))
        return sorted(found, key=lambda f: f.order)

    def _rows(self, query: Query, channel: str) -> Iterator[Rows]:
        for found in self._readings(query, channel, _NEEDED):
            if found:
                margins = self._margins(query.device, channel, found[0].time, found[-1].time + SLACK_NS)
                yield _rows(found, margins, self._lost(query.device, found))

    def _lost(self, device: str, found: list[_Found]) -> Collection[int]:
        """Return before which of a channel's readings (times in InfluxDB) numbers of the whole device are missing."""
        if not any("seq_per_device" in f.fields for f in found):
            return ()
        start, end = found[0].time, found[-1].time + 1
        flux = self._from("reading", device, None, 0, start)
        rows = self._link.ask(f'{flux} |> filter(fn: (r) => r._field == "seq_per_device") |> last()')
        newest = max((parse_rfc3339(r["_time"]) for r in rows), default=start + SLACK_NS)
        around = self._between(device, None, _COUNTED, newest - SLACK_NS, end)
        counted = [f for f in around if "seq_per_device" in f.fields]
        numbers = [(f.time, f.fields.get("boot", ""), f.seq or 0, f.channel, i) for i, f in enumerate(counted)]
        before = [n for n in numbers if n[0] < start]
        lost = missing_before(numbers[len(before) :], before)
        return {counted[i].slot for i in lost if counted[i].channel == found[0].channel}

    def _margins(self, device: str, channel: str, start: int, end: int) -> dict[int, float]:
        """Return the margin of the verdict that holds, by time in InfluxDB."""
        flux = self._from("verdict", device, channel, start, end)
        rows = self._link.ask(f'{flux} |> filter(fn: (r) => r._field == "margin_percent")')
        return {parse_rfc3339(r["_time"]): float(r["_value"]) for r in rows}

    def _before(self, query: Query, channel: str) -> Pieces | None:
        """Return the reading before all that is asked for, as a piece."""
        span = self._span(Query(device=query.device, end=query.start or 0), channel)
        if span is None:
            return None
        return moments(_rows(self._between(query.device, channel, _NEEDED, span[1], span[1] + 1)[-1:], {}))

    def _about(self, query: Query, channel: str) -> Surroundings:
        """Return the readings about what is asked for, and a way to read more."""
        start, end = _bounds(query)

        def read(a: int, b: int) -> Rows | None:
            found = self._between(query.device, channel, _NEEDED, a, b)
            return _rows(found, {}) if found else None

        def next_to(pick: str, a: int, b: int) -> Rows | None:
            if a >= b:
                return None
            flux = self._from("reading", query.device, channel, a, b) + ' |> filter(fn: (r) => r._field == "shift_ns")'
            rows = self._link.ask(f'{flux} |> group() |> {pick}(n: {AROUND}, columns: ["_time"])')
            times = [parse_rfc3339(r["_time"]) - int(float(r["_value"])) for r in rows]
            return read(max(a, min(times)), min(b, max(times) + 1)) if times else None

        return Surroundings(
            before=moments(next_to("top", 0, start)), after=moments(next_to("bottom", end, LAST_NS)), read=read
        )


def _joined(parts: Iterator[Pieces]) -> list[Pieces]:
    """Return all pieces as one part: a day must not lie in two."""
    found = list(parts)
    return [np.concatenate(found)] if found else []


def _bounds(query: Query) -> tuple[int, int]:
    return query.start or 0, LAST_NS if query.end is None else query.end


def _rows(found: list[_Found], margins: Mapping[int, float], lost: Collection[int] = ()) -> Rows:
    return Rows(
        time=np.array([f.time for f in found], np.int64),
        value=np.array([float(f.fields["value"]) for f in found], np.float64),
        seq=np.array([-1 if f.seq is None or "seq_per_device" in f.fields else f.seq for f in found], np.int64),
        boot=np.array([boot_code(f.fields.get("boot")) for f in found], np.int64),
        quality=np.array([_QUALITIES[f.fields["quality"]] for f in found], np.int64),
        checked=np.array(["reference" in f.fields for f in found]),
        margin=np.array([margins.get(f.slot, np.nan) for f in found]),
        lost=np.array([f.slot in lost for f in found]),
    )


def _raw_row(device: str, channel: str, unit: str, found: _Found) -> RawRow:
    fields = found.fields
    return {
        "time": format_instant(found.time),
        "device": device,
        "channel": channel,
        "value": found.number("value"),
        "unit": unit,
        "reference": found.number("reference"),
        "reference_u": found.number("reference_u"),
        "x": found.number("x"),
        "seq": found.seq,
        "boot": fields.get("boot"),
        "stable": _TRUTHS.get(fields.get("stable", "")),
        "quality": fields["quality"],
        "received_at": fields["received_at"],
        "late": fields["late"] == "true",
    }
