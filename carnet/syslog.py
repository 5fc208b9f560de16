"""Syslog messages over TLS: framing, and a connection that says when a batch has arrived.

Syslog has no acknowledgement. A batch counts as received once the peer's system has taken every byte and the
connection is still sound a moment later; whatever is less is sent again. So a message may arrive twice, and is not
lost with a connection.

Clause: RFC 5424 6; RFC 5425 4.3; ITI TF-2 3.20.4.1.2
"""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from xds.wire.tls import Tls, current

MESSAGE_ID = "IHE+RFC-3881"
NOTICE, WARNING = 5, 4
"""Severities: what went well, what did not."""
TAKEN_WITHIN = 30.0
"""Seconds the peer's system has to take a batch."""
SOUND_FOR = 0.5
"""Seconds a connection must outlive its last byte."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is the same in every message of one sender."""

    host: str
    app_name: str
    process: str
    facility: int = 10

    def frame(self, at: str, text: str, *, is_success: bool) -> bytes:
        """One message with its length before it. ``at`` is RFC 3339 with at most 6 digits of a second.

        The text goes as UTF-8 without a byte-order mark.
        """
        priority = self.facility * 8 + (NOTICE if is_success else WARNING)
        fields = (_name(self.host, 255), _name(self.app_name, 48), _name(self.process, 128), MESSAGE_ID)
        message = f"<{priority}>1 {at} {' '.join(fields)} - {text}".encode()
        return b"%d %b" % (len(message), message)


def _name(text: str, most: int) -> str:
    """A header field: printable ASCII without blanks, "-" when there is none. Clause: RFC 5424 6"""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:most] or "-"


class SyslogChannel:
    """One connection to the receiver, opened when needed. For one thread."""

    def __init__(self, host: str, port: int, tls: Tls, timeout: float = 10.0) -> None:
        self._host, self._port, self._tls, self._timeout = host, port, tls, timeout
        self._connection: ssl.SSLSocket | None = None

    def send(self, frames: Sequence[bytes]) -> None:
        """Returns once the receiver has all of them. Raises OSError: then none of them may be counted on."""
        try:
            connection = self._connection
            if connection is not None and not _is_sound(connection, 0.0):
                self.close()
                connection = None
            if connection is None:
                connection = self._connection = self._opened()
            connection.settimeout(TAKEN_WITHIN)
            connection.sendall(b"".join(frames))
            _wait_taken(connection)
            _require_sound(connection, SOUND_FOR)
        except BaseException:
            self.close()
            raise

    def _opened(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._host, self._port), self._timeout)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return current(self._tls).wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        """May be repeated; the next ``send`` opens a new connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None


def _wait_taken(connection: ssl.SSLSocket) -> None:
    """Until the peer's system has confirmed every byte."""
    deadline = time.monotonic() + TAKEN_WITHIN
    while unconfirmed(connection):
        if time.monotonic() > deadline:
            raise TimeoutError("the receiver does not take what is sent")
        _require_sound(connection, 0.005)


def unconfirmed(connection: socket.socket) -> int:
    """Bytes the peer's system has not confirmed; 0 where the system does not tell."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return 0


def _require_sound(connection: ssl.SSLSocket, seconds: float) -> None:
    if not _is_sound(connection, seconds):
        raise ConnectionResetError("the receiver closed the connection")


def _is_sound(connection: ssl.SSLSocket, seconds: float) -> bool:
    """Not closed by the peer within so many seconds. What a receiver sends, which it should not, is dropped."""
    deadline = time.monotonic() + seconds
    connection.setblocking(False)
    while True:
        readable, _, _ = select.select([connection], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return True
        try:
            if not connection.recv(4096):
                return False
        except ssl.SSLWantReadError:
            if time.monotonic() >= deadline:
                return True
        except OSError:
            return False
