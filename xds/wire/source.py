"""Where the bytes of a request body come from, one arrival at a time.

A server's ``read(n)`` waits for all ``n`` bytes, and a sender of one byte every few seconds can stretch that
without end. Each read here returns after one arrival at the latest, so that ``BodyReader`` sees how slowly
a body comes, and a connection that falls silent raises TimeoutError.
"""

from __future__ import annotations

from typing import Any
from wsgiref.types import WSGIEnvironment

from xds.wire.http import Read


def source_of(environ: WSGIEnvironment, idle: float) -> Read:
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
            return _GunicornLength(stream).read
        if hasattr(reader, "parser"):
            connection.settimeout(idle)
            return _GunicornChunks(stream).read
    read: Read = getattr(stream, "read1", None) or stream.read
    return read


class _GunicornLength:
    """A body of announced length."""

    __slots__ = ("_body", "_reader")

    def __init__(self, body: Any) -> None:
        self._body = body
        self._reader = body.reader

    def read(self, size: int) -> bytes:
        reader = self._reader
        size = min(size, reader.length)
        if not size:
            return b""
        try:
            data: bytes = reader.unreader.read(None, read_ahead=size)
        except BaseException:
            self._body.failed = True  # where the next request starts is unknown
            raise
        if len(data) > size:
            reader.unreader.unread(data[size:])
            data = data[:size]
        reader.length -= len(data)
        return data


class _GunicornChunks:
    """A body in chunks (Transfer-Encoding)."""

    __slots__ = ("_body", "_reader")

    def __init__(self, body: Any) -> None:
        self._body = body
        self._reader = body.reader

    def read(self, size: int) -> bytes:
        reader = self._reader
        while reader.parser is not None:
            try:
                data: bytes | None = next(reader.parser, None)
            except BaseException:
                self._body.failed = True
                raise
            if data is None:
                reader.parser = None
            elif data:
                return data
        return b""
