"""FindDocumentsByReferenceIdForMultiplePatients. Clause: ITI TF-2 3.51.4.1.2.2, 3.18.4.1.2.3.7.14"""

from __future__ import annotations

from registry.queries import (
    Answer,
    QueryContext,
    find_documents_by_reference_id,
    find_documents_for_multiple_patients,
)

QUERY_ID = "urn:uuid:1191642d-86c4-42d8-b784-f95445f9f0d5"
NAME = "FindDocumentsByReferenceIdForMultiplePatients"
TRANSACTION = "ITI-51"
PATIENT = find_documents_for_multiple_patients.PATIENT
PARAMS = (*find_documents_for_multiple_patients.PARAMS, find_documents_by_reference_id.REFERENCE_PARAM)


def run(context: QueryContext, values: dict) -> Answer:
    return find_documents_for_multiple_patients.run(context, values)
