"""The annotated messages of ``fixtures/messages`` and small ways to spoil them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

from xds import domain
from xds.check import Stage, check_submission
from xds.check.context import Domain
from xds.ebxml.read import read_submission
from xds.errors import Actor, Finding
from xds.namespaces import LCM, RIM

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "messages"
Element = etree._Element


@cache
def dmp() -> Domain:
    """The French affinity domain, loaded once."""
    return domain.load("dmp")


def message(name: str) -> Element:
    """A fresh tree of ``fixtures/messages/<name>.xml``."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return etree.parse(str(FOLDER / f"{name}.xml"), parser).getroot()


def expected(name: str) -> dict[str, list[str]]:
    """Lines ``key: value`` of the expectation beside a message."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / f"{name}.expect").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(": ")
        found.setdefault(key, []).append(value)
    return found


def findings(
    request: Element, actor: Actor = Actor.REGISTRY, stage: Stage = Stage.REGISTER, *,
    repositories: frozenset[str] = frozenset(), rules: Domain | None = None,
) -> list[Finding]:
    """Everything the reader and the checks say about a submission."""
    if request.tag != rim("SubmitObjectsRequest").replace(RIM, LCM):
        request = next(request.iter(f"{{{LCM}}}SubmitObjectsRequest"))
    submission, found = read_submission(request, actor)
    return found + check_submission(submission, rules or dmp(), actor, stage=stage, repositories=repositories)


def rim(name: str) -> str:
    return f"{{{RIM}}}{name}"


def by_id(root: Element, id_: str) -> Element:
    """The element with this id."""
    return next(e for e in root.iter("{*}*") if e.get("id") == id_)


def slot(root: Element, owner: str, name: str) -> Element:
    """A slot of the object or Classification with this id."""
    return next(s for s in by_id(root, owner).iterchildren(rim("Slot")) if s.get("name") == name)


def set_slot(root: Element, owner: str, name: str, *values: str) -> None:
    """Give a slot these values; add it in front when it is not there."""
    element = by_id(root, owner)
    for old in [s for s in element.iterchildren(rim("Slot")) if s.get("name") == name]:
        element.remove(old)
    new = etree.Element(rim("Slot"), name=name)
    value_list = etree.SubElement(new, rim("ValueList"))
    for value in values:
        etree.SubElement(value_list, rim("Value")).text = value
    element.insert(0, new)


def drop(element: Element) -> None:
    """Take an element out of the tree."""
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def part(root: Element, owner: str, scheme: str) -> Element:
    """Classification or ExternalIdentifier of an object, by the UUID of its scheme or node."""
    return next(
        c for c in by_id(root, owner).iterchildren("{*}*")
        if scheme in (c.get("classificationScheme"), c.get("identificationScheme"), c.get("classificationNode"))
    )


def parts(root: Element, owner: str, scheme: str) -> list[Element]:
    """All of them."""
    return [
        c for c in by_id(root, owner).iterchildren("{*}*")
        if scheme in (c.get("classificationScheme"), c.get("identificationScheme"), c.get("classificationNode"))
    ]


def object_list(root: Element) -> Element:
    return next(root.iter(rim("RegistryObjectList")))


def add(root: Element, tag: str, **attributes: str) -> Element:
    """One more object in the list."""
    return etree.SubElement(object_list(root), rim(tag), **attributes)


def associate(root: Element, id_: str, type_: str, source: str, target: str, **slots: str) -> Element:
    """One more association."""
    element = add(root, "Association", id=id_, associationType=type_, sourceObject=source, targetObject=target)
    for name, value in slots.items():
        set_slot(root, id_, name, value)
    return element
