"""GetDocumentsAndAssociations. Clause: ITI TF-2 3.18.4.1.2.3.7.8"""

from __future__ import annotations

from registry.queries import Answer, QueryContext, get_documents
from registry.queries.get_documents import kind_of
from xds.check.query_params import Kind, Param
from xds.namespaces import APPROVED

QUERY_ID = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
NAME = "GetDocumentsAndAssociations"
EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")

PARAMS = (
    *(Param(name, kind_of(name), multiple=True) for name in EXACTLY_ONE),
    Param("$XDSAssociationStatus", Kind.STATUS, multiple=True),
    Param("$MetadataLevel", Kind.NUMBER),
)


def run(context: QueryContext, values: dict) -> Answer:
    statuses = frozenset(values.get("$XDSAssociationStatus", (APPROVED,)))
    return context.get_entries(get_documents.criteria(values), association_statuses=statuses)
