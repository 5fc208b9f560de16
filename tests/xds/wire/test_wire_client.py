"""The client, over sockets and inside the process, against peers that behave and peers that do not."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import socketserver
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from wire_messages import NS, PATH, QUERY, SUBMIT, Bench, Sink

from xds.limits import Limits
from xds.namespaces import WSSE
from xds.wire.client import BadAnswer, FaultReceived, LocalTransport, PeerUnreachable, SoapClient
from xds.wire.exchange import OutgoingPart, Peer
from xds.wire.faults import ACTION_NOT_SUPPORTED, SENDER, SoapFault
from xds.wire.service import SoapService
from xds.wire.soap12 import write_fault
from xds.wire.xop import include

BODY = [f'<q xmlns="{NS}"/>'.encode()]


def deposit_of(data: bytes) -> dict[str, Any]:
    """Arguments of a call that sends one document."""
    return {
        "action": SUBMIT, "mtom": True,
        "body": [f'<deposit xmlns="{NS}"><Document>'.encode(), include("d1@x"), b"</Document></deposit>"],
        "parts": [OutgoingPart("d1@x", "text/xml", len(data), lambda: iter([data]))],
    }


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections around a WSGI application."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": self.path, "CONTENT_TYPE": self.headers["Content-Type"],
            "CONTENT_LENGTH": str(length), "wsgi.input": self.rfile, "REMOTE_ADDR": self.client_address[0],
        }
        self.server.ports.append(self.client_address[1])  # type: ignore[attr-defined]

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            self.send_response(int(status.split()[0]))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        for block in self.server.app(environ, start_response):  # type: ignore[attr-defined]
            self.wfile.write(block)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, app: Any, context: ssl.SSLContext | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.app = app
        self.ports: list[int] = []
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that stop with the test."""
    running: list[socketserver.BaseServer] = []

    def start(app: Any, context: ssl.SSLContext | None = None) -> Server:
        server = Server(app, context)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


class Script:
    """A peer that plays one list of steps per connection: ``read``, ``close``, or bytes to send."""

    def __init__(self, *connections: list[Any]):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.received: list[bytes] = []
        self.requests = 0
        self._connections = connections
        self.closed = threading.Semaphore(0)
        threading.Thread(target=self._play, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}{PATH}"

    def _play(self) -> None:
        for steps in self._connections:
            connection, _ = self.listener.accept()
            with connection, contextlib.suppress(OSError):
                for step in steps:
                    if step == "read":
                        self._read(connection)
                    elif isinstance(step, bytes):
                        connection.sendall(step)
                    elif callable(step):
                        connection.sendall(step(self.received[-1]))
            self.closed.release()

    def _read(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += connection.recv(65536)
        self.requests += 1
        self.received.append(rest)


def http_answer(body: bytes, status: str = "200 OK", media: str = "application/soap+xml", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def good(request: bytes) -> bytes:
    """A proper answer to a request of this client."""
    captured: list[bytes] = []
    app = Bench().app
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": PATH, "CONTENT_TYPE": "application/soap+xml",
               "CONTENT_LENGTH": str(len(request)), "wsgi.input": io.BytesIO(request)}
    captured.extend(app(environ, lambda status, headers: None))
    return http_answer(b"".join(captured))


@pytest.fixture(params=["socket", "in process"])
def transport(request: Any, serve: Any) -> Callable[[SoapService], Any]:
    """Both ways to reach a service."""
    if request.param == "socket":
        return lambda app: SoapClient(f"http://127.0.0.1:{serve(app).server_port}{PATH}", timeout=10)
    return lambda app: LocalTransport(app, Peer(address="local"), f"http://localhost{PATH}")


def test_a_simple_call(transport):
    """Rule: M-02, T-03, T-04, T-08"""
    bench = Bench()
    answer = transport(bench.app).call(QUERY, BODY)
    assert answer.body.tag == f"{{{NS}}}answer"
    assert answer.action == QUERY + "Response"
    assert answer.relates_to == bench.exchanges[0].addressing.message_id != ""
    assert answer.trace_id == bench.exchanges[0].trace_id


@pytest.mark.parametrize("size", [0, 1, 300_000, 3_000_000])
def test_documents_travel_both_ways_unchanged(transport, size):
    """Rule: M-01, M-05, M-07"""
    bench, data = Bench(), os.urandom(size)
    with transport(bench.app).call(**deposit_of(data), begin_part=Sink) as answer:
        assert [part.received for part in answer.parts.values()] == [data]
        sink = answer.parts["echo@here"].sink
    assert sink.state == "aborted"
    assert bench.sinks[0].state == "finished"


def test_a_claimed_part_survives_the_answer(transport):
    """Rule: M-05"""
    with transport(Bench().app).call(**deposit_of(b"x"), begin_part=Sink) as answer:
        part = answer.parts["echo@here"]
        part.claimed = True
    assert part.sink.state == "finished"


def test_a_fault_is_raised_with_all_it_says(transport):
    """Rule: I-04"""
    bench = Bench()
    with pytest.raises(FaultReceived) as caught:
        transport(bench.app).call("urn:unknown", BODY)
    error = caught.value
    assert (error.code, error.subcode, error.http_status) == (SENDER, ACTION_NOT_SUPPORTED, 400)
    assert error.trace_id == bench.faults[0][0]


def test_a_security_block_is_sent_as_given(transport):
    """Rule: T-10, M-16"""
    bench = Bench()
    block = f'<w:Security xmlns:w="{WSSE}" s:mustUnderstand="1"><t xmlns="urn:t">v</t></w:Security>'.encode()
    transport(bench.app).call(QUERY, BODY, security=block)
    assert bench.exchanges[0].security[0].tag == "{urn:t}t"


def test_an_answer_is_dropped_when_its_sink_fails(transport):
    """The OSError of the sink reaches its owner. Rule: M-05"""
    failing = Sink(OSError(28, "full"))
    with pytest.raises(OSError, match="full"):
        transport(Bench().app).call(**deposit_of(b"x"), begin_part=lambda: failing)
    assert failing.state == "aborted"


def test_connections_are_kept_and_shared(serve):
    """One connection for calls in a row, also behind a fault."""
    server = serve(Bench().app)
    client = SoapClient(f"http://127.0.0.1:{server.server_port}{PATH}", timeout=10)
    client.call(QUERY, BODY)
    client.call(**deposit_of(b"x" * 100_000))
    with pytest.raises(FaultReceived):
        client.call("urn:unknown", BODY)
    client.call(QUERY, BODY)
    assert len(server.ports) == 4 and len(set(server.ports)) == 1
    client.close()
    client.call(QUERY, BODY)
    assert len(set(server.ports)) == 2


def test_threads_share_a_client(serve):
    """Answers never reach the wrong caller. Rule: T-08"""
    bench = Bench()
    client = SoapClient(f"http://127.0.0.1:{serve(bench.app).server_port}{PATH}", timeout=10)
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(8):
            data = bytes([number]) * (1000 + number)
            with client.call(**deposit_of(data), begin_part=Sink) as answer:
                if answer.parts["echo@here"].received != data:
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(bench.exchanges) == 48


def test_a_connection_closed_while_idle_is_replaced(monkeypatch):
    """The request is sent once. Rule: C-12"""
    script = Script(["read", good], ["read", good])
    client = SoapClient(script.url, timeout=5)
    client.call(QUERY, BODY)
    script.closed.acquire(timeout=5)
    used = []
    send = client._send
    monkeypatch.setattr(client, "_send", lambda connection, *rest: used.append(connection) or send(connection, *rest))
    client.call(QUERY, BODY)
    assert script.requests == 2
    assert len(used) == 1


def test_a_dead_connection_found_while_sending_is_replaced_once(monkeypatch):
    """The idle check can lose the race; then sending fails and the request goes out once more. Rule: C-12"""
    monkeypatch.setattr("xds.wire.client._readable", lambda sock: False)
    script = Script(["read", good], ["read", good])
    client = SoapClient(script.url, timeout=5)
    client.call(QUERY, BODY)
    kept = client._idle[-1][0]
    kept.sock.shutdown(socket.SHUT_WR)
    client.call(QUERY, BODY)
    assert script.requests == 2


def test_a_request_that_may_have_been_processed_is_never_repeated():
    """No answer after everything was sent: nobody knows. Rule: C-12"""
    script = Script(["read", good, "read"])
    client = SoapClient(script.url, timeout=5)
    client.call(QUERY, BODY)
    with pytest.raises(PeerUnreachable) as caught:
        client.call(QUERY, BODY)
    assert caught.value.sent is True
    assert script.requests == 2


def test_nobody_listens():
    """Rule: C-12"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PeerUnreachable) as caught:
        SoapClient(f"http://127.0.0.1:{port}/", timeout=2).call(QUERY, BODY)
    assert caught.value.sent is False


def test_a_silent_peer_leaves_the_outcome_open():
    """Rule: C-12"""
    release = threading.Event()
    script = Script(["read", lambda request: b"" if release.wait(5) else b"-"])
    with pytest.raises(PeerUnreachable) as caught:
        SoapClient(script.url, timeout=0.2).call(QUERY, BODY)
    release.set()
    assert caught.value.sent is True


@pytest.mark.parametrize(
    "answer, error",
    [
        (http_answer(b"<html/>", "502 Bad Gateway", "text/html"), BadAnswer),
        (http_answer(b"", "500 Oops", "application/soap+xml"), BadAnswer),
        (http_answer(b"<a/>"), BadAnswer), (http_answer(b"<!DOCTYPE a><a/>"), BadAnswer),
        (b"garbage\r\n\r\n", BadAnswer), (b"HTTP/1.1 204 No Content\r\n\r\n", BadAnswer),
        (http_answer(b"x" * 9_000_000), BadAnswer),
        (http_answer(b"--x", media="multipart/related; boundary=y"), BadAnswer),
        (lambda request: good(request)[:-10], PeerUnreachable), (b"HTTP/1.1 200", BadAnswer), (b"", PeerUnreachable),
        (lambda request: good(request).replace(b"RelatesTo>urn:uuid:", b"RelatesTo>urn:uuid;"), BadAnswer),
        (lambda request: good(request).replace(b"200 OK", b"500 No"), BadAnswer),
        (lambda request: good(request).replace(b"wsa:Action", b"wsa:Axtion"), BadAnswer),
    ],
)
def test_a_bad_answer_is_told_apart_from_none(answer, error):
    """Whatever a peer sends ends in one of three errors. Attack: hostile-answer"""
    with pytest.raises(error) as caught:
        SoapClient(Script(["read", answer]).url, timeout=5).call(QUERY, BODY)
    if isinstance(caught.value, PeerUnreachable):
        assert caught.value.sent is True


def test_a_source_that_fails_is_not_blamed_on_the_peer():
    """The connection is not used again: the message on it is unfinished."""
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise OSError("document store gone")

    server_bench = Bench()
    script = Script(["read"])
    call = deposit_of(b"xx") | {"parts": [OutgoingPart("d1@x", "a/b", 2, chunks)]}
    client = SoapClient(script.url, timeout=5)
    with pytest.raises(OSError, match="store gone"):
        client.call(**call)
    assert not client._idle
    assert not server_bench.exchanges


@pytest.mark.parametrize("soap", [True, False])
def test_an_answer_given_before_the_whole_request_was_read_is_heard(soap):
    """A peer that refuses a large deposit early; the half-used connection is not kept. Rule: I-04"""
    done = threading.Event()
    fault = b"".join(write_fault(SoapFault(SENDER, "too much"), "t1"))
    early = http_answer(fault, "400 Bad Request") if soap else http_answer(b"no", "413 Content Too Large", "text/plain")

    class Early(Script):
        def _read(self, connection: socket.socket) -> None:
            self.received.append(connection.recv(65536))

    script = Early(["read", early, lambda request: bytes(not done.wait(10))])
    block = bytes(1 << 18)
    part = OutgoingPart("d1@x", "a/b", 400 << 18, lambda: (block for _ in range(400)))
    client = SoapClient(script.url, timeout=0.5)
    try:
        with pytest.raises((BadAnswer, FaultReceived)) as caught:
            client.call(SUBMIT, BODY, mtom=True, parts=[part])
    finally:
        done.set()
    assert caught.value.http_status == (400 if soap else 413)
    assert not client._idle


def test_mutual_tls(serve):
    """Our certificate is shown, theirs is checked."""
    authority, other = trustme.CA(), trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    authority.configure_trust(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED
    url = f"https://127.0.0.1:{serve(Bench().app, server_side).server_port}{PATH}"

    def client(trust: trustme.CA, own: trustme.CA | None) -> SoapClient:
        context = ssl.create_default_context()
        trust.configure_trust(context)
        if own is not None:
            own.issue_cert("client.example").configure_cert(context)
        return SoapClient(url, context, timeout=5)

    known = client(authority, authority)
    assert known.call(QUERY, BODY).action == QUERY + "Response"
    assert known.call(QUERY, BODY).action == QUERY + "Response"
    with pytest.raises(PeerUnreachable) as caught:
        client(other, authority).call(QUERY, BODY)
    assert caught.value.sent is False
    with pytest.raises(PeerUnreachable):
        client(authority, None).call(QUERY, BODY)


@pytest.mark.parametrize("url", ["ftp://x/", "/relative", "https://", "x"])
def test_an_address_that_cannot_be_called_is_refused_at_once(url):
    """Misuse, found when the client is made."""
    with pytest.raises(ValueError, match="address"):
        SoapClient(url)


def test_a_large_document_passes_the_whole_way_in_constant_memory():
    """Client, service and client again: 64 MB with less than 4 MB held. Rule: M-05"""
    block = os.urandom(1 << 18)

    class Counter(Sink):
        def write(self, chunk):
            self.size = getattr(self, "size", 0) + len(chunk)

        def finish(self):
            return self.size

    from xds.errors import ErrorCode
    from xds.wire.exchange import Reply, Transaction

    def handle(exchange):
        assert next(iter(exchange.parts.values())).received == 64 << 20
        return Reply(BODY, [OutgoingPart("back@x", "a/b", 64 << 20, lambda: (block for _ in range(256)))])

    transaction = Transaction(
        name="T", action=SUBMIT, response_action=SUBMIT, body=f"{{{NS}}}q", mtom=True, handle=handle,
        refuse=lambda exchange, findings: Reply(BODY), schema_error=None, internal_error=ErrorCode.XDSRepositoryError,
    )
    app = SoapService(transactions=[transaction], paths={PATH: None}, authenticate=lambda x: 1, begin_part=Counter,
                      limits=Limits())
    local = LocalTransport(app, Peer(), f"http://localhost{PATH}")
    part = OutgoingPart("d@x", "a/b", 64 << 20, lambda: (block for _ in range(256)))
    tracemalloc.start()
    try:
        answer = local.call(SUBMIT, BODY, mtom=True, parts=[part], begin_part=Counter)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.parts["back@x"].received == 64 << 20
    assert peak < 4 << 20
