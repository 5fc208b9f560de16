"""The plain facts a decision is taken on. Pure values: no XML, no SQL, no clock.

``record`` and the transactions build them from what they hold; nothing here knows where they came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What is asked for. The names follow the TD catalogue and the ITI numbers they ride on."""

    FEED = "TD2.1 feed"
    SEARCH = "TD3.1 search"
    SEARCH_ID = "TD3.1 search a document's technical id"
    READ = "TD3.2 read"
    ADMINISTER = "TD1.x administer the record"
    MASK = "TD3.3a mask a document from professionals"
    UNMASK = "TD3.3a unmask a document"
    REVEAL = "TD3.3b make a document visible to the patient or his representatives"
    DELETE = "TD3.3c delete a document"
    ARCHIVE = "TD3.3d archive or unarchive a document"
    AMEND = "ITI-57 change other metadata"
    MOVE = "ITI-57 move a document to another patient"
    REMOVE = "ITI-62, ITI-86 remove for good"


class RecordStatus(StrEnum):
    """ACTIVE and CLOSED are the wire's ``active`` and ``terminated``; ABSENT means no such record; SUBSUMED one whose
    identifier was merged into another: nothing is in it any more, and nothing is put into it."""

    ACTIVE = "active"
    CLOSED = "terminated"
    SUBSUMED = "subsumed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """One patient's record as far as a decision needs it."""

    status: RecordStatus
    is_blocked: bool = False
    """The patient bars this caller. Stronger than everything."""
    is_authorised: bool = True
    is_attending: bool = False
    """The caller is the attending physician (médecin traitant) of this record."""
    objected_purposes: frozenset[str] = frozenset()
    """Purposes the patient objected to: ``bris_de_glace``, ``centre_15``."""
    patient_id: str = ""
    """CX of the record's patient: an assertion that names a patient opens no other record."""
    shows_masked_in_emergency: bool = False
    """The patient lets emergency accesses read what he masked (R526, value ``pat``)."""


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """One DocumentEntry as far as a decision needs it."""

    type_code: str
    """``code^^scheme``"""
    confidentiality: frozenset[str] = frozenset()
    """``code^^scheme`` of every confidentiality code"""
    author_ids: frozenset[str] = frozenset()
    """National identifiers of the authors (XCN.1 of each authorPerson)"""
    structure_ids: frozenset[str] = frozenset()
    status: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and why. ``clause`` names the rule that decided; ``reason`` is for the log, in words."""

    allowed: bool
    reason: str
    clause: str


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """The same rules as ``decide(READ or SEARCH)`` in a form a store can apply to rows.

    An entry passes when (its type is readable AND it carries none of ``hidden_by``)
    OR it is authored by ``author_id``. ``types`` None means every type; an empty set means none.
    ``excluded_types`` always hide, the author's own included.
    """

    types: frozenset[str] | None = None
    excluded_types: frozenset[str] = frozenset()
    hidden_by: frozenset[str] = frozenset()
    author_id: str = ""
    deny_all: bool = False

    def passes(self, entry: EntryFacts) -> bool:
        """Pure-Python twin of the store's filter; a property test holds them together."""
        if self.deny_all or entry.type_code in self.excluded_types:
            return False
        if self.author_id and self.author_id in entry.author_ids:
            return True
        if self.types is not None and entry.type_code not in self.types:
            return False
        return not (self.hidden_by & entry.confidentiality)


EVERYTHING = EntryFilter()
NOTHING = EntryFilter(deny_all=True)
