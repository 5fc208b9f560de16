"""Asking an OpenID provider: a hostile or sick one costs bounded time and memory, and leads nowhere else."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from carnet import openid_provider


@dataclass
class Sick:
    """A provider that answers each path in its own wrong way."""

    url: str
    tls: ssl.SSLContext
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and Authorization of each request"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        sick: Sick = self.server.sick  # type: ignore[attr-defined]
        sick.seen.append((self.path, self.headers.get("Authorization", "")))
        body, kind, status = b'{"keys": []}', "application/json", 200
        if self.path == "/large":
            body = b" " * (openid_provider.LARGEST + 1)
        elif self.path == "/drip":
            body = b" " * 100
        elif self.path == "/html":
            kind = "text/html"
        elif self.path == "/error":
            status = 500
        elif self.path == "/jwk":
            kind = "application/jwk-set+json; charset=utf-8"
        self.send_response(302 if self.path == "/elsewhere" else status)
        if self.path == "/elsewhere":
            self.send_header("Location", f"{sick.url}/reached")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/drip":
            for byte in body:
                time.sleep(0.2)
                self.wfile.write(bytes((byte,)))
                self.wfile.flush()
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[Sick]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    trusted = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    made = Sick(f"https://localhost:{server.server_address[1]}", trusted)
    server.sick = made  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_a_good_answer_is_read(sick: Sick) -> None:
    """Any kind of JSON; the access token goes into its header and nowhere else."""
    for path in ("/keys", "/jwk"):
        assert json.loads(openid_provider.ask(sick.url + path, sick.tls, "a-token")) == {"keys": []}
    assert sick.seen == [("/keys", "Bearer a-token"), ("/jwk", "Bearer a-token")]


@pytest.mark.parametrize(("path", "words"), [
    ("/large", "more than"), ("/html", "text/html"), ("/error", "status 500"), ("/elsewhere", "status 302"),
])
def test_a_wrong_answer_is_none(sick: Sick, path: str, words: str) -> None:
    """Too large, of another kind, an error, a redirection: which is not followed."""
    with pytest.raises(OSError, match=words):
        openid_provider.ask(sick.url + path, sick.tls)
    assert [seen for seen, _ in sick.seen] == [path]


def test_a_slow_answer_ends(sick: Sick, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not hold a thread beyond the time for the whole answer."""
    monkeypatch.setattr(openid_provider, "TIMEOUT", 0.7)
    began = time.monotonic()
    with pytest.raises(OSError):
        openid_provider.ask(f"{sick.url}/drip", sick.tls)
    assert time.monotonic() - began < 10, "all of it takes 20 s"


def test_a_silent_peer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and never answers the handshake."""
    monkeypatch.setattr(openid_provider, "TIMEOUT", 0.7)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        began = time.monotonic()
        with pytest.raises(OSError):
            openid_provider.ask(f"https://127.0.0.1:{listening.getsockname()[1]}/", ssl.create_default_context())
        assert time.monotonic() - began < 2


def test_only_a_named_authority_vouches_for_it(sick: Sick) -> None:
    """Not the system's store, and no other name than its own."""
    for context in (ssl.create_default_context(), ssl.create_default_context(cadata=other_authority())):
        with pytest.raises(OSError):
            openid_provider.ask(f"{sick.url}/keys", context)
    with pytest.raises(OSError):
        openid_provider.ask(sick.url.replace("localhost", "127.0.0.1") + "/keys", sick.tls)
    assert sick.seen == []


def other_authority() -> str:
    return trustme.CA().cert_pem.bytes().decode()


def test_a_file_is_bounded_too(tmp_path: Path, sick: Sick) -> None:
    file: Any = tmp_path / "keys.json"
    file.write_bytes(b"{}")
    assert openid_provider.read(str(file), sick.tls) == b"{}"
    file.write_bytes(b" " * (openid_provider.LARGEST + 1))
    with pytest.raises(OSError, match="more than"):
        openid_provider.read(str(file), sick.tls)
