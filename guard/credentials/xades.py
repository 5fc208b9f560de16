"""The signature document of a submission set: its two forms, and how one is made.

A detached XML signature over a manifest that names the set and every document of it, with XAdES properties (when,
under which certificate). The document bytes are hashed by whoever has them; here come only their SHA-256, so that
signing costs no memory. The private key is never asked for: whoever signs is an object with ``certificate``,
``chain`` and ``sign``, be its key in a file or on a token.

Clause: DMP TD2.1 signature document; ITI TF-3 5.5.2; ETSI TS 101 903 7; W3C XML Signature 1.1
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from guard.credentials import distinguished_name
from guard.credentials.identity import Kind
from xds.model import Author
from xds.model import datatypes as dt
from xds.namespaces import DS

C14N_1_0 = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_1_1 = "http://www.w3.org/2006/12/xml-c14n11"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
MANIFEST = DS + "Manifest"
"""Type of the reference to the manifest."""
XADES_1_1 = "http://uri.etsi.org/01903/v1.1.1#"
XADES_1_3 = "http://uri.etsi.org/01903/v1.3.2#"
SIGNED_PROPERTIES = {
    XADES_1_1: XADES_1_1 + "SignedProperties",
    "http://uri.etsi.org/01903/v1.2.2#": "http://uri.etsi.org/01903/v1.2.2#SignedProperties",
    XADES_1_3: "http://uri.etsi.org/01903#SignedProperties",
}
"""Namespace of the properties -> type of the reference to them."""

PURPOSES = "1.2.840.10065.1.12"
"""Code system of the purposes of a signature (ASTM E1762)."""
SOURCE = f"{PURPOSES}.1.14"
"""Purpose "Source": this is what I send."""
NO_DIGEST = "AA=="
"""What stands for the digest of the set: it has no bytes. Clause: ITI TF-3 5.5.2 (hash value 0)"""
MANIFEST_ID = "IHEManifest"


@dataclass(frozen=True, slots=True)
class Form:
    """How one community writes it. Both are read everywhere."""

    xades: str
    """Namespace of the XAdES properties."""
    canonicalization: str
    """Of SignedInfo."""


FRENCH = Form(XADES_1_1, C14N_1_0 + "#WithComments")
"""SigningCertificate, and the purpose as a SignatureProperty. Clause: DMP TD2.1"""
IHE = Form(XADES_1_3, C14N_1_1 + "#WithComments")
"""SigningCertificateV2, and the purpose as a CommitmentTypeIndication. Clause: ITI TF-3 5.5.2"""


class Signer(Protocol):
    """A ``KeyPair``, or a key that lives on a token."""

    @property
    def certificate(self) -> x509.Certificate: ...

    @property
    def chain(self) -> Sequence[x509.Certificate]: ...

    def sign(self, data: bytes) -> bytes:
        """With SHA-256: RSA PKCS#1 v1.5, or ECDSA in DER form."""
        ...


@dataclass(frozen=True, slots=True)
class Signable:
    """A document as a signature knows it. ``sha256`` is of its exact bytes, hexadecimal."""

    unique_id: str
    sha256: str


def uri_of(unique_id: str) -> str:
    """A uniqueId as the URI by which a manifest names it. Clause: ITI TF-3 5.5.2"""
    return f"urn:oid:{unique_id}" if dt.is_oid(unique_id.partition("^")[0]) else unique_id


def is_author(kind: Kind, number: str, authors: Sequence[Author]) -> bool:
    """Whether the holder of a certificate is among the authors: a person by XCN.1, a structure by XON.10."""
    for author in authors:
        for text in author.person if kind is Kind.PERSON else author.institutions:
            try:
                named = dt.Xcn.parse(text).id if kind is Kind.PERSON else dt.Xon.parse(text).id
            except ValueError:
                continue
            if number and named == number:
                return True
    return False


def write(
    signer: Signer,
    form: Form,
    *,
    submission_unique_id: str,
    documents: Sequence[Signable],
    now: datetime | None = None,
    purpose: str = SOURCE,
) -> bytes:
    """The signature document, exact bytes.

    ``documents`` are all documents of the set but this one. ``now`` (aware) is the SigningTime. No reference carries
    a transform: what is signed of a document are its bytes.
    Clause: DMP TD2.1 signature document; ITI TF-3 5.5.2
    """
    identifier = f"S-{secrets.token_hex(16)}"
    root = etree.Element(_ds("Signature"), {"Id": identifier}, nsmap={None: DS})  # type: ignore[dict-item]
    manifest = etree.Element(_ds("Manifest"), {"Id": MANIFEST_ID}, nsmap={None: DS})  # type: ignore[dict-item]
    _reference(manifest, uri_of(submission_unique_id), NO_DIGEST)
    for document in documents:
        _reference(manifest, uri_of(document.unique_id), _base64(bytes.fromhex(document.sha256)))
    qualifying = etree.Element(
        f"{{{form.xades}}}QualifyingProperties",
        {"Target": f"#{identifier}"},
        nsmap={None: form.xades},  # type: ignore[dict-item]
    )
    properties = _signed_properties(qualifying, form, signer, (now or datetime.now(UTC)).astimezone(UTC), purpose)

    info = _add(root, "SignedInfo")
    _add(info, "CanonicalizationMethod").set("Algorithm", form.canonicalization)
    is_ec = isinstance(signer.certificate.public_key(), ec.EllipticCurvePublicKey)
    _add(info, "SignatureMethod").set("Algorithm", ECDSA_SHA256 if is_ec else RSA_SHA256)
    value, key_info = _add(root, "SignatureValue"), _add(root, "KeyInfo")
    data = _add(key_info, "X509Data")
    for certificate in (signer.certificate, *signer.chain):
        _add(data, "X509Certificate").text = _base64(certificate.public_bytes(Encoding.DER))
    _add(root, "Object").append(manifest)
    if form is FRENCH:
        holder = _add(_add(root, "Object"), "SignatureProperties")
        said = _add(holder, "SignatureProperty")
        said.set("Id", "purposeOfSignature")
        said.set("Target", f"#{identifier}")
        said.text = purpose
    _add(root, "Object").append(qualifying)
    for kind, target in ((MANIFEST, manifest), (SIGNED_PROPERTIES[form.xades], properties)):
        reference = _reference(info, f"#{target.get('Id')}", _base64(hashlib.sha256(canonical(target)).digest()))
        reference.set("Type", kind)
    value.text = _base64(_sign(signer, canonical(info)))
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root)


def canonical(element: etree._Element, *, exclusive: bool = False) -> bytes:
    """Canonical form of an element within its document, without comments.

    One result for C14N 1.0 and 1.1: they differ in ``xml:`` attributes of ancestors alone, and here are none. The
    element is parsed anew as a document of its own, with the namespaces in scope: of an element inside a tree, lxml
    writes ``xmlns=""`` where nothing is undeclared.
    """
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    alone = etree.fromstring(etree.tostring(element, with_tail=False), parser).getroottree()
    return etree.tostring(alone, method="c14n", exclusive=exclusive, with_comments=False)


def issuer_serial(certificate: x509.Certificate) -> bytes:
    """IssuerSerial in DER form. Clause: RFC 5035 4; ETSI EN 319 132-1 5.2.2"""
    issuer, number = certificate.issuer.public_bytes(), certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return _tlv(0x30, _tlv(0x30, _tlv(0xA4, issuer)) + _tlv(0x02, serial))


def _signed_properties(
    parent: etree._Element, form: Form, signer: Signer, moment: datetime, purpose: str
) -> etree._Element:
    def add(to: etree._Element, name: str, text: str = "") -> etree._Element:
        element = etree.SubElement(to, f"{{{form.xades}}}{name}")
        element.text = text or None
        return element

    properties = add(parent, "SignedProperties")
    properties.set("Id", "S0-SignedProperties")
    signature = add(properties, "SignedSignatureProperties")
    add(signature, "SigningTime", moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z")
    is_old = form.xades == XADES_1_1
    certificates = add(signature, "SigningCertificate" if is_old else "SigningCertificateV2")
    for certificate in (signer.certificate, *signer.chain):
        one = add(certificates, "Cert")
        digest, space = add(one, "CertDigest"), form.xades if is_old else DS
        etree.SubElement(digest, f"{{{space}}}DigestMethod", {"Algorithm": SHA256})
        etree.SubElement(digest, f"{{{space}}}DigestValue").text = _base64(
            hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        )
        if is_old:
            issuer = add(one, "IssuerSerial")
            _add(issuer, "X509IssuerName").text = distinguished_name.write(certificate.issuer)
            _add(issuer, "X509SerialNumber").text = str(certificate.serial_number)
        else:
            add(one, "IssuerSerialV2", _base64(issuer_serial(certificate)))
    add(add(signature, "SignaturePolicyIdentifier"), "SignaturePolicyImplied")
    objects = add(properties, "SignedDataObjectProperties")
    if not is_old:
        commitment = add(objects, "CommitmentTypeIndication")
        add(add(commitment, "CommitmentTypeId"), "Identifier", f"urn:oid:{purpose}")
        add(commitment, "AllSignedDataObjects")
    return properties


def _sign(signer: Signer, data: bytes) -> bytes:
    """The value as XML Signature writes it: of ECDSA the two numbers, each as long as the curve."""
    key, signed = signer.certificate.public_key(), signer.sign(data)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return signed
    size = (key.curve.key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in utils.decode_dss_signature(signed))


def _reference(parent: etree._Element, uri: str, digest: str) -> etree._Element:
    reference = _add(parent, "Reference")
    reference.set("URI", uri)
    _add(reference, "DigestMethod").set("Algorithm", SHA256)
    _add(reference, "DigestValue").text = digest
    return reference


def _add(parent: etree._Element, name: str) -> etree._Element:
    return etree.SubElement(parent, _ds(name))


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes((size,)) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + length + content
