"""Where the bytes of a request body come from, one arrival at a time.

A server's ``read(n)`` waits for all ``n`` bytes, and a sender of one byte every few seconds can stretch that
without end. Each read here returns after one arrival at the latest, so that ``BodyReader`` sees how slowly
a body comes, and a connection that falls silent raises TimeoutError. A connection that has a ``fill`` may gather
several arrivals, and sees to their rate itself (``carnet.server.BoundedSocket``).
"""

from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIEnvironment

from xds.wire.http import Read, ReadInto, into


def source_of(environ: WSGIEnvironment, idle: float) -> ReadInto:
    """How to read the body of a request; ``idle`` is the longest silence in seconds.

    gunicorn is read through its own parser objects, because its input offers nothing between "all" and
    "nothing"; another server's ``read1`` is used when it has one, its ``read`` otherwise: then the silence and
    the slowness of a sender are for that server to bound.
    """
    stream = environ["wsgi.input"]
    connection = environ.get("gunicorn.socket")
    reader = getattr(stream, "reader", None)
    if connection is not None and hasattr(connection, "settimeout") and reader is not None:
        if hasattr(reader, "unreader") and hasattr(reader, "length"):
            connection.settimeout(idle)
            return _GunicornLength(stream, connection).read_into
        if hasattr(reader, "parser"):
            connection.settimeout(idle)
            return _GunicornChunks(stream).read_into
    read: Read = getattr(stream, "read1", None) or stream.read
    return into(read)


class _GunicornLength:
    """A body of announced length: what came with the head, then straight from the connection into the buffer."""

    __slots__ = ("_ahead", "_body", "_reader", "_receive")

    def __init__(self, body: Any, connection: Any) -> None:
        self._body = body
        self._reader = body.reader
        self._receive: ReadInto = getattr(connection, "fill", connection.recv_into)
        self._ahead = True
        """gunicorn may hold bytes it has read already."""

    def read_into(self, buffer: memoryview) -> int:
        reader = self._reader
        size = min(len(buffer), reader.length)
        if not size:
            return 0
        got = self._held(buffer[:size]) if self._ahead else 0
        if not got:
            try:
                got = self._receive(buffer[:size])
            except BaseException:
                self._body.failed = True  # where the next request starts is unknown
                raise
        reader.length -= got
        return got

    def _held(self, buffer: memoryview) -> int:
        """From what gunicorn has read already; what is left of it stays there: it may be of the next request."""
        unreader = self._reader.unreader
        data = unreader.take_buffered()
        got = min(len(data), len(buffer))
        buffer[:got] = data[:got]
        self._ahead = got < len(data)
        if self._ahead:
            unreader.unread(data[got:])
        return got


class _GunicornChunks:
    """A body in chunks (Transfer-Encoding)."""

    __slots__ = ("_body", "_piece", "_reader")

    def __init__(self, body: Any) -> None:
        self._body = body
        self._reader = body.reader
        self._piece = memoryview(b"")

    def read_into(self, buffer: memoryview) -> int:
        reader = self._reader
        while not self._piece and reader.parser is not None:
            try:
                data: bytes | None = next(reader.parser, None)
            except BaseException:
                self._body.failed = True
                raise
            if data is None:
                reader.parser = None
            else:
                self._piece = memoryview(data)
        got = min(len(buffer), len(self._piece))
        buffer[:got] = self._piece[:got]
        self._piece = self._piece[got:]
        return got
