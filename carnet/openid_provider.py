"""Asking the OpenID provider of the settings: its keys, and what it knows of a person. Bounded, HTTPS, no redirection.

Addresses come from the settings and never from a token.

Clause: OpenID Connect Core 1.0 5.3, 10.1.1; RFC 6750 2.1
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT = 5.0
"""Seconds for one whole answer; a request of ours waits for it."""
LARGEST = 256 * 1024
"""Bytes of one answer."""


def is_address(place: str) -> bool:
    """An https address, not a file. Raises ValueError for http: what comes by it could be anybody's."""
    parts = urlsplit(place)
    if parts.scheme == "http":
        raise ValueError(f"{place}: an OpenID provider is asked by https only")
    return parts.scheme == "https" and bool(parts.hostname)


def read(place: str, tls: ssl.SSLContext) -> bytes:
    """The bytes at an https address or of a file, at most LARGEST. Raises OSError."""
    if is_address(place):
        return ask(place, tls)
    with Path(place).open("rb") as file:
        data = file.read(LARGEST + 1)
    return _bounded(data)


def ask(url: str, tls: ssl.SSLContext, access_token: str = "") -> bytes:
    """The body of a 200 answer in JSON. Raises OSError."""
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=TIMEOUT, context=tls)
    watch = threading.Timer(TIMEOUT, _hang_up, (connection,))
    watch.daemon = True
    watch.start()
    headers = {"Accept": "application/json"}
    if access_token:
        headers["Authorization"] = f"Bearer {access_token}"
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        answer = connection.getresponse()
        kind = answer.headers.get_content_type()
        if answer.status != 200 or not (kind == "application/json" or kind.endswith("+json")):
            raise OSError(f"status {answer.status}, {kind}")
        data = _bounded(answer.read(LARGEST + 1))
        if answer.length:
            raise OSError("the answer was cut off")
        return data
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(type(error).__name__) from error
    finally:
        watch.cancel()
        connection.close()


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST:
        raise OSError(f"more than {LARGEST} bytes")
    return data


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """A peer that sends a byte now and then never lets the socket's own time run out."""
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
