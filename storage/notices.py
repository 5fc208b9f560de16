"""Notices of new documents in SQL: who wants them, and what waits to be told."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Table, and_, bindparam, delete, func, select, tuple_

from guard.audit.access_log import DEPOSIT, REVEAL, SUCCESS
from guard.audit.store import AccessLine
from record.notices import PROFESSIONAL, Wish
from storage.audit import FIELDS, line_of
from storage.tables import TEXT, access_log, notice, notice_wish
from storage.transaction import Transaction

_WISH = ("patient_key", "kind", "recipient", "types", "caller", "since")
_KEY = ("patient_key", "number", "trace_id", "kind", "recipient")


class Key(NamedTuple):
    """Names one notice: a line of the log, and whom it is for."""

    patient_key: int
    number: int
    trace_id: str
    kind: str
    recipient: str


_ORDER = ("number", "patient_key", "trace_id", "kind", "recipient")
_BEFORE_ALL = Key(-1, 0, "", "", "")


class SqlNotices:
    """``record.notices.NoticeStore`` within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction

    def set_wish(self, wish: Wish) -> None:
        self._drop(notice_wish, wish.patient_key, wish.kind, wish.recipient)
        values = {name: getattr(wish, name) for name in _WISH} | {"types": json.dumps(sorted(wish.types))}
        self._sql.change("want notices", notice_wish.insert, **values)

    def drop_wish(self, patient_key: int, kind: str, recipient: str) -> None:
        for table in (notice_wish, notice):
            self._drop(table, patient_key, kind, recipient)

    def _drop(self, table: Table, patient_key: int, kind: str, recipient: str) -> None:
        columns = table.c
        self._sql.change(
            ("want no notices", table.name),
            lambda: delete(table).where(
                columns.patient_key == bindparam("patient"), columns.kind == bindparam("old_kind"),
                columns.recipient == bindparam("old_recipient"),
            ),
            patient=patient_key, old_kind=kind, old_recipient=recipient,
        )

    def wish(self, patient_key: int, kind: str, recipient: str) -> Wish | None:
        columns = notice_wish.c
        row = self._sql.first(
            "wish",
            lambda: select(columns.types, columns.caller, columns.since).where(
                columns.patient_key == bindparam("patient"), columns.kind == bindparam("of_kind"),
                columns.recipient == bindparam("of_recipient"),
            ),
            patient=patient_key, of_kind=kind, of_recipient=recipient,
        )
        return _wish(patient_key, kind, recipient, *row) if row else None

    def waiting(self, limit: int, after: Key | None = None) -> list[tuple[Key, AccessLine, Wish]]:
        columns, line = notice.c, access_log.c
        last = after or _BEFORE_ALL
        of_line = and_(
            line.patient_key == columns.patient_key, line.number == columns.number, line.trace_id == columns.trace_id
        )
        wish = notice_wish.c
        of_wish = and_(
            wish.patient_key == columns.patient_key, wish.kind == columns.kind, wish.recipient == columns.recipient
        )
        rows = self._sql.rows(
            "notices waiting",
            lambda: select(
                *(columns[name] for name in _KEY), wish.types, wish.caller, wish.since,
                *(line[name] for name in FIELDS),
            ).select_from(notice.join(access_log, of_line).join(notice_wish, of_wish))
            .where(
                columns.number >= bindparam("last_number"),
                tuple_(*(columns[name] for name in _ORDER)) > tuple_(
                    *(bindparam(f"last_{name}", type_=columns[name].type) for name in _ORDER)
                ),
            )
            .order_by(*(columns[name] for name in _ORDER)).limit(bindparam("most")),
            most=limit, **{f"last_{name}": getattr(last, name) for name in _ORDER},
        )
        return [_read(row) for row in rows]

    def told(self, keys: Collection[Key]) -> None:
        columns = notice.c
        self._sql.change_many(
            "notices told",
            lambda: delete(notice).where(*(columns[name] == bindparam(f"of_{name}") for name in _KEY)),
            [{f"of_{name}": value for name, value in key._asdict().items()} for key in keys],
        )

    def count(self, before: int = 2**63 - 1) -> int:
        """Of those nobody was told of yet, of deposits before that number."""
        row = self._sql.first(
            "count notices",
            lambda: select(func.count()).select_from(notice).where(notice.c.number < bindparam("end")), end=before,
        )
        return int(row[0]) if row else 0

    def give_up(self, before: int) -> None:
        self._sql.change(
            "give up notices", lambda: delete(notice).where(notice.c.number < bindparam("end")), end=before
        )


def leave(sql: Transaction, line: AccessLine, number: int) -> None:
    """A notice for everybody who wants one of this line: a deposit; for the holder and those who represent him also
    what becomes visible to him."""
    if line.outcome != SUCCESS or line.action not in (DEPOSIT, REVEAL) or not (line.patient_key and line.documents):
        return
    is_revealed = line.action == REVEAL

    def build() -> Any:
        wish = notice_wish.c
        where = [wish.patient_key == bindparam("patient")]
        if is_revealed:
            where.append(wish.kind != PROFESSIONAL)
        return notice.insert().from_select(list(_KEY), select(
            wish.patient_key, bindparam("line", type_=BigInteger), bindparam("trace", type_=TEXT), wish.kind,
            wish.recipient,
        ).where(*where))

    sql.change(("leave notices", is_revealed), build, patient=line.patient_key, line=number, trace=line.trace_id)


def _read(row: tuple[Any, ...]) -> tuple[Key, AccessLine, Wish]:
    key, (types, caller, since), line = Key(*row[:5]), row[5:8], row[8:]
    return key, line_of(tuple(line)), _wish(key.patient_key, key.kind, key.recipient, types, caller, since)


def _wish(patient_key: int, kind: str, recipient: str, types: str, caller: str, since: str) -> Wish:
    return Wish(patient_key=patient_key, kind=kind, recipient=recipient, types=frozenset(json.loads(types)),
                caller=caller, since=since)
