"""ITI-18, queries that answer with objects of several kinds: everything, sets, sets with contents, related documents.

Clause: ITI TF-2 3.18.4.1.2.3.7
"""

from __future__ import annotations

import pytest

from conformance import frames
from tests.direct import Desk, ask, ids, refused
from tests.registry.test_iti18_folders import CONF, FORMATS, filled
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.model import Submission
from xds.namespaces import APND, APPROVED, DEPRECATED, HAS_MEMBER, ON_DEMAND, RPLC, SIGNS, XFRM

GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
GET_SUBMISSION_SETS = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
GET_SET_AND_CONTENTS = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
GET_RELATED = "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"
MISSING, NUMBER, SINGLE = "XDSStoredQueryMissingParam", "XDSStoredQueryParamNumber", "XDSResultNotSinglePatient"
RETURN_TYPES = pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
ANY = quote_list([APPROVED, DEPRECATED])
STATUSES = [f"$XDS{kind}Status" for kind in ("DocumentEntry", "SubmissionSet", "Folder")]
MS = ("$XDSDocumentEntryFormatCode", f"('urn:ihe:pcc:xds-ms:2007^^{FORMATS}')")
RESTRICTED = ("$XDSDocumentEntryConfidentialityCode", f"('R^^{CONF}')")
Slots = list[tuple[str, str]]


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def of(made: Submission) -> set[str]:
    return {o.entry_uuid for o in made.objects()}


def asked(desk: Desk, query: str, *slots: tuple[str, str], return_type: str = "LeafClass") -> set[str]:
    """entryUUIDs of the answer, in which nothing is repeated."""
    found = ids(ask(desk, query, *slots, return_type=return_type))
    assert len(found) == len(set(found))
    return set(found)


# -- GetAll ------------------------------------------------------------------------------------------------


def everything(desk: Desk, *slots: tuple[str, str], return_type: str = "LeafClass", **statuses: str) -> set[str]:
    given = [(name, statuses.get(name[4:-6], ANY)) for name in STATUSES]
    return asked(desk, GET_ALL, ("$patientId", quote(desk.patient_id)), *given, *slots, return_type=return_type)


@RETURN_TYPES
def test_all_of_a_patient(desk: Desk, return_type: str) -> None:
    """Sets, documents, folders and every association, and nothing of another patient.

    Rule: I-16; Clause: ITI TF-2 3.18.4.1.2.3.7.4
    """
    Desk(desk.world).new(folder=True)
    one = desk.new(2, folder=True)
    other = desk.register(desk.related(APND, one.entries[0].entry_uuid))
    assert everything(desk, return_type=return_type) == of(one) | of(other)


@RETURN_TYPES
@pytest.mark.parametrize(
    ("slots", "shown"),
    [([MS], "02"), ([RESTRICTED], "2"), ([("$XDSDocumentEntryType", f"('{ON_DEMAND}')")], "")],
    ids=str,
)
def test_all_that_passes_the_criteria(desk: Desk, slots: Slots, shown: str, return_type: str) -> None:
    """An association stays when one end is in the answer. Clause: ITI TF-2 3.18.4.1.2.3.7.4"""
    made = filled(desk)
    dropped = {e.entry_uuid for n, e in enumerate(made.entries) if str(n) not in shown}
    assert everything(desk, *slots, return_type=return_type) == of(made) - dropped


def test_all_in_a_status(desk: Desk) -> None:
    """Each kind has its own; an association whose ends are both left out goes too."""
    old = desk.new()
    new = desk.register(desk.related(RPLC, old.entries[0].entry_uuid))
    every = of(old) | of(new)
    found = everything(desk, DocumentEntry=quote_list([DEPRECATED]))
    assert found == every - {new.entries[0].entry_uuid}
    found = everything(desk, DocumentEntry=quote_list([APPROVED]), SubmissionSet=quote_list([DEPRECATED]))
    gone = {old.entries[0].entry_uuid, old.submission_set.entry_uuid, new.submission_set.entry_uuid,
            old.associations[0].entry_uuid}
    assert found == every - gone
    none = everything(desk, ("$XDSAssociationStatus", f"('{DEPRECATED}')"), ("$MetadataLevel", "2"))
    assert none == every - {a.entry_uuid for a in (*old.associations, *new.associations)}


@pytest.mark.parametrize("missing", ["$patientId", *STATUSES])
def test_all_needs_a_patient_and_three_statuses(desk: Desk, missing: str) -> None:
    """Rule: Q-12"""
    given = {"$patientId": quote(desk.patient_id)} | dict.fromkeys(STATUSES, ANY)
    del given[missing]
    refused(ask(desk, GET_ALL, *given.items()), MISSING, missing)


# -- GetSubmissionSets -------------------------------------------------------------------------------------


@RETURN_TYPES
def test_the_sets_of_documents_and_folders(desk: Desk, return_type: str) -> None:
    """With the memberships that lead there, whether the set brought the document or refers to it.

    Clause: ITI TF-2 3.18.4.1.2.3.7.9
    """
    made = desk.new(2, folder=True)
    entry, folder, owner = made.entries[0].entry_uuid, made.folders[0].entry_uuid, made.submission_set.entry_uuid
    second = desk.submission()
    link = desk.link(HAS_MEMBER, second.submission_set.entry_uuid, entry, SubmissionSetStatus="Reference")
    second.associations.append(link)
    desk.register(second)

    def found(*wanted: str) -> set[str]:
        return asked(desk, GET_SUBMISSION_SETS, ("$uuid", quote_list(wanted)), return_type=return_type)

    def membership(target: str) -> str:
        return next(a.entry_uuid for a in made.associations if (a.source, a.target) == (owner, target))

    assert found(folder) == {owner, membership(folder)}
    assert found(entry) == {owner, membership(entry), second.submission_set.entry_uuid, link.entry_uuid}
    assert found(entry, folder) == found(entry) | found(folder)
    assert found(owner) == found(frames.new_uuid()) == set()


def test_the_sets_of_two_patients_come_as_references_only(desk: Desk) -> None:
    """Rule: Q-19; Clause: ITI TF-2 3.18.4.1.2.6"""
    refused(ask(desk, GET_SUBMISSION_SETS), MISSING, "$uuid")
    one, other = desk.new(), Desk(desk.world).new()
    both = ("$uuid", quote_list([one.entries[0].entry_uuid, other.entries[0].entry_uuid]))
    refused(ask(desk, GET_SUBMISSION_SETS, both), SINGLE)
    assert len(asked(desk, GET_SUBMISSION_SETS, both, return_type="ObjectRef")) == 4


# -- GetSubmissionSetAndContents ---------------------------------------------------------------------------


@RETURN_TYPES
@pytest.mark.parametrize("parameter", ["$XDSSubmissionSetEntryUUID", "$XDSSubmissionSetUniqueId"])
@pytest.mark.parametrize(
    ("slots", "shown"),
    [
        ([], "012"), ([MS], "02"), ([MS, RESTRICTED], "2"), ([("$XDSDocumentEntryType", f"('{ON_DEMAND}')")], ""),
        ([("$MetadataLevel", "2")], "012"),
    ],
    ids=str,
)
def test_a_set_comes_with_its_contents(
    desk: Desk, parameter: str, slots: Slots, shown: str, return_type: str
) -> None:
    """Set, documents that pass, folders, and associations with both ends there, memberships of memberships too.

    Clause: ITI TF-2 3.18.4.1.2.3.7.10
    """
    made = filled(desk)
    desk.new()
    owner = made.submission_set
    name = owner.unique_id if parameter.endswith("UniqueId") else owner.entry_uuid
    dropped = {e.entry_uuid for n, e in enumerate(made.entries) if str(n) not in shown}
    gone = dropped | {a.entry_uuid for a in made.associations if a.target in dropped}
    gone |= {a.entry_uuid for a in made.associations if a.target in gone}
    found = asked(desk, GET_SET_AND_CONTENTS, (parameter, quote(name)), *slots, return_type=return_type)
    assert found == of(made) - gone


@RETURN_TYPES
def test_memberships_made_by_the_registry_belong_to_the_set(desk: Desk, return_type: str) -> None:
    """A replacement enters the folder of what it replaces: the set owns that membership, though the folder is
    another set's; the relation to the old document it does not own.

    Rule: R-105
    """
    old = desk.new(folder=True)
    new = desk.register(desk.related(RPLC, old.entries[0].entry_uuid))
    owner = new.submission_set.entry_uuid
    found = asked(desk, GET_SET_AND_CONTENTS, ("$XDSSubmissionSetEntryUUID", quote(owner)), return_type=return_type)
    direct = next(a.entry_uuid for a in new.associations if a.target == new.entries[0].entry_uuid)
    inside = next(a for a in desk.associations(new.entries[0].entry_uuid) if a.source == old.folders[0].entry_uuid)
    outer = next(a for a in desk.associations(owner) if a.target == inside.entry_uuid)
    assert found == {owner, new.entries[0].entry_uuid, direct, inside.entry_uuid, outer.entry_uuid}


def test_a_set_is_named_once(desk: Desk) -> None:
    """Rule: Q-14"""
    by_uuid, by_name = "$XDSSubmissionSetEntryUUID", "$XDSSubmissionSetUniqueId"
    refused(ask(desk, GET_SET_AND_CONTENTS), MISSING, by_uuid)
    refused(ask(desk, GET_SET_AND_CONTENTS, (by_uuid, "'a'"), (by_name, "'1.2'")), NUMBER)
    refused(ask(desk, GET_SET_AND_CONTENTS, (by_uuid, "('a','b')")), NUMBER, "[Q-14]")
    assert ids(ask(desk, GET_SET_AND_CONTENTS, (by_name, "'1.2.3'"))) == []


# -- GetRelatedDocuments -----------------------------------------------------------------------------------


@RETURN_TYPES
def test_related_documents(desk: Desk, return_type: str) -> None:
    """One step, by the types asked for, from either end, with the document itself; memberships do not relate.

    Clause: ITI TF-2 3.18.4.1.2.3.7.13
    """
    first = desk.new(folder=True)
    start = first.entries[0]
    addendum, translation = (desk.register(desk.related(kind, start.entry_uuid)) for kind in (APND, XFRM))
    further = desk.register(desk.related(SIGNS, addendum.entries[0].entry_uuid))

    def found(entry: str, *types: str, name: str = "EntryUUID") -> set[str]:
        return asked(
            desk, GET_RELATED, (f"$XDSDocumentEntry{name}", quote(entry)), ("$AssociationTypes", quote_list(types)),
            return_type=return_type,
        )

    def step(made: Submission) -> set[str]:
        return {made.entries[0].entry_uuid, made.associations[-1].entry_uuid}

    assert found(start.entry_uuid, APND) == {start.entry_uuid} | step(addendum)
    assert found(start.unique_id, APND, XFRM, name="UniqueId") == {start.entry_uuid} | step(addendum) | step(
        translation
    )
    both = found(addendum.entries[0].entry_uuid, APND, SIGNS)
    assert both == {start.entry_uuid} | step(addendum) | step(further)
    assert found(start.entry_uuid, HAS_MEMBER) == found(start.entry_uuid, "urn:x:unknown", RPLC) == set()
    assert found(frames.new_uuid(), APND) == set()


@RETURN_TYPES
def test_related_documents_of_a_type(desk: Desk, return_type: str) -> None:
    """Nothing but the document itself is left: nothing is answered."""
    start = desk.new().entries[0].entry_uuid
    desk.register(desk.related(APND, start))
    slots = [("$XDSDocumentEntryEntryUUID", quote(start)), ("$AssociationTypes", quote_list([APND]))]
    assert len(asked(desk, GET_RELATED, *slots, return_type=return_type)) == 3
    for extra in (("$XDSDocumentEntryType", f"('{ON_DEMAND}')"), ("$XDSAssociationStatus", f"('{DEPRECATED}')")):
        assert asked(desk, GET_RELATED, *slots, extra, ("$MetadataLevel", "2"), return_type=return_type) == set()


def test_the_types_of_relation_are_required(desk: Desk) -> None:
    """Rule: Q-12, Q-14"""
    start = ("$XDSDocumentEntryEntryUUID", quote(desk.new().entries[0].entry_uuid))
    refused(ask(desk, GET_RELATED, start), MISSING, "$AssociationTypes")
    refused(ask(desk, GET_RELATED, ("$AssociationTypes", quote_list([APND]))), MISSING, "$XDSDocumentEntryEntryUUID")
