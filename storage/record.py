"""The record store in SQL."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, ClauseElement, Table, bindparam, delete, select, update

from guard.policy.facts import RecordStatus
from record.store import Record
from storage.tables import PATIENT_ID, TEXT, locator, record, registry_metadata
from storage.transaction import Transaction
from storage.words import compared, short
from xds.model import hl7

_COLUMNS = ("patient_key", "patient_id", "status", "opened_at", "opened_by", "consent", "channel", "closed_at",
            "objected_purposes", "subsumed_by")
_OWNED = tuple(
    table for table in registry_metadata.sorted_tables
    if table is not locator and {"patient_key", "entry_uuid"} <= set(table.c.keys())
)
"""Tables of what a patient's record holds: they move with it. The access log is not among them."""


class SqlRecordStore:
    """``record.store.RecordStore`` within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction
        self._flavour = transaction.flavour

    def find(self, patient_id: str) -> Record | None:
        columns = locator.c
        row = self._sql.first(
            "find record",
            lambda: select(columns.patient_key).where(
                columns.identifier == bindparam("cx"), columns.role == PATIENT_ID, columns.entry_uuid == ""
            ),
            cx=trimmed(patient_id),
        )
        return None if row is None else self.get(row[0])

    def get(self, patient_key: int) -> Record | None:
        row = self._sql.first(
            "get record", lambda: _all_columns().where(record.c.patient_key == bindparam("patient")),
            patient=patient_key,
        )
        return None if row is None else _from_row(row)

    def lock(self, patient_key: int) -> None:
        """What is read after this call is what the writer before has left."""
        if self._flavour.has_row_locks:
            self._sql.rows(
                "lock record",
                lambda: select(record.c.patient_key).where(record.c.patient_key == bindparam("patient"))
                .with_for_update(),
                patient=patient_key,
            )

    def add(self, new: Record) -> Record:
        """The unit stays usable after a KeyError."""
        patient_id = trimmed(new.patient_id)
        values = _row(new)
        del values["patient_key"]
        names = tuple(values)
        row = self._sql.first(
            "add record",
            lambda: record.insert().values({name: bindparam(name) for name in names}).returning(record.c.patient_key),
            **values,
        )
        patient_key = row[0] if row else 0
        taken = self._sql.change(
            "locate record", lambda: self._flavour.insert_if_free(locator),
            identifier=patient_id, role=PATIENT_ID, entry_uuid="", kind=short("Record"), patient_key=patient_key,
        ) == 0
        if taken:
            self._sql.change("drop record", lambda: delete(record).where(record.c.patient_key == bindparam("patient")),
                             patient=patient_key)
            raise KeyError("patient identifier already taken")
        return replace(new, patient_key=patient_key)

    def update(self, changed: Record) -> None:
        """Everything but the identifier it was opened under. Raises KeyError when there is no such record."""
        values = _row(changed)
        patient_key = values.pop("patient_key")
        del values["patient_id"]
        names = tuple(values)
        count = self._sql.change(
            "update record",
            lambda: update(record).where(record.c.patient_key == bindparam("patient"))
            .values({name: bindparam(f"new_{name}") for name in names}),
            patient=patient_key, **{f"new_{name}": value for name, value in values.items()},
        )
        if not count:
            raise KeyError("no such record")

    def all(self) -> list[Record]:
        """In the order they were opened."""
        rows = self._sql.rows("all records", lambda: _all_columns().order_by(record.c.patient_key))
        return [_from_row(row) for row in rows]

    def absorb(self, subsumed: Record, surviving: Record) -> None:
        """Rows are copied and deleted, not updated: on a cluster they live where their ``patient_key`` says.

        Their number is that of the subsumed record alone, and a query of the survivor stays one range of one index.
        """
        moved = {"old_patient": subsumed.patient_key, "new_patient": surviving.patient_key}
        identifiers = self._identifiers(subsumed.patient_key)
        self._flavour.hold(self._sql, identifiers)  # who looks for one of them meanwhile finds it before or after
        for table in _OWNED:
            named = {"new_id": surviving.patient_id} if "patient_id" in table.c else {}
            self._sql.change(("copy rows", table.name), partial(_copy, table), **moved, **named)
            self._sql.change(
                ("delete copied rows", table.name), partial(_delete_of, table), old_patient=subsumed.patient_key
            )
        self._sql.change(
            "relocate",
            lambda: update(locator)
            .where(
                self._flavour.is_among(locator.c.identifier, "ids"),
                locator.c.patient_key == bindparam("old_patient"), locator.c.role != PATIENT_ID,
            )
            .values(patient_key=bindparam("new_patient")),
            ids=self._flavour.listed(identifiers), **moved,
        )

    def _identifiers(self, patient_key: int) -> list[str]:
        """Every identifier under which the locator knows an object of this patient."""
        found: set[str] = set()
        for table in _OWNED:
            names = [name for name in ("entry_uuid", "unique_id", "logical_id") if name in table.c]
            for row in self._sql.rows(
                ("identifiers", table.name), partial(_named_columns, table, names), patient=patient_key
            ):
                found.update(compared(value) for value in row if value)
        return sorted(found)

    def merged_into(self, patient_key: int) -> list[Record]:
        found: list[Record] = []
        nearest = [patient_key]
        while nearest:
            rows = self._sql.rows(
                "merged records",
                lambda: _all_columns().where(self._flavour.is_among(record.c.subsumed_by, "keys"))
                .order_by(record.c.patient_key),
                keys=self._flavour.listed(nearest),
            )
            found += [_from_row(row) for row in rows]
            nearest = [row[0] for row in rows]
        return found


def _copy(table: Table) -> ClauseElement:
    """Insert the rows of ``old_patient`` again under ``new_patient``."""
    columns: list[Any] = []
    for column in table.c:
        match column.name:
            case "patient_key":
                columns.append(bindparam("new_patient", type_=BigInteger))
            case "patient_id":
                columns.append(bindparam("new_id", type_=TEXT))
            case _:
                columns.append(column)
    return table.insert().from_select(
        list(table.c.keys()), select(*columns).where(table.c.patient_key == bindparam("old_patient"))
    )


def _delete_of(table: Table) -> ClauseElement:
    return delete(table).where(table.c.patient_key == bindparam("old_patient"))


def _named_columns(table: Table, names: list[str]) -> ClauseElement:
    return select(*(table.c[name] for name in names)).where(table.c.patient_key == bindparam("patient"))


def trimmed(patient_id: str) -> str:
    """A CX without surrounding blanks and without trailing empty components, in NFC."""
    return compared("^".join(hl7.split(patient_id.strip(), "^")))


def _all_columns() -> Any:
    return select(*(record.c[name] for name in _COLUMNS))


def _row(source: Record) -> dict[str, Any]:
    values = {name: getattr(source, name) for name in _COLUMNS}
    values["status"] = source.status.value
    values["objected_purposes"] = json.dumps(sorted(source.objected_purposes))
    return values


def _from_row(row: tuple[Any, ...]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["status"] = RecordStatus(values["status"])
    values["objected_purposes"] = frozenset(json.loads(values["objected_purposes"]))
    return Record(**values)
