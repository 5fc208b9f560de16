"""GetDocumentsAndAssociations. Clause: ITI TF-2 3.18.4.1.2.3.7.8"""

from __future__ import annotations

from registry.queries import (
    ASSOCIATION_STATUS,
    LEVEL,
    Answer,
    QueryContext,
    association_statuses,
    identifier_params,
    identifiers,
    is_current,
)
from registry.store import EntryCriteria

QUERY_ID = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
NAME = "GetDocumentsAndAssociations"
EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")
PARAMS = (*identifier_params(EXACTLY_ONE, multiple=True), ASSOCIATION_STATUS, LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    for view in context.of_owners(**named):
        found = view.add_entries(EntryCriteria(**named, is_current=is_current(values)))
        view.add(view.associations(found, association_statuses(values)))
    return context.answer
