"""No room: for documents, for either database. A clear error, the service lives, and works again when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import Live, a_document, provide, submission_of
from tests.world import codes, unique_ids

ROOM = 24 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of ``ROOM`` bytes at this folder, which must be empty."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "carnet-test", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def full(folder: Path, left: int = 0) -> Iterator[None]:
    """Take all the room in that file system but ``left`` bytes."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            size = 1 << 16
            while size:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size //= 2
            file.truncate(max(0, file.tell() - left))
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def running(folder: Path, small: str) -> Iterator[tuple[Live, Path]]:
    """Services whose folder ``small`` (below the data folder) is a small disk."""
    live = Live.prepare(folder)
    on_disk = live.world.folder / small
    kept = folder.parent / "copy"
    shutil.copytree(on_disk, kept) if on_disk.exists() else kept.mkdir()
    shutil.rmtree(on_disk, ignore_errors=True)
    try:
        with small_disk(on_disk):
            shutil.copytree(kept, on_disk, dirs_exist_ok=True)
            try:
                yield live.start(), on_disk
            finally:
                live.stop()
    finally:
        live.stop()
    live.assert_discreet_logs()


def refused_for_room(live: Live, code: str, size: int = 200_000) -> None:
    """A deposit is refused with this code and nothing of it stays; the workers are those that were there."""
    patient_id = live.world.patient() if code.startswith("XDSRepository") else PATIENTS.pop()
    workers = [service.pids() for service in live.services.values()]
    data = a_document(size)
    submission = submission_of(data, patient_id)
    outcome = provide(live.client(), submission, data)
    assert codes(outcome) == {code}, outcome
    assert live.staged() == []
    assert unique_ids(live.world.find(patient_id)) == [] if code.startswith("XDSRepository") else True
    assert [service.pids() for service in live.services.values()] == workers


PATIENTS: list[str] = []
"""Opened while there was room in the registry."""


def works_again(live: Live) -> None:
    for size in (500, 3_000_000):
        data = a_document(size)
        submission, outcome = live.deposit(data)
        assert outcome.is_success, outcome
        assert live.retrieve(submission) == data
    live.assert_agreement()


def test_no_room_for_documents(tmp_path: Path) -> None:
    """XDSRepositoryOutOfResources, for a document that waits in memory and for one that is written as it comes.

    Rule: R-054
    """
    with running(tmp_path / "data", "repository/documents") as (live, disk):
        for size, left in ((200_000, 16_384), (5_000_000, 2_000_000)):
            with full(disk, left):
                for _ in range(3):
                    refused_for_room(live, "XDSRepositoryOutOfResources", size)
            works_again(live)


def test_no_room_for_the_repository_index(tmp_path: Path) -> None:
    """Index and access log cannot be written: XDSRepositoryOutOfResources, and the bytes do not stay."""
    with running(tmp_path / "data", "repository") as (live, disk):
        live.world.patient()
        with full(disk):
            for _ in range(3):
                refused_for_room(live, "XDSRepositoryOutOfResources")
        works_again(live)


def test_no_room_for_the_registry(tmp_path: Path) -> None:
    """XDSRegistryOutOfResources reaches the source; nothing stays in the repository."""
    with running(tmp_path / "data", "registry") as (live, disk):
        PATIENTS[:] = [live.world.patient() for _ in range(3)]
        with full(disk):
            for _ in range(3):
                refused_for_room(live, "XDSRegistryOutOfResources")
        works_again(live)
