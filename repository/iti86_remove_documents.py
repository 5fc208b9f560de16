"""ITI-86 Remove Documents.

The rows go first, with the log line and a note of what was removed, in one transaction; the bytes after it. A crash in
between leaves bytes without a row: nobody is given them, and the sweep removes them. What is still registered of a
removed document is then answered as unknown, and `carnet check` tells it from a loss.

Clause: ITI TF-2 3.86
"""

from __future__ import annotations

from collections.abc import Sequence

from guard.audit import access_log
from guard.audit.particulars import NONE, Particulars, particulars
from guard.credentials.caller import Caller
from guard.policy.facts import Action, RecordFacts, RecordStatus
from repository.actor import RepositoryActor
from repository.store import HeldDocument, RepositoryUnit
from xds.ebxml.read import read_retrieve_request
from xds.ebxml.write import registry_response
from xds.errors import ErrorCode, Finding, Refused
from xds.model.messages import DocumentRequest
from xds.namespaces import RESPONSE_FAILURE, RESPONSE_PARTIAL, RESPONSE_SUCCESS, RMD
from xds.rules import problem
from xds.wire.exchange import Exchange, Reply, Transaction

NAME = "ITI-86"


def transaction(actor: RepositoryActor) -> Transaction:
    """The verb, bound to one repository."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2017:RemoveDocuments",
        response_action="urn:ihe:iti:2017:RemoveDocumentsResponse",
        body=f"{{{RMD}}}RemoveDocumentsRequest",
        mtom=False,
        handle=lambda exchange: handle(actor, exchange),
        refuse=refuse,
        schema_error=ErrorCode.XDSRepositoryError,
        internal_error=ErrorCode.XDSRepositoryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply([registry_response(RESPONSE_FAILURE, findings, exchange.trace_id)])


def handle(actor: RepositoryActor, exchange: Exchange) -> Reply:
    """Clause: ITI TF-2 3.86.4.1.3, 3.86.4.2"""
    requests = read_retrieve_request(exchange.body)
    findings = remove(
        actor, exchange.caller, requests, trace_id=exchange.trace_id, peer=exchange.peer.address,
        told=particulars(exchange, repository=actor.unique_id),
    )
    status = RESPONSE_PARTIAL if findings else RESPONSE_SUCCESS
    return Reply([registry_response(status, findings, exchange.trace_id)])


def remove(
    actor: RepositoryActor, caller: Caller, requests: Sequence[DocumentRequest], *, trace_id: str, peer: str = "",
    told: Particulars = NONE,
) -> list[Finding]:
    """Remove what is held of these documents, every deposit of each; the findings are of those that were not.

    Raises Refused when none was removed. Which record a document is of the repository does not know: who may remove
    is decided without one.
    """
    wanted = list(dict.fromkeys(requests))
    refusal = _refusal(actor, caller)
    if refusal is None and len(wanted) > actor.max_documents:
        refusal = problem("R-160", ErrorCode.XDSRemoveDocumentsError, "RemoveDocumentsRequest", "DocumentRequest",
                          found=str(len(wanted)), expected=f"at most {actor.max_documents} documents in one request")
    findings: list[Finding] = [] if refusal is None else [refusal]
    gone: list[HeldDocument] = []
    with actor.database.write() as unit:
        for request in wanted if refusal is None else ():
            found, finding = _find(actor, unit, request)
            gone += found
            findings += [finding] if finding else []
            _write_line(unit, caller, [request.document_unique_id], trace_id, peer, finding, told)
        if refusal is not None:
            _write_line(unit, caller, [r.document_unique_id for r in wanted], trace_id, peer, refusal, told)
        unit.documents.bury(gone, at=actor.clock(), trace_id=trace_id)
    actor.documents.discard(document.key for document in gone)
    if not gone:
        raise Refused(findings)
    return findings


def _refusal(actor: RepositoryActor, caller: Caller) -> Finding | None:
    decision = actor.policy.decide(caller, Action.REMOVE, RecordFacts(RecordStatus.ACTIVE))
    if decision.allowed:
        return None
    return Finding(
        code=ErrorCode.XDSRemoveDocumentsError,
        subject="RemoveDocumentsRequest",
        field="access right",
        found=f"{caller.mode} caller {caller.identifier}",
        expected=f"a caller who may do this: {decision.reason}",
        clause=decision.clause,
        rule="R-160",
    )


def _find(
    actor: RepositoryActor, unit: RepositoryUnit, request: DocumentRequest
) -> tuple[list[HeldDocument], Finding | None]:
    if request.repository_unique_id != actor.unique_id:
        return [], _unknown(
            request, "R-158", ErrorCode.XDSUnknownRepositoryId, "RepositoryUniqueId", request.repository_unique_id,
            "the OID of this repository",
        )
    held = unit.documents.find(request.document_unique_id)
    if held:
        return held, None
    return [], _unknown(
        request, "R-159", ErrorCode.XDSDocumentUniqueIdError, "DocumentUniqueId", request.document_unique_id,
        "the uniqueId of a document held here",
    )


def _unknown(
    request: DocumentRequest, rule: str, code: ErrorCode, field: str, found: str, expected: str
) -> Finding:
    return Finding(
        code=code, subject="DocumentRequest", field=field, found=found, expected=expected,
        clause="ITI TF-2 3.86.4.1.3", rule=rule, location=request.document_unique_id,
    )


def _write_line(
    unit: RepositoryUnit, caller: Caller, documents: Sequence[str], trace_id: str, peer: str,
    refused_by: Finding | None, told: Particulars,
) -> None:
    unit.audit.append(
        access_log.change(
            caller,
            trace_id=trace_id,
            event=NAME,
            action=access_log.REMOVE,
            patient_key=None,
            patient_id="",
            documents=documents,
            detail="documents",
            peer=peer,
            refused_by=refused_by,
            particulars=told,
        )
    )
