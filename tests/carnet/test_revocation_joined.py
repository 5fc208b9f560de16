"""Our services ask our own responder: three processes, two installations, one revocation.

The authority stands in a folder of its own, with ``pki serve`` in front; the registry is given its certificates alone
and no list of it, so that all it knows of a revocation came over the wire.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.x509 import ocsp

from carnet.cli import main
from carnet.commands import init
from carnet.supervisor import free_ports
from guard.audit.store import AccessLine
from guard.credentials import ocsp_answers
from guard.credentials.cards import Card
from guard.credentials.ocsp import VALID, Responder
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import Authority, Products
from tests.live import ROOT, Live, clean_environment
from tests.responders import Responder as Relay
from tests.world import PHYSICIAN
from xds.wire.client import FaultReceived

LONGEST, RETRY, GRACE = 2, 1, 8
"""Seconds: for how long an answer counts, a silent source is left alone, and an answer counts beyond its end. Without
these settings it would be ten minutes, half a minute and an hour."""
PATIENCE = 30.0
BUSY = 10.0
"""Seconds a busy machine may take for what should be done at once."""


@dataclass
class Joined:
    """A registry, and the authority of a hospital that it believes."""

    live: Live
    authority: Path
    process: subprocess.Popen[bytes] | None = None
    relay: Relay = field(default_factory=Relay)
    port: int = 0
    since: int = 0
    """Lines of the log that were there before the test"""

    @property
    def pki(self) -> Pki:
        return Pki.open(self.authority / "pki")

    def serve(self) -> None:
        """``carnet pki serve`` of the authority, as a process."""
        place = ["--port", str(self.port), "--data", str(self.authority)]
        words = [sys.executable, "-m", "carnet", "pki", "serve", *place]
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env=clean_environment())
        assert self.process.stdout is not None and b"/ocsp" in self.process.stdout.readline()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=30)

    def card(self, number: int) -> Card:
        """A card nobody has asked about yet."""
        return self.pki.issue_person(f"8997000{number:05d}", "INVITEE", "Ida", specialties=("SM26",), key=KeyKind.EC)

    def revoke(self, card: Card) -> None:
        """By the command, as the authority's people do."""
        number = str(card.identity.card_number)
        done = CliRunner().invoke(main, ["pki", "revoke", "--card", number, "--data", str(self.authority)])
        assert done.exit_code == 0, done.output

    def asker(self, card: Card) -> Callable[[], str]:
        """A query under that card: "" when it is answered, else the code of the fault."""
        world = self.live.world
        world.cards[card.identity.common_name] = card
        patient = world.patient()

        def ask() -> str:
            try:
                assert world.find(patient, card.identity.common_name).outcome.is_success
            except FaultReceived as fault:
                return (fault.subcode or fault.code)[1]
            return ""

        return ask

    def through(self, path: str, body: bytes) -> bytes | None:
        """What the process answers; None when it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        headers = {"Content-Type": "application/ocsp-request"} if body else {}
        try:
            connection.request("POST" if body else "GET", path, body or None, headers)
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()

    def counted(self, outcome: str) -> float:
        """``carnet_revocation_total`` of the registry."""
        connection = http.client.HTTPConnection("127.0.0.1", self.live.world.settings.registry.admin_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(rf'^carnet_revocation_total{{outcome="{outcome}"}} (\S+)$', text, re.M)
        return float(found[1]) if found else 0.0

    def mark(self) -> None:
        """What was logged and asked until now is of other tests."""
        self.since = len(self._all_lines())
        self.relay.asked.clear()

    def lines(self, action: str, about: str = "") -> list[str]:
        """What the log has told since the mark, where it names ``about``."""
        told = [line.reason or line.detail for line in self._all_lines()[self.since :] if line.action == action]
        return [text for text in told if about in text]

    def _all_lines(self) -> list[AccessLine]:
        with self.live.world._registry_database() as database, database.read() as unit:
            return list(unit.audit.read_latest(1_000_000))


@contextmanager
def joined(
    folder: Path, more: str = "", *, relayed: bool = False, products: Products = Products.TEST,
    others: Products = Products.TEST, longest: int = LONGEST, workers: int = 1,
) -> Iterator[Joined]:
    """``relayed`` puts a relay of the test between the services and the responder; ``products`` is what the services
    take, ``others`` what the authority makes."""
    (served,) = free_ports(1)
    with Relay().serving() as relay:
        asked = relay.port if relayed else served
        init.create(folder / "authority", pki_url=f"http://127.0.0.1:{asked}", products=others)
        live = Live.prepare(folder / "data", "\n".join((
            "[credentials]", f'revocation_hosts = ["127.0.0.1:{asked}"]', "revocation_timeout = 5",
            f"revocation_longest = {longest}", f"revocation_retry = {RETRY}", f'products = "{products}"', more,
        )), products=products, workers=workers)  # fmt: skip
        here = Joined(live, folder / "authority", relay=relay, port=served)
        for name in ("root", "persons"):
            file = here.authority / "pki" / "trust" / f"{name}.pem"
            done = CliRunner().invoke(main, ["pki", "trust", str(file), "--as", name, "--data", str(live.world.folder)])
            assert done.exit_code == 0, done.output
        try:
            here.serve()
            relay.answer = here.through
            live.registry.start().wait_ready()
            yield here
        finally:
            here.kill()
            live.stop()
    live.assert_discreet_logs()


def seconds_until(is_so: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PATIENCE, "not so in time"
        time.sleep(0.1)
    return time.monotonic() - began


def believed_for(ask: Callable[[], str]) -> float:
    """Asks until the answer is a refusal, which must be that of a credential: seconds from now to the last question
    that was still answered. However slow the machine, what is asked later than it may be believed is refused."""
    began, last = time.monotonic(), 0.0

    def is_refused() -> bool:
        nonlocal last
        asked = time.monotonic() - began
        if (said := ask()) == "":
            last = asked
        assert said in ("", "FailedAuthentication")
        return said != ""

    seconds_until(is_refused)
    return last


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    with joined(tmp_path_factory.mktemp("strict"), relayed=True) as here:
        yield here


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that earlier tests left in the log; and after it, whatever a test did to the way between the two."""
    here: Joined | None = request.getfixturevalue("strict") if "strict" in request.fixturenames else None
    if here is not None:
        here.mark()
    yield
    if here is not None:
        here.relay.answer = here.through


def test_a_revocation_reaches_the_services_through_our_responder(strict: Joined) -> None:
    """Good, then revoked by the command: refused as soon as the answer that said good has ended. Step: g"""
    card, fetched = strict.card(1), strict.counted("fetched")
    ask = strict.asker(card)
    assert ask() == "" and strict.counted("fetched") > fetched
    assert "/ocsp" in strict.relay.asked and strict.lines("refused login") == []
    strict.revoke(card)
    assert believed_for(ask) <= LONGEST
    assert any("revoked" in reason for reason in strict.lines("refused login"))


def test_an_answer_given_before_is_none_today(strict: Joined) -> None:
    """Who holds the wire repeats yesterday's *good*: its nonce is that of another question. Step: g"""
    card = strict.card(2)
    ask, kept = strict.asker(card), dict[int, bytes]()
    mine = {pair.certificate.serial_number for pair in (card.authentication, card.signature)}

    def recorded(path: str, body: bytes) -> bytes | None:
        answer = strict.through(path, body)
        if path == "/ocsp" and answer is not None:
            kept[serial_in(body)] = answer
        return answer

    def repeated(path: str, body: bytes) -> bytes | None:
        return kept[serial_in(body)] if path == "/ocsp" and serial_in(body) in mine else recorded(path, body)

    strict.relay.answer = recorded
    seconds_until(lambda: ask() == "")
    assert mine <= kept.keys()
    strict.relay.answer = lambda path, body: None if "persons" in path else repeated(path, body)
    assert believed_for(ask) <= LONGEST
    assert any("the nonce of another question" in reason for reason in strict.lines("revocation source silent"))


def test_the_delta_tells_where_no_responder_answers(strict: Joined) -> None:
    """The full list is that of before the revocation, and current; what was taken back since is in the delta alone. A
    list counts for as long as an answer, from when it was fetched."""
    card = strict.card(3)
    ask, full = strict.asker(card), {path: strict.through(path, b"") for path in ("/crl/persons.crl", "/crl/root.crl")}
    assert None not in full.values()
    strict.relay.answer = lambda path, body: None if path == "/ocsp" else full.get(path) or strict.through(path, body)
    seconds_until(lambda: ask() == "")
    assert "/crl/persons.delta.crl" in strict.relay.asked
    strict.revoke(card)
    assert believed_for(ask) <= LONGEST
    assert any("revoked" in reason for reason in strict.lines("refused login", card.identity.common_name))
    strict.relay.answer = lambda path, body: None if path == "/ocsp" else full.get(path)
    other = strict.asker(strict.card(4))
    seconds_until(lambda: other() == "")


def test_a_dead_responder_refuses_and_a_new_one_is_asked(strict: Joined) -> None:
    """The default: nobody can say, so nobody is believed; told in log and measures, mended by starting it again."""
    ask, failed = strict.asker(strict.card(5)), strict.counted("failed")
    seconds_until(lambda: ask() == "")
    strict.kill()
    assert believed_for(ask) <= LONGEST
    assert any("status 503" in reason for reason in strict.lines("revocation source silent"))
    assert any("no current revocation list or answer" in reason for reason in strict.lines("refused login"))
    assert strict.counted("failed") > failed
    strict.serve()
    assert seconds_until(lambda: ask() == "") <= RETRY + BUSY


def test_grace_lets_the_last_word_count_for_its_time(tmp_path: Path) -> None:
    """Of a card that was good when last asked about; never of one nobody asked about; told; and it ends."""
    with joined(tmp_path, f'revocation = "grace"\nrevocation_grace = {GRACE}\n') as here:
        card = here.card(6)
        ask, unknown = here.asker(card), here.asker(here.card(7))
        assert ask() == "" and here.counted("grace") == 0
        here.kill()
        died = time.monotonic()
        about = f"CN={card.identity.common_name}"
        seconds_until(lambda: ask() == "" and here.lines("revocation answer outdated", about) != [])
        assert all("last said good until" in detail for detail in here.lines("revocation answer outdated", about))
        assert here.counted("grace") > 0 and unknown() == "FailedAuthentication"
        assert any("refused" in reason for reason in here.lines("revocation source silent")), "connection refused"
        here.mark()
        waited = time.monotonic() - died
        assert waited + believed_for(ask) <= LONGEST + GRACE
        assert any("no current revocation list or answer" in reason for reason in here.lines("refused login"))


def test_an_answer_of_our_responder_ends(tmp_path: Path) -> None:
    """It says itself until when it counts; a second later it clears nobody. Clause: RFC 6960 4.2.2.1"""
    pki = Pki.create(tmp_path / "pki")
    card, issuer = pki.issue_person(PHYSICIAN, "ESSAI", "Anne", key=KeyKind.EC), pki.authority(Authority.PERSONS)
    asked, nonce = ocsp_answers.question(card.signature.certificate, issuer)
    answer, now = Responder(pki).answer(asked).der, datetime.now(UTC)

    def read_at(moment: datetime) -> bool:
        return ocsp_answers.read(
            answer, card.signature.certificate, issuer, nonce, moment, needs_nonce=True, is_unrevoked=lambda _: False
        ).is_good

    assert read_at(now + VALID - timedelta(seconds=10))
    with pytest.raises(ocsp_answers.OcspUnusable, match="out of date"):
        read_at(now + VALID + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Products.TEST, Products.PRODUCTION), (Products.PRODUCTION, Products.TEST)]
)
def test_test_and_production_stay_apart_on_the_wire(tmp_path: Path, ours: Products, theirs: Products) -> None:
    """An authority may be believed and its products not: each installation serves its own kind alone.

    Clause: extension 1.2.250.1.71.1.2.5. Step: g
    """
    with joined(tmp_path, products=ours, others=theirs) as here:
        own, other = here.asker(here.live.world.cards["physician"]), here.asker(here.card(8))
        assert own() == "" and here.lines("refused login") == []
        assert other() == "FailedAuthentication"
        assert any(f"where {ours} products count" in reason for reason in here.lines("refused login"))


def serial_in(request: bytes) -> int:
    """Which certificate an OCSP request is about."""
    return ocsp.load_der_ocsp_request(request).serial_number
