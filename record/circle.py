"""The circle of a record: who may open it, who may not, who attends. By the professional himself, or for him.

What the patient does to his circle is in ``record.acts``. A block is stronger than everything, emergency included.

Clause: DMP TD0.3, TD0.4, TD1.6; CSP R1111-46
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordFacts, RecordStatus
from record.actor import (
    Actor,
    ActorKind,
    RecordProblem,
    RecordRefused,
    RecordUnit,
    active,
    as_actor,
    as_open,
    log,
    require,
)
from record.facts import CARE_TEAM, CARE_TEAM_BASIS, CONSENT_BASIS, counts, facts_for
from record.store import Kind, Openable, Place, Record

AUTHORISED, WITHDRAWN = "authorisation given", "authorisation withdrawn"
ATTENDING, NOT_ATTENDING = "attending physician", "no more attending physician"
CIRCLE_LISTED, RECORDS_LISTED = "circle listed", "records listed"
ALREADY_PRESENT = "already present"


class Listed(StrEnum):
    """Which places a list names. Clause: DMP TD1.6 (mode)"""

    ACTIVE = "ACTIVE"
    BLOCKED = "INTERDITE"
    ALL = "TOUTE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A declaration was accepted. ``already_present``: he was authorised before; the end has moved all the same."""

    place: Place
    already_present: bool


def declare_authorised(
    unit: RecordUnit, patient_id: str, *, by: Actor | Caller, agreed: bool, is_attending: bool = False,
    care_team: bool = False,
) -> Declared:
    """The professional says that the patient agrees, and may open the record from now on. May be repeated.

    Never by itself: ``agreed`` is what the professional states of this patient, or with ``care_team`` that the patient
    was informed and does not object. A staff card or a structure declares its structure. ``is_attending`` makes a
    physician the attending one, too. Raises RecordRefused. Clause: DMP TD0.3 (AJOUT), EX_0.3-1010; CSP R1111-46
    """
    actor = as_actor(by)
    record = active(unit, patient_id)
    facts = facts_for(unit.record, record, actor.caller, actor.at)
    require(actor, Action.ATTEND if is_attending else Action.DECLARE, facts)
    if not agreed:
        raise RecordRefused(RecordProblem.NOT_AGREED, "ask the patient, and state that he agrees")
    if care_team and CARE_TEAM in record.objected_purposes:
        raise RecordRefused(RecordProblem.NOT_AGREED, "the patient objects to access by the care team: ask for consent")
    kind, subject = _own_place(actor, facts)
    found = place_of(unit, record, kind, subject)
    if care_team and kind is Kind.STRUCTURE:
        raise RecordRefused(RecordProblem.NOT_AGREED, "a care team is of professionals: a structure needs the consent")
    was_present = counts(found, record, actor.now)
    is_kept = was_present and (care_team or found.basis != CARE_TEAM_BASIS)
    basis = found.basis if is_kept else CARE_TEAM_BASIS if care_team else CONSENT_BASIS
    days = actor.rules.care_team_days if basis == CARE_TEAM_BASIS else actor.rules.authorisation_days
    place = replace(
        found, basis=basis, since=found.since if was_present else actor.now, until=actor.later(days),
        last_act_at=actor.now, name=_name(actor.caller, kind) or found.name,
        specialty=_specialty(actor.caller, kind) or found.specialty,
        attending_since=(found.attending_since or actor.now) if is_attending else found.attending_since,
    )
    unit.record.set_place(place)
    log(unit, actor, record, AUTHORISED, f"{kind} {subject}, {basis}{', ' + ALREADY_PRESENT if was_present else ''}")
    if is_attending and not found.attending_since:
        log(unit, actor, record, ATTENDING)
    return Declared(place=place, already_present=was_present)


def withdraw(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> Place:
    """The professional gives up his own authorisation, and attends no more. May be repeated.

    A staff card or a structure cannot (R526). Raises RecordRefused. Clause: DMP TD0.3 (SUPPRESSION)
    """
    actor = as_actor(by)
    record = active(unit, patient_id)
    facts = facts_for(unit.record, record, actor.caller, actor.at)
    require(actor, Action.WITHDRAW, facts)
    found = place_of(unit, record, Kind.PERSON, actor.caller.identifier)
    place = replace(found, basis="", until=actor.now, attending_since="", last_act_at=actor.now)
    if found.basis or found.attending_since:
        unit.record.set_place(place)
        log(unit, actor, record, WITHDRAWN, f"{Kind.PERSON} {found.subject}")
    return place


def stop_attending(unit: RecordUnit, patient_id: str, *, by: Actor | Caller) -> Place:
    """The attending physician attends no more; he stays authorised. Raises RecordRefused. Clause: DMP TD0.3"""
    actor = as_actor(by)
    record = active(unit, patient_id)
    require(actor, Action.STOP_ATTENDING, facts_for(unit.record, record, actor.caller, actor.at))
    place = replace(place_of(unit, record, Kind.PERSON, actor.caller.identifier), attending_since="",
                    last_act_at=actor.now)
    unit.record.set_place(place)
    log(unit, actor, record, NOT_ATTENDING)
    return place


def list_circle(
    unit: RecordUnit, patient_id: str, *, by: Actor | Caller, which: Listed = Listed.ACTIVE
) -> list[Place]:
    """Those who are authorised now, those who are barred, or both. Raises RecordRefused. Clause: DMP TD1.6"""
    actor = as_actor(by)
    record = active(unit, patient_id)
    require(actor, Action.LIST_CIRCLE, facts_for(unit.record, record, actor.caller, actor.at))
    log(unit, actor, record, CIRCLE_LISTED, which.value)
    chosen = []
    for place in unit.record.places(record.patient_key):
        is_blocked = bool(place.blocked_since)
        is_active = counts(place, record, actor.now) and not is_blocked
        if (is_active and which is not Listed.BLOCKED) or (is_blocked and which is not Listed.ACTIVE):
            chosen.append(place)
    return chosen


def list_records(
    unit: RecordUnit, *, by: Actor | Caller, since: str = "", by_document: bool = False
) -> list[Openable]:
    """The records the caller may open: by his own authorisation or by that of his structure.

    ``since`` (UTC, ISO 8601) keeps what is newer: authorisations (LASTAUTORIZATION), or with ``by_document`` last
    documents (LASTDOC). Where the policy gives a structure only new authorisations, ``since`` must be given and counts
    by authorisation. Raises RecordRefused. Clause: DMP TD0.4
    """
    actor = as_actor(by)
    caller = actor.caller
    require(actor, Action.LIST_RECORDS, as_open(""))
    extent = actor.rights.extent(caller, Action.LIST_RECORDS, as_open("")) if actor.rights else "Y"
    if extent == "new":
        if not since:
            raise RecordRefused(RecordProblem.NO_RIGHT, "a structure is told of new authorisations only: give a date")
        by_document = False
    at = actor.now
    subjects = [(Kind.STRUCTURE, caller.structure_id)]
    if extent == "Y":
        subjects.insert(0, (Kind.PERSON, caller.identifier))
    found: dict[int, Openable] = {}
    for kind, subject in subjects:
        if not subject:
            continue
        for one in unit.record.openable(
            kind, subject, at=at, since=since, by_document=by_document, person=caller.identifier
        ):
            facts = facts_for(unit.record, one.record, caller, actor.at)
            if not facts.is_authorised or facts.is_blocked or one.record.patient_key in found:
                continue
            seen = _as_seen(unit, actor, one, facts)
            if not by_document or seen.last_document_at >= since:
                found[one.record.patient_key] = seen
    for one in found.values():
        log(unit, actor, one.record, RECORDS_LISTED)
    return [found[key] for key in sorted(found)]


def _as_seen(unit: RecordUnit, actor: Actor, one: Openable, facts: RecordFacts) -> Openable:
    """The date of the last document tells nothing of what is hidden from the caller."""
    if actor.rights is None:
        return one
    visible = actor.rights.visible(actor.caller, Action.SEARCH, facts)
    return replace(one, last_document_at=unit.record.last_document_at(one.record.patient_key, visible))


def place_of(unit: RecordUnit, record: Record, kind: Kind, subject: str) -> Place:
    """What is known of this one in the circle; an empty place when nothing is."""
    person, structure = (subject, "") if kind is Kind.PERSON else ("", subject)
    found = unit.record.places_of(record.patient_key, person, structure)
    return found[0] if found else Place(patient_key=record.patient_key, kind=kind, subject=subject)


def _own_place(actor: Actor, facts: RecordFacts) -> tuple[Kind, str]:
    """The person's own place, or that of his structure where the rights say so. Raises RecordRefused."""
    if actor.kind is not ActorKind.PROFESSIONAL or actor.rights is None:
        raise RecordRefused(RecordProblem.NO_RIGHT, "only a professional declares himself", "functional-right")
    is_own = actor.rights.extent(actor.caller, Action.DECLARE, replace(facts, status=RecordStatus.ACTIVE)) != "str"
    kind, subject = (
        (Kind.PERSON, actor.caller.identifier) if is_own else (Kind.STRUCTURE, actor.caller.structure_id)
    )
    if not subject:
        raise RecordRefused(RecordProblem.NO_RIGHT, "the credential names no structure", "functional-right")
    return kind, subject


def _name(caller: Caller, kind: Kind) -> str:
    return caller.name if kind is Kind.PERSON else caller.structure_name


def _specialty(caller: Caller, kind: Kind) -> str:
    code = caller.specialty or caller.profession
    return code.key if code and kind is Kind.PERSON else ""
