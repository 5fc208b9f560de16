"""The life of a record, row by row of the DMP's functions, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.audit.access_log import as_json
from guard.credentials.caller import Caller, Mode
from guard.policy.decision import Policy
from guard.policy.facts import EVERYTHING, Action, RecordStatus
from record import actor as actors
from record import acts, circle, destruction, identity, lifecycle, personal
from record.actor import Actor, RecordProblem, RecordRefused, Rules, carried_out
from record.administrative import AdministrativeData, Representative
from record.facts import facts_for
from record.lifecycle import CLOSED_AT_PATIENTS_REQUEST, OPENING_CONSENT, REOPENING_CONSENT
from record.store import Erasure, Record
from registry.shelf import Shelf
from registry.store import EntryCriteria
from storage import SqlRegistryDatabase
from tests.contract import store_objects as make
from xds import domain
from xds.domain_source import DomainSource
from xds.model import Code

PROFESSIONS = "1.2.250.1.71.1.2.7"
POLICY = Policy.load("dmp")
SHELF = Shelf(DomainSource("dmp"), "1.2.3")
DAY = datetime(2026, 3, 12, 13, 3, tzinfo=UTC)
OTHER = "9^^^&1.2.250.1.213.1.4.10&ISO^NH"
TRAITS = AdministrativeData(
    birth_name="Désiré-L'Hérault", birth_given_names="Zoé Inès", sex="F", birth_date="1979-03-05", birth_place="63220",
    postal_code="63000", city="Clermont-Ferrand", street="rue du Vrai Secret", phone="0473000000",
    email="zoe@example.org",
    representatives=(Representative(family_name="Hérault", relation="MTH", identifier="rep-1"),),
)
PHYSICIAN = Caller(identifier="899700000018", mode=Mode.DIRECT, name="ESSAI Anne", structure_id="10B1",
                   profession=Code("10", PROFESSIONS), specialty=Code("G15_10/SM26", "1.2.250.1.213.1.1.4.5"))
NURSE = Caller(identifier="899700000026", mode=Mode.DIRECT, profession=Code("60", PROFESSIONS), structure_id="10B1")
STAFF = Caller(identifier="3100000017/77", mode=Mode.DIRECT, structure_id="10B1",
               profession=Code("SECRETARIAT_MEDICAL", "1.2.250.1.213.1.1.4.6"))


def by(caller: Caller = PHYSICIAN, at: datetime = DAY, **changes: Any) -> Actor:
    """A professional under the rules of the DMP."""
    return actors.professional(replace(caller, **changes), POLICY, at=at)


def holder(at: datetime = DAY, patient_id: str = make.PATIENT) -> Actor:
    return actors.patient(patient_id, POLICY, at=at)


def operator(at: datetime = DAY, **context: Any) -> Actor:
    return actors.system("operator", at=at, **context)


def run(registry: SqlRegistryDatabase, act: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """One act in a unit of its own."""
    with registry.write() as unit:
        return act(unit, *arguments, **named)


def opened(registry: SqlRegistryDatabase, patient_id: str = make.PATIENT, **named: Any) -> Record:
    values = {"by": operator(), "consent": OPENING_CONSENT, "check_key": False, "traits": TRAITS} | named
    made = run(registry, lifecycle.open_record, patient_id, **values)
    assert isinstance(made, Record)
    return made


def refused(problem: RecordProblem) -> Any:
    """The refusal says this, names no patient and has a name of the DMP."""
    return pytest.raises(
        RecordRefused, check=lambda e: e.problem is problem and "123456789" not in str(e)
        and e.problem.dmp_error.startswith("DMP"),
    )


def lines(registry: SqlRegistryDatabase, key: int) -> list[tuple[str, str]]:
    with registry.read() as unit:
        return [(line.action, line.outcome) for line in unit.audit.read_for_patient(key)]


def test_existence(registry: SqlRegistryDatabase) -> None:
    """State, identifiers and the caller's own status; no record is no answer, a merged or destroyed one neither.

    Rule: D-01
    """
    assert run(registry, lifecycle.find_existence, make.PATIENT, by=by()) is None
    record = opened(registry)
    seen = []
    for act in (
        lambda: None,
        lambda: run(registry, circle.declare_authorised, make.PATIENT, by=by(), agreed=True),
        lambda: run(registry, acts.block, make.PATIENT, PHYSICIAN.identifier, by=holder()),
    ):
        act()
        found = run(registry, lifecycle.find_existence, make.PATIENT, by=by())
        seen.append(found.authorisation)
        assert found.record.patient_key == record.patient_key and found.patient_ids == (make.PATIENT,)
    late = by(at=DAY + timedelta(days=366))
    run(registry, acts.unblock, make.PATIENT, PHYSICIAN.identifier, by=holder())
    seen.append(run(registry, lifecycle.find_existence, make.PATIENT, by=late).authorisation)
    assert seen == ["NON_EXISTE", "VALIDE", "INTERDIT", "EXPIRE"]
    run(registry, lifecycle.close_record, make.PATIENT, by=operator(), reason="x", code=CLOSED_AT_PATIENTS_REQUEST)
    closed = run(registry, lifecycle.find_existence, make.PATIENT, by=by(STAFF)).record
    assert (closed.status, closed.closed_because) == (RecordStatus.CLOSED, "FERMETURE_DEMANDE_PATIENT x")


def test_opening_needs_consent_and_a_right(registry: SqlRegistryDatabase) -> None:
    """By a professional, with consent; not in an emergency; nobody without a policy. Rule: D-02"""
    with refused(RecordProblem.CONSENT_MISSING):
        opened(registry, by=by(), consent=" ")
    with refused(RecordProblem.NO_RIGHT):
        opened(registry, by=by(purpose="bris_de_glace"))
    with refused(RecordProblem.NO_RIGHT):
        opened(registry, by=PHYSICIAN)
    record = opened(registry, by=by(STAFF), objected_purposes=frozenset({"centre_15"}), shows_masked=True)
    with registry.read() as unit:
        assert unit.record.find(make.PATIENT) == record and unit.record.traits(record.patient_key) == TRAITS
    assert (record.opened_by, record.shows_masked) == (STAFF.identifier, True)


def test_opening_by_the_patient_or_at_a_desk(registry: SqlRegistryDatabase) -> None:
    """Each channel is kept; a patient opens his own record and nobody else's. Rule: D-03"""
    with refused(RecordProblem.NO_RIGHT):
        opened(registry, OTHER, by=holder(), channel="patient")
    assert opened(registry, by=holder(), channel="patient").channel == "patient"
    assert opened(registry, OTHER, channel="desk").channel == "desk"


def test_opening_without_a_word_of_the_patient(registry: SqlRegistryDatabase) -> None:
    """Announced, nothing is in it; it opens when the notice ends; who declines is left alone. Rule: D-04"""
    rules = Rules(notice_days=10)
    for patient_id in (make.PATIENT, OTHER):
        run(registry, lifecycle.announce, patient_id, by=operator(rules=rules), check_key=False)
    assert run(registry, lifecycle.find_existence, make.PATIENT, by=by()) is None
    with refused(RecordProblem.UNKNOWN):
        run(registry, circle.declare_authorised, make.PATIENT, by=by(), agreed=True)
    run(registry, lifecycle.decline, OTHER, by=holder(patient_id=OTHER))
    early = operator(DAY + timedelta(days=9), rules=rules)
    assert run(registry, lifecycle.open_announced, by=early) == []
    late = operator(DAY + timedelta(days=10, seconds=1), rules=rules)
    (made,) = run(registry, lifecycle.open_announced, by=late)
    assert (made.patient_id, made.status, made.channel) == (make.PATIENT, RecordStatus.ACTIVE, "batch")
    assert run(registry, lifecycle.open_announced, by=late) == []
    with refused(RecordProblem.DECLINED):
        run(registry, lifecycle.announce, OTHER, by=late, check_key=False)
    assert opened(registry, OTHER).status is RecordStatus.ACTIVE
    with refused(RecordProblem.NO_RIGHT):
        run(registry, lifecycle.announce, "8^^^&1.2&ISO", by=by(), check_key=False)


class _Late:
    """A unit that waits for the lock of a record while another writer opens it."""

    def __init__(self, of: Any) -> None:
        self._of = of

    @property
    def record(self) -> _Late:
        return _Late(self._of.record)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def lock(self, patient_key: int) -> None:
        self._of.lock(patient_key)
        found = self._of.get(patient_key)
        self._of.update(replace(found, status=RecordStatus.ACTIVE, consent="the other's"))


@pytest.mark.parametrize("act", ["decline", "open"])
def test_what_was_committed_while_one_waited_counts(registry: SqlRegistryDatabase, act: str) -> None:
    """An open record is neither declined nor opened over, whatever was read before the lock."""
    run(registry, lifecycle.announce, make.PATIENT, by=operator(), check_key=False)
    with registry.write() as unit:
        late: Any = _Late(unit)
        with refused(RecordProblem.UNKNOWN if act == "decline" else RecordProblem.ALREADY_OPEN):
            if act == "decline":
                lifecycle.decline(late, make.PATIENT, by=holder())
            else:
                lifecycle.open_record(late, make.PATIENT, by=by(), consent=OPENING_CONSENT, check_key=False)
        found = unit.record.find(make.PATIENT)
        assert found is not None and (found.status, found.consent) == (RecordStatus.ACTIVE, "the other's")


def test_reading_administrative_data(registry: SqlRegistryDatabase) -> None:
    """Every card, also in an emergency; the line has no trait. Rule: D-05"""
    record = opened(registry)
    for actor in (by(), by(STAFF), by(purpose="bris_de_glace"), holder()):
        assert run(registry, personal.read_data, make.PATIENT, by=actor).traits == TRAITS
    with registry.read() as unit:
        told = "".join(as_json(line) for line in unit.audit.read_for_patient(record.patient_key))
    assert told.count("administrative data read") == 4
    assert not any(word in told for word in ("Secret", "zoe@", "0473", "Inès", "In\\u"))


def test_changing_administrative_data(registry: SqlRegistryDatabase) -> None:
    """The fields are named in the log, not their values; damaged data and attached records are refused. Rule: D-06"""
    record = opened(registry)
    changed = replace(TRAITS, city="Riom", representatives=())
    assert run(registry, personal.change_data, make.PATIENT, changed, by=by()).traits == changed
    with registry.read() as unit:
        *_, line = unit.audit.read_for_patient(record.patient_key)
    assert line.detail == "city, representatives"
    for bad in (replace(TRAITS, birth_date="2027-01-01"), replace(TRAITS, sex="X"), replace(TRAITS, city="a\x00"),
                replace(TRAITS, representatives=(Representative(family_name="A", relation="ZZZ"),))):
        with refused(RecordProblem.INVALID_DATA):
            run(registry, personal.change_data, make.PATIENT, bad, by=by())
    with refused(RecordProblem.NO_RIGHT):
        run(registry, personal.change_data, make.PATIENT, TRAITS, by=by(purpose="centre_15"))
    with registry.write() as unit:
        unit.record.update(replace(record, is_attached=True))
    with refused(RecordProblem.NO_RIGHT):
        run(registry, personal.change_data, make.PATIENT, TRAITS, by=by())


def test_a_closed_record_gives_and_takes_nothing(registry: SqlRegistryDatabase) -> None:
    """No act but reopening, the log and destruction; a reason is needed. Rule: D-07"""
    record = opened(registry)
    with refused(RecordProblem.REASON_MISSING):
        run(registry, lifecycle.close_record, make.PATIENT, by=by(), reason="")
    with refused(RecordProblem.NO_RIGHT):
        run(registry, lifecycle.close_record, make.PATIENT, by=by(STAFF), reason="x")
    run(registry, lifecycle.close_record, make.PATIENT, by=by(), reason="x", code=CLOSED_AT_PATIENTS_REQUEST)
    for act, arguments in (
        (personal.read_data, ()), (personal.change_data, (TRAITS,)), (circle.list_circle, ()),
        (acts.allow, ("1",)), (acts.block, ("1",)), (acts.object_to, ("centre_15",)),
    ):
        with refused(RecordProblem.CLOSED):
            run(registry, act, make.PATIENT, *arguments, by=holder())
    with registry.write() as unit:
        told = [line.action for line in acts.read_log(unit, make.PATIENT, by=holder(), shelf=SHELF)]
    assert told == ["record opened", "record closed"]
    with registry.read() as unit:
        facts = facts_for(unit.record, unit.record.get(record.patient_key), PHYSICIAN, DAY)
    assert not POLICY.decide(PHYSICIAN, Action.READ, facts).allowed
    assert not POLICY.decide(PHYSICIAN, Action.FEED, facts).allowed


PLACES = st.lists(
    st.tuples(st.sampled_from(["allow", "block", "object", "declare"]), st.integers(0, 4)), max_size=8
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLACES, st.integers(1, 3650))
def test_reopening_gives_back_what_was_there(
    registry: SqlRegistryDatabase, done: list[tuple[str, int]], days: int
) -> None:
    """Documents, circle, traits and objections, whatever they were, at any day of the ten years. Rule: D-08"""
    patient_id = f"{make.uuid()[9:]}^^^&1.2.250.1.213.1.4.10&ISO^NH"
    record = opened(registry, patient_id)
    entry = make.entry(patient_id=patient_id)
    make.stored(registry, record.patient_key, make.submission(entry))
    for what, number in done:
        me = holder(patient_id=patient_id)
        match what:
            case "allow":
                run(registry, acts.allow, patient_id, f"P{number}", by=me)
            case "block":
                run(registry, acts.block, patient_id, f"P{number}", by=me)
            case "object":
                run(registry, acts.object_to, patient_id, sorted(acts.OBJECTIONS)[number % 3], by=me)
            case _:
                run(registry, circle.declare_authorised, patient_id, by=by(identifier=f"D{number}"), agreed=True)

    def held() -> tuple[Any, ...]:
        with registry.read() as unit:
            now = unit.record.find(patient_id)
            assert now is not None
            key = now.patient_key
            return (
                replace(now, consent=""), unit.record.places(key), unit.record.traits(key),
                list(unit.registry.entries(key, EntryCriteria(), EVERYTHING)), unit.record.identifiers(key),
            )

    before = held()
    run(registry, lifecycle.close_record, patient_id, by=operator(), reason="x")
    assert held() != before
    run(registry, lifecycle.reopen_record, patient_id, by=operator(DAY + timedelta(days=days)),
        consent=REOPENING_CONSENT)
    assert held() == before


def test_reopening_needs_a_new_consent_within_ten_years(registry: SqlRegistryDatabase) -> None:
    """Neither without consent, nor too late, nor after death. Rule: D-08, D-11"""
    opened(registry)
    run(registry, lifecycle.close_record, make.PATIENT, by=operator(), reason="x")
    with refused(RecordProblem.CONSENT_MISSING):
        run(registry, lifecycle.reopen_record, make.PATIENT, by=by(), consent="")
    with refused(RecordProblem.RETENTION_ENDED):
        run(registry, lifecycle.reopen_record, make.PATIENT, by=by(at=DAY.replace(year=2036)), consent="c")
    with refused(RecordProblem.NO_RIGHT):
        run(registry, lifecycle.reopen_record, make.PATIENT, by=by(purpose="bris_de_glace"), consent="c")
    run(registry, lifecycle.holder_died, make.PATIENT, by=operator(), on=date(2026, 3, 1))
    with refused(RecordProblem.DECEASED):
        run(registry, lifecycle.reopen_record, make.PATIENT, by=by(), consent="c")


def with_document(registry: SqlRegistryDatabase, patient_id: str = make.PATIENT) -> tuple[Record, Any]:
    record = opened(registry, patient_id)
    entry = make.entry(patient_id=patient_id)
    make.stored(registry, record.patient_key, make.submission(entry))
    run(registry, acts.allow, patient_id, "1", by=holder(patient_id=patient_id))
    run(registry, personal.add_identifier, patient_id, f"alias-{patient_id}", by=operator())
    return record, entry


def test_destruction_takes_two_steps(registry: SqlRegistryDatabase) -> None:
    """Token, then receipt; everything is gone but the log; repositories find what they have to erase. Rule: D-09"""
    record, entry = with_document(registry)
    kept, _ = with_document(registry, OTHER)
    with refused(RecordProblem.NOT_ASKED):
        run(registry, destruction.confirm_destruction, make.PATIENT, "", by=holder())
    token = run(registry, destruction.ask_destruction, make.PATIENT, by=by())
    with refused(RecordProblem.WRONG_CONFIRMATION):
        run(registry, destruction.confirm_destruction, make.PATIENT, token[:-1], by=holder())
    with refused(RecordProblem.NO_RIGHT):
        run(registry, destruction.confirm_destruction, make.PATIENT, token, by=by())
    with refused(RecordProblem.NOT_ASKED):
        run(registry, destruction.confirm_destruction, make.PATIENT, token, by=holder(DAY + timedelta(days=31)))
    made = run(registry, destruction.confirm_destruction, make.PATIENT, token, by=holder())
    assert made.documents == 1 and not made.completed_at
    with registry.read() as unit:
        assert unit.record.find(make.PATIENT) is None and unit.record.find(f"alias-{make.PATIENT}") is None
        assert unit.registry.by_unique_id([entry.unique_id]) == [] and unit.registry.known([entry.entry_uuid]) == {}
        assert unit.record.traits(record.patient_key) == AdministrativeData()
        assert unit.record.places(record.patient_key) == [] and unit.record.places(kept.patient_key)
        assert unit.record.erasures(entry.repository_unique_id, 9) == [
            Erasure(entry.repository_unique_id, entry.unique_id, entry.hash, made.decided_at)
        ]
    assert ("record destroyed", "success") in lines(registry, record.patient_key)
    assert run(registry, destruction.settle, by=operator()) == []
    for _ in range(2):
        with registry.write() as unit:
            unit.record.erased([Erasure(entry.repository_unique_id, entry.unique_id, entry.hash)])
    (done,) = run(registry, destruction.settle, by=operator())
    assert done.receipt == made.receipt and done.completed_at
    assert run(registry, destruction.settle, by=operator()) == []
    assert opened(registry).patient_key != record.patient_key


def test_a_document_of_two_records_survives_one(registry: SqlRegistryDatabase) -> None:
    """What another record holds too is not erased. Rule: D-09"""
    _, entry = with_document(registry)
    other = opened(registry, OTHER)
    twin = make.entry(unique_id=entry.unique_id, hash=entry.hash, patient_id=OTHER)
    make.stored(registry, other.patient_key, make.submission(twin))
    token = run(registry, destruction.ask_destruction, make.PATIENT, by=holder())
    assert run(registry, destruction.confirm_destruction, make.PATIENT, token, by=holder()).documents == 0
    with registry.read() as unit:
        assert [one.patient_key for one in unit.registry.by_unique_id([entry.unique_id])] == [other.patient_key]


def test_destruction_takes_merged_records_with_it(registry: SqlRegistryDatabase) -> None:
    """Identifiers that were merged into a destroyed record lead nowhere. Rule: D-09"""
    with_document(registry, OTHER)
    opened(registry)
    act = identity.Act(by=operator().caller, event="operator")
    run(registry, identity.merge_identities, domain.load("dmp"), OTHER, make.PATIENT, act)
    token = run(registry, destruction.ask_destruction, make.PATIENT, by=holder())
    run(registry, destruction.confirm_destruction, make.PATIENT, token, by=holder())
    with registry.read() as unit:
        assert unit.record.find(OTHER) is None and unit.record.find(f"alias-{OTHER}") is None
        assert {one.status for one in unit.record.all()} == {RecordStatus.DESTROYED}


def test_the_end_of_keeping(registry: SqlRegistryDatabase) -> None:
    """Ten years after closing, not a day before; open records are kept for ever. Rule: D-10"""
    record, _ = with_document(registry)
    with_document(registry, OTHER)
    run(registry, lifecycle.close_record, make.PATIENT, by=operator(), reason="x")
    early = run(registry, destruction.retain, by=operator(DAY.replace(year=2036) - timedelta(seconds=1)))
    assert not early.destroyed
    done = run(registry, destruction.retain, by=operator(DAY.replace(year=2036)))
    assert [one.patient_key for one in done.destroyed] == [record.patient_key]
    assert run(registry, destruction.retain, by=operator(DAY.replace(year=2099))).destroyed == []
    with registry.read() as unit:
        found = unit.record.find(OTHER)
        assert found is not None and found.status is RecordStatus.ACTIVE
    with refused(RecordProblem.NO_RIGHT):
        run(registry, destruction.retain, by=by())


def test_death_closes_the_record(registry: SqlRegistryDatabase) -> None:
    """Closed, with the day; only the operator tells it, and not before it comes. Rule: D-11"""
    opened(registry)
    with refused(RecordProblem.NO_RIGHT):
        run(registry, lifecycle.holder_died, make.PATIENT, by=by(), on=date(2026, 3, 1))
    with refused(RecordProblem.INVALID_DATA):
        run(registry, lifecycle.holder_died, make.PATIENT, by=operator(), on=date(2026, 3, 13))
    dead = run(registry, lifecycle.holder_died, make.PATIENT, by=operator(), on=date(2026, 3, 1))
    assert (dead.status, dead.deceased_on) == (RecordStatus.CLOSED, "2026-03-01")


def test_a_refusal_is_logged_and_changes_nothing(registry: SqlRegistryDatabase) -> None:
    """The unit is undone; its own line says who was refused what, and why. Rule: D-07"""
    record = opened(registry)
    actor = by(STAFF)
    with refused(RecordProblem.NO_RIGHT):
        carried_out(registry, actor, "record closed", make.PATIENT,
                    lambda unit: lifecycle.close_record(unit, make.PATIENT, by=actor, reason="x"))
    assert lines(registry, record.patient_key)[-1] == ("record closed", "refused")
    with registry.read() as unit:
        assert unit.record.find(make.PATIENT) == record
