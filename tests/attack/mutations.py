"""Mutations of a signed envelope: any element, attribute, text, namespace declaration or comment, in many ways.

The message is held as it is written and not as an XML tree, so that a mutation may break what an XML library would
not let it break: an attribute twice, a prefix bound to nothing, a namespace declared elsewhere. What is done is
chosen by a seed alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(r"<!--.*?-->|<\?.*?\?>|</[^>]*>|<[^>]*>|[^<]+", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_ODD = ("\u200b", "\u0301", "\ufeff", "\u00a0", "\U0001f600", "&#x0;", "&#9;", "&#10;", "&#x41;", "\x00", "\x85")


@dataclass(eq=False, slots=True)
class Element:
    """A tag as it is written: prefixes and namespace declarations are text like the rest."""

    name: str
    attributes: list[tuple[str, str]] = field(default_factory=list)
    children: list[Element | str] = field(default_factory=list)
    parent: Element | None = None

    def copy(self, parent: Element | None) -> Element:
        made = Element(self.name, list(self.attributes), [], parent)
        made.children = [child if isinstance(child, str) else child.copy(made) for child in self.children]
        return made

    def elements(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.elements()

    def place(self) -> int:
        """Index among the parent's children."""
        assert self.parent is not None
        return next(index for index, child in enumerate(self.parent.children) if child is self)

    def write(self) -> str:
        attributes = "".join(f' {name}="{value}"' for name, value in self.attributes)
        return f"<{self.name}{attributes}>{''.join(map(_written, self.children))}</{self.name}>"


def _written(child: Element | str) -> str:
    return child if isinstance(child, str) else child.write()


def read(data: bytes) -> Element:
    """A well-formed document without declaration and CDATA, as it is written."""
    top = Element("")
    here = top
    for token in _TOKEN.findall(data.decode()):
        if not token.startswith("<") or token.startswith(("<!", "<?")):
            here.children.append(token)
        elif token.startswith("</"):
            assert here.parent is not None
            here = here.parent
        else:
            body = token[1:-1].removesuffix("/")
            attributes = [(name, value[1:-1]) for name, value in _ATTRIBUTE.findall(body)]
            made = Element(body.split(None, 1)[0], attributes, [], here)
            here.children.append(made)
            if not token.endswith("/>"):
                here = made
    root = next(child for child in top.children if isinstance(child, Element))
    root.parent = None
    return root


Place = tuple[Element, int]
"""An element and the index of one of its attributes or of its children."""


def is_declaration(name: str) -> bool:
    return name == "xmlns" or name.startswith("xmlns:")


def targets(root: Element, kind: str) -> list[Place]:
    """Every node of a kind, in document order."""
    everything = list(root.elements())
    if kind == "element":
        return [(element, -1) for element in everything if element.parent is not None]
    if kind == "text":
        return [(e, i) for e in everything for i, child in enumerate(e.children) if isinstance(child, str)]
    wanted = kind == "namespace"
    return [(e, i) for e in everything for i, (name, _) in enumerate(e.attributes) if is_declaration(name) is wanted]


# -- what is done to one node; ``element`` and ``index`` say which ---------------------------------------------------


def _somewhere(root: Element, rng: random.Random, but: Element | None = None) -> Element:
    """Any element outside of ``but``, so that nothing moves into itself."""
    inside = set() if but is None else {id(one) for one in but.elements()}
    return rng.choice([one for one in root.elements() if id(one) not in inside])


def _insert(parent: Element, child: Element | str, rng: random.Random) -> None:
    if isinstance(child, Element):
        child.parent = parent
    parent.children.insert(rng.randint(0, len(parent.children)), child)


def drop(root: Element, element: Element, index: int, rng: random.Random) -> None:
    assert element.parent is not None
    del element.parent.children[element.place()]


def duplicate(root: Element, element: Element, index: int, rng: random.Random) -> None:
    assert element.parent is not None
    element.parent.children.insert(element.place() + rng.randint(0, 1), element.copy(element.parent))


def duplicate_elsewhere(root: Element, element: Element, index: int, rng: random.Random) -> None:
    _insert(_somewhere(root, rng), element.copy(None), rng)


def duplicate_renamed(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """A twin with identifiers and text of its own, as a wrapping attack makes them."""
    assert element.parent is not None
    twin = element.copy(element.parent)
    for one in twin.elements():
        one.attributes = [(n, "_evil" if n in ("ID", "Id", "URI") else v) for n, v in one.attributes]
        one.children = ["899900000022" if isinstance(child, str) else child for child in one.children]
    element.parent.children.insert(element.place() + rng.randint(0, 1), twin)


def move(root: Element, element: Element, index: int, rng: random.Random) -> None:
    goal = _somewhere(root, rng, element)
    drop(root, element, index, rng)
    _insert(goal, element, rng)


def wrap(root: Element, element: Element, index: int, rng: random.Random) -> None:
    assert element.parent is not None
    outer = Element(rng.choice(["Wrapper", element.name, "ds:Object", "saml2:Advice", "wsse:Security"]))
    outer.attributes = rng.choice([[], [("xmlns", "")], [("xmlns:ds", "http://www.w3.org/2000/09/xmldsig#")]])
    outer.parent, place = element.parent, element.place()
    element.parent.children[place] = outer
    outer.children, element.parent = [element], outer


def unwrap(root: Element, element: Element, index: int, rng: random.Random) -> None:
    assert element.parent is not None
    place = element.place()
    for child in element.children:
        if isinstance(child, Element):
            child.parent = element.parent
    element.parent.children[place : place + 1] = element.children


def swap(root: Element, element: Element, index: int, rng: random.Random) -> None:
    assert element.parent is not None
    siblings, place = element.parent.children, element.place()
    other = rng.randrange(len(siblings))
    siblings[place], siblings[other] = siblings[other], siblings[place]


def rename(root: Element, element: Element, index: int, rng: random.Random) -> None:
    prefix, _, local = element.name.rpartition(":")
    names = [local, f"saml2:{local}", f"ds:{local}", f"x{element.name}", f"{prefix}:{_flipped(local, rng)}"]
    element.name = rng.choice(names).lstrip(":")


def empty(root: Element, element: Element, index: int, rng: random.Random) -> None:
    element.children = []


def add_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    element.attributes.append(rng.choice([
        ("ID", "_evil"), ("Id", "_evil"), ("xml:id", "_evil"), ("xml:space", "preserve"), ("xml:base", "http://e/"),
        ("xml:lang", "fr"), ("Name", "x"), ("Algorithm", "x"), ("saml2:ID", "_evil"), ("Type", "x"),
    ]))


def declare(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """A namespace of no use, the wrong one, a relative one, or none."""
    element.attributes.append(rng.choice([
        ("xmlns:new", "urn:new"), ("xmlns:saml2", "urn:evil"), ("xmlns:ds", "urn:evil"), ("xmlns:xs", "urn:evil"),
        ("xmlns", ""), ("xmlns", "urn:evil"), ("xmlns:void", "1"), ("xmlns:xml", "urn:evil"), ("xmlns:new", ""),
        ("xmlns", "urn:oasis:names:tc:SAML:2.0:assertion"), ("xmlns:xsi", "urn:evil"),
    ]))


def insert_comment(root: Element, element: Element, index: int, rng: random.Random) -> None:
    _insert(element, rng.choice(["<!---->", "<!-- x -->", "<!--<saml2:NameID>899900000022</saml2:NameID>-->"]), rng)


def insert_odd(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """What is neither element nor plain text."""
    _insert(element, rng.choice(["<?x y?>", "<![CDATA[]]>", "<![CDATA[x]]>", "&e;", " ", "\n", "x", "&#13;"]), rng)


def drop_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    del element.attributes[index]


def duplicate_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    name, value = element.attributes[index]
    element.attributes.append((rng.choice([name, f"saml2:{name}", f"x{name}", name.upper()]), value))


def copy_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    _somewhere(root, rng).attributes.append(element.attributes[index])


def move_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    found = element.attributes.pop(index)
    _somewhere(root, rng).attributes.append(found)


def flip_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    name, value = element.attributes[index]
    element.attributes[index] = (name, _flipped(value, rng))


def rename_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    name, value = element.attributes[index]
    element.attributes[index] = (rng.choice([_flipped(name, rng), name.swapcase(), f"saml2:{name}"]), value)


def swap_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    other, at = rng.choice(targets(root, rng.choice(["attribute", "namespace"])))
    (name, value), (other_name, other_value) = element.attributes[index], other.attributes[at]
    element.attributes[index] = (name, other_value)
    other.attributes[at] = (other_name, value)


def encode_attribute(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """The same characters by number."""
    name, value = element.attributes[index]
    element.attributes[index] = (name, _encoded(value, rng))


def drop_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    del element.children[index]


def duplicate_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    element.children.insert(index, element.children[index])


def copy_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    _insert(_somewhere(root, rng), element.children[index], rng)


def move_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    _insert(_somewhere(root, rng), element.children.pop(index), rng)


def flip_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    element.children[index] = _flipped(str(element.children[index]), rng)


def swap_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    other, at = rng.choice(targets(root, "text"))
    element.children[index], other.children[at] = other.children[at], element.children[index]


def split_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """Something that is no text in the middle of one."""
    value = str(element.children[index])
    at = rng.randint(0, len(value))
    between = rng.choice(["<!-- -->", "<!---->", "<?x y?>", "<![CDATA[]]>", "<x/>", "&e;"])
    element.children[index] = value[:at] + between + value[at:]


def encode_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    """The same characters by number, or as CDATA."""
    value = str(element.children[index])
    plain = "&" not in value and "]]>" not in value and "<" not in value
    element.children[index] = f"<![CDATA[{value}]]>" if plain and rng.random() < 0.4 else _encoded(value, rng)


def space_text(root: Element, element: Element, index: int, rng: random.Random) -> None:
    value, space = str(element.children[index]), rng.choice([" ", "\n", "\t", "&#13;", "\r\n", "\u00a0"])
    element.children[index] = rng.choice([space + value, value + space, value.strip(), value.replace("\n", space)])


def _flipped(value: str, rng: random.Random) -> str:
    """One character changed, dropped, doubled or added."""
    at = rng.randrange(len(value)) if value else 0
    old = value[at : at + 1] or "x"
    new = rng.choice([chr(ord(old) ^ 1), old.swapcase(), "", old + old, rng.choice(_ODD), rng.choice("aZ09_:/#^ .")])
    return value[:at] + new + value[at + 1 :]


def _encoded(value: str, rng: random.Random) -> str:
    safe = [at for at, one in enumerate(value) if one.isalnum() and "&" not in value]
    if not safe:
        return value
    at = rng.choice(safe)
    number = rng.choice([f"&#{ord(value[at])};", f"&#x{ord(value[at]):x};"])
    return value[:at] + number + value[at + 1 :]


Work = Callable[[Element, Element, int, random.Random], None]
WORKS: dict[str, list[Work]] = {
    "element": [
        drop, duplicate, duplicate_elsewhere, duplicate_renamed, move, wrap, unwrap, swap, rename, empty, add_attribute,
        declare, insert_comment, insert_odd,
    ],
    "attribute": [
        drop_attribute, duplicate_attribute, copy_attribute, move_attribute, flip_attribute, rename_attribute,
        swap_attribute, encode_attribute,
    ],
    "namespace": [
        drop_attribute, duplicate_attribute, copy_attribute, move_attribute, flip_attribute, rename_attribute,
        swap_attribute,
    ],
    "text": [
        drop_text, duplicate_text, copy_text, move_text, flip_text, swap_text, split_text, encode_text, space_text,
    ],
}
"""What can be done to a node of each kind."""


def each(root: Element) -> Iterator[tuple[str, int, Work]]:
    """Every kind of mutation of every node: (kind, number of the node, work)."""
    for kind, works in WORKS.items():
        for number in range(len(targets(root, kind))):
            for work in works:
                yield kind, number, work


def mutate_node(message: bytes, kind: str, number: int, work: Work, seed: str) -> bytes:
    """One mutation of one node of the message."""
    root = read(message)
    element, index = targets(root, kind)[number]
    work(root, element, index, random.Random(seed))
    return _bytes(root)


def mutate(message: bytes, seed: str) -> tuple[str, bytes]:
    """One to four mutations of nodes chosen by the seed, or of a byte; what was done, and the message."""
    rng = random.Random(seed)
    if rng.random() < 0.04:
        return _mutate_byte(message, rng)
    root, done = read(message), []
    for _ in range(rng.choice([1, 1, 1, 1, 2, 2, 3, 4])):
        kind = rng.choice(list(WORKS))
        found = targets(root, kind)
        if found:
            element, index = rng.choice(found)
            work = rng.choice(WORKS[kind])
            done.append(f"{work.__name__} {kind} of {element.name}")
            work(root, element, index, rng)
    return "; ".join(done), _bytes(root)


def _mutate_byte(message: bytes, rng: random.Random) -> tuple[str, bytes]:
    at = rng.randrange(len(message))
    how = rng.choice(["flip", "drop", "double", "cut", "doctype", "declaration"])
    if how == "doctype":
        return how, b'<!DOCTYPE x [<!ENTITY e "899900000022">]>' + message
    if how == "declaration":
        name = rng.choice(["UTF-7", "UTF-16", "ISO-8859-1", "UTF-8", "IBM037"])
        return f"{how} {name}", f'<?xml version="1.0" encoding="{name}"?>'.encode() + message
    new = {
        "flip": bytes([message[at] ^ (1 << rng.randrange(8))]), "drop": b"", "double": message[at : at + 1] * 2,
        "cut": b"",
    }[how]
    return f"{how} byte {at}", message[:at] + new + (b"" if how == "cut" else message[at + 1 :])


def _bytes(root: Element) -> bytes:
    """Characters that have no UTF-8 form are kept as the bytes they would have."""
    return root.write().encode("utf-8", "surrogatepass")
