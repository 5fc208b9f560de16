"""The transactions of the registry, and where they are served. Nothing else.

Clause: ITI TF-1 10.1.1.3
"""

from __future__ import annotations

from registry import iti18_stored_query, iti42_register, iti51_multi_patient_query, reconcile, retrieve_decision
from registry.actor import RegistryActor
from xds.wire.exchange import Transaction

FILES = (iti42_register, iti18_stored_query, iti51_multi_patient_query, retrieve_decision, reconcile)

NODE_ONLY = frozenset({reconcile.NAME, retrieve_decision.NAME})
"""Verbs only one of our own repositories may call."""

PATHS: dict[str, frozenset[str]] = {
    "/services/registry": frozenset({iti42_register.NAME, iti18_stored_query.NAME, iti51_multi_patient_query.NAME}),
    "/services/registry/iti42": frozenset({iti42_register.NAME}),
    "/services/registry/iti18": frozenset({iti18_stored_query.NAME}),
    "/services/registry/iti51": frozenset({iti51_multi_patient_query.NAME}),
    "/internal/registry": NODE_ONLY,
}


def transactions(actor: RegistryActor) -> list[Transaction]:
    """Every verb of this registry."""
    return [file.transaction(actor) for file in FILES]
