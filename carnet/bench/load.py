"""The load generator: eight threads with a connection each, in a process of its own.

Reads one JSON object a line, answers one a line. First ``{"prepare": …}``: every request is built and signed.
Then ``{"run": …}`` any number of times: requests ``start`` to ``stop`` are sent to ``port`` as fast as they are
answered. An answer that is not a success ends the run with ``{"error": …}``.
"""

from __future__ import annotations

import itertools
import json
import ssl
import sys
import threading
import time
from typing import Any

from carnet.bench import messages
from carnet.bench.connection import Connection, connect
from carnet.bench.messages import Sender
from guard.credentials.cards import Card
from xds.namespaces import RESPONSE_SUCCESS

_SUCCESS = f'status="{RESPONSE_SUCCESS}"'.encode()
_ENTRY = b"<rim:ExtrinsicObject "


class Refusal(Exception):
    """An answer that is not the success expected."""


class Generator:
    """Prepared requests and what their answers must hold."""

    def __init__(self, order: dict[str, Any]):
        """``verb`` deposit, query or retrieve; ``count`` requests; card, structure, patient and authorities."""
        card = Card.open(order["card"], order["pin"])
        sender = Sender(card, order["structure"], order["patient"])
        self._context = card.tls_context(order["ca"])
        self._kept: dict[int, list[Connection]] = {}
        self._expected = int(order.get("documents", 0))
        self._verb = str(order["verb"])
        self.requests = [self._build(sender, order, number) for number in range(order["count"])]

    @staticmethod
    def _build(sender: Sender, order: dict[str, Any], number: int) -> bytes:
        match order["verb"]:
            case "deposit":
                return messages.deposit(sender, messages.unique_id(order["first"], number))
            case "query":
                return messages.query(sender)
            case "retrieve":
                wanted = messages.unique_id(order["first"], number % order["stored"])
                return messages.retrieve(sender, order["repository"], wanted)
            case other:
                raise ValueError(f"no verb {other}")

    def check(self, head: bytes, body: bytes | bytearray) -> None:
        """Raises Refusal unless the answer is a whole success."""
        if not head.startswith(b"HTTP/1.1 200") or _SUCCESS not in body:
            raise Refusal(f"{self._verb}: {bytes(head[:40])!r} {bytes(body[-600:])!r}")
        if self._verb == "query" and body.count(_ENTRY) != self._expected:
            raise Refusal(f"query: {body.count(_ENTRY)} documents in place of {self._expected}")
        if self._verb == "retrieve" and messages.document() not in body:
            raise Refusal("retrieve: the answer does not hold the document")

    def run(self, port: int, start: int, stop: int, threads: int, seconds: float) -> dict[str, Any]:
        """Send, over the connections of the last run: a handshake is no part of what is measured."""
        kept = self._kept.setdefault(port, [])
        kept += [connect(port, self._context) for _ in range(threads - len(kept))]
        return _Run(self, kept[:threads], start, stop, seconds).result()


class _Run:
    """One timed run."""

    def __init__(self, generator: Generator, connections: list[Connection], start: int, stop: int, seconds: float):
        self._generator = generator
        self._connections = connections
        self._numbers = itertools.count(start)
        self._stop = stop
        self._seconds = seconds
        self._deadline = float("inf")
        self._latencies: list[float] = []
        self._failure = ""
        self._ready = threading.Barrier(len(connections) + 1)

    def result(self) -> dict[str, Any]:
        threads = [threading.Thread(target=self._work, args=(c,)) for c in self._connections]
        for thread in threads:
            thread.start()
        self._ready.wait()
        began, used = time.perf_counter(), time.process_time()
        self._deadline = began + self._seconds
        for thread in threads:
            thread.join()
        spent, used = time.perf_counter() - began, time.process_time() - used
        if self._failure:
            return {"error": self._failure}
        return {"seconds": spent, "cpu": used, "latencies": self._latencies}

    def _work(self, connection: Connection) -> None:
        requests, generator = self._generator.requests, self._generator
        self._ready.wait()
        try:
            while (number := next(self._numbers)) < self._stop and not self._failure:
                began = time.perf_counter()
                connection.sock.sendall(requests[number])
                answer = connection.receive()
                ended = time.perf_counter()
                if answer is None:
                    raise Refusal("the connection was closed")
                generator.check(*answer)
                self._latencies.append(ended - began)
                if ended > self._deadline:
                    return
        except (Refusal, OSError, ssl.SSLError) as error:
            self._failure = self._failure or f"{type(error).__name__}: {error}"


def main() -> None:
    """Serve orders from standard input until it ends."""
    generator: Generator | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if "prepare" in order:
            generator = Generator(order["prepare"])
            answer: dict[str, Any] = {"prepared": len(generator.requests)}
        else:
            assert generator is not None
            answer = generator.run(**order["run"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
