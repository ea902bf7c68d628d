"""Open the ledger to read it: nothing is migrated, made or changed, and no right to write is needed.

Where the file can be written it is opened so: a connection that could not tidy up would leave a log behind, owned by
whoever looked. SQLite falls back by itself where it cannot. A ledger in WAL mode can then be read while a gateway runs
on it (or was killed): its log is there. After a clean end there is none, and SQLite would have to make one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from gateway.errors import WrongUse
from gateway.ledger.store import BUSY_MS, Ledger

__all__ = ["open_to_read"]


@contextmanager
def open_to_read(data_dir: Path) -> Iterator[Ledger]:
    """Open the ledger in `data_dir`; an older one is brought up to date first, which needs the right to write.

    Raises WrongUse if there is none, or it cannot be read, also for what SQLite cannot read inside the block.
    """
    with _opened(data_dir) as ledger:
        try:
            yield ledger
        except sqlite3.Error as error:
            raise _unreadable(ledger.path, error) from error


def _opened(data_dir: Path) -> Ledger:
    path = data_dir / "ledger.sqlite"
    try:
        path.open("rb").close()
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_MS / 1000,
            check_same_thread=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise WrongUse(
            f"no ledger in {data_dir}", remedy="give the data folder in --config or run `metergate apply`"
        ) from None
    except PermissionError:
        raise WrongUse(f"the ledger {path} cannot be read by this user", remedy=_AS_USER) from None
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -16384")
        have = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        connection.close()
        raise _unreadable(path, error) from error
    if have == _newest():
        return Ledger(path, connection)
    connection.close()
    return Ledger.open(data_dir, create=False)


_AS_USER = "ask as the user the gateway runs as, or have that user give you the right to read it"


def _unreadable(path: Path, error: sqlite3.Error) -> WrongUse:
    if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return WrongUse(
            f"the ledger {path} cannot be read by this user while no gateway runs",
            remedy="ask as the user the gateway runs as, or read a copy (`metergate backup`)",
        )
    return WrongUse(f"cannot read the ledger {path}: {error}", remedy="see what `metergate doctor` says")


def _newest() -> int:
    """Return the number of the newest schema this program knows."""
    return sum(f.name.endswith(".sql") for f in resources.files("gateway.ledger").joinpath("schema").iterdir())
