"""ITI-43 Retrieve Document Set.

The registry decides, this actor enforces: bytes leave only for a document the registry has just
permitted to this caller, and only those bytes whose hash the registry names. What is masked, withheld,
removed or unknown gets one and the same answer. The caller's credential is verified by the registry, which decides;
here only when the registry has not answered, or when an on-demand document is to be made for him.

Clause: ITI TF-2 3.43
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.credentials.token import presented
from repository import on_demand_retrieve
from repository.actor import RepositoryActor
from repository.registry_link import Asker, Permit, RegistryUnavailable
from repository.store import RepositoryUnit, readings
from xds.ebxml.read import read_retrieve_request
from xds.ebxml.write import retrieve_response
from xds.errors import ErrorCode, Finding, Refused, has_errors
from xds.model.messages import DocumentRequest, RetrievedDocument
from xds.namespaces import RESPONSE_FAILURE, RESPONSE_PARTIAL, RESPONSE_SUCCESS, XDS
from xds.wire.exchange import Exchange, OutgoingPart, Reply, Transaction
from xds.wire.faults import SoapFault

NAME = "ITI-43"


def transaction(actor: RepositoryActor) -> Transaction:
    """The verb, bound to one repository."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2007:RetrieveDocumentSet",
        response_action="urn:ihe:iti:2007:RetrieveDocumentSetResponse",
        body=f"{{{XDS}}}RetrieveDocumentSetRequest",
        mtom=True,
        handle=lambda exchange: retrieve(actor, exchange),
        refuse=refuse,
        schema_error=ErrorCode.XDSRepositoryError,
        internal_error=ErrorCode.XDSRepositoryError,
        asks_another=True,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply(retrieve_response(RESPONSE_FAILURE, findings, [], exchange.trace_id))


@dataclass(frozen=True, slots=True)
class Served:
    """One document on its way out; its file is already open."""

    request: DocumentRequest
    mime_type: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    new_repository_unique_id: str = ""
    new_document_unique_id: str = ""


def retrieve(actor: RepositoryActor, exchange: Exchange) -> Reply:
    """Serve what the registry permits.

    Clause: ITI TF-2 3.43.4.1.3, 3.43.4.2
    """
    requests = read_retrieve_request(exchange.body)
    if len(requests) > actor.max_documents:
        too_many = Finding(
            code=ErrorCode.XDSTooManyResults,
            subject="RetrieveDocumentSetRequest",
            field="DocumentRequest",
            found=str(len(requests)),
            expected=f"at most {actor.max_documents} documents in one request",
            clause="ITI TF-3 4.2.4.1",
        )
        _log_refused(actor, exchange, requests[: actor.max_documents], too_many)
        raise Refused([too_many])
    mine = [r for r in requests if r.repository_unique_id == actor.unique_id]
    foreign = [r for r in requests if r.repository_unique_id != actor.unique_id]
    findings = [_unknown_repository(r) for r in foreign]
    if foreign:
        _log_refused(actor, exchange, foreign, findings[-1])
    permits = _permits(actor, exchange, mine)
    served: list[Served] = []
    with actor.database.read() as unit:
        for request in mine:
            permit = permits.get(request.document_unique_id)
            if permit is not None and permit.on_demand is not None:
                continue
            found = _open(actor, unit, request, permit) if permit else _unknown_document(request)
            served.append(found) if isinstance(found, Served) else findings.append(found)
    for request in mine:
        permit = permits.get(request.document_unique_id)
        if permit is not None and permit.on_demand is not None:
            _make(actor, exchange, request, permit, served, findings)
    status = RESPONSE_SUCCESS if not has_errors(findings) else RESPONSE_PARTIAL if served else RESPONSE_FAILURE
    return _reply(exchange, status, findings, served)


def _make(
    actor: RepositoryActor,
    exchange: Exchange,
    request: DocumentRequest,
    permit: Permit,
    served: list[Served],
    findings: list[Finding],
) -> None:
    """An on-demand document: one more served, or one more finding. Clause: ITI TF-2 3.43.4.1.3"""
    assert permit.on_demand is not None
    try:
        made = on_demand_retrieve.make(actor, exchange, permit.on_demand, permit)
    except Refused as refused:
        findings += refused.findings
        return
    findings += made.warnings
    served.append(
        Served(
            request,
            permit.mime_type,
            made.size,
            made.chunks,
            made.new_repository_unique_id,
            made.new_document_unique_id,
        )
    )


def _permits(actor: RepositoryActor, exchange: Exchange, mine: Sequence[DocumentRequest]) -> dict[str, Permit]:
    if not mine:
        return {}
    asker = Asker(presented(exchange.envelope, exchange.security), exchange.peer.certificate, exchange.trace_id)
    try:
        permits = actor.registry.decide(
            actor.unique_id,
            list(dict.fromkeys(r.document_unique_id for r in mine)),
            asker,
            particulars(exchange, client_address=exchange.peer.address),
        )
    except SoapFault:
        _ = exchange.caller  # our own verification finds the cause, for our log; the registry's word stands anyway
        raise
    except RegistryUnavailable as unavailable:
        undecided = Finding(
            code=ErrorCode.XDSRepositoryError,
            subject="the registry",
            found=str(unavailable),
            expected="its decision on this retrieve; without one nothing is served: repeat later",
            clause="ITI TF-2 3.43.4.1.3",
        )
        _log_refused(actor, exchange, mine, undecided)
        raise Refused([undecided]) from unavailable
    exchange.is_vouched = True
    return permits


def _open(actor: RepositoryActor, unit: RepositoryUnit, request: DocumentRequest, permit: Permit) -> Served | Finding:
    for held in unit.documents.find(request.document_unique_id):
        if held.sha1 == permit.sha1:
            try:
                return Served(request, permit.mime_type, permit.size, readings(actor.documents, held.key))
            except FileNotFoundError:
                continue
    if unit.documents.is_buried(request.document_unique_id, permit.sha1):
        return _unknown_document(request)
    return Finding(
        code=ErrorCode.XDSRepositoryError,
        subject=f"Document {request.document_unique_id}",
        field="content",
        found="no bytes with the registered hash",
        expected="the operator to run `carnet check`",
        clause="ITI TF-2 3.43.4.1.3",
        location=request.document_unique_id,
    )


def _unknown_document(request: DocumentRequest) -> Finding:
    return Finding(
        code=ErrorCode.XDSDocumentUniqueIdError,
        subject="DocumentRequest",
        field="DocumentUniqueId",
        found=request.document_unique_id,
        expected="the uniqueId of a document available to this caller",
        clause="ITI TF-2 3.43.4.1.3",
        rule="R-122",
        location=request.document_unique_id,
    )


def _unknown_repository(request: DocumentRequest) -> Finding:
    return Finding(
        code=ErrorCode.XDSUnknownRepositoryId,
        subject="DocumentRequest",
        field="RepositoryUniqueId",
        found=request.repository_unique_id,
        expected="the OID of this repository",
        clause="ITI TF-2 3.43.4.1.3",
        rule="R-121",
        location=request.document_unique_id,
    )


def _log_refused(
    actor: RepositoryActor, exchange: Exchange, requests: Sequence[DocumentRequest], finding: Finding
) -> None:
    """The registry logs what it decides; what never reached it is logged here."""
    with actor.database.write() as unit:
        for request in requests:
            unit.audit.append(
                access_log.retrieve(
                    exchange.caller,
                    trace_id=exchange.trace_id,
                    event=NAME,
                    patient_key=None,
                    patient_id="",
                    document=request.document_unique_id,
                    allowed=False,
                    reason=f"expected {finding.expected}",
                    clause=finding.clause,
                    peer=exchange.peer.address,
                    particulars=particulars(exchange, repository=request.repository_unique_id),
                )
            )


def _reply(exchange: Exchange, status: str, findings: Sequence[Finding], served: Sequence[Served]) -> Reply:
    """A homeCommunityId is repeated where it was asked with, and means nothing else here: communities are a gateway's
    (R-124), and a consumer sends back what the entry carries. Clause: ITI TF-2 3.43.4.2
    """
    parts, documents = [], []
    for item in served:
        content_id = f"{uuid4()}@carnet"
        documents.append(
            RetrievedDocument(
                home_community_id=item.request.home_community_id,
                repository_unique_id=item.request.repository_unique_id,
                document_unique_id=item.request.document_unique_id,
                mime_type=item.mime_type,
                content_id=content_id,
                new_repository_unique_id=item.new_repository_unique_id,
                new_document_unique_id=item.new_document_unique_id,
            )
        )
        parts.append(OutgoingPart(content_id, item.mime_type, item.size, item.chunks))
    return Reply(retrieve_response(status, findings, documents, exchange.trace_id), parts)
