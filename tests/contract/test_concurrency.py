"""Several writers at once."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria
from storage import SqlRegistryDatabase
from tests.contract import store_objects as make
from xds import namespaces as ns
from xds.model import DocumentEntry


def replace_if_approved(registry: SqlRegistryDatabase, key: int, old: str, new: DocumentEntry, pause: float) -> bool:
    """A replacement as the registry does it: lock, look, change."""
    with registry.write() as unit:
        unit.record.lock(key)
        if unit.registry.known([old])[old].status != ns.APPROVED:
            return False
        time.sleep(pause)
        unit.registry.insert(key, make.submission(new))
        unit.registry.set_status(key, [old], ns.DEPRECATED)
        return True


def test_one_of_two_replacements_wins(registry: SqlRegistryDatabase) -> None:
    """The second writer of a patient sees what the first has left. Clause: ITI TF-2 3.42.4.1.3.3.4"""
    key = make.opened(registry)
    old = make.entry()
    make.stored(registry, key, make.submission(old))
    new = [make.entry() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda one: replace_if_approved(registry, key, old.entry_uuid, one, 0.02), new))
    assert sorted(won) == [False, False, False, True]
    with registry.read() as unit:
        approved = EntryCriteria(statuses=frozenset({ns.APPROVED}))
        assert unit.registry.entry_uuids(key, approved, EVERYTHING) == [new[won.index(True)].entry_uuid]


def deposit_once(registry: SqlRegistryDatabase, key: int, unique_id: str) -> bool:
    """A deposit that refuses a uniqueId that is already there."""
    with registry.write() as unit:
        unit.record.lock(key)
        if unit.registry.by_unique_id([unique_id]):
            return False
        time.sleep(0.02)
        unit.registry.insert(key, make.submission(make.entry(unique_id=unique_id)))
        return True


def test_one_of_two_patients_gets_a_unique_id(registry: SqlRegistryDatabase) -> None:
    """A uniqueId looked for in a write unit cannot arrive from another patient before the unit ends."""
    keys = [make.opened(registry, f"{n}^^^&1.2&ISO") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda key: deposit_once(registry, key, "1.2.3"), keys))
    assert sorted(won) == [False, False, False, True]


def test_the_same_entry_uuid_from_two_writers(registry: SqlRegistryDatabase) -> None:
    """One is stored, the other refused by the unique key, whoever comes first."""
    keys = [make.opened(registry, f"{n}^^^&1.2&ISO") for n in range(4)]
    shared = make.uuid()

    def deposit(key: int) -> bool:
        try:
            make.stored(registry, key, make.submission(make.entry(entry_uuid=shared)))
        except KeyError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(deposit, keys)) == [False, False, False, True]


def test_many_writers_lose_nothing(registry: SqlRegistryDatabase) -> None:
    """Eight threads store for eight patients; every submission and every log line is there."""
    keys = [make.opened(registry, f"{n}^^^&1.2&ISO") for n in range(8)]

    def work(key: int) -> None:
        for _ in range(25):
            with registry.write() as unit:
                unit.record.lock(key)
                unit.registry.insert(key, make.submission(make.entry()))
                unit.audit.append(make.line(patient_key=key))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, keys))
    with registry.read() as unit:
        for key in keys:
            assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 25
            assert len(list(unit.audit.read_for_patient(key))) == 25


def test_a_read_unit_is_one_snapshot(registry: SqlRegistryDatabase) -> None:
    """What another writer commits meanwhile is not seen before the unit ends, and nobody waits."""
    key = make.opened(registry)
    with registry.read() as unit:
        assert unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING) == []
        make.stored(registry, key, make.submission(make.entry()))
        assert unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING) == []
    with registry.read() as unit:
        assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 1


def test_a_failed_writer_does_not_hold_the_next(registry: SqlRegistryDatabase) -> None:
    """The queue goes on after an error, also one that is no Exception."""
    key = make.opened(registry)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), registry.write() as unit:
            unit.record.lock(key)
            raise error
    done = threading.Event()

    def next_writer() -> None:
        make.stored(registry, key, make.submission(make.entry()))
        done.set()

    threading.Thread(target=next_writer, daemon=True).start()
    assert done.wait(10)


@pytest.mark.filterwarnings("ignore:This process")
def test_processes_share_a_database_after_a_fork(registry: SqlRegistryDatabase) -> None:
    """Workers forked from a process that had it open use connections of their own."""
    key = make.opened(registry)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_store_fresh, args=(registry, key, number)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    make.stored(registry, key, make.submission(make.entry()))
    with registry.read() as unit:
        assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 31


def _store_fresh(registry: SqlRegistryDatabase, key: int, number: int) -> None:
    """In the child: identifiers of its own, as every child inherits the same counter."""
    for step in range(10):
        base = (number + 1) << 64 | step << 32
        one = make.entry(entry_uuid=make.uuid(base | 1))
        owner = make.submission_set(entry_uuid=make.uuid(base | 2))
        sent = make.submission(one, owner=owner)
        sent.associations[0].entry_uuid = make.uuid(base | 3)
        make.stored(registry, key, sent)
