"""The one way bytes from outside become an XML tree.

No DTD, no entities, no network, no processing instructions; bounded bytes, elements, attributes
and (by libxml2) depth and text length. Comments are dropped while parsing, so that no value is
ever split in two by one.

Clause: ITI TF-2 Appendix V 3.2; W3C SOAP 1.2 Part 1 5
"""

from __future__ import annotations

import re

from lxml import etree

from xds.limits import DEFAULT, Limits
from xds.wire.faults import SENDER, SoapFault

_BOM = b"\xef\xbb\xbf"
_DECLARATION = re.compile(rb"<\?xml[ \t\r\n]([^>]{0,200}?)\?>")
_ENCODING = re.compile(rb"""\bencoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']""")
_SPACE = b" \t\r\n"
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTES_PER_ELEMENT = 2
"""On average over a message; ebXML has about 1.5."""


def parse(data: bytes, limits: Limits = DEFAULT, *, allow_instructions: bool = False) -> etree._Element:
    """Parse one document and return its root.

    ``allow_instructions`` drops processing instructions silently in place of refusing them: CDA documents
    carry a stylesheet reference, SOAP messages may not. Raises SoapFault (Sender) for anything not
    acceptable; its text names lines and columns, never content.

    Tolerated: a UTF-8 byte-order mark and an XML declaration, because several stacks send them.

    Clause: W3C SOAP 1.2 Part 1 5; ITI TF-2 Appendix V 3.2
    """
    if len(data) > limits.xml_part:
        raise SoapFault(SENDER, f"The XML part is larger than {limits.xml_part} bytes")
    start = len(_BOM) if data.startswith(_BOM) else 0
    body = _after_declaration(data, start)
    _refuse_doctype(data, body)
    _refuse_crowds(data, limits)
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False,
        attribute_defaults=False, huge_tree=False, remove_comments=True, remove_pis=allow_instructions,
    )
    try:
        root = etree.fromstring(data if body == start else data[body:], parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise SoapFault(SENDER, f"The message is not well-formed XML (line {line}, column {column})") from None
    for problem in parser.error_log.filter_from_errors():
        # lxml forgets an unbound prefix or a repeated attribute as soon as a mere warning follows it
        raise SoapFault(SENDER, f"The message is not well-formed XML (line {problem.line}, column {problem.column})")
    if root.getroottree().docinfo.internalDTD is not None:
        raise SoapFault(SENDER, "A document type declaration is not accepted")
    if not allow_instructions and data.find(b"<?", body) >= 0:
        _refuse_instructions(root)
    return root


def as_written(value: str) -> str:
    """An attribute that a parser target was given. libxml2 hands on each ampersand as ``&#38;`` when it is told to
    resolve no entities.
    """
    return value.replace("&#38;", "&")


def _after_declaration(data: bytes, start: int) -> int:
    """Offset behind the XML declaration, or ``start`` when there is none; refuses encodings but UTF-8."""
    if not data.startswith(b"<?xml", start) or data[start + 5 : start + 6] not in (b" ", b"\t", b"\r", b"\n"):
        return start
    declaration = _DECLARATION.match(data, start)
    if declaration is None:
        raise SoapFault(SENDER, "The XML declaration is malformed")
    encoding = _ENCODING.search(declaration[1])
    if encoding is not None and encoding[1].lower() not in (b"utf-8", b"utf8"):
        raise SoapFault(SENDER, "The message is not encoded in UTF-8")
    return declaration.end()


def _refuse_doctype(data: bytes, position: int) -> None:
    """Look for a DOCTYPE before any parser does: it can only stand before the first element."""
    size = len(data)
    while position < size:
        while position < size and data[position] in _SPACE:
            position += 1
        if data.startswith(b"<!--", position):
            end = data.find(b"-->", position + 4)
            skip = 3
        elif data.startswith(b"<?", position):
            end = data.find(b"?>", position + 2)
            skip = 2
        elif data.startswith(b"<!", position):
            raise SoapFault(SENDER, "A document type declaration is not accepted")
        else:
            return
        if end < 0:
            return
        position = end + skip


def _refuse_crowds(data: bytes, limits: Limits) -> None:
    """Bound the tree before it is built: every element costs one ``<``, every attribute one ``=``.

    Counts in CDATA sections and text are counted too; the limits are far above what metadata needs.
    """
    if len(data) < limits.elements * 2:
        return
    if data.count(b"<") - data.count(b"</") > limits.elements:
        raise SoapFault(SENDER, f"The XML part holds more than {limits.elements} elements")
    if data.count(b"=") > limits.elements * _ATTRIBUTES_PER_ELEMENT:
        raise SoapFault(SENDER, f"The XML part holds more than {limits.elements * _ATTRIBUTES_PER_ELEMENT} attributes")


def _refuse_instructions(root: etree._Element) -> None:
    around = [*root.itersiblings(preceding=True), *root.itersiblings()]
    if any(node.tag is etree.PI for node in around) or next(root.iter(etree.PI), None) is not None:
        raise SoapFault(SENDER, "A processing instruction is not accepted")


def escape_text(text: str) -> str:
    """Text ready to stand between tags; characters XML cannot hold become U+FFFD."""
    clean = _ILLEGAL.sub("\ufffd", text)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def escape_attribute(text: str) -> str:
    """Text ready to stand between double quotes."""
    return escape_text(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
