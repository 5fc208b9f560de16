"""signxml and xmlsec agree with us on every good and bad credential; where they do not, it is written down why.

Both are run strictly (``oracles.STRICT``): the message's shape checked first, then the library's own chain, key and
arithmetic. In every difference it is we who refuse. Run carelessly (``oracles.CARELESS``) they can be led to another
assertion than the signed one, or to a part of a name: these are the attacks that work on others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from conformance.negative_assertions import CASES
from conformance.negative_kit import MESSAGE, Kit
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Pki
from tests.attack import oracles, wrapping_corpus
from tests.attack.attack import lenient, message
from tests.attack.test_corpus import ATTACKS
from xds.namespaces import DS, SAML

BOTH = frozenset({"signxml", "xmlsec"})
XMLSEC = frozenset({"xmlsec"})
_SCHEMA = "the schema of assertions is ours: the libraries look at the signature alone"
_SURE = "the first certificate is the signer's here; the libraries choose among all they are given"
_ONE_KEY = "xmlsec takes the certificate and does not look at a key value that contradicts it or cannot be read"
WE_REFUSE_MORE: dict[str, tuple[frozenset[str], str]] = {
    **dict.fromkeys(
        (
            "secondauthncontext",
            "missingversion",
            "missingissuer",
            "missingissueinstant",
            "unknowncondition",
            "signature_last",
            "element_in_value",
            "retrieval_method",
        ),
        (BOTH, _SCHEMA),
    ),
    "invalidid": (
        frozenset({"signxml"}),
        "signxml finds an ID that is no NCName; xmlsec cannot, and neither does the schema",
    ),
    "oversized": (BOTH, "the bound on the size of an assertion is ours"),
    "revoked": (BOTH, "neither library is given revocation lists"),
    "authenticationkeysigns": (XMLSEC, "xmlsec does not look at key usages"),
    "ecdsa_padded": (
        XMLSEC,
        "xmlsec takes numbers of any equal length; XML Signature 1.1 4.4.2.3 fixes it by the curve",
    ),
    **dict.fromkeys(("attacker_first", "leaf_last"), (BOTH, _SURE)),
    **dict.fromkeys(
        (
            "attackers_key_value",
            "attackers_key_value_first",
            "der_key_of_another_kind",
            "der_key_unreadable",
            "key_value_without_key",
            "unknown_curve",
        ),
        (XMLSEC, _ONE_KEY),
    ),
    **dict.fromkeys(
        ("certificate_and_more", "certificate_and_another"),
        (XMLSEC, "xmlsec reads the first DER structure and drops the rest"),
    ),
}
"""Who accepts what we refuse, and why we do."""

_FIRST = "verifies the first signature and reads the first assertion, which is another one"
_CUT = "reads the text before a comment or an instruction for the whole"
CARELESS_BELIEVES: dict[str, str] = {
    **dict.fromkeys(
        (
            "forged_before_signed",
            "original_in_other_header",
            "original_in_second_security",
            "xsw3",
            "xsw4",
            "xsw5",
            "nested_envelope",
            "second_header",
        ),
        _FIRST,
    ),
    **dict.fromkeys(("comment_in_nameid", "comment_cuts_nameid", "instructioninnameid"), _CUT),
}
"""Attacks under which a careless reader with either library believes a name that nobody signed."""

NOT_XML = frozenset(
    {
        "overlong",
        "null",
        "attribute_twice",
        "attribute_twice_by_prefix",
        "unbound_prefix",
        "prefix_undeclared",
    }
)
"""No parser here makes a tree of these, so that nobody has an opinion."""


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pki.create(tmp_path_factory.mktemp("pki")).trust


@pytest.fixture(scope="module")
def kit(trust: Path, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(Pki.open(trust.parent), tmp_path_factory.mktemp("foreign"))


def names() -> Iterator[str]:
    yield from CASES
    yield from (name for name in ATTACKS if name not in NOT_XML)


def spoilt(name: str, kit: Kit) -> bytes:
    case = CASES.get(name)
    return ATTACKS[name].spoil(message(), kit) if case is None else case.spoil(MESSAGE, kit)


def test_no_name_stands_for_two() -> None:
    """Cases of the kit and attacks of the corpus are told apart."""
    assert not CASES.keys() & ATTACKS.keys()
    assert {name for name, attack in ATTACKS.items() if attack.alone == "not well-formed"} == NOT_XML


@pytest.mark.parametrize("name", list(names()))
def test_libraries_agree_with_us(name: str, kit: Kit, trust: Path) -> None:
    """On whether the signature holds for one assertion at its place, by a certificate of ours, and for which name.

    Step: b, d, e, f, g, h
    """
    data = spoilt(name, kit)
    mine = oracles.ours(lenient(data), TrustStore.load(trust))
    differing = set()
    for library, opinion in oracles.STRICT.items():
        theirs = opinion(lenient(data), trust)
        if theirs != mine:
            assert mine is None, f"{library} refuses what we accept, or reads another name: {theirs!r}, {mine!r}"
            differing.add(library)
    assert differing == WE_REFUSE_MORE.get(name, (frozenset(), ""))[0]


def test_libraries_agree_that_no_place_is_right_for_the_genuine_one(kit: Kit, trust: Path) -> None:
    """The whole space of wrapping: everybody refuses every message of it. Attack: wrapping-anywhere"""
    store = TrustStore.load(trust)
    count = 0
    for where, data in wrapping_corpus.placements(kit, message()):
        assert oracles.ours(lenient(data), store) is None, where
        for library, opinion in oracles.STRICT.items():
            assert opinion(lenient(data), trust) is None, (library, where)
        count += 1
    assert count > 300


@pytest.mark.parametrize("library", list(oracles.CARELESS))
def test_known_attacks_work_on_a_careless_reader(library: str, kit: Kit) -> None:
    """The attacks are real: each of the table works on a reader who does less. No other one does."""
    found = set()
    for name in names():
        data = spoilt(name, kit)
        case = CASES.get(name)
        card = ATTACKS[name].peer(kit) if case is None else case.peer(kit)
        if card is None:
            continue
        believed = oracles.CARELESS[library](lenient(data), card.signature.certificate)
        if believed is not None and believed != _signed_name(lenient(data)):
            found.add(name)
    assert found == CARELESS_BELIEVES.keys()


def _signed_name(envelope: etree._Element) -> str:
    """The whole NameID of the assertion that the first signature refers to, or that it stands in."""
    signature = envelope.find(f".//{{{DS}}}Signature")
    assert signature is not None
    wanted = str(signature.xpath("string(.//d:Reference/@URI)", namespaces={"d": DS}))[1:]
    meant = [one for one in envelope.iter(f"{{{SAML}}}Assertion") if one.get("ID") == wanted]
    meant += signature.iterancestors(f"{{{SAML}}}Assertion")
    return str(meant[0].xpath("string(a:Subject/a:NameID)", namespaces={"a": SAML}))
