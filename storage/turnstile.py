"""A lock that serves in the order of arrival."""

from __future__ import annotations

from collections import deque
from threading import Lock

PATIENCE = 20.0
"""Seconds."""


class Turnstile:
    """One holder at a time, first come first served, no polling.

    A plain lock lets the thread that has just released it take it again; under load some
    writers would then wait for seconds while others pass. Whoever waits longer than ``patience`` seconds gets
    TimeoutError: the service is busy, and says so while its caller still listens.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._guard = Lock()
        self._is_taken = False
        self._waiting: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            gate = Lock()
            gate.acquire()
            self._waiting.append(gate)
        try:
            if not gate.acquire(timeout=self._patience):
                raise TimeoutError("too many writers before this one")
        except BaseException:
            self._leave(gate)
            raise

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._is_taken = False

    def _leave(self, gate: Lock) -> None:
        """A waiter interrupted by a signal, or out of patience, gives up its place, or its turn if it had just come."""
        with self._guard:
            if gate in self._waiting:
                self._waiting.remove(gate)
            else:
                self._pass_on()
