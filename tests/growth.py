"""How work grows with its input, and what it costs beside other work: in one run, so that no figure depends on the
machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")
TIMES = 8
"""The larger input over the smaller one. Work in proportion takes about as much more, quadratic work its square."""


def is_in_proportion(make: Callable[[int], Input], work: Callable[[Input], object], size: int) -> bool:
    """Whether ``TIMES`` the input takes nearer to ``TIMES`` than to the square of it, in processor time, best of 5."""
    small, large = (_best(work, make(n)) for n in (size, size * TIMES))
    return large < small * TIMES * 3


def costs_at_most(times: float, than: Callable[[Input], object], work: Callable[[Input], object], given: Input) -> bool:
    """Whether ``work`` takes no more than so many ``times`` the processor time of ``than``, best of 5 each.

    For work of a few hundred microseconds, whose larger input leaves the processor's caches and looks quadratic.
    """
    return _best(work, given) <= times * _best(than, given)


def _best(work: Callable[[Input], object], given: Input) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        work(given)
        best = min(best, time.process_time() - began)
    return best
