"""Step n for the workers of one service: which assertions were shown to any of them.

A table in memory of their master's, made before the fork. An assertion stands in one of the few slots that follow the
place its hash gives it; the slot is free again when the assertion ends. The hashes are keyed, so nobody can choose IDs
that meet in one place.

Clause: SAML core 2.0 2.5.1.5 (OneTimeUse)
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from guard.credentials.replay import ReplayKey

SLOTS = 1 << 18
WINDOW = 64
"""Slots an assertion may stand in. While half of the table is free each finds one; while a quarter is, all but a few in
ten thousand."""
_HASH = 16
_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


class SharedReplay:
    """``guard.credentials.replay.ReplayStore`` of several processes. Thread-safe, bounded.

    A slot is free when its end is past. Its end is taken away before anything else is written to it, and is written
    last, so a process that is killed in between leaves a free slot. Who reads or writes holds a lock of the kernel's
    that a killed process lets go of.
    """

    def __init__(self, slots: int = SLOTS, window: int = WINDOW) -> None:
        """Raises OSError."""
        self._slots, self._window = slots, window
        places = slots + window - 1
        self._key = os.urandom(_HASH)
        self._names = mmap.mmap(-1, places * _HASH)
        self._contents = mmap.mmap(-1, places * _HASH)
        self._ends = memoryview(mmap.mmap(-1, places * 8)).cast("q")
        """Microseconds since 1970"""
        self._file = os.memfd_create("carnet-replay", os.MFD_CLOEXEC)
        self._lock = threading.Lock()

    def show(self, key: ReplayKey, sha256: str, until: datetime, now: datetime, trace_id: str = "") -> int | None:
        """As ``ReplayMemory.show``, but times are counted to 2 and traces not looked at: not for what is shown once.

        None when there is no free slot for it. Raises OSError when the lock cannot be had.
        """
        name, content = self._hash("\0".join(key)), self._hash(sha256)
        moment = (now - _EPOCH) // _TICK
        first = int.from_bytes(name[:8]) % self._slots
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # of this process; no child inherits it
            try:
                place = self._find(name, first, moment)
                if place is not None:
                    return 2 if self._contents[place * _HASH : (place + 1) * _HASH] == content else 0
                ends = self._ends[first : first + self._window].tolist()
                free = next((place for place, end in enumerate(ends, first) if end <= moment), None)
                if free is None:
                    return None
                self._write(free, name, content, (until - _EPOCH) // _TICK)
                return 1
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _hash(self, text: str) -> bytes:
        return blake2b(text.encode(), digest_size=_HASH, key=self._key).digest()

    def _find(self, name: bytes, first: int, moment: int) -> int | None:
        """The slot in which that name stands and has not ended."""
        at, stop = first * _HASH, (first + self._window) * _HASH
        while (at := self._names.find(name, at, stop)) >= 0:
            place, rest = divmod(at, _HASH)
            if not rest and self._ends[place] > moment:
                return place
            at += 1
        return None

    def _write(self, place: int, name: bytes, content: bytes, end: int) -> None:
        self._ends[place] = 0
        self._names[place * _HASH : (place + 1) * _HASH] = name
        self._contents[place * _HASH : (place + 1) * _HASH] = content
        self._ends[place] = end
