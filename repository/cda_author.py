"""The author in the header of a CDA document, held against the credential.

The header stands at the front: of a document that is staged the first kilobytes are read again, and no more of it than
that. Nothing is built of what is read; entities, DTDs and the network stay out. A document that is no CDA is let be.

Clause: DMP R526; CDA R2 4.2 (header); CI-SIS structuration minimale, author
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from guard.credentials import authorship
from repository.actor import RepositoryActor
from repository.store import Staged
from xds.errors import ErrorCode, Finding
from xds.model import Submission
from xds.namespaces import DS, HL7
from xds.rules import problem
from xds.wire.exchange import Exchange

CHUNK = 1 << 14
"""Bytes read at a time: the headers of the published samples end before."""
LONGEST = 1 << 20
"""Bytes in which a header must have ended."""
_ROOT = f"{{{HL7}}}ClinicalDocument"
_AROUND = frozenset({"{http://www.w3.org/1999/XSL/Transform}stylesheet", f"{{{DS}}}Signature"})
"""What may stand around a CDA: the stylesheet of a self-presentable one, a signature."""
_BEFORE = frozenset(f"{{{HL7}}}{name}" for name in (
    "realmCode", "typeId", "templateId", "id", "code", "title", "effectiveTime", "confidentialityCode", "languageCode",
    "setId", "versionNumber", "copyTime", "recordTarget", "author",
))
"""Elements of the header up to the last author."""
_PERSON = tuple(f"{{{HL7}}}{name}" for name in ("author", "assignedAuthor", "id"))
_STRUCTURE = tuple(f"{{{HL7}}}{name}" for name in ("author", "assignedAuthor", "representedOrganization", "id"))


@dataclass(slots=True)
class CdaAuthors:
    """The numbers of the national registers (``@extension``) by which a header names its authors."""

    persons: set[str] = field(default_factory=set)
    structures: set[str] = field(default_factory=set)
    unread: str = ""
    """Why the header could not be read to the end of its authors."""


def check(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, staged: Mapping[str, Staged]
) -> Iterator[Finding]:
    """R-190, for each CDA document of a set. ``staged`` are the documents received, by entry.

    What a disagreement comes to is ``RepositoryActor.author_rule``; a header that cannot be read names nobody.
    Clause: DMP R526
    """
    rule = actor.author_rule
    if not authorship.is_asked(exchange.claimant, rule):
        return
    for entry in submission.entries:
        if entry.entry_uuid not in staged or "xml" not in entry.mime_type.lower():
            continue
        if actor.domain.signatures.is_signature(entry):
            continue
        with closing(actor.documents.reread(staged[entry.entry_uuid], CHUNK)) as chunks:
            authors = read(chunks)
        if authors is not None:
            told = problem("R-190", ErrorCode.InvalidDocumentContent, f"DocumentEntry {entry.entry_uuid}",
                           "ClinicalDocument/author")
            yield from authorship.disagreement(
                exchange.claimant, told, authors.persons, authors.structures, rule=rule, trace_id=exchange.trace_id,
                instead=authors.unread or "nobody",
            )


def read(chunks: Iterable[bytes]) -> CdaAuthors | None:
    """The authors of the CDA that begins with these bytes, None when they begin none."""
    header: Any = _Header()
    parser = etree.XMLParser(target=header, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    size = 0
    try:
        for chunk in chunks:
            if size >= LONGEST:
                raise _Unread(f"no end of its header in {LONGEST} bytes")
            size += len(chunk)
            parser.feed(chunk)
    except _Ended:
        pass
    except _Unread as error:
        header.authors.unread, header.is_cda = str(error), True
    except etree.XMLSyntaxError:
        header.authors.unread = "a header that is not well-formed"
    return header.authors if header.is_cda else None


class _Ended(Exception):
    """All there is to know is known."""


class _Unread(Exception):
    """What is not looked into; the text says why."""


class _Header:
    """Parser target. Method names are those lxml calls."""

    def __init__(self) -> None:
        self.authors = CdaAuthors()
        self.is_cda = False
        self._is_first = True
        self._path: list[str] = []
        """From the child of ClinicalDocument down to the element that is open."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.is_cda:
            self.is_cda = tag == _ROOT
            if self._is_first and not self.is_cda and tag not in _AROUND:
                raise _Ended
            self._is_first = False
            return
        if not self._path and tag not in _BEFORE:
            raise _Ended
        self._path.append(tag)
        if tag == _PERSON[-1] and len(self._path) in (len(_PERSON), len(_STRUCTURE)):
            path, root = tuple(self._path), attributes.get("root", "").strip()
            extension = attributes.get("extension", "").strip()
            if path == _PERSON and root == authorship.PERSONS:
                self.authors.persons.add(extension)
            elif path == _STRUCTURE and root == authorship.STRUCTURES:
                self.authors.structures.add(extension)

    def end(self, tag: str) -> None:
        if self._path:
            self._path.pop()
        elif self.is_cda and tag == _ROOT:
            raise _Ended

    def doctype(self, name: str, public_id: str | None, system: str | None) -> None:
        raise _Unread("a document type declaration")

    def close(self) -> None:
        """Called after an error too."""
