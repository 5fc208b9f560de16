"""The typed record services: authorisation, the circle, the records one may open.

Clause: DMP TD0.3, TD0.4, TD1.6
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from lxml import etree

from carnet import wiring
from carnet.records import record_services
from conformance import frames
from guard.credentials.vihf import Code
from record import acts
from record.facts import CARE_TEAM_BASIS
from record.store import Kind, Place
from record.td.services import ACTS, HABILITATIONS, PATIENTS, SERVICES
from tests.record_messages import Said, ask, message, send, stranger
from tests.registry.test_policy_on_the_wire import AUTHOR, MASKED
from tests.world import COLLEAGUE, NURSE, OPERATOR, PHYSICIAN, STRUCTURE, World
from xds.wire.client import FaultReceived

REGULATION = Code("centre_15", "1.2.250.1.213.1.1.4.248", "Accès Centre 15")
PRESENT = "already present"


@pytest.fixture
def opened(here: World) -> str:
    """A patient with a record, and nobody in the circle."""
    patient_id = stranger(here)
    assert ask(here, "TD1.1", patient_id).ack == "AA"
    return patient_id


def habilitation(here: World, patient_id: str, action: str, role: str = "", who: str = "physician") -> Said:
    inner = f"<action>{action}</action>" + (f"<role>{role}</role>" if role else "")
    body = etree.fromstring(f'<setAuthorization xmlns="{HABILITATIONS}">{inner}</setAuthorization>')
    return send(here, body, patient_id, who)


def places(here: World, patient_id: str, subject: str) -> list[Place]:
    with here._registry_database() as database, database.read() as unit:
        record = unit.record.find(patient_id)
        assert record is not None
        return [place for place in unit.record.places(record.patient_key) if place.subject == subject]


def circle(here: World, patient_id: str, mode: str = "", who: str = "physician") -> Said:
    inner = f"<mode>{mode}</mode>" if mode else ""
    body = etree.fromstring(
        f'<listAuthorizationByPatient xmlns="{HABILITATIONS}">{inner}</listAuthorizationByPatient>'
    )
    return send(here, body, patient_id, who)


def listed(here: World, who: str = "physician", **arguments: str) -> Said:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    return send(here, etree.fromstring(f'<patientList xmlns="{PATIENTS}">{inner}</patientList>'), "", who)


def test_a_professional_declares_himself(here: World, opened: str) -> None:
    """Once is enough, twice is DMPOk; the existence test sees it. Rule: D-49, D-48"""
    first, second = (habilitation(here, opened, "AJOUT") for _ in range(2))
    assert (first.status, first.text) == ("DMPOk", "")
    assert (second.status, second.text) == ("DMPOk", PRESENT)
    assert ask(here, "TD0.2", opened).attention("AUTORISATION") == "VALIDE"
    assert ask(here, "TD0.2", opened).attention("STATUT_MT") == "false"
    assert [line.event for line in here.log_of(opened)][1:3] == ["TD0.3", "TD0.3"]


def test_a_physician_attends_and_stops(here: World, opened: str) -> None:
    """With the role he attends; without it he withdraws altogether. Rule: D-49"""
    assert habilitation(here, opened, "AJOUT", "MEDECIN_TRAITANT").status == "DMPOk"
    assert ask(here, "TD0.2", opened).attention("STATUT_MT") == "true"
    assert habilitation(here, opened, "SUPPRESSION", "MEDECIN_TRAITANT").status == "DMPOk"
    seen = ask(here, "TD0.2", opened)
    assert (seen.attention("STATUT_MT"), seen.attention("AUTORISATION")) == ("false", "VALIDE")
    assert habilitation(here, opened, "SUPPRESSION").status == "DMPOk"
    assert ask(here, "TD0.2", opened).attention("AUTORISATION") == "EXPIRE"


def test_a_member_of_the_care_team_is_in_it_until_the_patient_objects(here: World, opened: str) -> None:
    """He states that the patient is informed; the patient's objection ends it and keeps others out, an authorisation
    stays. Rule: D-49"""
    assert habilitation(here, opened, "AJOUT", "EQUIPE_DE_SOINS", who="nurse").status == "DMPOk"
    assert ask(here, "TD0.2", opened, "nurse").attention("AUTORISATION") == "VALIDE"
    assert habilitation(here, opened, "AJOUT").status == "DMPOk"
    said = act(here, opened, "setObjection", code="OPPOSITION_EQUIPE_DE_SOINS", value="true")
    assert said.status == "DMPOk"
    assert ask(here, "TD0.2", opened, "nurse").attention("AUTORISATION") != "VALIDE"
    assert ask(here, "TD0.2", opened).attention("AUTORISATION") == "VALIDE"
    refused = habilitation(here, opened, "AJOUT", "EQUIPE_DE_SOINS", who="colleague")
    assert refused.status == "DMPNotAgreed" and "care team" in refused.text


def test_a_place_in_the_care_team_ends_and_gives_way_to_consent(here: World, opened: str) -> None:
    """A year by default; a structure is in no care team; who states the consent later has it. Rule: D-49"""
    assert habilitation(here, opened, "AJOUT", "EQUIPE_DE_SOINS", who="staff").status == "DMPNotAgreed"
    assert habilitation(here, opened, "AJOUT", "EQUIPE_DE_SOINS", who="nurse").status == "DMPOk"
    (place,) = places(here, opened, NURSE)
    assert place.basis == CARE_TEAM_BASIS and place.until
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPOk"
    assert act(here, opened, "setObjection", code="OPPOSITION_EQUIPE_DE_SOINS", value="true").status == "DMPOk"
    assert ask(here, "TD0.2", opened, "nurse").attention("AUTORISATION") == "VALIDE"


def test_a_nurse_does_not_attend(here: World, opened: str) -> None:
    """Only physicians; the name of the error, the reason and the trace id come back. Rule: D-47"""
    said = habilitation(here, opened, "AJOUT", "MEDECIN_TRAITANT", who="nurse")
    assert said.status == "DMPAccessDeniedByRightsService" and " trace " in said.text
    assert here.log_of(opened)[-1].outcome == "refused"


def test_nobody_declares_himself_in_an_emergency(here: World, opened: str) -> None:
    """Normal mode only (R526)."""
    said = send(here, message("TD0.3"), opened, purpose=REGULATION)
    assert said.status == "DMPAccessDeniedByRightsService"


def test_the_circle_is_listed(here: World, opened: str) -> None:
    """Authorised, barred, or both, with identifier, specialty, role and mode."""
    assert habilitation(here, opened, "AJOUT", "MEDECIN_TRAITANT").status == "DMPOk"
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPOk"
    with here._registry_database() as database, database.write() as unit:
        acts.block(unit, opened, COLLEAGUE, by=OPERATOR)
    line = "a:output/a:listOfAuthorizationByPatient"
    everybody = circle(here, opened, "TOUTE")
    assert sorted(everybody.all(f"{line}/a:nationalId/text()")) == sorted([PHYSICIAN, NURSE, COLLEAGUE])
    assert set(everybody.all(f"{line}/a:nationalIdType/text()")) == {"1.2.250.1.71.4.2.1"}
    mine = f"{line}[a:nationalId='{PHYSICIAN}']"
    assert everybody.one(f"{mine}/a:codeSpeciality/text()") == "G15_10/SM26"
    assert everybody.one(f"{mine}/a:specificRight/text()") == "MEDECIN_TRAITANT"
    assert everybody.one(f"{mine}/a:mode/text()") == "ACTIVE"
    assert everybody.all(f"{line}[a:nationalId='{COLLEAGUE}']/a:mode/text()") == ["INTERDITE"]
    assert circle(here, opened, "INTERDITE").all(f"{line}/a:nationalId/text()") == [COLLEAGUE]
    assert sorted(circle(here, opened).all(f"{line}/a:nationalId/text()")) == sorted([PHYSICIAN, NURSE])
    assert circle(here, opened, who="staff").status == "DMPAccessDeniedByRightsService"
    assert circle(here, opened, who="colleague").status == "DMPAccessDeniedByRightsService"


def test_the_records_one_may_open_are_listed(here: World, opened: str) -> None:
    """Identifier, traits and marks; not those of others, nor of before. Rule: D-53, D-54"""
    number = opened.split("^", 1)[0]
    line = f"p:output/p:patientlistData[p:patientIdentifier/p:nationalId='{number}']"
    assert listed(here, "nurse").all(line) == []
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPOk"
    said = listed(here, "nurse", startDate="01012026", dateType="LASTAUTORIZATION")
    assert said.status == "DMPOk"
    assert said.one(f"{line}/p:patronymicalName/text()") == "ESSAI"
    assert said.one(f"{line}/p:dateOfBirth/text()") == "1979-05-14"
    assert (said.one(f"{line}/p:MT/text()"), said.one(f"{line}/p:message/text()")) == ("false", "false")
    assert said.one(f"{line}/p:patientIdentifier/p:nationalIdType/text()") == "1.2.250.1.213.1.4.10"
    assert listed(here, "nurse", startDate="2099-01-01").all(line) == []
    for arguments, rule in (({"startDate": "32012026"}, "D-53"), ({"psOwnerId": PHYSICIAN}, "D-54")):
        refusal = listed(here, "nurse", **arguments)
        assert refusal.status == "DMPInvalidMessage" and f"[{rule}]" in refusal.text


def test_the_list_does_not_date_what_is_hidden(here: World, opened: str) -> None:
    """A masked document of somebody else is no new document: neither its date nor a mark. Rule: D-53"""
    for who in ("nurse", "physician"):
        assert habilitation(here, opened, "AJOUT", who=who).status == "DMPOk"
    made = frames.valid_submission("dmp", patient_id=opened, authors=[frames.an_author(person=[AUTHOR])])
    made.entries[0].confidentiality_codes.append(MASKED)
    assert here.deposit(made).is_success
    line = f"p:output/p:patientlistData[p:patientIdentifier/p:nationalId='{opened.split('^', 1)[0]}']"
    for who, dated, fresh in (("nurse", 0, "false"), ("physician", 1, "true")):
        said = listed(here, who)
        assert len(said.all(f"{line}/p:lastAddDate")) == dated and said.one(f"{line}/p:message/text()") == fresh
        by_document = listed(here, who, startDate="2020-01-01", dateType="LASTDOC")
        assert len(by_document.all(line)) == dated


def test_without_a_patient_in_the_credential_nothing_is_done(here: World) -> None:
    """Typed services have him nowhere else. Rule: D-43"""
    for said in (habilitation(here, "", "AJOUT"), circle(here, "")):
        assert said.status == "DMPInvalidMessage" and "[D-43]" in said.text
    assert [line.outcome for line in here.registry_lines(2)] == ["refused", "refused"]


@pytest.mark.parametrize(("body", "rule"), [
    (f'<setAuthorization xmlns="{HABILITATIONS}"><action>SUPPRIMER</action></setAuthorization>', "R-001"),
    (f'<setAuthorization xmlns="{HABILITATIONS}"><verb>AJOUT</verb></setAuthorization>', "R-001"),
    (f'<setAuthorization xmlns="{HABILITATIONS}"><role>MEDECIN_TRAITANT</role></setAuthorization>', "D-52"),
    (f'<setAuthorization xmlns="{HABILITATIONS}"/>', "D-52"),
    (f'<patientList xmlns="{PATIENTS}"><startDate>{"1" * 5000}</startDate></patientList>', "R-001"),
])
def test_arguments_of_another_form_are_refused(here: World, opened: str, body: str, rule: str) -> None:
    """By the schema of the service's own description, then by rule; in the form of the operation. Rule: R-001, D-52"""
    said = send(here, etree.fromstring(body), opened)
    assert said.status == "DMPInvalidMessage" and f"[{rule}]" in said.text
    assert "SUPPRIMER" not in said.text and "11111" not in said.text


def test_an_operation_is_served_at_its_address_only(here: World, opened: str) -> None:
    """And its body fits its action: T rules hold for typed services too. Rule: R-002"""
    with pytest.raises(FaultReceived, match="not served"):
        send(here, message("TD0.3"), opened, path="/services/patients")
    with pytest.raises(FaultReceived, match="not served"):
        send(here, message("TD0.2", opened), opened, path="/services/registry")


def test_a_credential_is_asked_for(here: World) -> None:
    """The faults of every other service: without assertion nobody is known."""
    assert here.registry is not None
    with pytest.raises(FaultReceived):
        send(here, message("TD0.3"), "", sign=lambda patient_id: b"")


def test_two_threads_are_not_mixed(here: World, opened: str) -> None:
    """spyne keeps nothing of a request: answers belong to their callers."""
    assert habilitation(here, opened, "AJOUT").status == "DMPOk"
    with here._registry_database() as database, database.write() as unit:
        acts.allow(unit, opened, STRUCTURE, by=OPERATOR, kind=Kind.STRUCTURE)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: circle(here, opened, ("ACTIVE", "INTERDITE")[n % 2]), range(40)))
    counts = [len(one.all("a:output/a:listOfAuthorizationByPatient")) for one in said]
    assert counts == [2, 0] * 20


def test_every_description_names_the_actions_it_is_called_by() -> None:
    """Both spellings of the attribute, equal, and the address that was asked."""
    for path, service in SERVICES.items():
        root = etree.fromstring(service.wsdl(f"https://carnet.invalid{path}&co"))
        stated = {
            node.get("{http://www.w3.org/2007/05/addressing/metadata}Action")
            for node in root.iter("{*}input", "{*}output")
            if node.get("message")
        }
        assert stated == {a for o in service.operations for a in (o.action, o.response_action)}
        assert [node.get("location") for node in root.iter("{*}address")] == [f"https://carnet.invalid{path}&co"]


# -- the patient's acts -----------------------------------------------------------------------------------------------


def act(here: World, patient_id: str, operation: str, who: str = "physician", **arguments: str) -> Said:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    return send(here, etree.fromstring(f'<{operation} xmlns="{ACTS}">{inner}</{operation}>'), patient_id, who)


def test_the_attending_physician_blocks_at_the_patients_request(here: World, opened: str) -> None:
    """Nobody else does; the barred one gets no access in any way. Rule: D-55"""
    block = {"action": "BLOQUER", "nationalId": NURSE}
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPOk"
    assert act(here, opened, "setAccess", **block).status == "DMPAccessDeniedByRightsService"
    assert habilitation(here, opened, "AJOUT", "MEDECIN_TRAITANT").status == "DMPOk"
    assert act(here, opened, "setAccess", **block).status == "DMPOk"
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPAccessDeniedByRightsService"
    assert act(here, opened, "setAccess", action="DEBLOQUER", nationalId=NURSE).status == (
        "DMPAccessDeniedByRightsService"
    ), "only the patient lifts a bar"
    for wrong in ({"nationalId": NURSE}, block | {"nationalIdType": "1.2.3"}):
        said = act(here, opened, "setAccess", **wrong)
        assert said.status == "DMPInvalidMessage" and "[D-55]" in said.text


def test_an_objection_is_noted(here: World, opened: str) -> None:
    """By an authorised professional; a code nobody knows is refused."""
    assert habilitation(here, opened, "AJOUT").status == "DMPOk"
    assert act(here, opened, "setObjection", code="OPPOSITION_ACCES_URGENCE", value="true").status == "DMPOk"
    assert ask(here, "TD1.3a", opened).observed("OPPOSITION_ACCES_URGENCE") == "true"
    assert act(here, opened, "setObjection", code="OPPOSITION_ACCES_URGENCE", value="false").status == "DMPOk"
    assert ask(here, "TD1.3a", opened).observed("OPPOSITION_ACCES_URGENCE") == "false"
    assert act(here, opened, "setObjection", code="OPPOSITION", value="true").status == "DMPInvalidData"


def test_the_log_is_read(here: World, opened: str) -> None:
    """The attending physician reads all of it, another professional what he did himself. Rule: D-56"""
    line = "*[local-name()='output']/*[local-name()='line']"
    assert habilitation(here, opened, "AJOUT", who="nurse").status == "DMPOk"
    own = act(here, opened, "readLog", who="nurse")
    assert own.status == "DMPOk"
    assert all("FICTIF" in text for text in own.all(f"{line}/*[local-name()='sentence']/text()"))
    assert habilitation(here, opened, "AJOUT", "MEDECIN_TRAITANT").status == "DMPOk"
    everything = act(here, opened, "readLog")
    assert len(everything.all(line)) > len(own.all(line)) > 0
    dates = everything.all(f"{line}/*[local-name()='date']/text()")
    assert dates == sorted(dates, reverse=True)
    assert act(here, opened, "readLog", who="staff").status == "DMPAccessDeniedByRightsService"


def test_the_operators_rules_are_those_of_the_services(here: World) -> None:
    """An authorisation declared by SOAP lasts as long as the settings say."""
    chosen = here.settings.record.model_copy(update={"authorisation_days": 7})
    settings = here.settings.model_copy(update={"record": chosen})
    made = record_services(settings, wiring.registry_actor(settings))
    assert made is not None and made.rules.authorisation_days == 7
