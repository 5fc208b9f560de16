"""Plain XUA of other people's token services: whom we believe, and how often an attribute may come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from conformance.negative_kit import AUDIENCE, MESSAGE, Kit, parse, put
from conformance.spoiled_assertions import again, attribute, find
from guard.credentials import vihf, xua
from guard.credentials.assertion import Verifier
from guard.credentials.attributes import ORGANIZATION
from guard.credentials.caller import Caller
from guard.credentials.cards import KeyPair
from guard.credentials.certificates import CertificateRefused, TrustError, TrustStore, Use, add_trusted
from guard.credentials.pki import Pki
from guard.credentials.rule import CredentialRule
from tests.certificates import make, self_signed
from xds.model.codes import Code
from xds.wire.faults import FAILED_AUTHENTICATION, INVALID_SECURITY_TOKEN, SoapFault

PHARMACIST = Code("46255001", "2.16.840.1.113883.6.96", "Pharmacist")
DENTIST = Code("106289002", "2.16.840.1.113883.6.96", "Dentist")
TREATMENT, EMERGENCY = Code("1", "1.0.14265.1"), Code("2", "1.0.14265.1")
STRANGER = Code("MARKETING", "1.0.14265.1")
SAYS = xua.UserAssertion(
    name_id="dr.martin", audiences=(AUDIENCE,), roles=(PHARMACIST,), purposes=(TREATMENT,), subject_name="Dr Martin",
    organisation="Fictive clinic", home_community_id="urn:oid:1.2.3", patient_id="1^^^&1.2.3&ISO",
)
RULE = CredentialRule(
    vihf=False, require_not_on_or_after=True, require_audience=True, require_subject_confirmation=True,
    audiences=frozenset({AUDIENCE}), authn_classes=frozenset({vihf.SMARTCARD_PKI, "urn:x:declared"}),
    roles=frozenset({PHARMACIST.key, DENTIST.key}), purposes=frozenset({TREATMENT.key, EMERGENCY.key}),
)
Change = Callable[[etree._Element], object]


def ask(kit: Kit, trust: TrustStore, signer: KeyPair, says: xua.UserAssertion = SAYS, change: Change | None = None,
        rule: CredentialRule = RULE) -> Caller:
    """The caller a verifier makes of an assertion of that signer, over the connection of a card."""
    root = xua.build(says, "urn:event:sts")
    if change is not None:
        change(root)
    envelope = parse(put(MESSAGE, vihf.security_header(vihf.sign(root, signer))))
    peer = kit.card.authentication.der
    return Verifier(rule, trust).authenticate(envelope=envelope, security=None, peer_certificate=peer)


def refused(*args: object, **more: object) -> SoapFault:
    with pytest.raises(SoapFault) as fault:
        ask(*args, **more)  # type: ignore[arg-type]
    return fault.value


def test_a_pinned_token_service_speaks_for_its_users(kit: Kit, own_pki: Pki, pki: Pki) -> None:
    """Its certificate alone, dropped into the folder, makes it believed; a look-alike is not. Step: g"""
    trust_folder = copied(pki, own_pki)
    pinned, other = KeyPair(*self_signed()), KeyPair(*self_signed())
    add_trusted(trust_folder, pinned.der, "sts")
    trust = TrustStore.load(trust_folder)
    caller = ask(kit, trust, pinned)
    assert (caller.identifier, caller.name, caller.issuer) == ("dr.martin", "Dr Martin", "urn:event:sts")
    assert caller.profession == PHARMACIST and caller.purpose == "1" and caller.patient_id == "1^^^&1.2.3&ISO"
    assert caller.structure_name == "Fictive clinic"
    assert refused(kit, trust, other).subcode == FAILED_AUTHENTICATION
    named = replace(RULE, issuers=frozenset({"urn:event:other"}))
    assert refused(kit, trust, pinned, rule=named).step == "g"


def copied(pki: Pki, own_pki: Pki) -> Path:
    """The trust folder of the shared PKI, in a place a test may change."""
    for file in pki.trust.iterdir():
        (own_pki.trust / file.name).write_bytes(file.read_bytes())
    return own_pki.trust


def test_a_pinned_token_service_does_nothing_else(own_pki: Pki) -> None:
    """It opens no connection, signs no VIHF, and ends with its certificate. Step: g"""
    made, old = KeyPair(*self_signed()), KeyPair(*self_signed(days=-1))
    for pair in (made, old):
        add_trusted(own_pki.trust, pair.der, "sts")
    trust = TrustStore.load(own_pki.trust, lenient=True)
    assert trust.check(made.der, Use.TOKEN_SIGNATURE)
    for use in (Use.TLS_CLIENT, Use.VIHF_SIGNATURE):
        with pytest.raises(CertificateRefused, match="no configured authority"):
            trust.check(made.der, use)
    with pytest.raises(CertificateRefused, match="not valid now"):
        trust.check(old.der, Use.TOKEN_SIGNATURE)
    assert made.certificate.public_bytes(Encoding.PEM).decode() not in trust.pem()


def test_lenient_means_no_lists_and_no_usages(own_pki: Pki) -> None:
    """A test event's authority keeps no list and states no usage: believed where the domain is lenient only. Step: g"""
    authority = self_signed("Event CA", authority=True)
    add_trusted(own_pki.trust, authority[1].public_bytes(Encoding.PEM), "organisations")
    der = make("Event client", authority)[1].public_bytes(Encoding.DER)
    lenient = TrustStore.load(own_pki.trust, lenient=True)
    assert lenient.check(der, Use.TLS_CLIENT).identity.organisation == "Event client"
    assert lenient.check(der, Use.TOKEN_SIGNATURE)
    assert authority[1].public_bytes(Encoding.PEM).decode() in lenient.pem()
    with pytest.raises(CertificateRefused):
        lenient.check(der, Use.VIHF_SIGNATURE)
    with pytest.raises(CertificateRefused):
        TrustStore.load(own_pki.trust).check(der, Use.TLS_CLIENT)


def test_what_cannot_be_trusted_is_not_put_in(own_pki: Pki) -> None:
    """Junk, and a leaf given as an authority: refused, and the folder is as before."""
    before = sorted(own_pki.trust.iterdir())
    leaf = self_signed()[1].public_bytes(Encoding.PEM)
    for data, duty in ((b"junk", "sts"), (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "sts"), (leaf, "organisations")):
        with pytest.raises(TrustError):
            add_trusted(own_pki.trust, data, duty)
    assert sorted(own_pki.trust.iterdir()) == before
    assert add_trusted(own_pki.trust, leaf, "sts") == add_trusted(own_pki.trust, leaf, "sts")


def test_a_persons_card_speaks_for_herself_only(kit: Kit, pki: Pki) -> None:
    """Under plain XUA too; a structure's card speaks for its people. Step: g"""
    trust = TrustStore.load(pki.trust)
    assert refused(kit, trust, kit.card.signature).step == "g"
    own = replace(SAYS, name_id=kit.card.identity.common_name)
    assert ask(kit, trust, kit.card.signature, own).identifier == kit.card.identity.common_name
    assert ask(kit, trust, kit.structure.signature).identifier == "dr.martin"


def test_attributes_repeat(kit: Kit, pki: Pki) -> None:
    """Two good roles, two good purposes, two organisations, two statements: all legal. Step: o"""
    says = replace(SAYS, roles=(PHARMACIST, DENTIST), purposes=(TREATMENT, EMERGENCY))

    def more(root: etree._Element) -> None:
        twin = again(root, "AttributeStatement")
        held = attribute(twin, ORGANIZATION)[0]
        held.text = "Second clinic"

    caller = ask(kit, TrustStore.load(pki.trust), kit.structure.signature, says, more)
    assert (caller.profession, caller.specialty) == (PHARMACIST, DENTIST)
    assert (caller.purpose, caller.structure_name) == ("1", "Fictive clinic")


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": (PHARMACIST, STRANGER)},
        {"roles": (STRANGER, PHARMACIST)},
        {"purposes": (TREATMENT, STRANGER)},
        {"purposes": (STRANGER,)},
        {"patient_id": "1"},
    ],
)
def test_one_value_outside_is_enough(kit: Kit, pki: Pki, changes: dict) -> None:
    """A value outside its set refuses, however many others are inside; the detail names it. Step: o"""
    fault = refused(kit, TrustStore.load(pki.trust), kit.structure.signature, replace(SAYS, **changes))
    assert (fault.subcode, fault.step) == (INVALID_SECURITY_TOKEN, "o")
    assert "patient_id" in changes or "MARKETING" in fault.detail
    assert "MARKETING" not in fault.reason


def test_two_patients_are_ambiguous(kit: Kit, pki: Pki) -> None:
    """resource-id says which patient's record may be opened: two of them are refused. Step: o"""

    def second(root: etree._Element) -> None:
        vihf.text_attribute(find(root, "AttributeStatement"), vihf.RESOURCE_ID, "2^^^&1.2.3&ISO")

    assert refused(kit, TrustStore.load(pki.trust), kit.structure.signature, change=second).step == "o"


def test_a_context_may_be_declared(kit: Kit, pki: Pki) -> None:
    """AuthnContextDeclRef in place of the class; one outside the list is refused. Step: m"""

    def declared(uri: str) -> Change:
        def change(root: etree._Element) -> None:
            context = find(root, "AuthnStatement", "AuthnContext")
            context.remove(context[0])
            vihf.add(context, "AuthnContextDeclRef", uri)

        return change

    trust, signer = TrustStore.load(pki.trust), kit.structure.signature
    assert ask(kit, trust, signer, change=declared("urn:x:declared"))
    assert refused(kit, trust, signer, change=declared("urn:x:other")).step == "m"
