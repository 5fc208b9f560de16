"""The transactions of the registry, and where they are served. Nothing else.

Clause: ITI TF-1 10.1.1.3
"""

from __future__ import annotations

from registry import (
    erasures,
    iti18_stored_query,
    iti42_register,
    iti44_patient_feed_v3,
    iti51_multi_patient_query,
    iti57_update_document_set,
    iti61_register_on_demand,
    iti62_remove_metadata,
    iti92_restricted_update,
    reconcile,
    retrieve_decision,
)
from registry.actor import RegistryActor
from xds.wire.exchange import Transaction

PUBLIC = (
    iti42_register,
    iti18_stored_query,
    iti51_multi_patient_query,
    iti57_update_document_set,
    iti61_register_on_demand,
    iti62_remove_metadata,
    iti92_restricted_update,
)
NAMES = (*(file.NAME for file in PUBLIC), iti44_patient_feed_v3.NAME)
INTERNAL = (retrieve_decision, reconcile, erasures)

NODE_ONLY = frozenset(file.NAME for file in INTERNAL)
"""Verbs only one of our own repositories may call."""

SERVICE = "/services/registry"

PATHS: dict[str, frozenset[str]] = {
    SERVICE: frozenset(NAMES),
    **{f"{SERVICE}/{name.lower().replace('-', '')}": frozenset({name}) for name in NAMES},
    "/internal/registry": NODE_ONLY,
}
"""Every transaction at the one address, by its action; and each at an address of its own, as ``…/iti42``."""


def transactions(actor: RegistryActor) -> list[Transaction]:
    """Every verb of this registry."""
    return [
        *(file.transaction(actor) for file in (*PUBLIC, *INTERNAL)), *iti44_patient_feed_v3.transactions(actor),
    ]
