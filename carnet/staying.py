"""Gunicorn's threaded worker, staying with a busy connection.

Gunicorn hands every kept-alive connection back to its main thread after each request, which waits for the next
one and hands it to a thread again: two changes of thread a request, each of which waits for whatever Python code
runs meanwhile. Under load that took 40 % of the interpreter's time. Here the thread that has just answered waits a
moment for the next request itself, as long as no other connection needs a thread.
"""

from __future__ import annotations

import select
import ssl
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

MOMENT = 0.05
"""Seconds a thread stays with a connection that has nothing to say; a connection that waits for a thread waits no
longer than this."""


class StayingWorker(ThreadWorker):
    """Serves the next request of a connection on the thread of the last one, when it comes at once."""

    def handle(self, conn: TConn) -> Any:
        """As gunicorn's: true when the connection goes back to the poller, false when it is to be closed."""
        while (kept := super().handle(conn)) is True and self._has_next(conn):
            pass
        return kept

    def _has_next(self, conn: TConn) -> bool:
        """True when a request is here, or comes within a moment in which nobody else needs this thread."""
        if not self.alive or conn.parser.unreader.buf.tell():
            return False
        if isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            return True
        if not self.tpool._work_queue.empty():
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(MOMENT * 1000))
