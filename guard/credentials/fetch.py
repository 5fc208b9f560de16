"""One bounded question over plain HTTP, to hosts the operator has named and to no others.

Answers are believed by their signature, never by the connection; so there is no TLS here, and no system store.

Clause: RFC 5280 4.2.1.13 (CRL by HTTP); RFC 6960 A.1 (OCSP over HTTP)
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

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
    try:
        connection.connect()
    except ValueError as error:
        raise OSError(type(error).__name__) from error
    with contextlib.closing(connection), ended_after(seconds, connection.sock):
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        return whole(answer, limit)


def whole(answer: http.client.HTTPResponse, limit: int) -> bytes:
    """The body, at most ``limit`` bytes and not one missing. Raises OSError."""
    data = answer.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"more than {limit} bytes")
    if answer.length:
        raise OSError("the answer was cut off")
    return data


@contextmanager
def ended_after(seconds: float, connected: socket.socket) -> Iterator[None]:
    """Around one exchange: a peer that sends a byte now and then never lets the socket's own time run out.

    The connection below is ended, TLS included, whose own layer belongs to the thread that reads. The socket is given
    because an HTTP connection forgets it once an answer says that it closes. Whatever goes wrong is an OSError, and its
    text holds nothing of what came.
    """
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    watch = threading.Timer(seconds, hang_up)
    watch.daemon = True
    watch.start()
    try:
        yield
    except (http.client.HTTPException, ValueError, OSError) as error:
        if isinstance(error, OSError) and not late.is_set():
            raise
        raise OSError("the exchange took too long" if late.is_set() else type(error).__name__) from error
    finally:
        watch.cancel()
    if late.is_set():
        raise OSError("the exchange took too long")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname and not parts.username and (parts.port or 80) > 0
    except ValueError:
        return None
    return parts if plain and url.isascii() and url.isprintable() and " " not in url else None
