"""Histories from the ledger itself; works beside a running gateway and sees everything acknowledged.

Hours whose roll-up holds are taken from it, all others are made from their readings: the answer is the same either way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.errors import WrongUse
from gateway.history import Bucket, ChannelSettings, Query, RawRow
from gateway.ledger import retention
from gateway.ledger.rollups import HOUR_NS
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_date, parse_duration, parse_instant_file
from gateway.metrology.readings import Quality

if TYPE_CHECKING:
    from gateway.history.pieces import Pieces
    from gateway.history.rows import Margins

__all__ = ["LedgerHistory", "channel_settings"]

_RAW = """
    SELECT time, value, reference, reference_u, x, seq, boot, stable, quality, received_at, late
    FROM by_time WHERE channel = ? AND time >= ? AND time < ?
    ORDER BY time, boot, seq, value, reference, reference_u, x, id"""
_SPAN = """
    SELECT (SELECT time FROM moments WHERE channel = ?1 AND time >= ?2 AND time < ?3 ORDER BY time LIMIT 1),
           (SELECT time FROM moments WHERE channel = ?1 AND time >= ?2 AND time < ?3 ORDER BY time DESC LIMIT 1)"""
_KEPT = "SELECT MIN(start), MAX(start) FROM rollup WHERE channel = ? AND start >= ? AND start < ?"
_QUALITIES = {q.value: q.name.lower() for q in Quality}

FIRST, LAST = 0, 2**63 - 1
UTC = ZoneInfo("UTC")


def channel_settings(
    documents: Iterable[tuple[str, str, bytes]], zone: ZoneInfo = UTC, device: str | None = None
) -> dict[tuple[str, str], ChannelSettings]:
    """Return what histories need of the registry, from its stored documents: no need to check them again.

    Of one device, or of all. `zone`: where dates without a time begin.
    """
    devices: dict[str, dict[str, Any]] = {}
    exchanges: dict[str, list[int]] = {}
    for kind, name, text in documents:
        if kind == "device" and device in {None, name}:
            devices[name] = _parsed(kind, text)["channels"]
        elif kind == "event" and b"meter_exchange" in text:
            event = _parsed(kind, text)
            if event["kind"] == "meter_exchange":
                exchanges.setdefault(event["device"], []).append(_moment(event["time"], zone))
    return {
        (name, channel): _settings(spec, tuple(sorted(exchanges.get(name, ()))))
        for name, channels in devices.items()
        for channel, spec in channels.items()
    }


def _parsed(kind: str, text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise WrongUse(
            f"a stored {kind} is damaged ({error})", remedy="put a backup in its place: metergate restore FILE"
        ) from None


def _settings(spec: dict[str, Any], exchanges: tuple[int, ...]) -> ChannelSettings:
    every, digits = spec.get("every"), spec.get("digits")
    return ChannelSettings(
        unit=spec["unit"],
        register=spec.get("type") == "register",
        every_ns=None if every is None else parse_duration(every),
        turn=nan if digits is None else float(10 ** int(digits)),
        multiplier=float(spec.get("multiplier") or 1),
        exchanges=exchanges,
    )


def _moment(text: str, zone: ZoneInfo) -> int:
    try:
        return parse_date(text, zone)
    except ValueError:
        return parse_instant_file(text)


class LedgerHistory:
    """The ledger as a history store. `settings`: (device, channel) -> what the registry says of it."""

    def __init__(
        self, ledger: Ledger, settings: Mapping[tuple[str, str], ChannelSettings], *, rollups: bool = True
    ) -> None:
        """Ask `ledger`; without `rollups` everything is made from readings."""
        self._ledger = ledger
        self._connection = ledger.connection
        self._settings = settings
        self._rollups = rollups

    def _channels(self, query: Query) -> list[tuple[int, str]]:
        rows = self._connection.execute(
            "SELECT id, channel FROM channel WHERE device = ?1 AND (?2 IS NULL OR channel = ?2) ORDER BY channel",
            (query.device, query.channel),
        )
        return [(int(i), str(c)) for i, c in rows]

    def _of(self, device: str, channel: str) -> ChannelSettings:
        return self._settings.get((device, channel), ChannelSettings(unit=""))

    def channels(self, device: str) -> list[str]:
        """Return the channels known of the device, in the order in which they are given."""
        return [channel for _, channel in self._channels(Query(device=device))]

    def span(self, query: Query) -> tuple[int, int] | None:
        """Return the times (ns) of the first and the last reading asked for; None: there are none."""
        found = [
            span
            for number, _ in self._channels(query)
            if (span := _span(self._connection, number, *_bounds(query))) is not None
        ]
        return (min(a for a, _ in found), max(b for _, b in found)) if found else None

    def gone(self, query: Query, resolution: str) -> list[tuple[str, int]]:
        """Return (channel, before when in ns) of what is asked for and was deleted: readings, or roll-ups of hours."""
        found = []
        for number, channel in self._channels(query):
            horizon = retention.horizon_of(self._connection, number)
            if horizon is not None:
                before = horizon.time if resolution in {"raw", "1m"} else horizon.rolled
                found += [(channel, before)] if _bounds(query)[0] < before else []
        return found

    def _horizon(self, channel: int) -> int:
        """Return before when (ns) readings are gone; 0: all are there."""
        horizon = retention.horizon_of(self._connection, channel)
        return 0 if horizon is None else horizon.time

    def raw(self, query: Query) -> Iterator[RawRow]:
        """Yield every stored reading, channel by channel in time order."""
        for number, channel in self._channels(query):
            unit = self._of(query.device, channel).unit
            start, end = _bounds(query)
            for r in self._connection.execute(_RAW, (number, max(start, self._horizon(number)), end)):
                yield {
                    "time": format_instant(r[0]),
                    "device": query.device,
                    "channel": channel,
                    "value": r[1],
                    "unit": unit,
                    "reference": r[2],
                    "reference_u": r[3],
                    "x": r[4],
                    "seq": r[5],
                    "boot": r[6],
                    "stable": None if r[7] is None else bool(r[7]),
                    "quality": _QUALITIES[r[8]],
                    "received_at": format_instant(r[9]),
                    "late": bool(r[10]),
                }

    def buckets(self, query: Query, resolution: str) -> Iterator[Bucket]:
        """Yield one bucket per stretch that holds readings: 1m and 1h aligned to UTC, 1d to the zone."""
        from gateway.history.buckets import buckets_of
        from gateway.history.rows import Margins

        margins = Margins(self._connection)
        for number, channel in self._channels(query):
            settings = self._of(query.device, channel)
            parts = self._pieces(margins, number, query, resolution)
            if settings.register:
                yield from self._register_buckets(margins, number, query, channel, settings, resolution, parts)
                continue
            before = self._before(margins, number, query, resolution, 1)
            for pieces in parts:
                yield from buckets_of(pieces, before, query, channel, settings, resolution)
                before = pieces[-1:]

    def _before(self, margins: Margins, channel: int, query: Query, resolution: str, n: int) -> Pieces:
        """Return the last `n` readings before what is asked for, each a piece; the last hours, where they are gone."""
        from gateway.history.keeping import last_kept
        from gateway.history.pieces import moments
        from gateway.history.rows import rows_before

        start, horizon = query.start or FIRST, self._horizon(channel)
        if start < horizon and resolution != "1m":
            return last_kept(self._connection, channel, start, n)
        return moments(rows_before(self._connection, margins, channel, max(start, horizon), n))

    def _register_buckets(
        self,
        margins: Margins,
        number: int,
        query: Query,
        channel: str,
        settings: ChannelSettings,
        resolution: str,
        parts: Iterator[Pieces],
    ) -> list[Bucket]:
        """Return the buckets of a register, whose steps hang on readings about those that are asked for."""
        from gateway.history.keeping import kept_steps
        from gateway.history.pieces import Rows, moments
        from gateway.history.rows import read_rows, rows_after
        from gateway.history.steps import AROUND, Surroundings, register_buckets

        about = Surroundings(
            before=self._before(margins, number, query, resolution, AROUND),
            after=moments(rows_after(self._connection, margins, number, _bounds(query)[1], AROUND)),
            read=lambda a, b: Rows.join(read_rows(self._connection, margins, number, a, b)),
            kept=partial(kept_steps, self._connection, number),
        )
        return register_buckets(list(parts), about, query, channel, settings, resolution)

    def _pieces(self, margins: Margins, channel: int, query: Query, resolution: str) -> Iterator[Pieces]:
        """Yield pieces of the channel that no bucket shares with the next."""
        from gateway.history.buckets import piece_starts
        from gateway.history.hours import hour_pieces
        from gateway.history.pieces import cut
        from gateway.history.rows import read_rows

        start, end = _bounds(query)
        if resolution == "1m":
            start = max(start, self._horizon(channel))
            rows = read_rows(self._connection, margins, channel, start, end)
            yield from cut(rows, piece_starts(resolution, query.zone))
            return
        zone = query.zone if resolution == "1d" else None
        with self._ledger.snapshot():
            held = _hours_held(self._connection, channel, start, end)
            if held is None:
                return
            start, end = max(start, held[0]), min(end, held[1])
            pieces = hour_pieces(self._connection, margins, channel, start, end, zone, rolled=self._rollups)
        yield pieces


def _bounds(query: Query) -> tuple[int, int]:
    return FIRST if query.start is None else query.start, LAST if query.end is None else query.end


def _span(connection: sqlite3.Connection, channel: int, start: int, end: int) -> tuple[int, int] | None:
    horizon = retention.horizon_of(connection, channel)
    left = start if horizon is None else max(start, horizon.time)
    found = [connection.execute(_SPAN, (channel, left, end)).fetchone()]
    if horizon is not None and start < horizon.time:
        bounds = (channel, max(start, horizon.rolled), min(end, horizon.time))
        found.append(connection.execute(_KEPT, bounds).fetchone())
    held = [(int(first), int(last)) for first, last in found if first is not None]
    return (min(first for first, _ in held), max(last for _, last in held)) if held else None


def _hours_held(connection: sqlite3.Connection, channel: int, start: int, end: int) -> tuple[int, int] | None:
    """Return whole hours [from, to) that hold all readings of the range."""
    span = _span(connection, channel, start, end)
    if span is None:
        return None
    return span[0] - span[0] % HOUR_NS, span[1] - span[1] % HOUR_NS + HOUR_NS
