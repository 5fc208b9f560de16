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

EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId", "$XDSDocumentEntryLogicalID")


def kind_of(name: str) -> Kind:
    """A uniqueId is opaque text; the other selectors are UUIDs."""
    return Kind.STRING if name.endswith("UniqueId") else Kind.ID


PARAMS = (
    *(Param(name, kind_of(name), multiple=True) for name in EXACTLY_ONE),
    Param("$MetadataLevel", Kind.NUMBER),
)


def criteria(values: dict) -> EntryCriteria:
    """The one identifier parameter given, as criteria; shared by the Get queries that select documents."""
    name = next(n for n in EXACTLY_ONE if n in values)
    wanted = frozenset(values[name])
    if name.endswith("EntryUUID"):
        return EntryCriteria(entry_uuids=wanted)
    return EntryCriteria(unique_ids=wanted) if name.endswith("UniqueId") else EntryCriteria(logical_ids=wanted)


def run(context: QueryContext, values: dict) -> Answer:
    return context.get_entries(criteria(values))
