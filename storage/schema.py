"""Bringing a database to the schema of this version, and asking whether it is there."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, column, inspect, make_url, select, table

from storage.engines import connect

Which = Literal["registry", "repository", "tokens"]


class SchemaMismatch(Exception):
    """The database was not prepared, or was prepared by another version. The text says what to run."""


def upgrade(url: str, which: Which) -> None:
    """Create the schema or bring it up to date: as a whole or not at all.

    May be repeated, also by two processes at once. A missing SQLite file is created with its folder.
    """
    from alembic import command  # noqa: PLC0415 - a quarter of the time a command needs to start, and few migrate
    from alembic.config import Config  # noqa: PLC0415

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
    wanted = newest(which)
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise SchemaMismatch(f"the {which} database does not exist yet: create it with `carnet init`")
    engine = connect(url)
    try:
        with engine.sqlalchemy.connect() as connection:
            found = _revisions(connection, which)
    finally:
        engine.close()
    if found != [wanted]:
        raise SchemaMismatch(
            f"the {which} database is at schema {', '.join(found) or 'none'}, this program needs {wanted}: "
            "run `carnet init`"
        )


@cache
def newest(which: Which) -> str:
    """The revision this program works with: that of the last file by name."""
    last = max((_folder(which) / "versions").glob("[0-9]*.py"))
    return re.findall(r'^revision = "(\w+)"$', last.read_text("utf-8"), re.MULTILINE)[0]


def version_table(which: Which) -> str:
    """All schemas may live in one PostgreSQL database."""
    return f"{which}_schema"


def _revisions(connection: Connection, which: Which) -> list[str]:
    """What Alembic noted in the database."""
    name = version_table(which)
    if not inspect(connection).has_table(name):
        return []
    return list(connection.scalars(select(column("version_num")).select_from(table(name))))


def _create_file(path: Path) -> None:
    """An empty database, readable by this account only; SQLite gives its log the same rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _folder(which: Which) -> Path:
    return Path(__file__).parent / "migrations" / which
