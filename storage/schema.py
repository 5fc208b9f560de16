"""Bringing a database to the schema of this version, and asking whether it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url

from storage.engines import connect

Which = Literal["registry", "repository", "tokens"]


class SchemaMismatch(Exception):
    """The database was not prepared, or was prepared by another version. The text says what to run."""


def upgrade(url: str, which: Which) -> None:
    """Create the schema or bring it up to date: as a whole or not at all.

    May be repeated, also by two processes at once. A missing SQLite file is created with its folder.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        _create_file(Path(parsed.database))
    engine = connect(url)
    try:
        with engine.sqlalchemy.connect() as connection:
            for statement in engine.begin_schema_change:
                connection.exec_driver_sql(statement)
            config = Config()
            config.set_main_option("script_location", str(_folder(which)).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.close()


def require_current(url: str, which: Which) -> None:
    """Raises SchemaMismatch when the schema is absent, older or newer than this program's."""
    wanted = ScriptDirectory(str(_folder(which))).get_current_head()
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise SchemaMismatch(f"the {which} database does not exist yet: create it with `carnet init`")
    engine = connect(url)
    try:
        with engine.sqlalchemy.connect() as connection:
            found = _context(connection, which).get_current_revision()
    finally:
        engine.close()
    if found != wanted:
        raise SchemaMismatch(
            f"the {which} database is at schema {found or 'none'}, this program needs {wanted}: run `carnet init`"
        )


def version_table(which: Which) -> str:
    """All schemas may live in one PostgreSQL database."""
    return f"{which}_schema"


def _context(connection: Connection, which: Which) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": version_table(which)})


def _create_file(path: Path) -> None:
    """An empty database, readable by this account only; SQLite gives its log the same rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _folder(which: Which) -> Path:
    return Path(__file__).parent / "migrations" / which
