"""The verifier as a whole: who the caller is, how long that holds, and what is remembered."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from conformance.negative_assertions import kit_rule
from conformance.negative_kit import AUDIENCE, MESSAGE, PATIENT, STRUCTURE, Kit, parse, put, saml
from guard.audit.particulars import purpose_of
from guard.credentials import assertion as verification
from guard.credentials import attributes, token, vihf
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller, Mode
from guard.credentials.cards import Card
from guard.credentials.certificates import TrustStore, Use
from guard.credentials.identity import Kind
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.replay import ReplayMemory
from guard.credentials.rule import CredentialRule, Replay, Required
from guard.credentials.structures import Structures
from xds.model.codes import Code
from xds.wire.faults import FAILED_AUTHENTICATION, INVALID_SECURITY, INVALID_SECURITY_TOKEN, MESSAGE_EXPIRED, SoapFault

ROLES = (Code("10", vihf.PROFESSIONS),)
Clock = Callable[[], datetime]


def verifier(
    pki: Pki, rule: CredentialRule | None = None, nodes: frozenset[str] = frozenset(), **more: object
) -> Verifier:
    clock: Clock = more.get("clock", lambda: datetime.now(UTC))  # type: ignore[assignment]
    trust = TrustStore.load(pki.trust, clock=clock, reload_seconds=0)
    return Verifier(rule or kit_rule(), trust, trusted_nodes=nodes, **more)  # type: ignore[arg-type]


def ask(who: Verifier, assertion: bytes, peer: Card | bytes | None) -> Caller:
    certificate = peer.authentication.der if isinstance(peer, Card) else peer
    envelope = parse(put(MESSAGE, vihf.security_header(assertion)))
    return who.authenticate(envelope=envelope, security=None, peer_certificate=certificate)


def refused(who: Verifier, assertion: bytes, peer: Card | bytes | None) -> SoapFault:
    with pytest.raises(SoapFault) as fault:
        ask(who, assertion, peer)
    return fault.value


def test_caller_of_a_card_says_what_the_assertion_says(kit: Kit, pki: Pki) -> None:
    """Direct mode: person, profession, specialty, structure, sector, patient, purpose, software, proof. Step: o"""
    says = replace(kit.says(), purpose=vihf.BREAK_GLASS, purpose_reason="inconscient", is_secret_connection=True)
    assertion = kit.sign(kit.build(says))
    caller = ask(verifier(pki), assertion, kit.card)
    assert caller.identifier == "899900000011"
    assert caller.mode is Mode.DIRECT
    assert caller.name == "LIBRE Max"
    assert caller.profession is not None and caller.profession.key == "10^^1.2.250.1.71.1.2.7"
    assert caller.specialty is not None and caller.specialty.key == "SM26^^1.2.250.1.71.4.2.5"
    assert (caller.structure_id, caller.sector) == (STRUCTURE, "SA01^^1.2.250.1.71.4.2.4")
    assert (caller.purpose, caller.purpose_reason) == ("bris_de_glace", "inconscient")
    assert caller.secret_connection
    assert caller.patient_id == PATIENT
    assert caller.software == "Carnet 0.1"
    assert caller.audit_name.startswith("<899900000011@") and "LIBRE" in caller.audit_name


@pytest.mark.parametrize("mode", [Mode.INDIRECT, Mode.REINFORCED_INDIRECT])
def test_structure_vouches_for_its_own_people(kit: Kit, pki: Pki, mode: Mode) -> None:
    """Indirect modes: the structure signs, the person is whom it names, by national or internal identifier."""
    for name_id in ("899900000055", "30B0127189/77", f"{STRUCTURE}/badge-4"):
        nurse = (Code("60", vihf.PROFESSIONS),)
        says = vihf.for_card(kit.structure, name_id=name_id, subject_name="DUPONT Ida", roles=nurse)
        says = replace(says, mode=mode, context_declaration="urn:x:browser" if mode is Mode.REINFORCED_INDIRECT else "")
        caller = ask(verifier(pki), kit.sign(kit.build(says, kit.structure), kit.structure.signature), kit.structure)
        assert (caller.identifier, caller.mode, caller.name) == (name_id, mode, "DUPONT Ida")
        assert (caller.structure_id, caller.structure_name) == (STRUCTURE, "CLINIQUE FICTIVE")


@pytest.mark.parametrize("version", ["3.0", "4.0"])
@pytest.mark.parametrize("mode", [Mode.DIRECT, Mode.INDIRECT, Mode.REINFORCED_INDIRECT])
def test_both_versions_in_every_mode(kit: Kit, pki: Pki, mode: Mode, version: str) -> None:
    """Read alike and kept; no other version is. Clause: DMP VIHF 3.0, 4.0. Step: o"""
    card, says = kit.card, kit.says()
    if mode is not Mode.DIRECT:
        card = kit.structure
        says = vihf.for_card(card, name_id="899900000055", subject_name="FICTIF Ida",
                             roles=(Code("60", vihf.PROFESSIONS),))
    says = replace(says, mode=mode, version=version, context_declaration=vihf.SMARTCARD_PKI)
    caller = ask(verifier(pki), kit.sign(kit.build(says, card), card.signature), card)
    assert (caller.mode, caller.vihf_version) == (mode, version)
    for other in ("2.0", "3.1", "5.0", "3"):
        wrong = kit.sign(kit.build(replace(says, version=other), card), card.signature)
        assert refused(verifier(pki), wrong, card).step == "o"


def test_a_legal_entity_vouches_at_its_sites(own_pki: Pki) -> None:
    """The certificate of a SIREN speaks for its SIRETs and for sites listed, also with identifiers internal to a site;
    for no other, and no site speaks for its entity. Step: g. Clause: DMP Struct_IdNat"""
    entity, site, listed, other = "2339172288", "333917228810005", "10B0000777", "333917228910005"
    cards = {
        number: own_pki.issue_structure(number, "FICTIF", "Cachet", key=KeyKind.EC) for number in (entity, site)
    }
    rule = replace(kit_rule(), structures=Structures({entity: frozenset({listed})}, siren_covers_siret=True))

    def says(who: str, claimed: str, name_id: str = "899900000055") -> tuple[bytes, Card]:
        card = cards[who]
        made = vihf.for_card(card, name_id=name_id, subject_name="FICTIF Ida", roles=(Code("60", vihf.PROFESSIONS),))
        return vihf.issue(replace(made, structure_id=claimed), card.signature), card

    for claimed, name_id in (
        (entity, f"{entity}/7"), (site, f"{site}/7"), (site, f"{entity}/7"), (listed, f"{listed}/7"),
        (site, "5" + site[1:] + "/7"),
    ):
        assert ask(verifier(own_pki, rule), *says(entity, claimed, name_id)).structure_id == claimed
    for who, claimed, name_id in ((entity, other, "899900000055"), (site, entity, "899900000055"),
                                  (entity, site, f"{other}/7"), (site, listed, "899900000055")):
        fault = refused(verifier(own_pki, rule), *says(who, claimed, name_id))
        assert fault.step == "g" and claimed in fault.detail
    plain = replace(rule, structures=Structures({}, siren_covers_siret=False))
    for claimed in (site, listed):
        assert refused(verifier(own_pki, plain), *says(entity, claimed)).step == "g"


def test_an_issuer_that_is_not_the_certificate_is_told_both(kit: Kit, pki: Pki) -> None:
    """Both stand in what the signer has signed. Step: g"""
    root = kit.build()
    issuer = root.find(saml("Issuer"))
    assert issuer is not None
    issuer.text, genuine = "CN=somebody else", str(issuer.text)
    fault = refused(verifier(pki), kit.sign(root), kit.card)
    assert (fault.step, fault.subcode) == ("g", FAILED_AUTHENTICATION)
    assert "'CN=somebody else'" in fault.reason and genuine in fault.reason


def test_forwarded_bytes_are_accepted_again_from_a_node(kit: Kit, pki: Pki) -> None:
    """The repository forwards the caller's assertion: the bytes kept in the caller verify in another envelope."""
    node = node_certificate(pki, "node-forward")
    caller = ask(verifier(pki), kit.good(), kit.card)
    assert refused(verifier(pki), caller.assertion, node).step == "tls"
    again = ask(verifier(pki, nodes=frozenset({"node-forward"})), caller.assertion, node)
    assert replace(again, assertion=b"") == replace(caller, assertion=b"")


def node_certificate(pki: Pki, name: str) -> bytes:
    pki.issue_server(name)
    return pki.server(name).certificate.public_bytes(Encoding.DER)


def test_node_is_known_by_fingerprint_or_server_name(kit: Kit, pki: Pki) -> None:
    """A node is one of ours by its certificate's hash, or by name if the certificate is a server's. Step: tls"""
    der = node_certificate(pki, "node-registry")
    for known in ("node-registry", hashlib.sha256(der).hexdigest()):
        caller = verifier(pki, nodes=frozenset({known})).authenticate_node(der)
        assert (caller.identifier, caller.mode) == ("node-registry", Mode.NODE)
    imitation = pki.issue_structure("10B0999999", "AUTRE", "node-registry", key=KeyKind.EC)
    for peer in (imitation.authentication.der, kit.card.authentication.der, None):
        with pytest.raises(SoapFault) as fault:
            verifier(pki, nodes=frozenset({"node-registry"})).authenticate_node(peer)
        assert (fault.value.subcode, fault.value.step) == (FAILED_AUTHENTICATION, "tls")


def test_tls_alone_when_the_domain_asks_for_no_more(kit: Kit, pki: Pki) -> None:
    """Mode ``tls``: the certificate names the caller; without one the caller is refused all the same."""
    who = verifier(pki, CredentialRule(required=Required.TLS, vihf=False))
    envelope = parse(MESSAGE)
    person = who.authenticate(envelope=envelope, security=None, peer_certificate=kit.card.authentication.der)
    assert (person.identifier, person.mode) == ("899900000011", Mode.DIRECT)
    structure = who.authenticate(envelope=envelope, security=None, peer_certificate=kit.structure.authentication.der)
    assert (structure.identifier, structure.mode) == (STRUCTURE, Mode.INDIRECT)
    with pytest.raises(SoapFault):
        who.authenticate(envelope=envelope, security=None, peer_certificate=None)


def test_off_means_nobody_is_known(pki: Pki) -> None:
    """Mode ``off``: every request passes, under no name; a node still shows its certificate."""
    who = verifier(pki, CredentialRule(required=Required.OFF, vihf=False))
    caller = who.authenticate(envelope=parse(MESSAGE), security=None, peer_certificate=None)
    assert (caller.identifier, caller.mode) == ("", Mode.OFF)
    with pytest.raises(SoapFault) as refused:
        who.authenticate_node(None)
    assert refused.value.subcode == FAILED_AUTHENTICATION


def plain_rule(**more: object) -> CredentialRule:
    """XUA outside the French profile."""
    base = CredentialRule(
        vihf=False,
        require_not_on_or_after=True,
        require_audience=True,
        require_subject_confirmation=True,
        audiences=frozenset({AUDIENCE}),
    )
    return replace(base, **more)  # type: ignore[arg-type]


def plain_assertion(kit: Kit, lifetime: timedelta | None = timedelta(minutes=5), confirm: bool = True) -> bytes:
    """What an assertion provider says about a user: no VIHF attribute."""
    root = kit.build(card=kit.structure, lifetime=lifetime, audiences=(AUDIENCE,))
    statement = root.find(saml("AttributeStatement"))
    issuer, name = root.find(saml("Issuer")), root.find(f"{saml('Subject')}/{saml('NameID')}")
    assert statement is not None and issuer is not None and name is not None
    for attribute in list(statement):
        statement.remove(attribute)
    vihf.text_attribute(statement, vihf.SUBJECT_ID, "Dr Example")
    vihf.coded_attribute(statement, vihf.PURPOSE, "PurposeForUse", [Code("TREATMENT", "2.16.840.1.113883.3.18.7.1")])
    issuer.text, name.text = "urn:example:sts", "dr.martin"
    issuer.attrib.clear()
    if confirm:
        etree.SubElement(root[1], saml("SubjectConfirmation"), {"Method": vihf.BEARER})
    return kit.sign(root, kit.structure.signature)


def test_plain_xua_assertion_of_a_provider(kit: Kit, pki: Pki) -> None:
    """Outside the French profile a trusted provider speaks for its users over any trusted connection."""
    caller = ask(verifier(pki, plain_rule()), plain_assertion(kit), kit.card)
    assert (caller.identifier, caller.issuer, caller.purpose) == ("dr.martin", "urn:example:sts", "TREATMENT")
    assert ask(verifier(pki, plain_rule(issuers=frozenset({"urn:example:sts"}))), plain_assertion(kit), kit.card)


@pytest.mark.parametrize(
    ("more", "assertion", "step"),
    [
        ({"issuers": frozenset({"urn:example:other"})}, {}, "g"),
        ({}, {"lifetime": None}, "j"),
        ({}, {"confirm": False}, "l"),
        ({"purposes": frozenset({"normal^^x"})}, {}, "o"),
    ],
)
def test_plain_xua_requirements(kit: Kit, pki: Pki, more: dict, assertion: dict, step: str) -> None:
    """Configured issuers, NotOnOrAfter, SubjectConfirmation and value sets are asked for. Step: g, j, l, o"""
    assert refused(verifier(pki, plain_rule(**more)), plain_assertion(kit, **assertion), kit.card).step == step


@pytest.mark.parametrize(
    ("seconds", "lifetime", "outcome"),
    [
        (659, None, "accepted"),
        (661, None, "i"),
        (-59, None, "accepted"),
        (-61, None, "i"),
        (3600 + 59, 3600, "accepted"),
        (3600 + 61, 3600, "j"),
        (0, 3601, "j"),
    ],
)
def test_edges_of_time(kit: Kit, pki: Pki, seconds: int, lifetime: int | None, outcome: str) -> None:
    """Max age, skew, NotOnOrAfter and greatest lifetime, one second on each side. Step: i, j"""
    made = datetime.now(UTC).replace(microsecond=0)
    duration = None if lifetime is None else timedelta(seconds=lifetime)
    assertion = vihf.issue(kit.says(), kit.card.signature, now=made, lifetime=duration)
    who = verifier(pki, clock=lambda: made + timedelta(seconds=seconds))
    if outcome == "accepted":
        assert ask(who, assertion, kit.card)
    else:
        fault = refused(who, assertion, kit.card)
        assert fault.step == outcome
        expired = outcome == "j" and seconds > 0
        assert fault.subcode == (MESSAGE_EXPIRED if expired else INVALID_SECURITY_TOKEN)


def test_remembered_assertion_ends_on_time(kit: Kit, pki: Pki) -> None:
    """What is remembered is not believed a second longer than what is verified. Step: i"""
    made = datetime.now(UTC).replace(microsecond=0)
    moment = [made]
    who = verifier(pki, clock=lambda: moment[0])
    assertion = vihf.issue(kit.says(), kit.card.signature, now=made)
    for seconds in (0, 1, 600, 659):
        moment[0] = made + timedelta(seconds=seconds)
        ask(who, assertion, kit.card)
    moment[0] = made + timedelta(seconds=661)
    assert refused(who, assertion, kit.card).step == "i"


def test_remembered_assertion_is_not_verified_again(kit: Kit, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second use over the same connection costs no signature check; memory can be switched off."""
    who, forgetful = verifier(pki), verifier(pki, replace(kit_rule(), remember=0))
    assertion = kit.good()
    first = ask(who, assertion, kit.card)
    ask(forgetful, assertion, kit.card)
    monkeypatch.setattr("guard.credentials.signature.verify", None)
    assert ask(who, assertion, kit.card) is first
    with pytest.raises(TypeError):
        ask(forgetful, assertion, kit.card)


def test_remembered_assertion_belongs_to_its_connection(kit: Kit, pki: Pki) -> None:
    """A remembered assertion shown by somebody else is judged anew, and refused. Step: tls"""
    who = verifier(pki)
    assertion = kit.good()
    ask(who, assertion, kit.card)
    assert refused(who, assertion, kit.other).step == "tls"
    assert refused(who, assertion, None).step == "tls"


def test_remembered_assertion_still_needs_a_sound_message(kit: Kit, pki: Pki) -> None:
    """Wrapping a remembered assertion does not get past step b."""
    who = verifier(pki)
    assertion = kit.good()
    ask(who, assertion, kit.card)
    assert refused(who, assertion + assertion, kit.card).subcode == INVALID_SECURITY


def test_revocation_reaches_remembered_assertions(own_pki: Pki) -> None:
    """Revoking the signature certificate ends an assertion already accepted. Step: g"""
    card = own_pki.issue_person("899900000091", "A", "B", key=KeyKind.EC)
    who = verifier(own_pki, replace(kit_rule(), roles=frozenset()))
    assertion = vihf.issue(vihf.for_card(card, structure_id=STRUCTURE), card.signature)
    ask(who, assertion, card)
    own_pki.revoke(card.signature.certificate.serial_number)
    assert refused(who, assertion, card).step == "g"


@pytest.mark.parametrize("remember", [0, 10])
def test_replay(kit: Kit, pki: Pki, remember: int) -> None:
    """Counted by default; refused in strict mode and for OneTimeUse, remembered or not. Step: n"""
    rule = replace(kit_rule(), remember=remember)
    counting, strict = verifier(pki, rule), verifier(pki, replace(rule, replay=Replay.STRICT))
    session = kit.good()
    for _ in range(3):
        ask(counting, session, kit.card)
    ask(strict, session, kit.card)
    assert refused(strict, session, kit.card).step == "n"
    root = kit.build(lifetime=timedelta(minutes=5))
    conditions = root.find(saml("Conditions"))
    assert conditions is not None
    etree.SubElement(conditions, saml("OneTimeUse"))
    once = kit.sign(root)
    ask(counting, once, kit.card)
    fault = refused(counting, once, kit.card)
    assert (fault.step, fault.subcode) == ("n", FAILED_AUTHENTICATION)


def test_one_id_names_one_assertion(kit: Kit, pki: Pki) -> None:
    """Two different assertions of one issuer under the same ID: the second is refused. Step: n"""
    who = verifier(pki)
    first, second = kit.build(), kit.build(replace(kit.says(), purpose=vihf.EMERGENCY_CENTRE))
    second.set("ID", str(first.get("ID")))
    ask(who, kit.sign(first), kit.card)
    assert refused(who, kit.sign(second), kit.card).step == "n"


def test_one_assertion_may_be_written_down_in_two_ways(kit: Kit, pki: Pki) -> None:
    """Its ID is not taken for reused when another toolkit declares other namespaces around it. Step: n

    What was signed is the same, and counts as shown twice: where reuse is forbidden it is refused.
    """
    signed = kit.good()
    other = signed.replace(b"<saml2:Assertion ", b'<saml2:Assertion xmlns:essai="urn:essai" ', 1)
    assert other != signed
    counting, strict = verifier(pki), verifier(pki, replace(kit_rule(), replay=Replay.STRICT))
    for who in (counting, strict):
        ask(who, signed, kit.card)
    assert ask(counting, other, kit.card).assertion_id == ask(counting, signed, kit.card).assertion_id
    assert refused(strict, other, kit.card).step == "n"


def test_full_replay_memory_fails_closed_where_reuse_is_forbidden(kit: Kit, pki: Pki) -> None:
    """When nothing more can be remembered, strict mode refuses and counting goes on. Step: n"""
    rule = replace(kit_rule(), replay=Replay.STRICT)
    strict = verifier(pki, rule, replay=ReplayMemory(1))
    ask(strict, kit.good(), kit.card)
    assert refused(strict, kit.good(), kit.card).step == "n"
    counting = verifier(pki, replay=ReplayMemory(1))
    ask(counting, kit.good(), kit.card)
    ask(counting, kit.good(), kit.card)


def test_replay_memory_forgets_what_has_ended() -> None:
    """Room comes back when assertions end."""
    memory, now = ReplayMemory(1), datetime(2026, 1, 1, tzinfo=UTC)
    assert memory.show(("i", "a"), "x", now + timedelta(seconds=5), now) == 1
    assert memory.show(("i", "b"), "y", now + timedelta(seconds=5), now) is None
    assert memory.show(("i", "a"), "x", now + timedelta(seconds=5), now) == 2
    assert memory.show(("i", "b"), "y", now + timedelta(seconds=9), now + timedelta(seconds=5)) == 1


def test_never_ending_assertion_is_refused_not_a_crash(kit: Kit, pki: Pki) -> None:
    """Dates at the edge of the calendar are compared, not overflowed. Step: j"""
    for value in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"):
        root = kit.build(lifetime=timedelta(minutes=5))
        conditions = root.find(saml("Conditions"))
        assert conditions is not None
        conditions.set("NotOnOrAfter", value)
        assert refused(verifier(pki), kit.sign(root), kit.card).step == "j"


def with_purposes(root: etree._Element, *purposes: Code) -> etree._Element:
    statement = root.find(saml("AttributeStatement"))
    assert statement is not None
    vihf.coded_attribute(statement, vihf.PURPOSE, "PurposeForUse", purposes)
    return root


def test_a_mode_of_access_is_one(kit: Kit, pki: Pki) -> None:
    """Two good purposes of use in a VIHF would leave open which one is meant; the same one twice does not. Step: o"""
    both = with_purposes(kit.build(replace(kit.says(), purpose_reason="essai")), vihf.EMERGENCY_CENTRE)
    fault = refused(verifier(pki), kit.sign(both), kit.card)
    assert (fault.step, fault.detail) == ("o", f"{vihf.PURPOSE} has several values")
    again = with_purposes(kit.build(), vihf.Code(vihf.NORMAL.code, vihf.NORMAL.scheme, "otherwise shown"))
    caller = ask(verifier(pki), kit.sign(again), kit.card)
    assert (caller.purpose, caller.further_purposes) == ("normal", ())


def test_repeated_purposes_of_plain_xua_are_all_kept(kit: Kit, pki: Pki) -> None:
    """Repeated values are legal; one outside the set refuses all of them. Step: o"""
    first, second = (Code(code, "2.16.840.1.113883.3.18.7.1") for code in ("TREATMENT", "PUBLICHEALTH"))
    root = with_purposes(etree.fromstring(plain_assertion(kit)), second)
    root.remove(root.find("{*}Signature"))  # type: ignore[arg-type]
    signed = kit.sign(root, kit.structure.signature)
    inside = plain_rule(purposes=frozenset({first.key, second.key}))
    for rule in (plain_rule(), inside):
        caller = ask(verifier(pki, rule), signed, kit.card)
        assert (caller.purpose_code, caller.further_purposes) == (first, (second,))
        assert purpose_of(caller) == (*("TREATMENT", first.scheme, ""), *("PUBLICHEALTH", second.scheme, ""))
    assert refused(verifier(pki, plain_rule(purposes=frozenset({first.key}))), signed, kit.card).step == "o"


@pytest.mark.parametrize("mode", [Mode.INDIRECT, Mode.REINFORCED_INDIRECT])
def test_a_structure_vouches_for_one_profession(kit: Kit, pki: Pki, mode: Mode) -> None:
    """A second one would be believed by nobody and seen by nobody. Step: o"""
    nurse, physician = (Code(code, vihf.PROFESSIONS) for code in ("60", "10"))
    says = vihf.for_card(kit.structure, name_id="899900000055", subject_name="FICTIF Ida", roles=(nurse, physician))
    says = replace(says, mode=mode, context_declaration=vihf.SMARTCARD_PKI)
    fault = refused(verifier(pki), kit.sign(kit.build(says, kit.structure), kit.structure.signature), kit.structure)
    assert (fault.step, fault.detail) == ("o", "two professions are claimed")


def test_attribute_name_in_other_letter_case(kit: Kit, pki: Pki) -> None:
    """``Authentification_Mode`` and ``Authentification_mode`` are both written by senders. Step: o"""
    root = kit.build()
    for attribute in root.iter(saml("Attribute")):
        if attribute.get("Name") == vihf.AUTHENTICATION_MODE:
            attribute.set("Name", "Authentification_Mode")
    assert ask(verifier(pki), kit.sign(root), kit.card).mode is Mode.DIRECT


def test_signature_with_inclusive_namespaces_prefix_list(kit: Kit, pki: Pki) -> None:
    """Java signers name ``xs`` in a PrefixList of the exclusive canonicalization; such signatures are accepted.

    Step: e
    """
    root = kit.build()
    issuer = root.find(saml("Issuer"))
    assert issuer is not None
    node = xmlsec.template.create(root, xmlsec.Transform.EXCL_C14N, xmlsec.Transform.RSA_SHA256, ns="ds")
    issuer.addnext(node)
    reference = xmlsec.template.add_reference(node, xmlsec.Transform.SHA256, uri=f"#{root.get('ID')}")
    xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
    transform = xmlsec.template.add_transform(reference, xmlsec.Transform.EXCL_C14N)
    xmlsec.template.transform_add_c14n_inclusive_namespaces(transform, ["xs", "xsi"])
    xmlsec.template.add_x509_data(xmlsec.template.ensure_key_info(node))
    context = xmlsec.SignatureContext()
    context.register_id(root, "ID")
    context.key = xmlsec.Key.from_memory(private_pem(kit.card), xmlsec.KeyFormat.PEM)
    context.key.load_cert_from_memory(kit.card.signature.der, xmlsec.KeyFormat.CERT_DER)
    context.sign(node)
    assert ask(verifier(pki), etree.tostring(root), kit.card).identifier == "899900000011"


def private_pem(card: Card) -> bytes:
    return card.signature.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_text_is_read_whole_and_comments_are_dropped() -> None:
    """Two defences against a comment in an identifier, each enough alone. Step: d, h"""
    split = etree.fromstring("<a>dr.<!-- x -->martin<![CDATA[.x]]></a>")
    assert split.text == "dr."
    assert token.text(split) == "dr.martin.x"
    assert etree.fromstring("<a>dr.<!-- x -->martin</a>", token.hardened_parser()).text == "dr.martin"


def test_branch_counts_not_only_the_names(kit: Kit, pki: Pki) -> None:
    """A structure's certificate with a person's identifier as its name, and the reverse, speak for nobody. Step: g"""
    trust = TrustStore.load(pki.trust)
    for card, says in ((kit.card, kit.says()), (kit.structure, vihf.for_card(kit.structure, roles=ROLES))):
        said = attributes.read(kit.build(says, card), CredentialRule())
        signer = trust.check(card.signature.der, Use.VIHF_SIGNATURE)
        verification._check_binding(says.name_id, said, signer, CredentialRule())
        other = Kind.ORGANISATION if signer.kind is Kind.PERSON else Kind.PERSON
        with pytest.raises(SoapFault):
            verification._check_binding(says.name_id, said, replace(signer, kind=other), CredentialRule())


def test_nothing_of_the_assertion_reaches_the_log(kit: Kit, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """At level DEBUG the signature library logs what it signs and verifies: patient and professional stay out."""
    with caplog.at_level(logging.DEBUG):
        ask(verifier(pki), kit.good(), kit.card)
    for secret in ("279035121518989", "LIBRE", "899900000011"):
        assert secret not in caplog.text


def test_many_threads_share_one_verifier(kit: Kit, pki: Pki) -> None:
    """Good and bad callers at the same time, each gets its own answer."""
    who = verifier(pki, replace(kit_rule(), remember=2))
    good = [kit.good() for _ in range(4)]
    other = kit.sign(kit.build(kit.says(kit.other), kit.other), kit.other.signature)

    def one(number: int) -> str:
        if number % 3 == 0:
            return ask(who, other, kit.other).identifier
        if number % 3 == 1:
            return refused(who, good[number % 4], kit.other).step
        return ask(who, good[number % 4], kit.card).identifier

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(120)))
    assert answers == ["899900000022", "tls", "899900000011"] * 40


MARKUP = [b"<!-- -->", b"<?a b?>", b"&amp;", b"<a/>", b"\n", b" ", b"<![CDATA[]]>"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_refused_or_changes_nothing(kit: Kit, pki: Pki, data: st.DataObject) -> None:
    """Bytes of a signed assertion changed anywhere: a fault, or the very same caller; never another, never a crash.

    Step: f
    """
    who = verifier(pki, replace(kit_rule(), remember=0))
    assertion = kit.good()
    true = ask(who, assertion, kit.card)
    start = data.draw(st.integers(0, len(assertion) - 1))
    length = data.draw(st.integers(0, 12))
    filler = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from(MARKUP)))
    changed = assertion[:start] + filler + assertion[start + length :]
    try:
        envelope = etree.fromstring(put(MESSAGE, vihf.security_header(changed)))
    except (etree.XMLSyntaxError, ValueError):
        return
    try:
        caller = who.authenticate(envelope=envelope, security=None, peer_certificate=kit.card.authentication.der)
    except SoapFault as fault:
        assert fault.is_security
        return
    assert replace(caller, assertion=b"") == replace(true, assertion=b"")
