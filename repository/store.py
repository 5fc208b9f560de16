"""The two stores the repository needs: document bytes, and the index of what is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from guard.audit.store import AuditStore
from guard.credentials.past import SignerProof


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes under our own random key, not yet part of the store. ``sha1`` is lower-case hex.

    ``sha256`` likewise, "" where nobody asked for it on the way in. ``content`` are the bytes where they are few and
    wait in memory, None where they are on disk.
    """

    key: str
    size: int
    sha1: str
    sha256: str = ""
    content: bytes | bytearray | None = field(default=None, repr=False, compare=False)


class Upload(Protocol):
    """One document on its way in (a ``xds.wire.exchange.PartSink``)."""

    def write(self, chunk: bytes | memoryview) -> None:
        """May return before the bytes are on disk; an earlier failure is raised here or by ``finish``.

        A read-only chunk is not copied: what lies behind it must not change any more.
        """
        ...

    def finish(self) -> Staged:
        """Every byte durable, or with us in memory; raises OSError (ENOSPC when the disk is full)."""
        ...

    def abort(self) -> None:
        """Drop it; also after ``finish`` as long as the bytes were not kept. May be repeated, never raises."""
        ...


class Reading(Iterator[bytes], Protocol):
    """Chunks of one document; whoever does not read to the end closes it."""

    def close(self) -> None: ...


class DocumentStore(Protocol):
    """Bytes by key. Keys are ours; nothing received from outside ever names a file."""

    def begin(self) -> Upload: ...

    def keep(self, staged: Iterable[Staged]) -> None:
        """Make staged bytes permanent (file and directory synced). May be repeated."""
        ...

    def discard(self, keys: Iterable[str]) -> None:
        """Remove staged or kept bytes, durably where they were kept; absent keys are ignored."""
        ...

    def open(self, key: str, chunk: int = 1 << 18) -> Reading:
        """The bytes in chunks of at most ``chunk``; the file is closed when the iterator ends or is closed.
        What is open stays readable to its end although its key is discarded meanwhile.
        Raises FileNotFoundError at the call, not at the first chunk."""
        ...

    def reread(self, staged: Staged, chunk: int = 1 << 18) -> Reading:
        """The same of bytes that are not kept yet."""
        ...

    def size(self, key: str) -> int | None:
        """In bytes, of something permanent; None when there is no such thing."""
        ...

    def kept(self) -> Iterator[tuple[str, int, float]]:
        """(key, size in bytes, age in seconds) of everything permanent, in the order of the keys."""
        ...

    def refresh_staging(self) -> None:
        """What this process is receiving is young again. Raises OSError."""
        ...

    def clear_staging(self, older_than: float) -> int:
        """Remove staged bytes older than so many seconds; returns how many."""
        ...


def readings(documents: DocumentStore, key: str) -> Callable[[], Iterator[bytes]]:
    """Gives the bytes from the start at each call. The file is open now, so that the first reading cannot miss it.

    Raises FileNotFoundError.
    """
    opened = [documents.open(key)]
    return lambda: opened.pop() if opened else documents.open(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDocument:
    """One row of the index: a document of one submission. ``received_at`` is seconds since the epoch.

    ``settled`` is True once the registry has confirmed that it knows the document; until then it may be
    the leftover of a deposit that never ended. Only the registry makes a document visible: a row here
    is read when the registry's decision names its uniqueId and hash.
    """

    key: str
    unique_id: str
    sha1: str
    size: int
    mime_type: str
    submission_unique_id: str
    received_at: float
    settled: bool = False


@dataclass(frozen=True, slots=True)
class KeptProof:
    """``accepted_at``, seconds since the epoch, is when the signature was there at the latest."""

    signer: SignerProof
    accepted_at: float


class DocumentIndex(Protocol):
    def add(self, documents: Iterable[HeldDocument]) -> None: ...

    def find(self, unique_id: str) -> list[HeldDocument]: ...

    def remove(self, keys: Iterable[str]) -> None: ...

    def bury(self, documents: Iterable[HeldDocument], *, at: float, trace_id: str) -> None:
        """Remove the rows and remember their uniqueId and hash. ``at`` is seconds since the epoch."""
        ...

    def is_buried(self, unique_id: str, sha1: str) -> bool:
        """True when a document of this uniqueId and hash was removed on request and has not come back since."""
        ...

    def unsettled(self, older_than: float, limit: int = 1000) -> list[HeldDocument]:
        """Rows not settled and received before ``older_than`` (seconds since the epoch), oldest first."""
        ...

    def settle(self, keys: Iterable[str]) -> None: ...

    def add_proof(self, key: str, proof: SignerProof, *, at: float) -> None:
        """What was known of the signer when the signature document of that key was accepted (seconds since the
        epoch); it goes when the document goes."""
        ...

    def proof(self, key: str) -> KeptProof | None: ...

    def every(self) -> Iterator[HeldDocument]:
        """Streamed in the order of the uniqueIds."""
        ...

    def keys(self) -> Iterator[str]:
        """Of every row, streamed in their order."""
        ...


class RepositoryUnit(Protocol):
    @property
    def documents(self) -> DocumentIndex: ...

    @property
    def audit(self) -> AuditStore: ...


class RepositoryDatabase(Protocol):
    def read(self) -> AbstractContextManager[RepositoryUnit]: ...

    def write(self) -> AbstractContextManager[RepositoryUnit]:
        """Commits durably on normal exit, rolls back on any exception."""
        ...

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        ...
