"""Every attack of the literature on a signed assertion is refused at its step, or changes nothing."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from conformance.negative_assertions import kit_rule
from conformance.negative_kit import Kit
from conformance.spoiled_assertions import by
from guard.credentials import identity
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.cards import Card
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from guard.credentials.rule import Replay
from tests.attack import key_corpus, signature_corpus, text_corpus, wrapping_corpus
from tests.attack.attack import FAULTS, Attack, in_header, lenient, message
from xds.namespaces import WSSE
from xds.wire.faults import SoapFault
from xds.wire.soap12 import open_envelope
from xds.wire.xml import parse

CORPORA = (wrapping_corpus, signature_corpus, key_corpus, text_corpus)
ATTACKS = {one.name: one for corpus in CORPORA for one in corpus.attacks()}


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pki.create(tmp_path_factory.mktemp("pki")).trust


@pytest.fixture(scope="module")
def kit(trust: Path, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(Pki.open(trust.parent), tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def verifier(trust: Path, kit: Kit) -> Verifier:
    return Verifier(kit_rule(), TrustStore.load(trust))


def served(verifier: Verifier, data: bytes, attack: Attack, kit: Kit) -> Caller:
    """As a service reads it."""
    envelope = open_envelope(parse(data))
    return verifier.authenticate(envelope=envelope.root, security=envelope.security, peer_certificate=peer(attack, kit))


def alone(verifier: Verifier, data: bytes, attack: Attack, kit: Kit) -> Caller:
    """The verifier behind a parser that lets everything through."""
    return verifier.authenticate(envelope=lenient(data), security=None, peer_certificate=peer(attack, kit))


def peer(attack: Attack, kit: Kit) -> bytes:
    card = attack.peer(kit)
    assert card is not None
    return card.authentication.der


def test_every_attack_has_its_name() -> None:
    """No two attacks share one, which would hide the first."""
    every = [one.name for corpus in CORPORA for one in corpus.attacks()]
    assert len(every) == len(set(every)) == len(ATTACKS)


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.step])
def test_attack_is_refused_as_it_is_served(name: str, kit: Kit, verifier: Verifier) -> None:
    """By the step that is meant for it. Step: a, b, c, d, e, f, g"""
    attack = ATTACKS[name]
    with pytest.raises(SoapFault) as refused:
        served(verifier, attack.spoil(message(), kit), attack, kit)
    fault = refused.value
    assert (fault.step or "a") == attack.step, fault.detail
    assert attack.step == "a" or fault.subcode in FAULTS[attack.step], fault.detail


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.alone_step])
def test_attack_is_refused_without_the_wire(name: str, kit: Kit, verifier: Verifier) -> None:
    """The verifier leans on no parser before it. Step: b, c, d, e, f, g"""
    attack = ATTACKS[name]
    data = attack.spoil(message(), kit)
    if attack.alone_step == "not well-formed":
        with pytest.raises((etree.XMLSyntaxError, ValueError)):
            lenient(data)
        return
    with pytest.raises(SoapFault) as refused:
        alone(verifier, data, attack, kit)
    assert refused.value.step == attack.alone_step, refused.value.detail
    assert refused.value.subcode in FAULTS[attack.alone_step]


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if not attack.alone_step])
def test_what_changes_nothing_names_the_signer(name: str, kit: Kit, verifier: Verifier) -> None:
    """And says of him what he signed. Step: h"""
    attack = ATTACKS[name]
    signer = attack.peer(kit)
    assert signer is not None
    true = verifier.authenticate(
        envelope=lenient(_good(signer, kit)), security=None, peer_certificate=peer(attack, kit)
    )
    readers = (alone,) if attack.step else (served, alone)
    data = attack.spoil(message(), kit)
    for read in readers:
        caller = read(verifier, data, attack, kit)
        own = {"assertion": b"", "assertion_id": "", "assertion_sha256": ""}
        assert replace(caller, **own) == replace(true, **own)


def claimed(verifier: Verifier, data: bytes, attack: Attack, kit: Kit) -> Caller:
    """As the repository reads the credential of a deposit before the registry has verified it."""
    envelope = open_envelope(parse(data))
    return verifier.claim(envelope=envelope.root, security=envelope.security, peer_certificate=peer(attack, kit))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.step not in ("", "f")])
def test_a_claim_is_refused_where_the_assertion_is(name: str, kit: Kit, verifier: Verifier) -> None:
    """By the same step. Step: a, b, c, d, e, g"""
    attack = ATTACKS[name]
    with pytest.raises(SoapFault) as refused:
        claimed(verifier, attack.spoil(message(), kit), attack, kit)
    assert (refused.value.step or "a") == attack.step, refused.value.detail


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.step in ("", "f")])
def test_a_claim_that_passes_names_who_connects(name: str, kit: Kit, verifier: Verifier) -> None:
    """What only the signature's value gives away, step f, still speaks for nobody else; what is genuine is read as the
    verified assertion is. Step: h, tls"""
    attack = ATTACKS[name]
    data, signer = attack.spoil(message(), kit), attack.peer(kit)
    assert signer is not None
    try:
        claim = claimed(verifier, data, attack, kit)
    except SoapFault as refused:
        assert attack.step, refused.detail
        return
    assert claim.identifier == identity.read(signer.authentication.certificate).common_name
    assert claim.assertion_sha256 == ""
    if not attack.step:
        true = served(verifier, data, attack, kit)
        assert true.assertion_sha256 and replace(claim, assertion_sha256=true.assertion_sha256) == true


def _good(signer: Card, kit: Kit) -> bytes:
    return in_header(by(lambda _: signer))(message(), kit)


def test_genuine_assertion_nowhere_else_in_a_forged_message(kit: Kit, verifier: Verifier) -> None:
    """Every place of a message, with the signature there or in the forged assertion, under either ID.

    Attack: wrapping-anywhere
    Step: b
    """
    count = 0
    for where, data in wrapping_corpus.placements(kit, message()):
        for read in (served, alone):
            with pytest.raises(SoapFault) as refused:
                read(verifier, data, ATTACKS["xsw3"], kit)
            assert refused.value.step in ("", "b") if read is served else refused.value.step == "b", where
        count += 1
    assert count > 300


def test_two_readings_of_the_header_are_refused(kit: Kit, verifier: Verifier) -> None:
    """What the wire took for the security header must be the one the verifier finds. Step: b"""
    good, other = lenient(_good(kit.card, kit)), lenient(_good(kit.card, kit))
    der = kit.card.authentication.der
    blocks = [one.find(f".//{{{WSSE}}}Security") for one in (good, other)]
    assert verifier.authenticate(envelope=good, security=blocks[0], peer_certificate=der).identifier
    with pytest.raises(SoapFault) as refused:
        verifier.authenticate(envelope=good, security=blocks[1], peer_certificate=der)
    assert refused.value.step == "b"


def test_another_value_for_the_same_signature_is_no_second_assertion(trust: Path, kit: Kit) -> None:
    """ECDSA values can be rewritten by anybody: where one use is allowed the rewritten one is the second.

    Attack: ecdsa-malleability
    Step: n
    """
    strict = Verifier(replace(kit_rule(), replay=Replay.STRICT), TrustStore.load(trust))
    attack = ATTACKS["ecdsa_malleable"]
    genuine = _good(kit.other, kit)
    served(strict, genuine, attack, kit)
    with pytest.raises(SoapFault) as refused:
        served(strict, _rewritten(genuine), attack, kit)
    assert refused.value.step == "n"


def _rewritten(data: bytes) -> bytes:
    """The message with n - s for s."""
    root = lenient(data)
    value = root.find(".//{*}SignatureValue")
    assert value is not None
    raw = base64.b64decode(value.text or "")
    other = signature_corpus.ORDER - int.from_bytes(raw[32:], "big")
    old, new = (value.text or "").encode(), base64.b64encode(raw[:32] + other.to_bytes(32, "big"))
    assert data.count(old) == 1
    return data.replace(old, new)
