"""The certificate of the connection and the assertion belong together, in every mode, and on every request.

Over TLS, against the services as they are served: who may speak for whom, what a caller is told when he may not, and
that neither an open connection nor a resumed session outlives a revocation.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conformance.negative_kit import Kit
from guard.credentials import vihf
from guard.credentials.caller import Mode
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from tests.world import FIND_DOCUMENTS, STRUCTURE, World
from xds.check.query_params import quote
from xds.ebxml import write
from xds.wire import tls
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.soap12 import write_envelope

STORED_QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
MODES = (Mode.DIRECT, Mode.INDIRECT, Mode.REINFORCED_INDIRECT)
TRACE = re.compile(rb"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|[0-9a-f]{16,32}")


@dataclass(frozen=True)
class Hall:
    """The live services, and cards of their authorities and of another."""

    world: World
    pki: Pki
    kit: Kit
    cards: dict[str, Card]

    @property
    def anchors(self) -> Path:
        return self.world.folder / "pki" / "trust" / "ca.pem"

    def message(self, signed: bytes) -> bytes:
        body = write.adhoc_query_request(
            FIND_DOCUMENTS, "ObjectRef", [("$XDSDocumentEntryPatientId", [quote("1")])]
        )
        headers = request_headers(STORED_QUERY, new_message_id(), "https://localhost/") + vihf.security_header(signed)
        return b"".join(write_envelope(headers, [body]))

    def signed(self, card: Card, mode: Mode) -> bytes:
        name_id = "" if mode is Mode.DIRECT else f"{STRUCTURE}/dr-essai"
        roles = vihf.card_roles(self.cards["physician"])
        says = vihf.for_card(card, structure_id=STRUCTURE, name_id=name_id, roles=roles)
        declared = "urn:essai:navigateur" if mode is Mode.REINFORCED_INDIRECT else ""
        return vihf.issue(replace(says, mode=mode, context_declaration=declared), card.signature)

    def connect(self, context: ssl.SSLContext) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.world.settings.registry.port, timeout=20, context=context)

    def tls_of(self, who: str) -> ssl.SSLContext:
        return tls.calling(self.anchors) if who == "nobody" else self.cards[who].tls_context(self.anchors)


def ask(connection: http.client.HTTPSConnection, message: bytes) -> tuple[int, bytes]:
    headers = {"Content-Type": f'application/soap+xml; charset=UTF-8; action="{STORED_QUERY}"'}
    connection.request("POST", "/services/registry", message, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def is_refused(status: int, body: bytes) -> bool:
    return status in (400, 500) and b"FailedAuthentication" in body


@pytest.fixture(scope="module")
def hall(live: World, tmp_path_factory: pytest.TempPathFactory) -> Hall:
    pki = Pki.open(live.folder / "pki")
    cards = {
        "physician": live.cards["physician"],
        "colleague": live.cards["colleague"],
        "laboratory": live.cards["laboratory"],
        "second system": pki.issue_structure(STRUCTURE, "LABORATOIRE FICTIF", "Second automate", key=KeyKind.EC),
        "clinic": pki.issue_structure("10B0000009", "CLINIQUE FICTIVE", "Dossier", key=KeyKind.EC),
    }
    return Hall(live, pki, Kit.make(pki, tmp_path_factory.mktemp("foreign")), cards)


@pytest.mark.parametrize("mode", MODES)
def test_the_connection_must_be_of_the_one_who_signed(hall: Hall, mode: Mode) -> None:
    """In direct mode the same person, in both indirect ones the same structure, any of its systems. Rule: K-05"""
    signer = "physician" if mode is Mode.DIRECT else "laboratory"
    message = hall.message(hall.signed(hall.cards[signer], mode))
    accepted = {who for who in [*hall.cards, "nobody"] if not is_refused(*ask(hall.connect(hall.tls_of(who)), message))}
    assert accepted == ({"physician"} if mode is Mode.DIRECT else {"laboratory", "second system"})


def test_the_signature_key_opens_no_connection(hall: Hall) -> None:
    """A card's two keys have their own duties. One without clientAuth fails its handshake, or gets the fault."""
    card = hall.cards["physician"]
    turned = Card(card.signature, card.authentication)
    try:
        answer = ask(hall.connect(turned.tls_context(hall.anchors)), hall.message(hall.signed(card, Mode.DIRECT)))
        assert is_refused(*answer)
    except (ssl.SSLError, ConnectionError):
        pass


# -- what a caller is told --------------------------------------------------------------------------------------------


def faults(hall: Hall) -> dict[str, Callable[[], bytes]]:
    """Assertions signed with a card that is not believed; the connection is that of a good card."""
    kit = hall.kit

    def by(card: Card) -> bytes:
        return kit.sign(kit.build(card=card), card.signature)

    return {
        "expired": lambda: by(kit.expired),
        "revoked": lambda: by(kit.revoked),
        "unknown": lambda: by(kit.foreign),
        "another's card": lambda: by(kit.other),
    }


def test_each_bad_card_gets_one_answer_and_the_log_all(hall: Hall) -> None:
    """Expired, revoked, unknown and another's: the same bytes but for the trace id; the log has why. Rule: K-06"""
    revoked = faults(hall)["revoked"]
    context = hall.kit.card.tls_context(hall.anchors)

    def is_noticed() -> bool:
        ask(hall.connect(context), hall.message(revoked()))
        return "revoked" in hall.world.registry_lines(1)[0].reason

    revoked_soon(is_noticed)
    answers, told = {}, {}
    for name, signed in faults(hall).items():
        status, body = ask(hall.connect(hall.kit.card.tls_context(hall.anchors)), hall.message(signed()))
        assert is_refused(status, body)
        answers[name] = re.sub(rb"(RelatesTo|MessageID)([^>]*)>[^<]*<", rb"\1\2><", TRACE.sub(b"-", body))
        told[name] = hall.world.registry_lines(1)[0].reason
    assert len(set(answers.values())) == 1, answers
    assert len(set(told.values())) == 4, told
    assert "not valid now" in told["expired"] and "revoked" in told["revoked"]
    assert "no configured authority" in told["unknown"] and "TLS certificate is not of" in told["another's card"]


@pytest.mark.parametrize("who", ["disconnected", "good"])
def test_a_revoked_connection_gets_the_fault_of_a_refused_assertion(hall: Hall, who: str) -> None:
    """Before anything of the body counts; the good one is there to show the difference."""
    card = hall.kit.card if who == "good" else hall.kit.disconnected
    signed = hall.kit.good()
    refused = is_refused(*ask(hall.connect(card.tls_context(hall.anchors)), hall.message(signed)))
    assert refused is (who == "disconnected")


# -- every request ----------------------------------------------------------------------------------------------------


def revoked_soon(attempt: Callable[[], bool], patience: float = 60.0) -> None:
    """The lists are looked at every two seconds."""
    deadline = time.monotonic() + patience
    while not attempt():
        assert time.monotonic() < deadline, "still accepted"
        time.sleep(0.2)


def test_an_open_connection_ends_with_the_card(hall: Hall) -> None:
    """The certificate is judged again for each request, not for the handshake alone. Rule: K-05"""
    card = hall.pki.issue_person("899700000091", "PASSAGER", "Léa", specialties=("SM26",), key=KeyKind.EC)
    connection = hall.connect(card.tls_context(hall.anchors))
    message = hall.message(vihf.issue(vihf.for_card(card, structure_id=STRUCTURE), card.signature))
    assert not is_refused(*ask(connection, message))
    kept = connection.sock
    assert not is_refused(*ask(connection, message)) and connection.sock is kept
    hall.pki.revoke(card.authentication.certificate.serial_number)
    revoked_soon(lambda: is_refused(*ask(connection, message)))


def test_a_resumed_session_ends_with_the_card(hall: Hall) -> None:
    """TLS 1.2 by session number: no certificate crosses the wire, and its revocation bites all the same. Rule: K-05"""
    card = hall.pki.issue_person("899700000075", "REPRISE", "Noé", specialties=("SM26",), key=KeyKind.EC)
    context = card.tls_context(hall.anchors)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    message = hall.message(vihf.issue(vihf.for_card(card, structure_id=STRUCTURE), card.signature))

    open_: list[http.client.HTTPSConnection] = []  # a session whose connection has been cut is not resumed

    def once(session: ssl.SSLSession | None) -> tuple[bool, bool, ssl.SSLSession]:
        """Refused, resumed, and the session for the next time."""
        plain = socket.create_connection(("127.0.0.1", hall.world.settings.registry.port), 20)
        secure = context.wrap_socket(plain, server_hostname="localhost", session=session)
        connection = hall.connect(context)
        connection.sock = secure
        refused = is_refused(*ask(connection, message))
        found, reused = secure.session, bool(secure.session_reused)
        open_.append(connection)
        assert found is not None
        return refused, reused, found

    refused, reused, session = once(None)
    assert not refused and not reused
    refused, reused, _ = once(session)
    assert not refused and reused, "the session is resumed, and the certificate known"
    hall.pki.revoke(card.authentication.certificate.serial_number)
    revoked_soon(lambda: once(session)[0])
    assert once(session)[1], "refused because it is judged again, not because it was not resumed"
    for connection in open_:
        connection.close()


# -- a stranger's client ----------------------------------------------------------------------------------------------


@pytest.fixture
def served_ports(hall: Hall) -> Iterator[dict[str, int]]:
    yield {"registry": hall.world.settings.registry.port, "repository": hall.world.settings.repository.port}


def s_client(port: int, *words: str, said: str = "", seconds: float = 20.0) -> str:
    """What ``openssl s_client`` says of a port."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words], input=said.encode(), capture_output=True,
        timeout=seconds, check=False,
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def test_the_openssl_command_sees_the_same(served_ports: dict[str, int]) -> None:
    """Versions, suites, compression, tickets, early data, as a stranger's client finds them. Rule: K-01"""
    for port in served_ports.values():
        for words in (["-tls1"], ["-tls1_1"], ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"],
                      ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
                      ["-tls1_2", "-cipher", "AES128-SHA"]):  # fmt: skip
            told = s_client(port, *words, *(["-cipher", "ALL:@SECLEVEL=0"] if len(words) == 1 else []))
            assert "alert" in told and "Cipher is (NONE)" in told, told[-600:]
        told = s_client(port, "-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384")
        assert "Cipher is ECDHE-RSA-AES256-SHA384" in told and "Compression: NONE" in told
        assert "TLS session ticket" not in told
        told = s_client(port, "-tls1_3")
        assert "New, TLSv1.3" in told and "Early data was not sent" in told and "session ticket" not in told.lower()


def test_nobody_renegotiates(served_ports: dict[str, int]) -> None:
    """The wish (R) is answered with an alert; without it the connection would serve on."""
    for port in served_ports.values():
        process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        assert process.stdin is not None
        time.sleep(1.0)
        process.stdin.write(b"R\n")
        process.stdin.flush()
        told, _ = process.communicate(timeout=30)
        assert b"RENEGOTIATING" in told and b"no renegotiation" in told.lower(), told[-800:]
