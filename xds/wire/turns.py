"""Requests of one process compute in turns: each goes on alone until it waits for something or is done.

The interpreter runs one thread at a time, and every call into the XML parser, the cryptography or the database lets
another one in. With eight requests under way, each would be interrupted hundreds of times, and each interruption is a
change of thread: a tenth to a quarter of the time of a service under load. Whoever waits (for the disk, another
service, another thread) lets the next one compute meanwhile.

Only speed depends on a turn. So nobody insists on one: after ``PATIENCE`` seconds a request computes beside the
others, and neither a long one nor a mistake in here can hold up a service.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.2
"""Seconds a request waits for its turn."""

_turn = threading.Lock()
_mine = threading.local()


@contextmanager
def computing() -> Iterator[None]:
    """The block runs alone among all such blocks of the process, or at least was kept waiting for it."""
    if getattr(_mine, "is_held", False):
        yield
        return
    _take()
    try:
        yield
    finally:
        _give_back()


@contextmanager
def waiting() -> Iterator[None]:
    """The block does not need the interpreter: somebody else computes meanwhile.

    To be entered before a lock is taken that is held while its holder waits.
    """
    if not getattr(_mine, "is_held", False):
        yield
        return
    _give_back()
    try:
        yield
    finally:
        _take()


def _take() -> None:
    _mine.is_held = _turn.acquire(timeout=PATIENCE)


def _give_back() -> None:
    if _mine.is_held:
        _mine.is_held = False
        _turn.release()
