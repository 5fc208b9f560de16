"""ITI-18 and ITI-51: every query and every parameter, judged by ITI TF-2 3.18.4.1.2 alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import Event, good, pair, refused
from tests.blackbox.meta import (
    APND,
    APPROVED,
    CONFIDENTIALITY,
    DEPRECATED,
    LOINC,
    RPLC,
    SNOMED,
    Entry,
    Folder,
    Set,
    link,
    slot,
)

LAB = ("11502-2", LOINC)
REF = "X-77^^^&1.2.3.4&ISO^urn:ihe:iti:xds:2013:order"
REF2 = "Y-78^^^&1.2.3.4&ISO^urn:ihe:iti:xds:2013:accession"


@dataclass
class Chart:
    """One patient with two different documents, a folder, an addendum, a replaced document."""

    patient: str
    first: Entry
    second: Entry
    addendum: Entry
    dead: Entry
    folder: Folder
    one: Set
    two: Set


@pytest.fixture(scope="module")
def chart(event: Event) -> Chart:
    patient = event.patient()
    first = Entry(
        patient,
        id=meta.new_uuid(),
        slots={"urn:ihe:iti:xds:2013:referenceIdList": [REF, REF2]},
        codes={
            "eventCodeList": (("T-D4909", "SRT"), ("TRID1001", "1.3.6.1.4.1.21367.100.1")),
            "confidentialityCode": (("N", CONFIDENTIALITY), ("V", CONFIDENTIALITY)),
            "classCode": (("l'un, l'autre", "1.3.6.1.4.1.21367.2026.9"),),
        },
    )
    second = Entry(
        patient,
        id=meta.new_uuid(),
        author="777^Martin^Zoé^^^Dr",
        data=b"second",
        codes={
            "classCode": (LAB,),
            "typeCode": (LAB,),
            "practiceSettingCode": (("394579002", SNOMED),),
            "healthcareFacilityTypeCode": (("35971002", SNOMED),),
            "eventCodeList": (("T-D4909", "SRT"),),
            "formatCode": (("urn:ihe:iti:xds-sd:text:2008", "1.3.6.1.4.1.19376.1.2.3"),),
            "confidentialityCode": (("R", CONFIDENTIALITY),),
        },
        slots={"creationTime": "20250102", "serviceStartTime": None, "serviceStopTime": None},
    )
    dead, addendum = (
        Entry(patient, id=meta.new_uuid()),
        Entry(patient, id=meta.new_uuid(), slots={"creationTime": "2020"}),
    )
    folder = Folder(patient, id=meta.new_uuid(), codes=(("34133-9", LOINC), LAB))
    good(event.register(Set(patient, [dead])))
    one = Set(patient, [first], [folder], id=meta.new_uuid(), links=[link(RPLC, first.id, dead.id)])
    good(event.register(one.into(folder.id, first.id)))
    two = Set(
        patient,
        [second, addendum],
        id=meta.new_uuid(),
        links=[link(APND, addendum.id, first.id)],
        time="20250101080000",
        content_type=LAB,
        source=f"{meta.AUTHORITY}.7",
        author="^Dupont^Jean^^^",
    )
    good(event.register(two))
    return Chart(patient, first, second, addendum, dead, folder, one, two)


def hits(reply: wire.Reply, chart: Chart) -> str:
    """Names of the chart's objects an answer holds, in letters: f s a d, F, 1 2."""
    names = {
        chart.first.id: "f",
        chart.second.id: "s",
        chart.addendum.id: "a",
        chart.dead.id: "d",
        chart.folder.id: "F",
        chart.one.id: "1",
        chart.two.id: "2",
    }
    good(reply)
    assert len(set(reply.ids)) == len(reply.ids), "no duplicates"
    return "".join(sorted(names[i] for i in reply.ids if i in names))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "afs"),
        ({"ClassCode": pair(*LAB)}, "s"),
        ({"ClassCode": pair("l'un, l'autre", "1.3.6.1.4.1.21367.2026.9")}, "f"),
        ({"ClassCode": "('11502-2^^2.16.840.1.113883.6.1' , '11488-4^^2.16.840.1.113883.6.1')"}, "as"),
        ({"ClassCode": [pair(*LAB), pair("11488-4", LOINC)]}, "as"),
        ({"TypeCode": pair(*LAB)}, "s"),
        ({"PracticeSettingCode": pair("394579002", SNOMED)}, "s"),
        ({"HealthcareFacilityTypeCode": pair("35971002", SNOMED)}, "s"),
        ({"FormatCode": pair("urn:ihe:iti:xds-sd:text:2008", "1.3.6.1.4.1.19376.1.2.3")}, "s"),
        ({"EventCodeList": pair("T-D4909", "SRT")}, "fs"),
        ({"ConfidentialityCode": pair("R", CONFIDENTIALITY)}, "s"),
        ({"ConfidentialityCode": f"('R^^{CONFIDENTIALITY}','V^^{CONFIDENTIALITY}')"}, "fs"),
        ({"AuthorPerson": "('%Martin%')"}, "s"),
        ({"AuthorPerson": "('%Nobody%','777^M_rtin^%')"}, "s"),
        ({"AuthorPerson": "('Martin')"}, ""),
        ({"AuthorPerson": "('%martin%')"}, ""),
        ({"CreationTimeFrom": "20250102"}, "fs"),
        ({"CreationTimeFrom": "'20250102000000'"}, "fs"),
        ({"CreationTimeTo": "20250102"}, "a"),
        ({"CreationTimeFrom": "2020", "CreationTimeTo": "2025010201"}, "as"),
        ({"CreationTimeFrom": "2027", "CreationTimeTo": "2020"}, ""),
        ({"ServiceStartTimeFrom": "20260314090000"}, "afs"),
        ({"ServiceStartTimeTo": "202603140900"}, "s"),
        ({"ServiceStopTimeFrom": "202603141001"}, "s"),
        ({"ServiceStopTimeTo": "202603141001"}, "afs"),
        ({"Type": f"('{meta.ONDEMAND}')"}, ""),
        ({"Type": f"('{meta.STABLE}','{meta.ONDEMAND}')"}, "afs"),
        ({"ClassCodeScheme": "('anything')"}, "afs"),
        ({"TypeCode": pair("nonesuch", LOINC)}, ""),
        (
            {
                "TypeCode": pair(*LAB),
                "FormatCode": pair("urn:ihe:iti:xds:2017:mimeTypeSufficient", "1.3.6.1.4.1.19376.1.2.3"),
            },
            "",
        ),
    ],
)
def test_find_documents(event: Event, chart: Chart, values: dict[str, Any], expected: str) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.1: each criterion, all of them together.

    Rule: Q-01, Q-03, Q-04, Q-05, Q-09, Q-10, Q-16
    """
    assert hits(event.find(chart.patient, **{f"XDSDocumentEntry{k}": v for k, v in values.items()}), chart) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (f"('{DEPRECATED}')", "d"),
        (f"('{APPROVED}','{DEPRECATED}')", "adfs"),
        ([f"('{APPROVED}')", f"('{DEPRECATED}')"], "adfs"),
        (f"('{APPROVED}','urn:x:Unheard')", "afs"),
    ],
)
def test_find_documents_by_status(event: Event, chart: Chart, status: Any, expected: str) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.1: availabilityStatus, unknown values ignored. Rule: Q-05"""
    assert hits(event.find(chart.patient, status=status), chart) == expected


@pytest.mark.parametrize("name", ["EventCodeList", "ConfidentialityCode"])
def test_repeated_slots_are_a_conjunction(event: Event, chart: Chart, name: str) -> None:
    """ITI TF-2 3.18.4.1.2.3.5: values of one Slot are OR, several Slots of a name are AND. Rule: Q-06"""
    both = {
        "EventCodeList": (("T-D4909", "SRT"), ("TRID1001", "1.3.6.1.4.1.21367.100.1")),
        "ConfidentialityCode": (("N", CONFIDENTIALITY), ("V", CONFIDENTIALITY)),
    }[name]
    slots = [slot(f"$XDSDocumentEntry{name}", pair(*value)) for value in both]
    base = [
        slot("$XDSDocumentEntryPatientId", f"'{chart.patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    ]
    assert hits(event.ask_slots("FindDocuments", *base, *slots), chart) == "f"


@pytest.mark.parametrize(
    ("slots", "codes"),
    [
        ({"$XDSDocumentEntryPatientId": None}, ["XDSStoredQueryMissingParam"]),
        ({"$XDSDocumentEntryStatus": None}, ["XDSStoredQueryMissingParam"]),
        (
            {"$XDSDocumentEntryStatus": "('urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved')"},
            ["XDSStoredQueryMissingParam"],
        ),
        ({"$XDSDocumentEntryStatus": "()"}, ["XDSStoredQueryMissingParam"]),
        ({"$XDSDocumentEntryPatientId": ["'a'", "'b'"]}, ["XDSStoredQueryParamNumber"]),
        ({"$XDSDocumentEntryClassCode": "('11488-4')"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryClassCode": "('11488-4^^')"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryClassCode": "('11488-4^x^2.16.840.1.113883.6.1')"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryClassCode": "('unbalanced)"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryClassCode": "(bare)"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryCreationTimeFrom": "yesterday"}, ["XDSRegistryError"]),
        ({"$XDSDocumentEntryCreationTimeFrom": ["2020", "2021"]}, ["XDSStoredQueryParamNumber"]),
    ],
)
def test_a_query_that_cannot_be_answered(event: Event, chart: Chart, slots: dict[str, Any], codes: list[str]) -> None:
    """ITI TF-2 3.18.4.1.3: the code of each mistake, with an empty RegistryObjectList. Rule: Q-08, Q-12, Q-14, Q-17"""
    given = {"$XDSDocumentEntryPatientId": f"'{chart.patient}'", "$XDSDocumentEntryStatus": f"('{APPROVED}')"} | slots
    texts = [slot(k, *([v] if isinstance(v, str) else v)) for k, v in given.items() if v is not None]
    reply = refused(event.ask_slots("FindDocuments", *texts), *codes)
    listed = reply.find(".//rim:RegistryObjectList")
    assert listed is not None and len(listed) == 0


def test_a_repeated_slot_of_an_ordinary_parameter_is_refused(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.5: only some parameters may be repeated. Rule: Q-06"""
    base = [
        slot("$XDSDocumentEntryPatientId", f"'{chart.patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    ]
    twice = [slot("$XDSDocumentEntryClassCode", pair(*LAB))] * 2
    refused(event.ask_slots("FindDocuments", *base, *twice), "XDSStoredQueryParamNumber", "XDSRegistryError")


def test_unknown_queries_and_queries_of_the_other_transaction(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.3: XDSUnknownStoredQuery. Rule: Q-01"""
    refused(event.ask_slots("urn:uuid:00000000-0000-4000-8000-000000000000"), "XDSUnknownStoredQuery")
    multi = meta.query(
        "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f", slot("$XDSDocumentEntryStatus", f"('{APPROVED}')")
    )
    refused(event.registry.call(wire.SQ, multi), "XDSUnknownStoredQuery")
    single = meta.query(
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", slot("$XDSDocumentEntryStatus", f"('{APPROVED}')")
    )
    refused(event.registry.call(wire.MPQ, single), "XDSUnknownStoredQuery")


def test_return_types(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.6: ObjectRef holds the same ids as LeafClass; no other type here. Rule: Q-19"""
    leaf, ref = (
        event.find(chart.patient),
        event.ask(
            "FindDocuments",
            return_type="ObjectRef",
            XDSDocumentEntryPatientId=f"'{chart.patient}'",
            XDSDocumentEntryStatus=f"('{APPROVED}')",
        ),
    )
    assert sorted(leaf.ids) == sorted(ref.ids) and len(ref.objects("ObjectRef")) == len(ref.ids) == 3
    refused(
        event.ask(
            "FindDocuments",
            return_type="LeafClassWithRepositoryItem",
            XDSDocumentEntryPatientId=f"'{chart.patient}'",
            XDSDocumentEntryStatus=f"('{APPROVED}')",
        ),
        "XDSRegistryError",
    )


def test_attributes_outside_the_profile_are_ignored(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2: home, paging and federation change nothing; the query id compares without case.

    Rule: Q-18, Q-20
    """
    slots = [
        slot("$XDSDocumentEntryPatientId", f"'{chart.patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    ]
    body = meta.query(
        "urn:uuid:14D4DEBF-8F97-4251-9A74-A90016B0AF0D",
        *slots,
        attributes=' home="urn:oid:1.2.3"',
        request=' federated="true" startIndex="1" maxResults="1"',
    )
    assert hits(event.registry.call(wire.SQ, body), chart) == "afs"


def test_an_unknown_patient_has_nothing(event: Event) -> None:
    """ITI TF-2 3.18.4.1.3: nothing found is Success with an empty list, or XDSUnknownPatientId. Rule: Q-01"""
    reply = event.find(f"NOBODY-9^^^&{meta.AUTHORITY}&ISO")
    assert reply.codes == ["XDSUnknownPatientId"] or good(reply).ids == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "12"),
        ({"SourceId": f"('{meta.AUTHORITY}.7')"}, "2"),
        ({"ContentType": pair(*LAB)}, "2"),
        ({"AuthorPerson": "'%Dupont%'"}, "2"),
        ({"AuthorPerson": "'Dupont'"}, ""),
        ({"SubmissionTimeFrom": "20250101080000", "SubmissionTimeTo": "20250101080001"}, "2"),
        ({"SubmissionTimeTo": "2025010108"}, ""),
    ],
)
def test_find_submission_sets(event: Event, chart: Chart, values: dict[str, str], expected: str) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.2: each criterion of FindSubmissionSets. Rule: Q-02"""
    given = {"PatientId": f"'{chart.patient}'", "Status": f"('{APPROVED}')"} | values
    assert (
        hits(event.ask("FindSubmissionSets", **{f"XDSSubmissionSet{k}": v for k, v in given.items()}), chart)
        == expected
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "F"),
        ({"CodeList": pair(*LAB)}, "F"),
        ({"CodeList": pair("nonesuch", LOINC)}, ""),
        ({"LastUpdateTimeFrom": "2026"}, "F"),
        ({"LastUpdateTimeTo": "2026"}, ""),
    ],
)
def test_find_folders(event: Event, chart: Chart, values: dict[str, str], expected: str) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.3: each criterion of FindFolders. Rule: Q-02"""
    given = {"PatientId": f"'{chart.patient}'", "Status": f"('{APPROVED}')"} | values
    assert hits(event.ask("FindFolders", **{f"XDSFolder{k}": v for k, v in given.items()}), chart) == expected


def test_folder_codes_in_two_slots_are_a_conjunction(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.5: $XDSFolderCodeList may be repeated. Rule: Q-06"""
    base = [slot("$XDSFolderPatientId", f"'{chart.patient}'"), slot("$XDSFolderStatus", f"('{APPROVED}')")]
    lab, other = slot("$XDSFolderCodeList", pair(*LAB)), slot("$XDSFolderCodeList", pair("nonesuch", LOINC))
    episode = slot("$XDSFolderCodeList", pair("34133-9", LOINC))
    assert hits(event.ask_slots("FindFolders", *base, lab, episode), chart) == "F"
    assert hits(event.ask_slots("FindFolders", *base, lab, other), chart) == ""


def test_get_all(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.4: all objects of the patient that pass the filters, and their associations.

    Rule: Q-02
    """
    given = {
        "patientId": f"'{chart.patient}'",
        "XDSDocumentEntryStatus": f"('{APPROVED}')",
        "XDSSubmissionSetStatus": f"('{APPROVED}')",
        "XDSFolderStatus": f"('{APPROVED}')",
    }
    reply = event.ask("GetAll", **given)
    assert hits(reply, chart) == "12Fafs"
    kinds = sorted(a.get("associationType").rpartition(":")[2] for a in reply.objects("Association"))
    # 3 set-document, 1 set-folder, 1 folder-document, 1 set-association, RPLC, APND, and that of the replaced one's set
    assert kinds.count("RPLC") == kinds.count("APND") == 1 and kinds.count("HasMember") == 7
    confidential = event.ask("GetAll", **given, XDSDocumentEntryConfidentialityCode=pair("R", CONFIDENTIALITY))
    assert hits(confidential, chart) == "12Fs"
    for name in given:
        refused(event.ask("GetAll", **{k: v for k, v in given.items() if k != name}), "XDSStoredQueryMissingParam")


def test_get_documents(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.5: by UUID or uniqueId, any status, what exists; exactly one way. Rule: Q-12"""
    ids = f"('{chart.first.id}','{chart.dead.id}','{meta.new_uuid()}')"
    assert hits(event.ask("GetDocuments", XDSDocumentEntryEntryUUID=ids), chart) == "df"
    split = [f"('{chart.first.id}')", f"('{chart.second.id}')"]
    assert hits(event.ask("GetDocuments", XDSDocumentEntryEntryUUID=split), chart) == "fs"
    assert hits(event.ask("GetDocuments", XDSDocumentEntryUniqueId=f"('{chart.second.unique}')"), chart) == "s"
    assert good(event.ask("GetDocuments", XDSDocumentEntryUniqueId="('1.2.3.nothing')")).ids == []
    refused(event.ask("GetDocuments"), "XDSStoredQueryMissingParam")
    both = {"XDSDocumentEntryEntryUUID": ids, "XDSDocumentEntryUniqueId": f"('{chart.second.unique}')"}
    refused(event.ask("GetDocuments", **both), "XDSStoredQueryParamNumber")


def test_get_folders(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.6: by UUID or uniqueId."""
    assert hits(event.ask("GetFolders", XDSFolderEntryUUID=f"('{chart.folder.id}')"), chart) == "F"
    assert hits(event.ask("GetFolders", XDSFolderUniqueId=f"('{chart.folder.unique}')"), chart) == "F"
    refused(event.ask("GetFolders"), "XDSStoredQueryMissingParam")
    refused(event.ask("GetFolders", XDSFolderEntryUUID="('a')", XDSFolderUniqueId="('b')"), "XDSStoredQueryParamNumber")


def test_get_associations(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.7: those with the object as source or target, nothing else."""
    reply = event.ask("GetAssociations", uuid=f"('{chart.addendum.id}')")
    found = {
        (a.get("associationType").rpartition(":")[2], a.get("sourceObject"), a.get("targetObject"))
        for a in good(reply).objects("Association")
    }
    assert found == {("APND", chart.addendum.id, chart.first.id), ("HasMember", chart.two.id, chart.addendum.id)}
    assert len(reply.ids) == 2
    refused(event.ask("GetAssociations"), "XDSStoredQueryMissingParam")


def test_get_documents_and_associations(event: Event) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.8: a document alone in its set comes with one association."""
    entry = event.stored(event.patient())
    reply = good(event.ask("GetDocumentsAndAssociations", XDSDocumentEntryEntryUUID=f"('{entry.id}')"))
    assert len(reply.objects("ExtrinsicObject")) == len(reply.objects("Association")) == 1
    refused(event.ask("GetDocumentsAndAssociations"), "XDSStoredQueryMissingParam")


def test_get_submission_sets(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.9: sets of documents and folders with the memberships."""
    reply = event.ask("GetSubmissionSets", uuid=f"('{chart.folder.id}','{chart.second.id}')")
    assert hits(reply, chart) == "12"
    assert {(a.get("sourceObject"), a.get("targetObject")) for a in reply.objects("Association")} == {
        (chart.one.id, chart.folder.id),
        (chart.two.id, chart.second.id),
    }
    refused(event.ask("GetSubmissionSets"), "XDSStoredQueryMissingParam")


def test_get_submission_set_and_contents(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.10: the set, its members, their memberships; filters drop documents and their links."""
    reply = event.ask("GetSubmissionSetAndContents", XDSSubmissionSetEntryUUID=f"'{chart.one.id}'")
    assert hits(reply, chart) == "1Ff"
    ends = {(a.get("sourceObject"), a.get("targetObject")) for a in reply.objects("Association")}
    assert {(chart.one.id, chart.first.id), (chart.one.id, chart.folder.id), (chart.folder.id, chart.first.id)} <= ends
    memberships = {a.get("id") for a in reply.objects("Association")}
    assert any((chart.one.id, name) in ends for name in memberships), "the set's membership of the folder's membership"
    by_unique = {"XDSSubmissionSetUniqueId": f"'{chart.two.unique}'"}
    assert hits(event.ask("GetSubmissionSetAndContents", **by_unique), chart) == "2as"
    text = pair("urn:ihe:iti:xds-sd:text:2008", "1.3.6.1.4.1.19376.1.2.3")
    filtered = event.ask("GetSubmissionSetAndContents", **by_unique, XDSDocumentEntryFormatCode=text)
    assert hits(filtered, chart) == "2s" and len(filtered.objects("Association")) == 1
    refused(event.ask("GetSubmissionSetAndContents"), "XDSStoredQueryMissingParam")
    refused(
        event.ask("GetSubmissionSetAndContents", **by_unique, XDSSubmissionSetEntryUUID=f"'{chart.one.id}'"),
        "XDSStoredQueryParamNumber",
    )
    refused(
        event.ask(
            "GetSubmissionSetAndContents", XDSSubmissionSetUniqueId=[f"'{chart.one.unique}'", f"'{chart.two.unique}'"]
        ),
        "XDSStoredQueryParamNumber",
    )


def test_get_folder_and_contents(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.11: the folder, its documents that pass, the memberships."""
    reply = event.ask("GetFolderAndContents", XDSFolderUniqueId=f"'{chart.folder.unique}'")
    assert hits(reply, chart) == "Ff"
    (member,) = reply.objects("Association")
    assert (member.get("sourceObject"), member.get("targetObject")) == (chart.folder.id, chart.first.id)
    text = pair("urn:ihe:iti:xds-sd:text:2008", "1.3.6.1.4.1.19376.1.2.3")
    filtered = event.ask(
        "GetFolderAndContents", XDSFolderEntryUUID=f"'{chart.folder.id}'", XDSDocumentEntryFormatCode=text
    )
    assert filtered.ids == [chart.folder.id]
    refused(event.ask("GetFolderAndContents"), "XDSStoredQueryMissingParam")


def test_get_folders_for_document(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.12: folders that hold the document, folders only."""
    assert event.ask("GetFoldersForDocument", XDSDocumentEntryUniqueId=f"'{chart.first.unique}'").ids == [
        chart.folder.id
    ]
    assert good(event.ask("GetFoldersForDocument", XDSDocumentEntryEntryUUID=f"'{chart.second.id}'")).ids == []
    refused(event.ask("GetFoldersForDocument"), "XDSStoredQueryMissingParam")


def test_get_related_documents(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.13: documents at both ends; memberships never qualify; none related, none returned."""

    def related(entry: Entry, *kinds: str) -> wire.Reply:
        return event.ask(
            "GetRelatedDocuments",
            XDSDocumentEntryEntryUUID=f"'{entry.id}'",
            AssociationTypes="(" + ",".join(f"'{k}'" for k in kinds) + ")",
        )

    reply = related(chart.first, APND)
    assert hits(reply, chart) == "af" and len(reply.objects("Association")) == 1
    assert hits(related(chart.first, APND, RPLC), chart) == "adf"
    assert good(related(chart.second, APND, RPLC)).ids == []
    assert good(related(chart.first, meta.HAS_MEMBER)).ids == []
    refused(
        event.ask("GetRelatedDocuments", XDSDocumentEntryEntryUUID=f"'{chart.first.id}'"), "XDSStoredQueryMissingParam"
    )
    refused(event.ask("GetRelatedDocuments", AssociationTypes=f"('{APND}')"), "XDSStoredQueryMissingParam")


def test_find_documents_by_reference_id(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.18.4.1.2.3.7.14: the whole CXi; a repeated Slot is a conjunction. Rule: Q-06"""
    base = [
        slot("$XDSDocumentEntryPatientId", f"'{chart.patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    ]
    name = "$XDSDocumentEntryReferenceIdList"
    ask = lambda *more: event.ask_slots("FindDocumentsByReferenceId", *base, *more)  # noqa: E731
    assert hits(ask(slot(name, f"('{REF}')")), chart) == "f"
    assert hits(ask(slot(name, f"('{REF}')"), slot(name, f"('{REF2}')")), chart) == "f"
    assert (
        hits(ask(slot(name, f"('{REF}')"), slot(name, "('Z^^^&1.2.3.4&ISO^urn:ihe:iti:xds:2013:order')")), chart) == ""
    )
    assert hits(ask(slot(name, "('X-77')")), chart) == ""
    refused(ask(), "XDSStoredQueryMissingParam")


GET_WITH_TWO = [
    ("GetDocuments", "XDSDocumentEntryEntryUUID", lambda e, f, s: e.id),
    ("GetDocumentsAndAssociations", "XDSDocumentEntryEntryUUID", lambda e, f, s: e.id),
    ("GetFolders", "XDSFolderEntryUUID", lambda e, f, s: f.id),
    ("GetSubmissionSets", "uuid", lambda e, f, s: e.id),
    ("GetAssociations", "uuid", lambda e, f, s: e.id),
]


@pytest.mark.parametrize(("name", "parameter", "pick"), GET_WITH_TWO, ids=[row[0] for row in GET_WITH_TWO])
def test_leaf_class_is_of_one_patient(event: Event, name: str, parameter: str, pick: Any) -> None:
    """ITI TF-2 3.18.4.1.2.6: XDSResultNotSinglePatient for LeafClass; ObjectRef may mix."""
    found = []
    for _ in range(2):
        patient = event.patient()
        entry, folder = Entry(patient, id=meta.new_uuid()), Folder(patient, id=meta.new_uuid())
        good(event.register(Set(patient, [entry], [folder])))
        found.append(pick(entry, folder, None))
    value = "(" + ",".join(f"'{v}'" for v in found) + ")"
    refused(event.ask(name, **{parameter: value}), "XDSResultNotSinglePatient")
    assert len(good(event.ask(name, return_type="ObjectRef", **{parameter: value})).ids) >= 2


def test_metadata_level_and_logical_ids(event: Event, chart: Chart) -> None:
    """Metadata Update supplement: level 1 unless asked, quoted or not; lid selects all versions."""
    for level in ("1", "2", "'2'"):
        assert "f" in hits(event.find(chart.patient, MetadataLevel=level), chart)
    reply = event.ask("GetDocuments", XDSDocumentEntryLogicalID=f"('{chart.first.id}')", MetadataLevel="2")
    assert hits(reply, chart) == "f"


# -- ITI-51 ----------------------------------------


def test_find_documents_for_multiple_patients(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.51.4.1.2: several patients in one answer, also as LeafClass."""
    other = event.stored(event.patient())
    both = f"('{chart.patient}','{other.patient}')"
    reply = event.ask(
        "FindDocumentsForMultiplePatients", XDSDocumentEntryPatientId=both, XDSDocumentEntryStatus=f"('{APPROVED}')"
    )
    assert hits(reply, chart) == "afs" and other.id in reply.ids and len(reply.ids) == 4
    assert reply.find("soap:Header/wsa:Action").text == "urn:ihe:iti:2009:MultiPatientStoredQueryResponse"


@pytest.mark.parametrize("name", ["ClassCode", "EventCodeList", "HealthcareFacilityTypeCode"])
def test_multiple_patients_without_naming_one(event: Event, chart: Chart, name: str) -> None:
    """ITI TF-2 3.51.4.1.2: a patient is optional where one of four parameters is given."""
    value = {
        "ClassCode": pair(*LAB),
        "EventCodeList": pair("T-D4909", "SRT"),
        "HealthcareFacilityTypeCode": pair("35971002", SNOMED),
    }[name]
    reply = event.ask(
        "FindDocumentsForMultiplePatients",
        XDSDocumentEntryStatus=f"('{APPROVED}')",
        **{f"XDSDocumentEntry{name}": value},
    )
    assert chart.second.id in good(reply).ids


@pytest.mark.parametrize("name", ["", "PracticeSettingCode", "CreationTimeFrom"])
def test_multiple_patients_need_one_of_four_parameters(event: Event, name: str) -> None:
    """ITI TF-2 3.51.4.1.2: nothing that narrows enough is a Failure; dates and practice setting do not count."""
    more = {
        "XDSDocumentEntryPracticeSettingCode": pair("394579002", SNOMED),
        "XDSDocumentEntryCreationTimeFrom": "2020",
    }
    chosen = {k: v for k, v in more.items() if name and k.endswith(name)}
    refused(event.ask("FindDocumentsForMultiplePatients", XDSDocumentEntryStatus=f"('{APPROVED}')", **chosen))


def test_find_folders_for_multiple_patients(event: Event, chart: Chart) -> None:
    """ITI TF-2 3.51.4.1.2: by patients or by code list; neither is a Failure."""
    ask = lambda **more: event.ask("FindFoldersForMultiplePatients", XDSFolderStatus=f"('{APPROVED}')", **more)  # noqa: E731
    assert hits(ask(XDSFolderPatientId=f"('{chart.patient}')"), chart) == "F"
    assert "F" in hits(ask(XDSFolderCodeList=pair(*LAB)), chart)
    refused(ask())
    refused(ask(XDSFolderLastUpdateTimeFrom="2020"))
