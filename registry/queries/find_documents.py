"""FindDocuments. Clause: ITI TF-2 3.18.4.1.2.3.7.1"""

from __future__ import annotations

from registry.queries import LEVEL, Answer, QueryContext, is_current
from registry.store import EntryCriteria
from xds.check.query_params import Kind, Param
from xds.namespaces import ONLINE, STABLE

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
VALUE_LISTS = {
    "$XDSDocumentEntryEventCodeList": "event_codes",
    "$XDSDocumentEntryConfidentialityCode": "confidentiality_codes",
    "$XDSDocumentEntryReferenceIdList": "reference_ids",
}
TIMES = {
    "$XDSDocumentEntryCreationTime": "creation_time",
    "$XDSDocumentEntryServiceStartTime": "service_start_time",
    "$XDSDocumentEntryServiceStopTime": "service_stop_time",
}
TYPE = "$XDSDocumentEntryType"
AUTHOR = "$XDSDocumentEntryAuthorPerson"
AVAILABILITY = "$XDSDocumentEntryDocumentAvailability"

STATUS_PARAM = Param("$XDSDocumentEntryStatus", Kind.STATUS, required=True, multiple=True)
CONTENT_PARAMS = (
    Param("$XDSDocumentEntryFormatCode", Kind.CODE, multiple=True),
    Param("$XDSDocumentEntryConfidentialityCode", Kind.CODE, multiple=True, and_slots=True),
    Param(TYPE, Kind.OBJECT_TYPE, multiple=True),
)
"""Those that narrow the documents of GetAll and of the queries for a set or a Folder with its contents."""
CRITERIA_PARAMS = (
    STATUS_PARAM,
    *CONTENT_PARAMS,
    Param(AUTHOR, Kind.LIKE, multiple=True),
    Param(AVAILABILITY, Kind.STRING, multiple=True),
    LEVEL,
    *(Param(name, Kind.CODE, multiple=True) for name, field in CODES.items() if field != "format_code"),
    Param("$XDSDocumentEntryEventCodeList", Kind.CODE, multiple=True, and_slots=True),
    *(Param(name + edge, Kind.TIME) for name in TIMES for edge in ("From", "To")),
)
PARAMS = (Param(PATIENT, Kind.STRING, required=True), *CRITERIA_PARAMS)


def criteria(values: dict) -> EntryCriteria:
    """Parameters of FindDocuments as criteria; shared by the queries that have some of them, or more.

    Without $XDSDocumentEntryType on-demand entries are left out (R-187). What says nothing of its availability is
    Online. Clause: ITI TF-3 4.2.3.2 (documentAvailability)
    """
    codes = {field: frozenset(values[name]) for name, field in CODES.items() if name in values}
    if AVAILABILITY in values:
        asked = frozenset(values[AVAILABILITY])
        codes["document_availability"] = asked | {""} if ONLINE in asked else asked
    return EntryCriteria(
        statuses=frozenset(values.get(STATUS_PARAM.name, ())),
        object_types=frozenset(values.get(TYPE) or (STABLE,)),
        codes=codes,
        all_codes={
            field: tuple(frozenset(group) for group in values[name])
            for name, field in VALUE_LISTS.items()
            if name in values
        },
        times={
            field: (values.get(name + "From", ""), values.get(name + "To", ""))
            for name, field in TIMES.items()
            if name + "From" in values or name + "To" in values
        },
        author_patterns=tuple(values.get(AUTHOR, ())),
        is_current=is_current(values),
    )


def run(context: QueryContext, values: dict) -> Answer:
    for view in context.of_patient(values[PATIENT]):
        view.add_entries(criteria(values))
    return context.answer
