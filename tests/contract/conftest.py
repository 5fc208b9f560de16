"""Every store test runs on each engine: SQLite always, PostgreSQL where its server can be started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import (
    SqlRegistryDatabase,
    SqlRepositoryDatabase,
    SqlTokensDatabase,
    upgrade_registry,
    upgrade_repository,
    upgrade_tokens,
)
from storage.tables import registry_metadata, repository_metadata, tokens_metadata

METADATA = {"registry": registry_metadata, "repository": repository_metadata, "tokens": tokens_metadata}
PREPARE = {"registry": upgrade_registry, "repository": upgrade_repository, "tokens": upgrade_tokens}


def _postgres_folder() -> Path:
    """Where the server's programs are; skips when they are absent."""
    found = shutil.which("postgres")
    if not found and (config := shutil.which("pg_config")):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        found = shutil.which("postgres", path=answer.stdout.strip())
    if not found:
        pytest.skip("no PostgreSQL server installed here")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    return Path(os.path.realpath(found)).parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a throw-away server, without database name, with three prepared databases."""
    programs = _postgres_folder()
    folder = Path(tempfile.mkdtemp(prefix="carnet-pg-"))
    account = 65534 if os.geteuid() == 0 else None
    if account is not None:
        os.chown(folder, account, account)

    def run(program: str, *arguments: str) -> None:
        answer = subprocess.run(
            [programs / program, *arguments], user=account, cwd=folder, capture_output=True, text=True, check=False,
        )
        if answer.returncode:
            pytest.skip(f"PostgreSQL does not start here: {answer.stderr.strip()[-200:]}")

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "carnet", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        address = f"postgresql+psycopg://carnet@/{{name}}?host={folder}"
        for which, prepare in PREPARE.items():
            _execute(address.format(name="postgres"), f"CREATE DATABASE {which}")
            prepare(address.format(name=which))
        yield address
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _execute(address: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def blank_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of prepared, empty SQLite databases."""
    folder = tmp_path_factory.mktemp("blank")
    for which, prepare in PREPARE.items():
        prepare(f"sqlite:///{folder}/{which}.db")
    return folder


def _url(request: pytest.FixtureRequest, which: str) -> str:
    if request.param == "sqlite":
        blank, folder = request.getfixturevalue("blank_files"), request.getfixturevalue("tmp_path")
        shutil.copy(blank / f"{which}.db", folder)
        return f"sqlite:///{folder}/{which}.db"
    address = request.getfixturevalue("postgres").format(name=which)
    _execute(address, f"TRUNCATE {', '.join(METADATA[which].tables)} RESTART IDENTITY")
    return address


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "registry")


@pytest.fixture
def registry(registry_url: str) -> Iterator[SqlRegistryDatabase]:
    database = SqlRegistryDatabase(registry_url)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def repository_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "repository")


@pytest.fixture
def repository(repository_url: str) -> Iterator[SqlRepositoryDatabase]:
    database = SqlRepositoryDatabase(repository_url)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def tokens_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "tokens")


@pytest.fixture
def tokens(tokens_url: str) -> Iterator[SqlTokensDatabase]:
    database = SqlTokensDatabase(tokens_url)
    yield database
    database.close()
