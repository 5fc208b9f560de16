"""GetDocuments. Clause: ITI TF-2 3.18.4.1.2.3.7.5"""

from __future__ import annotations

from guard.policy.facts import Action
from registry.queries import Answer, QueryContext
from registry.store import EntryCriteria
from xds.check.query_params import Kind, Param

QUERY_ID = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
NAME = "GetDocuments"
ACTION = Action.SEARCH_ID
"""Finding the technical id of a document one already names is a right of its own (TD3.1)."""

SELECTORS = {
    "$XDSDocumentEntryEntryUUID": "entry_uuids",
    "$XDSDocumentEntryUniqueId": "unique_ids",
    "$XDSDocumentEntryLogicalID": "logical_ids",
}
EXACTLY_ONE = tuple(SELECTORS)


def kind_of(name: str) -> Kind:
    """A uniqueId is opaque text; the other selectors are UUIDs."""
    return Kind.STRING if name.endswith("UniqueId") else Kind.ID


PARAMS = (
    *(Param(name, kind_of(name), multiple=True) for name in SELECTORS),
    Param("$MetadataLevel", Kind.NUMBER),
)


def criteria(values: dict) -> EntryCriteria:
    """The one identifier parameter given, as criteria; shared by the Get queries that select documents."""
    name = next(n for n in SELECTORS if n in values)
    return EntryCriteria(**{SELECTORS[name]: frozenset(values[name])})


def run(context: QueryContext, values: dict) -> Answer:
    return context.get_entries(criteria(values))
