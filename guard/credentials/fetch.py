"""One bounded question over plain HTTP, to hosts the operator has named and to no others.

Answers are believed by their signature, never by the connection; so there is no TLS here, and no system store.

Clause: RFC 5280 4.2.1.13 (CRL by HTTP); RFC 6960 A.1 (OCSP over HTTP)
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Collection
from urllib.parse import SplitResult, urlsplit

_CHUNK = 65_536

Fetch = Callable[[str, bytes | None, int, float], bytes]
"""(address, body to post or None, greatest size in bytes, seconds for all of it) to the answer. Raises OSError."""


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether an address is plain HTTP on one of ``hosts``, each ``host`` (port 80) or ``host:port``."""
    parts = _split(url)
    return parts is not None and f"{parts.hostname}:{parts.port or 80}" in {
        host.lower() if ":" in host.rpartition("]")[2] else f"{host.lower()}:80" for host in hosts
    }


def fetch(url: str, body: bytes | None, limit: int, seconds: float) -> bytes:
    """The body of a 200 answer, no redirection followed. Raises OSError, also past ``seconds`` or ``limit``."""
    parts = _split(url)
    if parts is None:
        raise OSError("not an address of plain HTTP")
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=seconds)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {} if body is None else {"Content-Type": "application/ocsp-request"}
    late = threading.Event()
    try:
        connection.connect()
    except ValueError as error:
        raise OSError(type(error).__name__) from error
    watch = threading.Timer(seconds, _hang_up, (connection.sock, late))
    watch.daemon = True
    watch.start()
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        data = bytearray()
        while chunk := answer.read(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise OSError(f"more than {limit} bytes")
        if late.is_set():
            raise OSError("the answer took too long")
        if answer.length:
            raise OSError("the answer was cut off")
        return bytes(data)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(type(error).__name__) from error
    finally:
        watch.cancel()
        connection.close()


def _hang_up(connected: socket.socket, late: threading.Event) -> None:
    """A peer that sends a byte now and then never lets the socket's own time run out.

    The socket is given: the connection forgets it once an answer says that it closes.
    """
    late.set()
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname and not parts.username and (parts.port or 80) > 0
    except ValueError:
        return None
    return parts if plain and url.isascii() and url.isprintable() and " " not in url else None
