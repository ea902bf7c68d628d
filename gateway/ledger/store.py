"""Open the ledger: one SQLite file, WAL, synchronous FULL; numbered schema files, each applied in one transaction."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Self

from gateway.errors import Refused, WrongUse

__all__ = ["FIRST_STOP", "Checkpoints", "Ledger", "hold"]

log = logging.getLogger("metergate")

BUSY_MS = 10_000
FIRST_STOP = "stop it first (systemctl stop metergate, or docker compose stop gateway), and start it again afterwards"
"""What to do where a command needs the ledger to itself."""


class Ledger:
    """A connection to the ledger. Not shared between threads at the same time; any number of processes may have one."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    @classmethod
    def open(cls, data_dir: Path, *, create: bool = True) -> Self:
        """Open (and bring up to date) the ledger in `data_dir`. Raises WrongUse if it cannot be used."""
        path = data_dir / "ledger.sqlite"
        if not create and not path.exists():
            raise WrongUse(
                f"no ledger in {data_dir}", remedy="give the data folder in --config or run `metergate apply`"
            )
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16384")
            connection.execute("PRAGMA secure_delete = FAST")  # what is deleted is not written once more
            connection.execute("PRAGMA wal_autocheckpoint = 1000")
            connection.execute("PRAGMA journal_size_limit = 268435456")
            ledger = cls(path, connection)
            ledger._migrate()
        except (sqlite3.DatabaseError, OSError) as error:
            raise WrongUse(
                f"cannot open the ledger {path}: {error}", remedy="check the folder, its owner and the disk"
            ) from error
        return ledger

    @classmethod
    def look(cls, data_dir: Path) -> Self:
        """Open the ledger in `data_dir`; where the folder has none yet, an empty one in memory.

        Raises WrongUse if there is no folder: then it is not the one that is meant.
        """
        path = data_dir / "ledger.sqlite"
        if path.exists() or not data_dir.is_dir():
            return cls.open(data_dir, create=False)
        ledger = cls(path, sqlite3.connect(":memory:", isolation_level=None))
        ledger._migrate()
        return ledger

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction: durable when the block ends, undone when it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk has SQLite roll back by itself
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read in one consistent view."""
        self.connection.execute("BEGIN")
        try:
            yield self.connection
        finally:
            self.connection.execute("COMMIT")

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def leave_checkpoints(self) -> None:
        """Let commits append only: somebody else moves the log into the file, or it grows (see `Checkpoints`)."""
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")

    def checkpoint(self) -> int:
        """Move what was committed into the file, waiting for nobody; return how many pages the log holds."""
        return _checkpoint(self.connection)

    def _migrate(self) -> None:
        scripts = sorted(
            (f for f in resources.files("gateway.ledger").joinpath("schema").iterdir() if f.name.endswith(".sql")),
            key=lambda f: f.name,
        )
        have = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if have > len(scripts):
            raise WrongUse(
                f"the ledger {self.path} was written by a newer Metergate (schema {have})",
                remedy=f"use that version or newer; this one knows schema {len(scripts)}",
            )
        if 0 < have < len(scripts):
            log.info("the ledger %s is brought up to date, schema %d to %d", self.path, have, len(scripts))
        for number, script in enumerate(scripts[have:], start=have + 1):
            with self.transaction() as connection:
                if int(connection.execute("PRAGMA user_version").fetchone()[0]) >= number:
                    continue
                for statement in _statements(script.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")


class Checkpoints:
    """A connection that moves the log into the file beside the one that commits, so that no commit waits for it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        self._connection.execute("PRAGMA synchronous = FULL")

    def move(self) -> int:
        """Move what was committed so far; return how many pages the log holds."""
        return _checkpoint(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _checkpoint(connection: sqlite3.Connection) -> int:
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(int(pages), 0)


def _statements(script: str) -> Iterator[str]:
    """Split a schema file into statements; comments may hold semicolons."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


@contextmanager
def hold(data_dir: Path, remedy: str = "stop it, or give this one its own data_dir") -> Iterator[None]:
    """Hold the data folder for one gateway: a kernel lock, freed by any death. Raises Refused if another holds it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another gateway runs on {data_dir}", remedy=remedy) from None
        yield
    finally:
        os.close(descriptor)
