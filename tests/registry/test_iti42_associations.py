"""ITI-42: references, associations and folders against what is stored. Every refusal leaves the database as it was.

Clause: ITI TF-2 3.42.4.1.3; ITI TF-3 4.1.4, 4.2.2
"""

from __future__ import annotations

import pytest

from conformance import frames
from tests.direct import Desk, the
from tests.world import World
from xds.model import Association, Code, Submission
from xds.namespaces import (
    APND,
    HAS_MEMBER,
    IS_SNAPSHOT_OF,
    ON_DEMAND,
    RELATIONSHIPS,
    RPLC,
    SIGNS,
    SUBMIT_ASSOCIATION,
    UPDATE_AVAILABILITY_STATUS,
    XFRM,
    XFRM_RPLC,
)

METADATA = "XDSRegistryMetadataError"
UNRESOLVED = "UnresolvedReferenceException"
DEPRECATED = "XDSRegistryDeprecatedDocumentError"
OTHER_PATIENT = "XDSPatientIdDoesNotMatch"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def add(made: Submission, one: Association) -> str:
    """Append an association; returns the subject errors name it by."""
    made.associations.append(one)
    return f"Association {one.entry_uuid}"


def last(made: Submission) -> str:
    return f"Association {made.associations[-1].entry_uuid}"


def test_an_unknown_association_type_is_refused(desk: Desk) -> None:
    """Rule: R-060"""
    made = desk.related("urn:ihe:iti:2007:AssociationType:COPY", desk.new().entries[0].entry_uuid)
    the(desk.refused(made), METADATA, "R-060", last(made), "associationType")


@pytest.mark.parametrize("kind", [RPLC, APND, XFRM, XFRM_RPLC, SIGNS])
def test_an_unknown_target_is_refused(desk: Desk, kind: str) -> None:
    """Rule: R-061"""
    made = desk.related(kind, frames.new_uuid())
    the(desk.refused(made), UNRESOLVED, "R-061", last(made), "targetObject")


def test_an_unknown_folder_and_an_unknown_reference_are_refused(desk: Desk) -> None:
    """A UUID that names nothing, as source and as target.

    Rule: R-061
    """
    made = desk.submission()
    inside = desk.member(made, frames.new_uuid(), made.entries[0].entry_uuid)
    the(desk.refused(made), UNRESOLVED, "R-061", f"Association {inside.entry_uuid}", "sourceObject")
    made = desk.submission()
    subject = add(
        made, desk.link(HAS_MEMBER, made.submission_set.entry_uuid, frames.new_uuid(), SubmissionSetStatus="Reference")
    )
    the(desk.refused(made), UNRESOLVED, "R-061", subject, "targetObject")


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_symbolic_id_that_is_not_in_the_request_is_refused(desk: Desk, end: str) -> None:
    """Rule: R-061"""
    made = desk.related(SIGNS, desk.new().entries[0].entry_uuid)
    setattr(made.associations[-1], end, "Document77")
    the(desk.refused(made), UNRESOLVED, "R-061", last(made), f"{end}Object")


def test_an_association_to_itself_is_refused(desk: Desk) -> None:
    """Rule: R-062"""
    made = desk.submission()
    subject = add(made, desk.link(SIGNS, made.entries[0].entry_uuid, made.entries[0].entry_uuid))
    the(desk.refused(made), METADATA, "R-062", subject, "targetObject")


@pytest.mark.parametrize("twice", [False, True])
def test_every_new_object_has_one_membership(desk: Desk, twice: bool) -> None:
    """Rule: R-063"""
    made = desk.submission()
    if twice:
        first = made.associations[0]
        made.associations.append(desk.link(HAS_MEMBER, first.source, first.target, SubmissionSetStatus="Original"))
    else:
        made.associations.clear()
    subject = f"DocumentEntry {made.entries[0].entry_uuid}"
    the(desk.refused(made), METADATA, "R-063", subject, "HasMember")


def test_a_folder_membership_is_itself_a_member(desk: Desk) -> None:
    """The set must hold the Folder membership too.

    Rule: R-063, R-067
    """
    folder = desk.new(folder=True).folders[0].entry_uuid
    made = desk.submission()
    subject = add(made, desk.link(HAS_MEMBER, folder, made.entries[0].entry_uuid))
    the(desk.refused(made), METADATA, "R-063", subject, "HasMember")


@pytest.mark.parametrize("value", [None, "Copy"])
def test_a_membership_says_original_or_reference(desk: Desk, value: str | None) -> None:
    """Rule: R-064"""
    made = desk.submission()
    made.associations[0].slots = {"SubmissionSetStatus": [value]} if value else {}
    the(desk.refused(made), METADATA, "R-064", last(made), "SubmissionSetStatus")


def test_original_is_for_new_documents_and_reference_for_stored_ones(desk: Desk) -> None:
    """Rule: R-065"""
    old = desk.new().entries[0].entry_uuid
    made = desk.submission()
    made.associations[0].slots = {"SubmissionSetStatus": ["Reference"]}
    the(desk.refused(made), METADATA, "R-065", last(made), "SubmissionSetStatus")
    made = desk.submission()
    add(made, desk.link(HAS_MEMBER, made.submission_set.entry_uuid, old, SubmissionSetStatus="Original"))
    errors = desk.refused(made)
    assert {e.code for e in errors} == {METADATA} and all("[R-065]" in e.context for e in errors)


@pytest.mark.parametrize("which", ["Folder", "Association"])
def test_the_set_holds_no_stored_folder_and_no_stored_association(desk: Desk, which: str) -> None:
    """A set refers to stored documents only.

    Rule: R-065
    """
    old = desk.new(folder=True)
    target = old.folders[0] if which == "Folder" else old.associations[0]
    made = desk.submission()
    subject = add(
        made, desk.link(HAS_MEMBER, made.submission_set.entry_uuid, target.entry_uuid, SubmissionSetStatus="Reference")
    )
    the(desk.refused(made), METADATA, "R-065", subject, "targetObject")


def test_a_reference_to_a_stored_document_is_kept(desk: Desk) -> None:
    """The document itself is not changed, and the association is found from both its ends."""
    old = desk.new()
    made = desk.submission()
    add(
        made,
        desk.link(
            HAS_MEMBER, made.submission_set.entry_uuid, old.entries[0].entry_uuid, SubmissionSetStatus="Reference"
        ),
    )
    desk.register(made)
    for end in (made.submission_set.entry_uuid, old.entries[0].entry_uuid):
        found = {a.entry_uuid: a for a in desk.associations(end)}
        assert found[made.associations[-1].entry_uuid].slot("SubmissionSetStatus") == "Reference"
    assert desk.status(old.entries[0].entry_uuid) == ["Approved"]


def test_a_reference_may_name_a_document_of_another_patient(desk: Desk) -> None:
    """The patient of a referenced document may differ. Clause: ITI TF-3 4.2.2.1"""
    foreign = Desk(desk.world).new()
    made = desk.submission()
    add(
        made,
        desk.link(
            HAS_MEMBER, made.submission_set.entry_uuid, foreign.entries[0].entry_uuid, SubmissionSetStatus="Reference"
        ),
    )
    desk.register(made)
    assert made.associations[-1].entry_uuid in {a.entry_uuid for a in desk.associations(made.submission_set.entry_uuid)}


@pytest.mark.parametrize("kind", ["HasMember from it", "HasMember to it", "relationship to it"])
def test_a_stored_submission_set_takes_no_association(desk: Desk, kind: str) -> None:
    """It is permanent.

    Rule: R-066
    """
    old = desk.new().submission_set.entry_uuid
    made = desk.submission()
    entry, own = made.entries[0].entry_uuid, made.submission_set.entry_uuid
    if kind == "HasMember from it":
        link = desk.link(HAS_MEMBER, old, entry)
        made.associations.append(desk.link(HAS_MEMBER, own, link.entry_uuid))
    elif kind == "HasMember to it":
        link = desk.link(HAS_MEMBER, own, old, SubmissionSetStatus="Reference")
    else:
        link = desk.link(SIGNS, entry, old)
    subject = add(made, link)
    field = "sourceObject" if kind == "HasMember from it" else "targetObject"
    the(desk.refused(made), METADATA, "R-066", subject, field)


def test_the_set_of_the_request_is_no_target(desk: Desk) -> None:
    """Rule: R-066, R-068"""
    made = desk.submission(folder=True)
    own = made.submission_set.entry_uuid
    subject = add(made, desk.link(SIGNS, made.entries[0].entry_uuid, own))
    the(desk.refused(made), METADATA, "R-066", subject, "targetObject")
    made = desk.submission(folder=True)
    inside = desk.member(made, made.folders[0].entry_uuid, made.submission_set.entry_uuid)
    the(desk.refused(made), METADATA, "R-068", f"Association {inside.entry_uuid}", "targetObject")


@pytest.mark.parametrize("source", ["stored document", "stored association"])
def test_only_a_folder_or_the_set_has_members(desk: Desk, source: str) -> None:
    """Rule: R-067"""
    old = desk.new()
    outside = old.entries[0].entry_uuid if source == "stored document" else old.associations[0].entry_uuid
    made = desk.submission()
    inside = desk.member(made, outside, made.entries[0].entry_uuid)
    the(desk.refused(made), METADATA, "R-067", f"Association {inside.entry_uuid}", "sourceObject")


def test_a_folder_holds_documents_only(desk: Desk) -> None:
    """Neither another folder nor an association, whether it is new or stored.

    Rule: R-067, R-068
    """
    old = desk.new(folder=True)
    targets = {"R-068": old.folders[0].entry_uuid, "R-067": old.associations[0].entry_uuid}
    for rule, target in targets.items():
        made = desk.submission(folder=True)
        inside = desk.member(made, made.folders[0].entry_uuid, target)
        the(desk.refused(made), METADATA, rule, f"Association {inside.entry_uuid}", "targetObject")
    made = desk.submission(folder=True)
    inside = desk.member(made, old.folders[0].entry_uuid, made.folders[0].entry_uuid)
    the(desk.refused(made), METADATA, "R-068", f"Association {inside.entry_uuid}", "targetObject")


def test_a_deprecated_document_enters_no_folder(desk: Desk) -> None:
    """Rule: R-067"""
    old = desk.new().entries[0].entry_uuid
    desk.register(desk.related(RPLC, old))
    folder = desk.new(folder=True).folders[0].entry_uuid
    made = desk.submission()
    inside = desk.member(made, folder, old)
    error = the(desk.refused(made), DEPRECATED, "R-067", f"Association {inside.entry_uuid}", "targetObject")
    assert old in error.context


@pytest.mark.parametrize("foreign", ["folder", "document"])
def test_folder_and_document_belong_to_one_patient(desk: Desk, foreign: str) -> None:
    """Rule: R-069"""
    other = Desk(desk.world).new(folder=True)
    made = desk.submission(folder=True)
    if foreign == "folder":
        inside = desk.member(made, other.folders[0].entry_uuid, made.entries[0].entry_uuid)
    else:
        inside = desk.member(made, made.folders[0].entry_uuid, other.entries[0].entry_uuid)
    the(desk.refused(made), OTHER_PATIENT, "R-069", f"Association {inside.entry_uuid}", "patientId")


@pytest.mark.parametrize("kind", sorted(RELATIONSHIPS))
def test_the_source_of_a_relationship_is_submitted_with_it(desk: Desk, kind: str) -> None:
    """Rule: R-070"""
    first, second = (desk.new().entries[0].entry_uuid for _ in range(2))
    made = desk.submission()
    subject = add(made, desk.link(kind, first, second))
    the(desk.refused(made), UNRESOLVED, "R-070", subject, "sourceObject")


@pytest.mark.parametrize("kind", [RPLC, XFRM_RPLC])
def test_a_replaced_document_is_stored_already(desk: Desk, kind: str) -> None:
    """Rule: R-071"""
    made = desk.submission(2)
    subject = add(made, desk.link(kind, made.entries[0].entry_uuid, made.entries[1].entry_uuid))
    the(desk.refused(made), UNRESOLVED, "R-071", subject, "targetObject")


@pytest.mark.parametrize("kind", [APND, XFRM, SIGNS])
def test_other_relationships_may_join_two_new_documents(desk: Desk, kind: str) -> None:
    """Rule: R-071"""
    made = desk.submission(2)
    add(made, desk.link(kind, made.entries[0].entry_uuid, made.entries[1].entry_uuid))
    desk.register(made)
    assert desk.status(*(e.entry_uuid for e in made.entries)) == ["Approved", "Approved"]


@pytest.mark.parametrize("kind", [APND, XFRM, SIGNS])
def test_a_deprecated_target_is_refused(desk: Desk, kind: str) -> None:
    """Rule: R-071"""
    old = desk.new().entries[0].entry_uuid
    desk.register(desk.related(RPLC, old))
    made = desk.related(kind, old)
    the(desk.refused(made), DEPRECATED, "R-071", last(made), "targetObject")


def test_the_target_of_a_relationship_is_a_document(desk: Desk) -> None:
    """Not a folder.

    Rule: R-071
    """
    made = desk.related(APND, desk.new(folder=True).folders[0].entry_uuid)
    the(desk.refused(made), METADATA, "R-071", last(made), "targetObject")


@pytest.mark.parametrize("kind", sorted(RELATIONSHIPS - {IS_SNAPSHOT_OF}))
def test_related_documents_belong_to_one_patient(desk: Desk, kind: str) -> None:
    """Rule: R-072"""
    made = desk.related(kind, Desk(desk.world).new().entries[0].entry_uuid)
    the(desk.refused(made), OTHER_PATIENT, "R-072", last(made), "patientId")


@pytest.mark.parametrize("where", ["stored", "in the request"])
def test_nothing_is_appended_to_a_transformation(desk: Desk, where: str) -> None:
    """Rule: R-073"""
    old = desk.new().entries[0].entry_uuid
    if where == "stored":
        transformed = desk.register(desk.related(XFRM, old)).entries[0].entry_uuid
        made = desk.related(APND, transformed)
        the(desk.refused(made), METADATA, "R-073", last(made), "targetObject")
        return
    made = desk.submission(2)
    first, second = (e.entry_uuid for e in made.entries)
    add(made, desk.link(XFRM, first, old))
    subject = add(made, desk.link(APND, second, first))
    the(desk.refused(made), METADATA, "R-073", subject, "targetObject")


def test_a_snapshot_is_of_an_on_demand_entry(desk: Desk) -> None:
    """A stable target is refused; on-demand ones are in test_iti61_register.

    Rule: R-074
    """
    made = desk.related(IS_SNAPSHOT_OF, desk.new().entries[0].entry_uuid)
    assert "on-demand" in the(desk.refused(made), METADATA, "R-074", last(made), "associationType").context


def test_an_on_demand_entry_is_not_registered_here(desk: Desk) -> None:
    """Rule: R-007"""
    made = desk.submission(object_type=ON_DEMAND, hash="", size=None, creation_time="")
    the(desk.refused(made), METADATA, "R-007", f"DocumentEntry {made.entries[0].entry_uuid}", "objectType")


def test_a_code_explains_a_relationship_and_no_membership(desk: Desk) -> None:
    """Rule: R-075"""
    why = Code("essai", "2.25.1", "Essai")
    made = desk.related(XFRM, desk.new().entries[0].entry_uuid)
    made.associations[-1].documentation = why
    desk.register(made)
    (link,) = (a for a in desk.associations(made.entries[0].entry_uuid) if a.type == XFRM)
    assert link.documentation == why
    made = desk.submission()
    made.associations[0].documentation = why
    the(desk.refused(made), METADATA, "R-075", last(made), "documentation")


@pytest.mark.parametrize("kind", [UPDATE_AVAILABILITY_STATUS, SUBMIT_ASSOCIATION])
def test_the_associations_of_metadata_update_are_refused(desk: Desk, kind: str) -> None:
    """Rule: R-076"""
    old = desk.new()
    made = desk.submission()
    subject = add(
        made,
        desk.link(kind, made.submission_set.entry_uuid, old.entries[0].entry_uuid, OriginalStatus="a", NewStatus="b"),
    )
    errors = desk.refused(made)
    assert {e.code for e in errors} == {METADATA}
    assert any("[R-076]" in e.context and e.location == f"{subject}/associationType" for e in errors)


def test_a_document_put_twice_in_one_folder_is_tolerated(desk: Desk) -> None:
    """And comes back once.

    Rule: R-077
    """
    old = desk.new(folder=True)
    folder, entry = old.folders[0].entry_uuid, old.entries[0].entry_uuid
    made = desk.submission()
    desk.member(made, folder, entry)
    desk.register(made)
    assert [e.entry_uuid for e in desk.entries(old.entries[0].unique_id)] == [entry]
    pairs = [(a.source, a.target) for a in desk.associations(folder) if a.type == HAS_MEMBER and a.source == folder]
    assert set(pairs) == {(folder, entry)}


def test_a_deprecated_document_is_not_referred_to(desk: Desk) -> None:
    """Rule: R-078"""
    old = desk.new().entries[0].entry_uuid
    desk.register(desk.related(RPLC, old))
    made = desk.submission()
    subject = add(made, desk.link(HAS_MEMBER, made.submission_set.entry_uuid, old, SubmissionSetStatus="Reference"))
    the(desk.refused(made), DEPRECATED, "R-078", subject, "targetObject")


def test_identifiers_are_compared_without_case(desk: Desk) -> None:
    """A UUID in upper case names the same object.

    Rule: C-15
    """
    made = desk.register(desk.related(APND, desk.new().entries[0].entry_uuid.upper()))
    assert any(a.type == APND for a in desk.associations(made.entries[0].entry_uuid))
