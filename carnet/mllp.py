"""The listener of the identity feed: HL7 v2 messages in MLLP blocks, over mutual TLS or plain on the loopback address.

One thread runs all connections, so that slow and silent peers hold nothing but a socket; messages are worked on by a
few threads beside it, those of one connection one after the other. A connection that sends what is no MLLP block, or
too large a one, or sends it too slowly, is ended without an answer: where the next message would begin is not known.

Block: 0x0B, message, 0x1C 0x0D. Clause: HL7 MLLP Release 1; ITI TF-2 3.8.4, 3.19
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hl7.mllp.streams import HL7StreamProtocol, HL7StreamReader, HL7StreamWriter

from guard.credentials.caller import Caller
from xds.wire.exchange import Peer
from xds.wire.faults import SoapFault
from xds.wire.outcome import place_of
from xds.wire.tls import Tls, current

MAX_MESSAGE = 64 * 1024
"""Bytes; an ADT message has one or two thousand."""
MAX_CONNECTIONS = 200
HANDSHAKE = 10.0
"""Seconds for a TLS handshake."""
WORKERS = 4
START, END = b"\x0b", b"\x1c\r"
log = logging.getLogger("carnet.mllp")


class BrokenBlock(Exception):
    """What came is no MLLP block, or larger than we take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFeed:
    """What the listener asks of the registry. All three may block, and are called on threads of their own."""

    receive: Callable[[bytes, Caller, Peer], bytes]
    """One message to its acknowledgement."""
    admit: Callable[[Peer], Caller]
    """Who this peer is, asked again for every message; raises SoapFault."""
    refused: Callable[[str, str], None]
    """Told (address, reason) of a peer that is turned away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MllpListener:
    """``tls`` None listens on the loopback address only. ``block`` is the longest time for one message that has
    begun, ``idle`` the longest silence before one; both in seconds."""

    host: str
    port: int
    tls: Tls | None
    idle: float
    block: float


async def read_block(reader: asyncio.StreamReader, idle: float, block: float) -> bytes | None:
    """The message of the next block, None at the end of the connection.

    Tolerated: line ends between blocks, because some senders end a block with CR LF.
    Raises BrokenBlock, TimeoutError. Rule: F-22
    """
    try:
        first = b"\r"
        while first in (b"\r", b"\n"):
            first = await asyncio.wait_for(reader.readexactly(1), idle)
    except asyncio.IncompleteReadError:
        return None
    if first != START:
        raise BrokenBlock("a message must begin with the byte 0x0B")
    try:
        content = await asyncio.wait_for(reader.readuntil(END), block)
    except asyncio.LimitOverrunError:
        raise BrokenBlock(f"a message is larger than {MAX_MESSAGE} bytes") from None
    except asyncio.IncompleteReadError:
        raise BrokenBlock("the connection ended inside a message") from None
    return content[: -len(END)]


class MllpServer:
    """Serves one listener on a thread of its own until ``stop``."""

    def __init__(self, listener: MllpListener, feed: PatientFeed):
        self._listener = listener
        self._feed = feed
        self._loop = asyncio.new_event_loop()
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="mllp")
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mllp", daemon=True)
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(HANDSHAKE)
        except BaseException:
            self._end()
            raise

    async def _listen(self) -> None:
        one = self._listener
        host = one.host if one.tls is not None else "127.0.0.1"
        self._server = await self._loop.create_server(lambda: _Doorstep(self._arrived), host, one.port)

    def stop(self) -> None:
        """Close every connection; a message under way is still committed, and unacknowledged. May be repeated."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(HANDSHAKE)
            self._end()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _end(self) -> None:
        self._threads.shutdown(wait=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANDSHAKE)

    def _arrived(self, transport: Any) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            log.warning("too many connections; one is turned away")
            transport.abort()
            return
        task = self._loop.create_task(self._serve(transport))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, transport: Any) -> None:
        """One connection, from its first byte to its last."""
        address = (transport.get_extra_info("peername") or ("",))[0]
        try:
            reader, writer = await self._open(transport)
            await self._converse(reader, writer, _peer(writer, address))
        except SoapFault as fault:
            await self._turn_away(address, fault.detail)
        except ssl.SSLError as error:
            await self._turn_away(address, f"TLS: {error.reason or type(error).__name__}")
        except BrokenBlock as error:
            log.info("connection ended: %s", error)
        except (OSError, TimeoutError) as error:
            log.info("connection ended: %s", type(error).__name__)
        except Exception as error:
            log.error("%s at %s", type(error).__name__, place_of(error))
        finally:
            transport.abort()

    async def _open(self, transport: Any) -> tuple[HL7StreamReader, HL7StreamWriter]:
        """The streams of a connection, behind its handshake. Raises ssl.SSLError, OSError."""
        reader = HL7StreamReader(limit=MAX_MESSAGE, loop=self._loop)
        protocol = HL7StreamProtocol(reader, loop=self._loop)
        tls = self._listener.tls
        if tls is None:
            transport.set_protocol(protocol)
        else:
            transport = await self._loop.start_tls(
                transport, protocol, current(tls), server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        protocol.connection_made(transport)
        if tls is None:
            transport.resume_reading()
        return reader, HL7StreamWriter(transport, protocol, reader, self._loop)

    async def _converse(self, reader: HL7StreamReader, writer: HL7StreamWriter, peer: Peer) -> None:
        """Message by message: read, admit, commit, acknowledge. Rule: F-15, F-19"""
        one = self._listener
        await self._loop.run_in_executor(self._threads, self._feed.admit, peer)
        try:
            while (message := await read_block(reader, one.idle, one.block)) is not None:
                answer = await asyncio.shield(self._loop.run_in_executor(self._threads, self._taken, message, peer))
                writer.writeblock(answer)
                await asyncio.wait_for(writer.drain(), one.block)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError, ssl.SSLError):
                await asyncio.wait_for(writer.wait_closed(), 1.0)

    def _taken(self, message: bytes, peer: Peer) -> bytes:
        return self._feed.receive(message, self._feed.admit(peer), peer)

    async def _turn_away(self, address: str, reason: str) -> None:
        log.info("peer turned away: %s", reason)
        try:
            await self._loop.run_in_executor(self._threads, self._feed.refused, address, reason)
        except Exception as error:
            log.error("%s at %s", type(error).__name__, place_of(error))


class _Doorstep(asyncio.Protocol):
    """Holds a new connection back, unread, until somebody has decided how to read it."""

    def __init__(self, arrived: Callable[[Any], None]):
        self._arrived = arrived

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()
        self._arrived(transport)


def _peer(writer: HL7StreamWriter, address: str) -> Peer:
    connection = writer.get_extra_info("ssl_object")
    return Peer(address=address, certificate=connection.getpeercert(True) if connection is not None else None)
