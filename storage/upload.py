"""One document on its way into a folder: size and SHA-1 are taken as it passes, memory stays flat.

A document of up to 1 MiB waits in memory and becomes a file when it is complete, a small one not before it is kept. A
larger one is hashed and written by a thread of its own, so that the next bytes are read from the network meanwhile:
hashing and writing let other threads run.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread

from repository.store import Staged

SMALL = 1 << 20
"""Bytes up to which a document waits in memory."""
BLOCK = 1 << 18
"""Most bytes handed to the thread at a time."""
PIECE = 1 << 16
"""A chunk of fewer bytes is copied and gathered with others: what is handed over wakes the thread, and keeps the whole
buffer it lies in."""
WAITING = 8
"""Places for blocks handed over and not yet written."""
AHEAD = 1 << 24
"""Bytes after which the system is asked to write to disk what it holds in its cache."""


class FileUpload:
    """``repository.store.Upload`` into a staging file, or into memory: up to ``held`` bytes. Used by one thread."""

    def __init__(self, path: Path, key: str, held: int = 0) -> None:
        self._path = path
        self._key = key
        self._held = held
        self._size = 0
        self._small = bytearray()
        self._writing: _Writing | None = None
        self._staged: Staged | None = None

    def write(self, chunk: bytes | memoryview) -> None:
        self._size += len(chunk)
        if self._writing is not None:
            self._writing.put(chunk)
        elif self._size <= SMALL:
            self._small += chunk
        else:
            self._writing = _Writing(self._path)
            self._writing.put(memoryview(self._small).toreadonly())
            self._writing.put(chunk)
            self._small = bytearray()

    def finish(self) -> Staged:
        if self._staged is None:
            try:
                self._staged = self._complete()
            except BaseException:
                self.abort()
                raise
        return self._staged

    def abort(self) -> None:
        if self._writing is not None:
            self._writing.stop()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _complete(self) -> Staged:
        """Everything on disk, or few bytes in memory."""
        if self._writing is not None:
            return Staged(self._key, self._size, self._writing.finish())
        sha1 = hashlib.sha1(self._small, usedforsecurity=False).hexdigest()
        if self._size <= self._held:
            return Staged(self._key, self._size, sha1, content=self._small)
        write_file(self._path, self._small)
        return Staged(self._key, self._size, sha1)


class _Writing:
    """The thread that hashes and writes what it is given, in order."""

    def __init__(self, path: Path) -> None:
        self._descriptor = create(path)
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._blocks: Queue[memoryview | None] = Queue(WAITING - 1)  # one more is with the thread
        self._gathered = bytearray()
        self._written = self._started = 0
        self._error: Exception | None = None
        self._thread: Thread | None = Thread(target=self._run, name="document-writer", daemon=True)
        self._thread.start()

    def put(self, data: bytes | memoryview) -> None:
        """Copies what could be changed later; waits while no place is free. Raises the failure of an earlier block."""
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            block = view[start : start + BLOCK]
            if len(block) >= PIECE and block.readonly:
                self._hand_over_gathered()
                self._hand_over(block)
            else:
                self._gathered += block
                if len(self._gathered) >= BLOCK:
                    self._hand_over_gathered()

    def _hand_over_gathered(self) -> None:
        if self._gathered:
            self._hand_over(memoryview(self._gathered))
            self._gathered = bytearray()

    def _hand_over(self, block: memoryview) -> None:
        if self._error:
            raise self._error
        self._blocks.put(block)

    def finish(self) -> str:
        """Wait until every byte is durable; the SHA-1."""
        self._hand_over_gathered()
        self._join()
        if self._error:
            raise self._error
        os.fsync(self._descriptor)
        self.stop()
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End the thread and close the file. May be repeated."""
        self._join()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _join(self) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        """After a failure the remaining blocks are taken and dropped, so that the sender is never stuck."""
        while (block := self._blocks.get()) is not None:
            if self._error is None:
                try:
                    self._keep(block)
                except Exception as error:
                    self._error = error

    def _keep(self, block: memoryview) -> None:
        """Every few blocks the system is told to start on the disk, so that the sync at the end finds little to do."""
        self._hash.update(block)
        write_all(self._descriptor, block)
        self._written += len(block)
        if self._written - self._started >= AHEAD:
            _start_writing(self._descriptor, self._started, self._written - self._started)
            self._started = self._written


def _start_writing(descriptor: int, start: int, length: int) -> None:
    """Linux begins to write pages it is told are not needed any more; where the call is missing, the sync does it."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


def create(path: Path) -> int:
    """A new file, readable by this account only; its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write_file(path: Path, data: bytes | bytearray) -> None:
    """A new file with this content, synced. Raises FileExistsError; of one that could not be written nothing stays."""
    descriptor = create(path)
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest):]
    finally:
        rest.release()
