"""The lists an authority publishes: everything it took back, and what it took back since the last full list.

Every revocation writes both at once, so that who reads the full list and who keeps an older one beside the delta know
the same. Clause: RFC 5280 5.1, 5.2 (numbers, delta indicator, freshest list, reasons)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from guard.credentials.cards import KeyPair

BACKDATED = timedelta(minutes=5)
"""Certificates and lists start a little in the past, so that machines whose clocks differ a little agree on them."""


class Reason(StrEnum):
    """Why a certificate was taken back, for good. Suspension is not offered: what is revoked stays so."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"

    @property
    def flag(self) -> x509.ReasonFlags:
        return x509.ReasonFlags(self.value)


@dataclass(frozen=True, slots=True)
class ListNumbers:
    """Number of the newest lists, number of the full list deltas are counted from, and when that was (ISO 8601)."""

    number: int = 0
    base: int = 0
    base_time: str = ""

    def following(self, now: datetime, *, is_base: bool) -> ListNumbers:
        """The next ones. Numbers never repeat, not even when an older copy of the index comes back."""
        number = max(self.number + 1, int(now.timestamp() * 1000))
        if is_base or not self.base:
            return ListNumbers(number, number, now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return ListNumbers(number, self.base, self.base_time)


@dataclass(frozen=True, slots=True)
class Lists:
    full: x509.CertificateRevocationList
    delta: x509.CertificateRevocationList


def lists(
    authority: KeyPair, revoked: Iterable[tuple[int, str, str]], numbers: ListNumbers, now: datetime, *, days: int,
    freshest: x509.FreshestCRL | None,
) -> Lists:
    """Both lists of an authority; ``revoked`` are serial number, time (ISO 8601) and reason.

    They carry one number because they say the same, and end together.
    """
    common = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(numbers.number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    full = common if freshest is None else common.add_extension(freshest, critical=False)
    delta = common.add_extension(x509.DeltaCRLIndicator(numbers.base), critical=True)
    for serial, moment, reason in revoked:
        entry = _entry(serial, moment, reason)
        full = full.add_revoked_certificate(entry)
        if moment >= numbers.base_time:  # of the same second: in both, rather than in neither
            delta = delta.add_revoked_certificate(entry)
    return Lists(full.sign(authority.key, hashes.SHA256()), delta.sign(authority.key, hashes.SHA256()))


def _entry(serial: int, moment: str, reason: str) -> x509.RevokedCertificate:
    when = datetime.fromisoformat(moment)
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when.astimezone(UTC))
    if reason and reason != Reason.UNSPECIFIED:  # RFC 5280 5.3.1: an unspecified reason is left out
        builder = builder.add_extension(x509.CRLReason(Reason(reason).flag), critical=False)
    return builder.build()
