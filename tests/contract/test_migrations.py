"""Migrations and ``storage.tables`` say the same, and run from inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import storage
from guard.audit import chain
from storage import schema, tables
from storage.engines import connect
from tests.contract import store_objects as make


def differences(url: str, which: str, metadata: Any) -> list[Any]:
    engine = connect(url)
    try:
        with engine.sqlalchemy.connect() as connection:
            context = MigrationContext.configure(connection, opts={
                "version_table": f"{which}_schema", "compare_type": True, "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or not name.endswith("_schema"),
            })
            return compare_metadata(context, metadata)
    finally:
        engine.close()


def test_the_migrated_registry_is_what_the_tables_say(registry_url: str) -> None:
    """No difference in tables, columns, types, keys and indexes."""
    assert differences(registry_url, "registry", tables.registry_metadata) == []


def test_the_migrated_repository_is_what_the_tables_say(repository_url: str) -> None:
    """The same for the repository's database."""
    assert differences(repository_url, "repository", tables.repository_metadata) == []


def test_the_migrated_token_service_is_what_the_tables_say(tokens_url: str) -> None:
    """The same for the token service's database."""
    assert differences(tokens_url, "tokens", tables.tokens_metadata) == []


def test_every_key_of_patient_data_begins_with_the_patient(registry_url: str) -> None:
    """So that the schema spreads over a cluster; only the locator is spread by identifier, the chain by nothing.

    An assertion may serve for several records: it lies by its hash.
    """
    others = {*tables.access_log_chain, tables.assertion_proof, tables.shown_assertion}
    for table in set(tables.registry_metadata.sorted_tables) - others:
        keys = [list(table.primary_key), *(list(index.columns) for index in table.indexes if index.unique)]
        assert all(key[0].name == ("identifier" if table.name == "locator" else "patient_key") for key in keys)


def test_an_upgrade_may_be_repeated(registry_url: str) -> None:
    """A second run changes nothing and the database opens."""
    storage.upgrade_registry(registry_url)
    database = storage.open_registry(registry_url)
    with database.read() as unit:
        assert list(unit.audit.read_latest(1)) == []
    database.close()


@pytest.mark.parametrize("which", ["registry", "repository", "tokens"])
def test_a_database_that_was_not_prepared_is_refused(tmp_path: Path, which: str) -> None:
    """Opening never creates an empty database by mistake, and says what to run."""
    opener = getattr(storage, f"open_{which}")
    path = tmp_path / "sub" / "x.db"
    with pytest.raises(storage.SchemaMismatch, match="carnet init"):
        opener(f"sqlite:///{path}")
    assert not path.parent.exists()
    upgrade = storage.upgrade_repository if which == "registry" else storage.upgrade_registry
    upgrade(f"sqlite:///{path}")
    with pytest.raises(storage.SchemaMismatch, match="carnet init"):
        opener(f"sqlite:///{path}")


@pytest.mark.parametrize("which", ["registry", "repository", "tokens"])
def test_the_newest_revision_is_known_without_alembic(which: schema.Which) -> None:
    """By the names of files; Alembic, which follows the revisions, comes to the same."""
    assert ScriptDirectory(str(schema._folder(which))).get_heads() == [schema.newest(which)]


def test_both_schemas_may_share_a_database(tmp_path: Path) -> None:
    """No table of one bears the name of a table of the other."""
    url = f"sqlite:///{tmp_path}/both.db"
    storage.upgrade_registry(url)
    storage.upgrade_repository(url)
    storage.open_registry(url).close()
    storage.open_repository(url).close()


def test_another_kind_of_database_is_refused() -> None:
    """The message names the kinds that are supported."""
    with pytest.raises(ValueError, match="sqlite:///path"):
        connect("mysql://host/x")


def test_a_failed_revision_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision is applied as a whole: the tables it made before it failed are gone."""
    from alembic import op

    path = tmp_path / "x.db"
    real = op.create_index

    def fail(name: str, *arguments: Any, **options: Any) -> None:
        if name == "ix_association_source":
            raise RuntimeError
        real(name, *arguments, **options)

    monkeypatch.setattr(op, "create_index", fail)
    with pytest.raises(RuntimeError):
        storage.upgrade_registry(f"sqlite:///{path}")
    monkeypatch.undo()
    storage.upgrade_registry(f"sqlite:///{path}")
    storage.open_registry(f"sqlite:///{path}").close()


@pytest.mark.parametrize("which", ["registry", "repository"])
def test_an_old_log_keeps_its_lines_outside_of_the_chain(tmp_path: Path, which: str) -> None:
    """The chain begins with the migration, knows how many lines are older, and finds one that was removed or added.

    Rule: J-06
    """
    import sqlite3
    from contextlib import closing

    from alembic import command
    from alembic.config import Config

    from storage.schema import _folder

    url, log = f"sqlite:///{tmp_path}/x.db", "access_log" if which == "registry" else "repository_access_log"
    engine = connect(url)
    with engine.sqlalchemy.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(_folder(which)))  # type: ignore[arg-type]
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.commit()
    engine.close()
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        names = [row[1] for row in database.execute(f"PRAGMA table_info({log})")]
        for n in range(3):
            values = [n + 1 if name == "number" else 0 if name == "patient_key" else "" for name in names]
            database.execute(f"INSERT INTO {log} VALUES ({', '.join('?' * len(names))})", values)
    (storage.upgrade_registry if which == "registry" else storage.upgrade_repository)(url)
    opened: Any = (storage.open_registry if which == "registry" else storage.open_repository)(url)
    with opened.write() as unit:
        unit.audit.append(make.line())
    with opened.read() as unit:
        assert unit.chain.unchained() == (3, 3)
        assert list(chain.flaws(unit.chain.links(), unit.chain.heads())) == []
        assert len(list(unit.audit.read_latest(9))) == 4
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute(f"DELETE FROM {log} WHERE number = 2")
    with opened.read() as unit:
        assert unit.chain.unchained() == (3, 2)
    opened.close()
