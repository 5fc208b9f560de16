"""Who does something to a record, by what right, and how it is written down.

Three kinds: a professional, whose rights the policy decides; the patient (or who represents him), who may do what is
his with his own record and nothing with another; the system, which is the operator, the desk and our own jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from guard.audit import access_log
from guard.audit.particulars import NONE, Particulars
from guard.audit.store import AuditStore
from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import same_patient
from guard.policy.facts import Action, Decision, EntryFacts, EntryFilter, RecordFacts, RecordStatus
from record.store import Record, RecordStore

Made = TypeVar("Made")


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
    NO_RIGHT = "the actor has no right to do this"
    BLOCKED = "the patient has barred this professional"
    NOT_AGREED = "the patient's agreement is not stated"
    NOT_IN_CIRCLE = "this one has no place in the circle of the record"
    INVALID_DATA = "administrative data cannot be kept as they are"
    IDENTIFIER_TAKEN = "the identifier belongs to another record"
    DECEASED = "the holder of the record has died"
    NOT_ASKED = "no destruction was asked for, or too long ago"
    WRONG_CONFIRMATION = "the confirmation does not belong to the destruction that was asked for"
    TOO_MANY = "too many patients have these traits"
    TOO_FEW_TRAITS = "the traits given are too few"
    DECLINED = "the patient has refused a record"
    UNKNOWN_DOCUMENT = "there is no such document in this record"
    EXCLUDED = "the document carries a mark that excludes this one"
    WRONG_STATE = "the document is not in a state for this"

    @property
    def dmp_error(self) -> str:
        """The name an answer of the DMP gives it. Only ``DMPAccessDeniedByRightsService`` is attested by a public
        source; the others are ours, formed alike."""
        return _DMP_ERRORS.get(self, "DMP" + "".join(word.capitalize() for word in self.name.split("_")))


_DMP_ERRORS = {
    RecordProblem.NO_RIGHT: "DMPAccessDeniedByRightsService",
    RecordProblem.BLOCKED: "DMPAccessDeniedByRightsService",
    RecordProblem.UNKNOWN: "DMPRecordUnknown",
    RecordProblem.CLOSED: "DMPRecordClosed",
    RecordProblem.ALREADY_OPEN: "DMPRecordAlreadyExists",
    RecordProblem.ALREADY_CLOSED: "DMPRecordAlreadyClosed",
}


class RecordRefused(Exception):
    """An act on a record is refused; nothing was changed. Names no patient, so it may be shown and logged.

    ``clause`` names the rule that decided, "" where the problem says it all.
    """

    def __init__(self, problem: RecordProblem, what_next: str, clause: str = ""):
        self.problem = problem
        self.what_next = what_next
        self.clause = clause
        super().__init__(f"{problem}: {what_next}")


class RecordUnit(Protocol):
    """The part of a registry's write unit that acts on a record need."""

    @property
    def record(self) -> RecordStore: ...

    @property
    def audit(self) -> AuditStore: ...


class RecordDatabase(Protocol):
    def read(self) -> Any: ...

    def write(self) -> Any: ...


class Rights(Protocol):
    """``guard.policy.decision.Policy``, as far as it is asked here."""

    def decide(
        self, caller: Caller, action: Action, record: RecordFacts, entry: EntryFacts | None = None
    ) -> Decision: ...

    def extent(self, caller: Caller, action: Action, record: RecordFacts) -> str: ...

    def visible(self, caller: Caller, action: Action, record: RecordFacts) -> EntryFilter: ...

    def known(self, caller: Caller, record: RecordFacts) -> EntryFilter: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an operator settles about records. Durations in days, but for ``retention_years``."""

    authorisation_days: int = 365
    """How long an authorisation lasts; renewed by declaring it again. Clause: DMP TD0.3"""
    care_team_days: int = 365
    """The same for a member of the care team; 0: no end. Clause: CSP R1111-46"""
    notice_days: int = 42
    """Between the announcement of a record and its opening without a word of the patient"""
    confirm_days: int = 30
    """Within which a destruction that was asked for must be confirmed"""
    retention_years: int = 10
    """A closed record is kept, and can be reopened, for this long. Clause: CSP L1111-18"""
    most_found: int = 10
    """Answers of a search by traits. Clause: DMP TD0.5"""


class ActorKind(StrEnum):
    PROFESSIONAL = "professional"
    PATIENT = "patient"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One who acts, once. Build it with ``professional``, ``patient`` or ``system``.

    ``rights`` None gives nobody but the system a right. ``event`` is the transaction, for the log.
    """

    caller: Caller
    kind: ActorKind
    rights: Rights | None = None
    rules: Rules = Rules()
    patient_id: str = ""
    """CX of the patient who acts; only with kind PATIENT"""
    event: str = "TD1"
    trace_id: str = ""
    peer: str = ""
    told: Particulars = field(default=NONE, repr=False)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def now(self) -> str:
        return access_log.stamp(self.at)

    def later(self, days: int) -> str:
        """So many days from now; "" for 0: never."""
        return access_log.stamp(self.at + timedelta(days=days)) if days else ""


def professional(caller: Caller, rights: Rights, **context: Any) -> Actor:
    """Someone with an accepted credential. ``context`` is any other field of Actor."""
    return Actor(caller=caller, kind=ActorKind.PROFESSIONAL, rights=rights, **context)


def patient(patient_id: str, rights: Rights, *, representative: str = "", **context: Any) -> Actor:
    """The holder of the record, known by our own front door, or his legal representative of that identifier."""
    mode, name = (Mode.REPRESENTATIVE, "Representative") if representative else (Mode.PATIENT, "Patient")
    caller = Caller(identifier=representative or "patient", mode=mode, name=name, patient_id=patient_id)
    return Actor(caller=caller, kind=ActorKind.PATIENT, rights=rights, patient_id=patient_id, **context)


def system(name: str, **context: Any) -> Actor:
    """The operator, a desk, or a job of ours."""
    return Actor(caller=Caller(identifier=name, mode=Mode.NODE), kind=ActorKind.SYSTEM, **context)


def as_actor(by: Actor | Caller) -> Actor:
    """One of our own systems may be given by its Caller; a professional without a policy has no right."""
    if isinstance(by, Actor):
        return by
    is_ours = by.mode is Mode.NODE
    return Actor(caller=by, kind=ActorKind.SYSTEM if is_ours else ActorKind.PROFESSIONAL)


def require(actor: Actor, action: Action, facts: RecordFacts, entry: EntryFacts | None = None) -> None:
    """Raises RecordRefused unless the actor may do this to that record, or to that document of it."""
    if actor.kind is ActorKind.SYSTEM:
        return
    if actor.kind is ActorKind.PATIENT and not same_patient(actor.patient_id, facts.patient_id):
        raise RecordRefused(RecordProblem.NO_RIGHT, "this is not the patient's own record", "assertion-patient")
    if actor.rights is None:
        raise RecordRefused(RecordProblem.NO_RIGHT, "nobody has said what this actor may do", "functional-right")
    decision = actor.rights.decide(actor.caller, action, facts, entry)
    if not decision.allowed:
        problem = RecordProblem.BLOCKED if decision.clause == "patient-block" else RecordProblem.NO_RIGHT
        raise RecordRefused(problem, decision.reason, decision.clause)


def require_system(actor: Actor) -> None:
    """Raises RecordRefused for anybody but the system."""
    if actor.kind is not ActorKind.SYSTEM:
        raise RecordRefused(RecordProblem.NO_RIGHT, "only the operator does this", "functional-right")


def as_open(patient_id: str, *, is_representative: bool = False) -> RecordFacts:
    """What is asked of the policy when the state of the record is weighed elsewhere. Where there is no record nothing
    says that the caller represents the patient."""
    return RecordFacts(RecordStatus.ACTIVE, patient_id=patient_id, is_representative=is_representative)


def locked(unit: RecordUnit, patient_id: str) -> Record:
    """The record as it stands once no other writer is at it. Raises RecordRefused when there is none."""
    found = unit.record.find(patient_id.strip())
    if found is not None:
        unit.record.lock(found.patient_key)
        found = unit.record.get(found.patient_key)
    if found is None or found.status in (RecordStatus.ANNOUNCED, RecordStatus.DESTROYED):
        raise RecordRefused(RecordProblem.UNKNOWN, "check the identifier, or open a record")
    if found.status is RecordStatus.SUBSUMED:
        raise RecordRefused(RecordProblem.SUBSUMED, "use the identifier it was merged into; a merge is not undone")
    if found.status is RecordStatus.DECLINED:
        raise RecordRefused(RecordProblem.DECLINED, "open one with the patient's consent, if he has changed his mind")
    return found


def active(unit: RecordUnit, patient_id: str) -> Record:
    """``locked``, and open."""
    found = locked(unit, patient_id)
    if found.status is not RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.CLOSED, "reopen it with a new consent", "record-open")
    return found


def log(
    unit: RecordUnit, actor: Actor, record: Record, action: str, detail: str = "", documents: tuple[str, ...] = ()
) -> None:
    """The line of an act, in the transaction of the act. ``detail`` holds no trait of the patient."""
    unit.audit.append(
        access_log.record_act(
            actor.caller, trace_id=actor.trace_id, event=actor.event, action=action, patient_key=record.patient_key,
            patient_id=record.patient_id, detail=detail, documents=documents, peer=actor.peer, at=actor.now,
            particulars=actor.told,
        )
    )


def log_system(unit: RecordUnit, actor: Actor, action: str, detail: str = "") -> None:
    """The line of an act that is about no single record."""
    unit.audit.append(
        access_log.system_act(
            actor.caller, trace_id=actor.trace_id, event=actor.event, action=action, detail=detail, peer=actor.peer,
            at=actor.now, particulars=actor.told,
        )
    )


def log_refusal(
    unit: RecordUnit, actor: Actor, action: str, patient_id: str, refusal: RecordRefused,
    documents: tuple[str, ...] = (),
) -> None:
    """The line of an act that was refused. ``patient_id`` may name nobody we know."""
    record = unit.record.find(patient_id) if patient_id else None
    unit.audit.append(
        access_log.refusal(
            actor.caller, trace_id=actor.trace_id, event=actor.event, action=action, peer=actor.peer, at=actor.now,
            patient_key=record.patient_key if record else None, patient_id=patient_id, reason=str(refusal),
            clause=refusal.clause or refusal.problem.dmp_error, documents=documents, particulars=actor.told,
        )
    )


def carried_out(
    database: RecordDatabase, actor: Actor, action: str, patient_id: str, act: Callable[[Any], Made],
    documents: tuple[str, ...] = (),
) -> Made:
    """Run ``act`` in one write unit. If it is refused, nothing of it stays, and a line of its own says so.

    ``documents`` are the uniqueIds it was about. Raises RecordRefused again.
    """
    try:
        with database.write() as unit:
            return act(unit)
    except RecordRefused as refusal:
        with database.write() as unit:
            log_refusal(unit, actor, action, patient_id, refusal, documents)
        raise


def with_mark(record: Record, purpose: str, *, is_set: bool) -> Record:
    """The record with one of its objections set or lifted."""
    purposes = record.objected_purposes | {purpose} if is_set else record.objected_purposes - {purpose}
    return replace(record, objected_purposes=frozenset(purposes))
