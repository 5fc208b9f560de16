"""GetFoldersForDocument: the Folders that hold a document. Clause: ITI TF-2 3.18.4.1.2.3.7.12"""

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
from registry.store import EntryCriteria, FolderCriteria
from xds.namespaces import HAS_MEMBER

QUERY_ID = "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578"
NAME = "GetFoldersForDocument"
EXACTLY_ONE = ("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")
PARAMS = (*identifier_params(EXACTLY_ONE, multiple=False), ASSOCIATION_STATUS, LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    current = is_current(values)
    for view in context.of_owners(**named):
        documents = view.entry_uuids(EntryCriteria(**named, is_current=current))
        links = view.associations(documents, association_statuses(values), frozenset({HAS_MEMBER}))
        view.add(view.folders(FolderCriteria(entry_uuids=frozenset(a.source for a in links), is_current=current)))
    return context.answer
