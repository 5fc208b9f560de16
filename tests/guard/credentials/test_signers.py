"""Signers as of the time they signed: expired since, revoked since, and what must be kept to know it.

Clause: ETSI EN 319 102-1 5.2.6
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from guard.credentials.cards import Card
from guard.credentials.certificates import CertificateRefused, TrustStore
from guard.credentials.identity import Kind
from guard.credentials.past import PastSigner, SignerProof, signer_at
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.revocation_check import RevocationRule
from tests.responders import HOUR, Authority, Responder, name

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
    assert signer_at(fresh.signature.der, now, store(own_pki, lenient=True)).proof.lists == ()


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


# -- answers of a responder --------------------------------------------------------------------------------------------


@dataclass
class Answered:
    """An authority without lists, whose responder answers ``status`` until it is told to be silent."""

    authority: Authority
    card: x509.Certificate
    trust: TrustStore
    says: dict[str, object] = field(default_factory=dict)
    """Changes of the answer; ``{"silent": True}`` for none."""

    def at(self, moment: datetime, kept: SignerProof | None = None, *, ask: bool = True) -> PastSigner:
        """``ask``: as at a deposit; else as ``carnet verify`` does, years later."""
        now = datetime.now(UTC) if ask else None
        return signer_at(self.card.public_bytes(Encoding.DER), moment, self.trust, kept, now=now)


@pytest.fixture
def answered(tmp_path: Path) -> Iterator[Answered]:
    with Responder().serving() as responder:
        authority = Authority(responder, with_lists=False)
        rule = RevocationRule(hosts=frozenset({responder.host}), retry=0.001)
        trust = TrustStore.load(authority.trust(tmp_path / "trust"), reload_seconds=0.0, rule=rule)
        made = Answered(authority, authority.card(), trust)
        responder.answer = lambda path, body: (
            None if made.says.get("silent") else authority.ocsp(body, made.card, **made.says)  # type: ignore[arg-type]
        )
        yield made


def test_an_answer_is_kept_and_tells_for_good(answered: Answered) -> None:
    """Where an authority makes no lists its responder is asked at deposit; later nobody is, and what was kept tells."""
    now = datetime.now(UTC)
    kept = answered.at(now).proof
    assert (len(kept.answers), kept.lists) == (1, ())
    answered.says["silent"] = True
    assert answered.at(now, kept, ask=False).proof.answers == kept.answers
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(now, ask=False)
    assert answered.authority.responder.asked == ["/ocsp"]


def test_a_silent_responder_clears_nobody(answered: Answered) -> None:
    answered.says["silent"] = True
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(datetime.now(UTC))


def test_an_answer_tells_about_its_days_only(answered: Answered) -> None:
    """What is signed after an answer has ended is not told by it."""
    now = datetime.now(UTC)
    kept = answered.at(now).proof
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(now + 2 * HOUR, kept, ask=False)


def test_an_answer_made_after_the_end_of_the_certificate_tells_nothing(answered: Answered) -> None:
    """Responders forget what has expired, as lists do."""
    soon = answered.card.not_valid_after_utc
    late = answered.authority.ocsp(b"", answered.card, nonce=None, begins=24 * HOUR, ends=48 * HOUR)
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(soon - HOUR, SignerProof((), (), (late,)), ask=False)


def test_a_revocation_told_by_an_answer_counts_from_its_day(answered: Answered) -> None:
    """Before it the signature stands, and it is said; from it on it does not. Unknown is refused."""
    revoked = answered.authority.ocsp(b"", answered.card, nonce=None, status=ocsp.OCSPCertStatus.REVOKED)
    good = answered.authority.ocsp(b"", answered.card, nonce=None)
    now = datetime.now(UTC)
    both = SignerProof((), (), (good, revoked))
    with pytest.raises(CertificateRefused, match="revoked at"):
        answered.at(now, both, ask=False)
    unknown = answered.authority.ocsp(b"", answered.card, nonce=None, status=ocsp.OCSPCertStatus.UNKNOWN)
    with pytest.raises(CertificateRefused, match="unknown to its responder"):
        answered.at(now, SignerProof((), (), (good, unknown)), ask=False)
    answered.says["status"] = ocsp.OCSPCertStatus.REVOKED
    with pytest.raises(CertificateRefused, match="revoked at"):
        answered.at(now)


def test_revoked_after_the_signing_time_is_said(answered: Answered) -> None:
    """What was signed before the day an answer names stands."""
    now = datetime.now(UTC)
    revoked = answered.authority.ocsp(
        b"", answered.card, nonce=None, status=ocsp.OCSPCertStatus.REVOKED, revoked=-10 * MINUTE
    )
    good = answered.authority.ocsp(b"", answered.card, nonce=None)
    for answers in ((good, revoked), (revoked,)):
        found = answered.at(now - 20 * MINUTE, SignerProof((), (), answers), ask=False)
        assert found.revoked_since is not None and abs(found.revoked_since - (now - 10 * MINUTE)) < MINUTE
    with pytest.raises(CertificateRefused, match="revoked at"):
        answered.at(now - 5 * MINUTE, SignerProof((), (), (good, revoked)), ask=False)


@pytest.mark.parametrize("wrong", ["another", "stranger", "no responder", "ended responder", "unreadable", "unchecked"])
def test_an_answer_of_no_worth_is_no_proof(answered: Answered, wrong: str) -> None:
    """About another certificate, by somebody else, by a certificate that may not: as if it were not there."""
    authority = answered.authority
    answers = {
        "another": lambda: authority.ocsp(b"", answered.card, nonce=None, about=authority.card(11)),
        "stranger": lambda: Authority(authority.responder).ocsp(b"", answered.card, nonce=None,
                                                                issuer=authority.certificate),
        "no responder": lambda: authority.ocsp(b"", answered.card, nonce=None, signer=authority.delegate(usages=())),
        "ended responder": lambda: authority.ocsp(b"", answered.card, nonce=None,
                                                  signer=authority.delegate(ends=-HOUR)),
        "unreadable": lambda: b"\x30\x03",
        "unchecked": lambda: authority.ocsp(b"", answered.card, nonce=None, signer=authority.delegate(no_check=False)),
    }
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(datetime.now(UTC), SignerProof((), (), (answers[wrong](),)), ask=False)
    good = authority.ocsp(b"", answered.card, nonce=None, signer=authority.delegate())
    both = SignerProof((), (), (answers[wrong](), good))
    assert answered.at(datetime.now(UTC), both, ask=False).proof.answers == (good,)


def test_an_answer_under_an_outdated_digest_is_no_proof(answered: Answered) -> None:
    """Signed anew with SHA-1 by its very signer; no library makes such an answer any more."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authority, now = answered.authority, datetime.now(UTC)
    builder = authority._builder(name("Répondeur"), key.public_key(), 3)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
    certificate = authority._sign(builder.add_extension(x509.OCSPNoCheck(), critical=False))
    good = authority.ocsp(b"", answered.card, nonce=None, signer=(key, certificate))  # type: ignore[arg-type]
    assert answered.at(now, SignerProof((), (), (good,)), ask=False).number
    response = ocsp.load_der_ocsp_response(good)
    weak = key.sign(response.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA1())
    sha256, sha1 = (bytes.fromhex(f"06092a864886f70d0101{end}") for end in ("0b", "05"))
    assert good.count(sha256) == 1
    changed = good.replace(sha256, sha1).replace(response.signature, weak)
    with pytest.raises(CertificateRefused, match="no revocation list or answer"):
        answered.at(now, SignerProof((), (), (changed,)), ask=False)


def test_lists_fetched_at_deposit_are_kept(tmp_path: Path) -> None:
    """Where there is no responder, the lists a certificate points to are asked for, and kept."""
    with Responder().serving() as responder:
        authority = Authority(responder, with_ocsp=False)
        rule = RevocationRule(hosts=frozenset({responder.host}))
        trust = TrustStore.load(authority.trust(tmp_path / "trust"), reload_seconds=0.0, rule=rule)
        responder.answer = lambda path, body: authority.crl() if path == "/full.crl" else None
        der, now = authority.card().public_bytes(Encoding.DER), datetime.now(UTC)
        kept = signer_at(der, now, trust, now=now).proof
        assert (len(kept.lists), kept.answers) == (1, ())
        assert signer_at(der, now, trust, kept).number
