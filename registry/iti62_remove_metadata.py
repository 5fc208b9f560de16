"""ITI-62 Remove Metadata.

Objects go for good, of any patient and in any order, as long as what stays is whole: no association without its ends,
no document, folder or folder membership without the set that brought it. Documents themselves are for ITI-86.

Clause: ITI TF-2 3.62
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from guard.audit import access_log
from guard.audit.particulars import NONE, Particulars, particulars
from guard.credentials.caller import Caller
from guard.policy.facts import Action, Decision, RecordFacts, RecordStatus
from record.facts import facts_for
from registry import admission, rules
from registry.actor import RegistryActor
from registry.store import RegistryStore, RegistryUnit, StoredObject
from xds.ebxml.read import read_removal
from xds.ebxml.write import registry_response
from xds.errors import ErrorCode, Finding, Refused, has_errors
from xds.model import Association
from xds.namespaces import HAS_MEMBER, LCM, RESPONSE_FAILURE, RESPONSE_SUCCESS
from xds.rules import problem
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "ITI-62"


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2010:DeleteDocumentSet",
        response_action="urn:ihe:iti:2010:DeleteDocumentSetResponse",
        body=f"{{{LCM}}}RemoveObjectsRequest",
        mtom=False,
        handle=lambda exchange: handle(actor, exchange),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryMetadataError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply([registry_response(RESPONSE_FAILURE, findings, exchange.trace_id)])


def handle(actor: RegistryActor, exchange: Exchange) -> Reply:
    """Clause: ITI TF-2 3.62.4.1.3, 3.62.4.2"""
    ids, findings = read_removal(exchange.body)
    remove(
        actor, exchange.caller, ids, findings, trace_id=exchange.trace_id, peer=exchange.peer.address,
        told=particulars(exchange),
    )
    return Reply([registry_response(RESPONSE_SUCCESS, [], exchange.trace_id)])


def remove(
    actor: RegistryActor, caller: Caller, ids: Sequence[str], findings: Sequence[Finding] = (), *, trace_id: str,
    peer: str = "", told: Particulars = NONE,
) -> None:
    """Remove the objects with these entryUUIDs, all or none; each patient's access log gets its line.

    Raises Refused with every finding, those given included.
    """
    found = list(findings)
    with actor.database.write() as unit:
        admission.lock_owners(unit, lambda: unit.registry.locate(entry_uuids=ids))
        known = unit.registry.known(ids)
        refusals = _refusals(actor, unit, caller, known.values())
        if refusals:
            found += refusals
        elif not has_errors(found):
            found += _Removal.of(ids, known, unit.registry).findings()
        if not has_errors(found):
            unit.registry.remove(known.values())
            rules.align_versions(unit.registry, {o.logical_id for o in known.values() if o.logical_id})
        _write_lines(unit, caller, known, trace_id, peer, next(iter(found), None), told)
    if has_errors(found):
        raise Refused(found)


def everything_of(store: RegistryStore, unique_ids: Iterable[str]) -> list[str]:
    """The entryUUIDs that must go for these documents to go: every version, whatever leads to one, and the sets that
    have nothing else."""
    found = {o.entry_uuid: o for o in store.by_unique_id(unique_ids) if o.kind == "DocumentEntry"}
    fresh = set(found)
    while fresh:
        links = {a.entry_uuid: a for _, a in store.references_to(fresh)}
        sets = {o.entry_uuid for o in store.known({a.source for a in links.values()}).values()
                if o.kind == "SubmissionSet" and o.entry_uuid not in found}
        held = [a for _, a in store.references_to(sets)]
        gone = set(found) | set(links)
        emptied = {one for one in sets if all(a.entry_uuid in gone for a in held if a.source == one)}
        fresh = (set(links) | emptied) - set(found)
        found |= store.known(fresh)
    return list(found)


def _refusals(
    actor: RegistryActor, unit: RegistryUnit, caller: Caller, objects: Iterable[StoredObject]
) -> list[Finding]:
    """May this caller remove at all, and from each of these records? A closed record may be cleared."""

    def refused(decision: Decision) -> list[Finding]:
        return [] if decision.allowed else [admission.no_right(caller, decision, "RemoveObjectsRequest")]

    general = refused(actor.policy.decide(caller, Action.REMOVE, RecordFacts(RecordStatus.ACTIVE)))
    if general:
        return general
    for patient_key in sorted({one.patient_key for one in objects}):
        record = unit.record.get(patient_key)
        if found := refused(actor.policy.decide(caller, Action.REMOVE, facts_for(unit.record, record, caller))):
            return found
    return []


@dataclass(slots=True)
class _Removal:
    """The objects to go, held against the associations of what stays."""

    ids: Sequence[str]
    gone: dict[str, StoredObject]
    links: list[Association]
    """every association with an end among those to go"""
    ends: dict[str, StoredObject]
    """what the memberships to go lead from and to"""
    staying: list[Association]
    """associations that stay and touch one of ``ends``"""

    @classmethod
    def of(cls, ids: Sequence[str], gone: dict[str, StoredObject], store: RegistryStore) -> _Removal:
        links = [a for _, a in store.references_to(gone)]
        members = [o for o in gone.values() if o.association_type == HAS_MEMBER]
        ends = store.known({end for o in members for end in (o.source, o.target)})
        staying = [a for _, a in store.references_to(set(ends) - set(gone)) if a.entry_uuid not in gone]
        known = {a.source for a in staying} | {o.source for o in ends.values() if o.kind == "Association"}
        return cls(ids, gone, links, ends | store.known(known - set(ends)), staying)

    def findings(self) -> Iterator[Finding]:
        for identifier in self.ids:
            if identifier not in self.gone:
                yield problem("R-154", ErrorCode.UnresolvedReferenceException, "RemoveObjectsRequest", "ObjectRef",
                              found=identifier, expected="the entryUUID of a stored object")
        yield from self._referenced()
        yield from self._left_alone()

    def _referenced(self) -> Iterator[Finding]:
        """An association that stays holds both its ends (R-155)."""
        told: set[str] = set()
        for link in self.links:
            for end in (link.source, link.target):
                if link.entry_uuid in self.gone or end not in self.gone or end in told:
                    continue
                told.add(end)
                subject = f"{self.gone[end].kind} {end}"
                yield problem("R-155", ErrorCode.ReferencesExistException, subject, "Association",
                              found=f"Association {link.entry_uuid}, which is to stay",
                              expected="every association of a removed object in the same request")

    def _left_alone(self) -> Iterator[Finding]:
        """What a set has brought does not stay without it, and a set does not stay without what it brought (R-156).

        A set whose only content was a document put into a folder may lose it: that is how one is taken out.
        """
        told: set[str] = set()
        for member in self.gone.values():
            owner, target = self.ends.get(member.source), self.ends.get(member.target)
            if member.association_type != HAS_MEMBER or owner is None or owner.kind != "SubmissionSet":
                continue
            stays = target is not None and member.target not in self.gone and member.target not in told
            if stays and target is not None and self._needs_a_set(target) and not self._has_a_set(member.target):
                told.add(member.target)
                yield self._alone(target, "the set that brought it in the same request, or its membership kept")
            emptied = member.source not in self.gone and not any(a.source == member.source for a in self.staying)
            if emptied and target is not None and target.kind != "Association" and member.source not in told:
                told.add(member.source)
                yield self._alone(owner, "the set in the same request, or one of its members kept")

    @staticmethod
    def _alone(one: StoredObject, expected: str) -> Finding:
        return problem("R-156", ErrorCode.XDSUnreferencedObjectException, f"{one.kind} {one.entry_uuid}", "HasMember",
                       found="no membership left", expected=expected)

    def _needs_a_set(self, one: StoredObject) -> bool:
        if one.kind != "Association":
            return True
        source = self.ends.get(one.source)
        return one.association_type == HAS_MEMBER and source is not None and source.kind == "Folder"

    def _has_a_set(self, identifier: str) -> bool:
        """A membership that stays, of a set that brought the object and does not only refer to it."""
        return any(
            a.target == identifier and a.type == HAS_MEMBER and a.slot("SubmissionSetStatus") != "Reference"
            and (source := self.ends.get(a.source)) is not None and source.kind == "SubmissionSet"
            for a in self.staying
        )


def _write_lines(
    unit: RegistryUnit, caller: Caller, known: dict[str, StoredObject], trace_id: str, peer: str,
    refused_by: Finding | None, told: Particulars,
) -> None:
    by_patient: dict[int | None, list[StoredObject]] = {}
    for one in known.values():
        by_patient.setdefault(one.patient_key, []).append(one)
    for patient_key, objects in (by_patient or {None: []}).items():
        record = unit.record.get(patient_key) if patient_key is not None else None
        documents = [o.unique_id for o in objects if o.kind == "DocumentEntry"]
        unit.audit.append(
            access_log.change(
                caller,
                trace_id=trace_id,
                event=NAME,
                action=access_log.REMOVE,
                patient_key=patient_key,
                patient_id=record.patient_id if record else "",
                documents=list(dict.fromkeys(documents)),
                detail=f"metadata, {len(objects)} objects",
                peer=peer,
                refused_by=refused_by,
                particulars=replace(told, objects=tuple(o.entry_uuid for o in objects[: access_log.MAX_DOCUMENTS])),
            )
        )
