"""The sender of audit messages: order, waiting, outages, restarts; and the syslog it speaks."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trustme

import storage
from carnet import audit_sender
from carnet.admin import Meter
from carnet.audit_sender import AuditSender, Outgoing
from carnet.syslog import Header, SyslogChannel
from guard.audit import atna
from guard.audit.particulars import Particulars, process_id
from storage import SqlRepositoryDatabase
from tests.contract import store_objects as make

HEADER = Header("host.test", "car net", "7")
LINE = make.line(event="ITI-41", particulars=Particulars(sent_on="ITI-42", process=process_id()))


@dataclass
class Tape:
    """A channel that records, or fails while it is told to."""

    got: list[bytes] = field(default_factory=list)
    is_down: bool = False

    def send(self, frames: list[bytes]) -> None:
        if self.is_down:
            raise ConnectionRefusedError(111, "secret")
        self.got += frames

    def close(self) -> None:
        return


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlRepositoryDatabase]:
    url = f"sqlite:///{tmp_path}/repository.db"
    storage.upgrade_repository(url)
    opened = storage.open_repository(url)
    yield opened
    opened.close()


def sender(database: SqlRepositoryDatabase, tape: Tape | None, under_way: set[str] | None = None) -> AuditSender:
    node = atna.Node(source_id="carnet", endpoints={"repository": "https://r.test"})
    outgoing = Outgoing(actor="repository", node=node, header=HEADER, under_way=under_way or set(), hold=3600)
    return AuditSender(database, outgoing, tape)


def logged(database: SqlRepositoryDatabase, *lines: object) -> list[int]:
    numbers = []
    for line in lines:
        with database.write() as unit:
            numbers.append(unit.audit.append(line))
    return numbers


def waiting(database: SqlRepositoryDatabase) -> int:
    with database.read() as unit:
        return unit.outbox.depth()[0]


def test_a_syslog_message_is_framed_as_asked() -> None:
    """Facility 10, severity by outcome, the message id, length in bytes, no byte-order mark. Rule: A-26"""
    frame = HEADER.frame("2026-01-01T00:00:00.000Z", "<é/>", is_success=True)
    text = "<85>1 2026-01-01T00:00:00.000Z host.test car_net 7 IHE+RFC-3881 - <é/>".encode()
    assert frame == str(len(text)).encode() + b" " + text
    assert b"<84>1 " in HEADER.frame("x", "", is_success=False)
    odd = Header("", "é" * 60, "a b", 4).frame("x", "y", is_success=True).partition(b" ")[2]
    assert odd == b"<37>1 x - " + b"_" * 48 + b" a_b IHE+RFC-3881 - y"


def test_what_was_logged_is_sent_once_and_in_order(database: SqlRepositoryDatabase) -> None:
    """A deposit is two messages; an event without a row is none, and waits no more. Rule: A-28"""
    tape = Tape()
    logged(database, LINE, replace(LINE, event="TD1", particulars=Particulars()), replace(LINE, event="ITI-43"))
    one = sender(database, tape)
    assert one.step() == 3
    kinds = [b'csd-code="ITI-%d"' % n for n in (41, 42, 43, 42)]
    assert len(tape.got) == 4 and all(kind in got for kind, got in zip(kinds, tape.got, strict=True))
    assert waiting(database) == 0 == one.step()
    assert len(tape.got) == 4


def test_an_outage_keeps_everything_and_tells_nothing(
    database: SqlRepositoryDatabase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on until the receiver is back; the log names no address. Rule: A-28"""
    monkeypatch.setattr(audit_sender, "POLL", 0.01)
    tape, meter = Tape(is_down=True), Meter()
    one = sender(database, tape)
    one._outgoing = replace(one._outgoing, tell=meter.audit)
    logged(database, LINE)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        eventually(lambda: "ConnectionRefusedError Connection refused" in caplog.text)
        assert waiting(database) == 1
        eventually(lambda: meter.collected.get_sample_value("carnet_audit_waiting") == 1)
        assert (meter.collected.get_sample_value("carnet_audit_failures_total") or 0) > 0
        tape.is_down = False
        eventually(lambda: waiting(database) == 0)
    finally:
        logged(database, LINE)
        one.stop(10)
        thread.join(10)
    assert not thread.is_alive()
    assert len(tape.got) == 4, "what is logged last is sent at the end"
    assert "secret" not in caplog.text
    assert meter.collected.get_sample_value("carnet_audit_sent_total") == 4


def eventually(is_so: object, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_deposit_under_way_waits_for_its_end(database: SqlRepositoryDatabase) -> None:
    """Whether it succeeded is told once it is known; others pass it by. Rule: A-22"""
    tape, busy = Tape(), {"a"}
    one = sender(database, tape, busy)
    (number,) = logged(database, replace(LINE, trace_id="a"))
    logged(database, replace(LINE, trace_id="b"))
    one._outgoing = replace(one._outgoing, under_way=busy)
    assert one.step() == 1 and len(tape.got) == 2
    with database.write() as unit:
        unit.audit.append(replace(LINE, trace_id="a", outcome="refused", reason="no"), replaces=number)
    busy.clear()
    assert one.step() == 1
    assert len(tape.got) == 4 and all(b'OutcomeIndicator="8"' in got for got in tape.got[2:])
    assert waiting(database) == 0


def test_a_deposit_of_another_worker_is_told_when_it_has_ended(database: SqlRepositoryDatabase) -> None:
    """As soon as one of our own: what is under way there is known here. Rule: A-22"""
    tape, busy = Tape(), {"a"}
    of_other = replace(LINE, particulars=replace(LINE.particulars, process=process_id(1)))
    logged(database, replace(of_other, trace_id="a"), replace(of_other, trace_id="b"))
    one = sender(database, tape)
    one._outgoing = replace(one._outgoing, under_way=busy, processes=lambda: [process_id(), process_id(1)])
    assert one.step() == 1 and len(tape.got) == 2
    busy.clear()
    assert one.step() == 1 and len(tape.got) == 4


def test_a_deposit_of_a_killed_process_is_told_after_a_time(database: SqlRepositoryDatabase) -> None:
    """Nobody can say how it ended; once it must have ended it is told as what was stored."""
    tape = Tape()
    logged(database, replace(LINE, particulars=replace(LINE.particulars, process="1@elsewhere")))
    one = sender(database, tape)
    assert one.step() == 0 == len(tape.got)
    one._outgoing = replace(one._outgoing, hold=0.0)
    assert one.step() == 1 and len(tape.got) == 2


def test_a_line_that_gives_no_message_does_not_stop_the_others(
    database: SqlRepositoryDatabase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said in the process's log, by its trace."""
    real = atna.messages

    def fail(lines: list[object], node: object, actor: str) -> object:
        if lines[0].trace_id == "bad":  # type: ignore[attr-defined]
            raise ValueError("secret")
        return real(lines, node, actor)  # type: ignore[arg-type]

    monkeypatch.setattr(atna, "messages", fail)
    tape = Tape()
    logged(database, replace(LINE, trace_id="bad"), LINE)
    assert sender(database, tape).step() == 2
    assert len(tape.got) == 2 and waiting(database) == 0
    assert "trace bad: ValueError" in caplog.text and "secret" not in caplog.text


def test_a_large_batch_goes_in_pieces(database: SqlRepositoryDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes, not only by lines; nothing is left behind."""
    monkeypatch.setattr(audit_sender, "BATCH_BYTES", 5000)
    tape = Tape()
    logged(database, *(replace(LINE, trace_id=str(n)) for n in range(9)))
    one = sender(database, tape)
    steps = []
    while done := one.step():
        steps.append(done)
    assert sum(steps) == 9 and len(steps) > 1 and len(tape.got) == 18


def test_old_rows_go_even_if_nothing_is_ever_sent(
    database: SqlRepositoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a receiver the retention holds for all; with one it holds for what was sent."""
    logged(database, LINE)
    for tape, left in ((Tape(), 1), (None, 0)):
        one = sender(database, tape)
        one._outgoing = replace(one._outgoing, retention=-1)
        while one._tidy():
            pass
        assert waiting(database) == left


# -- the wire ---------------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """A syslog receiver in a thread: reads each connection to its end, or cuts it a moment after ``cut`` bytes."""

    context: ssl.SSLContext
    cut: list[int] = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
                connection = self.context.wrap_socket(plain, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self.got.append(b"")
            most = self.cut.pop(0) if self.cut else 1 << 30
            connection.settimeout(20)
            try:
                while len(self.got[-1]) < most and (data := connection.recv(65536)):
                    self.got[-1] += data
            except OSError:
                pass
            time.sleep(0.15)
            connection.close()

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """Receiver, sender, and a sender nobody knows."""
    authority, other = trustme.CA(), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(server)
    clients = []
    for issuer in (authority, other):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(client)
        issuer.issue_cert("carnet.test").configure_cert(client)
        clients.append(client)
    return server, clients[0], clients[1]


def test_a_batch_arrives_whole_and_the_connection_stays(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext],
) -> None:
    """Several batches, one connection. Rule: A-26"""
    with Receiver(contexts[0]) as receiver:
        channel = SyslogChannel("localhost", receiver.port, contexts[1])
        channel.send([b"3 abc", b"1 d"])
        channel.send([b"2 ef"])
        channel.close()
        eventually(lambda: receiver.got == [b"3 abc1 d2 ef"])


def test_a_batch_that_was_cut_is_not_taken_for_received(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext],
) -> None:
    """The receiver ends in the midst, or right after it: the batch fails, and the next try succeeds. Rule: A-28"""
    frames = [b"100000 " + b"x" * 100_000] * 20
    with Receiver(contexts[0], cut=[5000, 2_000_140]) as receiver:
        channel = SyslogChannel("localhost", receiver.port, contexts[1])
        for _ in range(2):
            with pytest.raises(OSError):
                channel.send(frames)
        channel.send(frames)
        channel.close()
        eventually(lambda: len(receiver.got) == 3 and receiver.got[2] == b"".join(frames))


def test_neither_side_talks_to_a_stranger(contexts: tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]) -> None:
    """A certificate of another authority, and a name that is not the receiver's. Rule: A-27"""
    with Receiver(contexts[0]) as receiver:
        for host, context in (("localhost", contexts[2]), ("127.0.0.1", contexts[1])):
            channel = SyslogChannel(host, receiver.port, context)
            with pytest.raises(OSError):
                channel.send([b"1 a"])
        assert b"1 a" not in receiver.got
