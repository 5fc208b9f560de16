"""A partner's address for answers: a small HTTP or HTTPS server that keeps what is posted to it."""

from __future__ import annotations

import io
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.world import Memory
from xds.limits import DEFAULT
from xds.wire.addressing import read_addressing
from xds.wire.exchange import Addressing
from xds.wire.http import BodyReader
from xds.wire.receive import receive
from xds.wire.soap12 import Envelope, open_envelope
from xds.wire.xml import parse


@dataclass(frozen=True, slots=True)
class Posted:
    """One message that arrived. ``peer`` is the subject of the client certificate, "" without one."""

    path: str
    headers: dict[str, str]
    body: bytes
    peer: str = ""

    def opened(self) -> tuple[Envelope, Addressing, list[bytes]]:
        """Envelope, addressing, and the bytes of each attached part."""
        body = BodyReader(io.BytesIO(self.body).readinto, len(self.body), DEFAULT)
        message = receive(body, self.headers["content-type"], DEFAULT, Memory)
        envelope = open_envelope(parse(message.envelope))
        return envelope, read_addressing(envelope.header), [part.received for part in message.parts.values()]


@dataclass
class Receiver:
    """``statuses`` are answered one after the other, then 202; a redirection names ``elsewhere``."""

    port: int = 0
    scheme: str = "http"
    posted: list[Posted] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    elsewhere: str = ""
    before_answer: Callable[[], None] = lambda: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def wait(self, count: int = 1, patience: float = 15.0) -> list[Posted]:
        """Everything posted, once there are ``count`` messages."""
        deadline = time.monotonic() + patience
        with self.changed:
            while len(self.posted) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self.posted)} of {count} messages came"
                self.changed.wait(left)
            return list(self.posted)


@contextmanager
def receiving(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """A receiver on the loopback address, on a free port unless told; with ``context`` over TLS."""
    receiver = Receiver(scheme="https" if context else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            certificate = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            named = {name.lower(): value for name, value in self.headers.items()}
            receiver.before_answer()
            with receiver.changed:
                receiver.posted.append(Posted(self.path, named, body, str((certificate or {}).get("subject", ""))))
                status = receiver.statuses.pop(0) if receiver.statuses else 202
                receiver.changed.notify_all()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", receiver.elsewhere)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A handshake refused on purpose is no news."""

    server = Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
