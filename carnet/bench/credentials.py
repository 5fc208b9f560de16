"""What a credential costs a request: a certificate seen for the first time, a new assertion, one that is remembered."""

from __future__ import annotations

import base64
import hashlib
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from lxml import etree

from carnet.acceptance import credential_rule
from carnet.settings import Settings
from guard.credentials import vihf
from guard.credentials.assertion import Verifier
from guard.credentials.cards import Card
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.rule import CredentialRule
from guard.credentials.token import hardened_parser
from xds import domain as domains
from xds.namespaces import DS
from xds.wire.addressing import request_headers
from xds.wire.soap12 import write_envelope
from xds.wire.xml import parse

MARK = 500.0
"""Microseconds that a request with a remembered assertion may spend on it."""
_CALLS = 20
"""Of each kind in a round."""
_PATIENT = "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"


def measure(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Rows of ``{"name", "key", "us", "floor", "times", "mark", "met"}``, microseconds at the best of several.

    The floor is what no verifier can leave out: the assertion and SignedInfo in canonical form, one digest, one
    signature. ``times`` says how many floors a row is; a remembered assertion may cost less than one. ``work`` is a
    folder for test authorities.
    """
    pki = Pki.create(work / "pki")
    rule = credential_rule(Settings(), domains.load("dmp"))
    rows = []
    for kind in (KeyKind.RSA, KeyKind.EC):
        card = pki.issue_person("899900000011", "MESURE", "Max", specialties=("SM26",), key=kind)
        rows += _rows(kind, card, _message(card), pki.trust, rule, rounds)
    return rows


def _message(card: Card) -> etree._Element:
    says = vihf.for_card(card, structure_id="10B0127189", patient_id=_PATIENT)
    header = vihf.security_header(vihf.issue(says, card.signature))
    headers = request_headers("urn:ihe:iti:2007:RegistryStoredQuery", "urn:uuid:1", "https://localhost/")
    return parse(b"".join(write_envelope(headers + header, [b'<Question xmlns="urn:carnet:bench"/>'])))


def _rows(
    kind: KeyKind, card: Card, message: etree._Element, trust: Path, rule: CredentialRule, rounds: int
) -> list[dict[str, Any]]:
    peer = card.authentication.der
    store = TrustStore.load(trust)
    forgetful, remembering = Verifier(replace(rule, remember=0), store), Verifier(rule, store)

    def ask(verifier: Verifier) -> object:
        return verifier.authenticate(envelope=message, security=None, peer_certificate=peer)

    def first() -> float:
        """Neither certificate was ever seen."""
        fresh = Verifier(rule, TrustStore.load(trust))
        began = time.perf_counter()
        ask(fresh)
        return (time.perf_counter() - began) * 1e6

    ask(remembering)
    floor = _best(_floor(card, message), rounds)
    spent = {
        "new certificate": min(first() for _ in range(_CALLS * rounds)),
        "known certificate, new assertion": _best(lambda: ask(forgetful), rounds),
        "remembered assertion": _best(lambda: ask(remembering), rounds),
    }
    rows = [_row("floor: canonical form, digest, signature", kind, floor, floor)]
    rows += [_row(name, kind, microseconds, floor) for name, microseconds in spent.items()]
    rows[-1] |= {"mark": f"<= {MARK:g}", "met": rows[-1]["us"] <= MARK}
    return rows


def _floor(card: Card, message: etree._Element) -> Callable[[], None]:
    """The same steps by hand, over an assertion that is already alone, with a key that is already read."""
    (found,) = message.iter(f"{{{DS}}}Signature")
    assertion = found.getparent()
    assert assertion is not None
    root = etree.fromstring(etree.tostring(assertion, with_tail=False), hardened_parser())
    signature = root.find(f"{{{DS}}}Signature")
    assert signature is not None
    value = base64.b64decode(signature.findtext(f"{{{DS}}}SignatureValue") or "")
    expected = base64.b64decode(signature.findtext(f".//{{{DS}}}DigestValue") or "")
    alone = etree.fromstring(etree.tostring(root), hardened_parser())
    alone.remove(alone[1])
    key = card.signature.certificate.public_key()

    def work() -> None:
        if hashlib.sha256(_canonical(alone)).digest() != expected:
            raise ValueError("the floor's digest is not the one that was signed")
        info = _canonical(signature[0])
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(value, info, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = len(value) // 2
            r, s = int.from_bytes(value[:half], "big"), int.from_bytes(value[half:], "big")
            key.verify(utils.encode_dss_signature(r, s), info, ec.ECDSA(hashes.SHA256()))

    return work


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


def _best(work: Callable[[], object], rounds: int) -> float:
    """Microseconds of the best call: what else runs on the machine only ever adds. Calls are timed one by one, as
    those that need a fresh store are."""
    return min(timeit.repeat(work, number=1, repeat=_CALLS * rounds)) * 1e6


def _row(name: str, kind: KeyKind, microseconds: float, floor: float) -> dict[str, Any]:
    return {
        "name": name, "key": kind.value, "us": round(microseconds, 1), "floor": round(floor, 1),
        "times": round(microseconds / floor, 2), "mark": "", "met": True,
    }


def as_table(rows: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str, str]]:
    """For ``carnet.console.table``."""
    return [
        (one["name"], one["key"], f"{one['us']:,.0f} µs", f"{one['times']:g}", one["mark"],
         "yes" if one["met"] else "NO")
        for one in rows
    ]
