"""Digests of signed documents: computed while they arrive when a signature goes with them, else read back.

A message whose metadata come first, as they should, tells before its documents whether one of its documents is a
signature. Only then a second thread hashes what passes; a deposit without signature pays one search in its envelope.

Clause: ITI TF-3 5.5.2
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Queue
from threading import Thread

from lxml import etree

from guard.credentials.xades_read import Reference
from repository.store import DocumentStore, Staged, Upload

MARK = b"19376.1.2.1.1.1"
"""End of the class of signature documents (ITI TF-3 5.5.3). One short search: a document it misses is read back."""
BLOCK = 1 << 19
"""Bytes handed to the thread at a time; a smaller document is hashed at its end."""
WAITING = 4
"""Blocks that wait for the thread."""
LARGEST_XML = 8 << 20
"""Bytes of a document whose canonical form is computed: it needs the whole tree in memory."""


def sinks(documents: DocumentStore) -> Callable[[bytes], Callable[[], Upload]]:
    """What the wire asks once it has the envelope: where its attachments go."""

    def foresee(envelope: bytes) -> Callable[[], Upload]:
        if MARK in envelope:
            return lambda: HashedUpload(documents.begin())
        return documents.begin

    return foresee


def sha256_of(documents: DocumentStore, staged: Staged) -> str:
    """Hexadecimal; read back in pieces where it was not computed on the way in."""
    if staged.sha256:
        return staged.sha256
    digest = hashlib.sha256()
    for chunk in documents.reread(staged):
        digest.update(chunk)
    return digest.hexdigest()


def mismatch(
    reference: Reference, size: int, chunks: Callable[[], Iterator[bytes]], sha256: Callable[[], str]
) -> str:
    """"" when a document is the one that was signed, else what it is. ``size`` in bytes.

    Clause: W3C XML Signature 1.1 3.2.1; DMP TD2.1 (canonical form of CDA documents)
    """
    if reference.canonicalized:
        if size > LARGEST_XML:
            return f"{size} bytes, too large for a digest of its canonical form: at most {LARGEST_XML}"
        try:
            digest = hashlib.new(reference.hash_name, _canonical(b"".join(chunks()), reference))
        except ValueError as error:
            return f"no XML document to canonicalize: {error}"
    elif reference.hash_name == "sha256":
        return "" if sha256() == reference.digest.hex() else f"sha256 {sha256()}"
    else:
        digest = hashlib.new(reference.hash_name)
        for chunk in chunks():
            digest.update(chunk)
    return "" if digest.digest() == reference.digest else f"{reference.hash_name} {digest.hexdigest()}"


def _canonical(data: bytes, reference: Reference) -> bytes:
    """Comments and instructions belong to a canonical form, so they are kept here. Raises ValueError."""
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    try:
        tree = etree.fromstring(data, parser).getroottree()
        if tree.docinfo.internalDTD is not None:
            raise ValueError("a document type declaration")
        made: bytes = etree.tostring(
            tree, method="c14n", exclusive=reference.is_exclusive,
            with_comments=reference.canonicalized.endswith("WithComments"),
        )
        return made
    except etree.LxmlError as error:
        raise ValueError(f"{type(error).__name__}") from None


class HashedUpload:
    """An upload whose ``Staged`` has its SHA-256. Used by one thread."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self._blocks: Queue[bytearray | None] = Queue(WAITING)
        self._thread: Thread | None = None
        self._staged: Staged | None = None

    def write(self, chunk: bytes | memoryview) -> None:
        self._upload.write(chunk)
        self._block += chunk
        if len(self._block) >= BLOCK:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="document-sha256", daemon=True)
                self._thread.start()
            self._blocks.put(self._block)
            self._block = bytearray()

    def finish(self) -> Staged:
        if self._staged is None:
            try:
                staged = self._upload.finish()
            finally:
                self._join()
            self._digest.update(self._block)
            self._block = bytearray()
            self._staged = replace(staged, sha256=self._digest.hexdigest())
        return self._staged

    def abort(self) -> None:
        self._join()
        self._upload.abort()

    def _join(self) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._digest.update(block)
