"""Whose turn it is to write, among processes that serve one database: one after the other, without polling.

SQLite lets a second writer sleep and try again, so that whoever comes first after a commit is served first. The locks
here are the kernel's (flock): a waiter sleeps until it is woken, and a killed process lets go of everything. Only the
workers of one service take part; whoever else writes waits as SQLite lets him.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from threading import Event, Lock, Thread


class ProcessTurn:
    """Held by one process at a time. Within a process one thread may take it at a time; it may be another that leaves.

    There are two locks: who waits for the turn holds the door. Whoever has just left would often be quicker to take the
    turn again than the waiter is to wake up; he finds the door held and stands behind him.
    """

    def __init__(self, path: Path) -> None:
        """``path`` names two files, ``path`` itself and one beside it. Raises OSError."""
        self._turn = _Gate(path)
        self._door = _Gate(path.with_name(f"{path.name}-next"))

    def take(self, patience: float) -> None:
        """Raises TimeoutError after so many seconds: somebody holds the database, and the caller is to be told."""
        until = time.monotonic() + patience
        self._door.take(until)
        try:
            self._turn.take(until)
        finally:
            self._door.leave()

    def leave(self) -> None:
        self._turn.leave()


class _Gate:
    """One file, locked by whoever is inside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle = _opened(path)
        self._held = -1

    def take(self, until: float) -> None:
        try:
            fcntl.flock(self._idle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._held = self._idle
        except BlockingIOError:
            self._held = _Waiter(self._path).descriptor(until)

    def leave(self) -> None:
        held, self._held = self._held, -1
        if held == self._idle:
            fcntl.flock(held, fcntl.LOCK_UN)
        else:
            os.close(held)


class _Waiter:
    """A thread that waits for a lock, because nothing else ends the wait for one; on a descriptor of its own, so that
    a lock that comes too late is let go of with it, and with nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _opened(path)
        self._decision = Lock()
        self._is_over = False
        self._came = Event()
        self._error: OSError | None = None
        Thread(target=self._wait, name="turn", daemon=True).start()

    def _wait(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._decision:
            if self._is_over:
                os.close(self._descriptor)
            self._came.set()

    def descriptor(self, until: float) -> int:
        """The locked file, to be closed by the caller. Raises TimeoutError, OSError."""
        try:
            self._came.wait(max(0.0, until - time.monotonic()))
        except BaseException:
            if self._has_come():
                os.close(self._descriptor)
            raise
        if not self._has_come():
            raise TimeoutError("the database is busy with another process")
        if self._error is not None:
            os.close(self._descriptor)
            raise self._error
        return self._descriptor

    def _has_come(self) -> bool:
        """Whether the lock is here; one that comes later is let go of by the thread."""
        with self._decision:
            self._is_over = True
            return self._came.is_set()


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
