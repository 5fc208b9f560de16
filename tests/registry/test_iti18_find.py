"""ITI-18, FindDocuments and FindSubmissionSets: every parameter, its syntax, and what it selects.

Clause: ITI TF-2 3.18.4.1.2.3
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from conformance import frames
from tests.direct import FIND_SUBMISSION_SETS, Desk, ask, ids, refused
from tests.world import FIND_DOCUMENTS, World
from xds.check.query_params import quote
from xds.model import Author, Code
from xds.namespaces import APPROVED, DEPRECATED, ON_DEMAND, RPLC, STABLE

LOINC, SNOMED, CONF, FORMATS = (
    "2.16.840.1.113883.6.1", "2.16.840.1.113883.6.96", "2.16.840.1.113883.5.25", "1.3.6.1.4.1.19376.1.2.3",
)
ENTRY, SET = "$XDSDocumentEntry", "$XDSSubmissionSet"
MISSING, NUMBER, ERROR = "XDSStoredQueryMissingParam", "XDSStoredQueryParamNumber", "XDSRegistryError"


def code(value: str, scheme: str) -> Code:
    return Code(value, scheme, value)


def doctor(identifier: str, name: str) -> Author:
    return Author(person=[f"{identifier}^{name}^Alix^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"])


ENTRIES = {
    "a": {
        "class_code": code("11488-4", LOINC), "type_code": code("11488-4", LOINC),
        "format_code": code("urn:ihe:pcc:xds-ms:2007", FORMATS),
        "practice_setting_code": code("394579002", SNOMED), "healthcare_facility_type_code": code("22232009", SNOMED),
        "event_codes": [code("e1", "2.25.1"), code("e2", "2.25.1")], "confidentiality_codes": [code("N", CONF)],
        "creation_time": "20041224", "service_start_time": "20041201", "service_stop_time": "20041210",
        "authors": [doctor("1", "D'ARC, fille"), doctor("2", "Dupont")],
        "document_availability": "urn:ihe:iti:2010:DocumentAvailability:Online",
    },
    "b": {
        "class_code": code("18842-5", LOINC), "type_code": code("18842-5", LOINC),
        "format_code": code("urn:ihe:iti:xds-sd:pdf:2008", FORMATS),
        "practice_setting_code": code("394587001", SNOMED), "healthcare_facility_type_code": code("35971002", SNOMED),
        "event_codes": [code("e2", "2.25.1"), code("e3", "2.25.2")],
        "confidentiality_codes": [code("N", CONF), code("R", CONF)],
        "creation_time": "20050615103000", "service_start_time": "200506150930", "service_stop_time": "2005061510",
        "authors": [doctor("3", "Dup*nt[x]_")],
    },
    "c": {
        "class_code": code("18842-5", LOINC), "type_code": code("11488-4", LOINC),
        "format_code": code("urn:ihe:pcc:xds-ms:2007", FORMATS),
        "practice_setting_code": code("394579002", SNOMED), "healthcare_facility_type_code": code("35971002", SNOMED),
        "event_codes": [], "confidentiality_codes": [code("R", CONF)],
        "creation_time": "2006", "service_start_time": "", "service_stop_time": "",
        "authors": [doctor("4", "dupont")],
    },
}  # fmt: skip


@dataclass
class Shelf:
    """One patient with three documents, and one replaced: ``name`` of each entryUUID."""

    desk: Desk
    name: dict[str, str]
    sets: dict[str, str]

    def found(self, *slots: tuple[str, str | list[str]], return_type: str = "LeafClass", status: str = APPROVED) -> str:
        """Names of what FindDocuments finds, sorted, as one word. Slots of the same name stay apart."""
        base = [(f"{ENTRY}PatientId", quote(self.desk.patient_id)), (f"{ENTRY}Status", f"('{status}')")]
        return self.names(ask(self.desk, FIND_DOCUMENTS, *base, *slots, return_type=return_type))

    def names(self, found: object) -> str:
        return "".join(sorted((self.name | self.sets)[one] for one in ids(found)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shelf(plain: World) -> Shelf:
    desk = Desk(plain)
    made = {name: desk.submission(**values) for name, values in ENTRIES.items()}
    made["a"].submission_set.source_id, made["b"].submission_set.source_id = "1.2.250.1.999.1", "1.2.250.1.999.2"
    made["a"].submission_set.submission_time, made["b"].submission_set.submission_time = "20070101", "20080101120000"
    made["a"].submission_set.authors = [doctor("1", "Source"), doctor("2", "Autre")]
    made["b"].submission_set.content_type_code = code("18842-5", LOINC)
    for one in made.values():
        desk.register(one)
    old = desk.new()
    made["z"] = desk.register(desk.related(RPLC, old.entries[0].entry_uuid, creation_time="19990101"))
    name = {one.entries[0].entry_uuid: key for key, one in made.items()} | {old.entries[0].entry_uuid: "o"}
    sets = {one.submission_set.entry_uuid: key for key, one in made.items()} | {old.submission_set.entry_uuid: "o"}
    return Shelf(desk, name, sets)


@pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("ClassCode", f"('18842-5^^{LOINC}')", "bc"),
        ("ClassCode", f"( '18842-5^^{LOINC}' , '11488-4^^{LOINC}' )", "abc"),
        ("ClassCode", f"'11488-4^^{LOINC}'", "a"),
        ("ClassCode", "('18842-5^^1.2.3')", ""),
        ("TypeCode", f"('11488-4^^{LOINC}')", "ac"),
        ("PracticeSettingCode", f"('394587001^^{SNOMED}')", "b"),
        ("HealthcareFacilityTypeCode", f"('35971002^^{SNOMED}')", "bc"),
        ("FormatCode", f"('urn:ihe:iti:xds-sd:pdf:2008^^{FORMATS}')", "b"),
        ("EventCodeList", "('e1^^2.25.1')", "a"),
        ("EventCodeList", "('e1^^2.25.1','e3^^2.25.2')", "ab"),
        ("EventCodeList", "('E1^^2.25.1')", ""),
        ("ConfidentialityCode", f"('R^^{CONF}')", "bc"),
        ("AuthorPerson", "('%Dupont%')", "a"),
        ("AuthorPerson", "('%dupont%')", "c"),
        ("AuthorPerson", "'%dupont%'", "c"),
        ("AuthorPerson", "('%_upont%','%nothing%')", "ac"),
        ("AuthorPerson", "('%D''ARC, f%')", "a"),
        ("AuthorPerson", "('%Dup*nt[x]_^%')", "b"),
        ("AuthorPerson", "('%Dup%nt%')", "ab"),
        ("AuthorPerson", "('Dupont')", ""),
        ("Type", f"('{STABLE}')", "abcz"),
        ("Type", f"('{STABLE.upper()}')", "abcz"),
        ("Type", f"('{ON_DEMAND}')", ""),
        ("Type", f"('{ON_DEMAND}','{STABLE}')", "abcz"),
        ("Type", "('urn:uuid:00000000-0000-0000-0000-000000000000')", "abcz"),
        ("DocumentAvailability", "('urn:ihe:iti:2010:DocumentAvailability:Online')", "abcz"),
        ("DocumentAvailability", "('urn:ihe:iti:2010:DocumentAvailability:Offline')", ""),
    ],
)
def test_each_parameter_selects(shelf: Shelf, parameter: str, value: str, expected: str, return_type: str) -> None:
    """Codes, patterns and types, in every permitted spelling; both return types select the same.

    Of three documents one says that it is Online, and the others are as well, because they say nothing.
    Rule: Q-03, Q-04, Q-08, Q-13, Q-15, Q-16
    """
    found = shelf.found((f"{ENTRY}{parameter}", value), return_type=return_type)
    assert found == expected


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"CreationTimeFrom": "20041224", "CreationTimeTo": "2005"}, "a"),
        ({"CreationTimeFrom": "20041224000000", "CreationTimeTo": "2005"}, "a"),
        ({"CreationTimeFrom": "200412240000"}, "abc"),
        ({"CreationTimeFrom": "20041224000001"}, "bc"),
        ({"CreationTimeTo": "20041224"}, "z"),
        ({"CreationTimeTo": "20041224000001"}, "az"),
        ({"CreationTimeFrom": "20050615103000", "CreationTimeTo": "20050615103001"}, "b"),
        ({"CreationTimeFrom": "20050615103001"}, "c"),
        ({"CreationTimeFrom": "2006", "CreationTimeTo": "2007"}, "c"),
        ({"CreationTimeFrom": "2007"}, ""),
        ({"CreationTimeFrom": "2006", "CreationTimeTo": "2005"}, ""),
        ({"CreationTimeFrom": "'2006'"}, "c"),
        ({"ServiceStartTimeFrom": "20041201", "ServiceStartTimeTo": "20041202"}, "ac"),
        ({"ServiceStartTimeTo": "20041201"}, "c"),
        ({"ServiceStartTimeFrom": "200506150930"}, "bcz"),
        ({"ServiceStopTimeFrom": "20041210", "ServiceStopTimeTo": "20041211"}, "ac"),
        ({"ServiceStopTimeFrom": "20050615100000", "ServiceStopTimeTo": "20050615100001"}, "bc"),
    ],
    ids=str,
)
def test_times_are_ranges_open_at_their_end(shelf: Shelf, edges: dict[str, str], expected: str) -> None:
    """From <= t < To, both padded; an entry without a service time is kept.

    Rule: Q-09, E-13, E-14
    """
    assert shelf.found(*((f"{ENTRY}{name}", value) for name, value in edges.items())) == expected


def test_repeated_slots_must_all_match(shelf: Shelf) -> None:
    """Within a slot or, between slots and: for event and confidentiality codes alone.

    Rule: Q-06
    """
    events, confidentiality = f"{ENTRY}EventCodeList", f"{ENTRY}ConfidentialityCode"
    assert shelf.found((events, "('e2^^2.25.1')"), (events, "('e1^^2.25.1','e9^^2.25.1')")) == "a"
    assert shelf.found((events, "('e1^^2.25.1')"), (events, "('e3^^2.25.2')")) == ""
    assert shelf.found((confidentiality, f"('N^^{CONF}')"), (confidentiality, f"('R^^{CONF}')")) == "b"


def test_values_of_one_slot_are_a_union(shelf: Shelf) -> None:
    """Rule: Q-05"""
    values = [f"('394587001^^{SNOMED}')", f"('394579002^^{SNOMED}','x^^y')"]
    assert shelf.found((f"{ENTRY}PracticeSettingCode", values)) == "abc"


def test_all_parameters_must_hold(shelf: Shelf) -> None:
    """Clause: ITI TF-2 3.18.4.1.2.3.7.1"""
    both = [(f"{ENTRY}TypeCode", f"('11488-4^^{LOINC}')"), (f"{ENTRY}ClassCode", f"('18842-5^^{LOINC}')")]
    assert shelf.found(*both) == "c"
    assert shelf.found(*both, (f"{ENTRY}AuthorPerson", "('%Dupont%')")) == ""


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (f"('{APPROVED}')", "abcz"),
        (f"('{DEPRECATED}')", "o"),
        (f"('{DEPRECATED}','{APPROVED}')", "abcoz"),
        (f"('urn:x:unknown','{DEPRECATED}')", "o"),
        ([f"('{DEPRECATED}')", f"('{APPROVED}')"], "abcoz"),
        (f"'{APPROVED}'", "abcz"),
    ],
    ids=str,
)
def test_the_status_list_selects(shelf: Shelf, status: str | list[str], expected: str) -> None:
    """Unknown statuses are ignored."""
    found = ask(
        shelf.desk, FIND_DOCUMENTS, (f"{ENTRY}PatientId", quote(shelf.desk.patient_id)), (f"{ENTRY}Status", status)
    )
    assert shelf.names(found) == expected


@pytest.mark.parametrize(
    "extra",
    [
        ("$Anything", "not even quoted ("),
        (f"{ENTRY}ClassCodeScheme", f"('{LOINC}')"),
        ("XDSDocumentEntryClassCode", f"('18842-5^^{LOINC}')"),
        (f"{ENTRY}classCode", f"('18842-5^^{LOINC}')"),
        (f"{ENTRY}ClassCode", "()"),
        (f"{ENTRY}ClassCode", "('')"),
        (f"{ENTRY}ClassCode", []),
        (f"{ENTRY}CreationTimeFrom", "''"),
        ("$MetadataLevel", "1"),
        ("$MetadataLevel", "'1'"),
    ],
    ids=str,
)
def test_unknown_and_empty_parameters_change_nothing(shelf: Shelf, extra: tuple[str, str | list[str]]) -> None:
    """Names are case-sensitive; a name that is not a parameter is no error.

    Rule: Q-01, Q-02, Q-10, Q-11, Q-12, C-10
    """
    assert shelf.found(extra) == "abcz"


PATIENT, STATUS = f"{ENTRY}PatientId", f"{ENTRY}Status"


@pytest.mark.parametrize(
    ("change", "expected", "rule"),
    [
        ({PATIENT: None}, MISSING, "Q-12"),
        ({PATIENT: ["''"]}, MISSING, "Q-12"),
        ({PATIENT: [["'a'", "'b'"]]}, NUMBER, "Q-14"),
        ({PATIENT: ["'a'", "'b'"]}, NUMBER, "Q-06"),
        ({PATIENT: ["('a','b')"]}, NUMBER, "Q-14"),
        ({STATUS: None}, MISSING, "Q-12"),
        ({STATUS: ["()"]}, MISSING, "Q-12"),
        ({STATUS: ["('urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved')"]}, MISSING, "Q-12"),
        ({STATUS: [f"('{APPROVED}')", f"('{DEPRECATED}')"]}, NUMBER, "Q-06"),
        ({STATUS: [f"{APPROVED}"]}, ERROR, "Q-17"),
        ({f"{ENTRY}ClassCode": ["('Dialysis')"]}, ERROR, "Q-08"),
        ({f"{ENTRY}ClassCode": ["'a^^'"]}, ERROR, "Q-08"),
        ({f"{ENTRY}ClassCode": ["('a^b^c')"]}, ERROR, "Q-08"),
        ({f"{ENTRY}ClassCode": ["('a^^b','c')"]}, ERROR, "Q-08"),
        ({f"{ENTRY}ClassCode": ["('a^^b'"]}, ERROR, "Q-08"),
        ({f"{ENTRY}ClassCode": ["('a^^b')", "('c^^d')"]}, NUMBER, "Q-06"),
        ({f"{ENTRY}AuthorPerson": ["('%a)"]}, ERROR, "Q-17"),
        ({f"{ENTRY}CreationTimeFrom": ["20041301"]}, ERROR, "Q-09"),
        ({f"{ENTRY}CreationTimeFrom": ["20040101120000+0100"]}, ERROR, "Q-09"),
        ({f"{ENTRY}CreationTimeTo": ["(20040101,20050101)"]}, NUMBER, "Q-14"),
        ({"$MetadataLevel": ["'two'"]}, ERROR, "Q-02"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_named(
    shelf: Shelf, change: dict[str, list[object] | None], expected: str, rule: str
) -> None:
    """Each with its own code, the parameter's name and our rule; nothing is answered.

    Rule: Q-06, Q-08, Q-09, Q-12, Q-14, Q-17, C-07, E-03, E-04
    """
    given: dict[str, list[object] | None] = {PATIENT: [quote(shelf.desk.patient_id)], STATUS: [f"('{APPROVED}')"]}
    slots = [(name, value) for name, values in (given | change).items() for value in values or ()]
    found = ask(shelf.desk, FIND_DOCUMENTS, *slots)  # type: ignore[arg-type]
    error = refused(found, expected, next(iter(change)), f"[{rule}]", "ITI TF-2 3.18.4.1.2")
    assert error.location == f"AdhocQuery {FIND_DOCUMENTS}/{next(iter(change))}"


def test_every_wrong_parameter_is_named_at_once(shelf: Shelf) -> None:
    """Rule: A-8"""
    found = ask(shelf.desk, FIND_DOCUMENTS, (f"{ENTRY}ClassCode", "('x')"))
    assert [e.code for e in found.outcome.errors] == [MISSING, MISSING, ERROR]


def test_an_unknown_patient_gives_an_empty_answer(shelf: Shelf) -> None:
    """So does one of another authority, and one that is no identifier at all.

    Rule: E-17
    """
    for unknown in (frames.a_patient_id("connectathon", "NOBODY"), "1^^^&9.9.9&ISO", "nobody", "%"):
        slots = ((PATIENT, quote(unknown)), (STATUS, f"('{APPROVED}')"))
        assert ids(ask(shelf.desk, FIND_DOCUMENTS, *slots)) == []


@pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([], "abcoz"),
        ([("SourceId", "('1.2.250.1.999.1')")], "a"),
        ([("SourceId", "('1.2.250.1.999.1','1.2.250.1.999.2')")], "ab"),
        ([("SubmissionTimeFrom", "20070101"), ("SubmissionTimeTo", "20080101120000")], "a"),
        ([("SubmissionTimeFrom", "20080101120000"), ("SubmissionTimeTo", "2009")], "b"),
        ([("SubmissionTimeTo", "20070101")], ""),
        ([("AuthorPerson", "'%Autre%'")], "a"),
        ([("AuthorPerson", "'%autre%'")], ""),
        ([("ContentType", f"('18842-5^^{LOINC}')")], "b"),
        ([("ContentType", f"('18842-5^^{LOINC}','11488-4^^{LOINC}')"), ("SourceId", "('1.2.250.1.999.1')")], ""),
        ([("Status", f"('{DEPRECATED}')")], ""),
        ([("Status", f"('{DEPRECATED}','{APPROVED}')"), ("SourceId", "'1.2.250.1.999.2'")], "b"),
    ],
    ids=str,
)  # fmt: skip
def test_submission_sets_are_found(
    shelf: Shelf, slots: list[tuple[str, str]], expected: str, return_type: str
) -> None:
    """Every parameter of FindSubmissionSets; sets and nothing else. Clause: ITI TF-2 3.18.4.1.2.3.7.2"""
    base = {"PatientId": quote(shelf.desk.patient_id), "Status": f"('{APPROVED}')"} | dict(slots)
    given = [(f"{SET}{name}", value) for name, value in base.items()]
    found = ask(shelf.desk, FIND_SUBMISSION_SETS, *given, return_type=return_type)
    assert {o.kind for o in found.objects} <= {"SubmissionSet"}
    assert shelf.names(found) == expected


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("PatientId", None, MISSING),
        ("Status", None, MISSING),
        ("AuthorPerson", ["('%a%','%b%')"], NUMBER),
        ("SourceId", ["'a'", "'b'"], NUMBER),
        ("ContentType", ["('a')"], ERROR),
        ("SubmissionTimeFrom", ["2007-01-01"], ERROR),
    ],
)
def test_wrong_parameters_of_a_set_query_are_named(
    shelf: Shelf, name: str, values: list[str] | None, expected: str
) -> None:
    """Rule: Q-12, Q-14, Q-08, Q-09"""
    base: dict[str, list[str] | None] = {"PatientId": [quote(shelf.desk.patient_id)], "Status": [f"('{APPROVED}')"]}
    slots = [(f"{SET}{key}", value) for key, given in (base | {name: values}).items() for value in given or ()]
    refused(ask(shelf.desk, FIND_SUBMISSION_SETS, *slots), expected, f"{SET}{name}")
