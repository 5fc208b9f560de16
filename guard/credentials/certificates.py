"""Which certificates are believed, and for what.

Trust comes from one folder and nothing else: never from the system's store, never from a certificate a message
carries. The file names say what an authority may issue: ``root*.pem``, ``persons*.pem``, ``organisations*.pem``,
and ``*.crl`` for revocation lists (PEM or DER). An issuing authority is signed by a root of the folder, or by itself.

Clause: ITI TF-2 3.40.4.1.3; DMP IGC-Santé (separate authorities for persons and organisations, CRL)
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from guard.credentials import distinguished_name, identity
from guard.credentials.identity import Identity, Kind

_log = logging.getLogger(__name__)

_E = TypeVar("_E", bound=x509.ExtensionType)

Clock = Callable[[], datetime]
"""Gives the present moment, in UTC and aware of it."""

PROVIDER = "sts"
"""Files of this stem hold certificates of assertion providers, each believed for signatures of assertions alone."""
_ISSUERS = {"persons": Kind.PERSON, "organisations": Kind.ORGANISATION}
_SMALLEST_RSA = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_APPLIED = (x509.BasicConstraints, x509.KeyUsage, x509.CertificatePolicies)
"""What an authority's certificate may say as critical. Name constraints are not applied, and so not ignored either."""
_ANY_USAGE = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
_ANY_EXTENDED = {ExtendedKeyUsageOID.CLIENT_AUTH}
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Use(StrEnum):
    """What a certificate is about to be used for, and so which key usages it needs."""

    TLS_CLIENT = "TLS client"
    """digitalSignature, and clientAuth"""
    VIHF_SIGNATURE = "VIHF signature"
    """nonRepudiation, and not a TLS certificate: the authentication key of a card signs no statements"""
    TOKEN_SIGNATURE = "token signature"  # noqa: S105
    """digitalSignature or nonRepudiation: an assertion provider outside the French profile"""


class CertificateRefused(Exception):
    """A certificate that is not believed; the text is for the audit, never for the peer."""


class TrustError(Exception):
    """A trust folder that cannot be used. The text names the file."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A certificate found good until ``until`` (the earliest end of the chain and of the lists consulted)."""

    certificate: x509.Certificate
    kind: Kind
    identity: Identity
    sha256: str
    """of its DER form, lower-case hexadecimal"""
    is_server: bool
    """Issued for TLS servers too: one of the systems a node certificate is given to."""
    until: datetime
    subject: str
    """as ``distinguished_name.write`` gives it"""


@dataclass(frozen=True, slots=True)
class _Trusted:
    """The content of a trust folder at one moment."""

    issuers: tuple[tuple[Kind, x509.Certificate], ...]
    roots: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]
    providers: frozenset[x509.Certificate]
    """Assertion providers believed by their very certificate, whoever issued it."""
    stamp: tuple[tuple[str, int, int], ...] = field(repr=False)


class TrustStore:
    """The authorities of one folder, with a memory of the certificates already checked.

    Thread-safe. Changed files are noticed within ``reload_seconds``; every change empties the memory, so that a
    revocation bites at once. A folder that becomes unreadable while running is logged and the last good content
    stays in force; its lists still run out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        require_crl: bool = True,
        lenient: bool = False,
        clock: Clock = utc_now,
        reload_seconds: float = 2.0,
        memory: int = 4096,
    ):
        self._folder = folder
        self._require_crl = require_crl and not lenient
        self._lenient = lenient
        self._clock = clock
        self._reload_seconds = reload_seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, Use], Accepted] = OrderedDict()
        self._trusted = _load(folder)
        self._next_look = time.monotonic() + reload_seconds
        self.generation = 0
        """Grows with each change of the folder; who remembers results compares it."""

    @classmethod
    def load(
        cls, folder: Path | str, *, require_crl: bool = True, lenient: bool = False, clock: Clock = utc_now,
        reload_seconds: float = 2.0,
    ) -> TrustStore:
        """Read a trust folder. Raises TrustError.

        ``require_crl`` refuses every certificate whose authority has no current revocation list; without it a
        list is used when there is one, an outdated one included. ``lenient`` is for test events: no lists are
        required, and a certificate that states no key usages may be used for anything (RFC 5280 4.2.1.12).
        """
        return cls(
            Path(folder), require_crl=require_crl, lenient=lenient, clock=clock, reload_seconds=reload_seconds
        )

    def pem(self) -> str:
        """Every authority in one PEM text, for the ``cadata`` of a TLS context."""
        certificates = [*self._trusted.roots, *(certificate for _, certificate in self._trusted.issuers)]
        return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in dict.fromkeys(certificates))

    def check(self, der: bytes, use: Use) -> Accepted:
        """Accept a certificate for one use, or raise CertificateRefused with the reason."""
        self.refresh()
        fingerprint = hashlib.sha256(der).hexdigest()
        now = self._clock()
        with self._lock:
            trusted, generation = self._trusted, self.generation
            known = self._seen.get((fingerprint, use))
            if known is not None and now < known.until:
                self._seen.move_to_end((fingerprint, use))
                return known
        accepted = self._examine(der, use, fingerprint, now, trusted)
        with self._lock:
            if generation == self.generation:
                self._seen[(fingerprint, use)] = accepted
                self._seen.move_to_end((fingerprint, use))
                while len(self._seen) > self._memory:
                    self._seen.popitem(last=False)
        return accepted

    def refresh(self) -> None:
        """Look at the folder again when it is time to; cheap, called for every check."""
        if time.monotonic() < self._next_look:
            return
        with self._lock:
            if time.monotonic() < self._next_look:
                return
            self._next_look = time.monotonic() + self._reload_seconds
            try:
                if _stamp(self._folder) == self._trusted.stamp:
                    return
                self._trusted = _load(self._folder)
            except (TrustError, OSError) as error:
                _log.error("trust folder not reloaded: %s", error)
                return
            self._seen.clear()
            self.generation += 1

    def _examine(self, der: bytes, use: Use, fingerprint: str, now: datetime, trusted: _Trusted) -> Accepted:
        try:
            certificate = x509.load_der_x509_certificate(der)
            if use is Use.TOKEN_SIGNATURE and certificate in trusted.providers:
                _check_key(certificate)
                kind, chain = Kind.ORGANISATION, [certificate]
            else:
                kind, chain = _chain(certificate, trusted)
                _check_leaf(certificate, use, lenient=self._lenient)
            until = self._check_times_and_lists(chain, now, trusted)
            who = identity.read(certificate)
            usages = _extended(certificate)
        except CertificateRefused:
            raise
        except _UNREADABLE as error:
            raise CertificateRefused(f"certificate cannot be read: {type(error).__name__}") from error
        is_server = usages is not None and ExtendedKeyUsageOID.SERVER_AUTH in usages
        subject = distinguished_name.write(certificate.subject)
        return Accepted(certificate, kind, who, fingerprint, is_server, until, subject)

    def _check_times_and_lists(self, chain: list[x509.Certificate], now: datetime, trusted: _Trusted) -> datetime:
        """Validity of every certificate of the chain (leaf first) and its absence from its issuer's list."""
        until = min(certificate.not_valid_after_utc for certificate in chain)
        for certificate in chain:
            if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
                raise CertificateRefused(f"not valid now: {certificate.subject.rfc4514_string()}")
        for certificate, issuer in pairwise(chain):
            fresh = None
            for crl in trusted.crls:
                if crl.issuer != issuer.subject or not _signed_by(crl, issuer):
                    continue
                if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                    raise CertificateRefused(f"revoked: {certificate.subject.rfc4514_string()}")
                ends = crl.next_update_utc
                if ends is not None and now < ends and _covers(crl, certificate):
                    fresh = ends if fresh is None else max(fresh, ends)
            if fresh is not None:
                until = min(until, fresh)
            elif self._require_crl:
                raise CertificateRefused(f"no current revocation list of {issuer.subject.rfc4514_string()}")
        return until


def _chain(certificate: x509.Certificate, trusted: _Trusted) -> tuple[Kind, list[x509.Certificate]]:
    """The branch a certificate belongs to, and the certificates from it up to an anchor."""
    for kind, issuer in trusted.issuers:
        if issuer.subject != certificate.issuer or not _signed_by(certificate, issuer):
            continue
        if issuer.subject == issuer.issuer:
            return kind, [certificate, issuer]
        for root in trusted.roots:
            if root.subject == issuer.issuer and _signed_by(issuer, root):
                return kind, [certificate, issuer, root]
    raise CertificateRefused(f"no configured authority issued {certificate.subject.rfc4514_string()}")


def _signed_by(signed: x509.Certificate | x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        if isinstance(signed, x509.Certificate):
            signed.verify_directly_issued_by(issuer)
            return True
        key = issuer.public_key()
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and signed.is_signature_valid(key)
    except _UNREADABLE:
        return False


def _covers(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether silence of this list means something: a delta or partial list only ever adds revocations."""
    basic = _extension(certificate, x509.BasicConstraints)
    is_authority = basic is not None and basic.ca
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.DeltaCRLIndicator):
            return False
        if isinstance(value, x509.IssuingDistributionPoint):
            outside = value.only_contains_user_certs if is_authority else value.only_contains_ca_certs
            if outside or value.indirect_crl or value.only_contains_attribute_certs or value.only_some_reasons:
                return False
        elif extension.critical:
            return False
    return True


def _check_key(certificate: x509.Certificate) -> None:
    """A key of an accepted kind and size."""
    key = certificate.public_key()
    strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)
    )
    if not strong:
        raise CertificateRefused("key type or size is not accepted")


def _check_leaf(certificate: x509.Certificate, use: Use, *, lenient: bool) -> None:
    """Key, digest and usages of an end-entity certificate."""
    _check_key(certificate)
    digest = certificate.signature_hash_algorithm
    if digest is None or digest.name in ("md5", "sha1"):
        raise CertificateRefused("signed with an outdated digest")
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise CertificateRefused(f"unknown critical extension {extension.oid.dotted_string}")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is not None and basic.ca:
        raise CertificateRefused("an authority's certificate is used as a person's or a system's")
    usage = _extension(certificate, x509.KeyUsage)
    extended = _extended(certificate)
    if lenient and use is not Use.VIHF_SIGNATURE:
        usage, extended = usage or _ANY_USAGE, extended or _ANY_EXTENDED
    if usage is None:
        raise CertificateRefused("no keyUsage")
    tls = extended is not None and bool({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} & extended)
    if use is Use.TLS_CLIENT:
        good = usage.digital_signature and extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH in extended
    elif use is Use.VIHF_SIGNATURE:
        good = usage.content_commitment and not tls
    else:
        good = usage.digital_signature or usage.content_commitment
    if not good:
        raise CertificateRefused(f"key usages do not allow its use as {use.value}")


def _extended(certificate: x509.Certificate) -> set[x509.ObjectIdentifier] | None:
    found = _extension(certificate, x509.ExtendedKeyUsage)
    return None if found is None else set(found)


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of the files that matter."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".pem", ".crl") and not path.name.startswith("."):
            status = path.stat()
            found.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _load(folder: Path) -> _Trusted:
    """Read the folder. Raises TrustError."""
    if not folder.is_dir():
        raise TrustError(f"{folder} is not a folder")
    stamp = _stamp(folder)
    roots: list[x509.Certificate] = []
    issuers: list[tuple[Kind, x509.Certificate]] = []
    crls: list[x509.CertificateRevocationList] = []
    providers: list[x509.Certificate] = []
    for name, _, _ in stamp:
        path = folder / name
        try:
            if path.suffix == ".crl":
                crls.append(_read_crl(path.read_bytes()))
            elif name.startswith("root"):
                roots += x509.load_pem_x509_certificates(path.read_bytes())
            elif name.startswith(PROVIDER):
                providers += x509.load_pem_x509_certificates(path.read_bytes())
            else:
                for kind in (kind for stem, kind in _ISSUERS.items() if name.startswith(stem)):
                    issuers += [(kind, each) for each in x509.load_pem_x509_certificates(path.read_bytes())]
        except (ValueError, OSError) as error:
            raise TrustError(f"{path} cannot be read as certificates or a revocation list") from error
    _check_authorities(folder, roots, [certificate for _, certificate in issuers])
    return _Trusted(tuple(issuers), tuple(roots), tuple(crls), frozenset(providers), stamp)


def add_trusted(folder: Path, data: bytes, duty: str) -> Path:
    """Put certificates of somebody else (PEM or DER) into a trust folder, as ``sts``, ``organisations``, … ``root``.

    The name of the file is its content's hash, so that a repeat changes nothing. Raises TrustError when they are no
    certificates, or the folder could not be used with them; then the folder is as before.
    """
    try:
        found = (
            x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
        )
    except ValueError as error:
        raise TrustError("no certificate in PEM or DER form") from error
    file = folder / f"{duty}-{hashlib.sha256(data).hexdigest()[:16]}.pem"
    if file.exists():
        return file
    file.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found))
    try:
        _load(folder)
    except TrustError:
        file.unlink()
        raise
    return file


def _read_crl(data: bytes) -> x509.CertificateRevocationList:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_crl(data)
    return x509.load_der_x509_crl(data)


def _check_authorities(folder: Path, roots: list[x509.Certificate], issuers: Iterable[x509.Certificate]) -> None:
    """Every authority may issue, and every issuing one hangs on a root of the folder or on itself."""
    found = list(issuers)
    if not found:
        raise TrustError(f"{folder} holds no issuing authority (persons*.pem, organisations*.pem)")
    for certificate in (*roots, *found):
        basic = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
        if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
            raise TrustError(f"{certificate.subject.rfc4514_string()} is not an authority's certificate")
        for extension in certificate.extensions:
            if extension.critical and not isinstance(extension.value, _APPLIED):
                who, what = certificate.subject.rfc4514_string(), extension.oid._name
                raise TrustError(f"{who}: the critical extension {what} is not applied here")
    for certificate in found:
        above = [certificate] if certificate.subject == certificate.issuer else roots
        if not any(root.subject == certificate.issuer and _signed_by(certificate, root) for root in above):
            raise TrustError(f"{certificate.subject.rfc4514_string()} does not hang on a root of {folder}")
