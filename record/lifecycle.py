"""The life of a patient's record: does it exist, opening, announcing, closing, reopening, the holder's death.

Each act asks for the right, and writes its line in the access log in the same unit. What ends a record for good is in
``record.destruction``, what the patient is called in ``record.identity`` and ``record.personal``.

Clause: DMP TD0.2, TD1.1, TD1.2, TD1.4; CSP L1111-18; CI-SIS Structuration minimale 3.5.5.12 (INS)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from guard.audit import access_log
from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordStatus
from record.actor import (
    Actor,
    RecordProblem,
    RecordRefused,
    RecordUnit,
    Rules,
    as_actor,
    as_open,
    locked,
    log,
    require,
    require_system,
)
from record.administrative import AdministrativeData
from record.facts import access_status, facts_for, places_of, represents
from record.personal import checked_traits
from record.store import Record
from xds import ins

OPENING_CONSENT = "CONSENTEMENT_OUVERTURE_DMP"
REOPENING_CONSENT = "CONSENTEMENT_REACTIVATION_DMP"
CLOSED_AT_PATIENTS_REQUEST = "FERMETURE_DEMANDE_PATIENT"
CLOSED_BY_DEATH = "FERMETURE_DECES"
"""Ours: the DMP's own code for it is not public."""
CHANNELS = ("professional", "desk", "patient", "batch")
USE_SURVIVOR = "use the identifier it was merged into; a merge is not undone"
EXISTENCE_TESTED = "existence tested"
ANNOUNCED, DECLINED = "record announced", "record declined"
_NOT_OPENED = (RecordStatus.ANNOUNCED, RecordStatus.DECLINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Existence:
    """Answer of the existence test. ``authorisation`` is VALIDE, EXPIRE, INTERDIT or NON_EXISTE.

    ``patient_ids`` are all identifiers of the person. The traits are for the one who asked by identity, not to be
    shown (RG_0320).
    """

    record: Record
    patient_ids: tuple[str, ...]
    authorisation: str
    is_attending: bool
    traits: AdministrativeData


def find_existence(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> Existence | None:
    """Is there a record, in which state, and may the one who asks open it? None: there is none.

    A blocked professional is told that he is. Raises RecordRefused. Clause: DMP TD0.2
    """
    actor = as_actor(by)
    record = unit.record.find(patient_id)
    named = represents(unit.record, record, actor.caller)
    require(actor, Action.EXISTS, as_open(patient_id, is_representative=named))
    if record is None or record.status not in (RecordStatus.ACTIVE, RecordStatus.CLOSED):
        return None
    places = places_of(unit.record, record, actor.caller)
    log(unit, actor, record, EXISTENCE_TESTED)
    return Existence(
        record=record, patient_ids=unit.record.identifiers(record.patient_key),
        authorisation=access_status(record, places, actor.now), traits=unit.record.traits(record.patient_key),
        is_attending=any(one.attending_since for one in places),
    )


def open_record(
    unit: RecordUnit, patient_id: str, *, by: Actor | Caller, consent: str, channel: str = "professional",
    authorities: frozenset[str] = frozenset(), objected_purposes: frozenset[str] = frozenset(),
    shows_masked: bool = False, traits: AdministrativeData | None = None, check_key: bool = True,
) -> Record:
    """Open a record with the patient's consent. ``patient_id`` is a CX.

    ``authorities`` are the OIDs of the domain; empty means any. ``check_key`` False takes an INS whose key does not
    match, as fictive patients often have. A record that was announced, or declined, is opened by this at once.
    Raises RecordRefused.
    Clause: DMP TD1.1, EX_1.1-1010, EX_1.1-1050
    """
    actor = as_actor(by)
    patient_id = checked_identifier(patient_id, authorities, check_key=check_key)
    found = unit.record.find(patient_id)
    named = represents(unit.record, found, actor.caller)
    require(actor, Action.OPEN, as_open(patient_id, is_representative=named))
    _require_consent(consent)
    if channel not in CHANNELS:
        raise RecordRefused(RecordProblem.UNKNOWN_CHANNEL, f"give one of {', '.join(CHANNELS)}")
    record = Record(
        patient_key=0, patient_id=patient_id, status=RecordStatus.ACTIVE, opened_at=actor.now,
        opened_by=actor.caller.identifier, consent=consent.strip(), channel=channel,
        objected_purposes=objected_purposes, shows_masked=shows_masked,
    )
    if found is None:
        record = _added(unit, record)
    elif found.status in _NOT_OPENED:
        unit.record.lock(found.patient_key)
        current = unit.record.get(found.patient_key)
        if current is None or current.status not in _NOT_OPENED:
            raise _exists(current or found)  # opened by another meanwhile
        record = replace(record, patient_key=found.patient_key, patient_id=found.patient_id)
        unit.record.update(record)
    else:
        raise _exists(found)
    if traits is not None:
        unit.record.set_traits(record.patient_key, checked_traits(traits, actor))
    log(unit, actor, record, access_log.RECORD_OPENED, f"{consent.strip()}, {channel}")
    return record


def announce(
    unit: RecordUnit, patient_id: str, *, by: Actor | Caller, authorities: frozenset[str] = frozenset(),
    traits: AdministrativeData | None = None, check_key: bool = True,
) -> Record:
    """A record will be opened when the notice ends, unless the patient says no. Nothing is in it until then.

    A patient who has declined is not asked again. Raises RecordRefused.
    Clause: DMP, automatic creation (loi OTSS); the length of the notice is the operator's
    """
    actor = as_actor(by)
    require_system(actor)
    patient_id = checked_identifier(patient_id, authorities, check_key=check_key)
    found = unit.record.find(patient_id)
    if found is not None:
        raise _exists(found)
    record = _added(unit, Record(
        patient_key=0, patient_id=patient_id, status=RecordStatus.ANNOUNCED, channel="batch",
        opened_at=actor.later(actor.rules.notice_days) or actor.now, opened_by=actor.caller.identifier,
    ))
    if traits is not None:
        unit.record.set_traits(record.patient_key, checked_traits(traits, actor))
    log(unit, actor, record, ANNOUNCED, f"opens {record.opened_at}")
    return record


def decline(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> Record:
    """The patient wants no record: an announced one is not opened, and none is announced again.

    Raises RecordRefused.
    """
    actor = as_actor(by)
    found = unit.record.find(patient_id)
    named = represents(unit.record, found, actor.caller)
    require(actor, Action.CLOSE, as_open(patient_id, is_representative=named))
    if found is None or found.status is not RecordStatus.ANNOUNCED:
        raise RecordRefused(RecordProblem.UNKNOWN, "no record is announced for this patient")
    unit.record.lock(found.patient_key)
    current = unit.record.get(found.patient_key)
    if current is None or current.status is not RecordStatus.ANNOUNCED:
        raise RecordRefused(RecordProblem.UNKNOWN, "no record is announced for this patient")  # opened meanwhile
    record = replace(current, status=RecordStatus.DECLINED)
    unit.record.update(record)
    log(unit, actor, record, DECLINED)
    return record


def open_announced(unit: RecordUnit, *, by: Actor | Caller) -> list[Record]:
    """Open every announced record whose notice has ended. May be repeated."""
    actor = as_actor(by)
    require_system(actor)
    opened = []
    for found in unit.record.announced(actor.now):
        unit.record.lock(found.patient_key)
        current = unit.record.get(found.patient_key)
        if current is None or current.status is not RecordStatus.ANNOUNCED:
            continue  # declined meanwhile
        record = replace(current, status=RecordStatus.ACTIVE, opened_at=actor.now, consent="no objection")
        unit.record.update(record)
        log(unit, actor, record, access_log.RECORD_OPENED, "no objection within the notice, batch")
        opened.append(record)
    return opened


def close_record(
    unit: RecordUnit, patient_id: str, *, by: Actor | Caller, reason: str, code: str = "",
) -> Record:
    """Close a record: it stays stored, and nothing of it is read or written any more. Raises RecordRefused.

    ``code`` is the reason of the DMP, e.g. ``FERMETURE_DEMANDE_PATIENT``; ``reason`` says it in words.
    Clause: DMP TD1.4, CSP L1111-18
    """
    actor = as_actor(by)
    if not reason.strip():
        raise RecordRefused(
            RecordProblem.REASON_MISSING, f"give the reason, for instance {CLOSED_AT_PATIENTS_REQUEST} and some words"
        )
    record = locked(unit, patient_id)
    _require(unit, actor, Action.CLOSE, record)
    if record.status is not RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.ALREADY_CLOSED, "nothing to do; reopen it with a new consent if need be")
    because = f"{code} {reason.strip()}".strip()
    record = replace(record, status=RecordStatus.CLOSED, closed_at=actor.now, closed_because=because)
    unit.record.update(record)
    log(unit, actor, record, access_log.RECORD_CLOSED, reason.strip())
    return record


def reopen_record(unit: RecordUnit, patient_id: str, *, by: Actor | Caller, consent: str) -> Record:
    """Reopen a closed record with a new consent, within the years of its keeping: everything is there again.

    A destruction that was asked for is off. Raises RecordRefused. Clause: DMP TD1.2, EX_1.2-1030
    """
    actor = as_actor(by)
    _require_consent(consent)
    record = locked(unit, patient_id)
    _require(unit, actor, Action.REOPEN, record)
    if record.status is RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is")
    if record.deceased_on:
        raise RecordRefused(RecordProblem.DECEASED, "a record is not reopened after the death of its holder")
    if retention_ended(record.closed_at, actor.at, actor.rules):
        years = actor.rules.retention_years
        raise RecordRefused(RecordProblem.RETENTION_ENDED, f"a closed record is kept for {years} years")
    record = replace(record, status=RecordStatus.ACTIVE, closed_at="", closed_because="", consent=consent.strip(),
                     destruction_token="", destruction_asked_at="")
    unit.record.update(record)
    log(unit, actor, record, access_log.RECORD_REOPENED, consent.strip())
    return record


def holder_died(unit: RecordUnit, patient_id: str, *, by: Actor | Caller, on: date) -> Record:
    """The holder has died: the record is closed, kept as long as any closed one, and never reopened.

    Heirs who have a right to know ask the operator: no service gives it. Raises RecordRefused. Clause: CSP L1111-18
    """
    actor = as_actor(by)
    require_system(actor)
    if on > actor.at.date():
        raise RecordRefused(RecordProblem.INVALID_DATA, "the day of death lies in the future")
    record = locked(unit, patient_id)
    record = replace(record, deceased_on=on.isoformat())
    if record.status is RecordStatus.ACTIVE:
        record = replace(record, status=RecordStatus.CLOSED, closed_at=actor.now, closed_because=CLOSED_BY_DEATH)
    unit.record.update(record)
    log(unit, actor, record, access_log.RECORD_CLOSED, CLOSED_BY_DEATH)
    return record


def retention_ended(closed_at: str, moment: datetime, rules: Rules) -> bool:
    """A record closed on a leap day is kept to the end of February."""
    closed = datetime.fromisoformat(closed_at.replace("Z", "+00:00"))
    year = closed.year + rules.retention_years
    leap_day = closed.month == 2 and closed.day == 29
    return moment >= (closed.replace(year=year, month=3, day=1) if leap_day else closed.replace(year=year))


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


def _require(unit: RecordUnit, actor: Actor, action: Action, record: Record) -> None:
    """The right of this caller towards this patient; the state of the record is weighed by the act."""
    facts = facts_for(unit.record, record, actor.caller, actor.at)
    require(actor, action, replace(facts, status=RecordStatus.ACTIVE))


def _require_consent(consent: str) -> None:
    if not consent.strip():
        raise RecordRefused(RecordProblem.CONSENT_MISSING, "ask the patient, and say how the consent was given")


def _added(unit: RecordUnit, record: Record) -> Record:
    try:
        return unit.record.add(record)
    except KeyError as taken:
        raise RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is") from taken


def _exists(record: Record) -> RecordRefused:
    match record.status:
        case RecordStatus.ACTIVE:
            return RecordRefused(RecordProblem.ALREADY_OPEN, "use it as it is")
        case RecordStatus.SUBSUMED:
            return RecordRefused(RecordProblem.SUBSUMED, USE_SURVIVOR)
        case RecordStatus.ANNOUNCED:
            return RecordRefused(RecordProblem.ALREADY_OPEN, "it is announced and opens when the notice ends")
        case RecordStatus.DECLINED:
            return RecordRefused(RecordProblem.DECLINED, "the patient wants no record")
    return RecordRefused(RecordProblem.CLOSED, "reopen it with a new consent")
