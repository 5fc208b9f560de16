"""Documents as files."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repository.store import Staged
from storage import FileDocumentStore, open_documents, upload
from storage.files import HELD, MOST_HELD
from storage.upload import BLOCK, PIECE, SMALL, WAITING

SIZES = [0, 1, 20_000, HELD, HELD + 1, SMALL - 1, SMALL, SMALL + 1, SMALL + BLOCK, 3 * BLOCK * WAITING + 17]


@pytest.fixture
def store(tmp_path: Path) -> FileDocumentStore:
    return FileDocumentStore(tmp_path / "documents")


def put(store: FileDocumentStore, data: bytes, chunk: int = 65_536) -> Staged:
    incoming = store.begin()
    for start in range(0, len(data), chunk):
        incoming.write(memoryview(data)[start : start + chunk])
    return incoming.finish()


def kept(store: FileDocumentStore, data: bytes) -> Staged:
    staged = put(store, data)
    store.keep([staged])
    return staged


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_unchanged(store: FileDocumentStore, size: int) -> None:
    """Size and SHA-1 are of the exact bytes, whatever the way they took. Clause: ITI TF-3 4.2.3.2.10"""
    data = random.Random(size).randbytes(size)
    staged = kept(store, data)
    assert (staged.size, staged.sha1) == (size, hashlib.sha1(data).hexdigest())
    assert b"".join(store.open(staged.key)) == data


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.integers(0, 2 * BLOCK), max_size=8))
def test_chunks_of_any_size(store: FileDocumentStore, chunks: list[int]) -> None:
    """How the bytes are cut does not matter, and a buffer may be used again once write has returned."""
    source = random.Random(1)
    incoming, digest = store.begin(), hashlib.sha1()
    for size in chunks:
        buffer = bytearray(source.randbytes(size))
        digest.update(buffer)
        incoming.write(memoryview(buffer))
        buffer[:] = bytes(size)
    staged = incoming.finish()
    assert (staged.size, staged.sha1) == (sum(chunks), digest.hexdigest())
    store.keep([staged])
    assert hashlib.sha1(b"".join(store.open(staged.key))).hexdigest() == staged.sha1
    store.discard([staged.key])


@pytest.mark.parametrize("data", [b"abc", bytes(HELD + 1)])
def test_staged_bytes_are_not_readable(store: FileDocumentStore, data: bytes) -> None:
    """Until they are kept, and keeping may be repeated."""
    staged = put(store, data)
    with pytest.raises(FileNotFoundError):
        store.open(staged.key)
    store.keep([staged])
    store.keep([staged])
    assert b"".join(store.open(staged.key)) == data
    store.discard([staged.key])
    store.discard([staged.key])
    with pytest.raises(FileNotFoundError):
        store.open(staged.key)


def test_what_is_gone_cannot_be_kept(store: FileDocumentStore) -> None:
    """A file that is neither staged nor kept is an error."""
    staged = put(store, bytes(HELD + 1))
    store.discard([staged.key])
    with pytest.raises(FileNotFoundError):
        store.keep([staged])


def test_a_small_document_is_no_file_until_it_is_kept(store: FileDocumentStore, tmp_path: Path) -> None:
    """It can be read again all the same, and what is refused leaves no trace on the disk."""
    data = random.Random(3).randbytes(HELD)
    staged = put(store, data)
    assert files(tmp_path) == []
    chunks = list(store.reread(staged, chunk=1000))
    assert b"".join(chunks) == data and {len(chunk) for chunk in chunks[:-1]} == {1000}
    store.keep([staged])
    assert [path.name for path in files(tmp_path)] == [staged.key]


def test_many_documents_do_not_wait_in_memory(store: FileDocumentStore, tmp_path: Path) -> None:
    """A message of many parts, or many messages: beyond a number of them each goes to the disk at once.

    Attack: oversized-part
    """
    under_way = [store.begin() for _ in range(MOST_HELD + 10)]
    for one in under_way:
        one.write(bytes(HELD))
    staged = [one.finish() for one in under_way]
    assert len(files(tmp_path)) == 10
    assert [one.content is None for one in staged] == [False] * MOST_HELD + [True] * 10
    store.keep(staged)
    assert len(list(store.kept())) == len(staged)


@pytest.mark.parametrize("size", [10, HELD + 1, 3 * SMALL])
def test_an_aborted_upload_leaves_no_file(store: FileDocumentStore, tmp_path: Path, size: int) -> None:
    """Before the end, after it, twice, and without a first byte."""
    store.begin().abort()
    half = store.begin()
    half.write(bytes(size))
    half.abort()
    half.abort()
    whole = store.begin()
    whole.write(bytes(size))
    whole.finish()
    whole.abort()
    whole.abort()
    assert files(tmp_path) == []


def test_abort_after_keep_keeps(store: FileDocumentStore) -> None:
    """A late abort does not take back what was kept."""
    incoming = store.begin()
    incoming.write(b"abc")
    staged = incoming.finish()
    assert incoming.finish() == staged
    store.keep([staged])
    incoming.abort()
    assert b"".join(store.open(staged.key)) == b"abc"


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 31, "A" * 32, "a" * 32 + "\n", "/etc/passwd", "a/" * 16])
def test_a_key_that_is_not_ours_names_no_file(store: FileDocumentStore, tmp_path: Path, key: str) -> None:
    """Reading fails at the call and removing does nothing. Attack: path-traversal"""
    outside = tmp_path / "passwd"
    outside.write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        store.open(key)
    with pytest.raises(FileNotFoundError):
        store.keep([Staged(key, 1, "")])
    store.discard([key])
    assert outside.exists()


def test_reading_fails_at_the_call(store: FileDocumentStore) -> None:
    """A document that is not there is known before an answer is begun."""
    with pytest.raises(FileNotFoundError):
        store.open("0" * 32)


def test_what_is_open_stays_readable(store: FileDocumentStore, tmp_path: Path) -> None:
    """A document withdrawn or passed on once is read to its end; nothing stays on disk."""
    data = random.Random(2).randbytes(3 * BLOCK)
    staged = kept(store, data)
    reading = store.open(staged.key)
    store.discard([staged.key])
    assert not files(tmp_path) and b"".join(reading) == data


def test_a_reading_closes_its_file(store: FileDocumentStore) -> None:
    """At its end, and when it is given up half way or before the first chunk."""
    staged = kept(store, bytes(1000))
    before = len(os.listdir("/proc/self/fd"))
    chunks = list(store.open(staged.key, chunk=300))
    assert [len(chunk) for chunk in chunks] == [300, 300, 300, 100]
    for steps in (0, 1):
        reading = store.open(staged.key, chunk=300)
        for _ in range(steps):
            next(reading)
        reading.close()
        assert list(reading) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_kept_documents_are_listed(store: FileDocumentStore) -> None:
    """Key, size and age of everything permanent; staged bytes are not listed."""
    wanted = {kept(store, bytes(size)).key: size for size in (0, 5, 3 * SMALL)}
    put(store, b"staged")
    listed = list(store.kept())
    assert {key: size for key, size, _ in listed} == wanted
    assert all(-1 < age < 60 for _, _, age in listed)


def test_old_staging_is_cleared(store: FileDocumentStore, tmp_path: Path) -> None:
    """Only what is older than asked; what is kept stays."""
    old, new, permanent = put(store, bytes(HELD + 1)), put(store, bytes(HELD + 2)), kept(store, b"kept")
    past = time.time() - 100
    os.utime(tmp_path / "documents" / "staging" / old.key, (past, past))
    assert store.clear_staging(50) == 1
    assert store.clear_staging(50) == 0
    store.keep([new])
    assert {key for key, _, _ in store.kept()} == {new.key, permanent.key}


def test_what_a_worker_is_receiving_stays(store: FileDocumentStore, tmp_path: Path) -> None:
    """Another worker clears: bytes that wait for the rest of their message are as young as their worker says."""
    upload = store.begin()
    upload.write(bytes(HELD + 1))
    staged = upload.finish()
    past = time.time() - 100
    os.utime(tmp_path / "documents" / "staging" / staged.key, (past, past))
    store.refresh_staging()
    assert FileDocumentStore(tmp_path / "documents").clear_staging(50) == 0
    store.keep([staged])
    del upload
    store.refresh_staging()


def test_another_process_finds_the_documents(tmp_path: Path) -> None:
    """By path and by file URL."""
    staged = kept(FileDocumentStore(tmp_path / "d"), b"abc")
    assert b"".join(open_documents(str(tmp_path / "d")).open(staged.key)) == b"abc"
    assert b"".join(open_documents(f"file://{tmp_path}/d").open(staged.key)) == b"abc"


def test_documents_are_for_this_account_only(store: FileDocumentStore, tmp_path: Path) -> None:
    """Files and folders carry no rights for others."""
    kept(store, b"abc")
    for path in (tmp_path / "documents").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def full_disk(after: int) -> Callable[..., int]:
    """os.write on a disk with room for so many bytes; it then writes a part, and fails at the next call."""
    real, left = os.write, after

    def write(descriptor: int, data: Any) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(descriptor, data[:left])
        left -= count
        return count

    return write


@pytest.mark.parametrize(
    ("size", "room"), [(2 * HELD, 0), (2 * HELD, 10), (20 * SMALL, 0), (20 * SMALL, 10), (20 * SMALL, SMALL + 5)]
)
def test_a_full_disk_is_told_and_leaves_no_file(
    store: FileDocumentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, size: int
) -> None:
    """ENOSPC comes out of write or finish, the sender is never stuck, and the store works once there is room."""
    monkeypatch.setattr(upload.os, "write", full_disk(room))
    incoming = store.begin()
    with pytest.raises(OSError, match="No space") as caught:
        for _ in range(size // 100):
            incoming.write(bytes(100))
        incoming.finish()
    assert caught.value.errno == errno.ENOSPC
    incoming.abort()
    assert files(tmp_path) == []
    monkeypatch.undo()
    assert kept(store, b"abc").size == 3


@pytest.mark.parametrize("room", [0, HELD - 1, HELD + 5])
def test_a_disk_full_of_small_documents_is_told(
    store: FileDocumentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """They are written when they are kept: none stays in part, and the whole ones go as the caller asks."""
    staged = [put(store, bytes(HELD)) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(upload.os, "write", full_disk(room))
        with pytest.raises(OSError, match="No space"):
            store.keep(staged)
    assert [path.stat().st_size for path in files(tmp_path)] == [HELD] * (room // HELD)
    assert not any(one.key in _path_of(name) for one in staged for name in os.listdir("/proc/self/fd"))
    store.discard([one.key for one in staged])
    assert files(tmp_path) == []
    store.keep(staged)
    assert len(files(tmp_path)) == 2


def _path_of(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


def test_the_rest_of_a_file_is_not_taken_for_the_document(
    store: FileDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full and the rest cannot be removed: what is told is the first failure, and a repeat fails too."""
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    staged = put(store, bytes(1000))
    with monkeypatch.context() as patch:
        patch.setattr(upload.os, "write", full_disk(10))
        patch.setattr(upload.os, "unlink", broken)
        with pytest.raises(OSError, match="No space"):
            store.keep([staged])
    with pytest.raises(FileExistsError):
        store.keep([staged])


def test_a_failing_sync_is_told(store: FileDocumentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that could not be made durable are not staged, and not kept."""
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(upload.os, "fsync", fail)
    for size in (10, HELD + 1, 3 * SMALL):
        with pytest.raises(OSError, match="Input/output"):
            kept(store, bytes(size))
        assert files(tmp_path) == []


@pytest.mark.parametrize("sizes", [[BLOCK], [PIECE] * (BLOCK // PIECE), [PIECE], [PIECE - 1], [1000] * 50, [3 * BLOCK]])
def test_a_slow_disk_holds_no_more_than_its_places(
    store: FileDocumentStore, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    """A document many times the size of the blocks passes through them, each chunk a view that keeps its whole buffer.

    Attack: oversized-part
    """
    import tracemalloc

    given, written, behind, real = 0, 0, [0], upload.write_all

    def slowly(descriptor: int, data: memoryview) -> None:
        nonlocal written
        time.sleep(0.001)
        behind.append(given - written)
        written += len(data)
        real(descriptor, data)

    monkeypatch.setattr(upload, "write_all", slowly)
    largest = max(BLOCK, *sizes)
    tracemalloc.start()
    try:
        incoming = store.begin()
        for _ in range(100):
            view, start = memoryview(bytes(largest)), 0
            for size in sizes:
                incoming.write(view[start : start + size])
                given, start = given + size, start + size
        staged = incoming.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    store.discard([staged.key])
    assert staged.size == written == 100 * sum(sizes)
    assert peak < SMALL + (WAITING + 4) * BLOCK + 2 * largest
    assert max(behind) <= SMALL + (WAITING + 4) * BLOCK


def test_what_waits_for_the_disk_is_what_was_given(
    store: FileDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer that may be used again was copied, a read-only view was not."""
    may_write, seen, real = threading.Event(), [], upload.write_all

    def later(descriptor: int, data: memoryview) -> None:
        may_write.wait(30)
        seen.append(data.obj)
        real(descriptor, data)

    monkeypatch.setattr(upload, "write_all", later)
    incoming, buffer, lasting = store.begin(), bytearray(b"a" * BLOCK), bytes(BLOCK)
    expected = hashlib.sha1(bytes(SMALL + BLOCK) + buffer + buffer)
    incoming.write(bytes(SMALL))
    incoming.write(lasting)
    incoming.write(memoryview(buffer))
    incoming.write(bytes(buffer[:PIECE]))
    incoming.write(memoryview(buffer)[PIECE:])
    buffer[:] = bytes(BLOCK)
    may_write.set()
    staged = incoming.finish()
    store.discard([staged.key])
    assert staged.sha1 == expected.hexdigest()
    assert sum(obj is lasting for obj in seen) == 1 and not any(obj is buffer for obj in seen)


def test_a_failed_writer_never_holds_the_sender(store: FileDocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked: each time the failure, and no place is waited for."""
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(upload, "write_all", full)
    incoming, failures = store.begin(), 0
    for _ in range(20 * WAITING):
        try:
            incoming.write(bytes(BLOCK))
        except OSError:
            failures += 1
    with pytest.raises(OSError, match="No space"):
        incoming.finish()
    assert failures > WAITING


def test_a_half_made_store_is_completed(tmp_path: Path) -> None:
    """A first start that was interrupted while folders were made is repaired by the next."""
    store = FileDocumentStore(tmp_path / "d")
    for name in ("f/f", "f/e", "3/7"):
        (tmp_path / "d" / "kept" / name).rmdir()
    store = FileDocumentStore(tmp_path / "d")
    for _ in range(3):
        kept(store, b"abc")
    assert len(list((tmp_path / "d" / "kept").glob("*/*"))) >= 256
    assert len(list(store.kept())) == 3
