"""A signed submission set looked at again, years later: three results that do not depend on each other.

*block*: the signature value fits what it signs. *signer*: the certificate was believed, valid and not revoked when it
signed, and its holder is an author of the set. *documents*: every signed document is unchanged, and the set has no
other. What cannot be told is said to be so, and never counts as good.

Clause: ITI TF-3 5.5.6; ETSI EN 319 102-1 5; ETSI TS 101 903
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

from guard.credentials.certificates import CertificateRefused, TrustStore
from guard.credentials.past import PastSigner, signer_at
from guard.credentials.xades import is_author, uri_of
from guard.credentials.xades_read import Reference, SetSignature, SignatureRefused, read
from repository.digests import mismatch
from repository.signed_set import check_time
from repository.store import KeptProof
from xds.model import DocumentEntry, Submission

CHUNK = 1 << 18


class Verdict(StrEnum):
    VALID = "valid"
    PARTIAL = "partial"
    """Good as far as could be read; documents that could not are named."""
    UNKNOWN = "unknown"
    """Neither good nor bad: what would tell is not at hand."""
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Result:
    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bytes:
    """A document that can be read. ``chunks`` gives it from its start at each call."""

    size: int
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of_file(cls, file: Path) -> Bytes:
        return cls(file.stat().st_size, partial(_chunks, file))

    def sha256(self) -> str:
        digest = sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


@dataclass(slots=True, kw_only=True)
class Evidence:
    """All there is. In place of ``submission`` and ``documents``, files without metadata have ``files`` by name."""

    signature: bytes
    trust: TrustStore
    kept: KeptProof | None = None
    submission: Submission | None = None
    """The set and its documents as they are registered, the signature document among them."""
    entry: DocumentEntry | None = None
    """Of the signature document."""
    documents: Mapping[str, Bytes | None] = field(default_factory=dict)
    """By uniqueId; None: it may not or cannot be read."""
    files: Mapping[str, Bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one signature document is worth today."""

    block: Result
    signer: Result
    documents: Result
    signed_by: str = ""
    signed_at: str = ""
    accepted_at: str = ""
    certificate: str = ""
    """SHA-256 of the signer's certificate, hexadecimal."""
    signed: tuple[str, ...] = ()
    """URIs of the signed documents."""

    @property
    def results(self) -> dict[str, Result]:
        return {"block": self.block, "signer": self.signer, "documents": self.documents}

    def is_good(self, *, partial: bool = False) -> bool:
        """All three valid; ``partial``: documents that could not be read do not count."""
        good = {Verdict.VALID, Verdict.PARTIAL} if partial else {Verdict.VALID}
        return all(result.verdict in good for result in self.results.values())


def verify(evidence: Evidence) -> Report:
    """Clause: ITI TF-3 5.5.6"""
    try:
        signature = read(evidence.signature)
    except SignatureRefused as error:
        nothing = Result(Verdict.UNKNOWN, ("the signature document cannot be read as one",))
        return Report(block=Result(Verdict.INVALID, (str(error),)), signer=nothing, documents=nothing)
    result, signer = _signer(signature, evidence)
    kept = evidence.kept
    return Report(
        block=_block(signature, evidence),
        signer=result,
        documents=_files(signature, evidence.files) if evidence.files is not None else _documents(signature, evidence),
        signed_by=" ".join(filter(None, (signer.number, signer.identity.name))) if signer else "",
        signed_at=signature.signing_time.isoformat(),
        accepted_at=datetime.fromtimestamp(kept.accepted_at, UTC).isoformat(timespec="seconds") if kept else "",
        certificate=sha256(signature.certificate).hexdigest(),
        signed=tuple(reference.uri for reference in signature.documents),
    )


def _block(signature: SetSignature, evidence: Evidence) -> Result:
    try:
        signature.verify()
    except SignatureRefused as error:
        return Result(Verdict.INVALID, (str(error),))
    return Result(Verdict.VALID)


def _signer(signature: SetSignature, evidence: Evidence) -> tuple[Result, PastSigner | None]:
    """Certificates as they were at the signing time; what was kept at deposit tells it for good."""
    kept, moment = evidence.kept, signature.signing_time
    try:
        signer = signer_at(signature.certificate, moment, evidence.trust, kept.signer if kept else None)
    except CertificateRefused as error:
        return Result(Verdict.INVALID, (f"the certificate is not accepted for {moment.isoformat()}: {error}",)), None
    since, notes = signer.revoked_since, []
    if since is not None and (kept is None or datetime.fromtimestamp(kept.accepted_at, UTC) >= since):
        reason = f"revoked at {since.isoformat()}, and nothing shows that the signature is older"
        return Result(Verdict.UNKNOWN, (reason,)), signer
    if since is not None:
        notes.append(f"revoked since, at {since.isoformat()}: that says nothing against this signature")
    submission, entry = evidence.submission, evidence.entry
    if submission is None or entry is None:
        return Result(Verdict.VALID, ("whether the signer is the author is not known without metadata",)), signer
    one = submission.submission_set
    for owner, authors in (("the set", one.authors), ("the signature document", entry.authors)):
        if not is_author(signer.kind, signer.number, authors):
            return Result(Verdict.INVALID, (f"{signer.number} signed, who is no author of {owner}",)), signer
    wrong = [f.context() for f in check_time(signature, one.submission_time, "signature")]
    return Result(Verdict.INVALID if wrong else Verdict.VALID, tuple(wrong or notes)), signer


def _documents(signature: SetSignature, evidence: Evidence) -> Result:
    submission, entry = evidence.submission, evidence.entry
    assert submission is not None and entry is not None
    own, bad, missing = uri_of(submission.submission_set.unique_id), [], []
    if signature.set_uri != own:
        bad.append(f"signed was the set {signature.set_uri or '(none)'}, this is {own}")
    present = {uri_of(e.unique_id): e.unique_id for e in submission.entries if e is not entry}
    signed = {reference.uri: reference for reference in signature.documents}
    bad += [f"{uri} is in the set and was not signed" for uri in sorted(present.keys() - signed.keys())]
    for uri, reference in signed.items():
        document = evidence.documents.get(present[uri]) if uri in present else None
        if uri not in present:
            missing.append(f"{uri} was signed and is no longer in the set")
        elif document is None:
            missing.append(f"{uri} cannot be read")
        elif found := _mismatch(reference, document):
            bad.append(f"{uri} is not what was signed: found {found}")
    return _told(bad, missing)


def _files(signature: SetSignature, files: Mapping[str, Bytes]) -> Result:
    """Files carry no uniqueId: each must be one of the signed documents by its content."""
    bad, left = [], list(signature.documents)
    for name, file in files.items():
        fitting = next((reference for reference in left if not _mismatch(reference, file)), None)
        if fitting is None:
            bad.append(f"{name} is none of the signed documents")
        else:
            left.remove(fitting)
    return _told(bad, [f"{reference.uri} was not given" for reference in left])


def _mismatch(reference: Reference, document: Bytes) -> str:
    try:
        return mismatch(reference, document.size, document.chunks, cache(document.sha256))
    except OSError as error:
        return f"what cannot be read ({error.strerror})"


def _told(bad: Sequence[str], missing: Sequence[str]) -> Result:
    if bad:
        return Result(Verdict.INVALID, (*bad, *missing))
    return Result(Verdict.PARTIAL, tuple(missing)) if missing else Result(Verdict.VALID)
