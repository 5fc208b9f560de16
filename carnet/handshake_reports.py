"""Failed handshakes, told one after the other by a thread of their own.

Whoever reaches a port can make handshakes fail, a thousand a second, without a certificate, and each is a line in the
access log. So they never take a thread from a request, and only so many wait: of the rest the log has the number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

MOST = 256
"""Reports that wait."""

log = logging.getLogger("carnet.server")


class HandshakeReports:
    """``tell`` is called with (peer address, reason) and may take its time."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "handshakes")
        self._counting = Lock()
        self._waiting = self._left_out = 0

    def add(self, address: str, reason: str) -> None:
        """Returns at once."""
        with self._counting:
            if self._waiting == MOST:
                self._left_out += 1
                return
            self._waiting += 1
        self._thread.submit(self._report, address, reason)

    def _report(self, address: str, reason: str) -> None:
        self._try(address, reason)
        with self._counting:
            self._waiting -= 1
            left_out = 0 if self._waiting else self._left_out
            self._left_out -= left_out
        if left_out:
            self._try(address, f"{left_out} more handshakes, which came too fast to be told of one by one")

    def _try(self, address: str, reason: str) -> None:
        try:
            self._tell(address, reason)
        except Exception as error:
            log.error("a failed handshake is not in the access log: %s", type(error).__name__)
