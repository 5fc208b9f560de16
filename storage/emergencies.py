"""Accesses by emergency in SQL: whom to tell, what to look at, and what was known before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Table, and_, bindparam, func, select, tuple_, update

from guard.audit.emergencies import ALERT
from guard.audit.store import AccessLine
from storage.audit import FIELDS, Key, line_of
from storage.transaction import Transaction


class SqlEmergencies:
    """Within one transaction. Numbers and times are nanoseconds since the epoch."""

    def __init__(self, transaction: Transaction, log: Table, emergencies: Table) -> None:
        self._sql = transaction
        self._log = log
        self._table = emergencies

    def since(self, number: int) -> list[tuple[Key, AccessLine, int]]:
        """Accesses from that time on, oldest first, each with when the patient was told (0: not yet)."""
        columns = self._table.c
        rows = self._sql.rows(
            "emergencies since",
            lambda: self._told().where(columns.number >= bindparam("begin")).order_by(columns.number), begin=number,
        )
        return [_keyed(row) for row in rows]

    def to_notify(self, limit: int, *, since: int = 0, after: Key | None = None) -> list[tuple[Key, AccessLine]]:
        """Accesses from that time on whose patient was not told yet, oldest first. ``after``: only those behind the
        one of this key."""
        columns = self._table.c
        order = (columns.number, columns.patient_key, columns.trace_id)
        last = after or Key(-1, since, "")
        rows = self._sql.rows(
            "emergencies to notify",
            lambda: self._told().where(
                columns.notified_at == 0, columns.number >= bindparam("last_number"),
                tuple_(*order) > tuple_(*(bindparam(f"last_{one.name}", type_=one.type) for one in order)),
            ).order_by(*order).limit(bindparam("most")),
            most=limit, **{f"last_{one.name}": getattr(last, one.name) for one in order},
        )
        return [_keyed(row)[:2] for row in rows]

    def notified(self, keys: Collection[Key], at: int) -> None:
        """The patients were told of these."""
        self._mark("notified_at", keys, at)

    def to_watch(self, limit: int) -> list[tuple[Key, AccessLine]]:
        """Accesses nobody has looked at yet, oldest first."""
        columns = self._table.c
        rows = self._sql.rows(
            "emergencies to watch",
            lambda: self._told().where(columns.watched == 0).order_by(columns.number).limit(bindparam("most")),
            most=limit,
        )
        return [_keyed(row)[:2] for row in rows]

    def watched(self, keys: Collection[Key]) -> None:
        self._mark("watched", keys, 1)

    def records_opened(self, key: Key, line: AccessLine, window: int) -> tuple[int, bool]:
        """Records this professional came to by emergency in the window (nanoseconds) that ends with this line, and
        whether the line is the first about its record there."""
        columns = self._table.c
        rows = self._sql.rows(
            "records by emergency",
            lambda: select(columns.patient_key, func.min(columns.number)).where(
                columns.caller_id == bindparam("caller"), columns.number > bindparam("begin"),
                columns.number <= bindparam("end"),
            ).group_by(columns.patient_key),
            caller=line.caller_id, begin=key.number - window, end=key.number,
        )
        return len(rows), (key.patient_key, key.number) in {(row[0], row[1]) for row in rows}

    def structures_before(self, key: Key, line: AccessLine) -> list[str]:
        """Structures this professional acted for in lines before this one."""
        columns = self._log.c
        rows = self._sql.rows(
            "structures before",
            lambda: select(columns.structure_id).distinct().where(
                columns.caller_id == bindparam("caller"), columns.number < bindparam("end"),
                columns.outcome == "success",
            ),
            caller=line.caller_id, end=key.number,
        )
        return [row[0] for row in rows]

    def alerts(self) -> list[tuple[str, str, str]]:
        """(trace id of the access, pattern, words) of every alert."""
        columns = self._log.c
        rows = self._sql.rows(
            "alerts",
            lambda: select(columns.trace_id, columns.event, columns.detail)
            .where(columns.patient_key == 0, columns.action == ALERT).order_by(columns.number),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def waiting(self, begin: int = 0, end: int = 2**63 - 1) -> int:
        """Accesses whose patient was not told yet, of between these times."""
        columns = self._table.c
        row = self._sql.first(
            "count to notify",
            lambda: select(func.count()).where(
                columns.notified_at == 0, columns.number >= bindparam("begin"), columns.number < bindparam("end")
            ),
            begin=begin, end=end,
        )
        return int(row[0]) if row else 0

    def _mark(self, column: str, keys: Collection[Key], value: int) -> None:
        columns = self._table.c
        self._sql.change_many(
            ("mark emergency", column),
            lambda: update(self._table).where(
                columns.patient_key == bindparam("patient"), columns.number == bindparam("line"),
                columns.trace_id == bindparam("trace"),
            ).values({column: bindparam("new")}),
            [{"patient": k.patient_key, "line": k.number, "trace": k.trace_id, "new": value} for k in keys],
        )

    def _told(self) -> Any:
        line, columns = self._log, self._table.c
        same = and_(
            line.c.patient_key == columns.patient_key, line.c.number == columns.number,
            line.c.trace_id == columns.trace_id,
        )
        return select(columns.number, columns.notified_at, *(line.c[name] for name in FIELDS)).select_from(
            self._table.join(line, same)
        )


def _keyed(row: tuple[Any, ...]) -> tuple[Key, AccessLine, int]:
    number, notified_at, *rest = row
    line = line_of(tuple(rest))
    return Key(line.patient_key or 0, number, line.trace_id), line, notified_at
