"""Histories from the ledger itself; works beside a running gateway and sees everything acknowledged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from gateway.history import Bucket, ChannelSettings, Query, RawRow
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_duration
from gateway.metrology.readings import Quality

__all__ = ["LedgerHistory", "channel_settings"]

_RAW = """
    SELECT time, value, reference, reference_u, x, seq, boot, stable, quality, received_at, late
    FROM reading WHERE channel = ? AND time >= ? AND time < ? ORDER BY time, boot, seq, id"""
_BUCKET = """
    SELECT r.time, r.value, r.seq, r.boot, r.quality, COALESCE(a.context, r.context), COALESCE(a.verdict, r.verdict)
    FROM reading r LEFT JOIN amendment a ON a.reading = r.id
     AND a.version = (SELECT MAX(b.version) FROM amendment b WHERE b.reading = r.id)
    WHERE r.channel = ? AND r.time >= ? AND r.time < ? ORDER BY r.time, r.boot, r.seq, r.id"""

FIRST, LAST = -(2**63), 2**63 - 1


def channel_settings(documents: Iterable[tuple[str, str, bytes]]) -> dict[tuple[str, str], ChannelSettings]:
    """Return what histories need of the registry, from its stored documents: no need to check them again."""
    found: dict[tuple[str, str], ChannelSettings] = {}
    for kind, device, text in documents:
        if kind != "device":
            continue
        for name, channel in json.loads(text)["channels"].items():
            every = channel.get("every")
            found[device, name] = ChannelSettings(
                unit=channel["unit"],
                register=channel.get("type") == "register",
                every_ns=None if every is None else parse_duration(every),
            )
    return found


class LedgerHistory:
    """The ledger as a history store. `settings`: (device, channel) -> what the registry says of it."""

    def __init__(self, ledger: Ledger, settings: Mapping[tuple[str, str], ChannelSettings]) -> None:
        self._connection = ledger.connection
        self._settings = settings

    def _channels(self, query: Query) -> list[tuple[int, str]]:
        rows = self._connection.execute(
            "SELECT id, channel FROM channel WHERE device = ?1 AND (?2 IS NULL OR channel = ?2) ORDER BY channel",
            (query.device, query.channel),
        )
        return [(int(i), str(c)) for i, c in rows]

    def _of(self, device: str, channel: str) -> ChannelSettings:
        return self._settings.get((device, channel), ChannelSettings(unit=""))

    def raw(self, query: Query) -> Iterator[RawRow]:
        """Yield every stored reading, channel by channel in time order."""
        span = (FIRST if query.start is None else query.start, LAST if query.end is None else query.end)
        for number, channel in self._channels(query):
            unit = self._of(query.device, channel).unit
            for r in self._connection.execute(_RAW, (number, *span)):
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
                    "quality": Quality(r[8]).name.lower(),
                    "received_at": format_instant(r[9]),
                    "late": bool(r[10]),
                }

    def buckets(self, query: Query, resolution: str) -> Iterator[Bucket]:
        """Yield one bucket per stretch that holds readings: 1m and 1h aligned to UTC, 1d to the zone."""
        from gateway.history.buckets import channel_buckets

        span = (FIRST if query.start is None else query.start, LAST if query.end is None else query.end)
        for number, channel in self._channels(query):
            rows = self._connection.execute(_BUCKET, (number, *span)).fetchall()
            if rows:
                yield from channel_buckets(
                    self._connection, query, channel, self._of(query.device, channel), rows, resolution
                )
