"""One actor in one process group: gunicorn's threaded worker under mutual TLS.

One TLS context is made per worker and kept (a context per connection costs more than the request).
A client certificate is asked for and verified in the handshake; its absence is answered above TLS, with a
SOAP fault a person can read and a line in the access log, and everything but a description is refused
without one. Every socket operation has a time-out, so a silent peer holds a thread for seconds only.

Clause: ITI TF-2 3.19 (node authentication)
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
log = logging.getLogger("carnet.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where and how one actor is served. ``idle`` is the longest silence on a socket, in seconds."""

    name: str
    host: str
    port: int
    threads: int
    certificate: Path
    key: Path
    client_anchors: Path
    """PEM bundle of the authorities whose client certificates are accepted"""
    idle: float
    on_handshake_failure: Callable[[str, str], None] | None = None
    """Called with (peer address, reason) when a handshake fails."""


class BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose "blocking" means "for at most ``idle`` seconds"."""

    idle: float = 20.0
    on_failure: Callable[[str, str], None] | None = None

    def setblocking(self, flag: bool) -> None:
        """Gunicorn blocks before it reads a request; bound that wait."""
        self.settimeout(self.idle if flag else 0.0)

    def do_handshake(self, block: bool = False) -> None:
        """The handshake, bounded and reported when it fails."""
        self.settimeout(self.idle)
        try:
            super().do_handshake(block)
        except OSError as error:
            report = type(self).on_failure
            if report is not None and not isinstance(error, ConnectionResetError):
                report(
                    _address(self), getattr(error, "verify_message", "") or getattr(error, "reason", "") or "timeout"
                )
            raise


def _address(sock: ssl.SSLSocket) -> str:
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


def tls_context(listener: Listener) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, forward secret suites, client certificates verified against our anchors only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(listener.certificate, listener.key)
    context.load_verify_locations(listener.client_anchors)
    context.verify_mode = ssl.CERT_OPTIONAL
    failure = listener.on_handshake_failure
    context.sslsocket_class = type(
        "BoundedSocket",
        (BoundedSocket,),
        {"idle": listener.idle, "on_failure": staticmethod(failure) if failure else None},
    )
    return context


class Server(BaseApplication):
    """Serves one WSGI application until SIGTERM or SIGINT; requests under way are finished."""

    def __init__(self, listener: Listener, build: Callable[[], WsgiApp], started: Callable[[], None] | None = None):
        """``build`` runs in the worker, after the fork, so that no connection or thread crosses it."""
        self.listener = listener
        self._build = build
        self._started = started
        super().__init__()

    def load_config(self) -> None:
        one = self.listener
        context: list[ssl.SSLContext] = []

        def memoised(_conf: Any, _default: Any) -> ssl.SSLContext:
            if not context:
                context.append(tls_context(one))
            return context[0]

        settings = {
            "bind": f"{one.host}:{one.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": one.threads,
            "worker_connections": max(1000, one.threads * 8),
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": 30,
            "certfile": str(one.certificate),
            "keyfile": str(one.key),
            "ssl_context": memoised,
            "do_handshake_on_connect": False,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "proc_name": f"carnet-{one.name}",
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": self._worker_ready,
        }
        for key, value in settings.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)

    def _worker_ready(self, _worker: Any) -> None:
        if self._started is not None:
            threading.Thread(target=self._started, name="background", daemon=True).start()

    def load(self) -> WsgiApp:
        return self._build()
