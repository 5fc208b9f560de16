"""What the header of a CDA document says of its authors, its patient and itself, in one pass over the bytes.

Read by callbacks: nothing is built of what passes, and what is kept is bounded; entities, DTDs and the network stay
out. The authors stand at the front, so whoever asks for them alone reads the first kilobytes; whoever asks for the
whole document has it read to its end, its body looked at for nothing but its being XML.

Clause: CDA R2 4.2 (header); CI-SIS structuration minimale, author, recordTarget
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lxml import etree

from guard.credentials import authorship
from xds.namespaces import DS, HL7
from xds.wire.xml import as_written

CHUNK = 1 << 14
"""Bytes read at a time: the headers of the published samples end before."""
LONGEST = 1 << 20
"""Bytes in which the authors must have ended."""
DEPTH = 256
"""Elements inside one another; the published samples have 22."""
ROOM = 1 << 18
"""Characters of different names and of identifiers in one document. libxml2 keeps every name as long as its thread."""
SILENCE = 1 << 20
"""Bytes of one tag, comment or instruction: libxml2 holds it until it ends."""
FOREIGN = etree.ErrorTypes.ERR_UNSUPPORTED_ENCODING
ROOT = f"{{{HL7}}}ClinicalDocument"
_AROUND = frozenset({"{http://www.w3.org/1999/XSL/Transform}stylesheet", f"{{{DS}}}Signature"})
"""What may stand around a CDA: the stylesheet of a self-presentable one, a signature."""
_BEFORE = frozenset(f"{{{HL7}}}{name}" for name in (
    "realmCode", "typeId", "templateId", "id", "code", "title", "effectiveTime", "confidentialityCode", "languageCode",
    "setId", "versionNumber", "copyTime", "recordTarget", "author",
))
"""Elements of the header up to the last author."""
_TYPE, _ID = f"{{{HL7}}}typeId", f"{{{HL7}}}id"
_PATIENT = tuple(f"{{{HL7}}}{name}" for name in ("recordTarget", "patientRole", "id"))
_PERSON = tuple(f"{{{HL7}}}{name}" for name in ("author", "assignedAuthor", "id"))
_STRUCTURE = tuple(f"{{{HL7}}}{name}" for name in ("author", "assignedAuthor", "representedOrganization", "id"))


class Identifier(NamedTuple):
    """HL7 ``II``, trimmed; "" for what is absent."""

    root: str
    extension: str


@dataclass(slots=True)
class CdaHeader:
    """The facts of one document. Those of patient, identity and elements are whole after a whole reading only."""

    persons: set[str] = field(default_factory=set)
    structures: set[str] = field(default_factory=set)
    """The numbers of the national registers (``@extension``) by which the authors are named."""
    unread: str = ""
    """Why the authors could not be read to their end."""
    type_ids: list[Identifier] = field(default_factory=list)
    ids: list[Identifier] = field(default_factory=list)
    patients: set[Identifier] = field(default_factory=set)
    """Of every recordTarget."""
    elements: set[str] = field(default_factory=set)
    """Names of the children of ClinicalDocument, with their namespace."""
    wrong: str = ""
    """Why the document could not be read to its end."""


def read(chunks: Iterable[bytes], *, is_whole: bool = False) -> CdaHeader | None:
    """The header of the CDA that begins with these bytes, None when they begin none.

    Unless it ``is_whole``, reading ends behind the last author. What could not be read far enough to see whether it
    is one counts as a CDA.
    """
    target: Any = _Document() if is_whole else _Authors()
    parser = etree.XMLParser(target=target, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    size = 0
    try:
        for chunk in chunks:
            if size >= LONGEST:
                target.is_long()
            size += len(chunk)
            parser.feed(chunk)
            if is_whole:
                target.has_passed(len(chunk))
                _listen(parser)
        if is_whole:
            parser.close()
    except _Ended:
        pass
    except _Unread as error:
        target.fail(str(error), is_cda=True)
    except etree.XMLSyntaxError as error:
        target.fail_at(*error.position, is_foreign=getattr(error, "code", 0) == FOREIGN)
    return target.header if target.is_cda else None


def _listen(parser: Any) -> None:
    """An unbound prefix is an error of the log alone, which holds a hundred entries at most."""
    for one in parser.feed_error_log.filter_from_errors():
        raise _Unread(_malformed(one.line, one.column))


def _malformed(line: int, column: int) -> str:
    return f"XML that is not well-formed (line {line}, column {column})"


class _Ended(Exception):
    """All there is to know is known."""


class _Unread(Exception):
    """What is not looked into; the text says why."""


class _Authors:
    """Parser target that stops behind the last author. Method names without underscore are those lxml calls."""

    def __init__(self) -> None:
        self.header = CdaHeader()
        self.is_cda = False
        self._is_inside = False
        """Of the ClinicalDocument."""
        self._is_first = True
        self._has_doctype = False
        self._path: list[str] = []
        """From the child of ClinicalDocument down to the element that is open."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._is_inside:
            self._outside(tag)
            return
        path = self._path
        if not path and tag not in _BEFORE:
            self._behind_authors()
        path.append(tag)
        if tag == _ID and len(path) in (len(_PERSON), len(_STRUCTURE)):
            self._identifier(tuple(path), attributes)

    def _outside(self, tag: str) -> None:
        if self._is_first and tag != ROOT and tag not in _AROUND:
            raise _Ended
        if tag == ROOT:
            self.is_cda = self._is_inside = True
        if self._has_doctype:
            self.is_cda = True
            raise _Unread("a document type declaration")
        self._is_first = False

    def _identifier(self, path: tuple[str, ...], attributes: dict[str, str]) -> None:
        root, extension = attributes.get("root", "").strip(), attributes.get("extension", "").strip()
        if path == _PERSON and root == authorship.PERSONS:
            self.header.persons.add(extension)
        elif path == _STRUCTURE and root == authorship.STRUCTURES:
            self.header.structures.add(extension)

    def _behind_authors(self) -> None:
        raise _Ended

    def end(self, tag: str) -> None:
        if self._path:
            self._path.pop()
        elif self._is_inside:
            self._is_inside = False
            self._over()

    def _over(self) -> None:
        raise _Ended

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        self._has_doctype = True

    def close(self) -> None:
        """Called after an error too."""

    def is_long(self) -> None:
        """``LONGEST`` bytes have passed."""
        raise _Unread(f"no end of its header in {LONGEST} bytes")

    def fail(self, why: str, *, is_cda: bool) -> None:
        """``why`` reading ended; it ``is_cda``, or may be one."""
        self.header.unread = why
        self.is_cda = self.is_cda or is_cda

    def fail_at(self, line: int, column: int, *, is_foreign: bool) -> None:
        """Not well-formed, or beyond what libxml2 takes, and so not further than that; ``is_foreign`` its encoding.

        A declaration of an entity ends the reading here, before any element: what the root is, nobody sees.
        """
        is_hidden = self._is_first and self._has_doctype
        self.fail("a document type declaration" if is_hidden else "a header that is not well-formed", is_cda=is_hidden)


class _Document(_Authors):
    """The same to the very end: one ClinicalDocument, within bounds."""

    def __init__(self) -> None:
        super().__init__()
        self._takes_authors = True
        self._depth = 0
        self._names: set[str] = set()
        self._room = ROOM
        self._is_heard = False
        """Since ``has_passed`` was called."""
        self._silence = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._is_heard = True
        self._depth += 1
        if self._depth > DEPTH:
            raise _Unread(f"more than {DEPTH} elements inside one another")
        if tag == ROOT and self.is_cda:
            raise _Unread("a second ClinicalDocument")
        for name in (tag, *attributes):
            self._learn(name)
        if self._is_inside and not self._path:
            self.header.elements.add(tag)
            if tag in (_ID, _TYPE):
                self._identifier((tag,), attributes)
        super().start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        super().end(tag)

    def start_ns(self, prefix: str, uri: str) -> None:
        self._learn(f"{prefix} {uri}")

    def pi(self, target: str, data: str | None) -> None:
        self._is_heard = True
        self._learn(target)

    def comment(self, text: str) -> None:
        self._is_heard = True

    def data(self, text: str) -> None:
        self._is_heard = True

    def has_passed(self, size: int) -> None:
        """So many bytes more. Text is heard as it comes, the rest once it ends."""
        self._silence = 0 if self._is_heard else self._silence + size
        self._is_heard = False
        if self._silence > SILENCE:
            raise _Unread(f"a tag, comment, instruction or CDATA section of more than {SILENCE} bytes")

    def _learn(self, name: str) -> None:
        if name not in self._names:
            self._names.add(name)
            self._spend(len(name))

    def _spend(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise _Unread(f"names and identifiers of more than {ROOM} characters")

    def _identifier(self, path: tuple[str, ...], attributes: dict[str, str]) -> None:
        found = Identifier(_value(attributes, "root"), _value(attributes, "extension"))
        self._spend(len(found.root) + len(found.extension) + 1)
        if path == _PATIENT:
            self.header.patients.add(found)
        elif path == (_ID,):
            self.header.ids.append(found)
        elif path == (_TYPE,):
            self.header.type_ids.append(found)
        elif self._takes_authors:
            super()._identifier(path, attributes)

    def _behind_authors(self) -> None:
        self._takes_authors = False

    def _over(self) -> None:
        self._takes_authors = False

    def is_long(self) -> None:
        if self._takes_authors:
            self.header.unread = f"no end of its header in {LONGEST} bytes"
            self._takes_authors = False

    def fail(self, why: str, *, is_cda: bool) -> None:
        if self._is_first and self._has_doctype:
            why = "a document type declaration"
        self.header.wrong = why
        if self._takes_authors:
            self.header.unread = why
        self.is_cda = self.is_cda or is_cda

    def fail_at(self, line: int, column: int, *, is_foreign: bool) -> None:
        """Whatever has begun as one, or may have."""
        why = "XML in an encoding that is not read" if is_foreign else _malformed(line, column)
        self.fail(why, is_cda=not self._is_first or self._has_doctype or is_foreign)


def _value(attributes: dict[str, str], name: str) -> str:
    return as_written(attributes.get(name, "")).strip()
