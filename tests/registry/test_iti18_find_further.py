"""ITI-18, queries that extend FindDocuments: by reference identifier, and with exclusions.

Clause: ITI TF-2 3.18.4.1.2.3.7.14, 3.18.4.1.2.3.7.15
"""

from __future__ import annotations

import pytest

from tests.direct import Desk, ask, ids, refused
from tests.registry.test_iti18_find import ENTRIES, ENTRY
from tests.world import World
from xds.check.query_params import quote, quote_list
from xds.namespaces import APPROVED, ON_DEMAND, STABLE

BY_REFERENCE = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
EXCLUDE = "urn:uuid:4308b1df-36de-4bef-8e2e-ba91f593c435"
LOINC, CONF = "2.16.840.1.113883.6.1", "2.16.840.1.113883.5.25"
ACCESSION = "ACC-1^^^&1.2.250.1.1&ISO^urn:ihe:iti:xds:2013:accession"
ORDER = "l'ordre, n° 2^^^&1.2.250.1.1&ISO^urn:ihe:iti:xds:2013:order"
REFERENCES = {"a": [ACCESSION, ORDER], "b": [ORDER], "c": []}
RETURN_TYPES = pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])


@pytest.fixture(scope="module")
def shelf(plain: World) -> tuple[Desk, dict[str, str]]:
    desk = Desk(plain)
    made = {name: desk.new(**values, reference_ids=REFERENCES[name]) for name, values in ENTRIES.items()}
    return desk, {one.entries[0].entry_uuid: name for name, one in made.items()}


def found(
    shelf: tuple[Desk, dict[str, str]], query: str, slots: list[tuple[str, str]], return_type: str = "LeafClass"
) -> str:
    desk, names = shelf
    base = [(f"{ENTRY}PatientId", quote(desk.patient_id)), (f"{ENTRY}Status", f"('{APPROVED}')")]
    given = [(f"{ENTRY}{name}", value) for name, value in slots]
    return "".join(sorted(names[one] for one in ids(ask(desk, query, *base, *given, return_type=return_type))))


@RETURN_TYPES
@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([("ReferenceIdList", quote_list([ACCESSION]))], "a"),
        ([("ReferenceIdList", quote_list([ORDER]))], "ab"),
        ([("ReferenceIdList", quote_list([ACCESSION, ORDER]))], "ab"),
        ([("ReferenceIdList", quote_list([ACCESSION])), ("ReferenceIdList", quote_list([ORDER]))], "a"),
        ([("ReferenceIdList", quote(ORDER))], "ab"),
        ([("ReferenceIdList", quote_list([ACCESSION[:-1]]))], ""),
        ([("ReferenceIdList", quote_list(["ACC-1"]))], ""),
        ([("ReferenceIdList", quote_list([ORDER])), ("ClassCode", f"('18842-5^^{LOINC}')")], "b"),
    ],
    ids=str,
)
def test_documents_are_found_by_reference(
    shelf: tuple[Desk, dict[str, str]], slots: list[tuple[str, str]], expected: str, return_type: str
) -> None:
    """The whole CXi, exactly; any of one slot, one of each slot; beside every parameter of FindDocuments.

    Rule: Q-06, Q-13, Q-16; Clause: ITI TF-2 3.18.4.1.2.3.7.14
    """
    assert found(shelf, BY_REFERENCE, slots, return_type) == expected


def test_a_reference_is_required(shelf: tuple[Desk, dict[str, str]]) -> None:
    """Rule: Q-12"""
    desk, _ = shelf
    base = [(f"{ENTRY}PatientId", quote(desk.patient_id)), (f"{ENTRY}Status", f"('{APPROVED}')")]
    refused(ask(desk, BY_REFERENCE, *base), "XDSStoredQueryMissingParam", "ReferenceIdList")


@RETURN_TYPES
@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ([], "abc"),
        ([("ClassCodeExclude", f"('18842-5^^{LOINC}')")], "a"),
        ([("TypeCodeExclude", f"('11488-4^^{LOINC}')")], "b"),
        ([("TypeCodeExclude", f"('11488-4^^{LOINC}','18842-5^^{LOINC}')")], ""),
        ([("PracticeSettingCodeExclude", "('394579002^^2.16.840.1.113883.6.96')")], "b"),
        ([("HealthcareFacilityTypeCodeExclude", "('35971002^^2.16.840.1.113883.6.96')")], "a"),
        ([("FormatCodeExclude", "('urn:ihe:pcc:xds-ms:2007^^1.3.6.1.4.1.19376.1.2.3')")], "b"),
        ([("EventCodeListExclude", "('e1^^2.25.1')")], "bc"),
        ([("EventCodeListExclude", "('e2^^2.25.1')")], "c"),
        ([("EventCodeListExclude", "('e2^^2.25.1')"), ("EventCodeListExclude", "('e3^^2.25.2')")], "ac"),
        ([("ConfidentialityCodeExclude", f"('R^^{CONF}')")], "a"),
        ([("AuthorPersonExclude", "('%Dupont%','%dupont%')")], "b"),
        ([("ReferenceIdListExclude", quote_list([ACCESSION]))], "bc"),
        ([("ReferenceIdList", quote_list([ORDER]))], "ab"),
        ([("TypeExclude", f"('{STABLE}')")], ""),
        ([("TypeExclude", f"('{ON_DEMAND}')")], "abc"),
        ([("TypeCode", f"('11488-4^^{LOINC}')"), ("ClassCodeExclude", f"('11488-4^^{LOINC}')")], "c"),
        ([("ClassCodeExclude", f"('18842-5^^{LOINC}')"), ("EventCodeListExclude", "('e1^^2.25.1')")], ""),
        ([("CreationTimeFrom", "2005"), ("ConfidentialityCodeExclude", f"('N^^{CONF}')")], "c"),
        ([("MetadataLevel", "2"), ("ClassCodeExclude", "()")], "abc"),
    ],
    ids=str,
)
def test_documents_are_excluded(
    shelf: tuple[Desk, dict[str, str]], slots: list[tuple[str, str]], expected: str, return_type: str
) -> None:
    """What would satisfy the plain parameter is left out; each excluding parameter by itself.

    Clause: ITI TF-2 3.18.4.1.2.3.7.15
    """
    assert found(shelf, EXCLUDE, slots, return_type) == expected


@pytest.mark.parametrize(
    "name", ["ClassCode", "TypeCode", "PracticeSettingCode", "HealthcareFacilityTypeCode", "FormatCode",
             "EventCodeList", "ConfidentialityCode", "AuthorPerson", "Type", "ReferenceIdList"],
)
def test_what_is_asked_for_is_not_excluded_as_well(shelf: tuple[Desk, dict[str, str]], name: str) -> None:
    """A plain parameter and its excluding one are alternatives. Clause: ITI TF-2 3.18.4.1.2.3.7.15"""
    desk, _ = shelf
    value = f"('{STABLE}')" if name == "Type" else "('a^^b')"
    slots = [(f"{ENTRY}PatientId", quote(desk.patient_id)), (f"{ENTRY}Status", f"('{APPROVED}')"),
             (f"{ENTRY}{name}", value), (f"{ENTRY}{name}Exclude", value)]
    refused(ask(desk, EXCLUDE, *slots), "XDSStoredQueryParamNumber", f"{ENTRY}{name}Exclude")
