"""FindSubmissionSets. Clause: ITI TF-2 3.18.4.1.2.3.7.2"""

from __future__ import annotations

from registry.queries import Answer, QueryContext
from registry.store import SetCriteria
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
NAME = "FindSubmissionSets"
PATIENT = "$XDSSubmissionSetPatientId"
SOURCE, CONTENT, TIME = "$XDSSubmissionSetSourceId", "$XDSSubmissionSetContentType", "$XDSSubmissionSetSubmissionTime"

STATUS_PARAM = Param("$XDSSubmissionSetStatus", Kind.STATUS, required=True, multiple=True)
PARAMS = (
    Param(PATIENT, Kind.STRING, required=True),
    STATUS_PARAM,
    Param(SOURCE, Kind.STRING, multiple=True),
    Param(TIME + "From", Kind.TIME),
    Param(TIME + "To", Kind.TIME),
    Param("$XDSSubmissionSetAuthorPerson", Kind.LIKE),
    Param(CONTENT, Kind.CODE, multiple=True),
)


def run(context: QueryContext, values: dict) -> Answer:
    author = values.get("$XDSSubmissionSetAuthorPerson", "")
    where = SetCriteria(
        statuses=frozenset(values[STATUS_PARAM.name]),
        source_ids=frozenset(values.get(SOURCE, ())),
        content_types=frozenset(values.get(CONTENT, ())),
        submission_time=(values.get(TIME + "From", ""), values.get(TIME + "To", "")),
        author_patterns=(author,) if author else (),
    )
    for view in context.of_patient(values[PATIENT]):
        view.add(view.submission_sets(where))
    return context.answer
