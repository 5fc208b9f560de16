"""ITI-62: what may go, and what must go with it.

Clause: ITI TF-2 3.62.4.1.3
"""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing

import pytest

from tests.direct import LOGS, the
from tests.updating import Shelf, codes, graph
from tests.world import World
from xds.model import Submission
from xds.namespaces import APND, HAS_MEMBER, RPLC

REFERENCED, ALONE, UNKNOWN = (
    "ReferencesExistException", "XDSUnreferencedObjectException", "UnresolvedReferenceException"
)
NOBODY = "urn:uuid:00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def member_of(made: Submission, target: str) -> str:
    """The membership of the set for this object."""
    own = made.submission_set.entry_uuid
    return next(a.entry_uuid for a in made.associations if (a.source, a.target) == (own, target))


def traces(desk: Shelf, identifiers: list[str]) -> list[str]:
    """Tables in which one of these identifiers still stands, the access log apart."""
    words = [re.sub("^urn:uuid:", "", one) for one in identifiers]
    with closing(sqlite3.connect(desk.world.settings.registry_database.removeprefix("sqlite:///"))) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            name for name in tables if name not in LOGS
            for row in database.execute(f"SELECT * FROM {name}")
            if any(word in map(str, row) for word in words)
        ]


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_graph_goes_in_any_order_and_leaves_nothing(desk: Shelf, seed: int) -> None:
    """Set, documents, folder, all associations: no row, no value and no locator line stays.

    Rule: R-155, R-156, R-161
    """
    made = desk.new(2, folder=True)
    ids = graph(made)
    names = [*ids, *(o.unique_id for o in (made.submission_set, *made.entries, *made.folders))]
    assert traces(desk, names)
    random.Random(seed).shuffle(ids)
    desk.remove(*ids)
    assert traces(desk, names) == [] and desk.world.find(desk.patient_id).objects == []


def test_what_is_gone_may_be_registered_again(desk: Shelf) -> None:
    """Under the same identifiers. Rule: R-161"""
    made = desk.new()
    desk.remove(*graph(made))
    desk.register(made)
    assert desk.status(made.entries[0].entry_uuid) == ["Approved"]


def test_an_unknown_object_is_unresolved_and_stops_everything(desk: Shelf) -> None:
    """Rule: R-154, R-161"""
    errors = desk.not_removed(*graph(desk.new()), NOBODY)
    the(errors, UNKNOWN, "R-154", "RemoveObjectsRequest", "ObjectRef")


def test_a_set_alone_is_held_by_its_associations(desk: Shelf) -> None:
    """Rule: R-155"""
    made = desk.new()
    own = made.submission_set.entry_uuid
    the(desk.not_removed(own), REFERENCED, "R-155", f"SubmissionSet {own}", "Association")
    document = made.entries[0].entry_uuid
    the(desk.not_removed(document), REFERENCED, "R-155", f"DocumentEntry {document}", "Association")


@pytest.mark.parametrize("kept", ["document", "set"])
def test_nothing_is_left_alone(desk: Shelf, kept: str) -> None:
    """An object with its one membership, but not the other end. Rule: R-156"""
    made = desk.new()
    document, own = made.entries[0].entry_uuid, made.submission_set.entry_uuid
    errors = desk.not_removed(own if kept == "document" else document, member_of(made, document))
    subject = f"DocumentEntry {document}" if kept == "document" else f"SubmissionSet {own}"
    the(errors, ALONE, "R-156", subject, "HasMember")


def test_a_membership_alone_leaves_its_object_alone(desk: Shelf) -> None:
    """Rule: R-156"""
    made = desk.new(2)
    document = made.entries[0].entry_uuid
    the(desk.not_removed(member_of(made, document)), ALONE, "R-156", f"DocumentEntry {document}", "HasMember")


def test_one_document_of_a_set_goes_with_its_membership(desk: Shelf) -> None:
    """Rule: R-156"""
    made = desk.new(2)
    gone, stays = (e.entry_uuid for e in made.entries)
    desk.remove(gone, member_of(made, gone))
    assert desk.found("EntryUUID", gone) == [] and desk.status(stays) == ["Approved"]


def test_a_document_is_taken_out_of_its_folder(desk: Shelf) -> None:
    """The folder may be empty then, and the set too when it did nothing else.

    Rule: R-156
    """
    made = desk.new(folder=True)
    document, folder = made.entries[0].entry_uuid, made.folders[0].entry_uuid
    inside = next(a for a in made.associations if a.source == folder).entry_uuid
    the(desk.not_removed(inside), REFERENCED, "R-155", f"Association {inside}", "Association")
    the(desk.not_removed(member_of(made, inside)), ALONE, "R-156", f"Association {inside}", "HasMember")
    desk.remove(inside, member_of(made, inside))
    assert not [a for a in desk.associations(folder) if a.source == folder]
    assert desk.status(document) == ["Approved"] and desk.folder(folder)


def test_a_relationship_goes_alone(desk: Shelf) -> None:
    """Rule: R-156"""
    first = desk.new().entries[0].entry_uuid
    made = desk.register(desk.related(APND, first))
    desk.remove(made.associations[-1].entry_uuid)
    assert not [a for a in desk.associations(first) if a.type == APND]


def test_a_replaced_document_is_held_by_its_replacement(desk: Shelf) -> None:
    """And goes with the relationship. Rule: R-155"""
    first = desk.new()
    old = first.entries[0].entry_uuid
    made = desk.register(desk.related(RPLC, old))
    the(desk.not_removed(*graph(first)), REFERENCED, "R-155", f"DocumentEntry {old}", "Association")
    desk.remove(*graph(first), made.associations[-1].entry_uuid)
    assert desk.found("EntryUUID", old) == [] and desk.status(made.entries[0].entry_uuid) == ["Approved"]


def test_a_reference_from_the_set_of_another_patient_holds_a_document(desk: Shelf) -> None:
    """Rule: R-155"""
    made, other = desk.new(), Shelf(desk.world)
    document = made.entries[0].entry_uuid
    pointing = other.submission()
    link = other.link(HAS_MEMBER, pointing.submission_set.entry_uuid, document, SubmissionSetStatus="Reference")
    pointing.associations.append(link)
    other.register(pointing)
    error = the(desk.not_removed(*graph(made)), REFERENCED, "R-155", f"DocumentEntry {document}", "Association")
    assert link.entry_uuid in error.context
    desk.remove(*graph(made), link.entry_uuid)
    assert {line.action for line in desk.world.log_of(other.patient_id)} >= {"remove"}


def test_a_reference_does_not_stand_for_the_set_that_brought_the_document(desk: Shelf) -> None:
    """Rule: R-156"""
    made = desk.new()
    document = made.entries[0].entry_uuid
    pointing = desk.submission()
    pointing.associations.append(
        desk.link(HAS_MEMBER, pointing.submission_set.entry_uuid, document, SubmissionSetStatus="Reference")
    )
    desk.register(pointing)
    errors = desk.not_removed(made.submission_set.entry_uuid, member_of(made, document))
    the(errors, ALONE, "R-156", f"DocumentEntry {document}", "HasMember")


def test_versions_go_one_by_one(desk: Shelf) -> None:
    """The newest may go: the one before is then the newest there is. All together go as well.

    Rule: R-155, L-01
    """
    made = desk.new()
    first = made.entries[0].entry_uuid
    update = desk.update_of(first)
    desk.update(update)
    second = desk.versions(first)[-1].entry_uuid
    own = next(a for a in desk.associations(second) if a.target == second)
    desk.remove(second, own.entry_uuid, own.source)
    assert [(e.entry_uuid, e.version) for e in desk.versions(first)] == [(first, 1)]
    desk.update(desk.update_of(first), restricted=True)
    assert [e.version for e in desk.versions(first)] == [1, 2]


def test_a_first_version_may_go_before_the_later_ones(desk: Shelf) -> None:
    """The later version is found by the logical id all the same. Rule: L-01"""
    made = desk.new()
    first = made.entries[0].entry_uuid
    second = desk.updated(first)
    desk.remove(*graph(made))
    assert [(e.entry_uuid, e.version) for e in desk.versions(first)] == [(second, 2)]
    third = desk.updated(second)
    assert [(e.entry_uuid, e.version) for e in desk.versions(first)] == [(second, 2), (third, 3)]


def test_the_removal_is_in_the_log_of_the_patient(desk: Shelf) -> None:
    """Also when it was refused. Rule: A-3"""
    made = desk.new()
    desk.not_removed(made.entries[0].entry_uuid)
    desk.remove(*graph(made))
    lines = [line for line in desk.world.log_of(desk.patient_id) if line.event == "ITI-62"]
    assert [(line.action, line.outcome) for line in lines] == [("remove", "refused"), ("remove", "success")]
    assert lines[-1].documents == (made.entries[0].unique_id,)


@pytest.mark.parametrize("body", ["", "<rim:AdhocQuery id='urn:uuid:1'/>", "<rim:ObjectRefList/>"])
def test_objects_are_named_one_by_one(desk: Shelf, body: str) -> None:
    """Rule: R-157"""
    client = desk.world.client()
    assert client.registry is not None
    rim, lcm = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0", "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
    answer = client.registry.call(
        "urn:ihe:iti:2010:DeleteDocumentSet",
        [f'<l:RemoveObjectsRequest xmlns:l="{lcm}" xmlns:rim="{rim}">{body}</l:RemoveObjectsRequest>'.encode()],
        security=client.security(""),
    )
    (error,) = answer.body.iter("{*}RegistryError")
    assert error.get("errorCode") in ("XDSInvalidRequestException", "XDSRegistryMetadataError")


def test_a_record_that_is_closed_may_be_cleared(desk: Shelf) -> None:
    """Removal is what an administrator does then. Rule: R-161"""
    made = desk.new()
    desk.world.close(desk.patient_id)
    desk.remove(*graph(made))
    assert traces(desk, graph(made)) == []


def test_ids_given_twice_count_once(desk: Shelf) -> None:
    """Rule: R-154"""
    made = desk.new()
    desk.remove(*graph(made), *graph(made))
    assert codes(desk.not_removed(*graph(made))) == {UNKNOWN}
