"""What the record services work with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from guard.audit.particulars import particulars
from guard.policy.decision import Policy
from record.actor import Actor, RecordDatabase, Rules, professional
from record.documents import Shelf
from xds.domain import AffinityDomain
from xds.domain_source import DomainSource
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange


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

    @property
    def domain(self) -> AffinityDomain:
        """As it is now: ask once for each request."""
        return self.domains.current

    def by(self, exchange: Exchange, event: str, row: str = "") -> Actor:
        """The caller of an exchange, as one who acts once. ``event`` is the transaction, as in the access log, ``row``
        that of the audit message where the event does not tell it."""
        told = particulars(exchange, row=row, query_id=exchange.addressing.message_id)
        return professional(
            exchange.caller, self.policy, rules=self.rules, event=event, trace_id=exchange.trace_id,
            peer=exchange.peer.address, told=told, at=self.clock(),
        )


def patient_of(exchange: Exchange, operation: str) -> str:
    """CX of the patient the credential names: typed services have him nowhere else. Raises Refused. Rule: D-43"""
    named: str = exchange.caller.patient_id
    if not named:
        raise Refused([problem(
            "D-43", ErrorCode.XDSUnknownPatientId, operation, "resource-id of the assertion",
            expected="the identifier of the patient concerned",
        )])
    return named
