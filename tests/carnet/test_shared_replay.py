"""Step n for several processes: one table, real forks."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.shared_replay import SharedReplay
from carnet.workers import Workers
from guard.credentials.replay import ReplayMemory
from tests.storage.test_process_turn import ended, forked, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KEY = ("issuer", "_1")
TICKS = (LATER - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_other_content_is_refused_from_another_process() -> None:
    """And the same assertion is the second one there."""
    table = SharedReplay()
    assert table.show(KEY, "aa", LATER, NOW) == 1

    def other() -> None:
        assert table.show(KEY, "bb", LATER, NOW) == 0
        assert table.show(KEY, "aa", LATER, NOW) == 2
        assert table.show(("another", "_1"), "bb", LATER, NOW) == 1

    assert ended(forked(other)) == 0
    assert table.show(("another", "_1"), "cc", LATER, NOW) == 0


def test_an_assertion_ends_to_the_microsecond() -> None:
    """Then its ID may be given again."""
    table, tick = SharedReplay(), timedelta(microseconds=1)
    assert table.show(KEY, "aa", LATER, NOW) == 1
    assert table.show(KEY, "bb", LATER, LATER - tick) == 0
    assert table.show(KEY, "bb", LATER + tick, LATER) == 1
    assert table.show(KEY, "aa", LATER, LATER) == 0


def test_a_full_table_says_so() -> None:
    """Nothing is forgotten early; room comes back with the end."""
    table = SharedReplay(slots=1, window=4)
    for number in range(4):
        assert table.show(("i", str(number)), "aa", LATER, NOW) == 1
    assert table.show(("i", "more"), "aa", LATER, NOW) is None
    assert [table.show(("i", str(number)), "bb", LATER, NOW) for number in range(4)] == [0] * 4
    assert table.show(("i", "more"), "aa", LATER + timedelta(hours=1), LATER) == 1


def test_a_table_half_full_has_room_for_all() -> None:
    """At its real proportions, a sixteenth of its size."""
    table = SharedReplay(slots=1 << 14)
    assert {table.show(("i", str(number)), "aa", LATER, NOW) for number in range(1 << 13)} == {1}


class _Stopping:
    """A part of the table that ends its process at the write of that number."""

    def __init__(self, behind: Any, writes: list[int]) -> None:
        self._behind, self._writes = behind, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def __getitem__(self, place: Any) -> Any:
        return self._behind[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        self._writes[0] -= 1
        if self._writes[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._behind[place] = value


@pytest.mark.parametrize("writes", range(4))
def test_a_worker_killed_while_it_writes_leaves_a_free_slot(writes: int) -> None:
    """Whatever it has come to, its entry is not there, nor the one that stood there before, nor a mixture; and the lock
    is free.
    """
    table = SharedReplay(slots=1, window=1)
    assert table.show(("i", "old"), "aa", LATER, NOW) == 1
    late, end = LATER + timedelta(hours=1), LATER + timedelta(hours=2)

    def write() -> None:
        left = [writes]
        for part in ("_names", "_contents", "_ends"):
            setattr(table, part, _Stopping(getattr(table, part), left))
        table.show(("i", "new"), "bb", end, late)

    assert ended(forked(write)) == -signal.SIGKILL
    assert list(table._ends) == [0 if writes else TICKS]
    assert table.show(("i", "new"), "cc", end, late) == 1
    assert table.show(("i", "old"), "cc", end, late) is None


def test_a_slot_whose_end_is_not_known_counts_for_nothing() -> None:
    """The same name in two slots, one of a killed writer: the whole one is found."""
    table = SharedReplay(slots=1, window=2)
    name, content = table._hash("\0".join(KEY)), table._hash("aa")
    table._write(0, name, table._hash("bb"), 0)
    table._write(1, name, content, TICKS)
    assert table.show(KEY, "aa", LATER, NOW) == 2
    assert table.show(KEY, "bb", LATER, NOW) == 0


def test_of_many_processes_one_is_first(tmp_path: Path) -> None:
    """Four show the same IDs at once, each with other content: each ID is taken by exactly one."""
    table, go = SharedReplay(), tmp_path / "go"

    def show(number: int) -> None:
        until(go.exists)
        found = [table.show(("i", str(one)), f"of {number}", LATER, NOW) for one in range(300)]
        (tmp_path / str(number)).write_text("".join(str(one) for one in found))

    pids = [forked(lambda number=number: show(number)) for number in range(4)]  # type: ignore[misc]
    go.touch()
    assert [ended(pid) for pid in pids] == [0] * 4
    columns = zip(*((tmp_path / str(number)).read_text() for number in range(4)), strict=True)
    assert all(sorted(column) == ["0", "0", "0", "1"] for column in columns)


def test_nobody_writes_while_another_process_is_inside(tmp_path: Path) -> None:
    """A second one waits for the lock, and for nothing longer than the life of who holds it."""
    table, inside = SharedReplay(), tmp_path / "inside"

    def stay() -> None:
        table._find = lambda *_: (inside.touch(), signal.pause())  # type: ignore[assignment,method-assign,func-returns-value]
        table.show(KEY, "aa", LATER, NOW)

    holder = forked(stay)
    until(inside.exists)
    waiter = forked(lambda: table.show(KEY, "bb", LATER, NOW))  # type: ignore[arg-type,return-value]
    until(lambda: f" {waiter} " in "".join(one for one in Path("/proc/locks").read_text().splitlines() if "->" in one))
    assert not any(table._ends)
    os.kill(holder, signal.SIGKILL)
    assert ended(holder) == -signal.SIGKILL and ended(waiter) == 0
    assert table.show(KEY, "aa", LATER, NOW) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(
    st.sampled_from("abcdef"), st.sampled_from("xy"), st.integers(-1, 9), st.integers(0, 3),
), max_size=60))  # fmt: skip
def test_it_answers_as_the_memory_of_one_process(steps: list[tuple[str, str, int, int]]) -> None:
    """Any showings in any order, with and without room; above 2 it does not count."""
    table, memory, now = SharedReplay(slots=1, window=4), ReplayMemory(4), NOW
    for name, content, lasts, passes in steps:
        now += timedelta(seconds=passes)
        end = now + timedelta(seconds=max(lasts, 0), microseconds=1)
        said = memory.show(("i", name), content, end, now)
        assert table.show(("i", name), content, end, now) == (said if said is None else min(said, 2))


def test_workers_share_one_and_an_alarm() -> None:
    """One alone needs neither."""
    assert (Workers().replay, Workers().alarm) == (None, None)
    workers = Workers(3)
    assert workers.replay is not None and workers.alarm is not None
    workers.join(0)

    def ring(number: int) -> None:
        workers.join(number)
        for _ in range(500):
            workers.alarm.ring()  # type: ignore[union-attr]

    for _ in range(2):  # the second time by the successors of the first
        pids = [forked(lambda number=number: ring(number)) for number in (1, 2)]  # type: ignore[misc]
        for _ in range(500):
            workers.alarm.ring()
        assert [ended(pid) for pid in pids] == [0, 0]
    assert workers.alarm.rung() == 3000
    assert list(workers.alarm._rings) == [1000] * 3, "each counts its own: none is lost, whoever is interrupted"
