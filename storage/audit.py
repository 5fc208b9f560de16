"""The access log in SQL: lines are added and read, nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import fields
from threading import Lock
from typing import Any

from sqlalchemy import Table, bindparam, select

from guard.audit.store import AccessLine
from storage.transaction import Transaction

_FIELDS = tuple(field.name for field in fields(AccessLine))


class LineNumbers:
    """Nanoseconds since the epoch, always growing within one process: the order of the lines."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._last = 0

    def next(self) -> int:
        with self._guard:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last


_numbers = LineNumbers()


class SqlAuditStore:
    """``guard.audit.store.AuditStore`` within one transaction."""

    def __init__(self, transaction: Transaction, table: Table) -> None:
        self._sql = transaction
        self._table = table

    def append(self, line: AccessLine) -> None:
        values = {name: getattr(line, name) for name in _FIELDS}
        values["patient_key"] = line.patient_key or 0
        values["documents"] = json.dumps(line.documents) if line.documents else ""
        self._sql.change("append line", self._table.insert, number=_numbers.next(), **values)

    def read_for_patient(self, patient_key: int) -> Iterator[AccessLine]:
        columns = self._table.c
        rows = self._sql.stream(
            "lines of patient",
            lambda: select(*(columns[name] for name in _FIELDS))
            .where(columns.patient_key == bindparam("patient")).order_by(columns.number),
            patient=patient_key,
        )
        return (_line(row) for row in rows)

    def read_latest(self, limit: int) -> Iterator[AccessLine]:
        columns = self._table.c
        rows = self._sql.rows(
            "latest lines",
            lambda: select(*(columns[name] for name in _FIELDS))
            .order_by(columns.number.desc()).limit(bindparam("most")),
            most=max(limit, 0),
        )
        return (_line(row) for row in reversed(rows))


def _line(row: tuple[Any, ...]) -> AccessLine:
    values = dict(zip(_FIELDS, row, strict=True))
    values["patient_key"] = values["patient_key"] or None
    values["documents"] = tuple(json.loads(values["documents"])) if values["documents"] else ()
    return AccessLine(**values)
