"""Assertions that may be shown once only, noted for every process that shares a database.

Each showing is a transaction of its own, durable before the request goes on: a showing that is forgotten by a crash
could be repeated.

Clause: SAML core 2.0 2.5.1.5 (OneTimeUse)
"""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select, update

from guard.credentials.replay import ReplayKey
from storage.engines import Engine

CAPACITY = 1_000_000
TIDY_EVERY = 256
"""Showings between two looks at what has ended, and at how many there are."""


class SqlReplay:
    """``guard.credentials.replay.ReplayStore`` over a table. Thread-safe.

    When so many assertions are in force that ``capacity`` is reached, new ones are told to be too many.
    """

    def __init__(self, engine: Engine, table: Table, *, capacity: int = CAPACITY, tidy_every: int = TIDY_EVERY) -> None:
        self._engine = engine
        self._table = table
        self._capacity = capacity
        self._tidy_every = tidy_every
        self._lock = threading.Lock()
        self._count = 0
        self._is_full = False

    def show(self, key: ReplayKey, sha256: str, until: datetime, now: datetime, trace_id: str) -> int | None:
        """As ``ReplayMemory.show``. Raises TimeoutError or OSError when it cannot be noted."""
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()
        with self._lock:
            is_time = self._count % self._tidy_every == 0
            self._count += 1
        with self._engine.writing() as sql:
            if is_time:
                self._tidy(sql, int(now.timestamp()))
            table, columns = self._table, self._table.c

            def known() -> Any:
                wanted = (columns.sha256, columns.times, columns.trace_id)
                found = select(*wanted).where(columns.name == bindparam("which"))
                return found.with_for_update() if sql.flavour.has_row_locks else found

            values = {"sha256": sha256, "until": int(until.timestamp()) + 1, "times": 1, "trace_id": trace_id}
            if self._is_full:
                row = sql.first("shown", known, which=name)
                if row is None:
                    return None
            elif sql.change("show", lambda: sql.flavour.insert_if_free(table), name=name, **values):
                return 1
            row = sql.first("shown", known, which=name)
            if row is None:
                return None
            if row[0] != sha256:
                return 0
            if trace_id and row[2] == trace_id:
                return int(row[1])
            sql.change(
                "shown again",
                lambda: update(table).where(columns.name == bindparam("which")).values(times=columns.times + 1),
                which=name,
            )
            return int(row[1]) + 1

    def _tidy(self, sql: Any, now: int) -> None:
        table, columns = self._table, self._table.c
        sql.change("tidy shown", lambda: delete(table).where(columns.until < bindparam("moment")), moment=now)
        row = sql.first("count shown", lambda: select(func.count()).select_from(table))
        self._is_full = bool(row and row[0] >= self._capacity)
