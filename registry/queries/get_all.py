"""GetAll: a patient's sets, documents and folders, and every association that touches one of them.

The other end of an association may lie outside the answer: its document may not pass the criteria.
Clause: ITI TF-2 3.18.4.1.2.3.7.4
"""

from __future__ import annotations

from registry.queries import (
    ASSOCIATION_STATUS,
    LEVEL,
    Answer,
    QueryContext,
    association_statuses,
    find_documents,
    find_folders,
    find_submission_sets,
)
from registry.store import SetCriteria
from xds.check.query_params import Kind, Param
from xds.model import Folder, SubmissionSet

QUERY_ID = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
NAME = "GetAll"
PATIENT = "$patientId"

PARAMS = (
    Param(PATIENT, Kind.STRING, required=True),
    find_documents.STATUS_PARAM,
    find_submission_sets.STATUS_PARAM,
    find_folders.STATUS_PARAM,
    *find_documents.CONTENT_PARAMS,
    ASSOCIATION_STATUS,
    LEVEL,
)


def run(context: QueryContext, values: dict) -> Answer:
    of_sets = SetCriteria(statuses=frozenset(values[find_submission_sets.STATUS_PARAM.name]))
    for view in context.of_patient(values[PATIENT]):
        groups: list[SubmissionSet | Folder] = [*view.submission_sets(of_sets)]
        groups += view.folders(find_folders.criteria(values))
        view.add(groups)
        found = view.add_entries(find_documents.criteria(values))
        found += [group.entry_uuid for group in groups]
        view.add(view.associations(found, association_statuses(values)))
    return context.answer
