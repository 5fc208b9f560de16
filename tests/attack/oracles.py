"""Second opinions on a signed assertion: signxml and xmlsec, used strictly and used carelessly.

``strict`` is the procedure of the service written again, with XPath over the message and with the library's own way
to find the key, to build the chain to the authorities and to compute. ``careless`` is what a reader does who verifies
the first signature of a message and then reads the first assertion.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import signxml
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Criticality, ExtensionPolicy
from lxml import etree
from signxml.exceptions import SignXMLException

from guard.credentials import signature, token
from guard.credentials.certificates import TrustStore, Use
from xds.namespaces import DS, SAML, SOAP12, WSSE, WSU
from xds.wire.faults import SoapFault

_NS = {"s": SOAP12, "w": WSSE, "u": WSU, "a": SAML, "d": DS}
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_METHODS = [f"{_MORE}{name}" for name in ("rsa-sha256", "rsa-sha384", "rsa-sha512", "ecdsa-sha256")]
_DIGESTS = ["http://www.w3.org/2001/04/xmlenc#sha256", f"{_MORE}sha384", "http://www.w3.org/2001/04/xmlenc#sha512"]
_TRANSFORMS = [
    [f"{DS}enveloped-signature", _EXCLUSIVE],
    [f"{DS}enveloped-signature", f"{_EXCLUSIVE}WithComments"],
]
_FAILURES = (
    SignXMLException,
    xmlsec.Error,
    etree.LxmlError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    NotImplementedError,
    AssertionError,
    IndexError,
)


def _signs_statements(policy: object, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is None or not usage.content_commitment:
        raise ValueError("not a certificate for signatures of statements")


_SIGNERS = ExtensionPolicy.permit_all().require_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_statements)
Opinion = str | None
"""The NameID that is believed, None for a refusal."""


def _all(node: etree._Element, path: str) -> list:
    return node.xpath(path, namespaces=_NS)  # type: ignore[return-value]


def shape(envelope: etree._Element) -> etree._Element | None:
    """The one assertion in a tree of its own when its surroundings and the form of its signature are the right ones."""
    blocks, assertions = _all(envelope, "//w:Security"), _all(envelope, "//a:Assertion")
    ids = _all(envelope, "//@ID | //@Id | //@u:Id | //@xml:id")
    if len(blocks) != 1 or len(assertions) != 1 or len(ids) != len(set(ids)):
        return None
    if _all(envelope, "/s:Envelope/s:Header/w:Security/a:Assertion") != assertions:
        return None
    if _all(blocks[0], "*[not(self::a:Assertion or self::u:Timestamp or self::d:Signature)]") or _all(
        blocks[0], "@s:role[contains(., '/role/none')]"
    ):
        return None
    data = etree.tostring(assertions[0], with_tail=False)
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, remove_comments=True))
    except etree.XMLSyntaxError:
        return None
    return root if _is_right_form(root) else None


def _is_right_form(root: etree._Element) -> bool:
    if _all(root, "//processing-instruction()"):
        return False
    info = "/a:Assertion/d:Signature/d:SignedInfo"
    one = {
        "//d:Signature": 1,
        "/a:Assertion/d:Signature": 1,
        "//d:SignedInfo": 1,
        "/a:Assertion/d:Signature/*": 3,
        f"{info}/*": 3,
        f"{info}/d:Reference": 1,
        f"{info}/d:Reference/*": 3,
        f"{info}/d:Reference/d:DigestValue": 1,
        "/a:Assertion/d:Signature/d:KeyInfo/d:X509Data": 1,
        "/a:Assertion/a:Subject/a:NameID": 1,
    }
    if any(len(_all(root, path)) != number for path, number in one.items()):
        return False
    if _all(root, f"{info}/d:Reference/d:Transforms/d:Transform[1]/*") or _all(
        root, f"{info}//d:DigestMethod/* | {info}/d:SignatureMethod/* | {info}//d:DigestValue/*"
    ):
        return False
    parameters = _all(root, f"{info}/d:CanonicalizationMethod/* | {info}//d:Transform/*")
    if any(child.tag != f"{{{_EXCLUSIVE}}}InclusiveNamespaces" for child in parameters) or len(parameters) > 2:
        return False
    if len({child.getparent() for child in parameters}) != len(parameters):
        return False
    return (
        _all(root, f"{info}/d:Reference/@URI") == [f"#{root.get('ID')}"]
        and _all(root, f"{info}/d:Reference/d:Transforms/d:Transform/@Algorithm") in _TRANSFORMS
        and _all(root, f"{info}/d:CanonicalizationMethod/@Algorithm") == [_EXCLUSIVE]
        and _all(root, f"{info}/d:SignatureMethod/@Algorithm")[0] in _METHODS
        and _all(root, f"{info}/d:Reference/d:DigestMethod/@Algorithm")[0] in _DIGESTS
    )


def _name(root: etree._Element) -> Opinion:
    found = _all(root, "/a:Assertion/a:Subject/a:NameID")
    return "".join(found[0].itertext()) if len(found) == 1 else None


def ours(envelope: etree._Element, trust: TrustStore) -> Opinion:
    """Steps b to h of the service, without what the assertion says."""
    try:
        data = token.serialise(token.locate(envelope, None), 128 * 1024)
        signed = signature.verify(token.reparse(data), trust, Use.VIHF_SIGNATURE, datetime.now(UTC))
    except SoapFault:
        return None
    return _name(signed.root)


def strict_signxml(envelope: etree._Element, trust: Path) -> Opinion:
    """What was signed is what the library returns as signed."""
    root = shape(envelope)
    if root is None:
        return None
    try:
        result = signxml.XMLVerifier().verify(
            root,
            ca_pem_file=str(trust / "ca.pem"),
            id_attribute="ID",
            validate_schema=False,
            ee_policy=_SIGNERS,
            ca_policy=ExtensionPolicy.webpki_defaults_ca(),
            expect_config=signxml.SignatureConfiguration(location="./", expect_references=1),
        )
    except _FAILURES:
        return None
    signed = None if isinstance(result, list) else result.signed_xml
    return None if signed is None or signed.get("ID") != root.get("ID") else _name(signed)


def strict_xmlsec(envelope: etree._Element, trust: Path) -> Opinion:
    """The assertion alone in its tree is what one reference to its ID can mean."""
    root = shape(envelope)
    if root is None:
        return None
    manager = xmlsec.KeysManager()
    for name in ("root", "persons", "organisations"):
        manager.load_cert(str(trust / f"{name}.pem"), xmlsec.KeyFormat.PEM, xmlsec.KeyDataType.TRUSTED)
    context = xmlsec.SignatureContext(manager)
    context.set_enabled_key_data([xmlsec.KeyData.X509])
    try:
        context.register_id(root, "ID")
        context.verify(_all(root, "/a:Assertion/d:Signature")[0])
    except _FAILURES:
        return None
    return _name(root)


STRICT: dict[str, Callable[[etree._Element, Path], Opinion]] = {"signxml": strict_signxml, "xmlsec": strict_xmlsec}


def careless_signxml(envelope: etree._Element, certificate: x509.Certificate) -> Opinion:
    """The first signature anywhere, with a certificate that is known; then the text of the first name."""
    try:
        signxml.XMLVerifier().verify(envelope, x509_cert=certificate, id_attribute="ID", validate_schema=False)
    except _FAILURES:
        return None
    return _first_name(envelope)


def careless_xmlsec(envelope: etree._Element, certificate: x509.Certificate) -> Opinion:
    """The same, with every ID registered."""
    found = envelope.find(f".//{{{DS}}}Signature")
    if found is None:
        return None
    context = xmlsec.SignatureContext()
    try:
        context.key = xmlsec.Key.from_memory(certificate.public_bytes(Encoding.PEM), xmlsec.KeyFormat.CERT_PEM)
        xmlsec.tree.add_ids(envelope, ["ID"])
        context.verify(found)
    except _FAILURES:
        return None
    return _first_name(envelope)


def _first_name(envelope: etree._Element) -> Opinion:
    found = envelope.find(f".//{{{SAML}}}NameID")
    return None if found is None else found.text


CARELESS: dict[str, Callable[[etree._Element, x509.Certificate], Opinion]] = {
    "signxml": careless_signxml,
    "xmlsec": careless_xmlsec,
}
