"""A patient's record and the store it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guard.policy.facts import RecordStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One patient's record. ``patient_id`` is the CX it was opened under; times are UTC ISO 8601."""

    patient_key: int
    patient_id: str
    status: RecordStatus
    opened_at: str
    opened_by: str = ""
    consent: str = ""
    """How consent was given, e.g. ``CONSENTEMENT_OUVERTURE_DMP``"""
    channel: str = ""
    """professional, desk, patient, batch (who opened it)"""
    closed_at: str = ""
    objected_purposes: frozenset[str] = frozenset()
    subsumed_by: int | None = None
    """patient_key of the record this one was merged into; only with status SUBSUMED"""


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

    def absorb(self, subsumed: Record, surviving: Record) -> None:
        """Every object of ``subsumed`` now belongs to ``surviving`` and carries its patient identifier; the access log
        stays where it was written. Both records must be locked."""
        ...

    def merged_into(self, patient_key: int) -> list[Record]:
        """Records that were merged into this one, directly or through others, nearest first."""
        ...
