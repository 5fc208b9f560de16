"""The access log in SQL: lines are added and read, nothing else. The outbox of audit messages beside it.

Lines wait in memory until the transaction is about to end. Only then the end of their lane is locked, their hashes are
computed and they are written: the one lock that every writer wants is held for no longer than the commit takes, and no
writer that holds it waits for another lock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from threading import Lock
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, delete, func, or_, select, tuple_, update

from guard.audit import chain
from guard.audit.emergencies import is_emergency
from guard.audit.particulars import Particulars
from guard.audit.store import KEPT as FIELDS
from guard.audit.store import AccessLine
from guard.credentials.caller import Mode
from storage.proofs import SqlProofs
from storage.tables import PASSED, SENT, WAITING
from storage.transaction import Transaction

_OF_PROFESSIONALS = tuple(mode.value for mode in (Mode.DIRECT, Mode.INDIRECT, Mode.REINFORCED_INDIRECT))
_content = attrgetter(*FIELDS)
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

    def __init__(
        self, transaction: Transaction, table: Table, outbox: Table, heads: Table, proofs: SqlProofs,
        emergencies: Table | None = None, beside: Callable[[Transaction, AccessLine, int], None] | None = None,
    ) -> None:
        """``beside`` writes what else a line with its number leaves, in the same transaction."""
        self._sql = transaction
        self._table = table
        self._outbox = outbox
        self._heads = heads
        self._proofs = proofs
        self._emergencies = emergencies
        self._beside = beside
        self._waiting: list[tuple[int, AccessLine, int]] = []

    def append(self, line: AccessLine, *, replaces: int = 0) -> int:
        if not self._sql.is_writing:
            raise RuntimeError("a line of the access log in a unit that only reads")
        if not self._waiting:
            self._sql.before_commit(self._write)
        number = _numbers.next()
        self._waiting.append((number, line, replaces))
        return number

    def _write(self) -> None:
        """Lanes are locked in one order, so that no two writers wait for each other."""
        waiting, self._waiting = self._waiting, []
        lanes: dict[int, list[tuple[int, AccessLine, int]]] = {}
        for item in waiting:
            lanes.setdefault((item[1].patient_key or 0) % self._sql.flavour.log_lanes, []).append(item)
        for lane in sorted(lanes):
            sequence, before = self._end_of(lane)
            for number, line, replaces in lanes[lane]:
                sequence += 1
                before = chain.link(before, sequence, chain.digest(line, number))
                self._insert(number, line, replaces, lane=lane, sequence=sequence, hash=before)
            self._sql.change(
                "move end", lambda: update(self._heads).where(self._heads.c.lane == bindparam("which"))
                .values(sequence=bindparam("new_sequence"), hash=bindparam("new_hash")),
                which=lane, new_sequence=sequence, new_hash=before,
            )

    def _end_of(self, lane: int) -> tuple[int, str]:
        """The newest line of a lane, which stays the newest until this transaction ends."""
        columns = self._heads.c

        def build() -> Any:
            found = select(columns.sequence, columns.hash).where(columns.lane == bindparam("which"))
            return found.with_for_update() if self._sql.flavour.has_row_locks else found

        row = self._sql.first("end of lane", build, which=lane)
        if row is None:
            self._sql.change(
                "begin lane", lambda: self._sql.flavour.insert_if_free(self._heads),
                lane=lane, sequence=0, hash=chain.GENESIS, unchained=0,
            )
            row = self._sql.first("end of lane", build, which=lane)
        return (row[0], row[1]) if row else (0, chain.GENESIS)

    def _insert(self, number: int, line: AccessLine, replaces: int, **place: Any) -> None:
        values = dict(zip(FIELDS, _content(line), strict=True)) | place
        patient_key = values["patient_key"] = line.patient_key or 0
        values["documents"] = json.dumps(line.documents) if line.documents else ""
        values["is_secret"] = int(line.is_secret)
        self._sql.change("append line", self._table.insert, number=number, **values)
        if line.assertion:
            self._proofs.keep(line.assertion_sha256, number, line.assertion)
        self._sql.change(
            "append to outbox", self._outbox.insert, patient_key=patient_key, number=number,
            trace_id=line.trace_id, particulars=line.particulars.as_json(), state=WAITING,
        )
        if self._emergencies is not None and is_emergency(line):
            self._sql.change(
                "append emergency", self._emergencies.insert, patient_key=patient_key, number=number,
                trace_id=line.trace_id, caller_id=line.caller_id, structure_id=line.structure_id, notified_at=0,
                watched=0,
            )
        if self._beside is not None:
            self._beside(self._sql, line, number)
        if replaces:
            self._sql.change(
                "pass message", lambda: _marking(self._outbox), patient=patient_key, line=replaces,
                trace=line.trace_id, new_state=PASSED,
            )

    def read_for_patient(self, patient_key: int) -> Iterator[AccessLine]:
        self._write_waiting()
        columns = self._table.c
        rows = self._sql.stream(
            "lines of patient",
            lambda: select(*(columns[name] for name in FIELDS))
            .where(columns.patient_key == bindparam("patient")).order_by(columns.number),
            patient=patient_key,
        )
        return (line_of(row) for row in rows)

    def _write_waiting(self) -> None:
        """A unit sees its own lines."""
        if self._waiting:
            self._write()

    def read_latest(self, limit: int) -> Iterator[AccessLine]:
        self._write_waiting()
        columns = self._table.c
        rows = self._sql.rows(
            "latest lines",
            lambda: select(*(columns[name] for name in FIELDS))
            .order_by(columns.number.desc()).limit(bindparam("most")),
            most=max(limit, 0),
        )
        return (line_of(row) for row in reversed(rows))

    def read_of_caller(self, caller_id: str, *, since: str, until: str, skip: int, limit: int) -> Iterator[AccessLine]:
        self._write_waiting()
        columns = self._table.c
        rows = self._sql.stream(
            "lines of caller",
            lambda: select(*(columns[name] for name in FIELDS)).where(
                columns.caller_id == bindparam("caller"), or_(*(columns.mode == mode for mode in _OF_PROFESSIONALS)),
                columns.at >= bindparam("since"),
                columns.at < bindparam("until"),
            ).order_by(columns.at, columns.number).limit(bindparam("most")).offset(bindparam("skip")),
            caller=caller_id, since=since, until=until or "~", most=limit or 2**62, skip=skip,
        )
        return (line_of(row) for row in rows)


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
        return select(columns.number, columns.particulars, *(line.c[name] for name in FIELDS)).select_from(
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
    line = line_of(tuple(rest), Particulars.from_json(particulars))
    return Key(line.patient_key or 0, number, line.trace_id), line


def line_of(row: tuple[Any, ...], particulars: Particulars | None = None) -> AccessLine:
    """From the columns ``FIELDS`` of a row."""
    values = dict(zip(FIELDS, row, strict=True))
    values["patient_key"] = values["patient_key"] or None
    values["is_secret"] = bool(values["is_secret"])
    values["documents"] = tuple(json.loads(values["documents"])) if values["documents"] else ()
    if particulars is not None:
        values["particulars"] = particulars
    return AccessLine(**values)
