"""The circle of a record in SQL: who may open it, and who may not."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import and_, bindparam, delete, or_, select

from record.store import Kind, Place
from storage.tables import circle
from storage.transaction import Transaction

_PLACE = tuple(field.name for field in fields(Place))


class SqlCircle:
    """The part of ``record.store.RecordStore`` about the circle, within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction
        self._flavour = transaction.flavour

    def places(self, patient_key: int) -> list[Place]:
        rows = self._sql.rows(
            "circle",
            lambda: place_columns().where(circle.c.patient_key == bindparam("patient"))
            .order_by(circle.c.since, circle.c.kind, circle.c.subject),
            patient=patient_key,
        )
        return [place_from(row) for row in rows]

    def places_of(self, patient_key: int, person: str, structure: str) -> list[Place]:
        columns = circle.c
        rows = self._sql.rows(
            "places",
            lambda: place_columns().where(
                columns.patient_key == bindparam("patient"),
                or_(
                    and_(columns.kind == Kind.PERSON.value, columns.subject == bindparam("person")),
                    and_(columns.kind == Kind.STRUCTURE.value, columns.subject == bindparam("structure")),
                ),
            ),
            patient=patient_key, person=person, structure=structure,
        )
        return [place_from(row) for row in rows]

    def set_place(self, place: Place) -> None:
        columns = circle.c
        values = {name: getattr(place, name) for name in _PLACE} | {"kind": place.kind.value}
        self._sql.change(
            "leave place",
            lambda: delete(circle).where(
                columns.patient_key == bindparam("patient"), columns.kind == bindparam("old_kind"),
                columns.subject == bindparam("old_subject"),
            ),
            patient=place.patient_key, old_kind=place.kind.value, old_subject=place.subject,
        )
        self._sql.change("take place", circle.insert, **values)


def place_columns() -> Any:
    return select(*(circle.c[name] for name in _PLACE))


def place_from(row: tuple[Any, ...]) -> Place:
    values = dict(zip(_PLACE, row, strict=True))
    return Place(**values | {"kind": Kind(values["kind"])})
