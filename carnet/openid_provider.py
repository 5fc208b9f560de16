"""Asking the OpenID provider of the settings: its keys, and what it knows of a person. Bounded, HTTPS, no redirection.

Addresses come from the settings and never from a token.

Clause: OpenID Connect Core 1.0 5.3, 10.1.1; RFC 6750 2.1
"""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from guard.credentials.fetch import ended_after, whole

TIMEOUT = 5.0
"""Seconds for one whole answer; a request of ours waits for it."""
LARGEST = 256 * 1024
"""Bytes of one answer."""


def is_address(place: str) -> bool:
    """An https address, not a file. Raises ValueError for http: what comes by it could be anybody's."""
    parts = urlsplit(place)
    if parts.scheme == "http":
        raise ValueError(f"{place}: an OpenID provider is asked by https only")
    return parts.scheme == "https" and bool(parts.hostname) and not parts.username


def read(place: str, tls: ssl.SSLContext) -> bytes:
    """The bytes at an https address or of a file, at most LARGEST. Raises OSError."""
    if is_address(place):
        return ask(place, tls)
    with Path(place).open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(f"more than {LARGEST} bytes")
    return data


def ask(url: str, tls: ssl.SSLContext, access_token: str = "") -> bytes:
    """The body of a 200 answer in JSON, TIMEOUT seconds from now at the latest. Raises OSError."""
    parts = urlsplit(url)
    plain = socket.create_connection((str(parts.hostname), parts.port or 443), TIMEOUT)
    with (
        tls.wrap_socket(plain, server_hostname=parts.hostname, do_handshake_on_connect=False) as connected,
        ended_after(TIMEOUT, connected),
    ):
        connected.do_handshake()
        return _answer(connected, url, access_token)


def _answer(connected: ssl.SSLSocket, url: str, access_token: str) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname))
    connection.sock = connected
    headers = {"Host": parts.netloc, "Accept": "application/json"}
    if access_token:
        headers["Authorization"] = f"Bearer {access_token}"
    connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
    answer = connection.getresponse()
    kind = answer.headers.get_content_type()
    if answer.status != 200 or not (kind == "application/json" or kind.endswith("+json")):
        raise OSError(f"status {answer.status}, {kind}")
    return whole(answer, LARGEST)
