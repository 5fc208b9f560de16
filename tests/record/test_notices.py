"""Notices of new documents: to the patient who wants them, to professionals by type; nobody is told of what he would
not find.

Clause: DMP section 6 (R527 2.3, 2.7)
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree

from carnet import notices
from carnet.affinity import domain_of, domain_source, policy_of
from record import acts
from record.td.services import ACTS
from registry.shelf import Shelf
from tests.contract import store_objects as make
from tests.on_demand_kit import offer_of, register
from tests.portal import signing, with_portal
from tests.record.test_portal import ANNOUNCED_LATER, act
from tests.record_messages import send
from tests.registry.test_policy_on_the_wire import FROM_PARENTS, LOINC, deposit, submission
from tests.registry.test_wrong_persons import MOTHER, named_a_mother
from tests.world import COLLEAGUE, NURSE, OPERATOR, World
from xds.model import Code
from xds.namespaces import PROVIDER_SLOT

REPORT = {
    "type_code": Code("11502-2", LOINC, "CR d'examens biologiques"),
    "class_code": Code("10", "1.2.250.1.213.1.1.4.1", "Compte rendu"),
}


@pytest.fixture
def portal(here: World) -> World:
    made = with_portal(here)
    delivered(made)
    return made


def delivered(world: World, *, fails: bool = False, unreachable: str = "") -> list[dict[str, Any]]:
    """One round of telling, as a running registry makes it; messages that were handed over. ``unreachable``: a patient
    of whose record nobody can be told."""
    received: list[dict[str, Any]] = []

    def notify(told: dict[str, Any]) -> None:
        if fails or told["patient_id"] == unreachable:
            raise OSError("nobody at home")
        received.append(told)

    settings = world.settings
    rights, shelf = policy_of(settings, domain_of(settings)), Shelf(domain_source(settings), "1.2.3")
    with world._registry_database() as database:
        notices.deliver_news(database, notify, rights, shelf)
    return received


def alert(world: World, patient_id: str, who: str, *types: str, value: str = "true") -> str:
    inner = f"<value>{value}</value>" + "".join(f"<typeCode>{one}</typeCode>" for one in types)
    return send(world, etree.fromstring(f'<setNotices xmlns="{ACTS}">{inner}</setNotices>'), patient_id, who).status


def recipients(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((one["recipient"]["kind"], one["recipient"]["identifier"]) for one in told)


def test_the_patient_is_told_once_when_he_wants_it(portal: World) -> None:
    """By his own word, of what came since; one message a record; what fails waits; and no more when he has had
    enough. Rule: D-62"""
    patient_id = portal.patient()
    deposit(portal, submission(patient_id))
    assert act(portal, patient_id, "setNotices", value="true").status == "DMPOk"
    names = {deposit(portal, submission(patient_id)).entries[0].unique_id for _ in range(2)}
    assert delivered(portal, fails=True) == []
    (told,) = delivered(portal)
    assert told["kind"] == "new document" and told["patient_id"] == patient_id
    assert told["recipient"] == {"kind": "patient", "identifier": ""}
    assert {one["unique_id"] for one in told["documents"]} == names and "2 new documents" in told["text_en"]
    assert delivered(portal) == []
    assert act(portal, patient_id, "setNotices", value="false").status == "DMPOk"
    deposit(portal, submission(patient_id))
    assert delivered(portal) == []


def test_what_cannot_be_delivered_holds_up_nothing(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it is older: every record and recipient is tried in each round. Rule: D-62"""
    monkeypatch.setattr(notices, "AT_ONCE", 2)
    unreachable, other = portal.patient(), portal.patient()
    for one in (unreachable, other):
        assert act(portal, one, "setNotices", value="true").status == "DMPOk"
    for one in (unreachable, unreachable, unreachable, other):
        deposit(portal, submission(one))
    assert [one["patient_id"] for one in delivered(portal, unreachable=unreachable)] == [other]
    assert {one["patient_id"] for one in delivered(portal)} == {unreachable} and delivered(portal) == []


def test_an_emergency_that_cannot_be_told_holds_up_no_other(portal: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one tried for ever; the command still tells of it. Rule: U-03"""
    monkeypatch.setattr(notices, "AT_ONCE", 2)
    told: list[str] = []

    def notify(of: dict[str, Any]) -> None:
        if of["patient_id"] == "lost":
            raise OSError("nobody at home")
        told.append(of["patient_id"])

    with portal._registry_database() as database:
        with database.write() as unit:
            for number, name in enumerate(("lost", "lost", "lost", "found")):
                unit.audit.append(make.line(
                    patient_key=1, patient_id=name, purpose="bris_de_glace", trace_id=f"e{number}",
                    caller_id=str(number),
                ))
        assert notices.deliver_all(database, notify) == (1, 3) and told == ["found"]
        with database.read() as unit:
            numbers = [key.number for key, _ in unit.emergencies.to_notify(9)]
        assert notices.deliver_all(database, notify, since=numbers[-1]) == (0, 1)
        assert notices.deliver_all(database, lambda of: None) == (3, 0)


def test_nothing_waits_for_ever(
    portal: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry without a notifier drops notices after emergencies.notify_within days and says so. Rule: D-62"""
    patient_id = portal.patient()
    assert act(portal, patient_id, "setNotices", value="true").status == "DMPOk"
    deposit(portal, submission(patient_id))
    settings = portal.settings
    assert not settings.emergencies.notifier
    rights, shelf = policy_of(settings, domain_of(settings)), Shelf(domain_source(settings), "1.2.3")

    class Enough(Exception):
        """A round is over."""

    def sleep(_: float) -> None:
        raise Enough

    def waiting_after(days: int) -> int:
        monkeypatch.setattr(notices, "time", SimpleNamespace(
            sleep=sleep, time_ns=lambda: time.time_ns() + days * notices.DAY,
        ))
        with portal._registry_database() as database:
            with pytest.raises(Enough):
                notices.notify_for_ever(settings, database, rights, shelf)
            with database.read() as unit:
                return unit.notices.count()

    assert waiting_after(settings.emergencies.notify_within - 1) == 1 and "dropped" not in caplog.text
    assert waiting_after(settings.emergencies.notify_within + 1) == 0
    assert "1 notices of new documents" in caplog.text and patient_id not in caplog.text


def test_nothing_is_told_before_it_is_announced(portal: World) -> None:
    """Then it is, to the patient and to those who represent him; what is kept from them, to him alone. Rule: D-62"""
    patient_id = portal.patient()
    named_a_mother(portal, patient_id)
    for account in ("", MOTHER):
        assert act(portal, patient_id, "setNotices", account, value="true").status == "DMPOk"
    made = submission(patient_id)
    made.entries[0].confidentiality_codes.append(ANNOUNCED_LATER)
    later = deposit(portal, made).entries[0].unique_id
    assert delivered(portal) == []
    body = f'<setDocument xmlns="{ACTS}"><action>ANNONCER</action><uniqueId>{later}</uniqueId></setDocument>'
    assert send(portal, etree.fromstring(body), patient_id).status == "DMPOk"
    assert recipients(delivered(portal)) == [("patient", ""), ("representative", MOTHER)]
    made = submission(patient_id)
    made.entries[0].confidentiality_codes.append(FROM_PARENTS)
    deposit(portal, made)
    (told,) = delivered(portal)
    assert recipients([told]) == [("patient", "")] and told["is_secret"] is True


def test_each_is_weighed_when_his_turn_comes(portal: World) -> None:
    """What was barred, or not wanted any more, while others were told counts. Rule: D-62"""
    patient_id = portal.patient()
    assert act(portal, patient_id, "setNotices", value="true").status == "DMPOk"
    for who in ("colleague", "nurse"):
        assert alert(portal, patient_id, who) == "DMPOk"
    deposit(portal, submission(patient_id, **REPORT))
    told, settings = [], portal.settings
    rights, shelf = policy_of(settings, domain_of(settings)), Shelf(domain_source(settings), "1.2.3")
    with portal._registry_database() as database:
        for news in notices.news_of(database, rights, shelf):
            told.append(None if news.told is None else news.told["recipient"]["kind"])
            with database.write() as unit:
                record = unit.record.find(patient_id)
                assert record is not None
                acts.block(unit, patient_id, COLLEAGUE, by=OPERATOR)
                unit.notices.drop_wish(record.patient_key, "professional", NURSE)
    assert told == ["patient", None, None]


def test_professionals_are_told_by_type_of_what_they_would_find(portal: World) -> None:
    """Not of other types, of what is masked, or once their right has ended. Rule: D-62"""
    patient_id = portal.patient()
    kind = f"11502-2^^{LOINC}"
    assert alert(portal, patient_id, "colleague", kind) == "DMPOk"
    assert alert(portal, patient_id, "nurse", f"68599-0^^{LOINC}") == "DMPOk"
    assert alert(portal, patient_id, "colleague", "no^^type") == "DMPInvalidData"
    for who in ("staff", "laboratory"):
        assert alert(portal, patient_id, who) == "DMPAccessDeniedByRightsService", who
    deposit(portal, submission(patient_id, **REPORT))
    assert recipients(delivered(portal)) == [("professional", COLLEAGUE)]
    deposit(portal, submission(patient_id, masked=True, **REPORT))
    assert delivered(portal) == []
    assert alert(portal, patient_id, "nurse") == "DMPOk"
    with portal._registry_database() as database, database.write() as unit:
        acts.block(unit, patient_id, COLLEAGUE, by=OPERATOR)
    deposit(portal, submission(patient_id, **REPORT))
    assert recipients(delivered(portal)) == [("professional", NURSE)]


def test_a_summary_made_for_a_reader_is_no_news(portal: World) -> None:
    """The one that is offered and the copy each reader gets are made of what was told before. Rule: D-62"""
    patient_id = portal.patient()
    assert act(portal, patient_id, "setNotices", value="true").status == "DMPOk"
    offered = offer_of(portal, patient_id, extra_slots={PROVIDER_SLOT: ["summary"]})
    assert register(portal, offered).is_success
    assert portal.read(patient_id, [offered.entries[0].unique_id])[0].is_success
    assert len(portal.find(patient_id).objects) == 1 and delivered(portal) == []


def test_a_stranger_cannot_ask_to_be_told(portal: World) -> None:
    """Who may not open the record is not told of it, and a wish is no right."""
    patient_id = portal.patient()
    with portal._registry_database() as database, database.write() as unit:
        acts.block(unit, patient_id, COLLEAGUE, by=OPERATOR)
    assert alert(portal, patient_id, "colleague") == "DMPAccessDeniedByRightsService"
    other = portal.patient()
    said = send(portal, etree.fromstring(f'<setNotices xmlns="{ACTS}"><value>true</value></setNotices>'), patient_id,
                "portal", sign=signing(portal, record=other))
    assert said.status == "DMPOk", "her own record, which her assertion names"
    deposit(portal, submission(patient_id))
    assert delivered(portal) == []
