"""Hostile bytes against the live services, sent over real TLS with a valid card: a clean and bounded answer to each.

After each the services are those that ran before, no bigger, hold nothing of what they refused, and serve the next.
"""

from __future__ import annotations

import gzip
import http.server
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attack.wire_kit import (
    GROWTH,
    REGISTRY,
    Said,
    Wire,
    assert_clean,
    chunked,
    listen,
    post,
    say,
)
from tests.live import a_document, memory_of, served

SOAP = "application/soap+xml; charset=UTF-8"
RELATED = 'multipart/related; boundary="b"; type="application/xop+xml"; start="<r>"; start-info="application/soap+xml"'
ENVELOPE = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>%s</s:Body></s:Envelope>'
)
SMALL = """threads = 8
[limits]
body_idle = 1.0
body_rate = 2000
document = 4194304
message = 16777216
"""
BOUND = 8.0
"""Seconds within which anything is answered, on a machine that does other work too."""


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with served(tmp_path_factory.mktemp("hostile") / "data", SMALL) as live:
        yield Wire(live)


class Canary:
    """A file and a loopback web server that nobody may touch. The file is a pipe, so that its being opened shows."""

    SECRET = "canary-7c1d"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "canary.txt"
        os.mkfifo(self.file)
        self.asked: list[str] = []
        threading.Thread(target=self._watch, daemon=True).start()
        canary = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'<!ENTITY x "fetched">')

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/canary"

    def _watch(self) -> None:
        with self.file.open("wb") as pipe:  # waits for somebody to open it for reading
            self.asked.append("the file")
            pipe.write(self.SECRET.encode())


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    made = Canary(tmp_path_factory.mktemp("canary"))
    yield made
    made.server.shutdown()
    made.server.server_close()


def refused(said: Said, *statuses: int) -> None:
    """One of these statuses, cleanly, in time."""
    assert said.status in statuses, (said.status, said.body[:300])
    assert said.seconds < BOUND
    assert_clean(said)


# -- XML ---------------------------------------------------------------------------------------------------


def _laughs() -> str:
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return f'<!DOCTYPE lolz [<!ENTITY l0 "ha">{lines}]>' + ENVELOPE % "<x>&l11;</x>"


XML: dict[str, Callable[[Canary], str | bytes]] = {
    "billion laughs": lambda c: _laughs(),
    "quadratic blow-up": lambda c: f'<!DOCTYPE a [<!ENTITY a "{"a" * 50_000}">]>'
    + ENVELOPE % f"<x>{'&a;' * 50_000}</x>",
    "external entity, file": lambda c: f'<!DOCTYPE a [<!ENTITY e SYSTEM "{c.file.as_uri()}">]>'
    + ENVELOPE % "<x>&e;</x>",
    "external entity, http": lambda c: f'<!DOCTYPE a [<!ENTITY e SYSTEM "{c.url}">]>' + ENVELOPE % "<x>&e;</x>",
    "external DTD": lambda c: f'<!DOCTYPE s:Envelope SYSTEM "{c.url}">' + ENVELOPE % "<x/>",
    "parameter entity": lambda c: f'<!DOCTYPE a [<!ENTITY % p SYSTEM "{c.url}"> %p;]>'
    + ENVELOPE.replace("%s", "<x>&x;</x>"),
    "DTD without entities": lambda c: "<!DOCTYPE a>" + ENVELOPE % "<x/>",
    "DTD behind comments": lambda c: "<!-- -->" * 1000 + "<!DOCTYPE a>" + ENVELOPE % "<x/>",
    "schema location": lambda c: ENVELOPE
    % f'<x xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="urn:x {c.url}"/>',
    "XInclude": lambda c: ENVELOPE % f'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="{c.url}"/>',
    "stylesheet": lambda c: f'<?xml-stylesheet href="{c.url}"?>' + ENVELOPE % "<x/>",
    "undeclared entity": lambda c: ENVELOPE % "&nothing;",
    "deep nesting": lambda c: ENVELOPE % ("<a>" * 100_000 + "</a>" * 100_000),
    "deep nesting, open": lambda c: "<a>" * 1_000_000,
    "200 000 attributes": lambda c: ENVELOPE % ("<x " + " ".join(f'a{n}="1"' for n in range(200_000)) + "/>"),
    "one attribute 200 000 times": lambda c: ENVELOPE % ("<x " + 'a="1" ' * 200_000 + "/>"),
    "200 000 namespaces": lambda c: ENVELOPE % ("<x " + " ".join(f'xmlns:n{n}="u:{n}"' for n in range(200_000)) + "/>"),
    "tag soup": lambda c: ENVELOPE % ("<a/>" * 1_900_000),
    "tags that do not match": lambda c: ENVELOPE % "<a><b></a></b>",
    "one long name": lambda c: ENVELOPE % f"<{'n' * 3_000_000}/>",
    "one long attribute": lambda c: ENVELOPE % f'<x a="{"n" * 7_000_000}"/>',
    "one long text": lambda c: ENVELOPE % f"<x>{'n' * 8_000_000}</x>",
    "one long comment": lambda c: ENVELOPE % f"<!--{'n' * 8_000_000}-->",
    "comments": lambda c: ENVELOPE % ("<!---->" * 1_000_000),
    "processing instructions": lambda c: ENVELOPE % ("<?a?>" * 1_000_000),
    "character references": lambda c: ENVELOPE % f"<x>{'&#x1F600;' * 800_000}</x>",
    "NUL": lambda c: ENVELOPE % "<x>\0</x>",
    "UTF-16": lambda c: (ENVELOPE % "<x/>").encode("utf-16"),
    "UTF-7 declared": lambda c: '<?xml version="1.0" encoding="UTF-7"?>' + ENVELOPE % "<x/>",
    "not UTF-8": lambda c: (ENVELOPE % "<x>é</x>").encode("latin-1"),
    "nothing": lambda c: b"",
    "no XML": lambda c: "%PDF-1.7",
    "two roots": lambda c: ENVELOPE % "" + ENVELOPE % "",
    "SOAP 1.1": lambda c: '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    "no body": lambda c: '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"/>',
}


@pytest.mark.parametrize("name", XML)
def test_hostile_xml(wire: Wire, canary: Canary, name: str) -> None:
    """As a simple message to the registry and as the root of a multipart one to the repository.

    Attack: xml-bomb, external-entity, deep-nesting, attribute-flood
    """
    text = XML[name](canary)
    data = text if isinstance(text, bytes) else text.encode()
    parts = b"--b\r\nContent-Type: application/xop+xml\r\nContent-ID: <r>\r\n\r\n" + data + b"\r\n--b--\r\n"
    with wire.unharmed():
        for said in (
            wire.say(post(data, SOAP, REGISTRY), "registry"),
            wire.say(post(parts, RELATED)),
        ):
            refused(said, 400, 413, 500)
            assert said.is_fault or said.status == 413
            assert canary.SECRET.encode() not in said.body
            assert b"<!DOCTYPE" not in data or b"document type declaration is not accepted" in said.body
            assert said.status != 500 or name == "SOAP 1.1"  # VersionMismatch is a 500 by the SOAP binding
    assert canary.asked == []


# -- HTTP ---------------------------------------------------------------------------------------------------

BODY = (ENVELOPE % "<x/>").encode()


def _head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")


CHUNKED = "Transfer-Encoding: chunked\r\n"
LINE = f"POST {REGISTRY} HTTP/1.1"
HTTP: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "one header of 100 kB": (post(BODY, SOAP, REGISTRY, extra=f"X-A: {'a' * 100_000}\r\n"), (400, 431)),
    "one header of 10 kB": (post(BODY, SOAP, REGISTRY, extra=f"X-A: {'a' * 10_000}\r\n"), (400, 431)),
    "10 000 headers": (post(BODY, SOAP, REGISTRY, extra="".join(f"X-{n}: 1\r\n" for n in range(10_000))), (431,)),
    "100 headers": (post(BODY, SOAP, REGISTRY, extra="".join(f"X-{n}: 1\r\n" for n in range(100))), (431,)),
    "headers without end": (_head(LINE)[:-2] + b"X-A: " + b"a" * 300_000, (431,)),
    "long request line": (post(BODY, SOAP, REGISTRY + "?" + "a" * 10_000), (414,)),
    "long Content-Type": (post(BODY, "application/soap+xml; a=" + "b" * 7_000, REGISTRY), (400, 415)),
    "quotes in Content-Type": (post(BODY, 'application/soap+xml; a="' + '\\"' * 2_000, REGISTRY), (400, 415)),
    "semicolons in Content-Type": (post(BODY, "application/soap+xml" + ";" * 4_000, REGISTRY), (400, 200)),
    "two lengths": (post(BODY, SOAP, REGISTRY, extra="Content-Length: 5\r\n"), (400,)),
    "length and chunks": (post(BODY, SOAP, REGISTRY, extra=CHUNKED), (400,)),
    "negative length": (post(BODY, SOAP, REGISTRY, length="-1"), (400,)),
    "length with sign": (post(BODY, SOAP, REGISTRY, length="+5"), (400,)),
    "length in words": (post(BODY, SOAP, REGISTRY, length="many"), (400,)),
    "length in Arabic digits": (
        post(BODY, SOAP, REGISTRY, length="0").replace(b"Length: 0", "Length: \u0665".encode()), (400,),
    ),
    "absurd length": (post(BODY, SOAP, REGISTRY, length="9" * 30), (400, 413)),
    "length beyond the limit": (post(BODY, SOAP, REGISTRY, length="999999999999"), (413,)),
    "no length": (post(BODY, SOAP, REGISTRY, length=None), (400, 411)),
    "no content type": (_head(LINE, "Host: x", f"Content-Length: {len(BODY)}") + BODY, (415,)),
    "HTML": (post(BODY, "text/html", REGISTRY), (415,)),
    "JSON": (post(b"{}", "application/json", REGISTRY), (415,)),
    "form": (post(b"a=b", "application/x-www-form-urlencoded", REGISTRY), (415,)),
    "form data": (post(b"--b--", "multipart/form-data; boundary=b", REGISTRY), (415,)),
    "unreadable type": (post(BODY, "\x01/\x02", REGISTRY), (400, 415)),
    "charset": (post(BODY, "application/soap+xml; charset=utf-32", REGISTRY), (400,)),
    "gzip": (post(gzip.compress(BODY), SOAP, REGISTRY, extra="Content-Encoding: gzip\r\n"), (415,)),
    "gzip bomb": (
        post(gzip.compress(b" " * (1 << 24)), SOAP, REGISTRY, extra="Content-Encoding: gzip\r\n"), (415,),
    ),
    "gzip transfer": (
        post(b"2\r\n\x1f\x8b\r\n0\r\n\r\n", SOAP, REGISTRY, length=None, extra="Transfer-Encoding: gzip, chunked\r\n"),
        (400, 501),
    ),
    "chunked twice": (
        post(b"0\r\n\r\n", SOAP, REGISTRY, length=None, extra="Transfer-Encoding: chunked, chunked\r\n"), (400, 501),
    ),
    "chunk size in words": (
        post(b"zz\r\n\r\n", SOAP, REGISTRY, length=None, extra=CHUNKED), (400,),
    ),
    "negative chunk": (post(b"-5\r\nabcde", SOAP, REGISTRY, length=None, extra=CHUNKED), (400,)),
    "endless chunk": (
        post(b"f" * 40 + b"\r\nab", SOAP, REGISTRY, length=None, extra=CHUNKED), (400, 408, 413),
    ),
    "chunk size of 100 kB": (
        post(b"0" * 100_000 + b"5\r\nab", SOAP, REGISTRY, length=None, extra=CHUNKED), (400, 413),
    ),
    "chunk extension of 1 MB": (
        post(b"5;" + b"a" * 1_000_000, SOAP, REGISTRY, length=None, extra=CHUNKED), (400, 408),
    ),
    "chunk without end": (
        post(b"5\r\nabcdefgh\r\n", SOAP, REGISTRY, length=None, extra=CHUNKED), (400,),
    ),
    "folded header": (_head(LINE, "Host: x", "X-A: b", " c", "Content-Length: 0"), (400,)),
    "header without colon": (_head(LINE, "Host: x", "nothing"), (400,)),
    "blank in a header name": (_head(LINE, "Host: x", "Content-Length : 0"), (400,)),
    "NUL in a header": (_head(LINE, "Host: x", "X-A: \0"), (400,)),
    "bare line feeds": (_head(LINE, "Host: x").replace(b"\r\n", b"\n") + b"\r\n\r\n", (400,)),
    "line feed in the path": (_head("POST /a\nb HTTP/1.1", "Host: x"), (400,)),
    "unknown method": (_head(f"BREW {REGISTRY} HTTP/1.1", "Host: x"), (405,)),
    "odd method": (_head(f"po<st {REGISTRY} HTTP/1.1", "Host: x"), (400,)),
    "HTTP/0.9": (_head(f"GET {REGISTRY}"), (400,)),
    "HTTP/3.7": (_head(f"GET {REGISTRY} HTTP/3.7", "Host: x"), (400, 505)),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405)),
    "upgrade to h2c": (
        _head(
            f"GET {REGISTRY} HTTP/1.1", "Host: x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
            "HTTP2-Settings: AA",
        ),
        (200, 400),
    ),
    "proxy line": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + post(BODY, SOAP, REGISTRY), (400,)),
    "path traversal": (_head("GET /services/../../../../etc/passwd HTTP/1.1", "Host: x"), (404,)),
    "schema traversal": (_head(f"GET {REGISTRY}?xsd=../../../../etc/passwd HTTP/1.1", "Host: x"), (404,)),
    "absolute address": (_head("GET http://127.0.0.1/livez HTTP/1.1", "Host: x"), (400, 404)),
    "markup in the path": (_head("GET /<script>alert(1)</script> HTTP/1.1", "Host: x"), (400, 404)),
    "expectation": (_head(f"GET {REGISTRY} HTTP/1.1", "Host: x", "Expect: a miracle"), (417, 200)),
}


@pytest.mark.parametrize("name", HTTP)
def test_hostile_http(wire: Wire, name: str) -> None:
    """Attack: oversized-headers, bad-length, bad-chunks, wrong-content-type, request-smuggling"""
    data, statuses = HTTP[name]
    with wire.unharmed():
        said = wire.say(data, "registry")
        refused(said, *statuses)
        assert b"<script>" not in said.body


def test_http_1_0_is_served(wire: Wire) -> None:
    """One request, one answer, and the connection ends."""
    content_type, body = wire.deposit_message()
    with wire.unharmed(), wire.connect() as connection:
        connection.sendall(post(body, content_type, version="HTTP/1.0"))
        said = listen(connection)
        assert said.status == 200 and b"ResponseStatusType:Success" in said.body
        assert connection.recv(1) == b""


def test_garbage_behind_a_request(wire: Wire) -> None:
    """The request is answered, the garbage refused, and nothing of it becomes a request. Attack: request-smuggling"""
    content_type, body = wire.query_message()
    with wire.unharmed(), wire.connect("registry") as connection:
        request = post(body, content_type, REGISTRY)
        connection.sendall(request + b"\x00\x01garbage\r\n\r\n" + request)
        first = listen(connection)
        assert first.status == 200 and b"ResponseStatusType:Success" in first.body
        refused(listen(connection), 400)
        assert connection.recv(1) == b""


def test_a_body_longer_than_announced(wire: Wire) -> None:
    """What is beyond the length is another request, and no good one. Attack: request-smuggling"""
    content_type, body = wire.query_message()
    with wire.unharmed(), wire.connect("registry") as connection:
        connection.sendall(post(body, content_type, REGISTRY, length=str(len(body) - 5)))
        refused(listen(connection), 400)
        refused(listen(connection), 0, 400, 408)


# -- MIME ---------------------------------------------------------------------------------------------------

ROOT = b"--b\r\nContent-Type: application/xop+xml\r\nContent-ID: <r>\r\n\r\n" + BODY
PART = b"\r\n--b\r\nContent-Type: text/xml\r\nContent-ID: <p%d>\r\n\r\ndata"
MIME: dict[str, tuple[bytes, str]] = {
    "10 000 parts": (ROOT + b"".join(PART % n for n in range(10_000)) + b"\r\n--b--\r\n", RELATED),
    "10 000 empty parts": (ROOT + b"\r\n--b\r\n\r\n" * 10_000 + b"\r\n--b--\r\n", RELATED),
    "100 000 boundaries": (b"--b\r\n" * 100_000, RELATED),
    "one part header of 1 MB": (b"--b\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n\r\n--b--\r\n", RELATED),
    "10 000 part headers": (
        b"--b\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n\r\n--b--\r\n", RELATED,
    ),
    "no closing boundary": (ROOT + PART % 1, RELATED),
    "no boundary in the body": (b"x" * 300_000, RELATED),
    "boundary missing in the type": (ROOT + b"\r\n--b--\r\n", "multipart/related; type=\"application/xop+xml\""),
    "boundary of 5 000": (ROOT, f'multipart/related; boundary="{"b" * 3_900}"'),
    "boundary with line end": (ROOT, 'multipart/related; boundary="a\\\tb"'),
    "two parts of one name": (ROOT + PART % 1 + PART % 1 + b"\r\n--b--\r\n", RELATED),
    "two roots": (ROOT + b"\r\n" + ROOT + b"\r\n--b--\r\n", RELATED),
    "no root": (PART[2:] % 1 + b"\r\n--b--\r\n", RELATED),
    "a part beyond the limit": (ROOT + PART % 1 + b"x" * (5 << 20) + b"\r\n--b--\r\n", RELATED),
    "a root beyond the limit": (ROOT + b" " * (9 << 20) + b"\r\n--b--\r\n", RELATED),
    "broken base64": (
        ROOT + b"\r\n--b\r\nContent-ID: <p>\r\nContent-Transfer-Encoding: base64\r\n\r\n***\r\n--b--\r\n", RELATED,
    ),
    "unknown transfer encoding": (
        ROOT + b"\r\n--b\r\nContent-ID: <p>\r\nContent-Transfer-Encoding: x-uu\r\n\r\n***\r\n--b--\r\n", RELATED,
    ),
    "part header without colon": (ROOT + b"\r\n--b\r\nnothing\r\n\r\n\r\n--b--\r\n", RELATED),
    "root is an image": (ROOT.replace(b"application/xop+xml", b"image/png") + b"\r\n--b--\r\n", RELATED),
    "multipart in multipart": (ROOT.replace(b"application/xop+xml", b"multipart/related") + b"\r\n--b--\r\n", RELATED),
}


@pytest.mark.parametrize("name", MIME)
def test_hostile_mime(wire: Wire, name: str) -> None:
    """Attack: part-flood, oversized-part-headers, missing-boundary, oversized-part"""
    body, content_type = MIME[name]
    with wire.unharmed():
        for data in (post(body, content_type), chunked(body, content_type)):
            said = wire.say(data)
            refused(said, 400, 413)
            assert said.is_fault or said.status == 413


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_body_cut_short(wire: Wire, share: float) -> None:
    """Of a valid deposit with a large document: nothing stays. Attack: truncated-body"""
    content_type, body = wire.deposit_message(a_document(2_000_000))
    cut = body[: int(len(body) * share)]
    with wire.unharmed():
        said = wire.say(post(cut, content_type, length=str(len(body))), half_close=True)
        refused(said, 0, 400, 408)
        with wire.connect() as connection:
            connection.sendall(post(cut, content_type, length=str(len(body))))
        said = wire.say(chunked(body, content_type)[: int(len(body) * share) + 300])
        refused(said, 0, 400, 408)


def test_random_bytes(wire: Wire) -> None:
    """Inside TLS, instead of TLS, and as the body of a request. Attack: random-bytes"""
    chance = random.Random(20260105)
    with wire.unharmed():
        for _ in range(8):
            noise = chance.randbytes(chance.randrange(1, 3000))
            assert wire.say(noise + b"\r\n\r\n", "registry").status in (0, 400)
            for data in (post(noise, SOAP), post(noise, RELATED), post(b"--b\r\n" + noise + b"\r\n--b--", RELATED)):
                refused(wire.say(data), 400)
            with wire.plain("registry") as connection:
                connection.sendall(b"\x16\x03\x01" + noise)
                assert_clean(listen_raw(connection))


def listen_raw(connection: object) -> Said:
    """Whatever comes until the end, as a body."""
    data = b""
    try:
        while more := connection.recv(65536):  # type: ignore[attr-defined]
            data += more
    except OSError:
        pass
    return Said(0, b"", data)


def test_mutated_deposits(wire: Wire) -> None:
    """A valid deposit with some bytes changed is stored or refused, and never half. Attack: random-bytes"""
    chance = random.Random(20260106)
    with wire.unharmed():
        for _ in range(20):
            content_type, body = wire.deposit_message()
            spoiled = bytearray(body)
            for _ in range(chance.randrange(1, 6)):
                spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
            refused(wire.say(post(bytes(spoiled), content_type)), 200, 400, 415, 500)
    wire.live.assert_agreement()


# -- slowness -------------------------------------------------------------------------------------------------


def _slow(wire: Wire, form: str, over: threading.Event) -> Said:
    """One slow client, until it is told to go or ``over``."""
    if form == "silent before the handshake":
        with wire.plain("registry") as connection:
            return listen_raw(connection)
    if form == "slow handshake":
        with wire.plain("registry") as connection:
            return _drip(connection, b"\x16\x03\x01\x02\x00", b"\x01" * 600, over)
    content_type, body = wire.query_message()
    whole = post(body, content_type, REGISTRY)
    head = post(b"", content_type, REGISTRY, length=str(len(body)))
    chunks = post(b"", content_type, REGISTRY, length=None, extra=CHUNKED)
    first, rest = {
        "silent": (b"", b""),
        "slow head": (b"", whole),
        "slow head of a kept connection": (b"", whole),
        "slow body": (head, body),
        "silent body": (head + body[:10], b""),
        "slow chunk size": (chunks, b"0" * 10_000),
        "slow trailers": (chunks + b"0\r\n", b"X: a" * 10_000),
    }[form]
    with wire.connect("registry") as connection:
        if "kept" in form:
            assert say(connection, whole).status == 200
        return _drip(connection, first, rest, over)


def _drip(connection: socket.socket, first: bytes, rest: bytes, over: threading.Event) -> Said:
    """``first`` at once, ``rest`` byte by byte, until there is an answer or an end."""
    began = time.perf_counter()
    try:
        connection.sendall(first)
        connection.settimeout(0.1)
        for position in range(len(rest)):
            connection.sendall(rest[position : position + 1])
            try:
                data = connection.recv(65536)
            except TimeoutError:
                if over.is_set():
                    break
                continue
            return Said(_status(data), b"", data, time.perf_counter() - began)
        connection.settimeout(BOUND)
        data = connection.recv(65536)
    except OSError:
        data = b""
    return Said(_status(data), b"", data, time.perf_counter() - began)


def _status(data: bytes) -> int:
    return int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0


FORMS = (
    "silent before the handshake", "slow handshake", "silent", "slow head", "slow head of a kept connection",
    "slow body", "silent body", "slow chunk size", "slow trailers",
)


@pytest.mark.parametrize("form", FORMS)
def test_slow_clients(wire: Wire, form: str) -> None:
    """Each is ended within seconds, and while they last others are served. Attack: slow-body, slow-headers"""
    over = threading.Event()
    held = 4 if "body" in form or "chunk" in form or "trailers" in form else 40
    with wire.unharmed(), ThreadPoolExecutor(held) as pool:
        slow = [pool.submit(_slow, wire, form, over) for _ in range(held)]
        time.sleep(0.3)
        try:
            for _ in range(5):
                began = time.perf_counter()
                content_type, body = wire.query_message()
                assert wire.say(post(body, content_type, REGISTRY), "registry").status == 200
                assert time.perf_counter() - began < 3
            for each in slow:
                said = each.result(timeout=20)
                refused(said, 0, 400, 408)
        finally:
            over.set()


# -- nobody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_upload_without_certificate_is_not_received(wire: Wire, framing: str) -> None:
    """The refusal comes before the body is read; nothing of it reaches the disk. Attack: unauthenticated-upload"""
    content_type, body = wire.deposit_message(a_document(3_000_000))
    start = body[:200_000]
    if framing == "length":
        head = post(b"", content_type, length=str(len(body)))
    else:
        head = post(b"", content_type, length=None, extra=CHUNKED)

    def endless() -> Iterator[bytes]:
        yield head
        for _ in range(2000):
            assert wire.live.staged() == []
            yield start if framing == "length" else b"%x\r\n%s\r\n" % (len(start), start)

    with wire.unharmed():
        said = wire.say(endless(), who="nobody")
        assert said.sent < 32 << 20
        refused(said, 0, 400)
        with wire.connect(who="nobody") as connection:
            connection.sendall(head)
            told = listen(connection)
        refused(told, 400)
        assert b"FailedAuthentication" in told.body


def test_many_at_once(wire: Wire) -> None:
    """Forty hostile requests side by side with honest ones. Attack: xml-bomb, part-flood"""
    bomb = post(_laughs().encode(), SOAP, REGISTRY)
    soup = post((ENVELOPE % ("<a/>" * 95_000)).encode(), SOAP, REGISTRY)
    flood = post(*MIME["10 000 parts"])
    before = max(map(memory_of, wire.pids()))
    for _ in range(2):  # eight trees at once are large for a moment, and leave nothing
        with wire.unharmed(3 * GROWTH), ThreadPoolExecutor(8) as pool:
            _all_at_once(wire, pool, (bomb, soup) * 13, flood)
    assert max(map(memory_of, wire.pids())) - before < GROWTH


def _all_at_once(wire: Wire, pool: ThreadPoolExecutor, to_registry: tuple[bytes, ...], flood: bytes) -> None:
    hostile = [pool.submit(wire.say, data, "registry") for data in to_registry]
    hostile += [pool.submit(wire.say, flood) for _ in range(14)]
    for _ in range(5):
        _, outcome = wire.live.deposit(a_document(100))
        assert outcome.is_success
    for each in hostile:
        refused(each.result(timeout=60), 400)


def test_the_services_held_nothing_of_all_that(wire: Wire) -> None:
    """After every attack of this file registry, repository and files agree."""
    wire.live.assert_agreement()
