"""GetAssociations. Clause: ITI TF-2 3.18.4.1.2.3.7.7"""

from __future__ import annotations

from registry.queries import Answer, QueryContext
from xds.check.query_params import Kind, Param
from xds.namespaces import APPROVED

QUERY_ID = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
NAME = "GetAssociations"

PARAMS = (
    Param("$uuid", Kind.ID, required=True, multiple=True),
    Param("$XDSAssociationStatus", Kind.STATUS, multiple=True),
    Param("$MetadataLevel", Kind.NUMBER),
)


def run(context: QueryContext, values: dict) -> Answer:
    statuses = frozenset(values.get("$XDSAssociationStatus", (APPROVED,)))
    return context.get_associations(frozenset(values["$uuid"]), statuses)
