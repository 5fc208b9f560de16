"""The patient himself on the wire: through a portal the operator has listed, and in no other way.

Clause: DMP VIHF resource-id, EX_GEN-1550; CSP L1111-17, L1111-18
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from conformance import frames
from guard.audit.access_log import LOG_READ, LOGIN
from guard.credentials import vihf
from guard.credentials.caller import Mode
from guard.policy.facts import RecordStatus
from record import lifecycle
from record.acts import BLOCKED
from record.store import Record
from record.td.services import ACTS, HABILITATIONS
from tests.portal import at_portal, signing, with_portal
from tests.record.test_record_documents import OWN_TYPE
from tests.record_messages import Said, ask, message, send, stranger
from tests.registry.test_policy_on_the_wire import deposit, submission
from tests.registry.test_wrong_persons import MOTHER, named_a_mother
from tests.world import NURSE, OPERATOR, World, unique_ids
from xds.model import Code
from xds.wire.client import FaultReceived

ANNOUNCED_LATER = Code("INVISIBLE_PATIENT", "1.2.250.1.213.1.1.4.13", "Non visible par le patient")
DENIED = "DMPAccessDeniedByRightsService"


@pytest.fixture(scope="module")
def portal(here: World) -> World:
    return with_portal(here)


def act(world: World, patient_id: str, operation: str, account: str = "", **arguments: str) -> Said:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    body = etree.fromstring(f'<{operation} xmlns="{ACTS}">{inner}</{operation}>')
    return send(world, body, patient_id, "portal", sign=signing(world, account))


def spoken(world: World, name: str, patient_id: str) -> Said:
    """A message of the page, by the patient."""
    return ask(world, name, patient_id, "portal", sign=signing(world))


def record_of(world: World, patient_id: str) -> Record:
    with world._registry_database() as database, database.read() as unit:
        found = unit.record.find(patient_id)
        assert found is not None
        return found


def test_every_act_of_the_patient_is_a_call(portal: World) -> None:
    """Open, read and change his data, allow, block, object, mask, read the log, close, reopen, destroy: as himself, and
    each leaves its line. Rule: D-43, K-09"""
    patient_id = stranger(portal)
    assert spoken(portal, "TD1.1", patient_id).ack == "AA"
    opened = record_of(portal, patient_id)
    key = opened.patient_key
    assert opened.channel == "patient"
    for name in ("TD0.2", "TD1.3a", "TD1.3b"):
        assert spoken(portal, name, patient_id).ack == "AA", name
    for verb in ("AUTORISER", "BLOQUER", "DEBLOQUER", "RETIRER"):
        assert act(portal, patient_id, "setAccess", action=verb, nationalId=NURSE).status == "DMPOk", verb
    circle = etree.fromstring(f'<listAuthorizationByPatient xmlns="{HABILITATIONS}"/>')
    assert send(portal, circle, patient_id, "portal", sign=signing(portal)).status == "DMPOk"
    for code in ("OPPOSITION_BRIS_DE_GLACE", "OPPOSITION_ACCES_URGENCE", "OPPOSITION_EQUIPE_DE_SOINS"):
        for value in ("true", "false"):
            assert act(portal, patient_id, "setObjection", code=code, value=value).status == "DMPOk", code
    assert act(portal, patient_id, "setEmergencyView", value="true").status == "DMPOk"
    assert record_of(portal, patient_id).shows_masked
    name = deposit(portal, submission(patient_id)).entries[0].unique_id
    for verb in ("MASQUER", "DEMASQUER", "CACHER", "MONTRER"):
        assert act(portal, patient_id, "setDocument", action=verb, uniqueId=name).status == "DMPOk", verb
    log = act(portal, patient_id, "readLog")
    assert log.status == "DMPOk" and len(log.all("*[local-name()='output']/*[local-name()='line']")) > 15
    assert spoken(portal, "TD1.4", patient_id).ack == "AA"
    assert act(portal, patient_id, "readLog").status == "DMPOk", "also of a closed record"
    assert spoken(portal, "TD1.2", patient_id).ack == "AA"
    asked = act(portal, patient_id, "askDestruction")
    assert asked.status == "DMPOk"
    assert act(portal, patient_id, "confirmDestruction", token="no").status == "DMPWrongConfirmation"
    gone = act(portal, patient_id, "confirmDestruction", token=asked.text)
    assert gone.status == "DMPOk" and len(gone.text) == 16
    with portal._registry_database() as database, database.read() as unit:
        assert unit.record.find(patient_id) is None and unit.record.get(key).status is RecordStatus.DESTROYED
        lines = [line for line in unit.audit.read_for_patient(key) if line.event != "ITI-42"]
    assert {(line.caller_id, line.mode, line.structure_name) for line in lines} == {
        ("patient", Mode.PATIENT.value, "PORTAIL FICTIF")
    }
    assert not [line for line in lines if patient_id.split("^")[0] in line.caller_id + line.caller_name]


@pytest.mark.parametrize(("who", "channel"), [
    ("portal", "patient"), ("staff", "desk"), ("laboratory", "desk"), ("physician", "professional"),
])
def test_the_channel_is_that_of_the_caller(portal: World, who: str, channel: str) -> None:
    """Patient, desk or professional: the record remembers by whom it was opened."""
    patient_id = stranger(portal)
    client = {"sign": signing(portal)} if who == "portal" else {}
    assert ask(portal, "TD1.1", patient_id, who, **client).ack == "AA"
    assert record_of(portal, patient_id).channel == channel


def test_an_announced_record_is_declined(portal: World) -> None:
    """Once, and it is not announced again."""
    patient_id = stranger(portal)
    assert act(portal, patient_id, "declineRecord").status == "DMPRecordUnknown"
    with portal._registry_database() as database, database.write() as unit:
        lifecycle.announce(unit, patient_id, by=OPERATOR)
    assert act(portal, patient_id, "declineRecord").status == "DMPOk"
    assert record_of(portal, patient_id).status is RecordStatus.DECLINED


def test_he_reads_what_is_his(portal: World) -> None:
    """What is masked too, not what is not announced; by the queries and the retrieve of everybody."""
    patient_id = portal.patient()
    masked = deposit(portal, submission(patient_id, masked=True)).entries[0].unique_id
    made = submission(patient_id)
    made.entries[0].confidentiality_codes.append(ANNOUNCED_LATER)
    later = deposit(portal, made).entries[0].unique_id
    me = replace(portal, _clients={"portal": at_portal(portal)})
    assert unique_ids(me.find(patient_id, "portal")) == [masked]
    outcome, items = me.read(patient_id, [masked, later], "portal")
    assert [item.unique_id for item in items] == [masked] and not outcome.is_success


def test_he_reads_all_of_his_log(portal: World) -> None:
    """A hundred lines at once, then those before. Rule: D-56"""
    patient_id = portal.patient()
    for number in range(102):
        act(portal, patient_id, "setEmergencyView", value=("true", "false")[number % 2])
    line = "*[local-name()='output']/*[local-name()='line']/*[local-name()='date']/text()"
    newest = act(portal, patient_id, "readLog").all(line)
    before = act(portal, patient_id, "readLog", skip="101").all(line)
    assert len(newest) == 100 and len(before) == 3
    assert newest + before == sorted(newest + before, reverse=True)


def test_a_representative_acts_while_the_record_names_him(portal: World) -> None:
    """Under his own account, and no destruction is his."""
    patient_id = portal.patient()
    assert act(portal, patient_id, "readLog", MOTHER).status == DENIED
    named_a_mother(portal, patient_id)
    assert act(portal, patient_id, "readLog", MOTHER).status == "DMPOk"
    assert act(portal, patient_id, "setAccess", MOTHER, action="BLOQUER", nationalId=NURSE).status == "DMPOk"
    token = act(portal, patient_id, "askDestruction", MOTHER).text
    assert act(portal, patient_id, "confirmDestruction", MOTHER, token=token).status == DENIED
    assert {line.mode for line in portal.log_of(patient_id) if line.caller_id == MOTHER} == {"REPRESENTANT"}


def test_who_represents_nobody_learns_and_opens_nothing(portal: World) -> None:
    """An account that no record names: the same refusal whether there is a record or not, and none is opened in which
    he could name himself."""
    there, closed, absent = (stranger(portal) for _ in range(3))
    for one in (there, closed):
        assert ask(portal, "TD1.1", one).ack == "AA"
    assert ask(portal, "TD1.4", closed).ack == "AA"

    def plain(said: Said) -> str:
        return re.sub("[0-9a-f]{32}", "", said.text)

    for name in ("TD0.2", "TD1.1", "TD1.2", "TD1.3a", "TD1.3b", "TD1.4"):
        said = [ask(portal, name, one, "portal", sign=signing(portal, MOTHER)) for one in (there, closed, absent)]
        assert {(one.ack, one.error) for one in said} == {("AE", DENIED)}, name
        assert len({plain(one) for one in said}) == 1, name
    for operation, more in (("declineRecord", {}), ("readLog", {}), ("askDestruction", {}),
                            ("setNotices", {"value": "true"})):
        acted = [act(portal, one, operation, MOTHER, **more) for one in (there, closed, absent)]
        assert {one.status for one in acted} == {DENIED} and len({plain(one) for one in acted}) == 1, operation
    with portal._registry_database() as database, database.read() as unit:
        assert unit.record.find(absent) is None


def test_he_deposits_what_is_his(portal: World) -> None:
    """Documents of the patient's own types, imputed to nobody else."""
    patient_id = portal.patient()
    me = replace(portal, _clients={"portal": at_portal(portal)})
    made = frames.valid_submission("dmp", patient_id=patient_id, **OWN_TYPE)
    assert me.deposit(made, who="portal").is_success
    assert unique_ids(me.find(patient_id, "portal")) == [made.entries[0].unique_id]


def test_he_names_no_professional_as_author(here: World) -> None:
    """Where agreement is asked for, a set and a document of his are by nobody of the professions. Rule: K-09, R-190"""
    strict = here.settings.model_copy(update={
        "credentials": here.settings.credentials.model_copy(update={"author": "refuse"})
    })
    portal = with_portal(replace(here, settings=strict))
    patient_id = portal.patient()
    me = replace(portal, _clients={"portal": at_portal(portal)})
    made = frames.valid_submission("dmp", patient_id=patient_id, **OWN_TYPE)
    (error,) = me.deposit(made, who="portal").errors
    assert "author" in error.context and "a patient deposits for himself" in error.context
    own = frames.valid_submission("dmp", patient_id=patient_id, **OWN_TYPE)
    number = patient_id.partition("^")[0]
    own.submission_set.authors[0].person[:] = [f"{number}^ESSAI^Ada^^^^^^&1.2.250.1.213.1.4.10&ISO^D^^^NH"]
    assert me.deposit(own, who="portal").is_success


def test_he_has_his_own_record_only(portal: World) -> None:
    """A message about another patient than the one the assertion names is refused, whatever it asks."""
    mine, other = portal.patient(), portal.patient()
    for name in ("TD1.3a", "TD1.4", "TD1.3b"):
        said = send(portal, message(name, other), mine, "portal", sign=signing(portal))
        assert said.ack == "AE" and said.error == DENIED, name
    deposit(portal, submission(other))
    for record, count in ((mine, 0), (other, 1)):
        theirs = replace(portal, _clients={"portal": at_portal(portal, record=record)})
        assert len(unique_ids(theirs.find(other, "portal"))) == count


def test_a_portal_that_is_not_listed_speaks_for_nobody(here: World, portal: World) -> None:
    """The same certificate and the same words, where the operator has not named it: a structure like any other."""
    patient_id = here.patient()
    unlisted = replace(here, cards=portal.cards, _clients={})
    block = {"action": "BLOQUER", "nationalId": NURSE}
    for operation, more in (("readLog", {}), ("setAccess", block)):
        assert act(unlisted, patient_id, operation, **more).status == DENIED

    def done() -> list[str]:
        lines = here.log_of(patient_id)
        return [line.action for line in lines if line.action in (BLOCKED, LOG_READ) and line.outcome == "success"]

    assert done() == []
    assert act(portal, patient_id, "setAccess", **block).status == "DMPOk" and done() == [BLOCKED]


@pytest.mark.parametrize("changes", [
    {"name_id": "10B0000099/"}, {"name_id": "899700000018"}, {"name_id": "20B0000099/279059999900530"},
    {"patient_id": ""}, {"is_secret_connection": True},
    {"purpose": vihf.BREAK_GLASS, "purpose_reason": "essai"},
    {"roles": (Code("10", vihf.PROFESSIONS, "Médecin"), Code("SM26", vihf.SPECIALTIES, "SM26"))},
    {"mode": Mode.REINFORCED_INDIRECT, "context_declaration": "essai"},
], ids=str)
def test_what_a_portal_may_not_say(portal: World, changes: dict[str, Any]) -> None:
    """A fault of credentials, and nothing is done. Rule: K-09"""
    patient_id = portal.patient()
    before = len(portal.log_of(patient_id))
    body = etree.fromstring(f'<readLog xmlns="{ACTS}"/>')
    with pytest.raises(FaultReceived):
        send(portal, body, patient_id, "portal", sign=signing(portal, **changes))
    assert len(portal.log_of(patient_id)) == before
    (line,) = portal.registry_lines(1)
    assert line.action == LOGIN and line.reason


def test_a_portal_is_no_way_to_feed(portal: World) -> None:
    """A patient deposits the types that are his, and no report of a laboratory."""
    patient_id = portal.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    me = replace(portal, _clients={"portal": at_portal(portal)})
    (error,) = me.deposit(made, who="portal").errors
    assert "no document of the caller's own" in error.context
    assert unique_ids(me.find(patient_id, "portal")) == []
