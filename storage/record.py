"""The record store in SQL."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from guard.policy.facts import RecordStatus
from record.store import Record
from storage.tables import PATIENT_ID, locator, record
from storage.transaction import Transaction
from storage.words import compared, short
from xds.model import hl7

_COLUMNS = ("patient_key", "patient_id", "status", "opened_at", "opened_by", "consent", "channel", "closed_at",
            "objected_purposes")


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
