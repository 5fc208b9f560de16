"""The queue of processes that write to one database. Real processes, forked as gunicorn forks its workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import storage
from storage.process_turn import ProcessTurn
from tests.contract import store_objects as make


def forked(work: Callable[[], None]) -> int:
    """Process id of a child that does this and ends; 0 as its status when it did not raise."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def waits_for_a_lock(pid: int) -> bool:
    """The kernel lists who waits behind a lock, with an arrow."""
    lines = (line.split() for line in Path("/proc/locks").read_text("ascii").splitlines())
    return any(line[1] == "->" and line[5] == str(pid) for line in lines)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_one_process_is_inside_at_a_time(tmp_path: Path) -> None:
    """Four count in a file by reading, waiting and writing: none of their steps is lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        turn = ProcessTurn(tmp_path / "writers")
        for _ in range(50):
            turn.take(20)
            value = int(counter.read_text())
            time.sleep(0.0002)
            counter.write_text(str(value + 1))
            turn.leave()

    assert [ended(pid) for pid in [forked(count) for _ in range(4)]] == [0] * 4
    assert counter.read_text() == "200"


def test_who_leaves_does_not_pass_a_waiter(tmp_path: Path) -> None:
    """The turn goes to whoever waits, though the one who left asks for it again at once."""
    turn, order = ProcessTurn(tmp_path / "writers"), tmp_path / "order"

    def wait() -> None:
        mine = ProcessTurn(tmp_path / "writers")
        mine.take(20)
        order.write_text("waiter")
        mine.leave()

    for _ in range(20):
        order.write_text("")
        turn.take(20)
        pid = forked(wait)
        until(lambda pid=pid: waits_for_a_lock(pid))  # type: ignore[misc]
        turn.leave()
        turn.take(20)
        assert order.read_text() == "waiter"
        turn.leave()
        assert ended(pid) == 0


@pytest.mark.parametrize("place", ["inside", "waiting"])
def test_a_killed_process_is_in_nobodys_way(tmp_path: Path, place: str) -> None:
    """kill -9 of who has the turn, or waits for it: the next one gets it."""
    turn = ProcessTurn(tmp_path / "writers")
    inside = tmp_path / "inside"

    def stay() -> None:
        mine = ProcessTurn(tmp_path / "writers")
        mine.take(20)
        inside.touch()
        time.sleep(60)

    if place == "waiting":
        turn.take(20)
    pid = forked(stay)
    until(lambda: inside.exists() if place == "inside" else waits_for_a_lock(pid))
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    if place == "waiting":
        turn.leave()
    turn.take(20)
    turn.leave()


def test_who_waits_too_long_is_told_and_lets_go(tmp_path: Path) -> None:
    """Of the turn, of the door, and of the lock that comes to him afterwards."""
    inside, out = tmp_path / "inside", tmp_path / "out"

    def stay() -> None:
        mine = ProcessTurn(tmp_path / "writers")
        mine.take(20)
        inside.touch()
        until(out.exists)
        mine.leave()

    pid, turn = forked(stay), ProcessTurn(tmp_path / "writers")
    until(inside.exists)
    for _ in range(3):
        with pytest.raises(TimeoutError, match="busy with another process"):
            turn.take(0.05)
    out.touch()
    assert ended(pid) == 0
    turn.take(20)
    turn.leave()

    def pass_through() -> None:
        mine = ProcessTurn(tmp_path / "writers")
        mine.take(20)
        mine.leave()

    assert ended(forked(pass_through)) == 0


def test_an_interrupted_waiter_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal came while he waited; the lock came at the same moment."""
    first, second = ProcessTurn(tmp_path / "writers"), ProcessTurn(tmp_path / "writers")
    first.take(20)

    wait = threading.Event.wait

    def interrupted(came: threading.Event, seconds: float | None = None) -> bool:
        if seconds is None:  # a thread that starts
            return wait(came)
        first.leave()
        until(came.is_set)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        second.take(20)
    monkeypatch.undo()
    first.take(0.5)
    first.leave()


def test_an_exclusive_act_is_alone_among_processes(tmp_path: Path) -> None:
    """A database is rewritten while no other worker is in a unit."""
    url = f"sqlite:///{tmp_path}/repository.db"
    storage.upgrade_repository(url)
    database = storage.open_repository(url, tmp_path / "writers")
    turn = ProcessTurn(tmp_path / "writers")
    turn.take(20)
    done: list[str] = []
    scrubbing = threading.Thread(target=lambda: (database.scrub(), done.append("scrubbed")))
    scrubbing.start()
    until(lambda: waits_for_a_lock(os.getpid()))
    assert done == []
    turn.leave()
    scrubbing.join(20)
    assert done == ["scrubbed"]
    database.close()


def test_workers_write_one_chain(tmp_path: Path) -> None:
    """Three processes append lines at once: every line is there, in one chain without a gap."""
    url = f"sqlite:///{tmp_path}/repository.db"
    storage.upgrade_repository(url)

    def work() -> None:
        database = storage.open_repository(url, tmp_path / "writers")
        for _ in range(40):
            with database.write() as unit:
                unit.audit.append(make.line())
        database.close()

    assert [ended(pid) for pid in [forked(work) for _ in range(3)]] == [0] * 3
    with storage.open_repository(url).read() as unit:
        links = list(unit.chain.links())
        heads = unit.chain.heads()
    assert [one.sequence for one in links] == list(range(1, 121))
    assert [(head.sequence, head.hash) for head in heads] == [(120, links[-1].hash)]


def test_the_turn_ends_with_every_end_of_a_unit(tmp_path: Path) -> None:
    """Committed, undone, or failed in its commit: another process can write afterwards."""
    url = f"sqlite:///{tmp_path}/repository.db"
    storage.upgrade_repository(url)
    database = storage.open_repository(url, tmp_path / "writers")
    with database.write() as unit:
        unit.audit.append(make.line())
    with pytest.raises(RuntimeError, match="undone"), database.write() as unit:
        raise RuntimeError("undone")
    holder = sqlite3.connect(tmp_path / "repository.db", isolation_level=None)
    database.engine.close()
    with database.write() as unit:  # the writer's connection is a new one
        unit.audit.append(make.line())
    database.engine._writer._pooled.driver_connection.execute("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError), database.write() as unit:
        unit.audit.append(make.line())
    holder.execute("ROLLBACK")

    def work() -> None:
        with storage.open_repository(url, tmp_path / "writers").write() as unit:
            unit.audit.append(make.line())

    assert ended(forked(work)) == 0
    database.close()
