"""One actor in one process group: gunicorn's threaded worker under mutual TLS.

One TLS context is made per worker and kept until its files change (one per connection costs more than the request).
A client certificate is asked for and verified in the handshake; its absence is answered above TLS, with a
SOAP fault a person can read and a line in the access log, and everything but a description is refused
without one. Every socket operation has a time-out, so a silent peer holds a thread for seconds only.

Clause: ITI TF-2 3.19 (node authentication)
"""

from __future__ import annotations

import ctypes
import gc
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from carnet.worker import PatientWorker, QuietLogger
from carnet.workers import Workers
from xds.wire.http import send_whole
from xds.wire.tls import Tls, current

GRACE = 30
"""Seconds requests under way are given when the service ends."""
RETRY = 2.0
"""Seconds until a worker that could not begin is tried again."""
GATHERED = 1 << 16
"""Bytes of an answer that go out together."""
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
log = logging.getLogger("carnet.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where and how one actor is served.

    ``idle`` is the longest silence on a socket, in seconds; ``threads`` of each worker.
    """

    name: str
    host: str
    port: int
    threads: int
    certificate: Path
    key: Path
    tls: Tls
    """What new connections are served with; called in the worker, on its main thread. See ``bounded``."""
    idle: float
    on_handshake_failure: Callable[[str, str], None] | None = None
    """Called with (peer address, reason) when a handshake fails."""


class BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose "blocking" means "for at most ``idle`` seconds", and at a mean ``rate`` above that.

    The rate holds for all bytes of a request, chunk sizes and trailers too; time spent elsewhere does not count.
    """

    idle: float = 20.0
    rate: int = 4096
    _waited: float = 0.0
    _received: int = 0
    _pieces: list[bytes] | None = None
    """What is to be sent with what follows; None while everything goes at once."""
    _gathered: int = 0
    """Bytes of it."""

    def setblocking(self, flag: bool) -> None:
        """Gunicorn blocks before it reads a request; bound that wait."""
        self._waited, self._received = 0.0, 0
        self.settimeout(self.idle if flag else 0.0)

    def gather(self) -> None:
        """From here on small pieces wait for the next ones, until ``let_go``."""
        self._pieces, self._gathered = [], 0

    def let_go(self) -> None:
        """Sends what waits; from here on everything goes at once."""
        pieces, self._pieces = self._pieces, None
        if pieces:
            send_whole(self, b"".join(pieces))

    def drop(self) -> None:
        """As ``let_go``, of an answer that failed: nothing of it is sent that was not."""
        self._pieces = None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """The head of an answer, its envelope and a small document are one piece: each one on its own would wake the
        peer, who would find a part of the answer and wait for the rest.
        """
        pieces = self._pieces
        if pieces is None:
            super().sendall(data, flags)
            return
        pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= GATHERED:
            self.let_go()
            self.gather()

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Raises TimeoutError for a silent or too slow sender."""
        began = time.monotonic()
        data = super().recv(buflen, flags)
        self._arrived(len(data), time.monotonic() - began)
        return data

    def fill(self, buffer: memoryview) -> int:
        """Fills the bytes of the buffer, unless the peer ends first: how many are there. Raises as ``recv``.

        TLS brings 16 KiB at a time at most, and to go through all the readers for each costs more than to decrypt it.
        The rate is looked at after each all the same.
        """
        got = 0
        began = time.monotonic()
        while got < len(buffer):
            more: int = self.read(len(buffer) - got, buffer[got:])  # type: ignore[assignment]
            if not more:
                break
            got += more
            now = time.monotonic()
            self._arrived(more, now - began)
            began = now
        return got

    def _arrived(self, size: int, waited: float) -> None:
        self._waited += waited
        self._received += size
        if size and self._received < (self._waited - self.idle) * self.rate:
            raise TimeoutError("the request arrives too slowly")


def bounded(context: ssl.SSLContext, *, idle: float, rate: int = 4096) -> ssl.SSLContext:
    """The same context, whose sockets wait so long and no longer; seconds, and bytes per second."""
    context.sslsocket_class = type("BoundedSocket", (BoundedSocket,), {"idle": idle, "rate": rate})
    return context


def demanding(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, where nothing above TLS could explain a missing certificate: the handshake demands it."""
    context.verify_mode = ssl.CERT_REQUIRED
    return context


_MALLOC = {
    -8: 2,  # M_ARENA_MAX: two heaps for all threads; one for each would keep what a burst of large messages took
    -1: 32 << 20,  # M_TRIM_THRESHOLD
    -2: 1 << 20,  # M_TOP_PAD
    -3: 1 << 20,  # M_MMAP_THRESHOLD
}
"""What one request has freed the next one uses (glibc). By default memory goes back to the system and comes again, page
by page, several times a request: a twentieth of its processor time."""


def _tune_memory() -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        log.debug("the C library has no mallopt")
        return
    for parameter, value in _MALLOC.items():
        mallopt(parameter, value)


class Master(Arbiter):
    """Keeps the number of workers it was started with. What they are made of is followed without a signal."""

    app: Server

    def handle_hup(self) -> None:
        """gunicorn would start a second set of workers beside the first, or another number of them, or a new master."""
        log.warning(
            "SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2 change nothing: keys, authorities and code sets are followed, settings "
            "need a restart"
        )

    handle_ttin = handle_ttou = handle_usr2 = handle_hup

    def stop(self, graceful: bool = True) -> None:
        self.app.workers.stop()
        super().stop(graceful)

    def reap_workers(self) -> None:
        """A worker that cannot begin ends a service of one worker, or that has not begun; else it is tried again."""
        try:
            super().reap_workers()
        except HaltServer as error:
            if self.app.workers.count == 1 or not self.app.workers.have_been_up():
                raise
            log.error("a worker cannot begin (%s); trying again in %g s", error.reason, RETRY)
            time.sleep(RETRY)


class Server(BaseApplication):
    """Serves one WSGI application until SIGTERM or SIGINT; requests under way are finished."""

    def __init__(
        self,
        listener: Listener,
        workers: Workers,
        build: Callable[[], WsgiApp],
        started: Callable[[], None] | None = None,
        abandoned: Callable[[], None] | None = None,
        ended: Callable[[], None] | None = None,
    ):
        """``build`` runs in each worker, after the fork, so that no connection or thread crosses it; ``started`` in a
        thread of its own when it serves.

        ``abandoned`` is called in the worker when the master has ended: let go of what its successor will need.
        ``ended`` is called in the worker when it has served its last request.
        """
        self.listener = listener
        self.workers = workers
        self.idle = listener.idle
        self._build = build
        self._started = started
        self._abandoned = abandoned
        self._ended = ended
        _tune_memory()
        super().__init__()

    def handshake_failed(self, address: str, reason: str) -> None:
        """Tell the listener's owner."""
        if self.listener.on_handshake_failure is not None:
            self.listener.on_handshake_failure(address, reason)

    def abandoned(self) -> None:
        """The worker has lost its master."""
        if self._abandoned is not None:
            self._abandoned()

    def run(self) -> None:
        Master(self).run()

    def load_config(self) -> None:
        one = self.listener
        settings = {
            "bind": f"{one.host}:{one.port}",
            "worker_class": PatientWorker,
            "logger_class": QuietLogger,
            "workers": self.workers.count,
            "threads": one.threads,
            "worker_connections": max(1000, one.threads * 8),
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": GRACE,
            "certfile": str(one.certificate),
            "keyfile": str(one.key),
            "ssl_context": lambda _conf, _default: current(one.tls),
            "do_handshake_on_connect": False,
            "forwarded_allow_ips": "",  # no peer may say how another one reached it, or by which path
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "proc_name": f"carnet-{one.name}",
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "pre_fork": self._worker_next,
            "post_fork": self._worker_begins,
            "post_worker_init": self._worker_ready,
            "worker_exit": self._worker_exits,
        }
        for key, value in settings.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)
        # gunicorn finds each setting through a method of its own, some forty times a request
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})

    def _worker_next(self, master: Arbiter, worker: Any) -> None:
        worker.number = self.workers.free_number(one.number for one in master.WORKERS.values())

    def _worker_begins(self, _master: Arbiter, worker: Any) -> None:
        self.workers.join(worker.number)

    def _worker_ready(self, _worker: Any) -> None:
        """What start-up has made lives as long as the process: a full collection would walk it, 60 ms each time."""
        gc.collect()
        gc.freeze()
        self.workers.up()
        if self._started is not None:
            threading.Thread(target=self._started, name="background", daemon=True).start()

    def _worker_exits(self, _server: Any, _worker: Any) -> None:
        if self._ended is not None:
            self._ended()

    def load(self) -> WsgiApp:
        return self._build()
