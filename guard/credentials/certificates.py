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
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
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
from guard.credentials.ocsp_answers import KeptAnswer
from guard.credentials.revocation_check import Alarm, Revocation, RevocationRule, Tell, Unsaid, answers_about
from guard.credentials.revocation_lists import Revoked, lists_about, read_list, signed_by
from xds.wire.turns import give_way

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
    DOCUMENT_SIGNATURE = "signature of documents"
    """The same: what a card signs for good is signed by its signature key"""
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
class Standing:
    """Where a certificate stands, whatever the time: nothing of its validity or revocation is said."""

    kind: Kind
    identity: Identity
    chain: tuple[x509.Certificate, ...]
    """From the certificate up to an authority that is believed."""
    lists: tuple[tuple[tuple[x509.CertificateRevocationList, bool], ...], ...]
    """For each certificate of the chain but the last: the lists of its issuer, and whether their silence means a
    thing about it."""
    lists_required: bool
    answers: tuple[tuple[tuple[bytes, KeptAnswer], ...], ...] = ()
    """For each certificate of the chain but the last: believed answers about it, as they came and what they say."""


@dataclass(frozen=True, slots=True)
class _Trusted:
    """The content of a trust folder at one moment."""

    issuers: tuple[tuple[Kind, x509.Certificate], ...]
    roots: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]
    providers: frozenset[x509.Certificate]
    """Assertion providers believed by their very certificate, whoever issued it."""
    stamp: tuple[tuple[str, int, int], ...] = field(repr=False)


class Products(StrEnum):
    """Which products of the infrastructure count; never both. Clause: extension 1.2.250.1.71.1.2.5"""

    TEST = "test"
    PRODUCTION = "production"


class TrustStore:
    """The authorities of one folder, with a memory of the certificates already checked.

    Thread-safe. Changed files are noticed within ``reload_seconds``; every change of them, and of what fetched
    statements say, empties the memory, so that a revocation bites at once. A folder that becomes unreadable while
    running is logged and the last good content stays in force; its lists still run out. A certificate is examined by
    one thread, however many ask for it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        revocation: Revocation,
        products: Products | None = None,
        lenient: bool = False,
        clock: Clock = utc_now,
        reload_seconds: float = 2.0,
        memory: int = 4096,
    ):
        self._folder = folder
        self._revocation = revocation
        self._products = products
        self._lenient = lenient
        self._clock = clock
        self._reload_seconds = reload_seconds
        self._memory = memory
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[bytes, Use], Accepted] = OrderedDict()
        """By the whole certificate: it is looked up several times a request, and digests cost more than memory."""
        self._under_way: dict[tuple[bytes, Use], Future[Accepted]] = {}
        self._trusted = _load(folder)
        self._next_look = time.monotonic() + reload_seconds
        self._heard = revocation.version
        self.generation = 0
        """Grows with each change of the folder or of what was fetched; who remembers results compares it."""

    @classmethod
    def load(
        cls, folder: Path | str, *, require_crl: bool = True, lenient: bool = False, clock: Clock = utc_now,
        reload_seconds: float = 2.0, products: Products | None = None, rule: RevocationRule | None = None,
        tell: Tell | None = None, alarm: Alarm | None = None,
    ) -> TrustStore:
        """Read a trust folder. Raises TrustError.

        ``require_crl`` refuses every certificate that nothing current says is good, as ``rule`` has it; without it a
        list is used when there is one, an outdated one included. ``products`` refuses those of the other kind, and
        those of persons and structures that name none; None compares nothing. ``lenient`` is for test events: no
        lists are required, products are not compared, and a certificate that states no key usages may be used for
        anything (RFC 5280 4.2.1.12). ``tell`` is told what questions about revocation came to; ``alarm`` is
        what we share with others that believe the same folder.
        """
        asked = rule or RevocationRule()
        revocation = Revocation(
            replace(asked, required=asked.required and require_crl and not lenient), tell=tell, alarm=alarm
        )
        return cls(
            Path(folder), revocation=revocation, lenient=lenient, clock=clock, reload_seconds=reload_seconds,
            products=None if lenient else products,
        )

    def pem(self) -> str:
        """Every authority in one PEM text, for the ``cadata`` of a TLS context."""
        certificates = [*self._trusted.roots, *(certificate for _, certificate in self._trusted.issuers)]
        return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in dict.fromkeys(certificates))

    def check(self, der: bytes, use: Use) -> Accepted:
        """Accept a certificate for one use, or raise CertificateRefused with the reason."""
        self.refresh()
        key = (der, use)
        now = self._clock()
        with self._lock:
            trusted, generation = self._trusted, self.generation
            known = self._seen.get(key)
            if known is not None and now < known.until:
                self._seen.move_to_end(key)
                return known
            other = self._under_way.get(key)
            if other is None:
                mine = self._under_way[key] = Future()
        if other is not None:
            return _shared(other)
        try:
            accepted = self._examine(der, use, now, trusted)
            mine.set_result(accepted)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        with self._lock:
            if generation == self.generation:
                self._seen[key] = accepted
                self._seen.move_to_end(key)
                while len(self._seen) > self._memory:
                    self._seen.popitem(last=False)
        return accepted

    def standing(
        self, der: bytes, use: Use, lists: Iterable[bytes] = (), answers: Iterable[bytes] = (), *,
        now: datetime | None = None,
    ) -> Standing:
        """Chain, key and usages of a certificate at no particular time. Raises CertificateRefused.

        ``lists`` and ``answers`` are statements about revocation beside the lists of the folder, in DER form. With
        ``now`` responders and lists elsewhere are asked as well, where the rule names their hosts: what they say then.
        """
        self.refresh()
        with self._lock:
            trusted = self._trusted
        try:
            certificate = x509.load_der_x509_certificate(der)
            kind, chain = _chain(certificate, trusted)
            _check_leaf(certificate, use, lenient=self._lenient)
            crls = [*trusted.crls, *(x509.load_der_x509_crl(each) for each in lists)]
            told, pairs = list(answers), list(pairwise(chain))
            if now is not None:
                for below, issuer in reversed(pairs):
                    found, fetched = self._revocation.statements(below, issuer, trusted.crls, now)
                    told, crls = [*told, *found], [*crls, *fetched]
            return Standing(
                kind, identity.read(certificate), tuple(chain),
                tuple(lists_about(below, issuer, crls) for below, issuer in pairs),
                self._revocation.rule.required,
                tuple(answers_about(below, issuer, told, crls) for below, issuer in pairs),
            )
        except _UNREADABLE as error:
            raise CertificateRefused(f"certificate cannot be read: {type(error).__name__}") from error

    def refresh(self) -> None:
        """Look at the folder again when it is time to; cheap, called for every check."""
        if self._heard != self._revocation.version:
            with self._lock:
                self._heard = self._revocation.version
                self._forget()
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
            self._forget()

    def _forget(self) -> None:
        self._seen.clear()
        self.generation += 1

    def _examine(self, der: bytes, use: Use, now: datetime, trusted: _Trusted) -> Accepted:
        try:
            certificate = x509.load_der_x509_certificate(der)
            is_provider = use is Use.TOKEN_SIGNATURE and certificate in trusted.providers
            if is_provider:
                _check_key(certificate)
                kind, chain = Kind.ORGANISATION, [certificate]
            else:
                kind, chain = _chain(certificate, trusted)
                _check_leaf(certificate, use, lenient=self._lenient)
            usages = _extended(certificate)
            is_server = usages is not None and ExtendedKeyUsageOID.SERVER_AUTH in usages
            who = identity.read(certificate)
            if self._products is not None and not is_provider:
                _check_product(who.product_category, self._products, is_server=is_server)
            until = self._check_times_and_revocation(chain, now, trusted)
        except CertificateRefused:
            raise
        except _UNREADABLE as error:
            raise CertificateRefused(f"certificate cannot be read: {type(error).__name__}") from error
        fingerprint, subject = hashlib.sha256(der).hexdigest(), distinguished_name.write(certificate.subject)
        return Accepted(certificate, kind, who, fingerprint, is_server, until, subject)

    def _check_times_and_revocation(self, chain: list[x509.Certificate], now: datetime, trusted: _Trusted) -> datetime:
        """Validity of every certificate of the chain (leaf first), and that its issuer has not taken it back.

        From the anchor down: no address in a certificate is called before what is above it is accepted.
        """
        until = min(certificate.not_valid_after_utc for certificate in chain)
        for certificate in chain:
            if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
                raise CertificateRefused(f"not valid now: {certificate.subject.rfc4514_string()}")
        for certificate, issuer in reversed(list(pairwise(chain))):
            try:
                end = self._revocation.until(certificate, issuer, trusted.crls, now)
            except (Revoked, Unsaid) as error:
                raise CertificateRefused(str(error)) from error
            until = until if end is None else min(until, end)
        return until


def _shared(other: Future[Accepted]) -> Accepted:
    """What another thread finds of the same certificate at this moment. Raises CertificateRefused."""
    give_way()
    try:
        return other.result()
    except CertificateRefused as error:
        raise CertificateRefused(str(error)) from error


def _check_product(category: int | None, wanted: Products, *, is_server: bool) -> None:
    """Test and production kept apart. Our own systems' certificates may name no product."""
    if category is None:
        if not is_server:
            raise CertificateRefused("names no product category")
    elif bool(category & identity.TEST_PRODUCT) is not (wanted is Products.TEST):
        raise CertificateRefused(f"product of category {category:#04x} where {wanted.value} products count")


def _chain(certificate: x509.Certificate, trusted: _Trusted) -> tuple[Kind, list[x509.Certificate]]:
    """The branch a certificate belongs to, and the certificates from it up to an anchor."""
    for kind, issuer in trusted.issuers:
        if issuer.subject != certificate.issuer or not signed_by(certificate, issuer):
            continue
        if issuer.subject == issuer.issuer:
            return kind, [certificate, issuer]
        for root in trusted.roots:
            if root.subject == issuer.issuer and signed_by(issuer, root):
                return kind, [certificate, issuer, root]
    raise CertificateRefused(f"no configured authority issued {certificate.subject.rfc4514_string()}")


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
    is_card_signature = use in (Use.VIHF_SIGNATURE, Use.DOCUMENT_SIGNATURE)
    if lenient and not is_card_signature:
        usage, extended = usage or _ANY_USAGE, extended or _ANY_EXTENDED
    if usage is None:
        raise CertificateRefused("no keyUsage")
    tls = extended is not None and bool({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} & extended)
    if use is Use.TLS_CLIENT:
        good = usage.digital_signature and extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH in extended
    elif is_card_signature:
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
                crls.append(read_list(path.read_bytes()))
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
        if not any(root.subject == certificate.issuer and signed_by(certificate, root) for root in above):
            raise TrustError(f"{certificate.subject.rfc4514_string()} does not hang on a root of {folder}")
