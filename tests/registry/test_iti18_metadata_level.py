"""ITI-18, $MetadataLevel: at level 1, the default, the newest versions; at level 2 all there is.

The versions are put into the store as an update would leave them.
Clause: ITI TF-2 3.18.4.1.2.3.5.1.1
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conformance import frames
from conformance.client import MULTI_PATIENT_QUERY
from tests.direct import GET_ASSOCIATIONS, GET_DOCUMENTS_AND_ASSOCIATIONS, Desk, ask, ids
from tests.registry.test_iti18_contents import GET_ALL, GET_RELATED, GET_SET_AND_CONTENTS, GET_SUBMISSION_SETS
from tests.registry.test_iti18_find_further import BY_REFERENCE, EXCLUDE
from tests.registry.test_iti18_folders import (
    FIND_FOLDERS,
    GET_FOLDER_AND_CONTENTS,
    GET_FOLDERS,
    GET_FOLDERS_FOR_DOCUMENT,
)
from tests.registry.test_policy_on_the_wire import MASKED, deposit, submission
from tests.world import FIND_DOCUMENTS, GET_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.model import DocumentEntry, Folder, Submission
from xds.namespaces import APND, APPROVED, DEPRECATED, HAS_MEMBER, OFFLINE

REFERENCE = "R-1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:order"
ENTRY = "$XDSDocumentEntry"
STATUSES = quote_list([APPROVED, DEPRECATED])
LEVEL_1: list[list[tuple[str, str]]] = [[], [("$MetadataLevel", "1")], [("$MetadataLevel", "'01'")]]
LEVEL_2 = [("$MetadataLevel", "2")]


def updated(world: World, patient_id: str, old: DocumentEntry | Folder, **changes: Any) -> Submission:
    """Store the next version of an object, in a set of its own, and deprecate the one before."""
    new: Any = replace(old, entry_uuid=frames.new_uuid(), version=old.version + 1, status=APPROVED, **changes)
    domain = world.settings.domain.name
    owner = frames.valid_submission_set(
        domain, patient_id=patient_id, entry_uuid=frames.new_uuid(), status=APPROVED, unique_id=frames.new_oid()
    )
    link = Desk.link(HAS_MEMBER, owner.entry_uuid, new.entry_uuid)
    link.status = APPROVED
    is_entry = isinstance(new, DocumentEntry)
    made = Submission(owner, [new] if is_entry else [], [] if is_entry else [new], [link])
    with world._registry_database() as database, database.write() as unit:
        key = unit.record.find(patient_id).patient_key
        unit.record.lock(key)
        unit.registry.insert(key, made)
        unit.registry.set_status(key, [old.entry_uuid], DEPRECATED)
    return made


class Case:
    """A document and its folder, both in a second version; an addendum to each version of the document."""

    def __init__(self, world: World) -> None:
        self.desk = desk = Desk(world)
        made = desk.new(folder=True, reference_ids=[REFERENCE])
        self.owner = made.submission_set.entry_uuid
        (self.old,) = desk.entries(made.entries[0].unique_id)
        self.old_folder = desk.folder(made.folders[0].entry_uuid)
        self.addendum = desk.register(desk.related(APND, self.old.entry_uuid)).entries[0].entry_uuid
        self.new = updated(world, desk.patient_id, self.old).entries[0]
        self.new_folder = updated(world, desk.patient_id, self.old_folder).folders[0]

    def asked(self, query: str, *slots: tuple[str, str]) -> set[str]:
        found = {one: ids(ask(self.desk, query, *slots, return_type=one)) for one in ("LeafClass", "ObjectRef")}
        assert found["LeafClass"] == found["ObjectRef"]
        return set(found["LeafClass"])


@pytest.fixture(scope="module")
def case(plain: World) -> Case:
    return Case(plain)


def questions(case: Case) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    patient = quote(case.desk.patient_id)
    status, folder_status = (f"{ENTRY}Status", STATUSES), ("$XDSFolderStatus", STATUSES)
    of_patient = [(f"{ENTRY}PatientId", patient), status]
    both = quote_list([case.old.entry_uuid, case.new.entry_uuid])
    folders = quote_list([case.old_folder.entry_uuid, case.new_folder.entry_uuid])
    every = [("$patientId", patient), status, folder_status, ("$XDSSubmissionSetStatus", STATUSES)]
    return {
        "FindDocuments": (FIND_DOCUMENTS, of_patient),
        "by reference": (BY_REFERENCE, [*of_patient, (f"{ENTRY}ReferenceIdList", quote_list([REFERENCE]))]),
        "Exclude": (EXCLUDE, [*of_patient, (f"{ENTRY}AuthorPersonExclude", "('%nobody%')")]),
        "GetAll": (GET_ALL, every),
        "uuid": (GET_DOCUMENTS, [(f"{ENTRY}EntryUUID", both)]),
        "uniqueId": (GET_DOCUMENTS, [(f"{ENTRY}UniqueId", quote_list([case.old.unique_id]))]),
        "lid": (GET_DOCUMENTS, [(f"{ENTRY}LogicalID", quote_list([case.old.entry_uuid]))]),
        "with associations": (GET_DOCUMENTS_AND_ASSOCIATIONS, [(f"{ENTRY}EntryUUID", both)]),
        "FindFolders": (FIND_FOLDERS, [("$XDSFolderPatientId", patient), folder_status]),
        "folder uuid": (GET_FOLDERS, [("$XDSFolderEntryUUID", folders)]),
        "folder uniqueId": (GET_FOLDERS, [("$XDSFolderUniqueId", quote_list([case.old_folder.unique_id]))]),
        "folder lid": (GET_FOLDERS, [("$XDSFolderLogicalID", quote_list([case.old_folder.entry_uuid]))]),
        "folder contents": (GET_FOLDER_AND_CONTENTS, [("$XDSFolderUniqueId", quote(case.old_folder.unique_id))]),
        "folders of": (GET_FOLDERS_FOR_DOCUMENT, [(f"{ENTRY}UniqueId", quote(case.old.unique_id))]),
        "set contents": (GET_SET_AND_CONTENTS, [("$XDSSubmissionSetEntryUUID", quote(case.owner))]),
        "related": (GET_RELATED, [(f"{ENTRY}EntryUUID", quote(case.addendum)), ("$AssociationTypes", f"('{APND}')")]),
    }


@pytest.mark.parametrize(
    ("name", "newest", "all_versions"),
    [
        ("FindDocuments", "n", "on"), ("by reference", "n", "on"), ("Exclude", "n", "on"), ("GetAll", "nN", "onON"),
        ("uuid", "n", "on"), ("uniqueId", "n", "on"), ("lid", "n", "on"), ("with associations", "n", "on"),
        ("FindFolders", "N", "ON"), ("folder uuid", "N", "ON"), ("folder uniqueId", "N", "ON"),
        ("folder lid", "N", "ON"), ("folder contents", "N", "oON"), ("folders of", "", "O"),
        ("set contents", "", "oO"), ("related", "", "o"),
    ],
)
def test_versions_by_level(case: Case, name: str, newest: str, all_versions: str) -> None:
    """o and n: versions of the document; O and N: of the folder. Both return types say the same.

    Rule: C-10
    """
    marks = {case.old.entry_uuid: "o", case.new.entry_uuid: "n",
             case.old_folder.entry_uuid: "O", case.new_folder.entry_uuid: "N"}
    query, slots = questions(case)[name]

    def seen(level: list[tuple[str, str]]) -> str:
        return "".join(sorted(marks.get(one, "") for one in case.asked(query, *slots, *level)))

    for level in LEVEL_1:
        assert seen(level) == "".join(sorted(newest)), level
    assert seen(LEVEL_2) == "".join(sorted(all_versions))


def test_versions_of_several_patients_by_level(case: Case) -> None:
    """ITI-51 too."""
    slots = [(f"{ENTRY}PatientId", [quote_list([case.desk.patient_id])]), (f"{ENTRY}Status", [STATUSES])]
    client = case.desk.world.client()
    query = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
    one = ids(client.query(query, slots, action=MULTI_PATIENT_QUERY))
    both = ids(client.query(query, [*slots, ("$MetadataLevel", ["2"])], action=MULTI_PATIENT_QUERY))
    assert set(both) - set(one) == {case.old.entry_uuid}


def test_an_offline_document_is_hidden_at_level_1(plain: World) -> None:
    """Even when it is asked for as offline."""
    desk = Desk(plain)
    made = desk.new(document_availability=OFFLINE).entries[0].entry_uuid
    slots = [(f"{ENTRY}PatientId", quote(desk.patient_id)), (f"{ENTRY}Status", STATUSES)]
    offline = (f"{ENTRY}DocumentAvailability", quote_list([OFFLINE]))
    assert ids(ask(desk, FIND_DOCUMENTS, *slots)) == ids(ask(desk, FIND_DOCUMENTS, *slots, offline)) == []
    for extra in ([], [offline]):
        assert ids(ask(desk, FIND_DOCUMENTS, *slots, *extra, *LEVEL_2)) == [made]
    assert ids(ask(desk, GET_DOCUMENTS, (f"{ENTRY}EntryUUID", quote_list([made])))) == []


def test_a_deprecated_folder_or_association_is_hidden_at_level_1(plain: World) -> None:
    """Whatever status is asked for; at level 2 an association must be asked for by its status where there is one."""
    desk = Desk(plain)
    made = desk.new(folder=True)
    entry, folder = made.entries[0].entry_uuid, made.folders[0].entry_uuid
    inside = next(a for a in made.associations if a.source == folder)
    owned = next(a for a in made.associations if a.target == entry and a is not inside)
    with plain._registry_database() as database, database.write() as unit:
        key = unit.record.find(desk.patient_id).patient_key
        unit.registry.set_status(key, [folder, inside.entry_uuid, owned.entry_uuid], DEPRECATED)
    found = [("$XDSFolderPatientId", quote(desk.patient_id)), ("$XDSFolderStatus", STATUSES)]
    assert ids(ask(desk, FIND_FOLDERS, *found)) == []
    assert ids(ask(desk, FIND_FOLDERS, *found, *LEVEL_2)) == [folder]
    of_entry, deprecated = ("$uuid", quote_list([entry])), ("$XDSAssociationStatus", f"('{DEPRECATED}')")
    assert ids(ask(desk, GET_ASSOCIATIONS, of_entry)) == ids(ask(desk, GET_ASSOCIATIONS, of_entry, deprecated)) == []
    assert ids(ask(desk, GET_ASSOCIATIONS, of_entry, *LEVEL_2)) == []
    assert len(ids(ask(desk, GET_ASSOCIATIONS, of_entry, deprecated, *LEVEL_2))) == 2
    by_name = ("$XDSFolderUniqueId", quote(made.folders[0].unique_id))
    contents = ids(ask(desk, GET_FOLDER_AND_CONTENTS, by_name, deprecated, *LEVEL_2))
    assert set(contents) == {folder, entry, inside.entry_uuid}
    assert ids(ask(desk, GET_SUBMISSION_SETS, of_entry)) == []
    assert len(ids(ask(desk, GET_SUBMISSION_SETS, of_entry, *LEVEL_2))) == 2


def test_a_mask_laid_by_an_update_covers_the_versions_before(here: World) -> None:
    """Not even at level 2 does the first version show what the second hides; taken off, all is back but the masked."""
    patient_id = here.patient()
    made = deposit(here, submission(patient_id))
    desk = Desk(here, patient_id)
    (first,) = desk.entries(made.entries[0].unique_id)
    codes = [*first.confidentiality_codes, MASKED]
    second = updated(here, patient_id, first, confidentiality_codes=codes).entries[0]
    questions = [
        (GET_DOCUMENTS, [(f"{ENTRY}LogicalID", quote_list([first.entry_uuid]))]),
        (GET_DOCUMENTS, [(f"{ENTRY}UniqueId", quote_list([first.unique_id]))]),
        (FIND_DOCUMENTS, [(f"{ENTRY}PatientId", quote(patient_id)), (f"{ENTRY}Status", STATUSES)]),
        (GET_ASSOCIATIONS, [("$uuid", quote_list([first.entry_uuid, second.entry_uuid]))]),
    ]
    for query, slots in questions:
        for level in (*LEVEL_1, LEVEL_2):
            assert ids(ask(desk, query, *slots, *level, who="colleague")) == [], (query, level)
        assert len(ids(ask(desk, query, *slots, *LEVEL_2))) == 2
    third = updated(here, patient_id, second, confidentiality_codes=first.confidentiality_codes).entries[0]
    query, slots = questions[0]
    assert ids(ask(desk, query, *slots, who="colleague")) == [third.entry_uuid]
    seen = set(ids(ask(desk, query, *slots, *LEVEL_2, who="colleague")))
    assert seen == {first.entry_uuid, third.entry_uuid}
