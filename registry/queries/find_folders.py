"""FindFolders. Clause: ITI TF-2 3.18.4.1.2.3.7.3"""

from __future__ import annotations

from registry.queries import LEVEL, Answer, QueryContext, is_current
from registry.store import FolderCriteria
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:958f3006-baad-4929-a4de-ff1114824431"
NAME = "FindFolders"
PATIENT = "$XDSFolderPatientId"
CODES, TIME = "$XDSFolderCodeList", "$XDSFolderLastUpdateTime"

STATUS_PARAM = Param("$XDSFolderStatus", Kind.STATUS, required=True, multiple=True)
CRITERIA_PARAMS = (
    STATUS_PARAM,
    Param(CODES, Kind.CODE, multiple=True, and_slots=True),
    Param(TIME + "From", Kind.TIME),
    Param(TIME + "To", Kind.TIME),
    LEVEL,
)
PARAMS = (Param(PATIENT, Kind.STRING, required=True), *CRITERIA_PARAMS)


def criteria(values: dict) -> FolderCriteria:
    """The parameters of FindFolders as criteria; shared with the query for several patients and with GetAll."""
    return FolderCriteria(
        statuses=frozenset(values[STATUS_PARAM.name]),
        codes=tuple(frozenset(group) for group in values.get(CODES, ())),
        last_update_time=(values.get(TIME + "From", ""), values.get(TIME + "To", "")),
        is_current=is_current(values),
    )


def run(context: QueryContext, values: dict) -> Answer:
    for view in context.of_patient(values[PATIENT]):
        view.add(view.folders(criteria(values)))
    return context.answer
