"""The traces of a record: read by whom they concern, destroyed when the law no longer keeps them.

Clause: arrêté du 26/10/2023 (the holder reads every access); DMP EX_AIR-100; CSP L1111-18
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from datetime import UTC, datetime
from operator import attrgetter
from typing import Protocol
from uuid import uuid4

from guard.audit import access_log
from guard.audit.particulars import NONE, Particulars
from guard.audit.readers import Reader, ReaderKind, visible
from guard.audit.store import AccessLine, AuditStore
from guard.credentials.caller import Caller, Mode
from guard.policy.facts import RecordFacts, RecordStatus
from record import lifecycle
from record.actor import Actor, RecordUnit, Rules, log_system, require_system
from record.facts import facts_for
from record.store import Record, RecordStore

EXTRACTED = "traces handed out"


class TraceRefused(Exception):
    """The traces are not shown, or not destroyed. Names no patient."""


class TraceKeeper(Protocol):
    """Takes lines out of the log and leaves their hashes."""

    def destroy(self, patient_keys: Collection[int], patient_ids: Collection[str], trace_id: str) -> int: ...


class KeepingUnit(Protocol):
    """The part of either service's write unit that a destruction needs."""

    @property
    def audit(self) -> AuditStore: ...

    @property
    def chain(self) -> TraceKeeper: ...


def _as_professional(caller: Caller, facts: RecordFacts) -> Reader:
    return Reader(ReaderKind.ATTENDING if facts.is_attending else ReaderKind.PROFESSIONAL, caller.identifier)


def reader_of(caller: Caller, facts: RecordFacts, hidden: frozenset[str] = frozenset()) -> Reader:
    """With whose eyes a caller reads the log of a record he may read. ``hidden`` as in ``Reader``."""
    match caller.mode:
        case Mode.PATIENT:
            return Reader(ReaderKind.PATIENT, hidden=hidden)
        case Mode.REPRESENTATIVE:
            return Reader(ReaderKind.REPRESENTATIVE, caller.identifier, hidden)
        case Mode.NODE:
            return Reader(ReaderKind.OPERATOR)
    return _as_professional(caller, facts)


def professional(records: RecordStore, record: Record, caller: Caller) -> Reader:
    """As whom a professional reads this record's log. Raises TraceRefused for one whom the patient has barred."""
    facts = facts_for(records, record, caller)
    if facts.is_blocked:
        raise TraceRefused("the patient has barred this professional")
    return _as_professional(caller, facts)


def read(
    unit: RecordUnit, record: Record, reader: Reader, *, by: Caller, event: str = "log", trace_id: str = "",
    peer: str = "", at: datetime | None = None, particulars: Particulars = NONE,
) -> list[AccessLine]:
    """The lines this reader may see, oldest first; the look is a line itself, in the same unit.

    Lines written for an identifier that was merged into this record are among them.
    """
    moment = at or datetime.now(UTC)
    keys = [record.patient_key, *(one.patient_key for one in unit.record.merged_into(record.patient_key))]
    lines = heapq.merge(*map(unit.audit.read_for_patient, keys), key=attrgetter("at"))
    shown = visible(lines, reader, moment)
    unit.audit.append(access_log.record_act(
        by, trace_id=trace_id or uuid4().hex, event=event, action=access_log.LOG_READ, patient_key=record.patient_key,
        patient_id=record.patient_id, detail=f"{reader.kind}, {len(shown)} lines", peer=peer,
        at=access_log.stamp(moment), particulars=particulars,
    ))
    return shown


def of_professional(
    unit: RecordUnit, identifier: str, *, by: Actor, since: str = "", until: str = "", skip: int = 0, most: int = 0
) -> list[AccessLine]:
    """Everything one professional did, in all records, oldest first: for the operator, on a lawful request.

    Times as in the log; ``until`` is not among them, "" is no bound. ``skip`` lines are left out at the beginning,
    ``most`` are given at most (0: all). That they were handed out is a line. Raises RecordRefused.
    Clause: DMP EX_AIR-120
    """
    require_system(by)
    found = list(unit.audit.read_of_caller(identifier, since=since, until=until, skip=skip, limit=most))
    log_system(unit, by, EXTRACTED, f"of {identifier}, {len(found)} lines")
    return found


def retention_ended(record: Record, moment: datetime, rules: Rules) -> bool:
    """Whether the traces of this record are kept no longer: as long after its closing as the record itself.

    ``moment`` is aware. What is left of a destroyed record remembers when it was closed. Clause: DMP EX_AIR-100
    """
    ended = record.status in (RecordStatus.CLOSED, RecordStatus.DESTROYED) and record.closed_at
    return bool(ended) and lifecycle.retention_ended(record.closed_at, moment, rules)


def destroy(
    unit: KeepingUnit, patient_keys: Collection[int], patient_ids: Collection[str], *, by: Caller, trace_id: str = "",
    at: datetime | None = None,
) -> int:
    """Destroy every line of these patients, and say so in one line that names none of them; returns how many went.

    The caller has seen to it that they are kept no longer (``retention_ended``). ``patient_ids`` are all the
    identifiers they were known by. May be repeated.
    """
    trace_id = trace_id or uuid4().hex
    gone = unit.chain.destroy(patient_keys, patient_ids, trace_id)
    if gone:
        unit.audit.append(access_log.retention_act(by, trace_id=trace_id, lines=gone, at=at))
    return gone
