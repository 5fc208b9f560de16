"""The time of a refusal does not tell what exists from what does not.

In the fast suite: the answers are the same, and a refusal waits for its step. Measured, over TLS, is the slow test.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

import registry.retrieve_decision
import xds.wire.pace
from tests.attack.knowing import Pair, pairs
from tests.world import World
from xds.wire.pace import STEP, even_out, paced

SAMPLES = 300
"""Of each of a pair's questions."""
SECONDS = 240.0
TOLD = 0.1
"""How far from a coin's toss one answer's time may bring a guess: 0.5 is a toss, 1 is certainty."""


@pytest.fixture(scope="module")
def asked(live: World) -> list[Pair]:
    return pairs(live)


def test_what_exists_and_what_does_not_are_answered_alike(asked: list[Pair]) -> None:
    """Byte for byte what the caller sees, but for what he asked and the trace id."""
    assert len(asked) == 2
    for pair in asked:
        assert pair.known() == pair.unknown(), pair.name


def test_a_refusal_waits_for_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole number of steps after its question, however long the work took; nothing else waits."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    for spent in (0.0001, 0.004, 0.0249, 0.026, 0.9):
        even_out(spent)
        steps = (spent + waits[-1]) / STEP
        assert abs(steps - round(steps)) < 1e-9 and 0 < waits[-1] <= STEP
    observed: list[str] = []
    observe = paced(lambda transaction, outcome, seconds: observed.append(outcome))
    waits.clear()
    for outcome in ("answered", "refused", "http", "error", "fault"):
        observe("ITI-18", outcome, 0.004)
    assert observed == ["answered", "refused", "http", "error", "fault"]
    assert len(waits) == 1


def test_every_refusal_of_a_kind_is_paced(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden and absent documents, revoked and unknown signers: all go through the wait, a good one not. Rule: K-07"""
    waited: list[float] = []
    monkeypatch.setattr(registry.retrieve_decision, "even_out", waited.append)
    monkeypatch.setattr(xds.wire.pace, "even_out", waited.append)
    for pair in pairs(here):
        for ask in (pair.known, pair.unknown):
            waited.clear()
            ask()
            assert len(waited) == 1 and 0 < waited[0] < 60, pair.name
    waited.clear()
    assert here.find(here.patient()).outcome.is_success
    assert waited == []


def advantage(one: list[float], other: list[float]) -> float:
    """How often a random time of ``other`` is above one of ``one``, ties counted half (Mann and Whitney)."""
    ranked = sorted([(t, 0) for t in one] + [(t, 1) for t in other])
    above = seen = 0.0
    for _, which in ranked:
        if which:
            above += seen
        else:
            seen += 1
    return above / (len(one) * len(other))


def sampled(pair: Pair, *, samples: int = SAMPLES, seconds: float = SECONDS) -> tuple[list[float], list[float]]:
    """Times of both questions, asked in random order so that what else the machine does falls on both."""
    times: dict[Callable[[], str], list[float]] = {pair.known: [], pair.unknown: []}
    deadline = time.monotonic() + seconds
    for _ in range(samples):
        for ask in random.sample(list(times), 2):
            began = time.perf_counter()
            ask()
            times[ask].append(time.perf_counter() - began)
        if time.monotonic() > deadline:
            break
    return times[pair.known], times[pair.unknown]


@pytest.mark.slow
def test_times_do_not_tell_known_from_unknown(asked: list[Pair]) -> None:
    """Over TLS, from outside: nobody guesses from the time of an answer whether there is such a thing. Rule: K-07"""
    for pair in asked:
        known, unknown = sampled(pair)
        assert len(known) > 100, "too few to say anything"
        told = advantage(known, unknown)
        print(f"{pair.name}: {told:.3f} of {len(known)}")
        assert abs(told - 0.5) < TOLD, f"{pair.name}: the time of an answer tells with {told:.3f}"


@pytest.mark.slow
def test_the_measure_would_show_a_difference() -> None:
    """A millisecond more for one of two questions of five."""

    def taking(seconds: float) -> Callable[[], str]:
        def ask() -> str:
            time.sleep(seconds + random.gauss(0, 0.0002) % 0.001)
            return ""

        return ask

    known, unknown = sampled(Pair("essai", taking(0.006), taking(0.005)), samples=100)
    assert abs(advantage(known, unknown) - 0.5) > TOLD
