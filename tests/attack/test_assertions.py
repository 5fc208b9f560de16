"""Every spoiled credential meets its fault, at its step; every good one passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import xmlsec
from lxml import etree

from conformance.negative_assertions import CASES, Case, kit_rule
from conformance.negative_kit import MESSAGE, Kit
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from xds.namespaces import DS, SAML
from xds.wire.faults import SENDER, SoapFault

STEPS = {
    "expired": "j",
    "notyetvalid": "j",
    "unsigned": "e",
    "unknownaudience": "k",
    "invalidauthnstatement": "m",
    "secondauthncontext": "d",
    "secondrole": "o",
    "secondpurposeofuse": "o",
    "missingversion": "d",
    "invalidversion": "i",
    "missingid": "d",
    "invalidid": "d",
    "missingissuer": "d",
    "emptyissuer": "i",
    "missingissuerformat": "i",
    "invalidissueremailformat": "i",
    "invalidissuerwindowsdomainformat": "i",
    "invalidissuerx509format": "g",
    "missingissueinstant": "d",
    "invalidissueinstant": "i",
    "lateissueinstant": "i",
    "oldissueinstant": "i",
    "toolonglived": "j",
    "longsinceissued": "j",
    "instructioninnameid": "d",
    "unknowncondition": "d",
    "missingsubject": "d",
    "missingsubjectnameid": "d",
    "emptynameid": "l",
    "invalidsubjectconfirmationmethod": "l",
    "inresponseto": "l",
    "oldconfirmation": "l",
    "missingauthnstatement": "m",
    "secondauthnstatement": "m",
    "invalidauthncontext": "m",
    "oldauthninstant": "m",
    "oversized": "d",
    "missingrole": "o",
    "unknownrole": "o",
    "unknownpurposeofuse": "o",
    "unknownsector": "o",
    "malformedsector": "o",
    "malformedpatient": "o",
    "missingsoftware": "o",
    "missinghomologation": "o",
    "unknownvihfversion": "o",
    "missingstructure": "o",
    "unknownmode": "o",
    "secondstructure": "o",
    "roleastext": "o",
    "invalidsignature": "f",
    "strippedsignature": "f",
    "tampered": "f",
    "missingkeyinfo": "e",
    "keyvalue": "e",
    "invalidx509certificate": "g",
    "attackercertificate": "g",
    "othercertificate": "f",
    "rsasha1": "e",
    "digestsha1": "e",
    "hmac": "e",
    "inclusivec14n": "e",
    "inclusivesignedinfo": "e",
    "extratransform": "e",
    "xpathtransform": "e",
    "onlyenveloped": "e",
    "tworeferences": "e",
    "wholedocument": "e",
    "foreignreference": "e",
    "revoked": "g",
    "revokedconnection": "tls",
    "expiredcertificate": "g",
    "foreignauthority": "tls",
    "authenticationkeysigns": "g",
    "nameidofanother": "g",
    "professionofanother": "g",
    "twoprofessions": "g",
    "staffclaimsprofession": "g",
    "personasstructure": "g",
    "structureasperson": "g",
    "structureofanother": "g",
    "internalidofanother": "g",
    "connectionofanother": "tls",
    "personforstructure": "tls",
    "noclientcertificate": "tls",
    "forged_before_signed": "b",
    "original_in_other_header": "b",
    "original_in_signature_object": "b",
    "same_id_original_in_body": "b",
    "two_identical_copies": "b",
    "original_in_second_security": "b",
    "empty_second_security": "b",
    "security_in_body": "b",
    "nested_in_evidence": "b",
    "duplicate_id": "b",
    "no_security": "b",
    "empty_security": "b",
    "encrypted_assertion": "c",
    "username_token": "c",
    "username_token_beside": "c",
    "saml1_assertion": "c",
}
"""Step of the validation procedure that refuses each case."""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(pki(tmp_path_factory), tmp_path_factory.mktemp("foreign"))


_folders: dict[str, Path] = {}


def pki(factory: pytest.TempPathFactory) -> Pki:
    folder = factory.mktemp("pki")
    _folders["trust"] = folder / "trust"
    return Pki.create(folder)


def verifier() -> Verifier:
    return Verifier(kit_rule(), TrustStore.load(_folders["trust"]))


def authenticate(case: Case, kit: Kit, message: bytes | None = None) -> Caller:
    envelope = parse_like_the_wire(message or case.spoil(MESSAGE, kit))
    peer = case.peer(kit)
    der = None if peer is None else peer.authentication.der
    return verifier().authenticate(envelope=envelope, security=None, peer_certificate=der)


def parse_like_the_wire(message: bytes) -> etree._Element:
    """Comments kept: the verifier may not lean on the wire layer for their removal."""
    return etree.fromstring(message, parser=etree.XMLParser(resolve_entities=False, no_network=True))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.fault is not None])
def test_spoiled_credential_is_refused_at_its_step(name: str, kit: Kit) -> None:
    """Each spoiled credential gets the fault of the table, at the step meant for it.

    Step: b, c, d, e, f, g, i, j, k, l, m, o
        Attack: forged-before-signed, original-in-other-header, original-in-signature-object
    Attack: same-id-original-in-body, two-identical-copies
    """
    case = CASES[name]
    with pytest.raises(SoapFault) as refused:
        authenticate(case, kit)
    fault = refused.value
    assert (fault.subcode, fault.step) == (case.fault, STEPS[name]), fault.detail
    assert fault.code == SENDER
    assert fault.is_security


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.fault is None])
def test_good_credential_passes(name: str, kit: Kit) -> None:
    """A verifier that refuses everything is no use: the good ones name their holder."""
    caller = authenticate(CASES[name], kit)
    assert caller.identifier
    assert caller.assertion_id


def test_every_case_has_its_step() -> None:
    """The table of steps and the table of cases name the same cases."""
    assert set(STEPS) == {name for name, case in CASES.items() if case.fault is not None}


def test_comment_inside_nameid_does_not_shorten_it(kit: Kit) -> None:
    """A comment inserted after signing leaves the identifier whole.

    Attack: comment-in-nameid
    Step: h
    """
    message = CASES["comment_in_nameid"].spoil(MESSAGE, kit)
    name_id = parse_like_the_wire(message).find(f".//{{{SAML}}}NameID")
    assert name_id is not None and name_id.text != kit.card.identity.common_name, "the attack must be in the message"
    assert authenticate(CASES["comment_in_nameid"], kit, message).identifier == kit.card.identity.common_name


def test_comment_does_not_cut_an_identifier_down_to_the_victims(kit: Kit) -> None:
    """A signed identifier that begins with the victim's is read to its end.

    Attack: comment-cuts-nameid
    Step: h
    """
    message = CASES["comment_cuts_nameid"].spoil(MESSAGE, kit)
    name_id = parse_like_the_wire(message).find(f".//{{{SAML}}}NameID")
    victim = kit.other.identity.common_name
    assert name_id is not None and name_id.text == victim, "the attack must be in the message"
    assert authenticate(CASES["comment_cuts_nameid"], kit, message).identifier == f"{victim}.evil.example"


def test_bad_certificates_are_told_apart_in_the_audit_only(kit: Kit) -> None:
    """Unknown issuer, unreadable, expired and revoked certificates: one answer to the peer, four details for us.

    Step: g
    """
    faults = []
    for name in ("attackercertificate", "invalidx509certificate", "expiredcertificate", "revoked"):
        with pytest.raises(SoapFault) as refused:
            authenticate(CASES[name], kit)
        faults.append(refused.value)
    assert len({(fault.subcode, fault.reason) for fault in faults}) == 1
    assert len({fault.detail for fault in faults}) == len(faults)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.holds is not None])
def test_second_opinion_on_the_signature(name: str, kit: Kit) -> None:
    """xmlsec agrees on which signatures hold as arithmetic, the refused ones included.

    A case that is refused although its signature holds proves that more than arithmetic is looked at.
    """
    case = CASES[name]
    found = parse_like_the_wire(case.spoil(MESSAGE, kit)).find(f".//{{{SAML}}}Assertion")
    assert found is not None
    root = etree.fromstring(etree.tostring(found, with_tail=False))
    assert holds(root) is case.holds


def holds(root: etree._Element) -> bool:
    """Bare check with the key of the first certificate in KeyInfo, over the assertion alone."""
    signature = root.find(f"{{{DS}}}Signature")
    certificate = root.findtext(f".//{{{DS}}}X509Certificate")
    assert signature is not None and certificate is not None
    pem = "-----BEGIN CERTIFICATE-----\n" + "".join(certificate.split()) + "\n-----END CERTIFICATE-----\n"
    context = xmlsec.SignatureContext()
    if root.get("ID") is not None:
        context.register_id(root, "ID")
    context.key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.CERT_PEM)
    try:
        context.verify(signature)
    except xmlsec.Error:
        return False
    return True
