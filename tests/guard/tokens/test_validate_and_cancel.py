"""Assertions sent to be judged, and assertions taken back.

Clause: WS-Trust 1.3 7, 8
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import storage
from carnet import log_keeper
from carnet.retention import expire
from carnet.token_service import signer_of
from carnet.wiring import other_logs
from guard.credentials import vihf
from guard.credentials.caller import Mode
from guard.credentials.vouched import CancelledTokens, listed
from tests.guard.tokens.conftest import SECTOR, Desk
from tests.guard.tokens.test_issue_by_card import said
from tests.world import OPERATOR, PHYSICIAN, STRUCTURE
from xds.namespaces import CLAIMS, SAML, WST
from xds.wire.client import FaultReceived, LocalTransport
from xds.wire.exchange import Peer
from xds.wire.faults import SoapFault


def raw(desk: Desk, verb: str, inside: str, *, kind: str = "", who: str = "physician") -> Any:
    """A request written by hand."""
    assert desk.service is not None
    peer = Peer("127.0.0.1", desk.cards[who].authentication.der)
    transport = LocalTransport(desk.service.app, peer, "https://localhost/services/tokens")
    body = f'<RequestSecurityToken xmlns="{WST}"><RequestType>{kind or f"{WST}/{verb}"}</RequestType>{inside}'
    return transport.call(f"{WST}/RST/{verb}", [body.encode() + b"</RequestSecurityToken>"])


# -- validate ----------------------------------------------------------------------------------------------------------


def test_what_the_services_believe_is_valid(desk: Desk) -> None:
    """An assertion of the service, and a VIHF that a card has signed itself; whoever asks. Rule: W-10"""
    own = desk.by_card()
    card = desk.cards["physician"]
    signed = vihf.issue(vihf.for_card(card, structure_id=STRUCTURE), card.signature)
    for assertion in (own, signed):
        for who in ("physician", "other"):
            assert desk.asking(who).validate(assertion).is_valid
        line = desk.lines(1)[0]
        assert (line.action, line.detail, line.outcome) == ("token examined", "valid", "success")
        assert [line.assertion_id] == said(assertion, "@ID")


def test_judging_uses_nothing_up(desk: Desk) -> None:
    """An assertion that was judged is as good as before, also where each may be shown once. Rule: W-10"""
    patient_id = desk.world.patient()
    assertion = desk.by_card(patient_id=patient_id)
    for _ in range(3):
        assert desk.asking("physician").validate(assertion).is_valid
    assert desk.find("physician", assertion, patient_id).outcome.is_success


EMPTY = f'<x:Assertion xmlns:x="{SAML}"/>'.encode()


def changed(assertion: bytes) -> bytes:
    return assertion.replace(PHYSICIAN.encode(), b"899700000034")


def unsigned(assertion: bytes) -> bytes:
    root = etree.fromstring(assertion)
    root.remove(root.find("{http://www.w3.org/2000/09/xmldsig#}Signature"))
    return etree.tostring(root)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [(changed, "InvalidDigest"), (unsigned, "0 signatures"), (lambda _: EMPTY, "schema")],
)
def test_what_they_do_not_believe_is_invalid(desk: Desk, spoil: Callable[[bytes], bytes], cause: str) -> None:
    """The caller learns what a fault would have told him, the log the rest. Rule: W-10"""
    found = desk.asking("physician").validate(spoil(desk.by_card()))
    assert not found.is_valid and found.reason and cause not in found.reason
    assert cause in desk.lines(1)[0].detail


def test_a_signature_that_covers_another_assertion_is_invalid(desk: Desk) -> None:
    """The signed one inside the signature of a forged one. Attack: original-in-signature-object"""
    genuine = desk.by_card()
    forged = etree.fromstring(changed(genuine))
    signature = forged.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    assert signature is not None
    holder = etree.SubElement(signature, "{http://www.w3.org/2000/09/xmldsig#}Object")
    holder.append(etree.fromstring(genuine))
    forged.set("ID", "_forged")
    assert not desk.asking("physician").validate(etree.tostring(forged)).is_valid


def test_a_token_service_speaks_in_one_mode_only(desk: Desk) -> None:
    """Its key under a statement of direct or indirect mode, or without the proof it relied on, is worth nothing.

    Rule: W-03
    """


    signer = signer_of(desk.world.settings)
    base = {
        "name_id": PHYSICIAN, "structure_id": STRUCTURE, "roles": vihf.card_roles(desk.cards["physician"]),
        "sector": SECTOR, "subject_name": "ESSAI Anne",
    }
    proof = {"context_declaration": vihf.SMARTCARD_PKI}
    for mode, more, good in (
        (Mode.REINFORCED_INDIRECT, proof, True),
        (Mode.REINFORCED_INDIRECT, {}, False),
        (Mode.REINFORCED_INDIRECT, {"context_declaration": "SOMETHING"}, False),
        (Mode.DIRECT, proof, False),
        (Mode.INDIRECT, proof, False),
    ):
        made = vihf.issue(vihf.Vihf(mode=mode, **base, **more), signer)  # type: ignore[arg-type]
        assert desk.asking("physician").validate(made).is_valid is good, (mode, more)


# -- cancel ------------------------------------------------------------------------------------------------------------


def test_a_cancelled_token_is_refused_at_the_next_request(desk: Desk) -> None:
    """Also where it had been accepted and remembered a moment before; a second cancel changes nothing. Rule: W-11"""
    patient_id = desk.world.patient()
    assertion, other = desk.by_card(patient_id=patient_id), desk.by_card(patient_id=patient_id)
    assert desk.find("physician", assertion, patient_id).outcome.is_success
    for _ in range(2):
        desk.asking("physician").cancel(said(assertion, "@ID")[0])
        with pytest.raises(FaultReceived, match="could not be authenticated"):
            desk.find("physician", assertion, patient_id)
    assert "the token was cancelled" in desk.world.last_lines(1)[-1].reason
    assert not desk.asking("physician").validate(assertion).is_valid
    assert desk.find("physician", other, patient_id).outcome.is_success


def test_in_a_test_event_too(event: Desk) -> None:
    """Where the operator has listed the service; plain XUA would take its signature without that."""
    patient_id = event.world.patient()
    assertion = event.by_card(patient_id=patient_id)
    event.asking("physician").cancel(said(assertion, "@ID")[0])
    with pytest.raises(FaultReceived, match="could not be authenticated"):
        event.find("physician", assertion, patient_id)


def test_only_the_holder_takes_a_token_back(desk: Desk) -> None:
    """Another's, one that never was, a VIHF of a card: one answer. Rule: W-12"""
    assertion = desk.by_card()
    for who, token_id in (("colleague", said(assertion, "@ID")[0]), ("physician", "_never"), ("laboratory", "_never")):
        with pytest.raises(FaultReceived, match="RequestFailed: No such token was issued to this holder"):
            desk.asking(who).cancel(token_id)
        line = desk.lines(1)[0]
        assert (line.event, line.action, line.outcome) == ("WS-Trust Cancel", "token cancelled", "refused")
    assert desk.asking("physician").validate(assertion).is_valid


def test_a_token_sent_whole_is_taken_back_by_its_id(desk: Desk) -> None:
    assertion = desk.by_card()
    answer = raw(desk, "Cancel", f"<CancelTarget>{assertion.decode()}</CancelTarget>")
    assert answer.body.find(f"{{{WST}}}RequestedTokenCancelled") is not None
    assert answer.action == f"{WST}/RSTR/CancelFinal"
    assert not desk.asking("physician").validate(assertion).is_valid


def test_while_the_list_is_missing_no_token_is_believed(tmp_path: Path) -> None:
    """Missing, unreadable and of another form: closed; the service that writes it again opens. Rule: W-11"""
    file = tmp_path / "cancelled.json"
    tokens = CancelledTokens(file)
    for content in (None, b"", b"{", b"[1]", b'{"a": 1}', b'["ab", 3]'):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SoapFault, match="cannot be read"):
            tokens.check(("issuer", "_1"))
    file.write_bytes(listed([("issuer", "_2")]))
    tokens.check(("issuer", "_1"))
    with pytest.raises(SoapFault, match="was cancelled"):
        tokens.check(("issuer", "_2"))
    file.unlink()
    with pytest.raises(SoapFault, match="cannot be read"):
        tokens.check(("issuer", "_1"))


# -- requests of a wrong form ------------------------------------------------------------------------------------------

TYPE = "<TokenType>urn:oasis:names:tc:SAML:1.0:assertion</TokenType>"
WRONG = [
    ("Issue", "", f"{WST}/Renew", "InvalidRequest: RequestType"),
    ("Issue", "", f"{WST}/Validate", "InvalidRequest: RequestType"),
    ("Issue", TYPE, "", "RequestFailed: TokenType"),
    ("Issue", f"<KeyType>{WST}/SymmetricKey</KeyType>", "", "RequestFailed: KeyType"),
    ("Issue", "<CancelTarget><a:Assertion xmlns:a='urn:oasis:names:tc:SAML:2.0:assertion'/></CancelTarget>", "",
     "InvalidRequest: CancelTarget"),
    ("Validate", "", "", "InvalidRequest: ValidateTarget"),
    ("Cancel", "", "", "InvalidRequest: CancelTarget"),
    ("Issue", "<Entropy/>", "", "Entropy"),
    ("Issue", f"<Claims Dialect='urn:other'><c:ClaimType xmlns:c='{CLAIMS}' Uri='a'><c:Value/></c:ClaimType></Claims>",
     "", "InvalidRequest: Claims/@Dialect"),
    ("Issue", "<KeyType>a</KeyType><KeyType>a</KeyType>", "", "KeyType"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "inside", "kind", "words"), WRONG)
def test_a_request_of_a_wrong_form_says_what_is_wrong(
    desk: Desk, verb: str, inside: str, kind: str, words: str
) -> None:
    """What a token would mean must not hang on an element that nobody has looked at."""
    with pytest.raises(FaultReceived) as caught:
        raw(desk, verb, inside, kind=kind)
    assert words in str(caught.value)


def test_there_is_no_renew(desk: Desk) -> None:
    with pytest.raises(FaultReceived, match="ActionNotSupported"):
        raw(desk, "Renew", "")


def test_the_context_comes_back(desk: Desk) -> None:
    """WS-Trust 1.3 3.1: the answer carries the Context of its request."""
    assert desk.service is not None
    peer = Peer("127.0.0.1", desk.cards["physician"].authentication.der)
    transport = LocalTransport(desk.service.app, peer, "https://localhost/services/tokens")
    body = f'<RequestSecurityToken xmlns="{WST}" Context="urn:a&amp;b"><RequestType>{WST}/Validate</RequestType>'
    body += f"<ValidateTarget>{desk.by_card().decode()}</ValidateTarget></RequestSecurityToken>"
    answer = transport.call(f"{WST}/RST/Validate", [body.encode()])
    assert answer.body.get("Context") == "urn:a&b" and answer.action == f"{WST}/RSTR/ValidateFinal"


def test_its_traces_end_with_those_of_the_record(desk: Desk) -> None:
    """Ten years after the closing no log names the patient, and the chain of each holds. Rule: W-13"""
    patient_id, settings = desk.world.patient(), desk.world.settings
    desk.by_card(patient_id=patient_id)
    assert patient_id in {line.patient_id for line in desk.lines()}
    desk.world.close(patient_id)
    with closing(storage.open_registry(settings.registry_database)) as registry:
        with registry.write() as unit:
            record = unit.record.find(patient_id)
            assert record is not None
            unit.record.update(replace(record, closed_at="2014-01-01T00:00:00.000Z"))
        records, lines = expire(settings, registry, other_logs(settings), OPERATOR)
    assert records == 1 and lines >= 2
    assert patient_id not in {line.patient_id for line in desk.lines(1000)}
    with closing(storage.open_tokens(settings.tokens_database)) as database:
        found = log_keeper.verify(settings, "tokens", database)
    assert found.flaws == [] and found.destroyed == 1
