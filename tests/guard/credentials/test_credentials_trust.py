"""Which certificates are believed: authority, time, usage, revocation, and the memory of the answers."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from conformance.negative_kit import Kit
from guard.credentials.cards import Card
from guard.credentials.certificates import CertificateRefused, TrustError, TrustStore, Use
from guard.credentials.identity import Kind
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.revocation_check import Revocation, RevocationRule


def quick(folder: Path, **choices: object) -> TrustStore:
    """A store that looks at its folder before each answer."""
    return TrustStore.load(folder, reload_seconds=0, **choices)  # type: ignore[arg-type]


def card_of(pki: Pki, number: int = 1, **choices: object) -> Card:
    return pki.issue_person(f"8999000001{number:02d}", "A", "B", key=KeyKind.EC, **choices)  # type: ignore[arg-type]


def test_person_and_structure_are_believed_for_their_use(kit: Kit, pki: Pki) -> None:
    """Each certificate of the stand-in is accepted for its own use, with the branch it belongs to. Step: g"""
    trust = TrustStore.load(pki.trust)
    for card, kind in ((kit.card, Kind.PERSON), (kit.other, Kind.PERSON), (kit.structure, Kind.ORGANISATION)):
        assert trust.check(card.authentication.der, Use.TLS_CLIENT).kind is kind
        accepted = trust.check(card.signature.der, Use.VIHF_SIGNATURE)
        assert accepted.kind is kind
        assert accepted.identity.common_name == card.identity.common_name
        assert not accepted.is_server


@pytest.mark.parametrize(
    ("pair", "use"), [("signature", Use.TLS_CLIENT), ("authentication", Use.VIHF_SIGNATURE)]
)
def test_keys_do_not_change_duty(kit: Kit, pki: Pki, pair: str, use: Use) -> None:
    """A signature certificate opens no connection, an authentication certificate signs no VIHF. Step: g"""
    with pytest.raises(CertificateRefused, match="usages"):
        TrustStore.load(pki.trust).check(getattr(kit.other, pair).der, use)


def test_same_names_from_another_authority_are_refused(kit: Kit, pki: Pki) -> None:
    """The foreign authority has the same name as ours; only its key differs. Step: g"""
    assert kit.foreign.signature.certificate.issuer == kit.card.signature.certificate.issuer
    with pytest.raises(CertificateRefused, match="no configured authority"):
        TrustStore.load(pki.trust).check(kit.foreign.signature.der, Use.VIHF_SIGNATURE)


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x01", b"junk" * 100])
def test_unreadable_certificate_is_refused(pki: Pki, data: bytes) -> None:
    """Bytes that are no certificate. Step: g"""
    with pytest.raises(CertificateRefused):
        TrustStore.load(pki.trust).check(data, Use.TLS_CLIENT)


def test_authority_is_not_a_person(pki: Pki) -> None:
    """The certificate of an authority vouches for nobody but those it issued. Step: g"""
    der = x509.load_pem_x509_certificate((pki.trust / "persons.pem").read_bytes()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateRefused):
        TrustStore.load(pki.trust).check(der, Use.TOKEN_SIGNATURE)


def test_validity_follows_the_clock(own_pki: Pki) -> None:
    """Before its first and after its last moment a certificate is refused. Step: g"""
    card = card_of(own_pki, days=10)
    now = datetime.now(UTC)
    for moment, good in ((now, True), (now - timedelta(days=1), False), (now + timedelta(days=11), False)):
        trust = TrustStore.load(own_pki.trust, clock=lambda moment=moment: moment)
        if good:
            assert trust.check(card.signature.der, Use.VIHF_SIGNATURE).until <= now + timedelta(days=10)
        else:
            with pytest.raises(CertificateRefused, match="not valid now"):
                trust.check(card.signature.der, Use.VIHF_SIGNATURE)


def test_memory_ends_with_the_certificate(own_pki: Pki) -> None:
    """A remembered answer does not outlive the certificate it is about. Step: g"""
    card = card_of(own_pki, days=10)
    moment = [datetime.now(UTC)]
    trust = TrustStore.load(own_pki.trust, clock=lambda: moment[0])
    trust.check(card.signature.der, Use.VIHF_SIGNATURE)
    moment[0] += timedelta(days=11)
    with pytest.raises(CertificateRefused):
        trust.check(card.signature.der, Use.VIHF_SIGNATURE)


def test_revocation_bites_at_once(own_pki: Pki) -> None:
    """A certificate accepted and remembered is refused as soon as the new list is in the folder. Step: g"""
    card, still_good = card_of(own_pki), card_of(own_pki, 2)
    trust = quick(own_pki.trust)
    trust.check(card.signature.der, Use.VIHF_SIGNATURE)
    before = trust.generation
    own_pki.revoke(card.signature.certificate.serial_number)
    with pytest.raises(CertificateRefused, match="revoked"):
        trust.check(card.signature.der, Use.VIHF_SIGNATURE)
    assert trust.generation > before
    trust.check(card.authentication.der, Use.TLS_CLIENT)
    trust.check(still_good.signature.der, Use.VIHF_SIGNATURE)


def test_answers_are_remembered(own_pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second question about a certificate costs no signature check."""
    card = card_of(own_pki)
    trust = TrustStore.load(own_pki.trust)
    first = trust.check(card.signature.der, Use.VIHF_SIGNATURE)
    monkeypatch.setattr("guard.credentials.certificates._chain", None)
    assert trust.check(card.signature.der, Use.VIHF_SIGNATURE) is first


def test_memory_is_bounded(own_pki: Pki) -> None:
    """However many certificates are shown, no more than the bound are remembered."""
    trust = TrustStore(own_pki.trust, revocation=Revocation(RevocationRule()), memory=2)
    for number in range(4):
        trust.check(card_of(own_pki, number).signature.der, Use.VIHF_SIGNATURE)
    assert len(trust._seen) == 2


@pytest.mark.parametrize("missing", ["persons.crl", "root.crl"])
def test_missing_list_is_refused_when_lists_are_required(own_pki: Pki, missing: str) -> None:
    """Fail closed: no list of an authority on the way to the root, no trust; unless lists are optional. Step: g"""
    card = card_of(own_pki)
    (own_pki.trust / missing).unlink()
    with pytest.raises(CertificateRefused, match="no current revocation list"):
        TrustStore.load(own_pki.trust).check(card.signature.der, Use.VIHF_SIGNATURE)
    TrustStore.load(own_pki.trust, require_crl=False).check(card.signature.der, Use.VIHF_SIGNATURE)


def test_outdated_list_is_as_good_as_none_but_still_revokes(own_pki: Pki) -> None:
    """A list past its next update no longer proves innocence, and never forgets guilt. Step: g"""
    good, revoked = card_of(own_pki), card_of(own_pki, 2)
    own_pki.revoke(revoked.signature.certificate.serial_number, crl_days=1)
    later = datetime.now(UTC) + timedelta(days=2)
    trust = TrustStore.load(own_pki.trust, clock=lambda: later)
    with pytest.raises(CertificateRefused, match="no current revocation list"):
        trust.check(good.signature.der, Use.VIHF_SIGNATURE)
    relaxed = TrustStore.load(own_pki.trust, clock=lambda: later, require_crl=False)
    relaxed.check(good.signature.der, Use.VIHF_SIGNATURE)
    with pytest.raises(CertificateRefused, match="revoked"):
        relaxed.check(revoked.signature.der, Use.VIHF_SIGNATURE)


def test_answer_ends_with_the_list_it_leans_on(own_pki: Pki) -> None:
    """An acceptance is good until the next list is due, not until the certificate ends."""
    card = card_of(own_pki)
    own_pki.write_crls(days=1)
    until = TrustStore.load(own_pki.trust).check(card.signature.der, Use.VIHF_SIGNATURE).until
    assert until < datetime.now(UTC) + timedelta(days=1, minutes=1)


def test_list_of_another_authority_counts_for_nothing(own_pki: Pki, tmp_path: Path) -> None:
    """A list with the right issuer name and a foreign signature is no list. Step: g"""
    foreign = Pki.create(tmp_path / "other")
    shutil.copy(foreign.trust / "persons.crl", own_pki.trust / "persons.crl")
    with pytest.raises(CertificateRefused, match="no current revocation list"):
        TrustStore.load(own_pki.trust).check(card_of(own_pki).signature.der, Use.VIHF_SIGNATURE)


def test_delta_list_adds_revocations_and_proves_nothing(own_pki: Pki) -> None:
    """A delta list in place of the full one does not make its authority's list current. Step: g"""
    crl = x509.load_pem_x509_crl((own_pki.trust / "persons.crl").read_bytes())
    key = load_pem_private_key((own_pki.folder / "private" / "persons.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateRevocationListBuilder().issuer_name(crl.issuer)
    builder = builder.last_update(crl.last_update_utc).next_update(crl.next_update_utc or crl.last_update_utc)
    delta = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True).sign(key, hashes.SHA256())
    (own_pki.trust / "persons.crl").write_bytes(delta.public_bytes(Encoding.DER))
    with pytest.raises(CertificateRefused, match="no current revocation list"):
        TrustStore.load(own_pki.trust).check(card_of(own_pki).signature.der, Use.VIHF_SIGNATURE)


@pytest.mark.parametrize("weakness", ["small key", "critical extension", "no usage"])
def test_weak_certificate_of_a_good_authority_is_refused(own_pki: Pki, weakness: str) -> None:
    """Short RSA keys, missing usages and unknown critical extensions are refused whoever signed. Step: g"""
    issuer = x509.load_pem_x509_certificate((own_pki.trust / "persons.pem").read_bytes())
    key = load_pem_private_key((own_pki.folder / "private" / "persons.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    subject_key = rsa.generate_private_key(public_exponent=65537, key_size=1024 if weakness == "small key" else 2048)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer.subject)
        .issuer_name(issuer.subject)
        .public_key(subject_key.public_key())
        .serial_number(77)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if weakness != "no usage":
        usage = x509.KeyUsage(False, True, False, False, False, False, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    if weakness == "critical extension":
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateRefused):
        TrustStore.load(own_pki.trust, require_crl=False).check(der, Use.VIHF_SIGNATURE)


def test_trust_folder_must_make_sense(own_pki: Pki, tmp_path: Path) -> None:
    """No folder, no authority, an authority without its root, junk: each is said at start."""
    with pytest.raises(TrustError, match="not a folder"):
        TrustStore.load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrustError, match="no issuing authority"):
        TrustStore.load(tmp_path / "empty")
    shutil.copy(own_pki.trust / "persons.pem", tmp_path / "empty" / "persons.pem")
    with pytest.raises(TrustError, match="does not hang on a root"):
        TrustStore.load(tmp_path / "empty")
    (own_pki.trust / "extra.crl").write_bytes(b"junk")
    with pytest.raises(TrustError, match=r"extra\.crl"):
        TrustStore.load(own_pki.trust)


def test_leaf_in_place_of_an_authority_is_refused(own_pki: Pki) -> None:
    """A person's certificate put into the trust folder does not become an authority."""
    card = card_of(own_pki)
    (own_pki.trust / "persons-2.pem").write_bytes(card.signature.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(TrustError, match="not an authority"):
        TrustStore.load(own_pki.trust)


def test_broken_folder_while_running_keeps_the_last_good_content(
    own_pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator's slip while copying does not stop the service; it is logged."""
    card = card_of(own_pki)
    trust = quick(own_pki.trust)
    (own_pki.trust / "persons.crl").write_bytes(b"half a")
    trust.check(card.signature.der, Use.VIHF_SIGNATURE)
    assert "not reloaded" in caplog.text


def test_self_signed_authority_stands_alone(own_pki: Pki, tmp_path: Path) -> None:
    """A test event's single self-signed authority can be trusted for organisations without a root file."""
    folder = tmp_path / "event"
    folder.mkdir()
    shutil.copy(own_pki.trust / "root.pem", folder / "organisations.pem")
    der = x509.load_pem_x509_certificate((own_pki.trust / "persons.pem").read_bytes()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateRefused, match="an authority's certificate"):
        TrustStore.load(folder, require_crl=False).check(der, Use.TOKEN_SIGNATURE)


def test_pem_holds_every_authority(pki: Pki) -> None:
    """What a TLS context is given is what the store trusts."""
    text = TrustStore.load(pki.trust).pem().encode()
    assert set(x509.load_pem_x509_certificates(text)) == set(x509.load_pem_x509_certificates(pki.ca_file.read_bytes()))
