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
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

MOMENT = 1.0
"""Seconds a thread stays with a connection that has nothing to say."""


class _Thread(threading.local):
    """What a thread of the pool knows of itself."""

    def __init__(self) -> None:
        self.bell, self.rope = os.pipe()  # as long as the process: threads of a pool do not end before it
        self.is_called = False
        """Its job is about to end, because another one waits."""


class Pool(ThreadPoolExecutor):
    """A pool whose threads may stay with their job when it is done; for each job that waits one of them is called."""

    def __init__(self, threads: int) -> None:
        super().__init__(max_workers=threads)
        self._size = threads
        self._counting = threading.Lock()
        self._given = 0
        """Jobs that have not ended. Those beyond ``_size`` wait for a thread."""
        self._called = 0
        """Of the threads that are not free yet, those that were called."""
        self._staying: list[int] = []
        """The ropes of those that can be called."""
        self._is_closing = False
        self._own = _Thread()

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._counting:
            self._given += 1
            if self._given > self._size and self._staying:
                self._called += 1
                os.write(self._staying.pop(), b"\0")
        return super().submit(self._done, job, *args, **kwargs)

    def _done(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The job, and the thread is free."""
        try:
            return job(*args, **kwargs)
        finally:
            with self._counting:
                self._given -= 1
                if self._own.is_called:
                    self._own.is_called = False
                    self._called -= 1

    def stay(self, descriptor: int, *, is_readable: bool) -> bool:
        """True when there is something to read; False after a moment without, or when this thread is called."""
        own, poll = self._own, select.poll()
        poll.register(own.bell, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        with self._counting:
            if self._given - self._size > self._called:
                self._called += 1
                own.is_called = True
                return False
            if is_readable:
                return True
            self._staying.append(own.rope)
        ready = poll.poll(0 if self._is_closing else MOMENT * 1000)
        with self._counting:
            if own.rope in self._staying:
                self._staying.remove(own.rope)
                return bool(ready) and not self._is_closing
            own.is_called = True
            os.read(own.bell, 1)
            return False

    def dismiss(self) -> None:
        """Nobody stays any longer. Takes no lock: it may be held by the very thread a signal interrupts."""
        self._is_closing = True
        for rope in list(self._staying):
            os.write(rope, b"\0")


class StayingWorker(ThreadWorker):
    """Serves the next request of a connection on the thread of the last one, when it comes at once."""

    def get_thread_pool(self) -> Pool:
        """gunicorn asks for it once, before the first connection."""
        return Pool(self.cfg.threads)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Who stays with a silent connection learns of the end at once."""
        self.tpool.dismiss()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT and SIGQUIT: the same. gunicorn would close the pool here, and wait for ever for its lock when the
        signal comes while a job is handed to it.
        """
        self.handle_exit(sig, frame)

    def handle(self, conn: TConn) -> Any:
        """As gunicorn's: true when the connection goes back to the poller, false when it is to be closed."""
        while (kept := super().handle(conn)) is True and self._has_next(conn):
            pass
        return kept

    def _has_next(self, conn: TConn) -> bool:
        """True when a request is here, or comes within a moment in which nobody else needs this thread."""
        if not self.alive or conn.parser.unreader.buf.tell():
            return False
        is_here = isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending() > 0
        return bool(self.tpool.stay(conn.sock.fileno(), is_readable=is_here))
