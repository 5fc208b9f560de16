"""The outbox of audit messages, on every engine."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from guard.audit.particulars import Particulars
from storage import SqlRegistryDatabase, SqlRepositoryDatabase
from tests.contract import store_objects as make

TOLD = Particulars(endpoint="/x", purpose=("normal", "1.2", "Accès"), request="<q/>", request_size=9, sent_on="ITI-42")
LINE = make.line(patient_key=1, documents=("1.2",), particulars=TOLD)


def test_a_message_waits_with_its_line_until_it_is_handed_over(
    registry: SqlRegistryDatabase, repository: SqlRepositoryDatabase
) -> None:
    """Every particular comes back, oldest first; handed over, a row waits no more and is still there. Rule: A-28"""
    for database in (registry, repository):
        lines = [replace(LINE, trace_id=f"t{n}", patient_key=n or None) for n in range(3)]
        with database.write() as unit:
            numbers = [unit.audit.append(line) for line in lines]
        with database.read() as unit:
            waiting = unit.outbox.waiting(2)
            assert unit.outbox.depth() == (3, numbers[0])
        assert [line for _, line in waiting] == lines[:2]
        assert [line.particulars for _, line in waiting] == [TOLD, TOLD]
        assert [key.number for key, _ in waiting] == numbers[:2]
        with database.write() as unit:
            unit.outbox.hand_over([waiting[0][0]])
            unit.outbox.pass_over([waiting[1][0]])
        with database.read() as unit:
            assert [line for _, line in unit.outbox.waiting(9)] == lines[2:]
            assert [line for _, line in unit.outbox.latest(9)] == [lines[0], lines[2]]
            assert [line for _, line in unit.outbox.latest(1)] == [lines[2]]
            assert [line for _, line in unit.outbox.of_patient(2)] == [lines[2]]
            assert unit.outbox.depth() == (1, numbers[2])


def test_a_message_is_there_only_if_its_change_is(registry: SqlRegistryDatabase) -> None:
    """A unit that fails leaves neither line nor message. Rule: A-25"""
    with pytest.raises(RuntimeError), registry.write() as unit:
        unit.audit.append(LINE)
        raise RuntimeError
    with registry.read() as unit:
        assert unit.outbox.depth() == (0, 0)
        assert unit.outbox.waiting(9) == [] == list(unit.audit.read_latest(9))


def test_a_later_line_takes_the_place_of_a_message(repository: SqlRepositoryDatabase) -> None:
    """Both lines stay in the log; only the second is told."""
    first = replace(LINE, patient_key=None)
    second = replace(first, outcome="refused")
    with repository.write() as unit:
        number = unit.audit.append(first)
    with repository.write() as unit:
        unit.audit.append(second, replaces=number)
    with repository.read() as unit:
        assert [line for _, line in unit.outbox.waiting(9)] == [second]
        assert list(unit.audit.read_latest(9)) == [first, second]


def test_old_messages_are_forgotten_and_lines_never(registry: SqlRegistryDatabase) -> None:
    """What waits stays unless told otherwise; what is young stays in any case."""
    with registry.write() as unit:
        for n in range(3):
            unit.audit.append(replace(LINE, trace_id=str(n)))
    with registry.read() as unit:
        keys = [key for key, _ in unit.outbox.waiting(9)]
    with registry.write() as unit:
        unit.outbox.hand_over(keys[:1])
        assert unit.outbox.forget(keys[0].number, unsent=True) == 0
        assert unit.outbox.forget(time.time_ns() + 10**9, unsent=False) == 1
        assert unit.outbox.forget(time.time_ns() + 10**9, unsent=False) == 0
    with registry.read() as unit:
        assert [key for key, _ in unit.outbox.waiting(9)] == keys[1:]
    with registry.write() as unit:
        assert unit.outbox.forget(time.time_ns() + 10**9, unsent=True) == 2
        assert len(list(unit.audit.read_latest(9))) == 3
