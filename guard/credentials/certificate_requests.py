"""Certificate requests: how keys that are made elsewhere come to their certificates.

One file holds two, for the authentication and for the signature key of a card. Each is signed by its own key, which
proves that whoever asks holds it. The name in them says which is which and nothing else: who the holder is, is the
authority's to say.

Clause: RFC 2986
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from guard.credentials.cards import PrivateKey, PublicKey

_PURPOSES = ("authentication", "signature")
_SMALLEST_RSA = 2048
_LONGEST = 20_000


class RequestRefused(Exception):
    """A certificate request that is not signed; the text says why."""


def make(authentication: PrivateKey, signature: PrivateKey) -> bytes:
    """The request file of two keys, PEM."""
    blocks = []
    for purpose, key in zip(_PURPOSES, (authentication, signature), strict=True):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, purpose)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        blocks.append(request.public_bytes(Encoding.PEM))
    return b"".join(blocks)


def requested_keys(text: bytes) -> tuple[PublicKey, PublicKey]:
    """The two keys of a request file: possession proven, strong enough, not one and the same.

    Raises RequestRefused. Clause: RFC 2986
    """
    end = b"-----END CERTIFICATE REQUEST-----"
    blocks = [part + end for part in text.split(end)[:-1]]
    if len(blocks) != 2 or len(text) > _LONGEST:
        raise RequestRefused(f"two certificate requests are expected (authentication, signature), found {len(blocks)}")
    found: list[PublicKey] = []
    for what, block in zip(_PURPOSES, blocks, strict=True):
        try:
            request = x509.load_pem_x509_csr(block)
            key, proven = request.public_key(), request.is_signature_valid
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise RequestRefused(f"the request for {what} cannot be read: {type(error).__name__}") from error
        if not proven:
            raise RequestRefused(f"the request for {what} is not signed by its own key")
        if not (
            (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA)
            or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1))
        ):
            raise RequestRefused(f"the key for {what} is neither RSA of 2048 bits or more nor P-256 or P-384")
        found.append(key)
    if found[0].public_numbers() == found[1].public_numbers():
        raise RequestRefused("authentication and signature need different keys")
    return found[0], found[1]
