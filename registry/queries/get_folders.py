"""GetFolders. Clause: ITI TF-2 3.18.4.1.2.3.7.6"""

from __future__ import annotations

from registry.queries import LEVEL, Answer, QueryContext, identifier_params, identifiers, is_current
from registry.store import FolderCriteria

QUERY_ID = "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4"
NAME = "GetFolders"
EXACTLY_ONE = ("$XDSFolderEntryUUID", "$XDSFolderUniqueId", "$XDSFolderLogicalID")
PARAMS = (*identifier_params(EXACTLY_ONE, multiple=True), LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    for view in context.of_owners(**named):
        view.add(view.folders(FolderCriteria(**named, is_current=is_current(values))))
    return context.answer
