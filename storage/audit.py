"""The access log in SQL: lines are added and read, nothing else. The outbox of audit messages beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import fields
from threading import Lock
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, delete, func, or_, select, tuple_, update

from guard.audit.particulars import Particulars
from guard.audit.store import AccessLine
from storage.tables import PASSED, SENT, WAITING
from storage.transaction import Transaction

_FIELDS = tuple(field.name for field in fields(AccessLine) if field.name != "particulars")
FORGET_AT_ONCE = 500
"""Rows removed from an outbox in one transaction."""


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

    def __init__(self, transaction: Transaction, table: Table, outbox: Table) -> None:
        self._sql = transaction
        self._table = table
        self._outbox = outbox

    def append(self, line: AccessLine, *, replaces: int = 0) -> int:
        values = {name: getattr(line, name) for name in _FIELDS}
        values["patient_key"] = line.patient_key or 0
        values["documents"] = json.dumps(line.documents) if line.documents else ""
        number = _numbers.next()
        self._sql.change("append line", self._table.insert, number=number, **values)
        self._sql.change(
            "append to outbox", self._outbox.insert, patient_key=values["patient_key"], number=number,
            trace_id=line.trace_id, particulars=line.particulars.as_json(), state=WAITING,
        )
        if replaces:
            self._sql.change(
                "pass message", lambda: _marking(self._outbox), patient=values["patient_key"], line=replaces,
                trace=line.trace_id, new_state=PASSED,
            )
        return number

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


class Key(NamedTuple):
    """Names one row of an outbox, and its line. ``number`` grows with time, nanoseconds since the epoch."""

    patient_key: int
    number: int
    trace_id: str


class SqlOutbox:
    """What the sender of audit messages works with, within one transaction."""

    def __init__(self, transaction: Transaction, table: Table, outbox: Table) -> None:
        self._sql = transaction
        self._table = table
        self._outbox = outbox

    def waiting(self, limit: int) -> list[tuple[Key, AccessLine]]:
        """Lines whose message was not handed over yet, oldest first."""
        columns = self._outbox.c
        rows = self._sql.rows(
            "waiting messages",
            lambda: self._told().where(columns.state == WAITING).order_by(columns.number).limit(bindparam("most")),
            most=limit,
        )
        return [_keyed(row) for row in rows]

    def latest(self, limit: int) -> list[tuple[Key, AccessLine]]:
        """The newest lines still in the outbox that have a message of their own, sent or not, oldest first."""
        columns = self._outbox.c
        rows = self._sql.rows(
            "latest messages",
            lambda: self._told().where(columns.state != PASSED).order_by(self._table.c.number.desc())
            .limit(bindparam("most")),
            most=max(limit, 0),
        )
        return [_keyed(row) for row in reversed(rows)]

    def of_patient(self, patient_key: int) -> list[tuple[Key, AccessLine]]:
        """The same of one record, all of them."""
        columns = self._outbox.c
        rows = self._sql.rows(
            "messages of patient",
            lambda: self._told().where(columns.patient_key == bindparam("patient"), columns.state != PASSED)
            .order_by(columns.number),
            patient=patient_key,
        )
        return [_keyed(row) for row in rows]

    def hand_over(self, keys: Collection[Key]) -> None:
        """The receiver has these."""
        self._sql.change_many(
            "mark message", lambda: _marking(self._outbox),
            [{"patient": key.patient_key, "line": key.number, "trace": key.trace_id, "new_state": SENT}
             for key in keys],
        )

    def pass_over(self, keys: Collection[Key]) -> None:
        """Nothing is to be sent of these."""
        self._sql.change_many(
            "mark message", lambda: _marking(self._outbox),
            [{"patient": key.patient_key, "line": key.number, "trace": key.trace_id, "new_state": PASSED}
             for key in keys],
        )

    def depth(self) -> tuple[int, int]:
        """How many wait, and the number of the oldest (0 when none waits)."""
        columns = self._outbox.c
        row = self._sql.first(
            "depth of outbox",
            lambda: select(func.count(), func.min(columns.number)).where(columns.state == WAITING),
        )
        return (row[0], row[1] or 0) if row else (0, 0)

    def forget(self, before: int, *, unsent: bool) -> int:
        """Remove rows with a number below ``before``, a bounded part of them; returns how many went.

        Rows that wait stay, unless ``unsent``. The lines of the access log always stay.
        """
        table, columns = self._outbox, self._outbox.c
        key = (columns.patient_key, columns.number, columns.trace_id)

        def build() -> Any:
            old = columns.number < bindparam("before")
            states = (WAITING, SENT, PASSED) if unsent else (SENT, PASSED)
            which = and_(old, or_(*(columns.state == state for state in states)))
            return delete(table).where(tuple_(*key).in_(select(*key).where(which).limit(FORGET_AT_ONCE)))

        return self._sql.change(("forget messages", unsent), build, before=before)

    def _told(self) -> Any:
        line, columns = self._table, self._outbox.c
        same = and_(
            line.c.patient_key == columns.patient_key, line.c.number == columns.number,
            line.c.trace_id == columns.trace_id,
        )
        return select(columns.number, columns.particulars, *(line.c[name] for name in _FIELDS)).select_from(
            self._outbox.join(line, same)
        )


def _marking(outbox: Table) -> Any:
    columns = outbox.c
    return update(outbox).where(
        columns.patient_key == bindparam("patient"), columns.number == bindparam("line"),
        columns.trace_id == bindparam("trace"),
    ).values(state=bindparam("new_state"))


def _keyed(row: tuple[Any, ...]) -> tuple[Key, AccessLine]:
    number, particulars, *rest = row
    line = _line(tuple(rest), Particulars.from_json(particulars))
    return Key(line.patient_key or 0, number, line.trace_id), line


def _line(row: tuple[Any, ...], particulars: Particulars | None = None) -> AccessLine:
    values = dict(zip(_FIELDS, row, strict=True))
    values["patient_key"] = values["patient_key"] or None
    values["documents"] = tuple(json.loads(values["documents"])) if values["documents"] else ()
    if particulars is not None:
        values["particulars"] = particulars
    return AccessLine(**values)
