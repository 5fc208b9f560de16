"""Who is still in training: the card carries the code of the profession to come, and the role is of TRE_G16.

Clause: DMP VIHF role (TRE_G15, TRE_G16); card type 1 (CPF)
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.negative_assertions import kit_rule
from conformance.negative_kit import MESSAGE, PATIENT, Kit, parse
from guard.credentials import vihf
from guard.credentials.assertion import Verifier
from guard.credentials.cards import Card
from guard.credentials.identity import CardType
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.rule import CredentialRule, Required
from tests.guard.credentials.test_credentials_verifier import ask, refused, verifier
from tests.world import STRUCTURE
from xds.model.codes import Code

IN_TRAINING, STRUCTURES = "1.2.250.1.71.1.2.8", "1.2.250.1.213.1.1.4.6"


@pytest.fixture(scope="module")
def who(pki: Pki) -> Verifier:
    """Every table has a role of this number."""
    rule = kit_rule()
    return verifier(pki, replace(rule, roles=rule.roles | {f"10^^{IN_TRAINING}", f"10^^{STRUCTURES}"}))


@pytest.fixture(scope="module")
def student(pki: Pki) -> Card:
    return pki.issue_person(
        "899700000042", "ETUDIANT", "Eve", card_type=CardType.CPF, label="Étudiant", key=KeyKind.EC
    )


def said(card: Card, *roles: Code) -> bytes:
    says = vihf.for_card(card, structure_id=STRUCTURE, patient_id=PATIENT, roles=roles)
    return vihf.issue(says, card.signature)


def test_the_card_of_a_student_says_so(who: Verifier, student: Card) -> None:
    """What is written by default is accepted, and names no profession of TRE_G15."""
    caller = ask(who, said(student), student)
    assert caller.profession is not None and caller.profession.key == f"10^^{IN_TRAINING}"


@pytest.mark.parametrize("scheme", [vihf.PROFESSIONS, STRUCTURES])
def test_a_student_is_no_physician(who: Verifier, student: Card, scheme: str) -> None:
    """The same number in the table of those who have finished, or in any other. Step: g"""
    fault = refused(who, said(student, Code("10", scheme)), student)
    assert "10^^" in fault.detail and IN_TRAINING in fault.detail


def test_a_physician_is_no_student(who: Verifier, kit: Kit) -> None:
    """Step: g"""
    fault = refused(who, said(kit.card, Code("10", IN_TRAINING)), kit.card)
    assert vihf.PROFESSIONS in fault.detail


def test_a_specialty_is_that_of_the_card(who: Verifier, pki: Pki) -> None:
    """Neither another, nor any where the card has none. Step: g"""
    for carried in ((), ("SM54",)):
        card = pki.issue_person("899700000059", "GENERAL", "Gil", specialties=carried, key=KeyKind.EC)
        fault = refused(who, said(card, Code("10", vihf.PROFESSIONS), Code("SM26", vihf.SPECIALTIES)), card)
        assert f"specialties are ['SM26'], the card's are {list(carried)}" in fault.detail


def test_a_connection_alone_says_so_too(pki: Pki, student: Card) -> None:
    """Where the domain asks for no assertion."""
    tls, peer = verifier(pki, CredentialRule(required=Required.TLS, vihf=False)), student.authentication.der
    caller = tls.authenticate(envelope=parse(MESSAGE), security=None, peer_certificate=peer)
    assert caller.profession is not None and caller.profession.scheme == IN_TRAINING
