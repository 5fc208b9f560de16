"""Reading the signature document of a submission set, and verifying its signature block.

Only the form of ``xades.write`` and of the published French messages is accepted: the parts stand where they must
and nowhere else, so that what is verified and what is read are the same elements. Nothing is looked up by its Id.

Clause: DMP TD2.1 signature document; ITI TF-3 5.5.2; ETSI TS 101 903 7; W3C XML Signature 1.1
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from lxml import etree

from guard.credentials import distinguished_name
from guard.credentials.xades import (
    C14N_1_0,
    C14N_1_1,
    EXCLUSIVE,
    MANIFEST,
    PURPOSES,
    SHA256,
    SIGNED_PROPERTIES,
    canonical,
    issuer_serial,
)
from xds.limits import DEFAULT
from xds.namespaces import DS
from xds.wire.faults import SoapFault
from xds.wire.xml import parse

LARGEST = 1 << 20
"""Bytes of a signature document: room for the references of thousands of documents."""
_LIMITS = replace(DEFAULT, xml_part=LARGEST, elements=60_000)
CANONICALIZATIONS = frozenset(
    base + ending for base in (C14N_1_0, C14N_1_1) for ending in ("", "#WithComments")
) | {EXCLUSIVE, EXCLUSIVE + "WithComments"}
DIGESTS = {
    SHA256: "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}
_METHODS: dict[str, hashes.HashAlgorithm] = {
    f"http://www.w3.org/2001/04/xmldsig-more#{key}-{name}": algorithm
    for key in ("rsa", "ecdsa")
    for name, algorithm in (("sha256", hashes.SHA256()), ("sha384", hashes.SHA384()), ("sha512", hashes.SHA512()))
}
POLICIES = frozenset({"urn:ihe:iti:dsg:detached:2014"})
"""Signature policies whose rules are those of this module."""
_NO_DIGESTS = frozenset({"AA==", "MA==", "0"})
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:\d\d)")
_XML = "{http://www.w3.org/XML/1998/namespace}"
_OID_URI = re.compile(r"(?:urn:oid:)?([0-9]+(?:\.[0-9]+)+)")


class SignatureRefused(Exception):
    """A signature document that is not acceptable, or a signature that does not fit.

    ``field`` is the element, ``found`` its offending value, ``expected`` what would have been accepted.
    """

    def __init__(self, field: str, found: str, expected: str):
        self.field, self.found, self.expected = field, found, expected
        super().__init__(f"{field}: found {found or 'nothing'}; expected {expected}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A document as the manifest names it.

    ``canonicalized`` is "" when the digest is of the bytes, else the algorithm: then it is of the canonical form of
    the XML document.
    """

    uri: str
    digest: bytes
    hash_name: str
    canonicalized: str = ""

    @property
    def is_exclusive(self) -> bool:
        return self.canonicalized.startswith(EXCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSignature:
    """What a signature document says. The digests of manifest and properties fit; ``verify`` makes it evidence."""

    set_uri: str
    """The submission set it was made for, "" when the manifest names none."""
    documents: tuple[Reference, ...]
    signing_time: datetime
    purposes: frozenset[str]
    """OIDs; only those of a CommitmentTypeIndication are signed."""
    policy: str
    certificate: bytes
    """DER of the signer's certificate, as claimed and as signed (SigningCertificate)."""
    others: tuple[bytes, ...]
    """DER of further certificates that came along; hints."""
    signed_info: bytes
    method: str
    value: bytes

    def verify(self) -> None:
        """The signature value fits the signed information and the certificate's key. Raises SignatureRefused.

        Whether the certificate is believed is another question, to be asked first where keys of unknown origin are
        not to be computed with.
        """
        key = x509.load_der_x509_certificate(self.certificate).public_key()
        try:
            if isinstance(key, rsa.RSAPublicKey) and "#rsa-" in self.method:
                key.verify(self.value, self.signed_info, padding.PKCS1v15(), _METHODS[self.method])
                return
            if isinstance(key, ec.EllipticCurvePublicKey) and "#ecdsa-" in self.method:
                key.verify(_der(self.value, key), self.signed_info, ec.ECDSA(_METHODS[self.method]))
                return
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            raise SignatureRefused(
                "SignatureValue", "a value that does not fit", "the signature of SignedInfo by the certificate's key"
            ) from None
        raise SignatureRefused("SignatureMethod", self.method, "an algorithm of the certificate's kind of key")


def read(data: bytes) -> SetSignature:
    """Read a signature document and check its form and inner digests. Raises SignatureRefused.

    Clause: DMP TD2.1 signature document; ITI TF-3 5.5.2; ETSI TS 101 903 7
    """
    root = _parse(data)
    try:
        return _signature(root)
    except (etree.LxmlError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SignatureRefused("the document", type(error).__name__, "what can be canonicalized and read") from None


def _signature(root: etree._Element) -> SetSignature:
    parts = ["SignedInfo", "SignatureValue", "KeyInfo"]
    info, value, key_info, *objects = _children(root, "Signature", parts, "Object")
    manifest, qualifying, stated = _objects(objects)
    xades = etree.QName(qualifying).namespace or ""
    properties = _properties(qualifying, root, xades)
    canonicalization, method, references = _signed_info(info)
    for kind, target in ((MANIFEST, manifest), (SIGNED_PROPERTIES[xades], properties)):
        _check_inner(references, kind, target)
    certificates = _certificates(key_info)
    signed = _Properties(properties, xades)
    signed.check_certificate(certificates[0])
    set_uri, documents = _manifest(manifest)
    return SetSignature(
        set_uri=set_uri,
        documents=documents,
        signing_time=signed.signing_time(),
        purposes=stated | signed.commitments(),
        policy=signed.policy(),
        certificate=certificates[0],
        others=tuple(certificates[1:]),
        signed_info=canonical(info, exclusive=canonicalization.startswith(EXCLUSIVE)),
        method=method,
        value=_decoded(value, "SignatureValue"),
    )


def _parse(data: bytes) -> etree._Element:
    """The tree; no comment, no instruction, no ``xml:`` attribute and no Id twice, so that all readings agree."""
    if b"<!--" in data:
        raise SignatureRefused("the document", "a comment", "none: canonical forms differ in them")
    try:
        root = parse(data, _LIMITS)
    except SoapFault as error:
        raise SignatureRefused("the document", str(error.reason), "an XML document without DTD and entities") from None
    if root.tag != _ds("Signature"):
        raise SignatureRefused("the document", str(root.tag), "a ds:Signature as its root element")
    seen: set[str] = set()
    for element in root.iter(etree.Element):
        for name, value in element.items():
            if str(name).startswith(_XML):
                raise SignatureRefused("the document", str(name), "no attribute of the xml namespace")
            if str(name).lower() == "id":
                if value in seen:
                    raise SignatureRefused("Id", str(value), "an Id used once")
                seen.add(str(value))
    return root


def _objects(objects: Sequence[etree._Element]) -> tuple[etree._Element, etree._Element, frozenset[str]]:
    """Manifest, QualifyingProperties and the purposes of the SignatureProperties: one Object each, nothing beside."""
    found: dict[str, etree._Element] = {}
    for holder in objects:
        if len(holder) != 1:
            raise SignatureRefused("Object", f"{len(holder)} elements", "one: Manifest, SignatureProperties or "
                                   "QualifyingProperties")
        content = holder[0]
        name, space = etree.QName(content).localname, etree.QName(content).namespace or ""
        fits = {"Manifest": space == DS, "SignatureProperties": space in (DS, ""),
                "QualifyingProperties": space in SIGNED_PROPERTIES}
        if not fits.get(name) or name in found:
            raise SignatureRefused("Object", str(content.tag), "one Manifest, one QualifyingProperties of XAdES "
                                   "1.1.1, 1.2.2 or 1.3.2, and at most one SignatureProperties")
        found[name] = content
    for name in ("Manifest", "QualifyingProperties"):
        if name not in found:
            raise SignatureRefused(name, "", "one, in an Object")
    stated: set[str] = set()
    for said in found.get("SignatureProperties", ()):
        if etree.QName(said).localname != "SignatureProperty" or len(said):
            raise SignatureRefused("SignatureProperties", str(said.tag), "SignatureProperty elements of text")
        stated |= _purpose(said.text or "")
    return found["Manifest"], found["QualifyingProperties"], frozenset(stated)


def _properties(qualifying: etree._Element, root: etree._Element, xades: str) -> etree._Element:
    """The SignedProperties. What is in UnsignedProperties nobody has signed: it is not looked at."""
    allowed = [[f"{{{xades}}}SignedProperties"], [f"{{{xades}}}SignedProperties", f"{{{xades}}}UnsignedProperties"]]
    if [child.tag for child in qualifying] not in allowed:
        raise SignatureRefused("QualifyingProperties", _names(qualifying), "SignedProperties, once, and at most "
                               "UnsignedProperties after it")
    target = qualifying.get("Target", "")
    if not root.get("Id") or target != f"#{root.get('Id')}":
        raise SignatureRefused("QualifyingProperties/@Target", target, "the Id of this signature")
    return qualifying[0]


def _signed_info(info: etree._Element) -> tuple[str, str, list[etree._Element]]:
    named = ["CanonicalizationMethod", "SignatureMethod"]
    first, second, *references = _children(info, "SignedInfo", named, "Reference")
    canonicalization, method = first.get("Algorithm", ""), second.get("Algorithm", "")
    if canonicalization not in CANONICALIZATIONS or len(first):
        raise SignatureRefused("CanonicalizationMethod", canonicalization, "canonical XML 1.0, 1.1 or exclusive, "
                               "without parameters")
    if method not in _METHODS or len(second):
        raise SignatureRefused("SignatureMethod", method, "RSA or ECDSA with SHA-256, SHA-384 or SHA-512")
    if len(references) != 2:
        raise SignatureRefused("SignedInfo", f"{len(references)} references", "two: Manifest and SignedProperties")
    return canonicalization, method, references


def _check_inner(references: Sequence[etree._Element], kind: str, target: etree._Element) -> None:
    """The one reference of this type names the Id of the element that stands in its place, and its digest fits."""
    name = etree.QName(target).localname
    fitting = [r for r in references if r.get("Type") == kind]
    if len(fitting) != 1:
        raise SignatureRefused("SignedInfo", f"{len(fitting)} references of type {kind}", "one")
    reference = _reference(fitting[0])
    if not target.get("Id") or reference.uri != f"#{target.get('Id')}":
        raise SignatureRefused("SignedInfo/Reference/@URI", reference.uri, f"#{target.get('Id', '')}, the {name}")
    data = canonical(target, exclusive=reference.is_exclusive)
    if hashlib.new(reference.hash_name, data).digest() != reference.digest:
        raise SignatureRefused(name, "a digest that does not fit", f"the {name} as it was signed")


def _manifest(manifest: etree._Element) -> tuple[str, tuple[Reference, ...]]:
    """The set, and the documents. The set is told by its digest, which is none."""
    set_uri, documents, uris = "", [], set()
    for element in _children(manifest, "Manifest", [], "Reference"):
        uri = element.get("URI", "")
        if not uri or uri in uris:
            raise SignatureRefused("Manifest/Reference/@URI", uri, "the URI of the set or of a document, each once")
        uris.add(uri)
        if len(element) == 2 and "".join((element[1].text or "").split()) in _NO_DIGESTS:
            if set_uri:
                raise SignatureRefused("Manifest/Reference/@URI", uri, f"one submission set; {set_uri} is there")
            _algorithm(element[0])
            set_uri = uri
        else:
            documents.append(_reference(element))
    return set_uri, tuple(documents)


def _reference(element: etree._Element) -> Reference:
    """At most one transform, and that a canonicalization. Its URI is compared by whoever asks."""
    children, canonicalized = list(element), ""
    if children and children[0].tag == _ds("Transforms"):
        named = [t.get("Algorithm", "") if t.tag == _ds("Transform") and not len(t) else str(t.tag)
                 for t in children[0]]
        if len(named) != 1 or named[0] not in CANONICALIZATIONS:
            raise SignatureRefused("Reference/Transforms", ", ".join(named), "no transform, or one canonicalization")
        canonicalized = named[0]
        children = children[1:]
    if [child.tag for child in children] != [_ds("DigestMethod"), _ds("DigestValue")]:
        raise SignatureRefused("Reference", _names(element), "Transforms or none, DigestMethod, DigestValue")
    name = _algorithm(children[0])
    digest = _decoded(children[1], "Reference/DigestValue")
    if len(digest) != hashlib.new(name).digest_size:
        raise SignatureRefused("Reference/DigestValue", f"{len(digest)} bytes", f"a digest of {name}")
    return Reference(element.get("URI", ""), digest, name, canonicalized)


def _algorithm(method: etree._Element) -> str:
    named = method.get("Algorithm", "")
    if named not in DIGESTS or len(method):
        raise SignatureRefused("DigestMethod", named, "SHA-256, SHA-384 or SHA-512")
    return DIGESTS[named]


def _certificates(key_info: etree._Element) -> list[bytes]:
    data = _children(key_info, "KeyInfo", ["X509Data"])[0]
    found = [_decoded(each, "X509Certificate") for each in _children(data, "X509Data", ["X509Certificate"],
                                                                     "X509Certificate")]
    try:
        x509.load_der_x509_certificate(found[0]).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureRefused("X509Certificate", "what cannot be read", "the signer's certificate first") from None
    return found


class _Properties:
    """The content of SignedProperties."""

    def __init__(self, properties: etree._Element, xades: str):
        self._xades = xades
        names = [child.tag for child in properties]
        first = self._x("SignedSignatureProperties")
        if names not in ([first], [first, self._x("SignedDataObjectProperties")]):
            raise SignatureRefused("SignedProperties", _names(properties), "SignedSignatureProperties, and at most "
                                   "SignedDataObjectProperties after it")
        self._signature = properties[0]
        self._objects = properties[1] if len(properties) > 1 else None

    def _x(self, name: str) -> str:
        return f"{{{self._xades}}}{name}"

    def _all(self, name: str) -> list[etree._Element]:
        return self._signature.findall(self._x(name))

    def signing_time(self) -> datetime:
        found = self._all("SigningTime")
        text = (found[0].text or "").strip() if len(found) == 1 else f"{len(found)} SigningTime"
        match = _TIME.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            fraction = (match[2] or "0").ljust(6, "0")
            return datetime.fromisoformat(f"{match[1]}.{fraction}{match[3].replace('Z', '+00:00')}").astimezone(UTC)
        except (ValueError, OverflowError):
            raise SignatureRefused("SigningTime", text, "one time with a time zone") from None

    def check_certificate(self, der: bytes) -> None:
        """SigningCertificate, or V2, names the certificate of KeyInfo first, by its digest, and nothing contradicts."""
        holders = self._all("SigningCertificate") + self._all("SigningCertificateV2")
        if len(holders) != 1 or not len(holders[0]) or any(c.tag != self._x("Cert") for c in holders[0]):
            raise SignatureRefused("SigningCertificate", f"{len(holders)} elements", "one, the signer's Cert first")
        one = holders[0][0]
        digest = one.find(self._x("CertDigest"))
        if digest is None or [etree.QName(child).localname for child in digest] != ["DigestMethod", "DigestValue"]:
            raise SignatureRefused("SigningCertificate/Cert/CertDigest", _names(one), "DigestMethod and DigestValue")
        if hashlib.new(_algorithm(digest[0]), der).digest() != _decoded(digest[1], "CertDigest/DigestValue"):
            raise SignatureRefused("SigningCertificate", "the digest of another certificate",
                                   "the digest of the first certificate of KeyInfo")
        certificate = x509.load_der_x509_certificate(der)
        if not all(self._names_issuer(child, certificate) for child in one if child is not digest):
            raise SignatureRefused("SigningCertificate/Cert/IssuerSerial", "another issuer or serial number",
                                   "those of the first certificate of KeyInfo")

    def _names_issuer(self, element: etree._Element, certificate: x509.Certificate) -> bool:
        if element.tag == self._x("IssuerSerialV2"):
            return _decoded(element, "IssuerSerialV2") == issuer_serial(certificate)
        if element.tag != self._x("IssuerSerial") or _names(element) != "X509IssuerName, X509SerialNumber":
            return False
        issuer, serial = ((child.text or "").strip() for child in element)
        return serial == str(certificate.serial_number) and distinguished_name.same(issuer, certificate.issuer)

    def policy(self) -> str:
        """"" when it is implied or not stated. Clause: ETSI TS 101 903 7.2.3"""
        found = self._all("SignaturePolicyIdentifier")
        if len(found) > 1 or (found and len(found[0]) != 1):
            raise SignatureRefused("SignaturePolicyIdentifier", f"{len(found)} elements", "at most one policy")
        if not found or found[0][0].tag == self._x("SignaturePolicyImplied"):
            return ""
        identifier = found[0].find(f"{self._x('SignaturePolicyId')}/{self._x('SigPolicyId')}/{self._x('Identifier')}")
        named = (identifier.text or "").strip() if identifier is not None else ""
        if named not in POLICIES:
            raise SignatureRefused("SignaturePolicyIdentifier", named, f"an implied policy, or {', '.join(POLICIES)}")
        return named

    def commitments(self) -> set[str]:
        found: set[str] = set()
        path = f"{self._x('CommitmentTypeIndication')}/{self._x('CommitmentTypeId')}/{self._x('Identifier')}"
        for identifier in self._objects.findall(path) if self._objects is not None else ():
            found |= _purpose(identifier.text or "")
        return found


def _purpose(text: str) -> set[str]:
    match = _OID_URI.fullmatch(text.strip())
    return {match[1]} if match and match[1].startswith(PURPOSES + ".") else set()


def _children(element: etree._Element, name: str, first: Sequence[str], more: str = "") -> list[etree._Element]:
    """The children: those of ``first`` in this order, then any number of ``more``. Raises SignatureRefused."""
    found = list(element)
    tags = [child.tag for child in found]
    if tags[: len(first)] != [_ds(each) for each in first] or any(tag != _ds(more) for tag in tags[len(first) :]):
        expected = ", ".join([*first, *([f"then {more} only"] if more else [])])
        raise SignatureRefused(name, _names(element), expected)
    return found


def _names(element: etree._Element) -> str:
    return ", ".join(etree.QName(child).localname for child in list(element)[:10])


def _decoded(element: etree._Element, name: str) -> bytes:
    if len(element):
        raise SignatureRefused(name, _names(element), "base64 text")
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused(name, "what is not base64", "base64 text") from None


def _der(value: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    size = (key.curve.key_size + 7) // 8
    if len(value) != 2 * size:
        raise ValueError("not two numbers of the curve's size")
    return utils.encode_dss_signature(int.from_bytes(value[:size], "big"), int.from_bytes(value[size:], "big"))


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"
