"""The one connection of a process that writes to a SQLite database: writers in the order of arrival, syncs shared.

A commit only writes to the log of the database. Whoever has committed lets the next one begin, and waits until a sync
of the log has ended that began after his commit; those who wait at once share one. So nobody is told of success before
the disk has it. Others may read a unit a moment earlier; whatever they write about it lies behind it in the same log,
so no line of theirs can be on the disk without it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

from storage.process_turn import ProcessTurn
from storage.turnstile import PATIENCE, Turnstile

BUSY_SECONDS = 15
"""Longest wait for a program that does not queue with us."""


class SqliteWriter:
    """Safe for any number of threads. ``opened`` makes a pooled connection to a database in WAL mode; ``log`` is the
    write-ahead log of that database, None for one in memory; ``others`` is the queue of the processes that serve it,
    None for one alone.
    """

    def __init__(self, opened: Callable[[], Any], log: Path | None, others: ProcessTurn | None = None) -> None:
        self._opened = opened
        self._log = LogSync(log) if log is not None else None
        self._others = others
        self._turn = Turnstile()
        self._pooled: Any = None

    @contextmanager
    def unit(self) -> Iterator[Any]:
        """The driver's connection, within a transaction that is durable when the block has ended.

        A block that raises is undone. Raises the driver's errors; TimeoutError after ``PATIENCE``, whoever is waited
        for; OSError for ever once a sync has failed.
        """
        if self._log is not None:
            self._log.check()
        until = time.monotonic() + PATIENCE
        with self._alone():
            connection = self._connection()
            try:
                self._begin(connection, until - time.monotonic())
                yield connection
                connection.commit()
            except BaseException:
                self._undo(connection)
                raise
        if self._log is not None:
            self._log.sync()

    def _begin(self, connection: Any, left: float) -> None:
        """Begin within so many seconds: while another program writes nobody may keep the turn for longer than that,
        and who comes to it too late is told at once.
        """
        if left <= 0:
            raise TimeoutError("the database is busy with another process")
        if left >= BUSY_SECONDS:
            connection.execute("BEGIN IMMEDIATE")
            return
        connection.execute(f"PRAGMA busy_timeout={int(left * 1000)}").close()
        try:
            connection.execute("BEGIN IMMEDIATE")
        finally:
            connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}").close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Neither a thread nor another process that queues with us is in its unit while this lasts."""
        with self._turn:
            if self._others is None:
                yield
                return
            self._others.take()
            try:
                yield
            finally:
                self._others.leave()

    def _connection(self) -> Any:
        """It reads pages in place of mapping them: SQLite maps a file anew whenever another process has written, and
        then every page touched is a fault.
        """
        if self._pooled is None:
            self._pooled = self._opened()
            if self._log is not None:
                for pragma in ("synchronous=NORMAL", "mmap_size=0"):
                    self._pooled.driver_connection.execute(f"PRAGMA {pragma}").close()
        return self._pooled.driver_connection

    def _undo(self, connection: Any) -> None:
        """Roll back; a connection that cannot even do that is thrown away, its transaction with it."""
        try:
            connection.rollback()
        except Exception:
            self._pooled.invalidate()
            self._pooled = None

    @contextmanager
    def nobody(self) -> Iterator[None]:
        """No unit of this process is under way while this lasts. Other processes find the database busy, and say so."""
        with self._turn:
            yield

    def close(self) -> None:
        """Close the connection. The writer may be used again."""
        with self._turn:
            if self._pooled is not None:
                self._pooled.invalidate()
                self._pooled = None


class LogSync:
    """Brings the log of a database to the disk, for all who have committed before.

    What a failed sync has not written may look written to the next one. So after a failure nothing more is taken: the
    process has to be started again, by somebody who has looked at the disk.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._changed = Condition()
        self._begun = self._ended = 0
        self._has_failed = False

    def check(self) -> None:
        """Raises OSError when a sync has failed."""
        if self._has_failed:
            raise OSError(errno.EIO, "the log of the database could not be synced: look at the disk, then start again")

    def sync(self) -> None:
        """Returns when a sync has ended that began after this call. Raises OSError when it failed, or could not begin:
        then the next one is tried.
        """
        with self._changed:
            mine = self._begun + 1
            while self._ended < mine and not self._has_failed:
                if self._begun > self._ended:
                    self._changed.wait()
                else:
                    self._lead()
        self.check()

    def _lead(self) -> None:
        """One sync for whoever waits; the lock is let go of meanwhile."""
        self._begun += 1
        self._changed.release()
        is_done = False
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
                is_done = True
            except OSError:
                self._has_failed = True
            finally:
                os.close(descriptor)
        finally:
            self._changed.acquire()
            if is_done:
                self._ended = self._begun
            else:
                self._begun = self._ended
            self._changed.notify_all()
