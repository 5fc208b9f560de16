"""Who may open a record, row by row of the DMP's functions, on every engine."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guard.credentials.caller import Caller, Mode
from guard.policy.facts import Action, RecordFacts
from record import acts, circle, lifecycle, personal
from record.actor import RecordProblem, Rules
from record.administrative import AdministrativeData
from record.circle import Listed
from record.facts import CARE_TEAM, facts_for
from record.store import Kind
from storage import SqlRegistryDatabase
from tests.contract import store_objects as make
from tests.contract.test_record_life import (
    DAY,
    NURSE,
    OTHER,
    PHYSICIAN,
    POLICY,
    PROFESSIONS,
    STAFF,
    TRAITS,
    by,
    holder,
    opened,
    operator,
    refused,
    run,
)
from xds.model import Code

STRANGER = replace(PHYSICIAN, identifier="899700000034", structure_id="10B2")
OCCUPATIONAL = replace(PHYSICIAN, identifier="899700000075", specialty=Code("G15_10/SM25", "1.2.250.1.213.1.1.4.5"))


def facts(registry: SqlRegistryDatabase, caller: Caller, days: int = 0, patient_id: str = make.PATIENT) -> RecordFacts:
    with registry.read() as unit:
        record = unit.record.find(patient_id)
        return facts_for(unit.record, record, caller, DAY + timedelta(days=days))


def reads(registry: SqlRegistryDatabase, caller: Caller, days: int = 0) -> bool:
    return POLICY.decide(caller, Action.READ, facts(registry, caller, days)).allowed


def declare(registry: SqlRegistryDatabase, actor: Any = None, **named: Any) -> circle.Declared:
    done = run(registry, circle.declare_authorised, make.PATIENT, by=actor or by(), **{"agreed": True} | named)
    assert isinstance(done, circle.Declared)
    return done


def test_declaring_oneself_authorised(registry: SqlRegistryDatabase) -> None:
    """Stated, not by itself; a repeat is "already present"; only in normal mode; feeding needs none. Rule: D-21"""
    opened(registry)
    assert not reads(registry, PHYSICIAN)
    assert POLICY.decide(PHYSICIAN, Action.FEED, facts(registry, PHYSICIAN)).allowed
    with refused(RecordProblem.NOT_AGREED):
        declare(registry, agreed=False)
    for purpose in ("bris_de_glace", "centre_15"):
        with refused(RecordProblem.NO_RIGHT):
            declare(registry, by(purpose=purpose))
    assert not declare(registry).already_present
    assert reads(registry, PHYSICIAN) and not reads(registry, STRANGER)
    again = declare(registry)
    assert again.already_present and again.place.since == "2026-03-12T13:03:00.000Z"


def test_staff_authorise_their_structure(registry: SqlRegistryDatabase) -> None:
    """The place is the structure's: its professionals read, others do not. Rule: D-21"""
    opened(registry)
    place = declare(registry, by(STAFF)).place
    assert (place.kind, place.subject) == (Kind.STRUCTURE, "10B1")
    assert reads(registry, PHYSICIAN) and reads(registry, NURSE) and not reads(registry, STRANGER)
    with refused(RecordProblem.NO_RIGHT):
        declare(registry, by(STAFF, structure_id=""))


def test_an_authorisation_ends(registry: SqlRegistryDatabase) -> None:
    """After a year unless declared again; the length is a setting. Rule: D-22"""
    opened(registry)
    declare(registry)
    assert reads(registry, PHYSICIAN, 364) and not reads(registry, PHYSICIAN, 365)
    declare(registry, by(at=DAY + timedelta(days=300)))
    assert reads(registry, PHYSICIAN, 600) and not reads(registry, PHYSICIAN, 665)
    short = replace(by(STRANGER), rules=Rules(authorisation_days=1))
    declare(registry, short)
    assert not reads(registry, STRANGER, 1)


def test_the_care_team_is_deemed_authorised(registry: SqlRegistryDatabase) -> None:
    """Once the patient is informed, for a year or as the operator says; his objection ends it at once. Rule: D-22"""
    opened(registry)
    declare(registry, by(NURSE), care_team=True)
    assert reads(registry, NURSE, 364) and not reads(registry, NURSE, 365)
    declare(registry, replace(by(NURSE), rules=Rules(care_team_days=0)), care_team=True)
    assert reads(registry, NURSE, 4000)
    run(registry, acts.object_to, make.PATIENT, "OPPOSITION_EQUIPE_DE_SOINS", by=holder())
    assert not reads(registry, NURSE)
    with refused(RecordProblem.NOT_AGREED):
        declare(registry, by(STRANGER), care_team=True)
    declare(registry, by(NURSE))
    assert reads(registry, NURSE)
    run(registry, acts.lift_objection, make.PATIENT, CARE_TEAM, by=holder())
    assert not facts(registry, NURSE).objected_purposes


def test_withdrawing(registry: SqlRegistryDatabase) -> None:
    """One's own, as often as one likes; staff cannot; the patient takes anybody's back. Rule: D-23"""
    opened(registry)
    declare(registry)
    with refused(RecordProblem.NO_RIGHT):
        run(registry, circle.withdraw, make.PATIENT, by=by(STAFF))
    for _ in range(2):
        assert run(registry, circle.withdraw, make.PATIENT, by=by()).basis == ""
    assert not reads(registry, PHYSICIAN)
    run(registry, acts.allow, make.PATIENT, NURSE.identifier, by=holder())
    assert reads(registry, NURSE)
    run(registry, acts.disallow, make.PATIENT, NURSE.identifier, by=holder())
    assert not reads(registry, NURSE)
    with refused(RecordProblem.NOT_IN_CIRCLE):
        run(registry, acts.disallow, make.PATIENT, "nobody", by=holder())


def test_the_attending_physician(registry: SqlRegistryDatabase) -> None:
    """Physicians only, several at once; who stops keeps plain access. Rule: D-24"""
    opened(registry)
    with refused(RecordProblem.NO_RIGHT):
        declare(registry, by(NURSE), is_attending=True)
    declare(registry, is_attending=True)
    declare(registry, by(STRANGER), is_attending=True)
    assert facts(registry, PHYSICIAN).is_attending and facts(registry, STRANGER).is_attending
    assert not facts(registry, NURSE).is_attending
    run(registry, circle.stop_attending, make.PATIENT, by=by())
    assert not facts(registry, PHYSICIAN).is_attending and reads(registry, PHYSICIAN)
    with refused(RecordProblem.NO_RIGHT):
        run(registry, circle.stop_attending, make.PATIENT, by=by())


@pytest.mark.parametrize("purpose", ["normal", "bris_de_glace", "centre_15"])
def test_a_block_is_stronger_than_everything(registry: SqlRegistryDatabase, purpose: str) -> None:
    """Authorised, attending, in an emergency: barred. Lifted, what was there counts again. Rule: D-25"""
    opened(registry)
    declare(registry, is_attending=True)
    caller = replace(PHYSICIAN, purpose=purpose)
    assert reads(registry, caller)
    run(registry, acts.block, make.PATIENT, PHYSICIAN.identifier, by=holder())
    assert not reads(registry, caller)
    assert not POLICY.decide(caller, Action.FEED, facts(registry, caller)).allowed
    with refused(RecordProblem.BLOCKED if purpose == "normal" else RecordProblem.NO_RIGHT):
        declare(registry, by(caller))
    run(registry, acts.allow, make.PATIENT, PHYSICIAN.identifier, by=holder())
    assert not reads(registry, caller)
    run(registry, acts.unblock, make.PATIENT, PHYSICIAN.identifier, by=holder())
    assert reads(registry, caller) and facts(registry, caller).is_attending


def test_who_may_block(registry: SqlRegistryDatabase) -> None:
    """The patient, and the attending physician for him; a structure is barred as a whole. Rule: D-25, D-28"""
    opened(registry)
    declare(registry)
    with refused(RecordProblem.NO_RIGHT):
        run(registry, acts.block, make.PATIENT, STRANGER.identifier, by=by())
    declare(registry, is_attending=True)
    run(registry, acts.block, make.PATIENT, STRANGER.identifier, by=by())
    assert facts(registry, STRANGER).is_blocked
    with refused(RecordProblem.NO_RIGHT):
        run(registry, acts.unblock, make.PATIENT, STRANGER.identifier, by=by())
    run(registry, acts.block, make.PATIENT, "10B1", by=holder(), kind=Kind.STRUCTURE)
    assert facts(registry, NURSE).is_blocked and facts(registry, PHYSICIAN).is_blocked
    with refused(RecordProblem.NOT_IN_CIRCLE):
        run(registry, acts.unblock, make.PATIENT, NURSE.identifier, by=holder())


def test_listing_the_circle(registry: SqlRegistryDatabase) -> None:
    """Authorised, barred or both; not for staff, nor in an emergency; who ran out is in neither. Rule: D-26"""
    opened(registry)
    declare(registry, is_attending=True)
    run(registry, acts.allow, make.PATIENT, "gone", by=holder(), days=1)
    run(registry, acts.block, make.PATIENT, "barred", by=holder())

    def listed(which: Listed) -> list[str]:
        late = by(at=DAY + timedelta(days=2))
        return [one.subject for one in run(registry, circle.list_circle, make.PATIENT, by=late, which=which)]

    assert listed(Listed.ACTIVE) == [PHYSICIAN.identifier]
    assert listed(Listed.BLOCKED) == ["barred"]
    assert listed(Listed.ALL) == ["barred", PHYSICIAN.identifier]
    (place,) = run(registry, circle.list_circle, make.PATIENT, by=by(at=DAY + timedelta(days=2)))
    assert (place.name, place.specialty) == ("ESSAI Anne", "G15_10/SM26^^1.2.250.1.213.1.1.4.5")
    for actor in (by(STAFF), by(purpose="bris_de_glace"), by(purpose="centre_15")):
        with refused(RecordProblem.NO_RIGHT):
            run(registry, circle.list_circle, make.PATIENT, by=actor)


def test_listing_the_records_one_may_open(registry: SqlRegistryDatabase) -> None:
    """One's own and those of the structure, by authorisation or by document; never barred or closed ones. Rule: D-27"""
    first = opened(registry)
    opened(registry, OTHER)
    declare(registry, is_attending=True)
    run(registry, acts.allow, OTHER, "10B1", by=holder(patient_id=OTHER), kind=Kind.STRUCTURE)
    make.stored(registry, first.patient_key, make.submission(make.entry()))

    def listed(actor: Any = None, **named: Any) -> list[str]:
        return [one.record.patient_id for one in run(registry, circle.list_records, by=actor or by(), **named)]

    assert listed() == [make.PATIENT, OTHER] and listed(by(STAFF)) == [OTHER] and listed(by(STRANGER)) == []
    (one, _) = run(registry, circle.list_records, by=by())
    assert one.patient_ids == (make.PATIENT,) and one.traits == TRAITS and one.place.attending_since
    assert one.last_document_at == "2024-03-15T10:15:00.000Z" and one.has_new_documents
    assert listed(since="2026-03-13") == []
    assert listed(since="2024-03-15", by_document=True) == [make.PATIENT]
    structure = Caller(identifier="", mode=Mode.INDIRECT, structure_id="10B1")
    with refused(RecordProblem.NO_RIGHT):
        listed(by(structure))
    assert listed(by(structure), since="2026-03-01") == [OTHER]
    run(registry, acts.block, make.PATIENT, PHYSICIAN.identifier, by=holder())
    run(registry, lifecycle.close_record, OTHER, by=operator(), reason="x")
    assert listed() == []


def test_break_glass(registry: SqlRegistryDatabase) -> None:
    """Without authorisation, unless the patient objects; it authorises nobody. Rule: D-29"""
    opened(registry)
    emergency = replace(PHYSICIAN, purpose="bris_de_glace")
    assert reads(registry, emergency) and not reads(registry, PHYSICIAN)
    run(registry, acts.object_to, make.PATIENT, "OPPOSITION_BRIS_DE_GLACE", by=holder())
    assert not reads(registry, emergency) and reads(registry, replace(PHYSICIAN, purpose="centre_15"))
    assert run(registry, acts.show_masked_in_emergency, make.PATIENT, by=holder(), is_shown=True).shows_masked
    assert facts(registry, PHYSICIAN).shows_masked_in_emergency


def test_regulation_searches_without_ins(registry: SqlRegistryDatabase) -> None:
    """Only there; parts of a name, no accents; eleven are refused; objectors and barrers are not found. Rule: D-30"""
    opened(registry)
    regulation = by(purpose="centre_15")

    def found(**traits: str) -> list[str]:
        wanted = AdministrativeData(**traits)
        return [one.record.patient_id for one in run(registry, personal.find_by_traits, wanted, by=regulation)]

    with refused(RecordProblem.NO_RIGHT):
        run(registry, personal.find_by_traits, TRAITS, by=by())
    for traits in ({"birth_name": "desire l"}, {"used_name": "DÉSIRÉ-L’HÉRAULT"}, {"birth_name": "Des", "sex": "F"},
                   {"birth_name": "Des", "used_given_name": "zoe", "birth_date": "1979-03-05", "postal_code": "63000"}):
        assert found(**traits) == [make.PATIENT]
    assert found(birth_name="Hérault") == found(birth_name="Des", sex="M") == found(birth_name="D%s") == []
    with refused(RecordProblem.TOO_FEW_TRAITS):
        found(city="Clermont-Ferrand")
    for purpose, act, argument in (
        ("x", acts.object_to, "centre_15"), ("x", acts.lift_objection, "centre_15"),
        ("x", acts.block, PHYSICIAN.identifier), ("x", acts.unblock, PHYSICIAN.identifier),
    ):
        run(registry, act, make.PATIENT, argument, by=holder())
        expected = [] if act in (acts.object_to, acts.block) else [make.PATIENT]
        assert found(birth_name="Des") == expected, purpose
    for number in range(10):
        opened(registry, f"T{number}^^^&1.2&ISO")
    with refused(RecordProblem.TOO_MANY):
        found(birth_name="Des")


def test_objections_are_two_separate_words(registry: SqlRegistryDatabase) -> None:
    """False by default, set and lifted one by one, in the log by name. Rule: D-31"""
    record = opened(registry)
    assert record.objected_purposes == frozenset()
    run(registry, acts.object_to, make.PATIENT, "OPPOSITION_ACCES_URGENCE", by=by())
    assert facts(registry, PHYSICIAN).objected_purposes == {"centre_15"}
    run(registry, acts.object_to, make.PATIENT, "bris_de_glace", by=holder())
    run(registry, acts.lift_objection, make.PATIENT, "centre_15", by=holder())
    assert facts(registry, PHYSICIAN).objected_purposes == {"bris_de_glace"}
    with refused(RecordProblem.INVALID_DATA):
        run(registry, acts.object_to, make.PATIENT, "normal", by=holder())


def test_the_agreement_is_stated_with_each_declaration(registry: SqlRegistryDatabase) -> None:
    """What the establishment notes locally arrives as a statement; feeding needs none. Rule: D-32"""
    opened(registry)
    with refused(RecordProblem.NOT_AGREED):
        declare(registry, by(STAFF), agreed=False)
    assert POLICY.decide(NURSE, Action.FEED, facts(registry, NURSE)).allowed


def test_those_who_never_get_in(registry: SqlRegistryDatabase) -> None:
    """Allowed by the patient or not: company doctors and unknown professions read nothing. Rule: D-33"""
    opened(registry)
    nobody = replace(PHYSICIAN, identifier="7", profession=Code("999", PROFESSIONS), specialty=None)
    for caller in (OCCUPATIONAL, nobody):
        run(registry, acts.allow, make.PATIENT, caller.identifier, by=holder())
        assert facts(registry, caller).is_authorised and not reads(registry, caller)
        with refused(RecordProblem.NO_RIGHT):
            declare(registry, by(caller))


def test_one_patient_at_a_time(registry: SqlRegistryDatabase) -> None:
    """Twenty declarations and blocks at once: each is there, none is lost. Rule: D-21"""
    record = opened(registry)

    def both(number: int) -> None:
        run(registry, acts.allow, make.PATIENT, f"P{number}", by=holder())
        run(registry, acts.block, make.PATIENT, "same", by=holder())

    threads = [threading.Thread(target=both, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with registry.read() as unit:
        assert {one.subject for one in unit.record.places(record.patient_key)} == {
            "same", *(f"P{number}" for number in range(20))
        }


def test_a_block_survives_a_merge(registry: SqlRegistryDatabase) -> None:
    """The stricter of two records holds; an authorisation for one opens no other. Rule: D-25, F-05"""
    old, new = opened(registry), opened(registry, OTHER)
    run(registry, acts.allow, make.PATIENT, "allowed", by=holder())
    run(registry, acts.block, make.PATIENT, "barred", by=holder())
    run(registry, acts.allow, OTHER, "barred", by=holder(patient_id=OTHER))
    with registry.write() as unit:
        for key in sorted((old.patient_key, new.patient_key)):
            unit.record.lock(key)
        unit.record.absorb(old, new)
    with registry.read() as unit:
        (place,) = unit.record.places(new.patient_key)
        assert place.subject == "barred" and place.blocked_since and place.basis == "consent"
        assert unit.record.places(old.patient_key) == []
