"""What those who manage the system do by SOAP: announce records in bulk, note a death, run the job of every day, hand
out the traces of one professional. And what every caller may ask: the parameters of the server.

The DMP has no transaction for them: they are the insurer's batches and out of band. So they are a service of ours, for
those whose certificate the operator has named (``RecordServices.managers``), and for nobody where he has named none.

Clause: loi OTSS; CSP L1111-18; DMP EX_AIR-120
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from guard.audit import access_log
from guard.audit.access_log import stamp
from guard.audit.store import AccessLine
from record import destruction, lifecycle, traces
from record.actor import RecordRefused, carried_out, log_system
from record.td.actor import RecordServices
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

ANNOUNCE, DEATH, RETENTION, EXTRACT = "announceRecords", "recordDeath", "runRetention", "extractTraces"
PARAMETERS = "getParameters"
RETENTION_RUN, PARAMETERS_READ = "retention run", "parameters read"
AT_ONCE = 200
"""Records announced by one call."""
LINES = 500
"""Lines of one answer of an extraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """One line of the answer, in the order asked; ``opensAt`` is UTC, ISO 8601."""

    patientId: str
    opensAt: str | None
    status: str
    """DMPOk, or the name of the error"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One line of the access log, as an extraction gives it."""

    date: str
    """UTC, ISO 8601"""
    patientId: str | None
    event: str
    action: str
    outcome: str
    purpose: str | None
    structureId: str | None
    documents: list[str]
    traceId: str


def announce(services: RecordServices, exchange: Exchange, patients: Sequence[str], ok: str) -> list[Announced]:
    """Announce a record for each; one that is refused keeps no other from it. Rule: D-58, D-59"""
    actor = services.manager(exchange, ANNOUNCE, lifecycle.ANNOUNCED)
    if not 1 <= len(patients) <= AT_ONCE:
        raise Refused([problem(
            "D-59", ErrorCode.XDSRegistryError, ANNOUNCE, "patientId", found=f"{len(patients)} times",
            expected=f"1 to {AT_ONCE}",
        )])
    authorities = services.domain.assigning_authorities
    told = []
    for patient_id in patients:
        try:
            record = carried_out(
                services.database, actor, lifecycle.ANNOUNCED, patient_id,
                partial(lifecycle.announce, patient_id=patient_id, by=actor, authorities=authorities),
            )
            told.append(Announced(patientId=patient_id, opensAt=record.opened_at, status=ok))
        except RecordRefused as refusal:
            told.append(Announced(patientId=patient_id, opensAt=None, status=refusal.problem.dmp_error))
    return told


def note_death(services: RecordServices, exchange: Exchange, patient_id: str, day: str) -> str:
    """The record is closed and never reopened; returns when it was closed. Rule: D-58, D-60"""
    actor = services.manager(exchange, DEATH, access_log.RECORD_CLOSED)
    record = carried_out(
        services.database, actor, access_log.RECORD_CLOSED, patient_id,
        lambda unit: lifecycle.holder_died(unit, patient_id, by=actor, on=_day(DEATH, "dateOfDeath", day)),
    )
    return record.closed_at


def run_retention(services: RecordServices, exchange: Exchange) -> str:
    """Open what was announced, destroy what was kept long enough: what the job does by itself, now; returns how
    much of either.

    The files are overwritten, and the traces of long closed records end, by the job beside the registry. Rule: D-58
    """
    actor = services.manager(exchange, RETENTION, RETENTION_RUN)

    def run(unit: Any) -> str:
        done = destruction.retain(unit, by=actor)
        told = f"{len(done.opened)} opened, {len(done.destroyed)} destroyed, {len(done.completed)} complete"
        log_system(unit, actor, RETENTION_RUN, told)
        return told

    return carried_out(services.database, actor, RETENTION_RUN, "", run)


def extract(
    services: RecordServices, exchange: Exchange, identifier: str, days: tuple[str, str], skip: int
) -> list[Trace]:
    """The lines of one professional, oldest first, from the first of ``days`` to the last ("": no bound), LINES at
    once: ``skip`` those that were given before. Rule: D-58, D-60, D-61"""
    actor = services.manager(exchange, EXTRACT, traces.EXTRACTED)
    if not identifier.strip() or skip < 0:
        raise Refused([problem(
            "D-61", ErrorCode.XDSRegistryError, EXTRACT, "nationalId", expected="the identifier of a professional"
        )])
    since = stamp(_begin(EXTRACT, "since", days[0])) if days[0] else ""
    until = stamp(_begin(EXTRACT, "until", days[1]) + timedelta(days=1)) if days[1] else ""
    found = carried_out(
        services.database, actor, traces.EXTRACTED, "",
        lambda unit: traces.of_professional(
            unit, identifier.strip(), since=since, until=until, skip=skip, most=LINES, by=actor
        ),
    )
    return [_told(line) for line in found]


def parameters(services: RecordServices, exchange: Exchange) -> list[Parameter]:
    """What software has to know of this server, for whoever has a credential. The first and the last name are the
    DMP's, those of the ages ours. Clause: DMP EX_GEN-1550, EX_0.1-1115, EX_2.1-1050"""
    actor, minors, domain = services.by(exchange, PARAMETERS), services.policy.minors, services.domain
    both = domain.hidden_from_professionals | domain.hidden_from_patient
    excluded = any(group <= both for group in domain.conflicting_confidentiality)
    with services.database.write() as unit:
        log_system(unit, actor, PARAMETERS_READ)
    return [
        Parameter(name="fonctions-gestion-mineurs", value=_flag(minors.managed)),
        Parameter(name="age-majorite", value=str(minors.majority)),
        Parameter(name="age-minimum-connexion-secrete", value=str(minors.secret_from)),
        Parameter(name="cumul-invisible_patient-masque_ps", value=_flag(not excluded)),
    ]


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _told(line: AccessLine) -> Trace:
    return Trace(
        date=line.at, patientId=line.patient_id or None, event=line.event, action=line.action, outcome=line.outcome,
        purpose=line.purpose or None, structureId=line.structure_id or None, documents=list(line.documents),
        traceId=line.trace_id,
    )


def _begin(operation: str, name: str, text: str) -> datetime:
    day = _day(operation, name, text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(operation: str, name: str, text: str) -> date:
    """Raises Refused. Rule: D-60"""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
        _ = day + timedelta(days=1)
        return day
    except (ValueError, OverflowError):
        raise Refused([problem(
            "D-60", ErrorCode.XDSRegistryError, operation, name, found=text, expected="YYYY-MM-DD"
        )]) from None
