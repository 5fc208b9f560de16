"""The conditions of one query over entries or submission sets, and the visibility filter in SQL.

Each condition brings a token for its shape, a function that builds it, and its values. Queries of one shape
share one SQL text, so a condition is built by SQLAlchemy once and only its values change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, bindparam, false, not_, or_, select, true

from guard.policy.facts import EntryFilter
from registry.store import EntryCriteria, SetCriteria
from storage import tables
from storage.tables import document_entry, entry_value, submission_set
from storage.transaction import Flavour
from storage.words import bare, compared, short
from xds.namespaces import ON_DEMAND

_CODE_COLUMNS = frozenset({"class_code", "type_code", "practice_setting_code", "healthcare_facility_type_code",
                           "format_code", "document_availability"})
_VALUE_KINDS = {"event_codes": tables.EVENT, "confidentiality_codes": tables.CONFIDENTIALITY,
                "reference_ids": tables.REFERENCE}
_TIME_COLUMNS = frozenset({"creation_time", "service_start_time", "service_stop_time"})

Condition = tuple[str, Callable[[], ColumnElement[bool]]]
"""The token of a condition's shape, and the function that builds it."""


class Conditions:
    """Conditions that must all hold, over the rows of one patient."""

    def __init__(self, flavour: Flavour, patient_key: int) -> None:
        self._flavour = flavour
        self._build: list[Callable[[], ColumnElement[bool]]] = []
        self.shape: list[str] = []
        self.values: dict[str, Any] = {"patient": patient_key}

    def add(self, token: str, build: Callable[[], ColumnElement[bool]]) -> None:
        """``token`` says everything that ``build`` depends on."""
        self.shape.append(token)
        self._build.append(build)

    def built(self) -> ColumnElement[bool]:
        return and_(*(build() for build in self._build))

    def bind(self, value: Any) -> str:
        """Bind a value; returns its name, which depends on its position only."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return name

    def among(self, column: Column[str], values: Collection[str]) -> None:
        self.add(*self._among(column, values))

    def has_value(self, owner: Column[str], kind: str, values: Collection[str]) -> None:
        """The object carries one of the values in the side table."""
        self.add(*self._has_value(owner, kind, values))

    def has_author(self, owner: Column[str], patterns: Collection[str]) -> None:
        """An authorPerson matches one of the LIKE patterns. Clause: ITI TF-2 3.18.4.1.2.3.5"""
        name = self.bind(self._flavour.patterns(patterns))
        self.add(
            f"{owner.key} author like {name}",
            lambda: owner.in_(_owners(tables.AUTHOR, self._flavour.is_like(entry_value.c.value, name))),
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

    def passes(self, visible: EntryFilter) -> None:
        """``EntryFilter.passes`` over the rows of document_entry."""
        self.add(*self._filter(visible))

    def fails(self, visible: EntryFilter) -> None:
        """The rows that ``passes`` leaves out."""
        self.add(*_negated(self._filter(visible)))

    def _filter(self, visible: EntryFilter) -> Condition:
        """Type not excluded, and (own document, or type readable and nothing hides it)."""
        if visible.deny_all:
            return "nothing", false
        columns = document_entry.c
        barred = self._among(columns.type_code, visible.excluded_types) if visible.excluded_types else None
        needed: list[Condition] = []
        if visible.types is not None:
            needed.append(self._among(columns.type_code, visible.types))
        if visible.hidden_by:
            needed.append(_negated(self._has_value(columns.entry_uuid, tables.CONFIDENTIALITY, visible.hidden_by)))
        own = None
        if visible.author_id and needed:
            own = self._has_value(columns.entry_uuid, tables.AUTHOR_ID, (visible.author_id,))

        def build() -> ColumnElement[bool]:
            allowed = and_(true(), *(make() for _, make in needed))
            if own:
                allowed = or_(own[1](), allowed)
            return and_(not_(barred[1]()), allowed) if barred else allowed

        tokens = ["-" if part is None else part[0] for part in (barred, own, *needed)]
        return f"visible[{'; '.join(tokens)}]", build

    def _among(self, column: Column[str], values: Collection[str]) -> Condition:
        wanted = {compared(value) for value in values}
        if len(wanted) == 1:
            single = self.bind(wanted.pop())
            return f"{column.key}={single}", lambda: column == bindparam(single)
        several = self.bind(self._flavour.listed(wanted))
        return f"{column.key} in {several}", lambda: self._flavour.is_among(column, several)

    def _has_value(self, owner: Column[str], kind: str, values: Collection[str]) -> Condition:
        token, is_wanted = self._among(entry_value.c.value, values)
        return f"{owner.key} {kind} {token}", lambda: owner.in_(_owners(kind, is_wanted()))


def entry_conditions(flavour: Flavour, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> Conditions:
    """Everything of ``where`` except uniqueIds and logical ids, which the locator answers."""
    columns = document_entry.c
    found = Conditions(flavour, patient_key)
    found.add("entries", lambda: columns.patient_key == bindparam("patient"))
    if where.entry_uuids:
        found.among(columns.entry_uuid, [bare(value) for value in where.entry_uuids])
    if where.statuses:
        found.among(columns.status, [short(value) for value in where.statuses])
    if where.object_types:
        found.among(columns.object_type, [short(value) for value in where.object_types])
    for name, accepted in where.codes.items():
        if name not in _CODE_COLUMNS:
            raise ValueError(f"no code criterion {name}")
        if accepted:
            found.among(columns[name], accepted)
    for name, groups in where.all_codes.items():
        for group in groups:
            if group:
                found.has_value(columns.entry_uuid, _VALUE_KINDS[name], group)
    for name, (start, end) in where.times.items():
        if name not in _TIME_COLUMNS:
            raise ValueError(f"no time criterion {name}")
        found.between(columns[name], start, end, _kept_without_creation if name == "creation_time"
                      else _kept_without(columns[name]))
    if where.author_patterns:
        found.has_author(columns.entry_uuid, where.author_patterns)
    found.passes(visible)
    return found


def set_conditions(flavour: Flavour, patient_key: int, where: SetCriteria) -> Conditions:
    """Everything of ``where`` except uniqueIds, which the locator answers."""
    columns = submission_set.c
    found = Conditions(flavour, patient_key)
    found.add("sets", lambda: columns.patient_key == bindparam("patient"))
    if where.entry_uuids:
        found.among(columns.entry_uuid, [bare(value) for value in where.entry_uuids])
    if where.statuses:
        found.among(columns.status, [short(value) for value in where.statuses])
    if where.source_ids:
        found.among(columns.source_id, where.source_ids)
    if where.content_types:
        found.among(columns.content_type_code, where.content_types)
    found.between(columns.submission_time, *where.submission_time, absent=false)
    if where.author_patterns:
        found.has_author(columns.entry_uuid, where.author_patterns)
    return found


def _negated(condition: Condition) -> Condition:
    token, build = condition
    return f"not {token}", lambda: not_(build())


def _owners(kind: str, condition: ColumnElement[bool]) -> Any:
    """Objects of the patient that carry a value of this kind."""
    return select(entry_value.c.entry_uuid).where(
        entry_value.c.patient_key == bindparam("patient"), entry_value.c.kind == kind, condition
    )


def _kept_without(column: Column[str]) -> Callable[[], ColumnElement[bool]]:
    return lambda: column == ""


def _kept_without_creation() -> ColumnElement[bool]:
    return and_(document_entry.c.creation_time == "", document_entry.c.object_type == short(ON_DEMAND))
