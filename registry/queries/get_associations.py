"""GetAssociations. Clause: ITI TF-2 3.18.4.1.2.3.7.7"""

from __future__ import annotations

from registry.queries import ASSOCIATION_STATUS, LEVEL, Answer, QueryContext, association_statuses
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
NAME = "GetAssociations"

PARAMS = (Param("$uuid", Kind.ID, required=True, multiple=True), ASSOCIATION_STATUS, LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    for view in context.of_owners(entry_uuids=values["$uuid"]):
        view.add(view.associations(values["$uuid"], association_statuses(values)))
    return context.answer
