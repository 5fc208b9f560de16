"""What a call sends before its envelope, how it leaves, and what becomes of the connection afterwards.

Clause: RFC 9110 7.2; RFC 9112 3.2, 9.3
"""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from wire_messages import NS, PATH, QUERY, Bench

from xds.wire.client import BadAnswer, SoapClient
from xds.wire.http import send_whole

BODY = [f'<q xmlns="{NS}"/>'.encode()]
PATIENCE = 20.0
"""Seconds after which a peer gives up, and the test fails."""


def good(request: bytes, head: str = "") -> bytes:
    """A proper answer to a whole request."""
    envelope = request.partition(b"\r\n\r\n")[2]
    environ: Any = {
        "REQUEST_METHOD": "POST", "PATH_INFO": PATH, "CONTENT_TYPE": "application/soap+xml",
        "CONTENT_LENGTH": str(len(envelope)), "wsgi.input": io.BytesIO(envelope),
    }
    body = b"".join(Bench().app(environ, lambda status, headers: None))
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode()
        + body
    )


class Peer:
    """Answers each first piece that comes on a connection; what comes behind it is read to its end."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.pieces: list[bytes] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)
        """Released when a client has closed a connection."""
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        found: tuple[str, int] = self.listener.getsockname()
        return found

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            while piece := connection.recv(1 << 20):
                self.pieces.append(piece)
                connection.sendall(self._answer(piece))
        self.ended.release()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Peers that stop listening with the test."""
    made: list[Peer] = []

    def start(answer: Callable[[bytes], bytes] = good) -> Peer:
        made.append(Peer(answer))
        return made[-1]

    yield start
    for one in made:
        one.listener.close()


@pytest.mark.parametrize(
    ("address", "where", "host", "target"),
    [
        ("http://registry.example/a/b", ("registry.example", 80), "registry.example", "/a/b"),
        ("http://registry.example", ("registry.example", 80), "registry.example", "/"),
        ("http://registry.example:80/a?b=c&d", ("registry.example", 80), "registry.example", "/a?b=c&d"),
        ("http://registry.example:8080/a", ("registry.example", 8080), "registry.example:8080", "/a"),
        ("http://anne:secret@Registry.example/a", ("registry.example", 80), "registry.example", "/a"),
        ("http://bücher.example/a", ("bücher.example", 80), "xn--bcher-kva.example", "/a"),
        ("http://[2001:db8::1]:8080/a", ("2001:db8::1", 8080), "[2001:db8::1]:8080", "/a"),
        ("http://[fe80::1%25eth0]/a", ("fe80::1%eth0", 80), "[fe80::1]", "/a"),
    ],
)
def test_head_and_envelope_are_one_piece(
    peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, address: str, where: tuple[str, int], host: str,
    target: str,
) -> None:
    """Every field, and no other; nobody's name or password; the peer wakes up once."""
    there, connect = peer(), socket.create_connection
    called: list[tuple[str, int]] = []
    monkeypatch.setattr(
        socket, "create_connection", lambda where, *rest: called.append(where) or connect(there.address, *rest)
    )
    SoapClient(address, timeout=PATIENCE).call(QUERY, BODY, trace_id="0" * 32, on_behalf=b"certificate")
    (piece,) = there.pieces
    head, _, envelope = piece.partition(b"\r\n\r\n")
    assert head.decode("ascii").split("\r\n") == [
        f"POST {target} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity",
        f'Content-Type: application/soap+xml; charset=UTF-8; action="{QUERY}"', f"Content-Length: {len(envelope)}",
        f"X-Trace-Id: {'0' * 32}", "X-On-Behalf: Y2VydGlmaWNhdGU=",
    ]
    assert envelope.endswith(b"Envelope>")
    assert called == [where]


@pytest.mark.parametrize(
    "address", ["http://h.example/a b", "http://h.example/a HTTP/1.1?b", "http://h.example/é", "http://a..b/"]
)
def test_an_address_that_fits_no_request_line_is_refused_at_once(address: str) -> None:
    """Before there is a connection."""
    with pytest.raises(ValueError):
        SoapClient(address)


@pytest.mark.parametrize("trace_id", ["a\r\nX-On-Behalf: b", "a\nb", "é", "a\0b"])
def test_nothing_can_be_put_between_the_fields(peer: Callable[..., Peer], trace_id: str) -> None:
    """Nothing is sent, and the connection is closed, though the failure is kept. Attack: header-injection"""
    there = peer()
    client = SoapClient(f"http://127.0.0.1:{there.address[1]}{PATH}", timeout=PATIENCE)
    with pytest.raises(ValueError, match="head of a request") as kept:
        client.call(QUERY, BODY, trace_id=trace_id)
    assert there.ended.acquire(timeout=PATIENCE)
    assert there.pieces == [] and kept.value


def test_a_large_envelope_is_whole(peer: Callable[..., Peer]) -> None:
    """One that is not copied to stand behind its head."""

    def answer(_: bytes) -> bytes:
        sent = b"".join(there.pieces)
        return good(sent) if sent.endswith(b"Envelope>") else b""

    there = peer(answer)
    client = SoapClient(f"http://127.0.0.1:{there.address[1]}{PATH}", timeout=PATIENCE)
    client.call(QUERY, [f'<q xmlns="{NS}">{"x" * 300_000}</q>'.encode()])
    head, _, envelope = b"".join(there.pieces).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(envelope)}".encode() in head and len(envelope) > 300_000


@pytest.mark.parametrize("answer", [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 900\r\n\r\n<html/>", b"garbage\r\n"])
def test_a_failed_answer_ends_its_connection(peer: Callable[..., Peer], answer: bytes) -> None:
    """At once, though whoever called keeps the failure with all that hangs on it."""
    there = peer(lambda _: answer)
    client = SoapClient(f"http://127.0.0.1:{there.address[1]}{PATH}", timeout=PATIENCE)
    with pytest.raises(BadAnswer) as kept:
        client.call(QUERY, BODY)
    assert there.ended.acquire(timeout=PATIENCE) and kept.value


@pytest.mark.parametrize(("head", "connections"), [("", 1), ("Connection: close\r\n", 2), ("Connection: Close\r\n", 2)])
def test_a_connection_is_kept_as_the_peer_says(peer: Callable[..., Peer], head: str, connections: int) -> None:
    """One that is to be closed is not used again, though it is still open."""
    there = peer(lambda request: good(request, head))
    client = SoapClient(f"http://127.0.0.1:{there.address[1]}{PATH}", timeout=PATIENCE)
    for _ in range(2):
        client.call(QUERY, BODY)
    assert there.connections == connections


def test_what_is_left_of_an_answer_is_not_taken_for_the_next(
    peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes behind the last boundary of a message, which nobody reads: the next call is on a connection of its own,
    also where they have not come yet when the idle one is looked at.
    """
    monkeypatch.setattr("xds.wire.client._readable", lambda sock: False)

    def answer(request: bytes) -> bytes:
        body = good(request).partition(b"\r\n\r\n")[2]
        root = b"--b\r\nContent-Type: application/xop+xml; type=\"application/soap+xml\"\r\nContent-ID: <r>\r\n\r\n"
        whole = root + body + b"\r\n--b--\r\n" + b"HTTP/1.1 200 OK\r\n" * 100_000
        kind = 'multipart/related; boundary=b; start="<r>"; type="application/xop+xml"'
        return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(whole)}\r\n\r\n".encode() + whole

    there = peer(answer)
    client = SoapClient(f"http://127.0.0.1:{there.address[1]}{PATH}", timeout=PATIENCE)
    for _ in range(2):
        with client.call(QUERY, BODY) as understood:
            assert understood.action == f"{QUERY}Response"
    assert there.connections == 2


def test_several_records_leave_as_one_piece() -> None:
    """The connection is told when they begin and when they have ended; one record needs no telling."""
    told: list[tuple[object, ...]] = []

    class Recording(socket.socket):
        def setsockopt(self, *what: Any) -> None:
            told.append(what)

        def sendall(self, data: Any, flags: int = 0) -> None:
            told.append((len(data),))

    with Recording() as recording:
        send_whole(recording, bytes(1 << 14))
        assert told == [(1 << 14,)]
        told.clear()
        send_whole(recording, bytes((1 << 14) + 1))
    cork = (socket.IPPROTO_TCP, socket.TCP_CORK)
    assert told == [(*cork, 1), ((1 << 14) + 1,), (*cork, 0)]
