"""Certificates as test tools make them: self-signed, or of an authority that keeps no revocation list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

Made = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def self_signed(name: str = "Event STS", *, days: int = 30, authority: bool = False) -> Made:
    """A key with its own certificate; without usages, as many tools leave them out."""
    return make(name, None, days=days, authority=authority)


def make(name: str, issuer: Made | None, *, days: int = 30, authority: bool = False) -> Made:
    """``days`` below zero ended so long ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
    issuer_key, issuer_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    end = datetime.now(UTC) + timedelta(days=days)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer_name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(end - timedelta(days=60)).not_valid_after(end)
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return key, builder.sign(issuer_key, hashes.SHA256())
