"""FindFoldersForMultiplePatients. Clause: ITI TF-2 3.51.4.1.2.2"""

from __future__ import annotations

from registry.queries import Answer, QueryContext, find_folders
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df"
NAME = "FindFoldersForMultiplePatients"
TRANSACTION = "ITI-51"
PATIENT = find_folders.PATIENT
AT_LEAST_ONE = (PATIENT, find_folders.CODES)
PARAMS = (Param(PATIENT, Kind.STRING, multiple=True), *find_folders.CRITERIA_PARAMS)


def run(context: QueryContext, values: dict) -> Answer:
    where = find_folders.criteria(values)
    views = context.of_patients(values[PATIENT]) if PATIENT in values else context.of_everybody(where)
    for view in views:
        view.add(view.folders(where))
    return context.answer
