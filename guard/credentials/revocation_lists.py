"""What revocation lists say of a certificate, full ones and deltas; nothing is fetched here.

Clause: RFC 5280 5, 6.3
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from guard.credentials import ocsp_answers as ocsp

_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension)
_SEQUENCE, _TIMES = 0x30, (0x17, 0x18)
"""Tags of DER"""


class Revoked(Exception):
    """A certificate that was taken back, or that its responder does not know."""


class Edition(NamedTuple):
    """Of a list: when it was made, its number, and a digest of what it names."""

    made: datetime
    number: int
    named: bytes


NONE_SEEN = Edition(datetime.min.replace(tzinfo=UTC), -1, sha256().digest())
"""Before the first list: nothing was named."""


class Listed(NamedTuple):
    """What lists say of a certificate that none of them names: ends of the latest current and of the latest ended."""

    fresh: datetime | None
    stale: datetime | None


def listed(
    certificate: x509.Certificate, issuer: x509.Certificate, lists: Iterable[x509.CertificateRevocationList],
    now: datetime,
) -> Listed:
    """Raises Revoked when one names it, a later delta that lifts a hold apart.

    A delta only adds to what a full list says, and keeps that list current for as long as it is itself.
    """
    mine = [crl for crl in lists if crl.issuer == issuer.subject and signed_by(crl, issuer)]
    deltas = [crl for crl in mine if _delta_of(crl) is not None]
    for crl in mine:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None or _reason(entry) is x509.ReasonFlags.remove_from_crl:
            continue
        if _reason(entry) is not x509.ReasonFlags.certificate_hold or not _is_lifted(certificate, crl, deltas):
            raise Revoked(f"revoked: {certificate.subject.rfc4514_string()}")
    fresh = stale = None
    for crl in mine:
        if crl.next_update_utc is None or not silence_counts(crl, certificate):
            continue
        if crl.last_update_utc > now + ocsp.TOLERANCE:
            continue
        ends = max((crl.next_update_utc, *_kept_current(crl, deltas, certificate)))
        if now < ends:
            fresh = ends if fresh is None else max(fresh, ends)
        else:
            stale = ends if stale is None else max(stale, ends)
    return Listed(fresh, stale)


def edition(crl: x509.CertificateRevocationList) -> Edition:
    """Which of the lists of an address this is."""
    return Edition(crl.last_update_utc, _number(crl) or 0, sha256(_entries(crl.tbs_certlist_bytes)).digest())


def _entries(made: bytes) -> bytes:
    """Of a list, what it names, as it stands there: what follows its two times. Quick, for lists are long.

    Clause: RFC 5280 5.1.2 (revokedCertificates)
    """
    _, at, _ = _element(made, 0)
    times = 0
    while at < len(made):
        tag, start, end = _element(made, at)
        times += tag in _TIMES
        if times == 2 and tag == _SEQUENCE:  # thisUpdate and nextUpdate
            return made[start:end]
        at = end
    return b""


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Of the DER element there: tag, start and end of its content."""
    size, start = data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2 : start])
    return data[at], start, start + size


def read_list(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list in PEM or DER. Raises ValueError."""
    return x509.load_pem_x509_crl(data) if b"-----BEGIN" in data[:4096] else x509.load_der_x509_crl(data)


def signed_by(signed: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether that authority's key made the signature."""
    try:
        if isinstance(signed, x509.Certificate):
            signed.verify_directly_issued_by(issuer)
            return True
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and signed.is_signature_valid(key)
    except _UNREADABLE:
        return False


def silence_counts(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether a certificate that this list does not name was not revoked when it was made."""
    return _delta_of(crl) is None and _covers(crl, certificate)


def lists_about(
    below: x509.Certificate, issuer: x509.Certificate, crls: Iterable[x509.CertificateRevocationList]
) -> tuple[tuple[x509.CertificateRevocationList, bool], ...]:
    """The lists of its authority, and whether their silence means a thing about the certificate."""
    return tuple(
        (crl, silence_counts(crl, below)) for crl in crls if crl.issuer == issuer.subject and signed_by(crl, issuer)
    )


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None


def _is_lifted(
    certificate: x509.Certificate, crl: x509.CertificateRevocationList,
    deltas: Iterable[x509.CertificateRevocationList],
) -> bool:
    """Whether a delta made after that list takes the certificate off it. Clause: RFC 5280 5.3.1"""
    for delta in deltas:
        entry = delta.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and _reason(entry) is x509.ReasonFlags.remove_from_crl:
            return delta.last_update_utc > crl.last_update_utc
    return False


def _kept_current(
    crl: x509.CertificateRevocationList, deltas: Iterable[x509.CertificateRevocationList],
    certificate: x509.Certificate,
) -> list[datetime]:
    """Ends of the deltas that go with a full list. Clause: RFC 5280 5.2.4"""
    number = _number(crl)
    found = []
    for delta in deltas:
        base, its = _delta_of(delta), _number(delta)
        if number is None or base is None or its is None or delta.next_update_utc is None:
            continue
        if base <= number < its and _covers(delta, certificate):
            found.append(delta.next_update_utc)
    return found


def _delta_of(crl: x509.CertificateRevocationList) -> int | None:
    """Number of the list a delta adds to; None for a full list."""
    try:
        return crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _covers(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether silence of this list means something: a partial one only ever adds revocations."""
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.IssuingDistributionPoint):
            outside = value.only_contains_user_certs if is_authority else value.only_contains_ca_certs
            if outside or value.indirect_crl or value.only_contains_attribute_certs or value.only_some_reasons:
                return False
        elif extension.critical and not isinstance(value, x509.DeltaCRLIndicator):
            return False
    return True


def list_addresses(
    holder: x509.Certificate | x509.CertificateRevocationList,
    kind: type[x509.CRLDistributionPoints] | type[x509.FreshestCRL],
) -> list[str]:
    """Addresses of the lists that a certificate, or a list, points to."""
    try:
        points = holder.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return []
    return [
        name.value for point in points for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier) and point.reasons is None and point.crl_issuer is None
    ]
