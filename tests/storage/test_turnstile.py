"""The lock that serves in the order of arrival."""

from __future__ import annotations

import threading
import time

import pytest

from storage import turnstile
from storage.turnstile import Turnstile


def test_waiters_pass_in_the_order_they_came() -> None:
    """First come, first served, also when the holder comes back at once."""
    turn, order, threads = Turnstile(), [], []

    def pass_through(name: int) -> None:
        with turn:
            order.append(name)
        with turn:
            order.append(name + 100)

    with turn:
        for name in range(6):
            threads.append(threading.Thread(target=pass_through, args=(name,)))
            threads[-1].start()
            while len(turn._waiting) <= name:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert order[:6] == list(range(6))
    assert sorted(order[6:]) == [100 + name for name in range(6)]


def test_only_one_is_inside() -> None:
    """Under many threads the inside is never shared."""
    turn, inside, most = Turnstile(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turn:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (inside, most) == (0, 1)


@pytest.mark.parametrize("has_come", [False, True])
def test_an_interrupted_waiter_blocks_nobody(monkeypatch: pytest.MonkeyPatch, has_come: bool) -> None:
    """It gives up its place, or hands on the turn that had just come to it."""
    turn = Turnstile()

    class Interrupted:
        """A gate whose second acquire is interrupted; its release, if it comes first, has already passed the turn."""

        def __init__(self) -> None:
            self.calls = 0

        def acquire(self, timeout: float = -1) -> bool:
            self.calls += 1
            if self.calls == 2:
                if has_come:
                    turn.__exit__()
                raise KeyboardInterrupt
            return True

        def release(self) -> None:
            return

    turn.__enter__()
    monkeypatch.setattr(turnstile, "Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        turn.__enter__()
    monkeypatch.undo()
    if not has_come:
        turn.__exit__()
    done = threading.Event()

    def enter() -> None:
        with turn:
            done.set()

    threading.Thread(target=enter, daemon=True).start()
    assert done.wait(5)


def test_who_waits_too_long_is_told_and_blocks_nobody() -> None:
    """A busy service says so while its caller still listens; the turn goes to the next all the same."""
    turn = Turnstile(patience=0.02)
    with turn:
        with pytest.raises(TimeoutError), turn:
            raise AssertionError("two inside")
        assert not turn._waiting
    with turn:
        assert turn._is_taken
    assert not turn._is_taken
