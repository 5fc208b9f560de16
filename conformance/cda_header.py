"""Reads the header of a CDA document, however large its body is.

The document streams through the parser: only the elements outside the body are kept, the body is looked at
for its level and media type alone. So a scanned report of hundreds of megabytes costs no more memory than its header.

Clause: CI-SIS Structuration minimale 3.5; ITI TF-3 5.8
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lxml import etree

from xds.limits import DEFAULT as LIMITS
from xds.model import Code
from xds.namespaces import HL7
from xds.wire.xml import as_written

STYLESHEET = "{http://www.w3.org/1999/XSL/Transform}stylesheet"
_CDA = f"{{{HL7}}}ClinicalDocument"
_BODY = f"{{{HL7}}}component"
_UNSTRUCTURED = f"{{{HL7}}}nonXMLBody"
_STRUCTURED = f"{{{HL7}}}structuredBody"
_TEXT = f"{{{HL7}}}text"
_NS = {"c": HL7}

CHUNK = 64 * 1024
HEADER_ELEMENTS = 50_000
HEADER_CHARACTERS = 4 * 1024 * 1024
DEPTH = 1000
"""Elements inside one another, body included."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing about a document that stands in the way of its metadata."""

    item: str
    xpath: str
    reason: str
    clause: str = ""

    def __str__(self) -> str:
        place = f" at {self.xpath}" if self.xpath else ""
        return f"{self.item}: {self.reason}{place}" + (f" ({self.clause})" if self.clause else "")


class CdaError(Exception):
    """A document from which no submission can be made; ``problems`` lists everything that is wrong with it."""

    def __init__(self, source: str, problems: list[Problem]):
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n  ".join([f"{source}:", *map(str, problems)]))


@dataclass(frozen=True, slots=True)
class Identifier:
    """HL7 ``II``: an OID, and a value within it unless the OID alone identifies."""

    root: str
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """Parts of a person's name in document order, each with its qualifier (BR birth, CL used, "")."""

    families: tuple[tuple[str, str], ...] = ()
    givens: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def pick(parts: tuple[tuple[str, str], ...], *qualifiers: str) -> str:
        """The first part with the first of these qualifiers that occurs, else the first part, else ""."""
        for wanted in qualifiers:
            for text, qualifier in parts:
                if wanted == qualifier:
                    return text
        return parts[0][0] if parts else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Author or legal authenticator. ``model`` and ``software`` are set for a device."""

    identifiers: tuple[Identifier, ...] = ()
    name: Name = Name()
    is_device: bool = False
    model: str = ""
    software: str = ""
    profession: Code | None = None
    function: Code | None = None
    organization_name: str = ""
    organization_ids: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvent:
    """One documented act. Times as written (local with offset)."""

    code: Code | None = None
    start: str = ""
    stop: str = ""
    practice_setting: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CdaHeader:
    """What a CDA header says, plus the facts of its bytes. "" or None stands for absent or nullFlavor."""

    source: str
    """Where it was read from, for messages."""
    mime_type: str
    """``text/xml``, or ``application/xslt+xml`` when the document presents itself."""
    hash: str
    """SHA-1 of all bytes, 40 lower-case hex digits."""
    size: int
    """Bytes."""
    identifier: Identifier | None = None
    set_id: Identifier | None = None
    version_number: str = ""
    templates: tuple[str, ...] = ()
    """Roots of templateId in document order; the last is the most specific."""
    type_code: Code | None = None
    title: str = ""
    effective_time: str = ""
    confidentiality: Code | None = None
    language: str = ""
    patient_ids: tuple[Identifier, ...] = ()
    patient_name: Name = Name()
    birth_time: str = ""
    gender: str = ""
    authors: tuple[Actor, ...] = ()
    legal_authenticator: Actor | None = None
    service_events: tuple[ServiceEvent, ...] = ()
    facility: Code | None = None
    replaced: Identifier | None = None
    """parentDocument/id of relatedDocument RPLC."""
    body_media_type: str = ""
    """Media type of a nonXMLBody; "" for a structured body."""

    @property
    def unique_id(self) -> str:
        """XDS uniqueId. Clause: ITI TF-3 4.2.3.2.26"""
        return _unique_id(self.identifier)

    @property
    def replaces(self) -> str:
        """uniqueId of the document this one replaces, "" when it replaces none."""
        return _unique_id(self.replaced)

    @property
    def is_structured(self) -> bool:
        """True for level 3 (or 2), False for level 1."""
        return not self.body_media_type


def _unique_id(identifier: Identifier | None) -> str:
    if identifier is None:
        return ""
    return f"{identifier.root}^{identifier.extension}" if identifier.extension else identifier.root


def read_cda(document: str | Path | bytes | BinaryIO) -> CdaHeader:
    """Read the header of the CDA at this path, in these bytes, or from this stream (which is not closed).

    The root is ClinicalDocument, or an element that holds exactly one: the stylesheet of a self-presentable
    document, a signature around it. Raises CdaError for what is not such a document; items merely missing
    are left empty.
    """
    source = str(document) if isinstance(document, str | Path) else "document"
    collector = _Collector(source)
    digest = hashlib.sha1(usedforsecurity=False)
    size = 0
    target: Any = collector
    parser = etree.XMLParser(target=target, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        with _opened(document) as stream:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > LIMITS.document:
                    raise CdaError(source, [Problem("document", "", f"larger than {LIMITS.document} bytes")])
                digest.update(chunk)
                parser.feed(chunk)
        parser.close()
    except etree.XMLSyntaxError as error:
        line, column = error.position
        reason = f"not well-formed XML (line {line}, column {column})"
        raise CdaError(source, [Problem("document", "", reason)]) from None
    except OSError as error:
        raise CdaError(source, [Problem("document", "", f"cannot be read: {error.strerror}")]) from error
    if collector.header is None:
        reason = f"no ClinicalDocument of namespace {HL7} in it; this is not a CDA document"
        raise CdaError(source, [Problem("document", "", reason)])
    mime_type = "application/xslt+xml" if collector.root_tag == STYLESHEET else "text/xml"
    return _header(
        collector.header,
        source=source,
        mime_type=mime_type,
        sha1=digest.hexdigest(),
        size=size,
        media_type=collector.media_type,
    )


@contextmanager
def _opened(document: str | Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(document, bytes):
        yield io.BytesIO(document)
    elif isinstance(document, str | Path):
        with Path(document).open("rb") as stream:
            yield stream
    else:
        yield document


class _Collector:
    """Parser target that builds the tree of the header only. Method names are those lxml calls."""

    def __init__(self, source: str):
        self.source = source
        self.root_tag = ""
        self.media_type = ""
        self.header: etree._Element | None = None
        self._builder = etree.TreeBuilder()
        self._depth = 0
        self._document_depth = 0
        self._body_depth = 0
        self._elements = 0
        self._characters = 0

    def start(self, tag: str, attributes: dict[Any, Any]) -> None:
        self._depth += 1
        self.root_tag = self.root_tag or tag
        if self._depth > DEPTH:
            raise self._error(f"more than {DEPTH} elements inside one another")
        if tag == _CDA:
            if self._document_depth or self.header is not None:
                raise self._error("more than one ClinicalDocument; send one document at a time")
            self._document_depth = self._depth
        if not self._document_depth:
            return
        if self._body_depth:
            self._look_at_body(tag, attributes)
        elif tag == _BODY and self._depth == self._document_depth + 1:
            self._body_depth = self._depth
        else:
            self._elements += 1
            self._characters += sum(map(len, attributes.values()))
            self._bound()
            self._builder.start(tag, {name: as_written(value) for name, value in attributes.items()})

    def _look_at_body(self, tag: str, attributes: dict[Any, Any]) -> None:
        below = self._depth - self._body_depth
        if below == 1 and tag == _UNSTRUCTURED:
            self.media_type = "application/octet-stream"
        elif below == 2 and tag == _TEXT and self.media_type:
            self.media_type = attributes.get("mediaType") or self.media_type

    def end(self, tag: str) -> None:
        if self._body_depth:
            if self._depth == self._body_depth:
                self._body_depth = 0
        elif self._document_depth:
            self._builder.end(tag)
            if self._depth == self._document_depth:
                self.header = self._builder.close()
                self._document_depth = 0
        self._depth -= 1

    def data(self, text: str) -> None:
        if self._document_depth and not self._body_depth:
            self._characters += len(text)
            self._bound()
            self._builder.data(text)

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        raise self._error("a DOCTYPE is not accepted")

    def close(self) -> None:
        """Called after an error too, so it must not raise: that would hide the error."""

    def _bound(self) -> None:
        if self._elements > HEADER_ELEMENTS or self._characters > HEADER_CHARACTERS:
            raise self._error("its header is too large")

    def _error(self, reason: str) -> CdaError:
        return CdaError(self.source, [Problem("document", "", reason)])


# --- the header's elements as values ---------------------------------------------------------------------------------


def _header(
    root: Any, *, source: str, mime_type: str, sha1: str, size: int, media_type: str
) -> CdaHeader:
    patient = _first(root, "c:recordTarget/c:patientRole/c:patient")
    authenticator = _first(root, "c:legalAuthenticator/c:assignedEntity")
    return CdaHeader(
        source=source,
        mime_type=mime_type,
        hash=sha1,
        size=size,
        identifier=_identifier(_first(root, "c:id")),
        set_id=_identifier(_first(root, "c:setId")),
        version_number=_value(root, "c:versionNumber"),
        templates=tuple(e.get("root") or "" for e in _all(root, "c:templateId")),
        type_code=_code(_first(root, "c:code")),
        title=_text(_first(root, "c:title")),
        effective_time=_value(root, "c:effectiveTime"),
        confidentiality=_code(_first(root, "c:confidentialityCode")),
        language=_present(_first(root, "c:languageCode"), "code"),
        patient_ids=_identifiers(root, "c:recordTarget/c:patientRole/c:id"),
        patient_name=_name(_first(patient, "c:name")),
        birth_time=_value(patient, "c:birthTime"),
        gender=_present(_first(patient, "c:administrativeGenderCode"), "code"),
        authors=tuple(_author(element) for element in _all(root, "c:author")),
        legal_authenticator=_actor(authenticator) if authenticator is not None else None,
        service_events=tuple(_service_event(e) for e in _all(root, "c:documentationOf/c:serviceEvent")),
        facility=_code(
            _first(root, "c:componentOf/c:encompassingEncounter/c:location/c:healthCareFacility/c:code")
        ),
        replaced=_identifier(_first(root, "c:relatedDocument[@typeCode='RPLC']/c:parentDocument/c:id")),
        body_media_type=media_type,
    )


def _author(element: etree._Element) -> Actor:
    assigned = _first(element, "c:assignedAuthor")
    return _actor(assigned, _code(_first(element, "c:functionCode"), scheme_needed=False))


def _actor(assigned: etree._Element | None, function: Code | None = None) -> Actor:
    device = _first(assigned, "c:assignedAuthoringDevice")
    return Actor(
        identifiers=_identifiers(assigned, "c:id"),
        name=_name(_first(assigned, "c:assignedPerson/c:name")),
        is_device=device is not None,
        model=_text(_first(device, "c:manufacturerModelName")),
        software=_text(_first(device, "c:softwareName")),
        profession=_code(_first(assigned, "c:code")),
        function=function,
        organization_name=_text(_first(assigned, "c:representedOrganization/c:name")),
        organization_ids=_identifiers(assigned, "c:representedOrganization/c:id"),
    )


def _service_event(element: etree._Element) -> ServiceEvent:
    point = _value(element, "c:effectiveTime")
    setting = "c:performer/c:assignedEntity/c:representedOrganization/c:standardIndustryClassCode"
    settings = [code for code in map(_code, _all(element, setting)) if code is not None]
    return ServiceEvent(
        code=_code(_first(element, "c:code")),
        start=_value(element, "c:effectiveTime/c:low") or point,
        stop=_value(element, "c:effectiveTime/c:high") or point,
        practice_setting=settings[0] if settings else None,
    )


def _all(element: etree._Element | None, path: str) -> list[etree._Element]:
    return element.findall(path, _NS) if element is not None else []


def _first(element: etree._Element | None, path: str) -> etree._Element | None:
    return element.find(path, _NS) if element is not None else None


def _present(element: etree._Element | None, attribute: str) -> str:
    """An attribute of an element that is there and carries no nullFlavor, else ""."""
    if element is None or element.get("nullFlavor"):
        return ""
    return (element.get(attribute) or "").strip()


def _value(element: etree._Element | None, path: str) -> str:
    return _present(_first(element, path), "value")


def _text(element: etree._Element | None) -> str:
    if element is None or element.get("nullFlavor"):
        return ""
    return " ".join("".join(map(str, element.itertext())).split())


def _identifier(element: etree._Element | None) -> Identifier | None:
    root = _present(element, "root")
    return Identifier(root, _present(element, "extension")) if root else None


def _identifiers(element: etree._Element | None, path: str) -> tuple[Identifier, ...]:
    return tuple(found for found in map(_identifier, _all(element, path)) if found is not None)


def _code(element: etree._Element | None, *, scheme_needed: bool = True) -> Code | None:
    """A coded value; None without code, or without code system where one is needed."""
    value, scheme = _present(element, "code"), _present(element, "codeSystem")
    if not value or (scheme_needed and not scheme):
        return None
    return Code(value, scheme, _present(element, "displayName"))


def _name(element: etree._Element | None) -> Name:
    def parts(tag: str) -> tuple[tuple[str, str], ...]:
        found = ((_text(part), part.get("qualifier") or "") for part in _all(element, f"c:{tag}"))
        return tuple(part for part in found if part[0])

    families = parts("family")
    if not families and _text(element):
        families = ((_text(element), ""),)
    return Name(families, parts("given"))
