"""What the record services work with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from guard.audit.particulars import particulars
from guard.credentials.caller import Caller, Mode
from guard.policy.decision import Policy
from record.actor import Actor, ActorKind, RecordDatabase, RecordProblem, RecordRefused, Rules, as_open, log_refusal
from record.documents import Shelf
from record.facts import represents
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

HOLDING = frozenset({Mode.PATIENT, Mode.REPRESENTATIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordServices:
    """The record services of one affinity domain. ``device_id`` is the OID under which they speak HL7 v3."""

    database: RecordDatabase
    domains: DomainSource
    policy: Policy
    shelf: Shelf
    device_id: str
    clock: Callable[[], datetime]
    rules: Rules = field(default_factory=Rules)
    managers: frozenset[str] = frozenset()
    """SHA-256 of the certificates (64 hexadecimal digits) of those who manage the system by SOAP; empty: nobody"""

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current

    def by(self, exchange: Exchange, event: str, row: str = "") -> Actor:
        """The caller of an exchange, as one who acts once. ``event`` is the transaction, as in the access log, ``row``
        that of the audit message where the event does not tell it. Raises RecordRefused for a representative of
        nobody."""
        caller = exchange.caller
        is_holder = caller.mode in HOLDING
        told = particulars(exchange, row=row, query_id=exchange.addressing.message_id)
        actor = Actor(
            caller=caller, kind=ActorKind.PATIENT if is_holder else ActorKind.PROFESSIONAL, rights=self.policy,
            rules=self.rules, patient_id=caller.patient_id if is_holder else "", event=event,
            trace_id=exchange.trace_id, peer=exchange.peer.address, told=told, at=self.clock(),
        )
        if caller.mode is Mode.REPRESENTATIVE:
            self._require_named(actor)
        return actor

    def _require_named(self, actor: Actor) -> None:
        """Whom no record names as representative gets one answer to everything, also where there is no record."""
        with self.database.read() as unit:
            if represents(unit.record, unit.record.find(actor.patient_id), actor.caller):
                return
        refusal = RecordRefused(RecordProblem.NO_RIGHT, "the caller represents nobody here", "representative")
        with self.database.write() as unit:
            log_refusal(unit, actor, actor.event, actor.patient_id, refusal)
        raise refusal

    def manager(self, exchange: Exchange, event: str, action: str) -> Actor:
        """The caller as the system itself, where the operator has named the certificate that signed. Raises
        RecordRefused for everybody else, whose attempt is a line. Rule: D-58"""
        asking = self.by(exchange, event)
        caller = exchange.caller
        if caller.mode in (Mode.DIRECT, Mode.INDIRECT) and caller.certificate_sha256 in self.managers:
            return replace(asking, kind=ActorKind.SYSTEM, rights=None)
        refusal = RecordRefused(RecordProblem.NO_RIGHT, "only who manages the system does this", "functional-right")
        with self.database.write() as unit:
            log_refusal(unit, asking, action, "", refusal)
        raise refusal

    def channel(self, caller: Caller) -> str:
        """Through whom a record is opened, as its row tells it. Clause: DMP, channel of creation"""
        if caller.mode in HOLDING:
            return "patient"
        return "desk" if self.policy.standing(caller, as_open("")).actor in ("CPE", "ST") else "professional"


def patient_of(exchange: Exchange, operation: str) -> str:
    """CX of the patient the credential names: typed services have him nowhere else. Raises Refused. Rule: D-43"""
    named: str = exchange.caller.patient_id
    if not named:
        raise Refused([problem(
            "D-43", ErrorCode.XDSUnknownPatientId, operation, "resource-id of the assertion",
            expected="the identifier of the patient concerned",
        )])
    return named
