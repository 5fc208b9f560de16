"""Requests compute in turns, and nothing but speed depends on that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from xds.wire import turns
from xds.wire.turns import give_way, in_turn

LONG = 20.0


class Other:
    """Another request, stopped inside its own turn until it is told to go on."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with in_turn():
            self.entered.set()
            self.go.wait(LONG)

    def end(self) -> None:
        self.go.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Other]]:
    """Starts another request. Nobody loses patience, and no turn is left over."""
    monkeypatch.setattr(turns, "PATIENCE", LONG)
    begun: list[Other] = []

    def begin() -> Other:
        begun.append(Other())
        return begun[-1]

    yield begin
    for one in begun:
        one.end()
    assert not turns._turn.locked()


def test_one_computes_at_a_time(other: Callable[[], Other]) -> None:
    with in_turn():
        second = other()
        assert not second.entered.wait(0.1)
    assert second.entered.wait(LONG)


def test_who_waits_lets_another_begin_and_does_not_queue_again(other: Callable[[], Other]) -> None:
    with in_turn():
        give_way()
        second = other()
        assert second.entered.wait(LONG)
        give_way()
        assert turns._turn.locked(), "the turn of another was given away"
    assert turns._turn.locked()


def test_a_turn_within_a_turn_is_the_same_one(other: Callable[[], Other]) -> None:
    """A registry of the same process, asked by the repository on one thread."""
    with in_turn():
        with in_turn():
            pass
        second = other()
        assert not second.entered.wait(0.1)
    assert second.entered.wait(LONG)


def test_a_failure_ends_the_turn(other: Callable[[], Other]) -> None:
    with pytest.raises(KeyError), in_turn():
        raise KeyError
    assert other().entered.wait(LONG)


def test_giving_way_without_a_turn_is_nothing(other: Callable[[], Other]) -> None:
    first = other()
    assert first.entered.wait(LONG)
    give_way()
    assert turns._turn.locked()


def test_nobody_is_held_up_by_one_that_never_ends(
    other: Callable[[], Other], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = other()
    assert first.entered.wait(LONG)
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    with in_turn():
        assert turns._turn.locked()
    assert turns._turn.locked(), "who went ahead without a turn gave away that of another"
