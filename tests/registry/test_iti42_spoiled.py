"""What testers send: one valid submission, one thing spoiled, over ITI-42 and over ITI-41, in plain IHE.

Each must fail for its own reason under its own code, in one line that names object, field, found, expected, clause
and trace id, and leave both actors as they were.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import metadata_messages as w
import pytest
from lxml import etree
from metadata_spoils import (
    Spoil,
    again,
    attribute,
    both,
    identifier,
    marker,
    second_list,
    title,
    value,
    version_info,
    without,
    without_slot,
)

from tests import raw_submissions as raw
from tests.direct import Desk, content
from tests.raw_submissions import DE, FO, INSIDE, MEMBER, SS
from tests.world import World, codes, plain_world
from xds import namespaces as ns

META = "XDSRegistryMetadataError"
REPOSITORY_META = "XDSRepositoryMetadataError"
UNRESOLVED = "UnresolvedReferenceException"
LINE = re.compile(r"\S.*: found .*; expected .+ \((ITI TF-[23] [^)]+) \[(R-\d{3})\]\) trace [0-9a-f]{32}")
OTHER = "urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f"
CX = "^^^&1.3.6.1.4.1.21367.2005.3.7&ISO"


@dataclass(frozen=True)
class Case:
    rule: str
    name: str
    spoil: Spoil
    code: str = META
    relayed: str = ""
    """The code over ITI-41, when it is not the registry's: the repository saw it first."""
    also: frozenset[str] = frozenset()
    folder: bool = False


def author(owner: str, scheme: str, name: str, *values: str) -> Spoil:
    """A slot of the first author."""
    def spoil(root: raw.Element) -> None:
        w.set_slot(root, w.part(root, owner, scheme).get("id"), name, *values)
    return spoil


def only_author_slot(name: str) -> Spoil:
    def spoil(root: raw.Element) -> None:
        one = w.part(root, DE, ns.DE_AUTHOR)
        for slot in list(one):
            if slot.get("name") != name:
                one.remove(slot)
    return spoil


def code_part(scheme: str, name: str, text: str) -> Spoil:
    return lambda root: w.part(root, DE, scheme).set(name, text)


def code_scheme(scheme: str, *values: str) -> Spoil:
    def spoil(root: raw.Element) -> None:
        w.set_slot(root, w.part(root, DE, scheme).get("id"), "codingScheme", *values)
    return spoil


def no_name(owner: str) -> Spoil:
    return lambda root: w.drop(w.by_id(root, owner).find(w.rim("Name")))


def code_without_name(scheme: str) -> Spoil:
    return lambda root: w.drop(w.part(root, DE, scheme).find(w.rim("Name")))


def documentation(association: str) -> Spoil:
    def spoil(root: raw.Element) -> None:
        one = etree.SubElement(
            w.by_id(root, association), w.rim("Classification"), id="why", classifiedObject=association,
            classificationScheme=ns.ASSOCIATION_DOCUMENTATION, nodeRepresentation="C1",
        )
        w.set_slot(root, "why", "codingScheme", "2.25.1")
        etree.SubElement(etree.SubElement(one, w.rim("Name")), w.rim("LocalizedString"), value="why")
    return spoil


def slot(name: str, *values: str) -> Spoil:
    return value(DE, name, *values)


INFO, REFERENCES = "sourcePatientInfo", "urn:ihe:iti:xds:2013:referenceIdList"
MISSING = [
    *(Case("R-020", name, without(DE, scheme)) for name, scheme in (
        ("classCode", ns.DE_CLASS_CODE), ("typeCode", ns.DE_TYPE_CODE), ("formatCode", ns.DE_FORMAT_CODE),
        ("practiceSettingCode", ns.DE_PRACTICE_SETTING_CODE), ("confidentialityCode", ns.DE_CONFIDENTIALITY_CODE),
        ("healthcareFacilityTypeCode", ns.DE_FACILITY_TYPE_CODE), ("patientId", ns.DE_PATIENT_ID),
    )),
    Case("R-020", "uniqueId", without(DE, ns.DE_UNIQUE_ID), relayed=REPOSITORY_META),
    *(Case("R-020", name, without_slot(DE, name)) for name in ("creationTime", "languageCode", "sourcePatientId")),
    *(Case("R-020", name, without_slot(DE, name), relayed="-") for name in ("hash", "size", "repositoryUniqueId")),
    Case("R-020", "mimeType", attribute(DE, "mimeType", "")),
    *(Case("R-021", name, without(SS, scheme)) for name, scheme in (
        ("contentTypeCode", ns.SS_CONTENT_TYPE_CODE), ("patientId", ns.SS_PATIENT_ID), ("sourceId", ns.SS_SOURCE_ID),
        ("uniqueId", ns.SS_UNIQUE_ID),
    )),
    Case("R-021", "submissionTime", without_slot(SS, "submissionTime")),
    *(Case("R-022", name, without(FO, scheme), folder=True) for name, scheme in (
        ("codeList", ns.FOLDER_CODE_LIST), ("patientId", ns.FOLDER_PATIENT_ID), ("uniqueId", ns.FOLDER_UNIQUE_ID),
    )),
    Case("R-022", "title", no_name(FO), folder=True),
]
FORMATS = [
    *(Case("R-023", f"code-{name}", spoil) for name, spoil in (
        ("value", code_part(ns.DE_TYPE_CODE, "nodeRepresentation", "")), ("scheme", code_scheme(ns.DE_TYPE_CODE)),
        ("two-schemes", code_scheme(ns.DE_TYPE_CODE, "2.16.840.1.113883.6.1", "1.3")),
        ("name", code_without_name(ns.DE_TYPE_CODE)),
    )),
    *(Case("R-024", f"code-{scheme}", code_part(scheme, "nodeRepresentation", "nowhere")) for scheme in (
        ns.DE_CLASS_CODE, ns.DE_TYPE_CODE, ns.DE_FORMAT_CODE, ns.DE_PRACTICE_SETTING_CODE, ns.DE_CONFIDENTIALITY_CODE,
        ns.DE_FACILITY_TYPE_CODE,
    )),
    Case("R-024", "code-of-other-scheme", code_scheme(ns.DE_CLASS_CODE, "2.25.99")),
    Case("R-024", "mime-type", attribute(DE, "mimeType", "application/x-unheard-of")),
    Case("R-025", "author-of-nothing", only_author_slot("authorSpecialty")),
    Case("R-025", "two-persons", author(DE, ns.DE_AUTHOR, "authorPerson", "1^A", "2^B")),
    Case("R-025", "author-code", code_part(ns.DE_AUTHOR, "nodeRepresentation", "x")),
    *(Case("R-026", f"person-{name}", author(DE, ns.DE_AUTHOR, "authorPerson", text)) for name, text in (
        ("without-id-and-name", "^^Given"), ("authority-not-iso", "1^A^^^^^^^&1.2.3&DNS"),
        ("authority-no-oid", "1^A^^^^^^^&abc&ISO"), ("authority-namespace", "1^A^^^^^^^NS&1.2.3&ISO"),
    )),
    *(Case("R-026", f"institution-{name}", author(DE, ns.DE_AUTHOR, "authorInstitution", text)) for name, text in (
        ("without-name", "^^^^^&1.2.3&ISO^^^^7"), ("id-without-authority", "Org^^^^^^^^^77"),
        ("other-component", "Org^x"), ("authority-no-oid", "Org^^^^^&abc&ISO^^^^7"),
    )),
    *(Case("R-026", f"telecom-{name}", author(DE, ns.DE_AUTHOR, "authorTelecommunication", text)) for name, text in (
        ("bare", "0102030405"), ("no-address", "^NET^Internet"), ("no-number", "^PRN^PH"),
    )),
    *(Case("R-026", f"{name}-{text}", slot(name, text)) for name, text in (
        ("creationTime", "2026-01-05"), ("creationTime", "20260105T10"), ("creationTime", "20261305"),
        ("creationTime", "202601051"), ("creationTime", "20260105103000.5"), ("creationTime", "20260105103000+0100"),
        ("serviceStartTime", "20260230"), ("serviceStopTime", "2026010525"), ("languageCode", "not a language"),
        ("legalAuthenticator", "^^Given"), ("documentAvailability", "Online"),
        ("sourcePatientId", "PLAIN"), ("sourcePatientId", "1^^^&abc&ISO"), ("sourcePatientId", f"1{CX}^PI"),
        ("sourcePatientId", "1^^^Hospital"), ("sourcePatientId", "^^^&1.2.3&ISO"), ("URI", "2|b"),
        (REFERENCES, "1^^^&1.2.3&ISO"), (REFERENCES, "^^^^urn:ihe:iti:xds:2013:order"),
        (REFERENCES, "1^x^^&1.2.3&ISO^urn:ihe:iti:xds:2013:order"),
    )),
    *(Case("R-026", f"patient-{text}", both(identifier(DE, ns.DE_PATIENT_ID, text)), also=frozenset({"R-091"}))
      for text in ("PLAIN", "1^^^&abc&ISO", f"1{CX}^PI", "1^2^^&1.3.6.1.4.1.21367.2005.3.7&ISO", f"1{CX}~2{CX}")),
    *(Case("R-026", f"recipient-{text}", value(SS, "intendedRecipient", text)) for text in (
        "a|b|c|d", "||", "Org^x|1^A", "|^^Given", "||nobody")),
    Case("R-026", "submission-time", value(SS, "submissionTime", "2026-01-05")),
    Case("R-027", "stop-before-start", slot("serviceStopTime", "20260104")),
    Case("R-028", "minutes-only", value(FO, "lastUpdateTime", "202601051000"), folder=True),
    Case("R-029", "entry-title", title(DE, 129)), Case("R-029", "folder-title", title(FO, 257), folder=True),
    Case("R-030", "set-unique-id", identifier(SS, ns.SS_UNIQUE_ID, "1.2.03")),
    Case("R-030", "set-unique-id-uuid", identifier(SS, ns.SS_UNIQUE_ID, OTHER)),
    Case("R-030", "folder-unique-id", identifier(FO, ns.FOLDER_UNIQUE_ID, "folder-1"), folder=True),
    Case("R-030", "entry-unique-id", identifier(DE, ns.DE_UNIQUE_ID, "with a space")),
    Case("R-031", "source-id", identifier(SS, ns.SS_SOURCE_ID, "hospital")),
    Case("R-031", "source-id-long", identifier(SS, ns.SS_SOURCE_ID, "1." + "2" * 63)),
    Case("R-031", "home-without-prefix", attribute(DE, "home", "1.2.3")),
    Case("R-031", "repository", slot("repositoryUniqueId", "urn:oid:1.2.3"), relayed="-", also=frozenset({"R-036"})),
    Case("R-036", "other-repository", slot("repositoryUniqueId", "1.2.3"), relayed="-"),
    Case("R-032", "hash-short", slot("hash", "da39"), relayed=REPOSITORY_META),
    Case("R-032", "hash-no-hex", slot("hash", "z" * 40), relayed=REPOSITORY_META),
    Case("R-032", "size-text", slot("size", "many"), relayed=REPOSITORY_META),
    Case("R-032", "size-negative", slot("size", "-1"), relayed=REPOSITORY_META),
    Case("R-033", "charset", lambda r: w.by_id(r, DE).find(f"{w.rim('Name')}/{w.rim('LocalizedString')}").set(
        "charset", "ISO-8859-1")),
    *(Case("R-034", f"info-{name}", slot(INFO, *texts)) for name, texts in (
        ("no-bar", ("PID-5 ESSAI",)), ("leading-zero", ("PID-05|ESSAI",)), ("other-segment", ("PV1-5|ESSAI",)),
        ("lower-case", ("pid-5|ESSAI",)), ("empty-value-in-front", ("|PID-5",)),
        ("two-birth-dates", ("PID-7|1979", "PID-7|1980")), ("two-sexes", ("PID-8|F", "PID-8|M")),
    )),
]
STRUCTURE = [
    Case("R-001", "two-lists", second_list, relayed=REPOSITORY_META),
    Case("R-001", "value-too-long", slot("languageCode", "f" * 257), relayed=REPOSITORY_META),
    Case("R-001", "comment-too-long", lambda r: w.by_id(r, DE).insert(w.by_id(r, DE).index(
        w.by_id(r, DE).find(w.rim("Name"))) + 1, etree.fromstring(
            f'<d:Description xmlns:d="{ns.RIM}"><d:LocalizedString value="{"x" * 1025}"/></d:Description>')),
         relayed=REPOSITORY_META),
    Case("R-001", "organization", lambda r: w.add(r, "Organization", id="x"), relayed=REPOSITORY_META),
    Case("R-005", "nothing-in-it", both(lambda r: w.drop(w.by_id(r, DE)), lambda r: w.drop(w.by_id(r, MEMBER)))),
    Case("R-006", "no-marker", lambda r: w.drop(w.part(r, FO, ns.FOLDER_NODE)), folder=True,
         also=frozenset({"R-061"})),
    Case("R-007", "type", attribute(DE, "objectType", OTHER)),
    Case("R-007", "on-demand", attribute(DE, "objectType", ns.ON_DEMAND)),
    Case("R-009", "id-twice", lambda r: w.part(r, DE, ns.DE_UNIQUE_ID).set("id", SS)),
    Case("R-026", "no-uuid", attribute(MEMBER, "id", "urn:uuid:not-a-uuid")),
    Case("R-010", "code-of-another", code_part(ns.DE_TYPE_CODE, "classifiedObject", SS)),
    Case("R-010", "identifier-of-another", lambda r: w.part(r, DE, ns.DE_UNIQUE_ID).set("registryObject", SS)),
    Case("R-011", "slot-twice", lambda r: w.by_id(r, DE).insert(0, etree.fromstring(
        etree.tostring(w.slot(r, DE, "languageCode"))))),
    Case("R-012", "two-values", slot("languageCode", "fr", "en")),
    Case("R-012", "no-value", slot("creationTime")),
    Case("R-012", "blank-value", slot("languageCode", " ")),
    Case("R-013", "reserved-name", slot("urn:ihe:iti:2099:nothing", "x")),
    Case("R-014", "limited-entry", marker(DE, ns.DE_LIMITED)),
    Case("R-014", "limited-set", marker(SS, ns.SS_LIMITED)),
    Case("R-014", "limited-folder", marker(FO, ns.FOLDER_LIMITED), folder=True),
    Case("R-015", "two-types", again(DE, ns.DE_TYPE_CODE)),
    Case("R-016", "two-unique-ids", again(DE, ns.DE_UNIQUE_ID)),
    Case("R-017", "lid", attribute(DE, "lid", OTHER)),
    Case("R-017", "version", version_info(DE, "2")),
    Case("R-017", "previous-version", value(MEMBER, "PreviousVersion", "1")),
]
GRAPH = [
    Case("R-060", "type", lambda r: w.associate(r, "a", "urn:x:likes", DE, OTHER), also=frozenset({"R-061"})),
    Case("R-061", "symbol", lambda r: w.associate(r, "a", ns.SIGNS, DE, "Document77"), UNRESOLVED),
    Case("R-061", "uuid", lambda r: w.associate(r, "a", ns.RPLC, DE, OTHER), UNRESOLVED),
    Case("R-062", "itself", lambda r: w.associate(r, "a", ns.SIGNS, DE, DE)),
    Case("R-063", "no-membership", lambda r: w.drop(w.by_id(r, MEMBER))),
    Case("R-063", "folder-not-in-set", lambda r: w.drop(w.by_id(r, f"HasMember-{SS}-{FO}")), folder=True),
    Case("R-063", "membership-not-in-set", lambda r: w.drop(w.by_id(r, f"HasMember-{SS}-{INSIDE}")), folder=True),
    Case("R-064", "no-status", without_slot(MEMBER, "SubmissionSetStatus")),
    Case("R-064", "two-statuses", value(MEMBER, "SubmissionSetStatus", "Original", "Original")),
    Case("R-064", "wrong-status", value(MEMBER, "SubmissionSetStatus", "original")),
    Case("R-065", "reference-to-new", value(MEMBER, "SubmissionSetStatus", "Reference")),
    Case("R-066", "set-as-target", lambda r: w.associate(r, "a", ns.SIGNS, DE, SS)),
    Case("R-068", "set-in-folder", attribute(INSIDE, "targetObject", SS), folder=True),
    Case("R-075", "code-on-membership", documentation(MEMBER)),
    Case("R-076", "status-update", lambda r: w.associate(r, "a", ns.UPDATE_AVAILABILITY_STATUS, SS, OTHER),
         also=frozenset({"R-061"})),
    Case("R-080", "set-and-entry", lambda r: w.part(r, SS, ns.SS_UNIQUE_ID).set(
        "value", w.part(r, DE, ns.DE_UNIQUE_ID).get("value")), "XDSRegistryDuplicateUniqueIdInMessage",
        "XDSRepositoryDuplicateUniqueIdInMessage"),
    Case("R-091", "entry", identifier(DE, ns.DE_PATIENT_ID, f"SOMEBODY{CX}"), "XDSPatientIdDoesNotMatch"),
    Case("R-091", "folder", identifier(FO, ns.FOLDER_PATIENT_ID, f"SOMEBODY{CX}"), "XDSPatientIdDoesNotMatch",
         folder=True),
    Case("R-090", "unknown-patient", both(identifier(DE, ns.DE_PATIENT_ID, f"NOBODY{CX}"),
         identifier(SS, ns.SS_PATIENT_ID, f"NOBODY{CX}")), "XDSUnknownPatientId"),
    Case("R-092", "foreign-authority", both(identifier(DE, ns.DE_PATIENT_ID, "1^^^&1.2.3&ISO"),
         identifier(SS, ns.SS_PATIENT_ID, "1^^^&1.2.3&ISO")), "XDSUnknownPatientId", also=frozenset({"R-090"})),
]
OF_REPOSITORY = {"R-032": "R-044", "R-080": "R-043"}
"""What the repository finds first is another rule: it has the bytes, and a code of its own."""


def rule_of(context: str) -> str:
    found = LINE.fullmatch(context)
    assert found, context
    return found[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Of these tests alone: each reads the whole database twice, and here next to nothing is stored."""
    return plain_world(tmp_path_factory.mktemp("spoiled"))


@pytest.fixture
def desk(alone: World) -> Desk:
    return Desk(alone)


@pytest.mark.parametrize("case", [*MISSING, *FORMATS, *STRUCTURE, *GRAPH], ids=lambda c: f"{c.rule}-{c.name}")
def test_a_spoiled_registration_is_refused(desk: Desk, case: Case) -> None:
    """ITI-42 answers the rule under its code, and stores nothing.

    Rule: R-001, R-005, R-006, R-007, R-009, R-010, R-011, R-012, R-013, R-014, R-015, R-016, R-017, R-020
    Rule: R-021, R-022, R-023, R-024, R-025, R-026, R-027, R-028, R-029, R-030, R-031, R-032, R-033, R-034, R-036, R-060
    Rule: R-061, R-062, R-063, R-064, R-065, R-066, R-068, R-075, R-076, R-080, R-090, R-091, R-092
    """
    root = raw.tree(raw.valid(desk, folder=case.folder))
    case.spoil(root)
    before = content(desk.world)
    success, errors = raw.register(desk, root)
    assert not success and content(desk.world) == before
    assert {rule_of(e.context) for e in errors} == {case.rule} | case.also, [e.context for e in errors]
    assert case.code in {e.code for e in errors if f"[{case.rule}]" in e.context}
    assert all(e.location and e.is_error for e in errors)


@pytest.mark.parametrize("case", [*MISSING, *FORMATS, *STRUCTURE, *GRAPH], ids=lambda c: f"{c.rule}-{c.name}")
def test_a_spoiled_deposit_is_refused(desk: Desk, case: Case) -> None:
    """ITI-41 answers what the registry says, or what only the repository can see; nothing is found or served after.

    What the repository fills in itself is no fault of a source.

    Rule: A-1, A-5, A-7, R-044, R-046, R-047, R-050
    """
    made = raw.valid(desk, folder=case.folder)
    root = raw.tree(made)
    case.spoil(root)
    documents = {} if case.name == "nothing-in-it" else raw.bytes_of(made)
    before = content(desk.world)
    success, errors = raw.provide(desk, root, documents)
    if case.relayed == "-":
        assert success and not errors
        return
    assert not success and content(desk.world) == before
    wanted = {case.rule, OF_REPOSITORY.get(case.rule, case.rule)}
    mine = [e for e in errors if rule_of(e.context) in wanted]
    assert mine and (case.relayed or case.code) in {e.code for e in mine}, [f"{e.code} {e.context}" for e in errors]
    outcome, items = desk.world.read(desk.patient_id, [made.entries[0].unique_id])
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}
