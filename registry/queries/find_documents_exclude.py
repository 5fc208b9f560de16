"""FindDocumentsExclude: FindDocuments, and what its documents must not have.

An excluding parameter is the one it is named after with ``Exclude`` at its end, and cannot stand beside it. A document
is left out when it would satisfy the plain parameter; one without the attribute stays.
Tolerated: $XDSDocumentEntryTypeExclude makes every other object type wanted, because stable documents alone, the
default of FindDocuments, would leave it nothing to exclude.

Clause: ITI TF-2 3.18.4.1.2.3.7.15 (CP-ITI-1323, a change proposal that is not final)
"""

from __future__ import annotations

from dataclasses import replace

from registry.queries import Answer, QueryContext, find_documents
from registry.store import EntryCriteria
from xds.check.query_params import Kind, Param
from xds.namespaces import ON_DEMAND, STABLE

QUERY_ID = "urn:uuid:4308b1df-36de-4bef-8e2e-ba91f593c435"
NAME = "FindDocumentsExclude"
PATIENT = find_documents.PATIENT

PLAIN = (
    *find_documents.PARAMS,
    Param("$XDSDocumentEntryReferenceIdList", Kind.STRING, multiple=True, and_slots=True),
)
EXCLUDE = {
    name: f"{name}Exclude"
    for name in (*find_documents.CODES, *find_documents.VALUE_LISTS, find_documents.TYPE, find_documents.AUTHOR)
}
NOT_TOGETHER = tuple(EXCLUDE.items())
PARAMS = (*PLAIN, *(replace(param, name=EXCLUDE[param.name]) for param in PLAIN if param.name in EXCLUDE))


def criteria(values: dict) -> EntryCriteria:
    """The plain parameters, and the excluding ones as criteria an entry must not meet."""
    excluded = {name: values[exclude] for name, exclude in EXCLUDE.items() if exclude in values}
    wanted = find_documents.criteria(values)
    unwanted = find_documents.criteria(excluded)
    if find_documents.TYPE in excluded:
        return replace(wanted, object_types=frozenset({STABLE, ON_DEMAND}), without=unwanted)
    return replace(wanted, without=replace(unwanted, object_types=None))


def run(context: QueryContext, values: dict) -> Answer:
    for view in context.of_patient(values[PATIENT]):
        view.add_entries(criteria(values))
    return context.answer
