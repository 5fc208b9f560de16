"""What a sweep must leave alone, and what a deposit that fails half-way leaves."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from conformance import frames
from storage.files import HELD, FileDocumentStore
from storage.upload import write_file
from tests.attack.wire_kit import Wire, listen, post
from tests.live import Live, a_document
from tests.world import World, codes

HOUR = 3600.0


def test_a_document_that_waits_for_the_rest_of_its_message_is_not_swept(tmp_path: Path) -> None:
    """However long the other documents take, and also right after it was kept. Rule: A-4, A-5"""
    store = FileDocumentStore(tmp_path)
    upload = store.begin()
    upload.write(bytes(HELD + 1))
    staged = upload.finish()
    past = time.time() - HOUR
    os.utime(tmp_path / "staging" / staged.key, (past, past))
    assert store.clear_staging(60) == 0
    store.keep([staged])
    assert [(key, age < 60) for key, _, age in store.kept()] == [(staged.key, True)]


def test_what_another_process_left_is_swept(tmp_path: Path) -> None:
    """Nobody is receiving it any more. Rule: A-5"""
    upload = FileDocumentStore(tmp_path).begin()
    upload.write(bytes(HELD + 1))
    key = upload.finish().key
    past = time.time() - HOUR
    os.utime(tmp_path / "staging" / key, (past, past))
    assert FileDocumentStore(tmp_path).clear_staging(60) == 1


def test_bytes_that_cannot_be_kept_do_not_stay(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two documents fails: the first goes too. Rule: A-1, A-5"""
    documents = Path(here.settings.documents)
    before = sorted(p.name for p in documents.rglob("*") if p.is_file())
    written: list[Path] = []

    def write(path: Path, data: bytes) -> None:
        if written:
            raise OSError(28, "no space")
        written.append(path)
        write_file(path, data)

    submission = frames.valid_submission("dmp", documents=2, patient_id=here.patient())
    with monkeypatch.context() as patch:
        patch.setattr("storage.files.write_file", write)
        outcome = here.deposit(submission)
    assert codes(outcome) == {"XDSRepositoryOutOfResources"}
    assert sorted(p.name for p in documents.rglob("*") if p.is_file()) == before
    assert here.deposit(submission).is_success


def test_a_worker_that_lost_its_master_finishes_and_makes_room(apart: Live) -> None:
    """A deposit under way is answered by the old worker, while a new master serves others on the same address."""
    wire = Wire(apart)
    content_type, body = wire.deposit_message(a_document(100_000))
    with wire.connect() as connection:
        request = post(body, content_type)
        connection.sendall(request[:50_000])
        time.sleep(0.3)
        apart.repository.kill_master()
        apart.repository.wait_ready(20)
        _, outcome = apart.deposit(a_document(100))
        assert outcome.is_success
        connection.sendall(request[50_000:])
        said = listen(connection)
    assert said.status == 200 and b"ResponseStatusType:Success" in said.body
    apart.assert_agreement()
