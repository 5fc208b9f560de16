"""One transaction on one driver connection.

Statements are written with SQLAlchemy Core where they are used, and turned into SQL text once per database:
building and compiling them anew for every call costs more than SQLite needs to run them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ClauseElement, ColumnElement, Table

Build = Callable[[], ClauseElement]


class Statement(NamedTuple):
    sql: str
    constants: dict[str, Any]
    """Values that were written into the statement when it was built."""


class Flavour(Protocol):
    """What differs between engines inside a transaction."""

    has_row_locks: bool
    """False where writers are serial anyway."""
    log_lanes: int
    """Chains of one access log: as many writers of it may end at once."""

    def __hash__(self) -> int:
        """There is one of each engine: values made for it may be remembered."""
        ...

    def hold(self, transaction: Transaction, identifiers: Collection[str]) -> None:
        """In a write unit, let no other writer decide about these identifiers before this one ends."""
        ...

    def insert_if_free(self, table: Table) -> ClauseElement:
        """An insert that does nothing when a unique key is taken."""
        ...

    def statement(self, key: Hashable, build: Build) -> Statement:
        """The statement kept under ``key``; ``build`` is called the first time only."""
        ...

    def is_among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Condition: the column equals one of the values bound under ``name`` with ``listed``; any number of them."""
        ...

    def listed(self, values: Collection[str] | Collection[int]) -> Any:
        """The bound form of many values."""
        ...

    def is_like(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Condition: the column matches one of the patterns bound under ``name`` with ``patterns``."""
        ...

    def patterns(self, likes: Collection[str]) -> Any:
        """The bound form of case-sensitive SQL LIKE patterns without escape character."""
        ...

    def streaming_cursor(self, connection: Any) -> Any:
        """A cursor that does not fetch the whole result at once."""
        ...

    def translated(self, error: Exception) -> Exception:
        """The driver's error as a plain Python one, without SQL or values in its text."""
        ...


class Transaction:
    """Runs statements; begun and ended by ``storage.database``.

    Every verb takes the key of the statement, the function that builds it and the bound values. Raises KeyError when
    a unique key is taken, TimeoutError when the database is busy, OSError when the disk is full or failing.
    """

    __slots__ = ("_afterwards", "_connection", "_last_acts", "flavour", "is_writing")

    def __init__(self, connection: Any, flavour: Flavour, *, is_writing: bool = False) -> None:
        self._connection = connection
        self.flavour = flavour
        self.is_writing = is_writing
        self._last_acts: list[Callable[[], None]] = []
        self._afterwards: list[Callable[[], None]] = []

    def before_commit(self, act: Callable[[], None]) -> None:
        """Do this last: what holds a lock that many writers want is done when nothing else remains to be done."""
        self._last_acts.append(act)

    def settle(self) -> None:
        """Do what was put off; the engine calls this just before the commit."""
        while self._last_acts:
            self._last_acts.pop(0)()

    def after_commit(self, act: Callable[[], None]) -> None:
        """Do this once everything is durable, and never when it is undone. The act must not fail."""
        self._afterwards.append(act)

    def committed(self) -> None:
        """The engine calls this just after the commit."""
        while self._afterwards:
            self._afterwards.pop(0)()

    def rows(self, key: Hashable, build: Build, /, **values: Any) -> list[tuple[Any, ...]]:
        cursor = self._execute(key, build, values)
        try:
            found: list[tuple[Any, ...]] = cursor.fetchall()
        except Exception as error:
            raise self.flavour.translated(error) from None
        return found

    def first(self, key: Hashable, build: Build, /, **values: Any) -> tuple[Any, ...] | None:
        rows = self.rows(key, build, **values)
        return rows[0] if rows else None

    def stream(self, key: Hashable, build: Build, /, **values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows one by one, memory flat for any number of them; the query runs at the first one."""
        sql, constants = self.flavour.statement(key, build)
        cursor = self.flavour.streaming_cursor(self._connection)
        try:
            cursor.execute(sql, constants | values)
            while rows := cursor.fetchmany(500):
                yield from rows
        except Exception as error:
            raise self.flavour.translated(error) from None
        finally:
            with suppress(Exception):  # the transaction may have ended before the reader gave up
                cursor.close()

    def change(self, key: Hashable, build: Build, /, **values: Any) -> int:
        """Number of rows changed."""
        count: int = self._execute(key, build, values).rowcount
        return count

    def change_many(self, key: Hashable, build: Build, rows: Collection[dict[str, Any]]) -> None:
        if not rows:
            return
        sql, constants = self.flavour.statement(key, build)
        try:
            self._connection.cursor().executemany(sql, [constants | row for row in rows])
        except Exception as error:
            raise self.flavour.translated(error) from None

    def _execute(self, key: Hashable, build: Build, values: dict[str, Any]) -> Any:
        sql, constants = self.flavour.statement(key, build)
        try:
            return self._connection.execute(sql, constants | values if constants else values)
        except Exception as error:
            raise self.flavour.translated(error) from None
