"""The end of a record: destruction in two steps with a receipt, and the end of keeping.

In one transaction the registry forgets everything about the patient but the access log, and lists what repositories
hold. Each repository asks for its list, erases, and says so (``registry/erasures.py``): after a crash it asks again.
When nothing is left on the list the destruction is complete.

Clause: CSP L1111-18; DMP TD1.4; EX_AIR-100 (traces)
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordStatus
from record.actor import (
    Actor,
    RecordProblem,
    RecordRefused,
    RecordUnit,
    as_actor,
    locked,
    log,
    require,
    require_system,
)
from record.facts import facts_for
from record.lifecycle import open_announced, retention_ended
from record.store import Destruction, Record

ASKED, DESTROYED, DESTRUCTION_COMPLETE = "destruction asked", "record destroyed", "destruction complete"


@dataclass(slots=True)
class Retained:
    """What one run of the job did. The traces of the destroyed are due too: ``record.traces`` destroys those."""

    opened: list[Record] = field(default_factory=list)
    destroyed: list[Destruction] = field(default_factory=list)
    completed: list[Destruction] = field(default_factory=list)


def ask_destruction(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> str:
    """First step: nothing happens yet. Returns the token that confirms it, to be given to the patient alone.

    A second request replaces the first. Raises RecordRefused.
    """
    actor = as_actor(by)
    record = locked(unit, patient_id)
    require(actor, Action.ASK_DESTRUCTION, facts_for(unit.record, record, actor.caller, actor.at))
    token = secrets.token_urlsafe(12)
    unit.record.update(replace(record, destruction_token=token, destruction_asked_at=actor.now))
    log(unit, actor, record, ASKED)
    return token


def confirm_destruction(unit: RecordUnit, patient_id: str, token: str, *, by: Actor | Caller) -> Destruction:
    """Second step: the record is gone when the unit ends, and nothing brings it back. Returns the receipt.

    Raises RecordRefused.
    """
    actor = as_actor(by)
    record = locked(unit, patient_id)
    require(actor, Action.DESTROY, facts_for(unit.record, record, actor.caller, actor.at))
    if not record.destruction_token or _age(record.destruction_asked_at, actor.at) > timedelta(
        days=actor.rules.confirm_days
    ):
        raise RecordRefused(RecordProblem.NOT_ASKED, "ask for the destruction first")
    if not hmac.compare_digest(record.destruction_token.encode(), token.strip().encode()):
        raise RecordRefused(RecordProblem.WRONG_CONFIRMATION, "give the token that was handed out last")
    return _destroy(unit, actor, record)


def retain(unit: RecordUnit, *, by: Actor | Caller) -> Retained:
    """The job of every day: open what was announced, destroy what was kept long enough, settle what was erased.

    May be repeated at any time. Clause: CSP L1111-18
    """
    actor = as_actor(by)
    require_system(actor)
    done = Retained(opened=open_announced(unit, by=actor))
    for found in unit.record.closed_before(actor.now):
        if not retention_ended(found.closed_at, actor.at, actor.rules):
            continue
        unit.record.lock(found.patient_key)
        record = unit.record.get(found.patient_key)
        if record is not None and record.status is RecordStatus.CLOSED:
            done.destroyed.append(_destroy(unit, actor, record))
    done.completed = settle(unit, by=actor)
    return done


def settle(unit: RecordUnit, *, by: Actor | Caller) -> list[Destruction]:
    """Destructions of which nothing is left to erase; each gets its last line."""
    actor = as_actor(by)
    done = unit.record.settle_destructions(actor.now)
    for one in done:
        record = unit.record.get(one.patient_key)
        if record is not None:
            log(unit, actor, record, DESTRUCTION_COMPLETE, f"receipt {one.receipt}, {one.documents} documents")
    return done


def _destroy(unit: RecordUnit, actor: Actor, record: Record) -> Destruction:
    made = unit.record.destroy(record, secrets.token_hex(8).upper(), actor.now)
    log(unit, actor, record, DESTROYED, f"receipt {made.receipt}, {made.documents} documents")
    return made


def _age(asked_at: str, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(asked_at.replace("Z", "+00:00"))
