"""FindDocumentsByReferenceId. Clause: ITI TF-2 3.18.4.1.2.3.7.14"""

from __future__ import annotations

from registry.queries import Answer, QueryContext, find_documents
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
NAME = "FindDocumentsByReferenceId"
PATIENT = find_documents.PATIENT

REFERENCE_PARAM = Param(
    "$XDSDocumentEntryReferenceIdList", Kind.STRING, required=True, multiple=True, and_slots=True
)
"""Whole CXi values, compared exactly."""
PARAMS = (*find_documents.PARAMS, REFERENCE_PARAM)


def run(context: QueryContext, values: dict) -> Answer:
    return find_documents.run(context, values)
