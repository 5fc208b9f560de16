"""Whose turn it is to write, among processes that serve one database: one after the other, without polling.

SQLite lets a second writer sleep and try again, so that whoever comes first after a commit is served first. The locks
here are the kernel's (flock): a waiter sleeps until it is woken, and a killed process lets go of everything. Only the
workers of one service take part; whoever else writes waits as SQLite lets him.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class ProcessTurn:
    """Held by one process at a time, and within it by one thread.

    There are two locks: who waits for the turn holds the door. Whoever has just left would often be quicker to take the
    turn again than the waiter is to wake up; he finds the door held and stands behind him.
    """

    def __init__(self, path: Path) -> None:
        """``path`` names two files, ``path`` itself and one beside it. Raises OSError."""
        self._turn = _opened(path)
        self._door = _opened(path.with_name(f"{path.name}-next"))

    def take(self) -> None:
        """Waits as long as those before: nothing ends a wait for a lock early, so nobody may keep the turn for long."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_UN)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
