"""Calling a SOAP service: over HTTPS with connections kept alive, or inside the process.

Both forms send the same bytes and read the same answers; documents stream through in both directions.

Clause: ITI TF-2 Appendix V 3.2 to 3.6
"""

from __future__ import annotations

import base64
import http.client
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit
from wsgiref.types import WSGIApplication, WSGIEnvironment

from lxml import etree

from xds.limits import DEFAULT, Limits
from xds.wire.addressing import new_message_id, read_addressing, request_headers
from xds.wire.answer_head import Head
from xds.wire.exchange import OutgoingPart, Part, PartSink, Peer
from xds.wire.faults import QName, SoapFault
from xds.wire.http import PEER_KEY, RELATED, SOAP, BodyReader, HttpError, ReadInto, into, send_whole
from xds.wire.mime import multipart_response
from xds.wire.receive import abort_unclaimed, receive
from xds.wire.soap12 import open_envelope, read_fault, write_envelope
from xds.wire.tls import Tls, calling, current
from xds.wire.turns import give_way
from xds.wire.xml import parse

_USUAL = {"http": 80, "https": 443}
_TARGET = re.compile("[!-~]+")
_TOGETHER = 1 << 16
"""Bytes of a first block that leave with the head; more of them would be copied for nothing."""
_IDLE = 30.0
"""Seconds after which an unused connection is not trusted any more."""


class PeerUnreachable(Exception):
    """No answer. ``sent`` is False when the peer cannot have processed the request, True when nobody knows."""

    def __init__(self, reason: str, *, sent: bool):
        self.sent = sent
        super().__init__(reason)


class BadAnswer(Exception):
    """An answer came that is no SOAP message for this request. ``http_status`` is 0 when unknown."""

    def __init__(self, reason: str, http_status: int = 0):
        self.http_status = http_status
        super().__init__(reason)


class FaultReceived(Exception):
    """The peer answered with a SOAP fault."""

    def __init__(self, code: QName, subcode: QName | None, reason: str, http_status: int, trace_id: str):
        self.code = code
        self.subcode = subcode
        self.reason = reason
        self.http_status = http_status
        self.trace_id = trace_id
        super().__init__(f"{code[1]}{'/' + subcode[1] if subcode else ''}: {reason} (trace {trace_id})")


@dataclass(slots=True)
class Answer:
    """An understood answer. Leaving it as a context manager drops the parts nobody claimed."""

    body: etree._Element
    parts: Mapping[str, Part]
    action: str
    relates_to: str
    message_id: str
    trace_id: str = ""

    def discard(self) -> None:
        """Abort every unclaimed part."""
        abort_unclaimed(self.parts.values())

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.discard()


class Transport(Protocol):
    """What ``SoapClient`` and ``LocalTransport`` share."""

    url: str

    def call(
        self, action: str, body: Sequence[bytes], *, security: bytes = b"", mtom: bool = False,
        parts: Sequence[OutgoingPart] = (), begin_part: Callable[[], PartSink] | None = None, trace_id: str = "",
        on_behalf: bytes | None = None,
    ) -> Answer: ...


Message = tuple[str, list[tuple[str, str]], Iterator[bytes]]
"""MessageID, HTTP headers, blocks of the body."""


def _write(
    url: str, action: str, body: Sequence[bytes], *, security: bytes, mtom: bool, parts: Sequence[OutgoingPart],
    trace_id: str, on_behalf: bytes | None,
) -> Message:
    """A request; ``trace_id`` makes it part of one under way, ``on_behalf`` (DER) says whose.

    The first block holds the envelope; no part is asked for its bytes before the second.

    Rule: M-01, M-02, T-03, T-04, T-06
    """
    message_id = new_message_id()
    pieces = write_envelope(request_headers(action, message_id, url) + security, body)
    if mtom or parts:
        headers, _, blocks = multipart_response(pieces, parts, action)
    else:
        whole = b"".join(pieces)
        headers = [("Content-Type", f'{SOAP}; charset=UTF-8; action="{action}"'), ("Content-Length", str(len(whole)))]
        blocks = iter((whole,))
    if trace_id:
        headers.append(("X-Trace-Id", trace_id))
    if on_behalf:
        headers.append(("X-On-Behalf", base64.b64encode(on_behalf).decode("ascii")))
    return message_id, headers, blocks


def _understand(
    status: int, headers: Mapping[str, str], length: int | None, read_into: ReadInto, *, message_id: str,
    limits: Limits, begin_part: Callable[[], PartSink] | None,
) -> Answer:
    """Read one answer to its end. ``headers`` has names in lower case."""
    content_type = headers.get("content-type", "")
    if not content_type.lower().startswith((SOAP, RELATED)):
        raise BadAnswer(f"The peer answered {status} with {content_type[:80] or 'no Content-Type'}", status)
    try:
        message = receive(BodyReader(read_into, length, limits), content_type, limits, begin_part)
    except HttpError as error:
        if error.status in (400, 408):
            raise PeerUnreachable(f"The answer was cut short: {error.reason}", sent=True) from None
        raise BadAnswer(error.reason, status) from None
    except SoapFault as fault:
        raise BadAnswer(fault.reason, status) from None
    try:
        if message.failure is not None:
            raise message.failure
        envelope = open_envelope(parse(message.envelope, limits))
        fault_read = read_fault(envelope.body)
        if fault_read is not None:
            code, subcode, reason, trace_id = fault_read
            raise FaultReceived(code, subcode, reason, status, trace_id or headers.get("x-trace-id", ""))
        if status != 200:
            raise BadAnswer(f"The peer answered {status} without a fault", status)
        addressing = read_addressing(envelope.header)
        if addressing.relates_to and addressing.relates_to != message_id:
            raise BadAnswer("The answer relates to another request", status)
    except BaseException as error:
        abort_unclaimed(message.parts.values())
        if isinstance(error, SoapFault):
            raise BadAnswer(f"The answer is no SOAP message: {error.reason}", status) from None
        raise
    return Answer(
        body=envelope.body, parts=message.parts, action=addressing.action, relates_to=addressing.relates_to,
        message_id=addressing.message_id, trace_id=headers.get("x-trace-id", ""),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """What waits for an answer. ``whole``: everything was sent; ``fresh``: over a connection made for it."""

    message_id: str
    begin_part: Callable[[], PartSink] | None
    whole: bool
    fresh: bool


class SoapClient:
    """One address of one peer. Thread-safe; connections are kept alive and shared between threads.

    ``url``      http or https address, which also becomes ``wsa:To``
    ``tls``      our certificate and the authorities trusted; None for the system's own for https
    ``timeout``  seconds to connect, and of silence afterwards
    """

    def __init__(
        self, url: str, tls: Tls | None = None, *, timeout: float = 30.0, limits: Limits = DEFAULT
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https address: {url}")
        self.url = url
        self._host = unquote(parts.hostname)  # the zone of an address has its percent sign escaped
        self._port = parts.port or _USUAL[parts.scheme]
        self._begin = (
            f"POST {_target_of(parts)} HTTP/1.1", f"Host: {_host_of(parts)}", "Accept-Encoding: identity",
        )
        self._tls = (tls or calling()) if parts.scheme == "https" else None
        self._timeout = timeout
        self._limits = limits
        self._lock = threading.Lock()
        self._idle: list[tuple[http.client.HTTPConnection, float]] = []

    def call(
        self, action: str, body: Sequence[bytes], *, security: bytes = b"", mtom: bool = False,
        parts: Sequence[OutgoingPart] = (), begin_part: Callable[[], PartSink] | None = None, trace_id: str = "",
        on_behalf: bytes | None = None,
    ) -> Answer:
        """Send one request and wait for its answer.

        ``body`` is the serialised body element, ``security`` a serialised wsse:Security block. Attached parts
        of the answer go to ``begin_part()``; without it they are dropped. Raises FaultReceived,
        PeerUnreachable, BadAnswer; OSError of a sink. ``trace_id`` and ``on_behalf`` (DER) say of whose request this is
        a part; a service believes them from its own nodes only. A request is sent again only when a kept connection
        turns out closed before the envelope was sent.
        """
        give_way()
        may_be_stale = True
        while True:
            message_id, headers, blocks = _write(
                self.url, action, body, security=security, mtom=mtom, parts=parts, trace_id=trace_id,
                on_behalf=on_behalf,
            )
            kept = self._reusable() if may_be_stale else None  # the last look before anything is sent
            connection = kept or self._connect()
            try:
                whole = self._send(connection, headers, blocks)
            except _Stale as stale:
                connection.close()
                if kept is None:
                    raise PeerUnreachable(f"The request could not be sent: {stale}", sent=False) from None
                may_be_stale = False
                continue
            call = _Call(message_id, begin_part, whole=whole, fresh=kept is None)
            return self._answer(connection, call)

    def close(self) -> None:
        """Close the idle connections; calls under way are not disturbed."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=current(self._tls)
            )
        try:
            connection.connect()  # http.client sets TCP_NODELAY here
        except OSError as error:
            connection.close()
            raise PeerUnreachable(f"No connection to {self._host}: {_kind(error)}", sent=False) from None
        return connection

    def _reusable(self) -> http.client.HTTPConnection | None:
        """A kept connection that shows no sign of having been closed by the peer."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            if time.monotonic() - since < _IDLE and connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, headers: list[tuple[str, str]], blocks: Iterator[bytes]
    ) -> bool:
        """True when everything was sent, False when the peer answered before that.

        The head goes with the first block, and both in one piece: else the peer would wake up for a part of them.
        Raises _Stale when the envelope could not be sent, PeerUnreachable later.
        """
        try:
            head, first = self._head(headers), next(blocks)
            if len(first) <= _TOGETHER:
                send_whole(connection.sock, head + first)
            else:
                connection.send(head)
                connection.send(first)
        except OSError as error:
            raise _Stale(_kind(error)) from None
        except BaseException:
            connection.close()
            raise
        try:
            for block in blocks:
                try:
                    connection.send(block)
                except OSError as error:
                    if _early_answer(connection):
                        return False
                    connection.close()
                    raise PeerUnreachable(f"The request could not be sent: {_kind(error)}", sent=False) from None
        except BaseException:
            connection.close()
            raise
        return True

    def _head(self, headers: list[tuple[str, str]]) -> bytes:
        """Written here and not by ``http.client``, which would send it by itself."""
        lines = [*self._begin, *(f"{name}: {value}" for name, value in headers)]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise ValueError("not fit for the head of a request")
        return "\r\n".join((*lines, "", "")).encode("ascii")

    def _answer(self, connection: http.client.HTTPConnection, call: _Call) -> Answer:
        response = Head(connection.sock, method="POST")
        try:
            try:
                response.begin()
            except http.client.RemoteDisconnected:
                raise PeerUnreachable("The peer closed the connection without an answer", sent=call.whole) from None
            except http.client.HTTPException:
                raise BadAnswer("The answer is not HTTP") from None
            except OSError as error:
                refused = call.fresh and isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
                raise PeerUnreachable(f"No answer: {_kind(error)}", sent=call.whole and not refused) from None
            answer = _understand(
                response.status, dict(response.headers), response.length, response.readinto,
                message_id=call.message_id, limits=self._limits, begin_part=call.begin_part,
            )
        except FaultReceived:
            self._keep(connection, response, call)
            raise
        except BaseException:
            response.close()
            connection.close()
            raise
        self._keep(connection, response, call)
        return answer

    def _keep(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, call: _Call
    ) -> None:
        """Back to the idle ones, if the answer was read to its end and the peer keeps the connection."""
        if not call.whole or response.will_close or not response.isclosed() or connection.sock is None:
            connection.close()
            return
        with self._lock:
            self._idle.append((connection, time.monotonic()))


class LocalTransport:
    """The same call straight into a WSGI application: no socket, the same bytes.

    ``peer`` is who the application shall see on the other end; ``url`` says which of its paths is meant.
    """

    def __init__(self, app: WSGIApplication, peer: Peer, url: str, *, limits: Limits = DEFAULT) -> None:
        self.url = url
        self._app = app
        self._peer = peer
        self._path = urlsplit(url).path
        self._limits = limits

    def call(
        self, action: str, body: Sequence[bytes], *, security: bytes = b"", mtom: bool = False,
        parts: Sequence[OutgoingPart] = (), begin_part: Callable[[], PartSink] | None = None, trace_id: str = "",
        on_behalf: bytes | None = None,
    ) -> Answer:
        """As ``SoapClient.call``; never PeerUnreachable before the application has run."""
        message_id, headers, blocks = _write(
            self.url, action, body, security=security, mtom=mtom, parts=parts, trace_id=trace_id, on_behalf=on_behalf,
        )
        told: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, fields: list[tuple[str, str]], exc_info: object = None) -> Any:
            told.append((status, fields))

        result = self._app(self._environ(dict(headers), blocks), start_response)
        try:
            output = _Blocks(iter(result))
            first = output.read(1 << 18)  # an application may call start_response as late as its first block
            status, fields = told[-1]
            named = {name.lower(): value for name, value in fields}
            length = int(named["content-length"]) if "content-length" in named else None
            output.unread(first)
            return _understand(
                int(status.split(" ", 1)[0]), named, length, into(output.read),
                message_id=message_id, limits=self._limits, begin_part=begin_part,
            )
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _environ(self, headers: dict[str, str], blocks: Iterator[bytes]) -> WSGIEnvironment:
        return {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": self._path, "QUERY_STRING": "",
            "CONTENT_TYPE": headers["Content-Type"], "CONTENT_LENGTH": headers["Content-Length"],
            "SERVER_NAME": "localhost", "SERVER_PORT": "0", "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_X_TRACE_ID": headers.get("X-Trace-Id", ""), "HTTP_X_ON_BEHALF": headers.get("X-On-Behalf", ""),
            "REMOTE_ADDR": self._peer.address, PEER_KEY: self._peer,
            "wsgi.version": (1, 0), "wsgi.url_scheme": "https", "wsgi.input": _Blocks(blocks),
            "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }


class _Blocks:
    """Blocks as something to read from; a read never joins two of them."""

    __slots__ = ("_blocks", "_rest")

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        block = self._rest
        while not block:
            following = next(self._blocks, None)
            if following is None:
                return b""
            block = bytes(following)
        if size < 0 or len(block) <= size:
            self._rest = b""
            return block
        self._rest = block[size:]
        return block[:size]

    def unread(self, block: bytes) -> None:
        self._rest = block + self._rest


def _host_of(parts: SplitResult) -> str:
    """What Host says: no user, no zone of the address, no port that goes without saying.

    Clause: RFC 9110 7.2; RFC 6874 4
    """
    host = (parts.hostname or "").partition("%")[0]
    host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    return host if parts.port in (None, _USUAL[parts.scheme]) else f"{host}:{parts.port}"


def _target_of(parts: SplitResult) -> str:
    """Path and query. Raises ValueError for what cannot stand in a request line. Clause: RFC 9112 3.2"""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"not the path of an address: {target}")
    return target


class _Stale(Exception):
    """The connection was dead before the envelope was sent."""


def _readable(sock: socket.socket) -> bool:
    """Something waits on an idle connection: its end, or bytes nobody asked for."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _early_answer(connection: http.client.HTTPConnection) -> bool:
    """The peer stopped reading because it has answered already."""
    return connection.sock is not None and _readable(connection.sock)


def _kind(error: OSError) -> str:
    """What went wrong on the network, in a word or two, without addresses."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS refused ({error.reason or 'unknown reason'})"
    return error.strerror or type(error).__name__
