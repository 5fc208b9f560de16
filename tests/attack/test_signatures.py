"""Attacks on the signature document of a submission set: every one is refused, and for its own reason.

``by_signer`` marks what somebody with a good card tries: his own signature over another form.

Rule: R-174, R-175
"""

from __future__ import annotations

import base64
import copy
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from guard.credentials import xades
from guard.credentials.cards import Card, KeyPair
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.xades_read import SetSignature, SignatureRefused, read
from tests.signatures import Spoil, child, ds, reference, spoiled, the, tree, xa
from xds.namespaces import DS

SET, FIRST, SECOND = "1.2.250.1.999.9.1", "1.2.250.1.999.9.2", "1.2.250.1.999.9.3"
DOCUMENTS = [
    xades.Signable(FIRST, hashlib.sha256(b"one").hexdigest()),
    xades.Signable(SECOND, hashlib.sha256(b"two").hexdigest()),
]
SHA1 = DS + "sha1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module", params=[KeyKind.EC, KeyKind.RSA])
def card(pki: Pki, request: pytest.FixtureRequest) -> Card:
    return pki.issue_person("899700000018", "ESSAI", "Anne", key=request.param)


@pytest.fixture(scope="module")
def other(pki: Pki) -> Card:
    return pki.issue_person("899700000034", "EXEMPLE", "Luc", key=KeyKind.EC)


@pytest.fixture(scope="module", params=[xades.FRENCH, xades.IHE], ids=["french", "ihe"])
def form(request: pytest.FixtureRequest) -> xades.Form:
    found: xades.Form = request.param
    return found


def made(signer: KeyPair, form: xades.Form = xades.FRENCH) -> bytes:
    return xades.write(signer, form, submission_unique_id=SET, documents=DOCUMENTS)


def accepted(data: bytes) -> SetSignature:
    signature = read(data)
    signature.verify()
    return signature


def refused(data: bytes) -> SignatureRefused:
    with pytest.raises(SignatureRefused) as caught:
        accepted(data)
    assert caught.value.field and caught.value.expected
    return caught.value


def test_what_is_written_is_read(card: Card, form: xades.Form) -> None:
    """Both forms, both kinds of key: what it says is what was signed."""
    moment = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    data = xades.write(card.signature, form, submission_unique_id=SET, documents=DOCUMENTS, now=moment)
    signature = accepted(data)
    assert signature.set_uri == f"urn:oid:{SET}"
    assert [(r.uri, r.digest.hex()) for r in signature.documents] == [
        (f"urn:oid:{d.unique_id}", d.sha256) for d in DOCUMENTS
    ]
    assert signature.signing_time == moment
    assert signature.purposes == {xades.SOURCE}
    assert signature.certificate == card.signature.der


def test_a_key_that_never_leaves_its_token_signs(card: Card, form: xades.Form) -> None:
    """Whoever signs is asked to sign: certificate, chain and ``sign`` are all that is looked at."""

    class Token:
        __slots__ = ("certificate", "chain", "sign")

    token = Token()
    token.certificate, token.chain = card.signature.certificate, card.signature.chain
    token.sign = card.signature.sign
    assert accepted(xades.write(token, form, submission_unique_id=SET, documents=DOCUMENTS)).purposes == {xades.SOURCE}


def test_the_french_form_is_that_of_the_published_messages(card: Card) -> None:
    """Element by element as the published TD2.1 example has it, with SHA-256 in place of SHA-1."""
    root = tree(made(card.signature))
    assert [etree.QName(e).localname for e in root] == ["SignedInfo", "SignatureValue", "KeyInfo", *["Object"] * 3]
    info = root[0]
    assert info[0].get("Algorithm") == "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
    assert [(r.get("Type"), r.get("URI")) for r in info.findall(ds("Reference"))] == [
        ("http://www.w3.org/2000/09/xmldsig#Manifest", "#IHEManifest"),
        ("http://uri.etsi.org/01903/v1.1.1#SignedProperties", "#S0-SignedProperties"),
    ]
    named = reference(root, f"urn:oid:{SET}")
    assert child(named, "DigestValue").text == "AA=="
    said = the(root, "SignatureProperty")
    assert (said.get("Id"), said.get("Target"), said.text) == (
        "purposeOfSignature", f"#{root.get('Id')}", "1.2.840.10065.1.12.1.14",
    )
    signed = the(root, "SignedSignatureProperties", "http://uri.etsi.org/01903/v1.1.1#")
    assert [etree.QName(e).localname for e in signed] == [
        "SigningTime", "SigningCertificate", "SignaturePolicyIdentifier",
    ]
    assert the(root, "SignaturePolicyImplied", "http://uri.etsi.org/01903/v1.1.1#") is not None
    assert not {e.get("Algorithm") for e in root.iter()} & {SHA1, DS + "rsa-sha1"}


def test_every_flipped_byte_is_noticed(card: Card) -> None:
    """A changed letter anywhere: refused, or nothing that was signed has changed."""
    data = made(card.signature)
    good = accepted(data)
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 0x01
        try:
            signature = accepted(bytes(changed))
        except SignatureRefused:
            continue
        same = ("set_uri", "documents", "signing_time", "certificate", "policy")
        assert all(getattr(signature, name) == getattr(good, name) for name in same), place


# -- by anybody: the signature stays as it was ------------------------------------------------------------------------


def swap_digest(root: etree._Element) -> None:
    child(reference(root, f"urn:oid:{FIRST}"), "DigestValue").text = base64.b64encode(b"\1" * 32).decode()


def swap_documents(root: etree._Element) -> None:
    one, two = reference(root, f"urn:oid:{FIRST}"), reference(root, f"urn:oid:{SECOND}")
    one.set("URI", f"urn:oid:{SECOND}")
    two.set("URI", f"urn:oid:{FIRST}")


def drop_document(root: etree._Element) -> None:
    the(root, "Manifest").remove(reference(root, f"urn:oid:{SECOND}"))


def add_document(root: etree._Element) -> None:
    extra = copy.deepcopy(reference(root, f"urn:oid:{FIRST}"))
    extra.set("URI", "urn:oid:1.2.3.4.5")
    the(root, "Manifest").append(extra)


def other_set(root: etree._Element) -> None:
    reference(root, f"urn:oid:{SET}").set("URI", "urn:oid:1.2.3.4.5")


def other_time(root: etree._Element) -> None:
    the(root, "SigningTime", xades.XADES_1_1).text = "2020-01-01T00:00:00Z"


def other_value(root: etree._Element) -> None:
    value = the(root, "SignatureValue")
    value.text = base64.b64encode(bytes(len(base64.b64decode(value.text or "")))).decode()


BY_ANYBODY: dict[str, tuple[Spoil, str]] = {
    "digest swapped": (swap_digest, "Manifest"),
    "documents swapped": (swap_documents, "Manifest"),
    "document removed from the manifest": (drop_document, "Manifest"),
    "document added to the manifest": (add_document, "Manifest"),
    "signature of another set": (other_set, "Manifest"),
    "signing time changed": (other_time, "SignedProperties"),
    "value of zeros": (other_value, "SignatureValue"),
}


@pytest.mark.parametrize("name", BY_ANYBODY)
def test_a_changed_signature_is_refused(card: Card, name: str) -> None:
    """Rule: R-174, R-175"""
    spoil, field = BY_ANYBODY[name]
    assert refused(spoiled(made(card.signature), spoil)).field == field


# -- by a signer: the signature fits what he has written ---------------------------------------------------------------


def wrap_properties(root: etree._Element) -> None:
    """The signed properties move away; forged ones stand in their place."""
    good = the(root, "SignedProperties", xades.XADES_1_1)
    forged = copy.deepcopy(good)
    the(forged, "SigningTime", xades.XADES_1_1).text = "2020-01-01T00:00:00Z"
    forged.set("Id", "forged")
    holder = good.getparent()
    holder.replace(good, forged)
    etree.SubElement(root, ds("Object")).append(good)


def wrap_in_unsigned(root: etree._Element) -> None:
    good = the(root, "SignedProperties", xades.XADES_1_1)
    holder = good.getparent()
    forged = copy.deepcopy(good)
    forged.set("Id", "forged")
    holder.replace(good, forged)
    etree.SubElement(holder, xa("UnsignedProperties")).append(good)


def wrap_manifest(root: etree._Element) -> None:
    good = the(root, "Manifest")
    forged = copy.deepcopy(good)
    forged.set("Id", "forged")
    swap_digest(forged)
    good.getparent().replace(good, forged)
    etree.SubElement(root, ds("Object")).append(good)


def same_id(root: etree._Element) -> None:
    extra = etree.SubElement(etree.SubElement(root, ds("Object")), ds("SignatureProperties"))
    extra.set("Id", "IHEManifest")


def two_properties(root: etree._Element) -> None:
    holder = the(root, "QualifyingProperties", xades.XADES_1_1)
    extra = copy.deepcopy(holder[0])
    extra.set("Id", "second")
    holder.append(extra)


def two_qualifying(root: etree._Element) -> None:
    extra = copy.deepcopy(the(root, "QualifyingProperties", xades.XADES_1_1))
    extra[0].set("Id", "second")
    etree.SubElement(root, ds("Object")).append(extra)


def two_times(root: etree._Element) -> None:
    time = the(root, "SigningTime", xades.XADES_1_1)
    time.addnext(copy.deepcopy(time))


def no_time(root: etree._Element) -> None:
    time = the(root, "SigningTime", xades.XADES_1_1)
    time.getparent().remove(time)


def no_zone(root: etree._Element) -> None:
    the(root, "SigningTime", xades.XADES_1_1).text = "2026-01-01T00:00:00"


def no_certificate(root: etree._Element) -> None:
    signing = the(root, "SigningCertificate", xades.XADES_1_1)
    signing.getparent().remove(signing)


def two_certificates(root: etree._Element) -> None:
    signing = the(root, "SigningCertificate", xades.XADES_1_1)
    signing.addnext(copy.deepcopy(signing))


def empty_certificates(root: etree._Element) -> None:
    signing = the(root, "SigningCertificate", xades.XADES_1_1)
    for one in list(signing):
        signing.remove(one)


def certificate_of_chain_first(root: etree._Element) -> None:
    signing = the(root, "SigningCertificate", xades.XADES_1_1)
    signing.append(signing[0])


def other_serial(root: etree._Element) -> None:
    next(root.iter(ds("X509SerialNumber"))).text = "1"


def other_issuer(root: etree._Element) -> None:
    next(root.iter(ds("X509IssuerName"))).text = "CN=Another"


def sha1_digest(root: etree._Element) -> None:
    one = reference(root, f"urn:oid:{FIRST}")
    child(one, "DigestMethod").set("Algorithm", SHA1)
    child(one, "DigestValue").text = base64.b64encode(hashlib.sha1(b"one").digest()).decode()


def sha1_of_set(root: etree._Element) -> None:
    child(reference(root, f"urn:oid:{SET}"), "DigestMethod").set("Algorithm", SHA1)


def sha1_inside(root: etree._Element) -> None:
    child(reference(root, "#IHEManifest"), "DigestMethod").set("Algorithm", SHA1)


def sha1_signature(root: etree._Element) -> None:
    the(root, "SignatureMethod").set("Algorithm", DS + "rsa-sha1")


def sha1_certificate(root: etree._Element) -> None:
    next(root.iter(xa("DigestMethod"))).set("Algorithm", SHA1)


def hmac(root: etree._Element) -> None:
    the(root, "SignatureMethod").set("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")


def truncation(root: etree._Element) -> None:
    etree.SubElement(the(root, "SignatureMethod"), ds("HMACOutputLength")).text = "8"


def transform(*algorithms: str, uri: str = f"urn:oid:{FIRST}") -> Spoil:
    def spoil(root: etree._Element) -> None:
        transforms = etree.Element(ds("Transforms"))
        for algorithm in algorithms:
            etree.SubElement(transforms, ds("Transform")).set("Algorithm", algorithm)
        reference(root, uri).insert(0, transforms)

    return spoil


def transform_with_content(root: etree._Element) -> None:
    transform(xades.EXCLUSIVE)(root)
    prefixes = etree.SubElement(the(root, "Transform"), "{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces")
    prefixes.set("PrefixList", "a")


def canonicalization_prefixes(root: etree._Element) -> None:
    method = the(root, "CanonicalizationMethod")
    method.set("Algorithm", xades.EXCLUSIVE)
    etree.SubElement(method, "{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces").set("PrefixList", "a")


def unknown_canonicalization(root: etree._Element) -> None:
    the(root, "CanonicalizationMethod").set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")


def third_reference(root: etree._Element) -> None:
    the(root, "SignedInfo").append(copy.deepcopy(reference(root, f"urn:oid:{FIRST}")))


def only_manifest(root: etree._Element) -> None:
    the(root, "SignedInfo").remove(reference(root, "#S0-SignedProperties"))


def manifest_twice(root: etree._Element) -> None:
    info = the(root, "SignedInfo")
    info.remove(reference(root, "#S0-SignedProperties"))
    info.append(copy.deepcopy(reference(root, "#IHEManifest")))


def whole_document(root: etree._Element) -> None:
    reference(root, "#IHEManifest").set("URI", "")


def key_value(root: etree._Element) -> None:
    etree.SubElement(the(root, "KeyInfo"), ds("KeyValue"))


def key_elsewhere(root: etree._Element) -> None:
    etree.SubElement(the(root, "KeyInfo"), ds("RetrievalMethod")).set("URI", "http://127.0.0.1/key")


def second_signature(root: etree._Element) -> None:
    etree.SubElement(root, ds("Object")).append(tree(text_of(root)))


def text_of(root: etree._Element) -> bytes:
    return etree.tostring(root)


def other_target(root: etree._Element) -> None:
    the(root, "QualifyingProperties", xades.XADES_1_1).set("Target", "#another")


def no_identifier(root: etree._Element) -> None:
    del root.attrib["Id"]


def unknown_policy(root: etree._Element) -> None:
    holder = the(root, "SignaturePolicyIdentifier", xades.XADES_1_1)
    holder.remove(holder[0])
    inner = etree.SubElement(etree.SubElement(holder, xa("SignaturePolicyId")), xa("SigPolicyId"))
    etree.SubElement(inner, xa("Identifier")).text = "urn:oid:1.2.3"


def language(root: etree._Element) -> None:
    root.set("{http://www.w3.org/XML/1998/namespace}lang", "fr")


def two_sets(root: etree._Element) -> None:
    extra = copy.deepcopy(reference(root, f"urn:oid:{SET}"))
    extra.set("URI", "urn:oid:1.2.3.4.5")
    the(root, "Manifest").append(extra)


def document_twice(root: etree._Element) -> None:
    the(root, "Manifest").append(copy.deepcopy(reference(root, f"urn:oid:{FIRST}")))


def short_digest(root: etree._Element) -> None:
    child(reference(root, f"urn:oid:{FIRST}"), "DigestValue").text = "AAAA"


BY_SIGNER: dict[str, tuple[Spoil, str]] = {
    "properties wrapped in an object": (wrap_properties, "Object"),
    "properties wrapped in what is not signed": (wrap_in_unsigned, "SignedInfo/Reference/@URI"),
    "manifest wrapped": (wrap_manifest, "Object"),
    "an Id twice": (same_id, "Id"),
    "two SignedProperties": (two_properties, "QualifyingProperties"),
    "two QualifyingProperties": (two_qualifying, "Object"),
    "two signing times": (two_times, "SigningTime"),
    "no signing time": (no_time, "SigningTime"),
    "signing time without zone": (no_zone, "SigningTime"),
    "no SigningCertificate": (no_certificate, "SigningCertificate"),
    "two SigningCertificate": (two_certificates, "SigningCertificate"),
    "SigningCertificate empty": (empty_certificates, "SigningCertificate"),
    "an authority named first": (certificate_of_chain_first, "SigningCertificate"),
    "another serial number": (other_serial, "SigningCertificate/Cert/IssuerSerial"),
    "another issuer": (other_issuer, "SigningCertificate/Cert/IssuerSerial"),
    "SHA-1 of a document": (sha1_digest, "DigestMethod"),
    "SHA-1 named for the set": (sha1_of_set, "DigestMethod"),
    "SHA-1 of the manifest": (sha1_inside, "DigestMethod"),
    "SHA-1 in the signature": (sha1_signature, "SignatureMethod"),
    "SHA-1 of the certificate": (sha1_certificate, "DigestMethod"),
    "HMAC": (hmac, "SignatureMethod"),
    "parameters of the method": (truncation, "SignatureMethod"),
    "XSLT": (transform("http://www.w3.org/TR/1999/REC-xslt-19991116"), "Reference/Transforms"),
    "XPath": (transform("http://www.w3.org/TR/1999/REC-xpath-19991116"), "Reference/Transforms"),
    "base64": (transform(DS + "base64"), "Reference/Transforms"),
    "two transforms": (transform(xades.C14N_1_0, xades.C14N_1_0), "Reference/Transforms"),
    "no transform in Transforms": (transform(), "Reference/Transforms"),
    "enveloped signature": (
        transform(DS + "enveloped-signature", uri="#IHEManifest"), "Reference/Transforms",
    ),
    "parameters of a transform": (transform_with_content, "Reference/Transforms"),
    "parameters of the canonicalization": (canonicalization_prefixes, "CanonicalizationMethod"),
    "unknown canonicalization": (unknown_canonicalization, "CanonicalizationMethod"),
    "three references": (third_reference, "SignedInfo"),
    "the manifest alone": (only_manifest, "SignedInfo"),
    "the manifest twice": (manifest_twice, "SignedInfo"),
    "the whole document": (whole_document, "SignedInfo/Reference/@URI"),
    "a key beside the certificate": (key_value, "KeyInfo"),
    "a key to be fetched": (key_elsewhere, "KeyInfo"),
    "a signature in the signature": (second_signature, "Id"),
    "properties of another signature": (other_target, "QualifyingProperties/@Target"),
    "a signature without Id": (no_identifier, "QualifyingProperties/@Target"),
    "an unknown policy": (unknown_policy, "SignaturePolicyIdentifier"),
    "an attribute of the xml namespace": (language, "the document"),
    "two sets": (two_sets, "Manifest/Reference/@URI"),
    "a document twice": (document_twice, "Manifest/Reference/@URI"),
    "a digest of three bytes": (short_digest, "Reference/DigestValue"),
}


@pytest.mark.parametrize("name", BY_SIGNER)
def test_another_form_is_refused_from_whoever_signs_it(card: Card, name: str) -> None:
    """The signer himself has signed it so. Rule: R-174"""
    spoil, field = BY_SIGNER[name]
    error = refused(spoiled(made(card.signature), spoil, card.signature))
    assert error.field == field, str(error)


def test_a_certificate_of_another_key_is_refused(card: Card, other: Card) -> None:
    """The digest of SigningCertificate tells it from the one that was signed. Rule: R-174"""
    def swap(root: etree._Element) -> None:
        next(root.iter(ds("X509Certificate"))).text = base64.b64encode(other.signature.der).decode()

    assert refused(spoiled(made(card.signature), swap)).field == "SigningCertificate"


def test_a_twin_certificate_is_refused(card: Card) -> None:
    """Of an authority of the same name, with the same serial number, for another key. Rule: R-174"""
    good, key = card.signature.certificate, ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(good.subject).issuer_name(good.issuer).public_key(key.public_key())
    builder = builder.serial_number(good.serial_number).not_valid_before(good.not_valid_before_utc)
    builder = builder.not_valid_after(good.not_valid_after_utc)
    twin = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())

    def swap(root: etree._Element) -> None:
        next(root.iter(ds("X509Certificate"))).text = base64.b64encode(twin.public_bytes(Encoding.DER)).decode()

    assert refused(spoiled(made(card.signature), swap)).field == "SigningCertificate"
    assert refused(spoiled(made(card.signature), swap, KeyPair(key, twin))).field == "SigningCertificate"


def test_what_is_not_signed_is_not_read(card: Card) -> None:
    """A counter-signature, or anything else among the unsigned properties, changes nothing."""
    def counter_sign(root: etree._Element) -> None:
        unsigned = etree.SubElement(the(root, "QualifyingProperties", xades.XADES_1_1), xa("UnsignedProperties"))
        inside = etree.SubElement(etree.SubElement(unsigned, xa("UnsignedSignatureProperties")), xa("CounterSignature"))
        forged = tree(made(card.signature))
        for element in forged.iter():
            if element.get("Id"):
                element.set("Id", f"counter-{element.get('Id')}")
        the(forged, "SigningTime", xades.XADES_1_1).text = "2001-01-01T00:00:00Z"
        inside.append(forged)

    data = made(card.signature)
    assert accepted(spoiled(data, counter_sign)).signing_time == accepted(data).signing_time


HOSTILE = {
    "not XML": b"<Signature",
    "nothing": b"",
    "another root": b"<a/>",
    "a DTD": b'<!DOCTYPE S [<!ENTITY a "b">]><Signature xmlns="http://www.w3.org/2000/09/xmldsig#">&a;</Signature>',
    "a billion laughs": b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><s>&b;</s>',
    "a file": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><s>&x;</s>',
    "a comment": b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><!-- --></Signature>',
    "an instruction": b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><?a?></Signature>',
    "another encoding": "<?xml version='1.0' encoding='UTF-16'?><Signature/>".encode("utf-16"),
    "depth": b"<a>" * 10_000,
    "crowd": b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#">' + b"<a/>" * 100_000 + b"</Signature>",
    "size": b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#">' + b" " * (1 << 20) + b"</Signature>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml_is_refused(name: str) -> None:
    """Rule: R-174"""
    refused(HOSTILE[name])


def test_unreadable_certificates_are_refused(card: Card) -> None:
    """Rule: R-174"""
    def rubbish(root: etree._Element) -> None:
        next(root.iter(ds("X509Certificate"))).text = "AAAA"

    assert refused(spoiled(made(card.signature), rubbish)).field == "X509Certificate"
