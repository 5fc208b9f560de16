"""ITI-57 Update Document Set.

New versions of entries and folders, changes of status, new associations between stored objects: all of a request or
nothing of it. What the caller may not know of is answered as unknown; what he may know of but not change, in words.
The access log gets one line for each kind of change, in the same transaction.

Clause: ITI TF-2 3.57; DMP TD3.3
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.credentials.caller import Caller
from guard.policy.facts import EVERYTHING, NOTHING, Action
from record.facts import entry_facts, facts_for
from record.store import Record
from registry import admission, update_rules
from registry.actor import RegistryActor
from registry.store import EntryCriteria, RegistryUnit, StoredObject
from registry.update_rules import UpdateCheck
from xds.check.update import Plan, plan_update
from xds.ebxml.read import read_submission
from xds.ebxml.write import registry_response
from xds.errors import Actor, ErrorCode, Finding, Refused, has_errors
from xds.model import DocumentEntry
from xds.namespaces import LCM, RESPONSE_FAILURE, RESPONSE_SUCCESS
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "ITI-57"

LOGGED_AS = {
    Action.MASK: access_log.MASK,
    Action.UNMASK: access_log.UNMASK,
    Action.REVEAL: access_log.REVEAL,
    Action.SHOW: access_log.SHOW,
    Action.HIDE: access_log.HIDE,
    Action.ARCHIVE: access_log.ARCHIVE,
    Action.DELETE: access_log.DELETE,
    Action.AMEND: access_log.UPDATE,
    Action.MOVE: access_log.UPDATE,
}


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2010:UpdateDocumentSet",
        response_action="urn:ihe:iti:2010:UpdateDocumentSetResponse",
        body=f"{{{LCM}}}SubmitObjectsRequest",
        mtom=False,
        handle=lambda exchange: update(actor, exchange, NAME),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryMetadataError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply([registry_response(RESPONSE_FAILURE, findings, exchange.trace_id)])


def update(actor: RegistryActor, exchange: Exchange, name: str, *, restricted: bool = False) -> Reply:
    """Check and carry out one update; ``restricted`` is ITI-92.

    Raises Refused with every finding; then nothing is changed and the access log has the line of the refusal.
    Clause: ITI TF-2 3.57.4.1.3, 3.57.4.2
    """
    caller: Caller = exchange.caller
    submission, findings = read_submission(exchange.body, Actor.REGISTRY, updating=True)
    repositories = frozenset[str]() if restricted else actor.repositories
    plan, found = plan_update(submission, actor.domain, restricted=restricted, repositories=repositories)
    findings += found
    patient_id = submission.submission_set.patient_id
    with actor.database.write() as unit:
        _lock(unit, plan)
        record = unit.record.find(patient_id) if patient_id else None
        refusal = admission.refusal(actor.policy, unit, caller, Action.SEARCH_ID, record, patient_id)
        check: UpdateCheck | None = None
        if refusal is not None:
            findings.append(refusal.told)
        elif record is not None:
            check = UpdateCheck.of(
                plan, unit.registry, record.patient_key, actor.domain,
                lambda objects: hidden(actor, unit, caller, objects),
            )
            said = {(f.subject, f.field) for f in findings if f.is_error}
            findings += [f for f in check.findings() if (f.subject, f.field) not in said]
            findings += _rights(actor, unit, caller, check)
        if check is not None and not has_errors(findings):
            lines = _acts(check)
            update_rules.apply(check, actor.clock().strftime("%Y%m%d%H%M%S"))
            _write_lines(unit, exchange, name, record, plan, lines, None)
        else:
            reason = refusal.logged if refusal else next((f for f in findings if f.is_error), None)
            _write_lines(unit, exchange, name, record, plan, _acts(check) if check else {}, reason)
    if has_errors(findings):
        raise Refused(findings)
    return Reply([registry_response(RESPONSE_SUCCESS, findings, exchange.trace_id)])


def _lock(unit: RegistryUnit, plan: Plan) -> None:
    """The record of the set, and those of whatever the request points at."""
    targets = {s.target for s in plan.statuses}
    for addition in plan.additions:
        targets |= {addition.added.source, addition.added.target}
    logical_ids = {v.item.logical_id for v in plan.versions}
    patient_id = plan.submission.submission_set.patient_id

    def owners() -> set[int]:
        record = unit.record.find(patient_id) if patient_id else None
        held = unit.registry.locate(entry_uuids=targets, logical_ids=logical_ids)
        return held | ({record.patient_key} if record else set())

    admission.lock_owners(unit, owners)


def hidden(actor: RegistryActor, unit: RegistryUnit, caller: Caller, objects: Iterable[StoredObject]) -> set[str]:
    """Those of these objects that the caller may not know of (``Policy.known``)."""
    by_patient: dict[int, list[StoredObject]] = {}
    for one in objects:
        by_patient.setdefault(one.patient_key, []).append(one)
    found: set[str] = set()
    for patient_key, mine in by_patient.items():
        facts = facts_for(unit.record, unit.record.get(patient_key), caller)
        visible = actor.policy.known(caller, facts)
        if visible == NOTHING:
            found |= {one.entry_uuid for one in mine}
        elif visible != EVERYTHING:
            entries = frozenset(one.entry_uuid for one in mine if one.kind == "DocumentEntry")
            where = EntryCriteria(entry_uuids=entries)
            found |= entries - set(unit.registry.entry_uuids(patient_key, where, visible) if entries else ())
    return found


def _rights(actor: RegistryActor, unit: RegistryUnit, caller: Caller, check: UpdateCheck) -> list[Finding]:
    """One finding for each act the caller has no right to. Clause: DMP R526 (TD3.3a to d)"""
    findings = []
    for action, subject, before in check.acts():
        keys = {check.patient_key}
        if isinstance(before, DocumentEntry):
            keys.add(check.newest[before.logical_id].patient_key)
        for patient_key in sorted(keys):
            facts = facts_for(unit.record, unit.record.get(patient_key), caller)
            entry = entry_facts(before) if isinstance(before, DocumentEntry) else None
            decision = actor.policy.decide(caller, action, facts, entry)
            if decision.allowed:
                continue
            if check.plan.restricted:
                refused = admission.no_right(
                    caller, decision, subject, ErrorCode.LocalPolicyRestrictionError, rule="R-153"
                )
            else:
                refused = admission.no_right(caller, decision, subject)
            findings.append(refused)
            break
    return findings


def _acts(check: UpdateCheck) -> dict[str, list[str]]:
    """Word of the access log -> uniqueIds of the documents it was done to."""
    acts: dict[str, list[str]] = {}
    for action, _, before in check.acts():
        documents = acts.setdefault(LOGGED_AS[action], [])
        if isinstance(before, DocumentEntry) and before.unique_id not in documents:
            documents.append(before.unique_id)
    return acts


def _write_lines(
    unit: RegistryUnit, exchange: Exchange, name: str, record: Record | None, plan: Plan,
    acts: dict[str, list[str]], refused_by: Finding | None,
) -> None:
    submission_set = plan.submission.submission_set
    for action, documents in (acts or {access_log.UPDATE: [e.unique_id for e in plan.submission.entries]}).items():
        unit.audit.append(
            access_log.change(
                exchange.caller,
                trace_id=exchange.trace_id,
                event=name,
                action=action,
                patient_key=record.patient_key if record else None,
                patient_id=submission_set.patient_id,
                documents=documents,
                detail=f"submission set {submission_set.unique_id}",
                peer=exchange.peer.address,
                refused_by=refused_by,
                particulars=particulars(exchange, submission_set=access_log.clean(submission_set.unique_id)),
            )
        )
