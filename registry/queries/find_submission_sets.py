"""FindSubmissionSets. Clause: ITI TF-2 3.18.4.1.2.3.7.2"""

from __future__ import annotations

from registry.queries import Answer, QueryContext
from registry.store import SetCriteria
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
NAME = "FindSubmissionSets"
PATIENT = "$XDSSubmissionSetPatientId"

PARAMS = (
    Param(PATIENT, Kind.STRING, required=True),
    Param("$XDSSubmissionSetStatus", Kind.STATUS, required=True, multiple=True),
    Param("$XDSSubmissionSetSourceId", Kind.STRING, multiple=True),
    Param("$XDSSubmissionSetSubmissionTimeFrom", Kind.TIME),
    Param("$XDSSubmissionSetSubmissionTimeTo", Kind.TIME),
    Param("$XDSSubmissionSetAuthorPerson", Kind.LIKE),
    Param("$XDSSubmissionSetContentType", Kind.CODE, multiple=True),
)


def run(context: QueryContext, values: dict) -> Answer:
    author = values.get("$XDSSubmissionSetAuthorPerson", "")
    return context.find_submission_sets(
        values[PATIENT],
        SetCriteria(
            statuses=frozenset(values["$XDSSubmissionSetStatus"]),
            source_ids=frozenset(values["$XDSSubmissionSetSourceId"])
            if "$XDSSubmissionSetSourceId" in values
            else None,
            content_types=(
                frozenset(values["$XDSSubmissionSetContentType"]) if "$XDSSubmissionSetContentType" in values else None
            ),
            submission_time=(
                values.get("$XDSSubmissionSetSubmissionTimeFrom", ""),
                values.get("$XDSSubmissionSetSubmissionTimeTo", ""),
            ),
            author_patterns=(author,) if author else (),
        ),
    )
