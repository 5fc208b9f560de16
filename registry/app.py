"""The transactions of the registry, and where they are served. Nothing else.

Clause: ITI TF-1 10.1.1.3
"""

from __future__ import annotations

from registry import (
    iti18_stored_query,
    iti42_register,
    iti57_update_document_set,
    iti62_remove_metadata,
    iti92_restricted_update,
    reconcile,
    retrieve_decision,
)
from registry.actor import RegistryActor
from xds.wire.exchange import Transaction

FILES = (
    iti42_register, iti18_stored_query, iti57_update_document_set, iti62_remove_metadata, iti92_restricted_update,
    retrieve_decision, reconcile,
)

NODE_ONLY = frozenset({reconcile.NAME, retrieve_decision.NAME})
"""Verbs only one of our own repositories may call."""

PATHS: dict[str, frozenset[str]] = {
    "/services/registry": frozenset(f.NAME for f in FILES) - NODE_ONLY,
    "/services/registry/iti42": frozenset({iti42_register.NAME}),
    "/services/registry/iti18": frozenset({iti18_stored_query.NAME}),
    "/services/registry/iti57": frozenset({iti57_update_document_set.NAME}),
    "/services/registry/iti62": frozenset({iti62_remove_metadata.NAME}),
    "/services/registry/iti92": frozenset({iti92_restricted_update.NAME}),
    "/internal/registry": NODE_ONLY,
}


def transactions(actor: RegistryActor) -> list[Transaction]:
    """Every verb of this registry."""
    return [file.transaction(actor) for file in FILES]
