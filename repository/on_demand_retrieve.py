"""The on-demand part of ITI-43: make the document, keep it as a snapshot if so set, and hand it over.

A snapshot takes the way of every deposit: bytes and row durable, then ITI-42 under the caller's assertion, and only
then the answer, which names it (R-181). Where the registry will not have it (a caller who may read but not deposit)
the document is given all the same, and a warning says that it is not kept.

Clause: ITI TF-2 3.43.4.1.3, 3.43.4.2
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from guard.audit import access_log
from guard.audit.particulars import particulars, request_of
from repository import deposit
from repository.actor import RepositoryActor
from repository.on_demand import Assembled, OnDemandProvider, OnDemandRequest
from repository.on_demand_entries import may_be_kept, new_oid, snapshot
from repository.registry_link import Asked, Asker, Permit, RegistryUnavailable
from repository.store import Staged, readings
from xds.errors import ErrorCode, Finding, Refused, Severity
from xds.model import DocumentEntry, Submission
from xds.model.datatypes import dtm_text
from xds.namespaces import PROVIDER_SLOT
from xds.wire.exchange import Exchange
from xds.wire.outcome import place_of

EVENT = "ITI-43"
SNAPSHOT = "on-demand snapshot"
"""Event of the deposit inside a retrieve: nobody has called for it, so as an audit message it is ITI-42 alone."""
QUERY = "on-demand query"
"""Event of a stored query inside a retrieve: as an audit message the consumer's side of ITI-18."""
CLAUSE = "ITI TF-2 3.43.4.1.3"

log = logging.getLogger("repository.on_demand")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A document made for this answer; its bytes are open. ``new_repository_unique_id`` is "" unless it was kept."""

    new_document_unique_id: str
    new_repository_unique_id: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    warnings: tuple[Finding, ...] = ()


def make(actor: RepositoryActor, exchange: Exchange, entry: DocumentEntry, permit: Permit) -> Made:
    """Make the document of ``entry``, the on-demand entry of ``permit``, under a uniqueId never given before (R-180,
    R-183). It is in the log before it leaves.

    Raises Refused with the one finding of this document.
    Clause: ITI TF-2 3.43.4.1.3
    """
    provider, domain = _provider(actor, entry), actor.domain
    entry = replace(entry, extra_slots=entry.extra_slots | {PROVIDER_SLOT: [provider.name]})
    moment = datetime.fromtimestamp(actor.clock(), UTC)
    asker = Asker(exchange.caller.assertion, exchange.peer.certificate, exchange.trace_id)
    request = OnDemandRequest(
        entry=entry,
        unique_id=new_oid(),
        caller=exchange.caller,
        moment=moment,
        documents=lambda most: actor.registry.latest(
            entry.patient_id, most, asker, lambda asked: _log_query(actor, exchange, entry.patient_id, asked)
        ),
    )
    assembled, staged = _assemble(actor, exchange, provider, request)
    if actor.keeps_snapshots and may_be_kept(domain):
        submission = snapshot(
            entry,
            permit.snapshots,
            exchange.caller,
            assembled.confidentiality,
            domain,
            unique_id=request.unique_id,
            now=dtm_text(moment),
        )
        made = _kept(actor, exchange, entry, submission, staged)
    else:
        made = _passing(actor, exchange, request, staged)
    _write_line(actor, exchange, entry, made)
    return made


def _provider(actor: RepositoryActor, entry: DocumentEntry) -> OnDemandProvider:
    """Whom the entry names; an entry that somebody else has registered for this repository names nobody, and the first
    provider of the settings makes its document.
    """
    names = entry.extra_slots.get(PROVIDER_SLOT) or list(actor.providers)[:1]
    provider = actor.providers.get(names[0]) if len(names) == 1 else None
    if provider is None:
        raise Refused([_finding(entry, f"the provider {', '.join(names) or 'of no name'}", "one this repository has")])
    return provider


def _assemble(
    actor: RepositoryActor, exchange: Exchange, provider: OnDemandProvider, request: OnDemandRequest
) -> tuple[Assembled, Staged]:
    """Let the provider work; what it makes goes to staging as it comes.

    What a provider raises is ours to explain, never its text: that may quote a document (R-186). OSError is the
    store's.
    """
    upload = actor.documents.begin()
    try:
        assembled = provider.assemble(request)
        for chunk in assembled.chunks:
            upload.write(chunk)
        return assembled, upload.finish()
    except BaseException as error:
        upload.abort()
        if isinstance(error, RegistryUnavailable):
            raise Refused([_finding(request.entry, str(error), "an answer of the registry: repeat later")]) from error
        if isinstance(error, OSError | MemoryError) or not isinstance(error, Exception):
            raise
        log.error(
            "%s in provider %s, trace %s, at %s",
            type(error).__name__, provider.name, exchange.trace_id, place_of(error),
        )
        raise Refused([_finding(request.entry, "a failure of its provider", "a document")]) from error


def _kept(
    actor: RepositoryActor, exchange: Exchange, entry: DocumentEntry, submission: Submission, staged: Staged
) -> Made:
    """Store and register a snapshot, the bytes opened before the registry may turn it down."""
    made = submission.entries[0]
    made.hash, made.size = staged.sha1, staged.size
    try:
        with deposit.under_way(actor, exchange):
            kept = deposit.keep(actor, exchange, SNAPSHOT, submission, {made.entry_uuid: staged})
            chunks = readings(actor.documents, staged.key)
            answer = deposit.register(actor, exchange, SNAPSHOT, submission, kept)
    except Refused as refused:
        raise Refused([_finding(entry, refused.findings[0].found, "an answer of the registry: repeat later")]) from (
            refused
        )
    if answer.is_success:
        return Made(
            new_document_unique_id=made.unique_id,
            new_repository_unique_id=actor.unique_id,
            size=staged.size,
            chunks=chunks,
        )
    code = next((e.code for e in answer.errors if e.is_error), ErrorCode.XDSRegistryError.value)
    warning = _finding(entry, f"{code} from the registry", "a snapshot; the document is not kept", Severity.WARNING)
    return Made(
        new_document_unique_id=made.unique_id,
        new_repository_unique_id="",
        size=staged.size,
        chunks=chunks,
        warnings=(warning,),
    )


def _passing(actor: RepositoryActor, exchange: Exchange, request: OnDemandRequest, staged: Staged) -> Made:
    """A document that is read once: the store forgets it while it is still open (R-184).

    An answer to another address may be sent again, so then the bytes stay until the sweep finds them without a row.
    """
    to = exchange.addressing.reply_to
    try:
        actor.documents.keep([staged])
        chunks = readings(actor.documents, staged.key)
    except BaseException:
        actor.documents.discard([staged.key])
        raise
    if to is None or not to.is_elsewhere:
        actor.documents.discard([staged.key])
    return Made(
        new_document_unique_id=request.unique_id, new_repository_unique_id="", size=staged.size, chunks=chunks
    )


def _finding(entry: DocumentEntry, found: str, expected: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(
        code=ErrorCode.XDSRepositoryError,
        subject=f"Document {entry.unique_id}",
        field="on-demand content",
        found=found,
        expected=expected,
        clause=CLAUSE,
        severity=severity,
        location=entry.unique_id,
    )


def _log_query(actor: RepositoryActor, exchange: Exchange, patient_id: str, asked: Asked) -> None:
    """Our own query, before what it found is used. Clause: ITI TF-2 3.18.5.1.1"""
    with actor.database.write() as unit:
        unit.audit.append(
            access_log.own_call(
                exchange.caller, asked.failure, trace_id=exchange.trace_id, event=QUERY, action=access_log.SEARCH,
                patient_id=patient_id, detail=f"{asked.query_id}, {asked.results} results",
                particulars=particulars(exchange, sent_on="ITI-18", **request_of(asked.query_id, asked.request)),
            )
        )


def _write_line(actor: RepositoryActor, exchange: Exchange, entry: DocumentEntry, made: Made) -> None:
    """The registry logs that the document was read; this line says what was made for it, and whether it stays."""
    fate = "kept as a snapshot" if made.new_repository_unique_id else "not kept"
    with actor.database.write() as unit:
        unit.audit.append(
            access_log.retrieve(
                exchange.caller,
                trace_id=exchange.trace_id,
                event=EVENT,
                patient_key=None,
                patient_id=entry.patient_id,
                document=made.new_document_unique_id,
                allowed=True,
                reason=f"made on demand for {entry.unique_id}, {fate}",
                clause=CLAUSE,
                peer=exchange.peer.address,
                particulars=particulars(exchange, repository=actor.unique_id),
            )
        )
