"""ITI-18, folders: found, got, got with what they hold, and found by what they hold.

Clause: ITI TF-2 3.18.4.1.2.3.7
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from conformance import frames
from tests.direct import Desk, ask, ids, refused
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.model import Association, Code, DocumentEntry, Folder, Submission
from xds.namespaces import APPROVED, DEPRECATED, ON_DEMAND, STABLE

FIND_FOLDERS = "urn:uuid:958f3006-baad-4929-a4de-ff1114824431"
GET_FOLDERS = "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4"
GET_FOLDER_AND_CONTENTS = "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7"
GET_FOLDERS_FOR_DOCUMENT = "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578"
MISSING, NUMBER, ERROR = "XDSStoredQueryMissingParam", "XDSStoredQueryParamNumber", "XDSRegistryError"
RETURN_TYPES = pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
CONF, FORMATS, LOINC = "2.16.840.1.113883.5.25", "1.3.6.1.4.1.19376.1.2.3", "2.16.840.1.113883.6.1"
A, B, C = "34133-9", "11502-2", "18748-4"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def with_codes(desk: Desk, *codes: str) -> Folder:
    made = desk.submission(folder=True)
    made.folders[0].codes = [Code(one, LOINC, one) for one in codes]
    return desk.register(made).folders[0]


@dataclass
class Cabinet:
    desk: Desk
    name: dict[str, str]

    def found(self, *slots: tuple[str, str | list[str]], return_type: str = "LeafClass", status: str = APPROVED) -> str:
        base = [("$XDSFolderPatientId", quote(self.desk.patient_id)), ("$XDSFolderStatus", f"('{status}')")]
        answer = ask(self.desk, FIND_FOLDERS, *base, *slots, return_type=return_type)
        return "".join(sorted(self.name[one] for one in ids(answer)))


@pytest.fixture(scope="module")
def cabinet(plain: World) -> Cabinet:
    desk = Desk(plain)
    made = {name: with_codes(desk, *codes) for name, codes in (("ab", (A, B)), ("bc", (B, C)), ("c", (C,)))}
    with desk.world._registry_database() as database, database.write() as unit:
        key = unit.record.find(desk.patient_id).patient_key
        for name, time in (("ab", "20250101000000"), ("bc", "20250201000000"), ("c", "20250301000000")):
            unit.registry.touch_folders(key, [made[name].entry_uuid], time)
    return Cabinet(desk, {folder.entry_uuid: f"{name}." for name, folder in made.items()})


@RETURN_TYPES
@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([], "ab.bc.c."),
        ([("$XDSFolderCodeList", f"('{A}^^{LOINC}')")], "ab."),
        ([("$XDSFolderCodeList", f"('{A}^^{LOINC}','{C}^^{LOINC}')")], "ab.bc.c."),
        ([("$XDSFolderCodeList", f"('{B}^^{LOINC}')"), ("$XDSFolderCodeList", f"('{C}^^{LOINC}')")], "bc."),
        ([("$XDSFolderCodeList", f"('{A[:-1]}^^{LOINC}')")], ""),
        ([("$XDSFolderCodeList", f"('{A}^^2.25.8')")], ""),
        ([("$XDSFolderLastUpdateTimeFrom", "20250201")], "bc.c."),
        ([("$XDSFolderLastUpdateTimeTo", "20250201")], "ab."),
        ([("$XDSFolderLastUpdateTimeFrom", "'202501'"), ("$XDSFolderLastUpdateTimeTo", "'20250301000000'")], "ab.bc."),
        ([("$XDSFolderLastUpdateTimeFrom", "2026"), ("$XDSFolderLastUpdateTimeTo", "2025")], ""),
        ([("$MetadataLevel", "2")], "ab.bc.c."),
        ([("$XDSFolderSomethingElse", "('x')")], "ab.bc.c."),
    ],
    ids=str,
)
def test_folders_are_found(
    cabinet: Cabinet, slots: list[tuple[str, str | list[str]]], expected: str, return_type: str
) -> None:
    """Codes in one slot are alternatives, in several they must all be there; times are half open.

    Rule: Q-06, Q-09, Q-10, C-22; Clause: ITI TF-2 3.18.4.1.2.3.7.3
    """
    assert cabinet.found(*slots, return_type=return_type) == expected


def test_folders_come_whole_and_newest_first(cabinet: Cabinet) -> None:
    """Title, codes, lid and version; and no deprecated one was asked for.

    Rule: E-10, E-16, I-03
    """
    assert cabinet.found(status=DEPRECATED) == ""
    desk = cabinet.desk
    base = [("$XDSFolderPatientId", quote(desk.patient_id)), ("$XDSFolderStatus", f"('{APPROVED}')")]
    folders = ask(desk, FIND_FOLDERS, *base).objects
    assert [cabinet.name[f.entry_uuid] for f in folders] == ["c.", "bc.", "ab."]
    for one in folders:
        assert isinstance(one, Folder) and one.title and one.codes and one.last_update_time
        assert (one.logical_id, one.version, one.status) == (one.entry_uuid, 1, APPROVED)


@pytest.mark.parametrize(
    ("slots", "code"),
    [
        ({"$XDSFolderPatientId": []}, MISSING),
        ({"$XDSFolderStatus": []}, MISSING),
        ({"$XDSFolderStatus": ["('urn:x:Submitted')"]}, MISSING),
        ({"$XDSFolderPatientId": ["('a','b')"]}, NUMBER),
        ({"$XDSFolderCodeList": ["('A')"]}, ERROR),
        ({"$XDSFolderLastUpdateTimeFrom": ["'soon'"]}, ERROR),
    ],
    ids=str,
)
def test_wrong_parameters_of_folders_are_refused(desk: Desk, slots: dict[str, list[str]], code: str) -> None:
    """Rule: Q-08, Q-09, Q-12, Q-14"""
    given = {"$XDSFolderPatientId": [quote(desk.patient_id)], "$XDSFolderStatus": [f"('{APPROVED}')"]} | slots
    (name,) = slots
    refused(ask(desk, FIND_FOLDERS, *((n, v) for n, v in given.items() if v)), code, name)


@RETURN_TYPES
@pytest.mark.parametrize("parameter", ["$XDSFolderEntryUUID", "$XDSFolderUniqueId", "$XDSFolderLogicalID"])
def test_folders_are_got_by_identifier(desk: Desk, parameter: str, return_type: str) -> None:
    """Several at once; an entry's identifier gives no folder. Clause: ITI TF-2 3.18.4.1.2.3.7.6"""
    made = [desk.new(folder=True) for _ in range(2)]
    of = "unique_id" if parameter.endswith("UniqueId") else "entry_uuid"
    wanted = [getattr(one.folders[0], of) for one in made] + [getattr(made[0].entries[0], of), frames.new_uuid()]
    found = ids(ask(desk, GET_FOLDERS, (parameter, quote_list(wanted)), return_type=return_type))
    assert sorted(found) == sorted(one.folders[0].entry_uuid for one in made)


@pytest.mark.parametrize("query", [GET_FOLDERS, GET_FOLDER_AND_CONTENTS, GET_FOLDERS_FOR_DOCUMENT])
def test_one_way_to_name_a_folder_or_a_document(desk: Desk, query: str) -> None:
    """None and two are refused; of the queries about one, several values too.

    Rule: Q-14
    """
    kind = "DocumentEntry" if query == GET_FOLDERS_FOR_DOCUMENT else "Folder"
    by_uuid, by_name = f"$XDS{kind}EntryUUID", f"$XDS{kind}UniqueId"
    refused(ask(desk, query), MISSING, by_uuid)
    refused(ask(desk, query, (by_uuid, "('a')"), (by_name, "('b')")), NUMBER, by_name)
    if query != GET_FOLDERS:
        refused(ask(desk, query, (by_uuid, "('a','b')")), NUMBER, by_uuid, "[Q-14]")
        assert ids(ask(desk, query, (by_name, "'1.2.3.4'"))) == []


def filled(desk: Desk) -> Submission:
    """A folder with three documents: plain; of another format; restricted."""
    made = desk.submission(3, folder=True)
    made.entries[1].format_code = Code("urn:ihe:iti:xds-sd:pdf:2008", FORMATS, "PDF")
    made.entries[0].format_code = Code("urn:ihe:pcc:xds-ms:2007", FORMATS, "MS")
    made.entries[2].format_code = Code("urn:ihe:pcc:xds-ms:2007", FORMATS, "MS")
    for entry, codes in zip(made.entries, ("N", "N", "NR"), strict=True):
        entry.confidentiality_codes = [Code(one, CONF, one) for one in codes]
    return desk.register(made)


@RETURN_TYPES
@pytest.mark.parametrize("parameter", ["$XDSFolderEntryUUID", "$XDSFolderUniqueId"])
@pytest.mark.parametrize(
    ("slots", "shown"),
    [
        ([], "012"),
        ([("$XDSDocumentEntryFormatCode", f"('urn:ihe:pcc:xds-ms:2007^^{FORMATS}')")], "02"),
        ([("$XDSDocumentEntryConfidentialityCode", f"('N^^{CONF}')")], "012"),
        ([("$XDSDocumentEntryConfidentialityCode", f"('{one}^^{CONF}')") for one in "NR"], "2"),
        ([("$XDSDocumentEntryType", f"('{ON_DEMAND}')")], ""),
        ([("$XDSDocumentEntryType", f"('{STABLE}','{ON_DEMAND}')")], "012"),
        ([("$XDSAssociationStatus", f"('{APPROVED}')")], "012"),
        ([("$XDSAssociationStatus", f"('{DEPRECATED}')"), ("$MetadataLevel", "2")], ""),
    ],
    ids=str,
)
def test_a_folder_comes_with_its_contents(
    desk: Desk, parameter: str, slots: list[tuple[str, str]], shown: str, return_type: str
) -> None:
    """The folder, the documents that pass, and their memberships; nothing of the set, nothing of the others.

    Clause: ITI TF-2 3.18.4.1.2.3.7.11
    """
    made = filled(desk)
    folder = made.folders[0]
    name = folder.unique_id if parameter.endswith("UniqueId") else folder.entry_uuid
    found = ids(ask(desk, GET_FOLDER_AND_CONTENTS, (parameter, quote(name)), *slots, return_type=return_type))
    entries = {made.entries[int(n)].entry_uuid for n in shown}
    links = {a.entry_uuid for a in made.associations if a.source == folder.entry_uuid and a.target in entries}
    assert len(found) == len(set(found)) and set(found) == {folder.entry_uuid} | entries | links


@RETURN_TYPES
def test_the_folders_of_a_document(desk: Desk, return_type: str) -> None:
    """All that hold it, and folders only; a document in none gives nothing. Clause: ITI TF-2 3.18.4.1.2.3.7.12"""
    made = desk.new(folder=True)
    entry = made.entries[0]
    second = desk.submission(folder=True)
    desk.member(second, second.folders[0].entry_uuid, entry.entry_uuid)
    desk.register(second)
    alone = desk.new().entries[0]

    def found(one: DocumentEntry, *slots: tuple[str, str]) -> set[str]:
        by_name = set(ids(ask(desk, GET_FOLDERS_FOR_DOCUMENT, ("$XDSDocumentEntryUniqueId", quote(one.unique_id)),
                              *slots, return_type=return_type)))
        by_uuid = set(ids(ask(desk, GET_FOLDERS_FOR_DOCUMENT, ("$XDSDocumentEntryEntryUUID", quote(one.entry_uuid)),
                              *slots, return_type=return_type)))
        assert by_name == by_uuid
        return by_name

    assert found(entry) == {made.folders[0].entry_uuid, second.folders[0].entry_uuid}
    assert found(alone) == set()
    assert found(entry, ("$XDSAssociationStatus", f"('{DEPRECATED}')"), ("$MetadataLevel", "2")) == set()


def test_a_membership_carried_over_is_in_the_folder(desk: Desk) -> None:
    """The document that replaced another is among the contents, both at any status.

    Rule: R-103
    """
    made = desk.new(folder=True)
    new = desk.register(desk.related("urn:ihe:iti:2007:AssociationType:RPLC", made.entries[0].entry_uuid))
    found = ask(desk, GET_FOLDER_AND_CONTENTS, ("$XDSFolderEntryUUID", quote(made.folders[0].entry_uuid)))
    entries = {o.entry_uuid: o.status for o in found.objects if isinstance(o, DocumentEntry)}
    assert entries == {made.entries[0].entry_uuid: DEPRECATED, new.entries[0].entry_uuid: APPROVED}
    assert len([o for o in found.objects if isinstance(o, Association)]) == 2
