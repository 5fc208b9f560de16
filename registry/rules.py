"""Submission rules that need what is already stored: references, duplicates, patients, replacement.

``StateCheck`` only reads and reports every problem; ``apply`` only writes, once nothing is
wrong. Both run in the one transaction of the submission, so what was checked is what is changed.

Clause: ITI TF-2 3.42.4.1.3, ITI TF-3 4.1.4, 4.2.2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria, RegistryStore, StoredObject
from xds.errors import ErrorCode, Finding
from xds.model import Association, DocumentEntry, Folder, RegistryObject, Submission, SubmissionSet
from xds.namespaces import (
    APND,
    APPROVED,
    DEPRECATED,
    HAS_MEMBER,
    IS_SNAPSHOT_OF,
    ON_DEMAND,
    RELATIONSHIPS,
    REPLACEMENTS,
    SIGNS,
    STABLE,
    XFRM,
    XFRM_RPLC,
)
from xds.rules import problem

METADATA = ErrorCode.XDSRegistryMetadataError
Identified = SubmissionSet | DocumentEntry | Folder
_TAKEN = {"DocumentEntry": "R-086", "Folder": "R-085", "SubmissionSet": "R-084"}
"""The rule that forbids each kind to take a uniqueId that is in use."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of an association, wherever it lives."""

    kind: str
    patient_key: int
    status: str
    object_type: str
    is_stored: bool


@dataclass(slots=True)
class StateCheck:
    """A submission held against the store."""

    submission: Submission
    store: RegistryStore
    patient_key: int
    requested: dict[str, RegistryObject]
    stored: dict[str, StoredObject]
    doomed: set[str]
    """Stored documents that the replacements of the request will deprecate."""

    @classmethod
    def of(cls, submission: Submission, store: RegistryStore, patient_key: int) -> StateCheck:
        requested = {o.entry_uuid: o for o in submission.objects()}
        ids = {i for i in requested if i.startswith("urn:uuid:")}
        for association in submission.associations:
            ids.update(e for e in (association.source, association.target) if e.startswith("urn:uuid:"))
        doomed = deprecated_by(submission, store, patient_key)
        return cls(submission, store, patient_key, requested, store.known(ids), doomed)

    def end(self, identifier: str) -> End | None:
        """The object an association points at: in the request first, then in the store."""
        if (mine := self.requested.get(identifier)) is not None:
            return End(mine.kind, self.patient_key, APPROVED, getattr(mine, "object_type", ""), False)
        if (stored := self.stored.get(identifier)) is not None:
            return End(stored.kind, stored.patient_key, stored.status, stored.object_type, True)
        return None

    def findings(self) -> Iterator[Finding]:
        yield from self._reused_identifiers()
        yield from self._duplicate_unique_ids()
        for association in self.submission.associations:
            yield from self._association(association)

    def _reused_identifiers(self) -> Iterator[Finding]:
        for identifier, mine in self.requested.items():
            if identifier in self.stored:
                yield problem("R-087", METADATA, f"{mine.kind} {identifier}", "entryUUID", found=identifier,
                              expected="an identifier that is not yet in the registry, or a symbolic one")

    def _duplicate_unique_ids(self) -> Iterator[Finding]:
        """Each difference once, however many stored entries share the uniqueId."""
        mine: dict[str, list[Identified]] = {}
        for item in self.requested.values():
            if not isinstance(item, Association) and item.unique_id:
                mine.setdefault(item.unique_id, []).append(item)
        found: dict[Finding, None] = {}
        for stored in self.store.by_unique_id(mine):
            for item in mine[stored.unique_id]:
                found.update(dict.fromkeys(self._against(item, stored)))
        yield from found

    @staticmethod
    def _against(item: Identified, stored: StoredObject) -> Iterator[Finding]:
        """Says that the stored object differs, never how: the caller may have no right to know it."""
        subject, unique_id = f"{item.kind} {item.entry_uuid}", item.unique_id
        if not isinstance(item, DocumentEntry) or stored.kind != "DocumentEntry":
            yield problem(_TAKEN[item.kind], ErrorCode.XDSDuplicateUniqueIdInRegistry, subject, "uniqueId",
                          found=unique_id, expected="a uniqueId no object of the registry carries; if this repeats an "
                          "earlier submission, that one succeeded")
            return
        if stored.object_type == ON_DEMAND or item.object_type == ON_DEMAND:
            if stored.object_type != item.object_type:
                yield problem("R-088", ErrorCode.XDSDuplicateUniqueIdInRegistry, subject, "uniqueId", found=unique_id,
                              expected="a uniqueId no entry of the other object type carries")
            return
        if stored.hash.lower() != item.hash.lower():
            yield problem("R-082", ErrorCode.XDSNonIdenticalHash, subject, "hash",
                          found=f"{unique_id} with hash {item.hash}",
                          expected="the hash registered for this uniqueId before")
        if stored.size != item.size:
            yield problem("R-083", ErrorCode.XDSNonIdenticalSize, subject, "size",
                          found=f"{unique_id} with size {item.size}",
                          expected="the size registered for this uniqueId before")

    def _association(self, association: Association) -> Iterator[Finding]:
        source, target = self.end(association.source), self.end(association.target)
        subject = f"Association {association.entry_uuid}"
        ends = (("sourceObject", association.source, source), ("targetObject", association.target, target))
        for field, value, end in ends:
            if end is None and value.startswith("urn:uuid:"):
                yield problem("R-061", ErrorCode.UnresolvedReferenceException, subject, field, found=value,
                              expected="an object of this request, or the entryUUID of a stored one")
        if source is None or target is None:
            return
        sets = [
            (field, value) for field, value, end in ends
            if end is not None and end.kind == "SubmissionSet" and end.is_stored
        ]
        for field, value in sets:
            yield problem("R-066", METADATA, subject, field, found=value,
                          expected="no association to or from a stored SubmissionSet: it is permanent")
        if sets:
            return
        if association.type in RELATIONSHIPS:
            yield from self._relationship(association, subject, source, target)
        elif association.type == HAS_MEMBER and source.kind == "SubmissionSet":
            yield from self._set_member(association, subject, target)
        elif association.type == HAS_MEMBER:
            yield from self._folder_member(association, subject, source, target)

    def _outdated(
        self, rule: str, subject: str, identifier: str, end: End, field: str = "targetObject"
    ) -> list[Finding]:
        """The one finding when this end is not Approved, or will not be once the replacements of the request are done.

        Why the second: a link to such a document, written in the same transaction, would be born outdated.
        """
        if end.status != APPROVED:
            found = f"{identifier}, which is {end.status.rpartition(':')[2]}"
        elif identifier in self.doomed:
            found = f"{identifier}, which this request replaces or deprecates"
        else:
            return []
        return [problem(rule, ErrorCode.XDSRegistryDeprecatedDocumentError, subject, field, found=found,
                        expected="an Approved document" if end.kind == "DocumentEntry" else f"an Approved {end.kind}")]

    @staticmethod
    def _other_patient(rule: str, subject: str) -> Finding:
        return problem(rule, ErrorCode.XDSPatientIdDoesNotMatch, subject, "patientId", found="objects of two patients",
                       expected="both ends of the association belong to one patient")

    def _relationship(self, association: Association, subject: str, source: End, target: End) -> Iterator[Finding]:
        kind, identifier = association.type, association.target
        if source.is_stored or source.kind != "DocumentEntry":
            yield problem("R-070", ErrorCode.UnresolvedReferenceException, subject, "sourceObject",
                          found=association.source, expected="a DocumentEntry of this submission")
            return
        if kind == SIGNS and target.kind == "SubmissionSet":
            return  # of this request, and the submission check has said whether the domain takes it
        if target.kind != "DocumentEntry":
            yield problem("R-071", METADATA, subject, "targetObject", found=f"a {target.kind}",
                          expected="a DocumentEntry")
            return
        if (kind in REPLACEMENTS or kind == IS_SNAPSHOT_OF) and not target.is_stored:
            yield problem("R-071", ErrorCode.UnresolvedReferenceException, subject, "targetObject",
                          found=f"{identifier}, a document of this submission",
                          expected="a document already registered")
        if kind not in REPLACEMENTS:
            yield from self._outdated("R-071", subject, identifier, target)
        elif target.status != APPROVED:
            yield from self._outdated("R-108", subject, identifier, target)
        if target.patient_key != self.patient_key:
            yield self._other_patient("R-072", subject)
        if kind == IS_SNAPSHOT_OF and (source.object_type != STABLE or target.object_type != ON_DEMAND):
            yield problem("R-074", METADATA, subject, "associationType", found="IsSnapshotOf",
                          expected="a stable entry as source and an on-demand entry as target")
        if kind == APND and self._is_transformation(identifier, target):
            yield problem("R-073", METADATA, subject, "targetObject", found=f"{identifier}, a transformation",
                          expected="a document that is not itself a transformation")

    def _is_transformation(self, identifier: str, end: End) -> bool:
        transforms = frozenset({XFRM, XFRM_RPLC})
        links = (
            self.store.associations_of(end.patient_key, [identifier], transforms)
            if end.is_stored
            else self.submission.associations
        )
        return any(a.type in transforms and a.source == identifier for a in links)

    def _folder_member(self, association: Association, subject: str, source: End, target: End) -> Iterator[Finding]:
        """Both ends may be stored. What is wrong with ends of the request, the submission check has said."""
        for field, end, wanted, rule in (
            ("sourceObject", source, "Folder", "R-067"),
            ("targetObject", target, "DocumentEntry", "R-068" if target.kind == "Folder" else "R-067"),
        ):
            if end.kind != wanted and end.is_stored:
                yield problem(rule, METADATA, subject, field, found=f"a stored {end.kind}",
                              expected=f"a {wanted}; folders hold documents and do not nest")
        if (source.kind, target.kind) != ("Folder", "DocumentEntry"):
            return
        yield from self._outdated("R-067", subject, association.source, source, "sourceObject")
        yield from self._outdated("R-067", subject, association.target, target)
        if source.patient_key != self.patient_key or target.patient_key != self.patient_key:
            yield self._other_patient("R-069", subject)

    def _set_member(self, association: Association, subject: str, target: End) -> Iterator[Finding]:
        """Of what is stored a set refers to documents only, and to those that are Approved.

        Tolerated: a Reference to the document that the request itself replaces, because sources that replace
        name both; it was Approved when they sent it.
        """
        if target.is_stored and target.kind != "DocumentEntry":
            yield problem("R-065", METADATA, subject, "targetObject", found=f"a stored {target.kind}",
                          expected="a stored DocumentEntry, or an object of this submission")
        elif target.is_stored and target.status != APPROVED:
            yield from self._outdated("R-078", subject, association.target, target)


def assign_identifiers(submission: Submission, last_update_time: str) -> None:
    """Turn symbolic ids into UUIDs everywhere and set what only the registry sets.

    ``last_update_time`` is UTC, 14 digits. Clause: ITI TF-2 3.42.4.1.3.3; ITI TF-3 4.2.3.2.6
    """
    fresh: dict[str, str] = {}
    for item in submission.objects():
        if not item.entry_uuid.startswith("urn:uuid:"):
            fresh[item.entry_uuid] = f"urn:uuid:{uuid4()}"
            item.entry_uuid = fresh[item.entry_uuid]
        item.status = APPROVED
        if isinstance(item, DocumentEntry | Folder):
            item.logical_id, item.version = item.entry_uuid, 1
        if isinstance(item, Folder):
            item.last_update_time = last_update_time
    for association in submission.associations:
        association.source = fresh.get(association.source, association.source)
        association.target = fresh.get(association.target, association.target)


def carry_over(submission: Submission, store: RegistryStore, patient_key: int) -> None:
    """Put each replacing document into the Approved folders of the one it replaces.

    The generated associations belong to the new SubmissionSet. Clause: ITI TF-2 3.42.4.1.3.3.2
    """
    replaced = {a.target: a.source for a in submission.associations if a.type in REPLACEMENTS}
    if not replaced:
        return
    memberships = [
        a for a in store.associations_of(patient_key, replaced, frozenset({HAS_MEMBER})) if a.target in replaced
    ]
    folders = store.known({a.source for a in memberships})
    present = {(a.source, a.target) for a in submission.associations if a.type == HAS_MEMBER}
    for membership in memberships:
        folder = folders.get(membership.source)
        pair = (membership.source, replaced[membership.target])
        if folder is None or folder.kind != "Folder" or folder.status != APPROVED or pair in present:
            continue
        present.add(pair)
        link = Association(
            entry_uuid=f"urn:uuid:{uuid4()}", type=HAS_MEMBER, source=pair[0], target=pair[1], status=APPROVED
        )
        submission.associations.append(link)
        submission.associations.append(
            Association(
                entry_uuid=f"urn:uuid:{uuid4()}",
                type=HAS_MEMBER,
                source=submission.submission_set.entry_uuid,
                target=link.entry_uuid,
                status=APPROVED,
            )
        )


def deprecated_by(submission: Submission, store: RegistryStore, patient_key: int) -> set[str]:
    """The replaced documents and every transformation and addendum that depends on them, at any depth.

    Clause: ITI TF-2 3.42.4.1.3.3.2 (R-100, R-101)
    """
    doomed: set[str] = set()
    wave = {a.target for a in submission.associations if a.type in REPLACEMENTS}
    while wave:
        doomed |= wave
        dependants = store.associations_of(patient_key, wave, frozenset({XFRM, APND}))
        wave = {a.source for a in dependants if a.target in wave} - doomed
    return doomed


def apply(submission: Submission, store: RegistryStore, patient_key: int, last_update_time: str) -> None:
    """Write one checked submission and all its consequences. Clause: ITI TF-2 3.42.4.1.3.3 (A-1, A-2)"""
    assign_identifiers(submission, last_update_time)
    carry_over(submission, store, patient_key)
    store.insert(patient_key, submission)
    if doomed := deprecated_by(submission, store, patient_key):
        store.set_status(patient_key, doomed, DEPRECATED)
    touch(submission, store, patient_key, last_update_time)


def align_versions(store: RegistryStore, logical_ids: Iterable[str]) -> None:
    """The newest version of a document says for all of them what it is hidden by: a mask leaves no older one to read,
    and what is unmasked is found again with the set that brought it.

    Rule: L-08
    """
    versions: dict[str, list[StoredObject]] = {}
    for one in store.versions(logical_ids):
        if one.kind == "DocumentEntry":
            versions.setdefault(one.logical_id, []).append(one)
    for same in versions.values():
        newest = max(same, key=lambda one: one.version)
        where = EntryCriteria(entry_uuids=frozenset({newest.entry_uuid}))
        entry = next(store.entries(newest.patient_key, where, EVERYTHING))
        store.set_confidentiality(same, [code.key for code in entry.confidentiality_codes])


def touch(submission: Submission, store: RegistryStore, patient_key: int, last_update_time: str) -> None:
    """Date the stored folders that receive a document (R-104)."""
    own = {submission.submission_set.entry_uuid} | {f.entry_uuid for f in submission.folders}
    fed = {a.source for a in submission.associations if a.type == HAS_MEMBER} - own
    if fed:
        store.touch_folders(patient_key, fed, last_update_time)
