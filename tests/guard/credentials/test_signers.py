"""Signers as of the time they signed: expired since, revoked since, and what must be kept to know it.

Clause: ETSI EN 319 102-1 5.2.6
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from guard.credentials.cards import Card
from guard.credentials.certificates import CertificateRefused, TrustStore
from guard.credentials.identity import Kind
from guard.credentials.past import SignerProof, signer_at
from guard.credentials.pki import KeyKind, Pki

MINUTE = timedelta(minutes=1)


def store(pki: Pki, *, lenient: bool = False) -> TrustStore:
    return TrustStore.load(pki.folder / "trust", lenient=lenient, reload_seconds=0.0)


def card(pki: Pki, **changes: object) -> Card:
    return pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC, **changes)  # type: ignore[arg-type]


def test_a_signer_is_known_by_his_card(own_pki: Pki) -> None:
    """A person by PS_IdNat, a structure by Struct_IdNat; the chain and its two lists are what is kept."""
    person, structure = card(own_pki), own_pki.issue_structure("10B0000001", "LABORATOIRE FICTIF", "Cachet")
    now = datetime.now(UTC)
    one, other = (signer_at(c.signature.der, now, store(own_pki)) for c in (person, structure))
    assert (one.kind, one.number) == (Kind.PERSON, "899700000018")
    assert (other.kind, other.number) == (Kind.ORGANISATION, "10B0000001")
    assert (len(one.proof.chain), len(one.proof.lists), one.revoked_since) == (3, 2, None)


def test_a_certificate_that_has_expired_since_is_good(own_pki: Pki) -> None:
    """By the list of its days, which was kept. A list made after its end says nothing by its silence: authorities drop
    what has expired. A moment outside of its days is refused."""
    start = datetime.now(UTC).replace(microsecond=0) - 4 * MINUTE
    old = card(own_pki, days=MINUTE / timedelta(days=1), start=start)
    moment = start + MINUTE / 2
    assert old.signature.certificate.not_valid_after_utc < datetime.now(UTC)
    trust = own_pki.folder / "trust"
    (trust / "persons.crl").unlink()
    late = a_list(own_pki, made=datetime.now(UTC) - MINUTE, ends=datetime.now(UTC) + MINUTE)
    (trust / "late.crl").write_bytes(late)
    with pytest.raises(CertificateRefused, match="no revocation list"):
        signer_at(old.signature.der, moment, store(own_pki))
    kept = SignerProof((), (a_list(own_pki, made=start + MINUTE / 4, ends=datetime.now(UTC) + MINUTE),))
    assert signer_at(old.signature.der, moment, store(own_pki), kept).number == "899700000018"
    for outside in (start - MINUTE, start + 2 * MINUTE):
        with pytest.raises(CertificateRefused, match="not valid at"):
            signer_at(old.signature.der, outside, store(own_pki), kept)
    ended = SignerProof((), (a_list(own_pki, made=start - MINUTE, ends=moment - timedelta(seconds=1)),))
    with pytest.raises(CertificateRefused, match="no revocation list"):
        signer_at(old.signature.der, moment, store(own_pki), ended)


def a_list(pki: Pki, *, made: datetime, ends: datetime) -> bytes:
    """A revocation list of the persons' authority that names nobody, in DER form."""
    issuer = x509.load_pem_x509_certificate((pki.folder / "trust" / "persons.pem").read_bytes())
    key = load_pem_private_key((pki.folder / "private" / "persons.key").read_bytes(), None)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(made).next_update(ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def test_without_a_list_nothing_is_known(own_pki: Pki) -> None:
    """What was kept is enough, when the folder has none any more."""
    fresh, now = card(own_pki), datetime.now(UTC)
    kept = signer_at(fresh.signature.der, now, store(own_pki)).proof
    for file in (own_pki.folder / "trust").glob("*.crl"):
        file.unlink()
    with pytest.raises(CertificateRefused, match="no revocation list"):
        signer_at(fresh.signature.der, now, store(own_pki))
    assert signer_at(fresh.signature.der, now, store(own_pki), kept).number == "899700000018"


def test_revoked_later_is_good_and_said(own_pki: Pki) -> None:
    """What was signed before the revocation stands; what is signed after it does not."""
    one = card(own_pki)
    own_pki.revoke(one.signature.certificate.serial_number)
    later = datetime.now(UTC) + MINUTE
    with pytest.raises(CertificateRefused, match="revoked at"):
        signer_at(one.signature.der, later, store(own_pki))
    before = one.signature.certificate.not_valid_before_utc + timedelta(seconds=1)
    found = signer_at(one.signature.der, max(before, later - 4 * MINUTE), store(own_pki))
    assert found.revoked_since is not None and found.revoked_since <= datetime.now(UTC)


def test_the_newer_list_wins_over_the_kept_one(own_pki: Pki) -> None:
    """A list kept at deposit does not hide a revocation that came out later, with an earlier date."""
    one = card(own_pki)
    now = datetime.now(UTC)
    kept = signer_at(one.signature.der, now, store(own_pki)).proof
    own_pki.revoke(one.signature.certificate.serial_number)
    with pytest.raises(CertificateRefused, match="revoked at"):
        signer_at(one.signature.der, now + MINUTE, store(own_pki), kept)


def test_a_forged_list_is_not_believed(own_pki: Pki, tmp_path: Path) -> None:
    """A proof from a file brings no list that an authority of ours has not signed, and no authority at all."""
    one, now = card(own_pki), datetime.now(UTC)
    stranger = Pki.create(tmp_path / "stranger")
    theirs = signer_at(card(stranger).signature.der, now, store(stranger)).proof
    for file in (own_pki.folder / "trust").glob("*.crl"):
        file.unlink()
    with pytest.raises(CertificateRefused, match="no revocation list"):
        signer_at(one.signature.der, now, store(own_pki), theirs)
    with pytest.raises(CertificateRefused, match="no configured authority"):
        signer_at(card(stranger).signature.der, now, store(own_pki), theirs)


def test_only_a_signature_key_signs(own_pki: Pki) -> None:
    """The authentication certificate has no nonRepudiation, also where test events are lenient."""
    one, now = card(own_pki), datetime.now(UTC)
    for lenient in (False, True):
        with pytest.raises(CertificateRefused, match="signature of documents"):
            signer_at(one.authentication.der, now, store(own_pki, lenient=lenient))


def test_an_unreadable_proof_is_refused(own_pki: Pki) -> None:
    """Not a crash."""
    now = datetime.now(UTC)
    proof = signer_at(card(own_pki).signature.der, now, store(own_pki)).proof
    broken = type(proof)(proof.chain, (b"rubbish",))
    with pytest.raises(CertificateRefused):
        signer_at(card(own_pki).signature.der, now, store(own_pki), broken)
