"""Small named ways to spoil one of the annotated submissions; each gives a function to apply to its tree."""

from __future__ import annotations

import copy
from collections.abc import Callable

import metadata_messages as w
from lxml import etree

from xds import namespaces as ns

DEPOSIT, FOLDER = "iti42/deposit", "iti42/folder-and-replacement"
DE, SS, FO = "Document01", "SubmissionSet01", "Folder01"
DOC = "Document02"
STORED = "urn:uuid:6d1f2b6e-54a3-4c0e-9a37-0f6b1c2d3e4f"
OTHER = "urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f"
Element = etree._Element
Spoil = Callable[[Element], object]


def value(owner: str, name: str, *values: str) -> Spoil:
    return lambda root: w.set_slot(root, owner, name, *values)


def attribute(id_: str, name: str, new: str) -> Spoil:
    return lambda root: w.by_id(root, id_).set(name, new)


def identifier(owner: str, scheme: str, new: str) -> Spoil:
    return lambda root: w.part(root, owner, scheme).set("value", new)


def without(owner: str, scheme: str) -> Spoil:
    return lambda root: w.drop(w.part(root, owner, scheme))


def without_slot(owner: str, name: str) -> Spoil:
    return lambda root: w.drop(w.slot(root, owner, name))


def again(owner: str, scheme: str) -> Spoil:
    """A second Classification or ExternalIdentifier of the scheme, under another id."""
    def spoil(root: Element) -> None:
        first = w.part(root, owner, scheme)
        twin = copy.deepcopy(first)
        twin.set("id", "twin")
        first.addnext(twin)
    return spoil


def title(id_: str, length: int) -> Spoil:
    path = f"{w.rim('Name')}/{w.rim('LocalizedString')}"
    return lambda root: w.by_id(root, id_).find(path).set("value", "x" * length)


def marker(owner: str, node: str) -> Spoil:
    def spoil(root: Element) -> None:
        first = next(w.by_id(root, owner).iterchildren(w.rim("Classification")))
        first.addprevious(etree.Element(
            w.rim("Classification"), id="extra-marker", classifiedObject=owner, classificationNode=node
        ))
    return spoil


def version_info(id_: str, version: str) -> Spoil:
    def spoil(root: Element) -> None:
        first = next(w.by_id(root, id_).iterchildren(w.rim("Classification")))
        first.addprevious(etree.Element(w.rim("VersionInfo"), versionName=version))
    return spoil


def second_set(root: Element) -> None:
    twin = copy.deepcopy(w.by_id(root, SS))
    for element in twin.iter("{*}*"):
        for name in ("id", "classifiedObject", "registryObject"):
            if element.get(name):
                element.set(name, element.get(name) + "-b")
    twin[-1].set("value", "1.2.250.1.999.7.20240312.9")
    w.object_list(root).append(twin)


def second_list(root: Element) -> None:
    etree.SubElement(root, w.rim("RegistryObjectList"))


def empty_submission(root: Element) -> None:
    w.drop(w.by_id(root, DE))
    w.drop(w.by_id(root, "member-document"))


def same_slot_twice(root: Element) -> None:
    w.slot(root, DE, "languageCode").addnext(copy.deepcopy(w.slot(root, DE, "languageCode")))


def charset(root: Element) -> None:
    w.by_id(root, DE).find(f"{w.rim('Name')}/{w.rim('LocalizedString')}").set("charset", "ISO-8859-1")


def no_display(root: Element) -> None:
    w.drop(w.part(root, DE, ns.DE_TYPE_CODE).find(w.rim("Name")))


def no_title(root: Element) -> None:
    w.drop(w.by_id(root, FO).find(w.rim("Name")))


def documentation(association: str, code: str = "C1") -> Spoil:
    def spoil(root: Element) -> None:
        c = etree.SubElement(
            w.by_id(root, association), w.rim("Classification"), id="documentation", classifiedObject=association,
            classificationScheme=ns.ASSOCIATION_DOCUMENTATION, nodeRepresentation=code,
        )
        w.set_slot(root, "documentation", "codingScheme", "1.2.250.1.999.5")
        name = etree.SubElement(c, w.rim("Name"))
        etree.SubElement(name, w.rim("LocalizedString"), value="pourquoi")
    return spoil


def author_slots(*names: str) -> Spoil:
    """An author with only these slots."""
    def spoil(root: Element) -> None:
        author = w.by_id(root, "document01-author")
        for s in list(author):
            if s.get("name") not in names:
                author.remove(s)
    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(root: Element) -> None:
        for one in spoils:
            one(root)
    return spoil
