"""The plain facts a decision is taken on. Pure values: no XML, no SQL, no clock.

``record`` and the transactions build them from what they hold; nothing here knows where they came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What is asked for. The names follow the TD catalogue and the ITI numbers they ride on; acts without either are
    the patient's own, done through our commands or his pages."""

    EXISTS = "TD0.2 test the existence of a record"
    DECLARE = "TD0.3 declare oneself authorised"
    WITHDRAW = "TD0.3 withdraw one's own authorisation"
    ATTEND = "TD0.3 become the attending physician"
    STOP_ATTENDING = "TD0.3 stop being the attending physician"
    LIST_RECORDS = "TD0.4 list the records one may open"
    SEARCH_PATIENTS = "TD0.5 search a record without INS"
    BROWSE = "TD0.9 open the pages for professionals"
    OPEN = "TD1.1 open a record"
    REOPEN = "TD1.2 reopen a record"
    READ_DATA = "TD1.3a read administrative data"
    CHANGE_DATA = "TD1.3b change administrative data"
    CLOSE = "TD1.4 close a record"
    ACCOUNT = "TD1.5 open or renew the patient's account"
    LIST_CIRCLE = "TD1.6 list authorised and blocked professionals"
    AUTHORISE = "authorise a professional or withdraw it"
    BLOCK = "block a professional"
    UNBLOCK = "unblock a professional"
    OBJECT = "object to emergency access or allow it"
    READ_LOG = "read the access log"
    BE_TOLD = "be told of new documents"
    ASK_DESTRUCTION = "ask that a record be destroyed"
    DESTROY = "destroy a record"
    FEED = "TD2.1 feed"
    SEARCH = "TD3.1 search"
    SEARCH_ID = "TD3.1 search a document's technical id"
    READ = "TD3.2 read"
    MASK = "TD3.3a mask a document from professionals"
    UNMASK = "TD3.3a unmask a document"
    REVEAL = "TD3.3b make a document visible to the patient"
    SHOW = "TD3.3b make a document visible to the legal representatives"
    HIDE = "TD3.3b make a document invisible to the legal representatives"
    DELETE = "TD3.3c delete a document"
    ARCHIVE = "TD3.3d archive or unarchive a document"
    AMEND = "ITI-57 change other metadata"
    MOVE = "ITI-57 move a document to another patient"
    REMOVE = "ITI-62, ITI-86 remove for good"


class RecordStatus(StrEnum):
    """ACTIVE and CLOSED are the wire's ``active`` and ``terminated``; ABSENT means no such record; SUBSUMED one whose
    identifier was merged into another: nothing is in it any more, and nothing is put into it. ANNOUNCED will be opened
    when its notice ends, DECLINED will not; DESTROYED is empty for good."""

    ACTIVE = "active"
    CLOSED = "terminated"
    SUBSUMED = "subsumed"
    ANNOUNCED = "announced"
    DECLINED = "declined"
    DESTROYED = "destroyed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Minors:
    """The server parameters about minors. Ages in years. Clause: DMP EX_GEN-1550, EX_0.1-1115"""

    managed: bool = True
    """``fonctions-gestion-mineurs``; without it there is no secret connection"""
    majority: int = 18
    secret_from: int = 0
    """Youngest patient for whom a secret connection is taken"""


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """One patient's record as far as a decision needs it."""

    status: RecordStatus
    is_blocked: bool = False
    """The patient bars this caller. Stronger than everything."""
    is_authorised: bool = True
    """An authorisation of the caller or his structure that has not run out, or his place in the care team."""
    is_attending: bool = False
    """The caller is the attending physician (médecin traitant) of this record."""
    is_representative: bool = False
    """The record names the caller as legal representative: without it nobody acts as one."""
    is_attached: bool = False
    """To Mon espace santé: administrative data are then changed there only (R526, note 10)."""
    objected_purposes: frozenset[str] = frozenset()
    """Purposes the patient objected to: ``bris_de_glace``, ``centre_15``."""
    patient_id: str = ""
    """CX of the record's patient: an assertion that names a patient opens no other record."""
    age: int | None = None
    """Of the patient, in years, where it is known and asked for: under a secret connection only."""
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
    """Of the authors (XON.10 of each authorInstitution)"""
    status: str = ""
    """availabilityStatus, the whole URN"""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, and why. ``clause`` names the rule that decided; ``reason`` is for the log, in words."""

    allowed: bool
    reason: str
    clause: str


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """The same rules as ``decide`` for SEARCH, SEARCH_ID or READ in a form a store can apply to rows.

    An entry passes when its type is not among ``excluded_types``, and it is authored by ``author_id``, or written in
    ``structure_id``, or (its type is among ``types``, its status among ``statuses`` and it carries none of
    ``hidden_by``). ``types`` and ``statuses`` None mean all; an empty set means none.
    """

    types: frozenset[str] | None = None
    excluded_types: frozenset[str] = frozenset()
    hidden_by: frozenset[str] = frozenset()
    author_id: str = ""
    structure_id: str = ""
    statuses: frozenset[str] | None = None
    deny_all: bool = False

    def passes(self, entry: EntryFacts) -> bool:
        """Pure-Python twin of the store's filter; a property test holds them together."""
        if self.deny_all or entry.type_code in self.excluded_types:
            return False
        if self.author_id and self.author_id in entry.author_ids:
            return True
        if self.structure_id and self.structure_id in entry.structure_ids:
            return True
        if self.types is not None and entry.type_code not in self.types:
            return False
        if self.statuses is not None and entry.status not in self.statuses:
            return False
        return self.hidden_by.isdisjoint(entry.confidentiality)


EVERYTHING = EntryFilter()
NOTHING = EntryFilter(deny_all=True)
