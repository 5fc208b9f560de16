"""Facts and changes of the registry's store."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria, SetCriteria
from storage import SqlRegistryDatabase
from tests import metadata_strategies as ms
from tests.contract import store_objects as make
from xds import namespaces as ns
from xds.model import DocumentEntry

times = st.sampled_from(["", "2024", "202403", "20240315", "2024031510", "202403151011", "20240315101112"])
whole_entries = st.builds(
    lambda entry, *three: replace(
        entry, creation_time=three[0], service_start_time=three[1], service_stop_time=three[2]
    ), ms.entries, times, times, times,
)


def test_every_object_comes_back_as_it_was_stored(registry: SqlRegistryDatabase) -> None:
    """A submission with all four kinds is read back equal, field by field."""
    key = make.opened(registry)
    one, case = make.entry(), make.folder()
    owner = make.submission_set()
    in_folder = make.link(case, one)
    signed = make.link(one, one, ns.SIGNS, documentation=make.REPORT, home_community_id="urn:oid:1.2")
    links = [in_folder, make.link(owner, in_folder), signed]
    sent = make.submission(one, owner=owner, folders=[case], associations=links)
    make.stored(registry, key, sent)
    with registry.read() as unit:
        assert list(unit.registry.entries(key, EntryCriteria(), EVERYTHING)) == [one]
        assert list(unit.registry.submission_sets(key, SetCriteria(), EVERYTHING)) == [owner]
        assert list(unit.registry.folders(key, [case.entry_uuid])) == [case]
        found = unit.registry.associations(key, [o.entry_uuid for o in sent.objects()], EVERYTHING)
        assert {a.entry_uuid: a for a in found} == {a.entry_uuid: a for a in sent.associations}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entry=whole_entries)
def test_any_entry_comes_back_as_it_was_stored(registry: SqlRegistryDatabase, entry: DocumentEntry) -> None:
    """Whatever the text and precision, nothing of an entry changes but the case of its identifiers."""
    with registry.read() as unit:
        record = unit.record.find(make.PATIENT)
    key = record.patient_key if record else make.opened(registry)
    entry.entry_uuid = make.uuid()
    make.stored(registry, key, make.submission(entry))
    with registry.read() as unit:
        (found,) = unit.registry.entries(key, EntryCriteria(entry_uuids=frozenset({entry.entry_uuid})), EVERYTHING)
    assert found == entry


def test_known_tells_what_each_identifier_is(registry: SqlRegistryDatabase) -> None:
    """Facts of every kind, of any patient, asked in any letter case; unknown identifiers are left out."""
    first, second = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    mine, theirs, case = make.entry(size=7, hash="b" * 40), make.entry(patient_id="2^^^&1.2&ISO"), make.folder()
    sent = make.submission(mine, folders=[case])
    make.stored(registry, first, sent)
    make.stored(registry, second, make.submission(theirs))
    asked = [mine.entry_uuid.upper(), theirs.entry_uuid, case.entry_uuid, sent.submission_set.entry_uuid,
             sent.associations[0].entry_uuid, make.uuid(), "not-a-uuid"]
    with registry.read() as unit:
        known = unit.registry.known(asked)
    assert len(known) == 5
    found = known[mine.entry_uuid]
    assert (found.kind, found.patient_key, found.status, found.object_type) == (
        "DocumentEntry", first, ns.APPROVED, ns.STABLE)
    assert (found.hash, found.size, found.unique_id) == ("b" * 40, 7, mine.unique_id)
    assert known[theirs.entry_uuid].patient_key == second
    assert known[case.entry_uuid].kind == "Folder"
    assert known[sent.submission_set.entry_uuid].unique_id == sent.submission_set.unique_id
    association = known[sent.associations[0].entry_uuid]
    assert (association.association_type, association.source, association.target) == (
        ns.HAS_MEMBER, sent.submission_set.entry_uuid, mine.entry_uuid)


def test_a_unique_id_may_name_several_objects(registry: SqlRegistryDatabase) -> None:
    """Entries, sets and folders of any patient that carry it are all told."""
    first, second = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    shared = "1.2.3.4"
    owner = make.submission_set(unique_id=shared)
    make.stored(registry, first, make.submission(make.entry(unique_id=shared), folders=[make.folder(unique_id=shared)]))
    make.stored(registry, second, make.submission(make.entry(unique_id=shared), owner=owner))
    with registry.write() as unit:
        found = unit.registry.by_unique_id([shared, "1.2.3.5"])
    assert sorted((one.kind, one.patient_key) for one in found) == sorted(
        [("DocumentEntry", first), ("Folder", first), ("DocumentEntry", second), ("SubmissionSet", second)])


def test_identifiers_are_compared_in_one_unicode_form(registry: SqlRegistryDatabase) -> None:
    """A uniqueId and a code sent decomposed are found composed, and shown as they were sent. Rule: Q-13"""
    key = make.opened(registry)
    composed = unicodedata.normalize("NFC", "référence")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    code = make.Code(decomposed, "s")
    one = make.entry(unique_id=f"1.2^{decomposed}", reference_ids=[decomposed], event_codes=[code], class_code=code)
    make.stored(registry, key, make.submission(one))
    asked = EntryCriteria(
        unique_ids=frozenset({f"1.2^{composed}"}), codes={"class_code": frozenset({f"{composed}^^s"})},
        all_codes={"reference_ids": (frozenset({composed}),), "event_codes": (frozenset({f"{composed}^^s"}),)},
    )
    with registry.read() as unit:
        assert unit.registry.locate(unique_ids=[f"1.2^{composed}"]) == {key}
        (found,) = unit.registry.entries(key, asked, EVERYTHING)
    assert found == one


def test_associations_of_are_approved_and_touch_the_object(registry: SqlRegistryDatabase) -> None:
    """Deprecated associations and other types are left out; both directions count."""
    key = make.opened(registry)
    old, new, other = make.entry(), make.entry(), make.entry()
    replaces = make.link(new, old, ns.RPLC)
    past = make.link(other, old, ns.APND, status=ns.DEPRECATED)
    sent = make.submission(old, new, other, associations=[replaces, past])
    make.stored(registry, key, sent)
    with registry.read() as unit:
        of_old = unit.registry.associations_of(key, [old.entry_uuid])
        of_new = unit.registry.associations_of(key, [new.entry_uuid.upper()], frozenset({ns.RPLC}))
        nothing = unit.registry.associations_of(key, [old.entry_uuid], frozenset())
    assert {a.entry_uuid for a in of_old} == {replaces.entry_uuid, sent.associations[0].entry_uuid}
    assert of_new == [replaces]
    assert nothing == []


@pytest.mark.parametrize("kind", ["entry", "set", "folder", "association"])
def test_an_entry_uuid_is_taken_once(registry: SqlRegistryDatabase, kind: str) -> None:
    """A second object of any kind and any patient with the same entryUUID is refused, and its unit with it."""
    first, second = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    one = make.entry()
    make.stored(registry, first, make.submission(one))
    new = {
        "entry": make.submission(make.entry(entry_uuid=one.entry_uuid)),
        "set": make.submission(make.entry(), owner=make.submission_set(entry_uuid=one.entry_uuid)),
        "folder": make.submission(make.entry(), folders=[make.folder(entry_uuid=one.entry_uuid)]),
        "association": make.submission(make.entry(), associations=[make.link("a", "b", entry_uuid=one.entry_uuid)]),
    }[kind]
    with pytest.raises(KeyError), registry.write() as unit:
        unit.registry.insert(second, new)
    with registry.read() as unit:
        assert unit.registry.entry_uuids(second, EntryCriteria(), EVERYTHING) == []
        assert unit.registry.locate(entry_uuids=[one.entry_uuid]) == {first}


def test_a_status_changes_for_every_kind(registry: SqlRegistryDatabase) -> None:
    """Columns win over the stored text: the object is read with its new status. Clause: ITI TF-2 3.42.4.1.3.3.4"""
    key = make.opened(registry)
    one, kept, case = make.entry(), make.entry(), make.folder()
    sent = make.submission(one, kept, folders=[case])
    make.stored(registry, key, sent)
    with registry.write() as unit:
        unit.registry.set_status(key, [one.entry_uuid.upper(), case.entry_uuid, sent.associations[0].entry_uuid],
                                 ns.DEPRECATED)
    with registry.read() as unit:
        statuses = {e.entry_uuid: e.status for e in unit.registry.entries(key, EntryCriteria(), EVERYTHING)}
        assert statuses == {one.entry_uuid: ns.DEPRECATED, kept.entry_uuid: ns.APPROVED}
        assert next(unit.registry.folders(key, [case.entry_uuid])).status == ns.DEPRECATED
        deprecated = frozenset({ns.DEPRECATED})
        found = unit.registry.associations(key, [one.entry_uuid], EVERYTHING, statuses=deprecated)
        assert [a.status for a in found] == [ns.DEPRECATED]
        asked = EntryCriteria(statuses=frozenset({ns.APPROVED}))
        assert unit.registry.entry_uuids(key, asked, EVERYTHING) == [kept.entry_uuid]


def test_a_status_of_another_patient_is_left_alone(registry: SqlRegistryDatabase) -> None:
    """The patient_key is part of the address of an object."""
    first, second = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    one = make.entry()
    make.stored(registry, first, make.submission(one))
    with registry.write() as unit:
        unit.registry.set_status(second, [one.entry_uuid], ns.DEPRECATED)
    with registry.read() as unit:
        assert unit.registry.known([one.entry_uuid])[one.entry_uuid].status == ns.APPROVED


def test_a_folder_tells_when_it_last_changed(registry: SqlRegistryDatabase) -> None:
    """lastUpdateTime is the registry's, and only of the folders named. Clause: ITI TF-3 4.2.3.4.6"""
    key = make.opened(registry)
    touched, other = make.folder(), make.folder()
    make.stored(registry, key, make.submission(folders=[touched, other]))
    with registry.write() as unit:
        unit.registry.touch_folders(key, [touched.entry_uuid], "20250101120000")
    with registry.read() as unit:
        found = {f.entry_uuid: f.last_update_time for f in
                 unit.registry.folders(key, [touched.entry_uuid, other.entry_uuid])}
    assert found == {touched.entry_uuid: "20250101120000", other.entry_uuid: other.last_update_time}


def test_a_unit_that_fails_leaves_nothing(registry: SqlRegistryDatabase) -> None:
    """Objects, statuses, records and log lines of one unit are stored together or not at all. Rule: T-03"""
    key = make.opened(registry)
    old, new = make.entry(), make.entry()
    make.stored(registry, key, make.submission(old))
    with pytest.raises(RuntimeError), registry.write() as unit:
        unit.registry.insert(key, make.submission(new))
        unit.registry.set_status(key, [old.entry_uuid], ns.DEPRECATED)
        unit.audit.append(make.line(patient_key=key))
        raise RuntimeError
    with registry.read() as unit:
        assert unit.registry.known([old.entry_uuid, new.entry_uuid]).keys() == {old.entry_uuid}
        assert unit.registry.known([old.entry_uuid])[old.entry_uuid].status == ns.APPROVED
        assert list(unit.audit.read_for_patient(key)) == []
        assert unit.registry.locate(unique_ids=[new.unique_id]) == set()


def test_what_was_committed_is_there_after_reopening(registry: SqlRegistryDatabase, registry_url: str) -> None:
    """Another process that opens the same address finds it."""
    key = make.opened(registry)
    one = make.entry()
    make.stored(registry, key, make.submission(one))
    registry.close()
    again = SqlRegistryDatabase(registry_url)
    try:
        with again.read() as unit:
            assert list(unit.registry.entries(key, EntryCriteria(), EVERYTHING)) == [one]
    finally:
        again.close()


def test_what_a_repository_holds_is_streamed_in_order(registry: SqlRegistryDatabase) -> None:
    """Of all patients, stable and of this repository, in portions; other work on the unit goes on meanwhile."""
    wanted = []
    for patient_id in ("1^^^&1.2&ISO", "2^^^&1.2&ISO"):
        entries = [make.entry(patient_id=patient_id, size=n) for n in range(700)]
        wanted += [(e.unique_id, e.hash, e.size) for e in entries]
        others = [make.entry(repository_unique_id="1.2.250.1.999.20"), make.entry(object_type=ns.ON_DEMAND)]
        make.stored(registry, make.opened(registry, patient_id), make.submission(*entries, *others))
    with registry.read() as unit:
        stream = unit.registry.held_by("1.2.250.1.999.2")
        head = next(stream)
        assert unit.registry.locate(unique_ids=[head[0]])
        assert [head, *stream] == sorted(wanted)
        assert list(unit.registry.held_by("1.2.250.1.999")) == []


def test_a_stream_may_be_left_half_read(registry: SqlRegistryDatabase) -> None:
    """The unit ends, the connection serves the next one."""
    key = make.opened(registry)
    make.stored(registry, key, make.submission(*(make.entry() for _ in range(700))))
    for _ in range(2):
        with registry.read() as unit:
            stream = unit.registry.held_by("1.2.250.1.999.2")
            next(stream)
        del stream
    with registry.read() as unit:
        assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 700


def test_a_read_unit_writes_nothing(registry: SqlRegistryDatabase) -> None:
    """The engine itself refuses a change in a read unit."""
    key = make.opened(registry)
    with pytest.raises(Exception, match=r"(?i)read"), registry.read() as unit:
        unit.registry.insert(key, make.submission(make.entry()))
    with registry.read() as unit:
        assert unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING) == []
