"""One document of any size deposited and retrieved, by a client that does as little as can be done.

A process of its own, like the load generator: reads ``{"prepare": …}``, then ``{"deposit": …}`` and
``{"retrieve": …}`` lines. The bytes are made on the fly from one block and never held; those that come back are
compared with it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from carnet.bench import messages
from carnet.bench.connection import connect
from carnet.bench.floors import pattern
from carnet.bench.load import Refusal
from carnet.bench.messages import Sender
from guard.credentials.cards import Card
from xds.namespaces import RESPONSE_SUCCESS
from xds.wire.exchange import OutgoingPart

_SUCCESS = f'status="{RESPONSE_SUCCESS}"'.encode()
_CONTENT = re.compile(rb"\r\n\r\n.*?\r\n\r\n", re.S)
"""From the head of the root part to the end of the head of the document."""
_BLOCK = 1 << 18


class Bulky:
    """Sends and fetches documents of ``size`` bytes."""

    def __init__(self, order: dict[str, Any]):
        card = Card.open(order["card"], order["pin"])
        self._sender = Sender(card, order["structure"], order["patient"])
        self._context = card.tls_context(order["ca"])
        self._size = int(order["size"])
        self._repository = order["repository"]
        self._pattern = pattern()

    def deposit(self, port: int, document_id: str, sha1: str) -> dict[str, Any]:
        """Seconds and processor time from the first byte sent to the answer. Raises Refusal."""
        part = OutgoingPart(messages.CONTENT_ID, "text/xml", self._size, self._blocks)
        head, blocks = messages.streamed_deposit(self._sender, document_id, part, sha1)
        connection = connect(port, self._context, 300)
        began, used = time.perf_counter(), time.process_time()
        connection.sock.sendall(head)
        for block in blocks:
            connection.sock.sendall(block)
        answer = connection.receive()
        seconds, used = time.perf_counter() - began, time.process_time() - used
        connection.close()
        if answer is None or _SUCCESS not in answer[1]:
            raise Refusal(f"deposit: {answer and bytes(answer[1][-600:])!r}")
        return {"seconds": seconds, "cpu": used}

    def _blocks(self) -> Iterator[bytes]:
        left = self._size
        while left:
            piece = self._pattern if left >= len(self._pattern) else self._pattern[:left]
            left -= len(piece)
            yield piece

    def retrieve(self, port: int, document_id: str) -> dict[str, Any]:
        """Seconds and processor time from the request to the last byte; the bytes are compared after each block."""
        request = messages.retrieve(self._sender, self._repository, document_id)
        connection = connect(port, self._context, 300)
        began, used = time.perf_counter(), time.process_time()
        connection.sock.sendall(request)
        head, body, length = connection.receive_head()
        if not head.startswith(b"HTTP/1.1 200") or length < self._size:
            raise Refusal(f"retrieve: {head[:40]!r} {body[:2000]!r}")
        while (found := _CONTENT.search(body)) is None:
            body += connection.sock.recv(_BLOCK)
        self._compare(connection.sock, body[found.end() :])
        rest = length - found.end() - self._size
        while rest > 0 and (more := connection.sock.recv(rest)):
            rest -= len(more)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        connection.close()
        return {"seconds": seconds, "cpu": used}

    def _compare(self, sock: Any, begun: bytes) -> None:
        """Read the rest of the document into one buffer, over and over. Raises Refusal at a block that differs."""
        period = len(self._pattern)
        buffer = bytearray(period)
        view = memoryview(buffer)
        have = len(begun)
        buffer[:have] = begun
        left = self._size
        while left:
            want = min(period, left)
            while have < want:
                got = sock.recv_into(view[have:want])
                if not got:
                    raise Refusal("retrieve: closed inside the document")
                have += got
            if buffer != self._pattern and buffer[:want] != self._pattern[:want]:
                raise Refusal(f"retrieve: bytes differ in the last {left}")
            left -= want
            have = 0


def main() -> None:
    """Serve orders from standard input until it ends."""
    client: Bulky | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "prepare" in order:
                client = Bulky(order["prepare"])
                answer: dict[str, Any] = {}
            else:
                assert client is not None
                ((verb, wanted),) = order.items()
                answer = client.deposit(**wanted) if verb == "deposit" else client.retrieve(**wanted)
        except (Refusal, OSError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
