"""XML Schema validation of message bodies and assertions, and the service descriptions that a peer may fetch.

The schemas are ours (``schemas/xsd``) and come from package data: no file name and no address from outside is ever
opened. Both validators are compiled when this module is imported, and never again: libxml2 is not safe against two
compilations at once (wrong verdicts and crashes were seen with eight threads).

Clause: ITI TF-2 3.42.4.1.2
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from itertools import islice
from threading import Lock
from typing import Any, cast

from lxml import etree

from xds import namespaces as ns
from xds.ebxml.schema_message import plain
from xds.errors import Actor

MESSAGES = 20
"""Problems listed in one verdict; the rest are only counted."""
DIRECT = 5_000
"""Elements and attributes up to which a tree is validated where it stands."""
ATTRIBUTES = 64
"""Attributes that one element of a big message may have; no element of ours knows more than ten."""
PUBLISHED = frozenset(
    {
        "gdp.xsd", "hl7-v3-feed.xsd", "lcm.xsd", "query.xsd", "rim.xsd", "rmd.xsd", "rs.xsd", "ws-addressing.xsd",
        "ws-fed-claims.xsd", "ws-policy-2004.xsd", "ws-policy-2007.xsd", "ws-trust.xsd", "wss-token.xsd",
        "wss-utility.xsd", "xds-b.xsd", "xml.xsd", "xop-include.xsd",
    }
)
"""Schema files that ``?xsd=`` gives away: those that the WSDL needs."""
DESCRIBED = frozenset({*Actor, "record", "tokens"})
"""Service descriptions in ``schemas/wsdl``; nothing else is opened there."""

_XS = "{http://www.w3.org/2001/XMLSchema}"
_FOR_WSDL = "urn:carnet:schema:wsdl"
_DOCUMENT = f"{{{ns.XDS}}}Document"
_INCLUDE = f"{{{ns.XOP}}}Include"
_ATTRIBUTE = f"{{{ns.SAML}}}Attribute"
_ATTRIBUTE_VALUE = f"{{{ns.SAML}}}AttributeValue"
_XML_SPACE = dict.fromkeys(map(ord, " \t\r\n"))
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?")
_XSI_TYPE = f"{{{ns.XSI}}}type"
_QUERY = f"{{{ns.QUERY}}}AdhocQueryRequest"
_LONG_VALUE = re.compile(r"\bValue: \d+ characters long")
_big = etree.XPath(f"count(descendant-or-self::*) + count(descendant-or-self::*/@*) > {DIRECT}")
_typed = etree.XPath("descendant-or-self::*[@xsi:type]", namespaces={"xsi": ns.XSI})
_crowded = etree.XPath(f"boolean(descendant-or-self::*[count(@*) > {ATTRIBUTES}])")


def validate(element: etree._Element) -> list[str]:
    """Validate a message body against our schemas; an empty list means valid.

    ``element`` is the body element (``lcm:SubmitObjectsRequest``, ``query:AdhocQueryRequest``, ...), inside its SOAP
    envelope or alone; the tree is not copied, and changed only in that it may lose ``xsi:type``. Any element that a
    schema of ours declares is taken as a root, so the caller compares the name with the transaction's. Returns at
    most ``MESSAGES`` sentences and a count of the rest, each with the line in the received text and local names, none
    with a value of the message.

    Why in place: lxml lends libxml2 a document whose root is the subtree, which costs about a microsecond; a deep copy
    costs more than half as much as the validation, and a schema over the envelope would walk the assertion as well.
    Why not for big trees: lxml notes the path of each error, so 100,000 wrong siblings take 20 seconds. Above
    ``DIRECT`` nodes the tree first runs through a streaming validation that stops soon after too many errors.

    ``Document`` takes base64 text or one ``xop:Include`` with white space around it.
    Tolerated: that white space, because senders indent (M-08); values of a stored query longer than 256 characters,
    because clients put a whole list of identifiers into one (Q-07); an ``xsi:type`` that does not fit, because some
    stacks write one on every value: it is taken off, and the type our schema gives the element counts (C-17).
    Clause: ITI TF-2 3.41.4.1.2, ITI TF-2 3.43.4.1.2
    """
    problems = _check(element, _MESSAGES)
    if problems and (typed := cast("list[etree._Element]", _typed(element))):
        for one in typed:
            del one.attrib[_XSI_TYPE]
        problems = _check(element, _MESSAGES)
    if element.tag == _QUERY:
        problems = [text for text in problems if not _LONG_VALUE.search(text)]
    return problems or _bounded(_document_problems(element))


def validate_assertion(element: etree._Element) -> list[str]:
    """Validate a SAML 2.0 assertion, in its envelope or alone; an empty list means valid.

    Structure only: names, order, cardinality and lexical types of what XUA and VIHF use. Values, algorithms, dates
    and uniqueness of identifiers are for the reader of credentials. The content of ``AttributeValue`` is open.

    Clause: ITI TF-2 3.40.4.1.2
    """
    if element.tag != f"{{{ns.SAML}}}Assertion":
        return ["the element is not a SAML 2.0 Assertion"]
    problems = _check(element, _ASSERTION)
    return problems or _bounded(
        f"line {child.sourceline}: Attribute: only AttributeValue is allowed inside"
        for attribute in element.iter(_ATTRIBUTE)
        for child in attribute
        if child.tag != _ATTRIBUTE_VALUE and isinstance(child.tag, str)
    )


def wsdl(name: str, endpoint_url: str) -> bytes:
    """The service description of an actor, of the record services or of the token service (``DESCRIBED``), with its
    address and the addresses of the schemas filled in.

    ``endpoint_url`` is the address at which the service answers, without query. The schemas named by the result are
    those of ``xsd``, under ``<endpoint_url>?xsd=<name>``.
    """
    if name not in DESCRIBED:
        raise ValueError(f"no service is described under {name!r}")
    root = etree.fromstring(_resource("wsdl", f"{name}.wsdl"), _parser())
    for address in root.iter("{http://schemas.xmlsoap.org/wsdl/soap12/}address"):
        address.set("location", endpoint_url)
    return _served(root, endpoint_url)


def xsd(name: str, endpoint_url: str) -> bytes | None:
    """A schema as served beside the WSDL, or None when ``name`` is not one that we publish.

    Same source as the strict schema, with two replacements written inside it as ``xs:appinfo``: a list of registry
    objects takes any element of its namespace unchecked, and a Document is plain base64. Why: client generators such
    as zeep know no substitution groups, and expect a binary element to be declared as one.
    """
    if name not in PUBLISHED:
        return None
    root = etree.fromstring(_resource("xsd", name), _parser())
    for note in list(root.iter(f"{_XS}appinfo")):
        declaration = note.getparent().getparent()
        if note.get("source") == _FOR_WSDL:
            declaration.getparent().replace(declaration, note[0])
    return _served(root, endpoint_url)


def _served(root: etree._Element, endpoint_url: str) -> bytes:
    for reference in root.iter(f"{_XS}import"):
        name = reference.get("schemaLocation", "").rpartition("/")[2]
        reference.set("schemaLocation", f"{endpoint_url}?xsd={name}")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _resource(*path: str) -> bytes:
    return files("schemas").joinpath(*path).read_bytes()


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


class _FromPackage(etree.Resolver):
    """Answers every import of a schema from package data; anything else is empty, so nothing is ever fetched."""

    resolve_empty: Any

    def resolve(self, url: str, public_id: str, context: Any = None) -> Any:
        name = url.rpartition("/")[2]
        known = files("schemas").joinpath("xsd", name)
        if not known.is_file():
            return self.resolve_empty(context)
        return self.resolve_string(known.read_bytes(), context, base_url=url)


def _compile(name: str) -> etree.XMLSchema:
    parser = _parser()
    parser.resolvers.add(_FromPackage())
    return etree.XMLSchema(etree.fromstring(_resource("xsd", name), parser, base_url=f"schemas:/xsd/{name}"))


class _Validator:
    """A compiled schema and the lock that guards the error list which lxml keeps on it.

    Why a lock and not a copy for each thread: a validation takes 0.06 ms of the milliseconds of a request, and copies
    would have to be compiled while other threads work.
    """

    def __init__(self, name: str):
        self.schema = _compile(name)
        self._lock = Lock()

    def problems(self, element: etree._Element) -> list[str]:
        with self._lock:
            if self.schema.validate(element):
                return []
            log: Any = self.schema.error_log
            more = len(log) - MESSAGES
            listed = [plain(entry) for entry in islice(log, MESSAGES)]
        return [*listed, f"and {more} more"] if more > 0 else listed


def _check(element: etree._Element, validator: _Validator) -> list[str]:
    if _big(element):
        if _crowded(element):
            return [f"an element has more than {ATTRIBUTES} attributes"]
        verdict = _stream(element, validator.schema)
        if verdict is not None:
            return verdict
    return validator.problems(element)


def _stream(element: etree._Element, schema: etree.XMLSchema) -> list[str] | None:
    """The verdict on a big tree, or None when its errors are few enough to be listed with their lines."""
    text = etree.tostring(element, with_tail=False)
    parser = etree.XMLPullParser(events=(), schema=schema, resolve_entities=False, no_network=True, load_dtd=False)
    try:
        for start in range(0, len(text), 16_384):
            parser.feed(text[start : start + 16_384])
            log: Any = parser.feed_error_log
            if len(log) > MESSAGES:
                first = [plain(entry, with_line=False) for entry in islice(log, MESSAGES)]
                return [*first, "validation stopped there: too many errors"]
    except etree.XMLSyntaxError:
        return ["the message is beyond what the parser takes"]
    try:
        parser.close()
    except etree.XMLSyntaxError:
        return None
    return []


def _document_problems(element: etree._Element) -> Iterable[str]:
    """What the schema cannot say: a Document is base64 text, or one Include and no text."""
    if etree.QName(element).namespace != ns.XDS:
        return
    for document in element.iter(_DOCUMENT):
        text = (document.text or "") + "".join(child.tail or "" for child in document)
        text = text.translate(_XML_SPACE)
        if document.find(_INCLUDE) is not None:
            if text:
                yield f"line {document.sourceline}: Document: no text is allowed beside Include"
        elif not _BASE64.fullmatch(text):
            yield f"line {document.sourceline}: Document: not valid base64"


def _bounded(problems: Iterable[str]) -> list[str]:
    listed: list[str] = []
    more = 0
    for problem in problems:
        if len(listed) < MESSAGES:
            listed.append(problem)
        else:
            more += 1
    return [*listed, f"and {more} more"] if more else listed


_MESSAGES = _Validator("messages.xsd")
_ASSERTION = _Validator("saml-assertion.xsd")
