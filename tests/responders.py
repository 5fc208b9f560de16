"""An authority with a responder and lists of its own, over plain HTTP on this machine, for tests of revocation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from guard.credentials import identity

HOUR = timedelta(hours=1)
Key = ec.EllipticCurvePrivateKey


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Responder:
    """Answers what its fields say; ``asked`` are the paths, in the order of the questions."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    answer: Callable[[str, bytes], bytes | None] = lambda path, body: None
    """None: status 503"""

    @contextmanager
    def serving(self) -> Iterator[Responder]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(self.path)
                data = outer.answer(self.path, body)
                self.send_response(503 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            do_GET = do_POST = _do

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


class Authority:
    """One self-signed authority of persons, and what it issues."""

    def __init__(self, responder: Responder, *, with_ocsp: bool = True, with_lists: bool = True) -> None:
        self.responder, self._ocsp, self._lists = responder, with_ocsp, with_lists
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self._builder(name("AC essai"), self.key.public_key(), 1).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ))

    def _builder(self, subject: x509.Name, key: Any, serial: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(name("AC essai")).public_key(key)
            .serial_number(serial).not_valid_before(now - HOUR).not_valid_after(now + 24 * HOUR)
        )

    def _sign(self, builder: x509.CertificateBuilder, key: Key | None = None) -> x509.Certificate:
        return builder.sign(key or self.key, hashes.SHA256())

    def card(self, serial: int = 10, *, category: int | None = 0x80, signed_by: Key | None = None) -> x509.Certificate:
        """A certificate that signs; with the addresses of the responder and of the lists."""
        builder = self._builder(name(f"8999{serial:08d}"), ec.generate_private_key(ec.SECP256R1()).public_key(), serial)
        builder = builder.add_extension(
            x509.KeyUsage(False, True, False, False, False, False, False, False, False), critical=True
        )
        if category is not None:
            (extension,) = identity.extensions(
                card_type=None, card_number="", category=category, profession=None, specialties=()
            )
            builder = builder.add_extension(extension, critical=False)
        base = f"http://{self.responder.host}"
        if self._ocsp:
            builder = builder.add_extension(x509.AuthorityInformationAccess([x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{base}/ocsp")
            )]), critical=False)
        if self._lists:
            builder = builder.add_extension(_points(x509.CRLDistributionPoints, f"{base}/full.crl"), critical=False)
            builder = builder.add_extension(_points(x509.FreshestCRL, f"{base}/delta.crl"), critical=False)
        return self._sign(builder, signed_by)

    def delegate(
        self, *, usages: tuple[Any, ...] = (ExtendedKeyUsageOID.OCSP_SIGNING,), no_check: bool = True,
        ends: timedelta = HOUR, signed_by: Key | None = None,
    ) -> tuple[Key, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name("Répondeur")).issuer_name(name("AC essai"))
            .public_key(key.public_key()).serial_number(3).not_valid_before(now - 2 * HOUR).not_valid_after(now + ends)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        if no_check:
            builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
        return key, self._sign(builder, signed_by)

    def crl(
        self, revoked: dict[int, x509.ReasonFlags | None] | None = None, *, number: int = 1, base: int | None = None,
        begins: timedelta = -HOUR / 2, ends: timedelta = HOUR, key: Key | None = None,
    ) -> bytes:
        """A full list, or a delta to the list of number ``base``."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(name("AC essai")).last_update(now + begins)
            .next_update(now + ends).add_extension(x509.CRLNumber(number), critical=False)
        )
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
        for serial, reason in (revoked or {}).items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - HOUR)
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def ocsp(
        self, body: bytes, card: x509.Certificate, *, status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        begins: timedelta = -HOUR / 2, ends: timedelta | None = HOUR, nonce: bytes | bool | None = True,
        signer: tuple[Key, x509.Certificate] | None = None, attached: bool = True,
        about: x509.Certificate | None = None, issuer: x509.Certificate | None = None, revoked: timedelta = -HOUR,
    ) -> bytes:
        """The answer to a request; ``nonce`` True repeats the one asked with."""
        now = datetime.now(UTC)
        key, certificate = signer or (self.key, self.certificate)
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=about or card, issuer=issuer or self.certificate, algorithm=hashes.SHA1(), cert_status=status,
            this_update=now + begins, next_update=None if ends is None else now + ends,
            revocation_time=now + revoked if is_revoked else None, revocation_reason=None,
        ).responder_id(ocsp.OCSPResponderEncoding.NAME, certificate)
        if signer is not None and attached:
            builder = builder.certificates([certificate])
        if nonce is True:
            asked = ocsp.load_der_ocsp_request(body)
            nonce = asked.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        if isinstance(nonce, bytes):
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def trust(self, folder: Path, *lists: bytes) -> Path:
        """A trust folder with this authority and these lists."""
        folder.mkdir(exist_ok=True)
        (folder / "persons.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        for number, data in enumerate(lists):
            (folder / f"{number}.crl").write_bytes(data)
        return folder


def _points(kind: Any, url: str) -> Any:
    return kind([x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)])
