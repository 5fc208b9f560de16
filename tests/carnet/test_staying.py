"""A thread that stays with its connection, and lets go when it is called; blocks read from TLS; handshakes that fail.

The server is the real one, with two threads. The moment a thread stays is an hour here: what would wait for its end
would not be over when the test is.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from carnet import server, staying
from carnet.handshake_reports import MOST, HandshakeReports
from carnet.server import GATHERED, BoundedSocket, bounded
from carnet.staying import Pool
from carnet.supervisor import free_ports
from guard.credentials.pki import Pki
from tests.live import ROOT, clean_environment
from xds.wire import tls

PATIENCE = 20.0
"""Seconds after which a client gives up, and its test fails."""
SERVED = """
import os, sys
from pathlib import Path
from carnet import staying
from carnet.server import Listener, Server, bounded
from carnet.worker import PatientWorker
from carnet.workers import Workers
from xds.wire.source import source_of
from xds.wire.tls import listening

staying.MOMENT = 3600.0
handed = []
given = PatientWorker.enqueue_req

def enqueue_req(self, connection):
    handed.append(1)
    if len(sys.argv) > 4:
        with self.tpool._shutdown_lock:
            os.killpg(0, int(sys.argv[4]))
    given(self, connection)

PatientWorker.enqueue_req = enqueue_req

def app(environ, start):
    if environ["PATH_INFO"] == "/failing":
        raise RuntimeError("before its head")
    if environ["PATH_INFO"] in ("/broken", "/unreadable"):
        return broken(start, OSError if environ["PATH_INFO"] == "/unreadable" else RuntimeError)
    read_into, buffer = source_of(environ, 20.0), bytearray(1000)
    while read_into(memoryview(buffer)):
        pass
    said = str(len(handed)).encode()
    start("200 OK", [("Content-Length", str(len(said)))])
    return [said]

def broken(start, error):
    start("200 OK", [("Content-Length", "100")])
    yield b"a beginning"
    raise error("behind its head")

certificate, key, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
context = listening()
context.load_cert_chain(certificate, key)
listener = Listener(name="test", host="127.0.0.1", port=port, threads=2, certificate=certificate, key=key,
                    tls=bounded(context, idle=20.0), idle=20.0)
Server(listener, Workers(1), lambda: app).run()
"""
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
BODY = b"bytes"


def until(happened: Callable[[], object]) -> None:
    latest = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < latest
        time.sleep(0.01)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """One kept connection."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock = context.wrap_socket(plain, server_hostname="localhost")
        self._ahead = b""

    def ask(self) -> int:
        """How many times connections have been handed to a thread by now."""
        self.sock.sendall(HEAD + BODY)
        return self.answer()

    def answer(self) -> int:
        """The next answer; the beginning of the one behind it may be here too."""
        answer = self._ahead
        while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
            more = self.sock.recv(4096)
            assert more, answer
            answer += more
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), answer
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self._ahead = rest[length:]
        return int(rest[:length])


Connect = Callable[[], Client]


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A client's, which trusts the authority of ``served``."""
    Pki.create(tmp_path / "pki").issue_server("registry", ["localhost"])
    return tls.calling(tmp_path / "pki" / "trust" / "ca.pem")


@pytest.fixture
def served(
    tmp_path: Path, context: ssl.SSLContext, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[bytes], Connect]]:
    """A server of one worker and two threads; and how to connect to it. Its standard output ends when both have. A
    parameter is a signal that comes to both while a request is handed to a thread.
    """
    (port,) = free_ports(1)
    servers = tmp_path / "pki" / "servers"
    words = [sys.executable, "-c", SERVED, str(servers / "registry.pem"), str(servers / "registry.key"), str(port)]
    words += [str(int(request.param))] if hasattr(request, "param") else []
    process = subprocess.Popen(
        words, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    with process, ExitStack() as open_:
        def connect() -> Client:
            client = Client(port, context)
            open_.enter_context(client.sock)
            return client

        try:
            until(lambda: process.poll() is not None or is_open(port))
            yield process, connect
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Master and worker."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], PATIENCE)[0]) and process.stdout.read() == b""


def test_a_connection_that_pauses_keeps_its_thread(served: tuple[object, Connect]) -> None:
    """Handed over once; the requests that follow are answered by the thread of the first."""
    client = served[1]()
    handed = [client.ask()]
    for _ in range(3):
        time.sleep(0.1)
        handed.append(client.ask())
    assert handed == [1] * 4


def test_a_request_that_came_with_the_last_body_is_answered(served: tuple[object, Connect]) -> None:
    """In one TLS record with it: nothing more comes on the connection, and the bytes are not on the socket."""
    client = served[1]()
    client.ask()
    client.sock.sendall(HEAD)
    time.sleep(0.1)
    client.sock.sendall(BODY + HEAD + BODY)
    assert [client.answer(), client.answer()]


def test_an_answer_is_one_piece(served: tuple[object, Connect]) -> None:
    """Head and body come in one TLS record."""
    client = served[1]()
    client.sock.sendall(HEAD + BODY)
    head, _, body = client.sock.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and body == b"1"


@pytest.mark.parametrize(("path", "answer"), [("failing", b"HTTP/1.1 500 "), ("broken", b""), ("unreadable", b"")])
def test_an_application_that_fails_sends_no_half_of_an_answer(
    served: tuple[object, Connect], path: str, answer: bytes
) -> None:
    """Before its head the failure is said; behind it the connection ends, and nothing of what waited is sent."""
    client = served[1]()
    client.sock.sendall(HEAD.replace(b"/", f"/{path}".encode(), 1) + BODY)
    received = b""
    with suppress(ssl.SSLEOFError):
        while more := client.sock.recv(4096):
            received += more
    assert received[: len(answer) or None] == answer


def test_more_connections_than_threads_are_all_served(served: tuple[object, Connect]) -> None:
    """Both threads stay with connections that are silent; a third and a fourth one are served all the same, and go on
    to be; so are the first two.
    """
    clients = [served[1]() for _ in range(2)]
    for client in clients:
        client.ask()
    clients += [served[1]() for _ in range(2)]
    for client in (clients[2], clients[3], *clients, *clients):
        client.ask()


@pytest.mark.parametrize("ahead", [b"", HEAD + BODY, HEAD], ids=["one by one", "a request ahead", "a head ahead"])
def test_busy_connections_do_not_starve_one_that_waits(served: tuple[object, Connect], ahead: bytes) -> None:
    """Two clients who ask without a pause, and a third one. The two may send the next request before they are answered,
    or its head in one piece with the body of the last, so that it is with TLS already when the thread looks.
    """
    stop = threading.Event()
    failed: list[BaseException] = []

    def busy(client: Client) -> None:
        try:
            client.sock.sendall(ahead)
            while not stop.is_set():
                client.sock.sendall(BODY + ahead if ahead == HEAD else HEAD + BODY)
                client.answer()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=busy, args=(served[1](),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        third = served[1]()
        for _ in range(20):
            third.ask()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_end_waits_for_nobody_who_is_silent(
    served: tuple[subprocess.Popen[bytes], Connect], number: signal.Signals
) -> None:
    """Told to end while both threads stay: the process ends, and not because its time to do so is over."""
    process, connect = served
    for client in (connect(), connect()):
        client.ask()
    process.send_signal(number)
    assert has_ended(process) and process.wait(PATIENCE) == 0


@pytest.mark.parametrize("served", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], indirect=True)
def test_the_end_comes_while_a_request_is_handed_to_a_thread(
    served: tuple[subprocess.Popen[bytes], Connect]
) -> None:
    """The handler runs on the thread that has the pool's lock. The request is answered, and the process ends."""
    process, connect = served
    assert connect().ask() == 1
    assert has_ended(process) and process.wait(PATIENCE) == 0


@pytest.mark.parametrize("is_busy", [False, True])
def test_without_a_master_the_worker_ends(
    served: tuple[subprocess.Popen[bytes], Connect], is_busy: bool
) -> None:
    """kill -9 of the master alone, while a client asks again and again, or was answered just before and is silent."""
    process, connect = served
    client = connect()
    client.ask()

    def asks() -> None:
        with suppress(AssertionError, OSError):  # closed: the worker is about to end
            while True:
                client.ask()
                time.sleep(0.1)

    asking = threading.Thread(target=asks)
    if is_busy:
        asking.start()
    process.kill()
    ended = has_ended(process)
    client.sock.close()
    if is_busy:
        asking.join()
    assert ended


# -- the pool -------------------------------------------------------------------------------------------------------


class Stay:
    """A job that stays with a connection of its own."""

    def __init__(self, pool: Pool, *, is_readable: bool = False) -> None:
        self.peer, self._ours = socket.socketpair()
        self._gate = threading.Event()
        if is_readable:
            self.peer.send(b"x")
        else:
            self._gate.set()
        self.result = pool.submit(self._stay, pool, is_readable)

    def _stay(self, pool: Pool, is_readable: bool) -> bool:
        assert self._gate.wait(PATIENCE)
        return pool.stay(self._ours.fileno(), is_readable=is_readable)

    def look(self) -> bool:
        """What a job that was begun with something to read says when it looks."""
        self._gate.set()
        return self.result.result(PATIENCE)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Of two threads."""
    monkeypatch.setattr(staying, "MOMENT", 3600.0)
    one = Pool(2)
    yield one
    one.dismiss()
    one.shutdown()


def both_stay(pool: Pool) -> None:
    until(lambda: len(pool._staying) == 2)


def test_one_thread_is_called_for_each_job_that_waits(pool: Pool) -> None:
    """And no more than one; the other stays until it has something to read, or another job waits."""
    stays = [Stay(pool), Stay(pool)]
    both_stay(pool)
    gate = threading.Event()
    third = pool.submit(gate.wait, PATIENCE)
    done, rest = wait([stay.result for stay in stays], PATIENCE, FIRST_COMPLETED)
    assert [one.result() for one in done] == [False]
    assert not wait(rest, 0.2).done
    fourth = pool.submit(lambda: True)
    assert fourth.result(PATIENCE) and [one.result(PATIENCE) for one in rest] == [False]
    gate.set()
    assert third.result(PATIENCE)
    assert (pool._given, pool._called, pool._staying) == (0, 0, [])
    again = [Stay(pool), Stay(pool)]
    both_stay(pool)
    assert not wait([stay.result for stay in again], 0.2).done


def test_a_thread_that_stays_is_told_of_bytes(pool: Pool) -> None:
    """True when they come; nobody was called, and the next one to wait is not mistaken for one who was."""
    stays = [Stay(pool), Stay(pool)]
    both_stay(pool)
    for stay in stays:
        stay.peer.send(b"x")
    assert [stay.result.result(PATIENCE) for stay in stays] == [True, True]
    assert pool.submit(lambda: True).result(PATIENCE)
    again = Stay(pool)
    again.peer.send(b"x")
    assert again.result.result(PATIENCE)


def test_a_job_that_waits_comes_before_bytes_that_are_here(pool: Pool) -> None:
    """Of two threads that both have a next request, one lets go, and one goes on."""
    stays = [Stay(pool, is_readable=True) for _ in range(2)]
    third = pool.submit(time.sleep, 0)
    assert stays[0].look() is False
    third.result(PATIENCE)
    assert stays[1].look() is True


def test_one_who_is_about_to_let_go_is_enough(pool: Pool) -> None:
    """A job waits, and a thread was called for it that has not ended yet: another one need not let go too."""
    gate = threading.Event()
    first = Stay(pool)
    slow = pool.submit(lambda: (pool.stay(first.peer.fileno(), is_readable=False), gate.wait(PATIENCE)))
    both_stay(pool)
    first.peer.send(b"x")  # its thread goes on
    assert first.result.result(PATIENCE)
    ready = Stay(pool, is_readable=True)
    third = pool.submit(lambda: True)
    until(lambda: pool._called and not pool._staying)
    assert ready.look() is True
    gate.set()
    assert slow.result(PATIENCE) == (False, True) and third.result(PATIENCE)


@pytest.mark.parametrize("count", [0, 2])
def test_nobody_stays_when_dismissed(pool: Pool, count: int) -> None:
    """Neither who stays nor who comes later."""
    stays = [Stay(pool) for _ in range(count)]
    if stays:
        both_stay(pool)
    pool.dismiss()
    assert not any(stay.result.result(PATIENCE) for stay in stays)
    assert Stay(pool).result.result(PATIENCE) is False
    assert Stay(pool, is_readable=True).look() is True


def test_any_number_of_jobs_may_wait(pool: Pool) -> None:
    """More than a pipe has bytes."""
    gate = threading.Event()
    jobs = [pool.submit(gate.wait, PATIENCE) for _ in range(70_000)]
    gate.set()
    assert all(job.result(PATIENCE) for job in jobs)


# -- handshakes that fail -------------------------------------------------------------------------------------------


def test_a_flood_of_failed_handshakes_is_told_as_a_number() -> None:
    """So many lines, and one that says how many were left out; a report that fails stops no other."""
    gate = threading.Event()
    told: list[tuple[str, str]] = []

    def tell(address: str, reason: str) -> None:
        assert gate.wait(PATIENCE)
        told.append((address, reason))
        if len(told) == 2:
            raise OSError("busy")

    reports = HandshakeReports(tell)
    for number in range(MOST + 40):
        reports.add("192.0.2.1", str(number))
    assert not told
    gate.set()
    until(lambda: len(told) > MOST)
    reports.add("192.0.2.2", "one")
    reports._thread.shutdown()
    assert told[:MOST] == [("192.0.2.1", str(number)) for number in range(MOST)]
    assert told[MOST:] == [
        ("192.0.2.1", "40 more handshakes, which came too fast to be told of one by one"), ("192.0.2.2", "one"),
    ]


# -- answers that leave in few pieces -------------------------------------------------------------------------------


def test_small_pieces_wait_for_the_next_ones(pair: tuple[ssl.SSLSocket, BoundedSocket]) -> None:
    """Until they are let go of; what comes then goes at once again."""
    client, ours = pair
    ours.gather()
    ours.sendall(b"head, ")
    ours.sendall(b"body")
    assert not select.select([client], [], [], 0.1)[0]
    ours.let_go()
    assert client.recv(4096) == b"head, body"
    ours.let_go()
    ours.sendall(b"more")
    assert client.recv(4096) == b"more"


def test_what_waited_leaves_as_one_piece(
    pair: tuple[ssl.SSLSocket, BoundedSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records it takes."""
    sent: list[bytes] = []
    monkeypatch.setattr(server, "send_whole", lambda _connection, data: sent.append(data))
    ours = pair[1]
    ours.gather()
    for piece in (bytes(20_000), b"end"):
        ours.sendall(piece)
    ours.let_go()
    assert sent == [bytes(20_000) + b"end"]


def test_what_waits_is_bounded(pair: tuple[ssl.SSLSocket, BoundedSocket]) -> None:
    """A long answer leaves as it is written, in its order, but for the last small pieces."""
    client, ours = pair
    ours.gather()
    pieces = [b"head", bytes(GATHERED - 5), b"x", b"end"]
    for piece in pieces:
        ours.sendall(piece)
    expected = b"".join(pieces)
    got = b""
    while len(got) < GATHERED:
        got += client.recv(GATHERED)
    assert got == expected[:GATHERED]
    assert not select.select([client], [], [], 0.1)[0]
    ours.let_go()
    assert client.recv(4096) == b"end"


def test_nothing_more_is_sent_of_an_answer_that_failed(pair: tuple[ssl.SSLSocket, BoundedSocket]) -> None:
    """What waited is dropped; words about the failure go at once."""
    client, ours = pair
    ours.gather()
    ours.sendall(b"half an answer")
    ours.drop()
    ours.sendall(b"sorry")
    assert client.recv(4096) == b"sorry"


# -- one read of a large body ---------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, context: ssl.SSLContext) -> Iterator[tuple[ssl.SSLSocket, BoundedSocket]]:
    """A client's end of a connection and ours."""
    listening = tls.listening()
    files = [tmp_path / "pki" / "servers" / f"registry.{name}" for name in ("pem", "key")]
    listening.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there = listener.accept()[0]
    made: list[ssl.SSLSocket] = []
    accept = threading.Thread(
        target=lambda: made.append(bounded(listening, idle=PATIENCE).wrap_socket(there, server_side=True))
    )
    accept.start()
    client = context.wrap_socket(here, server_hostname="localhost")
    accept.join()
    (ours,) = made
    assert isinstance(ours, BoundedSocket)
    ours.setblocking(True)
    client.settimeout(PATIENCE)
    with client, ours:
        yield client, ours


def test_a_block_is_filled_whatever_the_size_of_the_records(pair: tuple[ssl.SSLSocket, BoundedSocket]) -> None:
    """Not a byte more than was asked for, none beside its place, and a short block only where the sender has ended."""
    client, ours = pair
    sent = bytes(range(256)) * 700
    pieces = [sent[:1], sent[1:20_000], sent[20_000:20_003], sent[20_003:]]
    sending = threading.Thread(target=lambda: [client.sendall(piece) for piece in pieces] and client.close())
    sending.start()
    block = bytearray(b"\xff" * 100_000)
    assert ours.fill(memoryview(block)[:99_999]) == 99_999
    assert block[:99_999] == sent[:99_999] and block[99_999] == 0xFF
    rest = bytearray(len(sent))
    assert ours.fill(memoryview(rest)) == len(sent) - 99_999
    assert rest[: len(sent) - 99_999] == sent[99_999:]
    assert ours.fill(memoryview(rest)) == 0
    sending.join()


def test_a_slow_sender_is_refused_inside_a_block(
    pair: tuple[ssl.SSLSocket, BoundedSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two records within the idle time are taken, the third one, long after it, is not, though the block is not full
    yet. Time counts once.
    """
    client, ours = pair
    moments = iter([0.0, 0.4 * PATIENCE, 0.8 * PATIENCE, 2.5 * PATIENCE])
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    for _ in range(3):
        client.sendall(b"0123456789")
    with pytest.raises(TimeoutError, match="too slowly"):
        ours.fill(memoryview(bytearray(40)))
    assert next(moments, None) is None
