"""One server of ours as TLS sees it: its pairs, the contexts it listens and calls with, and when what it uses ends.

Clause: ITI TF-2 3.19.6
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256

from carnet.keys import Following, KeyTrouble, PairFiles, Stamp, readable_by_others, server_context, stamp_of
from carnet.settings import Settings
from guard.credentials.cards import load_key_pair
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import Authority
from xds.wire import tls

log = logging.getLogger("carnet.keys")

WARNED_AHEAD = timedelta(days=30)
LOOK_EVERY = 3600.0
SIGNER = "tokens-sign"
"""Name of the certificate that signs assertions, beside those of the servers."""


def pair_files(settings: Settings, name: str) -> PairFiles:
    """The first pair of one of our servers: what it signs with, and shows where it connects."""
    folder = settings.pki / "servers"
    return PairFiles(folder / f"{name}.pem", folder / f"{name}.key")


def all_pair_files(settings: Settings, name: str) -> list[PairFiles]:
    """The first pair and, where it is there, the RSA pair beside it."""
    first, second = pair_files(settings, name), pair_files(settings, f"{name}.rsa")
    return [first, second] if second.certificate.exists() or second.key.exists() else [first]


def signer_files(settings: Settings) -> PairFiles:
    """What the token service signs assertions with."""
    own, chosen = pair_files(settings, SIGNER), settings.tokens
    return PairFiles(Path(chosen.certificate or own.certificate), Path(chosen.key or own.key))


def stamp_of_pairs(settings: Settings, name: str, beside: Hashable = None) -> Stamp:
    """The state of all files of a server's pairs, those included that may come."""
    every = [pair_files(settings, name), pair_files(settings, f"{name}.rsa"), audit_files(settings, name)]
    return stamp_of([file for files in every for file in (files.certificate, files.key)], beside)


def audit_files(settings: Settings, name: str) -> PairFiles:
    """What is shown to the receiver of audit messages."""
    own, chosen = pair_files(settings, name), settings.audit
    return PairFiles(Path(chosen.certificate or own.certificate), Path(chosen.key or own.key))


def server_tls(
    settings: Settings, name: str, trust: TrustStore, finish: Callable[[ssl.SSLContext], ssl.SSLContext]
) -> Following:
    """What a listener of this server serves with. Raises KeyTrouble, OSError.

    ``finish`` gets each context before it serves.
    """
    def anchors() -> str:
        trust.refresh()
        return trust.pem()

    def make() -> ssl.SSLContext:
        return finish(server_context([files.read() for files in all_pair_files(settings, name)], anchors()))

    return Following(f"{name}, listening", make, lambda: stamp_of_pairs(settings, name, anchors()))


def client_tls(
    name: str, files: PairFiles, anchors: Path | str, finish: Callable[[ssl.SSLContext], None] = lambda _context: None
) -> Following:
    """What a server connects with: this pair, and the authorities of this PEM file. Raises KeyTrouble, OSError."""

    def make() -> ssl.SSLContext:
        context = tls.calling(anchors)
        load_key_pair(context, files.read())
        finish(context)
        return context

    return Following(name, make, lambda: stamp_of([files.certificate, files.key, anchors]))


def is_of_test_authority(settings: Settings, certificate: x509.Certificate) -> bool:
    """Whether the stand-in authority of this installation issued a certificate, and can issue another."""
    authority = settings.pki / "trust" / f"{Authority.ORGANISATIONS}.pem"
    if not (settings.pki / "private" / f"{Authority.ORGANISATIONS}.key").exists():
        return False
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.read_bytes()))
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return True


def names_of(certificate: x509.Certificate) -> list[str]:
    """Host names and addresses a server certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


# -- what is wrong, and what ends soon -----------------------------------------------------------------------------


def key_files(settings: Settings) -> list[Path]:
    """Every file of this installation that holds a private key."""
    found = [*sorted(settings.pki.glob("private/*.key")), *sorted(settings.pki.glob("servers/*.key"))]
    return [*found, *(Path(key) for key in (settings.audit.key, settings.tokens.key) if key)]


def close_key_files(settings: Settings, *, repair: bool) -> list[Path]:
    """Key files that group or others may read or write; with ``repair`` they are no more when this returns.

    Raises OSError for a file of somebody else's, which only he can close.
    """
    found = [file for file in key_files(settings) if file.exists() and readable_by_others(file)]
    for file in found if repair else ():
        file.chmod(0o600)
    return found


@dataclass(frozen=True, slots=True)
class Ending:
    """A certificate or revocation list a service uses, and when it ends."""

    kind: str
    """``server``, ``chain``, ``audit``, ``signer``, ``authority``, ``provider`` or ``revocation list``"""
    file: str
    name: str
    """Common name of its holder, or of who issued the list"""
    ends: datetime

    def seconds(self, now: datetime) -> float:
        """Until the end; negative behind it."""
        return (self.ends - now).total_seconds()


def endings(settings: Settings, name: str) -> list[Ending]:
    """Everything a service uses that ends some day, each once, soonest first. What cannot be read is left out."""
    found: dict[tuple[str, bytes], Ending] = {}
    for kind, file in _files(settings, name):
        try:
            for fingerprint, one in _ends(kind, file, file.read_bytes()):
                found.setdefault((one.kind, fingerprint), one)
        except (OSError, ValueError):
            continue
    return sorted(found.values(), key=lambda one: one.ends)


def problem(settings: Settings, name: str) -> str:
    """Why the pairs of a service cannot be used as they lie on disk now, "" when they can."""
    try:
        for files in [*all_pair_files(settings, name), audit_files(settings, name)]:
            files.read()
    except KeyTrouble as error:
        return str(error)
    return ""


def lacks_rsa(settings: Settings, name: str) -> bool:
    """Whether nobody can connect with TLS 1.2, because no certificate of this server is RSA. Raises KeyTrouble."""
    return not any(isinstance(files.read().key, rsa.RSAPrivateKey) for files in all_pair_files(settings, name))


def _files(settings: Settings, name: str) -> Iterator[tuple[str, Path]]:
    for files in all_pair_files(settings, name):
        yield "server", files.certificate
    if settings.audit.certificate:
        yield "audit", Path(settings.audit.certificate)
    if name == "tokens":
        yield "signer", signer_files(settings).certificate
    for file in sorted((settings.pki / "trust").glob("*"), key=lambda file: (file.name == "ca.pem", file.name)):
        if file.suffix == ".crl":
            yield "revocation list", file
        elif file.suffix == ".pem" and not file.name.startswith("."):
            yield ("provider" if file.name.startswith("sts") else "authority"), file
    for text in (settings.audit.anchors, settings.replies.ca_file):
        if text:
            yield "authority", Path(text)


def _ends(kind: str, file: Path, data: bytes) -> Iterator[tuple[bytes, Ending]]:
    is_pem = b"-----BEGIN" in data
    if kind == "revocation list":
        crl = x509.load_pem_x509_crl(data) if is_pem else x509.load_der_x509_crl(data)
        if crl.next_update_utc is not None:
            yield crl.fingerprint(SHA256()), Ending(kind, file.name, _name(crl.issuer), crl.next_update_utc)
        return
    for number, one in enumerate(x509.load_pem_x509_certificates(data)):
        as_what = "chain" if number and kind in ("server", "audit", "signer") else kind
        yield one.fingerprint(SHA256()), Ending(as_what, file.name, _name(one.subject), one.not_valid_after_utc)


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


class Calendar:
    """Says once a day, in the log, what ends within thirty days or has ended. Rule: K-04"""

    def __init__(self, settings: Settings, name: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings, self._name, self._now = settings, name, now
        self._told: dict[Ending, datetime] = {}

    def run(self) -> None:
        """Until the process ends."""
        while True:
            try:
                self.look()
            except Exception as error:
                log.error("what ends soon is not known: %s", type(error).__name__)
            time.sleep(LOOK_EVERY)

    def look(self) -> int:
        """Returns how many were told."""
        now, told = self._now(), 0
        current = endings(self._settings, self._name)
        self._told = {one: at for one, at in self._told.items() if one in current}
        for one in current:
            left = one.ends - now
            if left > WARNED_AHEAD or now - self._told.get(one, now - timedelta(days=1)) < timedelta(days=1):
                continue
            self._told[one] = now
            told += 1
            if left <= timedelta(0):
                log.error("%s %s (%s) has ended on %s", one.kind, one.name, one.file, f"{one.ends:%Y-%m-%d}")
            else:
                log.warning("%s %s (%s) ends in %d days, on %s", one.kind, one.name, one.file, left.days,
                            f"{one.ends:%Y-%m-%d}")  # fmt: skip
        return told
