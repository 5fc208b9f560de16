"""A deposit from staged bytes to the registry's answer: the path of ITI-41 and of every snapshot.

Bytes and rows are durable before the registry hears of them, and a document is visible only through the registry;
so whatever fails in between leaves nothing that anyone can see, and the sweep removes it.

Clause: ITI TF-2 3.41.4.1.3, 3.43.4.1.3 (A-4 to A-7 of our rules)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from guard.audit import access_log
from guard.audit.particulars import particulars, purpose_of, user_of
from guard.credentials.caller import Caller
from repository.actor import RepositoryActor
from repository.registry_link import Asker, Registered, RegistryUnavailable
from repository.signed_set import SignedSet
from repository.signed_set import line as signature_line
from repository.store import HeldDocument, Staged
from xds.errors import ErrorCode, Finding, Refused
from xds.model import Submission
from xds.rules import problem
from xds.wire.exchange import Exchange
from xds.wire.faults import SoapFault

_CREDENTIAL = Finding(
    code=ErrorCode.XDSRepositoryError, subject="the credential", expected="one that is accepted",
    clause="ITI TF-2 3.40.4.1.3",
)
_FAILURE = Finding(code=ErrorCode.XDSRepositoryError, subject="this service", expected="no failure of ours")


@dataclass(frozen=True, slots=True)
class Kept:
    """The documents of a deposit, and the number of its line in the access log."""

    held: list[HeldDocument]
    line: int


@contextmanager
def under_way(actor: RepositoryActor, exchange: Exchange) -> Iterator[None]:
    """While it lasts nobody is told of this deposit: how it ends is not known."""
    actor.under_way.add(exchange.trace_id)
    try:
        yield
    finally:
        actor.under_way.discard(exchange.trace_id)


def keep(
    actor: RepositoryActor, exchange: Exchange, event: str, submission: Submission, staged: Mapping[str, Staged],
    signed: SignedSet | None = None,
) -> Kept:
    """Make the bytes permanent, then their rows and the log line in one transaction (A-4).

    The line names who says he deposits, and that he says so; when he turns out to be nobody another line follows, which
    names nobody, and its audit message is sent in place of this one's.
    ``staged`` holds one document for each entry, by its id; ``event`` is the transaction under way, for the log. Sets
    the entries' repositoryUniqueId. What was known of the signer of ``signed`` goes along. On any failure none of the
    bytes stays.
    """
    entries = {e.entry_uuid: e for e in submission.entries}
    held = []
    for document_id, document in staged.items():
        entry = entries[document_id]
        entry.repository_unique_id = actor.unique_id
        held.append(
            HeldDocument(
                key=document.key,
                unique_id=entry.unique_id,
                sha1=document.sha1,
                size=document.size,
                mime_type=entry.mime_type,
                submission_unique_id=submission.submission_set.unique_id,
                received_at=actor.clock(),
            )
        )
    try:
        actor.documents.keep(staged.values())
        with actor.database.write() as unit:
            unit.documents.add(held)
            if signed is not None and signed.entry is not None and signed.signer is not None:
                key = staged[signed.entry.entry_uuid].key
                unit.documents.add_proof(key, signed.signer.proof, at=actor.clock())
                unit.audit.append(signature_line(exchange, submission, signed))
            line = unit.audit.append(_line(exchange, exchange.claimant, event, submission, None, sent_on="ITI-42"))
    except BaseException:
        actor.documents.discard(h.key for h in held)
        raise
    return Kept(held, line)


def register(
    actor: RepositoryActor,
    exchange: Exchange,
    event: str,
    submission: Submission,
    kept: Kept,
    findings: Sequence[Finding] = (),
) -> Registered:
    """Register what is kept; what the registry refuses is withdrawn, rows and bytes.

    The registry verifies the caller's credential; when it has given no answer, it is verified here before ours is.

    Raises SoapFault for a credential that is not accepted. Raises Refused with ``findings`` and XDSRegistryNotAvailable
    when the registry gave no answer, or refused us: then the documents are withdrawn unless it may have carried out the
    request all the same.
    Clause: ITI TF-2 3.41.4.1.3 (A-5, A-6, A-7 of our rules)
    """
    try:
        asker = Asker(exchange.claimant.assertion, exchange.peer.certificate, exchange.trace_id)
        answer = actor.registry.register(submission, asker)
    except RegistryUnavailable as unavailable:
        try:
            _ = exchange.caller
        except SoapFault:
            _withdraw(actor, exchange, event, submission, kept, _CREDENTIAL, is_sure=not unavailable.outcome_unknown)
            raise
        finding = problem(
            "A-6", ErrorCode.XDSRegistryNotAvailable, "the registry", found=str(unavailable),
            expected=(
                "an answer; the outcome is unknown: repeat, and XDSDuplicateUniqueIdInRegistry will mean it was done"
                if unavailable.outcome_unknown
                else "an answer; nothing was stored: repeat later"
            ),
        )
        if unavailable.outcome_unknown:
            log(actor, exchange, event, submission, finding, kept.line)
        else:
            _withdraw(actor, exchange, event, submission, kept, finding)
        raise Refused([*findings, finding]) from unavailable
    except BaseException:
        _withdraw(actor, exchange, event, submission, kept, _FAILURE, is_sure=False)
        raise
    exchange.is_vouched = True
    if not answer.is_success:
        _withdraw(actor, exchange, event, submission, kept, _refused_by(answer))
    return answer


def log(
    actor: RepositoryActor,
    exchange: Exchange,
    event: str,
    submission: Submission,
    finding: Finding,
    kept_line: int = 0,
) -> None:
    """The line of a deposit that came to nothing. ``kept_line`` is the line it was stored with, 0 when it never was."""
    line = _line(exchange, exchange.caller, event, submission, finding, sent_on="ITI-42" if kept_line else "")
    with actor.database.write() as unit:
        unit.audit.append(line, replaces=kept_line)


def became(actor: RepositoryActor, line: access_log.AccessLine) -> access_log.AccessLine | None:
    """The line of a deposit whose process ended before it could tell the end; None while the sweep has not asked.

    Whoever only said who he was is named when the registry turns out to have the documents.
    """
    if line.reason != access_log.CLAIMED:
        return line
    with actor.database.read() as unit:
        held = [
            document for unique_id in line.documents for document in unit.documents.find(unique_id)
            if document.submission_unique_id == line.particulars.submission_set
        ]
    if any(document.settled for document in held):
        return line
    return None if held else access_log.never_registered(line)


def _refused_by(answer: Registered) -> Finding:
    """The registry's first error, for the log: its code alone, the text may name the patient."""
    code = next((e.code for e in answer.errors if e.is_error), ErrorCode.XDSRegistryError.value)
    return Finding(code=ErrorCode.XDSRegistryError, subject="the registry", expected=f"no {code} from the registry")


def _withdraw(
    actor: RepositoryActor,
    exchange: Exchange,
    event: str,
    submission: Submission,
    kept: Kept,
    finding: Finding,
    *,
    is_sure: bool = True,
) -> None:
    """Rows first, bytes after: a crash in between leaves only bytes without a row, which the sweep removes.

    Unless it ``is_sure`` that the registry has nothing of it, all of it is left to the sweep, which asks.
    """
    keys = [h.key for h in kept.held] if is_sure else []
    line = _line(exchange, exchange.accepted, event, submission, finding, sent_on="ITI-42")
    with actor.database.write() as unit:
        unit.documents.remove(keys)
        unit.audit.append(line, replaces=kept.line)
    actor.documents.discard(keys)


def _line(
    exchange: Exchange, caller: Caller | None, event: str, submission: Submission, refused_by: Finding | None,
    sent_on: str = "",
) -> access_log.AccessLine:
    """``sent_on`` is the transaction the registry was asked with, "" when it was not asked."""
    return access_log.deposit(
        caller,
        trace_id=exchange.trace_id,
        event=event,
        patient_key=None,
        patient_id=submission.submission_set.patient_id,
        documents=[e.unique_id for e in submission.entries],
        submission_unique_id=submission.submission_set.unique_id,
        peer=exchange.peer.address,
        refused_by=refused_by,
        is_claim=caller is not None and caller.is_claim,
        particulars=particulars(exchange, user=user_of(caller), purpose=purpose_of(caller), sent_on=sent_on),
    )
