"""Acts on one stored document that come without a message: written as ITI-57 and ITI-92 write theirs.

``record.documents`` has decided who may; here the version, its submission set and all that follows from it are made by
the rules of an update, so that nobody can tell afterwards which door a mask came through.

Clause: ITI TF-2 3.57.4.1.3.3, 3.92.4.1.3; DMP TD3.3
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast
from uuid import uuid4

from guard.credentials.caller import Caller, Mode
from guard.policy.facts import EVERYTHING, EntryFilter
from record.actor import Actor, RecordProblem, RecordRefused, RecordUnit
from record.store import Record
from registry import update_rules
from registry.actor import RegistryActor
from registry.store import EntryCriteria, RegistryStore, RegistryUnit
from registry.update_rules import UpdateCheck
from xds import namespaces as ns
from xds.check.update import NewVersion, Plan, StatusChange
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource
from xds.model import Association, Author, Code, DocumentEntry, Submission, SubmissionSet
from xds.model.datatypes import Cx, dtm_text

PERSONS = "1.2.250.1.71.4.2.1"
"""Authority of the national identifiers of professionals."""
EXPRESSED_BY_PATIENT = "EXP_PATIENT^^1.2.250.1.213.1.1.4.6"
"""Content type of what a patient submits, where the domain has it."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """``record.documents.Shelf`` over the registry's store. ``source_id`` is the OID its submission sets name."""

    domains: DomainSource
    source_id: str

    @classmethod
    def of(cls, actor: RegistryActor) -> Shelf:
        return cls(actor.domains, actor.feed.device_id)

    @property
    def marks(self) -> AffinityDomain:
        return self.domains.current

    def newest(self, unit: RecordUnit, patient_key: int, document: str) -> DocumentEntry | None:
        """Rule: L-08"""
        store = _store(unit)
        wanted = frozenset({document})
        for where in (EntryCriteria(unique_ids=wanted), EntryCriteria(entry_uuids=wanted)):
            for found in store.entries(patient_key, where, EVERYTHING):
                versions = EntryCriteria(logical_ids=frozenset({found.logical_id}))
                return max(store.entries(patient_key, versions, EVERYTHING), key=lambda entry: entry.version)
        return None

    def names_under(self, unit: RecordUnit, patient_key: int, marks: frozenset[str]) -> frozenset[str]:
        store = _store(unit)
        shown = EntryFilter(hidden_by=marks)
        everything, free = (
            {one.unique_id for one in store.entries(patient_key, EntryCriteria(), visible)}
            for visible in (EVERYTHING, shown)
        )
        return frozenset(everything - free)

    def shown(
        self, unit: RecordUnit, patient_key: int, names: frozenset[str], visible: EntryFilter
    ) -> list[DocumentEntry]:
        found = _store(unit).entries(patient_key, EntryCriteria(unique_ids=names), visible)
        newest: dict[str, DocumentEntry] = {}
        for entry in found:
            if entry.unique_id not in newest or entry.version > newest[entry.unique_id].version:
                newest[entry.unique_id] = entry
        return list(newest.values())

    def change(
        self, unit: RecordUnit, record: Record, before: DocumentEntry, by: Actor, *, marks: list[Code] | None = None,
        status: str = "",
    ) -> DocumentEntry:
        """New codes are a new version, whatever the status, which stays (as in ITI-92). Raises RecordRefused."""
        plan = self._plan(record, before, by)
        set_id = plan.submission.submission_set.entry_uuid
        if marks is not None:
            item = replace(before, entry_uuid="Version", status="", version=0, confidentiality_codes=marks)
            member = Association(entry_uuid="Member", type=ns.HAS_MEMBER, source=set_id, target="Version",
                                 slots={"SubmissionSetStatus": ["Original"], "PreviousVersion": [str(before.version)]})
            plan.restricted = True
            plan.submission.entries.append(item)
            plan.submission.associations.append(member)
            plan.versions.append(NewVersion(item, member, before.version, propagates=True))
        else:
            trigger = Association(entry_uuid="Status", type=ns.UPDATE_AVAILABILITY_STATUS, source=set_id,
                                  target=before.entry_uuid,
                                  slots={"OriginalStatus": [before.status], "NewStatus": [status]})
            plan.submission.associations.append(trigger)
            plan.statuses.append(StatusChange(trigger, before.entry_uuid, before.status, status))
        check = UpdateCheck.of(plan, _store(unit), record.patient_key, self.marks, lambda _objects: set())
        wrong = [found for found in check.findings() if found.is_error]
        if wrong:
            raise RecordRefused(RecordProblem.WRONG_STATE, f"{wrong[0].field}: expected {wrong[0].expected}")
        update_rules.apply(check, dtm_text(by.at))
        after = self.newest(unit, record.patient_key, before.unique_id)
        return after or before

    def _plan(self, record: Record, before: DocumentEntry, by: Actor) -> Plan:
        domain = self.marks
        content = EXPRESSED_BY_PATIENT
        if content not in domain.codes.get("content_type_code", {}):
            content = min(domain.codes.get("content_type_code", {}), default="")
        return Plan(Submission(SubmissionSet(
            entry_uuid="SubmissionSet", unique_id=f"2.25.{uuid4().int}", patient_id=before.patient_id,
            source_id=self.source_id, submission_time=dtm_text(by.at),
            content_type_code=domain.code("content_type_code", content) if content else None,
            authors=[_author(by.caller, record)],
        )))


def _author(caller: Caller, record: Record) -> Author:
    """Who acts, as an author: the patient by his own identifier. Clause: DMP, author of a patient document"""
    if caller.mode is Mode.PATIENT:
        cx = Cx.parse(record.patient_id)
        return Author(person=[f"{cx.id}^^^^^^^^&{cx.authority}&ISO^D^^^{cx.type_code or 'NH'}"])
    family = caller.name.replace("^", " ").replace("&", " ") or caller.identifier
    known = caller.mode not in (Mode.REPRESENTATIVE, Mode.NODE)
    return Author(person=[f"{caller.identifier}^{family}^^^^^^^&{PERSONS}&ISO^D^^^IDNPS" if known else f"^{family}"])


def _store(unit: RecordUnit) -> RegistryStore:
    """The registry's own units carry it beside the record store."""
    return cast(RegistryUnit, unit).registry
