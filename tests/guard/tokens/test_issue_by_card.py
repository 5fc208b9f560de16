"""A card against an assertion, and what the services make of it.

Clause: WS-Trust 1.3 4; ITI TF-2 3.40; DMP VIHF 1
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from conformance import frames
from conformance.token_client import TokenClient
from guard.credentials import vihf
from guard.credentials.identity import CardType
from guard.credentials.pki import KeyKind, Pki
from tests.guard.tokens.conftest import SECTOR, Desk
from tests.live import a_document, provide, submission_of
from tests.world import PHYSICIAN, STRUCTURE
from xds.namespaces import DS, SAML
from xds.wire.client import FaultReceived, LocalTransport
from xds.wire.exchange import Peer

NS = {"s": SAML, "d": DS}


def said(assertion: bytes, path: str) -> list[str]:
    return [str(found) for found in etree.fromstring(assertion).xpath(path, namespaces=NS)]  # type: ignore[union-attr]


def refused(desk: Desk, code: str, **claims: str) -> str:
    """The fault a request by card ends in; the log has a refused line of it."""
    with pytest.raises(FaultReceived) as caught:
        desk.by_card(**claims)
    fault = caught.value
    assert fault.subcode is not None and fault.subcode[1] == code, fault
    line = desk.lines(1)[0]
    assert (line.event, line.action, line.outcome) == ("WS-Trust Issue", "token issued", "refused")
    assert line.trace_id == fault.trace_id
    return fault.reason


def test_a_card_gets_an_assertion_that_the_registry_takes(desk: Desk) -> None:
    """Signed by the service, in reinforced indirect mode, saying that a card was the proof; the query is answered.

    Rule: W-01, W-03
    """
    patient_id = desk.world.patient()
    assertion = desk.by_card(patient_id=patient_id)
    assert said(assertion, "s:Subject/s:NameID/text()") == [PHYSICIAN]
    assert said(assertion, "//s:AuthnContextClassRef/text()") == [vihf.SMARTCARD_PKI]
    assert said(assertion, "//s:AuthnContextDecl/text()") == [vihf.SMARTCARD_PKI]
    mode = "//s:Attribute[@Name='Authentification_mode']/s:AttributeValue/text()"
    assert said(assertion, mode) == ["INDIRECTE_RENFORCEE"]
    assert said(assertion, "s:Issuer/text()") == ["CN=tokens-sign,O=Carnet test,C=FR"]
    assert said(assertion, "//s:AudienceRestriction") == []
    assert desk.find("physician", assertion, patient_id).outcome.is_success
    line = desk.world.log_of(patient_id)[-1]
    assert (line.caller_id, line.mode, line.structure_id) == (PHYSICIAN, "INDIRECTE_RENFORCEE", STRUCTURE)


def test_the_issue_is_in_the_service_s_own_log(desk: Desk) -> None:
    """Whom, as what, for which patient, by which proof: never the token. Rule: W-13"""
    patient_id = desk.world.patient()
    assertion = desk.by_card(patient_id=patient_id)
    line = desk.lines(1)[0]
    assert (line.event, line.action, line.outcome) == ("WS-Trust Issue", "token issued", "success")
    assert (line.caller_id, line.patient_id, line.detail) == (PHYSICIAN, patient_id, "by card")
    assert [line.assertion_id] == said(assertion, "@ID")
    assert "SignatureValue" not in repr(line) and said(assertion, "//d:SignatureValue/text()")[0] not in repr(line)


def test_another_s_connection_cannot_use_it(desk: Desk) -> None:
    """Neither a colleague's card nor the structure the assertion names, which has not seen her card. Rule: W-04"""
    patient_id = desk.world.patient()
    assertion = desk.by_card(patient_id=patient_id)
    for who in ("colleague", "laboratory", "other"):
        with pytest.raises(FaultReceived, match="could not be authenticated"):
            desk.find(who, assertion, patient_id)


def test_it_is_refused_where_the_service_is_not_listed(unlisted: Desk) -> None:
    """The same authority, the same certificate profile: only the operator's word is missing. Rule: W-03"""
    patient_id = unlisted.world.patient()
    assertion = unlisted.by_card(patient_id=patient_id)
    with pytest.raises(FaultReceived, match="could not be authenticated"):
        unlisted.find("physician", assertion, patient_id)
    line = unlisted.world.last_lines(1)[-1]
    assert line.reason == f"Identifiant_Structure is {STRUCTURE!r}, the certificate that signed is of ''"
    assert not unlisted.asking("physician").validate(assertion).is_valid


def test_the_software_is_the_one_that_asks(desk: Desk) -> None:
    """It is named in the token and held against the register; the token service lends nobody its own number.

    Rule: W-02
    """
    patient_id = desk.world.patient()
    other = {vihf.SOFTWARE_NAME: "Essai", vihf.SOFTWARE_VERSION: "3.1", vihf.HOMOLOGATION: "ESSAI-000"}
    assertion = desk.by_card(patient_id=patient_id, **other)
    told = "//s:Attribute[starts-with(@Name, 'LPS_')]/s:AttributeValue/text()"
    assert sorted(said(assertion, told)) == ["3.1", "ESSAI-000", "Essai"]
    with pytest.raises(FaultReceived, match="ESSAI-000"):
        desk.find("physician", assertion, patient_id)
    for name in other:
        assert name in refused(desk, "InvalidRequest", **{name: ""})


def test_a_deposit_is_not_a_right_of_reinforced_indirect_mode(desk: Desk) -> None:
    """R526 leaves feeding out of it: the credential is accepted, the act is refused by the matrix of rights."""
    patient_id = desk.world.patient()
    assertion = desk.by_card(patient_id=patient_id)
    data = a_document()
    outcome = provide(desk.using("physician", assertion), submission_of(data, patient_id), data)
    assert not outcome.is_success and "right" in outcome.errors[0].context


def test_plain_xua(event: Desk) -> None:
    """In a test event: audience, conditions and confirmation of the domain; registry and repository take it."""
    patient_id = event.world.patient()
    assertion = event.by_card(patient_id=patient_id)
    assert said(assertion, "//s:Audience/text()") == ["urn:carnet:connectathon"]
    assert event.find("physician", assertion, patient_id).outcome.is_success
    data = a_document()
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    made = frames.valid_submission("connectathon", patient_id=patient_id, hash=digest, size=len(data))
    assert provide(event.using("physician", assertion), made, data).is_success


def test_an_audience_must_be_one_of_ours(event: Desk, desk: Desk) -> None:
    """AppliesTo: configured, or refused; a VIHF carries none, so in dmp there is none to ask for. Rule: W-09"""
    ours = event.asking("physician").issue({}, applies_to="urn:carnet:connectathon")
    assert said(ours, "//s:Audience/text()") == ["urn:carnet:connectathon"]
    for one in (event, desk):
        with pytest.raises(FaultReceived, match="InvalidScope"):
            one.asking("physician").issue(
                {vihf.STRUCTURE: STRUCTURE, vihf.SECTOR: SECTOR}, applies_to="https://elsewhere.example"
            )


def test_a_lifetime_is_bounded(desk: Desk) -> None:
    """A shorter one is given, a longer one is cut, one that has ended is refused. Rule: W-09"""
    now = datetime.now(UTC)
    client, claims = desk.asking("physician"), {vihf.STRUCTURE: STRUCTURE, vihf.SECTOR: SECTOR}

    def end(assertion: bytes) -> datetime:
        return datetime.fromisoformat(said(assertion, "s:Conditions/@NotOnOrAfter")[0])

    assert end(client.issue(claims, expires=now + timedelta(minutes=5))) - now < timedelta(minutes=5, seconds=1)
    cut = end(client.issue(claims, expires=now + timedelta(days=2))) - now
    assert timedelta(minutes=29) < cut < timedelta(minutes=30, seconds=20)
    with pytest.raises(FaultReceived, match="InvalidTimeRange"):
        client.issue(claims, expires=now - timedelta(minutes=5))


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({vihf.STRUCTURE: ""}, "Identifiant_Structure and Secteur_Activite are missing"),
        ({vihf.PURPOSE: "curiosity"}, "purpose of use: found 'curiosity'"),
        ({vihf.PURPOSE: "bris_de_glace"}, "an access by emergency says why"),
        ({vihf.RESOURCE_ID: "12345"}, "expected a patient identifier"),
        ({"urn:unknown": "x"}, "expected one of"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(desk: Desk, claims: dict[str, str], words: str) -> None:
    """Field, found, expected."""
    assert words in refused(desk, "InvalidRequest", **claims)


def test_an_emergency_says_why(desk: Desk) -> None:
    """Rule: U-01"""
    patient_id = desk.world.patient()
    why = {vihf.PURPOSE: "bris_de_glace", vihf.PURPOSE_REASON: "essai"}
    assertion = desk.by_card(patient_id=patient_id, **why)
    assert desk.find("physician", assertion, patient_id).outcome.is_success
    line = desk.world.log_of(patient_id)[-1]
    assert (line.purpose, line.purpose_reason) == ("bris_de_glace", "essai")


def test_roles_are_those_of_the_card(desk: Desk) -> None:
    """A role that is asked for never changes the profession of a card, and gives staff none. Rule: W-02"""
    nurse = desk.by_card("nurse", **{vihf.ROLE: "10^^1.2.250.1.71.1.2.7"})
    assert said(nurse, "//*[local-name()='Role']/@code") == ["60"]
    staff = desk.by_card("staff")
    assert said(staff, "//*[local-name()='Role']/@code") == ["SECRETARIAT_MEDICAL"]
    with pytest.raises(FaultReceived, match="one of the domain that the card carries"):
        desk.by_card("staff", **{vihf.ROLE: "10^^1.2.250.1.71.1.2.7"})
    with pytest.raises(FaultReceived, match="one of the domain that the card carries"):
        desk.by_card("staff", **{vihf.ROLE: "NOT_A_ROLE^^1.2.250.1.213.1.1.4.6"})


def test_a_student_is_no_physician_yet(desk: Desk) -> None:
    """The card of a student carries the code of the profession to come."""
    pki = Pki.open(desk.world.folder / "pki")
    desk.cards["student"] = pki.issue_person(
        "899700000042", "ETUDIANT", "Eve", card_type=CardType.CPF, label="Étudiant", key=KeyKind.EC
    )
    schemes = said(desk.by_card("student"), "//*[local-name()='Role']/@codeSystem")
    assert schemes == [vihf.IN_TRAINING]


def test_a_structure_without_a_login_gets_nothing(desk: Desk) -> None:
    """A structure vouches for persons, and has to say for whom. Rule: W-01"""
    with pytest.raises(FaultReceived, match="OnBehalfOf"):
        desk.by_card("laboratory")


def test_without_a_certificate_nothing_is_read(desk: Desk) -> None:
    """In every domain, a test event with credentials off included, the service knows who connects."""
    assert desk.service is not None
    stranger = TokenClient(LocalTransport(desk.service.app, Peer("127.0.0.1"), "https://localhost/services/tokens"))
    with pytest.raises(FaultReceived, match="could not be authenticated"):
        stranger.issue({})
    assert desk.lines(1)[0].action == "refused login"
