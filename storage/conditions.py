"""The conditions of one query over entries, submission sets or folders, and the visibility filter in SQL.

Each condition brings a token for its shape, a function that builds it, and its values. Queries of one shape
share one SQL text, so a condition is built by SQLAlchemy once and only its values change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Table,
    and_,
    bindparam,
    exists,
    false,
    literal_column,
    not_,
    or_,
    select,
    true,
)

from guard.policy.facts import EVERYTHING, EntryFilter
from registry.store import EntryCriteria, FolderCriteria, SetCriteria
from storage import tables
from storage.tables import document_entry, entry_value, folder, submission_set
from storage.transaction import Flavour
from storage.words import bare, compared, short
from xds.namespaces import DEPRECATED, OFFLINE, ON_DEMAND

_CODE_COLUMNS = frozenset({"class_code", "type_code", "practice_setting_code", "healthcare_facility_type_code",
                           "format_code", "document_availability"})
_VALUE_KINDS = {"event_codes": tables.EVENT, "confidentiality_codes": tables.CONFIDENTIALITY,
                "reference_ids": tables.REFERENCE}
_TIME_COLUMNS = frozenset({"creation_time", "service_start_time", "service_stop_time"})
_FIRST: ColumnElement[int] = literal_column("1")
"""Written into the text, because only then do the indexes of later versions serve."""

Condition = tuple[str, Callable[[], ColumnElement[bool]]]
"""The token of a condition's shape, and the function that builds it."""


class Conditions:
    """Conditions that must all hold, over the rows of one patient, or of all patients when the key is None."""

    def __init__(self, flavour: Flavour, patient_key: int | None) -> None:
        self._flavour = flavour
        self._across = patient_key is None
        self._build: list[Callable[[], ColumnElement[bool]]] = []
        self.shape: list[str] = []
        self.values: dict[str, Any] = {} if patient_key is None else {"patient": patient_key}

    def add(self, token: str, build: Callable[[], ColumnElement[bool]]) -> None:
        """``token`` says everything that ``build`` depends on."""
        self.shape.append(token)
        self._build.append(build)

    def of(self, table: Table) -> None:
        """Rows of this table and of this patient."""
        if self._across:
            self.add(f"any {table.name}", true)
        else:
            self.add(table.name, lambda: table.c.patient_key == bindparam("patient"))

    def built(self) -> ColumnElement[bool]:
        return and_(*(build() for build in self._build))

    def bind(self, value: Any) -> str:
        """Bind a value; returns its name, which depends on its position only."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return name

    # -- single conditions, not added yet ---------------------------------------------------------------
    def among(self, column: Column[str], values: Collection[str]) -> Condition:
        token, is_one = self._one_of(values)
        return f"{column.key}{token}", lambda: is_one(column)

    def has_value(self, owner: Column[str], kind: str, values: Collection[str]) -> Condition:
        """The object carries one of the values in the side table."""
        token, is_one = self._one_of(values)
        return f"{owner.key} {kind}{token}", lambda: self._owns(owner, kind, is_one(entry_value.c.value))

    def has_author(self, owner: Column[str], patterns: Collection[str]) -> Condition:
        """An authorPerson matches one of the LIKE patterns. Clause: ITI TF-2 3.18.4.1.2.3.5"""
        name = self.bind(self._flavour.patterns(patterns))
        return (
            f"{owner.key} author like {name}",
            lambda: self._owns(owner, tables.AUTHOR, self._flavour.is_like(entry_value.c.value, name)),
        )

    def between(self, column: Column[str], start: str, end: str, absent: Callable[[], ColumnElement[bool]]) -> None:
        """``start <= column < end``, each end only when given; ``absent`` says which rows without a time are kept."""
        if not start and not end:
            return
        first = self.bind(start) if start else ""
        last = self.bind(end) if end else ""

        def build() -> ColumnElement[bool]:
            bounds = [column != ""]
            if first:
                bounds.append(column >= bindparam(first))
            if last:
                bounds.append(column < bindparam(last))
            return or_(absent(), and_(*bounds))

        self.add(f"{column.key} {first}<{last}", build)

    def is_newest(self, table: Table) -> None:
        """No later version of the same logical object. Clause: ITI TF-2 3.18.4.1.2.3.5.1.1"""
        self.add("newest", lambda: self._unless_updated(table, _is_newest(table)))

    def _unless_updated(self, table: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """The condition, for objects with later versions. Which these are is read once for the whole query, and
        nearly always there is none."""
        if self._across:
            return condition
        later = table.alias()
        of_patient = later.c.patient_key == bindparam("patient")
        updated = select(later.c.logical_id).where(of_patient, later.c.version > _FIRST)
        return or_(table.c.logical_id.not_in(updated), condition)

    # -- what a filter lets through ---------------------------------------------------------------------
    def passes(self, visible: EntryFilter, *, is_newest: bool = False) -> None:
        """``EntryFilter.passes`` over the rows of document_entry."""
        self.add(*self._seen(visible, is_newest))

    def fails(self, visible: EntryFilter) -> None:
        """The rows that ``passes`` leaves out."""
        self.add(*_negated(self._seen(visible, False)))

    def _seen(self, visible: EntryFilter, is_newest: bool) -> Condition:
        """The version passes, and so does the newest one of its document: a mask laid later covers its past too."""
        if visible == EVERYTHING:
            return "everything", true
        token, of = self._filter(visible)
        if is_newest or visible.deny_all:
            return token, lambda: of(document_entry.c)

        def build() -> ColumnElement[bool]:
            this, newest = document_entry.c, document_entry.alias()
            covered = exists(_FIRST).where(*_is_later(newest.c, this), _is_newest(newest), not_(of(newest.c)))
            return and_(of(this), self._unless_updated(document_entry, not_(covered)))

        return f"{token} in its newest version", build

    def _filter(self, visible: EntryFilter) -> tuple[str, Callable[[Any], ColumnElement[bool]]]:
        """``EntryFilter.passes`` for the columns of an entry."""
        if visible.deny_all:
            return "nothing", lambda _: false()
        barred = self._one_of(visible.excluded_types) if visible.excluded_types else None
        types = self._one_of(visible.types) if visible.types is not None else None
        hidden = self._one_of(visible.hidden_by) if visible.hidden_by else None
        statuses = self._one_of(map(short, visible.statuses)) if visible.statuses is not None else None
        is_bounded = types or hidden or statuses
        own = self._one_of((visible.author_id,)) if visible.author_id and is_bounded else None
        ours = self._one_of((visible.structure_id,)) if visible.structure_id and is_bounded else None

        def of(columns: Any) -> ColumnElement[bool]:
            value = entry_value.c.value
            allowed: ColumnElement[bool] = types[1](columns.type_code) if types else true()
            if statuses:
                allowed = and_(allowed, statuses[1](columns.status))
            if hidden:
                carries = self._owns(columns.entry_uuid, tables.CONFIDENTIALITY, hidden[1](value))
                allowed = and_(allowed, not_(carries))
            for kind, mine in ((tables.AUTHOR_ID, own), (tables.STRUCTURE_ID, ours)):
                if mine:
                    allowed = or_(self._owns(columns.entry_uuid, kind, mine[1](value)), allowed)
            return and_(not_(barred[1](columns.type_code)), allowed) if barred else allowed

        parts = (barred, types, statuses, hidden, own, ours)
        return f"visible[{'; '.join(part[0] if part else '-' for part in parts)}]", of

    def _one_of(self, values: Iterable[str]) -> tuple[str, Callable[[Any], ColumnElement[bool]]]:
        """A condition on whichever column it is given."""
        given = values if isinstance(values, frozenset) else frozenset(values)
        if len(given) == 1:
            single = self.bind(compared(next(iter(given))))
            return f"={single}", lambda column: column == bindparam(single)
        several = self.bind(_listed(self._flavour, given))
        return f" in {several}", lambda column: self._flavour.is_among(column, several)

    def _owns(self, owner: Any, kind: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """The object carries a value of this kind that meets the condition."""
        columns = entry_value.c
        if self._across:
            return exists(_FIRST).where(columns.patient_key == owner.table.c.patient_key, columns.kind == kind,
                                        columns.entry_uuid == owner, condition)
        owners = select(columns.entry_uuid).where(columns.patient_key == bindparam("patient"), columns.kind == kind,
                                                  condition)
        matched: ColumnElement[bool] = owner.in_(owners)
        return matched


@lru_cache(maxsize=256)
def _listed(flavour: Flavour, values: frozenset[str]) -> Any:
    """The value to bind of a set of codes. A policy hands the same few sets over with every query."""
    return flavour.listed({compared(value) for value in values})


def entry_conditions(
    flavour: Flavour, patient_key: int | None, where: EntryCriteria, visible: EntryFilter
) -> Conditions:
    """Everything of ``where`` except uniqueIds and logical ids, which the locator answers."""
    columns = document_entry.c
    found = Conditions(flavour, patient_key)
    found.of(document_entry)
    if where.entry_uuids is not None:
        found.add(*found.among(columns.entry_uuid, [bare(value) for value in where.entry_uuids]))
    if where.statuses:
        found.add(*found.among(columns.status, [short(value) for value in where.statuses]))
    for condition in _described(found, where):
        found.add(*condition)
    if where.without:
        for condition in _described(found, where.without):
            found.add(*_negated(condition))
    for name, (start, end) in where.times.items():
        if name not in _TIME_COLUMNS:
            raise ValueError(f"no time criterion {name}")
        found.between(columns[name], start, end, _kept_without_creation if name == "creation_time"
                      else _kept_without(columns[name]))
    if where.is_current:
        found.add("online", lambda: columns.document_availability != OFFLINE)
        found.is_newest(document_entry)
    found.passes(visible, is_newest=where.is_current)
    return found


def _described(found: Conditions, where: EntryCriteria) -> list[Condition]:
    """One condition for each criterion on types, codes, references and authors."""
    columns = document_entry.c
    conditions: list[Condition] = []
    if where.object_types:
        conditions.append(found.among(columns.object_type, [short(value) for value in where.object_types]))
    for name, accepted in where.codes.items():
        if name not in _CODE_COLUMNS:
            raise ValueError(f"no code criterion {name}")
        if accepted:
            conditions.append(found.among(columns[name], accepted))
    for name, groups in where.all_codes.items():
        conditions += _has_all(found, columns.entry_uuid, _VALUE_KINDS[name], groups)
    if where.author_patterns:
        conditions.append(found.has_author(columns.entry_uuid, where.author_patterns))
    return conditions


def _has_all(
    found: Conditions, owner: Column[str], kind: str, groups: Collection[Collection[str]]
) -> list[Condition]:
    """One condition, when there is any group: of each group, the object carries a value."""
    each = [found.has_value(owner, kind, group) for group in groups if group]
    if not each:
        return []
    return [(" and ".join(token for token, _ in each), lambda: and_(*(build() for _, build in each)))]


def set_conditions(flavour: Flavour, patient_key: int, where: SetCriteria) -> Conditions:
    """Everything of ``where`` except uniqueIds, which the locator answers."""
    columns = submission_set.c
    found = Conditions(flavour, patient_key)
    found.of(submission_set)
    if where.entry_uuids is not None:
        found.add(*found.among(columns.entry_uuid, [bare(value) for value in where.entry_uuids]))
    if where.statuses:
        found.add(*found.among(columns.status, [short(value) for value in where.statuses]))
    if where.source_ids:
        found.add(*found.among(columns.source_id, where.source_ids))
    if where.content_types:
        found.add(*found.among(columns.content_type_code, where.content_types))
    found.between(columns.submission_time, *where.submission_time, absent=false)
    if where.author_patterns:
        found.add(*found.has_author(columns.entry_uuid, where.author_patterns))
    return found


def folder_conditions(flavour: Flavour, patient_key: int | None, where: FolderCriteria) -> Conditions:
    """Everything of ``where`` except uniqueIds and logical ids, which the locator answers."""
    columns = folder.c
    found = Conditions(flavour, patient_key)
    found.of(folder)
    if where.entry_uuids is not None:
        found.add(*found.among(columns.entry_uuid, [bare(value) for value in where.entry_uuids]))
    if where.statuses:
        found.add(*found.among(columns.status, [short(value) for value in where.statuses]))
    for condition in _has_all(found, columns.entry_uuid, tables.FOLDER_CODE, where.codes):
        found.add(*condition)
    found.between(columns.last_update_time, *where.last_update_time, absent=false)
    if where.is_current:
        found.add("not deprecated", lambda: columns.status != short(DEPRECATED))
        found.is_newest(folder)
    return found


def _negated(condition: Condition) -> Condition:
    token, build = condition
    return f"not {token}", lambda: not_(build())


def _is_newest(table: Any) -> ColumnElement[bool]:
    """``table`` is one of the two with versions, or an alias of it."""
    later = (document_entry if "object_type" in table.c else folder).alias()
    return not_(exists(_FIRST).where(*_is_later(later.c, table.c)))


def _is_later(later: Any, columns: Any) -> tuple[ColumnElement[bool], ...]:
    """``later`` is a later version of the same object."""
    return (
        later.patient_key == columns.patient_key, later.logical_id == columns.logical_id, later.version > _FIRST,
        later.version > columns.version,
    )


def _kept_without(column: Column[str]) -> Callable[[], ColumnElement[bool]]:
    return lambda: column == ""


def _kept_without_creation() -> ColumnElement[bool]:
    return and_(document_entry.c.creation_time == "", document_entry.c.object_type == short(ON_DEMAND))
