"""What a crash and a full disk leave of a database."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria
from storage import SqlRegistryDatabase, open_registry, upgrade_registry
from tests.contract import store_objects as make

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path}/registry.db"
    upgrade_registry(address)
    return address


WRITER = """
    import sys
    from itertools import count
    from storage import open_registry
    from tests.contract import store_objects as make
    make._numbers = count(int(sys.argv[3]) * 1_000_000)
    registry = open_registry(sys.argv[1])
    key = make.opened(registry, sys.argv[2])
    while True:
        one = make.entry()
        with registry.write() as unit:
            unit.registry.insert(key, make.submission(one))
            unit.audit.append(make.line(patient_key=key, documents=(one.unique_id,)))
        print(one.unique_id, flush=True)
"""


def test_a_killed_writer_leaves_whole_units(url: str) -> None:
    """Everything acknowledged is there after kill -9; of the rest, units are whole or absent. Rule: T-03"""
    for number in range(1, 4):
        patient = f"{number}^^^&1.2&ISO"
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), url, patient, str(number)], stdout=subprocess.PIPE,
            text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline().strip() for _ in range(40)]
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read().split()
        assert len(acknowledged) >= 40
        check(url, patient, set(acknowledged))


def check(url: str, patient_id: str, acknowledged: set[str]) -> None:
    registry = open_registry(url)
    try:
        with registry.read() as unit:
            record = unit.record.find(patient_id)
            assert record is not None
            key = record.patient_key
            entries = list(unit.registry.entries(key, EntryCriteria(), EVERYTHING))
            stored = {one.unique_id for one in entries}
            assert acknowledged - {""} <= stored
            assert {document for line in unit.audit.read_for_patient(key) for document in line.documents} == stored
            links = unit.registry.associations(key, [one.entry_uuid for one in entries], EVERYTHING)
            assert {one.target for one in links} == {one.entry_uuid for one in entries}
        with registry.write() as unit:
            unit.audit.append(make.line())
    finally:
        registry.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_is_told_and_then_overcome(url: str) -> None:
    """A unit that finds no room raises ENOSPC and leaves nothing; with room again the same unit succeeds."""
    registry = SqlRegistryDatabase(url)
    key = make.opened(registry)
    make.stored(registry, key, make.submission(make.entry()))
    large = make.submission(*(make.entry(title=[make.LocalizedString("x" * 10_000)]) for _ in range(100)))
    limit(registry, 0)
    with pytest.raises(OSError, match="no space") as caught:
        make.stored(registry, key, large)
    assert caught.value.errno == errno.ENOSPC
    with registry.read() as unit:
        assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 1
    limit(registry, 1_000_000)
    make.stored(registry, key, large)
    with registry.read() as unit:
        assert len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING)) == 101
    registry.close()


def limit(registry: SqlRegistryDatabase, pages: int) -> None:
    """Let the writer's database grow by so many pages at most."""
    writer = registry.engine._writer._pooled.driver_connection
    (count,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={count + pages}")


FILLER = """
    import resource, signal, sys
    from storage import open_registry
    from tests.contract import store_objects as make
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    registry = open_registry(sys.argv[1])
    key = make.opened(registry)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    kept, failures = 0, set()
    for _ in range(400):
        try:
            make.stored(registry, key, make.submission(make.entry()))
            kept += 1
        except Exception as error:
            failures.add(type(error).__name__)
            if "INSERT" in str(error):
                sys.exit(3)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for _ in range(10):
        make.stored(registry, key, make.submission(make.entry()))
        kept += 1
    with registry.read() as unit:
        from guard.policy.facts import EVERYTHING
        from registry.store import EntryCriteria
        found = len(unit.registry.entry_uuids(key, EntryCriteria(), EVERYTHING))
    print(kept, found, sorted(failures))
"""


def test_the_same_process_goes_on_when_there_is_room_again(url: str) -> None:
    """A log file that may not grow fails the unit as an OSError; once it may, the writer goes on."""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILLER), url], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert answer.returncode == 0, answer.stderr
    kept, found, failures = answer.stdout.split(maxsplit=2)
    assert kept == found
    assert failures.strip() == "['OSError']"


def test_a_database_is_for_this_account_only(url: str, tmp_path: Path) -> None:
    """The file and its log carry no rights for others."""
    registry = SqlRegistryDatabase(url)
    make.opened(registry)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    registry.close()
    assert modes == dict.fromkeys(("registry.db", "registry.db-wal", "registry.db-shm"), 0o600)


def test_every_commit_is_synced(url: str) -> None:
    """The writer runs in WAL mode and syncs its log itself; SQLite does when it writes back. Readers cannot write."""
    registry = SqlRegistryDatabase(url)
    with registry.write() as unit:
        connection = unit.registry._sql._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
        assert registry.engine._writer._log._log == Path(f"{url.removeprefix('sqlite:///')}-wal")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    with registry.read() as unit:
        assert unit.registry._sql._connection.execute("PRAGMA query_only").fetchone() == (1,)
    registry.close()
