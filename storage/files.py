"""Documents as files, named by random keys of ours.

``folder/staging/<key>`` while a document is on its way, ``folder/kept/<digit>/<digit>/<key>`` for good, in 256
folders by the first two digits of the key. Both are on one file system, so that keeping is one rename. A small document
waits in memory instead and is written where it stays: one file made in place of one made and moved, and nothing at all
for what is refused. The folders are all made at once: a new folder must itself be synced, which costs more than the
document.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from weakref import WeakValueDictionary

from repository.store import Reading, Staged
from storage.upload import FileUpload, write_file
from xds.wire.turns import give_way

HELD = 1 << 16
"""Bytes up to which a document waits in memory until it is kept."""
MOST_HELD = 64
"""Uploads of one process that are in use; while there are more the next one waits on disk. A message holds its uploads
to its end, so the bytes that wait in memory are bounded.
"""
_DIGITS = "0123456789abcdef"
_KEY = re.compile(r"[0-9a-f]{32}")


class FileDocumentStore:
    """``repository.store.DocumentStore`` in a folder; used by any number of threads and processes."""

    def __init__(self, folder: str | Path) -> None:
        self._staging = Path(folder) / "staging"
        self._kept = Path(folder) / "kept"
        self._under_way: WeakValueDictionary[str, FileUpload] = WeakValueDictionary()
        make_folder(Path(folder))
        make_folder(self._staging)
        if not (self._kept / "f" / "f").is_dir():
            self._make_folders()

    def begin(self) -> FileUpload:
        key = os.urandom(16).hex()
        held = HELD if len(self._under_way) < MOST_HELD else 0
        upload = self._under_way[key] = FileUpload(self._staging / key, key, held)
        return upload

    def keep(self, staged: Iterable[Staged]) -> None:
        """Raises FileNotFoundError when the bytes are neither staged nor kept; OSError, and a part may be kept.

        Their age counts from here: a document that waited long for the rest of its message is no orphan yet.
        """
        give_way()
        folders = set()
        for one in staged:
            target = self._path(one.key)
            folders.add(target.parent)
            if one.content is None:
                self._move(self._staging / one.key, target)
            else:
                self._write(target, one.content)
        for folder in folders:
            sync_folder(folder)

    def _write(self, target: Path, content: bytes | bytearray) -> None:
        try:
            write_file(target, content)
        except FileExistsError:
            if target.stat().st_size != len(content):
                raise

    def _move(self, source: Path, target: Path) -> None:
        try:
            os.utime(source)
            os.rename(source, target)
        except FileNotFoundError:
            if not target.exists():
                raise

    def discard(self, keys: Iterable[str]) -> None:
        """What was kept is gone for good when this returns: its folder is synced, also after a power cut."""
        give_way()
        folders = set()
        for key in keys:
            if _KEY.fullmatch(key):
                (self._staging / key).unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    path = self._path(key)
                    path.unlink()
                    folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def open(self, key: str, chunk: int = 1 << 18) -> FileReading:
        return FileReading(self._path(key), chunk)

    def reread(self, staged: Staged, chunk: int = 1 << 18) -> Reading:
        if staged.content is not None:
            return pieces(staged.content, chunk)
        if not _KEY.fullmatch(staged.key):
            raise FileNotFoundError("not a key of this store")
        give_way()
        return FileReading(self._staging / staged.key, chunk)

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def kept(self) -> Iterator[tuple[str, int, float]]:
        now = time.time()
        for first, second in product(_DIGITS, _DIGITS):
            with os.scandir(self._kept / first / second) as files:
                for file in sorted(files, key=lambda one: one.name):
                    with suppress(FileNotFoundError):
                        state = file.stat()
                        yield file.name, state.st_size, now - state.st_mtime

    def refresh_staging(self) -> None:
        for one in self._under_way.valuerefs():
            with suppress(FileNotFoundError):
                os.utime(self._staging / one.key)

    def clear_staging(self, older_than: float) -> int:
        """Leaves what this process is still receiving: the rest of a large message may take longer than any limit."""
        limit = time.time() - older_than
        count = 0
        with os.scandir(self._staging) as files:
            for file in files:
                with suppress(FileNotFoundError):
                    if file.name not in self._under_way and file.stat().st_mtime < limit:
                        os.unlink(file.path)
                        count += 1
        return count

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise FileNotFoundError("not a key of this store")
        return self._kept.joinpath(key[0], key[1], key)

    def _make_folders(self) -> None:
        """May be repeated after an interruption: the folder that is looked for is made last."""
        make_folder(self._kept)
        for first in _DIGITS:
            make_folder(self._kept / first)
            for second in _DIGITS:
                make_folder(self._kept / first / second)
            sync_folder(self._kept / first)
        sync_folder(self._kept)
        sync_folder(self._kept.parent)


class FileReading:
    """Chunks of one file. The file is open from the start and closed at its end or by ``close``."""

    def __init__(self, path: Path, chunk: int) -> None:
        self._chunk = chunk
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115

    def __iter__(self) -> FileReading:
        return self

    def __next__(self) -> bytes:
        data = b"" if self._file.closed else self._file.read(self._chunk)
        if not data:
            self._file.close()
            raise StopIteration
        return data

    def close(self) -> None:
        self._file.close()


def pieces(content: bytes | bytearray, chunk: int) -> Generator[bytes, None, None]:
    """The same of what is in memory."""
    for start in range(0, len(content), chunk):
        yield bytes(memoryview(content)[start : start + chunk])


def make_folder(path: Path) -> None:
    """For this account only; missing folders above it are made with the usual rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True, mode=0o700)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
