"""The MLLP listener: its reader of blocks, and real connections, plain and over mutual TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import open_hl7_connection
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet import gate, wiring
from carnet.admin import Meter
from carnet.commands.serve import listen_mllp
from carnet.feeds import patient_feed
from carnet.mllp import MAX_MESSAGE, BrokenBlock, MllpListener, MllpServer, PatientFeed, read_block
from carnet.supervisor import free_ports
from tests.direct import Desk
from tests.feed import Ack, Feed, adt, cx
from tests.live import served
from tests.world import World

DOMAIN = '[domain]\nname = "connectathon"\n'


# -- the reader of blocks -------------------------------------------------------------------------------------------


def blocks_of(pieces: list[bytes], limit: int = MAX_MESSAGE) -> list[bytes]:
    """Every message of a stream that arrives in these pieces; raises what the reader raises."""

    async def read() -> list[bytes]:
        reader = asyncio.StreamReader(limit=limit)

        async def feed() -> None:
            for piece in pieces:
                reader.feed_data(piece)
                await asyncio.sleep(0)
            reader.feed_eof()

        task = asyncio.create_task(feed())
        found = []
        while (message := await read_block(reader, 5.0, 5.0)) is not None:
            found.append(message)
        await task
        return found

    return asyncio.run(read())


messages = st.binary(max_size=60).filter(lambda m: b"\x1c\r" not in m and not m.endswith(b"\x1c"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(messages, max_size=4), st.lists(st.integers(1, 40), max_size=12), st.sampled_from([b"", b"\r", b"\r\n"])
)
def test_blocks_come_back_however_they_arrive(sent: list[bytes], cuts: list[int], between: bytes) -> None:
    """Cut anywhere, with or without line ends between them. Rule: F-22"""
    stream = b"".join(b"\x0b" + one + b"\x1c\r" + between for one in sent)
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(stream[start : start + cut])
        start += cut
    assert blocks_of([*pieces, stream[start:]]) == sent


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_any_stream_ends(stream: bytes) -> None:
    """With its messages, or with the one error a reader may raise. Rule: F-22"""
    try:
        found = blocks_of([stream], limit=64)
    except BrokenBlock:
        return
    assert all(b"\x1c\r" not in one for one in found)


@pytest.mark.parametrize("stream", [b"MSH|", b"\x0bMSH|", b"\x0bMSH|\x1c", b"\x0b" + b"x" * 70 + b"\x1c\r", b"\x1c\r"])
def test_what_is_no_block_is_refused(stream: bytes) -> None:
    """No start, no end, too large. Rule: F-22"""
    with pytest.raises(BrokenBlock):
        blocks_of([stream], limit=64)


# -- a listener in this process ---------------------------------------------------------------------------------------


def world_with(folder: Path, **registry: str) -> World:
    (port,) = free_ports(1)
    lines = "\n".join(f"{k} = {v}" for k, v in {"mllp_port": str(port), **registry}.items())
    return World.prepare(folder, DOMAIN, registry=f"direct_registration = true\n{lines}")


def listening(world: World) -> Callable[[], None]:
    """Serve the world's feed as ``carnet serve`` does. Returns how to stop it."""
    actor = wiring.registry_actor(world.settings)
    feed = patient_feed(world.settings, actor, gate.verifier_of(world.settings, actor.domain), Meter())
    limits = world.settings.limits.model_copy(update={"body_idle": 1.0})
    return listen_mllp(world.settings.model_copy(update={"limits": limits}), feed)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = world_with(tmp_path_factory.mktemp("secure")).serve_here()
    stop = listening(world)
    yield world
    stop()


@pytest.fixture(scope="module")
def open_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Plain, on the loopback address."""
    world = world_with(tmp_path_factory.mktemp("open"), mllp_tls="false").serve_here()
    stop = listening(world)
    yield world
    stop()


def converse(world: World, tls: ssl.SSLContext | None, talk: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """Let the hl7 library's own client talk to the listener."""

    async def run() -> Any:
        port = world.settings.registry.mllp_port
        more = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
        reader, writer = await open_hl7_connection("127.0.0.1", port, encoding="iso8859-1", **more)
        try:
            return await asyncio.wait_for(talk(reader, writer), 20)
        finally:
            writer.close()

    return asyncio.run(run())


def tls_of(world: World, who: str = "laboratory") -> ssl.SSLContext:
    return world.cards[who].tls_context(world.folder / "pki" / "trust" / "ca.pem")


async def exchange(reader: Any, writer: Any, message: bytes) -> Ack:
    writer.writemessage(hl7.parse(message.decode("iso8859-1")))
    await writer.drain()
    return Ack.of(str(await reader.readmessage()).encode("iso8859-1"))


def test_two_merges_over_one_connection_under_tls(secure: World) -> None:
    """Additions and a chain of two merges, each acknowledged in turn; the certificate is who did it.

    Rule: F-15, F-12, F-19
    """
    feed = Feed(secure)
    a, b, c = (feed.new_id() for _ in range(3))
    script = [*(adt("A01", cx(x)) for x in (a, b, c)), adt("A40", cx(b), cx(a)), adt("A40", cx(c), cx(b))]

    async def talk(reader: Any, writer: Any) -> list[str]:
        return [(await exchange(reader, writer, message)).code for message in script]

    assert converse(secure, tls_of(secure), talk) == ["AA"] * 5
    assert [feed.status(x) for x in (a, b, c)] == ["subsumed", "subsumed", "active"]
    line = feed.lines(c)[-1]
    assert line.peer == "127.0.0.1" and line.caller_id and line.caller_id != "SOURCE|HOPITAL"
    Desk(secure, c).new()


def test_without_a_client_certificate_there_is_no_feed(secure: World) -> None:
    """The handshake fails, and the access log says so. Rule: F-19"""
    feed = Feed(secure)
    patient = feed.new_id()

    async def talk(reader: Any, writer: Any) -> Ack:
        return await exchange(reader, writer, adt("A01", cx(patient)))

    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        converse(secure, secure.bare_tls(), talk)
    assert feed.status(patient) == ""
    wait_for(lambda: feed.last_line().action == "refused login")
    assert feed.last_line().event == "ITI-8" and feed.last_line().reason.startswith("TLS: ")


def test_a_certificate_that_is_no_source_is_turned_away(tmp_path: Path) -> None:
    """It is ours and good, and named nowhere. Rule: F-19"""
    world = world_with(tmp_path, identity_sources='["somebody else"]')
    stop = listening(world)
    try:
        feed = Feed(world)
        patient = feed.new_id()

        async def talk(reader: Any, writer: Any) -> Ack:
            return await exchange(reader, writer, adt("A01", cx(patient)))

        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            converse(world, tls_of(world), talk)
        wait_for(lambda: "identity source" in feed.last_line().reason)
        assert feed.status(patient) == ""
    finally:
        stop()


def test_the_librarys_plain_client_is_served_on_the_loopback_address(open_: World) -> None:
    """A one-line client of a tester; the message header names the source. Rule: F-15, F-01"""
    feed = Feed(open_)
    patient = feed.new_id()
    with MLLPClient("127.0.0.1", open_.settings.registry.mllp_port) as client:
        for _ in range(2):
            answer = client.send_message(adt("A01", cx(patient)).decode())
            assert b"MSA|AA|" in answer
    assert feed.lines(patient)[0].caller_id == "SOURCE|HOPITAL"


def test_plain_mllp_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    """Whatever the registry's own address is; and never in a domain that knows its callers. Rule: F-19"""
    bound: list[Any] = []
    server = MllpServer(
        MllpListener(host="0.0.0.0", port=0, tls=None, idle=1.0, block=1.0),
        PatientFeed(receive=None, admit=None, refused=None),  # type: ignore[arg-type]
    )
    server.start()
    bound = [s.getsockname()[0] for s in server._server.sockets]  # type: ignore[union-attr]
    server.stop()
    server.stop()
    assert bound == ["127.0.0.1"]
    (port,) = free_ports(1)
    world = World.prepare(tmp_path, registry=f"mllp_port = {port}\nmllp_tls = false")
    with pytest.raises(ValueError, match="mllp_tls"):
        world.serve_here()


@pytest.mark.parametrize("junk", [
    b"GET / HTTP/1.1\r\n\r\n", b"\x0b" + b"A" * (MAX_MESSAGE + 2) + b"\x1c\r", b"\x16\x03\x01\x02",
])
def test_a_peer_that_speaks_something_else_is_cut_off(open_: World, junk: bytes) -> None:
    """Without an answer, and others are served as before. Rule: F-22"""
    with socket.create_connection(("127.0.0.1", open_.settings.registry.mllp_port), 10) as peer:
        try:
            peer.sendall(junk)
            assert peer.recv(100) == b""
        except ConnectionError:
            pass
    test_the_librarys_plain_client_is_served_on_the_loopback_address(open_)


def test_slow_and_silent_peers_hold_nobody_up(open_: World) -> None:
    """Fifty that have begun a block and go no further: others are served, and they are cut off. Rule: F-22"""
    port = open_.settings.registry.mllp_port
    slow = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(50)]
    try:
        for peer in slow:
            peer.sendall(b"\x0bMSH|")
        began = time.monotonic()
        test_the_librarys_plain_client_is_served_on_the_loopback_address(open_)
        assert time.monotonic() - began < 1.0
        for peer in slow:
            assert peer.recv(10) == b""
        assert time.monotonic() - began < 8
    finally:
        for peer in slow:
            peer.close()


def test_a_message_under_way_is_committed_when_the_service_ends(open_: World) -> None:
    """Stopping waits for the transaction; the source, without its acknowledgement, sends again. Rule: F-15"""
    entered, go, done = threading.Event(), threading.Event(), []

    def receive(*_: object) -> bytes:
        entered.set()
        go.wait(5)
        done.append(1)
        return b"ack"

    feed = PatientFeed(receive=receive, admit=lambda _: None, refused=print)  # type: ignore[arg-type, return-value]
    (port,) = free_ports(1)
    server = MllpServer(MllpListener(host="127.0.0.1", port=port, tls=None, idle=5.0, block=5.0), feed)
    server.start()
    with socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.sendall(b"\x0bx\x1c\r")
        assert entered.wait(5)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        go.set()
        stopping.join(10)
    assert done == [1] and not stopping.is_alive()


def test_a_port_that_is_taken_is_said(open_: World) -> None:
    """At start, so that nobody believes in a feed that is not there."""
    server = MllpServer(
        MllpListener(host="127.0.0.1", port=open_.settings.registry.mllp_port, tls=None, idle=1.0, block=1.0),
        PatientFeed(receive=None, admit=None, refused=None),  # type: ignore[arg-type]
    )
    with pytest.raises(OSError):
        server.start()


def test_the_registry_process_serves_the_feed(tmp_path: Path) -> None:
    """``carnet serve registry`` with ``registry.mllp_port``; nothing of a patient is in its log. Rule: F-01, F-19"""
    (port,) = free_ports(1)
    with served(tmp_path, f'{DOMAIN}[credentials]\n', "--log-level", "debug") as live:
        registry = live.registry
        registry.stop()
        file = tmp_path / "carnet.toml"
        file.write_text(file.read_text("utf-8").replace("[registry]", f"[registry]\nmllp_port = {port}", 1), "utf-8")
        registry.start("--log-level", "debug").wait_ready()
        world = live.world
        world.settings = world.settings.model_copy(
            update={"registry": world.settings.registry.model_copy(update={"mllp_port": port})}
        )
        feed = Feed(world)
        patient = feed.new_id()

        async def talk(reader: Any, writer: Any) -> list[str]:
            return [(await exchange(reader, writer, adt(e, cx(patient)))).code for e in ("A01", "A08", "A02")]

        assert converse(world, tls_of(world), talk) == ["AA", "AA", "AR"]
        assert feed.status(patient) == "active"
        outcome = live.client().query("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", [
            ("$XDSDocumentEntryPatientId", [f"'{patient}'"]),
            ("$XDSDocumentEntryStatus", ["('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"]),
        ]).outcome
        assert outcome.is_success


def wait_for(condition: Callable[[], bool], patience: float = 5.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
