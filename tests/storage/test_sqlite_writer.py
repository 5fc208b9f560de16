"""Syncs shared by the writers of a process: each unit stands or falls alone; none is told before the disk has it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.sqlite_writer import LogSync, SqliteWriter
from tests.storage.test_process_turn import until


class Connection(sqlite3.Connection):
    """``refused`` makes the next commit fail."""

    refused: Exception | None = None

    def commit(self) -> None:
        if self.refused is not None:
            error, self.refused = self.refused, None
            raise error
        super().commit()


class Pooled:
    """What a pool hands out."""

    def __init__(self, path: Path) -> None:
        self.driver_connection: Any = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Connection
        )

    def invalidate(self) -> None:
        self.driver_connection.close()


class Desk:
    """A database, its writer, and what became of each unit."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path, Path(f"{path}-wal")
        with sqlite3.connect(path) as setup:
            setup.execute("PRAGMA journal_mode=WAL")
            setup.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        self.keeps_log = sqlite3.connect(path)
        self.keeps_log.execute("SELECT * FROM t").fetchall()
        self.opened: list[Pooled] = []
        self.writer = SqliteWriter(self._open, self.log)
        self.outcomes: dict[int, BaseException | None] = {}

    def _open(self) -> Pooled:
        self.opened.append(Pooled(self.path))
        return self.opened[-1]

    def write(self, number: int, act: Callable[[Any], None] | None = None) -> None:
        """One unit; its outcome is noted when, and only when, the writer lets it go."""
        try:
            with self.writer.unit() as connection:
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                if act is not None:
                    act(connection)
            self.outcomes[number] = None
        except BaseException as error:
            self.outcomes[number] = error

    def stored(self, path: Path | None = None) -> list[int]:
        """What another connection sees."""
        with sqlite3.connect(path or self.path) as reader:
            return [row[0] for row in reader.execute("SELECT n FROM t ORDER BY n")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path / "t.sqlite")
    yield found
    found.writer.close()
    found.keeps_log.close()


class Disk:
    """Syncs as they are asked for. ``slow`` holds each until it is let go; ``error`` fails the next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
        self.synced = 0
        """Bytes of the log that have been there when the last sync that has ended began."""
        self.count = 0
        self.slow: threading.Semaphore | None = None
        self.error: OSError | None = None
        self._real, self._log = os.fdatasync, log
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, descriptor: int) -> None:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(self._log)
        size = os.fstat(descriptor).st_size
        self.count += 1
        if self.slow is not None:
            assert self.slow.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        self._real(descriptor)
        self.synced = max(self.synced, size)


@pytest.fixture
def disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch, desk.log)


def fail(_: Any) -> None:
    raise ValueError("spoiled on purpose")


def test_what_is_acknowledged_survives_the_loss_of_what_was_not_synced(desk: Desk, disk: Disk, tmp_path: Path) -> None:
    """The power goes after each acknowledgement: database and log, cut where the last sync has begun, hold it."""
    for number in range(1, 30):
        desk.write(number)
        assert desk.outcomes[number] is None
        after = tmp_path / f"after-{number}.sqlite"
        shutil.copyfile(desk.path, after)
        Path(f"{after}-wal").write_bytes(desk.log.read_bytes()[: disk.synced])
        assert desk.stored(after) == list(range(1, number + 1))


def test_nobody_is_told_before_his_sync_and_who_waits_shares_one(desk: Desk, disk: Disk) -> None:
    """Five commit while a sync is under way that began before: none is let go by it, one more serves them all."""
    disk.slow = threading.Semaphore(0)
    first = threading.Thread(target=desk.write, args=(1,))
    first.start()
    until(lambda: disk.count == 1)
    others = [threading.Thread(target=desk.write, args=(number,)) for number in range(2, 7)]
    for thread in others:
        thread.start()
    waiting = desk.writer._log._changed._waiters  # type: ignore[union-attr]
    until(lambda: len(waiting) == len(others))
    assert (desk.stored(), desk.outcomes) == ([1, 2, 3, 4, 5, 6], {}), "committed is not acknowledged"
    disk.slow.release()
    first.join(20)
    assert desk.outcomes == {1: None}
    until(lambda: disk.count == 2)
    assert desk.outcomes == {1: None}
    disk.slow.release()
    for thread in others:
        thread.join(20)
    assert desk.outcomes == dict.fromkeys(range(1, 7))
    assert disk.count == 2


def test_a_unit_that_fails_is_undone_and_syncs_nothing(desk: Desk, disk: Disk) -> None:
    desk.write(1, fail)
    assert isinstance(desk.outcomes[1], ValueError)
    assert (desk.stored(), disk.count) == ([], 0)
    desk.write(2)
    assert (desk.outcomes[2], desk.stored(), disk.count) == (None, [2], 1)


def test_a_commit_that_fails_is_undone(desk: Desk) -> None:
    """It is not acknowledged, nothing of it is stored, and the next unit works."""

    def refuse_commit(connection: Connection) -> None:
        connection.refused = sqlite3.OperationalError("disk full, on purpose")

    desk.write(1, refuse_commit)
    assert isinstance(desk.outcomes[1], sqlite3.OperationalError)
    assert desk.stored() == []
    desk.write(2)
    assert (desk.outcomes[2], desk.stored()) == (None, [2])


def test_a_transaction_that_is_lost_is_lost_alone(desk: Desk) -> None:
    """SQLite undoes the whole transaction after some errors. Those after it begin a new one."""

    def lose(connection: Connection) -> None:
        connection.execute("ROLLBACK")
        raise OSError("no space left, on purpose")

    desk.write(1, lose)
    desk.write(2)
    assert isinstance(desk.outcomes[1], OSError)
    assert (desk.outcomes[2], desk.stored()) == (None, [2])


def test_after_a_sync_that_failed_nothing_is_taken(desk: Desk, disk: Disk) -> None:
    """Whoever waited for it is refused, and so is everybody after: what was not written may look written to the next
    sync, which would then acknowledge what is not there.
    """
    disk.slow = threading.Semaphore(0)
    threads = [threading.Thread(target=desk.write, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    until(lambda: len(desk.stored()) == 3)
    disk.error = OSError(errno.EIO, "on purpose")
    for _ in range(3):
        disk.slow.release()
    for thread in threads:
        thread.join(20)
    assert all(isinstance(desk.outcomes[number], OSError) for number in (1, 2, 3))
    disk.error = disk.slow = None
    count = disk.count
    desk.write(4)
    assert isinstance(desk.outcomes[4], OSError)
    assert (desk.stored(), disk.count) == ([1, 2, 3], count)


def test_a_sync_that_could_not_begin_is_no_failed_one(
    desk: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files for a moment: whoever would have synced is refused, and the next one is taken."""
    desk.write(1)
    real, errors = os.open, [OSError(errno.EMFILE, "on purpose")]

    def opening(path: Any, *more: Any, **named: Any) -> int:
        if path == desk.log and errors:
            raise errors.pop()
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", opening)
    desk.write(2)
    assert isinstance(desk.outcomes[2], OSError) and disk.count == 1
    desk.write(3)
    assert (desk.outcomes[3], disk.count) == (None, 2)


def test_an_interrupted_sync_counts_for_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A signal came meanwhile: the next one syncs."""
    log = tmp_path / "log"
    log.touch()
    sync, calls = LogSync(log), []

    def interrupted(_descriptor: int) -> None:
        calls.append("sync")
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdatasync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync.sync()
    sync.sync()
    assert calls == ["sync"] * 2


def test_an_exclusive_act_finds_nothing_under_way(desk: Desk) -> None:
    """It waits for the unit before it, and the next unit waits for it."""
    seen: list[list[int]] = []

    def exclusive() -> None:
        with desk.writer.nobody():
            seen.append(desk.stored())

    other = threading.Thread(target=exclusive)

    def begin_and_wait(_: Any) -> None:
        other.start()
        until(lambda: bool(desk.writer._turn._waiting))

    desk.write(1, begin_and_wait)
    other.join(20)
    assert seen == [[1]]
    desk.write(2)
    assert desk.stored() == [1, 2]


def test_many_writers_lose_nothing(desk: Desk, disk: Disk) -> None:
    """Eight threads, every eighth unit fails: what was let go is stored, and nothing else; syncs are shared."""

    def work(first: int) -> None:
        for number in range(first, first + 60):
            desk.write(number, fail if number % 8 == 0 else None)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wanted = sorted(n for n, error in desk.outcomes.items() if error is None)
    assert len(desk.outcomes) == 480
    assert desk.stored() == wanted
    assert all(n % 8 for n in wanted)
    assert disk.count < len(wanted)
