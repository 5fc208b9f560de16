"""The one connection of a process that writes to a SQLite database: writers in the order of arrival, commits shared.

A commit waits for the disk, and every writer needs one. So a unit that ends while others wait for their turn does not
commit: it goes to the end of the queue, lets each of those do its work in the same transaction, behind a savepoint of
its own, and commits for all when its turn comes again. Nobody is told of success before that commit is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from storage.process_turn import ProcessTurn
from storage.turnstile import Turnstile


class _Batch:
    """A transaction under way that several units share."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = Event()
        self.error: Exception | None = None
        """Why nothing of it was stored."""


class SqliteWriter:
    """Safe for any number of threads. ``opened`` makes a pooled connection; ``others`` is the queue of the processes
    that serve the same database, None for one alone.
    """

    def __init__(self, opened: Callable[[], Any], others: ProcessTurn | None = None) -> None:
        self._opened = opened
        self._others = others
        self._turn = Turnstile()
        self._pooled: Any = None
        self._batch: _Batch | None = None

    @contextmanager
    def unit(self) -> Iterator[Any]:
        """The driver's connection, within a transaction that is durable when the block has ended.

        A block that raises is undone alone. Raises the driver's errors.
        """
        with self._turn:
            batch = self._batch
            if batch is None:
                yield from self._first()
                return
            connection = self._pooled.driver_connection
            connection.execute("SAVEPOINT unit")
            try:
                yield connection
                connection.execute("RELEASE unit")
            except BaseException as error:
                self._undo_one(connection, batch, error)
                raise
        batch.done.wait()
        if batch.error is not None:
            raise batch.error

    def _first(self) -> Iterator[Any]:
        """A unit that begins a transaction, and ends it for all that have joined."""
        if self._pooled is None:
            self._pooled = self._opened()
        connection = self._pooled.driver_connection
        try:
            if self._others is not None:
                self._others.take()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
        except BaseException:
            self._undo(connection)
            raise
        batch = self._batch = _Batch()
        try:
            self._turn.let_pass()
        finally:
            self._end(batch)
        if batch.error is not None:
            raise batch.error

    def _end(self, batch: _Batch) -> None:
        """Commit, unless somebody did or the transaction is lost. The holder of the turn may call this at any time."""
        if self._batch is not batch:
            return
        self._batch = None
        connection = self._pooled.driver_connection
        try:
            connection.commit()
        except Exception as error:
            batch.error = error
            self._undo(connection)
        finally:
            self._leave()
            batch.done.set()

    def _undo_one(self, connection: Any, batch: _Batch, error: BaseException) -> None:
        """Undo one unit of several. After some errors SQLite has undone the whole transaction: then all have failed."""
        try:
            connection.execute("ROLLBACK TO unit")
            connection.execute("RELEASE unit")
        except Exception as lost:
            self._batch = None
            batch.error = error if isinstance(error, Exception) else lost
            self._undo(connection)
            batch.done.set()

    def _undo(self, connection: Any) -> None:
        """Roll back; a connection that cannot even do that is thrown away, its transaction with it."""
        try:
            connection.rollback()
        except Exception:
            self._pooled.invalidate()
            self._pooled = None
        finally:
            self._leave()

    def _leave(self) -> None:
        """The transaction has ended: another process may begin one."""
        if self._others is not None:
            self._others.leave()

    @contextmanager
    def nobody(self) -> Iterator[None]:
        """No unit is under way while this lasts, in no process that queues with us."""
        with self._turn:
            if self._batch is not None:
                self._end(self._batch)
            try:
                if self._others is not None:
                    self._others.take()
                yield
            finally:
                self._leave()

    def close(self) -> None:
        """Close the connection. The writer may be used again."""
        with self.nobody():
            if self._pooled is not None:
                self._pooled.invalidate()
                self._pooled = None
