"""Binary content of an element: an ``xop:Include`` of an attached part, or inline base64.

Clause: ITI TF-2 Appendix V 3.6; W3C XOP 3
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote
from uuid import uuid4

from lxml import etree

from xds.namespaces import XOP
from xds.wire.exchange import Exchange, Part, PartSink
from xds.wire.faults import SENDER, SoapFault
from xds.wire.mime import cid
from xds.wire.xml import escape_attribute

INCLUDE = f"{{{XOP}}}Include"
_SLICE = 1 << 18
_SPACE = re.compile("[ \t\r\n]+")


class UnresolvedInclude(SoapFault):
    """An Include that names no received part. A repository may report it as XDSMissingDocument. Rule: M-11"""


def include(content_id: str) -> bytes:
    """The ``xop:Include`` element for an attached part."""
    return f'<xop:Include xmlns:xop="{XOP}" href="{escape_attribute(cid(content_id))}"/>'.encode()


def resolve_document(element: etree._Element, exchange: Exchange) -> Part | Iterator[bytes]:
    """What a base64Binary element holds: the received part, not yet claimed, or its inline bytes decoded.

    Raises SoapFault (Sender): another child than one Include, text beside it, a reference that names no part
    (UnresolvedInclude); the iterator raises it for text that is not base64. An element with neither gives an
    iterator over nothing.

    Tolerated: white space around the Include; a reference in another percent-encoding or, when only one part
    fits, in another case than the Content-ID.

    Rule: M-06, M-07, M-08, M-09, M-11
    """
    if len(element) == 0:
        return decode_inline(element.text or "")
    child = element[0]
    beside = (element.text or "") + (child.tail or "")
    if len(element) != 1 or child.tag != INCLUDE or beside.strip() or len(child):
        raise SoapFault(SENDER, "A binary element must hold one xop:Include, or base64 text, and nothing else")
    return _find(child.get("href", ""), exchange)


def receive_document(element: etree._Element, exchange: Exchange, begin_part: Callable[[], PartSink]) -> Part:
    """As ``resolve_document``, but inline bytes are written to a sink of their own first.

    The part made for them joins ``exchange.parts``, so that it is aborted like any other when unclaimed.
    """
    content = resolve_document(element, exchange)
    if isinstance(content, Part):
        return content
    sink = begin_part()
    try:
        for chunk in content:
            sink.write(chunk)
        part = Part(content_id=f"inline-{uuid4().hex}", content_type="", sink=sink, received=sink.finish())
    except BaseException:
        sink.abort()
        raise
    exchange.parts = {**exchange.parts, part.content_id: part}
    return part


def decode_inline(text: str) -> Iterator[bytes]:
    """Base64 text to bytes, in slices: XML white space anywhere, the alphabet and the padding strict. Rule: M-09"""
    rest = ""
    ended = False
    for start in range(0, len(text), _SLICE):
        piece = rest + _SPACE.sub("", text[start : start + _SLICE])
        whole = len(piece) & ~3
        rest = piece[whole:]
        if not whole:
            continue
        if ended:
            raise SoapFault(SENDER, "A binary element does not hold valid base64")
        ended = piece[whole - 1] == "="
        try:
            yield binascii.a2b_base64(piece[:whole], strict_mode=True)
        except ValueError:
            raise SoapFault(SENDER, "A binary element does not hold valid base64") from None
    if rest:
        raise SoapFault(SENDER, "A binary element does not hold valid base64")


def _find(href: str, exchange: Exchange) -> Part:
    if not href.lower().startswith("cid:"):
        raise UnresolvedInclude(SENDER, "An xop:Include must refer to a part of the message by a cid: address")
    raw = href[4:].strip()
    if raw.startswith("<") and raw.endswith(">"):
        raw = raw[1:-1]
    once = unquote(raw)
    names = (raw, once, unquote(once), once.removeprefix("<").removesuffix(">"))
    for name in names:
        part = exchange.parts.get(name)
        if part is not None:
            return part
    folded = {name.casefold() for name in names}
    near = [part for name, part in exchange.parts.items() if name.casefold() in folded]
    if len(near) == 1:
        return near[0]
    raise UnresolvedInclude(SENDER, "An xop:Include refers to a part that is not in the message")
