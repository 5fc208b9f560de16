"""Answers to "is this certificate still good?", signed by a delegate of the authority that issued it.

Lightweight: one certificate a request, no signed requests. A serial number never issued here is *unknown*, never
*good*. An answer without a nonce is kept and given again until the index changes or a minute is over.

Clause: RFC 6960 2.2, 2.3, 4.2; RFC 5019 2.1, 2.2; RFC 9654 2.1 (nonce)
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from guard.credentials.cards import KeyPair
from guard.credentials.pki import Issued, Pki
from guard.credentials.profiles import Authority
from guard.credentials.revocation import Reason

VALID = timedelta(minutes=10)
"""From thisUpdate to nextUpdate."""
KEPT = 60.0
"""Seconds an answer is given again, and HTTP caches may keep it."""
LARGEST_REQUEST = 4096
_LONGEST_NONCE = 128
_MEMORY = 4096
_RESPONDER_LOOK = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An OCSP response, DER, and whether caches may keep it."""

    der: bytes
    is_cacheable: bool


class Responder:
    """The responders of one PKI, one an authority. Thread-safe."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._lock = threading.Lock()
        self._memory: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._stamp: tuple[int, int] = (0, 0)
        self._lines: dict[tuple[str, int], Issued] = {}
        self._signers: dict[Authority, tuple[float, KeyPair]] = {}

    def answer(self, request: bytes) -> Answer:
        """The answer to one request (DER). Never raises for what a request holds."""
        if len(request) > LARGEST_REQUEST:
            return _failure(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        try:
            asked = ocsp.load_der_ocsp_request(request)
            nonce = _nonce(asked)
            which = self._authority(asked)
        except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm, x509.DuplicateExtension):
            return _failure(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        if which is None:  # nobody here may speak for that issuer
            return _failure(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        key = sha256(request).digest()
        with self._lock:
            self._look()
            known = self._memory.get(key)
            if known is not None and time.monotonic() < known[0]:
                return Answer(known[1], True)
            line = self._lines.get((which.value, asked.serial_number))
            signer = self._signer(which)
        der = _signed(asked, which, line, signer, nonce, self._is_authority(which, asked.serial_number))
        if nonce is None:
            with self._lock:
                self._memory[key] = (time.monotonic() + KEPT, der)
                while len(self._memory) > _MEMORY:
                    self._memory.popitem(last=False)
        return Answer(der, nonce is None)

    def _look(self) -> None:
        """Read the index again when it changed, and forget what was answered before."""
        status = (self._pki.folder / "index.json").stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._lines = {(line.authority, int(line.serial, 16)): line for line in self._pki.issued()}
            self._memory.clear()
            self._stamp = stamp

    def _signer(self, which: Authority) -> KeyPair:
        until, pair = self._signers.get(which, (0.0, None))
        if pair is None or time.monotonic() > until:
            pair = self._pki.responder(which)
            self._signers[which] = (time.monotonic() + _RESPONDER_LOOK, pair)
        return pair

    def _authority(self, asked: ocsp.OCSPRequest) -> Authority | None:
        """Whose certificate is asked for, by the hashes of its issuer's name and key."""
        for which in Authority:
            certificate = self._pki.authority(which)
            name, key = _hash(certificate.subject.public_bytes(), asked), _hash(_key_bits(certificate), asked)
            if (asked.issuer_name_hash, asked.issuer_key_hash) == (name, key):
                return which
        return None

    def _is_authority(self, which: Authority, serial: int) -> bool:
        """The root issued the two authorities; they stand as long as it does."""
        return which is Authority.ROOT and serial in {
            self._pki.authority(other).serial_number for other in (Authority.PERSONS, Authority.ORGANISATIONS)
        }


def _signed(
    asked: ocsp.OCSPRequest, which: Authority, line: Issued | None, signer: KeyPair, nonce: bytes | None,
    is_authority: bool,
) -> bytes:
    now = datetime.now(UTC).replace(microsecond=0)
    status, revoked_at, reason = ocsp.OCSPCertStatus.UNKNOWN, None, None
    if is_authority or (line is not None and not line.revoked):
        status = ocsp.OCSPCertStatus.GOOD
    elif line is not None:
        status, revoked_at = ocsp.OCSPCertStatus.REVOKED, datetime.fromisoformat(line.revoked)
        reason = Reason(line.reason).flag if line.reason not in ("", Reason.UNSPECIFIED) else None
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            asked.issuer_name_hash, asked.issuer_key_hash, asked.serial_number, asked.hash_algorithm, status,
            now, now + VALID, revoked_at, reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        .certificates([signer.certificate])
    )  # fmt: skip
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _nonce(asked: ocsp.OCSPRequest) -> bytes | None:
    """Raises ValueError for one that is too short, too long, or beside an extension nobody here understands."""
    nonce = None
    for extension in asked.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
            if not 1 <= len(nonce) <= _LONGEST_NONCE:
                raise ValueError("length of the nonce")
        elif extension.critical:
            raise ValueError("unknown critical extension")
    return nonce


def _hash(data: bytes, asked: ocsp.OCSPRequest) -> bytes:
    digest = hashes.Hash(asked.hash_algorithm)
    digest.update(data)
    return digest.finalize()


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The subjectPublicKey without its algorithm: what issuerKeyHash is taken of."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def _failure(status: ocsp.OCSPResponseStatus) -> Answer:
    return Answer(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER), False)
