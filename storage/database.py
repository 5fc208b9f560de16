"""Units of work: the stores that share a database, over one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.audit import SqlAuditStore, SqlOutbox
from storage.audit_chain import SqlChain
from storage.emergencies import SqlEmergencies
from storage.engines import connect
from storage.proofs import KeptProofs, SqlProofs
from storage.record import SqlRecordStore
from storage.registry import SqlRegistryStore
from storage.replay import SqlReplay
from storage.repository_index import SqlDocumentIndex
from storage.tables import (
    access_log,
    access_log_chain,
    assertion_proof,
    audit_outbox,
    emergency_access,
    repository_access_log,
    repository_access_log_chain,
    repository_assertion_proof,
    repository_audit_outbox,
    repository_shown_assertion,
    shown_assertion,
)
from storage.transaction import Transaction


@dataclass(slots=True)
class SqlRegistryUnit:
    registry: SqlRegistryStore
    record: SqlRecordStore
    audit: SqlAuditStore
    outbox: SqlOutbox
    chain: SqlChain
    emergencies: SqlEmergencies
    proofs: SqlProofs


@dataclass(slots=True)
class SqlRepositoryUnit:
    documents: SqlDocumentIndex
    audit: SqlAuditStore
    outbox: SqlOutbox
    chain: SqlChain
    proofs: SqlProofs


class SqlRegistryDatabase:
    """``registry.store.RegistryDatabase``.

    Its units raise KeyError when a unique key is taken, TimeoutError when the database stays busy, and OSError
    (ENOSPC when the disk is full) when it cannot be written; nothing of the unit is then stored.
    """

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self._kept = KeptProofs()
        self.replay = SqlReplay(self.engine, shown_assertion)

    @contextmanager
    def read(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.reading() as transaction:
            yield _registry_unit(transaction, self._kept)

    @contextmanager
    def write(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.writing() as transaction:
            yield _registry_unit(transaction, self._kept)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


class SqlRepositoryDatabase:
    """``repository.store.RepositoryDatabase``. Raises as ``SqlRegistryDatabase`` does."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self._kept = KeptProofs()
        self.replay = SqlReplay(self.engine, repository_shown_assertion)

    @contextmanager
    def read(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.reading() as transaction:
            yield _repository_unit(transaction, self._kept)

    @contextmanager
    def write(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.writing() as transaction:
            yield _repository_unit(transaction, self._kept)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


def _registry_unit(transaction: Transaction, kept: KeptProofs) -> SqlRegistryUnit:
    proofs = SqlProofs(transaction, assertion_proof, access_log, kept)
    return SqlRegistryUnit(
        SqlRegistryStore(transaction), SqlRecordStore(transaction),
        SqlAuditStore(transaction, access_log, audit_outbox, access_log_chain[0], proofs, emergency_access),
        SqlOutbox(transaction, access_log, audit_outbox),
        SqlChain(transaction, access_log, access_log_chain, (audit_outbox, emergency_access), proofs),
        SqlEmergencies(transaction, access_log, emergency_access),
        proofs,
    )


def _repository_unit(transaction: Transaction, kept: KeptProofs) -> SqlRepositoryUnit:
    log, outbox, chain = repository_access_log, repository_audit_outbox, repository_access_log_chain
    proofs = SqlProofs(transaction, repository_assertion_proof, log, kept)
    return SqlRepositoryUnit(
        SqlDocumentIndex(transaction), SqlAuditStore(transaction, log, outbox, chain[0], proofs),
        SqlOutbox(transaction, log, outbox), SqlChain(transaction, log, chain, (outbox,), proofs), proofs,
    )
