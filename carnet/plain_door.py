"""A door without TLS, for test tools that speak plain HTTP first.

It carries bytes between a loopback port and our own TLS listener, and shows no certificate there: who comes through
it is a peer without credentials, whatever the domain asks for. So it can open nothing that TLS keeps shut, and every
bound on sizes and times is that of the listener. A service offers it only where credentials are off.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xds.wire import tls

log = logging.getLogger("carnet.plain_door")

MOST = 64
"""Connections at once; a further one is closed."""
CHUNK = 1 << 16
LINGER = 10.0
"""Seconds the answer may still take when the sender has ended his side."""


def open_door(port: int, host: str, tls_port: int, anchors: Path) -> Callable[[], None]:
    """Listen on 127.0.0.1 in a thread of its own and carry to ``host:tls_port``. Returns how to stop it.

    ``anchors`` is the PEM file of the authorities the service's certificate must come from, read for each connection.
    Raises OSError for a port that is taken.
    """

    def context() -> ssl.SSLContext:
        made = tls.calling(anchors)
        made.check_hostname = False
        return made

    inner = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    loop = asyncio.new_event_loop()
    carried: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(carried) >= MOST:
            writer.close()
            return
        carried.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(inner, tls_port, ssl=context())
            there = asyncio.ensure_future(_pump(reader, far_writer))
            back = asyncio.ensure_future(_pump(far_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                if not there.done() or there.result():
                    await asyncio.wait({back}, timeout=LINGER)
            finally:
                there.cancel()
                back.cancel()
                await _close(far_writer)
        except OSError as error:
            log.warning("plain HTTP: our own listener cannot be reached: %s", type(error).__name__)
        finally:
            carried.discard(task)
            await _close(writer)

    server = loop.run_until_complete(asyncio.start_server(carry, "127.0.0.1", port))
    thread = threading.Thread(target=loop.run_forever, name="plain door", daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)

    return stop


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Until the sender ends, or either side is gone; the writer sets the pace. Returns the bytes carried."""
    carried = 0
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            carried += len(data)
    return carried


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
