"""Who the patient is: administrative data, further identifiers, search by traits.

Nothing of it reaches the access log: a line says that data were read or changed, and which fields, never their values.

Clause: DMP TD0.5, TD1.3a, TD1.3b
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from guard.audit import access_log
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordStatus
from record.actor import (
    Actor,
    RecordProblem,
    RecordRefused,
    RecordUnit,
    active,
    as_actor,
    as_open,
    log,
    require,
    require_system,
)
from record.administrative import AdministrativeData, faults
from record.facts import facts_for
from record.store import Record

DATA_READ, DATA_CHANGED = "administrative data read", "administrative data changed"
IDENTIFIER_ADDED = "identifier added"
SEARCHED = "patient searched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """Administrative data of one record, with what belongs to them."""

    record: Record
    patient_ids: tuple[str, ...]
    traits: AdministrativeData


def read_data(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> Personal:
    """Administrative data, identifiers and objections. Raises RecordRefused. Clause: DMP TD1.3a"""
    actor = as_actor(by)
    record = active(unit, patient_id)
    require(actor, Action.READ_DATA, facts_for(unit.record, record, actor.caller, actor.at))
    log(unit, actor, record, DATA_READ)
    return _personal(unit, record)


def change_data(unit: RecordUnit, patient_id: str, traits: AdministrativeData, *, by: Actor | Caller) -> Personal:
    """Replace the administrative data. Objections are set by ``record.acts``. Raises RecordRefused.

    Clause: DMP TD1.3b
    """
    actor = as_actor(by)
    record = active(unit, patient_id)
    require(actor, Action.CHANGE_DATA, facts_for(unit.record, record, actor.caller, actor.at))
    before, after = asdict(unit.record.traits(record.patient_key)), asdict(checked_traits(traits, actor))
    unit.record.set_traits(record.patient_key, traits)
    changed = [name for name in after if after[name] != before[name]]
    log(unit, actor, record, DATA_CHANGED, ", ".join(changed))
    return _personal(unit, record)


def add_identifier(unit: RecordUnit, patient_id: str, further: str, *, by: Actor | Caller) -> Personal:
    """The same person is known by another identifier too; both lead to this record from now on.

    ``further`` is a CX whose form and authority were checked. Raises RecordRefused. Clause: DMP TD0.2 (INS-C, INS-NIR)
    """
    actor = as_actor(by)
    require_system(actor)
    record = active(unit, patient_id)
    try:
        unit.record.add_identifier(record.patient_key, further)
    except KeyError as taken:
        raise RecordRefused(
            RecordProblem.IDENTIFIER_TAKEN, "merge the two records if they are of one person"
        ) from taken
    log(unit, actor, record, IDENTIFIER_ADDED)
    return _personal(unit, record)


def find_by_traits(unit: RecordUnit, wanted: AdministrativeData, *, by: Actor | Caller) -> list[Personal]:
    """Open records whose traits agree with those given: in regulation mode, ten at most.

    A name may be given in part; case, accents and hyphens do not count. More than ten is a refusal, not a part of
    the answer: somebody else's traits are nobody's business. A patient who objects to emergency access, or who bars
    the caller, is not found. Each record found gets its line. Raises RecordRefused. Clause: DMP TD0.5
    """
    actor = as_actor(by)
    require(actor, Action.SEARCH_PATIENTS, as_open(actor.patient_id))
    if found := faults(wanted, actor.at.date()):
        raise RecordRefused(RecordProblem.INVALID_DATA, f"correct: {', '.join(found)}")
    if not (wanted.birth_name.strip() or wanted.used_name.strip()):
        raise RecordRefused(RecordProblem.TOO_FEW_TRAITS, "give at least the beginning of the name")
    asked = wanted if wanted.birth_name.strip() else replace(wanted, birth_name=wanted.used_name)
    records = unit.record.by_traits(asked, actor.rules.most_found + 1)
    if len(records) > actor.rules.most_found:
        raise RecordRefused(RecordProblem.TOO_MANY, f"more than {actor.rules.most_found}: give more traits")
    answer = []
    for record in records:
        try:
            require(actor, Action.SEARCH_PATIENTS, facts_for(unit.record, record, actor.caller, actor.at))
        except RecordRefused:
            continue
        log(unit, actor, record, SEARCHED)
        answer.append(_personal(unit, record))
    if not answer:
        unit.audit.append(_nothing_found(actor))
    return answer


def checked_traits(traits: AdministrativeData, actor: Actor) -> AdministrativeData:
    """The data, when every field can be kept. Raises RecordRefused naming fields, never values."""
    if found := faults(traits, actor.at.date()):
        raise RecordRefused(RecordProblem.INVALID_DATA, f"correct: {', '.join(found)}")
    return traits


def _personal(unit: RecordUnit, record: Record) -> Personal:
    return Personal(
        record=record, patient_ids=unit.record.identifiers(record.patient_key),
        traits=unit.record.traits(record.patient_key) if record.status is RecordStatus.ACTIVE else AdministrativeData(),
    )


def _nothing_found(actor: Actor) -> AccessLine:
    return access_log.query(
        actor.caller, trace_id=actor.trace_id, event=actor.event, query="by traits", patient_key=None, patient_id="",
        results=0, peer=actor.peer, at=actor.now, particulars=actor.told,
    )
