"""ITI-57: changes of availability status, and associations between stored objects.

Clause: ITI TF-2 3.57.4.1.3
"""

from __future__ import annotations

import pytest

from conformance import updates
from tests.direct import the
from tests.updating import Shelf, codes, titled
from tests.world import World
from xds.model import Association
from xds.namespaces import (
    APND,
    APPROVED,
    ARCHIVED,
    DEPRECATED,
    HAS_MEMBER,
    RPLC,
    SIGNS,
    UPDATE_AVAILABILITY_STATUS,
    XFRM,
)

UPDATE, OPERATION = "XDSMetadataUpdateError", "XDSMetadataUpdateOperationError"
METADATA, PATIENT = "XDSRegistryMetadataError", "XDSPatientIDReconciliationError"


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def entry(desk: Shelf) -> str:
    return desk.new().entries[0].entry_uuid


def status_of(desk: Shelf, target: str, original: str = APPROVED, new: str = DEPRECATED) -> object:
    made = desk.empty()
    updates.new_status(made, target, original, new)
    return made


def membership(desk: Shelf, entry_uuid: str, folder: str) -> Association:
    return next(a for a in desk.associations(entry_uuid) if a.source == folder)


# -- availability status ----------------------------------------------------------------------------------------------


def test_a_document_is_deprecated_and_approved_again(desk: Shelf) -> None:
    """No new version. Rule: R-146"""
    first = entry(desk)
    desk.update(status_of(desk, first))
    assert desk.status(first) == ["Deprecated"]
    desk.update(status_of(desk, first, DEPRECATED, APPROVED))
    assert [(e.version, e.status) for e in desk.versions(first)] == [(1, APPROVED)]


def test_a_folder_and_a_folder_membership_are_deprecated(desk: Shelf) -> None:
    """Rule: R-146, E-07"""
    made = desk.new(folder=True)
    document, folder = made.entries[0].entry_uuid, made.folders[0].entry_uuid
    inside = membership(desk, document, folder)
    desk.update(status_of(desk, inside.entry_uuid))
    assert not [a for a in desk.associations(document) if a.source == folder]
    desk.update(status_of(desk, folder))
    assert desk.folder(folder).status == DEPRECATED


@pytest.mark.parametrize(
    ("slots", "field"),
    [
        ({"OriginalStatus": []}, "OriginalStatus"),
        ({"NewStatus": []}, "NewStatus"),
        ({"OriginalStatus": ["Approved"]}, "OriginalStatus"),
        ({"NewStatus": ["urn:oasis:names:tc:ebxml-regrep:StatusType:Submitted"]}, "NewStatus"),
        ({"NewStatus": [ARCHIVED]}, "NewStatus"),
        ({"NewStatus": [DEPRECATED, DEPRECATED]}, "NewStatus"),
        ({"NewStatus": [APPROVED]}, "NewStatus"),
        ({"OriginalStatus": [DEPRECATED], "NewStatus": [APPROVED]}, "OriginalStatus"),
    ],
)
def test_both_slots_are_there_valid_different_and_true(desk: Shelf, slots: dict, field: str) -> None:
    """National statuses only where the domain has them. Rule: R-146"""
    made = status_of(desk, entry(desk))
    made.associations[0].slots |= slots
    the(desk.not_updated(made), OPERATION, "R-146", "Association Status00", field)


def test_an_old_version_keeps_its_status(desk: Shelf) -> None:
    """Rule: R-146, L-06"""
    first = entry(desk)
    desk.updated(first)
    error = the(desk.not_updated(status_of(desk, first, DEPRECATED, APPROVED)), OPERATION, "R-146",
                "Association Status00", "targetObject")
    assert "version 1" in error.context


def test_a_set_and_its_memberships_never_change(desk: Shelf) -> None:
    """Rule: R-146"""
    made = desk.new()
    for target in (made.submission_set.entry_uuid, made.associations[0].entry_uuid):
        the(desk.not_updated(status_of(desk, target)), OPERATION, "R-146", "Association Status00", "targetObject")


def test_an_unknown_target_is_unresolved(desk: Shelf) -> None:
    """Rule: R-146"""
    made = status_of(desk, "urn:uuid:00000000-0000-4000-8000-00000000dead")
    assert codes(desk.not_updated(made)) == {"UnresolvedReferenceException"}


def test_a_target_of_another_patient_is_refused(desk: Shelf) -> None:
    """Rule: R-147"""
    assert codes(desk.not_updated(status_of(desk, entry(Shelf(desk.world))))) == {PATIENT}


def test_one_status_is_changed_once_in_a_request(desk: Shelf) -> None:
    """Rule: R-146"""
    first = entry(desk)
    made = status_of(desk, first)
    updates.new_status(made, first, APPROVED, DEPRECATED).entry_uuid = "again"
    assert codes(desk.not_updated(made)) == {OPERATION}


@pytest.mark.parametrize("named", ["new version", "current version"])
def test_status_and_update_together_end_on_the_new_version(desk: Shelf, named: str) -> None:
    """The status is applied after the update. Rule: R-146"""
    first = entry(desk)
    made = desk.update_of(first)
    updates.new_status(made, "Version01" if named == "new version" else first, APPROVED, DEPRECATED)
    desk.update(made)
    assert [(e.version, e.status) for e in desk.versions(first)] == [(1, DEPRECATED), (2, DEPRECATED)]


def test_status_and_update_that_do_not_fit_are_refused(desk: Shelf) -> None:
    """The new version is Approved. Rule: R-146"""
    made = desk.update_of(entry(desk))
    updates.new_status(made, "Version01", DEPRECATED, APPROVED)
    assert codes(desk.not_updated(made)) == {UPDATE}


def test_a_status_starts_from_the_set_of_the_request(desk: Shelf) -> None:
    """Rule: R-146"""
    first, other = entry(desk), entry(desk)
    made = desk.update_of(first)
    made.associations.append(Association(entry_uuid="x", type=UPDATE_AVAILABILITY_STATUS, source=first, target=other))
    the(desk.not_updated(made), OPERATION, "R-146", "Association x", "sourceObject")


# -- associations -----------------------------------------------------------------------------------------------------


def added(desk: Shelf, kind: str, source: str, target: str) -> object:
    made = desk.empty()
    updates.new_association(made, kind, source, target)
    return made


def test_a_stored_document_enters_a_stored_folder(desk: Shelf) -> None:
    """The membership belongs to the set of the request, by HasMember; the folder is dated.

    Rule: R-147, R-104
    """
    document, folder = entry(desk), desk.new(folder=True).folders[0].entry_uuid
    with desk.world._registry_database() as database, database.write() as unit:
        unit.registry.touch_folders(unit.record.find(desk.patient_id).patient_key, [folder], "20010101000000")
    made = added(desk, HAS_MEMBER, folder, document)
    desk.update(made)
    link = membership(desk, document, folder)
    held = [a for a in desk.associations(link.entry_uuid) if a.target == link.entry_uuid]
    assert [(a.type, a.slots) for a in held] == [(HAS_MEMBER, {})]
    assert desk.folder(folder).last_update_time > "2020"


@pytest.mark.parametrize("kind", [APND, XFRM, SIGNS])
def test_stored_documents_become_related(desk: Shelf, kind: str) -> None:
    """Rule: R-147"""
    one, other = entry(desk), entry(desk)
    desk.update(added(desk, kind, one, other))
    assert [a.type for a in desk.associations(one) if a.target == other] == [kind]


def test_a_replacement_by_hand_replaces(desk: Shelf) -> None:
    """With everything a replacement does: dependants and folders. Rule: R-100, R-101, R-103"""
    first = desk.new(folder=True)
    old, folder = first.entries[0].entry_uuid, first.folders[0].entry_uuid
    addendum = desk.register(desk.related(APND, old)).entries[0].entry_uuid
    new = entry(desk)
    desk.update(added(desk, RPLC, new, old))
    assert desk.status(old, addendum, new) == ["Deprecated", "Deprecated", "Approved"]
    assert membership(desk, new, folder)


def test_the_same_association_twice_is_refused(desk: Shelf) -> None:
    """Rule: R-147"""
    one, other = entry(desk), entry(desk)
    desk.update(added(desk, APND, one, other))
    the(desk.not_updated(added(desk, APND, one, other)), OPERATION, "R-147", "Association Added00", "associationType")


def test_both_ends_are_approved_and_no_sets(desk: Shelf) -> None:
    """Rule: R-147"""
    made, gone = desk.new(), entry(desk)
    document = made.entries[0].entry_uuid
    desk.update(status_of(desk, gone))
    for end in (gone, made.submission_set.entry_uuid):
        the(desk.not_updated(added(desk, APND, document, end)), OPERATION, "R-147", "Association Added00",
            "targetObject")


def test_both_ends_are_of_one_patient(desk: Shelf) -> None:
    """Rule: R-147"""
    other = Shelf(desk.world)
    document, folder = entry(other), desk.new(folder=True).folders[0].entry_uuid
    for kind, source in ((HAS_MEMBER, folder), (APND, entry(desk))):
        the(desk.not_updated(added(desk, kind, source, document)), PATIENT, "R-147", "Association Added00",
            "targetObject")


def test_both_ends_are_stored(desk: Shelf) -> None:
    """Rule: R-061"""
    made = added(desk, APND, entry(desk), "urn:uuid:00000000-0000-4000-8000-00000000dead")
    assert codes(desk.not_updated(made)) == {"UnresolvedReferenceException"}


@pytest.mark.parametrize("kind", [HAS_MEMBER, "urn:ihe:iti:2007:AssociationType:NONE"])
def test_the_type_fits_its_ends(desk: Shelf, kind: str) -> None:
    """Folders hold documents; anything else is between documents. Rule: R-148"""
    assert codes(desk.not_updated(added(desk, kind, entry(desk), entry(desk)))) == {METADATA}


def test_nothing_is_appended_to_a_transformation(desk: Shelf) -> None:
    """Rule: R-073"""
    transformed = desk.register(desk.related(XFRM, entry(desk))).entries[0].entry_uuid
    assert codes(desk.not_updated(added(desk, APND, entry(desk), transformed))) == {METADATA}


def test_by_hand_and_by_propagation_exclude_each_other(desk: Shelf) -> None:
    """On one document; without propagation the new version may be named.

    Rule: R-149
    """
    first, other = entry(desk), entry(desk)
    made = desk.update_of(first)
    updates.new_association(made, APND, other, "Version01")
    the(desk.not_updated(made), OPERATION, "R-149", "Association Added01", "targetObject")
    made = desk.update_of(first, propagation="no")
    updates.new_association(made, APND, other, "Version01")
    desk.update(made)
    new = desk.versions(first)[-1].entry_uuid
    assert [a.source for a in desk.associations(new) if a.type == APND] == [other]


def test_a_version_that_is_replaced_in_the_request_gets_no_association(desk: Shelf) -> None:
    """Rule: R-149"""
    first, other = entry(desk), entry(desk)
    made = desk.update_of(first, propagation="no")
    updates.new_association(made, APND, other, first)
    assert codes(desk.not_updated(made)) == {OPERATION}


def test_a_submission_points_at_an_association_of_the_request(desk: Shelf) -> None:
    """Rule: R-147"""
    made = added(desk, APND, entry(desk), entry(desk))
    made.associations[1].target = entry(desk)
    assert codes(desk.not_updated(made)) == {OPERATION}


def test_everything_at_once(desk: Shelf) -> None:
    """All four operations in one request. Rule: R-161"""
    first, other, third = entry(desk), entry(desk), entry(desk)
    box = desk.new(folder=True)
    made = updates.update_of(desk.domain, desk.entry(first), title=titled("a"))
    updates.new_version(made, desk.folder(box.folders[0].entry_uuid), title=titled("b"), last_update_time="")
    updates.new_status(made, other, APPROVED, DEPRECATED)
    updates.new_association(made, SIGNS, third, box.entries[0].entry_uuid)
    desk.update(made)
    assert desk.status(first, other, third) == ["Deprecated", "Deprecated", "Approved"]
    assert desk.folder(box.folders[0].entry_uuid).status == DEPRECATED
