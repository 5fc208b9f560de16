"""Gunicorn's threaded worker, staying with a busy connection.

Gunicorn hands every kept-alive connection back to its main thread after each request, which waits for the next
one and hands it to a thread again: two changes of thread a request, each of which waits for whatever Python code
runs meanwhile. Under load that took 40 % of the interpreter's time. Here the thread that has just answered waits a
moment for the next request itself, and lets go at once when another connection needs it.
"""

from __future__ import annotations

import os
import select
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

MOMENT = 1.0
"""Seconds a thread stays with a connection that has nothing to say."""


class Pool(ThreadPoolExecutor):
    """A pool whose threads can be called: ``bell`` is readable while there are more jobs than threads."""

    def __init__(self, threads: int) -> None:
        super().__init__(max_workers=threads)
        self._size = threads
        self._given = 0
        self._counting = Lock()
        self.bell, self._rope = os.pipe()

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._counting:
            self._given += 1
            if self._given > self._size:
                self.call()
        future = super().submit(job, *args, **kwargs)
        future.add_done_callback(self._ended)
        return future

    def call(self) -> None:
        """Once for each job that waits; once more and nobody stays any longer."""
        os.write(self._rope, b"\0")

    def _ended(self, _: Future[Any]) -> None:
        """Told on the thread that has done the job, before it takes another one."""
        with self._counting:
            if self._given > self._size:
                os.read(self.bell, 1)
            self._given -= 1


class StayingWorker(ThreadWorker):
    """Serves the next request of a connection on the thread of the last one, when it comes at once."""

    def get_thread_pool(self) -> Pool:
        """gunicorn asks for it once, before the first connection."""
        return Pool(self.cfg.threads)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Who stays with a silent connection learns of the end at once."""
        if self.alive:
            self.tpool.call()
        super().handle_exit(sig, frame)

    def handle(self, conn: TConn) -> Any:
        """As gunicorn's: true when the connection goes back to the poller, false when it is to be closed."""
        while (kept := super().handle(conn)) is True and self._has_next(conn):
            pass
        return kept

    def _has_next(self, conn: TConn) -> bool:
        """True when a request is here, or comes within a moment in which nobody else needs this thread."""
        if not self.alive or conn.parser.unreader.buf.tell():
            return False
        poll = select.poll()
        poll.register(self.tpool.bell, select.POLLIN)
        if isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            return not poll.poll(0)
        poll.register(conn.sock, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(MOMENT * 1000)]
        return bool(ready) and self.tpool.bell not in ready
