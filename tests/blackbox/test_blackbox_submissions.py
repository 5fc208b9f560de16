"""ITI-42 and the registry's half of ITI-41, judged by the framework alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import Event, good, refused
from tests.blackbox.meta import APND, HAS_MEMBER, RPLC, SIGNS, XFRM, XFRM_RPLC, Entry, Folder, Set, link, slot

ENTRY_REQUIRED = [
    "classCode",
    "confidentialityCode",
    "creationTime",
    "formatCode",
    "hash",
    "healthcareFacilityTypeCode",
    "languageCode",
    "mimeType",
    "patientId",
    "practiceSettingCode",
    "repositoryUniqueId",
    "size",
    "sourcePatientId",
    "typeCode",
    "uniqueId",
]
META = "XDSRegistryMetadataError"


@pytest.fixture
def patient(event: Event) -> str:
    return event.patient()


def test_a_document_is_registered_approved_and_returned_as_sent(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: Approved, version 1, lid = id, every attribute as submitted. Rule: R-020"""
    entry = Entry(patient, title="Compte rendu d'été & <suite>")
    good(event.register(Set(patient, [entry])))
    (found,) = event.find(patient).objects("ExtrinsicObject")
    assert found.get("status") == meta.APPROVED
    assert found.get("id").startswith("urn:uuid:") and found.get("lid") == found.get("id")
    assert found.find("rim:VersionInfo", wire.NS).get("versionName") == "1"
    assert found.find("rim:Name/rim:LocalizedString", wire.NS).get("value") == entry.title
    values = {s.get("name"): [v.text for v in s.iter("{*}Value")] for s in found.findall("rim:Slot", wire.NS)}
    assert values["hash"] == [entry.hash] and values["size"] == [str(len(entry.data))]
    assert values["repositoryUniqueId"] == [meta.REPOSITORY] and values["creationTime"] == ["20260314120000"]
    for child in found.iter("{*}Classification", "{*}ExternalIdentifier"):
        assert child.get("objectType").startswith("urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:")
        owner = child.get("classifiedObject") or child.get("registryObject")
        assert owner == found.get("id"), "symbolic ids are replaced everywhere"


@pytest.mark.parametrize("name", ENTRY_REQUIRED)
def test_an_entry_without_a_required_attribute_is_refused(event: Event, patient: str, name: str) -> None:
    """ITI TF-3 table 4.3.1-3: required of ITI-42. Rule: R-020"""
    refused(event.register(Set(patient, [Entry(patient, drop=frozenset({name}))])), META)
    assert event.find(patient).ids == []


@pytest.mark.parametrize("name", ["contentTypeCode", "patientId", "sourceId", "submissionTime", "uniqueId"])
def test_a_set_without_a_required_attribute_is_refused(event: Event, patient: str, name: str) -> None:
    """ITI TF-3 table 4.3.1-3: required of a SubmissionSet. Rule: R-021"""
    refused(event.register(Set(patient, [Entry(patient)], drop=frozenset({name}))), META)


@pytest.mark.parametrize("name", ["codeList", "patientId", "title", "uniqueId"])
def test_a_folder_without_a_required_attribute_is_refused(event: Event, patient: str, name: str) -> None:
    """ITI TF-3 table 4.3.1-3: required of a Folder. Rule: R-022"""
    refused(event.register(Set(patient, folders=[Folder(patient, drop=frozenset({name}))])), META)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("creationTime", "2026-03-14"),
        ("creationTime", "20261314"),
        ("creationTime", "20260314120000+0100"),
        ("creationTime", "2026031"),
        ("hash", "xyz"),
        ("size", "-1"),
        ("size", "12a"),
        ("languageCode", ["fr", "en"]),
        ("sourcePatientId", "no-authority"),
        ("sourcePatientId", "1^^^&1.2.3&ISO^MR"),
        ("repositoryUniqueId", "not-an-oid"),
        ("sourcePatientInfo", "ORC-3|x"),
        ("sourcePatientInfo", ["PID-7|19700101", "PID-7|19700102"]),
        ("urn:ihe:iti:xds:2013:referenceIdList", "no-type^^^"),
        ("serviceStartTime", "20270101"),
    ],
)
def test_a_malformed_value_is_refused(event: Event, patient: str, name: str, value: Any) -> None:
    """ITI TF-3 table 4.2.3.1.7-2: forms of DTM, CX, CXi, OID, hash, size. Rule: R-026"""
    refused(event.register(Set(patient, [Entry(patient, slots={name: value})])), META)


@pytest.mark.parametrize("name", list(meta.CODES))
def test_a_code_outside_the_affinity_domain_is_refused(event: Event, patient: str, name: str) -> None:
    """ITI TF-2 3.42.4.1.3: code and scheme are of the domain's value set. Rule: R-024"""
    refused(event.register(Set(patient, [Entry(patient, codes={name: (("nonesuch", meta.LOINC),)})])), META)
    value, _ = meta.CODES[name][0]
    refused(event.register(Set(patient, [Entry(patient, codes={name: ((value, "1.2.3.4.5"),)})])), META)


@pytest.mark.parametrize(
    "entry",
    [
        {"mime": "application/x-unheard-of"},
        {"author": ""},
        {"title": "x" * 129},
        {"extra": "LIMITED"},
        {"kind": meta.ONDEMAND},
        {"unique": "has a space"},
    ],
)
def test_other_limits_of_an_entry(event: Event, patient: str, entry: dict[str, Any]) -> None:
    """ITI TF-3 4.2.3.2: MIME type of the list, title, limited metadata, on-demand in ITI-42.

    Rule: R-007, R-014, R-029
    """
    found = Entry(patient, **entry)
    if found.extra:
        node = "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85"
        found.extra = f'<rim:Classification id="lim" classifiedObject="{found.id}" classificationNode="{node}"/>'
    reply = event.register(Set(patient, [found]))
    if entry == {"author": ""}:
        good(reply)  # required if known only
    else:
        refused(reply, META)


def test_two_sets_none_or_an_unmarked_package_are_refused(event: Event, patient: str) -> None:
    """ITI TF-3 4.1.4: exactly one SubmissionSet, each package one marker. Rule: R-004, R-006"""
    one, two = Set(patient, [Entry(patient)]).xml(), Set(patient, [Entry(patient)], id="SubmissionSet02").xml()
    inner = two.partition("<rim:RegistryObjectList>")[2].partition("</rim:RegistryObjectList>")[0]
    refused(event.register(one.replace("</rim:RegistryObjectList>", inner + "</rim:RegistryObjectList>")), META)
    refused(event.register(one.replace(meta.SS_NODE, "urn:uuid:00000000-0000-4000-8000-000000000000")), META)
    names = f'xmlns:lcm="{meta.LCM}" xmlns:rim="{meta.RIM}"'
    empty = f"<lcm:SubmitObjectsRequest {names}><rim:RegistryObjectList/></lcm:SubmitObjectsRequest>"
    reply = event.register(empty)
    assert reply.find(".//soap:Fault") is not None or refused(reply, META)


def test_a_set_that_brings_nothing_is_refused(event: Event, patient: str) -> None:
    """ITI TF-3 4.1.4: at least one document, folder or folder membership. Rule: R-005"""
    refused(event.register(Set(patient)), META)


def test_the_marker_may_stand_beside_its_package(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.1: marker inside or beside; a registry answers with it inside. Rule: R-006"""
    submission = Set(patient, [Entry(patient)], marker_beside=True)
    good(event.register(submission))
    reply = event.ask(
        "FindSubmissionSets", XDSSubmissionSetPatientId=f"'{patient}'", XDSSubmissionSetStatus=f"('{meta.APPROVED}')"
    )
    (package,) = reply.objects("RegistryPackage")
    assert meta.SS_NODE in [c.get("classificationNode") for c in package.findall("rim:Classification", wire.NS)]


def test_a_member_slot_is_asked_of_a_document_and_has_two_values(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.2.1: SubmissionSetStatus Original or Reference on SS-DE HasMember. Rule: R-064, R-065"""
    for status in (
        "",
        slot("SubmissionSetStatus", "Copied"),
        slot("SubmissionSetStatus", "Reference"),
        slot("SubmissionSetStatus", "Original", "Reference"),
    ):
        entry = Entry(patient)
        member = link(HAS_MEMBER, "SubmissionSet01", entry.id, status)
        reply = event.register(Set(patient, [entry], links=[member], with_members=False))
        refused(reply, META, "UnresolvedReferenceException")


def test_every_document_is_a_member_of_the_set_once(event: Event, patient: str) -> None:
    """ITI TF-3 4.1.4: exactly one HasMember for each document. Rule: R-063"""
    entry = Entry(patient)
    refused(event.register(Set(patient, [entry], with_members=False)), META)
    twice = link(HAS_MEMBER, "SubmissionSet01", entry.id, slot("SubmissionSetStatus", "Original"))
    refused(event.register(Set(patient, [entry], links=[twice])), META)


def test_a_reference_leads_to_a_stored_document(event: Event, patient: str) -> None:
    """ITI TF-3 4.1.4: Reference to a stored document, of another patient too; never to an unknown one. Rule: R-065"""
    stored, other = event.stored(patient), event.stored(event.patient())
    for target in (stored.id, other.id):
        member = link(HAS_MEMBER, "SubmissionSet01", target, slot("SubmissionSetStatus", "Reference"))
        good(event.register(Set(patient, [Entry(patient)], links=[member])))
    member = link(HAS_MEMBER, "SubmissionSet01", meta.new_uuid(), slot("SubmissionSetStatus", "Reference"))
    refused(event.register(Set(patient, [Entry(patient)], links=[member])), "UnresolvedReferenceException")
    member = link(HAS_MEMBER, "SubmissionSet01", stored.id, slot("SubmissionSetStatus", "Original"))
    refused(event.register(Set(patient, [Entry(patient)], links=[member])), META, "UnresolvedReferenceException")


# -- patients ----------------------------------------


def test_an_unknown_patient_is_refused_and_named(event: Event) -> None:
    """ITI TF-2 3.42.4.1.3: XDSUnknownPatientId, codeContext holds the id. Rule: R-090"""
    unknown = f"NOBODY-1^^^&{meta.AUTHORITY}&ISO"
    reply = refused(event.register(Set(unknown, [Entry(unknown)])), "XDSUnknownPatientId")
    assert any("NOBODY-1" in context for code, _, context, _ in reply.errors if code == "XDSUnknownPatientId")


def test_a_patient_of_a_foreign_authority_is_unknown(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: the assigning authority is the domain's. Rule: R-092"""
    foreign = f"{patient.split('^')[0]}^^^&9.9.9&ISO"
    refused(event.register(Set(foreign, [Entry(foreign)])), "XDSUnknownPatientId")


def test_set_document_and_folder_are_of_one_patient(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: XDSPatientIdDoesNotMatch. Rule: R-091"""
    other = event.patient()
    refused(event.register(Set(patient, [Entry(other)])), "XDSPatientIdDoesNotMatch")
    refused(event.register(Set(patient, folders=[Folder(other)])), "XDSPatientIdDoesNotMatch")


def test_a_document_enters_no_folder_of_another_patient(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: both sides of a membership are of one patient. Rule: R-069"""
    folder = Folder(event.patient(), id=meta.new_uuid())
    good(event.register(Set(folder.patient, folders=[folder])))
    entry = Entry(patient)
    refused(event.register(Set(patient, [entry]).into(folder.id, entry.id)), "XDSPatientIdDoesNotMatch")


@pytest.mark.parametrize("kind", [RPLC, XFRM, APND, XFRM_RPLC, SIGNS])
def test_a_relationship_stays_with_one_patient(event: Event, patient: str, kind: str) -> None:
    """ITI TF-2 3.42.4.1.3: related documents are of one patient. Rule: R-072"""
    stored, entry = event.stored(event.patient()), Entry(patient)
    refused(event.register(Set(patient, [entry], links=[link(kind, entry.id, stored.id)])), "XDSPatientIdDoesNotMatch")
    assert event.status_of(stored.id) == "Approved"


# -- identifiers ----------------------------------------


def test_a_unique_id_is_used_once_in_a_message(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: XDSRegistryDuplicateUniqueIdInMessage. Rule: R-080"""
    entry = Entry(patient)
    refused(
        event.register(Set(patient, [entry, Entry(patient, unique=entry.unique)])),
        "XDSRegistryDuplicateUniqueIdInMessage",
    )
    refused(event.register(Set(patient, [entry], unique=entry.unique)), "XDSRegistryDuplicateUniqueIdInMessage")


def test_the_same_document_again_is_a_second_entry(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: same uniqueId, hash and size are accepted. Rule: R-081"""
    entry = Entry(patient)
    good(event.register(Set(patient, [entry])))
    good(event.register(Set(patient, [entry.but(id="again")])))
    assert len(event.find(patient).ids) == 2


def test_a_unique_id_with_other_bytes_is_refused(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: XDSNonIdenticalHash, XDSNonIdenticalSize. Rule: R-082, R-083"""
    entry = Entry(patient)
    good(event.register(Set(patient, [entry])))
    refused(event.register(Set(patient, [entry.but(data=b"A document")])), "XDSNonIdenticalHash")
    refused(event.register(Set(patient, [entry.but(slots={"size": "99"})])), "XDSNonIdenticalSize")


def test_ids_of_sets_and_folders_are_used_once_in_the_registry(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: XDSDuplicateUniqueIdInRegistry. Rule: R-084, R-085, R-086"""
    submission = Set(patient, [Entry(patient)], [Folder(patient)])
    good(event.register(submission))
    code = "XDSDuplicateUniqueIdInRegistry"
    refused(event.register(Set(patient, [Entry(patient)], unique=submission.unique)), code)
    refused(event.register(Set(patient, folders=[Folder(patient, unique=submission.folders[0].unique)])), code)
    refused(event.register(Set(patient, folders=[Folder(patient, unique=submission.entries[0].unique)])), code)
    refused(event.register(Set(patient, [Entry(patient, unique=submission.unique)])), code)


def test_an_entry_uuid_is_used_once(event: Event, patient: str) -> None:
    """ITI TF-3 4.1: a UUID of the submitter is kept, and refused the second time. Rule: R-087"""
    stored = event.stored(patient)
    assert stored.id in event.find(patient).ids
    refused(event.register(Set(patient, [Entry(patient, id=stored.id)])), META, "XDSRegistryError")


def test_upper_case_uuids_are_answered_in_lower_case_or_refused(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.3.1: UUID URNs are lower case. Rule: R-026"""
    name = meta.new_uuid().upper().replace("URN:UUID:", "urn:uuid:")
    reply = event.register(Set(patient, [Entry(patient, id=name)]))
    if reply.outcome == wire.SUCCESS:
        assert event.find(patient).ids == [name.lower()]
    else:
        refused(reply, META)


# -- all or nothing, extras ----------------------------------------


def test_one_bad_document_keeps_all_out(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: atomic. Rule: A-1"""
    entries = [Entry(patient), Entry(patient, drop=frozenset({"repositoryUniqueId"}))]
    refused(event.register(Set(patient, entries)), META)
    assert event.find(patient).ids == []


def test_extra_slots_with_a_urn_name_are_kept_or_warned_of(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.3.1.6: never an error; kept, or Success with XDSExtraMetadataNotSaved. Rule: R-013"""
    reply = good(event.register(Set(patient, [Entry(patient, slots={"urn:example:colour": ["red", "green"]})])))
    (found,) = event.find(patient).objects("ExtrinsicObject")
    kept = [
        [v.text for v in s.iter("{*}Value")]
        for s in found.findall("rim:Slot", wire.NS)
        if s.get("name") == "urn:example:colour"
    ]
    assert kept == [["red", "green"]] or "XDSExtraMetadataNotSaved" in reply.codes


def test_update_semantics_are_refused_in_a_registration(event: Event, patient: str) -> None:
    """ITI-57 supplement: lid, PreviousVersion and its associations belong to the update. Rule: R-017, R-076"""
    stored = event.stored(patient)
    refused(event.register(Set(patient, [stored.as_version(stored.id)])), META)
    entry = Entry(patient)
    refused(event.register(Set(patient, [entry], previous={entry.id: (slot("PreviousVersion", "1"),)})), META)
    status = link(
        meta.UPDATE_STATUS,
        "SubmissionSet01",
        stored.id,
        slot("OriginalStatus", meta.APPROVED),
        slot("NewStatus", meta.DEPRECATED),
    )
    refused(event.register(Set(patient, [Entry(patient)], links=[status])), META)


def test_a_membership_carries_no_documentation_code(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.2: association documentation is for relationships. Rule: R-075"""
    entry, stored = Entry(patient), event.stored(patient)
    scheme = "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3"
    coded = meta.code(scheme, "member", "why", "1.2.3")
    member = link(
        HAS_MEMBER, "SubmissionSet01", entry.id, slot("SubmissionSetStatus", "Original"), id="member", extra=coded
    )
    refused(event.register(Set(patient, [entry], links=[member], with_members=False)), META)
    entry = Entry(patient)
    relation = link(APND, entry.id, stored.id, id="rel", extra=meta.code(scheme, "rel", "why", "1.2.3"))
    good(event.register(Set(patient, [entry], links=[relation])))


# -- relationships ----------------------------------------


@pytest.mark.parametrize("kind", [RPLC, XFRM_RPLC])
def test_a_replacement_deprecates_the_document_and_what_hangs_on_it(event: Event, patient: str, kind: str) -> None:
    """ITI TF-2 3.42.4.1.3: target, its addenda and transformations become Deprecated. Rule: R-100, R-101"""
    old = event.stored(patient)
    addendum, transformed, new = (Entry(patient, id=meta.new_uuid()) for _ in range(3))
    good(event.register(Set(patient, [addendum], links=[link(APND, addendum.id, old.id)])))
    good(event.register(Set(patient, [transformed], links=[link(XFRM, transformed.id, old.id)])))
    good(event.register(Set(patient, [new], links=[link(kind, new.id, old.id)])))
    assert [event.status_of(e.id) for e in (old, addendum, transformed, new)] == ["Deprecated"] * 3 + ["Approved"]
    assert event.find(patient).ids == [new.id]


@pytest.mark.parametrize("kind", [RPLC, XFRM, APND, XFRM_RPLC])
def test_nothing_new_leads_to_a_deprecated_document(event: Event, patient: str, kind: str) -> None:
    """ITI TF-2 3.42.4.1.3: XDSRegistryDeprecatedDocumentError. Rule: R-071, R-108"""
    old, new, late = event.stored(patient), Entry(patient), Entry(patient)
    good(event.register(Set(patient, [new], links=[link(RPLC, new.id, old.id)])))
    refused(
        event.register(Set(patient, [late], links=[link(kind, late.id, old.id)])), "XDSRegistryDeprecatedDocumentError"
    )


def test_a_replaced_document_must_exist_and_be_stored(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: UnresolvedReferenceException. Rule: R-061, R-071"""
    one, two = Entry(patient), Entry(patient)
    code = "UnresolvedReferenceException"
    refused(event.register(Set(patient, [one], links=[link(RPLC, one.id, meta.new_uuid())])), code)
    refused(event.register(Set(patient, [one], links=[link(APND, one.id, "nothing-of-that-name")])), code)
    refused(event.register(Set(patient, [one, two], links=[link(RPLC, one.id, two.id)])), code, META)


def test_an_association_needs_a_known_type_and_two_ends(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.2: known types only, source and target differ. Rule: R-060, R-062"""
    entry, stored = Entry(patient), event.stored(patient)
    kind = "urn:ihe:iti:2007:AssociationType:MADEUP"
    refused(event.register(Set(patient, [entry], links=[link(kind, entry.id, stored.id)])), META)
    refused(event.register(Set(patient, [entry], links=[link(APND, entry.id, entry.id)])), META)


def test_only_one_of_two_replacements_at_once_succeeds(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: one document is replaced once. Rule: R-106"""
    old, one, two = event.stored(patient), Entry(patient), Entry(patient)
    links = [link(RPLC, one.id, old.id), link(RPLC, two.id, old.id)]
    refused(event.register(Set(patient, [one, two], links=links)))
    assert event.status_of(old.id) == "Approved"


# -- folders ----------------------------------------


def folders_of(event: Event, patient: str) -> list[Any]:
    reply = event.ask("FindFolders", XDSFolderPatientId=f"'{patient}'", XDSFolderStatus=f"('{meta.APPROVED}')")
    return reply.objects("RegistryPackage")


def updated(folder: Any) -> str:
    (value,) = [
        s.findtext(".//rim:Value", namespaces=wire.NS)
        for s in folder.findall("rim:Slot", wire.NS)
        if s.get("name") == "lastUpdateTime"
    ]
    return str(value)


def test_the_four_ways_into_a_folder(event: Event, patient: str) -> None:
    """ITI TF-3 4.1: new or stored document, new or stored folder. Rule: R-067"""
    one, folder = Entry(patient, id=meta.new_uuid()), Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, [one], [folder]).into(folder.id, one.id)))
    two = Entry(patient, id=meta.new_uuid())
    good(event.register(Set(patient, [two]).into(folder.id, two.id)))
    three, late = event.stored(patient), Folder(patient, id=meta.new_uuid())
    good(event.register(Set(patient, folders=[late]).into(late.id, three.id)))
    good(event.register(Set(patient).into(folder.id, three.id)))
    reply = event.ask("GetFolderAndContents", XDSFolderEntryUUID=f"'{folder.id}'")
    assert {e.get("id") for e in reply.objects("ExtrinsicObject")} == {one.id, two.id, three.id}
    assert len(reply.objects("Association")) == 3


def test_the_registry_sets_the_time_of_a_folder(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.3.4: lastUpdateTime is the registry's, to the second, and moves on. Rule: R-104, R-028"""
    folder = Folder(patient, id=meta.new_uuid(), slots={"lastUpdateTime": "20010101000000"})
    good(event.register(Set(patient, folders=[folder])))
    (found,) = folders_of(event, patient)
    first = updated(found)
    assert len(first) == 14 and first > "20250101000000"
    imprecise = Folder(patient, slots={"lastUpdateTime": "2001"})
    refused(event.register(Set(patient, folders=[imprecise])), META)


def test_a_folder_receives_the_replacement(event: Event, patient: str) -> None:
    """ITI TF-2 3.42.4.1.3: the new document joins the folders of the old one, within the new set. Rule: R-103, R-105"""
    old, folder, new = (
        Entry(patient, id=meta.new_uuid()),
        Folder(patient, id=meta.new_uuid()),
        Entry(patient, id=meta.new_uuid()),
    )
    good(event.register(Set(patient, [old], [folder]).into(folder.id, old.id)))
    replacing = Set(patient, [new], links=[link(RPLC, new.id, old.id)])
    good(event.register(replacing))
    reply = event.ask("GetFoldersForDocument", XDSDocumentEntryEntryUUID=f"'{new.id}'")
    assert reply.ids == [folder.id]
    contents = event.ask("GetSubmissionSetAndContents", XDSSubmissionSetUniqueId=f"'{replacing.unique}'")
    ends = {(a.get("sourceObject"), a.get("targetObject")) for a in contents.objects("Association")}
    assert (folder.id, new.id) in ends


def test_folders_hold_neither_folders_nor_sets_nor_dead_documents(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.2: folder to document only, the document not Deprecated. Rule: R-067, R-068"""
    outer, inner = Folder(patient, id=meta.new_uuid()), Folder(patient, id=meta.new_uuid())
    refused(event.register(Set(patient, folders=[outer, inner]).into(outer.id, inner.id)), META)
    refused(event.register(Set(patient, folders=[outer]).into(outer.id, "SubmissionSet01")), META)
    old, new = event.stored(patient), Entry(patient)
    good(event.register(Set(patient, [new], links=[link(RPLC, new.id, old.id)])))
    refused(event.register(Set(patient, folders=[outer]).into(outer.id, old.id)), "XDSRegistryDeprecatedDocumentError")


def test_a_membership_needs_its_set(event: Event, patient: str) -> None:
    """ITI TF-3 4.1.4: each Folder-document association is a member of the set. Rule: R-063"""
    entry, folder = Entry(patient), Folder(patient)
    refused(event.register(Set(patient, [entry], [folder], links=[link(HAS_MEMBER, folder.id, entry.id)])), META)
