"""A patient's record, who belongs to its circle, and the store they need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from guard.policy.facts import EntryFilter, RecordStatus
from record.administrative import AdministrativeData


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One patient's record. ``patient_id`` is the CX it was opened under; times are UTC ISO 8601."""

    patient_key: int
    patient_id: str
    status: RecordStatus
    opened_at: str
    """While the record is only announced: when the notice ends"""
    opened_by: str = ""
    consent: str = ""
    """How consent was given, e.g. ``CONSENTEMENT_OUVERTURE_DMP``"""
    channel: str = ""
    """professional, desk, patient, batch (who opened it)"""
    closed_at: str = ""
    closed_because: str = ""
    """Code, a blank, and words, e.g. ``FERMETURE_DEMANDE_PATIENT ...``"""
    objected_purposes: frozenset[str] = frozenset()
    shows_masked: bool = False
    """The patient lets emergency accesses read what he masked (R526, value ``pat``)."""
    is_attached: bool = False
    """To Mon espace santé: administrative data are changed there only (R526, note 10)."""
    deceased_on: str = ""
    """YYYY-MM-DD"""
    destruction_token: str = ""
    """What confirms a destruction that was asked for"""
    destruction_asked_at: str = ""
    subsumed_by: int | None = None
    """patient_key of the record this one was merged into; only with status SUBSUMED"""


class Kind(StrEnum):
    """Who a place in the circle is for."""

    PERSON = "person"
    STRUCTURE = "structure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of one professional, or of one structure, in the circle of one record.

    ``subject`` is PS_IdNat, or Struct_IdNat. Times are UTC ISO 8601, "" for never. A block leaves the rest as it is:
    lifted, it gives back what was there.
    """

    patient_key: int
    kind: Kind
    subject: str
    name: str = ""
    specialty: str = ""
    """``code^^scheme``"""
    basis: str = ""
    """``consent``, ``care team``, or "" for not authorised"""
    since: str = ""
    until: str = ""
    """End of the authorisation; "" with a basis: none"""
    attending_since: str = ""
    blocked_since: str = ""
    last_act_at: str = ""

    def is_valid(self, at: str) -> bool:
        """Authorised at that time, blocks apart."""
        return bool(self.basis) and (not self.until or at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Openable:
    """One line of the list of records a professional may open (TD0.4)."""

    place: Place
    record: Record
    patient_ids: tuple[str, ...]
    traits: AdministrativeData
    last_document_at: str = ""
    last_access_at: str = ""
    """Of this professional himself"""

    @property
    def has_new_documents(self) -> bool:
        return self.last_document_at > self.last_access_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Destruction:
    """Receipt of a destruction. ``completed_at`` is set once every repository has erased its documents."""

    receipt: str
    patient_key: int
    decided_at: str
    documents: int
    completed_at: str = ""
    scrubbed_at: str = ""
    """When what the database had freed was overwritten"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One document a repository has to erase, as far as it came before ``decided_at``. ``sha1`` is lower-case hex.

    What comes later under the same uniqueId belongs to a new record.
    """

    repository_unique_id: str
    unique_id: str
    sha1: str
    decided_at: str = ""


class RecordStore(Protocol):
    """Part of the registry's unit of work."""

    def find(self, patient_id: str) -> Record | None:
        """The record of this identifier (trimmed CX, trailing empty components ignored), None when absent."""
        ...

    def get(self, patient_key: int) -> Record | None: ...

    def lock(self, patient_key: int) -> None:
        """Serialise writers of one patient until the unit ends. May be a no-op where writers are serial anyway."""
        ...

    def add(self, record: Record) -> Record:
        """Insert; ``record.patient_key`` is ignored and the assigned one returned.
        Raises KeyError when the identifier is taken."""
        ...

    def update(self, record: Record) -> None: ...

    def all(self) -> list[Record]: ...

    def closed_before(self, closed_at: str) -> list[Record]:
        """Closed records whose closing lies before that time."""
        ...

    def ended_before(self, closed_at: str) -> list[Record]:
        """Closed and destroyed records whose closing lies before that time."""
        ...

    def absorb(self, subsumed: Record, surviving: Record) -> None:
        """Every object of ``subsumed`` now belongs to ``surviving`` and carries its patient identifier; the access log
        stays where it was written. Both records must be locked."""
        ...

    def merged_into(self, patient_key: int) -> list[Record]:
        """Records that were merged into this one, directly or through others, nearest first."""
        ...

    # -- identity ------------------------------------------------------------------------------------------
    def add_identifier(self, patient_key: int, patient_id: str) -> None:
        """A further identifier of the same person. Raises KeyError when it is taken."""
        ...

    def identifiers(self, patient_key: int) -> tuple[str, ...]:
        """Every identifier of the person, the one the record was opened under first."""
        ...

    def traits(self, patient_key: int) -> AdministrativeData: ...

    def set_traits(self, patient_key: int, traits: AdministrativeData) -> None: ...

    def by_traits(self, wanted: AdministrativeData, limit: int) -> list[Record]:
        """Active records whose given fields agree; a name may be given in part, from its beginning."""
        ...

    # -- circle --------------------------------------------------------------------------------------------
    def places(self, patient_key: int) -> list[Place]:
        """The whole circle, blocked ones included, oldest first."""
        ...

    def places_of(self, patient_key: int, person: str, structure: str) -> list[Place]:
        """That of this person and that of this structure: one look-up by key."""
        ...

    def set_place(self, place: Place) -> None: ...

    def openable(
        self, kind: Kind, subject: str, *, at: str, since: str = "", by_document: bool = False, person: str = ""
    ) -> list[Openable]:
        """Active records in which this one has a valid place and is not blocked.

        ``since`` counts by the start of the authorisation, or by the last document with ``by_document``, whoever may
        see it. ``person`` is whose last access is told.
        """
        ...

    def last_document_at(self, patient_key: int, visible: EntryFilter) -> str:
        """Of the newest submission of which this filter shows something; "" without one."""
        ...

    def announced(self, before: str) -> list[Record]:
        """Records announced by a batch whose notice ended (``opened_at``) before that time."""
        ...

    # -- destruction -----------------------------------------------------------------------------------------
    def destroy(self, record: Record, receipt: str, at: str) -> Destruction:
        """Everything about the patient goes but the access log and a nameless row; what repositories hold is listed
        to be erased. The record must be locked."""
        ...

    def erasures(self, repository_unique_id: str, limit: int) -> list[Erasure]:
        """What this repository has still to erase."""
        ...

    def erased(self, erasures: Iterable[Erasure]) -> None:
        """These are gone from the repository's disk."""
        ...

    def destructions(self, *, completed: bool | None = None) -> list[Destruction]: ...

    def settle_destructions(self, at: str) -> list[Destruction]:
        """Those of which nothing is left to erase are complete from now on; returns them."""
        ...

    def scrubbed(self, receipts: Collection[str], at: str) -> None: ...
