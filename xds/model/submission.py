"""One submission request. Clause: ITI TF-3 4.1.4"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from xds.model.association import Association
from xds.model.document_entry import DocumentEntry
from xds.model.folder import Folder
from xds.model.submission_set import SubmissionSet

RegistryObject = DocumentEntry | SubmissionSet | Folder | Association


@dataclass(slots=True)
class Submission:
    """One SubmissionSet and what it brings. Exactly one set in a valid request; the reader reports others."""

    submission_set: SubmissionSet
    entries: list[DocumentEntry] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)
    as_received: bytes = b""
    """``lcm:SubmitObjectsRequest`` as its source wrote it, where it is passed on rather than written anew."""

    def objects(self) -> Iterator[RegistryObject]:
        """The set, then entries, folders and associations in the order received."""
        yield self.submission_set
        yield from self.entries
        yield from self.folders
        yield from self.associations
