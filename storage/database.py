"""Units of work: the stores that share a database, over one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.audit import SqlAuditStore, SqlOutbox
from storage.audit_chain import SqlChain
from storage.emergencies import SqlEmergencies
from storage.engines import connect
from storage.record import SqlRecordStore
from storage.registry import SqlRegistryStore
from storage.repository_index import SqlDocumentIndex
from storage.tables import (
    access_log,
    access_log_chain,
    audit_outbox,
    emergency_access,
    repository_access_log,
    repository_access_log_chain,
    repository_audit_outbox,
    tokens_access_log,
    tokens_access_log_chain,
    tokens_audit_outbox,
)
from storage.tokens import SqlTokenStore
from storage.transaction import Transaction


@dataclass(slots=True)
class SqlRegistryUnit:
    registry: SqlRegistryStore
    record: SqlRecordStore
    audit: SqlAuditStore
    outbox: SqlOutbox
    chain: SqlChain
    emergencies: SqlEmergencies


@dataclass(slots=True)
class SqlRepositoryUnit:
    documents: SqlDocumentIndex
    audit: SqlAuditStore
    outbox: SqlOutbox
    chain: SqlChain


@dataclass(slots=True)
class SqlTokensUnit:
    tokens: SqlTokenStore
    audit: SqlAuditStore
    outbox: SqlOutbox
    chain: SqlChain


class SqlRegistryDatabase:
    """``registry.store.RegistryDatabase``.

    Its units raise KeyError when a unique key is taken, TimeoutError when the database stays busy, and OSError
    (ENOSPC when the disk is full) when it cannot be written; nothing of the unit is then stored.
    """

    def __init__(self, url: str) -> None:
        self.engine = connect(url)

    @contextmanager
    def read(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.reading() as transaction:
            yield _registry_unit(transaction)

    @contextmanager
    def write(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.writing() as transaction:
            yield _registry_unit(transaction)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


class SqlRepositoryDatabase:
    """``repository.store.RepositoryDatabase``. Raises as ``SqlRegistryDatabase`` does."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)

    @contextmanager
    def read(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.reading() as transaction:
            yield _repository_unit(transaction)

    @contextmanager
    def write(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.writing() as transaction:
            yield _repository_unit(transaction)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


class SqlTokensDatabase:
    """``tokens.store.TokensDatabase``. Raises as ``SqlRegistryDatabase`` does."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)

    @contextmanager
    def read(self) -> Iterator[SqlTokensUnit]:
        with self.engine.reading() as transaction:
            yield _tokens_unit(transaction)

    @contextmanager
    def write(self) -> Iterator[SqlTokensUnit]:
        with self.engine.writing() as transaction:
            yield _tokens_unit(transaction)

    def close(self) -> None:
        self.engine.close()


def _registry_unit(transaction: Transaction) -> SqlRegistryUnit:
    return SqlRegistryUnit(
        SqlRegistryStore(transaction), SqlRecordStore(transaction),
        SqlAuditStore(transaction, access_log, audit_outbox, access_log_chain[0], emergency_access),
        SqlOutbox(transaction, access_log, audit_outbox),
        SqlChain(transaction, access_log, access_log_chain, (audit_outbox, emergency_access)),
        SqlEmergencies(transaction, access_log, emergency_access),
    )


def _repository_unit(transaction: Transaction) -> SqlRepositoryUnit:
    log, outbox, chain = repository_access_log, repository_audit_outbox, repository_access_log_chain
    return SqlRepositoryUnit(
        SqlDocumentIndex(transaction), SqlAuditStore(transaction, log, outbox, chain[0]),
        SqlOutbox(transaction, log, outbox), SqlChain(transaction, log, chain, (outbox,)),
    )


def _tokens_unit(transaction: Transaction) -> SqlTokensUnit:
    log, outbox, chain = tokens_access_log, tokens_audit_outbox, tokens_access_log_chain
    return SqlTokensUnit(
        SqlTokenStore(transaction), SqlAuditStore(transaction, log, outbox, chain[0]),
        SqlOutbox(transaction, log, outbox), SqlChain(transaction, log, chain, (outbox,)),
    )
