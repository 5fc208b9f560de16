"""Whose key a signature is checked with: what KeyInfo says, and what it says twice.

Sources: W3C "XML Signature Best Practices"; WS-Security on references to keys; CVE-2025-48994 and the family of
confusions in which a message brings the key that it is checked with. Each signature holds under the card's key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from conformance.hand_signatures import ECDSA_SHA256, Form, certificate_info, key_value_info, sign
from conformance.negative_kit import Kit
from conformance.spoiled_assertions import handmade
from guard.credentials.cards import Card
from tests.attack.attack import Attack, in_header
from tests.attack.signature_corpus import Make, ds
from xds.namespaces import DS

DSIG11 = "http://www.w3.org/2009/xmldsig11#"


def key_info(*parts: Callable[[Kit], etree._Element]) -> Make:
    """A good signature of the card with these parts as its KeyInfo."""

    def info(kit: Kit) -> etree._Element:
        made = etree.Element(ds("KeyInfo"), nsmap={"ds": DS})
        made.extend([part(kit) for part in parts])
        return made

    return handmade(Form(), info)


def x509(*certificates: Callable[[Kit], Card]) -> Callable[[Kit], etree._Element]:
    return lambda kit: certificate_info(*(one(kit).signature.certificate for one in certificates))[0]


def _card(kit: Kit) -> Card:
    return kit.card


def _other(kit: Kit) -> Card:
    return kit.other


def _attackers(kit: Kit) -> Card:
    return kit.foreign


def _named(tag: str, text: str = "x") -> Callable[[Kit], etree._Element]:
    def make(kit: Kit) -> etree._Element:
        made = etree.Element(tag)
        made.text = text
        return made

    return make


def _inside(tag: str, child: Callable[[Kit], etree._Element]) -> Callable[[Kit], etree._Element]:
    def make(kit: Kit) -> etree._Element:
        made = etree.Element(tag)
        made.append(child(kit))
        return made

    return make


def _attackers_key_value(kit: Kit) -> etree._Element:
    return key_value_info(kit.foreign.signature.key)[0]


def _der_key(kit: Kit) -> etree._Element:
    """DEREncodedKeyValue with a P-256 key, beside an RSA certificate."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _named(f"{{{DSIG11}}}DEREncodedKeyValue", base64.b64encode(data).decode())(kit)


def _issuer_serial(kit: Kit) -> etree._Element:
    data = etree.Element(ds("X509Data"))
    both = etree.SubElement(data, ds("X509IssuerSerial"))
    etree.SubElement(both, ds("X509IssuerName")).text = kit.card.signature.certificate.issuer.rfc4514_string()
    etree.SubElement(both, ds("X509SerialNumber")).text = str(kit.card.signature.certificate.serial_number)
    return data


def _no_certificate() -> Iterator[tuple[str, str, Make]]:
    """No certificate to judge, or two places that name one."""
    yield "key_name", "a name in place of a certificate", key_info(_named(ds("KeyName"), "LIBRE"))
    yield "issuer_serial", "issuer and serial number in place of a certificate", key_info(_issuer_serial)
    yield (
        "key_identifier",
        "a key identifier in place of a certificate",
        key_info(_inside(ds("X509Data"), _named(ds("X509SKI"), "AAAA"))),
    )
    yield "der_key_value", "a bare key in the form of XML Signature 1.1", key_info(_der_key)
    wsse = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
    yield (
        "token_reference",
        "a reference to a token of the message",
        key_info(_named(f"{{{wsse}}}SecurityTokenReference", "")),
    )
    yield "two_x509_data", "two X509Data, the trusted certificate first", key_info(x509(_card), x509(_attackers))
    yield (
        "two_x509_data_reversed",
        "two X509Data, the attacker's certificate first",
        key_info(x509(_attackers), x509(_card)),
    )


def _wrong_certificate() -> Iterator[tuple[str, str, Make, str]]:
    yield "victims_certificate", "the victim's certificate over the attacker's signature", key_info(x509(_other)), "f"
    yield (
        "attacker_first",
        "the attacker's certificate first, the trusted one after it",
        key_info(x509(_attackers, _card)),
        "g",
    )
    yield (
        "leaf_last",
        "an authority's certificate where the leaf belongs",
        key_info(
            lambda kit: certificate_info(*reversed((kit.card.signature.certificate, *kit.card.signature.chain)))[0]
        ),
        "g",
    )
    yield (
        "attackers_key_value",
        "the attacker's bare key beside the trusted certificate",
        key_info(x509(_card), _attackers_key_value),
        "f",
    )
    yield "attackers_key_value_first", "the same before it", key_info(_attackers_key_value, x509(_card)), "f"
    yield "der_key_of_another_kind", "a P-256 key beside an RSA certificate", key_info(x509(_card), _der_key), "f"
    yield (
        "der_key_unreadable",
        "a key nobody can read beside the certificate",
        key_info(x509(_card), _named(f"{{{DSIG11}}}DEREncodedKeyValue", "AAAA")),
        "f",
    )
    yield (
        "key_value_without_key",
        "an RSAKeyValue of numbers that are none",
        key_info(
            x509(_card), _inside(ds("KeyValue"), _inside(f"{{{DSIG11}}}ECKeyValue", _named(f"{{{DSIG11}}}NamedCurve")))
        ),
        "f",
    )
    yield (
        "armoured_certificate",
        "PEM marks around the certificate",
        key_info(_inside(ds("X509Data"), _named(ds("X509Certificate"), "-----BEGIN CERTIFICATE-----"))),
        "g",
    )
    yield "certificate_and_more", "bytes after the certificate", key_info(_longer(b"\0")), "g"
    yield (
        "certificate_and_another",
        "two certificates in one element",
        key_info(lambda kit: _longer(kit.other.signature.der)(kit)),
        "g",
    )
    yield (
        "certificate_empty",
        "an empty certificate",
        key_info(_inside(ds("X509Data"), _named(ds("X509Certificate"), ""))),
        "g",
    )


def _longer(more: bytes) -> Callable[[Kit], etree._Element]:
    def make(kit: Kit) -> etree._Element:
        data = base64.b64encode(kit.card.signature.der + more).decode()
        return _inside(ds("X509Data"), _named(ds("X509Certificate"), data))(kit)

    return make


def unknown_curve(kit: Kit) -> bytes:
    """A P-256 certificate, and beside it a key value of a curve nobody knows."""
    root = kit.build(None, kit.other)
    info = certificate_info(kit.other.signature.certificate)
    value = etree.SubElement(etree.SubElement(info, ds("KeyValue")), f"{{{DSIG11}}}ECKeyValue")
    etree.SubElement(value, f"{{{DSIG11}}}NamedCurve", URI="urn:oid:1.2.3")
    etree.SubElement(value, f"{{{DSIG11}}}PublicKey").text = base64.b64encode(b"\4" + bytes(64)).decode()
    sign(root, kit.other.signature.key, info, Form(method=ECDSA_SHA256))
    return etree.tostring(root)


def attacks() -> Iterator[Attack]:
    """Every one of this file."""
    for name, tries, make in _no_certificate():
        yield Attack(name=name, tries=tries, spoil=in_header(make), step="e")
    for name, tries, make, step in _wrong_certificate():
        yield Attack(name=name, tries=tries, spoil=in_header(make), step=step)
    yield Attack(
        name="unknown_curve",
        tries="a key value of an unknown curve beside a P-256 certificate",
        spoil=in_header(unknown_curve),
        step="f",
        peer=_other,
    )
