"""What a patient does with his own record: open and close it, say who may see it, object, read its log, end it.

Done by the holder, by who represents him, or by someone at his request where the policy gives that right. What he does
with single documents is in ``record.documents``.

Clause: CSP L1111-14 and following; DMP TD1.3b, TD1.6
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from guard.audit.store import AccessLine
from guard.credentials.caller import Caller
from guard.policy.facts import Action
from record import traces
from record.actor import (
    Actor,
    RecordProblem,
    RecordRefused,
    RecordUnit,
    active,
    as_actor,
    locked,
    log,
    require,
    with_mark,
)
from record.circle import AUTHORISED, WITHDRAWN, place_of
from record.documents import Shelf, hidden_names
from record.facts import CARE_TEAM, CONSENT_BASIS, facts_for
from record.store import Kind, Place, Record

BLOCKED, UNBLOCKED = "professional blocked", "professional unblocked"
OBJECTED, NOT_OBJECTED = "objection made", "objection lifted"
SHOWN_IN_EMERGENCY, NOT_SHOWN_IN_EMERGENCY = "masked documents shown in emergency", "masked documents kept in emergency"
LOG_READ = "log read"
OBJECTIONS = {
    "OPPOSITION_BRIS_DE_GLACE": "bris_de_glace", "OPPOSITION_ACCES_URGENCE": "centre_15",
    "OPPOSITION_EQUIPE_DE_SOINS": CARE_TEAM,
}
"""Name on the wire -> purpose; the last is ours. Clause: DMP TD1.3b; CSP L1111-17 I, R1111-46"""


def allow(
    unit: RecordUnit, patient_id: str, subject: str, *, by: Actor | Caller, kind: Kind = Kind.PERSON, name: str = "",
    days: int | None = None,
) -> Place:
    """Authorise a professional (PS_IdNat) or a structure (Struct_IdNat). May be repeated; a block stays.

    ``days`` is how long, 0 without end; default: the operator's rule. Raises RecordRefused.
    """

    def authorised(found: Place, actor: Actor) -> Place:
        return replace(
            found, basis=CONSENT_BASIS, since=found.since if found.is_valid(actor.now) else actor.now,
            name=name or found.name, until=actor.later(actor.rules.authorisation_days if days is None else days),
        )

    return _in_circle(unit, patient_id, kind, subject, by, Action.AUTHORISE, AUTHORISED, authorised)


def disallow(
    unit: RecordUnit, patient_id: str, subject: str, *, by: Actor | Caller, kind: Kind = Kind.PERSON
) -> Place:
    """Take an authorisation back, the place of attending physician with it. Raises RecordRefused."""

    def withdrawn(found: Place, actor: Actor) -> Place:
        if not found.since:
            raise RecordRefused(RecordProblem.NOT_IN_CIRCLE, "nothing to take back")
        return replace(found, basis="", until=actor.now, attending_since="")

    return _in_circle(unit, patient_id, kind, subject, by, Action.AUTHORISE, WITHDRAWN, withdrawn)


def block(
    unit: RecordUnit, patient_id: str, subject: str, *, by: Actor | Caller, kind: Kind = Kind.PERSON, name: str = ""
) -> Place:
    """Bar a professional, or a whole structure: no access in any way, emergency included. May be repeated.

    Also one who was never in the circle. The attending physician may do it at the patient's request.
    Raises RecordRefused. Clause: DMP TD0.2 note 1
    """

    def barred(found: Place, actor: Actor) -> Place:
        return replace(found, blocked_since=found.blocked_since or actor.now, name=name or found.name)

    return _in_circle(unit, patient_id, kind, subject, by, Action.BLOCK, BLOCKED, barred)


def unblock(
    unit: RecordUnit, patient_id: str, subject: str, *, by: Actor | Caller, kind: Kind = Kind.PERSON
) -> Place:
    """Lift a bar: what was there before counts again, as far as it has not run out. Raises RecordRefused."""

    def free(found: Place, actor: Actor) -> Place:
        if not found.blocked_since:
            raise RecordRefused(RecordProblem.NOT_IN_CIRCLE, "this one is not barred")
        return replace(found, blocked_since="")

    return _in_circle(unit, patient_id, kind, subject, by, Action.UNBLOCK, UNBLOCKED, free)


def object_to(unit: RecordUnit, patient_id: str, purpose: str, *, by: Actor | Caller) -> Record:
    """Object to break-glass, to the emergency call centre, or to the care team being deemed authorised.

    ``purpose`` is a name or a value of OBJECTIONS. Raises RecordRefused. Clause: CSP L1111-17 I
    """
    return _set_objection(unit, patient_id, purpose, by, is_set=True)


def lift_objection(unit: RecordUnit, patient_id: str, purpose: str, *, by: Actor | Caller) -> Record:
    """Take an objection back. Raises RecordRefused."""
    return _set_objection(unit, patient_id, purpose, by, is_set=False)


def show_masked_in_emergency(unit: RecordUnit, patient_id: str, *, by: Actor | Caller, is_shown: bool) -> Record:
    """Let emergency accesses read what is masked, or not. Raises RecordRefused. Clause: R526, value ``pat``"""
    actor = as_actor(by)
    record = replace(_for_act(unit, actor, Action.OBJECT, patient_id), shows_masked=is_shown)
    unit.record.update(record)
    log(unit, actor, record, SHOWN_IN_EMERGENCY if is_shown else NOT_SHOWN_IN_EMERGENCY)
    return record


def read_log(unit: RecordUnit, patient_id: str, *, by: Actor | Caller, shelf: Shelf) -> list[AccessLine]:
    """The lines this actor may see, those of identifiers merged into the record too, oldest first; of a closed record
    as well.

    Reading it is itself a line, for the next reader. Raises RecordRefused. Clause: arrêté du 26/10/2023
    """
    actor = as_actor(by)
    record = locked(unit, patient_id)
    facts = facts_for(unit.record, record, actor.caller, actor.at)
    require(actor, Action.READ_LOG, facts)
    eyes = traces.reader_of(actor.caller, facts, hidden_names(unit, record, actor.caller, shelf))
    return traces.read(
        unit, record, eyes, by=actor.caller, event=actor.event, trace_id=actor.trace_id, peer=actor.peer, at=actor.at,
        particulars=actor.told,
    )


def _set_objection(
    unit: RecordUnit, patient_id: str, purpose: str, by: Actor | Caller, *, is_set: bool
) -> Record:
    actor = as_actor(by)
    purpose = OBJECTIONS.get(purpose, purpose)
    if purpose not in OBJECTIONS.values():
        raise RecordRefused(RecordProblem.INVALID_DATA, f"give one of {', '.join(OBJECTIONS)}")
    record = with_mark(_for_act(unit, actor, Action.OBJECT, patient_id), purpose, is_set=is_set)
    unit.record.update(record)
    log(unit, actor, record, OBJECTED if is_set else NOT_OBJECTED, purpose)
    return record


def _in_circle(
    unit: RecordUnit, patient_id: str, kind: Kind, subject: str, by: Actor | Caller, action: Action, logged: str,
    moved: Callable[[Place, Actor], Place],
) -> Place:
    """Change the place of one professional or structure, with its line."""
    actor = as_actor(by)
    record = _for_act(unit, actor, action, patient_id)
    place = replace(moved(place_of(unit, record, kind, _named(subject)), actor), last_act_at=actor.now)
    unit.record.set_place(place)
    log(unit, actor, record, logged, f"{kind} {place.subject}" + (f", {place.basis}" if logged == AUTHORISED else ""))
    return place


def _for_act(unit: RecordUnit, actor: Actor, action: Action, patient_id: str) -> Record:
    record = active(unit, patient_id)
    require(actor, action, facts_for(unit.record, record, actor.caller, actor.at))
    return record


def _named(subject: str) -> str:
    """Raises RecordRefused for what can be no national identifier."""
    subject = subject.strip()
    if not subject or len(subject) > 100 or not subject.isprintable():
        raise RecordRefused(RecordProblem.INVALID_DATA, "give the national identifier of the professional or structure")
    return subject
