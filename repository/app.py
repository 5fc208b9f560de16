"""The transactions of the repository, and where they are served. Nothing else.

Clause: ITI TF-1 10.1.1.4
"""

from __future__ import annotations

from repository import iti41_provide_and_register, iti43_retrieve, iti86_remove_documents
from repository.actor import RepositoryActor
from xds.wire.exchange import Transaction

FILES = (iti41_provide_and_register, iti43_retrieve, iti86_remove_documents)

PATHS: dict[str, frozenset[str]] = {
    "/services/repository": frozenset(f.NAME for f in FILES),
    "/services/repository/iti41": frozenset({iti41_provide_and_register.NAME}),
    "/services/repository/iti43": frozenset({iti43_retrieve.NAME}),
    "/services/repository/iti86": frozenset({iti86_remove_documents.NAME}),
}


def transactions(actor: RepositoryActor) -> list[Transaction]:
    """Every verb of this repository."""
    return [file.transaction(actor) for file in FILES]
