"""Transactions whose writes another thread does: the next batch is judged while SQLite works and the disk syncs.

One at a time: whoever needs the connection, or commits next, waits for the one before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Behind", "Connected", "Transaction", "Write"]

Write = Callable[[sqlite3.Connection], object]


class Connected(Protocol):
    """Who has the connection to the ledger, and may have to wait for it."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, to be used at once."""
        ...


class Transaction:
    """Writes to be committed together, kept until the end; begun at once where the ledger must be read."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind
        self._kept: list[Write] = []
        self._begun: sqlite3.Connection | None = None

    def write(self, work: Write) -> None:
        """Have something written, after everything before it."""
        if self._begun is None:
            self._kept.append(work)
        else:
            work(self._begun)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, inside the transaction and with everything so far written."""
        if self._begun is None:
            connection = self._behind.settled()
            connection.execute("BEGIN IMMEDIATE")
            self._begun = connection
            for work in self._kept:
                work(connection)
            self._kept.clear()
        return self._begun

    @property
    def is_begun(self) -> bool:
        """Whether the connection had to be used."""
        return self._begun is not None

    @property
    def kept(self) -> list[Write]:
        """What is still to be written."""
        return self._kept


class Behind:
    """Commits on a connection, at once or on a thread of its own.

    What went wrong there is raised to everyone who needs the connection afterwards: what was judged meanwhile stands
    on a transaction that is not, and the ledger is to be opened anew.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._worker: ThreadPoolExecutor | None = None
        self.last: Future[None] | None = None
        """The transaction that was handed over last: done once it is durable."""

    def settled(self) -> sqlite3.Connection:
        """Return the connection once nothing is being committed on it."""
        if self.last is not None:
            self.last.result()
        return self._connection

    @contextmanager
    def transaction(self, *, behind: bool) -> Iterator[Transaction]:
        """Write in one transaction: durable when the block ends, with `behind` once `last` is done; undone if it
        raises.
        """
        transaction = Transaction(self)
        try:
            yield transaction
            if behind and not transaction.is_begun:
                self.settled()
                self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="commit")
                self.last = self._worker.submit(self._commit, transaction.kept)
            else:
                transaction.connection.execute("COMMIT")
        except BaseException:
            if transaction.is_begun:
                self._undo()
            raise

    def _commit(self, writes: list[Write]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                write(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        if self._connection.in_transaction:  # a full disk has SQLite roll back by itself
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Finish what is being committed, and close the connection."""
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        self._connection.close()
