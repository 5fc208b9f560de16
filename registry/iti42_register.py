"""ITI-42 Register Document Set-b.

All or nothing: every rule is checked, all findings are answered at once, and the objects, the
replacements they cause and the access-log line become durable in one transaction before the answer.

Clause: ITI TF-2 3.42
"""

from __future__ import annotations

from collections.abc import Sequence

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordFacts, RecordStatus
from record.facts import entry_facts
from record.store import Record
from registry import admission, authorship, rules
from registry.actor import RegistryActor
from registry.store import RegistryUnit
from xds.check.context import Stage
from xds.check.submission import check_submission
from xds.ebxml.read import read_submission
from xds.ebxml.write import registry_response
from xds.errors import Actor, ErrorCode, Finding, Refused, has_errors
from xds.model import Submission
from xds.namespaces import LCM, RESPONSE_FAILURE, RESPONSE_SUCCESS
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "ITI-42"


def transaction(actor: RegistryActor) -> Transaction:
    """The verb, bound to one registry."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2007:RegisterDocumentSet-b",
        response_action="urn:ihe:iti:2007:RegisterDocumentSet-bResponse",
        body=f"{{{LCM}}}SubmitObjectsRequest",
        mtom=False,
        handle=lambda exchange: register(actor, exchange, Stage.REGISTER),
        refuse=refuse,
        schema_error=ErrorCode.XDSRegistryMetadataError,
        internal_error=ErrorCode.XDSRegistryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply([registry_response(RESPONSE_FAILURE, findings, exchange.trace_id)])


def register(actor: RegistryActor, exchange: Exchange, stage: Stage) -> Reply:
    """Check and store one submission; ``stage`` says by which transaction, ITI-42 or ITI-61.

    Values are stored as they are, also those of a document that does not exist yet (R-188).

    Raises Refused with every finding; then nothing is stored but the access-log line of the refusal.
    Clause: ITI TF-2 3.42.4.1.3, 3.42.4.2, 3.61.4.1.3
    """
    caller: Caller = exchange.caller
    submission, findings = read_submission(exchange.body, Actor.REGISTRY)
    findings += _unsaid(findings, check_submission(
        submission, actor.domain, Actor.REGISTRY, stage=stage, repositories=actor.repositories
    ))
    findings += authorship.disagreement(
        caller, submission.submission_set, rule=actor.author_rule, trace_id=exchange.trace_id
    )
    with actor.database.write() as unit:
        record = admission.locked(unit, submission.submission_set.patient_id)
        refusal = admission.refusal(
            actor.policy, unit, caller, Action.FEED, record, submission.submission_set.patient_id
        )
        if refusal is not None:
            findings.append(refusal.told)
        elif record is not None:
            findings += _rights(actor, caller, submission)
            findings += _state(submission, unit, record, findings)
        if record is not None and not has_errors(findings):
            rules.apply(submission, unit.registry, record.patient_key, actor.clock().strftime("%Y%m%d%H%M%S"))
        reason = refusal.logged if refusal else next((f for f in findings if f.is_error), None)
        _write_line(unit, exchange, stage, record, submission, reason)
    if has_errors(findings):
        raise Refused(findings)
    return Reply([registry_response(RESPONSE_SUCCESS, findings, exchange.trace_id)])


def _unsaid(found: Sequence[Finding], more: Sequence[Finding]) -> list[Finding]:
    """``more`` without what only repeats that a field, whose value could not be read, has none (A-8)."""
    said = {(f.subject, f.field) for f in found if f.is_error}
    return [f for f in more if f.found or (f.subject, f.field) not in said]


def _rights(actor: RegistryActor, caller: Caller, submission: Submission) -> list[Finding]:
    """What this caller may not deposit although he may feed the record; signatures belong to no one.

    Clause: DMP R526; EX_2.1-1050
    """
    findings = []
    at_best = RecordFacts(RecordStatus.ACTIVE, patient_id=submission.submission_set.patient_id, is_representative=True)
    for entry in submission.entries:
        if entry.type_code is not None and entry.type_code.key in actor.domain.unlisted_types:
            continue
        decision = actor.policy.decide(caller, Action.FEED, at_best, entry_facts(entry))
        if not decision.allowed:
            findings.append(admission.no_right(caller, decision, f"DocumentEntry {entry.entry_uuid}"))
    return findings


def _state(
    submission: Submission, unit: RegistryUnit, record: Record, found: Sequence[Finding]
) -> list[Finding]:
    """What the stored objects forbid, also of a submission that is refused anyway; nothing is said twice (A-8)."""
    said = {(f.subject, f.field) for f in found if f.is_error}
    state = rules.StateCheck.of(submission, unit.registry, record.patient_key).findings()
    return [f for f in state if (f.subject, f.field) not in said]


def _write_line(
    unit: RegistryUnit,
    exchange: Exchange,
    stage: Stage,
    record: Record | None,
    submission: Submission,
    refused_by: Finding | None,
) -> None:
    unit.audit.append(
        access_log.deposit(
            exchange.caller,
            trace_id=exchange.trace_id,
            event=stage.value,
            patient_key=record.patient_key if record else None,
            patient_id=submission.submission_set.patient_id,
            documents=[e.unique_id for e in submission.entries],
            submission_unique_id=submission.submission_set.unique_id,
            peer=exchange.peer.address,
            refused_by=refused_by,
            particulars=particulars(exchange),
        )
    )
