"""WS-Addressing headers: reading, checking and writing.

Tolerated: no MessageID, no To, no ReplyTo, no mustUnderstand on Action, because clients in use leave
them out and nothing of ours depends on them.

Clause: ITI TF-2 Appendix V 3.2; W3C WS-Addressing 1.0 Core 3.2, SOAP Binding 6
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

from lxml import etree

from xds.namespaces import SOAP11, SOAP12, WSA, WSA_ANONYMOUS, WSSE
from xds.wire.exchange import Addressing, Endpoint
from xds.wire.faults import HEADER_REQUIRED, INVALID_HEADER, SENDER, SoapFault
from xds.wire.xml import escape_text

FAULT_ACTION = "http://www.w3.org/2005/08/addressing/fault"
"""Action of the faults WS-Addressing itself defines."""
SOAP_FAULT_ACTION = "http://www.w3.org/2005/08/addressing/soap/fault"
"""Action of every other fault."""

_PREFIX = "{" + WSA + "}"
_ADDRESS, _REFERENCE_PARAMETERS = _PREFIX + "Address", _PREFIX + "ReferenceParameters"
_SINGLE = frozenset({"To", "From", "ReplyTo", "FaultTo", "MessageID", "Action"})
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_LONGEST = 2048
_MOST_PARAMETERS = 4096
"""Bytes of the reference parameters of one endpoint."""
_NOT_PARAMETERS = frozenset({SOAP11, SOAP12, WSA, WSSE})
"""Namespaces whose elements would say something else once they stand among the headers of an answer."""
_OTHER_VERSION = re.compile(r"\{http://(schemas\.xmlsoap\.org/ws/200\d|www\.w3\.org/200\d)/\d\d/addressing\}Action")


def new_message_id() -> str:
    """A fresh ``urn:uuid:``."""
    return f"urn:uuid:{uuid4()}"


def read_addressing(header: etree._Element | None) -> Addressing:
    """The addressing headers of a message that arrived. ``header`` is soap12:Header.

    Raises SoapFault with subcode MessageAddressingHeaderRequired (no Action) or InvalidAddressingHeader
    (repeated or malformed). Whether an answer may go where it is wanted, the service decides.

    Clause: ITI TF-2 Appendix V 3.2 (T-03 to T-08)
    """
    found: dict[str, etree._Element] = {}
    relates_to = ""
    for block in () if header is None else header:
        tag = block.tag
        if not isinstance(tag, str) or not tag.startswith(_PREFIX):
            continue
        name = tag[len(_PREFIX) :]
        if name in _SINGLE:
            if name in found:
                raise SoapFault(SENDER, f"The header wsa:{name} is given more than once", subcode=INVALID_HEADER)
            found[name] = block
        elif name == "RelatesTo":
            relates_to = relates_to or _value(block, "RelatesTo").strip()
    action = found.get("Action")
    if action is None:
        raise SoapFault(SENDER, f"The header wsa:Action is missing{_version_hint(header)}", subcode=HEADER_REQUIRED)
    return Addressing(
        action=_action(action),
        message_id=_iri(found.get("MessageID"), "MessageID"),
        to=_to(found.get("To")),
        reply_to=_endpoint(found.get("ReplyTo"), "ReplyTo"),
        fault_to=_endpoint(found.get("FaultTo"), "FaultTo"),
        relates_to=relates_to,
    )


def _version_hint(header: etree._Element | None) -> str:
    """What a sender of another WS-Addressing needs to read."""
    for block in () if header is None else header:
        if isinstance(block.tag, str) and _OTHER_VERSION.fullmatch(block.tag):
            return f": it is sent in another version of WS-Addressing than {WSA}"
    return ""


def _value(block: etree._Element, name: str) -> str:
    text = block.text or ""
    if len(block) or len(text) > _LONGEST:
        raise SoapFault(SENDER, f"The header wsa:{name} is malformed", subcode=INVALID_HEADER)
    return text


def _action(block: etree._Element) -> str:
    text = _value(block, "Action")
    if not text.strip():
        raise SoapFault(SENDER, "The header wsa:Action is empty", subcode=HEADER_REQUIRED)
    if text != text.strip():
        raise SoapFault(SENDER, "The header wsa:Action is surrounded by white space", subcode=INVALID_HEADER)
    return text


def _iri(block: etree._Element | None, name: str) -> str:
    if block is None:
        return ""
    text = _value(block, name).strip()
    if not _IRI.fullmatch(text):
        raise SoapFault(SENDER, f"The header wsa:{name} is not an absolute IRI", subcode=INVALID_HEADER)
    return text


def _to(block: etree._Element | None) -> str:
    text = _iri(block, "To")
    if text and text != WSA_ANONYMOUS and not text[:8].lower().startswith(("http://", "https://")):
        raise SoapFault(SENDER, "The header wsa:To is not an http or https address", subcode=INVALID_HEADER)
    return text


def _endpoint(block: etree._Element | None, name: str) -> Endpoint | None:
    """An endpoint reference: one Address, perhaps reference parameters. Clause: W3C WS-Addressing 1.0 Core 2.1"""
    if block is None:
        return None
    addresses = [child for child in block if child.tag == _ADDRESS]
    if len(addresses) != 1:
        raise SoapFault(SENDER, f"The header wsa:{name} needs exactly one Address", subcode=INVALID_HEADER)
    address = _iri(addresses[0], f"{name}/Address")
    holders = [child for child in block if child.tag == _REFERENCE_PARAMETERS]
    if len(holders) > 1:
        raise SoapFault(SENDER, f"The header wsa:{name} has ReferenceParameters twice", subcode=INVALID_HEADER)
    return Endpoint(address, b"".join(_parameters(holders[0], name)) if holders else b"")


def _parameters(holder: etree._Element, name: str) -> Iterator[bytes]:
    """Each reference parameter as the header block it becomes. Clause: W3C WS-Addressing 1.0 SOAP Binding 3.3"""
    left = _MOST_PARAMETERS
    for child in holder:
        if etree.QName(child).namespace in _NOT_PARAMETERS:
            raise SoapFault(SENDER, f"A reference parameter of wsa:{name} is not allowed", subcode=INVALID_HEADER)
        child.set(f"{_PREFIX}IsReferenceParameter", "true")
        block = etree.tostring(child, with_tail=False)
        left -= len(block)
        if left < 0:
            raise SoapFault(
                SENDER, f"The reference parameters of wsa:{name} are larger than {_MOST_PARAMETERS} bytes",
                subcode=INVALID_HEADER,
            )
        yield block


def request_headers(action: str, message_id: str, to: str) -> bytes:
    """Header blocks of a request. mustUnderstand stands on Action alone. Rule: E-26"""
    return (
        f'<wsa:Action s:mustUnderstand="1">{escape_text(action)}</wsa:Action>'
        f"<wsa:MessageID>{escape_text(message_id)}</wsa:MessageID>"
        f'<wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo>'
        f'<wsa:To s:mustUnderstand="1">{escape_text(to)}</wsa:To>'
    ).encode()


def response_headers(action: str, relates_to: str, to: Endpoint | None = None) -> bytes:
    """Header blocks of an answer; no RelatesTo when the request carried no MessageID.

    ``to`` is the endpoint the request named for it: its reference parameters come back, and its address becomes
    ``wsa:To`` when the answer travels on a connection of its own. Rule: T-08, T-13
    """
    relates = f"<wsa:RelatesTo>{escape_text(relates_to)}</wsa:RelatesTo>" if relates_to else ""
    address = ""
    if to is not None and to.is_elsewhere:
        address = f'<wsa:To s:mustUnderstand="1">{escape_text(to.address)}</wsa:To>'
    blocks = (
        f'<wsa:Action s:mustUnderstand="1">{escape_text(action)}</wsa:Action>'
        f"<wsa:MessageID>{new_message_id()}</wsa:MessageID>{relates}{address}"
    ).encode()
    return blocks + (b"" if to is None else to.parameters)
