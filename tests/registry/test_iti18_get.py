"""ITI-18, the Get queries: by identifier, with associations, and the rule of one patient.

Clause: ITI TF-2 3.18.4.1.2.3.7
"""

from __future__ import annotations

import pytest

from conformance import frames
from tests.direct import GET_ASSOCIATIONS, GET_DOCUMENTS_AND_ASSOCIATIONS, Desk, ask, ids, refused
from tests.world import GET_DOCUMENTS, World
from xds.check.query_params import quote_list
from xds.model import Association, DocumentEntry
from xds.namespaces import APND, APPROVED, DEPRECATED, HAS_MEMBER, RPLC

UUID, UNIQUE, LOGICAL = "$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId", "$XDSDocumentEntryLogicalID"
MISSING, NUMBER, ERROR = "XDSStoredQueryMissingParam", "XDSStoredQueryParamNumber", "XDSRegistryError"
RETURN_TYPES = pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
SELECTING = pytest.mark.parametrize("query", [GET_DOCUMENTS, GET_DOCUMENTS_AND_ASSOCIATIONS])


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


@RETURN_TYPES
@pytest.mark.parametrize("parameter", [UUID, LOGICAL])
def test_documents_are_got_by_uuid(desk: Desk, parameter: str, return_type: str) -> None:
    """Several in one list or one slot, in any case; of unknown ones nothing is said; none comes twice."""
    one, other, third = (desk.new().entries[0].entry_uuid for _ in range(3))
    asked = (parameter, [quote_list([one.upper(), other, frames.new_uuid()]), quote_list([third, one, "nonsense"])])
    found = ids(ask(desk, GET_DOCUMENTS, asked, return_type=return_type))
    assert len(found) == 3 and set(found) == {one, other, third}


@RETURN_TYPES
@SELECTING
def test_documents_are_got_by_unique_id(desk: Desk, query: str, return_type: str) -> None:
    """A uniqueId may select several entries."""
    one = desk.new().entries[0]
    twin = desk.new(unique_id=one.unique_id).entries[0]
    found = ask(desk, query, (UNIQUE, quote_list([one.unique_id, "1.2.3.4.5"])), return_type=return_type)
    wanted = {one.entry_uuid, twin.entry_uuid}
    assert wanted <= set(ids(found)) and (query != GET_DOCUMENTS or wanted == set(ids(found)))


@RETURN_TYPES
def test_documents_are_got_in_any_status(desk: Desk, return_type: str) -> None:
    """GetDocuments has no status parameter."""
    old = desk.new().entries[0].entry_uuid
    new = desk.register(desk.related(RPLC, old)).entries[0].entry_uuid
    found = ask(
        desk, GET_DOCUMENTS, (UUID, quote_list([old, new])), ("$MetadataLevel", "1"), return_type=return_type
    )
    assert set(ids(found)) == {old, new}


def test_a_unique_id_is_opaque_text(desk: Desk) -> None:
    """Quotes, commas and parentheses in it are text."""
    name = "x'y,(z)--%_"
    made = desk.new(unique_id=name).entries[0].entry_uuid
    desk.new(unique_id="x'y,(z)--ab")
    assert ids(ask(desk, GET_DOCUMENTS, (UNIQUE, quote_list([name])))) == [made]


@RETURN_TYPES
@SELECTING
def test_nothing_known_gives_an_empty_answer(desk: Desk, query: str, return_type: str) -> None:
    """An unknown id is no error."""
    for parameter, value in ((UUID, frames.new_uuid()), (UUID, "Document01"), (UNIQUE, "1.2.3.4.5")):
        assert ids(ask(desk, query, (parameter, quote_list([value])), return_type=return_type)) == []


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([], MISSING),
        ([(UUID, "()")], MISSING),
        ([(UUID, "('')")], MISSING),
        ([(UNIQUE, [])], MISSING),
        ([(UUID, "('a')"), (UNIQUE, "('1.2')")], NUMBER),
        ([(UUID, "('a')"), (UUID, "('b')")], NUMBER),
        ([(UUID, "urn:uuid:1")], ERROR),
        ([(UNIQUE, "('1.2")], ERROR),
    ],
    ids=str,
)
@SELECTING
def test_exactly_one_identifier_parameter_is_given(
    desk: Desk, query: str, slots: list[tuple[str, str | list[str]]], expected: str
) -> None:
    """None, an empty one and two are refused, each with its own code.

    Rule: Q-06, Q-12, Q-17
    """
    refused(ask(desk, query, *slots), expected, "$XDSDocumentEntry")


def test_an_empty_alternative_does_not_count(desk: Desk) -> None:
    """An empty slot is as good as none.

    Rule: Q-12
    """
    one = desk.new().entries[0]
    assert ids(ask(desk, GET_DOCUMENTS, (UUID, "()"), (UNIQUE, quote_list([one.unique_id])))) == [one.entry_uuid]


@RETURN_TYPES
def test_associations_are_got_from_either_end(desk: Desk, return_type: str) -> None:
    """Of documents, sets, folders and associations; once each."""
    old = desk.new(folder=True)
    made = desk.register(desk.related(APND, old.entries[0].entry_uuid))
    relation = made.associations[-1]
    touching = [a for a in (*old.associations, relation) if old.entries[0].entry_uuid in (a.source, a.target)]

    def got(*wanted: str) -> list[str]:
        return ids(ask(desk, GET_ASSOCIATIONS, ("$uuid", quote_list(wanted)), return_type=return_type))

    assert set(got(old.entries[0].entry_uuid)) == {a.entry_uuid for a in touching}
    assert relation.entry_uuid in got(made.entries[0].entry_uuid)
    assert set(got(old.submission_set.entry_uuid)) == {
        a.entry_uuid for a in old.associations if a.source == old.submission_set.entry_uuid
    }
    inside = next(a for a in old.associations if a.source == old.folders[0].entry_uuid)
    assert len(got(inside.entry_uuid)) == 1
    everything = got(*(o.entry_uuid for o in (*old.objects(), *made.objects())))
    assert len(everything) == len(set(everything)) == len(old.associations) + len(made.associations)


@RETURN_TYPES
@pytest.mark.parametrize(
    ("status", "count"),
    [(None, 1), (f"('{APPROVED}')", 1), (f"('{DEPRECATED}')", 0), (f"('{DEPRECATED}','{APPROVED}')", 1), ("()", 1)],
    ids=str,
)
def test_the_status_of_associations_selects(desk: Desk, status: str | None, count: int, return_type: str) -> None:
    """Approved unless asked otherwise."""
    made = desk.new()
    extra = [("$XDSAssociationStatus", status)] if status else []
    of_entry = ("$uuid", quote_list([made.entries[0].entry_uuid]))
    assert len(ids(ask(desk, GET_ASSOCIATIONS, of_entry, *extra, return_type=return_type))) == count
    of_entry = (UUID, quote_list([made.entries[0].entry_uuid]))
    found = ids(ask(desk, GET_DOCUMENTS_AND_ASSOCIATIONS, of_entry, *extra, return_type=return_type))
    assert len(found) == 1 + count


def test_the_identifiers_of_associations_are_required(desk: Desk) -> None:
    """Rule: Q-12, Q-06"""
    refused(ask(desk, GET_ASSOCIATIONS), MISSING, "$uuid", "[Q-12]")
    refused(ask(desk, GET_ASSOCIATIONS, ("$uuid", "('a')"), ("$uuid", "('b')")), NUMBER, "$uuid", "[Q-06]")


@RETURN_TYPES
@pytest.mark.parametrize("parameter", [UUID, UNIQUE])
def test_documents_come_with_their_associations(desk: Desk, parameter: str, return_type: str) -> None:
    """A document alone in its set: one association. Two of which one is in a folder: three."""

    def count(*entries: DocumentEntry) -> tuple[int, int]:
        wanted = [e.entry_uuid if parameter == UUID else e.unique_id for e in entries]
        found = ask(desk, GET_DOCUMENTS_AND_ASSOCIATIONS, (parameter, quote_list(wanted)), return_type=return_type)
        documents = {e.entry_uuid for e in entries} & set(ids(found))
        assert len(ids(found)) == len(set(ids(found)))
        return len(documents), len(ids(found)) - len(documents)

    assert count(desk.new().entries[0]) == (1, 1)
    two = desk.submission(2, folder=True)
    dropped = next(a for a in two.associations if a.source == two.folders[0].entry_uuid)
    two.associations[:] = [a for a in two.associations if dropped.entry_uuid not in (a.entry_uuid, a.target)]
    desk.register(two)
    assert count(*two.entries) == (2, 3)


@SELECTING
def test_objects_of_two_patients_come_as_references_only(desk: Desk, query: str) -> None:
    """Rule: Q-19; Clause: ITI TF-2 3.18.4.1.2.6"""
    one, other = desk.new().entries[0], Desk(desk.world).new().entries[0]
    asked = (UUID, quote_list([one.entry_uuid, other.entry_uuid]))
    refused(ask(desk, query, asked), "XDSResultNotSinglePatient", "ObjectRef")
    assert {one.entry_uuid, other.entry_uuid} <= set(ids(ask(desk, query, asked, return_type="ObjectRef")))


def test_associations_of_two_patients_come_as_references_only(desk: Desk) -> None:
    """Clause: ITI TF-2 3.18.4.1.2.6"""
    one, other = desk.new(), Desk(desk.world).new()
    asked = ("$uuid", quote_list([one.entries[0].entry_uuid, other.entries[0].entry_uuid]))
    refused(ask(desk, GET_ASSOCIATIONS, asked), "XDSResultNotSinglePatient")
    found = ids(ask(desk, GET_ASSOCIATIONS, asked, return_type="ObjectRef"))
    assert set(found) == {one.associations[0].entry_uuid, other.associations[0].entry_uuid}


def test_one_unique_id_at_two_patients_is_two_patients(desk: Desk) -> None:
    """The same document registered for two patients.

    Rule: R-081
    """
    one = desk.new().entries[0]
    Desk(desk.world).new(unique_id=one.unique_id)
    refused(ask(desk, GET_DOCUMENTS, (UNIQUE, quote_list([one.unique_id]))), "XDSResultNotSinglePatient")


def test_get_documents_returns_documents_only(desk: Desk) -> None:
    """And an association query associations only."""
    made = desk.new(folder=True)
    everything = quote_list([o.entry_uuid for o in made.objects()])
    found = ask(desk, GET_DOCUMENTS, (UUID, everything)).objects
    assert [type(o) for o in found] == [DocumentEntry]
    found = ask(desk, GET_ASSOCIATIONS, ("$uuid", everything)).objects
    assert {type(o) for o in found} == {Association} and len(found) == len(made.associations)
    assert {a.type for a in found if isinstance(a, Association)} == {HAS_MEMBER}
