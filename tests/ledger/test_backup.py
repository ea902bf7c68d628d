"""A copy of the ledger is whole or not there, whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from gateway.errors import Refused, WrongUse
from gateway.ledger.backup import back_up, inspect, restore
from gateway.ledger.store import Ledger, hold

PATIENCE_S = 60


def put(ledger: Ledger, first: int, last: int, *, padding: int = 0) -> None:
    """Add entries `first` to `last`, all in one transaction; `padding` bytes each make the file larger."""
    with ledger.transaction() as connection:
        connection.executemany(
            "INSERT INTO quarantine (id, received_at, reason, detail, payload) VALUES (?, 0, 'not_json', '', ?)",
            [(i, bytes(padding)) for i in range(first, last)],
        )


def held(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        found = [i for (i,) in connection.execute("SELECT id FROM quarantine ORDER BY id")]
    connection.close()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose ledger takes several steps to copy."""
    data = tmp_path / "var"
    with Ledger.open(data) as ledger:
        put(ledger, 0, 3000, padding=5000)
    return data


def test_a_copy_holds_what_the_ledger_held_and_says_so(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "usb" / "copy.sqlite")
    assert held(copy.path) == list(range(3000))
    assert copy == inspect(copy.path)
    assert copy.bytes == copy.path.stat().st_size > 10_000_000
    assert copy.path.stat().st_mode & 0o077 == 0
    assert [p.name for p in copy.path.parent.iterdir()] == ["copy.sqlite"]


def test_a_copy_made_while_another_writes_is_of_one_moment(folder: Path, tmp_path: Path) -> None:
    stop, steps, written = threading.Event(), threading.Event(), [3000]

    def write() -> None:
        with Ledger.open(folder) as ledger:
            while not stop.is_set() or written[0] == 3000:
                steps.wait(PATIENCE_S)
                put(ledger, written[0], written[0] + 7)
                written[0] += 7

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copy = back_up(folder, tmp_path / "copy.sqlite", lambda _pages: steps.set())
    finally:
        stop.set()
        writer.join(PATIENCE_S)
    assert written[0] > 3000
    found = held(copy.path)
    assert found == list(range(len(found)))
    assert (len(found) - 3000) % 7 == 0
    assert held(folder / "ledger.sqlite") == list(range(written[0]))


def test_a_copy_that_is_killed_is_not_there_and_the_next_one_is_whole(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    script = f"""
        import sys, threading
        from pathlib import Path
        from gateway.ledger.backup import back_up
        def wait(pages):
            print("step", flush=True)
            threading.Event().wait()
        back_up(Path({str(folder)!r}), Path({str(target)!r}), wait)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as copying:
        assert copying.stdout is not None
        assert copying.stdout.readline() == "step\n"
        copying.kill()
    assert not target.exists()
    assert (tmp_path / "copy.sqlite.partial").exists()
    back_up(folder, target)
    assert held(target) == list(range(3000))
    assert [p.name for p in tmp_path.glob("copy*")] == ["copy.sqlite"]


def test_a_copy_never_overwrites(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    target.write_text("precious")
    with pytest.raises(Refused, match="is there already"):
        back_up(folder, target)
    assert target.read_text() == "precious"


def test_no_ledger_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no ledger"):
        back_up(tmp_path / "var", tmp_path / "copy.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_copy_is_refused_and_changes_nothing(folder: Path, tmp_path: Path, part: float) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    raw = bytearray(copy.read_bytes())
    place = int(part * len(raw)) // 4096 * 4096
    raw[place : place + 4096] = b"\x5a" * 4096
    copy.write_bytes(raw)
    with Ledger.open(folder) as ledger:
        put(ledger, 3000, 3001)
    with pytest.raises((Refused, WrongUse)):
        restore(copy, folder, "before.sqlite")
    assert held(folder / "ledger.sqlite") == list(range(3001))
    assert not (folder / "before.sqlite").exists()


def test_another_database_is_no_copy(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE reading (id INTEGER PRIMARY KEY)")
    connection.close()
    with pytest.raises(WrongUse, match="no copy of a ledger"):
        restore(other, folder, "before.sqlite")


def test_a_copy_of_a_newer_metergate_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    with sqlite3.connect(copy) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(WrongUse, match="newer Metergate"):
        restore(copy, folder, "before.sqlite")
    assert sorted(p.name for p in folder.iterdir() if "lock" not in p.name) == ["ledger.sqlite"]


def test_a_restored_ledger_equals_the_copy_and_the_old_one_is_kept(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    with Ledger.open(folder) as ledger:
        put(ledger, 3000, 3010)
    was = restore(copy, folder, "before.sqlite")
    assert was == folder / "before.sqlite"
    assert held(folder / "ledger.sqlite") == list(range(3000))
    assert held(was) == list(range(3010))
    with Ledger.open(folder) as ledger:
        put(ledger, 3000, 3001)
    assert held(copy) == list(range(3000))


def test_a_ledger_that_is_beyond_reading_is_put_aside_with_its_log(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    (folder / "ledger.sqlite").write_bytes(b"rubbish" * 1000)
    (folder / "ledger.sqlite-wal").write_bytes(b"a log")
    restore(copy, folder, "before.sqlite")
    assert held(folder / "ledger.sqlite") == list(range(3000))
    assert (folder / "before.sqlite").read_bytes().startswith(b"rubbish")
    assert (folder / "before.sqlite-wal").read_bytes() == b"a log"


def test_a_folder_without_a_ledger_takes_a_copy(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    assert restore(copy, tmp_path / "new", "before.sqlite") is None
    assert held(tmp_path / "new" / "ledger.sqlite") == list(range(3000))


def test_nothing_is_restored_under_a_running_gateway(folder: Path, tmp_path: Path) -> None:
    copy = back_up(folder, tmp_path / "copy.sqlite").path
    with hold(folder), pytest.raises(Refused, match="another gateway runs"):
        restore(copy, folder, "before.sqlite")
    assert not (folder / "before.sqlite").exists()


def test_death_at_any_moment_of_a_restore_leaves_the_old_ledger_or_the_new(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        from pathlib import Path
        from gateway.ledger.backup import back_up, restore
        from gateway.ledger.store import Ledger
        from tests.ledger.test_backup import held, put
        root = Path({str(tmp_path)!r})
        with Ledger.open(root / "made") as ledger:
            put(ledger, 0, 5)
        copy = back_up(root / "made", root / "copy.sqlite").path
        left = []
        for n in range(1, 500):
            folder = root / str(n)
            with Ledger.open(folder) as ledger:
                put(ledger, 0, 9)
            child = os.fork()
            if child == 0:
                seen = 0
                def die(event, args):
                    global seen
                    seen += 1
                    if seen == n:
                        os._exit(9)
                sys.addaudithook(die)
                restore(copy, folder, "before.sqlite")
                os._exit(0)
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            left.append(len(held(folder / "ledger.sqlite")))
            restore(copy, folder, "after.sqlite")
            assert len(held(folder / "ledger.sqlite")) == 5
            assert not [p for p in folder.iterdir() if "partial" in p.name]
            if ended == 0:
                break
        print(ended, n, sorted(set(left)), left == sorted(left, reverse=True))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ended, moments, *rest = done.stdout.split(maxsplit=2)
    assert (ended, rest) == ("0", ["[5, 9] True\n"])
    assert int(moments) > 20
