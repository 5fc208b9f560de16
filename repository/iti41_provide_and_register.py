"""ITI-41 Provide and Register Document Set-b.

Documents arrive first, streamed to staging while size and SHA-1 are computed. Then: match documents and
entries, compare what the source claimed, make the bytes permanent with their index rows and the
access-log line in one transaction, register, answer. A document is visible only through the registry,
so nothing of a deposit that fails in between is ever seen; what it leaves behind is swept.

Clause: ITI TF-2 3.41
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from guard.audit import access_log
from guard.audit.particulars import particulars
from repository.actor import RepositoryActor
from repository.registry_link import Asker, Registered, RegistryUnavailable
from repository.store import HeldDocument, Staged
from xds.check.context import Stage
from xds.check.submission import check_submission
from xds.ebxml.completion import FILLED, completed
from xds.ebxml.read import read_submission
from xds.ebxml.tree import reference
from xds.ebxml.write import Problem, registry_response
from xds.errors import Actor, ErrorCode, Finding, Refused, has_errors
from xds.model import DocumentEntry, Submission
from xds.namespaces import LCM, RESPONSE_FAILURE, RESPONSE_SUCCESS, XDS
from xds.rules import problem
from xds.wire.exchange import Exchange, Part, Reply, Transaction
from xds.wire.xop import UnresolvedInclude, receive_document

NAME = "ITI-41"
METADATA = ErrorCode.XDSRepositoryMetadataError


def transaction(actor: RepositoryActor) -> Transaction:
    """The verb, bound to one repository."""
    return Transaction(
        name=NAME,
        action="urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
        response_action="urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse",
        body=f"{{{XDS}}}ProvideAndRegisterDocumentSetRequest",
        mtom=True,
        handle=lambda exchange: provide_and_register(actor, exchange),
        refuse=refuse,
        schema_error=METADATA,
        internal_error=ErrorCode.XDSRepositoryError,
    )


def refuse(exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    return Reply([registry_response(RESPONSE_FAILURE, findings, exchange.trace_id)])


@dataclass(frozen=True, slots=True)
class Document:
    """One received document. The service drops its bytes at the end unless its part is claimed."""

    document_id: str
    part: Part

    @property
    def staged(self) -> Staged:
        return cast(Staged, self.part.received)


def provide_and_register(actor: RepositoryActor, exchange: Exchange) -> Reply:
    """Store the documents and register them.

    Of the metadata the repository judges what it needs and what it sets; the registry judges them all, as they were
    sent (R-050).

    Raises Refused with every finding, the registry's own included; then no document stays.
    Clause: ITI TF-2 3.41.4.1.3, 3.41.4.2
    """
    request = next(exchange.body.iterchildren(f"{{{LCM}}}SubmitObjectsRequest"))
    submission, read = read_submission(request, Actor.REPOSITORY)
    findings = [f for f in read if f.field in FILLED]
    findings += check_submission(submission, actor.domain, Actor.REPOSITORY, stage=Stage.PROVIDE)
    documents: list[Document] = []
    unreadable: set[str] = set()
    findings += _receive(actor, exchange, documents, unreadable)
    findings += _match(submission, documents, unreadable)
    if has_errors(findings):
        _log(actor, exchange, submission, next(f for f in findings if f.is_error))
        raise Refused(findings)
    submission.as_received = completed(request, {
        e.entry_uuid: {"repositoryUniqueId": actor.unique_id, "size": str(e.size), "hash": e.hash}
        for e in submission.entries
    })
    actor.under_way.add(exchange.trace_id)
    try:
        kept = _keep(actor, exchange, submission, documents)
        return _register(actor, exchange, submission, kept, findings)
    finally:
        actor.under_way.discard(exchange.trace_id)


def _receive(
    actor: RepositoryActor, exchange: Exchange, documents: list[Document], unreadable: set[str]
) -> Iterator[Finding]:
    """Find the bytes of each xds:Document: an attached part, or base64 in place. Clause: ITI TF-2 V.3.6

    ``unreadable`` gets the ids of those reported here, so that nothing is said of them twice.
    """
    taken: set[int] = set()
    for element in exchange.body.iterfind(f"{{{XDS}}}Document"):
        document_id = reference(element.get("id"))
        unreadable.add(document_id)
        if len(element) == 0 and not (element.text or "").strip():
            yield _missing(document_id, "an empty Document", "the bytes of the document, by xop:Include or base64")
            continue
        try:
            part = receive_document(element, exchange, actor.documents.begin)
        except UnresolvedInclude as error:
            yield _missing(document_id, error.reason, "an xop:Include that names a part of this message")
            continue
        if id(part) in taken:
            yield _missing(document_id, "the part of another Document", "a part of its own")
            continue
        taken.add(id(part))
        unreadable.discard(document_id)
        documents.append(Document(document_id, part))


def _missing(document_id: str, found: str, expected: str) -> Finding:
    return problem("R-042", ErrorCode.XDSMissingDocument, f"Document {document_id}", "content", found=found,
                   expected=expected)


def _match(submission: Submission, documents: Sequence[Document], unreadable: set[str]) -> Iterator[Finding]:
    """One document for each entry and one entry for each document; claimed hash and size must be true."""
    received: dict[str, Document] = {}
    entries = {e.entry_uuid: e for e in reversed(submission.entries)}
    for document in documents:
        identifier = document.document_id
        if identifier in received or identifier not in entries:
            yield problem("R-041", ErrorCode.XDSMissingDocumentMetadata, f"Document {identifier}", "id",
                          found=f"{identifier} a second time" if identifier in received else identifier,
                          expected="a DocumentEntry with this id, and one Document for each")
        received.setdefault(identifier, document)
    for entry in submission.entries:
        identifier, subject = entry.entry_uuid, f"DocumentEntry {entry.entry_uuid}"
        if entry is not entries[identifier]:
            yield problem("R-040", ErrorCode.XDSMissingDocument, subject, "Document", found="a second entry of this id",
                          expected="a Document of its own for each entry")
        elif identifier in received:
            yield from _compare(entry, received[identifier].staged)
        elif identifier not in unreadable:
            yield problem("R-040", ErrorCode.XDSMissingDocument, subject, "Document",
                          expected="a Document element with this id")


def _compare(entry: DocumentEntry, staged: Staged) -> Iterator[Finding]:
    """Fill hash and size when absent, refuse them when wrong. Clause: ITI TF-2 3.41.4.1.3 (R-044, R-045, R-047)"""
    subject = f"DocumentEntry {entry.entry_uuid}"
    if entry.hash and entry.hash.lower() != staged.sha1:
        yield problem("R-044", METADATA, subject, "hash", found=entry.hash,
                      expected=f"{staged.sha1}, the SHA-1 of the received bytes")
    if entry.size is not None and entry.size != staged.size:
        yield problem("R-045", METADATA, subject, "size", found=str(entry.size),
                      expected=f"{staged.size}, the number of received bytes")
    entry.hash, entry.size = staged.sha1, staged.size


@dataclass(frozen=True, slots=True)
class Kept:
    """The documents of a deposit, and the number of its line in the access log."""

    held: list[HeldDocument]
    line: int


def _keep(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, documents: Sequence[Document]
) -> Kept:
    """Make the bytes permanent, then their rows and the log line in one transaction (A-4).

    On any failure none of the bytes stays.
    """
    entries = {e.entry_uuid: e for e in submission.entries}
    held = []
    for document in documents:
        entry = entries[document.document_id]
        entry.repository_unique_id = actor.unique_id
        held.append(
            HeldDocument(
                key=document.staged.key,
                unique_id=entry.unique_id,
                sha1=document.staged.sha1,
                size=document.staged.size,
                mime_type=entry.mime_type,
                submission_unique_id=submission.submission_set.unique_id,
                received_at=actor.clock(),
            )
        )
    for document in documents:
        document.part.claimed = True
    try:
        actor.documents.keep([d.staged for d in documents])
        with actor.database.write() as unit:
            unit.documents.add(held)
            line = unit.audit.append(_line(exchange, submission, None, sent_on="ITI-42"))
    except BaseException:
        actor.documents.discard(h.key for h in held)
        raise
    return Kept(held, line)


def _register(
    actor: RepositoryActor,
    exchange: Exchange,
    submission: Submission,
    kept: Kept,
    findings: Sequence[Finding],
) -> Reply:
    """Clause: ITI TF-2 3.41.4.1.3 (A-5, A-6, A-7 of our rules)"""
    try:
        asker = Asker(exchange.caller.assertion, exchange.peer.certificate, exchange.trace_id)
        answer = actor.registry.register(submission, asker)
    except RegistryUnavailable as unavailable:
        finding = problem(
            "A-6", ErrorCode.XDSRegistryNotAvailable, "the registry", found=str(unavailable),
            expected=(
                "an answer; the outcome is unknown: repeat, and XDSDuplicateUniqueIdInRegistry will mean it was done"
                if unavailable.outcome_unknown
                else "an answer; nothing was stored: repeat later"
            ),
        )
        if unavailable.outcome_unknown:
            _log(actor, exchange, submission, finding, kept.line)
        else:
            _withdraw(actor, exchange, submission, kept, finding)
        raise Refused([*findings, finding]) from unavailable
    problems: list[Problem] = [*findings, *answer.errors]
    if not answer.is_success:
        _withdraw(actor, exchange, submission, kept, _refused_by(answer))
        return Reply([registry_response(RESPONSE_FAILURE, problems, exchange.trace_id)])
    return Reply([registry_response(RESPONSE_SUCCESS, problems, exchange.trace_id)])


def _refused_by(answer: Registered) -> Finding:
    """The registry's first error, for the log: its code alone, the text may name the patient."""
    code = next((e.code for e in answer.errors if e.is_error), ErrorCode.XDSRegistryError.value)
    return Finding(code=ErrorCode.XDSRegistryError, subject="the registry", expected=f"no {code} from the registry")


def _withdraw(
    actor: RepositoryActor,
    exchange: Exchange,
    submission: Submission,
    kept: Kept,
    finding: Finding,
) -> None:
    """Rows first, bytes after: a crash in between leaves only bytes without a row, which the sweep removes."""
    keys = [h.key for h in kept.held]
    with actor.database.write() as unit:
        unit.documents.remove(keys)
        unit.audit.append(_line(exchange, submission, finding, sent_on="ITI-42"), replaces=kept.line)
    actor.documents.discard(keys)


def _log(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, finding: Finding, kept_line: int = 0
) -> None:
    """``kept_line`` is the line the deposit was stored with, 0 when it never got so far."""
    with actor.database.write() as unit:
        line = _line(exchange, submission, finding, sent_on="ITI-42" if kept_line else "")
        unit.audit.append(line, replaces=kept_line)


def _line(
    exchange: Exchange, submission: Submission, refused_by: Finding | None, sent_on: str = ""
) -> access_log.AccessLine:
    """``sent_on`` is the transaction the registry was asked with, "" when it was not asked."""
    return access_log.deposit(
        exchange.caller,
        trace_id=exchange.trace_id,
        event=NAME,
        patient_key=None,
        patient_id=submission.submission_set.patient_id,
        documents=[e.unique_id for e in submission.entries],
        submission_unique_id=submission.submission_set.unique_id,
        peer=exchange.peer.address,
        refused_by=refused_by,
        particulars=particulars(exchange, sent_on=sent_on),
    )
