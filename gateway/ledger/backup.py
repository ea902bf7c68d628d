"""Copies of the ledger: made while a gateway writes to it, proven, and put back.

A copy is one file, a whole SQLite database of the moment it was begun. It appears under its name only when it has been
checked and is on disk; a copy that is cut short leaves nothing but a `.partial` file, which the next one removes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Refused, WrongUse
from gateway.ledger import moments
from gateway.ledger.store import FIRST_STOP, Ledger, hold

__all__ = ["Copy", "back_up", "inspect", "restore"]

STEP_PAGES = 1024
"""Pages copied at once; between two steps other threads and processes have the disk."""
PAUSE_S = 0.002
CHUNK = 1 << 20
_WORDS = 200
_TABLES = {"reading", "registry", "state", "alarm", "quarantine", "counter"}

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What a copy holds. `newest`: when the last of its readings was received, ns; `sha256` of the file."""

    path: Path
    bytes: int
    schema: int
    readings: int
    newest: int | None
    sha256: str


def back_up(data_dir: Path, target: Path, advance: Advance = lambda _pages: None) -> Copy:
    """Copy the ledger in `data_dir` to the new file `target`, check the copy, and return what it holds.

    A gateway may write meanwhile: the copy is of one moment, and only its write-ahead log grows until it is done.
    Raises Refused when the target exists, the disk is too small or the copy is damaged; WrongUse when there is no
    ledger or a folder cannot be written.
    """
    source = data_dir / "ledger.sqlite"
    if not source.is_file():
        raise WrongUse(f"no ledger in {data_dir}", remedy="name the settings file of the gateway with --config")
    if target.exists():
        raise Refused(f"{target} is there already", remedy="name a new file; copies are never overwritten")
    needed = source.stat().st_size + _size(_beside(source, "-wal"))
    with _partial(target, needed) as partial:
        try:
            _copy(source, partial, advance)
        except sqlite3.Error as error:
            raise Refused(
                f"the ledger {source} cannot be copied: {error}", remedy="check the disk, then `metergate doctor`"
            ) from error
        copy = inspect(partial)
        _publish(partial, target)
    return Copy(
        path=target, bytes=copy.bytes, schema=copy.schema, readings=copy.readings, newest=copy.newest,
        sha256=copy.sha256,
    )  # fmt: skip


def inspect(path: Path) -> Copy:
    """Check a copy from its first page to its last and return what it holds. Raises Refused if it is damaged, WrongUse
    if it is no copy of a ledger."""
    if not path.is_file():
        raise WrongUse(f"there is no file {path}", remedy="name a file that `metergate backup` made")
    try:
        with closing(_open(path, "ro")) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= _TABLES:
                raise WrongUse(f"{path} is no copy of a ledger", remedy="name a file that `metergate backup` made")
            said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
            if said != ["ok"]:
                raise Refused(f"{path} is damaged: {said[0][:_WORDS]}", remedy="use another copy")
            if wrong := moments.wrong(connection):
                raise Refused(
                    f"{path} is damaged: {wrong} entries of readings by time or number", remedy="use another copy"
                )
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            (readings,) = connection.execute("SELECT COUNT(*) FROM reading").fetchone()
            last = connection.execute("SELECT received_at FROM reading ORDER BY id DESC LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        raise Refused(f"{path} is damaged or no copy of a ledger: {error}", remedy="use another copy") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Copy(
        path=path, bytes=path.stat().st_size, schema=int(schema), readings=int(readings),
        newest=None if last is None else int(last[0]), sha256=digest,
    )  # fmt: skip


def restore(copy: Path, data_dir: Path, aside: str) -> Path | None:
    """Put a copy in the place of the ledger in `data_dir`; return where the ledger that was there is now.

    `aside` names that file. The folder is held meanwhile: Refused while a gateway runs on it. A copy that is damaged,
    or was written by a newer Metergate, changes nothing; at every moment there is either the old ledger or the new.
    """
    with hold(data_dir, FIRST_STOP):
        held = inspect(copy)
        kept = data_dir / aside
        if kept.exists():
            raise Refused(f"{kept} is there already", remedy="move it away, or wait a second")
        ledger = data_dir / "ledger.sqlite"
        with _partial(ledger, held.bytes) as partial:
            with copy.open("rb") as source, partial.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
            partial.chmod(0o600)
            _bring_up_to_date(partial)
            was = _put_aside(ledger, kept)
            _publish(partial, ledger)
    return was


def _copy(source: Path, target: Path, advance: Advance) -> None:
    """Copy within one read transaction: other connections write on, and the copy never begins again because of them."""
    with closing(_open(source, "rw")) as reader, closing(sqlite3.connect(target, isolation_level=None)) as writer:
        target.chmod(0o600)
        writer.execute("PRAGMA synchronous = OFF")  # it is brought to disk as a whole before it has its name
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM meta").fetchone()
        done = 0

        def progress(_status: int, remaining: int, total: int) -> None:
            nonlocal done
            advance(total - remaining - done)
            done = total - remaining

        reader.backup(writer, pages=STEP_PAGES, progress=progress, sleep=PAUSE_S)
        reader.execute("COMMIT")
        writer.execute("PRAGMA journal_mode = DELETE")  # one file, with no log beside it


def _open(path: Path, mode: str) -> sqlite3.Connection:
    """Open a database that is there. Only `rw` takes its log away again when it is the last to close a ledger."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)


def _bring_up_to_date(path: Path) -> None:
    """Migrate a copy of an older Metergate. Raises WrongUse for one of a newer."""
    folder = path.parent / f"{path.name}.open"
    folder.mkdir(mode=0o700)
    inside = folder / "ledger.sqlite"
    path.rename(inside)
    try:
        with Ledger.open(folder, create=False) as ledger:
            ledger.connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        inside.rename(path)
        shutil.rmtree(folder)


def _put_aside(ledger: Path, kept: Path) -> Path | None:
    """Give the present ledger a second name, and leave no log beside it that could be taken for the new one's."""
    if not ledger.exists():
        return None
    logs = [(_beside(ledger, log), _beside(kept, log)) for log in ("-wal", "-shm")]
    for log, log_kept in logs:  # SQLite removes the log of a ledger that it cannot read
        if log.exists():
            os.link(log, log_kept)
    is_sound = _fold_log(ledger)
    os.link(ledger, kept)
    for log, log_kept in logs:
        log.unlink(missing_ok=True)
        if is_sound:
            log_kept.unlink(missing_ok=True)
    return kept


def _fold_log(ledger: Path) -> bool:
    """Bring what is in the log into the ledger itself; return whether that could be done."""
    try:
        with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
            return bool(connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",))
    except sqlite3.DatabaseError:
        return False


def _beside(ledger: Path, log: str) -> Path:
    return ledger.with_name(ledger.name + log)


@contextmanager
def _partial(target: Path, needed: int) -> Iterator[Path]:
    """Yield a path beside `target` for what is not done yet; nothing stays there if it is not published."""
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WrongUse(f"cannot write to {folder}: {error.strerror}", remedy="name another folder") from error
    if free < needed:
        raise Refused(
            f"{folder} has {free >> 20} MiB free, and {(needed >> 20) + 1} MiB are needed",
            remedy="make room, or name another disk",
        )
    partial = target.with_name(target.name + ".partial")
    _remove(partial)
    try:
        yield partial
    finally:
        _remove(partial)


def _remove(partial: Path) -> None:
    shutil.rmtree(partial.with_name(f"{partial.name}.open"), ignore_errors=True)
    for name in (partial.name, f"{partial.name}-journal", f"{partial.name}-wal", f"{partial.name}-shm"):
        partial.with_name(name).unlink(missing_ok=True)


def _publish(partial: Path, target: Path) -> None:
    """Bring a finished file to disk, then give it its name, and that to disk too."""
    _sync(partial)
    partial.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
