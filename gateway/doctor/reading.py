"""The ledger, read without changing it: no migration, no file made."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["Unreadable", "ledger_path", "read_ledger", "schema_known"]


class Unreadable(Exception):
    """The ledger cannot be read; says why in SQLite's words, or that there is none."""


def ledger_path(data_dir: Path) -> Path:
    """Return where the ledger is, or would be."""
    return data_dir / "ledger.sqlite"


@contextmanager
def read_ledger(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for looking. Raises Unreadable, also for what fails inside the block."""
    path = ledger_path(data_dir)
    if not path.is_file():
        raise Unreadable("there is none")
    try:
        uri = f"{path.resolve().as_uri()}?mode=rw"  # not `ro`: that would leave a log behind, owned by whoever looked
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield connection
    except sqlite3.Error as error:
        raise Unreadable(str(error)) from error


def schema_known() -> int:
    """Return the number of the newest schema this program knows."""
    from importlib import resources

    folder = resources.files("gateway.ledger").joinpath("schema")
    return sum(f.name.endswith(".sql") for f in folder.iterdir())
