"""ITI-41 Provide and Register Document Set-b.

Documents arrive first, size and SHA-1 computed as they stream to staging; small ones wait in memory. Then: match
documents and entries, compare what the source claimed, make the bytes permanent with their index rows and the
access-log line in one transaction, register, answer. A document is visible only through the registry,
so nothing of a deposit that fails in between is ever seen; what it leaves behind is swept.

Clause: ITI TF-2 3.41
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from repository import cda_check, deposit, signed_set
from repository.actor import RepositoryActor
from repository.store import Staged
from xds.check.context import Stage
from xds.check.submission import check_submission
from xds.ebxml.completion import FILLED, completed
from xds.ebxml.read import read_submission
from xds.ebxml.tree import reference
from xds.ebxml.write import registry_response
from xds.errors import Actor, ErrorCode, Finding, Refused, has_errors
from xds.model import DocumentEntry, Submission, SubmissionSet
from xds.namespaces import LCM, RESPONSE_FAILURE, RESPONSE_SUCCESS, XDS
from xds.rules import problem
from xds.wire.exchange import Exchange, Part, Reply, Transaction
from xds.wire.xop import UnresolvedInclude, receive_document

NAME = "ITI-41"
HASH_OF_NOTHING = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
"""SHA-1 of zero bytes."""
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
        asks_another=True,
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

    The registry verifies the signature of the caller's credential before it answers; this actor judges what the
    credential says, and verifies it where it answers by itself. Of the metadata the repository judges what it needs
    and what it sets; the registry judges them all, as they were sent (R-050).

    Raises Refused with every finding, the registry's own included; then no document stays.
    Clause: ITI TF-2 3.41.4.1.3, 3.41.4.2
    """
    _ = exchange.claimant
    request = next(exchange.body.iterchildren(f"{{{LCM}}}SubmitObjectsRequest"))
    submission, read = read_submission(request, Actor.REPOSITORY, brief=True)
    if any(actor.domain.signatures.is_signature(entry) for entry in submission.entries):
        submission, read = read_submission(request, Actor.REPOSITORY)  # whoever verifies looks at the authors
    findings = [f for f in read if f.field in FILLED]
    findings += check_submission(submission, actor.domain, Actor.REPOSITORY, stage=Stage.PROVIDE)
    findings += _check_source(actor, submission.submission_set)
    documents: list[Document] = []
    unreadable: set[str] = set()
    findings += _receive(actor, exchange, documents, unreadable)
    findings += _match(submission, documents, unreadable)
    staged = {d.document_id: d.staged for d in documents}
    findings += cda_check.check(actor, exchange, submission, staged)
    signed = signed_set.check(actor, exchange, submission, staged)
    findings += signed.findings
    if has_errors(findings):
        deposit.log(actor, exchange, NAME, submission, next(f for f in findings if f.is_error))
        raise Refused(findings)
    submission.as_received = completed(request, {
        e.entry_uuid: {"repositoryUniqueId": actor.unique_id, "size": str(e.size), "hash": e.hash}
        for e in submission.entries
    })
    for document in documents:
        document.part.claimed = True
    with deposit.under_way(actor, exchange):
        kept = deposit.keep(actor, exchange, NAME, submission, staged, signed)
        answer = deposit.register(actor, exchange, NAME, submission, kept, findings)
    status = RESPONSE_SUCCESS if answer.is_success else RESPONSE_FAILURE
    return Reply([registry_response(status, [*findings, *answer.errors], exchange.trace_id)])


def _check_source(actor: RepositoryActor, submission_set: SubmissionSet) -> Iterator[Finding]:
    """R-051: where the operator lists the sources, no other deposits. Clause: ITI TF-2 3.41.4.1.3"""
    if actor.sources and submission_set.source_id not in actor.sources:
        yield problem("R-051", METADATA, f"SubmissionSet {submission_set.entry_uuid}", "sourceId",
                      found=submission_set.source_id, expected="a source this repository knows")


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
    """Fill hash and size when absent, refuse them when wrong.

    Tolerated: size 0 beside the hash of nothing, from a source that did not look at its document (C-13).
    Clause: ITI TF-2 3.41.4.1.3 (R-044, R-045, R-047)
    """
    if (entry.size, entry.hash.lower()) == (0, HASH_OF_NOTHING):
        entry.size, entry.hash = None, ""
    subject = f"DocumentEntry {entry.entry_uuid}"
    if entry.hash and entry.hash.lower() != staged.sha1:
        yield problem("R-044", METADATA, subject, "hash", found=entry.hash,
                      expected=f"{staged.sha1}, the SHA-1 of the received bytes")
    if entry.size is not None and entry.size != staged.size:
        yield problem("R-045", METADATA, subject, "size", found=str(entry.size),
                      expected=f"{staged.size}, the number of received bytes")
    entry.hash, entry.size = staged.sha1, staged.size
