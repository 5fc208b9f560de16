"""A destroyed record leaves no byte in the data folder, whatever fails on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carnet import wiring
from carnet.retention import expire, retain_once, scrub
from carnet.wiring import other_logs
from conformance import frames
from record import acts, destruction, documents, lifecycle, notices
from record.actor import patient
from record.administrative import AdministrativeData
from record.store import Kind
from registry.shelf import Shelf
from repository.actor import RepositoryActor
from repository.erase import erase
from tests.on_demand_kit import offer_of, register
from tests.world import OPERATOR, STRUCTURE, World, unique_ids
from xds.domain import load
from xds.model import DocumentEntry, LocalizedString

SECRET = "NEPASRETROUVERCECI"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """An installation of its own: the whole folder is searched."""
    world = World.prepare(tmp_path / "data").serve_here()
    yield world


def holding(world: World, word: str) -> list[str]:
    """Files of the installation in which these bytes are found, log and free pages included."""
    found = []
    for folder, _, names in os.walk(world.folder):
        for name in names:
            data = (Path(folder) / name).read_bytes()
            if word.encode() in data:
                found.append(name)
    return found


def repository_of(world: World) -> RepositoryActor:
    assert world.registry is not None
    return wiring.repository_actor(world.settings, wiring.link_of(world.settings, world.registry.app))


def record_with_documents(world: World, count: int, word: str = SECRET) -> tuple[str, list[str]]:
    """A patient whose documents, titles and traits hold this word; uniqueIds of the documents."""
    patient_id = world.patient()
    ids = []
    for number in range(count):
        made = frames.valid_submission(
            "dmp", documents=1, patient_id=patient_id, repository_unique_id=world.settings.repository.unique_id
        )
        (entry,) = made.entries
        data = f"<essai n='{number}'>{word * 50}</essai>".encode()
        entry.hash, entry.size = hashlib.sha1(data).hexdigest(), len(data)
        entry.title = [LocalizedString(f"{word} {number}", "fr-FR")]
        ids.append(entry.unique_id)
        assert world.deposit(made, {entry.entry_uuid: data}).is_success, number
    with world._registry_database() as database, database.write() as unit:
        record = unit.record.find(patient_id)
        assert record is not None
        unit.record.set_traits(record.patient_key, AdministrativeData(birth_name=word, street=word * 9))
    return patient_id, ids


def destroyed(world: World, patient_id: str) -> str:
    policy = wiring.policy_of(world.settings, load("dmp"))
    me = patient(patient_id, policy)
    with world._registry_database() as database:
        with database.write() as unit:
            token = destruction.ask_destruction(unit, patient_id, by=me)
        with database.write() as unit:
            return destruction.confirm_destruction(unit, patient_id, token, by=me).receipt


def receipts(world: World) -> dict[str, bool]:
    with world._registry_database() as database, database.read() as unit:
        return {one.receipt: bool(one.completed_at) for one in unit.record.destructions()}


def test_no_byte_is_left(own: World) -> None:
    """Documents, titles and traits are in the files before, and in none after; other records stay. Rule: D-09"""
    kept, kept_ids = record_with_documents(own, 1, "TOUTAUTRECHOSE")
    patient_id, _ = record_with_documents(own, 40)
    assert len(holding(own, SECRET)) > 40
    receipt = destroyed(own, patient_id)
    assert receipts(own) == {receipt: False}
    assert erase(repository_of(own)) == 40 and erase(repository_of(own)) == 0
    assert receipts(own) == {receipt: True}
    with own._registry_database() as database:
        assert scrub(database) == 1 and scrub(database) == 0
    assert holding(own, SECRET) == [] and len(holding(own, "TOUTAUTRECHOSE")) >= 2
    assert unique_ids(own.find(kept)) == kept_ids
    _, (item,) = own.read(kept, kept_ids)
    assert item.unique_id == kept_ids[0]


@pytest.mark.parametrize("fails", ["discard", "write"])
def test_a_repository_that_fails_begins_again(
    own: World, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Before the bytes go, or before their rows do: nothing is said to be erased; the next run does it. Rule: D-09"""
    patient_id, ids = record_with_documents(own, 2)
    receipt = destroyed(own, patient_id)
    actor = repository_of(own)

    def fail(*_: object) -> None:
        raise OSError(5, "the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(actor.documents if fails == "discard" else actor.database, fails, fail)
        with pytest.raises(OSError, match="the disk fails"):
            erase(actor)
    assert receipts(own) == {receipt: False}
    assert erase(actor) == 2
    assert receipts(own) == {receipt: True}
    with actor.database.read() as unit:
        assert [unit.documents.find(one) for one in ids] == [[], []]
    assert list(actor.documents.kept()) == []


def test_a_later_record_keeps_its_documents(own: World) -> None:
    """The same document, deposited again into a new record before the old one was erased, stays. Rule: D-09"""
    patient_id = own.patient()
    made = frames.valid_submission(
        "dmp", documents=1, patient_id=patient_id, repository_unique_id=own.settings.repository.unique_id
    )
    assert own.deposit(made).is_success
    destroyed(own, patient_id)
    with own._registry_database() as database, database.write() as unit:
        lifecycle.open_record(unit, patient_id, by=OPERATOR, consent="essai", check_key=False)
        acts.allow(unit, patient_id, STRUCTURE, by=OPERATOR, kind=Kind.STRUCTURE)
    assert own.deposit(made).is_success
    assert erase(repository_of(own)) == 1
    _, (item,) = own.read(patient_id, [made.entries[0].unique_id])
    assert item.unique_id == made.entries[0].unique_id


def test_the_job_destroys_what_was_kept_long_enough(own: World) -> None:
    """A run of today destroys nothing that was closed today. Rule: D-10"""
    patient_id, _ = record_with_documents(own, 1)
    own.close(patient_id)
    with own._registry_database() as database:
        assert retain_once(own.settings, database).destroyed == []
        with database.write() as unit:
            record = unit.record.find(patient_id)
            assert record is not None
            unit.record.update(replace(record, closed_at="2014-01-01T00:00:00.000Z"))
        assert len(retain_once(own.settings, database).destroyed) == 1
        scrub(database)
    erase(repository_of(own))
    assert holding(own, SECRET) == []


def test_what_named_the_documents_goes_with_the_traces(own: World) -> None:
    """uniqueIds, entryUUIDs, hashes: after the destruction in the access log alone, which the law keeps; when its time
    has ended, in no file at all. Its bytes are found nowhere, in no piece. Rule: D-09"""
    patient_id = own.patient()
    made = frames.valid_submission(
        "dmp", documents=1, patient_id=patient_id, repository_unique_id=own.settings.repository.unique_id
    )
    (entry,) = made.entries
    data = os.urandom(200_000)
    entry.hash, entry.size = hashlib.sha1(data).hexdigest(), len(data)
    assert own.deposit(made, {entry.entry_uuid: data}).is_success
    (stored,) = [o for o in own.find(patient_id).objects if isinstance(o, DocumentEntry)]
    assert own.read(patient_id, [entry.unique_id])[0].is_success
    assert pieces_of(own, data) and holding(own, entry.unique_id) and holding(own, stored.entry_uuid[9:])
    destroyed(own, patient_id)
    assert erase(repository_of(own)) == 1
    with own._registry_database() as database:
        scrub(database)
        assert pieces_of(own, data) == []
        assert holding(own, stored.entry_uuid[9:]) == [] and holding(own, entry.hash) == []
        assert set(holding(own, entry.unique_id)) <= LOGS
        with database.write() as unit:
            (gone,) = [one for one in unit.record.all() if one.status == "destroyed"]
            unit.record.update(replace(gone, closed_at="2014-01-01T00:00:00.000Z"))
        records, lines = expire(own.settings, database, other_logs(own.settings), OPERATOR)
    assert records == 1 and lines > 3
    assert holding(own, entry.unique_id) == []


LOGS = {"registry.sqlite", "registry.sqlite-wal", "repository.sqlite", "repository.sqlite-wal"}


def pieces_of(world: World, data: bytes, size: int = 48) -> list[str]:
    """Files that hold any of a hundred pieces of these bytes."""
    pieces = [data[at : at + size] for at in range(7, len(data) - size, len(data) // 100)]
    found = []
    for folder, _, names in os.walk(world.folder):
        for name in names:
            held = (Path(folder) / name).read_bytes()
            if any(piece in held for piece in pieces):
                found.append(name)
    return found


def test_summaries_and_notices_go_too(own: World) -> None:
    """A summary made of the record and kept, the versions of a mask, a wish to be told and what waits to be: derived
    copies are copies. Rule: D-09"""
    patient_id, ids = record_with_documents(own, 3)
    policy = wiring.policy_of(own.settings, load("dmp"))
    me = patient(patient_id, policy)
    shelf = Shelf(wiring.domain_source(own.settings), "1.2.250.1.999.1.2")
    with own._registry_database() as database, database.write() as unit:
        notices.choose(unit, patient_id, by=me, is_wanted=True)
        documents.change(unit, patient_id, ids[0], documents.Act.MASK, by=me, shelf=shelf)
    offered = offer_of(own, patient_id, title=[LocalizedString(SECRET, "fr-FR")])
    assert register(own, offered).is_success
    outcome, (made,) = own.read(patient_id, [offered.entries[0].unique_id])
    assert outcome.is_success and made.unique_id
    kept = sum("documents" in name for name in holding_paths(own, SECRET))
    assert kept == 4, "three documents and the summary, which holds their titles"
    with own._registry_database() as database, database.read() as unit:
        assert unit.notices.count() > 0
    destroyed(own, patient_id)
    assert erase(repository_of(own)) == 4
    with own._registry_database() as database:
        scrub(database)
        with database.read() as unit:
            assert unit.notices.count() == 0
    assert holding(own, SECRET) == []


def holding_paths(world: World, word: str) -> list[str]:
    """As ``holding``, whole paths."""
    return [
        str(Path(folder) / name) for folder, _, names in os.walk(world.folder) for name in names
        if word.encode() in (Path(folder) / name).read_bytes()
    ]
