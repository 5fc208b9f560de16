"""A folder of data is served once: two services on one would write over each other's files and notes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

_held: list[TextIO] = []
"""Open as long as this process lives."""


class AlreadyServed(Exception):
    """Another process serves this folder. The text says which, and what to do."""


def hold(data: Path, names: Sequence[str]) -> None:
    """Keep these services of the folder to this process until it ends, however it ends.

    The lock is the kernel's (POSIX, on ``NAME.lock``): children do not inherit it, a killed process loses it at once.
    What stands in the file only tells others who holds it. A worker that still finishes requests after its service was
    killed is not covered. Raises AlreadyServed; OSError where the file system knows no locks.
    """
    for name in names:
        file = open(data / f"{name}.lock", "a+", encoding="ascii")  # noqa: SIM115 - closing it would end the lock
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            file.close()
            raise AlreadyServed(
                f"the {name} of {data} is served already, by process {holder}: stop that one first, or serve another "
                "folder with --data"
            ) from error
        _held.append(file)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
