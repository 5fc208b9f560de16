"""A thread that stays with its connection, and lets go when it is called: behind the real server, with two threads.

The moment a thread stays is an hour here: what would wait for its end would not be over when the test is.
"""

from __future__ import annotations

import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from carnet.server import BoundedSocket, bounded
from carnet.staying import Pool
from carnet.supervisor import free_ports
from guard.credentials.pki import Pki
from tests.live import ROOT, clean_environment
from xds.wire import tls

PATIENCE = 20.0
"""Seconds after which a client gives up, and its test fails."""
SERVED = """
import sys
from pathlib import Path
from carnet import staying
from carnet.server import Listener, Server, bounded
from carnet.worker import PatientWorker
from carnet.workers import Workers
from xds.wire.tls import listening

staying.MOMENT = 3600.0
handed = []
given = PatientWorker.enqueue_req
PatientWorker.enqueue_req = lambda self, connection: (handed.append(1), given(self, connection))

def app(environ, start):
    said = str(len(handed)).encode()
    start("200 OK", [("Content-Length", str(len(said)))])
    return [said]

certificate, key, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
context = listening()
context.load_cert_chain(certificate, key)
listener = Listener(name="test", host="127.0.0.1", port=port, threads=2, certificate=certificate, key=key,
                    tls=bounded(context, idle=20.0), idle=20.0)
Server(listener, Workers(1), lambda: app).run()
"""


class Client:
    """One kept connection."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock = context.wrap_socket(plain, server_hostname="localhost")

    def ask(self) -> int:
        """How many times connections have been handed to a thread by now."""
        self.sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
            more = self.sock.recv(4096)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return int(answer.rpartition(b"\r\n\r\n")[2])


Connect = Callable[[], Client]


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A client's, which trusts the authority of ``served``."""
    Pki.create(tmp_path / "pki").issue_server("registry", ["localhost"])
    return tls.calling(tmp_path / "pki" / "trust" / "ca.pem")


@pytest.fixture
def served(tmp_path: Path, context: ssl.SSLContext) -> Iterator[tuple[subprocess.Popen[bytes], Connect]]:
    """A server of one worker and two threads; and how to connect to it."""
    (port,) = free_ports(1)
    servers = tmp_path / "pki" / "servers"
    words = [sys.executable, "-c", SERVED, str(servers / "registry.pem"), str(servers / "registry.key"), str(port)]
    process = subprocess.Popen(words, cwd=ROOT, env=clean_environment())
    with ExitStack() as open_:
        def connect() -> Client:
            client = Client(port, context)
            open_.enter_context(client.sock)
            return client

        try:
            until = time.monotonic() + PATIENCE
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            yield process, connect
        finally:
            process.kill()
            process.wait()


def test_a_connection_that_pauses_keeps_its_thread(served: tuple[object, Connect]) -> None:
    """Handed over once; the requests that follow are answered by the thread of the first."""
    client = served[1]()
    handed = [client.ask()]
    for _ in range(3):
        time.sleep(0.1)
        handed.append(client.ask())
    assert handed == [1] * 4


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


def test_busy_connections_do_not_starve_one_that_waits(served: tuple[object, Connect]) -> None:
    """Two clients who ask without a pause, and a third one."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def busy(client: Client) -> None:
        try:
            while not stop.is_set():
                client.ask()
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


def test_the_end_waits_for_nobody_who_is_silent(served: tuple[subprocess.Popen[bytes], Connect]) -> None:
    """SIGTERM while both threads stay: the process ends, and not because its time to do so is over."""
    process, connect = served
    for client in (connect(), connect()):
        client.ask()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_the_bell_rings_while_there_are_more_jobs_than_threads() -> None:
    """Once for each, and no longer."""

    def rings() -> bool:
        return bool(select.select([pool.bell], [], [], 0)[0])

    pool = Pool(2)
    gates = [threading.Event() for _ in range(4)]
    jobs = [pool.submit(gate.wait, PATIENCE) for gate in gates[:2]]
    assert not rings()
    jobs += [pool.submit(gate.wait, PATIENCE) for gate in gates[2:]]
    assert rings()
    gates[0].set()
    assert jobs[0].result(PATIENCE) and rings()
    gates[1].set()
    until = time.monotonic() + PATIENCE
    while rings():  # the pool counts a moment after the result is there
        assert time.monotonic() < until
        time.sleep(0.01)
    gates[2].set()
    gates[3].set()
    pool.shutdown()
    assert not rings()


# -- one read of a large body ---------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, context: ssl.SSLContext) -> Iterator[tuple[ssl.SSLSocket, BoundedSocket]]:
    """A client's end of a connection and ours."""
    server = tls.listening()
    files = [tmp_path / "pki" / "servers" / f"registry.{name}" for name in ("pem", "key")]
    server.load_cert_chain(*files)
    here, there = socket.socketpair()
    made: list[ssl.SSLSocket] = []
    accept = threading.Thread(
        target=lambda: made.append(bounded(server, idle=PATIENCE).wrap_socket(there, server_side=True))
    )
    accept.start()
    client = context.wrap_socket(here, server_hostname="localhost")
    accept.join()
    (ours,) = made
    assert isinstance(ours, BoundedSocket)
    ours.setblocking(True)
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
    assert ours.recv_into(block, 99_999) == 99_999
    assert block[:99_999] == sent[:99_999] and block[99_999] == 0xFF
    rest = bytearray(len(sent))
    assert ours.recv_into(rest) == len(sent) - 99_999
    assert rest[: len(sent) - 99_999] == sent[99_999:]
    assert ours.recv_into(rest) == 0
    sending.join()


def test_a_slow_sender_is_refused_inside_a_block(
    pair: tuple[ssl.SSLSocket, BoundedSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record in a moment is taken, the next one after two idle times is not, though the block is not full yet."""
    client, ours = pair
    moments = iter([0.0, 0.1, 0.1 + 2.5 * PATIENCE])
    monkeypatch.setattr("carnet.server.time.monotonic", lambda: next(moments))
    client.sendall(b"0123456789")
    client.sendall(b"0123456789")
    with pytest.raises(TimeoutError):
        ours.recv_into(bytearray(30))
    assert next(moments, None) is None
