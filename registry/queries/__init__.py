"""Stored queries, one file each; a new file is found by its QUERY_ID and touches no other.

A query module has ``QUERY_ID``, ``NAME``, ``PARAMS`` and ``run(context, values) -> Answer``; optionally
``EXACTLY_ONE`` and ``AT_LEAST_ONE`` (names of alternatives), ``NOT_TOGETHER`` (pairs of names), ``PATIENT`` (the
parameter that names the patient), ``ACTION``, and ``TRANSACTION`` where it is not ITI-18. It says what is asked;
``QueryContext`` opens the records this caller may look into, ``View`` shows what he may see of one, and nothing else.

Clause: ITI TF-2 3.18.4.1.2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from guard.credentials.caller import Caller
from guard.policy.decision import Policy
from guard.policy.facts import Action, Decision, EntryFilter, RecordFacts, RecordStatus
from record.facts import facts_for
from record.store import Record
from registry.admission import another_patient
from registry.store import EntryCriteria, FolderCriteria, RegistryUnit, SetCriteria
from xds.check.query_params import Kind, Param
from xds.ebxml import write
from xds.errors import ErrorCode, Finding, Refused
from xds.model import Association, Folder, RegistryObject, SubmissionSet
from xds.namespaces import APPROVED

OBJECT_REF, LEAF_CLASS = "ObjectRef", "LeafClass"
WRITERS: dict[str, Callable[..., bytes]] = {
    "DocumentEntry": write.document_entry,
    "SubmissionSet": write.submission_set,
    "Folder": write.folder,
    "Association": write.association,
}


MOST_PATIENTS = 200
"""Records one multi-patient query looks into; a bound of ours on its cost. Each gets its lines in log and audit."""

LEVEL = Param("$MetadataLevel", Kind.NUMBER)
ASSOCIATION_STATUS = Param("$XDSAssociationStatus", Kind.STATUS, multiple=True)
_IDENTIFIES = {"EntryUUID": "entry_uuids", "UniqueId": "unique_ids", "LogicalID": "logical_ids"}


def is_current(values: dict) -> bool:
    """Metadata level 1, the default: newest versions, nothing offline, no deprecated Folder or Association.

    Clause: ITI TF-2 3.18.4.1.2.3.5.1.1
    """
    return values.get(LEVEL.name, "1").lstrip("0") in ("", "1")


def association_statuses(values: dict) -> frozenset[str]:
    """Approved unless asked otherwise; at metadata level 1 never Deprecated."""
    asked = frozenset(values.get(ASSOCIATION_STATUS.name, (APPROVED,)))
    return asked & {APPROVED} if is_current(values) else asked


def identifier_params(names: Sequence[str], *, multiple: bool) -> tuple[Param, ...]:
    """A uniqueId is opaque text; the other selectors are UUIDs."""
    return tuple(Param(n, Kind.STRING if n.endswith("UniqueId") else Kind.ID, multiple=multiple) for n in names)


def identifiers(values: dict, names: Sequence[str]) -> dict[str, Any]:
    """The one identifier parameter given, as a field of ``EntryCriteria``, ``SetCriteria`` or ``FolderCriteria``."""
    name = next(n for n in names if n in values)
    suffix = next(suffix for suffix in _IDENTIFIES if name.endswith(suffix))
    given = values[name]
    return {_IDENTIFIES[suffix]: frozenset([given] if isinstance(given, str) else given)}


@dataclass(slots=True)
class Answer:
    """What a query found, already written for the wire; the rest is for the access log alone.

    ``patients`` names whose records were looked into, ``counts`` how many objects each of them gave, ``denied`` why
    a record gave nothing: the caller is not told.
    """

    objects: list[bytes] = field(default_factory=list)
    patients: dict[int, str] = field(default_factory=dict)
    unknown_patient_ids: list[str] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    denied: dict[int, Decision] = field(default_factory=dict)


@dataclass(slots=True)
class QueryContext:
    """One query by one caller on one snapshot of the registry. ``single_patient``: full objects of one patient only."""

    unit: RegistryUnit
    policy: Policy
    caller: Caller
    return_type: str
    action: Action
    max_results: int
    answer: Answer
    single_patient: bool = True

    def of_patient(self, patient_id: str) -> Iterator[View]:
        """The record of one patient. An unknown patient, a closed record and a forbidden one look alike."""
        record = self.unit.record.find(patient_id)
        if record is None:
            self.answer.unknown_patient_ids.append(patient_id)
        elif record.patient_key in self.answer.patients:
            return
        else:
            self.answer.patients[record.patient_key] = record.patient_id
        self._require(RecordFacts(RecordStatus.ACTIVE, patient_id=patient_id, is_representative=True))
        other = another_patient(self.caller, patient_id, "AdhocQuery") if self.single_patient else None
        if other is not None:
            raise Refused([other])
        if record is not None:
            yield View(self, record.patient_key, self._visible(record))

    def of_owners(
        self, *, entry_uuids: Iterable[str] = (), unique_ids: Iterable[str] = (), logical_ids: Iterable[str] = ()
    ) -> Iterator[View]:
        """The records of all patients that hold an object with one of these identifiers."""
        self._require(RecordFacts(RecordStatus.ACTIVE, patient_id=self.caller.patient_id, is_representative=True))
        found = self.unit.registry.locate(entry_uuids=entry_uuids, unique_ids=unique_ids, logical_ids=logical_ids)
        yield from map(self._by_key, sorted(found))

    def of_patients(self, patient_ids: Sequence[str]) -> Iterator[View]:
        """The records of several patients, in this order, each decided on by itself.

        What no record would allow refuses the whole query in words; what depends on a record leaves that one out.
        """
        if len(patient_ids) > MOST_PATIENTS:
            raise self._refused(
                ErrorCode.XDSStoredQueryParamNumber, "patient identifiers", f"{len(patient_ids)} patients",
                f"at most {MOST_PATIENTS}", "ITI TF-2 3.51.4.1.2",
            )
        for patient_id in patient_ids:
            yield from self.of_patient(patient_id)

    def of_everybody(self, where: EntryCriteria | FolderCriteria) -> Iterator[View]:
        """The records that hold an entry or a Folder like this, whoever the patient is.

        Nobody can say that patients who are not named have authorised the caller, or do not object to an emergency
        access: the decision is taken as if they had not, and did. A policy that knows neither allows it.
        """
        objected = frozenset({self.caller.purpose})
        self._require(RecordFacts(RecordStatus.ACTIVE, is_authorised=False, objected_purposes=objected))
        found = self.unit.registry.patients_with(where, MOST_PATIENTS + 1)
        if len(found) > MOST_PATIENTS:
            raise self._refused(
                ErrorCode.XDSTooManyResults, "criteria", f"objects of more than {MOST_PATIENTS} patients",
                "named patients, or narrower criteria", "ITI TF-3 4.2.4.1",
            )
        yield from map(self._by_key, found)

    def _by_key(self, patient_key: int) -> View:
        record = self.unit.record.get(patient_key)
        if record is not None:
            self.answer.patients[patient_key] = record.patient_id
        return View(self, patient_key, self._visible(record))

    def _visible(self, record: Record | None) -> EntryFilter:
        facts = facts_for(self.unit.record, record, self.caller)
        decision = self.policy.decide(self.caller, self.action, facts, None)
        if record is not None and not decision.allowed:
            self.answer.denied[record.patient_key] = decision
        return self.policy.visible(self.caller, self.action, facts)

    def _require(self, record: RecordFacts) -> None:
        """Refuse in plain words what no record would allow this caller; what depends on the record is hidden."""
        decision = self.policy.decide(self.caller, self.action, record, None)
        if not decision.allowed:
            self.answer.denied = dict.fromkeys(self.answer.patients, decision)
            raise self._refused(
                ErrorCode.XDSRegistryError, "access right", f"{self.caller.mode} caller {self.caller.identifier}",
                f"a caller who may do this: {decision.reason}", decision.clause,
            )

    def add(self, patient_key: int, written: Sequence[bytes]) -> None:
        """Put objects of one patient into the answer."""
        if not written:
            return
        self.answer.objects += written
        self.answer.counts[patient_key] += len(written)
        if self.return_type == OBJECT_REF:
            return
        if self.single_patient and len(self.answer.counts) > 1:
            raise self._refused(
                ErrorCode.XDSResultNotSinglePatient, "returnType", "objects of several patients in a LeafClass answer",
                "ObjectRef, or identifiers of one patient", "ITI TF-2 3.18.4.1.2.6",
            )
        if len(self.answer.objects) > self.max_results:
            raise self._refused(
                ErrorCode.XDSTooManyResults, "returnType", f"more than {self.max_results} objects",
                "ObjectRef first, then GetDocuments in batches", "ITI TF-3 4.2.4.1",
            )

    @staticmethod
    def _refused(code: ErrorCode, about: str, found: str, expected: str, clause: str) -> Refused:
        return Refused(
            [Finding(code=code, subject="AdhocQuery", field=about, found=found, expected=expected, clause=clause)]
        )


@dataclass(frozen=True, slots=True)
class View:
    """One record as this caller sees it: hidden objects are not there. Only ``add`` and ``add_entries`` answer."""

    context: QueryContext
    patient_key: int
    visible: EntryFilter

    def add(self, objects: Iterable[RegistryObject]) -> None:
        """Answer with these, in the form asked for."""
        is_reference = self.context.return_type == OBJECT_REF
        self.context.add(
            self.patient_key,
            [write.object_ref(o.entry_uuid) if is_reference else WRITERS[o.kind](o) for o in objects],
        )

    def add_entries(self, where: EntryCriteria) -> list[str]:
        """Answer with DocumentEntries; returns their entryUUIDs. References are answered without reading more."""
        if self.context.return_type == OBJECT_REF:
            found = self.entry_uuids(where)
            self.context.add(self.patient_key, [write.object_ref(one) for one in found])
            return found
        entries = list(self.context.unit.registry.entries(self.patient_key, where, self.visible))
        self.add(entries)
        return [entry.entry_uuid for entry in entries]

    def entry_uuids(self, where: EntryCriteria) -> list[str]:
        return self.context.unit.registry.entry_uuids(self.patient_key, where, self.visible)

    def submission_sets(self, where: SetCriteria) -> list[SubmissionSet]:
        return list(self.context.unit.registry.submission_sets(self.patient_key, where, self.visible))

    def folders(self, where: FolderCriteria) -> list[Folder]:
        return self.context.unit.registry.find_folders(self.patient_key, where, self.visible)

    def associations(
        self, ends: Iterable[str], statuses: frozenset[str] | None, types: frozenset[str] | None = None
    ) -> list[Association]:
        """Those with source or target among ``ends``."""
        return self.context.unit.registry.associations(
            self.patient_key, ends, self.visible, types=types, statuses=statuses
        )

    def associations_named(self, entry_uuids: Iterable[str], statuses: frozenset[str] | None) -> list[Association]:
        """Those with these entryUUIDs."""
        return self.context.unit.registry.associations_named(
            self.patient_key, entry_uuids, self.visible, statuses=statuses
        )
