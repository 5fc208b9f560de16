"""A merge and a metadata update of the same document at the same time, by the transactions themselves, on every engine.

Clause: ITI TF-2 3.8.4.2.4, 3.57.4.1.3
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from conformance import frames, updates
from guard.credentials.caller import Caller, Mode
from guard.policy.decision import Policy
from guard.policy.facts import EVERYTHING
from record.identity import Act, add_identity, merge_identities
from registry import admission, iti42_register, iti57_update_document_set, iti62_remove_metadata
from registry.actor import RegistryActor
from registry.store import EntryCriteria
from storage import SqlRegistryDatabase
from tests.contract.test_record_merge import rows_of
from tests.direct import with_uuids
from xds import namespaces as ns
from xds.domain_source import DomainSource
from xds.ebxml.write import submit_objects_request
from xds.errors import Refused
from xds.model import DocumentEntry, LocalizedString, Submission
from xds.wire.exchange import Addressing, Exchange, Peer

CALLER = Caller(identifier="", mode=Mode.OFF)
ACT = Act(by=CALLER, event="ITI-8")
AUTHORITY = "1.3.6.1.4.1.21367.2005.3.7"
CODES = Path(__file__).resolve().parent.parent / "blackbox" / "codes.xml"


@pytest.fixture
def actor(registry: SqlRegistryDatabase) -> RegistryActor:
    return RegistryActor(database=registry, domains=DomainSource("connectathon", CODES), policy=Policy.open())


def exchange(submission: Submission) -> Exchange:
    body = etree.fromstring(submit_objects_request(submission))
    return Exchange(
        trace_id="t" * 32, peer=Peer(address="local"), envelope=body, body=body, addressing=Addressing(""),
        security=None, known_caller=CALLER,
    )


def patients(actor: RegistryActor, number: int) -> tuple[str, str]:
    names = tuple(f"{number}{side}^^^&{AUTHORITY}&ISO" for side in "AB")
    with actor.database.write() as unit:
        for name in names:
            add_identity(unit, actor.domain, name, ACT)
    return names[0], names[1]


def registered(actor: RegistryActor, patient_id: str) -> DocumentEntry:
    made = with_uuids(frames.valid_submission(actor.domain, patient_id=patient_id, repository_unique_id="1.2.3"))
    made.entries[0].hash, made.entries[0].size = "a" * 40, 1
    iti42_register.transaction(actor).handle(exchange(made))
    return replace(made.entries[0], version=1, logical_id=made.entries[0].entry_uuid)


def merged(actor: RegistryActor, old: str, new: str) -> None:
    with actor.database.write() as unit:
        merge_identities(unit, actor.domain, old, new, ACT)


def updated(actor: RegistryActor, stored: DocumentEntry, patient_id: str, title: str) -> list[str]:
    """Codes of the refusal, none when it was carried out."""
    changed = updates.update_of(actor.domain, stored, title=[LocalizedString(title)], patient_id=patient_id)
    try:
        iti57_update_document_set.update(actor, exchange(changed), "ITI-57")
    except Refused as refused:
        return [f.code.value for f in refused.findings]
    return []


def versions(actor: RegistryActor, patient_id: str) -> list[tuple[int, str]]:
    with actor.database.read() as unit:
        record = unit.record.find(patient_id)
        found = unit.registry.entries(record.patient_key, EntryCriteria(), EVERYTHING)
        return sorted((one.version, one.status) for one in found)


def nothing_is_left(actor: RegistryActor, registry: SqlRegistryDatabase, patient_id: str) -> bool:
    """The record itself keeps its identifier, and nothing else belongs to it."""
    with actor.database.read() as unit:
        return rows_of(registry, unit.record.find(patient_id).patient_key) == 1


ONE, TWO = [(1, ns.APPROVED)], [(1, ns.DEPRECATED), (2, ns.APPROVED)]


@pytest.mark.parametrize("names", ["subsumed", "surviving"])
def test_whoever_comes_first_nothing_is_lost_or_left_behind(
    actor: RegistryActor, registry: SqlRegistryDatabase, names: str
) -> None:
    """Sixteen races, each for a record of its own: both end, and all is stored under the surviving identifier."""
    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for number in range(16):
            old, new = patients(actor, number)
            stored = registered(actor, old)
            start = threading.Barrier(2)

            def at_once(act: Any, *arguments: Any, start: threading.Barrier = start) -> Any:
                start.wait(10)
                return act(actor, *arguments)

            named = old if names == "subsumed" else new
            merge: Future[None] = pool.submit(at_once, merged, old, new)
            update: Future[list[str]] = pool.submit(at_once, updated, stored, named, "later")
            merge.result(30)
            codes = update.result(30)
            outcomes.add(tuple(codes))
            assert versions(actor, new) == (ONE if codes else TWO), codes
            assert nothing_is_left(actor, registry, old)
            if codes:
                assert set(codes) <= {"XDSUnknownPatientId", "XDSPatientIDReconciliationError"}
    assert outcomes


@pytest.mark.parametrize("act", ["update", "removal"])
def test_a_merge_between_look_and_lock_is_seen(
    actor: RegistryActor, registry: SqlRegistryDatabase, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """The document was found in the old record; before that is locked, a merge moves it away.

    It is looked up again, and changed where it is, under that record's lock. Only an engine with several writers can
    be caught like this; on SQLite the writer waits for the end of the merge before its first look.
    """
    if registry.engine.sqlalchemy.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    old, new = patients(actor, 1)
    stored = registered(actor, old)
    with actor.database.read() as unit:
        everything = iti62_remove_metadata.everything_of(unit.registry, [stored.unique_id])
        survivor = unit.record.find(new).patient_key
    looked, moved = threading.Event(), threading.Event()
    lock_all, asked = admission.lock_all, []

    def held_up(unit: Any, patient_keys: Any) -> None:
        keys = sorted(patient_keys)
        asked.append(keys)
        if len(asked) == 1:
            looked.set()
            assert moved.wait(20)
        lock_all(unit, keys)

    monkeypatch.setattr(admission, "lock_all", held_up)
    with ThreadPoolExecutor(1) as pool:
        if act == "update":
            acting: Future[Any] = pool.submit(updated, actor, stored, new, "later")
        else:
            acting = pool.submit(iti62_remove_metadata.remove, actor, CALLER, everything, trace_id="t" * 32)
        assert looked.wait(20)
        merged(actor, old, new)
        moved.set()
        assert not acting.result(30)
    assert survivor in {key for keys in asked for key in keys}, "changed without its lock"
    assert versions(actor, new) == (TWO if act == "update" else []) and nothing_is_left(actor, registry, old)
