"""The checks on a signature document one by one: each row is good in everything but what one check looks at.

Every check was taken out by hand once, and a row here or in ``test_signatures`` had to miss it.

Rule: R-174, R-175
"""

from __future__ import annotations

import base64
import copy

import pytest
from lxml import etree

from guard.credentials import xades
from guard.credentials.cards import Card
from tests.attack.test_signatures import FIRST, card, made, other, pki, refused
from tests.signatures import Spoil, child, ds, reference, spoiled, the, xa

__all__ = ["card", "other", "pki"]

V1 = xades.XADES_1_1


def other_method(root: etree._Element) -> None:
    """Of the other kind of key: nothing can be verified with it, so nothing was."""
    method = the(root, "SignatureMethod")
    kind = "rsa" if "#ecdsa-" in method.get("Algorithm", "") else "ecdsa"
    method.set("Algorithm", f"http://www.w3.org/2001/04/xmldsig-more#{kind}-sha256")


def other_root(root: etree._Element) -> None:
    root.tag = ds("Other")


def none_is_the_target(root: etree._Element) -> None:
    """What Python makes of an Id that is not there."""
    del root.attrib["Id"]
    the(root, "QualifyingProperties", V1).set("Target", "#None")


def none_is_referred_to(root: etree._Element) -> None:
    del the(root, "Manifest").attrib["Id"]
    reference(root, f"#{xades.MANIFEST_ID}").set("URI", "#None")


def more_in_a_reference(root: etree._Element) -> None:
    etree.SubElement(reference(root, f"urn:oid:{FIRST}"), ds("DigestValue")).text = "AAAA"


def parameters_of_a_digest(root: etree._Element) -> None:
    etree.SubElement(child(reference(root, f"urn:oid:{FIRST}"), "DigestMethod"), ds("Length")).text = "8"


def value_last(root: etree._Element) -> None:
    root.append(child(root, "SignatureValue"))


def key_before_value(root: etree._Element) -> None:
    root.insert(1, child(root, "KeyInfo"))


def element_in_a_digest(root: etree._Element) -> None:
    etree.SubElement(child(reference(root, f"urn:oid:{FIRST}"), "DigestValue"), ds("Other")).tail = "AAAA"


def unnamed(root: etree._Element) -> None:
    del reference(root, f"urn:oid:{FIRST}").attrib["URI"]


def more_properties(root: etree._Element) -> None:
    etree.SubElement(the(root, "SignedProperties", V1), xa("Other"))


def something_among_certificates(root: etree._Element) -> None:
    etree.SubElement(the(root, "SigningCertificate", V1), xa("Other"))


def no_certificate_digest(root: etree._Element) -> None:
    digest = next(root.iter(xa("CertDigest")))
    digest.getparent().remove(digest)  # type: ignore[union-attr]


def more_in_the_certificate_digest(root: etree._Element) -> None:
    etree.SubElement(next(root.iter(xa("CertDigest"))), ds("DigestValue")).text = "AAAA"


def other_serial_element(root: etree._Element) -> None:
    next(root.iter(xa("IssuerSerial"))).tag = xa("Other")


def more_in_the_serial(root: etree._Element) -> None:
    etree.SubElement(next(root.iter(xa("IssuerSerial"))), ds("X509SerialNumber")).text = "1"


def two_policies(root: etree._Element) -> None:
    policy = the(root, "SignaturePolicyIdentifier", V1)
    policy.addnext(copy.deepcopy(policy))


def empty_policy(root: etree._Element) -> None:
    policy = the(root, "SignaturePolicyIdentifier", V1)
    policy.remove(policy[0])


def two_in_an_object(root: etree._Element) -> None:
    manifest = the(root, "Manifest")
    extra = copy.deepcopy(manifest)
    extra.set("Id", "another")
    holder = manifest.getparent()
    assert holder is not None
    holder.append(extra)


def empty_object(root: etree._Element) -> None:
    etree.SubElement(root, ds("Object"))


def without(name: str) -> Spoil:
    def remove(root: etree._Element) -> None:
        holder = next(one for one in root.findall(ds("Object")) if etree.QName(one[0]).localname == name)
        root.remove(holder)

    return remove


def other_property(root: etree._Element) -> None:
    said = the(root, "SignatureProperty")
    said.tag = ds("Other")


def property_with_content(root: etree._Element) -> None:
    etree.SubElement(the(root, "SignatureProperty"), ds("Other"))


BY_ANYBODY: dict[str, tuple[Spoil, str]] = {
    "another root around the good parts": (other_root, "the document"),
    "no Id, and a Target called None": (none_is_the_target, "QualifyingProperties/@Target"),
    "the value last": (value_last, "Signature"),
    "the key before the value": (key_before_value, "Signature"),
    "two in an Object": (two_in_an_object, "Object"),
    "an empty Object": (empty_object, "Object"),
    "no manifest": (without("Manifest"), "Manifest"),
    "no properties": (without("QualifyingProperties"), "QualifyingProperties"),
    "something else said": (other_property, "SignatureProperties"),
    "a purpose with content": (property_with_content, "SignatureProperties"),
}
BY_SIGNER: dict[str, tuple[Spoil, str]] = {
    "a method of another kind of key": (other_method, "SignatureMethod"),
    "a reference to nothing called None": (none_is_referred_to, "SignedInfo/Reference/@URI"),
    "a second digest in a reference": (more_in_a_reference, "Reference"),
    "parameters of a digest": (parameters_of_a_digest, "DigestMethod"),
    "a document without a URI": (unnamed, "Manifest/Reference/@URI"),
    "more among the properties": (more_properties, "SignedProperties"),
    "something else among the certificates": (something_among_certificates, "SigningCertificate"),
    "no digest of the certificate": (no_certificate_digest, "SigningCertificate/Cert/CertDigest"),
    "a second digest of the certificate": (more_in_the_certificate_digest, "SigningCertificate/Cert/CertDigest"),
    "something in the place of the serial number": (other_serial_element, "SigningCertificate/Cert/IssuerSerial"),
    "a second serial number": (more_in_the_serial, "SigningCertificate/Cert/IssuerSerial"),
    "two policies": (two_policies, "SignaturePolicyIdentifier"),
    "a policy that names none": (empty_policy, "SignaturePolicyIdentifier"),
    "an element inside a digest": (element_in_a_digest, "Reference/DigestValue"),
}


@pytest.mark.parametrize("name", BY_ANYBODY)
def test_a_part_out_of_place_is_refused(card: Card, name: str) -> None:
    """Nothing that was signed has changed, and everything is there. Rule: R-174"""
    spoil, field = BY_ANYBODY[name]
    error = refused(spoiled(made(card.signature), spoil))
    assert error.field == field, str(error)


@pytest.mark.parametrize("name", BY_SIGNER)
def test_one_thing_too_many_is_refused(card: Card, name: str) -> None:
    """Signed so by the holder of the card. Rule: R-174, R-175"""
    spoil, field = BY_SIGNER[name]
    error = refused(spoiled(made(card.signature), spoil, card.signature))
    assert error.field == field, str(error)


def test_a_comment_is_refused_wherever_it_stands(card: Card) -> None:
    """Also where no digest sees it. Rule: R-174"""
    data = made(card.signature)
    for good, changed in ((b"</Signature>", b"<!-- --></Signature>"), (b"<KeyInfo>", b"<KeyInfo><!---->")):
        assert good in data
        assert refused(data.replace(good, changed)).found == "a comment"


def test_a_value_is_written_in_one_way(other: Card) -> None:
    """A zero before the second number of ECDSA would verify, and be another document. Rule: R-175"""
    def longer(root: etree._Element) -> None:
        value = child(root, "SignatureValue")
        raw = base64.b64decode(value.text or "")
        value.text = base64.b64encode(raw[:32] + b"\0" + raw[32:]).decode()

    assert refused(spoiled(made(other.signature), longer)).field == "SignatureValue"
