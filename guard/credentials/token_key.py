"""Keys that never leave their card: they look like keys of ``cryptography`` and let the card do the arithmetic.

A card computes two things: the private-key operation of RSA on a block, and ECDSA over a digest. All else (digests,
padding, the form of signatures) is done here, so that certificate requests, XML signatures and TLS take such a key
like any other. What needs the key itself (export, decryption) is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What stands before the digest in a PKCS#1 v1.5 signature. Clause: RFC 8017 9.2"""

Compute = Callable[[bytes], bytes]
"""One private-key operation of the card. May raise CardError."""


class _Kept:
    """What asks for the key itself is refused; a copy is the same key."""

    def private_numbers(self) -> NoReturn:
        _stays()

    def private_bytes(
        self, encoding: serialization.Encoding, format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        _stays()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        return self


class TokenRsaKey(_Kept, rsa.RSAPrivateKey):
    """An RSA key on a card. ``pkcs1`` pads a DigestInfo and signs it, ``raw`` signs a block that is padded already."""

    def __init__(self, public: rsa.RSAPublicKey, pkcs1: Compute, raw: Compute | None) -> None:
        self._public = public
        self.pkcs1 = pkcs1
        self.raw = raw
        """None: this card refuses to sign blocks it has not padded itself, so TLS 1.3 is not possible with it."""

    def sign(
        self, data: Any, padding: padding.AsymmetricPadding, algorithm: object
    ) -> bytes:
        """PKCS#1 v1.5 with SHA-2; raises UnsupportedAlgorithm for anything else."""
        if not _is_pkcs1(padding):
            raise UnsupportedAlgorithm("the card signs with PKCS#1 v1.5 padding only")
        name, digest = _digest(bytes(data), algorithm)
        if name not in DIGEST_INFO:
            raise UnsupportedAlgorithm(f"the card does not sign {name}")
        return self.pkcs1(DIGEST_INFO[name] + digest)

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> NoReturn:
        _stays()


class TokenEcKey(_Kept, ec.EllipticCurvePrivateKey):
    """An elliptic-curve key on a card. ``ecdsa`` signs a digest and gives r and s, each of the length of the curve."""

    def __init__(self, public: ec.EllipticCurvePublicKey, ecdsa: Compute) -> None:
        self._public = public
        self._ecdsa = ecdsa

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """ECDSA in DER form; raises UnsupportedAlgorithm for anything else."""
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise UnsupportedAlgorithm("the card signs with ECDSA only")
        return self.sign_digest(_digest(bytes(data), signature_algorithm.algorithm)[1])

    def sign_digest(self, digest: bytes) -> bytes:
        """ECDSA over a digest, in DER form; of a longer digest the leftmost bytes count."""
        both = self._ecdsa(digest[: (self.key_size + 7) // 8])
        half = len(both) // 2
        return encode_dss_signature(int.from_bytes(both[:half], "big"), int.from_bytes(both[half:], "big"))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        _stays()


TokenKey = TokenRsaKey | TokenEcKey


def _is_pkcs1(given: object) -> bool:
    return isinstance(given, padding.PKCS1v15)


def _digest(data: bytes, algorithm: object) -> tuple[str, bytes]:
    """Name and value of the digest; a Prehashed one is taken as it is."""
    if isinstance(algorithm, Prehashed):
        name = {32: "sha256", 48: "sha384", 64: "sha512"}.get(algorithm.digest_size, "this digest")
        if len(data) != algorithm.digest_size:
            raise ValueError("the digest has another length than its algorithm")
        return name, data
    if not isinstance(algorithm, hashes.HashAlgorithm):
        raise UnsupportedAlgorithm("no digest algorithm")
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return algorithm.name, digest.finalize()


def _stays() -> NoReturn:
    raise UnsupportedAlgorithm("the key stays on its card")
