"""What a visibility filter over entries means for the objects that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, select

from guard.policy.facts import EVERYTHING, EntryFilter
from storage.conditions import Conditions
from storage.rows import ASSOCIATION_COLUMNS, association_from
from storage.tables import association, document_entry, submission_set
from storage.transaction import Transaction
from storage.words import bare, short, urn
from xds.model import Association
from xds.namespaces import HAS_MEMBER


class Visibility:
    """Hidden entries, sets and associations of one patient. The filter must not be one that denies all."""

    def __init__(self, transaction: Transaction, patient_key: int, visible: EntryFilter) -> None:
        self._sql = transaction
        self._flavour = transaction.flavour
        self._patient_key = patient_key
        self._visible = visible

    def hidden_entries(self, entry_uuids: Iterable[str]) -> set[str]:
        """Those of these identifiers that are DocumentEntries and hidden."""
        wanted = {bare(value) for value in entry_uuids}
        if not wanted or self._visible == EVERYTHING:
            return set()
        columns = document_entry.c
        conditions = Conditions(self._flavour, self._patient_key)
        conditions.add("hidden entries", lambda: columns.patient_key == bindparam("patient"))
        ids = conditions.bind(self._flavour.listed(wanted))
        conditions.add("ids", lambda: self._flavour.is_among(columns.entry_uuid, ids))
        conditions.fails(self._visible)
        rows = self._sql.rows(
            tuple(conditions.shape), lambda: select(columns.entry_uuid).where(conditions.built()), **conditions.values
        )
        return {urn(row[0]) for row in rows}

    def hidden_sets(self, entry_uuids: Iterable[str]) -> set[str]:
        """Those of these identifiers that are SubmissionSets and hidden: all their own entries are.

        Own entries are the ones a set brought; a set that only refers to entries is judged by those.
        """
        wanted = set(entry_uuids)
        if not wanted or self._visible == EVERYTHING:
            return set()
        members = [association_from(row) for row in self._members(wanted)]
        hidden = self.hidden_entries(member.target for member in members)
        by_set: dict[str, list[Association]] = {}
        for member in members:
            by_set.setdefault(member.source, []).append(member)
        found = set()
        for entry_uuid, of_set in by_set.items():
            own = [member for member in of_set if member.slot("SubmissionSetStatus") != "Reference"] or of_set
            if all(member.target in hidden for member in own):
                found.add(entry_uuid)
        return found

    def hidden_associations(self, found: list[Association]) -> set[str]:
        """Those of ``found`` with an end that is hidden: an entry, a set, or an association that is hidden itself."""
        if not found or self._visible == EVERYTHING:
            return set()
        known = {one.entry_uuid: (one.source, one.target) for one in found}
        ends = {end for pair in known.values() for end in pair}
        asked: set[str] = set(known)
        while unknown := ends - asked:
            asked |= unknown
            for one, source, target in self._ends(unknown):
                known[one] = (source, target)
                ends |= {source, target}
        hidden = self.hidden_entries(ends)
        hidden |= self.hidden_sets(ends)
        return self._led_to_hidden(known, hidden)

    @staticmethod
    def _led_to_hidden(known: dict[str, tuple[str, str]], hidden: set[str]) -> set[str]:
        """Associations with an end in ``hidden``, then those with an end among these, and so on."""
        found: set[str] = set()
        while more := {one for one, ends in known.items() if one not in found and not hidden.isdisjoint(ends)}:
            found |= more
            hidden = hidden | more
        return found

    def _ends(self, entry_uuids: set[str]) -> list[tuple[str, str, str]]:
        """(entryUUID, source, target) of those that are associations."""
        columns = association.c
        rows = self._sql.rows(
            "association ends",
            lambda: select(columns.entry_uuid, columns.source, columns.target).where(
                columns.patient_key == bindparam("patient"), self._flavour.is_among(columns.entry_uuid, "ids")
            ),
            patient=self._patient_key, ids=self._flavour.listed([bare(value) for value in entry_uuids]),
        )
        return [(urn(one), urn(source), urn(target)) for one, source, target in rows]

    def _members(self, set_uuids: set[str]) -> list[tuple[Any, ...]]:
        """HasMember associations from these sets to DocumentEntries; other identifiers bring nothing."""
        columns = association.c
        owner, entry = submission_set.alias("owner"), document_entry.alias("entry")
        return self._sql.rows(
            "members of sets",
            lambda: select(*(columns[name] for name in ASSOCIATION_COLUMNS))
            .join(owner, (owner.c.patient_key == columns.patient_key) & (owner.c.entry_uuid == columns.source))
            .join(entry, (entry.c.patient_key == columns.patient_key) & (entry.c.entry_uuid == columns.target))
            .where(
                columns.patient_key == bindparam("patient"), self._flavour.is_among(columns.source, "ids"),
                columns.type == short(HAS_MEMBER),
            ),
            patient=self._patient_key, ids=self._flavour.listed([bare(value) for value in set_uuids]),
        )
