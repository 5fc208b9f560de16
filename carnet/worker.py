"""gunicorn's threaded worker, made patient: a thread is given to a request only once its whole head is there.

The handshake and the head of a request arrive without a thread waiting for them, and a refused connection is
parted with in the same way, so that no number of slow or silent peers keeps others from being served. What cannot
be read as HTTP is answered in one plain line, and nothing a peer has sent is repeated to it or written to a log.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from gunicorn import glogging, http, sock
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn

from carnet.handshake_reports import HandshakeReports
from carnet.staying import StayingWorker
from carnet.workers import Workers
from xds.wire.outcome import place_of

MAX_HEAD = 64 * 1024
"""Bytes of a request line and its headers."""
YIELD = 0.001
"""Seconds a new connection is left to the workers that have fewer; then this one takes it."""
LINGER = 2.0
"""Seconds a connection we have ended is still read, so that the peer sees the answer before the end."""
MOST_LINGERING = 1 << 20
"""Bytes read from such a connection."""
_READ = 1 << 14
_STATUS: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "URI Too Long"),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented"),
    errors.ExpectationFailed: (417, "Expectation Failed"),
}


class Served(Protocol):
    """What the worker asks of the application it runs in."""

    idle: float
    """Seconds a handshake or a head may take."""
    workers: Workers

    def handshake_failed(self, address: str, reason: str) -> None: ...

    def abandoned(self) -> None:
        """The master has ended; another one will want our addresses."""
        ...


class _Arrival:
    """A connection whose handshake or next head is not complete."""

    __slots__ = ("began", "head", "secured")

    def __init__(self, *, secured: bool, head: bytes = b"") -> None:
        self.began = time.monotonic()
        self.secured = secured
        self.head = bytearray(head)

    def is_complete(self) -> bool:
        """True when the blank line behind the headers is there; empty lines in front of a request do not count."""
        start = len(self.head) - len(self.head.lstrip(b"\r\n"))
        return self.head.find(b"\r\n\r\n", start) >= 0

    def take(self, connection: ssl.SSLSocket) -> None:
        """Returns when the head is complete or too large; raises OSError, SSLWantRead while there is more to come."""
        if not self.secured:
            connection.do_handshake()
            self.secured = True
        while not self.is_complete() and len(self.head) <= MAX_HEAD:
            data = connection.recv(_READ)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            self.head += data


class PatientWorker(StayingWorker):
    """Serves TLS only."""

    app: Served

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[TConn, _Arrival] = {}
        self._parting: dict[TConn, tuple[float, int]] = {}

    def init_process(self) -> None:
        self._reports = HandshakeReports(self.app.handshake_failed)
        super().init_process()

    @property
    def nr_conns(self) -> int:
        """As gunicorn counts them; the other workers see it."""
        return self._connections

    @nr_conns.setter
    def nr_conns(self, count: int) -> None:
        self._connections = count
        self.app.workers.has(count)

    # -- arrival: handshake and head, on the main thread, never blocking ------------------------------------

    def accept(self, listener: Any) -> None:
        """Connections are kept for long, so who takes one decides who works: the workers share them evenly."""
        if self.app.workers.has_more():
            time.sleep(YIELD)
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, errno.EMFILE, errno.ENFILE):
                raise
            return
        self.nr_conns += 1
        connection = TConn(self.cfg, client, address, listener.getsockname())
        try:
            connection.sock = sock.ssl_wrap_socket(client, self.cfg)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, ValueError):
            self._close(connection)
            return
        connection.parser = http.get_parser(self.cfg, connection.sock, address)
        connection.initialized = connection.data_ready = True
        self._listen(connection, _Arrival(secured=False))

    def on_client_socket_readable(self, connection: TConn, client: Any) -> None:
        """The next request on a kept connection."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(connection)
        self._listen(connection, _Arrival(secured=True))

    def _listen(self, connection: TConn, arrival: _Arrival) -> None:
        connection.sock.settimeout(0.0)
        self._arriving[connection] = arrival
        self._advance(connection, None)

    def _advance(self, connection: TConn, registered: Any) -> None:
        """Take what has come. ``registered`` is the socket when it is with the poller."""
        arrival = self._arriving[connection]
        try:
            arrival.take(connection.sock)
        except ssl.SSLWantReadError:
            self._wait(connection, registered, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait(connection, registered, selectors.EVENT_WRITE)
        except OSError as error:
            self._forget(connection)
            if arrival.secured:
                self._part(connection)
            else:
                self._handshake_failed(connection, error)
        else:
            del self._arriving[connection]
            if registered is not None:
                self.poller.unregister(registered)
            self._arrived(connection, arrival)

    def _arrived(self, connection: TConn, arrival: _Arrival) -> None:
        if arrival.is_complete():
            connection.parser.unreader.unread(bytes(arrival.head))
            self.enqueue_req(connection)
        else:
            _answer(connection.sock.send, 431, "Request Header Fields Too Large")
            self._part(connection)

    def _has_next(self, conn: TConn) -> bool:
        """On the thread of the last request: a next one counts when its whole head is here; else the poller waits."""
        if not super()._has_next(conn):
            return False
        arrival = _Arrival(secured=True)
        conn.sock.settimeout(0.0)
        with suppress(OSError):
            arrival.take(conn.sock)
        conn.parser.unreader.unread(bytes(arrival.head))
        return arrival.is_complete()

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """As gunicorn's; the answer goes out in as few pieces as can be: what is small, when the application has ended.

        Nothing more is sent of an answer that failed; what is said of the failure then goes at once.
        """
        conn.sock.gather()
        try:
            kept = super().handle_request(req, conn)
            conn.sock.let_go()
        finally:
            conn.sock.drop()
        return kept

    def _wait(self, connection: TConn, registered: Any, events: int) -> None:
        follow = partial(self._advance, connection)
        if registered is None:
            self.poller.register(connection.sock, events, follow)
        else:
            self.poller.modify(connection.sock, events, follow)

    def _forget(self, connection: TConn) -> None:
        self._arriving.pop(connection, None)
        self._parting.pop(connection, None)
        with suppress(KeyError, ValueError, OSError):
            self.poller.unregister(connection.sock)

    def _handshake_failed(self, connection: TConn, error: OSError | None) -> None:
        """A connection closed before it said anything is no failure."""
        reason = "timeout"
        if error is not None:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or ""
        if reason:
            self._reports.add(str(connection.client[0]), reason)
        self._part(connection)

    # -- departure ------------------------------------------------------------------------------------------

    def finish_request(self, connection: TConn, future: Any) -> None:
        """The request is answered: wait for the next one, or part."""
        try:
            keep = not future.cancelled() and future.result()
        except Exception as error:
            self.log.error("%s at %s", type(error).__name__, place_of(error))
            keep = False
        if not keep:
            self._part(connection)
            return
        ahead = connection.parser.unreader.take_buffered()
        if ahead or connection.sock.pending():
            self._listen(connection, _Arrival(secured=True, head=ahead))
        else:
            super().finish_request(connection, future)

    def _part(self, connection: TConn) -> None:
        """End our side and read on for a moment: a connection closed on unread bytes loses its last answer."""
        try:
            connection.sock.settimeout(0.0)
            connection.sock.shutdown(socket.SHUT_WR)
            self._parting[connection] = (time.monotonic() + LINGER, 0)
            self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._drain, connection))
        except (OSError, ValueError, KeyError):
            self._close(connection)

    def _drain(self, connection: TConn, _registered: Any) -> None:
        until, size = self._parting[connection]
        try:
            data = connection.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or size + len(data) > MOST_LINGERING:
            self._close(connection)
        else:
            self._parting[connection] = (until, size + len(data))

    def _close(self, connection: TConn) -> None:
        self._forget(connection)
        self.nr_conns -= 1
        with suppress(OSError):
            connection.sock.close()

    def murder_pending(self) -> None:
        """Called about once a second: end what has taken too long. Both tables are in the order of their time."""
        super().murder_pending()
        now = time.monotonic()
        patience = self.app.idle if self.alive else LINGER
        for connection, arrival in list(self._arriving.items()):
            if now - arrival.began < patience:
                break
            self._forget(connection)
            if arrival.secured:
                _answer(connection.sock.send, 408, "Request Timeout")
                self._part(connection)
            else:
                self._handshake_failed(connection, None)
        for connection, (until, _) in list(self._parting.items()):
            if now < until:
                break
            self._close(connection)

    def is_parent_alive(self) -> bool:
        """Without a master we finish what is under way, and let go of the addresses at once for our successor."""
        if super().is_parent_alive():
            return True
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self.app.abandoned()
        self.handle_exit(0, None)
        return False

    # -- what cannot be read as a request --------------------------------------------------------------------

    def handle_error(self, request: Any, client: Any, address: Any, error: Exception) -> None:
        """Answer a head or a framing that is no HTTP. Called on the request's thread."""
        if isinstance(error, ssl.SSLError):
            return
        if isinstance(error, errors.ParseException):
            status, reason = next((v for k, v in _STATUS.items() if isinstance(error, k)), (400, "Bad Request"))
            self.log.info("%s from %s", type(error).__name__, address[0] if address else "")
        else:
            status, reason = 500, "Internal Server Error"
            self.log.error("%s at %s", type(error).__name__, place_of(error))
        _answer(client.sendall, status, reason)


def _answer(send: Any, status: int, reason: str) -> None:
    """An answer below everything else; a peer that cannot be told is not told."""
    text = f"{reason}\n"
    lines = (
        f"HTTP/1.1 {status} {reason}", "Connection: close", "Content-Type: text/plain",
        f"Content-Length: {len(text)}", "", text,
    )
    with suppress(OSError):
        send("\r\n".join(lines).encode())


class QuietLogger(glogging.Logger):
    """gunicorn's logger without stack traces and request lines: the type of an error and its place."""

    def exception(self, message: str, *args: object, **kwargs: object) -> None:
        error = sys.exc_info()[1]
        said = message.split("%", 1)[0].strip()
        self.error_log.error("%s: %s at %s", said, type(error).__name__, place_of(error) if error else "")
