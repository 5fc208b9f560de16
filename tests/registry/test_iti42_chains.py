"""ITI-42: one request that links to what it replaces, chains over several requests, folders along the way.

Clause: ITI TF-2 3.42.4.1.3; ITI TF-3 4.2.2.2
"""

from __future__ import annotations

import pytest

from conformance import frames
from tests.direct import Desk, the
from tests.world import World
from xds.model import Submission
from xds.namespaces import APND, HAS_MEMBER, IS_SNAPSHOT_OF, ON_DEMAND, RPLC, SIGNS, XFRM, XFRM_RPLC

DEPRECATED = "XDSRegistryDeprecatedDocumentError"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def entry(desk: Desk, **changes: object) -> str:
    return desk.new(**changes).entries[0].entry_uuid


def relate(desk: Desk, kind: str, target: str) -> str:
    return desk.register(desk.related(kind, target)).entries[0].entry_uuid


def subject(made: Submission) -> str:
    return f"Association {made.associations[-1].entry_uuid}"


@pytest.mark.parametrize("replacement", [RPLC, XFRM_RPLC])
@pytest.mark.parametrize("kind", [APND, XFRM, SIGNS])
def test_nothing_is_hung_on_what_the_request_replaces(desk: Desk, kind: str, replacement: str) -> None:
    """An addendum to a document, sent with its replacement, would be deprecated at birth: the request is refused.

    Rule: R-071, R-110
    """
    old = entry(desk)
    made = desk.submission(2)
    made.associations.append(desk.link(replacement, made.entries[0].entry_uuid, old))
    made.associations.append(desk.link(kind, made.entries[1].entry_uuid, old))
    error = the(desk.refused(made), DEPRECATED, "R-071", subject(made), "targetObject")
    assert "this request replaces" in error.context and desk.status(old) == ["Approved"]


def test_nothing_is_hung_on_what_a_replacement_drags_along(desk: Desk) -> None:
    """Neither on an addendum of the replaced document, at any depth.

    Rule: R-071, R-101
    """
    old = entry(desk)
    deep = relate(desk, XFRM, relate(desk, APND, old))
    made = desk.submission(2)
    made.associations.append(desk.link(RPLC, made.entries[0].entry_uuid, old))
    made.associations.append(desk.link(SIGNS, made.entries[1].entry_uuid, deep))
    the(desk.refused(made), DEPRECATED, "R-071", subject(made), "targetObject")
    assert desk.status(old, deep) == ["Approved", "Approved"]


def test_a_document_and_its_addendum_are_replaced_together(desk: Desk) -> None:
    """The new addendum is appended to the new document; both old ones go, both new ones stay.

    Rule: R-100, R-101, R-071
    """
    old = entry(desk)
    addendum = relate(desk, APND, old)
    made = desk.submission(2)
    new, new_addendum = (e.entry_uuid for e in made.entries)
    made.associations += [
        desk.link(RPLC, new, old), desk.link(RPLC, new_addendum, addendum), desk.link(APND, new_addendum, new),
    ]
    desk.register(made)
    assert desk.status(old, addendum, new, new_addendum) == ["Deprecated", "Deprecated", "Approved", "Approved"]


def test_the_replacement_and_its_own_addendum_come_together(desk: Desk) -> None:
    """What is appended to, transformed from or signs the new document is not touched by the replacement.

    Rule: R-100, R-101
    """
    old = entry(desk)
    made = desk.submission(4)
    new, *others = (e.entry_uuid for e in made.entries)
    made.associations.append(desk.link(RPLC, new, old))
    made.associations += [desk.link(kind, one, new) for kind, one in zip((APND, XFRM, SIGNS), others, strict=True)]
    desk.register(made)
    assert desk.status(old, new, *others) == ["Deprecated"] + ["Approved"] * 4


def test_a_document_enters_no_folder_while_it_is_replaced(desk: Desk) -> None:
    """Its successor may.

    Rule: R-067
    """
    old, folder = entry(desk), desk.new(folder=True).folders[0].entry_uuid
    made = desk.related(RPLC, old)
    inside = desk.member(made, folder, old)
    the(desk.refused(made), DEPRECATED, "R-067", f"Association {inside.entry_uuid}", "targetObject")


def test_the_replaced_document_may_be_referred_to(desk: Desk) -> None:
    """Sources that replace name the old document too; it was Approved when they sent it.

    Rule: R-078
    """
    old = entry(desk)
    made = desk.related(RPLC, old)
    own = made.submission_set.entry_uuid
    made.associations.append(desk.link(HAS_MEMBER, own, old, SubmissionSetStatus="Reference"))
    desk.register(made)
    assert desk.status(old) == ["Deprecated"]


def test_a_transformation_is_not_what_one_appends_to_but_may_be_transformed(desk: Desk) -> None:
    """XFRM of XFRM, XFRM of APND and APND of APND are chains; APND of XFRM is none.

    Rule: R-073, R-071
    """
    first = entry(desk)
    transformed, addendum = relate(desk, XFRM, first), relate(desk, APND, first)
    relate(desk, XFRM, transformed), relate(desk, XFRM, addendum), relate(desk, APND, addendum)
    made = desk.related(APND, transformed)
    the(desk.refused(made), "XDSRegistryMetadataError", "R-073", subject(made), "targetObject")


def test_versions_with_their_transformations(desk: Desk) -> None:
    """Transform, replace, transform the new one, replace again: only the last version stands.

    Rule: R-100, R-101
    """
    gone, current = [], entry(desk)
    for _ in range(3):
        gone += [current, relate(desk, XFRM, current), relate(desk, APND, current)]
        current = relate(desk, RPLC, current)
    assert desk.status(*gone, current) == ["Deprecated"] * 9 + ["Approved"]


def test_a_dependant_of_two_documents_goes_with_the_first(desk: Desk) -> None:
    """One document appended to two: the replacement of either takes it along.

    Rule: R-101
    """
    one, other = entry(desk), entry(desk)
    made = desk.related(APND, one)
    both = made.entries[0].entry_uuid
    made.associations.append(desk.link(APND, both, other))
    desk.register(made)
    relate(desk, RPLC, other)
    assert desk.status(one, both, other) == ["Approved", "Deprecated", "Deprecated"]


def test_a_ring_of_transformations_ends(desk: Desk) -> None:
    """Two new documents that transform each other, appended to what is replaced: all go, and the work ends.

    Rule: R-101
    """
    old = entry(desk)
    made = desk.submission(2)
    one, other = (e.entry_uuid for e in made.entries)
    made.associations += [desk.link(XFRM, one, other), desk.link(XFRM, other, one), desk.link(XFRM, one, old)]
    desk.register(made)
    relate(desk, RPLC, old)
    assert desk.status(old, one, other) == ["Deprecated"] * 3


def test_the_folder_is_carried_over_from_each_version_and_not_from_dependants(desk: Desk) -> None:
    """A folder that held only the addendum does not receive the new document.

    Rule: R-103
    """
    old = entry(desk)
    addendum = relate(desk, APND, old)
    made = desk.submission(folder=True)
    folder = made.folders[0].entry_uuid
    desk.member(made, folder, addendum)
    desk.register(made)
    new = relate(desk, RPLC, old)
    assert [a for a in desk.associations(new) if a.source == folder] == []
    assert desk.status(addendum) == ["Deprecated"]


def test_four_ways_into_a_folder(desk: Desk) -> None:
    """New and stored documents into new and stored folders, each with its membership owned by the set.

    Rule: R-063, R-067, R-104, E-19
    """
    stored = entry(desk)
    first = desk.new(2, folder=True)
    second = desk.submission(folder=True)
    folder, other = first.folders[0].entry_uuid, second.folders[0].entry_uuid
    for target in (stored, first.entries[0].entry_uuid):
        desk.member(second, other, target)
    for target in (stored, second.entries[0].entry_uuid):
        desk.member(second, folder, target)
    desk.register(second)
    held = {a.target for a in desk.associations(other) if a.source == other}
    assert held == {stored, first.entries[0].entry_uuid, second.entries[0].entry_uuid}
    held = {a.target for a in desk.associations(folder) if a.source == folder}
    assert held == {stored, second.entries[0].entry_uuid, *(e.entry_uuid for e in first.entries)}
    assert desk.folder(folder).last_update_time == desk.folder(other).last_update_time


def test_a_submission_that_only_fills_a_folder_says_who_did_it(desk: Desk) -> None:
    """No document and no new folder: the set and its memberships are stored all the same.

    Rule: R-005
    """
    stored, folder = entry(desk), desk.new(folder=True).folders[0].entry_uuid
    made = desk.submission()
    made.entries.clear()
    made.associations.clear()
    inside = desk.member(made, folder, stored)
    desk.register(made)
    assert inside.entry_uuid in {a.target for a in desk.associations(made.submission_set.entry_uuid)}


@pytest.mark.parametrize("fault", ["R-020", "R-061", "R-064", "R-091"])
def test_one_fault_among_many_objects_refuses_them_all(desk: Desk, fault: str) -> None:
    """Three documents, a folder, a replacement: whatever is wrong with one, nothing of the rest is kept.

    Rule: A-1, A-2
    """
    old = entry(desk)
    made = desk.submission(3, folder=True)
    made.associations.append(desk.link(RPLC, made.entries[0].entry_uuid, old))
    if fault == "R-020":
        made.entries[2].class_code = None
    elif fault == "R-061":
        made.associations.append(desk.link(SIGNS, made.entries[2].entry_uuid, frames.new_uuid()))
    elif fault == "R-064":
        made.associations[2].slots.clear()
    else:
        made.folders[0].patient_id = Desk(desk.world).patient_id
    errors = desk.refused(made)
    assert [f"[{fault}]" in e.context for e in errors] == [True]
    assert desk.status(old) == ["Approved"] and len(desk.sets()) == 1


def test_every_kind_of_fault_is_told_in_one_answer(desk: Desk) -> None:
    """Attributes, structure between objects, identifiers, references, patients: six faults, six errors.

    Rule: A-8
    """
    old = desk.new(folder=True)
    gone = entry(desk)
    relate(desk, RPLC, gone)
    made = desk.submission(2, folder=True)
    one, two = made.entries
    one.type_code, two.creation_time = None, "yesterday"
    made.folders[0].unique_id = old.folders[0].unique_id
    two.unique_id, two.hash = old.entries[0].unique_id, "0" * 40
    made.associations += [
        desk.link(RPLC, one.entry_uuid, gone), desk.link(APND, two.entry_uuid, frames.new_uuid()),
    ]
    codes = sorted((e.code, e.location.rpartition("/")[2]) for e in desk.refused(made))
    assert codes == [
        ("UnresolvedReferenceException", "targetObject"), ("XDSDuplicateUniqueIdInRegistry", "uniqueId"),
        ("XDSNonIdenticalHash", "hash"), (DEPRECATED, "targetObject"),
        ("XDSRegistryMetadataError", "creationTime"), ("XDSRegistryMetadataError", "typeCode"),
    ]


def test_an_on_demand_entry_is_refused_for_what_it_is_and_for_nothing_else(desk: Desk) -> None:
    """It is not asked for hash, size and time of creation.

    Rule: I-13, R-007
    """
    made = desk.submission(object_type=ON_DEMAND, hash="", size=None, creation_time="")
    the(desk.refused(made), "XDSRegistryMetadataError", "R-007", f"DocumentEntry {made.entries[0].entry_uuid}",
        "objectType")


@pytest.mark.parametrize("kind", [RPLC, APND, XFRM, XFRM_RPLC, SIGNS, IS_SNAPSHOT_OF])
def test_what_is_related_to_is_a_document(desk: Desk, kind: str) -> None:
    """Not a folder, and not an association.

    Rule: R-071
    """
    old = desk.new(folder=True)
    for target in (old.folders[0].entry_uuid, old.associations[0].entry_uuid):
        made = desk.related(kind, target)
        the(desk.refused(made), "XDSRegistryMetadataError", "R-071", subject(made), "targetObject")
