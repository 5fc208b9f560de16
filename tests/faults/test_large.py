"""Large documents: through both services and back unchanged, in memory that does not follow their size."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from conformance import frames
from tests.attack.wire_kit import Wire, listen, post
from tests.live import Live, Memory, provide
from tests.world import unique_ids
from xds.wire.exchange import OutgoingPart

GROWTH = 64 << 20
EDGE = b"\xef\xbb\xbf\r\n--carnet\r\n\r\n--carnet--\r\n\n--b\r\n\r--b--\r\n"
"""A byte-order mark, line ends of every kind, and lines that begin like delimiters."""


class Pattern:
    """A document of any size that is never held: edges at both ends, numbered blocks between."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._block = hashlib.sha512(str(size).encode()).digest() * 4095 + EDGE

    def chunks(self) -> Iterator[bytes]:
        left = self.size - 2 * len(EDGE)
        yield EDGE
        number = 0
        while left > 0:
            block = (number.to_bytes(8, "big") + self._block)[:left]
            number += 1
            left -= len(block)
            yield block
        yield EDGE

    def sha1(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


class Compare:
    """A sink that holds nothing: size and hash of what comes, and whether both ends are ours."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha1(usedforsecurity=False)

    def write(self, chunk: bytes | memoryview) -> None:
        self.size += len(chunk)
        self._hash.update(chunk)

    def finish(self) -> tuple[int, str]:
        return self.size, self._hash.hexdigest()

    def abort(self) -> None:
        return


def there_and_back(live: Live, size: int) -> None:
    """Deposit, find and retrieve one document, with the growth of every process at its peak."""
    pattern = Pattern(size)
    sha1 = pattern.sha1()
    live.deposit(b"to warm up")
    memory = Memory([pid for service in live.services.values() for pid in service.pids()])
    patient_id = live.world.patient()
    submission = frames.valid_submission("dmp", patient_id=patient_id, hash=sha1, size=size)
    began = time.perf_counter()
    outcome = provide(live.client(), submission, OutgoingPart("d@test", "text/xml", size, pattern.chunks))
    deposited = time.perf_counter()
    assert outcome.is_success, outcome
    unique_id = submission.entries[0].unique_id
    assert unique_ids(live.world.find(patient_id)) == [unique_id]
    wanted = [(live.world.settings.repository.unique_id, unique_id)]
    asked = time.perf_counter()
    outcome, items = live.client().retrieve(wanted, Compare, patient_id=patient_id)
    retrieved = time.perf_counter()
    assert outcome.is_success, outcome
    assert items[0].received == (size, sha1)
    growth = memory.growth()
    megabytes = size / 1e6
    print(
        f"{megabytes:.0f} MB: deposit {megabytes / (deposited - began):.0f} MB/s, retrieve "
        f"{megabytes / (retrieved - asked):.0f} MB/s, growth {sorted(g >> 10 for g in growth.values())} KiB"
    )
    assert max(growth.values()) < GROWTH, growth


def test_64_megabytes(apart: Live) -> None:
    """Rule: M-05, C-23"""
    there_and_back(apart, 64 << 20)


@pytest.mark.slow
def test_one_gigabyte(apart: Live) -> None:
    """Rule: M-05, C-23"""
    there_and_back(apart, 1 << 30)


def test_16_megabytes_in_chunks(apart: Live) -> None:
    """Chunked transfer encoding, pieces that cut the delimiters. Rule: M-05"""
    pattern = Pattern(16 << 20)
    data = b"".join(pattern.chunks())
    wire = Wire(apart)
    content_type, body = wire.deposit_message(data)
    memory = Memory(wire.pids())
    with wire.connect() as connection:
        connection.sendall(post(b"", content_type, length=None, extra="Transfer-Encoding: chunked\r\n"))
        step = 70_001
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        said = listen(connection)
    assert said.status == 200 and b"ResponseStatusType:Success" in said.body
    assert max(memory.growth().values()) < GROWTH


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf<a/>", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"a\r", b"\r\na", b"<a>\r\n</a>\r\n", EDGE, b"--",
        b"\0" * 100, b"\r\n--", "é\u2028\ufeff".encode(), b"a\n" * 5000, b"\r\n--carnet-" + b"0" * 32 + b"--\r\n",
    ],
)
def test_every_byte_comes_back(apart: Live, data: bytes) -> None:
    """Line ends, byte-order mark, look-alikes of a boundary. Rule: M-05"""
    submission, outcome = apart.deposit(data)
    assert outcome.is_success, outcome
    assert apart.retrieve(submission) == data
