"""Merging records, on every engine."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from guard.credentials.caller import Caller, Mode
from guard.policy.facts import EVERYTHING
from record.actor import RecordRefused
from record.identity import Act, add_identity, merge_identities
from registry.store import EntryCriteria, SetCriteria
from storage import SqlRegistryDatabase, tables
from storage.record import _OWNED
from tests.contract import store_objects as make
from xds import domain
from xds import namespaces as ns

OTHER = "2^^^&1.2&ISO"
THIRD = "3^^^&1.2&ISO"
RULES = replace(domain.load("connectathon"), assigning_authorities=frozenset())
ACT = Act(by=Caller(identifier="x", mode=Mode.NODE), event="ITI-8")


def rows_of(registry: SqlRegistryDatabase, key: int) -> int:
    """Rows of any kind that belong to this patient, the log and the record itself apart."""
    with registry.engine.sqlalchemy.connect() as connection:
        return sum(
            len(connection.execute(select(table).where(table.c.patient_key == key)).all())
            for table in (*_OWNED, tables.locator)
        )


def filled(registry: SqlRegistryDatabase, patient_id: str) -> tuple[int, Any]:
    """A record with an entry, a folder that holds it, and a set; all carry its patient identifier."""
    key = make.opened(registry, patient_id)
    entry = make.entry(patient_id=patient_id, unique_id=f"é-{patient_id}")
    folder = make.folder(patient_id=patient_id)
    owner = make.submission_set(patient_id=patient_id)
    made = make.submission(entry, owner=owner, folders=[folder], associations=[make.link(folder, entry)])
    make.stored(registry, key, made)
    return key, made


def merge(registry: SqlRegistryDatabase, old: str, new: str) -> None:
    with registry.write() as unit:
        merge_identities(unit, RULES, old, new, ACT)


def test_every_object_moves_and_every_identifier_leads_to_it(registry: SqlRegistryDatabase) -> None:
    """Nothing is left behind but the record and its log; a query of the survivor is of one patient. Rule: F-05"""
    old_key, old = filled(registry, make.PATIENT)
    new_key, new = filled(registry, OTHER)
    before = rows_of(registry, old_key)
    with registry.write() as unit:
        unit.audit.append(make.line(patient_key=old_key))
    merge(registry, make.PATIENT, OTHER)
    assert rows_of(registry, old_key) == 1  # the locator's row of its CX
    assert rows_of(registry, new_key) == 2 * before - 1
    with registry.read() as unit:
        store = unit.registry
        assert store.locate(entry_uuids=[o.entry_uuid for o in old.objects()]) == {new_key}
        assert store.locate(unique_ids=[old.entries[0].unique_id]) == {new_key}
        found = list(store.entries(new_key, EntryCriteria(), EVERYTHING))
        assert {e.entry_uuid for e in found} == {made.entries[0].entry_uuid for made in (old, new)}
        assert {e.patient_id for e in found} == {OTHER}
        assert {s.patient_id for s in store.submission_sets(new_key, SetCriteria(), EVERYTHING)} == {OTHER}
        assert [f.patient_id for f in store.folders(new_key, [old.folders[0].entry_uuid])] == [OTHER]
        assert len(store.associations(new_key, [old.entries[0].entry_uuid], EVERYTHING)) == 2
        wanted = EntryCriteria(author_patterns=("%",), unique_ids=frozenset({old.entries[0].unique_id}))
        assert len(list(store.entries(new_key, wanted, EVERYTHING))) == 1
        assert {o.patient_key for o in store.known([o.entry_uuid for o in old.objects()]).values()} == {new_key}
        assert [line.action for line in unit.audit.read_for_patient(old_key)][-1] == "identity subsumed"


def test_moved_objects_are_whole(registry: SqlRegistryDatabase) -> None:
    """Apart from the patient identifier nothing of them has changed. Rule: F-05"""
    _, old = filled(registry, make.PATIENT)
    new_key = make.opened(registry, OTHER)
    merge(registry, make.PATIENT, OTHER)
    with registry.read() as unit:
        (entry,) = unit.registry.entries(new_key, EntryCriteria(), EVERYTHING)
        assert entry == replace(old.entries[0], patient_id=OTHER)
    with registry.write() as unit:
        unit.registry.set_status(new_key, [entry.entry_uuid], ns.DEPRECATED)
    with registry.read() as unit:
        assert unit.registry.known([entry.entry_uuid])[entry.entry_uuid].status == ns.DEPRECATED


def test_the_state_of_a_record_is_kept(registry: SqlRegistryDatabase) -> None:
    """Subsumed, by whom, and the way back along a chain. Rule: F-12"""
    keys = [make.opened(registry, one) for one in (make.PATIENT, OTHER, THIRD)]
    merge(registry, make.PATIENT, OTHER)
    merge(registry, OTHER, THIRD)
    with registry.read() as unit:
        first, second, third = (unit.record.get(key) for key in keys)
        assert [r.status.value for r in (first, second, third)] == ["subsumed", "subsumed", "active"]
        assert [r.subsumed_by for r in (first, second, third)] == [keys[1], keys[2], None]
        assert unit.record.merged_into(keys[2]) == [second, first]
        assert unit.record.merged_into(keys[0]) == []


def test_a_failing_merge_leaves_nothing(registry: SqlRegistryDatabase) -> None:
    """The move, the states and the lines are one transaction. Rule: A-1"""
    key, _ = filled(registry, make.PATIENT)
    filled(registry, OTHER)
    before = rows_of(registry, key)
    with pytest.raises(ZeroDivisionError), registry.write() as unit:
        merge_identities(unit, RULES, make.PATIENT, OTHER, ACT)
        raise ZeroDivisionError
    assert rows_of(registry, key) == before
    with registry.read() as unit:
        assert unit.record.get(key).status.value == "active"


def test_merges_and_deposits_at_the_same_time(registry: SqlRegistryDatabase) -> None:
    """A ring of merges beside deposits: one survivor at the end, no deadlock, no object lost or left behind.

    Rule: F-14
    """
    names = [make.PATIENT, OTHER, THIRD]
    keys = {name: make.opened(registry, name) for name in names}
    stored: list[str] = []
    failures: list[Exception] = []

    def deposit(name: str) -> None:
        for _ in range(6):
            with registry.write() as unit:
                unit.record.lock(keys[name])
                if unit.record.get(keys[name]).status.value != "active":
                    return
                entry = make.entry(patient_id=name)
                unit.registry.insert(keys[name], make.submission(entry, owner=make.submission_set(patient_id=name)))
            stored.append(entry.entry_uuid)

    def ring(name: str, into: str) -> None:
        with suppress(RecordRefused):
            merge(registry, name, into)

    def run(work: Any, *arguments: str) -> None:
        try:
            work(*arguments)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(deposit, name)) for name in names]
    threads += [threading.Thread(target=run, args=(ring, names[n], names[(n + 1) % 3])) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with registry.read() as unit:
        active = [r for r in unit.record.all() if r.status.value == "active"]
        assert len(active) == 1
        assert set(unit.registry.entry_uuids(active[0].patient_key, EntryCriteria(), EVERYTHING)) == set(stored)


def test_two_sources_add_one_patient_at_once(registry: SqlRegistryDatabase) -> None:
    """Both are told yes, and there is one record. Rule: F-01, F-14"""
    failures: list[Exception] = []

    def add() -> None:
        try:
            for number in range(10):
                with registry.write() as unit:
                    add_identity(unit, RULES, f"N{number}^^^&1.2&ISO", ACT)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with registry.read() as unit:
        assert len(unit.record.all()) == 10


def test_what_moves_is_decided_for_every_table() -> None:
    """A new table of patient data moves with its record when it has an entryUUID; anything else is decided here."""
    moved = {table.name for table in _OWNED}
    assert moved == {"document_entry", "entry_value", "submission_set", "folder", "association"}
    stays = {name for name, table in tables.registry_metadata.tables.items() if "patient_key" in table.c} - moved
    of_the_person = {"record_traits", "record_identifier", "circle", "destruction", "erasure", "notice_wish", "notice"}
    assert stays == {"record", "locator", "access_log", "audit_outbox", "emergency_access"} | of_the_person
