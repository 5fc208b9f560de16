"""SHA-256 of documents on their way in, and read back where nobody had asked for it.

Rule: R-179
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from repository.digests import BLOCK, MARK, HashedUpload, sha256_of, sinks
from repository.store import Staged
from storage.files import FileDocumentStore


@pytest.fixture
def store(tmp_path: Path) -> FileDocumentStore:
    return FileDocumentStore(tmp_path)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
@pytest.mark.parametrize("piece", [1 << 12, 1 << 20])
def test_the_digest_is_that_of_the_bytes(store: FileDocumentStore, size: int, piece: int) -> None:
    """Whatever the pieces they come in; the bytes are stored as without it."""
    data = os.urandom(size)
    upload = HashedUpload(store.begin())
    for start in range(0, size, piece):
        upload.write(memoryview(data)[start : start + piece])
    staged = upload.finish()
    assert staged.sha256 == hashlib.sha256(data).hexdigest() and upload.finish() is staged
    assert staged.sha1 == hashlib.sha1(data).hexdigest() and staged.size == size
    assert b"".join(store.reread(staged)) == data
    assert not [t for t in threading.enumerate() if t.name == "document-sha256"]


def test_an_upload_that_ends_early_leaves_no_thread(store: FileDocumentStore, tmp_path: Path) -> None:
    """Aborted in the middle, twice."""
    upload = HashedUpload(store.begin())
    upload.write(bytes(3 * BLOCK))
    upload.abort()
    upload.abort()
    assert not [t for t in threading.enumerate() if t.name == "document-sha256"]
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_disk_that_is_full_ends_the_thread_too(store: FileDocumentStore) -> None:
    """The failure of the upload is the failure of the whole."""

    class Full:
        def write(self, chunk: bytes | memoryview) -> None: ...

        def finish(self) -> None:
            raise OSError(28, "full")

        def abort(self) -> None: ...

    upload = HashedUpload(Full())  # type: ignore[arg-type]
    upload.write(bytes(2 * BLOCK))
    with pytest.raises(OSError, match="full"):
        upload.finish()
    assert not [t for t in threading.enumerate() if t.name == "document-sha256"]


def test_only_a_signature_document_in_the_metadata_has_documents_hashed(
    store: FileDocumentStore, tmp_path: Path
) -> None:
    """Else they go where they always went, and are read back when one turns up after all."""
    foresee = sinks(store)
    plain, signed = foresee(b"<no signature/>")(), foresee(b"<" + MARK + b"/>")()
    assert isinstance(signed, HashedUpload) and not isinstance(plain, HashedUpload)
    plain.write(b"late")
    staged = plain.finish()
    assert staged.sha256 == "" and sha256_of(store, staged) == hashlib.sha256(b"late").hexdigest()
    (tmp_path / staged.key).write_bytes(b"outside")
    with pytest.raises(FileNotFoundError):
        store.reread(Staged("../" + staged.key, staged.size, staged.sha1))
    signed.abort()
