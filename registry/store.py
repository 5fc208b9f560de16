"""The store the registry needs. ``storage`` implements it; no rule ever sees SQL.

Every verb works inside the unit it came from: a write unit commits as a whole when its ``with``
block ends without an exception, together with the record and audit stores that share the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from guard.audit.store import AuditStore
from guard.policy.facts import EntryFilter
from record.store import RecordStore
from xds.model import Association, DocumentEntry, Folder, Submission, SubmissionSet


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What the submission rules need to know of a stored object; unfiltered by policy."""

    entry_uuid: str
    kind: str
    """DocumentEntry, SubmissionSet, Folder or Association"""
    patient_key: int
    patient_id: str = ""
    status: str = ""
    object_type: str = ""
    unique_id: str = ""
    hash: str = ""
    size: int | None = None
    logical_id: str = ""
    version: int = 0
    association_type: str = ""
    source: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCriteria:
    """Criteria of FindDocuments and of the Get queries; all given ones must hold.

    None means "not asked"; so does empty, but for identifiers, of which an empty set matches nothing. Codes are
    ``code^^scheme``. Times are 14 digits: ``from <= t < to``; an entry without a *service* time, or an on-demand
    entry without a creation time, is not dropped by a criterion on it (Clause: ITI TF-2 3.18.4.1.2.3.3).
    """

    entry_uuids: frozenset[str] | None = None
    unique_ids: frozenset[str] | None = None
    logical_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    object_types: frozenset[str] | None = None
    codes: dict[str, frozenset[str]] = field(default_factory=dict)
    """attribute name (class_code, type_code, practice_setting_code, healthcare_facility_type_code,
    format_code, document_availability) -> accepted keys"""
    all_codes: dict[str, tuple[frozenset[str], ...]] = field(default_factory=dict)
    """event_codes, confidentiality_codes, reference_ids -> AND of ORs"""
    times: dict[str, tuple[str, str]] = field(default_factory=dict)
    """creation_time, service_start_time, service_stop_time -> (from, to), "" for open"""
    author_patterns: tuple[str, ...] = ()
    """SQL LIKE patterns over authorPerson as submitted, case-sensitive; any may match"""
    without: EntryCriteria | None = None
    """Object types, codes and authors an entry must not have: each criterion by itself excludes."""
    is_current: bool = False
    """Newest version of its logical id only, and not offline (metadata level 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCriteria:
    """Criteria of FindSubmissionSets (and of the Get queries of the family)."""

    entry_uuids: frozenset[str] | None = None
    unique_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    source_ids: frozenset[str] | None = None
    content_types: frozenset[str] | None = None
    submission_time: tuple[str, str] = ("", "")
    author_patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCriteria:
    """Criteria of FindFolders and of the Get queries, as in ``EntryCriteria``. ``codes`` is an AND of ORs."""

    entry_uuids: frozenset[str] | None = None
    unique_ids: frozenset[str] | None = None
    logical_ids: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    codes: tuple[frozenset[str], ...] = ()
    last_update_time: tuple[str, str] = ("", "")
    is_current: bool = False
    """Newest version of its logical id only, and not Deprecated (metadata level 1)."""


class RegistryStore(Protocol):
    # -- facts for the submission rules: unfiltered -------------------------------------------------
    def known(self, entry_uuids: Iterable[str]) -> dict[str, StoredObject]:
        """Stored objects of any kind and patient, by entryUUID (compared in lower case)."""
        ...

    def by_unique_id(self, unique_ids: Iterable[str]) -> list[StoredObject]:
        """Entries, sets and folders of any patient that carry one of these uniqueIds."""
        ...

    def associations_of(
        self, patient_key: int, entry_uuids: Iterable[str], types: frozenset[str] | None = None
    ) -> list[Association]:
        """Approved associations with source or target among ``entry_uuids``; unfiltered."""
        ...

    def versions(self, logical_ids: Iterable[str]) -> list[StoredObject]:
        """Every version of these logical objects, of any patient and in any order; unfiltered."""
        ...

    def references_to(self, entry_uuids: Iterable[str]) -> list[tuple[int, Association]]:
        """(patient_key, association) of every association, whatever its status, with an end among these objects;
        references from the sets of other patients included."""
        ...

    # -- changes ------------------------------------------------------------------------------------
    def insert(self, patient_key: int, submission: Submission) -> None:
        """Store every object of the submission; ids, status, lid and version are final."""
        ...

    def set_status(self, patient_key: int, entry_uuids: Iterable[str], status: str) -> None: ...

    def set_confidentiality(self, versions: Iterable[StoredObject], codes: Iterable[str]) -> None:
        """What a filter holds against these entries, as ``code^^scheme``; the entries themselves stay as they are."""
        ...

    def remove(self, objects: Iterable[StoredObject]) -> None:
        """Delete these objects and everything kept about them, of any patient. Nothing else is changed."""
        ...

    def touch_folders(self, patient_key: int, folder_uuids: Iterable[str], last_update_time: str) -> None: ...

    # -- queries: what ``visible`` hides never leaves the store ---------------------------------------
    def locate(
        self, *, entry_uuids: Iterable[str] = (), unique_ids: Iterable[str] = (), logical_ids: Iterable[str] = ()
    ) -> set[int]:
        """patient_key of every stored object with one of these identifiers."""
        ...

    def entries(self, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> Iterator[DocumentEntry]:
        """Newest creationTime first, then entryUUID."""
        ...

    def entry_uuids(self, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> list[str]:
        """Same rows and order as ``entries``, identifiers only."""
        ...

    def submission_sets(self, patient_key: int, where: SetCriteria, visible: EntryFilter) -> Iterator[SubmissionSet]:
        """Newest first. A set all of whose own entries are hidden is hidden too."""
        ...

    def folders(self, patient_key: int, entry_uuids: Iterable[str]) -> Iterator[Folder]:
        """Folders by entryUUID; unfiltered."""
        ...

    def find_folders(self, patient_key: int, where: FolderCriteria, visible: EntryFilter) -> list[Folder]:
        """Newest lastUpdateTime first. A folder that holds hidden entries and no other is hidden too."""
        ...

    def associations(
        self,
        patient_key: int,
        entry_uuids: Iterable[str],
        visible: EntryFilter,
        types: frozenset[str] | None = None,
        statuses: frozenset[str] | None = None,
    ) -> list[Association]:
        """Associations with source or target among ``entry_uuids``; one that leads to a hidden entry
        (directly, or through a hidden association, set or folder) is left out."""
        ...

    def associations_named(
        self, patient_key: int, entry_uuids: Iterable[str], visible: EntryFilter, statuses: frozenset[str] | None = None
    ) -> list[Association]:
        """Associations by their own entryUUID, with the same ones left out."""
        ...

    def patients_with(self, where: EntryCriteria | FolderCriteria, limit: int) -> list[int]:
        """patient_key of those who have an entry or a folder like this, at most ``limit``; unfiltered. Reads the
        whole table where the values asked for are rare. ``where`` names no uniqueId and no logical id."""
        ...

    # -- for check ------------------------------------------------------------------------------------
    def held_by(self, repository_unique_id: str) -> Iterator[tuple[str, str, int | None]]:
        """(uniqueId, hash as submitted, size) of every stable entry of that repository, of every patient and version,
        streamed in the order of the uniqueIds; unfiltered."""
        ...


class RegistryUnit(Protocol):
    """One transaction over the stores that share the registry's database."""

    @property
    def registry(self) -> RegistryStore: ...

    @property
    def record(self) -> RecordStore: ...

    @property
    def audit(self) -> AuditStore: ...


class RegistryDatabase(Protocol):
    def read(self) -> AbstractContextManager[RegistryUnit]:
        """A consistent snapshot; nothing may be written."""
        ...

    def write(self) -> AbstractContextManager[RegistryUnit]:
        """Commits durably on normal exit, rolls back on any exception. Writers queue fairly."""
        ...

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        ...
