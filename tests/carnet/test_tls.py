"""What TLS we speak: every version and suite tried on every context we listen and connect with.

A lax context of the test's own stands on the other side. What it cannot do with its like proves nothing, so it is asked
first.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from carnet import node, token_service, wiring
from carnet import settings as settings_module
from carnet.commands.serve import check_keys, listening_tls
from carnet.node import all_pair_files
from carnet.server import BoundedSocket, bounded, demanding
from guard.credentials.cards import KeyPair, load_key_pair
from tests.handshakes import agreed, dh_parameters, only, shake, suites_of_1_2, versions
from tests.world import World
from xds.wire import tls
from xds.wire.client import SoapClient
from xds.wire.delivery import Deliveries
from xds.wire.reply_addresses import ReplyAddresses

ROOT = Path(__file__).resolve().parents[2]
FOUR = {
    "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
}
"""DMP PDT-INF-579 v4."""
LISTENING = ("registry", "repository", "tokens", "mllp")
CALLING = (
    "registry link", "audit messages", "answers", "OpenID provider", "card", "no card", "nothing said", "bare delivery",
)

pytestmark = pytest.mark.filterwarnings("ignore:ssl.*is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("tls"))


def ours(world: World, name: str) -> ssl.SSLContext:
    """The very context the house uses there."""
    settings, anchors = world.settings, world.folder / "pki" / "trust" / "ca.pem"
    bare = ReplyAddresses(["https://localhost:1/"], plain_loopback=False)
    made: dict[str, Callable[[], tls.Tls]] = {
        "registry": lambda: listening_tls(settings, "registry", lambda c: bounded(c, idle=5.0)),
        "repository": lambda: listening_tls(settings, "repository", lambda c: bounded(c, idle=5.0)),
        "tokens": lambda: listening_tls(settings, "tokens", lambda c: bounded(c, idle=5.0)),
        "mllp": lambda: listening_tls(settings, "registry", demanding),
        "registry link": lambda: wiring.link_of(settings)._services._tls,  # type: ignore[attr-defined]
        "audit messages": lambda: wiring.syslog_tls(settings, "registry"),
        "answers": lambda: node.client_tls("answers", node.pair_files(settings, "registry"), anchors),
        "OpenID provider": lambda: token_service.provider_tls(settings),
        "card": lambda: world.cards["physician"].tls_context(anchors),
        "no card": lambda: tls.calling(anchors),
        "nothing said": lambda: SoapClient("https://localhost:1/")._tls,  # type: ignore[return-value]
        "bare delivery": lambda: Deliveries(bare, None)._tls,
    }
    context = tls.current(made[name]())
    if name in ("nothing said", "bare delivery"):  # they trust the system's authorities
        context.load_verify_locations(anchors)
    return context


@cache
def server_pairs(folder: Path) -> list[KeyPair]:
    """Read once: a control is made for each suite, and OpenSSL proves an RSA key whenever it reads one."""
    return [files.read() for files in all_pair_files(settings_module.load(folder), "registry")]


def lax_server(world: World) -> ssl.SSLContext:
    """With our certificates of both kinds, and everything else this OpenSSL has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for pair in server_pairs(world.folder):
        load_key_pair(context, pair)
    parameters = world.folder / "dh.pem"
    parameters.write_text(dh_parameters())
    context.load_dh_params(str(parameters))
    context.load_verify_locations(world.folder / "pki" / "trust" / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def lax_client(world: World) -> ssl.SSLContext:
    """With a certificate, for listeners that demand one; the server's is not looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    load_key_pair(context, world.cards["physician"].authentication)
    return context


@pytest.fixture(scope="module")
def possible(world: World) -> set[str]:
    """The suites of TLS 1.2 that two lax contexts agree on: what a refusal of ours is told from."""
    found = set()
    for suite in suites_of_1_2():
        if agreed(only(lambda: lax_client(world), ssl.TLSVersion.TLSv1_2, suite),
                  only(lambda: lax_server(world), ssl.TLSVersion.TLSv1_2)):  # fmt: skip
            found.add(suite)
    assert found > FOUR and len(found) > 40
    assert {"DHE-RSA-AES256-GCM-SHA384", "AES128-SHA", "ECDHE-ECDSA-AES128-GCM-SHA256", "AECDH-AES256-SHA"} <= found
    return found


@pytest.mark.parametrize("name", LISTENING)
def test_a_listener_takes_the_four_suites_and_no_other(world: World, possible: set[str], name: str) -> None:
    """Of TLS 1.2; a peer that offers one suite after the other is taken with four of them. Rule: K-01"""
    mine = ours(world, name)
    taken = {s for s in possible if agreed(only(lambda: lax_client(world), ssl.TLSVersion.TLSv1_2, s), mine)}
    assert taken == FOUR


@pytest.mark.parametrize("name", CALLING)
def test_a_client_offers_the_four_suites_and_no_other(world: World, possible: set[str], name: str) -> None:
    """To a server that insists on one suite after the other. Rule: K-01"""
    mine = ours(world, name)
    taken = {s for s in possible if agreed(mine, only(lambda: lax_server(world), ssl.TLSVersion.TLSv1_2, s))}
    assert taken == FOUR


@pytest.mark.parametrize("version", list(versions()))
def test_nothing_older_than_1_2(world: World, version: ssl.TLSVersion) -> None:
    """1.2 and 1.3 are spoken on every context, 1.0 and 1.1 on none; the lax ones speak all. Rule: K-01"""
    assert agreed(only(lambda: lax_client(world), version), only(lambda: lax_server(world), version))
    is_spoken = version >= ssl.TLSVersion.TLSv1_2
    for name in LISTENING:
        assert bool(agreed(only(lambda: lax_client(world), version), ours(world, name))) is is_spoken, name
    for name in CALLING:
        assert bool(agreed(ours(world, name), only(lambda: lax_server(world), version))) is is_spoken, name


def test_1_3_is_what_we_agree_on_and_p_256_serves_it(world: World) -> None:
    """RSA serves callers of 1.2; a caller who can do better is served faster."""
    anchors = world.folder / "pki" / "trust" / "ca.pem"
    for name in ("registry", "repository", "tokens"):
        here, _ = shake(tls.calling(anchors), ours(world, name))
        assert here.version() == "TLSv1.3"
        first, second = (files.read() for files in all_pair_files(world.settings, name))
        assert here.getpeercert(True) == first.der
        older = tls.calling(anchors)
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        here, _ = shake(older, ours(world, name))
        assert here.getpeercert(True) == second.der


@pytest.mark.parametrize("name", ["registry", "tokens"])
def test_a_server_of_p_256_alone_serves_1_3_and_says_so(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The four suites of 1.2 need RSA: without it a caller of 1.2 agrees on nothing, and the start tells why.

    Clause: DMP PDT-INF-579
    """
    world = World.prepare(tmp_path / "data")
    anchors, older = world.folder / "pki" / "trust" / "ca.pem", lax_client(world)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    check_keys(world.settings, [name])
    assert agreed(older, ours(world, name)) and not caplog.messages
    for file in (world.folder / "pki" / "servers").glob(f"{name}.rsa.*"):
        file.unlink()
    check_keys(world.settings, [name])
    (told,) = caplog.messages
    assert told.startswith(f"{name}: callers of TLS 1.2 cannot connect") and f"{name}.rsa.pem" in told
    served = ours(world, name)
    assert shake(tls.calling(anchors), served)[0].version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match=r"(?i)no.shared.cipher"):
        shake(older, served)


@pytest.mark.parametrize("name", [*LISTENING, *CALLING])
def test_no_compression_no_renegotiation_no_tickets(world: World, name: str) -> None:
    """What OpenSSL is told, for what no peer in Python can ask for."""
    context = ours(world, name)
    assert context.options & ssl.OP_NO_COMPRESSION and context.options & ssl.OP_NO_RENEGOTIATION
    if name in LISTENING:
        assert context.options & ssl.OP_NO_TICKET and context.num_tickets == 0
    else:
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_listener_hands_out_no_session_of_1_3(world: World) -> None:
    """So a caller shows his certificate in each handshake, and there is nothing early data could be sent with."""
    anchors = world.folder / "pki" / "trust" / "ca.pem"
    here, there = shake(world.cards["physician"].tls_context(anchors), ours(world, "registry"))
    there.write(b"x")
    assert here.read(1) == b"x"
    assert here.session is None or not here.session.has_ticket


def test_a_resumed_session_of_1_2_keeps_the_certificate(world: World) -> None:
    """The one way to resume: by the number of a session in our memory. The certificate is still known there."""
    card = world.cards["physician"]
    client = card.tls_context(world.folder / "pki" / "trust" / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server = ours(world, "registry")
    here, there = shake(client, server)
    assert here.session is not None and not here.session.has_ticket
    again, resumed = shake(client, server, session=here.session)
    assert again.session_reused
    assert resumed.getpeercert(True) == there.getpeercert(True) == card.authentication.der


def test_every_context_is_made_in_one_place() -> None:
    """What is said here of some contexts holds for all: nobody else makes one."""
    made = re.compile(r"create_default_context|SSLContext\(|_create_unverified|_create_stdlib_context")
    packages = ("carnet", "conformance", "guard", "record", "registry", "repository", "storage", "xds")
    found = {
        str(file.relative_to(ROOT)) for package in packages for file in (ROOT / package).rglob("*.py")
        if made.search(file.read_text("utf-8"))
    }
    assert found == {"xds/wire/tls.py"}


def test_the_listener_still_bounds_its_sockets(world: World) -> None:
    assert issubclass(ours(world, "registry").sslsocket_class, BoundedSocket)
    assert ours(world, "mllp").verify_mode is ssl.CERT_REQUIRED


def test_a_sender_is_bound_to_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes in a moment are taken, ten bytes after half a minute are not."""
    moments = iter([0.0, 0.1, 1.0, 31.0])
    monkeypatch.setattr("carnet.server.time.monotonic", lambda: next(moments))
    monkeypatch.setattr(ssl.SSLSocket, "recv", lambda *_: b"0123456789")
    one = BoundedSocket.__new__(BoundedSocket)
    assert one.recv(16) == b"0123456789"
    with pytest.raises(TimeoutError):
        one.recv(16)
