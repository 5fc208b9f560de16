"""Rules of a metadata update that need what is already stored, and its effect.

``UpdateCheck`` only reads and reports every problem; ``apply`` only writes, once nothing is wrong. What the caller may
not know of is handled as if it were not there.

Clause: ITI TF-2 3.57.4.1.3, 3.92.4.1.3
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from guard.policy.facts import EVERYTHING, Action
from registry import rules
from registry.store import EntryCriteria, RegistryStore, StoredObject
from registry.version_change import actions_of, compare
from xds import namespaces as ns
from xds.check.update import OPERATION, Addition, NewVersion, Plan, StatusChange
from xds.domain import AffinityDomain
from xds.errors import ErrorCode, Finding
from xds.model import Association, DocumentEntry, Folder, Submission
from xds.rules import problem

Hidden = Callable[[Iterable[StoredObject]], set[str]]
"""Which of these objects the caller may not know of."""


@dataclass(slots=True)
class UpdateCheck:
    """One update held against the store."""

    plan: Plan
    store: RegistryStore
    patient_key: int
    domain: AffinityDomain
    taken: set[str] = field(default_factory=set)
    """ids of the request that stored objects carry already"""
    stored: dict[str, StoredObject] = field(default_factory=dict)
    newest: dict[str, StoredObject] = field(default_factory=dict)
    """logical id -> its newest version"""
    before: dict[str, DocumentEntry | Folder] = field(default_factory=dict)
    """the same, whole"""

    @classmethod
    def of(
        cls, plan: Plan, store: RegistryStore, patient_key: int, domain: AffinityDomain, hidden: Hidden
    ) -> UpdateCheck:
        check = cls(plan, store, patient_key, domain)
        own = {o.entry_uuid for o in plan.submission.objects()}
        ends = {end for a in plan.submission.associations for end in (a.source, a.target)}
        found = store.known(own | ends)
        check.taken = own & set(found)
        further = {end for one in found.values() for end in (one.source, one.target) if one.kind == "Association"}
        found |= store.known(further - set(found))
        lids = {v.item.logical_id for v in plan.versions} | {o.logical_id for o in found.values() if o.logical_id}
        versions = store.versions(lids)
        concealed = hidden([*found.values(), *versions])
        check.stored = {
            uuid: one for uuid, one in found.items() if concealed.isdisjoint({uuid, one.source, one.target})
        }
        for one in sorted(versions, key=lambda version: version.version):
            check.newest[one.logical_id] = one
        check.newest = {lid: one for lid, one in check.newest.items() if one.entry_uuid not in concealed}
        check._read_before()
        return check

    def _read_before(self) -> None:
        lids = {v.item.logical_id for v in self.plan.versions}
        lids |= {o.logical_id for s in self.plan.statuses if (o := self.stored.get(s.target)) and o.logical_id}
        for lid in lids & set(self.newest):
            one = self.newest[lid]
            if one.kind == "Folder":
                self.before[lid] = next(self.store.folders(one.patient_key, [one.entry_uuid]))
            else:
                where = EntryCriteria(entry_uuids=frozenset({one.entry_uuid}))
                self.before[lid] = next(self.store.entries(one.patient_key, where, EVERYTHING))

    # -- what is wrong ---------------------------------------------------------------------------------
    def findings(self) -> Iterator[Finding]:
        """A repeat of an earlier update is told as such, and nothing of what follows from it."""
        submission_set = self.plan.submission.submission_set
        if submission_set.unique_id and self.store.by_unique_id([submission_set.unique_id]):
            yield problem(
                "R-084", ErrorCode.XDSDuplicateUniqueIdInRegistry, f"SubmissionSet {submission_set.entry_uuid}",
                "uniqueId", found=submission_set.unique_id,
                expected="a uniqueId no object of the registry carries; if this repeats an earlier update, that one "
                "succeeded",
            )
            return
        for uuid in sorted(self.taken):
            yield problem("R-087", ErrorCode.XDSRegistryMetadataError, uuid, "entryUUID", found=uuid,
                          expected="an identifier that is not yet in the registry, or a symbolic one")
        for version in self.plan.versions:
            yield from self._version(version)
        seen: set[str] = set()
        for change in self.plan.statuses:
            yield from self._status(change, seen)
        for addition in self.plan.additions:
            yield from self._addition(addition)

    def _say(
        self, rule: str, code: ErrorCode, subject: str, name: str, found: str, expected: str
    ) -> Finding:
        clause = "ITI TF-2 3.92.4.1.3" if self.plan.restricted else ""
        return problem(rule, code, subject, name, found=found, expected=expected, clause=clause)

    def _version(self, version: NewVersion) -> Iterator[Finding]:
        item = version.item
        subject = f"{item.kind} {item.entry_uuid}"
        stored = self.newest.get(item.logical_id)
        if stored is None or stored.kind != item.kind:
            if item.logical_id and item.logical_id != item.entry_uuid:
                yield self._say("R-141", ErrorCode.XDSMetadataVersionError, subject, "lid", item.logical_id,
                                f"the lid of a stored {item.kind}")
            return
        if version.previous and version.previous != stored.version:
            yield self._say("R-142", ErrorCode.XDSMetadataVersionError, subject, "PreviousVersion",
                            str(version.previous), f"{stored.version}, the number of the current version")
            return
        if stored.status != ns.APPROVED and not self.plan.restricted:
            yield self._say("L-05", ErrorCode.XDSMetadataUpdateError, subject, "availabilityStatus",
                            f"a current version that is {_word(stored.status)}",
                            "an Approved one: change its status first, or use ITI-92")
        if stored.patient_key != self.patient_key:
            yield from self._moved(version, stored, subject)
        before = self.before[item.logical_id]
        yield from compare(before, item, subject, restricted=self.plan.restricted)

    def _moved(self, version: NewVersion, stored: StoredObject, subject: str) -> Iterator[Finding]:
        """Another patient only for what nothing else is tied to (R-152, L-03)."""
        ties = [] if self.plan.restricted else self._ties(stored)
        if self.plan.restricted or ties:
            yield self._say(
                "R-152" if self.plan.restricted else "L-03", ErrorCode.XDSPatientIDReconciliationError, subject,
                "patientId", version.item.patient_id,
                "the patient of the current version" + (f"; {len(ties)} associations tie it to him" if ties else ""),
            )

    def _ties(self, stored: StoredObject) -> list[Association]:
        found = self.store.associations_of(stored.patient_key, [stored.entry_uuid])
        kinds = self.store.known({a.source for a in found})
        return [a for a in found if (s := kinds.get(a.source)) is None or s.kind != "SubmissionSet"]

    def _status(self, change: StatusChange, seen: set[str]) -> Iterator[Finding]:
        subject = f"Association {change.trigger.entry_uuid}"
        updated = self._updated(change.target)
        target = self.stored.get(change.target)
        code = ErrorCode.XDSMetadataUpdateError if updated else OPERATION
        if updated is None and target is None:
            yield self._say("R-146", ErrorCode.UnresolvedReferenceException, subject, "targetObject", change.target,
                            "a stored DocumentEntry, Folder or Association, or one updated in this request")
            return
        key = updated.item.entry_uuid if updated else change.target
        if key in seen:
            yield self._say("R-146", OPERATION, subject, "targetObject", change.target, "one change of its status")
        seen.add(key)
        kind = updated.item.kind if updated else target.kind if target else ""
        if kind == "SubmissionSet" or (target and kind == "Association" and self._is_membership_of_set(target)):
            yield self._say("R-146", code, subject, "targetObject", f"{change.target}, a {kind}",
                            "no SubmissionSet and no membership of one: they never change")
            return
        current = ns.APPROVED if updated else target.status if target else ""
        if current != change.original:
            yield self._say("R-146", code, subject, "OriginalStatus", change.original, f"{current}, its status now")
        if kind != "DocumentEntry" and {change.original, change.new} & self.domain.statuses:
            yield self._say("R-146", code, subject, "NewStatus", change.new, "Approved or Deprecated")
        if target is None:
            return
        if target.logical_id and self.newest.get(target.logical_id, target).entry_uuid != target.entry_uuid:
            yield self._say("R-146", code, subject, "targetObject", f"{change.target}, version {target.version}",
                            "the newest version of the object")
        if target.patient_key != self.patient_key:
            yield self._say("R-147", ErrorCode.XDSPatientIDReconciliationError, subject, "targetObject",
                            "an object of another patient", "an object of the patient of the SubmissionSet")

    def _updated(self, identifier: str) -> NewVersion | None:
        """The new version that an id of the request, or the entryUUID of the current version, stands for."""
        for version in self.plan.versions:
            current = self.newest.get(version.item.logical_id)
            if identifier == version.item.entry_uuid or (current and identifier == current.entry_uuid):
                return version
        return None

    def _is_membership_of_set(self, association: StoredObject) -> bool:
        source = self.stored.get(association.source)
        return source is not None and source.kind == "SubmissionSet"

    def _addition(self, addition: Addition) -> Iterator[Finding]:
        added = addition.added
        subject = f"Association {added.entry_uuid}"
        kinds = {}
        for name, end in (("sourceObject", added.source), ("targetObject", added.target)):
            updated, stored = self._updated(end), self.stored.get(end)
            if updated is not None:
                kinds[name] = updated.item.kind
                if updated.propagates or end != updated.item.entry_uuid:
                    yield self._say("R-149", OPERATION, subject, name, f"{end}, which is updated in this request",
                                    "no association added by hand where an update carries them over")
            elif stored is None:
                if end.startswith("urn:uuid:"):
                    yield self._say("R-061", ErrorCode.UnresolvedReferenceException, subject, name, end,
                                    "a stored object")
            elif stored.kind not in ("DocumentEntry", "Folder") or stored.status != ns.APPROVED:
                yield self._say("R-147", OPERATION, subject, name, f"{end}, {_word(stored.status)} {stored.kind}",
                                "an Approved DocumentEntry or Folder")
            else:
                kinds[name] = stored.kind
                if stored.patient_key != self.patient_key:
                    yield self._say("R-147", ErrorCode.XDSPatientIDReconciliationError, subject, name,
                                    "an object of another patient", "objects of the patient of the SubmissionSet")
        wanted = ("Folder", "DocumentEntry") if added.type == ns.HAS_MEMBER else ("DocumentEntry", "DocumentEntry")
        if len(kinds) == 2 and tuple(kinds.values()) != wanted:
            yield self._say("R-148", ErrorCode.XDSRegistryMetadataError, subject, "associationType",
                            f"{added.type} from {kinds['sourceObject']} to {kinds['targetObject']}",
                            f"from {wanted[0]} to {wanted[1]}")
        elif added.source == added.target:
            yield self._say("R-062", ErrorCode.XDSRegistryMetadataError, subject, "targetObject", added.target,
                            "another object than the source")
        yield from self._relationship(added, subject)
        if self._exists(added):
            yield self._say("R-147", OPERATION, subject, "associationType", f"{added.type}, which is there already",
                            "an association that these objects do not have yet")

    def _relationship(self, added: Association, subject: str) -> Iterator[Finding]:
        """Rule: R-073, R-074"""
        source, target = self.stored.get(added.source), self.stored.get(added.target)
        if source is None or target is None:
            return
        if added.type == ns.IS_SNAPSHOT_OF and (source.object_type, target.object_type) != (ns.STABLE, ns.ON_DEMAND):
            yield self._say("R-074", ErrorCode.XDSRegistryMetadataError, subject, "associationType", "IsSnapshotOf",
                            "a stable entry as source and an on-demand entry as target")
        transforms = frozenset({ns.XFRM, ns.XFRM_RPLC})
        links = self.store.associations_of(self.patient_key, [added.target], transforms)
        if added.type == ns.APND and any(a.source == added.target for a in links):
            yield self._say("R-073", ErrorCode.XDSRegistryMetadataError, subject, "targetObject",
                            f"{added.target}, a transformation", "a document that is not itself a transformation")

    def _exists(self, added: Association) -> bool:
        same = self.store.associations_of(self.patient_key, [added.source], frozenset({added.type}))
        return any((a.source, a.target) == (added.source, added.target) for a in same)

    # -- what it needs a right for -----------------------------------------------------------------------
    def acts(self) -> Iterator[tuple[Action, str, DocumentEntry | Folder | None]]:
        """(action, what it is done to, the object as it is stored) of everything this update does."""
        for version in self.plan.versions:
            before = self.before.get(version.item.logical_id)
            if before is None or before.kind != version.item.kind:
                continue
            subject = f"{version.item.kind} {version.item.entry_uuid}"
            for action in actions_of(before, version.item, self.domain):
                yield action, subject, before
            if self.newest[version.item.logical_id].patient_key != self.patient_key:
                yield Action.MOVE, subject, before
        for change in self.plan.statuses:
            updated, target = self._updated(change.target), self.stored.get(change.target)
            lid = updated.item.logical_id if updated else target.logical_id if target else ""
            before = self.before.get(lid)
            yield self._status_action(change, before), f"Association {change.trigger.entry_uuid}", before
        for addition in self.plan.additions:
            yield Action.AMEND, f"Association {addition.added.entry_uuid}", None

    def _status_action(self, change: StatusChange, before: DocumentEntry | Folder | None) -> Action:
        if isinstance(before, DocumentEntry) and change.new == self.domain.deleted_status:
            return Action.DELETE
        if isinstance(before, DocumentEntry) and {change.original, change.new} == {
            ns.APPROVED, self.domain.archived_status
        }:
            return Action.ARCHIVE
        return Action.AMEND


def _word(status: str) -> str:
    return status.rpartition(":")[2]


def apply(check: UpdateCheck, last_update_time: str) -> None:
    """Write one checked update and all its consequences. ``last_update_time`` is UTC, 14 digits.

    Of the old versions only the status changes. A SubmitAssociation becomes the membership of what it brought. A
    relationship carried to a new version does not replace once more; one added by hand does.
    """
    plan, store, submission = check.plan, check.store, check.plan.submission
    steps = [(v, v.item.logical_id, check.newest[v.item.logical_id]) for v in plan.versions]
    for change in plan.statuses:
        if (updated := check._updated(change.target)) is not None:
            change.trigger.target = updated.item.entry_uuid
    rules.assign_identifiers(submission, last_update_time)
    for version, lid, before in steps:
        version.item.logical_id, version.item.version = lid, before.version + 1
        if plan.restricted:
            version.item.status = before.status
    for addition in plan.additions:
        addition.trigger.type, addition.trigger.slots = ns.HAS_MEMBER, {}
    carried = {before.entry_uuid: version.item.entry_uuid for version, _, before in steps if version.propagates}
    _propagate(check, carried)
    by_hand = Submission(submission.submission_set, associations=[addition.added for addition in plan.additions])
    rules.carry_over(by_hand, store, check.patient_key)
    submission.associations += by_hand.associations[len(plan.additions):]
    store.insert(check.patient_key, submission)
    for _, _, before in steps:
        store.set_status(before.patient_key, [before.entry_uuid], ns.DEPRECATED)
    if doomed := rules.deprecated_by(by_hand, store, check.patient_key):
        store.set_status(check.patient_key, doomed, ns.DEPRECATED)
    for change in plan.statuses:
        store.set_status(check.patient_key, [change.trigger.target], change.new)
    rules.touch(submission, store, check.patient_key, last_update_time)
    rules.align_versions(store, [lid for _, lid, _ in steps])


def _propagate(check: UpdateCheck, carried: dict[str, str]) -> None:
    """Give the new versions the folder memberships and relationships of the old ones (L-02).

    An association between two objects that are both updated is carried over once.
    """
    submission, store = check.plan.submission, check.store
    set_id = submission.submission_set.entry_uuid
    for patient_key in {check.newest[v.item.logical_id].patient_key for v in check.plan.versions}:
        found = store.associations_of(patient_key, carried)
        ends = store.known({a.source for a in found})
        for old in found:
            source = ends.get(old.source)
            if source is None or source.kind == "SubmissionSet":
                continue
            if source.kind == "Folder" and source.status != ns.APPROVED:
                continue
            link = Association(
                entry_uuid=f"urn:uuid:{uuid4()}", type=old.type, source=carried.get(old.source, old.source),
                target=carried.get(old.target, old.target), status=ns.APPROVED, documentation=old.documentation,
                slots=dict(old.slots),
            )
            submission.associations.append(link)
            if source.kind == "Folder":
                submission.associations.append(Association(
                    entry_uuid=f"urn:uuid:{uuid4()}", type=ns.HAS_MEMBER, source=set_id, target=link.entry_uuid,
                    status=ns.APPROVED,
                ))
