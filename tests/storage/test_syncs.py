"""What is acknowledged is on the disk: the calls that see to it, and their order. No test takes the power away, and the
folders of tests may lie in memory, where a sync that was left out is missed by nobody.

Clause: ITI TF-2 3.41.4.1.3
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from conformance import frames
from storage import FileDocumentStore
from storage.files import HELD
from storage.upload import SMALL
from tests.storage.test_files import put
from tests.world import World


class Calls:
    """What this process asks of the disk, in order: ``(call, name)``, of a synced folder its path."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []

    def of(self, keys: set[str], *databases: str) -> list[tuple[str, str]]:
        """Those about these documents, their folders, and the commits to these databases and syncs of their logs."""
        names = keys | {f"{key[0]}/{key[1]}" for key in keys} | set(databases)
        return [one for one in self.made if one[1] in names]

    def watch(self, connection: Any, _record: Any) -> None:
        file = connection.execute("PRAGMA database_list").fetchone()[2]

        def told(statement: str) -> None:
            if statement.startswith("COMMIT"):
                self.made.append(("commit", Path(file).name))

        connection.set_trace_callback(told)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    watched = Calls()
    fsync, fdatasync, rename, unlink = os.fsync, os.fdatasync, os.rename, os.unlink

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        watched.made.append(("folder", f"{path.parent.name}/{path.name}") if is_folder else ("file", path.name))

    def log_synced(descriptor: int) -> None:
        fdatasync(descriptor)
        watched.made.append(("log", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.removesuffix("-wal")))

    def renamed(source: Any, target: Any, **more: Any) -> None:
        rename(source, target, **more)
        watched.made.append(("rename", Path(target).name))

    def unlinked(path: Any, **more: Any) -> None:
        unlink(path, **more)
        watched.made.append(("unlink", Path(path).name))

    for name, call in (
        ("fsync", synced), ("fdatasync", log_synced), ("rename", renamed), ("unlink", unlinked),
    ):
        monkeypatch.setattr(os, name, call)
    event.listen(Pool, "connect", watched.watch)
    yield watched
    event.remove(Pool, "connect", watched.watch)


def test_a_small_document_is_synced_where_it_stays_then_its_folder(tmp_path: Path, calls: Calls) -> None:
    """Nothing before it is kept."""
    store = FileDocumentStore(tmp_path)
    staged = put(store, bytes(HELD))
    assert calls.made[-1][0] == "folder"
    store.keep([staged])
    assert calls.of({staged.key}) == [("file", staged.key), ("folder", f"{staged.key[0]}/{staged.key[1]}")]


@pytest.mark.parametrize("size", [HELD + 1, 3 * SMALL])
def test_bytes_are_synced_then_renamed_then_their_folder_synced(tmp_path: Path, calls: Calls, size: int) -> None:
    """A document that waited in memory, and one that was written as it came."""
    store = FileDocumentStore(tmp_path)
    staged = put(store, bytes(size))
    assert calls.of({staged.key}) == [("file", staged.key)]
    store.keep([staged])
    folder = f"{staged.key[0]}/{staged.key[1]}"
    assert calls.of({staged.key}) == [("file", staged.key), ("rename", staged.key), ("folder", folder)]


def test_what_is_discarded_is_gone_for_good(tmp_path: Path, calls: Calls) -> None:
    store = FileDocumentStore(tmp_path)
    staged = put(store, b"abc")
    store.keep([staged])
    calls.made.clear()
    store.discard([staged.key])
    assert calls.of({staged.key}) == [("unlink", staged.key), ("folder", f"{staged.key[0]}/{staged.key[1]}")]


def test_the_folders_of_documents_are_synced_when_they_are_made(tmp_path: Path, calls: Calls) -> None:
    """A name in a folder is worth as much as the name of the folder."""
    FileDocumentStore(tmp_path / "documents")
    assert [name for call, name in calls.made if call == "folder"] == [
        *(f"kept/{digit:x}" for digit in range(16)), "documents/kept", f"{tmp_path.name}/documents",
    ]


def test_a_deposit_is_on_the_disk_before_its_row_and_its_row_before_the_registry(
    tmp_path: Path, calls: Calls
) -> None:
    """File, folder, row, and only then metadata: each step after what it relies on. Removed, the other way round:
    no row for bytes that are gone, and no bytes left when the answer says so. Rule: A-3"""
    world = World.prepare(tmp_path, '[domain]\nname = "connectathon"\n').serve_here()
    submission = frames.valid_submission("connectathon", patient_id=world.patient())
    calls.made.clear()
    assert world.deposit(submission).is_success
    (key,) = {name for call, name in calls.made if call == "file"}
    folder = f"{key[0]}/{key[1]}"
    databases = ("repository.sqlite", "registry.sqlite")
    made = calls.of({key}, *databases)
    assert made[:2] == [("file", key), ("folder", folder)]
    assert made[2:] == [(call, name) for name in databases for call in ("commit", "log")]
    calls.made.clear()
    wanted = [(world.settings.repository.unique_id, submission.entries[0].unique_id)]
    assert world.client().remove_documents(wanted).is_success
    assert calls.of({key}, *databases) == [
        ("commit", databases[0]), ("log", databases[0]), ("unlink", key), ("folder", folder),
    ]
