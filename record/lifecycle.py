"""Opening, closing and reopening a patient's record. Each act and its access-log line are one unit of the store.

Clause: DMP TD1.1, TD1.2, TD1.4; CSP L1111-18; CI-SIS Structuration minimale 3.5.5.12 (INS)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from guard.audit import access_log
from guard.audit.store import AuditStore
from guard.credentials.caller import Caller
from guard.policy.facts import RecordStatus
from record.store import Record, RecordStore
from xds import ins

OPENING_CONSENT = "CONSENTEMENT_OUVERTURE_DMP"
REOPENING_CONSENT = "CONSENTEMENT_REACTIVATION_DMP"
CLOSED_AT_PATIENTS_REQUEST = "FERMETURE_DEMANDE_PATIENT"
CHANNELS = ("professional", "desk", "patient", "batch")
USE_SURVIVOR = "use the identifier it was merged into; a merge is not undone"
RETENTION_YEARS = 10
"""A closed record can be reopened for this long. Clause: CSP L1111-18"""


class RecordProblem(StrEnum):
    """Why an act on a record is refused; the value says it in words."""

    INVALID_IDENTIFIER = "the patient identifier is not valid"
    FOREIGN_AUTHORITY = "the assigning authority of the identifier is not one of this domain"
    CONSENT_MISSING = "the patient's consent is missing"
    REASON_MISSING = "the reason for closing is missing"
    UNKNOWN_CHANNEL = "the channel of opening is not known"
    UNKNOWN = "there is no record for this patient"
    ALREADY_OPEN = "the record is already open"
    ALREADY_CLOSED = "the record is already closed"
    CLOSED = "the record exists and is closed"
    RETENTION_ENDED = "the record was closed too long ago to be reopened"
    SUBSUMED = "the identifier was merged into another"
    SAME_IDENTIFIER = "an identifier cannot be merged into itself"
    NOT_ACTIVE = "the identifier is not an active one of this domain"


class RecordRefused(Exception):
    """An act on a record is refused; nothing was changed. Names no patient, so it may be shown and logged."""

    def __init__(self, problem: RecordProblem, what_next: str):
        self.problem = problem
        self.what_next = what_next
        super().__init__(f"{problem}: {what_next}")


class RecordUnit(Protocol):
    """The part of a registry's write unit that these acts need."""

    @property
    def record(self) -> RecordStore: ...

    @property
    def audit(self) -> AuditStore: ...


def open_record(
    unit: RecordUnit, patient_id: str, *, by: Caller, consent: str, channel: str = "professional",
    authorities: frozenset[str] = frozenset(), objected_purposes: frozenset[str] = frozenset(), check_key: bool = True,
    trace_id: str = "", peer: str = "", at: datetime | None = None,
) -> Record:
    """Open a record with the patient's consent. ``patient_id`` is a CX, ``at`` an aware time (default: now).

    ``authorities`` are the OIDs of the domain; empty means any. ``check_key`` False takes an INS whose key does not
    match, as fictive patients often have. Raises RecordRefused.
    Clause: DMP TD1.1, EX_1.1-1010
    """
    patient_id = checked_identifier(patient_id, authorities, check_key=check_key)
    _require_consent(consent)
    if channel not in CHANNELS:
        raise RecordRefused(RecordProblem.UNKNOWN_CHANNEL, f"give one of {', '.join(CHANNELS)}")
    found = unit.record.find(patient_id)
    if found is not None:
        raise _exists(found)
    moment = access_log.stamp(at or datetime.now(UTC))
    try:
        record = unit.record.add(
            Record(
                patient_key=0, patient_id=patient_id, status=RecordStatus.ACTIVE, opened_at=moment,
                opened_by=by.identifier, consent=consent.strip(), channel=channel, objected_purposes=objected_purposes,
            )
        )
    except KeyError as taken:
        raise RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is") from taken
    _log(unit, record, by, access_log.RECORD_OPENED, detail=f"{consent.strip()}, {channel}", trace_id=trace_id,
         peer=peer, at=moment)
    return record


def close_record(
    unit: RecordUnit, patient_id: str, *, by: Caller, reason: str, trace_id: str = "", peer: str = "",
    at: datetime | None = None,
) -> Record:
    """Close a record: it stays stored, and nothing of it is read or written any more. Raises RecordRefused.

    Clause: DMP TD1.4, CSP L1111-18
    """
    if not reason.strip():
        raise RecordRefused(
            RecordProblem.REASON_MISSING, f"give the reason, for instance {CLOSED_AT_PATIENTS_REQUEST} and some words"
        )
    record = _locked(unit, patient_id)
    if record.status is not RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.ALREADY_CLOSED, "nothing to do; reopen it with a new consent if need be")
    moment = access_log.stamp(at or datetime.now(UTC))
    record = replace(record, status=RecordStatus.CLOSED, closed_at=moment)
    unit.record.update(record)
    _log(unit, record, by, access_log.RECORD_CLOSED, detail=reason.strip(), trace_id=trace_id, peer=peer, at=moment)
    return record


def reopen_record(
    unit: RecordUnit, patient_id: str, *, by: Caller, consent: str, trace_id: str = "", peer: str = "",
    at: datetime | None = None,
) -> Record:
    """Reopen a closed record with a new consent, within the ten years of its keeping. Raises RecordRefused.

    Clause: DMP TD1.2, EX_1.2-1030
    """
    _require_consent(consent)
    record = _locked(unit, patient_id)
    if record.status is RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is")
    moment = at or datetime.now(UTC)
    if _retention_ended(record.closed_at, moment):
        raise RecordRefused(RecordProblem.RETENTION_ENDED, f"a closed record is kept for {RETENTION_YEARS} years")
    record = replace(record, status=RecordStatus.ACTIVE, closed_at="", consent=consent.strip())
    unit.record.update(record)
    _log(unit, record, by, access_log.RECORD_REOPENED, detail=consent.strip(), trace_id=trace_id, peer=peer,
         at=access_log.stamp(moment))
    return record


def checked_identifier(
    patient_id: str, authorities: frozenset[str] = frozenset(), *, check_key: bool = True
) -> str:
    """The CX, trimmed, once its form, its authority and, for an INS, its key are right. Raises RecordRefused.

    NIR and NIA (test and demonstration ones included): 13 characters and a key of two digits. INS-C: 22 digits.
    Other authorities: any identifier that is not empty.
    """
    patient_id = patient_id.strip()
    parts = patient_id.split("^")
    number = parts[0]
    authority = parts[3].split("&") if len(parts) > 3 else []
    oid = authority[1].strip() if len(authority) > 1 else ""
    if not number or number != number.strip() or not oid or not patient_id.isprintable() or len(patient_id) > 256:
        raise RecordRefused(
            RecordProblem.INVALID_IDENTIFIER,
            "write it as identifier^^^&OID of its authority&ISO, with ^type behind it where the domain has types",
        )
    if authorities and oid not in authorities:
        raise RecordRefused(RecordProblem.FOREIGN_AUTHORITY, f"use one of {', '.join(sorted(authorities))}")
    if not check_key:
        return patient_id
    if oid == ins.INS_C:
        if not (len(number) == 22 and number.isascii() and number.isdigit()):
            raise RecordRefused(RecordProblem.INVALID_IDENTIFIER, "an INS-C has 22 digits")
    elif oid in ins.AUTHORITIES and not ins.is_valid(number):
        raise RecordRefused(
            RecordProblem.INVALID_IDENTIFIER, "an INS has 13 characters and a matching key of 2 digits; read it again"
        )
    return patient_id


def _require_consent(consent: str) -> None:
    if not consent.strip():
        raise RecordRefused(RecordProblem.CONSENT_MISSING, "ask the patient, and say how the consent was given")


def _exists(record: Record) -> RecordRefused:
    if record.status is RecordStatus.ACTIVE:
        return RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is")
    if record.status is RecordStatus.SUBSUMED:
        return RecordRefused(RecordProblem.SUBSUMED, USE_SURVIVOR)
    return RecordRefused(RecordProblem.CLOSED, "reopen it with a new consent")


def _locked(unit: RecordUnit, patient_id: str) -> Record:
    """The record as it stands once no other writer is at it."""
    found = unit.record.find(patient_id.strip())
    if found is not None:
        unit.record.lock(found.patient_key)
        found = unit.record.get(found.patient_key)
    if found is None:
        raise RecordRefused(RecordProblem.UNKNOWN, "check the identifier, or open a record")
    if found.status is RecordStatus.SUBSUMED:
        raise RecordRefused(RecordProblem.SUBSUMED, USE_SURVIVOR)
    return found


def _retention_ended(closed_at: str, moment: datetime) -> bool:
    closed = datetime.fromisoformat(closed_at.replace("Z", "+00:00"))
    year = closed.year + RETENTION_YEARS
    leap_day = closed.month == 2 and closed.day == 29
    return moment >= (closed.replace(year=year, month=3, day=1) if leap_day else closed.replace(year=year))


def _log(
    unit: RecordUnit, record: Record, by: Caller, action: str, *, detail: str, trace_id: str, peer: str, at: str
) -> None:
    unit.audit.append(
        access_log.record_act(
            by, trace_id=trace_id, event="TD1", action=action, patient_key=record.patient_key,
            patient_id=record.patient_id, detail=detail, peer=peer, at=at,
        )
    )
