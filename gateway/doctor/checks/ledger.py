"""The ledger: is it there, whole, of a schema we know, do its counters balance, and is its log being folded in."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, problem, warning
from gateway.doctor.reading import Unreadable, ledger_path, read_ledger, schema_known
from gateway.ledger import moments

__all__ = ["check"]

PATIENCE_S = 20.0
"""A large ledger takes longer than a person waits; a copy is checked whole."""
_STEPS = 100_000
LONG_LOG = 256 << 20
DAMAGED = ("malformed", "not a database")
"""What SQLite says of a file that is wrong itself; anything else may be the way to it."""
ROOM_TO_READ = 1 << 20
"""Readers too need some room, for the index of the log."""


def check(site: Site) -> Iterator[Finding]:
    """Look at the ledger in `data_dir`."""
    folder = site.settings.data_dir
    path = ledger_path(folder)
    if not path.exists():
        yield warning(f"no ledger in {folder} yet", "`metergate apply config/devices` makes it, or the first `run`")
        return
    try:
        with read_ledger(folder) as connection:
            yield from _integrity(connection, str(path))
            yield from _schema(connection, str(path))
            yield from _counters(connection)
            yield from _quarantine(connection)
    except Unreadable as error:
        remedy = "check the folder, its owner and the disk"
        if shutil.disk_usage(folder).free < ROOM_TO_READ:
            remedy = "make room on its disk first: without any, no ledger can be read"
        elif any(word in str(error) for word in DAMAGED):
            remedy = "stop the gateway and `metergate restore` the latest copy"
        yield problem(f"{path} cannot be read: {error}", remedy)
        return
    yield from _log(site)


def _integrity(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    deadline = time.monotonic() + PATIENCE_S
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
    try:
        said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        lost = moments.wrong(connection) if said == ["ok"] else 0
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        yield fine(f"{path}: no damage found in {PATIENCE_S:g} s; `metergate backup` checks a copy to its end")
        return
    finally:
        connection.set_progress_handler(None, _STEPS)
    if lost:
        said = [f"{lost} entries of readings by time or number are wrong"]
    if said == ["ok"]:
        yield fine(f"{path} is whole")
    else:
        yield problem(f"{path} is damaged: {said[0][:200]}", "stop the gateway and `metergate restore` the latest copy")


def _schema(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    have, known = int(connection.execute("PRAGMA user_version").fetchone()[0]), schema_known()
    if have > known:
        yield problem(f"{path} was written by a newer Metergate (schema {have}, known {known})", "use that version")


def _counters(connection: sqlite3.Connection) -> Iterator[Finding]:
    count = dict(connection.execute("SELECT name, n FROM counter"))
    received = count.get("received", 0)
    ended = [count.get(name, 0) for name in ("stored", "duplicate", "quarantined")]
    words = f"{received} readings received: {ended[0]} stored, {ended[1]} duplicate, {ended[2]} quarantined"
    if received == sum(ended):
        yield fine(words)
    else:
        yield problem(f"the counters do not balance: {words}", "this is a defect of Metergate; please report it")


def _quarantine(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = connection.execute(
        "SELECT reason, COUNT(*) FROM quarantine WHERE state = 'open' GROUP BY reason ORDER BY 2 DESC, 1"
    ).fetchall()
    if rows:
        words = ", ".join(f"{n} {reason}" for reason, n in rows)
        yield warning(f"in quarantine: {words}", "see `metergate quarantine list`")


def _log(site: Site) -> Iterator[Finding]:
    path = ledger_path(site.settings.data_dir)
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LONG_LOG:
        yield warning(
            f"the log {log} has grown to {size >> 20} MiB",
            "end what has been reading the ledger for long, such as a copy",
        )
