"""The record services, and where they are served. Nothing else."""

from __future__ import annotations

from record.td import hl7, services
from record.td.actor import RecordServices
from xds.wire.exchange import Transaction

RECORD = "/services/record"

PATHS: dict[str, frozenset[str]] = {
    RECORD: frozenset(interaction.name for interaction in hl7.INTERACTIONS),
    **{path: frozenset(one.name for one in service.operations) for path, service in services.SERVICES.items()},
}
"""HL7 v3 at one address, by the action; each typed service at its own."""


def transactions(actor: RecordServices) -> list[Transaction]:
    """Every verb of the record services."""
    return [*hl7.transactions(actor), *services.transactions(actor)]
