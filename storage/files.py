"""Documents as files, named by random keys of ours.

``folder/staging/<key>`` while a document is on its way, ``folder/kept/<2 digits>/<1 digit>/<key>`` for good: 4,096
folders, made when first needed. Both are on one file system, so that keeping is one rename.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from repository.store import Staged
from storage.upload import FileUpload

_KEY = re.compile(r"[0-9a-f]{32}")


class FileDocumentStore:
    """``repository.store.DocumentStore`` in a folder; used by any number of threads and processes."""

    def __init__(self, folder: str | Path) -> None:
        self._staging = Path(folder) / "staging"
        self._kept = Path(folder) / "kept"
        for path in (self._staging, self._kept):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def begin(self) -> FileUpload:
        key = os.urandom(16).hex()
        return FileUpload(self._staging / key, key)

    def keep(self, staged: Iterable[Staged]) -> None:
        """Raises FileNotFoundError when the bytes are neither staged nor kept."""
        folders = set()
        for one in staged:
            target = self._path(one.key)
            folders.add(target.parent)
            try:
                self._move(self._staging / one.key, target)
            except FileNotFoundError:
                if not target.exists():
                    raise
        for folder in folders:
            sync_folder(folder)

    def discard(self, keys: Iterable[str]) -> None:
        for key in keys:
            if _KEY.fullmatch(key):
                (self._staging / key).unlink(missing_ok=True)
                self._path(key).unlink(missing_ok=True)

    def open(self, key: str, chunk: int = 1 << 18) -> Iterator[bytes]:
        return FileReading(self._path(key), chunk)

    def kept(self) -> Iterator[tuple[str, int, float]]:
        now = time.time()
        for first in sorted(os.listdir(self._kept)):
            for second in sorted(os.listdir(self._kept / first)):
                with os.scandir(self._kept / first / second) as files:
                    for file in files:
                        with suppress(FileNotFoundError):
                            state = file.stat()
                            yield file.name, state.st_size, now - state.st_mtime

    def clear_staging(self, older_than: float) -> int:
        limit = time.time() - older_than
        count = 0
        with os.scandir(self._staging) as files:
            for file in files:
                with suppress(FileNotFoundError):
                    if file.stat().st_mtime < limit:
                        os.unlink(file.path)
                        count += 1
        return count

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise FileNotFoundError("not a key of this store")
        return self._kept / key[:2] / key[2] / key

    def _move(self, source: Path, target: Path) -> None:
        try:
            os.rename(source, target)
        except FileNotFoundError:
            if target.parent.is_dir():
                raise
            for folder in (target.parent.parent, target.parent):
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                sync_folder(folder.parent)
            os.rename(source, target)


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


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
