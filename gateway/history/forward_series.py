"""Which series the points of a channel belong to: site, device, channel and kind as they were when a reading came."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.history.lineprotocol import Unencodable
from gateway.history.points import Tags
from gateway.ledger import forwarding as sent
from gateway.ledger.forwarding import Refused
from gateway.ledger.registry import documents
from gateway.ledger.store import Ledger

__all__ = ["ChannelSeries"]


class ChannelSeries:
    """The tags of every channel, fixed from its first point on until its device says otherwise."""

    def __init__(self, ledger: Ledger, site: str) -> None:
        self._ledger = ledger
        self._site = site
        self._version = ""
        self._rows = sent.series_of(ledger.connection)
        self._names: dict[int, tuple[str, str]] = {}
        self._devices: dict[str, tuple[str, str, dict[str, str]]] = {}
        self._tags: dict[int, list[tuple[int, Tags | str]]] = {}

    def know(self, channels: set[int], head: int) -> None:
        """Learn the series of these channels; a device that moved has another from the reading after `head` on."""
        connection = self._ledger.connection
        found = connection.execute("SELECT value FROM meta WHERE key = 'registry_version'").fetchone()
        version = "0" if found is None else str(found[0])
        if version != self._version:
            self._version = version
            self._devices = _devices(documents(connection), self._site)
            self._tags.clear()
        unknown = channels - self._tags.keys()
        if not unknown:
            return
        if not unknown <= self._names.keys():
            rows = connection.execute("SELECT id, device, channel FROM channel")
            self._names = {int(i): (str(d), str(c)) for i, d, c in rows}
        new = []
        for channel in unknown:
            site, kind, _ = self._devices.get(self._names[channel][0], (self._site, "other", {}))
            rows_ = self._rows.setdefault(channel, [])
            if not rows_ or rows_[-1][1:] != (site, kind):
                rows_.append((head + 1 if rows_ else 0, site, kind))
                new.append((channel, *rows_[-1]))
            self._tags[channel] = [(since, self._of(channel, s, k)) for since, s, k in rows_]
        if new:
            with self._ledger.transaction() as writing:
                sent.put_series(writing, new)

    def _of(self, channel: int, site: str, kind: str) -> Tags | str:
        """Return the series, or why line protocol cannot carry it."""
        device, name = self._names[channel]
        unit = self._devices.get(device, ("", "", {}))[2].get(name, "")
        try:
            return Tags.of(site, device, name, kind, unit)
        except Unencodable as error:
            return f"not sent: {error}"

    def _at(self, reading: int, channel: int) -> Tags | str:
        known = self._tags[channel]
        found = known[0][1]
        for since, tags in known[1:]:
            if since <= reading:
                found = tags
        return found

    def tags(self, reading: int, channel: int) -> Tags:
        """Return the series of a reading that `parted` let through."""
        known = self._tags[channel]
        found = known[0][1] if len(known) == 1 else self._at(reading, channel)
        if isinstance(found, str):
            raise Unencodable(found)
        return found

    def at(self, channel: int, time: int) -> Tags:
        """Return the series of a channel's readings at a time. Raises Unencodable."""
        connection = self._ledger.connection
        self.know({channel}, int(connection.execute("SELECT MAX(id) FROM reading").fetchone()[0] or 0))
        row = None
        if len(self._tags[channel]) > 1:
            which = "SELECT id FROM moments WHERE channel = ? AND time >= ? ORDER BY time LIMIT 1"
            row = connection.execute(which, (channel, time)).fetchone()
        return self.tags(0 if row is None else int(row[0]), channel)

    def parted(self, rows: Sequence[tuple[Any, ...]]) -> tuple[set[int], list[Refused]]:
        """Return the ids of rows that have a series, and those that cannot be sent with the reason."""
        good, bad = set(), []
        for r in rows:
            found = self._at(r[0], r[1])
            if isinstance(found, str):
                bad.append(Refused(measurement="reading", id=r[0], words=found))
            else:
                good.add(r[0])
        return good, bad


def _devices(known: Sequence[tuple[str, str, bytes]], site: str) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Return site, kind and the units of its channels for each device of the registry."""
    found = {}
    for what, name, document in known:
        if what == "device":
            d = json.loads(document)
            units = {c: str(s.get("unit", "")) for c, s in d.get("channels", {}).items()}
            found[name] = (str(d.get("site") or site), str(d["kind"]), units)
    return found
