"""The record services in HL7 v3: existence, opening, reading, changing, searching, closing, reopening.

Clause: DMP TD0.2, TD0.5, TD1.1, TD1.2, TD1.3a, TD1.3b, TD1.4
"""

from __future__ import annotations

import pytest

from guard.credentials.vihf import Code
from record import acts
from tests.record_messages import Said, ask, message, send, stranger
from tests.world import OPERATOR, PHYSICIAN, STRUCTURE, World

REGULATION = Code("centre_15", "1.2.250.1.213.1.1.4.248", "Accès Centre 15")


@pytest.fixture
def opened(here: World) -> str:
    """A patient whose record was opened by TD1.1."""
    patient_id = stranger(here)
    said = ask(here, "TD1.1", patient_id)
    assert (said.name, said.ack, said.error) == ("PRPA_IN201312UV02", "AA", ""), said.text
    assert said.one(".//h:patient/h:statusCode/@code") == "active"
    return patient_id


def refused(said: Said, name: str, error: str, *words: str) -> None:
    """A no in the interaction's own form; the text names the trace that is the id of the answer."""
    assert (said.name, said.ack, said.error) == (name, "AE", error), said.text
    assert said.text.endswith(said.one("descendant-or-self::h:*[h:acknowledgement]/h:id/@extension"))
    assert all(word in said.text for word in words), said.text


def test_there_is_no_record_before_one_is_opened(here: World) -> None:
    """NF, nothing of a patient, and no error."""
    said = ask(here, "TD0.2", stranger(here))
    assert (said.name, said.ack, said.one(".//h:queryResponseCode/@code")) == ("PRPA_IN201308UV02", "AA", "NF")
    assert said.all(".//h:patient") == []


def test_an_open_record_tells_its_state(here: World, opened: str) -> None:
    """Status, traits, and what the caller may do; the question comes back. Rule: D-45, D-48"""
    said = ask(here, "TD0.2", opened)
    assert said.one(".//h:queryResponseCode/@code") == "OK"
    assert said.one(".//h:patient/h:statusCode/@code") == "active"
    assert said.one(".//h:patientPerson/h:name/h:family[@qualifier='BR']/text()") == "ESSAI"
    assert said.one(".//h:birthTime/@value") == "19790514"
    assert (said.attention("AUTORISATION"), said.attention("STATUT_MT")) == ("NON_EXISTE", "false")
    for flag in ("COMPTE_INTERNET_OUVERT", "RATTACHEMENT_ENS"):
        assert said.attention(flag) == said.observed(flag) == "false"
    assert said.one(".//h:queryByParameter//h:patientIdentifier/h:value/@extension") == opened.split("^")[0]
    assert said.one("h:acknowledgement/h:targetMessage/h:id/@extension") == "message-1"
    assert [line.event for line in here.log_of(opened)] == ["TD1.1", "TD0.2"]


def test_what_the_caller_may_do_is_told(here: World) -> None:
    """INTERDIT for a barred professional, VALIDE for one whose structure is authorised. Rule: D-48"""
    patient_id = here.patient()
    assert ask(here, "TD0.2", patient_id).attention("AUTORISATION") == "VALIDE"
    with here._registry_database() as database, database.write() as unit:
        acts.block(unit, patient_id, PHYSICIAN, by=OPERATOR)
    assert ask(here, "TD0.2", patient_id).attention("AUTORISATION") == "INTERDIT"
    refused(ask(here, "TD1.3a", patient_id), "PRPA_IN201308UV02", "DMPAccessDeniedByRightsService", "patient-block")


def test_nothing_is_opened_without_consent(here: World) -> None:
    """An observation that says false is no consent, nor is another code. Rule: D-44"""
    patient_id = stranger(here)
    spoils = [{'xsi:type="BL" value="true"': 'xsi:type="BL" value="false"'},
              {"CONSENTEMENT_OUVERTURE_DMP": "CONSENTEMENT_REACTIVATION_DMP"},
              {'OUVERTURE_DMP" codeSystem="1.2.250.1.213.4.1.2.3': 'OUVERTURE_DMP" codeSystem="1.2'}]
    for spoil in spoils:
        said = send(here, message("TD1.1", patient_id, **spoil), patient_id)
        refused(said, "PRPA_IN201313UV02", "DMPConsentMissing")
        assert said.one(".//h:detectedIssueEvent/h:code/@code") == "DMPConsentMissing"
    assert ask(here, "TD0.2", patient_id).one(".//h:queryResponseCode/@code") == "NF"


def test_a_record_is_opened_once(here: World, opened: str) -> None:
    """Rule: D-47"""
    refused(ask(here, "TD1.1", opened), "PRPA_IN201313UV02", "DMPRecordAlreadyExists")
    assert [line.outcome for line in here.log_of(opened)] == ["success", "refused"]


def test_administrative_data_are_read_and_changed(here: World, opened: str) -> None:
    """What was opened is read; a change replaces it and sets the objection it names. Rule: D-51"""
    before = ask(here, "TD1.3a", opened)
    assert before.one(".//h:telecom/@value") == "tel:0102030405"
    assert before.one(".//h:addr/h:city/text()") == "PARIS"
    assert before.one(".//h:birthPlace/h:addr/h:county/text()") == "75113"
    assert before.observed("OPPOSITION_BRIS_DE_GLACE") == before.observed("OPPOSITION_ACCES_URGENCE") == "false"
    here_may_open(here, opened)
    changed = ask(here, "TD1.3b", opened)
    assert (changed.name, changed.error) == ("PRPA_IN201315UV02", ""), changed.text
    after = ask(here, "TD1.3a", opened)
    assert after.one(".//h:telecom/@value") == "tel:0203040506"
    assert (after.observed("OPPOSITION_BRIS_DE_GLACE"), after.observed("OPPOSITION_ACCES_URGENCE")) == ("true", "false")
    assert not any("0203040506" in repr(line) or "ESSAI" in line.detail for line in here.log_of(opened))


def here_may_open(here: World, patient_id: str) -> None:
    """The patient authorises the structure of our callers."""
    with here._registry_database() as database, database.write() as unit:
        acts.allow(unit, patient_id, STRUCTURE, by=OPERATOR, kind=acts.Kind.STRUCTURE)


def test_a_representative_and_both_names_come_back(here: World) -> None:
    """Used name, given names and a legal representative with his relation."""
    patient_id = stranger(here)
    relation = (
        '<personalRelationship classCode="PRS"><code code="MTH"/><telecom value="tel:0611223344"/>'
        '<relationshipHolder1 classCode="PSN" determinerCode="INSTANCE"><name><given>EVE</given><family>ESSAI</family>'
        "</name></relationshipHolder1></personalRelationship>"
    )
    spoil = {"<birthPlace": relation + "<birthPlace", "</name>": '<family qualifier="SP">EPREUVE</family></name>'}
    assert send(here, message("TD1.1", patient_id, **spoil), patient_id).ack == "AA"
    said = ask(here, "TD1.3a", patient_id)
    assert said.one(".//h:patientPerson/h:name/h:family[@qualifier='SP']/text()") == "EPREUVE"
    assert said.one(".//h:personalRelationship/h:code/@code") == "MTH"
    assert said.one(".//h:personalRelationship//h:family/text()") == "ESSAI"


def test_a_record_is_closed_and_reopened(here: World, opened: str) -> None:
    """Terminated, with date and reason; then active again. Rule: D-45, D-50"""
    closed = ask(here, "TD1.4", opened)
    assert (closed.name, closed.one(".//h:patient/h:statusCode/@code")) == ("PRPA_IN201315UV02", "terminated")
    seen = ask(here, "TD0.2", opened)
    assert seen.one(".//h:patient/h:statusCode/@code") == "terminated"
    assert len(seen.one(".//h:patient/h:effectiveTime/h:high/@value")) == len("20260314120000+0000")
    assert seen.one(".//h:detectedIssueEvent/h:code[@codeSystem='1.2.250.1.213.4.1.2.4']/@code") == (
        "FERMETURE_DEMANDE_PATIENT"
    )
    assert seen.one(".//h:detectedIssueEvent/h:text/text()") == "La patiente le demande"
    refused(ask(here, "TD1.3a", opened), "PRPA_IN201308UV02", "DMPRecordClosed")
    refused(ask(here, "TD1.4", opened), "PRPA_IN201316UV02", "DMPRecordAlreadyClosed")
    no_consent = message("TD1.2", opened, **{'xsi:type="BL" value="true"': 'xsi:type="BL" value="false"'})
    refused(send(here, no_consent, opened), "PRPA_IN201316UV02", "DMPConsentMissing")
    again = ask(here, "TD1.2", opened)
    assert (again.name, again.one(".//h:patient/h:statusCode/@code")) == ("PRPA_IN201315UV02", "active")
    assert ask(here, "TD1.3a", opened).one(".//h:birthTime/@value") == "19790514"


@pytest.mark.parametrize(("name", "spoil", "rule"), [
    ("TD0.2", {"TEST_EXST": "TEST"}, "D-41"),
    ("TD0.2", {'TEST_EXST" codeSystem="1.2.250.1.213.1.1.4.11"': 'TEST_EXST" codeSystem="1.2.3"'}, "D-41"),
    ("TD1.4", {"FERM\"": "REA\""}, "D-41"),
    ("TD0.2", {'root="1.2.250.1.213.1.4.10"': 'root="1.2.3"'}, "D-42"),
    ("TD1.4", {'root="1.2.250.1.213.1.4.10" extension': 'extension'}, "D-42"),
    ("TD1.4", {"terminated": "active"}, "D-45"),
    ("TD1.4", {"1.2.250.1.213.4.1.2.4": "1.2.3"}, "D-50"),
    ("TD1.4", {"<text>La patiente le demande</text>": ""}, "D-50"),
])
def test_a_message_that_is_wrong_is_told_why(
    here: World, opened: str, name: str, spoil: dict[str, str], rule: str
) -> None:
    """Field, found, expected, rule and trace; the record is as it was, the refusal in the log.

    Rule: D-41, D-42, D-45, D-47, D-50
    """
    said = send(here, message(name, opened, **spoil), opened)
    answer = "PRPA_IN201316UV02" if name == "TD1.4" else "PRPA_IN201308UV02"
    refused(said, answer, "DMPInvalidMessage", f"[{rule}]", "expected")
    assert ask(here, "TD0.2", opened).one(".//h:patient/h:statusCode/@code") == "active"
    assert [line.outcome for line in here.registry_lines(2)] == ["refused", "success"]


def test_an_assertion_for_another_patient_opens_nothing(here: World, opened: str) -> None:
    """The patient of the message is the one of the credential. Rule: D-43"""
    other = here.patient()
    for name in ("TD0.2", "TD1.3a", "TD1.4"):
        said = send(here, message(name, opened), other)
        assert (said.ack, said.error) == ("AE", "DMPAccessDeniedByRightsService"), name


def test_staff_neither_close_nor_list(here: World, opened: str) -> None:
    """A staff card tests and opens; to close is for a professional (R526 and its defaults)."""
    assert ask(here, "TD0.2", opened, "staff").ack == "AA"
    refused(ask(here, "TD1.4", opened, "staff"), "PRPA_IN201316UV02", "DMPAccessDeniedByRightsService", "CPE n")


def test_a_search_without_identifier_is_for_regulation(here: World) -> None:
    """In normal mode refused; in regulation mode the patient is found, with identifier and traits. Rule: D-46"""
    patient_id = stranger(here)
    name = "RECHERCHE" + "".join(chr(65 + int(d)) for d in patient_id[7:13])
    assert send(here, message("TD1.1", patient_id, ESSAI=name), patient_id).ack == "AA"
    search = message("TD0.5", "", ESSAI=name[:-1])
    refused(send(here, search, who="physician"), "PRPA_IN201306UV02", "DMPAccessDeniedByRightsService")
    found = send(here, search, purpose=REGULATION)
    assert (found.name, found.one(".//h:queryResponseCode/@code")) == ("PRPA_IN201306UV02", "OK"), found.text
    assert found.one(".//h:patient/h:id/@extension") == patient_id.split("^")[0]
    assert found.one(".//h:patient//h:family/text()") == name
    nobody = send(here, message("TD0.5", "", ESSAI="PERSONNE"), purpose=REGULATION)
    assert (nobody.one(".//h:queryResponseCode/@code"), nobody.all(".//h:patient")) == ("NF", [])
    assert [line.event for line in here.log_of(patient_id)] == ["TD1.1", "TD0.5"]


def test_more_than_ten_are_not_told(here: World) -> None:
    """Eleven who agree are a refusal that names none of them. Rule: D-46"""
    for _ in range(11):
        patient_id = stranger(here)
        assert send(here, message("TD1.1", patient_id, ESSAI="FOULE"), patient_id).ack == "AA"
    said = send(here, message("TD0.5", "", ESSAI="FOULE"), purpose=REGULATION)
    refused(said, "PRPA_IN201306UV02", "DMPTooMany", "10")
    assert said.all(".//h:patient") == []


def test_a_domain_without_rules_of_access_has_no_record_services(plain: World) -> None:
    """Nobody could be told who may close a record there: the address does not exist."""
    assert plain.registry is not None
    assert not any(path.startswith(("/services/rec", "/services/hab")) for path in plain.registry.app.paths)
