"""FindDocuments. Clause: ITI TF-2 3.18.4.1.2.3.7.1"""

from __future__ import annotations

from registry.queries import Answer, QueryContext
from registry.store import EntryCriteria
from xds.check.query_params import Kind, Param
from xds.namespaces import STABLE

QUERY_ID = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
NAME = "FindDocuments"
PATIENT = "$XDSDocumentEntryPatientId"

CODES = {
    "$XDSDocumentEntryClassCode": "class_code",
    "$XDSDocumentEntryTypeCode": "type_code",
    "$XDSDocumentEntryPracticeSettingCode": "practice_setting_code",
    "$XDSDocumentEntryHealthcareFacilityTypeCode": "healthcare_facility_type_code",
    "$XDSDocumentEntryFormatCode": "format_code",
}
CODE_LISTS = {
    "$XDSDocumentEntryEventCodeList": "event_codes",
    "$XDSDocumentEntryConfidentialityCode": "confidentiality_codes",
}
TIMES = {
    "$XDSDocumentEntryCreationTime": "creation_time",
    "$XDSDocumentEntryServiceStartTime": "service_start_time",
    "$XDSDocumentEntryServiceStopTime": "service_stop_time",
}

PARAMS = (
    Param(PATIENT, Kind.STRING, required=True),
    Param("$XDSDocumentEntryStatus", Kind.STATUS, required=True, multiple=True),
    Param("$XDSDocumentEntryType", Kind.OBJECT_TYPE, multiple=True),
    Param("$XDSDocumentEntryAuthorPerson", Kind.LIKE, multiple=True),
    Param("$XDSDocumentEntryDocumentAvailability", Kind.STRING, multiple=True),
    Param("$MetadataLevel", Kind.NUMBER),
    *(Param(name, Kind.CODE, multiple=True) for name in CODES),
    *(Param(name, Kind.CODE, multiple=True, and_slots=True) for name in CODE_LISTS),
    *(Param(name + edge, Kind.TIME) for name in TIMES for edge in ("From", "To")),
)


def criteria(values: dict) -> EntryCriteria:
    """The parameters of FindDocuments as criteria; shared by the queries that extend it."""
    codes = {field: frozenset(values[name]) for name, field in CODES.items() if name in values}
    if "$XDSDocumentEntryDocumentAvailability" in values:
        codes["document_availability"] = frozenset(values["$XDSDocumentEntryDocumentAvailability"])
    return EntryCriteria(
        statuses=frozenset(values["$XDSDocumentEntryStatus"]),
        object_types=frozenset(values.get("$XDSDocumentEntryType") or (STABLE,)),
        codes=codes,
        all_codes={
            field: tuple(frozenset(group) for group in values[name])
            for name, field in CODE_LISTS.items()
            if name in values
        },
        times={
            field: (values.get(name + "From", ""), values.get(name + "To", ""))
            for name, field in TIMES.items()
            if name + "From" in values or name + "To" in values
        },
        author_patterns=tuple(values.get("$XDSDocumentEntryAuthorPerson", ())),
    )


def run(context: QueryContext, values: dict) -> Answer:
    return context.find_entries(values[PATIENT], criteria(values))
