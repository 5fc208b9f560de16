"""Answers whose time tells nothing: they leave a whole number of steps after their question came.

What a caller may not learn (is there such a document, is this certificate known and revoked or not known) must not show
in how long a refusal takes: to find and judge something takes longer than to find nothing. The work of a refusal is a
fraction of one step, and so is what it differs by. The price is a thread held that long, for refusals alone.

Rule: K-07
"""

from __future__ import annotations

import time
from collections.abc import Callable

from xds.wire.turns import give_way

STEP = 0.025
"""Seconds."""
Observe = Callable[[str, str, float], None]
"""Transaction, outcome, seconds since the request came; called before its answer leaves."""


def even_out(spent: float) -> None:
    """Wait until ``spent`` seconds have become a whole number of steps."""
    give_way()
    time.sleep(STEP - spent % STEP)


def paced(observe: Observe) -> Observe:
    """The same, which then lets a fault leave on its step. Measured is the work, not the wait."""

    def observed(transaction: str, outcome: str, seconds: float) -> None:
        observe(transaction, outcome, seconds)
        if outcome == "fault":
            even_out(seconds)

    return observed
