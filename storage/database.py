"""Units of work: the stores that share a database, over one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from storage import notices
from storage.audit import SqlAuditStore, SqlOutbox
from storage.audit_chain import SqlChain
from storage.emergencies import SqlEmergencies
from storage.engines import connect
from storage.notices import SqlNotices
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
    notice,
    repository_access_log,
    repository_access_log_chain,
    repository_assertion_proof,
    repository_audit_outbox,
    repository_shown_assertion,
    shown_assertion,
    tokens_access_log,
    tokens_access_log_chain,
    tokens_assertion_proof,
    tokens_audit_outbox,
)
from storage.tokens import SqlTokenStore
from storage.transaction import Transaction


class SqlRegistryUnit:
    """Each store is made when it is first asked for: most units need two of the eight."""

    def __init__(self, transaction: Transaction, kept: KeptProofs) -> None:
        self._sql = transaction
        self._kept = kept

    @cached_property
    def registry(self) -> SqlRegistryStore:
        return SqlRegistryStore(self._sql)

    @cached_property
    def record(self) -> SqlRecordStore:
        return SqlRecordStore(self._sql)

    @cached_property
    def audit(self) -> SqlAuditStore:
        return SqlAuditStore(
            self._sql, access_log, audit_outbox, access_log_chain[0], self.proofs, emergency_access, notices.leave
        )

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._sql, access_log, audit_outbox)

    @cached_property
    def chain(self) -> SqlChain:
        return SqlChain(self._sql, access_log, access_log_chain, (audit_outbox, emergency_access, notice), self.proofs)

    @cached_property
    def notices(self) -> SqlNotices:
        return SqlNotices(self._sql)

    @cached_property
    def emergencies(self) -> SqlEmergencies:
        return SqlEmergencies(self._sql, access_log, emergency_access)

    @cached_property
    def proofs(self) -> SqlProofs:
        return SqlProofs(self._sql, assertion_proof, access_log, self._kept)


class SqlRepositoryUnit:
    """As ``SqlRegistryUnit``."""

    def __init__(self, transaction: Transaction, kept: KeptProofs) -> None:
        self._sql = transaction
        self._kept = kept

    @cached_property
    def documents(self) -> SqlDocumentIndex:
        return SqlDocumentIndex(self._sql)

    @cached_property
    def audit(self) -> SqlAuditStore:
        return SqlAuditStore(
            self._sql, repository_access_log, repository_audit_outbox, repository_access_log_chain[0], self.proofs
        )

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._sql, repository_access_log, repository_audit_outbox)

    @cached_property
    def chain(self) -> SqlChain:
        return SqlChain(
            self._sql, repository_access_log, repository_access_log_chain, (repository_audit_outbox,), self.proofs
        )

    @cached_property
    def proofs(self) -> SqlProofs:
        return SqlProofs(self._sql, repository_assertion_proof, repository_access_log, self._kept)


class SqlTokensUnit:
    """As ``SqlRegistryUnit``."""

    def __init__(self, transaction: Transaction, kept: KeptProofs) -> None:
        self._sql = transaction
        self._kept = kept

    @cached_property
    def tokens(self) -> SqlTokenStore:
        return SqlTokenStore(self._sql)

    @cached_property
    def audit(self) -> SqlAuditStore:
        return SqlAuditStore(
            self._sql, tokens_access_log, tokens_audit_outbox, tokens_access_log_chain[0], self.proofs
        )

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._sql, tokens_access_log, tokens_audit_outbox)

    @cached_property
    def chain(self) -> SqlChain:
        return SqlChain(self._sql, tokens_access_log, tokens_access_log_chain, (tokens_audit_outbox,), self.proofs)

    @cached_property
    def proofs(self) -> SqlProofs:
        """No line of this log names an assertion that was shown: the table stays empty, and is read like the others."""
        return SqlProofs(self._sql, tokens_assertion_proof, tokens_access_log, self._kept)


class SqlRegistryDatabase:
    """``registry.store.RegistryDatabase``.

    Its units raise KeyError when a unique key is taken, TimeoutError when the database stays busy, and OSError
    (ENOSPC when the disk is full) when it cannot be written; nothing of the unit is then stored.
    """

    def __init__(self, url: str, writers: Path | None = None) -> None:
        self.engine = connect(url, writers)
        self._kept = KeptProofs()
        self.replay = SqlReplay(self.engine, shown_assertion)

    @contextmanager
    def read(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.reading() as transaction:
            yield SqlRegistryUnit(transaction, self._kept)

    @contextmanager
    def write(self) -> Iterator[SqlRegistryUnit]:
        with self.engine.writing() as transaction:
            yield SqlRegistryUnit(transaction, self._kept)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


class SqlRepositoryDatabase:
    """``repository.store.RepositoryDatabase``. Raises as ``SqlRegistryDatabase`` does."""

    def __init__(self, url: str, writers: Path | None = None) -> None:
        self.engine = connect(url, writers)
        self._kept = KeptProofs()
        self.replay = SqlReplay(self.engine, repository_shown_assertion)

    @contextmanager
    def read(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.reading() as transaction:
            yield SqlRepositoryUnit(transaction, self._kept)

    @contextmanager
    def write(self) -> Iterator[SqlRepositoryUnit]:
        with self.engine.writing() as transaction:
            yield SqlRepositoryUnit(transaction, self._kept)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()


class SqlTokensDatabase:
    """``tokens.store.TokensDatabase``. Raises as ``SqlRegistryDatabase`` does."""

    def __init__(self, url: str, writers: Path | None = None) -> None:
        self.engine = connect(url, writers)
        self._kept = KeptProofs()

    @contextmanager
    def read(self) -> Iterator[SqlTokensUnit]:
        with self.engine.reading() as transaction:
            yield SqlTokensUnit(transaction, self._kept)

    @contextmanager
    def write(self) -> Iterator[SqlTokensUnit]:
        with self.engine.writing() as transaction:
            yield SqlTokensUnit(transaction, self._kept)

    def scrub(self) -> None:
        """Let nothing of deleted rows be left in a file. Raises TimeoutError: to be repeated."""
        self.engine.scrub()

    def close(self) -> None:
        self.engine.close()
