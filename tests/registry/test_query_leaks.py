"""No stored query shows what is hidden, nor that anything is hidden: crossed with masked documents, every one of them.

Clause: ITI TF-2 3.18.4.1.3; DMP R526, TD3.3a
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from conformance import frames
from conformance.client import MULTI_PATIENT_QUERY, STORED_QUERY
from registry import iti18_stored_query, iti51_multi_patient_query
from tests.direct import Desk
from tests.registry.test_policy_on_the_wire import MASKED, deposit, normal, raw, submission
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.model import Submission
from xds.namespaces import APND, APPROVED, DEPRECATED, HAS_MEMBER, RPLC

QUERIES = {m.NAME: m for m in (*iti18_stored_query.QUERIES.values(), *iti51_multi_patient_query.QUERIES.values())}
REFERENCE = "REF-1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"
STATUSES = quote_list([APPROVED, DEPRECATED])
RETURN_TYPES = ("LeafClass", "ObjectRef")


@dataclass
class Names:
    """What somebody may ask about: by default, things that do not exist."""

    patient_id: str
    entry: str = field(default_factory=frames.new_uuid)
    entry_name: str = field(default_factory=frames.new_oid)
    sets: list[str] = field(default_factory=lambda: [frames.new_uuid() for _ in range(3)])
    set_name: str = field(default_factory=frames.new_oid)
    folders: list[str] = field(default_factory=lambda: [frames.new_uuid() for _ in range(2)])
    folder_name: str = field(default_factory=frames.new_oid)
    links: list[str] = field(default_factory=lambda: [frames.new_uuid()])


def questions(names: Names) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every query, in every way to name what it asks for."""
    entry_status, set_status, folder_status = (
        (f"$XDS{kind}Status", STATUSES) for kind in ("DocumentEntry", "SubmissionSet", "Folder")
    )
    of_patient = ("$XDSDocumentEntryPatientId", quote(names.patient_id))
    by_reference = ("$XDSDocumentEntryReferenceIdList", quote_list([REFERENCE]))
    yield "FindDocuments", [of_patient, entry_status]
    yield "FindDocumentsByReferenceId", [of_patient, entry_status, by_reference]
    yield "FindDocumentsExclude", [of_patient, entry_status, ("$XDSDocumentEntryAuthorPersonExclude", "('%nobody%')")]
    yield "FindSubmissionSets", [("$XDSSubmissionSetPatientId", quote(names.patient_id)), set_status]
    yield "FindFolders", [("$XDSFolderPatientId", quote(names.patient_id)), folder_status]
    yield "GetAll", [("$patientId", quote(names.patient_id)), entry_status, set_status, folder_status]
    both = (f"$XDSDocumentEntry{end}" for end in ("EntryUUID", "UniqueId"))
    for way, name in zip(both, (names.entry, names.entry_name), strict=True):
        yield "GetDocuments", [(way, quote_list([name]))]
        yield "GetDocumentsAndAssociations", [(way, quote_list([name]))]
        yield "GetFoldersForDocument", [(way, quote(name))]
        yield "GetRelatedDocuments", [(way, quote(name)), ("$AssociationTypes", quote_list([RPLC, APND, HAS_MEMBER]))]
    yield "GetDocuments", [("$XDSDocumentEntryLogicalID", quote_list([names.entry]))]
    yield "GetFolders", [("$XDSFolderUniqueId", quote_list([names.folder_name]))]
    yield "GetFolders", [("$XDSFolderLogicalID", quote_list(names.folders))]
    yield "GetFolderAndContents", [("$XDSFolderUniqueId", quote(names.folder_name))]
    yield "GetSubmissionSetAndContents", [("$XDSSubmissionSetUniqueId", quote(names.set_name))]
    for one in names.folders:
        yield "GetFolders", [("$XDSFolderEntryUUID", quote_list([one]))]
        yield "GetFolderAndContents", [("$XDSFolderEntryUUID", quote(one))]
    for one in names.sets:
        yield "GetSubmissionSetAndContents", [("$XDSSubmissionSetEntryUUID", quote(one))]
    for one in (names.entry, *names.folders, *names.sets, *names.links):
        yield "GetAssociations", [("$uuid", quote_list([one]))]
        yield "GetSubmissionSets", [("$uuid", quote_list([one]))]
    for_all = ("$XDSDocumentEntryPatientId", quote_list([names.patient_id]))
    yield "FindDocumentsForMultiplePatients", [for_all, entry_status]
    yield "FindDocumentsByReferenceIdForMultiplePatients", [for_all, entry_status, by_reference]
    yield "FindFoldersForMultiplePatients", [("$XDSFolderPatientId", quote_list([names.patient_id])), folder_status]


def answer(world: World, who: str, name: str, slots: list[tuple[str, str]], return_type: str, patient_id: str) -> bytes:
    """The body of the answer without what differs from one question to the next."""
    module = QUERIES[name]
    if name.endswith("ForMultiplePatients"):
        found = world.client(who).query(
            module.QUERY_ID, [(n, [v]) for n, v in slots], patient_id=patient_id, return_type=return_type,
            action=MULTI_PATIENT_QUERY,
        )
        return normal(repr(found).encode())
    return raw(world, who, module.QUERY_ID, slots, return_type, patient_id)


@pytest.fixture(scope="module")
def masked(here: World) -> Names:
    return filled(here, here.patient(), masked=True)


def filled(here: World, patient_id: str, *, masked: bool = False, **changes: Any) -> Names:
    """A document of the physician alone in its set and its folder, put into another folder by a set that holds nothing
    else, with an addendum; both documents masked, or with ``changes`` to their metadata."""
    made = deposit(here, submission(patient_id, masked=masked, folder=True, reference_ids=[REFERENCE], **changes))
    desk = Desk(here, patient_id)
    (entry,) = desk.entries(made.entries[0].unique_id)
    second: Submission = submission(patient_id, folder=True)
    second.entries.clear()
    second.associations[:] = [a for a in second.associations if "Document" not in a.target]
    inside = frames.has_member(second.folders[0].entry_uuid, entry.entry_uuid)
    second.associations += [inside, frames.has_member(second.submission_set.entry_uuid, inside.entry_uuid)]
    outcome = here.deposit(second, {})
    assert outcome.is_success, outcome
    addendum = submission(patient_id, masked=masked, **changes)
    addendum.associations.append(frames.relationship(APND, "Document01", entry.entry_uuid))
    deposit(here, addendum)
    sets = [o.entry_uuid for o in desk.sets()]
    links = desk.associations(entry.entry_uuid, *sets)
    links += [a for a in desk.associations(*(one.entry_uuid for one in links)) if a not in links]
    folders = {a.source for a in links if (a.type, a.target) == (HAS_MEMBER, entry.entry_uuid)} - set(sets)
    assert (len(sets), len(folders), len(links)) == (3, 2, 9)
    return Names(
        patient_id, entry.entry_uuid, entry.unique_id, sets, made.submission_set.unique_id, sorted(folders),
        made.folders[0].unique_id, [a.entry_uuid for a in links],
    )


def test_every_query_is_crossed(masked: Names) -> None:
    """None is forgotten when one is added."""
    assert {name for name, _ in questions(masked)} == set(QUERIES)


@pytest.mark.parametrize("level", ["1", "2"])
@pytest.mark.parametrize("return_type", RETURN_TYPES)
@pytest.mark.parametrize("who", ["colleague", "nurse"])
def test_every_query_answers_for_hidden_objects_as_for_none(
    here: World, masked: Names, who: str, return_type: str, level: str
) -> None:
    """Byte for byte: documents, sets, folders, associations, by whatever name and at each metadata level."""
    nobody = Names(here.patient())
    nobody.links = [frames.new_uuid() for _ in masked.links]
    at = ("$MetadataLevel", level)
    for (name, slots), (_, others) in zip(questions(masked), questions(nobody), strict=True):
        there = answer(here, who, name, [*slots, at], return_type, masked.patient_id)
        assert there == answer(here, who, name, [*others, at], return_type, nobody.patient_id), (name, slots)


def test_its_author_finds_them_by_every_query(here: World, masked: Names) -> None:
    """So that the answers above are empty because of the mask: only what leads nowhere for anybody stays empty."""
    nobody = Names(here.patient())
    nobody.links = [frames.new_uuid() for _ in masked.links]
    empty = {
        (name, slots[0][1])
        for (name, slots), (_, others) in zip(questions(masked), questions(nobody), strict=True)
        if answer(here, "physician", name, slots, "LeafClass", masked.patient_id)
        == answer(here, "physician", name, others, "LeafClass", nobody.patient_id)
    }
    allowed = {("GetSubmissionSets", quote_list([one])) for one in masked.sets + masked.links}
    allowed |= {("GetAssociations", quote_list([one])) for one in masked.links}
    assert empty <= allowed


def test_a_folder_with_one_readable_document_shows_that_one(here: World) -> None:
    """The folder is there with what may be seen, in every query that shows contents."""
    patient_id = here.patient()
    made = submission(patient_id, documents=2, folder=True)
    made.entries[0].confidentiality_codes.append(MASKED)
    deposit(here, made)
    desk = Desk(here, patient_id)
    (secret,), (shown,) = (desk.entries(one.unique_id) for one in made.entries)
    (own,) = desk.sets()
    secrets = {secret.entry_uuid} | {a.entry_uuid for a in desk.associations(secret.entry_uuid)}
    secrets |= {a.entry_uuid for a in desk.associations(*secrets) if a.target in secrets}
    assert len(secrets) == 4
    of_all = {"$patientId": quote(patient_id)} | {
        f"$XDS{kind}Status": STATUSES for kind in ("DocumentEntry", "SubmissionSet", "Folder")
    }
    for name, slots in (
        ("GetAll", of_all),
        ("GetFolderAndContents", {"$XDSFolderUniqueId": quote(made.folders[0].unique_id)}),
        ("GetSubmissionSetAndContents", {"$XDSSubmissionSetEntryUUID": quote(own.entry_uuid)}),
    ):
        query = QUERIES[name].QUERY_ID
        found = here.client("colleague").query(query, [(n, [v]) for n, v in slots.items()], patient_id=patient_id)
        got = {o.entry_uuid for o in found.objects}
        full = here.client().query(query, [(n, [v]) for n, v in slots.items()], patient_id=patient_id)
        assert found.outcome.is_success and shown.entry_uuid in got and not got & secrets
        assert {o.entry_uuid for o in full.objects} - got <= secrets


def test_the_transactions_do_not_answer_for_each_other(here: World) -> None:
    """A query of ITI-18 under the action of ITI-51, and the reverse, is unknown.

    Rule: C-09
    """
    for module, action in ((QUERIES["FindDocuments"], MULTI_PATIENT_QUERY), (
            QUERIES["FindFoldersForMultiplePatients"], STORED_QUERY)):
        found = here.client().query(module.QUERY_ID, [], patient_id="", action=action)
        assert [e.code for e in found.outcome.errors] == ["XDSUnknownStoredQuery"]
