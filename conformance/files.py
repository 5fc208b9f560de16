"""Received documents to files, hashed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Saved:
    """A received file under a temporary name. ``sha1`` is lower-case hex."""

    path: Path
    size: int
    sha1: str

    def rename(self, target: Path) -> Path:
        """Give it its name; replaces a file of that name."""
        self.path.replace(target)
        return target


class FileSink:
    """A ``PartSink`` that writes a file in ``folder``."""

    def __init__(self, folder: Path):
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".incoming-")
        self._file = os.fdopen(descriptor, "wb")
        self._path = Path(name)
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self._sha1.update(chunk)
        self._size += len(chunk)
        self._file.write(chunk)

    def finish(self) -> Saved:
        self._file.close()
        return Saved(self._path, self._size, self._sha1.hexdigest())

    def abort(self) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
