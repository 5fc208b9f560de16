"""XML signatures made by hand, so that they can be wrong in exactly one way.

A signing library refuses to make most of these; here every choice is a parameter and the arithmetic stays right,
so that a verifier that accepts one has looked at the arithmetic only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from guard.credentials.cards import PrivateKey
from xds.namespaces import DS, SAML

ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
RSA_MD5 = "http://www.w3.org/2001/04/xmldsig-more#rsa-md5"
RSA_PSS = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
HMAC_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
MD5 = "http://www.w3.org/2001/04/xmldsig-more#md5"
NONE = "none"
"""No algorithm of XML Signature: the value stays empty, for readers who take an unknown method for none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The choices of one signature; the defaults are the right ones for an RSA key."""

    method: str = RSA_SHA256
    digest: str = SHA256
    canonicalization: str = EXCLUSIVE
    transforms: Sequence[str] = (ENVELOPED, EXCLUSIVE)
    references: int = 1
    uri: str | None = None
    """Instead of ``#ID``; the digest stays that of the assertion."""
    content: bytes | None = None
    """What is digested instead of the assertion."""
    secret: bytes = b"secret"
    """Key of an HMAC: what everybody has."""
    shape: Callable[[etree._Element], object] | None = None
    """Changes SignedInfo before it is signed, so that the signature holds whatever it has become."""


RIGHT = Form()


def sign(root: etree._Element, key: PrivateKey, key_info: etree._Element | None, form: Form = RIGHT) -> None:
    """Put a signature after Issuer, in place. ``key_info`` None leaves KeyInfo out."""
    exclusive = any(transform.startswith(EXCLUSIVE) for transform in form.transforms)
    content = form.content
    if content is None:
        content = etree.tostring(root, method="c14n", exclusive=exclusive, with_comments=False)
    name = {SHA1: "sha1", MD5: "md5"}.get(form.digest, "sha256")
    digest = base64.b64encode(hashlib.new(name, content).digest()).decode()
    signature = etree.Element(_ds("Signature"), nsmap={"ds": DS})
    info = etree.SubElement(signature, _ds("SignedInfo"))
    etree.SubElement(info, _ds("CanonicalizationMethod"), {"Algorithm": form.canonicalization})
    etree.SubElement(info, _ds("SignatureMethod"), {"Algorithm": form.method})
    for _ in range(form.references):
        uri = f"#{root.get('ID')}" if form.uri is None else form.uri
        reference = etree.SubElement(info, _ds("Reference"), {"URI": uri})
        transforms = etree.SubElement(reference, _ds("Transforms"))
        for algorithm in form.transforms:
            etree.SubElement(transforms, _ds("Transform"), {"Algorithm": algorithm})
        etree.SubElement(reference, _ds("DigestMethod"), {"Algorithm": form.digest})
        etree.SubElement(reference, _ds("DigestValue")).text = digest
    value = etree.SubElement(signature, _ds("SignatureValue"))
    if key_info is not None:
        signature.append(key_info)
    issuer = root.find(f"{{{SAML}}}Issuer")
    root.insert(0 if issuer is None else root.index(issuer) + 1, signature)
    if form.shape is not None:
        form.shape(info)
    signed = etree.tostring(
        info, method="c14n", exclusive=form.canonicalization.startswith(EXCLUSIVE), with_comments=False
    )
    is_hmac = form.method == HMAC_SHA256
    made = hmac.digest(form.secret, signed, "sha256") if is_hmac else _METHODS[form.method](key, signed)
    value.text = base64.b64encode(made).decode()


def certificate_info(*certificates: x509.Certificate) -> etree._Element:
    """KeyInfo with X509Data, leaf first."""
    info = etree.Element(_ds("KeyInfo"), nsmap={"ds": DS})
    data = etree.SubElement(info, _ds("X509Data"))
    for certificate in certificates:
        der = certificate.public_bytes(Encoding.DER)
        etree.SubElement(data, _ds("X509Certificate")).text = base64.b64encode(der).decode()
    return info


def key_value_info(key: PrivateKey) -> etree._Element:
    """KeyInfo with the bare RSA key and no certificate: whoever believes it believes anybody."""
    public = key.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("RSAKeyValue needs an RSA key")
    numbers = public.public_numbers()
    info = etree.Element(_ds("KeyInfo"), nsmap={"ds": DS})
    value = etree.SubElement(etree.SubElement(info, _ds("KeyValue")), _ds("RSAKeyValue"))
    for name, number in (("Modulus", numbers.n), ("Exponent", numbers.e)):
        data = number.to_bytes((number.bit_length() + 7) // 8, "big")
        etree.SubElement(value, _ds(name)).text = base64.b64encode(data).decode()
    return info


def _rsa(digest: hashes.HashAlgorithm) -> Callable[[PrivateKey, bytes], bytes]:
    def sign_rsa(key: PrivateKey, data: bytes) -> bytes:
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("this form needs an RSA key")
        return key.sign(data, padding.PKCS1v15(), digest)

    return sign_rsa


def _ecdsa(key: PrivateKey, data: bytes) -> bytes:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("this form needs an elliptic-curve key")
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _pss(key: PrivateKey, data: bytes) -> bytes:
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("this form needs an RSA key")
    return key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


_METHODS: dict[str, Callable[[PrivateKey, bytes], bytes]] = {
    RSA_SHA256: _rsa(hashes.SHA256()),
    RSA_SHA1: _rsa(hashes.SHA1()),  # noqa: S303
    RSA_MD5: _rsa(hashes.MD5()),  # noqa: S303
    RSA_PSS: _pss,
    ECDSA_SHA256: _ecdsa,
    NONE: lambda key, data: b"",
}


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"
