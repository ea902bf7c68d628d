"""Readings of one channel as rows for pieces, from the ledger: with the margin of the verdict that holds now."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.history.pieces import Rows

__all__ = ["Margins", "read_rows", "rows_after", "rows_before"]

CHUNK = 50_000
_AMENDMENT = """LEFT JOIN amendment a ON a.reading = r.id
     AND a.version = (SELECT MAX(b.version) FROM amendment b WHERE b.reading = r.id)"""
_PLACED = "moment m CROSS JOIN reading r ON r.id = m.reading"
_BEFORE = """
    SELECT time, value, seq, boot, quality, NULL, NULL, seq_per_device, id FROM by_time WHERE channel = ? AND time < ?
    ORDER BY time DESC, boot DESC, seq DESC, value DESC LIMIT ?"""
_AFTER = """
    SELECT time, value, seq, boot, quality, NULL, NULL, seq_per_device, id FROM by_time WHERE channel = ? AND time >= ?
    ORDER BY time, boot, seq, value LIMIT ?"""


_Row = tuple[Any, ...]


class Margins:
    """Reads `margin_percent` out of packed verdicts; remembers the layouts it has met."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._layouts: dict[int, np.dtype[Any]] = {}

    def _layout(self, context: int) -> np.dtype[Any]:
        from gateway.ledger import readings

        if context not in self._layouts:
            row = self._connection.execute("SELECT document FROM context WHERE id = ?", (context,)).fetchone()
            self._layouts[context] = readings.layout(self._connection, int(json.loads(row[0])["layout"]))
        return self._layouts[context]

    def of(self, contexts: tuple[int | None, ...], verdicts: tuple[bytes | None, ...]) -> npt.NDArray[np.float64]:
        """Return the margin of each verdict, NaN where there is none."""
        margin = np.full(len(verdicts), np.nan)
        by_context: dict[int, list[int]] = {}
        for i, (context, verdict) in enumerate(zip(contexts, verdicts, strict=True)):
            if verdict is not None and context is not None:
                by_context.setdefault(context, []).append(i)
        for context, places in by_context.items():
            packed = b"".join([verdicts[i] or b"" for i in places])
            margin[places] = np.frombuffer(packed, self._layout(context))["margin_percent"]
        return margin


def read_rows(
    connection: sqlite3.Connection,
    margins: Margins,
    channel: int,
    start: int,
    end: int,
    *,
    chunk: int = CHUNK,
    placed: bool = False,
) -> Iterator[Rows]:
    """Yield the readings of [start, end) in order, at most `chunk` at a time.

    `placed` says that all of them are known to be placed (`gateway.ledger.moments`): the others are not looked through.
    """
    amended = connection.execute("SELECT 1 FROM amendment LIMIT 1").fetchone() is not None
    found = connection.execute(_query(amended=amended, placed=placed), (channel, start, end))
    kept: list[_Row] = []
    while some := found.fetchmany(chunk):
        some, kept = _whole_moments(kept + some)
        if some:
            yield _rows(some, margins, _lost(connection, channel, some))
    if kept:
        yield _rows(kept, margins, _lost(connection, channel, kept))


def _query(*, amended: bool, placed: bool) -> str:
    context, verdict = ("COALESCE(a.context, r.context)", "COALESCE(a.verdict, r.verdict)") if amended else (
        "r.context", "r.verdict"
    )  # fmt: skip
    at = "m" if placed else "r"
    return f"""SELECT r.time, r.value, r.seq, r.boot, r.quality, {context}, {verdict}, r.seq_per_device, r.id
        FROM {_PLACED if placed else "by_time r"} {_AMENDMENT if amended else ""}
        WHERE {at}.channel = ? AND {at}.time >= ? AND {at}.time < ? ORDER BY {at}.time"""  # noqa: S608  constants only


def _lost(connection: sqlite3.Connection, channel: int, some: list[_Row]) -> Collection[int]:
    """Return before which of these rows (ids) numbers are missing that count the readings of the whole device."""
    if not any(row[7] for row in some):
        return ()
    from gateway.ledger.readings import numbered
    from gateway.pipeline.counting import missing_before

    named = "SELECT o.id, o.channel FROM channel c JOIN channel o ON o.device = c.device WHERE c.id = ?"
    channels = dict(connection.execute(named, (channel,)))
    before, later = numbered(connection, channels, some[0][0] - 1, some[-1][0], beyond=True)
    return missing_before(later, before).keys()


def rows_before(connection: sqlite3.Connection, margins: Margins, channel: int, time: int, n: int) -> Rows | None:
    """Return the channel's last `n` readings before `time`, without margins and what a device's `seq` says."""
    some = connection.execute(_BEFORE, (channel, time, n)).fetchall()[::-1]
    return _rows(some, margins) if some else None


def rows_after(connection: sqlite3.Connection, margins: Margins, channel: int, time: int, n: int) -> Rows | None:
    """Return the channel's first `n` readings from `time` on, without margins and what a device's `seq` says."""
    some = connection.execute(_AFTER, (channel, time, n)).fetchall()
    return _rows(some, margins) if some else None


def _whole_moments(some: list[_Row]) -> tuple[list[_Row], list[_Row]]:
    """Return the rows before the last moment, and those of that moment, to which the next rows may belong."""
    n = len(some) - 1
    while n and some[n - 1][0] == some[-1][0]:
        n -= 1
    return some[:n], some[n:]


def _in_order(some: list[_Row]) -> list[_Row]:
    """Return rows sorted by time, by (time, boot, seq, value): cheaper here than asked of the ledger."""
    time = np.fromiter((r[0] for r in some), np.int64, len(some))
    if (time[1:] > time[:-1]).all():
        return some
    return sorted(some, key=lambda r: (r[0], r[3] or "", -1 if r[2] is None else r[2], r[1]))


def _rows(some: list[_Row], margins: Margins, lost: Collection[int] = ()) -> Rows:
    some = _in_order(some)
    time, value, seq, boot, quality, context, verdict, per_device, number = zip(*some, strict=True)
    if any(per_device):  # the numbers missing in one channel were used in the others
        seq = tuple(None if other else s for s, other in zip(seq, per_device, strict=True))
    judged = context.count(None) < len(some)
    return Rows(
        time=np.array(time, np.int64),
        value=np.array(value, np.float64),
        seq=np.array(seq if None not in seq else [-1 if s is None else s for s in seq], np.int64),
        boot=_boots(boot),
        quality=np.array(quality, np.int64),
        checked=np.array([v is not None for v in verdict]) if judged else np.zeros(len(some), np.bool_),
        margin=margins.of(context, verdict) if judged else np.full(len(some), np.nan),
        lost=np.array([n in lost for n in number]) if lost else np.zeros(len(some), np.bool_),
    )


def _boots(boot: tuple[str | None, ...]) -> npt.NDArray[np.int64]:
    """Return the code of each boot; what is imported here alone is a tenth of a command's start-up."""
    found = set(boot)
    if found == {None}:
        return np.zeros(len(boot), np.int64)
    from gateway.pipeline.columns import boot_code

    code = {b: boot_code(b) for b in found}
    return np.array([code[b] for b in boot], np.int64)
