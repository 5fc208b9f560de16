"""Raw requests over real TLS, and what every answer to a hostile one must be."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from conformance.client import Client
from tests.live import Live, Memory, a_document, provide, submission_of
from tests.world import FIND_DOCUMENTS
from xds.check.query_params import quote, quote_list
from xds.namespaces import APPROVED
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.exchange import OutgoingPart
from xds.wire.mime import multipart_response
from xds.wire.soap12 import write_envelope

REPOSITORY, REGISTRY = "/services/repository", "/services/registry"
GROWTH = 64 << 20
"""Bytes any process may grow by at its peak."""
LEAK = re.compile(
    rb"Traceback|\.py\b|line \d+, in |/(?:usr|var|etc|opt)/|SELECT |INSERT |sqlite|sqlalchemy|lxml|gunicorn/|"
    rb"Error\(|Exception|psycopg|at 0x[0-9a-f]{6}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. ``status`` is 0 when the connection ended without one."""

    status: int
    head: bytes = b""
    body: bytes = b""
    seconds: float = 0.0
    sent: int = 0
    """Bytes that could be sent before the other side stopped reading."""

    @property
    def is_fault(self) -> bool:
        return b"Fault" in self.body and b"soap-envelope" in self.body

    @property
    def is_refusal(self) -> bool:
        return b"ResponseStatusType:Failure" in self.body


@dataclass
class Wire:
    """One installation as an attacker with a card sees it."""

    live: Live
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)

    def context(self, who: str = "physician") -> ssl.SSLContext:
        """TLS with that card; ``nobody`` has none."""
        if who not in self.contexts:
            trusted = self.live.world.folder / "pki" / "trust" / "ca.pem"
            self.contexts[who] = (
                self.live.world.bare_tls() if who == "nobody" else self.live.world.cards[who].tls_context(trusted)
            )
        return self.contexts[who]

    def port(self, name: str = "repository") -> int:
        port: int = getattr(self.live.world.settings, name).port
        return port

    def plain(self, name: str = "repository") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port(name)), timeout=15)

    def connect(self, name: str = "repository", who: str = "physician") -> ssl.SSLSocket:
        connection = self.context(who).wrap_socket(self.plain(name), server_hostname="127.0.0.1")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def say(
        self, data: bytes | Iterable[bytes], name: str = "repository", who: str = "physician", *,
        half_close: bool = False,
    ) -> Said:
        """Send everything, or until the other side has had enough, and read one answer."""
        with self.connect(name, who) as connection:
            return say(connection, data, half_close=half_close)

    # -- messages that are right, to be spoiled --------------------------------------------------------------

    def deposit_message(self, data: bytes = b"") -> tuple[str, bytes]:
        """Content-Type and body of a valid ITI-41 of one document of a new patient."""
        data = data or a_document(500)
        submission = submission_of(data, self.live.world.patient())
        return self._written(lambda client: provide(client, submission, data))

    def query_message(self) -> tuple[str, bytes]:
        """Content-Type and body of a valid FindDocuments."""
        patient_id = self.live.world.patient()
        slots = [
            ("$XDSDocumentEntryPatientId", [quote(patient_id)]), ("$XDSDocumentEntryStatus", [quote_list((APPROVED,))]),
        ]
        return self._written(lambda client: client.query(FIND_DOCUMENTS, slots, patient_id=patient_id))

    def _written(self, call: Callable[[Client], object]) -> tuple[str, bytes]:
        card = self.live.client()
        writer = _Writer()
        client = Client(card=card.card, structure_id=card.structure_id, repository=writer, registry=writer)
        with suppress(_Written):
            call(client)
        return writer.content_type, writer.body

    # -- what must hold whatever was sent ---------------------------------------------------------------------

    @contextmanager
    def unharmed(self, most: int = GROWTH) -> Iterator[None]:
        """Nothing grows (by more than ``most`` bytes), nothing dies or stays, and the next honest deposit is served."""
        pids = self.pids()
        memory = Memory(pids)
        yield
        assert self.pids() == pids, "a process has died"
        growth = memory.growth()
        assert max(growth.values()) < most, growth
        deadline = time.monotonic() + 5
        while self.live.staged() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.live.staged() == [], "refused bytes were kept"
        _, outcome = self.live.deposit(a_document(200))
        assert outcome.is_success, outcome

    def pids(self) -> list[int]:
        return [pid for service in self.live.services.values() for pid in service.pids()]


class _Written(Exception):
    pass


class _Writer:
    """Writes the message as ``SoapClient`` does, and sends nothing."""

    url = "https://localhost/"
    content_type = ""
    body = b""

    def call(
        self, action: str, body: Any, *, security: bytes = b"", mtom: bool = False,
        parts: Iterable[OutgoingPart] = (), begin_part: Any = None, trace_id: str = "",
    ) -> NoReturn:
        pieces = write_envelope(request_headers(action, new_message_id(), "https://localhost/") + security, body)
        if mtom:
            headers, _, blocks = multipart_response(pieces, list(parts), action)
            self.content_type, self.body = dict(headers)["Content-Type"], b"".join(map(bytes, blocks))
        else:
            self.content_type, self.body = "application/soap+xml; charset=UTF-8", b"".join(pieces)
        raise _Written


def say(connection: ssl.SSLSocket, data: bytes | Iterable[bytes], *, half_close: bool = False) -> Said:
    """As ``Wire.say``, on a connection that is there."""
    began = time.perf_counter()
    sent = 0
    try:
        for block in (data,) if isinstance(data, bytes) else data:
            connection.sendall(block)
            sent += len(block)
        if half_close:
            connection.unwrap()
    except OSError:
        pass  # it has stopped reading; the answer says why
    said = listen(connection)
    return Said(said.status, said.head, said.body, time.perf_counter() - began, sent)


def listen(connection: socket.socket) -> Said:
    """One answer, to the end of its announced length."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return Said(0)
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        announced = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        while announced is None or len(body) < int(announced[1]):
            more = connection.recv(65536)
            if not more:
                break
            body += more
    except TimeoutError:
        raise AssertionError("no answer in time") from None
    except OSError:
        return Said(0)
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    assert status is not None, head[:100]
    return Said(int(status[1]), head, body)


def post(
    body: bytes, content_type: str, path: str = REPOSITORY, *, length: str | None = "", extra: str = "",
    version: str = "HTTP/1.1",
) -> bytes:
    """A POST; ``length`` replaces the right Content-Length, None leaves it out."""
    announced = "" if length is None else f"Content-Length: {length or len(body)}\r\n"
    head = f"POST {path} {version}\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{announced}{extra}\r\n"
    return head.encode("latin-1") + body


def chunked(body: bytes, content_type: str, path: str = REPOSITORY, size: int = 1 << 16) -> bytes:
    """The same in chunks."""
    head = post(b"", content_type, path, length=None, extra="Transfer-Encoding: chunked\r\n")
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def assert_clean(said: Said) -> None:
    """Nothing of our inside in an answer."""
    found = LEAK.search(said.body) or LEAK.search(said.head.replace(b"Server: gunicorn", b""))
    assert found is None, found
    assert len(said.body) < 64 * 1024
