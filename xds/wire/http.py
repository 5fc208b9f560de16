"""The HTTP around a message: media types, bounded reading, answers that cannot be SOAP.

Clause: ITI TF-2 Appendix V 3.2; RFC 9110 8.3; RFC 2045 5.1
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from xds.limits import Limits

SOAP = "application/soap+xml"
XOP = "application/xop+xml"
RELATED = "multipart/related"
BLOCK = 1 << 18
"""Bytes of a body gathered into one buffer."""
PEER_KEY = "carnet.peer"
"""environ key under which an in-process caller states its Peer; no HTTP header can set it."""

_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*")
_PARAMETER = re.compile(
    r";\s*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^;\"\s]*))\s*)?"
)
_ESCAPE = re.compile(r"\\(.)")
_LONGEST_HEADER = 4096
_RECORD = 1 << 14
"""Most bytes of one record of TLS."""

Read = Callable[[int], bytes]
"""Returns up to so many bytes, ``b""`` at the end; may block."""
ReadInto = Callable[[memoryview], int]
"""Fills the front of the buffer; returns how many bytes, 0 at the end; may block."""


def send_whole(connection: socket.socket, data: bytes) -> None:
    """As ``sendall``; what takes several records of TLS leaves as one piece, for each one alone would wake the peer."""
    if len(data) <= _RECORD:
        connection.sendall(data)
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    connection.sendall(data)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def into(read: Read) -> ReadInto:
    """What only gives bytes, read into a buffer."""

    def read_into(buffer: memoryview) -> int:
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    return read_into


class HttpError(Exception):
    """A request that HTTP refuses before SOAP has a say. ``reason`` goes to the peer."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()):
        self.status = status
        self.reason = reason
        self.headers = headers
        super().__init__(f"{status} {reason}")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: ``name`` and the names of ``parameters`` in lower case, values as sent, unquoted."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Never changed: one value is shared by all messages that carry it."""

    def get(self, parameter: str) -> str:
        """Value of a parameter, "" when absent."""
        return self.parameters.get(parameter, "")


@lru_cache(maxsize=256)
def parse_media_type(value: str) -> MediaType:
    """Read a Content-Type. Raises ValueError when it cannot be read or repeats a parameter.

    Tolerated: unquoted values holding ``/``, ``<`` or ``@``, because several stacks quote nothing.
    Rule: M-13
    """
    if len(value) > _LONGEST_HEADER:
        raise ValueError("media type too long")
    match = _TYPE.match(value)
    if match is None:
        raise ValueError("media type not readable")
    parameters: dict[str, str] = {}
    position = match.end()
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            raise ValueError("media type parameter not readable")
        position = found.end()
        name, quoted, plain = found.groups()
        if name is None:
            continue
        name = name.lower()
        if name in parameters:
            raise ValueError(f"media type parameter {name} given twice")
        parameters[name] = _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain
    return MediaType(match[1].lower(), parameters)


class BodyReader:
    """A request or answer body: bounded in size and in slowness.

    ``length`` is the announced size in bytes, None when the transfer itself says where it ends. A silence
    inside one read is the socket's time-out; this class bounds the mean rate, so that a sender of one
    byte a second cannot hold a thread. Raises HttpError 400 (cut short), 408 (slow), 413 (too large).
    """

    __slots__ = ("_clock", "_left", "_limits", "_read_into", "_start", "received")

    def __init__(
        self, read_into: ReadInto, length: int | None, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if length is not None and length > limits.message:
            raise HttpError(413, f"The message is larger than {limits.message} bytes")
        self._read_into = read_into
        self._left = length
        self._limits = limits
        self._clock = clock
        self._start = clock()
        self.received = 0

    def read(self, rest: bytes | memoryview = b"") -> bytearray:
        """A new buffer: ``rest`` and behind it a BLOCK of the body, less at its end; there ``rest`` alone."""
        if self._left == 0:
            return bytearray(rest)
        end = len(rest)
        buffer = bytearray(end + (BLOCK if self._left is None else min(BLOCK, self._left)))
        buffer[:end] = rest
        with memoryview(buffer) as view:
            while end < len(buffer) and (got := self._arrival(view[end:])):
                end += got
        del buffer[end:]
        return buffer

    def _arrival(self, room: memoryview) -> int:
        """One read of the source, and the checks that follow it."""
        try:
            got = self._read_into(room)
        except TimeoutError:
            raise HttpError(408, "The body did not arrive in time") from None
        except Exception:
            raise HttpError(400, "The body could not be read") from None
        if not got:
            if self._left:
                raise HttpError(400, "The body ended before its announced length")
            self._left = 0
            return 0
        self.received += got
        if self._left is not None:
            self._left -= got
        elif self.received > self._limits.message:
            raise HttpError(413, f"The message is larger than {self._limits.message} bytes")
        spent = self._clock() - self._start - self._limits.body_idle
        if spent > 0 and self.received < spent * self._limits.body_rate and self._left != 0:
            raise HttpError(408, "The body arrives too slowly")
        return got

    def read_whole(self, bound: int) -> bytes:
        """Everything left; HttpError 413 when it is more than ``bound`` bytes."""
        blocks: list[bytearray] = []
        size = 0
        if self._left is not None and self._left > bound:
            raise HttpError(413, f"The message is larger than {bound} bytes")
        while data := self.read():
            size += len(data)
            if size > bound:
                raise HttpError(413, f"The message is larger than {bound} bytes")
            blocks.append(data)
        return b"".join(blocks)
