"""Commits shared by the writers of a process: each unit stands or falls alone; none is told before the disk has it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.sqlite_writer import SqliteWriter


class Connection(sqlite3.Connection):
    """Counts commits; ``refused`` makes the next one fail."""

    commits = 0
    refused: Exception | None = None

    def commit(self) -> None:
        self.commits += 1
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


class Crowd:
    """Units that end up in one batch: the first holds the turn until all the others wait for theirs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as setup:
            setup.execute("PRAGMA journal_mode=WAL")
            setup.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        self.opened: list[Pooled] = []
        self.writer = SqliteWriter(self._open)
        self.outcomes: dict[int, BaseException | None] = {}

    def _open(self) -> Pooled:
        self.opened.append(Pooled(self.path))
        return self.opened[-1]

    def write(self, number: int, wait_for: int = 0, act: Any = None) -> None:
        """One unit; its outcome is noted when, and only when, the writer lets it go."""
        try:
            with self.writer.unit() as connection:
                connection.execute("INSERT INTO t VALUES (?)", (number,))
                while len(self.writer._turn._waiting) < wait_for:
                    time.sleep(0.001)
                if act is not None:
                    act(connection)
            self.outcomes[number] = None
        except BaseException as error:
            self.outcomes[number] = error

    def run(self, count: int, acts: dict[int, Any] | None = None) -> None:
        """Units 1 to ``count``; ``acts`` are done inside of them. The first waits for the others."""
        threads = []
        for number in range(1, count + 1):
            wanted = count - 1 if number == 1 else 0
            threads.append(threading.Thread(target=self.write, args=(number, wanted, (acts or {}).get(number))))
            threads[-1].start()
            while number > 1 and len(self.writer._turn._waiting) < number - 1 and threads[0].is_alive():
                time.sleep(0.001)
            while number == 1 and not self.writer._turn._is_taken:
                time.sleep(0.001)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()

    def stored(self) -> list[int]:
        """What another connection sees."""
        with sqlite3.connect(self.path) as reader:
            return [row[0] for row in reader.execute("SELECT n FROM t ORDER BY n")]


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    found = Crowd(tmp_path / "t.sqlite")
    yield found
    found.writer.close()


def fail(_: Any) -> None:
    raise ValueError("spoiled on purpose")


def test_who_waits_shares_the_commit(crowd: Crowd) -> None:
    """Five units, one commit, all stored."""
    crowd.run(5)
    assert crowd.outcomes == dict.fromkeys(range(1, 6))
    assert crowd.stored() == [1, 2, 3, 4, 5]
    assert crowd.opened[0].driver_connection.commits == 1


def test_one_unit_alone_commits_at_once(crowd: Crowd) -> None:
    """Nobody is waited for who has not come."""
    crowd.write(1)
    crowd.write(2)
    assert (crowd.outcomes, crowd.stored()) == ({1: None, 2: None}, [1, 2])
    assert crowd.opened[0].driver_connection.commits == 2


def test_nobody_is_told_before_the_commit(crowd: Crowd) -> None:
    """When the last of a batch is at work, those before it have not been let go, and nobody else sees their rows."""
    seen: list[Any] = []
    crowd.run(4, {4: lambda _: seen.append((dict(crowd.outcomes), crowd.stored()))})
    assert seen == [({}, [])]
    assert crowd.stored() == [1, 2, 3, 4]


@pytest.mark.parametrize("spoiled", [1, 2, 3, 4])
def test_a_unit_that_fails_is_undone_alone(crowd: Crowd, spoiled: int) -> None:
    """Whichever of the batch it is."""
    crowd.run(4, {spoiled: fail})
    assert isinstance(crowd.outcomes[spoiled], ValueError)
    others = [n for n in (1, 2, 3, 4) if n != spoiled]
    assert [crowd.outcomes[n] for n in others] == [None] * 3
    assert crowd.stored() == others


def test_a_commit_that_fails_fails_for_all(crowd: Crowd) -> None:
    """None of them is acknowledged, nothing is stored, and the next unit works."""

    def refuse_commit(connection: Connection) -> None:
        connection.refused = sqlite3.OperationalError("disk full, on purpose")

    crowd.run(4, {3: refuse_commit})
    assert all(isinstance(crowd.outcomes[n], sqlite3.OperationalError) for n in (1, 2, 3, 4))
    assert crowd.stored() == []
    crowd.write(9)
    assert (crowd.outcomes[9], crowd.stored()) == (None, [9])


def test_a_transaction_that_is_lost_is_lost_for_those_who_shared_it(crowd: Crowd) -> None:
    """SQLite undoes the whole transaction after some errors. Those after it begin a new one."""

    def lose(connection: Connection) -> None:
        connection.execute("ROLLBACK")
        raise OSError("no space left, on purpose")

    crowd.run(4, {3: lose})
    assert all(isinstance(crowd.outcomes[n], OSError) for n in (1, 2, 3))
    assert crowd.outcomes[4] is None
    assert crowd.stored() == [4]


def test_an_exclusive_act_finds_nothing_under_way(crowd: Crowd) -> None:
    """What must be alone commits for those before it."""
    seen: list[list[int]] = []

    def exclusive() -> None:
        with crowd.writer.nobody():
            seen.append(crowd.stored())

    other = threading.Thread(target=exclusive)

    def begin_and_wait(_: Any) -> None:
        other.start()
        while not crowd.writer._turn._waiting:
            time.sleep(0.001)

    crowd.write(1, act=begin_and_wait)
    other.join(20)
    assert seen == [[1]]
    assert crowd.outcomes == {1: None}
    crowd.write(2)
    assert crowd.stored() == [1, 2]


def test_many_writers_lose_nothing(crowd: Crowd) -> None:
    """Eight threads, every eighth unit fails: what was let go is stored, and nothing else."""

    def work(first: int) -> None:
        for number in range(first, first + 60):
            crowd.write(number, act=fail if number % 8 == 0 else None)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wanted = sorted(n for n, error in crowd.outcomes.items() if error is None)
    assert len(crowd.outcomes) == 480
    assert crowd.stored() == wanted
    assert all(n % 8 for n in wanted)
    assert crowd.opened[0].driver_connection.commits < len(wanted)
