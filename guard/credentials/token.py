"""Steps a to d: find the one token of a message, and take it out of the message.

Clause: ITI TF-2 3.40.4.1.2, 3.40.4.1.3; WSS SOAP Message Security 1.1
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from xds.ebxml.schema import validate_assertion
from xds.namespaces import DS, SAML, SOAP12, WSSE, WSU
from xds.wire.faults import (
    INVALID_SECURITY,
    INVALID_SECURITY_TOKEN,
    UNSUPPORTED_SECURITY_TOKEN,
    SoapFault,
    security_fault,
)

SAML1 = "urn:oasis:names:tc:SAML:1.0:assertion"
XENC = "http://www.w3.org/2001/04/xmlenc#"
ASSERTION = f"{{{SAML}}}Assertion"
_SECURITY = f"{{{WSSE}}}Security"
_FOR_US = {
    "",
    "http://www.w3.org/2003/05/soap-envelope/role/next",
    "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
}
_UNSUPPORTED = (f"{{{SAML}}}EncryptedAssertion", f"{{{SAML1}}}Assertion", f"{{{XENC}}}EncryptedData")
_BESIDE = {f"{{{WSU}}}Timestamp", f"{{{DS}}}Signature"}
"""What may stand beside the assertion: a time stamp and an endorsing signature, neither of which is used."""

_identifiers = etree.XPath("//@ID | //@Id | //@wsu:Id | //@xml:id", namespaces={"wsu": WSU})
_whole_text = etree.XPath("string()")


def locate(envelope: etree._Element, security: etree._Element | None) -> etree._Element:
    """The only assertion of the message. Raises SoapFault of step b or c.

    Step a, the hardened parser, has happened before: ``envelope`` is its result. ``security`` is the header block
    the wire layer found; it must be the same one. A header with no assertion but with a token of another kind
    gets the fault of step c, which tells its sender more.
    """
    told = list(envelope.iter(_SECURITY, ASSERTION, *_UNSUPPORTED))
    blocks = [element for element in told if element.tag == _SECURITY]
    if len(blocks) != 1:
        raise security_fault(INVALID_SECURITY, f"{len(blocks)} wsse:Security elements instead of one", "b")
    block = blocks[0]
    header = block.getparent()
    if header is None or header.tag != f"{{{SOAP12}}}Header" or header.getparent() is not envelope:
        raise security_fault(INVALID_SECURITY, "wsse:Security is not a header block of the message", "b")
    if security is not None and security is not block:
        raise security_fault(INVALID_SECURITY, "two readings of the security header", "b")
    if block.get(f"{{{SOAP12}}}role", "") not in _FOR_US:
        raise security_fault(INVALID_SECURITY, "wsse:Security is addressed to another role", "b")
    everywhere = [element for element in told if element.tag == ASSERTION]
    found = [element for element in everywhere if element.getparent() is block]
    if len(everywhere) != len(found) or len(found) > 1:
        raise security_fault(INVALID_SECURITY, f"{len(everywhere)} assertions, {len(found)} in the header", "b")
    values: list[str] = _identifiers(envelope)  # type: ignore[assignment]
    if len(values) != len(set(values)):
        raise security_fault(INVALID_SECURITY, "an identifier is used twice in the message", "b")
    _refuse_other_tokens(told, block)
    if not found:
        raise security_fault(INVALID_SECURITY, "no assertion in the security header", "b")
    return found[0]


def _refuse_other_tokens(told: Iterable[etree._Element], block: etree._Element) -> None:
    for element in told:
        if element.tag in _UNSUPPORTED:
            raise security_fault(UNSUPPORTED_SECURITY_TOKEN, f"{etree.QName(element).localname} is not accepted", "c")
    for child in block:
        if isinstance(child.tag, str) and child.tag != ASSERTION and child.tag not in _BESIDE:
            name = child.tag.rpartition("}")[2]  # which may have a colon: QName would not take it
            raise security_fault(UNSUPPORTED_SECURITY_TOKEN, f"{name} is not a token accepted here", "c")


def serialise(assertion: etree._Element, max_bytes: int) -> bytes:
    """The assertion as bytes of its own: with the namespaces in scope, without what surrounds it.

    Raises SoapFault of step d when it is larger than ``max_bytes``.
    """
    data = etree.tostring(assertion, with_tail=False)
    if len(data) > max_bytes:
        raise security_fault(INVALID_SECURITY_TOKEN, f"assertion of {len(data)} bytes", "d")
    return data


def presented(envelope: etree._Element, security: etree._Element | None) -> bytes:
    """The one assertion of a message as it stands, to be verified by another; b"" when there is not exactly one."""
    try:
        return etree.tostring(locate(envelope, security), with_tail=False)
    except SoapFault:
        return b""


def reparse(data: bytes) -> etree._Element:
    """The assertion as root of its own tree, comments removed, valid against the schema.

    Comments go because no signature covers them: one put inside an identifier would otherwise split its text.
    Raises SoapFault of step d.
    """
    parser = hardened_parser()
    try:
        root = etree.fromstring(data, parser=parser)
    except etree.XMLSyntaxError as error:
        raise security_fault(INVALID_SECURITY_TOKEN, "assertion does not stand on its own", "d") from error
    for problem in parser.error_log.filter_from_errors():  # of namespaces, forgotten by lxml when a warning follows
        raise security_fault(INVALID_SECURITY_TOKEN, f"assertion: {problem.type_name}", "d")
    if root.tag != ASSERTION:
        raise security_fault(INVALID_SECURITY_TOKEN, "not a SAML 2.0 assertion", "d")
    for _ in root.iter(etree.ProcessingInstruction, etree.Entity):
        raise security_fault(INVALID_SECURITY_TOKEN, "processing instruction or entity in the assertion", "d")
    problems = validate_assertion(root)
    if problems:
        raise security_fault(INVALID_SECURITY_TOKEN, f"schema: {problems[0]}", "d")
    return root


def hardened_parser() -> etree.XMLParser:
    """No DTD, no entities, no network, bounded; comments removed, adjacent text joined. Not to be shared by threads."""
    return etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        strip_cdata=True,
    )


def text(element: etree._Element | None) -> str:
    """The whole text of an element, every text node joined; ``.text`` alone would stop at the first child."""
    if element is None:
        return ""
    if not len(element):
        return (element.text or "").strip()
    return str(_whole_text(element)).strip()
