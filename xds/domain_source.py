"""The affinity domain a service works with, its code sets read again when their file changes.

An operator replaces the code-set file while the services run. A file that cannot be used is reported and changes
nothing: the last good code sets stay in force.

Clause: ITI TF-3 4.2.3.1.2
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

from xds.domain import AffinityDomain, DomainError, load

log = logging.getLogger("xds.domain")

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""
Stamp = tuple[int, int, int]


class DomainSource:
    """One domain, by shipped name or folder, with ``codes_file`` in place of its ``codes.xml``.

    ``signatures`` takes the place of the domain's word on signed submission sets, "" leaves it.

    Thread-safe. Who serves a request asks once for ``current`` and keeps that, so that a request sees one domain.
    """

    def __init__(
        self, name_or_folder: str | Path, codes_file: Path | None = None, *, look_every: float = LOOK_EVERY,
        signatures: str = "",
    ) -> None:
        """Raises DomainError: a service does not start with a domain it cannot read."""
        self._name, self._codes = name_or_folder, codes_file
        self._watched = codes_file if codes_file is not None else Path(name_or_folder) / "codes.xml"
        self._look_every = look_every
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._signatures = signatures
        self._domain = self._load()
        self._next_look = time.monotonic() + look_every
        self.problem = ""
        """Why the file as it is now is not in force; "" when it is."""

    @property
    def current(self) -> AffinityDomain:
        """The domain in force: one look at a clock, and now and then at the file."""
        if time.monotonic() >= self._next_look:
            with self._lock:
                if time.monotonic() >= self._next_look:
                    self._refresh()
                    self._next_look = time.monotonic() + self._look_every
        return self._domain

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._domain = self._load()
        except DomainError as error:
            self.problem = str(error)
            log.error("code sets not read again, the last good ones stay in force: %s", error)
        else:
            self.problem = ""
            log.warning("code sets read again from %s", self._watched)

    def _load(self) -> AffinityDomain:
        domain = load(self._name, self._codes)
        if not self._signatures:
            return domain
        return replace(domain, signatures=replace(domain.signatures, deposit=self._signatures))

    def _look(self) -> Stamp | None:
        """Time, size and identity of the file; None when there is none, as for a shipped domain."""
        try:
            status = self._watched.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
