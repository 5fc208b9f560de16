"""ITI-57: new versions of entries and folders, and what comes with them.

Clause: ITI TF-2 3.57.4.1.3
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance import frames, updates
from tests.direct import FIND_SUBMISSION_SETS, the
from tests.updating import Shelf, codes, titled
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.model import Association
from xds.namespaces import APND, APPROVED, DEPRECATED, HAS_MEMBER, RPLC, SIGNS, XFRM

VERSION, UPDATE, OPERATION = "XDSMetadataVersionError", "XDSMetadataUpdateError", "XDSMetadataUpdateOperationError"
METADATA = "XDSRegistryMetadataError"


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def entry(desk: Shelf, **changes: object) -> str:
    return desk.new(**changes).entries[0].entry_uuid


def test_a_new_version_takes_the_place_of_the_old_one(desk: Shelf) -> None:
    """One more than before, Approved, with an id of its own and the lid of the first; the old one Deprecated.

    Rule: R-140, R-141, R-142, R-161, L-01
    """
    first = entry(desk)
    second = desk.updated(first)
    third = desk.updated(second, title=titled("Encore"))
    found = desk.versions(first)
    assert [(e.entry_uuid, e.version, e.status, e.logical_id) for e in found] == [
        (first, 1, DEPRECATED, first), (second, 2, DEPRECATED, first), (third, 3, APPROVED, first),
    ]
    assert [e.title[0].value for e in found] == ["Document d'essai", "Corrigé", "Encore"]
    assert len({e.unique_id for e in found}) == 1 and len(desk.found("UniqueId", found[0].unique_id)) == 3


def test_a_new_version_keeps_everything_it_was_sent_with(desk: Shelf) -> None:
    """What is not changed is the same in both versions, the registry's own attributes apart.

    Rule: R-144, L-01
    """
    first = entry(desk)
    new = desk.entry(desk.updated(first))
    old = desk.entry(first)
    assert replace(new, entry_uuid=first, version=1, status=DEPRECATED, title=old.title) == old


def test_a_uuid_of_the_sender_is_kept(desk: Shelf) -> None:
    """Rule: R-140"""
    first, mine = entry(desk), frames.new_uuid()
    made = desk.update_of(first, entry_uuid=mine)
    desk.update(made)
    assert desk.entry(mine).version == 2


@pytest.mark.parametrize(
    ("changes", "code", "rule", "field"),
    [
        ({"logical_id": ""}, UPDATE, "R-140", "lid"),
        ({"logical_id": "Version01"}, UPDATE, "R-140", "lid"),
        ({"logical_id": "urn:uuid:00000000-0000-4000-8000-00000000dead"}, VERSION, "R-141", "lid"),
        ({"unique_id": "1.2.3.4.5.6"}, "XDSMetadataIdentifierError", "R-143", "uniqueId"),
        ({"hash": "0" * 40}, UPDATE, "L-04", "hash"),
        ({"size": 1}, UPDATE, "L-04", "size"),
        ({"class_code": None}, METADATA, "R-020", "classCode"),
        ({"title": titled("t" * 200)}, METADATA, "R-029", "title"),
    ],
)
def test_what_is_wrong_with_the_object_is_said(
    desk: Shelf, changes: dict, code: str, rule: str, field: str
) -> None:
    """Rule: R-140, R-141, R-143, R-144, L-04, E-25"""
    errors = desk.not_updated(desk.update_of(entry(desk), **changes))
    assert [(e.code, e.location) for e in errors] == [(code, f"DocumentEntry Version01/{field}")], errors
    assert f"[{rule}])" in errors[0].context


def test_an_initial_version_is_no_update(desk: Shelf) -> None:
    """lid equal to id, or none. Rule: R-140"""
    made = desk.update_of(entry(desk))
    new = frames.new_uuid()
    made.entries[0].entry_uuid = made.entries[0].logical_id = made.associations[0].target = new
    the(desk.not_updated(made), UPDATE, "R-140", f"DocumentEntry {new}", "lid")


@pytest.mark.parametrize("given", [["2"], ["0"], ["1", "1"], [], ["one"], ["-1"], [""], ["1" * 300]])
def test_the_previous_version_is_the_current_one_exactly(desk: Shelf, given: list[str]) -> None:
    """Rule: R-140, R-142"""
    made = desk.update_of(entry(desk))
    made.associations[0].slots["PreviousVersion"] = given
    assert codes(desk.not_updated(made)) <= {VERSION, METADATA}


def test_an_old_version_is_not_updated_again(desk: Shelf) -> None:
    """Rule: R-142, L-06"""
    first = entry(desk)
    stale = desk.update_of(first)
    desk.updated(first)
    the(desk.not_updated(stale), VERSION, "R-142", "DocumentEntry Version01", "PreviousVersion")


def test_of_two_updates_at_once_one_wins(desk: Shelf) -> None:
    """The second builds on a version that is no longer the current one.

    Rule: R-142, R-161
    """
    first = entry(desk)
    one, other = desk.update_of(first), desk.update_of(first)
    desk.update(one)
    assert codes(desk.not_updated(other)) == {VERSION}
    assert [e.version for e in desk.versions(first)] == [1, 2]


@pytest.mark.parametrize(
    ("slots", "code"),
    [
        ({"SubmissionSetStatus": ["Reference"]}, METADATA),
        ({"SubmissionSetStatus": []}, METADATA),
        ({"SubmissionSetStatus": ["Original", "Original"]}, METADATA),
        ({"AssociationPropagation": ["maybe"]}, UPDATE),
        ({"AssociationPropagation": ["yes", "no"]}, UPDATE),
        ({"AssociationPropagation": []}, UPDATE),
    ],
)
def test_the_slots_of_the_membership_are_read_strictly(desk: Shelf, slots: dict, code: str) -> None:
    """Rule: R-140, R-064"""
    made = desk.update_of(entry(desk))
    made.associations[0].slots |= slots
    errors = desk.not_updated(made)
    assert codes(errors) == {code}, errors


def test_without_its_membership_an_object_is_no_update(desk: Shelf) -> None:
    """Rule: R-140"""
    made = desk.update_of(entry(desk))
    made.associations.clear()
    the(desk.not_updated(made), UPDATE, "R-140", "DocumentEntry Version01", "HasMember")


def test_another_type_of_association_is_no_membership(desk: Shelf) -> None:
    """Rule: R-148"""
    made = desk.update_of(entry(desk))
    made.associations[0].type = RPLC
    assert METADATA in codes(desk.not_updated(made))


def test_an_update_without_an_operation_is_refused(desk: Shelf) -> None:
    """Rule: R-140"""
    assert codes(desk.not_updated(desk.empty())) == {UPDATE}


def test_one_document_is_updated_once_in_a_request(desk: Shelf) -> None:
    """Rule: R-145"""
    stored = desk.entry(entry(desk))
    made = updates.update_of(desk.domain, stored)
    updates.new_version(made, stored)
    assert OPERATION in codes(desk.not_updated(made))


def test_several_documents_are_updated_together_or_not_at_all(desk: Shelf) -> None:
    """Rule: R-161, A-1"""
    one, other = (desk.entry(e.entry_uuid) for e in desk.new(2).entries)
    made = updates.update_of(desk.domain, one, title=titled("a"))
    updates.new_version(made, other, title=titled("b"))
    spoiled = replace(made, associations=[replace(a, slots=dict(a.slots)) for a in made.associations])
    spoiled.associations[1].slots["PreviousVersion"] = ["7"]
    assert codes(desk.not_updated(spoiled)) == {VERSION}
    desk.update(made)
    assert [len(desk.versions(e.logical_id)) for e in (one, other)] == [2, 2]


def test_an_id_that_is_taken_is_refused(desk: Shelf) -> None:
    """Rule: R-087"""
    first, other = entry(desk), entry(desk)
    errors = desk.not_updated(desk.update_of(first, entry_uuid=other))
    assert METADATA in codes(errors) and any("[R-087]" in e.context for e in errors)


def test_a_deprecated_document_is_not_updated(desk: Shelf) -> None:
    """Its status is changed first, or ITI-92 is used. Rule: L-05"""
    old = entry(desk)
    desk.register(desk.related(RPLC, old))
    the(desk.not_updated(desk.update_of(old)), UPDATE, "L-05", "DocumentEntry Version01", "availabilityStatus")


def test_a_repeat_is_told_that_the_first_attempt_succeeded(desk: Shelf) -> None:
    """And nothing else: the rest only follows from it. Rule: R-084, L-09"""
    made = desk.update_of(entry(desk))
    desk.update(made)
    set_id = made.submission_set.entry_uuid
    error = the(desk.not_updated(made), "XDSDuplicateUniqueIdInRegistry", "R-084", f"SubmissionSet {set_id}",
                "uniqueId")
    assert "that one succeeded" in error.context


def test_delayed_assembly_fills_hash_and_size(desk: Shelf) -> None:
    """From size 0 and the hash of nothing to those of the document; after that they stay.

    Rule: L-04
    """
    empty = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
    awaited = entry(desk, size=0, hash=empty)
    built = desk.updated(awaited, size=12, hash="a" * 40)
    assert (desk.entry(built).size, desk.entry(built).hash) == (12, "a" * 40)
    assert codes(desk.not_updated(desk.update_of(built, size=0, hash=empty))) == {UPDATE}


# -- associations -----------------------------------------------------------------------------------------------------


def ties(desk: Shelf, uuid: str) -> set[tuple[str, str, str]]:
    """(type, source, target) of what touches an object, the memberships of sets apart."""
    sets = {s.entry_uuid for s in desk.sets()}
    return {
        (a.type.rpartition(":")[2], a.source, a.target) for a in desk.associations(uuid) if a.source not in sets
    }


def test_relationships_and_folders_go_on_with_the_new_version(desk: Shelf) -> None:
    """Both directions; the old version keeps its own; new memberships belong to the set of the update.

    Rule: L-02, R-104
    """
    first = desk.new(folder=True)
    old, folder = first.entries[0].entry_uuid, first.folders[0].entry_uuid
    addendum = desk.register(desk.related(APND, old)).entries[0].entry_uuid
    signature = desk.register(desk.related(SIGNS, old)).entries[0].entry_uuid
    made = desk.update_of(old)
    desk.update(made)
    new = desk.versions(old)[-1].entry_uuid
    carried = {("HasMember", folder, new), ("APND", addendum, new), ("signs", signature, new)}
    assert ties(desk, new) == carried
    assert ties(desk, old) == {(kind, source, old) for kind, source, _ in carried}
    own = next(s for s in desk.sets() if s.unique_id == made.submission_set.unique_id).entry_uuid  # type: ignore[union-attr]
    held = {a.target for a in desk.associations(own) if a.source == own}
    membership = next(a.entry_uuid for a in desk.associations(new) if a.source == folder)
    assert held == {new, membership}


def test_without_propagation_they_stay_with_the_old_version(desk: Shelf) -> None:
    """Rule: L-02"""
    first = desk.new(folder=True)
    old = first.entries[0].entry_uuid
    desk.register(desk.related(APND, old))
    before = ties(desk, old)
    new = desk.updated(old, propagation="no")
    assert ties(desk, new) == set() and ties(desk, old) == before


def test_two_related_documents_updated_together_stay_related(desk: Shelf) -> None:
    """The carried association leads from one new version to the other, once.

    Rule: L-02
    """
    parent = entry(desk)
    child = desk.register(desk.related(XFRM, parent)).entries[0].entry_uuid
    made = updates.update_of(desk.domain, desk.entry(parent), title=titled("a"))
    updates.new_version(made, desk.entry(child), title=titled("b"))
    desk.update(made)
    new_parent, new_child = desk.versions(parent)[-1].entry_uuid, desk.versions(child)[-1].entry_uuid
    assert ties(desk, new_parent) == ties(desk, new_child) == {("XFRM", new_child, new_parent)}


def test_a_carried_replacement_replaces_nothing_once_more(desk: Shelf) -> None:
    """The document that was replaced long ago may have been approved again since.

    Rule: L-02
    """
    old = entry(desk)
    new = desk.register(desk.related(RPLC, old)).entries[0].entry_uuid
    back = desk.empty()
    updates.new_status(back, old, DEPRECATED, APPROVED)
    desk.update(back)
    desk.updated(new)
    assert desk.status(old) == ["Approved"]


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_gets_a_new_version_with_its_documents(desk: Shelf) -> None:
    """Rule: L-01, L-02, R-104"""
    first = desk.new(2, folder=True)
    old = desk.folder(first.folders[0].entry_uuid)
    desk.update(updates.update_of(desk.domain, old, title=titled("Dossier corrigé"), last_update_time=""))
    held = next(a for a in desk.associations(first.entries[0].entry_uuid)
                if a.type == HAS_MEMBER and a.source not in {old.entry_uuid, *(s.entry_uuid for s in desk.sets())})
    new = desk.folder(held.source)
    assert (new.version, new.status, new.logical_id, new.title[0].value) == (
        2, APPROVED, old.entry_uuid, "Dossier corrigé"
    )
    assert new.last_update_time >= old.last_update_time and desk.folder(old.entry_uuid).status == DEPRECATED
    assert {t for _, s, t in ties(desk, new.entry_uuid)} == {e.entry_uuid for e in first.entries}


@pytest.mark.parametrize(
    ("changes", "previous", "code"),
    [
        ({"logical_id": ""}, "1", UPDATE),
        ({}, "2", VERSION),
        ({"codes": []}, "1", METADATA),
        ({"unique_id": "1.2.3.4"}, "1", "XDSMetadataIdentifierError"),
    ],
)
def test_a_folder_is_held_to_the_same_rules(desk: Shelf, changes: dict, previous: str, code: str) -> None:
    """Rule: R-140, R-142, R-143, R-144"""
    stored = desk.folder(desk.new(folder=True).folders[0].entry_uuid)
    made = updates.update_of(desk.domain, stored, last_update_time="", **changes)
    made.associations[0].slots["PreviousVersion"] = [previous]
    assert codes(desk.not_updated(made)) == {code}


def test_a_lid_of_another_kind_is_unknown(desk: Shelf) -> None:
    """Rule: R-141"""
    first = desk.new(folder=True)
    folder = desk.folder(first.folders[0].entry_uuid)
    made = updates.update_of(desk.domain, folder, last_update_time="", logical_id=first.entries[0].entry_uuid)
    assert codes(desk.not_updated(made)) == {VERSION}


# -- patients ---------------------------------------------------------------------------------------------------------


def test_an_unconnected_document_may_change_its_patient(desk: Shelf) -> None:
    """Each version is its own patient's; both together are for references only.

    Rule: L-03
    """
    first, other = entry(desk), Shelf(desk.world)
    made = desk.update_of(first, patient_id=other.patient_id)
    desk.update(made)
    assert [e.status for e in desk.found("EntryUUID", first)] == [DEPRECATED]
    found = desk.world.client().query(
        "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
        [("$XDSDocumentEntryLogicalID", [quote_list([first])]), ("$MetadataLevel", ["2"])], patient_id="",
    )
    assert [e.code for e in found.outcome.errors] == ["XDSResultNotSinglePatient"]
    assert [o.unique_id for o in desk.world.find(other.patient_id).objects] == [made.entries[0].unique_id]  # type: ignore[union-attr]
    assert {line.action for line in desk.world.log_of(other.patient_id)} >= {"update"}


@pytest.mark.parametrize("tie", ["folder", "addendum"])
def test_a_connected_document_keeps_its_patient(desk: Shelf, tie: str) -> None:
    """Rule: L-03"""
    first = desk.new(folder=tie == "folder").entries[0].entry_uuid
    if tie == "addendum":
        desk.register(desk.related(APND, first))
    made = desk.update_of(first, patient_id=desk.world.patient())
    assert codes(desk.not_updated(made)) == {"XDSPatientIDReconciliationError"}


def test_set_and_new_version_are_of_one_patient(desk: Shelf) -> None:
    """Rule: R-091"""
    made = desk.update_of(entry(desk))
    made.entries[0].patient_id = desk.world.patient()
    assert codes(desk.not_updated(made)) == {"XDSPatientIdDoesNotMatch"}


@pytest.mark.parametrize("is_open", [False])
def test_an_unknown_patient_gets_no_update(desk: Shelf, is_open: bool) -> None:
    """Rule: R-090"""
    made = desk.update_of(entry(desk), patient_id=desk.world.patient(is_open=is_open))
    assert codes(desk.not_updated(made)) == {"XDSUnknownPatientId"}


def test_a_closed_record_gets_no_update(desk: Shelf) -> None:
    """Answered as an unknown one. Rule: R-090"""
    made = desk.update_of(entry(desk))
    desk.world.close(desk.patient_id)
    assert codes(desk.not_updated(made)) == {"XDSUnknownPatientId"}


def test_a_document_of_a_closed_record_cannot_be_taken_out_of_it(desk: Shelf) -> None:
    """Rule: R-141, L-08"""
    made = desk.update_of(entry(desk), patient_id=desk.world.patient())
    desk.world.close(desk.patient_id)
    assert codes(desk.not_updated(made)) == {VERSION}


def test_each_update_is_in_the_log_of_the_patient(desk: Shelf) -> None:
    """Rule: A-3"""
    first = entry(desk)
    made = desk.update_of(first)
    desk.update(made)
    line = [one for one in desk.world.log_of(desk.patient_id) if one.event == "ITI-57"][-1]
    assert (line.action, line.outcome, line.documents) == ("update", "success", (made.entries[0].unique_id,))
    assert made.submission_set.unique_id in line.detail


def test_the_set_of_an_update_is_found(desk: Shelf) -> None:
    """Rule: R-161"""
    made = desk.update_of(entry(desk))
    desk.update(made)
    found = desk.world.client().query(
        FIND_SUBMISSION_SETS,
        [("$XDSSubmissionSetPatientId", [quote(desk.patient_id)]),
         ("$XDSSubmissionSetStatus", [quote_list([APPROVED])])], patient_id=desk.patient_id,
    )
    assert made.submission_set.unique_id in {o.unique_id for o in found.objects}  # type: ignore[union-attr]


def test_an_association_of_an_update_has_no_strangers(desk: Shelf) -> None:
    """What is in the request and belongs to no operation is refused. Rule: R-147"""
    first, other = entry(desk), entry(desk)
    made = desk.update_of(first)
    made.associations.append(Association(entry_uuid="stray", type=APND, source=first, target=other))
    assert codes(desk.not_updated(made)) == {OPERATION}
