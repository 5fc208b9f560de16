"""The SOAP 1.2 envelope: taking it apart, and writing it as bytes around a body.

Clause: ITI TF-2 Appendix V 3.2; W3C SOAP 1.2 Part 1 5
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree

from xds.namespaces import SOAP12, WSA, WSSE
from xds.wire.addressing import FAULT_ACTION, SOAP_FAULT_ACTION, response_headers
from xds.wire.exchange import Endpoint
from xds.wire.faults import (
    INVALID_SECURITY,
    MUST_UNDERSTAND,
    SENDER,
    VERSION_MISMATCH,
    QName,
    SoapFault,
    security_fault,
)
from xds.wire.xml import escape_attribute, escape_text

TRACE = "urn:carnet:trace"
"""Namespace of the one element a fault's Detail carries: ``TraceId``."""

_ENVELOPE = f"{{{SOAP12}}}Envelope"
_HEADER = f"{{{SOAP12}}}Header"
_BODY = f"{{{SOAP12}}}Body"
_MUST_UNDERSTAND = f"{{{SOAP12}}}mustUnderstand"
_ROLE = f"{{{SOAP12}}}role"
_SECURITY = f"{{{WSSE}}}Security"
_OURS = frozenset(
    {
        "",
        "http://www.w3.org/2003/05/soap-envelope/role/next",
        "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
    }
)
_WSA_PREFIX = f"{{{WSA}}}"
_OPEN = f'<s:Envelope xmlns:s="{SOAP12}" xmlns:wsa="{WSA}"><s:Header>'.encode()
_MIDDLE = b"</s:Header><s:Body>"
_CLOSE = b"</s:Body></s:Envelope>"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message taken apart; everything still hangs in ``root``."""

    root: etree._Element
    header: etree._Element | None
    body: etree._Element
    """The one child of soap12:Body."""
    security: etree._Element | None
    """The wsse:Security header block addressed to us."""


def open_envelope(root: etree._Element) -> Envelope:
    """Check the shape of a message and the header blocks that must be understood.

    Raises SoapFault: VersionMismatch (not SOAP 1.2), MustUnderstand (a block we do not process), Sender.
    A missing Header is left to the addressing checks, which say what is missing from it.

    Clause: ITI TF-2 Appendix V 3.2 (T-01, T-09, T-10); W3C SOAP 1.2 Part 1 5.1 to 5.4
    """
    if root.tag != _ENVELOPE:
        if etree.QName(root).localname == "Envelope":
            raise SoapFault(VERSION_MISMATCH, "Only SOAP 1.2 envelopes are accepted")
        raise SoapFault(SENDER, "The message is not a SOAP 1.2 envelope")
    tags = [child.tag for child in root]
    if tags not in ([_HEADER, _BODY], [_BODY]):
        raise SoapFault(SENDER, "The envelope must hold one Header followed by one Body and nothing else")
    outer = root[-1]
    if len(outer) != 1 or _has_text(outer):
        raise SoapFault(SENDER, "The Body must hold exactly one element")
    header = root[0] if len(tags) == 2 else None
    security = None if header is None else _read_blocks(header)
    return Envelope(root, header, outer[0], security)


def _has_text(element: etree._Element) -> bool:
    texts = [element.text, *(child.tail for child in element)]
    return any(text and not text.isspace() for text in texts)


def _read_blocks(header: etree._Element) -> etree._Element | None:
    """Refuse blocks marked mustUnderstand that we do not know; return the security block addressed to us."""
    unknown: list[QName] = []
    security = None
    for block in header:
        role = block.get(_ROLE)
        if role is not None and role.strip() not in _OURS:
            continue
        demanded = _truth(block.get(_MUST_UNDERSTAND))
        if block.tag == _SECURITY:
            if security is not None:
                raise security_fault(INVALID_SECURITY, "more than one wsse:Security header for this service", "b")
            security = block
        elif demanded and not block.tag.startswith(_WSA_PREFIX):
            name = etree.QName(block)
            unknown.append((name.namespace or "", name.localname))
    if unknown:
        raise SoapFault(
            MUST_UNDERSTAND, "A header block marked mustUnderstand is not known to this service",
            not_understood=tuple(unknown),
        )
    return security


def _truth(value: str | None) -> bool:
    if value is None:
        return False
    text = value.strip(" \t\r\n")
    if text in ("1", "true"):
        return True
    if text in ("0", "false"):
        return False
    raise SoapFault(SENDER, "mustUnderstand must be 1, 0, true or false")


def write_envelope(headers: bytes, body: Iterable[bytes]) -> list[bytes]:
    """The pieces of an envelope. ``headers`` may use the prefixes ``s`` and ``wsa``; ``body`` declares its own."""
    return [_OPEN, headers, _MIDDLE, *body, _CLOSE]


def write_fault(
    fault: SoapFault, trace_id: str, relates_to: str = "", to: Endpoint | None = None
) -> list[bytes]:
    """The pieces of a fault message: code, subcode, reason, trace id, addressing headers.

    ``fault.detail`` stays here. Clause: W3C SOAP 1.2 Part 1 5.4; WS-Addressing 1.0 SOAP Binding 6
    """
    headers = response_headers(fault_action(fault), relates_to, to) + _fault_blocks(fault)
    subcode = ""
    if fault.subcode is not None:
        namespace, name = fault.subcode
        subcode = f'<s:Subcode><s:Value xmlns:f="{namespace}">f:{name}</s:Value></s:Subcode>'
    body = (
        f"<s:Fault><s:Code><s:Value>s:{fault.code[1]}</s:Value>{subcode}</s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{escape_text(fault.reason)}</s:Text></s:Reason>'
        f'<s:Detail><t:TraceId xmlns:t="{TRACE}">{escape_text(trace_id)}</t:TraceId></s:Detail></s:Fault>'
    )
    return write_envelope(headers, [body.encode()])


def fault_action(fault: SoapFault) -> str:
    """``wsa:Action`` of a fault message. Clause: W3C WS-Addressing 1.0 SOAP Binding 6"""
    return FAULT_ACTION if fault.subcode is not None and fault.subcode[0] == WSA else SOAP_FAULT_ACTION


def _fault_blocks(fault: SoapFault) -> bytes:
    """Upgrade and NotUnderstood header blocks. Clause: W3C SOAP 1.2 Part 1 5.4.7, 5.4.8"""
    if fault.code == VERSION_MISMATCH:
        return b'<s:Upgrade><s:SupportedEnvelope qname="s:Envelope"/></s:Upgrade>'
    blocks = []
    for namespace, name in fault.not_understood:
        if namespace:
            blocks.append(f'<s:NotUnderstood xmlns:n="{escape_attribute(namespace)}" qname="n:{name}"/>')
        else:
            blocks.append(f'<s:NotUnderstood qname="{name}"/>')
    return "".join(blocks).encode()


def read_fault(body: etree._Element) -> tuple[QName, QName | None, str, str] | None:
    """(code, subcode, reason, trace id) when the body element is a soap12:Fault, else None."""
    if body.tag != f"{{{SOAP12}}}Fault":
        return None
    ns = {"s": SOAP12, "t": TRACE}
    code = _qualified(body.find("s:Code/s:Value", ns)) or ("", "")
    subcode = _qualified(body.find("s:Code/s:Subcode/s:Value", ns))
    reason = (body.findtext("s:Reason/s:Text", "", ns) or "").strip()
    trace = (body.findtext("s:Detail/t:TraceId", "", ns) or "").strip()
    return code, subcode, reason, trace


def _qualified(element: etree._Element | None) -> QName | None:
    """A QName in element content, its prefix resolved where it stands."""
    text = "" if element is None else (element.text or "").strip()
    if element is None or not text:
        return None
    prefix, _, name = text.rpartition(":")
    return (element.nsmap.get(prefix or None) or "", name)
