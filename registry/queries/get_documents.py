"""GetDocuments. Clause: ITI TF-2 3.18.4.1.2.3.7.5"""

from __future__ import annotations

from guard.policy.facts import Action
from registry.queries import LEVEL, Answer, QueryContext, identifier_params, identifiers, is_current
from registry.store import EntryCriteria

QUERY_ID = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
NAME = "GetDocuments"
ACTION = Action.SEARCH_ID
"""Finding the technical id of a document one already names is a right of its own (TD3.1)."""

EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId", "$XDSDocumentEntryLogicalID")
PARAMS = (*identifier_params(EXACTLY_ONE, multiple=True), LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    for view in context.of_owners(**named):
        view.add_entries(EntryCriteria(**named, is_current=is_current(values)))
    return context.answer
