"""Whose record a request is about, and whether this caller comes near it at all.

Clause: ITI TF-2 3.42.4.1.3.3.1, 3.57.4.1.3
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from guard.credentials.caller import Caller
from guard.policy.clauses import same_patient
from guard.policy.decision import Policy
from guard.policy.facts import Action, Decision, RecordFacts, RecordStatus
from record.facts import facts_for
from record.store import Record
from registry.store import RegistryUnit
from xds.errors import ErrorCode, Finding


def locked(unit: RegistryUnit, patient_id: str) -> Record | None:
    """The patient's record as it stands once no other writer is at it."""
    record = unit.record.find(patient_id) if patient_id else None
    if record is None:
        return None
    lock_all(unit, [record.patient_key])
    return unit.record.get(record.patient_key)


def lock_all(unit: RegistryUnit, patient_keys: Iterable[int]) -> None:
    """Always in one order, so that no two writers wait for each other."""
    for patient_key in sorted(set(patient_keys)):
        unit.record.lock(patient_key)


def lock_owners(unit: RegistryUnit, owners: Callable[[], set[int]]) -> None:
    """Lock the records that hold what a request is about.

    They are asked for again afterwards: a merge that ended meanwhile has moved them to another record.
    """
    locked: set[int] = set()
    while missing := owners() - locked:
        lock_all(unit, missing)
        locked |= missing


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why this caller may not touch this record: what he is told, and what the access log keeps."""

    told: Finding
    logged: Finding


def refusal(
    policy: Policy, unit: RegistryUnit, caller: Caller, action: Action, record: Record | None, patient_id: str
) -> Refusal | None:
    """Is the patient known, the record open, and may this caller do this there?

    What no record would allow is said in words; what this record's patient has settled looks like an unknown
    patient or a closed record. Clause: ITI TF-2 3.42.4.1.3.3.1
    """
    if not patient_id:
        return None
    at_best = RecordFacts(RecordStatus.ACTIVE, patient_id=patient_id, is_representative=True)
    decision = policy.decide(caller, action, at_best)
    if not decision.allowed:
        told = no_right(caller, decision, "SubmissionSet")
        return Refusal(told, told)
    if other := another_patient(caller, patient_id, "SubmissionSet"):
        return Refusal(other, other)
    told = Finding(
        code=ErrorCode.XDSUnknownPatientId,
        subject="SubmissionSet",
        field="patientId",
        found=patient_id,
        expected="the identifier of a patient whose record is open",
        clause="ITI TF-2 3.42.4.1.3.3.1",
        rule="R-090",
    )
    if record is None:
        return Refusal(told, told)
    decision = policy.decide(caller, action, facts_for(unit.record, record, caller))
    return None if decision.allowed else Refusal(told, replace(told, clause=decision.clause))


def another_patient(caller: Caller, patient_id: str, subject: str) -> Finding | None:
    """The patient an assertion names and the patient of the message are one; None when they are, or one names nobody.

    What names no patient (a selection by identifier, a retrieve) is not compared: policy decides there.
    Clause: ITI TF-2 3.40.4.1.2.2, 3.40.4.1.3
    """
    if not caller.patient_id or not patient_id or same_patient(caller.patient_id, patient_id):
        return None
    return Finding(
        code=ErrorCode.XDSRegistryError,
        subject=subject,
        field="patient of the assertion (resource-id)",
        found="another patient than the message names",
        expected="an assertion made out for the patient of the message, or for none",
        clause="ITI TF-2 3.40.4.1.2.2",
    )


def no_right(
    caller: Caller, decision: Decision, subject: str, code: ErrorCode = ErrorCode.XDSRegistryError, rule: str = ""
) -> Finding:
    """The decision in words for the caller."""
    return Finding(
        code=code,
        subject=subject,
        field="access right",
        found=f"{caller.mode} caller {caller.identifier}",
        expected=f"a caller who may do this: {decision.reason}",
        clause=decision.clause,
        rule=rule,
    )
