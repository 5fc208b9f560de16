"""GetRelatedDocuments: the documents one step away from a document, the relations, and the document itself.

Only associations between two documents relate; nothing related, nothing answered. Where the other document does not
pass the type criterion the association goes with it; where the document itself does not, the association stays.
Clause: ITI TF-2 3.18.4.1.2.3.7.13
"""

from __future__ import annotations

from registry.queries import (
    ASSOCIATION_STATUS,
    LEVEL,
    Answer,
    QueryContext,
    association_statuses,
    find_documents,
    identifier_params,
    identifiers,
    is_current,
)
from registry.store import EntryCriteria
from xds.check.query_params import Kind, Param
from xds.namespaces import STABLE

QUERY_ID = "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"
NAME = "GetRelatedDocuments"
EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")
TYPES = "$AssociationTypes"
PARAMS = (
    *identifier_params(EXACTLY_ONE, multiple=False),
    Param(TYPES, Kind.STRING, required=True, multiple=True),
    Param(find_documents.TYPE, Kind.OBJECT_TYPE, multiple=True),
    ASSOCIATION_STATUS,
    LEVEL,
)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    current = is_current(values)
    types = frozenset(values.get(find_documents.TYPE) or (STABLE,))
    for view in context.of_owners(**named):
        initial = set(view.entry_uuids(EntryCriteria(**named, is_current=current)))
        links = view.associations(initial, association_statuses(values), frozenset(values[TYPES]))
        ends = frozenset(end for a in links for end in (a.source, a.target))
        documents = set(view.entry_uuids(EntryCriteria(entry_uuids=ends)))
        wanted = EntryCriteria(entry_uuids=ends & documents, object_types=types, is_current=current)
        shown = set(view.entry_uuids(wanted))
        links = [
            a for a in links
            if {a.source, a.target} <= documents and ({a.source, a.target} - initial or {a.source, a.target}) & shown
        ]
        related = frozenset(end for a in links for end in (a.source, a.target))
        view.add_entries(EntryCriteria(entry_uuids=related & shown))
        view.add(links)
    return context.answer
