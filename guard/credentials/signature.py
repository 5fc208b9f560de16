"""Steps e to h: the signature of an assertion, its certificate, and what exactly was signed.

Clause: ITI TF-2 3.40.4.1.2; SAML core 2.0 5.4; W3C XML Signature 1.1
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime

from lxml import etree
from signxml import DigestAlgorithm, SignatureConfiguration, SignatureMethod, XMLVerifier

from guard.credentials.certificates import Accepted, CertificateRefused, TrustStore, Use
from guard.credentials.token import ASSERTION, hardened_parser, text
from xds.namespaces import DS
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK, UNSUPPORTED_ALGORITHM, security_fault

# signxml writes everything it canonicalises to its log at level DEBUG: identities and patient numbers.
logging.getLogger("signxml").setLevel(logging.WARNING)

_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_TRANSFORMS = ([_ENVELOPED, _EXCLUSIVE], [_ENVELOPED, _EXCLUSIVE + "WithComments"])
_INCLUSIVE_NAMESPACES = "{http://www.w3.org/2001/10/xml-exc-c14n#}InclusiveNamespaces"

METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.ECDSA_SHA256,
    }
)
DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_METHOD_URIS = frozenset(method.value for method in METHODS)
_DIGEST_URIS = frozenset(digest.value for digest in DIGESTS)


@dataclass(frozen=True, slots=True)
class Signed:
    """The element rebuilt from the signed bytes, without its signature, and who signed it; or what is claimed to be."""

    root: etree._Element
    signer: Accepted
    sha256: str
    """Of the signed bytes: the same however the assertion was written down, in whatever envelope. "" of a claim."""


def verify(root: etree._Element, trust: TrustStore, use: Use, now: datetime) -> Signed:
    """Verify the assertion that is the root of its own tree. Raises SoapFault of step e, f or g.

    The certificate inside the message is a hint: it must be accepted (step g) before its key verifies anything
    (step f), so that no key of unknown origin is ever computed with. An unreadable certificate, an unknown issuer,
    an expired and a revoked certificate get the same answer.
    """
    signer = _signer(root, trust, use)
    copy, data = _signed_copy(root, signer, now)
    return Signed(copy, signer, hashlib.sha256(data).hexdigest())


def claim(root: etree._Element, trust: TrustStore, use: Use) -> Signed:
    """Who is said to have signed: steps e and g, without f. The root is the one given, which loses its signature: that
    is no part of what was signed.

    Raises SoapFault. Nothing may come of it until somebody has verified the same bytes.
    """
    signer = _signer(root, trust, use)
    root.remove(_only_signature(root))
    return Signed(root, signer, "")


def _signer(root: etree._Element, trust: TrustStore, use: Use) -> Accepted:
    signature = _only_signature(root)
    check_form(signature, str(root.get("ID")))
    der = _certificate(signature)
    try:
        return trust.check(der, use)
    except CertificateRefused as error:
        raise security_fault(FAILED_AUTHENTICATION, f"signing certificate: {error}", "g") from error


def _only_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(f"{{{DS}}}Signature"))
    if len(found) != 1 or found[0].getparent() is not root:
        raise security_fault(FAILED_CHECK, f"{len(found)} signatures, or not directly in the assertion", "e")
    return found[0]


def check_form(signature: etree._Element, assertion_id: str) -> None:
    """One reference to the assertion, the two transforms, the allowed algorithms, nothing else. Step e."""
    if [child.tag for child in signature] != [_ds("SignedInfo"), _ds("SignatureValue"), _ds("KeyInfo")]:
        raise security_fault(FAILED_CHECK, "signature is not made of SignedInfo, SignatureValue and KeyInfo", "e")
    info = signature[0]
    if [child.tag for child in info] != [_ds("CanonicalizationMethod"), _ds("SignatureMethod"), _ds("Reference")]:
        raise security_fault(FAILED_CHECK, "SignedInfo does not hold exactly one reference", "e")
    canonicalization, method, reference = info
    if reference.get("URI") != f"#{assertion_id}":
        raise security_fault(FAILED_CHECK, "the signature refers to something else than the assertion", "e")
    if [child.tag for child in reference] != [_ds("Transforms"), _ds("DigestMethod"), _ds("DigestValue")]:
        raise security_fault(FAILED_CHECK, "unexpected content of Reference", "e")
    transforms = list(reference[0])
    if any(transform.tag != _ds("Transform") for transform in transforms):
        raise security_fault(FAILED_CHECK, "unexpected content of Transforms", "e")
    if [transform.get("Algorithm") for transform in transforms] not in _TRANSFORMS:
        raise security_fault(UNSUPPORTED_ALGORITHM, "transforms other than enveloped and exclusive", "e")
    if canonicalization.get("Algorithm") != _EXCLUSIVE:
        raise security_fault(UNSUPPORTED_ALGORITHM, "canonicalization other than exclusive", "e")
    if method.get("Algorithm") not in _METHOD_URIS or reference[1].get("Algorithm") not in _DIGEST_URIS:
        raise security_fault(UNSUPPORTED_ALGORITHM, "signature or digest algorithm", "e")
    if len(transforms[0]) or len(method) or len(reference[1]):
        raise security_fault(UNSUPPORTED_ALGORITHM, "parameters of an algorithm", "e")
    for holder in (canonicalization, transforms[1]):
        if len(holder) > 1 or any(child.tag != _INCLUSIVE_NAMESPACES for child in holder):
            raise security_fault(UNSUPPORTED_ALGORITHM, "parameters of the canonicalization", "e")


def _certificate(signature: etree._Element) -> bytes:
    """DER of the first X509Certificate of KeyInfo, which is the leaf."""
    data = signature[2].findall(_ds("X509Data"))
    first = data[0].find(_ds("X509Certificate")) if len(data) == 1 else None
    if first is None:
        raise security_fault(FAILED_CHECK, "KeyInfo names no certificate", "e")
    try:
        return base64.b64decode("".join(text(first).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise security_fault(FAILED_AUTHENTICATION, "signing certificate: not base64", "g") from error


def _signed_copy(root: etree._Element, signer: Accepted, now: datetime) -> tuple[etree._Element, bytes]:
    """Step f, and the copy that step h reads: the parsed form of the very bytes whose digest was signed; and these."""
    configuration = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=METHODS,
        digest_algorithms=DIGESTS,
        verification_time=now,
    )
    try:
        result = XMLVerifier().verify(
            root,
            x509_cert=signer.certificate,
            id_attribute="ID",
            parser=hardened_parser(),
            expect_config=configuration,
            validate_schema=False,
        )
    except Exception as error:
        # Over key values of other kinds the library raises KeyError, NotImplementedError and more: whatever it raises
        # is no acceptance, and none of it may reach the caller as a failure of ours.
        raise security_fault(FAILED_CHECK, f"signature: {type(error).__name__}: {error}", "f") from error
    signed = None if isinstance(result, list) else result.signed_xml
    if isinstance(result, list) or signed is None or signed.tag != ASSERTION or signed.get("ID") != root.get("ID"):
        raise security_fault(FAILED_CHECK, "what was signed is not the assertion", "f")
    return signed, result.signed_data


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"
