"""Bodies read into a buffer: through gunicorn's own parser, from other servers, and gathered to blocks."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from wire_messages import CONTENT_TYPE, DOC_LINES, ROOT_LINES, multipart

from xds.limits import Limits
from xds.wire.http import BLOCK, BodyReader, HttpError, ReadInto
from xds.wire.mime import MultipartReader
from xds.wire.source import source_of

IDLE = 0.2
BODY = bytes(range(256)) * 40
NEXT = b"POST /next HTTP/1.1\r\nContent-Length: 4\r\n\r\nnext"


class Connection:
    """A client's end, and gunicorn's parser at the other."""

    def __init__(self, peer: socket.socket, ours: socket.socket) -> None:
        self.peer = peer
        self.ours = ours
        self.parser = get_parser(Config(), ours, ("127.0.0.1", 1))

    def request(self, head: str, ahead: bytes = b"") -> tuple[object, ReadInto]:
        """The body as gunicorn knows it, and ours; ``ahead`` comes in one piece with the head."""
        self.peer.sendall(f"POST / HTTP/1.1\r\n{head}\r\n\r\n".encode() + ahead)
        return self.next()

    def next(self) -> tuple[object, ReadInto]:
        body = next(self.parser).body
        return body, source_of({"wsgi.input": body, "gunicorn.socket": self.ours}, IDLE)


@pytest.fixture
def connection() -> Iterator[Connection]:
    peer, ours = socket.socketpair()
    with peer, ours:
        yield Connection(peer, ours)


def drained(read_into: ReadInto, size: int) -> bytes:
    """Everything, asked for in buffers of ``size`` bytes."""
    data, buffer = b"", bytearray(size)
    while got := read_into(memoryview(buffer)):
        data += buffer[:got]
    return data


@pytest.mark.parametrize("size", [1, 999, len(BODY) - 1, len(BODY), 1 << 16])
@pytest.mark.parametrize("ahead", [0, 1, 1000, len(BODY)])
def test_what_came_with_the_head_comes_first(connection: Connection, ahead: int, size: int) -> None:
    """The length left is kept right, so that gunicorn finds the next request. Attack: request-smuggling"""
    body, read_into = connection.request(f"Content-Length: {len(BODY)}", BODY[:ahead])
    connection.peer.sendall(BODY[ahead:] + NEXT)
    first = bytearray(size)
    got = read_into(memoryview(first))
    assert 0 < got <= size and body.reader.length == len(BODY) - got
    assert bytes(first[:got]) + drained(read_into, size) == BODY
    assert body.reader.length == 0 and not body.failed
    assert drained(connection.next()[1], size) == b"next"


@pytest.mark.parametrize("size", [1, 999, 1 << 16])
def test_a_next_request_sent_ahead_stays_gunicorns(connection: Connection, size: int) -> None:
    """Attack: request-smuggling"""
    _, read_into = connection.request("Content-Length: 10", BODY[:10] + NEXT)
    assert drained(read_into, size) == BODY[:10]
    assert drained(connection.next()[1], size) == b"next"


def test_a_connection_that_gathers_arrivals_is_let(connection: Connection) -> None:
    """It is asked for no more than the message still has."""
    asked: list[int] = []

    class Gathering:
        settimeout = staticmethod(connection.ours.settimeout)
        recv_into = None

        @staticmethod
        def fill(buffer: memoryview) -> int:
            asked.append(len(buffer))
            return connection.ours.recv_into(buffer, 0, socket.MSG_WAITALL)

    body, _ = connection.request(f"Content-Length: {len(BODY)}")
    connection.peer.sendall(BODY + NEXT)
    assert drained(source_of({"wsgi.input": body, "gunicorn.socket": Gathering()}, IDLE), 10_000) == BODY
    assert asked == [10_000, len(BODY) - 10_000]


@pytest.mark.parametrize("size", [1, 999, 1 << 16])
def test_chunks_in_buffers_of_any_size(connection: Connection, size: int) -> None:
    """Smaller and larger than a chunk."""
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (BODY[:1], BODY[1:4000], BODY[4000:])) + b"0\r\n\r\n"
    _, read_into = connection.request("Transfer-Encoding: chunked", chunked + NEXT)
    assert drained(read_into, size) == BODY
    assert drained(connection.next()[1], size) == b"next"


@pytest.mark.parametrize("head", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_silence_marks_the_body(connection: Connection, head: str) -> None:
    """gunicorn then ends the connection: nobody knows where the next request starts. Attack: slow-body"""
    body, read_into = connection.request(head)
    with pytest.raises(TimeoutError):
        read_into(memoryview(bytearray(10)))
    assert body.failed


def test_a_body_cut_short_ends(connection: Connection) -> None:
    """The reader above knows what was announced."""
    _, read_into = connection.request("Content-Length: 10", b"12345")
    connection.peer.close()
    assert drained(read_into, 4) == b"12345"


@pytest.mark.parametrize("name", ["read", "read1"])
def test_another_server_is_read_as_it_can(name: str) -> None:
    class Stream:
        def __init__(self) -> None:
            setattr(self, name, io.BytesIO(BODY).read)

    assert drained(source_of({"wsgi.input": Stream()}, IDLE), 999) == BODY


@pytest.mark.parametrize("length", [len(BODY), None])
def test_a_block_begins_with_what_is_left_of_the_last(length: int | None) -> None:
    """A new buffer each time; at the end what was given comes back alone."""
    body = BodyReader(io.BytesIO(BODY).readinto, length, Limits())
    first = body.read(b"rest")
    assert first == b"rest" + BODY
    second = body.read(memoryview(first)[:4])
    assert second == b"rest" and second is not first
    assert body.read() == b""


def test_no_more_memory_is_taken_than_was_announced() -> None:
    """A small message does not pay for a block, and a large one has one block at a time."""
    for length, rooms in ((20_000, [20_000]), (2 * BLOCK + 5, [BLOCK, BLOCK, 5])):
        asked = []

        def fill(buffer: memoryview, asked: list[int] = asked) -> int:
            asked.append(len(buffer))
            return len(buffer)

        body = BodyReader(fill, length, Limits())
        for _ in range(len(rooms) + 1):
            body.read()
        assert asked == rooms


def test_nothing_is_asked_for_behind_the_end() -> None:
    """The end of a body of unknown length is asked for once."""
    answers = [5, 0]
    body = BodyReader(lambda buffer: answers.pop(0), None, Limits())
    assert len(body.read()) == 5 and not body.read() and not answers


def test_a_block_is_gathered_from_small_arrivals() -> None:
    """Every arrival is counted, and a body of unknown length is bounded while it comes. Attack: oversized-part"""
    data = os.urandom(BLOCK + 10)
    stream = io.BytesIO(data)
    body = BodyReader(lambda buffer: stream.readinto(buffer[:1000]), None, Limits(message=BLOCK + 9))
    assert body.read() == data[:BLOCK] and body.received == BLOCK
    with pytest.raises(HttpError) as caught:
        body.read()
    assert caught.value.status == 413


def test_a_source_that_gives_too_much_is_refused() -> None:
    """Bytes nobody asked for are not cut away in silence."""
    body = BodyReader(source_of({"wsgi.input": type("Stream", (), {"read": lambda self, size: b"x" * 11})()}, IDLE),
                      10, Limits())
    with pytest.raises(HttpError) as caught:
        body.read()
    assert caught.value.status == 400


def test_blocks_are_never_overwritten() -> None:
    """A sink may keep what it was given; it is read-only, so that storage need not copy it. Rule: M-05"""
    data = os.urandom(3 * BLOCK)
    message = multipart([(ROOT_LINES, b"<e/>"), (DOC_LINES, data)])
    body = BodyReader(io.BytesIO(message).readinto, len(message), Limits())
    kept = [list(part.chunks()) for part in MultipartReader(body.read, CONTENT_TYPE)][1]
    assert len(kept) > 3 and all(isinstance(chunk, memoryview) and chunk.readonly for chunk in kept)
    assert b"".join(kept) == data
