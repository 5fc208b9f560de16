"""One question to an OCSP responder, and what its answer is worth.

The answer must be signed by the issuer of the certificate, or by a responder the issuer has named for it
(extended key usage, the issuer's own signature); it must be about this very certificate and this moment.

Clause: RFC 6960 3.2, 4.2.2.2 (delegated responder), 4.4.1 (nonce); RFC 5019
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

LARGEST = 65_536
"""Bytes of one answer."""
TOLERANCE = timedelta(minutes=5)
"""Difference of clocks between us and a responder; an answer that names no end is believed for so long."""
_NONCE = 32
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension)


class OcspUnusable(Exception):
    """An answer that says nothing we believe; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a believed answer says. ``until`` is the end of its validity."""

    is_good: bool
    is_revoked: bool
    until: datetime
    der: bytes = field(default=b"", repr=False)
    """As it came, to be kept where what it says will be asked for again in years."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What an answer said when it was made, whenever that was."""

    is_good: bool
    revoked_since: datetime | None
    begins: datetime
    until: datetime


def addresses(certificate: x509.Certificate) -> list[str]:
    """The responders a certificate names."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [
        one.access_location.value for one in access
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    ]


def question(certificate: x509.Certificate, issuer: x509.Certificate) -> tuple[bytes, bytes]:
    """The request in DER, and its nonce. The certificate is named by SHA-1, which every responder knows."""
    nonce = os.urandom(_NONCE)
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    return builder.add_extension(x509.OCSPNonce(nonce), critical=False).build().public_bytes(Encoding.DER), nonce


def read(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes, now: datetime, *,
    needs_nonce: bool, is_unrevoked: Callable[[x509.Certificate, datetime], bool],
) -> Answer:
    """What an answer says of a certificate. Raises OcspUnusable.

    ``is_unrevoked`` tells of a responder's certificate without ``id-pkix-ocsp-nocheck`` whether a list clears it at a
    moment.
    """
    response, statement = _believed(data, certificate, issuer, is_unrevoked, now)
    try:
        _check_nonce(response, nonce, needed=needs_nonce)
        if response.produced_at_utc > now + TOLERANCE:
            raise OcspUnusable("made in the future")
        return _judged(statement, now, data)
    except _UNREADABLE as error:
        raise OcspUnusable(f"cannot be read: {type(error).__name__}") from error


def read_kept(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate,
    is_unrevoked: Callable[[x509.Certificate, datetime], bool],
) -> KeptAnswer:
    """What an answer of the past says of a certificate: its signer is judged as of the moment it was made.

    Whether it was fresh was judged when it came. Raises OcspUnusable.
    Clause: ETSI EN 319 102-1 5.2.6; RFC 6960 4.2.2.1
    """
    _, statement = _believed(data, certificate, issuer, is_unrevoked, None)
    try:
        status = statement.certificate_status
        since = statement.revocation_time_utc if status is ocsp.OCSPCertStatus.REVOKED else None
        begins = statement.this_update_utc
        return KeptAnswer(
            status is ocsp.OCSPCertStatus.GOOD, since, begins, statement.next_update_utc or begins + TOLERANCE
        )
    except _UNREADABLE as error:
        raise OcspUnusable(f"cannot be read: {type(error).__name__}") from error


def _believed(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate,
    is_unrevoked: Callable[[x509.Certificate, datetime], bool], now: datetime | None,
) -> tuple[ocsp.OCSPResponse, ocsp.OCSPSingleResponse]:
    """The one statement about the certificate, by who may make it at that moment; ``now`` None: when it was made."""
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise OcspUnusable(f"the responder says {response.response_status.name}")
        _check_signer(response, issuer, response.produced_at_utc if now is None else now, is_unrevoked)
        found = [one for one in response.responses if _is_about(one, certificate, issuer)]
    except _UNREADABLE as error:
        raise OcspUnusable(f"cannot be read: {type(error).__name__}") from error
    if len(found) != 1:
        raise OcspUnusable(f"{len(found)} statements about this certificate")
    return response, found[0]


def _judged(statement: ocsp.OCSPSingleResponse, now: datetime, data: bytes) -> Answer:
    begins = statement.this_update_utc
    until = statement.next_update_utc or begins + TOLERANCE
    if begins > now + TOLERANCE:
        raise OcspUnusable("not valid yet")
    if now >= until:
        raise OcspUnusable("out of date")
    status = statement.certificate_status
    return Answer(status is ocsp.OCSPCertStatus.GOOD, status is ocsp.OCSPCertStatus.REVOKED, until, data)


def _check_nonce(response: ocsp.OCSPResponse, nonce: bytes, *, needed: bool) -> None:
    """A responder may prepare its answers and then repeats no nonce; another one than ours is a replay."""
    try:
        given = response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        if needed:
            raise OcspUnusable("no nonce") from None
        return
    if given != nonce:
        raise OcspUnusable("the nonce of another question")


def _check_signer(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime,
    is_unrevoked: Callable[[x509.Certificate, datetime], bool],
) -> None:
    for signer in (issuer, *response.certificates):
        if _is_named(response, signer):
            break
    else:
        raise OcspUnusable("signed by nobody we know")
    if signer != issuer:
        _check_delegate(signer, issuer, now, is_unrevoked)
    digest = response.signature_hash_algorithm
    if digest is None or digest.name in ("md5", "sha1"):
        raise OcspUnusable("signed with an outdated digest")
    key = signer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
    else:
        raise OcspUnusable("the responder's key is of no accepted kind")


def _check_delegate(
    signer: x509.Certificate, issuer: x509.Certificate, now: datetime,
    is_unrevoked: Callable[[x509.Certificate, datetime], bool],
) -> None:
    signer.verify_directly_issued_by(issuer)
    extensions = signer.extensions
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise OcspUnusable("its signer is no responder") from None
    if ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
        raise OcspUnusable("its signer is no responder")
    if not signer.not_valid_before_utc <= now < signer.not_valid_after_utc:
        raise OcspUnusable("the responder's certificate is not valid now")
    if not any(isinstance(one.value, x509.OCSPNoCheck) for one in extensions) and not is_unrevoked(signer, now):
        raise OcspUnusable("nothing says that the responder's certificate is not revoked")


def _is_named(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name == signer.subject
    return response.responder_key_hash == _hash(hashes.SHA1(), _key_bits(signer))  # noqa: S303


def _is_about(
    statement: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    digest = statement.hash_algorithm
    return (
        statement.serial_number == certificate.serial_number
        and statement.issuer_name_hash == _hash(digest, issuer.subject.public_bytes())
        and statement.issuer_key_hash == _hash(digest, _key_bits(issuer))
    )


def _hash(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The content of subjectPublicKey, which is what a certificate is named by."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
