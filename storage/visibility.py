"""What a visibility filter over entries means for the objects that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, bindparam, select

from guard.policy.facts import EVERYTHING, EntryFilter
from storage.conditions import Conditions
from storage.rows import ASSOCIATION_COLUMNS, association_from
from storage.tables import association, document_entry, folder, submission_set
from storage.transaction import Transaction
from storage.words import bare, short, urn
from xds.model import Association
from xds.namespaces import HAS_MEMBER


class Visibility:
    """Hidden entries, folders, sets and associations of one patient. The filter must not be one that denies all."""

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
        conditions.of(document_entry)
        ids = conditions.bind(self._flavour.listed(wanted))
        conditions.add("ids", lambda: self._flavour.is_among(columns.entry_uuid, ids))
        conditions.fails(self._visible)
        rows = self._sql.rows(
            tuple(conditions.shape), lambda: select(columns.entry_uuid).where(conditions.built()), **conditions.values
        )
        return {urn(row[0]) for row in rows}

    def hidden_folders(self, entry_uuids: Iterable[str]) -> set[str]:
        """Those of these identifiers that are Folders and hidden: they hold entries, and all are hidden."""
        wanted = set(entry_uuids)
        if not wanted or self._visible == EVERYTHING:
            return set()
        members = self._entries_of(folder, wanted)
        hidden = self.hidden_entries(member.target for member in members)
        shown = {member.source for member in members if member.target not in hidden}
        return {member.source for member in members} - shown

    def hidden_sets(self, entry_uuids: Iterable[str]) -> set[str]:
        """Those of these identifiers that are SubmissionSets and hidden: all their own entries are.

        Own entries are the ones a set brought; a set that only refers to entries is judged by those, and a set
        without any by whatever else it holds: nothing tells of a submission that only filled a hidden folder.
        """
        wanted = set(entry_uuids)
        if not wanted or self._visible == EVERYTHING:
            return set()
        members = self._entries_of(submission_set, wanted)
        hidden = self.hidden_entries(member.target for member in members)
        by_set: dict[str, list[Association]] = {}
        for member in members:
            by_set.setdefault(member.source, []).append(member)
        found = self._sets_without_entries(wanted - by_set.keys())
        for entry_uuid, of_set in by_set.items():
            own = [member for member in of_set if member.slot("SubmissionSetStatus") != "Reference"] or of_set
            if all(member.target in hidden for member in own):
                found.add(entry_uuid)
        return found

    def _sets_without_entries(self, set_uuids: set[str]) -> set[str]:
        """Those that hold folders and associations, all of them hidden."""
        members = self._members(submission_set, set_uuids) if set_uuids else []
        if not members:
            return set()
        targets = {member.target for member in members}
        known, ends = self._reach(targets)
        hidden = self.hidden_entries(ends) | self.hidden_folders(ends)
        hidden |= self._led_to_hidden(known, hidden)
        shown = {member.source for member in members if member.target not in hidden}
        return {member.source for member in members} - shown

    def hidden_associations(self, found: list[Association]) -> set[str]:
        """Those of ``found`` with an end that is hidden: an entry, a folder, a set, or an association hidden itself."""
        if not found or self._visible == EVERYTHING:
            return set()
        known, ends = self._reach(one.entry_uuid for one in found)
        hidden = self.hidden_entries(ends) | self.hidden_folders(ends) | self.hidden_sets(ends)
        return self._led_to_hidden(known, hidden)

    def _reach(self, entry_uuids: Iterable[str]) -> tuple[dict[str, tuple[str, str]], set[str]]:
        """The ends of those that are associations, and of the associations these lead to; then all that was met."""
        known: dict[str, tuple[str, str]] = {}
        met, asked = set(entry_uuids), set[str]()
        while unknown := met - asked:
            asked |= unknown
            for one, source, target in self._ends(unknown):
                known[one] = (source, target)
                met |= {source, target}
        return known, met

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

    def _entries_of(self, owners: Table, entry_uuids: set[str]) -> list[Association]:
        """HasMember associations from these sets or folders to DocumentEntries; other identifiers bring nothing."""
        return self._members(owners, entry_uuids, to_entries=True)

    def _members(self, owners: Table, entry_uuids: set[str], *, to_entries: bool = False) -> list[Association]:
        """HasMember associations from those of these identifiers that are rows of ``owners``."""
        columns = association.c

        def build() -> Any:
            owner, entry = owners.alias("owner"), document_entry.alias("entry")
            wanted = select(*(columns[name] for name in ASSOCIATION_COLUMNS)).join(
                owner, (owner.c.patient_key == columns.patient_key) & (owner.c.entry_uuid == columns.source)
            )
            if to_entries:
                wanted = wanted.join(
                    entry, (entry.c.patient_key == columns.patient_key) & (entry.c.entry_uuid == columns.target)
                )
            return wanted.where(
                columns.patient_key == bindparam("patient"), self._flavour.is_among(columns.source, "ids"),
                columns.type == short(HAS_MEMBER),
            )

        rows = self._sql.rows(
            ("members", owners.name, to_entries), build,
            patient=self._patient_key, ids=self._flavour.listed([bare(value) for value in entry_uuids]),
        )
        return [association_from(row) for row in rows]
