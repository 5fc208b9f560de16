"""The floors: for each scenario the smallest server that does the unavoidable steps of the same request.

One process, one thread a connection, no framework: the head of a request is searched for its length and nothing
else, nothing is authorised, nothing is logged, no rule of the affinity domain is checked, and one process does
what registry and repository share. Where a step cannot be done without a primitive, it is the product's own:
the hardened parser, the compiled schema, the signature, the metadata written for the wire. ``docs/performance.md``
lists the steps of each.

Reads one JSON object from standard input, answers ``{"port": …}``, then serves until standard input ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lxml import etree

from carnet.bench.connection import Connection
from carnet.keys import PairFiles, server_context
from guard.credentials import signature
from guard.credentials.certificates import TrustStore, Use
from guard.credentials.token import hardened_parser
from storage.rows import ENTRY_COLUMNS, entry_from
from xds.ebxml import schema, write
from xds.namespaces import RESPONSE_SUCCESS, RS, SAML, SOAP12, XDS, XOP
from xds.wire.soap12 import write_envelope
from xds.wire.xml import parse

_ASSERTION = f"{{{SOAP12}}}Header//{{{SAML}}}Assertion"
_BODY = f"{{{SOAP12}}}Body"

Answer = tuple[bytes, bytes]
"""Content-Type and body."""


class Floor:
    """What the three servers share: the steps up to a verified message."""

    def __init__(self, order: dict[str, Any]):
        self._trust = TrustStore.load(Path(order["trust"]))

    def answer(self, body: bytes | bytearray) -> Answer:
        raise NotImplementedError

    def _understand(self, envelope: bytes | bytearray, *, with_schema: bool) -> etree._Element:
        """Parse, schema, signature; the body element. Raises SoapFault or ValueError."""
        root = parse(bytes(envelope))
        message: etree._Element = root.find(_BODY)[0]  # type: ignore[index]
        if with_schema and schema.validate(message):
            raise ValueError("not valid against the schema")
        assertion: etree._Element = root.find(_ASSERTION)  # type: ignore[assignment]
        alone = etree.fromstring(etree.tostring(assertion, with_tail=False), hardened_parser())
        signature.verify(alone, self._trust, Use.VIHF_SIGNATURE, datetime.now(UTC))
        return message


class DepositFloor(Floor):
    """MIME, parse, schema, signature, SHA-1, file synced and renamed, one row committed: key, hash and message."""

    def __init__(self, order: dict[str, Any]):
        super().__init__(order)
        folder = Path(order["folder"])
        self._staging, self._kept = folder / "staging", folder / "kept"
        for place in (self._staging, self._kept):
            place.mkdir(parents=True)
        self._database = _open(str(folder / "floor.sqlite"))
        self._database.execute("CREATE TABLE message (key TEXT PRIMARY KEY, sha1 TEXT, size INTEGER, message BLOB)")
        self._turn = threading.Lock()
        self._done = _envelope(f'<rs:RegistryResponse xmlns:rs="{RS}" status="{RESPONSE_SUCCESS}"/>'.encode())

    def answer(self, body: bytes | bytearray) -> Answer:
        envelope, document = _two_parts(body)
        self._understand(envelope, with_schema=True)
        sha1 = hashlib.sha1(document, usedforsecurity=False).hexdigest()
        key = os.urandom(16).hex()
        descriptor = os.open(self._staging / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, document)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(self._staging / key, self._kept / key)
        with self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (key, sha1, len(document), envelope))
            self._database.execute("COMMIT")
        return b"application/soap+xml; charset=UTF-8", self._done


class QueryFloor(Floor):
    """Parse, signature, one SELECT, the rows written for the wire."""

    def __init__(self, order: dict[str, Any]):
        super().__init__(order)
        self._path = order["database"]
        self._here = threading.local()
        found = _open(self._path).execute(
            "SELECT patient_key FROM locator WHERE identifier = ? AND role = 'cx'", (order["patient"],)
        ).fetchone()
        self._values = (found[0], "Approved")
        self._select = (
            f"SELECT {', '.join(ENTRY_COLUMNS)} FROM document_entry WHERE patient_key = ? AND status = ? "  # noqa: S608
            "ORDER BY creation_time DESC, entry_uuid"
        )

    def answer(self, body: bytes | bytearray) -> Answer:
        self._understand(body, with_schema=False)
        database = getattr(self._here, "database", None)
        if database is None:
            database = self._here.database = _open(self._path)
        rows = database.execute(self._select, self._values).fetchall()
        objects = [write.document_entry(entry_from(row)) for row in rows]
        answer = write.adhoc_query_response(RESPONSE_SUCCESS, objects)
        return b"application/soap+xml; charset=UTF-8", _envelope(*answer)


class RetrieveFloor(Floor):
    """MIME, parse, schema, signature, one SELECT, the file read and sent."""

    def __init__(self, order: dict[str, Any]):
        super().__init__(order)
        self._path, self._kept = order["database"], Path(order["documents"]) / "kept"
        self._here = threading.local()
        response = (
            f'<xds:RetrieveDocumentSetResponse xmlns:xds="{XDS}"><rs:RegistryResponse '
            f'xmlns:rs="{RS}" status="{RESPONSE_SUCCESS}"/>'
            f'<xds:DocumentResponse><xds:Document><xop:Include xmlns:xop="{XOP}" '
            'href="cid:document@floor"/></xds:Document></xds:DocumentResponse></xds:RetrieveDocumentSetResponse>'
        )
        self._before = (
            b"--floor\r\nContent-Type: application/xop+xml\r\nContent-ID: <root@floor>\r\n\r\n"
            + _envelope(response.encode())
            + b"\r\n--floor\r\nContent-Type: text/xml\r\nContent-ID: <document@floor>\r\n\r\n"
        )

    def answer(self, body: bytes | bytearray) -> Answer:
        message = self._understand(_root_part(body), with_schema=True)
        wanted = message[0].findtext(f"{{{XDS}}}DocumentUniqueId")
        database = getattr(self._here, "database", None)
        if database is None:
            database = self._here.database = _open(self._path)
        key = database.execute("SELECT key FROM held_document WHERE unique_id = ?", (wanted,)).fetchone()[0]
        content = (self._kept / key[0] / key[1] / key).read_bytes()
        kind = b'multipart/related; boundary="floor"; type="application/xop+xml"; start="<root@floor>"'
        return kind, b"".join((self._before, content, b"\r\n--floor--\r\n"))


def large(order: dict[str, Any]) -> dict[str, Any]:
    """One thread: SHA-1, write and sync of ``size`` bytes; seconds and the SHA-1. The file is removed."""
    block, left = memoryview(pattern()), int(order["size"])
    path = Path(order["folder"]) / "floor.bin"
    digest = hashlib.sha1(usedforsecurity=False)
    began = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while left:
            piece = block[:left]
            digest.update(piece)
            left -= os.write(descriptor, piece)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    seconds = time.perf_counter() - began
    path.unlink()
    return {"seconds": seconds, "sha1": digest.hexdigest()}


def pattern() -> bytes:
    """The bytes a large document repeats: random-looking, and of a length that no block size divides."""
    return random.Random(20260105).randbytes((1 << 20) + 7)  # noqa: S311 - test data


# -- steps -----------------------------------------------------------------------------------------------------


def _two_parts(body: bytes | bytearray) -> tuple[bytes | bytearray, bytes | bytearray]:
    """Root and attachment of a message of ours."""
    mark = b"\r\n" + bytes(body[: body.index(b"\r\n")])
    first = body.index(b"\r\n\r\n") + 4
    root_end = body.index(mark, first)
    second = body.index(b"\r\n\r\n", root_end) + 4
    return body[first:root_end], body[second : body.index(mark, second)]


def _root_part(body: bytes | bytearray) -> bytes | bytearray:
    mark = b"\r\n" + bytes(body[: body.index(b"\r\n")])
    first = body.index(b"\r\n\r\n") + 4
    return body[first : body.index(mark, first)]


def _envelope(*body: bytes) -> bytes:
    return b"".join(write_envelope(b"", body))


def _open(path: str) -> sqlite3.Connection:
    """As durable and as much cache as the product's."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode=WAL", "synchronous=FULL", "cache_size=-32768", "mmap_size=268435456", "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


# -- serving ---------------------------------------------------------------------------------------------------

FLOORS: dict[str, Callable[[dict[str, Any]], Floor]] = {
    "deposit": DepositFloor, "query": QueryFloor, "retrieve": RetrieveFloor,
}


def _serve(floor: Floor, connection: Connection) -> None:
    try:
        while (message := connection.receive()) is not None:
            kind, body = floor.answer(message[1])
            head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
            connection.sock.sendall(head + body)
    finally:
        connection.close()


def _accept(listening: socket.socket, context: ssl.SSLContext, floor: Floor) -> None:
    while True:
        plain, _ = listening.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = context.wrap_socket(plain, server_side=True)
        threading.Thread(target=_serve, args=(floor, Connection(secure)), daemon=True).start()


def main() -> None:
    """One floor until standard input ends; or, for ``large``, one measurement for each line."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["floor"] == "large":
            print(json.dumps(large(order)), flush=True)
            continue
        pair = PairFiles(Path(order["certificate"]), Path(order["key"])).read()
        context = server_context([pair], Path(order["anchors"]).read_text("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        floor = FLOORS[order["floor"]](order)
        threading.Thread(target=_accept, args=(listening, context, floor), daemon=True).start()
        print(json.dumps({"port": listening.getsockname()[1]}), flush=True)


if __name__ == "__main__":
    main()
