"""Who signed, as of the time he signed: a certificate that has run out since was good while it was.

A signature is asked about for as long as a record is kept. By then the certificate has expired, its entry is no
longer on any revocation list, and a later revocation says nothing against it. So what was known on the day it was
accepted is kept beside it (``SignerProof``): the chain, the lists that did not name it, and what a responder answered.

Clause: ETSI EN 319 102-1 5.2.6; ITI TF-3 5.5.2; RFC 5280 5.3.2; RFC 6960 4.2.2.1
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from guard.credentials.certificates import CertificateRefused, TrustStore, Use
from guard.credentials.identity import Identity, Kind
from guard.credentials.ocsp_answers import KeptAnswer


@dataclass(frozen=True, slots=True)
class SignerProof:
    """What is kept beside an accepted signature; everything in DER form."""

    chain: tuple[bytes, ...]
    """The signer's certificate first."""
    lists: tuple[bytes, ...]
    """Revocation lists in force when it was accepted, of every authority of the chain."""
    answers: tuple[bytes, ...] = ()
    """OCSP answers that were had then, about any certificate of the chain."""


@dataclass(frozen=True, slots=True)
class PastSigner:
    """A certificate found good at one moment."""

    certificate: x509.Certificate
    kind: Kind
    identity: Identity
    sha256: str
    """Of its DER form, hexadecimal."""
    proof: SignerProof
    revoked_since: datetime | None
    """Revoked after that moment, which leaves what was signed before as it is."""

    @property
    def number(self) -> str:
        """PS_IdNat of a person, Struct_IdNat of a structure."""
        return self.identity.common_name if self.kind is Kind.PERSON else self.identity.unit


def signer_at(
    der: bytes, moment: datetime, trust: TrustStore, kept: SignerProof | None = None, *, now: datetime | None = None
) -> PastSigner:
    """The holder of a signature certificate that was valid and not revoked at ``moment`` (aware).

    Authorities are those of the trust folder, expired ones included: keep their files. Revocation is told by the
    lists there, by the lists and answers kept, and with ``now`` by whom the settings allow to be asked. One that says
    revoked wins. Raises CertificateRefused; its text is for the audit, not for the caller.
    """
    kept = kept or SignerProof((), ())
    standing = trust.standing(der, Use.DOCUMENT_SIGNATURE, kept.lists, kept.answers, now=now)
    for certificate in standing.chain:
        if not certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc:
            raise CertificateRefused(f"not valid at {moment.isoformat()}: {certificate.subject.rfc4514_string()}")
    lists_used: list[x509.CertificateRevocationList] = []
    answers_used: list[bytes] = []
    since: datetime | None = None
    for (certificate, issuer), lists, answers in zip(
        pairwise(standing.chain), standing.lists, standing.answers, strict=True
    ):
        days = [day for crl, _ in lists if (day := _revoked_since(certificate, crl))]
        days += [answer.revoked_since for _, answer in answers if answer.revoked_since is not None]
        revoked = min(days, default=None)
        if revoked is not None and revoked <= moment:
            raise CertificateRefused(f"revoked at {revoked.isoformat()}: {certificate.subject.rfc4514_string()}")
        if any(not answer.is_good and answer.revoked_since is None for _, answer in answers):
            raise CertificateRefused(f"unknown to its responder: {certificate.subject.rfc4514_string()}")
        telling = [crl for crl, covers in lists if covers and _tells(crl, certificate, moment)]
        answered = [(data, answer) for data, answer in answers if _answers(answer, certificate, moment)]
        if not telling and not answered and standing.lists_required:
            raise CertificateRefused(
                f"no revocation list or answer of {issuer.subject.rfc4514_string()} tells about {moment.isoformat()}"
            )
        since = min(filter(None, (since, revoked)), default=None)
        lists_used += sorted(telling, key=lambda crl: crl.last_update_utc)[-1:]
        answers_used += [data for data, _ in sorted(answered, key=lambda one: one[1].begins)[-1:]]
    proof = SignerProof(
        tuple(each.public_bytes(Encoding.DER) for each in standing.chain),
        tuple(dict.fromkeys(each.public_bytes(Encoding.DER) for each in lists_used)),
        tuple(dict.fromkeys(answers_used)),
    )
    sha256 = hashlib.sha256(der).hexdigest()
    return PastSigner(standing.chain[0], standing.kind, standing.identity, sha256, proof, since)


def _answers(answer: KeptAnswer, certificate: x509.Certificate, moment: datetime) -> bool:
    """Made for a time that reaches to that moment: good then, or revoked on a day that is compared by itself."""
    return moment < answer.until and answer.begins < certificate.not_valid_after_utc


def _tells(crl: x509.CertificateRevocationList, certificate: x509.Certificate, moment: datetime) -> bool:
    """In force at or after that moment, and made while the certificate could still be on it."""
    ends = crl.next_update_utc
    return ends is not None and moment < ends and crl.last_update_utc < certificate.not_valid_after_utc


def _revoked_since(certificate: x509.Certificate, crl: x509.CertificateRevocationList) -> datetime | None:
    """The day of revocation, or the day the key is known to have been unsafe when that is earlier; None: not on it."""
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return None
    try:
        invalid = entry.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc
    except (x509.ExtensionNotFound, ValueError):
        return entry.revocation_date_utc
    return min(entry.revocation_date_utc, invalid)
