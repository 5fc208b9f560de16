"""Which patient identifiers are valid in the affinity domain, and which of them turned out to be one patient.

Fed by ITI-8, by ITI-44 and by hand; all three come through here. Nothing but the identifier is kept: names, dates and
addresses of a feed are for an identity store, which a registry is not. What is refused changes nothing; the caller
writes its line with ``log_refusal``.

Clause: ITI TF-2 3.8.4.1.4, 3.8.4.2.4, 3.44.4.1.4, 3.44.4.2.4
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from guard.audit import access_log
from guard.audit.particulars import NONE, Particulars
from guard.credentials.caller import Caller
from guard.policy.facts import RecordStatus
from record.actor import RecordProblem, RecordRefused, RecordUnit
from record.lifecycle import USE_SURVIVOR, checked_identifier
from record.store import Record

NOT_IN_IDENTIFIER = frozenset("|^~\\&")
"""Separators of HL7 v2: no identifier of ours holds one, escaped or not."""


class IdentityDomain(Protocol):
    """What of an affinity domain concerns identities."""

    @property
    def assigning_authorities(self) -> frozenset[str]: ...

    @property
    def type_of_authority(self) -> Mapping[str, str]: ...

    @property
    def record_needs_consent(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who does it, and by which message."""

    by: Caller
    event: str
    """``ITI-8``, ``ITI-44``, or ``operator``"""
    message_id: str = ""
    """MSH-10, or the id of the HL7 v3 message"""
    trace_id: str = ""
    peer: str = ""
    told: Particulars = NONE
    """What the message tells for its audit message"""

    def particulars(self, action: str) -> Particulars:
        """A merge is a deletion for the subsumed identifier and an update for the surviving one.

        Clause: ITI TF-2 3.8.5, 3.44.5
        """
        return replace(self.told, act=_ACT_OF[action], message_id=self.message_id)


_ACT_OF = {
    access_log.IDENTITY_ADDED: "C", access_log.IDENTITY_REVISED: "U", access_log.IDENTITY_SUBSUMED: "D",
    access_log.IDENTITY_SURVIVES: "U", access_log.IDENTITY_MERGE: "D",
}


def patient_identifier(domain: IdentityDomain, number: str, oid: str) -> str:
    """The CX under which an identifier is stored, submitted and asked for: ``number^^^&OID&ISO``, with the type code
    where the domain gives its authority one. Raises RecordRefused.

    Clause: ITI TF-2 3.8.4.1.4; ITI TF-3 4.2.3.1.7 (CX)
    """
    if NOT_IN_IDENTIFIER & set(number + oid):
        raise RecordRefused(RecordProblem.INVALID_IDENTIFIER, "an identifier holds none of | ^ ~ \\ &")
    kind = domain.type_of_authority.get(oid, "")
    return checked_identifier(f"{number}^^^&{oid}&ISO" + (f"^{kind}" if kind else ""), domain.assigning_authorities,
                              check_key=False)


def from_cx(domain: IdentityDomain, patient_id: str) -> str:
    """The same for a CX typed by a person, with whatever namespace and type it has. Raises RecordRefused."""
    parts = checked_identifier(patient_id, domain.assigning_authorities).split("^")
    return patient_identifier(domain, parts[0], parts[3].split("&")[1].strip())


def add_identity(unit: RecordUnit, domain: IdentityDomain, patient_id: str, act: Act) -> Record:
    """Make an identifier (in the form of ``patient_identifier``) known, and open to submissions at once.

    Adding it again changes nothing. Where a record needs consent nobody becomes known in this way; a merged or closed
    one does not come back. Raises RecordRefused. Rule: F-01, F-23
    Clause: ITI TF-2 3.8.4.1.4, 3.44.4.1.4
    """
    found = unit.record.find(patient_id)
    if found is None:
        found = _made_known(unit, domain, patient_id, act)
    elif found.status is RecordStatus.SUBSUMED:
        raise RecordRefused(RecordProblem.SUBSUMED, USE_SURVIVOR)
    elif found.status is not RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.CLOSED, "an identity feed does not reopen a record")
    _log(unit, found, act, access_log.IDENTITY_ADDED)
    return found


def _made_known(unit: RecordUnit, domain: IdentityDomain, patient_id: str, act: Act) -> Record:
    if domain.record_needs_consent:
        raise RecordRefused(RecordProblem.CONSENT_MISSING, "open the record: carnet patient open … --consent")
    new = Record(
        patient_key=0, patient_id=patient_id, status=RecordStatus.ACTIVE, opened_by=act.by.identifier,
        opened_at=access_log.stamp(datetime.now(UTC)), consent="not needed in this domain", channel=act.event,
    )
    try:
        return unit.record.add(new)
    except KeyError:  # another source was quicker, and said the same
        found = unit.record.find(patient_id)
        if found is None:
            raise
        return found


def revise_identity(unit: RecordUnit, patient_id: str, act: Act) -> None:
    """An update of traits: nothing of it is kept, and an identifier that is not known stays unknown.

    Clause: ITI TF-2 3.8.4.1.4
    """
    found = unit.record.find(patient_id)
    if found is not None:
        _log(unit, found, act, access_log.IDENTITY_REVISED)


def merge_identities(
    unit: RecordUnit, domain: IdentityDomain, subsumed_id: str, surviving_id: str, act: Act, *,
    survivor_may_be_new: bool = False,
) -> Record:
    """Merge one identifier into another; returns the surviving record.

    All that was stored under the subsumed one belongs to the surviving one from now on: queries, further submissions
    and the life cycle of its documents. The stricter of two rules stays: objections of either side hold, masks are
    marks of the documents and go with them. A closed record takes no part: merged into an open one it would be read
    again. There is no way back, and merges may form a chain. Both identifiers get a line in the access log.

    Why the pair is locked in the order of keys: two merges at once must not wait for each other.
    ``survivor_may_be_new``: ITI-44 does not ask for a survivor that is already known.

    Raises RecordRefused. Rule: F-05, F-07, F-08, F-09, F-10, F-11, F-12, F-14, F-20, F-21; F-13 and R-093 follow from
    the state of the subsumed record.
    Clause: ITI TF-2 3.8.4.2.4, 3.44.4.2.4
    """
    if subsumed_id == surviving_id:
        raise RecordRefused(RecordProblem.SAME_IDENTIFIER, "name two different identifiers")
    subsumed, surviving = unit.record.find(subsumed_id), unit.record.find(surviving_id)
    for key in sorted({one.patient_key for one in (subsumed, surviving) if one is not None}):
        unit.record.lock(key)
    subsumed = _active(unit, subsumed, "subsumed")
    if surviving is None and survivor_may_be_new:
        surviving = add_identity(unit, domain, surviving_id, act)
        unit.record.lock(surviving.patient_key)
    surviving = _active(unit, surviving, "surviving")
    if subsumed.patient_key == surviving.patient_key:
        raise RecordRefused(RecordProblem.SAME_IDENTIFIER, "name two different identifiers")
    unit.record.absorb(subsumed, surviving)
    unit.record.update(replace(subsumed, status=RecordStatus.SUBSUMED, subsumed_by=surviving.patient_key))
    surviving = replace(surviving, objected_purposes=surviving.objected_purposes | subsumed.objected_purposes)
    unit.record.update(surviving)
    _log(unit, subsumed, act, access_log.IDENTITY_SUBSUMED, other=surviving)
    _log(unit, surviving, act, access_log.IDENTITY_SURVIVES, other=subsumed)
    return surviving


def _active(unit: RecordUnit, found: Record | None, part: str) -> Record:
    """The record as it stands once no other writer is at it."""
    record = None if found is None else unit.record.get(found.patient_key)
    if record is not None and record.status is RecordStatus.SUBSUMED:
        raise RecordRefused(RecordProblem.SUBSUMED, f"the {part} identifier: {USE_SURVIVOR}")
    if record is None or record.status is not RecordStatus.ACTIVE:
        raise RecordRefused(RecordProblem.NOT_ACTIVE, f"the {part} identifier is unknown here, or its record is closed")
    return record


def log_refusal(unit: RecordUnit, act: Act, action: str, patient_id: str, refusal: RecordRefused) -> None:
    """The line of an act that was refused. ``patient_id`` may name nobody we know."""
    record = unit.record.find(patient_id) if patient_id else None
    unit.audit.append(
        access_log.refusal(
            act.by, trace_id=act.trace_id, event=act.event, action=action, peer=act.peer,
            patient_key=record.patient_key if record else None, patient_id=patient_id, reason=str(refusal),
            clause="ITI TF-2 3.8.4.2.4" if action == access_log.IDENTITY_MERGE else "ITI TF-2 3.8.4.1.4",
            particulars=act.particulars(action),
        )
    )


def _log(unit: RecordUnit, record: Record, act: Act, action: str, other: Record | None = None) -> None:
    message = f"message {act.message_id}" if act.message_id else ""
    detail = "; ".join(filter(None, (message, other.patient_id if other else "")))
    unit.audit.append(
        access_log.record_act(
            act.by, trace_id=act.trace_id, event=act.event, action=action, patient_key=record.patient_key,
            patient_id=record.patient_id, detail=detail, peer=act.peer, particulars=act.particulars(action),
        )
    )
