"""The engines behind the store Protocols: SQLite or PostgreSQL for metadata, files for documents.

The only package that knows SQL and paths. ``carnet`` opens them and hands them to the actors.
"""

from __future__ import annotations

from pathlib import Path

from storage.database import SqlRegistryDatabase, SqlRepositoryDatabase, SqlTokensDatabase
from storage.files import FileDocumentStore
from storage.schema import SchemaMismatch, require_current, upgrade

__all__ = [
    "FileDocumentStore", "SchemaMismatch", "SqlRegistryDatabase", "SqlRepositoryDatabase", "SqlTokensDatabase",
    "open_documents", "open_registry", "open_repository", "open_tokens", "upgrade_registry", "upgrade_repository",
    "upgrade_tokens",
]


def open_registry(url: str, writers: Path | None = None) -> SqlRegistryDatabase:
    """``url`` is ``sqlite:///path`` or ``postgresql+psycopg://...``. Raises SchemaMismatch, OSError, ValueError.

    ``writers`` is the same for all processes of one service: where they queue to write (see ``storage.process_turn``).
    """
    require_current(url, "registry")
    return SqlRegistryDatabase(url, writers)


def open_repository(url: str, writers: Path | None = None) -> SqlRepositoryDatabase:
    """As ``open_registry``, for the repository's own database."""
    require_current(url, "repository")
    return SqlRepositoryDatabase(url, writers)


def open_tokens(url: str, writers: Path | None = None) -> SqlTokensDatabase:
    """As ``open_registry``, for the token service's own database."""
    require_current(url, "tokens")
    return SqlTokensDatabase(url, writers)


def open_documents(place: str) -> FileDocumentStore:
    """The document store in this folder, given as a path or as ``file:///path``. The folder is created when absent."""
    return FileDocumentStore(place.removeprefix("file://"))


def upgrade_registry(url: str) -> None:
    """Create the registry's schema or bring it up to date. May be repeated."""
    upgrade(url, "registry")


def upgrade_repository(url: str) -> None:
    """Create the repository's schema or bring it up to date. May be repeated."""
    upgrade(url, "repository")


def upgrade_tokens(url: str) -> None:
    """Create the token service's schema or bring it up to date. May be repeated."""
    upgrade(url, "tokens")
