"""Ways to spoil an assertion: before it is signed, after it, or in how it is signed.

Each returns a function from the kit to the bytes of one assertion; the table of names is ``negative_assertions``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from lxml import etree

from conformance import hand_signatures
from conformance.hand_signatures import RIGHT, Form, certificate_info
from conformance.negative_kit import Kit, parse, saml
from guard.credentials import vihf, xua
from guard.credentials.cards import Card
from guard.credentials.vihf import Vihf
from xds.model.codes import Code
from xds.namespaces import DS, SOAP12, WSSE

Make = Callable[[Kit], bytes]
_HOUR = timedelta(hours=1)


def built(change: Callable[[etree._Element], object]) -> Make:
    """An assertion changed before it is signed."""

    def make(kit: Kit) -> bytes:
        root = kit.build()
        change(root)
        return kit.sign(root)

    return make


def said(**changes: object) -> Make:
    """An assertion that says something else, signed by the card."""
    return lambda kit: kit.sign(kit.build(replace(kit.says(), **changes)))  # type: ignore[arg-type]


def after(change: Callable[[etree._Element, Kit], object]) -> Make:
    """An assertion changed after it was signed."""

    def make(kit: Kit) -> bytes:
        root = parse(kit.good())
        change(root, kit)
        return etree.tostring(root)

    return make


def by(card: Callable[[Kit], Card], says: Callable[[Kit], Vihf] | None = None) -> Make:
    """An assertion signed by another card, which says what that card says unless told otherwise."""
    return lambda kit: kit.sign(kit.build(says(kit) if says else None, card(kit)), card(kit).signature)


def handmade(form: Form = RIGHT, key_info: Callable[[Kit], etree._Element | None] | None = None) -> Make:
    """An assertion with a signature of the form given, by the card's key.

    It declares the namespaces of the envelope itself, so that an inclusive canonicalisation, which depends on them,
    gives the same bytes inside the message and outside.
    """

    def make(kit: Kit) -> bytes:
        root, pair = _at_home(kit.build()), kit.card.signature
        info = certificate_info(pair.certificate) if key_info is None else key_info(kit)
        hand_signatures.sign(root, pair.key, info, form)
        return etree.tostring(root)

    return make


def _at_home(root: etree._Element) -> etree._Element:
    declared = {str(prefix): uri for prefix, uri in root.nsmap.items()} | {"wsse": WSSE, "soap12": SOAP12}
    home = etree.Element(root.tag, {str(name): str(value) for name, value in root.attrib.items()}, declared)
    home.extend(list(root))
    return etree.fromstring(etree.tostring(home))


def find(root: etree._Element, *path: str) -> etree._Element:
    found = root.find("/".join(saml(name) for name in path))
    if found is None:
        raise ValueError(f"no {'/'.join(path)} in the assertion")
    return found


def drop(root: etree._Element, *path: str) -> None:
    element = find(root, *path)
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def again(root: etree._Element, *path: str) -> etree._Element:
    """Put a copy of an element after it."""
    element = find(root, *path)
    twin = etree.fromstring(etree.tostring(element, with_tail=False))
    element.addnext(twin)
    return twin


def attribute(root: etree._Element, name: str) -> etree._Element:
    for attribute in root.iter(saml("Attribute")):
        if str(attribute.get("Name")) == name:
            return attribute
    raise ValueError(f"no attribute {name}")


def add_code(root: etree._Element, name: str, element: str, code: Code) -> None:
    """A further value of a coded attribute."""
    holder = etree.Element(saml("AttributeStatement"))
    other = vihf.coded_attribute(holder, name, element, [code])
    attribute(root, name).append(other[0])


def confirmation(method: str, **data: str) -> Callable[[etree._Element], None]:
    def add(root: etree._Element) -> None:
        confirmation = etree.SubElement(find(root, "Subject"), saml("SubjectConfirmation"), {"Method": method})
        if data:
            etree.SubElement(confirmation, saml("SubjectConfirmationData"), data)

    return add


def signature_part(root: etree._Element, path: str) -> etree._Element:
    found = root.find("/".join(f"{{{DS}}}{name}" for name in ("Signature", *path.split("/"))))
    if found is None:
        raise ValueError(f"no {path} in the signature")
    return found


def set_text(root: etree._Element, path: str, text: str) -> None:
    signature_part(root, path).text = text


def unsigned(kit: Kit) -> bytes:
    return etree.tostring(kit.build())


def lasting(at: timedelta, lifetime: timedelta, *audiences: str) -> Make:
    return lambda kit: kit.sign(kit.build(at=at, lifetime=lifetime, audiences=audiences))


def not_yet(kit: Kit) -> bytes:
    root = kit.build(lifetime=_HOUR)
    later = kit.clock() + timedelta(minutes=10)
    find(root, "Conditions").set("NotBefore", vihf.instant(later))
    return kit.sign(root)


def long_since_issued(kit: Kit) -> bytes:
    """Issued hours ago for a short time that has only begun: made in stock."""
    root = kit.build(lifetime=timedelta(minutes=30))
    root.set("IssueInstant", vihf.instant(kit.clock() - timedelta(hours=10)))
    return kit.sign(root)


def instruction_in_nameid(root: etree._Element) -> None:
    """A processing instruction splits the identifier, and is signed with it."""
    name = find(root, "Subject", "NameID")
    value = name.text or ""
    name.text = value[:6]
    instruction = etree.ProcessingInstruction("x", "y")
    instruction.tail = value[6:]
    name.append(instruction)


def set_time(path: tuple[str, ...], name: str, at: timedelta) -> Make:
    def make(kit: Kit) -> bytes:
        root = kit.build()
        element = find(root, *path) if path else root
        element.set(name, vihf.instant(kit.clock() + at))
        return kit.sign(root)

    return make


def flip(root: etree._Element, kit: Kit) -> None:
    """One bit of the signature value."""
    value = signature_part(root, "SignatureValue")
    text = value.text or ""
    value.text = ("B" if text[0] == "A" else "A") + text[1:]


def certificates(*cards: Callable[[Kit], Card]) -> Callable[[Kit], etree._Element]:
    return lambda kit: certificate_info(*(card(kit).signature.certificate for card in cards))


def replace_key_info(info: Callable[[Kit], etree._Element]) -> Callable[[etree._Element, Kit], None]:
    def change(root: etree._Element, kit: Kit) -> None:
        old = signature_part(root, "KeyInfo")
        parent = old.getparent()
        if parent is not None:
            parent.replace(old, info(kit))

    return change


def authentication_key(kit: Kit) -> bytes:
    """The card's TLS key signs a statement."""
    pair = kit.card.authentication
    return kit.sign(kit.build(), pair)


def structure_says(kit: Kit, **changes: str) -> Vihf:
    says = vihf.for_card(kit.structure, name_id="899900000055", roles=(Code("10", vihf.PROFESSIONS),))
    return replace(says, **changes)  # type: ignore[arg-type]


def person_as_structure(kit: Kit) -> bytes:
    """A person's card vouches for somebody as if it were the structure."""
    return kit.sign(kit.build(structure_says(kit), kit.card))


def structure_as_person(kit: Kit) -> bytes:
    """A structure signs in direct mode for a person."""
    return kit.sign(kit.build(kit.says(kit.card), kit.structure), kit.structure.signature)


def staff_claims_profession(kit: Kit) -> bytes:
    """A staff card, which carries no profession, says it is a physician's."""
    says = replace(kit.says(kit.staff), roles=(Code("10", vihf.PROFESSIONS),))
    return kit.sign(kit.build(says, kit.staff), kit.staff.signature)


def authz_consent(root: etree._Element) -> None:
    """The attributes of the Authz-Consent option, which a server that does not use them ignores."""
    statement = find(root, "AttributeStatement")
    xua.add_uri(statement, xua.CONSENT_DOCUMENT, "urn:oid:1.2.250.1.999.2.1")
    xua.add_uri(statement, xua.CONSENT_POLICY, "urn:oid:1.2.250.1.999.2.2")
