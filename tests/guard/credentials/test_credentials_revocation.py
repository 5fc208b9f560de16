"""Revocation asked for: responders, lists and deltas, what an answer must be, and what counts when there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from guard.credentials import revocation_check as revocation
from guard.credentials.certificates import CertificateRefused, Products, TrustStore, Use
from guard.credentials.fetch import fetch, is_allowed
from guard.credentials.revocation_check import Down, RevocationRule
from tests.responders import HOUR, Authority, Responder

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
HOLD, LIFTED = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl
MINUTE = timedelta(minutes=1)


@pytest.fixture
def responder() -> Iterator[Responder]:
    with Responder().serving() as serving:
        yield serving


class Desk:
    """A trust store whose clock can be set, and what it was told."""

    def __init__(self, folder: Path, responder: Responder, **choices: object) -> None:
        self.now = datetime.now(UTC)
        self.told: list[str] = []
        values: dict[str, object] = {"hosts": frozenset({responder.host}), "timeout": 2.0, "retry": 0.0} | choices
        self.trust = TrustStore.load(
            folder, clock=lambda: self.now, reload_seconds=0, rule=RevocationRule(**values),  # type: ignore[arg-type]
            tell=lambda what, detail: self.told.append(what),
        )

    def check(self, card: x509.Certificate) -> datetime:
        return self.trust.check(card.public_bytes(Encoding.DER), Use.VIHF_SIGNATURE).until

    def refused(self, card: x509.Certificate) -> str:
        with pytest.raises(CertificateRefused) as refusal:
            self.check(card)
        return str(refusal.value)


def test_a_responder_is_believed_and_remembered(responder: Responder, tmp_path: Path) -> None:
    """Asked once, its answer counts until its end, and no longer than the rule says."""
    authority = Authority(responder)
    card = authority.card()
    responder.answer = lambda path, body: authority.ocsp(body, card)
    desk = Desk(authority.trust(tmp_path / "t"), responder, longest=600)
    until = desk.check(card)
    assert desk.now < until <= desk.now + timedelta(seconds=600)
    for _ in range(3):
        desk.check(card)
    assert responder.asked == ["/ocsp"] and desk.told == [revocation.FETCHED]
    desk.now += timedelta(seconds=601)
    desk.check(card)
    assert responder.asked == ["/ocsp", "/ocsp"]


def test_authorities_of_one_name_are_told_apart(responder: Responder, tmp_path: Path) -> None:
    """A new key under the old name may count its certificates anew: what was said of one is not said of the other."""
    old, new = Authority(responder, with_lists=False), Authority(responder, with_lists=False)
    good, revoked = old.card(), new.card()
    assert (good.issuer, good.serial_number) == (revoked.issuer, revoked.serial_number)
    folder = old.trust(tmp_path / "t")
    (folder / "persons-new.pem").write_bytes(new.certificate.public_bytes(Encoding.PEM))
    desk = Desk(folder, responder)
    responder.answer = lambda path, body: old.ocsp(body, good)
    desk.check(good)
    responder.answer = lambda path, body: new.ocsp(body, revoked, status=REVOKED)
    assert "revoked" in desk.refused(revoked)


@pytest.mark.parametrize("status", [REVOKED, UNKNOWN])
def test_revoked_and_unknown_are_refused(responder: Responder, tmp_path: Path, status: ocsp.OCSPCertStatus) -> None:
    """Although a list of the folder is silent about it. Step: g"""
    authority = Authority(responder)
    card = authority.card()
    responder.answer = lambda path, body: authority.ocsp(body, card, status=status)
    desk = Desk(authority.trust(tmp_path / "t", authority.crl()), responder)
    assert ("revoked" if status is REVOKED else "unknown") in desk.refused(card)
    desk.refused(card)
    assert responder.asked == ["/ocsp"], "the refusal is remembered too"


def test_a_list_of_the_folder_refuses_whatever_the_responder_says(responder: Responder, tmp_path: Path) -> None:
    """One revocation anywhere is enough; nobody is asked."""
    authority = Authority(responder)
    card = authority.card()
    responder.answer = lambda path, body: authority.ocsp(body, card)
    assert "revoked" in Desk(authority.trust(tmp_path / "t", authority.crl({10: None})), responder).refused(card)
    assert responder.asked == []


Answer = Callable[[Authority, bytes, x509.Certificate], bytes]
STRANGER = ec.generate_private_key(ec.SECP256R1())
UNUSABLE: dict[str, Answer] = {
    "another key": lambda a, b, c: a.ocsp(b, c, signer=(STRANGER, a.certificate)),
    "another certificate": lambda a, b, c: a.ocsp(b, c, about=a.card(11)),
    "another issuer": lambda a, b, c: a.ocsp(b, c, issuer=Authority(a.responder).certificate),
    "another nonce": lambda a, b, c: a.ocsp(b, c, nonce=b"n" * 32),
    "out of date": lambda a, b, c: a.ocsp(b, c, begins=-2 * HOUR, ends=-MINUTE),
    "in the future": lambda a, b, c: a.ocsp(b, c, begins=HOUR, ends=2 * HOUR),
    "old, without an end": lambda a, b, c: a.ocsp(b, c, begins=-10 * MINUTE, ends=None),
    "no responder": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))),
    "no usage": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(usages=())),
    "delegate not attached": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(), attached=False),
    "delegate of another": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(signed_by=STRANGER)),
    "delegate expired": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(ends=-MINUTE)),
    "delegate not cleared": lambda a, b, c: a.ocsp(b, c, signer=a.delegate(no_check=False)),
    "try later": lambda a, b, c: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.TRY_LATER
    ).public_bytes(Encoding.DER),
    "no answer at all": lambda a, b, c: b"<html/>",
    "too large": lambda a, b, c: b"0" * 70_000,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_answer_of_no_worth_clears_nobody(responder: Responder, tmp_path: Path, name: str) -> None:
    """Whatever is wrong with it, the certificate is refused, because nothing says it is good. Step: g"""
    authority = Authority(responder, with_lists=False)
    card = authority.card()
    responder.answer = lambda path, body: UNUSABLE[name](authority, body, card)
    desk = Desk(authority.trust(tmp_path / "t"), responder)
    assert "no current revocation list or answer" in desk.refused(card)
    assert desk.told == [revocation.FAILED]


@pytest.mark.parametrize("is_cleared", [True, False])
def test_a_delegated_responder(responder: Responder, tmp_path: Path, is_cleared: bool) -> None:
    """Named by the authority and not to be asked about, or cleared by a list of the folder."""
    authority = Authority(responder, with_lists=False)
    card, delegate = authority.card(), authority.delegate(no_check=is_cleared)
    responder.answer = lambda path, body: authority.ocsp(body, card, signer=delegate)
    lists = () if is_cleared else (authority.crl(),)
    desk = Desk(authority.trust(tmp_path / "t", *lists), responder)
    desk.check(card)
    assert desk.told == [revocation.FETCHED]


def test_a_nonce_may_be_asked_for(responder: Responder, tmp_path: Path) -> None:
    """Answers made in advance carry none, and count unless the rule asks for one."""
    authority = Authority(responder, with_lists=False)
    card = authority.card()
    responder.answer = lambda path, body: authority.ocsp(body, card, nonce=None)
    folder = authority.trust(tmp_path / "t")
    Desk(folder, responder).check(card)
    assert "no current" in Desk(folder, responder, needs_nonce=True).refused(card)


def test_lists_are_fetched_when_there_is_no_responder(responder: Responder, tmp_path: Path) -> None:
    """The full list and its delta, once for all certificates of the authority. A revocation empties the memory."""
    authority = Authority(responder, with_ocsp=False)
    lists: dict[str, bytes | None] = {"/full.crl": authority.crl(), "/delta.crl": authority.crl(number=2, base=1)}
    responder.answer = lambda path, body: lists[path]
    desk = Desk(authority.trust(tmp_path / "t"), responder, longest=600)
    one, other = authority.card(), authority.card(11)
    for card in (one, other, one):
        desk.check(card)
    assert responder.asked == ["/full.crl", "/delta.crl"]
    generation = desk.trust.generation
    lists["/delta.crl"] = authority.crl({11: None}, number=3, base=1)
    desk.now += timedelta(seconds=601)
    assert "revoked" in desk.refused(other)
    desk.check(one)
    assert desk.trust.generation > generation


def test_a_delta_keeps_its_full_list_current_and_lifts_a_hold(responder: Responder, tmp_path: Path) -> None:
    """Clause: RFC 5280 5.2.4, 5.3.1"""
    authority = Authority(responder, with_ocsp=False)
    full = authority.crl({10: HOLD, 12: None}, number=5, begins=-2 * HOUR, ends=-MINUTE)
    delta = authority.crl({10: LIFTED, 11: None, 12: LIFTED}, number=6, base=5)
    desk = Desk(authority.trust(tmp_path / "t", full, delta), responder, hosts=frozenset())
    assert desk.check(authority.card(13)) <= desk.now + HOUR
    desk.check(authority.card(10))
    for serial in (11, 12):
        assert "revoked" in desk.refused(authority.card(serial))
    other = Desk(authority.trust(tmp_path / "u", full, authority.crl(number=9, base=7)), responder, hosts=frozenset())
    assert "no current" in other.refused(authority.card(13)), "a delta to another list keeps nothing current"
    assert "revoked" in other.refused(authority.card(10))


@pytest.mark.parametrize("spoil", ["another key", "ended", "no list", "silent"])
def test_a_fetched_list_of_no_worth(responder: Responder, tmp_path: Path, spoil: str) -> None:
    authority = Authority(responder, with_ocsp=False)
    data = {
        "another key": authority.crl(key=STRANGER), "ended": authority.crl(begins=-2 * HOUR, ends=-MINUTE),
        "no list": b"none", "silent": None,
    }[spoil]
    responder.answer = lambda path, body: data
    desk = Desk(authority.trust(tmp_path / "t"), responder)
    assert "no current" in desk.refused(authority.card())


def test_grace_is_a_setting_and_is_told(responder: Responder, tmp_path: Path) -> None:
    """A silent source refuses; under grace the last good word counts for a time, never for one who had none."""
    authority = Authority(responder, with_lists=False)
    card = authority.card()
    folder = authority.trust(tmp_path / "t")
    strict, graceful = Desk(folder, responder), Desk(folder, responder, down=Down.GRACE, grace=1200, retry=0.001)
    answer = responder.answer = lambda path, body: authority.ocsp(body, card, ends=HOUR / 2)
    for desk in (strict, graceful):
        desk.check(card)
    responder.answer = lambda path, body: None
    for desk in (strict, graceful):
        desk.now += HOUR / 2 + MINUTE
    assert "no current" in strict.refused(card)
    graceful.check(card)
    assert graceful.told[-2:] == [revocation.FAILED, revocation.GRACE]
    assert "no current" in graceful.refused(authority.card(11))
    graceful.now += timedelta(seconds=1200)
    assert "no current" in graceful.refused(card)
    assert answer is not responder.answer


def test_a_current_list_of_the_folder_stands_in_for_a_silent_responder(responder: Responder, tmp_path: Path) -> None:
    """It is a statement as good as the other; the responder is asked again soon."""
    authority = Authority(responder)
    desk = Desk(authority.trust(tmp_path / "t", authority.crl()), responder, retry=20.0)
    assert desk.check(authority.card()) <= desk.now + timedelta(seconds=20)
    assert revocation.FAILED in desk.told and revocation.GRACE not in desk.told


def test_a_source_that_failed_is_left_alone(responder: Responder, tmp_path: Path) -> None:
    authority = Authority(responder, with_lists=False)
    desk = Desk(authority.trust(tmp_path / "t"), responder, retry=60.0)
    for serial in range(10, 15):
        desk.refused(authority.card(serial))
    assert responder.asked == ["/ocsp"]


def test_nobody_is_called_for_a_certificate_that_is_not_believed(responder: Responder, tmp_path: Path) -> None:
    """A stranger's certificate may name any address; so may one of ours whose host the operator has not named."""
    authority = Authority(responder)
    folder = authority.trust(tmp_path / "t")
    assert "no configured authority" in Desk(folder, responder).refused(Authority(responder).card())
    assert "no configured authority" in Desk(folder, responder).refused(authority.card(signed_by=STRANGER))
    elsewhere = Desk(folder, responder, hosts=frozenset({f"localhost:{responder.port}", "127.0.0.1:1"}))
    assert "no current" in elsewhere.refused(authority.card())
    assert responder.asked == []


def test_many_at_once_ask_once(responder: Responder, tmp_path: Path) -> None:
    """One question a certificate, however many requests wait for it."""
    authority = Authority(responder, with_lists=False)
    card = authority.card()
    started = threading.Event()

    def slowly(path: str, body: bytes) -> bytes:
        started.set()
        time.sleep(0.2)
        return authority.ocsp(body, card)

    responder.answer = slowly
    desk = Desk(authority.trust(tmp_path / "t"), responder)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: desk.check(card), range(8)))) == 1
    assert started.is_set() and responder.asked == ["/ocsp"]


def test_a_slow_source_is_given_up(tmp_path: Path) -> None:
    """A byte now and then does not keep a request waiting: the time counts for the whole answer."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 200:
                    connection.sendall(bytes((byte,)))
                    time.sleep(0.05)
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(OSError):
        fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/x", None, 1000, 0.4)
    assert time.monotonic() - began < 3
    listener.close()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://crl.example/x", True), ("http://CRL.example:80/x", True), ("http://crl.example:8080/x", False),
        ("http://ocsp.example:8888/", True), ("https://crl.example/x", False), ("file:///etc/passwd", False),
        ("http://crl.example@evil.example/", False), ("http://evil.example/?crl.example", False),
        ("http://crl.example:99999/", False), ("ldap://crl.example/", False), ("http://crl.example/a b", False),
    ],
)
def test_only_named_hosts_over_plain_http(url: str, allowed: bool) -> None:
    assert is_allowed(url, frozenset({"crl.example", "ocsp.example:8888"})) is allowed


@pytest.mark.parametrize(
    ("products", "category", "accepted"),
    [
        (Products.TEST, 0x80, True), (Products.TEST, 0x83, True), (Products.TEST, 0x00, False),
        (Products.PRODUCTION, 0x00, True), (Products.PRODUCTION, 0x03, True), (Products.PRODUCTION, 0x82, False),
        (Products.TEST, None, False), (Products.PRODUCTION, None, False),
    ],
)
def test_test_and_production_never_mix(
    responder: Responder, tmp_path: Path, products: Products, category: int | None, accepted: bool
) -> None:
    """Clause: extension 1.2.250.1.71.1.2.5. Step: g"""
    authority = Authority(responder)
    trust = TrustStore.load(authority.trust(tmp_path / "t", authority.crl()), products=products)
    der = authority.card(category=category).public_bytes(Encoding.DER)
    if accepted:
        trust.check(der, Use.VIHF_SIGNATURE)
        return
    with pytest.raises(CertificateRefused, match="product"):
        trust.check(der, Use.VIHF_SIGNATURE)
