"""The head of an answer: what is read, what is refused, and that the standard library reads the same."""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.wire.answer_head import LONGEST, MOST_FIELDS, Head


class Wire:
    """As much of a socket as an answer needs."""

    def __init__(self, data: bytes):
        self.file = io.BytesIO(data)

    def makefile(self, mode: str) -> Any:
        return self.file


def read(data: bytes, kind: type[HTTPResponse] = Head) -> HTTPResponse:
    response = kind(Wire(data))  # type: ignore[arg-type]
    response.begin()
    return response


def head(*fields: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((status, *fields, "", "")).encode("latin-1")


def test_a_head_is_read_and_the_body_left():
    """Names are lower case, values without the blanks around them; the body is what follows.

    Clause: RFC 9112 5.1, 6.3
    """
    response = read(head("Content-Type:text/xml", "X-Trace-Id: \t abc \t", "Content-Length: 4") + b"bodyrest")
    assert response.status == 200
    assert dict(response.headers) == {"content-type": "text/xml", "x-trace-id": "abc", "content-length": "4"}
    assert (response.length, response.will_close, response.chunked) == (4, False, False)
    assert response.read() == b"body"
    assert response.isclosed()


def test_chunks_are_joined():
    response = read(head("Transfer-Encoding: Chunked", "Content-Length: 3") + b"4\r\nbody\r\n0\r\n\r\n")
    assert (response.chunked, response.length, response.will_close) == (True, None, False)
    assert response.read() == b"body"


@pytest.mark.parametrize(
    ("data", "closes"),
    [
        (head("Content-Length: 0"), False),
        (head("Content-Length: 0", "Connection: Close"), True),
        (head(), True),
        (head("Content-Length: 0", status="HTTP/1.0 200 OK"), True),
        (head("Content-Length: 0", "Connection: Keep-Alive", status="HTTP/1.0 200 OK"), False),
        (head(status="HTTP/1.1 204 No Content"), False),
    ],
)
def test_whether_the_connection_stays(data, closes):
    """Clause: RFC 9112 9.3"""
    assert read(data).will_close is closes


def test_interim_answers_are_stepped_over():
    """Clause: RFC 9110 15.2"""
    first = head("Early: 1", status="HTTP/1.1 103 Early Hints")
    response = read(head(status="HTTP/1.1 100 Continue") + first + head("Content-Length: 1") + b"x")
    assert (response.status, dict(response.headers)) == (200, {"content-length": "1"})


def test_what_old_servers_write_is_taken():
    """A line feed alone, a folded line, no reason."""
    response = read(b"HTTP/1.1 500\nContent-Type: multipart/related;\n\t boundary=b\nContent-Length: 0\n\n")
    assert (response.status, response.headers["content-type"]) == (500, "multipart/related; boundary=b")


def test_of_a_field_given_twice_the_last_counts():
    response = read(head("Via: a", "VIA: b", "Content-Length: 1", "Content-Length: 1"))
    assert (response.headers["via"], response.length) == ("b", 1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head("Content-Length: 1", "Content-Length: 2"), id="two lengths"),
        pytest.param(head("Content-Type: text/xml", "Content-Type: text/html"), id="two types"),
        pytest.param(head("Transfer-Encoding: chunked", "Transfer-Encoding: gzip"), id="two codings"),
        pytest.param(head("Content-Length: -1"), id="negative length"),
        pytest.param(head("Content-Length: +1"), id="signed length"),
        pytest.param(head("Content-Length: 1_0"), id="length with a line"),
        pytest.param(head("Content-Length: 1, 1"), id="list of lengths"),
        pytest.param(head("Content-Length:"), id="empty length"),
        pytest.param(head("Content-Length: 1" + 18 * "0"), id="length of a thousand million GB"),
        pytest.param(head("Content-Length : 1"), id="blank before the colon"),
        pytest.param(head("no colon"), id="no colon"),
        pytest.param(head(": nameless"), id="no name"),
        pytest.param(head("Näme: x"), id="name beyond ASCII"),
        pytest.param(head("A: b\0c"), id="NUL"),
        pytest.param(head("A: b\rC: d"), id="carriage return in a value"),
        pytest.param(head(" folded at once"), id="folded line that continues nothing"),
        pytest.param(head(status="HTTP/2 200 OK"), id="another protocol"),
        pytest.param(head(status="HTTP/1.1 20 OK"), id="two digits"),
        pytest.param(head(status="HTTP/1.1 2000 OK"), id="four digits"),
        pytest.param(head(status="HTTP/1.1  200 OK"), id="two blanks"),
        pytest.param(head(status="200 OK"), id="no version"),
        pytest.param(b"<html>\r\n\r\n", id="no head"),
        pytest.param(head(*(f"F{n}: x" for n in range(MOST_FIELDS + 1))), id="too many fields"),
        pytest.param(head("A: " + LONGEST * "x"), id="too long a line"),
        pytest.param(head(*(f"F{n}: " + 2000 * "x" for n in range(40))), id="too large a head"),
        pytest.param(4000 * head(status="HTTP/1.1 100 Continue"), id="interim answers without end"),
    ],
)
def test_what_is_no_head_is_refused(data):
    with pytest.raises(HTTPException) as caught:
        read(data)
    assert not isinstance(caught.value, RemoteDisconnected)


def test_the_largest_head_is_taken():
    fields = [f"F{n}: x" for n in range(MOST_FIELDS - 1)]
    room = LONGEST - len(head(*fields, "A: "))
    assert len(read(head(*fields, "A: " + room * "x")).headers) == MOST_FIELDS
    with pytest.raises(HTTPException):
        read(head(*fields, "A: " + (room + 1) * "x"))


def test_a_head_cut_short_is_never_taken_for_a_whole_one():
    """At whatever byte; no byte at all is told apart."""
    whole = head("Content-Type: text/xml", "Content-Length: 0")
    for end in range(1, len(whole)):
        with pytest.raises(HTTPException, match="cut short"):
            read(whole[:end])
    with pytest.raises(RemoteDisconnected):
        read(b"")


TOKENS = st.text("abcdefXYZ0129-_!", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip)


@given(st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=12), st.integers(200, 599), st.integers(0, 9999))
def test_the_standard_library_reads_the_same(fields, status, length):
    """Second opinion on every well-formed head."""
    data = head(
        f"Content-Length: {length}", *(f"{name}: {value}" for name, value in fields.items()),
        status=f"HTTP/1.1 {status} Reason",
    )
    ours, theirs = read(data), read(data, HTTPResponse)
    assert dict(ours.headers) == {name.lower(): value for name, value in theirs.getheaders()}
    assert (ours.status, ours.version, ours.length, ours.chunked, ours.will_close) == (
        theirs.status, theirs.version, theirs.length, theirs.chunked, theirs.will_close
    )


@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest + b"\r\n\r\n"))
def test_no_bytes_raise_anything_else(data):
    try:
        response = read(data)
    except HTTPException:
        return
    assert all(name == name.lower() and "\r" not in value and "\n" not in value
               for name, value in response.headers.items())
