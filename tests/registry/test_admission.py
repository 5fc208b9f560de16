"""Locks on the records a request is about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from registry import admission
from registry.store import RegistryUnit


def test_what_a_merge_has_moved_meanwhile_is_locked_where_it_went() -> None:
    """Between the look-up and the lock a merge may end: its survivor is locked too, in order, and each once.

    Rule: A-10
    """
    locked: list[int] = []
    unit = cast(RegistryUnit, SimpleNamespace(record=SimpleNamespace(lock=locked.append)))
    answers: list[set[int]] = [{5, 3}, {3, 8}, {3, 8}]

    def owners() -> set[int]:
        return answers.pop(0)

    admission.lock_owners(cast(Any, unit), owners)
    assert locked == [3, 5, 8] and not answers
