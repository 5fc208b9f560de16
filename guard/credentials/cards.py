"""Cards: what a professional or a structure signs and connects with, kept in files under a PIN.

A card holds two key pairs with different duties: *authentication* (mutual TLS) and *signature* (assertions).
On disk each is one ordinary PKCS#12 file under the same PIN, ``card.p12`` and beside it ``card.sign.p12``.
Two files, because a PKCS#12 with two private keys is read differently by every tool (most show one of them),
whereas each of these opens with OpenSSL, a browser or a SOAP test tool as it is. The PIN is the password of the
files; wrong ones are counted beside them (``guard.credentials.try_counter``). A copied file can be guessed at leisure:
test material, not a security device. Cards that are one are in ``guard.credentials.token_card``, of the same shape.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from guard.credentials import identity, token_tls, try_counter
from guard.credentials.identity import Identity, Kind
from guard.credentials.token_key import TokenKey
from guard.credentials.try_counter import CardError, CardLocked, WrongPin
from xds.wire import tls

__all__ = ["Card", "CardError", "CardLocked", "KeyPair", "NoSignatureKey", "PrivateKey", "PublicKey", "WrongPin"]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""One of ``cryptography``, or one that stays on its card (``guard.credentials.token_key``)."""
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class NoSignatureKey(CardError):
    """The card can connect but not sign: its ``.sign.p12`` file is missing."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One private key with its certificate and the certificates of the authorities above it, leaf side first."""

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate in DER form."""
        return self.certificate.public_bytes(Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        """Signature over ``data`` with SHA-256: RSA PKCS#1 v1.5, or ECDSA in DER form."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True)
class Card:
    """An opened card of a person, or the two certificates of a structure."""

    authentication: KeyPair
    signature_pair: KeyPair | None

    @classmethod
    def open(cls, path: Path | str, pin: str) -> Card:
        """Open ``path`` (authentication) and, when it is there, ``<stem>.sign.p12`` beside it (signature).

        Raises WrongPin with the tries left, CardLocked after three wrong ones, and CardError for a file that is
        absent or is not a card.
        """
        path = Path(path)
        with try_counter.one_try(path):
            authentication = _read(path, pin)
            beside = signature_path(path)
            return cls(authentication, _read(beside, pin) if beside.is_file() else None)

    def save(self, path: Path | str, pin: str) -> Path:
        """Write both files, mode 0600; refuses to overwrite (FileExistsError), and an empty PIN or a card that is a
        token (CardError)."""
        if isinstance(self.authentication.key, TokenKey):
            raise CardError("the key stays on its token: such a card is no file")
        if not pin:
            raise CardError("a card needs a PIN")
        path = Path(path)
        pairs = [(path, self.authentication)]
        if self.signature_pair is not None:
            pairs.append((signature_path(path), self.signature_pair))
        for target, _ in pairs:
            if target.exists():
                raise FileExistsError(f"{target} already exists")
        for target, pair in pairs:
            write_private(target, _packed(pair.key, pair.certificate, pair.chain, pin))
        try_counter.forget(path)
        return path

    @cached_property
    def identity(self) -> Identity:
        """Names, profession, specialty and structure, as the authentication certificate states them."""
        return identity.read(self.authentication.certificate)

    @property
    def kind(self) -> Kind:
        """A person's card names its holder by profession, card type or surname; a structure's by its unit."""
        who = self.identity
        is_person = who.card_type is not None or who.profession is not None or bool(who.surname)
        return Kind.PERSON if is_person else Kind.ORGANISATION

    @property
    def signature(self) -> KeyPair:
        """The key pair that signs assertions. Raises NoSignatureKey."""
        if self.signature_pair is None:
            raise NoSignatureKey("this card has no signature key: its .sign.p12 file is missing")
        return self.signature_pair

    def sign(self, data: bytes) -> bytes:
        """Sign with the signature key, never with the authentication key. Raises NoSignatureKey."""
        return self.signature.sign(data)

    def tls_context(self, ca_file: Path | str) -> ssl.SSLContext:
        """A client context that trusts ``ca_file`` (PEM) only and presents the authentication certificate.

        The server's name is checked. Build it once and reuse it: a new one costs a few milliseconds.
        """
        context = tls.calling(ca_file)
        load_key_pair(context, self.authentication)
        return context


def save_keys(path: Path, keys: tuple[PrivateKey, PrivateKey], pin: str) -> None:
    """Write the authentication and the signature key of a card that waits for its certificates; see ``install``."""
    for target, key in zip((path, signature_path(path)), keys, strict=True):
        write_private(target, _packed(key, None, (), pin))
    try_counter.forget(path)


def install(path: Path, pin: str, certificates: Sequence[x509.Certificate]) -> None:
    """Put certificates beside the keys of a card file they belong to. Raises WrongPin, CardLocked, CardError."""
    files = path, signature_path(path)
    with try_counter.one_try(path):
        keys = [_unpacked(file, pin)[0] for file in files]
    packed = []
    for file, key in zip(files, keys, strict=True):
        wanted = key.public_key().public_numbers()
        own = [one for one in certificates if _numbers(one) == wanted]
        if len(own) != 1:
            raise CardError(f"{len(own) or 'no'} certificates belong to the key in {file.name}")
        packed.append(_packed(key, own[0], ordered(own[0], certificates), pin))
    for file, data in zip(files, packed, strict=True):
        temporary = file.with_name(f".{file.name}.new")
        temporary.unlink(missing_ok=True)
        write_private(temporary, data)
        temporary.replace(file)


def _numbers(certificate: x509.Certificate) -> object:
    key = certificate.public_key()
    return key.public_numbers() if isinstance(key, PublicKey) else None


def _packed(
    key: PrivateKey, certificate: x509.Certificate | None, chain: Sequence[x509.Certificate], pin: str
) -> bytes:
    name = "card" if certificate is None else identity.read(certificate).common_name
    return pkcs12.serialize_key_and_certificates(
        name.encode(), key, certificate, chain, BestAvailableEncryption(pin.encode())
    )


def signature_path(path: Path) -> Path:
    """``card.p12`` -> ``card.sign.p12``"""
    return path.with_name(f"{path.stem}.sign{path.suffix}")


def load_key_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Hand a key pair to a TLS context. Raises CardError for a key on a card that this Python's TLS cannot use.

    The ssl module reads keys from files only. This one is in memory alone, without a name and for the one call: no disk
    ever holds it, and who is killed meanwhile leaves nothing behind.
    """
    if isinstance(pair.key, TokenKey):
        try:
            token_tls.load(context, pair.key, (pair.certificate, *pair.chain))
        except token_tls.NotPossible as error:
            raise CardError(str(error)) from error
        return
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.memfd_create("carnet", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(key + pem(pair.certificate, *pair.chain))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def pem(*certificates: x509.Certificate) -> bytes:
    """The certificates one after the other in PEM form."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read (mode 0600 from its first byte). Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _read(path: Path, pin: str) -> KeyPair:
    key, certificate, chain = _unpacked(path, pin)
    return KeyPair(key, _present(certificate, path), ordered(certificate, chain))


def _unpacked(path: Path, pin: str) -> tuple[PrivateKey, x509.Certificate | None, Sequence[x509.Certificate]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CardError(f"card {path.name} cannot be read: {error.strerror}") from error
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(data, pin.encode())
    except UnsupportedAlgorithm as error:
        raise CardError(f"{path.name} is protected in a way that is too old to be read") from error
    except ValueError as error:
        if "deserialize" in str(error):
            raise CardError(f"{path.name} is not a card (PKCS#12)") from error
        raise WrongPin(f"the PIN does not open {path.name}") from error
    if not isinstance(key, PrivateKey):
        raise CardError(f"{path.name} holds no RSA or elliptic-curve key")
    return key, certificate, chain


def _present(certificate: x509.Certificate | None, path: Path) -> x509.Certificate:
    if certificate is None:
        raise CardError(f"{path.name} holds no certificate for its key; `carnet card install` puts one there")
    return certificate


def ordered(leaf: x509.Certificate | None, chain: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The chain from the leaf's issuer upwards; certificates that are not part of it are dropped."""
    by_subject = {certificate.subject: certificate for certificate in chain}
    ordered: list[x509.Certificate] = []
    current = leaf
    while current is not None and current.issuer != current.subject:
        current = by_subject.pop(current.issuer, None)
        if current is not None:
            ordered.append(current)
    return tuple(ordered)
