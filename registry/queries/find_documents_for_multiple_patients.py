"""FindDocumentsForMultiplePatients. Clause: ITI TF-2 3.51.4.1.2.2"""

from __future__ import annotations

from registry.queries import Answer, QueryContext, find_documents
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
NAME = "FindDocumentsForMultiplePatients"
TRANSACTION = "ITI-51"
PATIENT = find_documents.PATIENT
AT_LEAST_ONE = (
    PATIENT,
    "$XDSDocumentEntryClassCode",
    "$XDSDocumentEntryEventCodeList",
    "$XDSDocumentEntryHealthcareFacilityTypeCode",
)
PARAMS = (Param(PATIENT, Kind.STRING, multiple=True), *find_documents.CRITERIA_PARAMS)


def run(context: QueryContext, values: dict) -> Answer:
    where = find_documents.criteria(values)
    views = context.of_patients(values[PATIENT]) if PATIENT in values else context.of_everybody(where)
    for view in views:
        view.add_entries(where)
    return context.answer
