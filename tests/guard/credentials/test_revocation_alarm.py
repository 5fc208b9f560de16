"""Revocation among workers of one service: two stores over one alarm, each with a memory of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from guard.credentials.certificates import TrustStore
from guard.credentials.revocation_check import Down, RevocationRule
from guard.credentials.revocation_lists import NONE_SEEN, edition, read_list
from tests.guard.credentials.test_credentials_revocation import (
    GOOD,
    HOLD,
    MINUTE,
    REVOKED,
    UNKNOWN,
    Desk,
    responder,
)
from tests.responders import Authority, Responder

__all__ = ["responder"]
LONGEST = timedelta(seconds=60)
"""For so long an answer counts in these workers"""


class Bell:
    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1

    def rung(self) -> int:
        return self.rings


class Worker(Desk):
    def __init__(self, folder: Path, responder: Responder, bell: Bell, **choices: object) -> None:
        super().__init__(folder, responder, **choices)
        values: dict[str, object] = {"hosts": frozenset({responder.host}), "timeout": 2.0, "retry": 0.0} | choices
        values = {"longest": 60} | values
        self.trust = TrustStore.load(
            folder, clock=lambda: self.now, reload_seconds=0, alarm=bell,
            rule=RevocationRule(**values),  # type: ignore[arg-type]
        )


class Service:
    """Two workers; what the responder says of each card, by serial number."""

    def __init__(self, responder: Responder, folder: Path, **choices: object) -> None:
        self.responder, self.bell = responder, Bell()
        self.authority = Authority(responder, with_lists=False)
        self.card, self.other = self.authority.card(), self.authority.card(11)
        self.says = {10: GOOD, 11: GOOD}
        self.questions: list[int] = []
        responder.answer = self.answer
        trust = self.authority.trust(folder)
        self.one, self.two = (Worker(trust, responder, self.bell, **choices) for _ in range(2))

    def answer(self, _path: str, body: bytes) -> bytes | None:
        serial = x509.ocsp.load_der_ocsp_request(body).serial_number
        self.questions.append(serial)
        return self.authority.ocsp(body, self.card if serial == 10 else self.other, status=self.says[serial])


@pytest.fixture
def service(responder: Responder, tmp_path: Path) -> Service:
    return Service(responder, tmp_path / "trust")


@pytest.mark.parametrize("status", [REVOKED, UNKNOWN])
@pytest.mark.parametrize("had_asked", [True, False])
def test_what_one_worker_hears_reaches_the_other(service: Service, status: object, had_asked: bool) -> None:
    """It had the card for good, and would have gone on; whether or not the first had heard of the card. Step: g"""
    if had_asked:
        service.one.check(service.card)
    service.two.check(service.card)
    service.says[10] = status  # type: ignore[assignment]
    service.one.now += LONGEST
    service.one.refused(service.card)
    service.two.refused(service.card)


def test_who_verified_an_assertion_forgets_it(service: Service) -> None:
    """The generation grows in the other, once."""
    service.two.check(service.card)
    before = service.two.trust.generation
    service.says[11] = REVOKED
    service.one.refused(service.other)
    for _ in range(5):
        service.two.trust.refresh()
    assert service.two.trust.generation == before + 1


def test_workers_that_ring_each_other_come_to_rest(service: Service) -> None:
    """A revoked card shown again and again rings once a worker; others are asked about once more after each ring."""
    service.says[10] = REVOKED
    for _ in range(20):
        for worker in (service.one, service.two):
            worker.refused(service.card)
            worker.check(service.other)
    assert service.bell.rings == 2
    assert service.questions.count(10) == 2, "what is bad stays remembered"
    assert service.questions.count(11) == 3, "each asked once, and the first again after the ring of the second"
    for _ in range(3):  # bad answers end and are asked for again: no news
        for worker in (service.one, service.two):
            worker.now += LONGEST
            worker.refused(service.card)
    assert service.bell.rings == 2 and service.questions.count(10) == 8


def test_a_card_given_back_and_taken_again_is_news(service: Service) -> None:
    """A hold lifted, and the card held again: the second time is heard by the other too."""
    for status in (REVOKED, GOOD, REVOKED):
        service.says[10] = status
        for worker in (service.one, service.two):
            worker.now += LONGEST
            worker.check(service.card) if status is GOOD else worker.refused(service.card)
    assert service.bell.rings == 4


def test_an_answer_asked_for_before_the_alarm_is_not_kept(service: Service) -> None:
    """It said good while the other worker heard otherwise: it serves the question it was for, and no other."""
    ordinary, told = service.answer, []

    def meanwhile(path: str, body: bytes) -> bytes | None:
        answer = ordinary(path, body)
        if not told:
            told.append(True)
            service.says[10] = REVOKED
            service.one.refused(service.card)
            service.two.trust.refresh()
        return answer

    service.responder.answer = meanwhile
    service.two.check(service.card)
    service.two.refused(service.card)


def test_grace_of_what_was_forgotten(responder: Responder, tmp_path: Path) -> None:
    """An answer forgotten before its end was good until then all the same. What was taken back is not graced."""
    service = Service(responder, tmp_path / "trust", down=Down.GRACE, grace=1200)
    for card in (service.card, service.other):
        service.two.check(card)
    service.says[10] = REVOKED
    service.one.refused(service.card)
    service.two.refused(service.card)
    responder.answer = lambda path, body: None
    service.two.check(service.other)
    service.two.now += 2 * MINUTE
    service.two.check(service.other)
    assert "when last heard of" in service.two.refused(service.card), "its bad answer has ended, and none is to be had"
    service.two.now += timedelta(seconds=1200)
    assert "no current" in service.two.refused(service.other)


def test_a_list_that_stands_in_does_not_clear_what_was_taken_back(responder: Responder, tmp_path: Path) -> None:
    """The responder said revoked and is silent now; the list of the folder is older."""
    authority = Authority(responder, with_lists=False)
    card = authority.card()
    responder.answer = lambda path, body: authority.ocsp(body, card, status=REVOKED, ends=MINUTE)
    desk = Desk(authority.trust(tmp_path / "t", authority.crl()), responder)
    desk.refused(card)
    responder.answer = lambda path, body: None
    desk.now += 2 * MINUTE
    assert "when last heard of" in desk.refused(card)
    responder.answer = lambda path, body: authority.ocsp(body, card)
    desk.check(card)


def test_a_revocation_by_list_is_not_graced(responder: Responder, tmp_path: Path) -> None:
    """Named by the last list that could be had: the good word before it counts no more."""
    authority = Authority(responder, with_ocsp=False)
    card = authority.card()
    full = authority.crl()
    responder.answer = lambda path, body: full if path == "/full.crl" else None
    desk = Desk(authority.trust(tmp_path / "t"), responder, down=Down.GRACE, grace=10_000, longest=60)
    desk.check(card)
    full = authority.crl({10: None}, number=2)
    desk.now += 2 * MINUTE
    assert "revoked" in desk.refused(card)
    responder.answer = lambda path, body: None
    desk.now += 2 * MINUTE
    assert "when last heard of" in desk.refused(card)


def lists_of(responder: Responder, folder: Path, full: Callable[[], bytes]) -> tuple[Authority, Bell, list[Worker]]:
    authority, bell = Authority(responder, with_ocsp=False), Bell()
    responder.answer = lambda path, body: full() if path == "/full.crl" else None
    trust = authority.trust(folder)
    return authority, bell, [Worker(trust, responder, bell, retry=3600.0) for _ in range(2)]


def test_a_newer_list_reaches_the_other(responder: Responder, tmp_path: Path) -> None:
    """It names another: the list the other has fetched counts no more, and both come to rest."""
    made: list[bytes] = []
    authority, bell, (one, two) = lists_of(responder, tmp_path / "trust", lambda: made[-1])
    card, other = authority.card(), authority.card(11)
    made.append(authority.crl())
    for worker in (one, two):
        worker.check(card)
    assert bell.rings == 0, "a list that names nobody is no news"
    made.append(authority.crl({10: None}, number=2))
    one.now += LONGEST
    one.trust._revocation._not_before.clear()
    one.check(other)
    assert bell.rings == 1
    for _ in range(10):
        two.refused(card)
        one.refused(card)
        for worker in (one, two):
            worker.check(other)
    assert bell.rings == 2 and responder.asked.count("/full.crl") == 6


def test_lists_made_for_each_question_or_by_turns_are_no_news(responder: Responder, tmp_path: Path) -> None:
    """The same names in a new list; and an old list and a new one, as two servers of one address may have them."""
    made: list[bytes] = []
    authority, bell, (one, two) = lists_of(responder, tmp_path / "trust", lambda: made.pop(0))
    card = authority.card()
    made += [authority.crl({12: None}, begins=timedelta(seconds=-600 + at), number=at) for at in range(1, 9)]
    for _ in range(4):
        for worker in (one, two):
            worker.check(card)
            worker.now += LONGEST
            worker.trust._revocation._not_before.clear()
    assert bell.rings == 2, "the first of each"
    old, new = (authority.crl(dict.fromkeys(range(12, last)), begins=-MINUTE, number=last) for last in (13, 14))
    made[:] = [new, new, old, new, old, new, old, new]
    for _ in range(10):
        for worker in (one, two):
            worker.check(card)
    assert bell.rings == 4 and made == [old, new, old, new], "each twice: before its ring and after both"


def test_what_a_list_names_is_read_as_it_stands(responder: Responder) -> None:
    """Times and number apart, whatever the length; nothing for a list that names nobody."""
    authority = Authority(responder)

    def named(revoked: dict[int, x509.ReasonFlags | None], **more: object) -> bytes:
        return edition(read_list(authority.crl(revoked, **more))).named  # type: ignore[arg-type]

    assert named({}) == NONE_SEEN.named
    many = dict.fromkeys(range(1, 200))
    assert len({named({}), named({5: None}), named({5: HOLD}), named({6: None}), named(many)}) == 5
    loaded = edition(read_list(authority.crl({5: None}, number=77)))
    assert loaded.number == 77 and loaded.made < datetime.now(UTC)
