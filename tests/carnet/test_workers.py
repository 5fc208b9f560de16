"""What the workers of one service share. Real processes, forked as gunicorn forks its workers."""

from __future__ import annotations

import errno
import http.client
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen
from uuid import uuid4

import pytest

from carnet import admin, wiring
from carnet import worker as worker_module
from carnet import workers as module
from carnet.admin import Meter, Reporter, Tally
from carnet.supervisor import free_ports
from carnet.worker import PatientWorker
from carnet.workers import Workers, wanted
from guard.audit.particulars import process_id
from storage import FileDocumentStore
from tests.storage.test_process_turn import ended, forked, until
from tests.world import World


def test_zero_is_one_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores this process may use count, and no more than four are taken unasked."""
    monkeypatch.setattr(module, "_SHARE", Path("/nowhere"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3})
    assert [wanted(0), wanted(1), wanted(7)] == [2, 1, 7]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    assert wanted(0) == module.MOST


def test_a_worker_takes_the_number_of_a_dead_one() -> None:
    """The lowest that is free; never one that is not there."""
    workers = Workers(3)
    assert workers.free_number([]) == 0
    assert workers.free_number([0, 1]) == 2
    assert workers.free_number([1, 2]) == 0
    assert workers.free_number([0, 1, 2]) == 2


def test_one_worker_is_the_first_and_shares_nothing() -> None:
    """No pipe, no places: any number of exchanges may be under way."""
    workers = Workers()
    assert workers.is_first
    for _ in range(100):
        workers.under_way.add(uuid4().hex)
    assert len(workers.under_way) == 100
    assert workers.read_reports() == []


def test_what_is_under_way_in_one_worker_is_seen_by_the_others(tmp_path: Path) -> None:
    """And ends with it: its successor of the same number has nothing under way."""
    workers, trace = Workers(2, 4), uuid4().hex
    begun, go = tmp_path / "begun", tmp_path / "go"

    def serve() -> None:
        workers.join(1)
        other = uuid4().hex
        for one in (other, trace):
            workers.under_way.add(one)
            workers.under_way.add(one)
        workers.under_way.discard(other)
        begun.touch()
        until(go.exists)

    pid = forked(serve)
    workers.join(0)
    workers.under_way.add(mine := uuid4().hex)
    until(begun.exists)
    assert set(workers.under_way) == {trace, mine}
    assert trace in workers.under_way
    assert workers.process_ids() == [os.getpid(), pid]
    go.touch()
    assert ended(pid) == 0
    assert set(workers.under_way) == {trace, mine}, "how it ended is not known"
    assert ended(forked(lambda: workers.join(1))) == 0
    assert set(workers.under_way) == {mine}


def test_every_exchange_of_a_worker_has_a_place() -> None:
    """As many as it has threads, again and again."""
    workers = Workers(2, 3)
    workers.join(1)
    for _ in range(5):
        traces = {uuid4().hex for _ in range(3)}
        for one in traces:
            workers.under_way.add(one)
        assert set(workers.under_way) == traces
        for one in traces:
            workers.under_way.discard(one)
            workers.under_way.discard(one)
    assert len(workers.under_way) == 0


def test_ready_once_every_worker_has_been_up() -> None:
    """A worker that dies later leaves the service ready: the others serve."""
    workers = Workers(2)

    def serve() -> None:
        workers.join(1)
        workers.up()

    workers.join(0)
    workers.up()
    assert workers.missing() == "1 of 2 workers are up"
    assert ended(forked(serve)) == 0
    assert workers.missing() == ""
    assert ended(forked(lambda: workers.join(1))) == 0
    assert workers.missing() == ""


def test_a_worker_knows_whether_another_has_fewer_connections() -> None:
    """As they are now, and not as they were when it last took one."""
    workers = Workers(2)
    workers.join(0)
    workers.has(1)
    assert workers.has_more()

    def serve(connections: int) -> None:
        workers.join(1)
        workers.has(connections)

    assert ended(forked(lambda: serve(1))) == 0
    assert not workers.has_more()
    workers.has(2)
    assert workers.has_more()
    workers.has(0)
    assert not workers.has_more()


def test_the_first_worker_counts_for_all() -> None:
    """Requests, answers sent elsewhere, questions about revocation and software, of every worker."""
    workers = Workers(3)

    def serve(number: int) -> None:
        workers.join(number)
        meter = Reporter(workers)
        meter.observe("ITI-43", "ok", 0.004)
        meter.observe("", "fault", 2.0)
        meter.replied("ITI-18", "delivered")
        meter.revocation("fetched")
        meter.software("warn")

    workers.join(0)
    meter = Meter()
    tally = Tally(meter, workers)
    meter.observe("ITI-43", "ok", 0.004)
    for number in (1, 2):
        assert ended(forked(lambda number=number: serve(number))) == 0  # type: ignore[misc]
    tally.take()

    def value(name: str, **labels: str) -> float | None:
        return meter.collected.get_sample_value(name, labels)

    assert value("carnet_requests_total", transaction="ITI-43", outcome="ok") == 3
    assert value("carnet_requests_total", transaction="none", outcome="fault") == 2
    assert value("carnet_request_seconds_bucket", transaction="ITI-43", le="0.005") == 3
    assert value("carnet_request_seconds_sum", transaction="none") == 4
    assert value("carnet_replies_total", transaction="ITI-18", outcome="delivered") == 2
    assert value("carnet_revocation_total", outcome="fetched") == 2
    assert value("carnet_software_total", outcome="warn") == 2
    assert value("carnet_workers") == 1, "the others have ended"
    tally.take()
    assert value("carnet_requests_total", transaction="ITI-43", outcome="ok") == 3, "nothing counts twice"


def test_a_probe_that_fails_leaves_no_stack_trace(capfd: pytest.CaptureFixture[str]) -> None:
    """It hangs up, or what it asks for fails: the listener goes on."""
    (port,) = free_ports(1)
    answers = iter([BrokenPipeError(), ""])

    def ready() -> str:
        told = next(answers)
        if isinstance(told, Exception):
            raise told
        return told

    stop = admin.serve(port, Meter(), ready)
    try:
        with pytest.raises(http.client.RemoteDisconnected), urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            pass
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
    finally:
        stop()
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_never_waits_for_the_count() -> None:
    """What does not fit into the pipe is lost, whole lines of it."""
    workers = Workers(2)
    for number in range(60_000):
        workers.report(b'["observe", "ITI-43", "ok", %d]' % number)
    lines = workers.read_reports()
    assert 0 < len(lines) < 60_000
    assert all(line.endswith(b"]") for line in lines)
    assert workers.read_reports() == []


def test_the_first_waits_for_the_others_at_the_end(tmp_path: Path) -> None:
    """It sends and signs what they write last; and it does not wait for ever."""
    gone, waited = tmp_path / "gone", tmp_path / "waited"

    def master() -> None:
        workers = Workers(2)

        def other() -> None:
            workers.join(1)
            until(waited.exists)
            gone.touch()

        def first() -> None:
            workers.join(0)
            until(workers.is_ending)
            workers.wait_alone(0.05)
            assert not gone.exists()
            waited.touch()
            workers.wait_alone(20)
            assert gone.exists()

        workers.stop()
        for pid in [forked(other), forked(first)]:
            assert ended(pid) == 0

    assert ended(forked(master)) == 0


def test_a_service_begins_once(tmp_path: Path) -> None:
    """A worker that replaces the first while others serve begins nothing, and ends nothing when it alone ends; one
    that is alone does. Without a master the service ends.
    """
    workers, alone = Workers(2), Workers(1)
    answers = tmp_path / "answers"

    def first(one: Workers) -> None:
        one.join(0)
        answers.write_text(f"{one.begins()} {one.is_ending()}")

    def told(one: Workers) -> str:
        assert ended(forked(lambda: first(one))) == 0
        return answers.read_text()

    assert [told(workers), told(workers)] == ["True False", "False False"]
    assert [told(alone), told(alone)] == ["True True"] * 2
    workers.stop()
    assert told(workers) == "False True"
    orphaned = tmp_path / "orphaned"

    def master() -> None:
        left = Workers(2)

        def orphan() -> None:
            until(left.is_ending)
            orphaned.touch()

        forked(orphan)
        time.sleep(0.1)
        assert not orphaned.exists()

    assert ended(forked(master)) == 0
    until(orphaned.exists)


def test_a_share_of_time_counts_as_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of one and a half cores on a large machine has two workers, one of half a core has one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    for text, count in (("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("rubbish", 4)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(module, "_SHARE", tmp_path / "cpu.max")
        assert wanted(0) == count


def test_who_has_more_connections_lets_another_take_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment; then it looks itself."""
    worker, slept = PatientWorker.__new__(PatientWorker), []
    monkeypatch.setattr(worker_module.time, "sleep", slept.append)

    class Nobody:
        def accept(self) -> None:
            raise BlockingIOError(errno.EAGAIN, "")

    for has_more in (True, False):
        worker.app = SimpleNamespace(workers=SimpleNamespace(has_more=lambda has_more=has_more: has_more))  # type: ignore[assignment]
        worker.accept(Nobody())
    assert slept == [worker_module.YIELD]


def test_the_sender_knows_what_is_under_way_in_every_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who serves beside it. Rule: A-22"""
    world, workers, made = World.prepare(tmp_path / "data"), Workers(2, 16), []
    workers.join(0)
    monkeypatch.setattr(wiring, "AuditSender", lambda _database, outgoing, _channel: made.append(outgoing))
    wiring.repository_service(world.settings, workers=workers)
    trace, go = uuid4().hex, tmp_path / "go"

    def other() -> None:
        workers.join(1)
        workers.under_way.add(trace)
        until(go.exists)

    pid = forked(other)
    until(lambda: trace in set(made[0].under_way))
    assert set(made[0].processes()) == {process_id(), process_id(pid)}
    go.touch()
    assert ended(pid) == 0


def test_connections_are_counted_for_the_others() -> None:
    """gunicorn's own count is what the other workers see."""
    worker, workers = PatientWorker.__new__(PatientWorker), Workers(2)
    workers.join(1)
    worker.app = SimpleNamespace(workers=workers)  # type: ignore[assignment]
    worker.nr_conns = 2
    worker.nr_conns += 1
    assert worker.nr_conns == 3 and workers.has_more()
    worker.nr_conns -= 3
    assert not workers.has_more()


def test_only_the_first_worker_has_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one sends nothing, signs nothing and sweeps nothing; it keeps what it receives from looking old."""
    world = World.prepare(tmp_path / "data", "sweep_every = 0.01")
    workers, enough, did = Workers(2), RuntimeError("enough"), []
    workers.join(1)
    job = threading.Thread(target=wiring.registry_service(world.settings, workers=workers).background, daemon=True)
    before = set(threading.enumerate())
    job.start()
    job.join(20)
    assert not job.is_alive()
    monkeypatch.setattr(wiring, "sweep", lambda *_: did.append("swept"))
    monkeypatch.setattr(wiring, "erase", lambda *_: did.append("erased"))

    def refresh(_store: FileDocumentStore) -> None:
        did.append("refreshed")
        if len(did) == 3:
            raise enough

    monkeypatch.setattr(FileDocumentStore, "refresh_staging", refresh)
    with pytest.raises(RuntimeError, match="enough"):
        wiring.repository_service(world.settings, workers=workers).background()
    assert did == ["refreshed"] * 3
    assert set(threading.enumerate()) == before
