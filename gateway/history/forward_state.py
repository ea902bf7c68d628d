"""How far the ledger has been forwarded to InfluxDB, from what the forwarder notes in it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger import forwarding as sent
from gateway.ledger.forwarding import ALARM, AMENDED, READING, ROLLUP, Cursor
from gateway.ledger.store import Ledger

__all__ = ["ForwardingState", "forwarding_state"]

_TABLES = ("reading", "amended", "alarm_event")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingState:
    """Where forwarding stands, as the ledger knows it: for `doctor`, metrics and `influx status`. Times in ns.

    `lag`: readings that are not sent, `backlog` of them behind the new ones; `oldest_unsent`: when the oldest of them
    came in. `failing_since`: no answer, or not of use, since then; `held_since`: refused for want of a person's help.
    """

    target: str | None
    lag: int
    backlog: int
    waiting: int
    oldest_unsent: int | None
    last_answer: str | None
    last_answer_at: int | None
    last_sent_at: int | None
    failing_since: int | None
    held_since: int | None
    poison: int


def forwarding_state(ledger: Ledger) -> ForwardingState:
    """Return where forwarding stands; with no target it has never run. `waiting`: alarms,
    superseded verdicts and roll-ups unsent."""
    connection = ledger.connection
    said, known = sent.words(connection), sent.cursors(connection)
    rolled = connection.execute(
        "SELECT COUNT(*) FROM rollup WHERE revision > ?", (known.get(ROLLUP, Cursor()).live,)
    ).fetchone()
    cursor = known.get(READING, Cursor())
    heads = {t: int(connection.execute(f"SELECT MAX(id) FROM {t}").fetchone()[0] or 0) for t in _TABLES}  # noqa: S608
    backlog = max(0, cursor.jumped - cursor.done)
    oldest = connection.execute(
        "SELECT received_at FROM reading WHERE id > ? ORDER BY id LIMIT 1", (cursor.whole,)
    ).fetchone()

    def moment(key: str) -> int | None:
        return int(said[key]) if key in said else None

    return ForwardingState(
        target=said.get("target"),
        lag=heads["reading"] - cursor.live + backlog,
        backlog=backlog,
        waiting=int(rolled[0])
        + sum(heads[t] - known.get(s, Cursor()).live for t, s in (("amended", AMENDED), ("alarm_event", ALARM))),
        oldest_unsent=None if oldest is None else int(oldest[0]),
        last_answer=said.get("answer"),
        last_answer_at=moment("answer_at"),
        last_sent_at=moment("sent_at"),
        failing_since=moment("failing_since"),
        held_since=moment("held_since"),
        poison=int(connection.execute("SELECT COUNT(*) FROM forward_poison").fetchone()[0]),
    )
