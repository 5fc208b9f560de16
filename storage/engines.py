"""The database engines: how a connection is opened, how a transaction begins and ends, where SQL differs.

``sqlite:///path``: one writer at a time, readers beside it on snapshots; every commit is synced to disk.
``postgresql+psycopg://user@host/name``: writers of one patient queue on the patient's record.
"""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from sqlalchemy import (
    ARRAY,
    URL,
    ClauseElement,
    ColumnElement,
    Integer,
    QueuePool,
    Table,
    bindparam,
    create_engine,
    event,
    exists,
    func,
    make_url,
    select,
)
from sqlalchemy import Engine as SqlAlchemyEngine
from sqlalchemy.dialects import postgresql, sqlite

from storage.process_turn import ProcessTurn
from storage.sqlite_writer import BUSY_SECONDS, SqliteWriter
from storage.transaction import Build, Statement, Transaction
from xds.wire.turns import give_way

STATEMENTS = 1_000
"""Statements kept ready; a sender who invents ever new shapes of query makes the engine start again, not grow."""
LOCK_SPACE = 4271
"""Our advisory locks on PostgreSQL, apart from those of other programs on the same database."""
IDENTIFIER_LOCKS = 256


def connect(url: str, writers: Path | None = None) -> Engine:
    """The engine of a database URL; opens nothing yet. Raises ValueError for another kind of database.

    ``writers`` names the files at which the processes of one service queue to write, where the database has no queue
    of its own.
    """
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteEngine(parsed, writers)
        case "postgresql":
            return PostgresqlEngine(parsed.set(drivername="postgresql+psycopg"))
        case other:
            raise ValueError(f"storage on {other} is not supported; use sqlite:///path or postgresql+psycopg://...")


class Engine(ABC):
    """One database. May be used by many threads, and by a child process after a fork."""

    def __init__(self, engine: SqlAlchemyEngine) -> None:
        self.sqlalchemy = engine
        self._statements: dict[Hashable, Statement] = {}
        self._process = os.getpid()
        self._of_parent: list[Any] = []

    begin_schema_change: tuple[str, ...]
    """Statements that begin a transaction no other schema change runs beside."""

    @abstractmethod
    def reading(self) -> Any:
        """Context manager of a ``Transaction`` over one consistent snapshot."""

    @abstractmethod
    def writing(self) -> Any:
        """Context manager of a ``Transaction`` that is durable when its block ends, and undone when it raises."""

    @abstractmethod
    def bulk_writing(self) -> Any:
        """As ``writing``, for loading a new database in one go: fast, and lost as a whole if it is interrupted."""

    @abstractmethod
    def scrub(self) -> None:
        """Overwrite what deleted rows have left behind, as far as the engine can. Rewrites the whole database."""

    @abstractmethod
    def translated(self, error: Exception) -> Exception: ...

    def statement(self, key: Hashable, build: Build) -> Statement:
        found = self._statements.get(key)
        if found is None:
            if len(self._statements) >= STATEMENTS:
                self._statements.clear()
            compiled = build().compile(dialect=self.sqlalchemy.dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._statements[key] = Statement(str(compiled), constants)
        return found

    def close(self) -> None:
        """Close every idle connection. The engine may be used again."""
        self.sqlalchemy.dispose()

    def _follow_fork(self) -> None:
        """A connection must not be shared with the parent process, nor closed here: it is left alone, new ones open."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._of_parent.append((self.sqlalchemy.pool, vars(self).get("_writer"), vars(self).get("_readers")))
            self.sqlalchemy.dispose(close=False)
            self._after_fork()

    def _after_fork(self) -> None:
        return


class SqliteEngine(Engine):
    """Writers of one process queue in order of arrival on one connection, and the processes of one service behind each
    other; whoever else writes waits by busy_timeout.
    """

    def __init__(self, url: URL, writers: Path | None = None) -> None:
        self._writers = writers
        engine = create_engine(
            url, paramstyle="named", poolclass=QueuePool, pool_size=0, pool_reset_on_return=None,
            connect_args={"check_same_thread": False, "cached_statements": 512, "isolation_level": None},
        )
        event.listen(engine, "connect", self._configure)
        super().__init__(engine)
        self._after_fork()

    def _after_fork(self) -> None:
        file = self.sqlalchemy.url.database
        self._writer = SqliteWriter(
            self._opened, Path(f"{file}-wal") if file and file != ":memory:" else None,
            ProcessTurn(self._writers) if self._writers else None,
        )
        self._readers: deque[Any] = deque()
        """Idle ones: their own queue, because the pool's costs more than a look-up."""

    @staticmethod
    def _configure(connection: Any, _: object) -> None:
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL",
            "foreign_keys=ON", "cache_size=-8192", "mmap_size=1073741824", "temp_store=MEMORY",
            "journal_size_limit=67108864", "wal_autocheckpoint=4000", "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        self._follow_fork()
        try:
            pooled = self._readers.pop()
        except IndexError:
            pooled = self._opened()
            pooled.driver_connection.execute("PRAGMA query_only=ON")
        connection = pooled.driver_connection
        try:
            connection.execute("BEGIN")
            yield Transaction(connection, self)
        finally:
            try:
                connection.rollback()
            except Exception:
                pooled.invalidate()
                raise
            self._readers.append(pooled)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        give_way()
        self._follow_fork()
        try:
            with self._writer.unit() as connection:
                transaction = Transaction(connection, self, is_writing=True)
                yield transaction
                transaction.settle()
        except Exception as error:
            raise self.translated(error) from None
        transaction.committed()

    @contextmanager
    def bulk_writing(self) -> Iterator[Transaction]:
        pooled = self._opened()
        connection: Any = pooled.driver_connection
        try:
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000", "locking_mode=EXCLUSIVE"):
                connection.execute(f"PRAGMA {pragma}").close()
            connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection, self, is_writing=True)
            yield transaction
            transaction.settle()
            connection.commit()
            transaction.committed()
            connection.execute("PRAGMA journal_mode=WAL").close()
        finally:
            pooled.invalidate()

    def scrub(self) -> None:
        """Deleted rows are zeroed at once (``secure_delete``); copies that moving rows about has left in pages go when
        the file is rewritten, and those in the write-ahead log when it is emptied. Writers wait meanwhile.

        Raises TimeoutError when a reader holds on to the log: to be repeated.
        """
        self._follow_fork()
        with self._writer.nobody():
            pooled = self._opened()
            connection = pooled.driver_connection
            try:
                for statement in ("PRAGMA temp_store=FILE", "VACUUM"):
                    connection.execute(statement).close()
                is_held = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except Exception as error:
                raise self.translated(error) from None
            finally:
                pooled.invalidate()
        if is_held:
            raise TimeoutError("a reader holds on to the log of the database")

    def _opened(self) -> Any:
        try:
            return self.sqlalchemy.raw_connection()
        except Exception as error:
            raise self.translated(getattr(error, "orig", None) or error) from None

    def close(self) -> None:
        self._writer.close()
        while self._readers:
            self._readers.pop().invalidate()
        super().close()

    begin_schema_change = ("BEGIN IMMEDIATE",)
    has_row_locks = False
    log_lanes = 1

    def hold(self, transaction: Transaction, identifiers: Collection[str]) -> None:
        """Writers are serial here."""

    def insert_if_free(self, table: Table) -> ClauseElement:
        return sqlite.insert(table).on_conflict_do_nothing()

    def is_among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column.in_(select(func.json_each(bindparam(name)).table_valued("value").c.value))

    def listed(self, values: Collection[Any]) -> str:
        return json.dumps(list(values))

    def is_like(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        pattern = func.json_each(bindparam(name)).table_valued("value").c.value
        return exists(select(pattern).where(column.op("GLOB")(pattern)))

    def patterns(self, likes: Collection[str]) -> str:
        """LIKE ignores case here and GLOB does not: the wildcards are translated, GLOB's own are set in brackets."""
        return self.listed([like.translate(_GLOB) for like in likes])

    def streaming_cursor(self, connection: Any) -> Any:
        return connection.cursor()

    def translated(self, error: Exception) -> Exception:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return error
        match code & 0xFF:
            case 19:
                return KeyError("identifier already taken")
            case 5 | 6:
                return TimeoutError("the database is busy with another process")
            case 13:
                return OSError(errno.ENOSPC, "no space left for the database")
            case 10 | 14 | 8 | 26 | 11:
                return OSError(errno.EIO, f"the database cannot be read or written (SQLite {code})")
            case _:
                return error


_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


class PostgresqlEngine(Engine):
    """READ COMMITTED for writers: what is read after ``record.lock`` is what the writer before has left."""

    def __init__(self, url: URL) -> None:
        super().__init__(create_engine(
            url, pool_size=0, pool_reset_on_return=None, pool_pre_ping=True,
            connect_args={"autocommit": True, "options": f"-c lock_timeout={BUSY_SECONDS}s -c timezone=UTC"},
        ))

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        with self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED") as transaction:
            yield transaction

    def bulk_writing(self) -> Any:
        return self.writing()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        give_way()
        self._follow_fork()
        try:
            pooled = self.sqlalchemy.raw_connection()
        except Exception as error:
            raise self.translated(getattr(error, "orig", None) or error) from None
        connection: Any = pooled.driver_connection
        try:
            connection.execute(begin)
            transaction = Transaction(connection, self, is_writing="READ ONLY" not in begin)
            yield transaction
            transaction.settle()
            connection.execute("COMMIT")
            transaction.committed()
        except BaseException as error:
            try:
                connection.execute("ROLLBACK")
            except Exception:
                pooled.invalidate()
            raise self.translated(error) if isinstance(error, Exception) else error from None
        finally:
            pooled.close()

    def scrub(self) -> None:
        """Dead rows may be overwritten from now on. Archived logs and backups of the server are the operator's."""
        with self.sqlalchemy.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")

    begin_schema_change = ("BEGIN", f"SELECT pg_advisory_xact_lock({LOCK_SPACE})")
    has_row_locks = True
    log_lanes = 16

    def hold(self, transaction: Transaction, identifiers: Collection[str]) -> None:
        """Two writers of different patients may bring the same uniqueId; the second waits here for the first.

        Identifiers share a fixed number of locks, taken in one order: the server's lock table is small.
        """
        if not transaction.is_writing or not identifiers:
            return
        locks = sorted({crc32(identifier.encode()) % IDENTIFIER_LOCKS for identifier in identifiers})
        number = func.unnest(bindparam("numbers", type_=ARRAY(Integer))).column_valued("number")
        transaction.rows(
            "hold identifiers", lambda: select(func.pg_advisory_xact_lock(LOCK_SPACE, number)), numbers=locks
        )

    def insert_if_free(self, table: Table) -> ClauseElement:
        return postgresql.insert(table).on_conflict_do_nothing()

    def is_among(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column == func.any(bindparam(name))

    def listed(self, values: Collection[Any]) -> list[Any]:
        return list(values)

    def is_like(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        return column.op("LIKE")(func.any(bindparam(name)))

    def patterns(self, likes: Collection[str]) -> list[str]:
        """The backslash escapes here: doubled, it stands for itself."""
        return [like.replace("\\", "\\\\") for like in likes]

    def streaming_cursor(self, connection: Any) -> Any:
        return connection.cursor(name=f"rows_{os.urandom(6).hex()}")

    def translated(self, error: Exception) -> Exception:
        state = getattr(error, "sqlstate", None)
        match state:
            case None if type(error).__module__.startswith("psycopg"):
                return OSError(errno.EIO, "the database cannot be reached")
            case None:
                return error
            case "23505":
                return KeyError("identifier already taken")
            case "40001" | "40P01" | "55P03" | "57014":
                return TimeoutError("the database is busy with another transaction")
            case "53100":
                return OSError(errno.ENOSPC, "no space left for the database")
            case _ if state[:2] in ("08", "57", "58", "53"):
                return OSError(errno.EIO, f"the database cannot be reached or written (SQLSTATE {state})")
            case _:
                return error
