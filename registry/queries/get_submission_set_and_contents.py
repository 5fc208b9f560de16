"""GetSubmissionSetAndContents: a set, its documents and folders, and the associations it holds.

A document that does not pass the criteria takes with it whatever leads to it. An end that lies outside the set, as the
Folder into which the registry carried over a replacement, does not.
Clause: ITI TF-2 3.18.4.1.2.3.7.10
"""

from __future__ import annotations

from dataclasses import replace

from registry.queries import LEVEL, Answer, QueryContext, find_documents, identifier_params, identifiers, is_current
from registry.store import FolderCriteria, SetCriteria
from xds.namespaces import APPROVED, HAS_MEMBER

QUERY_ID = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
NAME = "GetSubmissionSetAndContents"
EXACTLY_ONE = ("$XDSSubmissionSetEntryUUID", "$XDSSubmissionSetUniqueId")
PARAMS = (*identifier_params(EXACTLY_ONE, multiple=False), *find_documents.CONTENT_PARAMS, LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    named = identifiers(values, EXACTLY_ONE)
    current = is_current(values)
    statuses = frozenset({APPROVED}) if current else None
    for view in context.of_owners(**named):
        sets = view.submission_sets(SetCriteria(**named))
        view.add(sets)
        shown = {one.entry_uuid for one in sets}
        links = [a for a in view.associations(shown, statuses, frozenset({HAS_MEMBER})) if a.source in shown]
        members = frozenset(link.target for link in links)
        shown |= set(view.add_entries(replace(find_documents.criteria(values), entry_uuids=members)))
        folders = view.folders(FolderCriteria(entry_uuids=members, is_current=current))
        view.add(folders)
        shown |= {folder.entry_uuid for folder in folders}
        inner = view.associations_named(members, statuses)
        dropped = members - shown - {a.entry_uuid for a in inner}
        inner = [a for a in inner if dropped.isdisjoint((a.source, a.target))]
        shown |= {a.entry_uuid for a in inner}
        view.add([*(link for link in links if link.target in shown), *inner])
    return context.answer
