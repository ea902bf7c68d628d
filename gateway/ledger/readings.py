"""Readings and verdicts in the ledger: added in the order of arrival, found again by channel and time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gateway.pipeline.columns import Columns, Ints
from gateway.pipeline.counting import Numbered
from gateway.pipeline.intake import Question, Stretch

__all__ = [
    "BEYOND",
    "Stored",
    "add_amendments",
    "add_readings",
    "find",
    "first_marked",
    "layout",
    "layout_id",
    "met",
    "numbered",
    "since",
]

BEYOND = 2
"""The column `late` of a reading that came beyond the lateness horizon: stored, never charted."""

_FIELDS = (
    "channel", "time", "boot", "seq", "value", "reference", "reference_u", "x", "value_start", "reference_start",
    "flow_m3h", "current_A", "power_factor", "temperature_C", "stable", "evidence", "clock", "standard", "phase",
    "direction", "seq_per_device",
)  # fmt: skip
_SELECT = ", ".join(_FIELDS)
_COUNTS = frozenset({"seq", "stable", "evidence"})
TOGETHER = 100
_SINCE = f"""
    SELECT {", ".join(f"r.{f}" for f in _FIELDS)}, r.id, COALESCE(a.context, r.context),
           COALESCE(a.verdict, r.verdict), COALESCE(a.version, 0)
    FROM by_time r LEFT JOIN amendment a ON a.reading = r.id
     AND a.version = (SELECT MAX(b.version) FROM amendment b WHERE b.reading = r.id)
    WHERE r.channel = ? AND r.time > ? AND r.time <= ? AND (r.late = 2) = ?"""  # noqa: S608  constants only

_VERDICTS = """
    SELECT r.time, json_extract(c.document, '$.layout'), COALESCE(a.verdict, r.verdict)
    FROM by_time r LEFT JOIN amendment a ON a.reading = r.id
     AND a.version = (SELECT MAX(b.version) FROM amendment b WHERE b.reading = r.id)
    JOIN context c ON c.id = COALESCE(a.context, r.context)
    WHERE r.channel = ? AND r.time >= ? AND r.verdict IS NOT NULL AND r.late <> 2 ORDER BY r.time"""
SOME = 1000
"""So many verdicts are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Readings as stored, sorted, with their row ids and the verdict that holds (None: no check)."""

    columns: Columns
    ids: tuple[int, ...]
    context: tuple[int | None, ...]
    verdict: tuple[bytes | None, ...]
    version: tuple[int, ...]


def add_readings(
    connection: sqlite3.Connection,
    columns: Columns,
    channel_ids: Ints,
    received_at: Ints,
    late: Ints,
    quality: npt.NDArray[np.int8],
    context: Sequence[int | None],
    verdict: Sequence[bytes | memoryview | None],
) -> Ints:
    """Add readings in this order, and return their ids. `channel_ids` are the ledger's; NaN and -1 become NULL."""
    rows: dict[str, Sequence[object]] = {
        "channel": channel_ids.tolist(),
        "received_at": received_at.tolist(),
        "late": late.tolist(),
        "quality": quality.tolist(),
        "context": context,
        "verdict": verdict,
    }
    for name in _FIELDS[1:]:
        column = getattr(columns, name)
        if name == "clock" or _says_something(column):
            rows[name] = _nullable(column) if name in _COUNTS else column.tolist()
    insert_rows(connection, "reading", rows)
    last = int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])
    return np.arange(last - len(columns) + 1, last + 1)


def insert_rows(
    connection: sqlite3.Connection,
    table: str,
    columns: Mapping[str, Sequence[object]],
    *,
    clash: Literal["ABORT", "REPLACE", "IGNORE"] = "ABORT",
) -> None:
    """Insert rows given by column, in order; `clash` says what becomes of those whose key is there already.

    Up to `TOGETHER` rows are one statement, and what is the same in all of them is bound once: the interpreter is free
    while SQLite works, and most of what a batch says (its channel, boot, moment of receipt) it says of every row.
    """
    total, start = len(next(iter(columns.values()))), 0
    while start < total:
        rows = min(TOGETHER, 1 << ((total - start).bit_length() - 1))  # a few sizes: each is a statement to be kept
        parts = {name: column[start : start + rows] for name, column in columns.items()}
        same = {name: part[0] for name, part in parts.items() if part.count(part[0]) == rows}
        differing = [name for name in parts if name not in same]
        values = [*same.values(), *chain.from_iterable(zip(*(parts[name] for name in differing), strict=True))]
        connection.execute(_insert(table, (*same,), (*differing,), rows, clash), values)
        start += rows


@lru_cache(maxsize=512)
def _insert(table: str, same: tuple[str, ...], differing: tuple[str, ...], rows: int, clash: str) -> str:
    """Return the statement for so many rows: first what is the `same` in all, then row by row, without numbers: SQLite
    looks through all numbers for each.
    """
    row = f"({', '.join([*(f'?{i}' for i in range(1, len(same) + 1)), *('?' * len(differing))])})"
    names = ", ".join(same + differing)
    return f"INSERT OR {clash} INTO {table} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608  constants only


def _says_something(column: npt.NDArray[Any]) -> bool:
    """Return whether a column holds anything but NULLs; False is none where it may be."""
    if column.dtype == np.float64:
        return not np.isnan(column).all()
    if column.dtype == object:
        texts: list[object] = column.tolist()
        return texts.count(None) < len(texts)
    return bool(column.any() if column.dtype == np.bool_ else (column >= 0).any())


def _nullable(column: npt.NDArray[Any]) -> list[int | None]:
    return [None if v < 0 else v for v in column.tolist()]


def _columns(rows: Sequence[tuple[Any, ...]], channel: int | Ints) -> Columns:
    """Return rows of `_SELECT` as columns of the plan's channel `channel`, of all rows or of each."""
    parts = list(zip(*rows, strict=True)) if rows else [()] * len(_FIELDS)
    named = dict(zip(_FIELDS, parts, strict=False))

    def texts(name: str) -> npt.NDArray[np.object_]:
        column = np.empty(len(rows), object)
        column[:] = named[name]
        return column

    def numbers(name: str) -> npt.NDArray[np.float64]:
        return np.array(named[name], np.float64)

    def whole(name: str, code: Any) -> npt.NDArray[Any]:
        return np.array([-1 if v is None else v for v in named[name]], code)

    return Columns(
        channel=np.full(len(rows), channel, np.int64), time=np.array(named["time"], np.int64), value=numbers("value"),
        reference=numbers("reference"), reference_u=numbers("reference_u"), x=numbers("x"),
        value_start=numbers("value_start"), reference_start=numbers("reference_start"), flow_m3h=numbers("flow_m3h"),
        current_A=numbers("current_A"), power_factor=numbers("power_factor"), temperature_C=numbers("temperature_C"),
        seq=whole("seq", np.int64), stable=whole("stable", np.int8), evidence=whole("evidence", np.int8),
        clock=np.array(named["clock"], np.bool_), seq_per_device=np.array(named["seq_per_device"], np.bool_),
        missing=np.zeros(len(rows), np.int64), boot=texts("boot"), standard=texts("standard"), phase=texts("phase"),
        direction=texts("direction"),
    )  # fmt: skip


def met(connection: sqlite3.Connection, stretches: Iterable[Stretch], channel_ids: Ints) -> Columns:
    """Return stored readings of the stretches: not all where far more are stored than came again."""
    query = f"SELECT {_SELECT} FROM by_time WHERE channel = ? AND time BETWEEN ? AND ? LIMIT ?"  # noqa: S608  constants only
    rows: list[tuple[Any, ...]] = []
    channels: list[Ints] = []
    for s in stretches:
        some = connection.execute(query, (int(channel_ids[s.channel]), s.first, s.last, 4 * s.rows)).fetchall()
        rows += some
        channels.append(np.full(len(some), s.channel, np.int64))
    return _columns(rows, np.concatenate(channels) if rows else 0)


def find(connection: sqlite3.Connection, questions: Sequence[Question], channel_ids: Ints) -> list[Columns]:
    """Answer each question: the channel's stored readings of that moment, or of that (boot, seq)."""
    moment = f"SELECT {_SELECT} FROM by_time WHERE channel = ? AND time = ?"  # noqa: S608  constants only
    number = (
        f"SELECT {_SELECT} FROM reading WHERE id IN (SELECT id FROM numbers WHERE channel = ? AND seq = ? AND boot = ?)"  # noqa: S608  constants only
    )
    if not questions:
        return []
    answers, nothing = [], _columns([], 0)
    for q in questions:
        channel_id = int(channel_ids[q.channel])
        rows = connection.execute(moment, (channel_id, q.time)).fetchall()
        if q.boot is not None and q.seq >= 0:
            rows += connection.execute(number, (channel_id, q.seq, q.boot)).fetchall()
        answers.append(_columns(rows, q.channel) if rows else nothing)
    return answers


def since(
    connection: sqlite3.Connection,
    channel: int,
    channel_id: int,
    after: int,
    until: int = 2**63 - 1,
    *,
    beyond: bool = False,
) -> Stored:
    """Return the channel's readings later than `after`, up to `until` (ns), sorted, with the verdict that holds.

    Those beyond the lateness horizon, which nothing else depends on, come alone, with `beyond`.
    """
    rows = connection.execute(_SINCE, (channel_id, after, until, beyond)).fetchall()
    columns = _columns([r[: len(_FIELDS)] for r in rows], channel)
    order = columns.sorted_rows().tolist()
    n = len(_FIELDS)
    return Stored(
        columns=columns.take(order),
        ids=tuple(rows[i][n] for i in order),
        context=tuple(rows[i][n + 1] for i in order),
        verdict=tuple(rows[i][n + 2] for i in order),
        version=tuple(rows[i][n + 3] for i in order),
    )


def numbered(
    connection: sqlite3.Connection,
    channels: Mapping[int, str],
    after: int,
    until: int = 2**63 - 1,
    *,
    beyond: bool = False,
) -> tuple[list[Numbered], list[Numbered]]:
    """Return a device's readings whose `seq` counts all its channels: each channel's last up to `after` (ns), and all
    later ones, up to `until`. `channels`: id -> name; a reading's key is its row id. Those beyond the lateness horizon
    count only with `beyond`.
    """
    query = "SELECT time, COALESCE(boot, ''), seq, id FROM reading WHERE channel = ? AND seq_per_device "
    query += "" if beyond else "AND late <> 2 "
    before: list[Numbered] = []
    later: list[Numbered] = []
    for channel, name in channels.items():
        last = connection.execute(
            query + "AND time <= ? ORDER BY time DESC, boot DESC, seq DESC LIMIT 1", (channel, after)
        )
        before += [(time, boot, seq, name, key) for time, boot, seq, key in last]
        rest = connection.execute(query + "AND time > ? AND time <= ?", (channel, after, until))
        later += [(time, boot, seq, name, key) for time, boot, seq, key in rest]
    return before, later


def add_amendments(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, int, bytes, str, int]]) -> None:
    """Add superseding verdicts: (reading, version, context, verdict, id of the one superseded, recorded_at)."""
    connection.executemany("INSERT INTO amendment VALUES (?, ?, ?, ?, ?, ?)", rows)


def first_marked(connection: sqlite3.Connection, channel_id: int, since: int, names: Iterable[str]) -> dict[str, int]:
    """Return the time (ns) of the channel's first verdict, from `since` on, in which each boolean field is true."""
    found: dict[str, int] = {}
    wanted, layouts = set(names), dict[int, np.dtype[Any]]()
    rows = connection.execute(_VERDICTS, (channel_id, since))
    while wanted and (some := rows.fetchmany(SOME)):
        for number, group in groupby(some, key=lambda row: row[1]):
            dtype = layouts.setdefault(number, layout(connection, number))
            times, _, packed = zip(*group, strict=True)
            verdicts = np.frombuffer(b"".join(packed), dtype)
            for name in wanted & set(dtype.names or ()):
                hits = np.flatnonzero(verdicts[name])
                if len(hits):
                    found[name] = times[hits[0]]
            wanted -= found.keys()
    return found


def layout_id(connection: sqlite3.Connection, dtype: np.dtype[Any]) -> int:
    """Return the number of this verdict layout, added if new."""
    description = json.dumps(np.lib.format.dtype_to_descr(dtype))
    connection.execute("INSERT OR IGNORE INTO layout (description) VALUES (?)", (description,))
    return int(connection.execute("SELECT id FROM layout WHERE description = ?", (description,)).fetchone()[0])


def layout(connection: sqlite3.Connection, number: int) -> np.dtype[Any]:
    """Return the verdict layout of that number."""
    description = connection.execute("SELECT description FROM layout WHERE id = ?", (number,)).fetchone()[0]
    fields = [tuple(f) for f in json.loads(description)]
    return np.dtype(fields)
