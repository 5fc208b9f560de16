"""GetFolderAndContents: a Folder, its documents as far as they pass the criteria, and their memberships.

Clause: ITI TF-2 3.18.4.1.2.3.7.11
"""

from __future__ import annotations

from dataclasses import replace

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
from registry.store import FolderCriteria
from xds.namespaces import HAS_MEMBER

QUERY_ID = "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7"
NAME = "GetFolderAndContents"
EXACTLY_ONE = ("$XDSFolderEntryUUID", "$XDSFolderUniqueId")
PARAMS = (
    *identifier_params(EXACTLY_ONE, multiple=False),
    *find_documents.CONTENT_PARAMS,
    ASSOCIATION_STATUS,
    LEVEL,
)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    for view in context.of_owners(**named):
        folders = view.folders(FolderCriteria(**named, is_current=is_current(values)))
        view.add(folders)
        own = {folder.entry_uuid for folder in folders}
        links = [a for a in view.associations(own, association_statuses(values), frozenset({HAS_MEMBER}))
                 if a.source in own]
        members = frozenset(link.target for link in links)
        shown = set(view.add_entries(replace(find_documents.criteria(values), entry_uuids=members)))
        view.add(link for link in links if link.target in shown)
    return context.answer
