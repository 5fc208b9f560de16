"""The registry's store in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from sqlalchemy import ClauseElement, Table, bindparam, delete, select, union, update

from guard.policy.facts import EVERYTHING, EntryFilter
from registry.store import EntryCriteria, FolderCriteria, SetCriteria, StoredObject
from storage import tables
from storage.conditions import Conditions, entry_conditions, folder_conditions, set_conditions
from storage.rows import (
    ASSOCIATION_COLUMNS,
    ENTRY_COLUMNS,
    FOLDER_COLUMNS,
    SET_COLUMNS,
    association_from,
    entry_from,
    folder_from,
    set_from,
    submission_rows,
)
from storage.tables import association, document_entry, entry_value, folder, locator, submission_set
from storage.transaction import Transaction
from storage.visibility import Visibility
from storage.words import bare, compared, long, short, urn
from xds.model import Association, DocumentEntry, Folder, Submission, SubmissionSet
from xds.namespaces import APPROVED, ON_DEMAND

_TABLES = {"DocumentEntry": document_entry, "SubmissionSet": submission_set, "Folder": folder,
           "Association": association}
_FACTS = {
    "DocumentEntry": ("patient_key", "entry_uuid", "patient_id", "status", "object_type", "unique_id", "hash", "size",
                      "logical_id", "version"),
    "SubmissionSet": ("patient_key", "entry_uuid", "patient_id", "status", "unique_id"),
    "Folder": ("patient_key", "entry_uuid", "patient_id", "status", "unique_id", "logical_id", "version"),
    "Association": ("patient_key", "entry_uuid", "status", "type", "source", "target"),
}


class SqlRegistryStore:
    """``registry.store.RegistryStore`` within one transaction. An iterator must be read before the unit ends."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction
        self._flavour = transaction.flavour

    # -- facts for the submission rules ---------------------------------------------------------------
    def known(self, entry_uuids: Iterable[str]) -> dict[str, StoredObject]:
        located = self._located(tables.ENTRY_UUID, [bare(value) for value in entry_uuids])
        return {found.entry_uuid: found for found in self._facts(located)}

    def by_unique_id(self, unique_ids: Iterable[str]) -> list[StoredObject]:
        wanted = sorted({compared(value) for value in unique_ids})
        self._flavour.hold(self._sql, wanted)
        return self._facts(self._located(tables.UNIQUE_ID, wanted))

    def associations_of(
        self, patient_key: int, entry_uuids: Iterable[str], types: frozenset[str] | None = None
    ) -> list[Association]:
        return self._associations(patient_key, entry_uuids, types, frozenset({APPROVED}))

    def versions(self, logical_ids: Iterable[str]) -> list[StoredObject]:
        """A first version has the logical id as its own; a later one is found by its locator line."""
        logical = [bare(value) for value in logical_ids]
        located = self._located(tables.ENTRY_UUID, logical) + self._located(tables.LOGICAL_ID, logical)
        wanted = {urn(value) for value in logical}
        return [found for found in self._facts(located) if found.logical_id in wanted]

    def references_to(self, entry_uuids: Iterable[str]) -> list[tuple[int, Association]]:
        """By index within the patients of these objects; a Reference from another patient's set has none."""
        wanted = [bare(value) for value in entry_uuids]
        located = self._located(tables.ENTRY_UUID, wanted)
        columns = association.c

        def touching(*conditions: Any) -> Any:
            return select(columns.patient_key, *(columns[name] for name in ASSOCIATION_COLUMNS)).where(*conditions)

        def build() -> ClauseElement:
            of_patients = self._flavour.is_among(columns.patient_key, "patients")
            return union(
                touching(of_patients, self._flavour.is_among(columns.source, "ids")),
                touching(of_patients, self._flavour.is_among(columns.target, "ids")),
                touching(tables.IS_REFERENCE, self._flavour.is_among(columns.target, "entries")),
            )

        rows = self._sql.rows(
            "references", build, ids=self._flavour.listed(wanted),
            patients=self._flavour.listed({patient_key for _, _, patient_key in located}),
            entries=self._flavour.listed([one for one, kind, _ in located if kind == "DocumentEntry"]),
        )
        return [(row[0], association_from(row[1:])) for row in rows]

    # -- changes ----------------------------------------------------------------------------------------
    def insert(self, patient_key: int, submission: Submission) -> None:
        """Raises KeyError when an entryUUID is already taken, by any patient; the unit must then be left."""
        for table, rows in submission_rows(patient_key, submission).items():
            self._sql.change_many(("insert", table.name), table.insert, rows)

    def set_status(self, patient_key: int, entry_uuids: Iterable[str], status: str) -> None:
        wanted = self._flavour.listed([bare(value) for value in entry_uuids])
        for table in _TABLES.values():
            self._sql.change(
                ("set status", table.name), partial(self._status_change, table),
                patient=patient_key, ids=wanted, new_status=short(status),
            )

    def set_confidentiality(self, versions: Iterable[StoredObject], codes: Iterable[str]) -> None:
        entries = [(one.patient_key, bare(one.entry_uuid)) for one in versions]
        columns = entry_value.c
        self._sql.change(
            "forget confidentiality",
            lambda: delete(entry_value).where(
                self._flavour.is_among(columns.patient_key, "patients"), columns.kind == tables.CONFIDENTIALITY,
                self._flavour.is_among(columns.entry_uuid, "ids"),
            ),
            patients=self._flavour.listed({patient_key for patient_key, _ in entries}),
            ids=self._flavour.listed([entry_uuid for _, entry_uuid in entries]),
        )
        self._sql.change_many("set confidentiality", entry_value.insert, [
            {"patient_key": patient_key, "kind": tables.CONFIDENTIALITY, "value": code, "entry_uuid": entry_uuid}
            for patient_key, entry_uuid in entries for code in sorted({compared(code) for code in codes})
        ])

    def remove(self, objects: Iterable[StoredObject]) -> None:
        gone = list(objects)
        uuids = [bare(one.entry_uuid) for one in gone]
        listed = self._flavour.listed
        patients, ids = listed({one.patient_key for one in gone}), listed(uuids)
        for table in (*_TABLES.values(), entry_value):
            self._sql.change(("remove", table.name), partial(self._removal, table), patients=patients, ids=ids)
        self._sql.change(
            "remove own locator", partial(self._located_removal, tables.ENTRY_UUID), identifiers=ids
        )
        for role, identifiers in (
            (tables.UNIQUE_ID, [compared(one.unique_id) for one in gone if one.unique_id]),
            (tables.LOGICAL_ID, [bare(one.logical_id) for one in gone if one.logical_id]),
        ):
            self._sql.change(
                ("remove locator", role), partial(self._located_removal, role),
                identifiers=listed(identifiers), ids=ids,
            )

    def touch_folders(self, patient_key: int, folder_uuids: Iterable[str], last_update_time: str) -> None:
        self._sql.change(
            "touch folders",
            lambda: update(folder)
            .where(folder.c.patient_key == bindparam("patient"), self._flavour.is_among(folder.c.entry_uuid, "ids"))
            .values(last_update_time=bindparam("new_time")),
            patient=patient_key, ids=self._flavour.listed([bare(value) for value in folder_uuids]),
            new_time=last_update_time,
        )

    # -- queries ------------------------------------------------------------------------------------------
    def locate(
        self, *, entry_uuids: Iterable[str] = (), unique_ids: Iterable[str] = (), logical_ids: Iterable[str] = ()
    ) -> set[int]:
        logical = [bare(value) for value in logical_ids]
        rows = self._located(tables.ENTRY_UUID, [*(bare(value) for value in entry_uuids), *logical])
        rows += self._located(tables.LOGICAL_ID, logical)
        rows += self._located(tables.UNIQUE_ID, [compared(value) for value in unique_ids])
        return {patient_key for _, _, patient_key in rows}

    def entries(self, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> Iterator[DocumentEntry]:
        return (entry_from(row) for row in self._entry_rows(patient_key, where, visible, ENTRY_COLUMNS))

    def entry_uuids(self, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> list[str]:
        return [urn(row[0]) for row in self._entry_rows(patient_key, where, visible, ("entry_uuid",))]

    def submission_sets(self, patient_key: int, where: SetCriteria, visible: EntryFilter) -> Iterator[SubmissionSet]:
        """Nothing under a filter that denies all."""
        if visible.deny_all:
            return iter(())
        conditions = set_conditions(self._flavour, patient_key, where)
        columns = submission_set.c
        if where.unique_ids is not None:
            named = self._owners("SubmissionSet", tables.UNIQUE_ID, where.unique_ids)
            conditions.add(*conditions.among(columns.entry_uuid, named))
        rows = self._sql.rows(
            (*conditions.shape, "full"),
            lambda: select(*(columns[name] for name in SET_COLUMNS)).where(conditions.built())
            .order_by(columns.submission_time.desc(), columns.entry_uuid),
            **conditions.values,
        )
        hidden = Visibility(self._sql, patient_key, visible).hidden_sets(urn(row[0]) for row in rows)
        return (set_from(row) for row in rows if urn(row[0]) not in hidden)

    def folders(self, patient_key: int, entry_uuids: Iterable[str]) -> Iterator[Folder]:
        """In the order of their entryUUIDs."""
        wanted = [bare(value) for value in entry_uuids]
        columns = folder.c
        rows = self._sql.rows(
            "folders",
            lambda: select(*(columns[name] for name in FOLDER_COLUMNS))
            .where(columns.patient_key == bindparam("patient"), self._flavour.is_among(columns.entry_uuid, "ids"))
            .order_by(columns.entry_uuid),
            patient=patient_key, ids=self._flavour.listed(wanted),
        ) if wanted else []
        return (folder_from(row) for row in rows)

    def find_folders(self, patient_key: int, where: FolderCriteria, visible: EntryFilter) -> list[Folder]:
        """Nothing under a filter that denies all."""
        if visible.deny_all:
            return []
        conditions = folder_conditions(self._flavour, patient_key, where)
        columns = folder.c
        self._add_named(conditions, "Folder", columns, where)
        rows = self._sql.rows(
            (*conditions.shape, "full"),
            lambda: select(*(columns[name] for name in FOLDER_COLUMNS)).where(conditions.built())
            .order_by(columns.last_update_time.desc(), columns.entry_uuid),
            **conditions.values,
        )
        hidden = Visibility(self._sql, patient_key, visible).hidden_folders(urn(row[0]) for row in rows)
        return [folder_from(row) for row in rows if urn(row[0]) not in hidden]

    def associations(
        self, patient_key: int, entry_uuids: Iterable[str], visible: EntryFilter,
        types: frozenset[str] | None = None, statuses: frozenset[str] | None = None,
    ) -> list[Association]:
        if visible.deny_all:
            return []
        found = self._associations(patient_key, entry_uuids, types, statuses)
        hidden = Visibility(self._sql, patient_key, visible).hidden_associations(found)
        return [one for one in found if one.entry_uuid not in hidden]

    def associations_named(
        self, patient_key: int, entry_uuids: Iterable[str], visible: EntryFilter, statuses: frozenset[str] | None = None
    ) -> list[Association]:
        wanted = [bare(value) for value in entry_uuids]
        if visible.deny_all or not wanted:
            return []
        columns = association.c
        rows = self._sql.rows(
            "associations named",
            lambda: select(*(columns[name] for name in ASSOCIATION_COLUMNS)).where(
                columns.patient_key == bindparam("patient"), self._flavour.is_among(columns.entry_uuid, "ids")
            ).order_by(columns.entry_uuid),
            patient=patient_key, ids=self._flavour.listed(wanted),
        )
        found = [one for one in map(association_from, rows) if statuses is None or one.status in statuses]
        hidden = Visibility(self._sql, patient_key, visible).hidden_associations(found)
        return [one for one in found if one.entry_uuid not in hidden]

    def patients_with(self, where: EntryCriteria | FolderCriteria, limit: int) -> list[int]:
        """In the order of their keys as far as they are found."""
        if isinstance(where, EntryCriteria):
            table, conditions = document_entry, entry_conditions(self._flavour, None, where, EVERYTHING)
        else:
            table, conditions = folder, folder_conditions(self._flavour, None, where)
        rows = self._sql.rows(
            (*conditions.shape, "patients"),
            lambda: select(table.c.patient_key).where(conditions.built()).distinct().limit(bindparam("most")),
            most=limit, **conditions.values,
        )
        return sorted(row[0] for row in rows)

    # -- check, export and benches --------------------------------------------------------------------------
    def held_by(self, repository_unique_id: str) -> Iterator[tuple[str, str, int | None]]:
        """The repository is found in the text of each row: an OID has nothing in it that JSON escapes."""
        columns = document_entry.c
        return self._sql.stream(
            "held by repository",
            lambda: select(columns.unique_id, columns.hash, columns.size)
            .where(columns.content.like(bindparam("said")), columns.object_type != short(ON_DEMAND))
            .order_by(columns.unique_id),
            said=f'%"rep":"{repository_unique_id}"%',
        )

    # -- parts ------------------------------------------------------------------------------------------------
    def _located(self, role: str, identifiers: list[str]) -> list[tuple[str, str, int]]:
        """(stored entryUUID, kind, patient_key) of the owners of these identifiers."""
        if not identifiers:
            return []
        columns = locator.c
        rows = self._sql.rows(
            "locate",
            lambda: select(columns.identifier, columns.entry_uuid, columns.kind, columns.patient_key)
            .where(self._flavour.is_among(columns.identifier, "ids"), columns.role == bindparam("role_wanted")),
            ids=self._flavour.listed(identifiers), role_wanted=role,
        )
        return [
            (entry_uuid or identifier, long(kind), patient_key) for identifier, entry_uuid, kind, patient_key in rows
        ]

    def _owners(self, kind: str, role: str, identifiers: Iterable[str]) -> list[str]:
        """Stored entryUUIDs of the objects of one kind that carry these identifiers; never empty (empty: not asked)."""
        located = self._located(role, [compared(value) for value in identifiers])
        return [entry_uuid for entry_uuid, found, _ in located if found == kind] or [""]

    def _facts(self, located: list[tuple[str, str, int]]) -> list[StoredObject]:
        found = []
        for kind, names in _FACTS.items():
            rows = [(entry_uuid, patient_key) for entry_uuid, of, patient_key in located if of == kind]
            if not rows:
                continue
            for row in self._sql.rows(
                ("facts", kind), partial(self._facts_query, _TABLES[kind].c, names),
                patients=self._flavour.listed({patient_key for _, patient_key in rows}),
                ids=self._flavour.listed({entry_uuid for entry_uuid, _ in rows}),
            ):
                found.append(_stored(kind, dict(zip(names, row, strict=True))))
        return found

    def _facts_query(self, columns: Any, names: tuple[str, ...]) -> ClauseElement:
        return select(*(columns[name] for name in names)).where(
            self._flavour.is_among(columns.patient_key, "patients"), self._flavour.is_among(columns.entry_uuid, "ids")
        )

    def _removal(self, table: Table) -> ClauseElement:
        return delete(table).where(
            self._flavour.is_among(table.c.patient_key, "patients"), self._flavour.is_among(table.c.entry_uuid, "ids")
        )

    def _located_removal(self, role: str) -> ClauseElement:
        """The line of an entryUUID is its own; other identifiers may have further owners."""
        columns = locator.c
        found = delete(locator).where(columns.role == role, self._flavour.is_among(columns.identifier, "identifiers"))
        return found if role == tables.ENTRY_UUID else found.where(self._flavour.is_among(columns.entry_uuid, "ids"))

    def _status_change(self, table: Table) -> ClauseElement:
        is_meant = self._flavour.is_among(table.c.entry_uuid, "ids")
        return update(table).where(table.c.patient_key == bindparam("patient"), is_meant).values(
            status=bindparam("new_status")
        )

    def _entry_rows(
        self, patient_key: int, where: EntryCriteria, visible: EntryFilter, names: tuple[str, ...]
    ) -> list[tuple[Any, ...]]:
        if visible.deny_all:
            return []
        conditions = entry_conditions(self._flavour, patient_key, where, visible)
        columns = document_entry.c
        self._add_named(conditions, "DocumentEntry", columns, where)
        return self._sql.rows(
            (*conditions.shape, names),
            lambda: select(*(columns[name] for name in names)).where(conditions.built())
            .order_by(columns.creation_time.desc(), columns.entry_uuid),
            **conditions.values,
        )

    def _add_named(
        self, conditions: Conditions, kind: str, columns: Any, where: EntryCriteria | FolderCriteria
    ) -> None:
        """The uniqueIds and logical ids asked for, which the locator knows."""
        if where.unique_ids is not None:
            owners = self._owners(kind, tables.UNIQUE_ID, where.unique_ids)
            conditions.add(*conditions.among(columns.entry_uuid, owners))
        if where.logical_ids is not None:
            logical = [bare(value) for value in where.logical_ids]
            later = self._owners(kind, tables.LOGICAL_ID, logical)
            conditions.add(*conditions.among(columns.entry_uuid, [*logical, *later]))
            conditions.add(*conditions.among(columns.logical_id, logical))

    def _associations(
        self, patient_key: int, entry_uuids: Iterable[str], types: frozenset[str] | None,
        statuses: frozenset[str] | None,
    ) -> list[Association]:
        """Every association with an end among ``entry_uuids``, in the order of their entryUUIDs."""
        wanted = [bare(value) for value in entry_uuids]
        if not wanted or (types is not None and not types) or (statuses is not None and not statuses):
            return []
        columns = association.c

        def touching(end: Any) -> Any:
            return select(*(columns[name] for name in ASSOCIATION_COLUMNS)).where(
                columns.patient_key == bindparam("patient"), self._flavour.is_among(end, "ids")
            )

        rows = self._sql.rows(
            "associations", lambda: union(touching(columns.source), touching(columns.target)).order_by("entry_uuid"),
            patient=patient_key, ids=self._flavour.listed(wanted),
        )
        of_type = None if types is None else {short(value) for value in types}
        of_status = None if statuses is None else {short(value) for value in statuses}
        return [
            association_from(row) for row in rows
            if (of_type is None or row[2] in of_type) and (of_status is None or row[1] in of_status)
        ]


def _stored(kind: str, row: dict[str, Any]) -> StoredObject:
    row["entry_uuid"] = urn(row["entry_uuid"])
    row["status"] = long(row["status"])
    if "object_type" in row:
        row["object_type"] = long(row["object_type"])
    if row.get("logical_id"):
        row["logical_id"] = urn(row["logical_id"])
    if "type" in row:
        row["association_type"] = long(row.pop("type"))
        row["source"], row["target"] = urn(row["source"]), urn(row["target"])
    return StoredObject(kind=kind, **row)
