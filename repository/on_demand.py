"""What the repository needs of whoever makes its on-demand documents.

A provider is a plug-in: an object with a name, two methods and no store of its own. It is named in the settings as
``module:Class`` and built with the affinity domain and the repository's OID. An on-demand entry may say which provider
makes it, in a slot of ours that a registry keeps like any other.

Clause: ITI TF-2 3.43, 3.61
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from guard.credentials.caller import Caller
from xds.model import Author, DocumentEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Who gets an on-demand entry, and who answers for it. ``since`` is UTC, 14 digits."""

    patient_id: str
    source_patient_id: str
    source_patient_info: tuple[str, ...]
    responsible: Author
    """a person or structure; its authorPerson becomes the legalAuthenticator"""
    since: str
    language: str = "fr-FR"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemandRequest:
    """One document to make, for one caller."""

    entry: DocumentEntry
    """the on-demand entry as the registry holds it; its mimeType is that of the document"""
    unique_id: str
    """an OID: the uniqueId of what is made, which the document must carry where its format has a place for it"""
    caller: Caller
    moment: datetime
    documents: Callable[[int], list[DocumentEntry]]
    """at most so many Approved stable documents of the patient, newest first, and only those that this caller
    finds in a query; raises RegistryUnavailable"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """One document, made.

    ``chunks`` is read once, to its end. ``confidentiality`` are the ``code^^scheme`` of everything the document tells
    of: a snapshot of it is hidden from whom one of these is hidden.
    """

    chunks: Iterator[bytes]
    confidentiality: frozenset[str] = frozenset()


class OnDemandProvider(Protocol):
    """Thread-safe; may be asked for several documents at once."""

    @property
    def name(self) -> str:
        """As ``PROVIDER_SLOT`` says it."""
        ...

    def describe(self, enrolment: Enrolment) -> DocumentEntry:
        """The on-demand entry of one patient, without uniqueId, repositoryUniqueId and slot."""
        ...

    def assemble(self, request: OnDemandRequest) -> Assembled:
        """Make the document. Any exception refuses this document, and no other of the request."""
        ...
