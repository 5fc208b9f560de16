"""Stored queries, one file each; a new file is found by its QUERY_ID and touches no other.

A query module has ``QUERY_ID``, ``NAME``, ``PARAMS`` and ``run(context, values) -> Answer``; optionally
``EXACTLY_ONE`` (names of which one and only one must be given) and ``ACTION``. It says what is asked;
``QueryContext`` asks the store for what this caller may see of it, and nothing else.

Clause: ITI TF-2 3.18.4.1.2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from guard.credentials.caller import Caller
from guard.policy.decision import Policy
from guard.policy.facts import Action, Decision, EntryFilter, RecordFacts, RecordStatus
from record.facts import facts_for
from record.store import Record
from registry.store import EntryCriteria, RegistryUnit, SetCriteria
from xds.ebxml import write
from xds.errors import ErrorCode, Finding, Refused
from xds.model import RegistryObject

OBJECT_REF, LEAF_CLASS = "ObjectRef", "LeafClass"
WRITERS: dict[str, Callable[..., bytes]] = {
    "DocumentEntry": write.document_entry,
    "SubmissionSet": write.submission_set,
    "Folder": write.folder,
    "Association": write.association,
}


@dataclass(slots=True)
class Answer:
    """What a query found, already written for the wire; the rest is for the access log alone.

    ``patients`` names whose records were looked into, ``counts`` how many objects each of them gave, ``denied`` why
    a record gave nothing: the caller is not told.
    """

    objects: list[bytes] = field(default_factory=list)
    patients: dict[int, str] = field(default_factory=dict)
    unknown_patient_id: str = ""
    counts: Counter[int] = field(default_factory=Counter)
    denied: dict[int, Decision] = field(default_factory=dict)


@dataclass(slots=True)
class QueryContext:
    """One query by one caller on one snapshot of the registry."""

    unit: RegistryUnit
    policy: Policy
    caller: Caller
    return_type: str
    action: Action
    max_results: int
    answer: Answer

    # -- what is asked for by patient ----------------------------------------------------------------
    def find_entries(self, patient_id: str, where: EntryCriteria) -> Answer:
        """DocumentEntries of one patient. An unknown patient, a closed record and a forbidden one look alike."""
        record, visible = self._by_identifier(patient_id)
        if record is not None:
            self._add_entries(record.patient_key, where, visible)
        return self.answer

    def find_submission_sets(self, patient_id: str, where: SetCriteria) -> Answer:
        record, visible = self._by_identifier(patient_id)
        if record is not None:
            self._add(record.patient_key, self.unit.registry.submission_sets(record.patient_key, where, visible))
        return self.answer

    # -- what is asked for by identifier -------------------------------------------------------------
    def get_entries(self, where: EntryCriteria, association_statuses: frozenset[str] | None = None) -> Answer:
        """DocumentEntries of any patient; with ``association_statuses`` also the Associations that touch them."""
        self._require(self.caller.patient_id)
        owners = self.unit.registry.locate(
            entry_uuids=where.entry_uuids or (), unique_ids=where.unique_ids or (), logical_ids=where.logical_ids or ()
        )
        for patient_key in sorted(owners):
            visible = self._by_key(patient_key)
            found = self._add_entries(patient_key, where, visible)
            if association_statuses is not None and found:
                self._add(
                    patient_key,
                    self.unit.registry.associations(patient_key, found, visible, statuses=association_statuses),
                )
        return self.answer

    def get_associations(self, entry_uuids: frozenset[str], statuses: frozenset[str]) -> Answer:
        """Associations with source or target among ``entry_uuids``."""
        self._require(self.caller.patient_id)
        for patient_key in sorted(self.unit.registry.locate(entry_uuids=entry_uuids)):
            visible = self._by_key(patient_key)
            self._add(
                patient_key, self.unit.registry.associations(patient_key, entry_uuids, visible, statuses=statuses)
            )
        return self.answer

    # -- shared --------------------------------------------------------------------------------------
    def _by_identifier(self, patient_id: str) -> tuple[Record | None, EntryFilter]:
        record = self.unit.record.find(patient_id)
        if record is None:
            self.answer.unknown_patient_id = patient_id
        else:
            self.answer.patients[record.patient_key] = record.patient_id
        self._require(patient_id)
        return record, self._visible(record)

    def _by_key(self, patient_key: int) -> EntryFilter:
        record = self.unit.record.get(patient_key)
        if record is not None:
            self.answer.patients[patient_key] = record.patient_id
        return self._visible(record)

    def _visible(self, record: Record | None) -> EntryFilter:
        facts = facts_for(record, self.caller)
        decision = self.policy.decide(self.caller, self.action, facts, None)
        if record is not None and not decision.allowed:
            self.answer.denied[record.patient_key] = decision
        return self.policy.visible(self.caller, self.action, facts)

    def _require(self, patient_id: str) -> None:
        """Refuse in plain words what no record would allow this caller; what depends on the record is hidden."""
        decision = self.policy.decide(
            self.caller, self.action, RecordFacts(RecordStatus.ACTIVE, patient_id=patient_id), None
        )
        if not decision.allowed:
            self.answer.denied = dict.fromkeys(self.answer.patients, decision)
            raise Refused(
                [
                    Finding(
                        code=ErrorCode.XDSRegistryError,
                        subject="AdhocQuery",
                        field="access right",
                        found=f"{self.caller.mode} caller {self.caller.identifier}",
                        expected=f"a caller who may do this: {decision.reason}",
                        clause=decision.clause,
                    )
                ]
            )

    def _add_entries(self, patient_key: int, where: EntryCriteria, visible: EntryFilter) -> list[str]:
        """Add the entries and return their entryUUIDs."""
        if self.return_type == OBJECT_REF:
            found = self.unit.registry.entry_uuids(patient_key, where, visible)
            self.answer.objects += map(write.object_ref, found)
            self.answer.counts[patient_key] += len(found)
            return found
        entries = list(self.unit.registry.entries(patient_key, where, visible))
        self._add(patient_key, entries)
        return [e.entry_uuid for e in entries]

    def _add(self, patient_key: int, objects: Iterable[RegistryObject]) -> None:
        written = [
            write.object_ref(o.entry_uuid) if self.return_type == OBJECT_REF else WRITERS[o.kind](o) for o in objects
        ]
        if not written:
            return
        self.answer.objects += written
        self.answer.counts[patient_key] += len(written)
        if self.return_type == OBJECT_REF:
            return
        if len(self.answer.counts) > 1:
            raise Refused(
                [
                    Finding(
                        code=ErrorCode.XDSResultNotSinglePatient,
                        subject="AdhocQuery",
                        field="returnType",
                        found="objects of several patients in a LeafClass answer",
                        expected="ObjectRef, or identifiers of one patient",
                        clause="ITI TF-2 3.18.4.1.2.6",
                    )
                ]
            )
        if len(self.answer.objects) > self.max_results:
            raise Refused(
                [
                    Finding(
                        code=ErrorCode.XDSTooManyResults,
                        subject="AdhocQuery",
                        field="returnType",
                        found=f"more than {self.max_results} objects",
                        expected="ObjectRef first, then GetDocuments in batches",
                        clause="ITI TF-3 4.2.4.1",
                    )
                ]
            )
