"""ITI-42: replacement, what it drags along, and folders.

Clause: ITI TF-2 3.42.4.1.3; ITI TF-3 4.2.2.2
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.direct import FIND_SUBMISSION_SETS, Desk, the
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.model import Association
from xds.namespaces import APND, APPROVED, HAS_MEMBER, RPLC, SIGNS, XFRM, XFRM_RPLC

DEPRECATED = "XDSRegistryDeprecatedDocumentError"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def entry(desk: Desk) -> str:
    return desk.new().entries[0].entry_uuid


def relate(desk: Desk, kind: str, target: str) -> str:
    return desk.register(desk.related(kind, target)).entries[0].entry_uuid


def forget_time(desk: Desk, folder: str) -> None:
    """Date a stored folder long ago, so that a later change shows."""
    with desk.world._registry_database() as database, database.write() as unit:
        record = unit.record.find(desk.patient_id)
        unit.registry.touch_folders(record.patient_key, [folder], "20010101000000")


@pytest.mark.parametrize("kind", [RPLC, XFRM_RPLC])
def test_a_replaced_document_is_deprecated_and_the_new_one_approved(desk: Desk, kind: str) -> None:
    """Rule: R-100"""
    old = entry(desk)
    new = relate(desk, kind, old)
    assert desk.status(old, new) == ["Deprecated", "Approved"]


def test_what_depends_on_a_replaced_document_goes_with_it_at_any_depth(desk: Desk) -> None:
    """Transformations and addenda, and theirs; signatures and strangers stay.

    Rule: R-101, R-102
    """
    old = entry(desk)
    transformed, addendum = relate(desk, XFRM, old), relate(desk, APND, old)
    of_addendum = relate(desk, APND, addendum)
    deeper = relate(desk, XFRM, of_addendum)
    deepest = relate(desk, XFRM, deeper)
    signature, of_transformed = relate(desk, SIGNS, old), relate(desk, SIGNS, transformed)
    stranger = entry(desk)
    relate(desk, RPLC, old)
    gone = [old, transformed, addendum, of_addendum, deeper, deepest]
    assert desk.status(*gone) == ["Deprecated"] * len(gone)
    assert desk.status(signature, of_transformed, stranger) == ["Approved"] * 3


def test_what_a_replaced_document_depends_on_stays(desk: Desk) -> None:
    """Replacing an addendum does not touch what it was appended to.

    Rule: R-101
    """
    parent = entry(desk)
    addendum, beside = relate(desk, APND, parent), relate(desk, APND, parent)
    relate(desk, RPLC, addendum)
    assert desk.status(parent, addendum, beside) == ["Approved", "Deprecated", "Approved"]


def test_a_transformation_may_be_replaced(desk: Desk) -> None:
    """Rule: R-100"""
    source = entry(desk)
    transformed = relate(desk, XFRM, source)
    relate(desk, RPLC, transformed)
    assert desk.status(source, transformed) == ["Approved", "Deprecated"]


def test_transformation_and_replacement_in_one(desk: Desk) -> None:
    """The target of XFRM_RPLC goes with its dependants.

    Rule: R-100, R-101, R-109
    """
    old = entry(desk)
    addendum = relate(desk, APND, old)
    new = desk.register(desk.related(XFRM_RPLC, old, mime_type="application/pdf")).entries[0].entry_uuid
    assert desk.status(old, addendum, new) == ["Deprecated", "Deprecated", "Approved"]


def test_folders_of_the_replaced_document_receive_the_new_one(desk: Desk) -> None:
    """Every folder, by associations that belong to the new set; the old membership stays; the folder is dated.

    Rule: R-103, R-104, R-105
    """
    first = desk.new(folder=True)
    old, folders = first.entries[0].entry_uuid, [first.folders[0].entry_uuid]
    second = desk.submission(folder=True)
    desk.member(second, second.folders[0].entry_uuid, old)
    folders.append(desk.register(second).folders[0].entry_uuid)
    untouched = desk.new(folder=True).folders[0].entry_uuid
    for folder in (*folders, untouched):
        forget_time(desk, folder)
    made = desk.register(desk.related(RPLC, old))
    new, own = made.entries[0].entry_uuid, made.submission_set.entry_uuid
    memberships = {a.entry_uuid: a.source for a in desk.associations(new) if a.source != own and a.type == HAS_MEMBER}
    assert sorted(memberships.values()) == sorted(folders)
    held = {a.target for a in desk.associations(own) if a.source == own}
    assert set(memberships) <= held, "the new set does not hold the memberships made for it"
    old_ones = {a.source for a in desk.associations(old) if a.type == HAS_MEMBER and a.source in folders}
    assert old_ones == set(folders)
    assert all(desk.folder(f).last_update_time > "2020" for f in folders)
    assert desk.folder(untouched).last_update_time == "20010101000000"


def test_a_membership_given_by_the_sender_is_not_made_again(desk: Desk) -> None:
    """Rule: R-103, R-077"""
    first = desk.new(folder=True)
    folder, old = first.folders[0].entry_uuid, first.entries[0].entry_uuid
    made = desk.related(RPLC, old)
    inside = desk.member(made, folder, made.entries[0].entry_uuid)
    desk.register(made)
    new = made.entries[0].entry_uuid
    assert [a.entry_uuid for a in desk.associations(new) if a.source == folder] == [inside.entry_uuid]


def test_a_chain_of_replacements_keeps_one_document_current(desk: Desk) -> None:
    """Each version is replaced once; the folder holds all of them, one Approved.

    Rule: R-100, R-103
    """
    first = desk.new(folder=True)
    folder, versions = first.folders[0].entry_uuid, [first.entries[0].entry_uuid]
    for _ in range(4):
        versions.append(relate(desk, RPLC, versions[-1]))
    assert desk.status(*versions) == ["Deprecated"] * 4 + ["Approved"]
    assert [a.target for v in versions for a in desk.associations(v) if a.source == folder] == versions


def test_a_folder_receives_stored_and_new_documents(desk: Desk) -> None:
    """A stored document needs no Reference of its own to enter a folder; each arrival dates the folder.

    Rule: R-104, E-19
    """
    first = desk.new(folder=True)
    folder, stored = first.folders[0].entry_uuid, entry(desk)
    forget_time(desk, folder)
    new_document = desk.submission()
    desk.member(new_document, folder, new_document.entries[0].entry_uuid)
    desk.register(new_document)
    assert desk.folder(folder).last_update_time > "2020"
    forget_time(desk, folder)
    membership_alone = desk.submission()
    membership_alone.entries.clear()
    membership_alone.associations.clear()
    desk.member(membership_alone, folder, stored)
    desk.register(membership_alone)
    assert desk.folder(folder).last_update_time > "2020"
    targets = {a.target for a in desk.associations(folder) if a.source == folder}
    assert targets == {first.entries[0].entry_uuid, new_document.entries[0].entry_uuid, stored}


def test_one_document_is_replaced_once_in_a_request(desk: Desk) -> None:
    """Rule: R-106, R-110"""
    old = entry(desk)
    made = desk.submission(2)
    made.associations += [desk.link(RPLC, one.entry_uuid, old) for one in made.entries]
    the(desk.refused(made), DEPRECATED, "R-106", f"Association {made.associations[-1].entry_uuid}", "targetObject")
    assert desk.status(old) == ["Approved"]


def test_one_document_may_replace_two(desk: Desk) -> None:
    """And goes once into a folder that held both.

    Rule: R-100, R-103
    """
    first = desk.new(2, folder=True)
    folder, (one, other) = first.folders[0].entry_uuid, (e.entry_uuid for e in first.entries)
    made = desk.related(RPLC, one)
    new = made.entries[0].entry_uuid
    made.associations.append(desk.link(RPLC, new, other))
    desk.register(made)
    assert desk.status(one, other, new) == ["Deprecated", "Deprecated", "Approved"]
    assert len([a for a in desk.associations(new) if a.source == folder]) == 1


def test_the_twin_of_a_replaced_document_stays(desk: Desk) -> None:
    """Two entries of one uniqueId: the one whose UUID was given is replaced.

    Rule: R-107
    """
    one = desk.new().entries[0]
    twin = desk.new(unique_id=one.unique_id).entries[0]
    relate(desk, RPLC, one.entry_uuid)
    assert desk.status(one.entry_uuid, twin.entry_uuid) == ["Deprecated", "Approved"]


@pytest.mark.parametrize("kind", [RPLC, XFRM_RPLC])
def test_a_replaced_document_is_not_replaced_again(desk: Desk, kind: str) -> None:
    """Rule: R-108"""
    old = entry(desk)
    relate(desk, RPLC, old)
    made = desk.related(kind, old)
    the(desk.refused(made), DEPRECATED, "R-108", f"Association {made.associations[-1].entry_uuid}", "targetObject")


@pytest.mark.parametrize("kind", [RPLC, XFRM_RPLC])
def test_the_document_of_another_patient_is_not_replaced(desk: Desk, kind: str) -> None:
    """And it stays as it is.

    Rule: R-109, R-072
    """
    owner = Desk(desk.world)
    old = entry(owner)
    made = desk.related(kind, old)
    subject = f"Association {made.associations[-1].entry_uuid}"
    the(desk.refused(made), "XDSPatientIdDoesNotMatch", "R-072", subject, "patientId")
    assert owner.status(old) == ["Approved"]


def test_one_wrong_step_stops_the_whole_chain(desk: Desk) -> None:
    """Of two replacements one is impossible: neither happens, and no folder is dated.

    Rule: R-110, A-1
    """
    first = desk.new(folder=True)
    folder, good, stale = first.folders[0].entry_uuid, first.entries[0].entry_uuid, entry(desk)
    relate(desk, RPLC, stale)
    forget_time(desk, folder)
    made = desk.submission(2)
    made.associations += [
        desk.link(RPLC, made.entries[0].entry_uuid, good), desk.link(RPLC, made.entries[1].entry_uuid, stale)
    ]
    the(desk.refused(made), DEPRECATED, "R-108", f"Association {made.associations[-1].entry_uuid}", "targetObject")
    assert desk.status(good) == ["Approved"] and desk.folder(folder).last_update_time == "20010101000000"


def test_of_two_replacements_at_once_one_wins(desk: Desk) -> None:
    """Rule: A-10"""
    old = entry(desk)
    rivals = [desk.related(RPLC, old) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(desk.world.register, rivals))
    assert sorted(o.is_success for o in outcomes) == [False, False, False, True]
    assert {e.code for o in outcomes for e in o.errors} == {DEPRECATED}


def test_the_set_of_a_replacement_is_found_with_its_associations(desk: Desk) -> None:
    """Relationship and membership both come back from the set's side and the document's."""
    old = entry(desk)
    made = desk.register(desk.related(RPLC, old))
    found = desk.world.client().query(
        FIND_SUBMISSION_SETS,
        [
            ("$XDSSubmissionSetPatientId", [quote(desk.patient_id)]),
            ("$XDSSubmissionSetStatus", [quote_list([APPROVED])]),
        ],
        patient_id=desk.patient_id,
        return_type="ObjectRef",
    )
    assert made.submission_set.entry_uuid in found.references
    links: dict[str, list[Association]] = {one: desk.associations(one) for one in (old, made.entries[0].entry_uuid)}
    relation = made.associations[-1].entry_uuid
    assert all(relation in {a.entry_uuid for a in found} for found in links.values())
