"""A claim: what a credential says before anybody has verified its signature, and when that is not enough.

Clause: ITI TF-2 3.40.4.1.3
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree

from conformance.negative_assertions import kit_rule
from conformance.negative_kit import MESSAGE, Kit, put
from guard.credentials import assertion as module
from guard.credentials import signature, token, vihf
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.certificates import TrustStore, Use
from guard.credentials.pki import Pki
from guard.credentials.rule import Replay
from xds.namespaces import DS, SAML
from xds.wire.faults import SoapFault
from xds.wire.xml import parse


def claim(who: Verifier, kit: Kit, assertion: bytes, trace_id: str = "") -> Caller:
    envelope = parse(put(MESSAGE, vihf.security_header(assertion)))
    return who.claim(
        envelope=envelope, security=None, peer_certificate=kit.card.authentication.der, trace_id=trace_id
    )


def once(kit: Kit) -> bytes:
    """An assertion that says it serves once."""
    root = kit.build(lifetime=timedelta(minutes=5))
    conditions = root.find(f"{{{SAML}}}Conditions")
    assert conditions is not None
    etree.SubElement(conditions, f"{{{SAML}}}OneTimeUse")
    return kit.sign(root)


def spoiled(assertion: bytes) -> bytes:
    return assertion.replace(b"SignatureValue>", b"SignatureValue>AAAA", 1)


def test_a_claim_says_what_it_says_and_proves_nothing(kit: Kit, pki: Pki) -> None:
    """Remembered or not, it has no digest of what was signed."""
    who = Verifier(kit_rule(), TrustStore.load(pki.trust))
    signed = kit.good()
    for assertion in (signed, signed, spoiled(signed)):
        told = claim(who, kit, assertion)
        assert told.is_claim and told.identifier == kit.says().name_id


@pytest.mark.parametrize("rule", ["one time", "strict", "plain"])
def test_where_a_claim_is_worth_less_it_is_verified(kit: Kit, pki: Pki, rule: str) -> None:
    """What serves once is counted, within one trace as one showing; plain XUA binds no connection to a name.

    Step: f, n
    """
    rules = {
        "one time": kit_rule(), "strict": replace(kit_rule(), replay=Replay.STRICT),
        "plain": replace(kit_rule(), vihf=False),
    }
    who = Verifier(rules[rule], TrustStore.load(pki.trust))
    signed = once(kit) if rule == "one time" else kit.good()
    with pytest.raises(SoapFault) as refused:
        claim(who, kit, spoiled(signed), "a")
    assert refused.value.step == "f"
    for _ in range(2):
        assert not claim(who, kit, signed, "b").is_claim
    if rule != "plain":
        with pytest.raises(SoapFault) as refused:
            claim(who, kit, signed, "c")
        assert refused.value.step == "n"


def test_claims_crowd_out_nothing_that_was_verified(kit: Kit, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a memory of their own, and a small one."""
    monkeypatch.setattr(module, "CLAIMS", 2)
    who = Verifier(replace(kit_rule(), remember=3), TrustStore.load(pki.trust))
    for _ in range(4):
        claim(who, kit, kit.good())
    assert (len(who._claimed), len(who._verified)) == (2, 0)


def test_what_was_not_signed_is_not_claimed(kit: Kit, pki: Pki) -> None:
    """The signature itself, which may carry anything, is no part of what is read. Step: h"""
    said = signature.claim(token.reparse(kit.good()), TrustStore.load(pki.trust), Use.VIHF_SIGNATURE)
    assert said.root.find(f"{{{DS}}}Signature") is None and said.sha256 == ""
