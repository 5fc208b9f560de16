"""Signed checkpoints of the access log: the ends of all lanes at one moment, under the service's key.

Whoever holds the database may cut off its end, or compute the whole chain anew; without the key he cannot make the
checkpoints that would fit, and those already written elsewhere speak against him.

Clause: ITI TF-2 3.20.4.1.1; DMP EX_AIR-100
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from guard.audit.chain import GENESIS, Anchor, Head

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class NotGenuine(Exception):
    """A checkpoint that is not what our service signed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """``body`` is the JSON text that was signed, ``signature`` and ``certificate`` (DER) are in base64.

    The signature is ECDSA or RSA (PKCS #1) over SHA-256 of the UTF-8 bytes of the body.
    """

    body: str
    signature: str
    certificate: str

    def as_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, text: str) -> Checkpoint:
        """Raises NotGenuine when the text is none."""
        try:
            given = json.loads(text)
            return cls(**{name: str(given[name]) for name in ("body", "signature", "certificate")})
        except (ValueError, KeyError, TypeError) as error:
            raise NotGenuine("this is no checkpoint") from error


def sign(
    service: str, at: str, heads: Iterable[Head], key: PrivateKey, certificate: x509.Certificate
) -> Checkpoint:
    """``service`` names the log, ``registry`` or ``repository``; ``at`` as in a line."""
    body = json.dumps({"log": service, "at": at, "heads": [list(head) for head in heads]}, separators=(",", ":"))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(body.encode(), ec.ECDSA(hashes.SHA256()))
    der = certificate.public_bytes(Encoding.DER)
    return Checkpoint(body=body, signature=b64encode(signature).decode(), certificate=b64encode(der).decode())


def verified(checkpoint: Checkpoint, service: str, authorities: Sequence[x509.Certificate]) -> list[Anchor]:
    """What the checkpoint says of each lane. Raises NotGenuine.

    The certificate must be that of ``service``, issued by one of the authorities, and in force when it signed; later
    expiry or revocation takes nothing from what was signed before.
    """
    try:
        certificate = x509.load_der_x509_certificate(b64decode(checkpoint.certificate, validate=True))
        signature, signed = b64decode(checkpoint.signature, validate=True), checkpoint.body.encode()
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        else:
            raise NotGenuine("the kind of its key is not known")
        told = json.loads(checkpoint.body)
        at = str(told["at"])
        moment = datetime.fromisoformat(at.replace("Z", "+00:00"))
        heads = [Head(int(lane), int(sequence), str(hash_)) for lane, sequence, hash_ in told["heads"]]
        log = str(told["log"])
    except InvalidSignature as error:
        raise NotGenuine("its signature does not fit") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotGenuine("it cannot be read") from error
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if log != service or [name.value for name in names] != [service]:
        raise NotGenuine("it is of another service")
    if not any(_has_issued(authority, certificate) for authority in authorities):
        raise NotGenuine("its certificate is of none of our authorities")
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise NotGenuine("its certificate was not in force")
    return [Anchor(head, at) for head in heads if head.hash != GENESIS]


def _has_issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
