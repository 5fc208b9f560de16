"""Each metadata rule, by one message that satisfies all of them and small named ways to spoil it.

A spoiled message must be refused for its own rule and for no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import metadata_messages as w
import pytest
from metadata_spoils import (
    DE,
    DEPOSIT,
    DOC,
    FO,
    FOLDER,
    OTHER,
    SS,
    STORED,
    Spoil,
    again,
    attribute,
    author_slots,
    both,
    charset,
    documentation,
    empty_submission,
    identifier,
    marker,
    no_display,
    no_title,
    same_slot_twice,
    second_list,
    second_set,
    title,
    value,
    version_info,
    without,
    without_slot,
)

from xds import namespaces as ns
from xds.errors import ErrorCode, Severity

META = ErrorCode.XDSRegistryMetadataError
UNRESOLVED = ErrorCode.UnresolvedReferenceException
DUPLICATE = ErrorCode.XDSRegistryDuplicateUniqueIdInMessage


@dataclass(frozen=True)
class Case:
    rule: str
    name: str
    spoil: Spoil
    code: ErrorCode = META
    base: str = DEPOSIT
    also: frozenset[str] = frozenset()
    severity: Severity = Severity.ERROR


def check(case: Case) -> None:
    """Refused for the rule, with its code, and for nothing else."""
    root = w.message(case.base)
    assert w.findings(root) == []
    case.spoil(root)
    found = w.findings(root)
    assert {f.rule for f in found} == {case.rule} | case.also, [f.context() for f in found]
    mine = next(f for f in found if f.rule == case.rule)
    assert (mine.code, mine.severity) == (case.code, case.severity)
    assert mine.clause.startswith("ITI TF-")
    assert mine.subject and mine.expected


STRUCTURE = [
    Case("R-003", "two-lists", second_list),
    Case("R-003", "no-list", lambda r: w.drop(w.object_list(r)), also=frozenset({"R-004", "R-005"})),
    Case("R-004", "two-sets", second_set),
    Case("R-004", "no-set", lambda r: w.drop(w.by_id(r, SS)), also=frozenset({"R-061", "R-063"})),
    Case("R-005", "empty", empty_submission),
    Case("R-006", "no-marker", lambda r: w.drop(w.part(r, FO, ns.FOLDER_NODE)), base=FOLDER,
         also=frozenset({"R-061"})),
    Case("R-006", "both-markers", marker(FO, ns.SUBMISSION_SET_NODE), base=FOLDER, also=frozenset({"R-061"})),
    Case("R-007", "unknown-type", attribute(DE, "objectType", OTHER)),
    Case("R-007", "on-demand-in-iti42", attribute(DE, "objectType", ns.ON_DEMAND)),
    Case("R-008", "organization", lambda r: w.add(r, "Organization", id="x")),
    Case("R-009", "id-twice", attribute("document01-code-1", "id", "document01-code-2")),
    Case("R-009", "id-of-object-reused", attribute("set-content", "id", DE)),
    Case("R-010", "classification-of-another", attribute("document01-code-1", "classifiedObject", SS)),
    Case("R-010", "identifier-of-another", attribute("document01-unique", "registryObject", "elsewhere")),
    Case("R-010", "marker-of-nothing", lambda r: w.add(
        r, "Classification", id="m", classifiedObject="nothing", classificationNode=ns.FOLDER_NODE)),
    Case("R-011", "slot-twice", same_slot_twice),
    Case("R-011", "no-name", lambda r: w.slot(r, DE, "serviceStopTime").set("name", " ")),
    Case("R-011", "long-value", value(DE, "legalAuthenticator", f"1^{'N' * 260}")),
    Case("R-012", "two-values", value(DE, "languageCode", "fr-FR", "en-US")),
    Case("R-012", "no-value", value(DE, "serviceStartTime"), also=frozenset({"R-020"})),
    Case("R-012", "empty-value", value(DE, "serviceStopTime", " ")),
    Case("R-013", "reserved-urn", value(DE, "urn:ihe:iti:unheard-of", "x")),
    Case("R-013", "no-urn", value(DE, "colour", "x"), ErrorCode.XDSExtraMetadataNotSaved, severity=Severity.WARNING),
    Case("R-014", "limited-entry", marker(DE, ns.DE_LIMITED)),
    Case("R-014", "limited-set", marker(SS, ns.SS_LIMITED)),
    Case("R-014", "limited-folder", marker(FO, ns.FOLDER_LIMITED), base=FOLDER),
    Case("R-015", "two-class-codes", again(DE, ns.DE_CLASS_CODE)),
    Case("R-015", "two-content-types", again(SS, ns.SS_CONTENT_TYPE_CODE)),
    Case("R-016", "identifier-twice", again(DE, ns.DE_PATIENT_ID)),
    Case("R-016", "no-scheme", attribute("document01-patient", "identificationScheme", ""), also=frozenset({"R-020"})),
    Case("R-016", "no-value", identifier(DE, ns.DE_PATIENT_ID, ""), also=frozenset({"R-020"})),
    Case("R-017", "lid", attribute(DE, "lid", OTHER)),
    Case("R-017", "version", version_info(DE, "2")),
    Case("R-017", "previous-version", value("member-document", "PreviousVersion", "1")),
    Case("R-033", "charset", charset),
]
FIELDS = [
    *(Case("R-020", f"no-{name}", without(DE, scheme)) for name, scheme in (
        ("classCode", ns.DE_CLASS_CODE), ("typeCode", ns.DE_TYPE_CODE), ("formatCode", ns.DE_FORMAT_CODE),
        ("practiceSettingCode", ns.DE_PRACTICE_SETTING_CODE), ("confidentialityCode", ns.DE_CONFIDENTIALITY_CODE),
        ("healthcareFacilityTypeCode", ns.DE_FACILITY_TYPE_CODE), ("patientId", ns.DE_PATIENT_ID),
        ("uniqueId", ns.DE_UNIQUE_ID), ("author-required-by-domain", ns.DE_AUTHOR),
    )),
    *(Case("R-020", f"no-{name}", without_slot(DE, name)) for name in (
        "creationTime", "hash", "size", "repositoryUniqueId", "languageCode", "sourcePatientId", "legalAuthenticator",
    )),
    Case("R-020", "no-mimeType", attribute(DE, "mimeType", "")),
    *(Case("R-021", f"no-{name}", without(SS, scheme)) for name, scheme in (
        ("contentTypeCode", ns.SS_CONTENT_TYPE_CODE), ("patientId", ns.SS_PATIENT_ID), ("sourceId", ns.SS_SOURCE_ID),
        ("uniqueId", ns.SS_UNIQUE_ID), ("author-required-by-domain", ns.SS_AUTHOR),
    )),
    Case("R-021", "no-submissionTime", without_slot(SS, "submissionTime")),
    Case("R-022", "no-codeList", without(FO, ns.FOLDER_CODE_LIST), base=FOLDER),
    Case("R-022", "no-patientId", without(FO, ns.FOLDER_PATIENT_ID), base=FOLDER),
    Case("R-022", "no-uniqueId", without(FO, ns.FOLDER_UNIQUE_ID), base=FOLDER),
    Case("R-022", "no-title", no_title, base=FOLDER),
    Case("R-023", "no-code", attribute("document01-code-1", "nodeRepresentation", "")),
    Case("R-023", "no-scheme", value("document01-code-1", "codingScheme")),
    Case("R-023", "two-schemes", value("document01-code-1", "codingScheme", "1.2.250.1.213.1.1.4.1", "1.2")),
    Case("R-023", "no-display", no_display),
    Case("R-024", "unknown-code", attribute("document01-code-2", "nodeRepresentation", "00000-0")),
    Case("R-024", "other-scheme", value("document01-code-2", "codingScheme", "2.16.840.1.113883.6.96")),
    Case("R-024", "content-type", attribute("set-content", "nodeRepresentation", "999")),
    Case("R-024", "mime-type", attribute(DE, "mimeType", "application/x-unknown")),
    Case("R-024", "two-base-confidentialities", both(
        again(DE, ns.DE_CONFIDENTIALITY_CODE), attribute("twin", "nodeRepresentation", "R"))),
    Case("R-025", "node-representation", attribute("document01-author", "nodeRepresentation", "x")),
    Case("R-025", "two-persons", value("document01-author", "authorPerson", "1^A", "2^B")),
    Case("R-025", "nobody", author_slots("authorSpecialty")),
    *(Case("R-026", name, value(DE, slot, text)) for name, slot, text in (
        ("time-with-zone", "creationTime", "20240312084500+0100"), ("time-odd", "creationTime", "2024031"),
        ("time-impossible", "serviceStartTime", "20240230"), ("language", "languageCode", "français"),
        ("authenticator", "legalAuthenticator", "^^Camille"), ("source-patient", "sourcePatientId", "IPP-0042"),
        ("reference", "urn:ihe:iti:xds:2013:referenceIdList", "1^^^&1.2.250.1.999&ISO"),
        ("availability", "documentAvailability", "Online"),
    )),
    Case("R-026", "mime-type", attribute(DE, "mimeType", "text"), also=frozenset()),
    Case("R-026", "uri-parts", value(DE, "URI", "1|a", "3|b")),
    Case("R-026", "author-institution", value("document01-author", "authorInstitution", "^^^^^&1.2&ISO")),
    Case("R-026", "author-telecom", value("document01-author", "authorTelecommunication", "0102030405")),
    Case("R-026", "patient-type", both(
        *(identifier(o, s, "999000000000012^^^&1.2.250.1.213.1.4.10&ISO^XX") for o, s in (
            (DE, ns.DE_PATIENT_ID), (SS, ns.SS_PATIENT_ID))))),
    Case("R-026", "recipient", value(SS, "intendedRecipient", "a|b|c|d")),
    Case("R-027", "stop-before-start", value(DE, "serviceStopTime", "20240311")),
    Case("R-028", "minutes-only", value(FO, "lastUpdateTime", "202403120915"), base=FOLDER),
    Case("R-029", "entry-title", title(DE, 129)),
    Case("R-029", "set-title", title(SS, 256)),
    Case("R-029", "folder-title", title(FO, 257), base=FOLDER),
    Case("R-030", "set-unique-id", identifier(SS, ns.SS_UNIQUE_ID, "1.2.0250.1")),
    Case("R-030", "entry-unique-id", identifier(DE, ns.DE_UNIQUE_ID, "1.2 3")),
    Case("R-030", "folder-unique-id", identifier(FO, ns.FOLDER_UNIQUE_ID, "urn:uuid:x"), base=FOLDER),
    Case("R-031", "source-id", identifier(SS, ns.SS_SOURCE_ID, "1." + "2" * 64)),
    Case("R-031", "repository", value(DE, "repositoryUniqueId", "urn:oid:1.2.250")),
    Case("R-031", "home", attribute(DE, "home", "1.2.250.1")),
    Case("R-032", "hash", value(DE, "hash", "da39")),
    Case("R-032", "size", value(DE, "size", "-1"), also=frozenset({"R-020"})),
    Case("R-034", "shape", value(DE, "sourcePatientInfo", "PID5|x")),
    Case("R-034", "birth-date-twice", value(DE, "sourcePatientInfo", "PID-7|1979", "PID-7|1980")),
    Case("R-034", "unwelcome-field", value(DE, "sourcePatientInfo", "PID-19|179"), severity=Severity.WARNING),
]
ASSOCIATIONS = [
    Case("R-060", "unknown-type", attribute("replaces", "associationType", "urn:x:RPLC"), base=FOLDER),
    Case("R-061", "no-such-symbol", attribute("member-document", "targetObject", "Document09"), UNRESOLVED,
         also=frozenset({"R-063"})),
    Case("R-061", "empty", attribute("replaces", "targetObject", ""), UNRESOLVED, FOLDER),
    Case("R-062", "itself", attribute("replaces", "targetObject", DOC), base=FOLDER),
    Case("R-063", "no-membership", lambda r: w.drop(w.by_id(r, "member-folder")), base=FOLDER),
    Case("R-063", "folder-membership-not-in-set", lambda r: w.drop(w.by_id(r, "member-in-folder")), base=FOLDER),
    Case("R-063", "twice", lambda r: w.associate(
        r, "more", ns.HAS_MEMBER, SS, DE, SubmissionSetStatus="Original")),
    Case("R-064", "no-status", without_slot("member-document", "SubmissionSetStatus")),
    Case("R-064", "two-values", value("member-document", "SubmissionSetStatus", "Original", "Reference")),
    Case("R-064", "other-value", value("member-document", "SubmissionSetStatus", "New")),
    Case("R-065", "reference-to-submitted", value("member-document", "SubmissionSetStatus", "Reference")),
    Case("R-065", "original-of-stored", lambda r: w.associate(
        r, "more", ns.HAS_MEMBER, SS, STORED, SubmissionSetStatus="Original")),
    Case("R-065", "on-folder-membership", value("in-folder", "SubmissionSetStatus", "Original"), base=FOLDER,
         severity=Severity.WARNING),
    Case("R-066", "set-as-target", attribute("replaces", "targetObject", SS), base=FOLDER),
    Case("R-067", "member-of-a-document", lambda r: (
        w.associate(r, "odd", ns.HAS_MEMBER, DOC, STORED),
        w.associate(r, "odd-member", ns.HAS_MEMBER, SS, "odd")), base=FOLDER),
    Case("R-067", "association-in-folder", lambda r: (
        w.associate(r, "odd", ns.HAS_MEMBER, FO, "replaces"),
        w.associate(r, "odd-member", ns.HAS_MEMBER, SS, "odd")), base=FOLDER),
    Case("R-068", "set-in-folder", attribute("in-folder", "targetObject", SS), base=FOLDER),
    Case("R-073", "append-to-transform", lambda r: (
        w.by_id(r, "replaces").set("associationType", ns.XFRM),
        w.associate(r, "appends", ns.APND, OTHER, DOC)), base=FOLDER),
    Case("R-074", "snapshot-of-stable", lambda r: w.associate(r, "snapshot", ns.IS_SNAPSHOT_OF, OTHER, DE)),
    Case("R-075", "code-on-member", documentation("member-document")),
    Case("R-076", "status-update", lambda r: w.associate(r, "mu", ns.UPDATE_AVAILABILITY_STATUS, SS, STORED)),
    Case("R-076", "submit-association", lambda r: w.associate(r, "mu", ns.SUBMIT_ASSOCIATION, SS, STORED)),
    Case("R-106", "replaced-twice", lambda r: w.associate(r, "again", ns.XFRM_RPLC, DOC, STORED),
         ErrorCode.XDSRegistryDeprecatedDocumentError, FOLDER),
]
IDENTIFIERS = [
    Case("R-080", "entry-and-set", identifier(DE, ns.DE_UNIQUE_ID, "1.2.250.1.999.7.20240312.0"), DUPLICATE),
    Case("R-080", "folder-and-entry", identifier(FO, ns.FOLDER_UNIQUE_ID, "1.2.250.1.999.7.20240313.1"), DUPLICATE,
         FOLDER),
    Case("R-091", "other-patient", identifier(DE, ns.DE_PATIENT_ID, "999000000000013^^^&1.2.250.1.213.1.4.10&ISO^NH"),
         ErrorCode.XDSPatientIdDoesNotMatch),
    Case("R-092", "foreign-authority", both(
        identifier(DE, ns.DE_PATIENT_ID, "1^^^&1.2.3&ISO^NH"), identifier(SS, ns.SS_PATIENT_ID, "1^^^&1.2.3&ISO^NH")),
        ErrorCode.XDSUnknownPatientId),
]


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda c: f"{c.rule}-{c.name}")


@named(STRUCTURE)
def test_structure_of_a_submission(case: Case) -> None:
    """A fault that only the XML shows is found by the reader.

    Rule: R-003, R-004, R-005, R-006, R-007, R-008, R-009, R-010, R-011, R-012, R-013, R-014, R-015, R-016, R-017
    Rule: R-033
    """
    check(case)


@named(FIELDS)
def test_attributes(case: Case) -> None:
    """Presence, format, length and value set of each attribute.

    Rule: R-020, R-021, R-022, R-023, R-024, R-025, R-026, R-027, R-028, R-029, R-030, R-031, R-032, R-034
    """
    check(case)


@named(ASSOCIATIONS)
def test_associations(case: Case) -> None:
    """What may be linked to what, as far as the request alone can tell.

    Rule: R-060, R-061, R-062, R-063, R-064, R-065, R-066, R-067, R-068, R-073, R-074, R-075, R-076, R-106
    """
    check(case)


@named(IDENTIFIERS)
def test_identifiers_of_the_request(case: Case) -> None:
    """No uniqueId twice, one patient, of a known authority.

    Rule: R-080, R-091, R-092
    """
    check(case)
