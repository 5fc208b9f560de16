"""The signature of a submission set, verified where the bytes are: before anything of the set is kept.

A set that carries a signature document is accepted only when all of it fits: form, certificate at the signing time,
value, signer, manifest, and the SHA-256 of every document received. What was known of the signer is then kept beside
the signature document, because in some years nobody else will know it.

Clause: DMP TD2.1 signature document; ITI TF-3 5.5; ETSI TS 101 903
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from guard.audit import access_log
from guard.audit.particulars import particulars
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from guard.credentials.certificates import CertificateRefused
from guard.credentials.identity import Kind
from guard.credentials.past import PastSigner, signer_at
from guard.credentials.xades import is_author, uri_of
from guard.credentials.xades_read import LARGEST, SetSignature, SignatureRefused, read
from repository.actor import RepositoryActor
from repository.digests import mismatch, sha256_of
from repository.store import Staged
from xds.errors import ErrorCode, Finding
from xds.model import DocumentEntry, Submission
from xds.model import datatypes as dt
from xds.rules import problem
from xds.wire.exchange import Exchange

EVENT = "DSG"
CONTENT = ErrorCode.InvalidDocumentContent
POLICY = ErrorCode.LocalPolicyRestrictionError
CLOCKS = timedelta(minutes=5)
"""By which the signer's clock may be ahead of ours."""
PLAUSIBLE = timedelta(days=1)
"""Between signing and submission."""


@dataclass(slots=True)
class SignedSet:
    """The outcome for one submission."""

    entry: DocumentEntry | None = None
    """Of the signature document, None when there is none to verify."""
    findings: list[Finding] = field(default_factory=list)
    signer: PastSigner | None = None
    detail: str = ""
    """Why the certificate was refused: for the access log alone."""


def check(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, staged: Mapping[str, Staged]
) -> SignedSet:
    """Verify the signature of a set, where the domain asks for it. ``staged`` are the documents received, by entry.

    A domain that asks for none (``off``) stores signature documents unread. What is refused has a line of its own in
    the access log, with the reason the caller is not told.
    Clause: DMP TD2.1 signature document; ITI TF-3 5.5
    """
    rules, result = actor.domain.signatures, SignedSet()
    found = [entry for entry in submission.entries if rules.is_signature(entry)] if rules.deposit != "off" else []
    if len(found) > 1:
        result.findings = [
            problem("R-173", CONTENT, f"DocumentEntry {entry.entry_uuid}", "formatCode",
                    found="a second signature document", expected="one signature document in a submission")
            for entry in found[1:]
        ]
    elif found and found[0].entry_uuid in staged:
        result.entry = found[0]
        _ = exchange.caller  # nobody is worked for before he is known
        result.findings = list(_verify(actor, exchange, submission, staged, result))
        if result.findings:
            with actor.database.write() as unit:
                unit.audit.append(line(exchange, submission, result))
    elif not found and rules.deposit == "required":
        subject = f"SubmissionSet {submission.submission_set.entry_uuid}"
        result.findings = [problem("R-172", POLICY, subject, "signature", expected="a signature document of the set "
                                   f"(formatCode {rules.format_code})")]
    return result


def line(exchange: Exchange, submission: Submission, result: SignedSet) -> AccessLine:
    """The verification in the access log, good or bad. Clause: ITI TF-3 5.5.7"""
    assert result.entry is not None
    refused = result.findings[0] if result.findings else None
    return access_log.signature(
        exchange.caller, trace_id=exchange.trace_id, event=EVENT, patient_id=submission.submission_set.patient_id,
        document=result.entry.unique_id, submission_unique_id=submission.submission_set.unique_id,
        signer=result.signer.number if result.signer else "", refused_by=refused, detail=result.detail,
        peer=exchange.peer.address, particulars=particulars(exchange),
    )


def _verify(
    actor: RepositoryActor, exchange: Exchange, submission: Submission, staged: Mapping[str, Staged], result: SignedSet
) -> Iterator[Finding]:
    entry = result.entry
    assert entry is not None
    subject, own = f"DocumentEntry {entry.entry_uuid}", staged[entry.entry_uuid]
    if own.size > LARGEST:
        yield problem("R-173", CONTENT, subject, "size", found=str(own.size), expected=f"at most {LARGEST} bytes")
        return
    try:
        signature = read(b"".join(actor.documents.reread(own)))
    except SignatureRefused as error:
        yield _refused("R-174", subject, error)
        return
    try:
        if actor.trust is None:
            raise CertificateRefused("no authorities are configured for signatures")
        signer = result.signer = signer_at(
            signature.certificate, signature.signing_time, actor.trust, now=datetime.fromtimestamp(actor.clock(), UTC)
        )
        if signer.revoked_since is not None:
            raise CertificateRefused(f"revoked at {signer.revoked_since.isoformat()}: nothing shows it signed before")
    except CertificateRefused as error:
        result.detail = str(error)
        yield problem("R-176", POLICY, subject, "SigningCertificate", found="a certificate that is not accepted",
                      expected="a signature certificate of an authority of this domain, in force at the signing time")
        return
    try:
        signature.verify()
    except SignatureRefused as error:
        yield _refused("R-175", subject, error)
        return
    yield from check_time(signature, submission.submission_set.submission_time, subject, actor.clock())
    yield from _check_signer(signer, exchange.caller, submission, entry)
    yield from check_manifest(signature, submission, entry)
    yield from _check_documents(actor, signature, submission, entry, staged)


def _refused(rule: str, subject: str, error: SignatureRefused) -> Finding:
    return problem(rule, CONTENT, subject, error.field, found=error.found, expected=error.expected)


def check_time(
    signature: SetSignature, submission_time: str, subject: str, received: float | None = None
) -> Iterator[Finding]:
    """R-189. ``received`` is seconds since the epoch, None when it is not known any more."""
    signed = signature.signing_time
    if received is not None and signed > datetime.fromtimestamp(received, UTC) + CLOCKS:
        yield problem("R-189", CONTENT, subject, "SigningTime", found=signed.isoformat(),
                      expected="a time not in the future")
    if not dt.is_dtm(submission_time):
        return
    first, last = (
        datetime.strptime(edge(submission_time), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        for edge in (dt.dtm_start, dt.dtm_end)
    )
    if not first - PLAUSIBLE <= signed <= last + PLAUSIBLE:
        yield problem("R-189", CONTENT, subject, "SigningTime", found=signed.isoformat(),
                      expected=f"a time within a day of the submissionTime {submission_time}")


def _check_signer(
    signer: PastSigner, caller: Caller, submission: Submission, entry: DocumentEntry
) -> Iterator[Finding]:
    """Who signs is who deposits: the person of the card, or the structure that vouches for him (R-177)."""
    subject = f"DocumentEntry {entry.entry_uuid}"
    is_person = signer.kind is Kind.PERSON
    acting = caller.identifier if is_person else caller.structure_id
    vouches = is_person or caller.mode in (Mode.INDIRECT, Mode.REINFORCED_INDIRECT)
    if caller.mode is not Mode.OFF and (not vouches or signer.number != acting):
        who = caller.structure_id if caller.mode is not Mode.DIRECT else caller.identifier
        yield problem("R-177", POLICY, subject, "SigningCertificate", found=f"the certificate of {signer.number}",
                      expected=f"that of who deposits, {who}")
    owners = ((f"SubmissionSet {submission.submission_set.entry_uuid}", submission.submission_set.authors),
              (subject, entry.authors))
    for owner, authors in owners:
        if not is_author(signer.kind, signer.number, authors):
            yield problem("R-177", ErrorCode.XDSRepositoryMetadataError, owner, "author",
                          found=", ".join(v for a in authors for v in (*a.person, *a.institutions)),
                          expected=f"the signer, {signer.number}, as author{'Person' if is_person else 'Institution'}")


def check_manifest(signature: SetSignature, submission: Submission, entry: DocumentEntry) -> Iterator[Finding]:
    """This set, and every other document of it, once each, and nothing else (R-178)."""
    subject, own = f"DocumentEntry {entry.entry_uuid}", uri_of(submission.submission_set.unique_id)
    if signature.set_uri != own:
        yield problem("R-178", CONTENT, subject, "Manifest", found=signature.set_uri, expected=f"{own}, this set")
    signed = {reference.uri for reference in signature.documents}
    present = {uri_of(e.unique_id) for e in submission.entries if e is not entry}
    for uri in sorted(signed - present):
        yield problem("R-178", CONTENT, subject, "Manifest", found=uri, expected="documents of this submission only")
    for uri in sorted(present - signed):
        yield problem("R-178", CONTENT, subject, "Manifest", expected=f"{uri}, a document of this submission")


def _check_documents(
    actor: RepositoryActor, signature: SetSignature, submission: Submission, entry: DocumentEntry,
    staged: Mapping[str, Staged],
) -> Iterator[Finding]:
    """R-179, for every document that was received and is named."""
    named = {reference.uri: reference for reference in signature.documents}
    for e in submission.entries:
        reference = named.get(uri_of(e.unique_id))
        if e is entry or reference is None or e.entry_uuid not in staged:
            continue
        document = staged[e.entry_uuid]
        found = mismatch(
            reference, document.size, partial(actor.documents.reread, document),
            partial(sha256_of, actor.documents, document),
        )
        if found:
            yield problem("R-179", CONTENT, f"DocumentEntry {e.entry_uuid}", "digest", found=found,
                          expected=f"the document that was signed, {reference.hash_name} {reference.digest.hex()}")
