"""The generic ebRIM part of an object: slots, texts, classifications, identifiers, and their structural rules.

Nothing here knows what an attribute means; ``objects`` does.

Clause: ITI TF-3 4.2.1, 4.2.3.1; ebRIM 3.0 2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from lxml import etree

from xds.errors import Actor, Finding, Severity
from xds.model import LocalizedString
from xds.model.datatypes import is_uuid_urn
from xds.namespaces import RIM
from xds.rules import problem

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_VALUE_LENGTH = 256


@cache
def rim(name: str) -> str:
    """Clark name of an ebRIM element; for names that stand in the code, which are few."""
    return f"{{{RIM}}}{name}"


_SLOT, _VALUE_LIST, _VALUE = rim("Slot"), rim("ValueList"), rim("Value")
_NAME, _DESCRIPTION, _LOCALIZED = rim("Name"), rim("Description"), rim("LocalizedString")
_CLASSIFICATION, _EXTERNAL_IDENTIFIER = rim("Classification"), rim("ExternalIdentifier")
_VERSION_INFO, _OBJECT_LIST = rim("VersionInfo"), rim("RegistryObjectList")


def children(element: etree._Element, tag: str = "{*}*") -> Iterator[etree._Element]:
    """Child elements; comments and processing instructions are not children.

    Where there are only a few, and many such places, the readers below compare tags instead: lxml takes a name apart
    for each iterator, which costs as much as a loop over three.
    """
    return element.iterchildren(tag)


def text_of(element: etree._Element) -> str:
    """All character data of an element; a comment inside does not cut it short."""
    return (element.text or "") if not len(element) else str(element.xpath("string()"))


def reference(value: str | None) -> str:
    """An id or a reference to one: trimmed, a UUID URN in lower case. Clause: ITI TF-3 4.2.3.1 (entryUUID)"""
    if not value:
        return ""
    stripped = value.strip()
    lower = stripped.lower()
    return lower if lower.startswith("urn:uuid:") else stripped


@dataclass(slots=True)
class Report:
    """Findings of one reading, reported in the name of one actor."""

    actor: Actor
    brief: bool = False
    """Authors are left out, and codes but those that tell what a document is."""
    findings: list[Finding] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """id -> what carries it"""

    def add(self, rule: str, subject: str, name: str = "", *, found: str = "", expected: str = "",
            severity: Severity = Severity.ERROR) -> None:
        self.findings.append(problem(
            rule, self.actor.metadata_error, subject, name, found=found, expected=expected, severity=severity
        ))

    def identify(self, element: etree._Element, subject: str, part: str = "") -> str:
        """The id of an element; reports one that is missing or already used (R-009), and an object's that is neither a
        UUID nor a symbol (R-026): it would be kept for ever. The id of a ``part`` is not.
        """
        id_ = reference(element.get("id"))
        if not id_:
            self.add("R-009", subject, f"{part}/@id" if part else "@id", expected="an id")
        elif not part and id_.startswith("urn:uuid:") and not is_uuid_urn(id_):
            self.add("R-026", subject, "@id", found=id_,
                     expected="urn:uuid: and a UUID, or a symbol that does not begin like one")
        elif id_ in self.ids:
            self.add("R-009", subject, f"{part}/@id" if part else "@id", found=id_,
                     expected=f"an id used once; {self.ids[id_]} has it already")
        else:
            self.ids[id_] = f"{subject} {part}".strip()
        return id_


@dataclass(slots=True)
class Parts:
    """What one RegistryObject carries beside its own attributes."""

    id: str
    subject: str
    slots: dict[str, list[str]] = field(default_factory=dict)
    name: list[LocalizedString] = field(default_factory=list)
    description: list[LocalizedString] = field(default_factory=list)
    version: str = ""
    schemes: dict[str, list[etree._Element]] = field(default_factory=dict)
    """classificationScheme -> Classifications"""
    nodes: list[str] = field(default_factory=list)
    """classificationNode of the Classifications that mark"""
    identifiers: dict[str, str] = field(default_factory=dict)
    """identificationScheme -> value"""


def read_parts(element: etree._Element, subject: str, report: Report) -> Parts:
    """Everything below a RegistryObject, structural faults reported."""
    parts = Parts(report.identify(element, subject), subject)
    for child in element:
        tag = child.tag
        if tag == _SLOT:
            _read_slot(child, parts.slots, subject, "", report)
        elif tag == _CLASSIFICATION:
            _classification(child, parts, report)
        elif tag == _EXTERNAL_IDENTIFIER:
            _identifier(child, parts, report)
        elif tag == _NAME:
            parts.name = _localized(child, subject, "Name", report)
        elif tag == _DESCRIPTION:
            parts.description = _localized(child, subject, "Description", report)
        elif tag == _VERSION_INFO:
            parts.version = (child.get("versionName") or "1.1").strip()
        elif tag == _OBJECT_LIST:
            report.add("R-008", subject, found="RegistryObjectList",
                       expected="members linked by HasMember associations, not nested")
    return parts


def read_slots(element: etree._Element, subject: str, part: str, report: Report) -> dict[str, list[str]]:
    """Slots by name, values as received. Of two slots with one name the first is kept (R-011)."""
    slots: dict[str, list[str]] = {}
    for child in element:
        if child.tag == _SLOT:
            _read_slot(child, slots, subject, part, report)
    return slots


def _read_slot(slot: etree._Element, slots: dict[str, list[str]], subject: str, part: str, report: Report) -> None:
    name = (slot.get("name") or "").strip()
    if not name:
        report.add("R-011", subject, _within(part, "Slot"), expected="a slot name")
        return
    if name in slots:
        report.add("R-011", subject, _within(part, name), found=f"slot {name} more than once",
                   expected="one slot of this name")
        return
    values = slots[name] = slot_values(slot)
    for value in values:
        if len(value) > _VALUE_LENGTH:
            report.add("R-011", subject, _within(part, name), found=f"{len(value)} characters",
                       expected=f"a value of at most {_VALUE_LENGTH} characters")


def _within(part: str, name: str) -> str:
    return f"{part}/{name}" if part else name


def slot_values(slot: etree._Element) -> list[str]:
    """Every Value of one ``rim:Slot``, as received."""
    return [text_of(v) for values in slot if values.tag == _VALUE_LIST for v in values if v.tag == _VALUE]


def read_coded(element: etree._Element, subject: str, part: str, report: Report) -> tuple[str, dict[str, list[str]]]:
    """Of a Classification that codes a value: its first display name, "" when there is none, and its slots."""
    display: str | None = None
    slots: dict[str, list[str]] = {}
    for child in element:
        tag = child.tag
        if tag == _SLOT:
            _read_slot(child, slots, subject, part, report)
        elif tag == _NAME and display is None:
            display = next((string.get("value") or "" for string in child if string.tag == _LOCALIZED), None)
    return display or "", slots


def _localized(element: etree._Element, subject: str, part: str, report: Report) -> list[LocalizedString]:
    texts = []
    for string in element:
        if string.tag != _LOCALIZED:
            continue
        charset = string.get("charset", "UTF-8")
        if charset.upper() != "UTF-8":
            report.add("R-033", subject, f"{part}/@charset", found=charset, expected="UTF-8")
        texts.append(LocalizedString(string.get("value") or "", string.get(_XML_LANG, "en-US"), charset))
    return texts


def _classification(element: etree._Element, parts: Parts, report: Report) -> None:
    report.identify(element, parts.subject, "Classification")
    _belongs(element, "classifiedObject", parts, report)
    scheme, node = reference(element.get("classificationScheme")), reference(element.get("classificationNode"))
    if scheme:
        parts.schemes.setdefault(scheme, []).append(element)
    elif node:
        parts.nodes.append(node)


def _identifier(element: etree._Element, parts: Parts, report: Report) -> None:
    report.identify(element, parts.subject, "ExternalIdentifier")
    _belongs(element, "registryObject", parts, report)
    scheme, value = reference(element.get("identificationScheme")), (element.get("value") or "").strip()
    if not scheme:
        report.add("R-016", parts.subject, "ExternalIdentifier/@identificationScheme", found=value,
                   expected="the scheme of the identifier")
    elif scheme in parts.identifiers:
        report.add("R-016", parts.subject, "ExternalIdentifier", found=f"{scheme} more than once",
                   expected="one ExternalIdentifier of this scheme")
    else:
        parts.identifiers[scheme] = value
        if not value:
            report.add("R-016", parts.subject, "ExternalIdentifier/@value", found="", expected=f"a value for {scheme}")


def _belongs(element: etree._Element, attribute: str, parts: Parts, report: Report) -> None:
    named = element.get(attribute)
    if named != parts.id and (owner := reference(named)) != parts.id:
        report.add("R-010", parts.subject, f"{etree.QName(element).localname}/@{attribute}", found=owner,
                   expected=f"the id of the object it stands in, {parts.id!r}")
