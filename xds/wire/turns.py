"""Requests of one process compute in turns: each begins alone, and goes on alone until it first waits for something.

The interpreter runs one thread at a time, and every call into the XML parser, the cryptography or the database lets
another one in. With eight requests under way each would be interrupted a hundred times, and each interruption is a
change of thread: a tenth to a quarter of a service's time under load. What comes before the first wait (for the disk,
another service, another thread) is most of the work; what comes after it is short, and nobody who is nearly done shall
queue behind those who begin.

Only speed depends on a turn. So nobody insists on one: after ``PATIENCE`` seconds a request computes beside the
others, and a long one holds nobody up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.5
"""Seconds a request waits for its turn."""

_turn = threading.Lock()
_mine = threading.local()


@contextmanager
def in_turn() -> Iterator[None]:
    """The block begins when no other is computing in its turn. Within such a block it is the same turn."""
    if getattr(_mine, "is_held", False):
        yield
        return
    _mine.is_held = _turn.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        give_way()


def give_way() -> None:
    """This request is about to wait: its turn is over, the next one begins. To be called by whatever may wait."""
    if getattr(_mine, "is_held", False):
        _mine.is_held = False
        _turn.release()
