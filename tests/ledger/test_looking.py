"""A ledger can be read without the right to write it, as far as SQLite's log allows, and is not changed by that."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import WrongUse
from gateway.history import Query
from gateway.ledger import store
from gateway.ledger.looking import open_to_read
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from tests.history.support import MINUTE, SETTINGS, START, Centre

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that everybody may read and only we may write."""
    made = Path(tempfile.mkdtemp(prefix="metergate-test-"))
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def volts(first: int, last: int) -> list[Reading]:
    return [
        Reading(device="meter", channel="voltage", unit="V", time=START + i * MINUTE, value=230.0)
        for i in range(first, last)
    ]


def values(folder: Path) -> str:
    """Return how many readings the history has; or why it cannot be read."""
    from gateway.history.ledger import LedgerHistory

    try:
        with open_to_read(folder) as ledger:
            history = LedgerHistory(ledger, SETTINGS)
            hours = list(history.buckets(Query(device="meter"), "1h"))
            return f"{len(list(history.raw(Query(device='meter'))))} readings, {len(hours)} hours"
    except WrongUse as error:
        return str(error)


def as_another_user(folder: Path, work: Callable[[Path], str]) -> str:
    """Do the work in a process that may read the folder and not write it."""
    for file in folder.iterdir():
        file.chmod(0o644)
    if os.geteuid() != 0:
        folder.chmod(0o555)
        for file in folder.iterdir():
            file.chmod(0o444)
        return work(folder)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  another process
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(into, work(folder).encode())
        finally:
            os._exit(0)
    os.close(into)
    os.waitpid(child, 0)
    with os.fdopen(out, "rb") as reader:
        return reader.read().decode()


def test_another_user_sees_everything_while_a_gateway_runs(folder: Path) -> None:
    centre = Centre(folder)
    centre.put(volts(0, 100))
    assert as_another_user(folder, values) == values(folder) == "100 readings, 2 hours"
    if os.geteuid() == 0:  # else the folder is read-only for the gateway too
        centre.put(volts(100, 130))
        assert as_another_user(folder, values) == "130 readings, 3 hours"
    centre.close()


def test_after_a_clean_end_another_user_is_told_who_to_be(folder: Path) -> None:
    centre = Centre(folder)
    centre.put(volts(0, 100))
    assert values(folder) == "100 readings, 2 hours"
    centre.close()
    said = as_another_user(folder, values)
    assert "cannot be read by this user while no gateway runs" in said
    assert "\n" not in said
    assert sorted(p.name for p in folder.iterdir()) == ["ledger.sqlite"]


def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    Ledger.open(folder).close()
    folder.chmod(0o700)
    assert "cannot be read by this user;" in as_another_user(folder, values)


def test_looking_changes_nothing_and_leaves_nothing(folder: Path) -> None:
    centre = Centre(folder)
    centre.put(volts(0, 100))
    centre.close()
    before = (folder / "ledger.sqlite").read_bytes()
    assert values(folder) == "100 readings, 2 hours"
    with open_to_read(folder) as ledger, pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.connection.execute("DELETE FROM reading")
    assert [p.name for p in folder.iterdir()] == ["ledger.sqlite"]
    assert (folder / "ledger.sqlite").read_bytes() == before


def test_an_older_ledger_is_brought_up_to_date_first(folder: Path) -> None:
    scripts = sorted(Path(store.__file__).parent.joinpath("schema").glob("*.sql"))
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as old:
        old.executescript(scripts[0].read_text() + "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
    with open_to_read(folder) as ledger:
        assert ledger.connection.execute("PRAGMA user_version").fetchone()[0] == len(scripts)


def test_a_folder_without_a_ledger_is_named(folder: Path) -> None:
    with pytest.raises(WrongUse, match="no ledger in"), open_to_read(folder):
        pass
    (folder / "ledger.sqlite").write_text("this is no ledger, whatever its name says, and long enough for a header")
    with pytest.raises(WrongUse, match=r"cannot read the ledger .* not a database"), open_to_read(folder):
        pass


def test_a_damaged_page_met_on_the_way_is_one_line(folder: Path) -> None:
    centre = Centre(folder)
    centre.put(volts(0, 5000))
    centre.close()
    with (folder / "ledger.sqlite").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(b"\xff" * (size // 4))
    said = values(folder)
    assert said.startswith("cannot read the ledger")
    assert said.endswith("see what `metergate doctor` says")
    assert "\n" not in said
