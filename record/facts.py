"""From what is stored to the plain facts a decision is taken on."""

from __future__ import annotations

from guard.credentials.caller import Caller
from guard.policy.facts import EntryFacts, RecordFacts, RecordStatus
from record.store import Record
from xds.model import Author, DocumentEntry

_ABSENT = RecordFacts(RecordStatus.ABSENT)


def facts_for(record: Record | None, caller: Caller) -> RecordFacts:
    """What a decision needs of this record for this caller; None stands for "no such record".

    No circle of professionals is kept yet: nobody is barred, everybody counts as authorised, nobody attends.
    """
    if record is None:
        return _ABSENT
    return RecordFacts(
        status=record.status,
        objected_purposes=record.objected_purposes,
        patient_id=record.patient_id,
    )


def entry_facts(entry: DocumentEntry) -> EntryFacts:
    """What a decision needs of this document. Reads damaged authors as far as they go; never raises."""
    return EntryFacts(
        type_code=entry.type_code.key if entry.type_code else "",
        confidentiality=frozenset(code.key for code in entry.confidentiality_codes),
        author_ids=author_ids(entry.authors),
        structure_ids=structure_ids(entry.authors),
        status=entry.status,
    )


def author_ids(authors: list[Author]) -> frozenset[str]:
    """XCN.1 of every authorPerson. Clause: ITI TF-3 4.2.3.1.7 (XCN)"""
    return frozenset(_component(value, 1) for author in authors for value in author.person) - {""}


def structure_ids(authors: list[Author]) -> frozenset[str]:
    """XON.10 of every authorInstitution. Clause: ITI TF-3 4.2.3.1.7 (XON)"""
    return frozenset(_component(value, 10) for author in authors for value in author.institutions) - {""}


def _component(value: str, number: int) -> str:
    """The ``number``-th component, from 1, first sub-component, trimmed; "" when there is none."""
    components = value.split("^", number)
    return components[number - 1].partition("&")[0].strip() if len(components) >= number else ""
