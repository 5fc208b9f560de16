"""What relying parties ask of a PKI over plain HTTP: OCSP, revocation lists, certificates of authorities.

No TLS, because everything served is signed itself and a client that checks a TLS certificate would come here to do so.
Bounded: few connections at once, short requests, short patience, one request a connection.

Clause: RFC 6960 A.1 (GET and POST); RFC 5019 5 (caches), 6.2; RFC 5280 4.2.1.13 (lists over http)
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from guard.credentials.fetch import ended_after
from guard.credentials.ocsp import KEPT, LARGEST_REQUEST, Answer, Responder
from guard.credentials.pki import Pki
from guard.credentials.profiles import Authority

PATIENCE = 5.0
"""Seconds a peer may be silent."""
LONGEST = 20.0
"""Seconds from the first byte of a connection to its end."""
CONNECTIONS = 64
"""At once; what comes beyond is closed unanswered."""
OCSP_REQUEST, OCSP_RESPONSE = "application/ocsp-request", "application/ocsp-response"
_LIST = re.compile(rf"/crl/({'|'.join(Authority)})(\.delta)?\.crl")
_CERTIFICATE = re.compile(rf"/ca/({'|'.join(Authority)})\.crt")


def listen(pki: Pki, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answer in threads until told to stop; returns the port and how to stop. Raises OSError."""
    server = _Server((host, port), _handler(pki, Responder(pki)))
    threading.Thread(target=server.serve_forever, name="pki", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return int(server.server_address[1]), stop


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            with contextlib.suppress(OSError), ended_after(LONGEST, request):
                super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is not worth a stack trace."""


def _handler(pki: Pki, responder: Responder) -> type[BaseHTTPRequestHandler]:
    base = urlsplit(pki.base_url).path.rstrip("/")

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version, sys_version = "carnet", ""

        def do_GET(self) -> None:
            path = self._path()
            if path.startswith("/ocsp/") and len(path) <= 2 * LARGEST_REQUEST:
                self._ocsp(_from_path(path.removeprefix("/ocsp/")))
            elif (wanted := _LIST.fullmatch(path)) is not None:
                file = pki.trust / f"{wanted[1]}{wanted[2] or ''}.crl"
                crl = x509.load_pem_x509_crl(file.read_bytes())
                self._give(200, crl.public_bytes(Encoding.DER), "application/pkix-crl", KEPT)
            elif (wanted := _CERTIFICATE.fullmatch(path)) is not None:
                certificate = pki.authority(Authority(wanted[1]))
                self._give(200, certificate.public_bytes(Encoding.DER), "application/pkix-cert", 86400)
            else:
                self._give(404, b"/ocsp /crl/persons.crl /crl/persons.delta.crl /ca/persons.crt\n", "text/plain")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self._path().rstrip("/") != "/ocsp":
                self._give(404, b"/ocsp\n", "text/plain")
            elif self.headers.get_content_type() != OCSP_REQUEST:
                self._give(415, f"{OCSP_REQUEST}\n".encode(), "text/plain")
            elif not re.fullmatch(r"[0-9]{1,6}", length):
                self._give(411, b"Content-Length\n", "text/plain")
            elif int(length) > LARGEST_REQUEST:
                self._give(413, b"", "text/plain")
            else:
                self._ocsp(self.rfile.read(int(length)), may_keep=False)

        def _path(self) -> str:
            path = urlsplit(self.path).path
            return path[len(base) :] if base and path.startswith(f"{base}/") else path

        def _ocsp(self, request: bytes, *, may_keep: bool = True) -> None:
            answer: Answer = responder.answer(request)
            self._give(200, answer.der, OCSP_RESPONSE, KEPT if may_keep and answer.is_cacheable else 0)

        def _give(self, status: int, body: bytes, kind: str, seconds: float = 0) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if seconds:
                self.send_header("Cache-Control", f"max-age={int(seconds)}, public, no-transform, must-revalidate")
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("Expires", formatdate(usegmt=True, timeval=time.time() + seconds))
            else:
                self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Which certificate somebody asks about is nobody's business."""

    return Handler


def _from_path(text: str) -> bytes:
    """The request in the path of a GET: base64, percent-encoded; b"" (no request) for anything else."""
    try:
        return base64.b64decode(unquote(text, errors="strict"), validate=True)
    except (binascii.Error, ValueError):
        return b""
