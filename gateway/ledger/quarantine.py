"""The quarantine inbox: everything that could not become a reading, with the reason and the bytes themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.metrology.readings import Refusal

__all__ = ["Quarantined", "decide", "entries", "put", "reopen_or_release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One entry of the inbox; times in ns."""

    id: int
    received_at: int
    topic: str | None
    reason: str
    detail: str
    device: str | None
    channel: str | None
    record: int | None
    payload: bytes
    state: str


def put(
    connection: sqlite3.Connection, refusals: Iterable[tuple[Refusal, int, str | None, bytes]], *, once: bool = False
) -> None:
    """Add refusals: (refusal, received_at, topic, bytes of the message or of the record alone).

    With `once` (recorded files) an entry that is there already, same reason, topic and bytes, is not added again.
    """
    unless = " WHERE NOT EXISTS (SELECT 1 FROM quarantine WHERE reason = ?3 AND topic IS ?2 AND payload = ?8)"
    connection.executemany(
        "INSERT INTO quarantine (received_at, topic, reason, detail, device, channel, record, payload) "
        "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8" + (unless if once else ""),
        [
            (received_at, topic, r.reason.value, r.detail, r.device, r.channel, r.record, payload)
            for r, received_at, topic, payload in refusals
        ],
    )


def entries(
    connection: sqlite3.Connection, *, state: str | None = "open", reason: str | None = None, entry: int | None = None
) -> list[Quarantined]:
    """Return entries, oldest first."""
    if entry is not None and not 0 < entry < 2**63:  # beyond what SQLite numbers
        return []
    rows = connection.execute(
        """SELECT id, received_at, topic, reason, detail, device, channel, record, payload, state FROM quarantine
           WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR reason = ?2) AND (?3 IS NULL OR id = ?3) ORDER BY id""",
        (state, reason, entry),
    )
    return [
        Quarantined(
            id=r[0], received_at=r[1], topic=r[2], reason=r[3], detail=r[4], device=r[5], channel=r[6], record=r[7],
            payload=bytes(r[8]), state=r[9],
        )
        for r in rows
    ]  # fmt: skip


def decide(connection: sqlite3.Connection, entry: int, state: str, at: int, by: str) -> None:
    """Mark an entry as approved (to be run again), released (run again, gone through) or rejected."""
    connection.execute(
        "UPDATE quarantine SET state = ?, decided_at = ?, decided_by = ? WHERE id = ?", (state, at, by, entry)
    )


def reopen_or_release(connection: sqlite3.Connection, entry: int, again: Refusal | None, at: int) -> None:
    """Settle an approved entry that was run again: released, or open with the reason it was refused for now."""
    if again is None:
        connection.execute("UPDATE quarantine SET state = 'released', decided_at = ? WHERE id = ?", (at, entry))
    else:
        connection.execute(
            "UPDATE quarantine SET state = 'open', reason = ?, detail = ? WHERE id = ?",
            (again.reason.value, again.detail, entry),
        )
