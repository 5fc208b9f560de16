"""The record store in SQL: records, their identity, and their destruction. The circle is in ``storage.circle``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, ClauseElement, Table, and_, bindparam, delete, exists, func, or_, select, update

from guard.policy.facts import EVERYTHING, EntryFilter, RecordStatus
from record.administrative import AdministrativeData, search_key
from record.store import Destruction, Erasure, Kind, Openable, Place, Record
from registry.store import EntryCriteria, SetCriteria
from storage.circle import SqlCircle, place_columns, place_from
from storage.registry import SqlRegistryStore
from storage.tables import (
    PATIENT_ID,
    TEXT,
    access_log,
    circle,
    destruction,
    erasure,
    locator,
    notice,
    notice_wish,
    record,
    record_identifier,
    record_traits,
    registry_metadata,
    submission_set,
)
from storage.words import compared, short
from xds.model import hl7

_COLUMNS = ("patient_key", "patient_id", "status", "opened_at", "opened_by", "consent", "channel", "closed_at",
            "objected_purposes", "subsumed_by", "closed_because", "deceased_on", "destruction_token",
            "destruction_asked_at", "shows_masked", "is_attached")
_OWNED = tuple(
    table for table in registry_metadata.sorted_tables
    if table is not locator and {"patient_key", "entry_uuid"} <= set(table.c.keys())
)
"""Tables of what a patient's record holds: they move with it. The access log is not among them."""
_FLAGS = ("shows_masked", "is_attached")
_RECEIPT = tuple(field.name for field in fields(Destruction))


class SqlRecordStore(SqlCircle):
    """``record.store.RecordStore`` within one transaction."""

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
        if not self._locate(patient_id, patient_key):
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

    def _locate(self, patient_id: str, patient_key: int) -> bool:
        """False when the identifier leads to somebody already."""
        return self._sql.change(
            "locate record", lambda: self._flavour.insert_if_free(locator),
            identifier=patient_id, role=PATIENT_ID, entry_uuid="", kind=short("Record"), patient_key=patient_key,
        ) > 0

    def all(self) -> list[Record]:
        """In the order they were opened."""
        rows = self._sql.rows("all records", lambda: _all_columns().order_by(record.c.patient_key))
        return [_from_row(row) for row in rows]

    def closed_before(self, closed_at: str) -> list[Record]:
        return self._in_state(RecordStatus.CLOSED, record.c.closed_at, closed_at)

    def ended_before(self, closed_at: str) -> list[Record]:
        return [*self.closed_before(closed_at),
                *self._in_state(RecordStatus.DESTROYED, record.c.closed_at, closed_at)]

    def announced(self, before: str) -> list[Record]:
        return self._in_state(RecordStatus.ANNOUNCED, record.c.opened_at, before)

    def _in_state(self, status: RecordStatus, column: Any, before: str) -> list[Record]:
        rows = self._sql.rows(
            ("records in state", column.name),
            lambda: _all_columns().where(record.c.status == bindparam("state"), column < bindparam("before"))
            .order_by(record.c.patient_key),
            state=status.value, before=before,
        )
        return [_from_row(row) for row in rows]

    # -- identity -----------------------------------------------------------------------------------------
    def add_identifier(self, patient_key: int, patient_id: str) -> None:
        patient_id = trimmed(patient_id)
        if not self._locate(patient_id, patient_key):
            raise KeyError("patient identifier already taken")
        self._sql.change("add identifier", record_identifier.insert, patient_key=patient_key, patient_id=patient_id)

    def identifiers(self, patient_key: int) -> tuple[str, ...]:
        found = self.get(patient_key)
        rows = self._sql.rows(
            "identifiers of record",
            lambda: select(record_identifier.c.patient_id)
            .where(record_identifier.c.patient_key == bindparam("patient")).order_by(record_identifier.c.patient_id),
            patient=patient_key,
        )
        return (*([found.patient_id] if found else []), *(row[0] for row in rows))

    def traits(self, patient_key: int) -> AdministrativeData:
        row = self._sql.first(
            "traits",
            lambda: select(record_traits.c.content).where(record_traits.c.patient_key == bindparam("patient")),
            patient=patient_key,
        )
        return AdministrativeData.from_json(row[0]) if row else AdministrativeData()

    def set_traits(self, patient_key: int, traits: AdministrativeData) -> None:
        self._sql.change("drop traits", partial(_delete_of, record_traits), old_patient=patient_key)
        self._sql.change(
            "set traits", record_traits.insert, patient_key=patient_key, content=traits.as_json(), **_searched(traits)
        )

    def by_traits(self, wanted: AdministrativeData, limit: int) -> list[Record]:
        asked = {name: value for name, value in _searched(wanted).items() if value}
        asked.pop("used_key", None)  # one name is asked for: it may be that of birth or the used one
        values: dict[str, Any] = {"most": limit, "state": RecordStatus.ACTIVE.value, **asked}
        values |= {f"{name}_end": asked[name] + chr(0x10FFFF) for name in asked if name.endswith("_key")}
        rows = self._sql.rows(("records by traits", *sorted(asked)), partial(_by_traits, sorted(asked)), **values)
        return [_from_row(row) for row in rows]

    def openable(
        self, kind: Kind, subject: str, *, at: str, since: str = "", by_document: bool = False, person: str = ""
    ) -> list[Openable]:
        columns = circle.c
        rows = self._sql.rows(
            "openable",
            lambda: place_columns().where(
                columns.subject == bindparam("subject"), columns.kind == bindparam("kind"),
                columns.blocked_since == "", columns.basis != "",
                or_(columns.until == "", columns.until > bindparam("at")),
            ).order_by(columns.patient_key),
            subject=subject, kind=kind.value, at=at,
        )
        found = [self._openable(place_from(row), person) for row in rows]
        return [
            one for one in found
            if one is not None and (one.last_document_at if by_document else one.place.since) >= since
        ]

    def last_document_at(self, patient_key: int, visible: EntryFilter) -> str:
        newest = next(SqlRegistryStore(self._sql).submission_sets(patient_key, SetCriteria(), visible), None)
        return _iso(newest.submission_time if newest else None)

    def _openable(self, place: Place, person: str) -> Openable | None:
        found = self.get(place.patient_key)
        if found is None or found.status is not RecordStatus.ACTIVE:
            return None
        key = place.patient_key
        newest = self._sql.first("last document", partial(_newest_submission), patient=key)
        seen = self._sql.first("last access", partial(_newest_access), patient=key, person=person)
        return Openable(
            place=place, record=found, patient_ids=self.identifiers(key), traits=self.traits(key),
            last_document_at=_iso(newest[0] if newest else None), last_access_at=(seen[0] if seen else "") or "",
        )

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
        self._absorb_person(subsumed, surviving)

    def _absorb_person(self, subsumed: Record, surviving: Record) -> None:
        """Whom either record barred stays barred. An authorisation was given for one record and opens no other.

        Further identifiers stay with the subsumed record and lead to it.
        """
        old, new = subsumed.patient_key, surviving.patient_key
        known = {(place.kind, place.subject): place for place in self.places(new)}
        for place in self.places(old):
            if place.blocked_since:
                bare_place = replace(place, patient_key=new, basis="", since="", until="", attending_since="")
                found = known.get((place.kind, place.subject), bare_place)
                self.set_place(replace(found, blocked_since=found.blocked_since or place.blocked_since))
        traits = self.traits(old)
        if traits != AdministrativeData() and self.traits(new) == AdministrativeData():
            self.set_traits(new, traits)
        for table in (circle, record_traits, notice_wish, notice):
            self._sql.change(("delete all rows", table.name), partial(_delete_of, table), old_patient=old)

    # -- destruction --------------------------------------------------------------------------------------
    def destroy(self, old: Record, receipt: str, at: str) -> Destruction:
        """The row that stays keeps the key, under which the access log is read, and the identifier it was opened under.

        A document that another record holds too is not erased. Audit messages not sent yet are sent: they say
        nothing the access log does not say.
        """
        key = old.patient_key
        registry = SqlRegistryStore(self._sql)
        held = {
            Erasure(entry.repository_unique_id, entry.unique_id, entry.hash.lower())
            for entry in registry.entries(key, EntryCriteria(), EVERYTHING) if entry.unique_id and entry.hash
        }
        objects = self._identifiers(key)
        self._flavour.hold(self._sql, objects)
        for table in (*_OWNED, record_traits, circle, notice_wish, notice):
            self._sql.change(("delete all rows", table.name), partial(_delete_of, table), old_patient=key)
        self._delete_located(key, objects)
        for one in (old, *self.merged_into(key)):
            self._delete_located(one.patient_key, [trimmed(value) for value in self.identifiers(one.patient_key)])
            self._sql.change(
                "delete identifiers", partial(_delete_of, record_identifier), old_patient=one.patient_key
            )
            self.update(Record(patient_key=one.patient_key, patient_id=one.patient_id, opened_at="",
                               closed_at=old.closed_at or at, status=RecordStatus.DESTROYED))
        still = {(o.unique_id, o.hash.lower()) for o in registry.by_unique_id({one.unique_id for one in held})}
        gone = sorted((one for one in held if (one.unique_id, one.sha1) not in still), key=repr)
        self._sql.change_many(
            "list erasures", erasure.insert,
            [{"patient_key": key, "repository_unique_id": one.repository_unique_id,
              "unique_id": compared(one.unique_id), "sha1": one.sha1} for one in gone],
        )
        made = Destruction(receipt=receipt, patient_key=key, decided_at=at, documents=len(gone))
        self._sql.change(
            "keep receipt", destruction.insert, **{name: getattr(made, name) for name in _RECEIPT}
        )
        return made

    def _delete_located(self, patient_key: int, identifiers: Collection[str]) -> None:
        self._sql.change(
            "delete locator",
            lambda: delete(locator).where(
                self._flavour.is_among(locator.c.identifier, "ids"), locator.c.patient_key == bindparam("old_patient")
            ),
            ids=self._flavour.listed(identifiers), old_patient=patient_key,
        )

    def erasures(self, repository_unique_id: str, limit: int) -> list[Erasure]:
        columns = erasure.c
        rows = self._sql.rows(
            "erasures",
            lambda: select(
                columns.repository_unique_id, columns.unique_id, columns.sha1, destruction.c.decided_at
            )
            .select_from(erasure.join(destruction, destruction.c.patient_key == columns.patient_key))
            .where(columns.repository_unique_id == bindparam("repository")).limit(bindparam("most")),
            repository=repository_unique_id, most=limit,
        )
        return [Erasure(*row) for row in rows]

    def erased(self, erasures: Iterable[Erasure]) -> None:
        columns = erasure.c
        self._sql.change_many(
            "erased",
            lambda: delete(erasure).where(
                columns.repository_unique_id == bindparam("repository"),
                columns.unique_id == bindparam("wanted"), columns.sha1 == bindparam("wanted_sha1"),
            ),
            [{"repository": one.repository_unique_id, "wanted": compared(one.unique_id), "wanted_sha1": one.sha1}
             for one in erasures],
        )

    def destructions(self, *, completed: bool | None = None) -> list[Destruction]:
        rows = self._sql.rows(
            "destructions",
            lambda: select(*(destruction.c[name] for name in _RECEIPT))
            .order_by(destruction.c.decided_at, destruction.c.receipt),
        )
        found = [Destruction(**dict(zip(_RECEIPT, row, strict=True))) for row in rows]
        return [one for one in found if completed is None or bool(one.completed_at) is completed]

    def settle_destructions(self, at: str) -> list[Destruction]:
        waiting = exists(select(erasure.c.patient_key).where(erasure.c.patient_key == destruction.c.patient_key))
        rows = self._sql.rows(
            "settled destructions",
            lambda: select(destruction.c.receipt).where(destruction.c.completed_at == "", ~waiting),
        )
        done = {row[0] for row in rows}
        self._mark(done, "completed_at", at)
        return [one for one in self.destructions(completed=True) if one.receipt in done] if done else []

    def scrubbed(self, receipts: Collection[str], at: str) -> None:
        self._mark(receipts, "scrubbed_at", at)

    def _mark(self, receipts: Collection[str], column: str, at: str) -> None:
        self._sql.change(
            ("mark destruction", column),
            lambda: update(destruction).where(self._flavour.is_among(destruction.c.receipt, "receipts"))
            .values({column: bindparam("new_time")}),
            receipts=self._flavour.listed(receipts), new_time=at,
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


def _searched(traits: AdministrativeData) -> dict[str, str]:
    return {
        "birth_key": search_key(traits.birth_name), "used_key": search_key(traits.used_name),
        "given_key": search_key(traits.used_given_name or traits.birth_given_names), "birth_date": traits.birth_date,
        "sex": traits.sex, "postal_code": traits.postal_code, "city_key": search_key(traits.city),
    }


def _by_traits(asked: list[str]) -> Any:
    columns = record_traits.c

    def begins(column: Any, name: str) -> Any:
        return and_(column >= bindparam(name), column < bindparam(f"{name}_end"))

    where: list[Any] = []
    for name in asked:
        if name == "birth_key":
            where.append(or_(begins(columns.birth_key, name), begins(columns.used_key, name)))
        elif name.endswith("_key"):
            where.append(begins(columns[name], name))
        else:
            where.append(columns[name] == bindparam(name))
    joined = record.join(record_traits, record.c.patient_key == columns.patient_key)
    return (
        _all_columns().select_from(joined).where(record.c.status == bindparam("state"), *where)
        .order_by(record.c.patient_key).limit(bindparam("most"))
    )


def _newest_submission() -> Any:
    return select(func.max(submission_set.c.submission_time)).where(
        submission_set.c.patient_key == bindparam("patient")
    )


def _newest_access() -> Any:
    columns = access_log.c
    return select(func.max(columns.at)).where(
        columns.patient_key == bindparam("patient"), columns.caller_id == bindparam("person"),
        columns.action == "read", columns.outcome == "success",
    )


def _iso(dtm: str | None) -> str:
    """14 digits of XDS as the UTC time of the other columns."""
    if not dtm:
        return ""
    d = dtm.ljust(14, "0")
    return f"{d[:4]}-{d[4:6]}-{d[6:8]}T{d[8:10]}:{d[10:12]}:{d[12:14]}.000Z"


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
    values |= {name: int(getattr(source, name)) for name in _FLAGS}
    values["objected_purposes"] = json.dumps(sorted(source.objected_purposes))
    return values


def _from_row(row: tuple[Any, ...]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["status"] = RecordStatus(values["status"])
    values |= {name: bool(values[name]) for name in _FLAGS}
    values["objected_purposes"] = frozenset(json.loads(values["objected_purposes"]))
    return Record(**values)
