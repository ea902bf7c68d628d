"""Transactions committed on another thread: in order, whole or not at all, and nobody goes on from one that failed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.ledger.store import Ledger

THREAD = "commit"


def insert(key: str) -> Callable[[sqlite3.Connection], object]:
    return lambda c: c.execute("INSERT INTO meta VALUES (?, ?)", (key, threading.current_thread().name))


def kept(ledger: Ledger) -> list[str]:
    return [key for (key,) in ledger.connection.execute("SELECT key FROM meta WHERE key LIKE 'k%' ORDER BY rowid")]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        opened.connection.execute("DROP TABLE meta")
        opened.connection.execute("CREATE TABLE meta (key TEXT UNIQUE, value TEXT)")
        yield opened


def test_writes_wait_for_the_end_and_are_done_in_order_by_another_thread(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.behind.transaction(behind=True) as transaction:
        transaction.write(insert("k2"))
        transaction.write(insert("k1"))
        with Ledger.open(tmp_path) as beside:
            assert kept(beside) == []
    assert kept(ledger) == ["k2", "k1"]
    names = ledger.connection.execute("SELECT DISTINCT value FROM meta").fetchall()
    assert [name.startswith(THREAD) for (name,) in names] == [True]


def test_who_reads_inside_sees_what_was_written_and_commits_itself(ledger: Ledger) -> None:
    with ledger.behind.transaction(behind=True) as transaction:
        transaction.write(insert("k1"))
        assert transaction.connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (1,)
        transaction.write(insert("k2"))
        assert transaction.connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (2,)
    assert ledger.behind.last is None
    assert not ledger.connection.in_transaction
    assert kept(ledger) == ["k1", "k2"]


def test_the_next_transaction_and_every_reader_wait_for_the_one_before(ledger: Ledger) -> None:
    go = threading.Event()
    with ledger.behind.transaction(behind=True) as transaction:
        transaction.write(lambda _: go.wait(30))
        transaction.write(insert("k1"))
    assert ledger.behind.last is not None
    assert not ledger.behind.last.done()
    threading.Timer(0.05, go.set).start()
    with ledger.transaction() as connection:
        assert connection.execute("SELECT COUNT(*) FROM meta").fetchone() == (1,)


@pytest.mark.parametrize("begun", [False, True])
def test_what_raises_is_undone(ledger: Ledger, *, begun: bool) -> None:
    def fails() -> None:
        with ledger.behind.transaction(behind=True) as transaction:
            transaction.write(insert("k1"))
            if begun:
                transaction.connection.execute("SELECT 1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert kept(ledger) == []


def test_nobody_goes_on_from_a_commit_that_failed_behind(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.behind.transaction(behind=True) as transaction:
        transaction.write(insert("k1"))
        transaction.write(insert("k1"))
    for _ in range(2):
        with pytest.raises(sqlite3.IntegrityError):
            ledger.connection.execute("SELECT 1")
        with pytest.raises(sqlite3.IntegrityError), ledger.behind.transaction(behind=True) as transaction:
            transaction.write(insert("k2"))
        with pytest.raises(sqlite3.IntegrityError), ledger.transaction():
            pass
    ledger.close()
    with Ledger.open(tmp_path) as afresh:
        assert kept(afresh) == []


def test_closing_finishes_what_is_being_committed(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    with ledger.behind.transaction(behind=True) as transaction:
        transaction.write(lambda _: threading.Event().wait(0.05))
        transaction.write(lambda c: c.execute("INSERT INTO meta VALUES ('k1', '')"))
    ledger.close()
    with pytest.raises(sqlite3.ProgrammingError), ledger.behind.transaction(behind=False) as transaction:
        transaction.write(insert("k2"))
    with Ledger.open(tmp_path) as afresh:
        assert afresh.connection.execute("SELECT value FROM meta WHERE key = 'k1'").fetchone() == ("",)
