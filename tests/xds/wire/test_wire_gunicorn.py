"""The service behind the real server: slow and silent senders, kept connections, large bodies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wire_messages import (
    CONTENT_TYPE,
    DOC_LINES,
    NS,
    PATH,
    QUERY,
    ROOT_LINES,
    SUBMIT,
    Sink,
    deposit,
    envelope,
    multipart,
)

from xds.wire.client import SoapClient
from xds.wire.exchange import OutgoingPart
from xds.wire.xop import include

APP = """
from wire_messages import Bench
from xds.limits import Limits
app = Bench(limits=Limits(body_idle=0.4, body_rate=20000)).app
"""
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n"
SIMPLE = f"{HEAD}Content-Type: application/soap+xml\r\nContent-Length: {len(envelope())}\r\n\r\n".encode() + envelope()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A gunicorn with one worker of four threads."""
    folder = tmp_path_factory.mktemp("gunicorn")
    (folder / "served.py").write_text(APP)
    listener = socket.create_server(("127.0.0.1", 0))
    root = Path(__file__).resolve().parents[3]
    paths = os.pathsep.join(map(str, (folder, Path(__file__).parent, root)))
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "served:app", "-b", f"fd://{listener.fileno()}", "-k", "gthread",
         "--threads", "4", "--keep-alive", "5", "--log-level", "error"],
        pass_fds=[listener.fileno()], env={**os.environ, "PYTHONPATH": paths}, cwd=folder,
    )
    try:
        yield listener.getsockname()[1]
    finally:
        process.terminate()
        process.wait(10)
        listener.close()


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer_of(connection, pending=None):
    """Status of the next answer on a connection, and its body; ``pending`` carries bytes of the answer after it."""
    data = bytes(pending or b"")
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        assert more, "closed without an answer"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    if pending is not None:
        pending[:] = body[length:]
    return int(head.split()[1]), body[:length]


def test_two_requests_on_one_connection_the_second_sent_ahead(port):
    """Nothing of the second is taken for the first. Attack: request-smuggling"""
    with connect(port) as connection:
        connection.sendall(SIMPLE + SIMPLE)
        pending = bytearray()
        for _ in range(2):
            assert answer_of(connection, pending)[0] == 200


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_a_chunked_deposit_in_any_pieces(port, pieces):
    """Rule: M-05, C-23"""
    body = multipart([(ROOT_LINES, deposit()), (DOC_LINES, b"\r\ndocument\r\n")])
    size = max(1, len(body) // pieces)
    with connect(port) as connection:
        connection.sendall(f"{HEAD}Content-Type: {CONTENT_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        status, answer = answer_of(connection)
        assert status == 200 and b"\r\n\r\n\r\ndocument\r\n\r\n--" in answer
        connection.sendall(SIMPLE)
        assert answer_of(connection)[0] == 200


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_silent_sender_is_told_so(port, framing):
    """Attack: slow-body"""
    with connect(port) as connection:
        connection.sendall(f"{HEAD}Content-Type: application/soap+xml\r\n{framing}\r\n\r\n".encode())
        assert answer_of(connection)[0] == 408


def test_a_trickling_sender_is_told_so(port):
    """Never silent for long, but far below the lowest rate. Attack: slow-body"""
    with connect(port) as connection:
        connection.sendall(f"{HEAD}Content-Type: application/soap+xml\r\nContent-Length: 1000000\r\n\r\n".encode())
        connection.setblocking(False)
        was_told = False
        for _ in range(600):
            try:
                connection.send(b"x")
                was_told = bool(connection.recv(1, socket.MSG_PEEK))
                break
            except BlockingIOError:
                time.sleep(0.1)
        connection.setblocking(True)
        assert was_told and answer_of(connection)[0] == 408


def test_large_documents_through_the_client(port):
    """Rule: M-01, M-05"""
    client = SoapClient(f"http://127.0.0.1:{port}{PATH}", timeout=20)
    block = os.urandom(1 << 18)
    body = [f'<deposit xmlns="{NS}"><Document>'.encode(), include("d@x"), b"</Document></deposit>"]
    for count in (0, 1, 40):
        part = OutgoingPart("d@x", "a/b", count << 18, lambda count=count: (block for _ in range(count)))
        with client.call(SUBMIT, body, mtom=True, parts=[part], begin_part=Sink) as answer:
            assert answer.parts["echo@here"].received == block * count
    assert client.call(QUERY, [f'<q xmlns="{NS}"/>'.encode()]).action == QUERY + "Response"
    client.close()
