"""Requests compute in turns, and nothing but speed depends on that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from xds.wire import turns
from xds.wire.turns import computing, waiting

LONG = 20.0


class Other:
    """Another request, stopped inside its own turn until it is told to go on."""

    def __init__(self, *within: AbstractContextManager[None]) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self._within = within
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with computing():
            for one in self._within:
                one.__enter__()
            self.entered.set()
            self.go.wait(LONG)
            for one in reversed(self._within):
                one.__exit__(None, None, None)

    def end(self) -> None:
        self.go.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def _nobody_gives_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(turns, "PATIENCE", LONG)
    yield
    assert not turns._turn.locked()


def test_one_computes_at_a_time() -> None:
    with computing():
        other = Other()
        assert not other.entered.wait(0.1)
    assert other.entered.wait(LONG)
    other.end()


def test_who_waits_lets_another_compute() -> None:
    with computing(), waiting():
        other = Other()
        assert other.entered.wait(LONG)
        other.end()


def test_who_has_waited_computes_alone_again() -> None:
    with computing():
        with waiting():
            pass
        other = Other()
        assert not other.entered.wait(0.1)
    other.end()


def test_a_turn_within_a_turn_is_the_same_one() -> None:
    """A registry of the same process, asked by the repository on one thread."""
    with computing():
        with computing():
            pass
        other = Other()
        assert not other.entered.wait(0.1)
    other.end()


def test_waiting_within_waiting_and_without_a_turn_changes_nothing() -> None:
    with waiting():
        pass
    with computing(), waiting(), waiting():
        other = Other(waiting())
        assert other.entered.wait(LONG)
        other.end()


def test_a_failure_gives_the_turn_back() -> None:
    with pytest.raises(KeyError), computing(), waiting():
        raise KeyError
    with pytest.raises(KeyError), computing():
        raise KeyError


def test_nobody_is_held_up_by_one_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    first = Other()
    assert first.entered.wait(LONG)
    second = Other(waiting())
    assert second.entered.wait(LONG)
    second.end()
    with computing():
        pass
    assert turns._turn.locked(), "who went ahead without a turn gave away that of another"
    first.end()
