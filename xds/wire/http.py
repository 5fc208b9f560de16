"""The HTTP around a message: media types, bounded reading, answers that cannot be SOAP.

Clause: ITI TF-2 Appendix V 3.2; RFC 9110 8.3; RFC 2045 5.1
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from xds.limits import Limits

SOAP = "application/soap+xml"
XOP = "application/xop+xml"
RELATED = "multipart/related"
BLOCK = 1 << 18
"""Bytes asked for in one read of a body."""
PEER_KEY = "carnet.peer"
"""environ key under which an in-process caller states its Peer; no HTTP header can set it."""

_TYPE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*")
_PARAMETER = re.compile(
    r";\s*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^;\"\s]*))\s*)?"
)
_ESCAPE = re.compile(r"\\(.)")
_LONGEST_HEADER = 4096

Read = Callable[[int], bytes]
"""Returns up to so many bytes, ``b""`` at the end; may block."""


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

    __slots__ = ("_clock", "_left", "_limits", "_read", "_start", "received")

    def __init__(
        self, read: Read, length: int | None, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if length is not None and length > limits.message:
            raise HttpError(413, f"The message is larger than {limits.message} bytes")
        self._read = read
        self._left = length
        self._limits = limits
        self._clock = clock
        self._start = clock()
        self.received = 0

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes, gathered to ``size`` or somewhat more unless the body ends; ``b""`` at the end."""
        first = self._arrival(size)
        got = len(first)
        if not got or got >= size:
            return first
        pieces = [first]
        while got < size and (data := self._arrival(size)):
            pieces.append(data)
            got += len(data)
        return first if len(pieces) == 1 else b"".join(pieces)

    def _arrival(self, size: int) -> bytes:
        """One read of the source, and the checks that follow it."""
        if self._left is not None:
            if self._left == 0:
                return b""
            size = min(size, self._left)
        try:
            data = self._read(size)
        except TimeoutError:
            raise HttpError(408, "The body did not arrive in time") from None
        except Exception:
            raise HttpError(400, "The body could not be read") from None
        if not data:
            if self._left:
                raise HttpError(400, "The body ended before its announced length")
            return b""
        self.received += len(data)
        if self._left is not None:
            self._left -= len(data)
        elif self.received > self._limits.message:
            raise HttpError(413, f"The message is larger than {self._limits.message} bytes")
        spent = self._clock() - self._start - self._limits.body_idle
        if spent > 0 and self.received < spent * self._limits.body_rate and self._left != 0:
            raise HttpError(408, "The body arrives too slowly")
        return data

    def read_whole(self, bound: int) -> bytes:
        """Everything left; HttpError 413 when it is more than ``bound`` bytes."""
        blocks: list[bytes] = []
        size = 0
        if self._left is not None and self._left > bound:
            raise HttpError(413, f"The message is larger than {bound} bytes")
        while data := self.read():
            size += len(data)
            if size > bound:
                raise HttpError(413, f"The message is larger than {bound} bytes")
            blocks.append(data)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)
