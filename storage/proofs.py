"""What callers' assertions said, kept for proof: one row an assertion, in the transaction of the first line naming it.

A line names its assertion by the SHA-256 of what was signed. Its bytes are compressed and never changed. Which were
kept already is remembered for each database, so that the assertion of a session costs one insert and then a look.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Collection
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Table, bindparam, delete, exists, select

from storage.transaction import Transaction

REMEMBERED = 4096
LONGEST_LIFE = 8 * 86_400 * 10**9
"""Nanoseconds between the first line of an assertion and its last: above ``credentials.max_lifetime``."""
LARGEST = 1 << 20
"""Bytes an assertion may have; the services take less."""

_WINDOW, _MEMORY = 13, 6
"""Sizes of zlib's window and tables, as powers of two."""


class Proof(NamedTuple):
    """``number`` is that of the first line that names it: nanoseconds since the epoch when it was accepted."""

    sha256: str
    number: int
    assertion: bytes


class KeptProofs:
    """Which proofs a database holds for certain, for one process. Thread-safe, bounded."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._known

    def add(self, sha256: str) -> None:
        with self._lock:
            self._known[sha256] = None
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


class SqlProofs:
    """Within one transaction."""

    def __init__(self, transaction: Transaction, table: Table, log: Table, kept: KeptProofs) -> None:
        self._sql = transaction
        self._table = table
        self._log = log
        self._kept = kept

    def keep(self, sha256: str, number: int, assertion: bytes) -> None:
        """Once is enough; what another process has kept stays as it is, and what it has removed is kept anew."""
        if sha256 in self._kept and self._is_there(sha256):
            return
        self._sql.change(
            ("keep proof", self._table.name), lambda: self._sql.flavour.insert_if_free(self._table),
            sha256=sha256, number=number, assertion=_closed(assertion),
        )
        self._sql.after_commit(lambda: self._kept.add(sha256))

    def _is_there(self, sha256: str) -> bool:
        columns = self._table.c
        row = self._sql.first(
            ("proof is there", self._table.name),
            lambda: select(columns.number).where(columns.sha256 == bindparam("which")), which=sha256,
        )
        return row is not None

    def find(self, sha256: str) -> Proof | None:
        columns = self._table.c
        row = self._sql.first(
            ("find proof", self._table.name),
            lambda: select(columns.sha256, columns.number, columns.assertion)
            .where(columns.sha256 == bindparam("which")),
            which=sha256,
        )
        return Proof(row[0], row[1], _opened(row[2])) if row else None

    def named(self, trace_id: str) -> list[str]:
        """Keys of the proofs that the lines of one trace name, oldest first. Reads the whole log."""
        line = self._log.c
        rows = self._sql.rows(
            ("named proofs", self._table.name),
            lambda: select(line.assertion_sha256)
            .where(line.trace_id == bindparam("which"), line.assertion_sha256 != "").order_by(line.number),
            which=trace_id,
        )
        return list(dict.fromkeys(row[0] for row in rows))

    def forget(self, sha256s: Collection[str]) -> None:
        """Remove those that no line names any more."""
        columns, line = self._table.c, self._log.c
        for one in sorted(set(sha256s) - {""}):
            self._sql.change(
                ("forget proof", self._table.name),
                lambda: delete(self._table).where(
                    columns.sha256 == bindparam("which"),
                    ~exists(select(line.number).where(
                        line.number >= columns.number, line.number < columns.number + LONGEST_LIFE,
                        line.assertion_sha256 == columns.sha256,
                    )),
                ),
                which=one,
            )
        self._sql.after_commit(self._kept.clear)


def _closed(assertion: bytes) -> bytes:
    """With a window of 8 kB, which holds an assertion: zlib clears it each time, and would clear 32 kB by default."""
    engine = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, _MEMORY)
    return engine.compress(assertion) + engine.flush()


def _opened(data: bytes) -> bytes:
    """Raises ValueError for what is not a compressed assertion."""
    try:
        engine = zlib.decompressobj()
        found = engine.decompress(bytes(data), LARGEST)
    except zlib.error as error:
        raise ValueError("a kept assertion cannot be read") from error
    if not engine.eof:
        raise ValueError("a kept assertion is too large or cut off")
    return found
