"""The access log line and the store it needs. No update and no delete verb exists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

from guard.audit.particulars import NONE, Particulars


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLine:
    """One line of the access log: who, as what, where from, when, what, why, and how it ended.

    ``at`` is UTC, ``YYYY-MM-DDThh:mm:ss.mmmZ``. ``event`` is the transaction (``ITI-41``) and
    ``action`` what a patient would call it (``deposit``, ``search``, ``read``, ``refused login``).
    ``outcome`` is ``success`` or ``refused``; ``reason`` and ``clause`` say why. Carries identifiers
    of professionals and documents, never a patient's traits or a document's content.
    """

    at: str
    trace_id: str
    event: str
    action: str
    outcome: str
    patient_key: int | None = None
    patient_id: str = ""
    caller_id: str = ""
    caller_name: str = ""
    role: str = ""
    structure_id: str = ""
    structure_name: str = ""
    mode: str = ""
    purpose: str = ""
    purpose_reason: str = ""
    documents: tuple[str, ...] = field(default=())
    """uniqueId of each document concerned"""
    detail: str = ""
    """query name, number of results, submission set id"""
    reason: str = ""
    clause: str = ""
    peer: str = ""
    """network address of the peer, and the subject of its certificate"""
    assertion_id: str = ""
    is_secret: bool = False
    """Under a secret connection, or hiding a document from the patient's legal representatives: hidden from them, not
    from himself"""
    assertion_sha256: str = ""
    """Of what the caller's assertion said and was signed: the key of its proof, which is kept beside the log"""
    particulars: Particulars = field(default=NONE, repr=False, compare=False)
    """For the audit message alone: kept beside the log, for a time, and in no answer, sentence or copy of the line"""
    assertion: bytes = field(default=b"", repr=False, compare=False)
    """The exact bytes of that assertion, kept once however many lines name it; not part of the line"""


BESIDE = ("particulars", "assertion")
KEPT = tuple(one.name for one in fields(AccessLine) if one.name not in BESIDE)
"""Fields that make a line."""


class AuditStore(Protocol):
    """Append-only. ``append`` takes part in the transaction of the unit it belongs to.

    Lines are chained (``guard.audit.chain``) and written when the unit ends: what keeps a line from being written
    is raised there, and nothing of the unit is then stored.
    """

    def append(self, line: AccessLine, *, replaces: int = 0) -> int:
        """Keep the line, and its audit message for sending; returns the number of the line.

        ``replaces`` is the number of an earlier line of the same exchange and patient that was written before the
        end was known: it stays in the log, and its audit message is not sent, this line's is.
        """
        ...

    def read_for_patient(self, patient_key: int) -> Iterator[AccessLine]:
        """Lines of one patient, oldest first."""
        ...

    def read_latest(self, limit: int) -> Iterator[AccessLine]:
        """The newest ``limit`` lines of every kind, refused logins included, oldest first."""
        ...

    def read_of_caller(self, caller_id: str, *, since: str, until: str, skip: int, limit: int) -> Iterator[AccessLine]:
        """Lines of one professional in any record, oldest first, from ``since`` on and before ``until`` ("": no bound),
        without the first ``skip``; ``limit`` 0: all."""
        ...
