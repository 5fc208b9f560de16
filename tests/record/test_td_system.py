"""What those who manage the system do by SOAP, who they are, and what every software may ask.

Clause: loi OTSS; CSP L1111-18; DMP EX_AIR-120, EX_GEN-1550
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from guard.policy.facts import RecordStatus
from record import lifecycle
from record.actor import system
from record.td.services import SYSTEM
from tests.portal import signing, with_portal
from tests.record.test_portal import record_of
from tests.record_messages import Said, ask, send, stranger
from tests.world import NURSE, PHYSICIAN, World

DENIED = "DMPAccessDeniedByRightsService"
OUT = "*[local-name()='output']"
CX = "279059999900530^^^&1.2.250.1.213.1.4.10&ISO^NH"
MANAGED = {
    "announceRecords": {"patientId": CX.replace("&", "&amp;")},
    "recordDeath": {"patientId": CX.replace("&", "&amp;"), "dateOfDeath": "2026-01-01"},
    "runRetention": {},
    "extractTraces": {"nationalId": PHYSICIAN},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An installation of these tests alone: what a job opens and destroys, and all one professional did, is counted."""
    return World.prepare(tmp_path_factory.mktemp("td-system")).serve_here()


@pytest.fixture(scope="module")
def managed(here: World) -> World:
    """The colleague's card and the laboratory's certificate are managers."""
    return with_portal(here, "colleague", "laboratory")


def call(world: World, operation: str, who: str = "laboratory", **arguments: str | list[str]) -> Said:
    inner = "".join(
        f"<{name}>{one}</{name}>"
        for name, value in arguments.items() for one in (value if isinstance(value, list) else [value])
    )
    patient = {"sign": signing(world, record=CX)} if who == "portal" else {}
    return send(world, etree.fromstring(f'<{operation} xmlns="{SYSTEM}">{inner}</{operation}>'), "", who, **patient)


def escaped(patient_id: str) -> str:
    return patient_id.replace("&", "&amp;")


@pytest.mark.parametrize("operation", MANAGED)
def test_nobody_else_manages(here: World, managed: World, operation: str) -> None:
    """Neither a physician nor staff, nor a patient at a portal, nor anybody where none is named; each attempt is a
    line. Rule: D-58"""
    for world, who in (
        (managed, "physician"), (managed, "staff"), (managed, "portal"), (here, "colleague"), (here, "laboratory"),
    ):
        assert call(world, operation, who, **MANAGED[operation]).status == DENIED, who
        (line,) = world.registry_lines(1)
        assert (line.outcome, line.event, line.clause) == ("refused", operation, "functional-right")


def test_records_are_announced_in_bulk(managed: World) -> None:
    """Each for itself: a wrong one, a known one, one that opens when the notice ends. Rule: D-58, D-59"""
    known, new = stranger(managed), stranger(managed)
    assert ask(managed, "TD1.1", known).ack == "AA"
    said = call(managed, "announceRecords", patientId=[escaped(known), escaped(new), "nobody"])
    statuses = said.all(f"{OUT}/*[local-name()='record']/*[local-name()='status']/text()")
    assert statuses == ["DMPRecordAlreadyExists", "DMPOk", "DMPInvalidIdentifier"]
    record = record_of(managed, new)
    assert record.status is RecordStatus.ANNOUNCED and record.channel == "batch"
    assert said.all(f"{OUT}/*[local-name()='record']/*[local-name()='opensAt']/text()") == [record.opened_at]
    assert ask(managed, "TD0.2", new).text == "", "until it opens there is no record"
    assert [line.event for line in managed.log_of(new)] == ["announceRecords"]
    for wrong in ([], ["nobody"] * 201):
        refused = call(managed, "announceRecords", patientId=wrong)
        assert refused.status == "DMPInvalidMessage" and "[D-59]" in refused.text


def test_the_job_is_run_when_asked(managed: World) -> None:
    """An announced record opens once its notice has ended. Rule: D-58"""
    patient_id = stranger(managed)
    with managed._registry_database() as database, database.write() as unit:
        long_ago = system("operator", at=datetime.now(UTC) - timedelta(days=50))
        lifecycle.announce(unit, patient_id, by=long_ago)
    said = call(managed, "runRetention", "colleague")
    assert said.status == "DMPOk" and "1 opened, 0 destroyed" in said.text
    record = record_of(managed, patient_id)
    assert (record.status, record.consent, record.channel) == (RecordStatus.ACTIVE, "no objection", "batch")
    assert {line.caller_id for line in managed.log_of(patient_id)[1:]} == {"899700000034"}


def test_what_was_kept_long_enough_is_destroyed(managed: World) -> None:
    """Ten years after the closing. Rule: D-58"""
    patient_id = managed.patient()
    with managed._registry_database() as database, database.write() as unit:
        key = unit.record.find(patient_id).patient_key
        long_ago = system("operator", at=datetime.now(UTC) - timedelta(days=3655))
        lifecycle.close_record(unit, patient_id, by=long_ago, reason="essai")
    assert "0 opened, 1 destroyed" in call(managed, "runRetention").text
    with managed._registry_database() as database, database.read() as unit:
        assert unit.record.get(key).status is RecordStatus.DESTROYED


def test_a_death_closes_the_record(managed: World) -> None:
    """And nobody reopens it. Rule: D-58, D-60"""
    patient_id = managed.patient()
    for day, status in (("yesterday", "DMPInvalidMessage"), ("2999-01-01", "DMPInvalidData")):
        assert call(managed, "recordDeath", patientId=escaped(patient_id), dateOfDeath=day).status == status
    assert record_of(managed, patient_id).status is RecordStatus.ACTIVE
    said = call(managed, "recordDeath", patientId=escaped(patient_id), dateOfDeath="2026-01-02")
    assert said.status == "DMPOk"
    record = record_of(managed, patient_id)
    assert (record.status, record.deceased_on, record.closed_at) == (RecordStatus.CLOSED, "2026-01-02", said.text)
    assert ask(managed, "TD1.2", patient_id).error == "DMPDeceased"


def test_the_traces_of_one_professional_are_handed_out(managed: World) -> None:
    """Those of all records, by day, and nobody else's; that they were is a line. Rule: D-60, D-61"""
    patients = [stranger(managed) for _ in range(3)]
    for one in patients:
        assert ask(managed, "TD1.1", one, "nurse").ack == "AA"
    assert ask(managed, "TD1.1", stranger(managed), "physician").ack == "AA"
    since = datetime.now(UTC).date().isoformat()
    said = call(managed, "extractTraces", nationalId=NURSE, since=since, until=since)
    assert said.status == "DMPOk"
    (line,) = managed.registry_lines(1)
    assert (line.action, line.caller_id) == ("traces handed out", "10B0000001/Automate") and NURSE in line.detail
    assert said.all(f"{OUT}/*[local-name()='line']/*[local-name()='patientId']/text()") == patients
    assert call(managed, "extractTraces", nationalId=NURSE).text == "3"
    left = call(managed, "extractTraces", nationalId=NURSE, skip="1")
    assert left.text == "2"
    assert left.all(f"{OUT}/*[local-name()='line']/*[local-name()='patientId']/text()") == patients[1:]
    assert call(managed, "extractTraces", nationalId=NURSE, since="2020-01-01", until="2020-12-31").text == "0"
    assert call(managed, "extractTraces", nationalId=NURSE, until="2020-12-31").text == "0"
    assert call(managed, "extractTraces", nationalId="patient").text == "0", "holders are nobody's traces to hand out"
    for wrong, rule in (
        ({"since": "today"}, "D-60"), ({"until": "9999-12-31"}, "D-60"), ({"nationalId": " "}, "D-61"),
        ({"skip": "-1"}, "D-61"),
    ):
        refused = call(managed, "extractTraces", **({"nationalId": NURSE} | wrong))
        assert refused.status == "DMPInvalidMessage" and f"[{rule}]" in refused.text


def test_the_parameters_of_the_server_are_published(managed: World) -> None:
    """To whoever has a credential; of minors, and which marks exclude each other."""
    said = call(managed, "getParameters", "staff")
    one = f"{OUT}/*[local-name()='parameter']"
    names, values = (said.all(f"{one}/*[local-name()='{of}']/text()") for of in ("name", "value"))
    assert dict(zip(names, values, strict=True)) == {
        "fonctions-gestion-mineurs": "true", "age-majorite": "18", "age-minimum-connexion-secrete": "0",
        "cumul-invisible_patient-masque_ps": "false",
    }
