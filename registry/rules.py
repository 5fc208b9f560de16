"""Submission rules that need what is already stored: references, duplicates, patients, replacement.

``StateCheck`` only reads and reports every problem; ``apply`` only writes, once nothing is
wrong. Both run in the one transaction of the submission, so what was checked is what is changed.

Clause: ITI TF-2 3.42.4.1.3, ITI TF-3 4.1.4, 4.2.2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from registry.store import RegistryStore, StoredObject
from xds.errors import ErrorCode, Finding
from xds.model import Association, DocumentEntry, Folder, RegistryObject, Submission
from xds.namespaces import (
    APND,
    APPROVED,
    DEPRECATED,
    HAS_MEMBER,
    IS_SNAPSHOT_OF,
    ON_DEMAND,
    RELATIONSHIPS,
    REPLACEMENTS,
    STABLE,
    XFRM,
    XFRM_RPLC,
)

METADATA = ErrorCode.XDSRegistryMetadataError


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

    @classmethod
    def of(cls, submission: Submission, store: RegistryStore, patient_key: int) -> StateCheck:
        requested = {o.entry_uuid: o for o in submission.objects()}
        ids = {i for i in requested if i.startswith("urn:uuid:")}
        for association in submission.associations:
            ids.update(e for e in (association.source, association.target) if e.startswith("urn:uuid:"))
        return cls(submission, store, patient_key, requested, store.known(ids))

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
                yield Finding(
                    code=METADATA,
                    subject=f"{mine.kind} {identifier}",
                    field="entryUUID",
                    found=identifier,
                    expected="an identifier that is not yet in the registry, or a symbolic one",
                    clause="ITI TF-2 3.42.4.1.3.3",
                    rule="R-087",
                )

    def _duplicate_unique_ids(self) -> Iterator[Finding]:
        mine: dict[str, list[RegistryObject]] = {}
        for item in self.submission.objects():
            if not isinstance(item, Association) and item.unique_id:
                mine.setdefault(item.unique_id, []).append(item)
        for stored in self.store.by_unique_id(mine):
            for item in mine[stored.unique_id]:
                yield from self._against(item, stored)

    @staticmethod
    def _against(item: RegistryObject, stored: StoredObject) -> Iterator[Finding]:
        """Says that the stored object differs, never how: the caller may have no right to know it."""
        subject = f"{item.kind} {item.entry_uuid}"
        if not isinstance(item, DocumentEntry) or stored.kind != "DocumentEntry":
            yield Finding(
                code=ErrorCode.XDSDuplicateUniqueIdInRegistry,
                subject=subject,
                field="uniqueId",
                found=item.unique_id if not isinstance(item, Association) else "",
                expected="a uniqueId no object of the registry carries; if this repeats an earlier submission, "
                "that one succeeded",
                clause="ITI TF-3 4.2.3.3.12",
                rule="R-086" if isinstance(item, DocumentEntry) else "R-085" if isinstance(item, Folder) else "R-084",
            )
            return
        if stored.object_type == ON_DEMAND or item.object_type == ON_DEMAND:
            if stored.object_type != item.object_type:
                yield Finding(
                    code=ErrorCode.XDSDuplicateUniqueIdInRegistry,
                    subject=subject,
                    field="uniqueId",
                    found=item.unique_id,
                    expected="a uniqueId no entry of the other object type carries",
                    clause="ITI TF-2 3.61.4.1.3",
                    rule="R-088",
                )
            return
        if stored.hash.lower() != item.hash.lower():
            yield Finding(
                code=ErrorCode.XDSNonIdenticalHash,
                subject=subject,
                field="hash",
                found=f"{item.unique_id} with hash {item.hash}",
                expected="the hash registered for this uniqueId before",
                clause="ITI TF-2 3.42.4.1.3.3.3",
                rule="R-082",
            )
        if stored.size != item.size:
            yield Finding(
                code=ErrorCode.XDSNonIdenticalSize,
                subject=subject,
                field="size",
                found=f"{item.unique_id} with size {item.size}",
                expected="the size registered for this uniqueId before",
                clause="ITI TF-2 3.42.4.1.3.3.3",
                rule="R-083",
            )

    def _association(self, association: Association) -> Iterator[Finding]:
        source, target = self.end(association.source), self.end(association.target)
        subject = f"Association {association.entry_uuid}"
        for field, value, end in (
            ("sourceObject", association.source, source),
            ("targetObject", association.target, target),
        ):
            if end is None and value.startswith("urn:uuid:"):
                yield Finding(
                    code=ErrorCode.UnresolvedReferenceException,
                    subject=subject,
                    field=field,
                    found=value,
                    expected="an object of this request, or the entryUUID of a stored one",
                    clause="ITI TF-2 3.42.4.1.3.3",
                    rule="R-061",
                )
        if source is None or target is None:
            return
        sets = [
            (field, value)
            for field, value, end in (
                ("sourceObject", association.source, source),
                ("targetObject", association.target, target),
            )
            if end.kind == "SubmissionSet" and end.is_stored
        ]
        for field, value in sets:
            yield Finding(
                code=METADATA,
                subject=subject,
                field=field,
                found=value,
                expected="no association to or from a stored SubmissionSet: it is permanent",
                clause="ITI TF-3 4.1.4",
                rule="R-066",
            )
        if sets:
            return
        if association.type in RELATIONSHIPS:
            yield from self._relationship(association, subject, source, target)
        elif association.type == HAS_MEMBER and source.kind == "SubmissionSet":
            yield from self._set_member(association, subject, target)
        elif association.type == HAS_MEMBER:
            yield from self._folder_member(association, subject, source, target)

    @staticmethod
    def _deprecated(subject: str, identifier: str, rule: str) -> Finding:
        return Finding(
            code=ErrorCode.XDSRegistryDeprecatedDocumentError,
            subject=subject,
            field="targetObject",
            found=f"{identifier}, which is Deprecated",
            expected="an Approved document",
            clause="ITI TF-2 3.42.4.1.3.3.2",
            rule=rule,
        )

    def _other_patient(self, subject: str, rule: str) -> Finding:
        return Finding(
            code=ErrorCode.XDSPatientIdDoesNotMatch,
            subject=subject,
            field="patientId",
            found="objects of two patients",
            expected="both ends of the association belong to one patient",
            clause="ITI TF-2 3.42.4.1.3.3.1",
            rule=rule,
        )

    def _relationship(self, association: Association, subject: str, source: End, target: End) -> Iterator[Finding]:
        if source.is_stored or source.kind != "DocumentEntry":
            yield Finding(
                code=ErrorCode.UnresolvedReferenceException,
                subject=subject,
                field="sourceObject",
                found=association.source,
                expected="a DocumentEntry of this submission",
                clause="ITI TF-3 4.2.2.2",
                rule="R-070",
            )
            return
        if target.kind != "DocumentEntry":
            yield Finding(
                code=METADATA,
                subject=subject,
                field="targetObject",
                found=f"a {target.kind}",
                expected="a DocumentEntry",
                clause="ITI TF-3 4.2.2.2",
                rule="R-071",
            )
            return
        stored_only = association.type in REPLACEMENTS or association.type == IS_SNAPSHOT_OF
        if stored_only and not target.is_stored:
            yield Finding(
                code=ErrorCode.UnresolvedReferenceException,
                subject=subject,
                field="targetObject",
                found=f"{association.target}, a document of this submission",
                expected="a document already registered",
                clause="ITI TF-3 4.2.2.2",
                rule="R-071",
            )
        if target.status == DEPRECATED:
            yield self._deprecated(
                subject, association.target, "R-108" if association.type in REPLACEMENTS else "R-071"
            )
        if target.patient_key != self.patient_key:
            yield self._other_patient(subject, "R-072")
        if association.type == IS_SNAPSHOT_OF and (source.object_type != STABLE or target.object_type != ON_DEMAND):
            yield Finding(
                code=METADATA,
                subject=subject,
                field="associationType",
                found="IsSnapshotOf",
                expected="a stable entry as source and an on-demand entry as target",
                clause="ITI TF-3 4.2.2.2.6",
                rule="R-074",
            )
        if association.type == APND and self._is_transformation(association.target, target):
            yield Finding(
                code=METADATA,
                subject=subject,
                field="targetObject",
                found=f"{association.target}, a transformation",
                expected="a document that is not itself a transformation",
                clause="ITI TF-3 4.2.2.2.3",
                rule="R-073",
            )

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
                yield Finding(
                    code=METADATA,
                    subject=subject,
                    field=field,
                    found=f"a stored {end.kind}",
                    expected=f"a {wanted}; folders hold documents and do not nest",
                    clause="ITI TF-3 4.2.2.1.3",
                    rule=rule,
                )
        if (source.kind, target.kind) != ("Folder", "DocumentEntry"):
            return
        if source.status == DEPRECATED or target.status == DEPRECATED:
            yield self._deprecated(subject, association.target, "R-067")
        if source.patient_key != self.patient_key or target.patient_key != self.patient_key:
            yield self._other_patient(subject, "R-069")

    def _set_member(self, association: Association, subject: str, target: End) -> Iterator[Finding]:
        """Of what is stored a set refers to documents only, and to those that are Approved."""
        if target.is_stored and target.kind != "DocumentEntry":
            yield Finding(
                code=METADATA,
                subject=subject,
                field="targetObject",
                found=f"a stored {target.kind}",
                expected="a stored DocumentEntry, or an object of this submission",
                clause="ITI TF-3 4.2.2.1",
                rule="R-065",
            )
        elif target.is_stored and target.status == DEPRECATED:
            yield self._deprecated(subject, association.target, "R-078")


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
    own = {submission.submission_set.entry_uuid} | {f.entry_uuid for f in submission.folders}
    fed = {a.source for a in submission.associations if a.type == HAS_MEMBER} - own
    if fed:
        store.touch_folders(patient_key, fed, last_update_time)
