"""The tester's bad assertions made from a VIHF: the same names, the same faults as from plain XUA."""

from __future__ import annotations

import pytest

from carnet.assertions import Desk
from conformance import tester_assertions
from conformance.negative_assertions import kit_rule
from conformance.negative_kit import MESSAGE, PATIENT, STRUCTURE, Kit, parse, put
from conformance.tester_assertions import FAULTS, SPOILS
from guard.credentials import vihf
from guard.credentials.assertion import Verifier
from guard.credentials.caller import Caller
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from xds.wire.faults import SoapFault


def ask(kit: Kit, pki: Pki, *, spoil: str = "", consent: bool = False) -> Caller:
    root = Desk().build(kit.card, patient_id=PATIENT, structure_id=STRUCTURE)
    assertion = tester_assertions.issue(root, kit.card.signature, spoil=spoil, consent=consent)
    return Verifier(kit_rule(), TrustStore.load(pki.trust)).authenticate(
        envelope=parse(put(MESSAGE, vihf.security_header(assertion))),
        security=None,
        peer_certificate=kit.card.authentication.der,
    )


@pytest.mark.parametrize("spoil", list(SPOILS))
def test_a_bad_vihf_gets_the_same_fault(kit: Kit, pki: Pki, spoil: str) -> None:
    """One reason each, and its fault. Step: d, e, j, k, m, o"""
    with pytest.raises(SoapFault) as refused:
        ask(kit, pki, spoil=spoil)
    assert refused.value.subcode == FAULTS[spoil], refused.value.detail


@pytest.mark.parametrize("consent", [False, True])
def test_a_good_vihf_passes(kit: Kit, pki: Pki, consent: bool) -> None:
    """With the attributes of a consent, and without. Step: o"""
    caller = ask(kit, pki, consent=consent)
    assert (caller.identifier, caller.patient_id) == (kit.card.identity.common_name, PATIENT)


def test_every_bad_one_has_its_fault() -> None:
    """The two tables name the same cases."""
    assert set(SPOILS) == set(FAULTS)
