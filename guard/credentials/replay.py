"""Step n: which assertions were shown before.

Clause: SAML core 2.0 2.5.1.5 (OneTimeUse)
"""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

ReplayKey = tuple[str, str]
"""(issuer, assertion ID)"""


@dataclass(slots=True)
class _Shown:
    sha256: str
    until: datetime
    times: int
    trace_id: str


class ReplayStore(Protocol):
    """Where it is noted which assertions were shown: to one process, or to several that share a memory or a database.
    """

    def show(self, key: ReplayKey, sha256: str, until: datetime, now: datetime, trace_id: str) -> int | None:
        """As ``ReplayMemory.show``."""
        ...


class ReplayMemory:
    """Remembers (issuer, ID) until the assertion ends. Thread-safe, bounded; one per process.

    When it is full of assertions still in force nothing is forgotten early: ``show`` says so and the caller decides.
    """

    def __init__(self, capacity: int = 100_000):
        self._capacity = capacity
        self._lock = threading.Lock()
        self._shown: dict[ReplayKey, _Shown] = {}
        self._ends: list[tuple[datetime, ReplayKey]] = []

    def show(
        self, key: ReplayKey, sha256: str, until: datetime, now: datetime, trace_id: str = ""
    ) -> int | None:
        """How many times this assertion has been shown, this time included.

        Shown again under the trace of the first time, by one of our services on its way, it does not count.
        ``sha256`` is of the signed bytes: a toolkit may write one assertion down in several ways. 0 when the same
        issuer gave the ID to other content before; None when the memory is full.
        """
        with self._lock:
            while self._ends and self._ends[0][0] <= now:
                _, ended = heapq.heappop(self._ends)
                if ended in self._shown and self._shown[ended].until <= now:
                    del self._shown[ended]
            known = self._shown.get(key)
            if known is not None:
                if known.sha256 != sha256:
                    return 0
                if not trace_id or trace_id != known.trace_id:
                    known.times += 1
                return known.times
            if len(self._shown) >= self._capacity:
                return None
            self._shown[key] = _Shown(sha256, until, 1, trace_id)
            heapq.heappush(self._ends, (until, key))
            return 1
