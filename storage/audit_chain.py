"""The chain of an access log in SQL: what a verification reads, checkpoints, and the destruction of lines."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, delete, func, or_, select

from guard.audit.chain import Head, Link, digest
from storage.audit import FIELDS, line_of
from storage.proofs import SqlProofs
from storage.transaction import Transaction


class StoredCheckpoint(NamedTuple):
    """As ``guard.audit.checkpoint.Checkpoint``; ``number`` is its time, nanoseconds since the epoch."""

    number: int
    body: str
    signature: str
    certificate: str


class SqlChain:
    """Within one transaction. ``beside`` are tables with rows of the same key as the lines: they go with them."""

    def __init__(
        self, transaction: Transaction, table: Table, tables: tuple[Table, Table, Table], beside: Collection[Table],
        proofs: SqlProofs,
    ) -> None:
        self._sql = transaction
        self._table = table
        self._heads, self._destroyed, self._checkpoints = tables
        self._beside = tuple(beside)
        self._proofs = proofs

    def heads(self) -> list[Head]:
        columns = self._heads.c
        rows = self._sql.rows(
            "ends of lanes", lambda: select(columns.lane, columns.sequence, columns.hash).order_by(columns.lane)
        )
        return [Head(*row) for row in rows]

    def unchained(self) -> tuple[int, int]:
        """Lines older than the chain: how many there were when it began, less those destroyed, and how many are."""
        line, destroyed = self._table.c, self._destroyed.c
        noted = self._sql.first("noted lines", lambda: select(func.sum(self._heads.c.unchained)))
        gone = self._sql.first(
            "destroyed old lines", lambda: select(func.count()).where(destroyed.lane == bindparam("old")), old=OLD
        )
        found = self._sql.first("old lines", lambda: select(func.count()).where(line.sequence == 0))
        return int(noted[0] or 0) - int(gone[0]) if noted and gone else 0, int(found[0]) if found else 0

    def links(self) -> Iterator[Link]:
        """Every line and every destroyed one, in the order of lane and sequence; those older than the chain not."""
        return heapq.merge(self._standing(), self._gone(), key=lambda one: (one.lane, one.sequence))

    def _standing(self) -> Iterator[Link]:
        columns = self._table.c
        rows = self._sql.stream(
            "chained lines",
            lambda: select(
                columns.lane, columns.sequence, columns.number, columns.hash, *(columns[name] for name in FIELDS)
            ).where(or_(columns.sequence != 0, columns.hash != "")).order_by(columns.lane, columns.sequence),
        )
        for lane, sequence, number, hash_, *rest in rows:
            try:
                line = line_of(tuple(rest))
            except (TypeError, ValueError):  # spoiled so that it cannot even be read
                yield Link(lane, sequence, number, "", hash_)
                continue
            yield Link(lane, sequence, number, digest(line, number), hash_, line.at, line.trace_id)

    def _gone(self) -> Iterator[Link]:
        columns = self._destroyed.c
        rows = self._sql.stream(
            "destroyed lines",
            lambda: select(columns.lane, columns.sequence, columns.number, columns.digest, columns.hash,
                           columns.trace_id)
            .where(columns.lane != bindparam("old")).order_by(columns.lane, columns.sequence),
            old=OLD,
        )
        for lane, sequence, number, digest_, hash_, trace_id in rows:
            yield Link(lane, sequence, number, digest_, hash_, trace_id=trace_id, is_destroyed=True)

    def destroyed_by(self) -> dict[str, int]:
        """Trace of the act -> lines it destroyed."""
        columns = self._destroyed.c
        rows = self._sql.rows(
            "acts of destruction", lambda: select(columns.trace_id, func.count()).group_by(columns.trace_id)
        )
        return dict(rows)

    def acts(self, action: str) -> dict[str, str]:
        """Trace -> detail of the lines with this action."""
        columns = self._table.c
        rows = self._sql.rows(
            "lines of action",
            lambda: select(columns.trace_id, columns.detail).where(columns.action == bindparam("which")), which=action,
        )
        return dict(rows)

    def destroy(self, patient_keys: Collection[int], patient_ids: Collection[str], trace_id: str) -> int:
        """Remove the lines of these patients, with the assertions that no other line names, and leave their digests
        and hashes; returns how many went.

        ``trace_id`` is that of the act's own line, which the caller appends in the same unit: a destroyed line
        without one is a flaw. ``patient_ids`` (CX as in the lines) find lines that belong to no known record.
        """
        line = self._table.c
        is_among = self._sql.flavour.is_among
        rows = self._sql.rows(
            "lines to destroy",
            lambda: select(line.lane, line.sequence, line.number, line.hash, *(line[name] for name in FIELDS)).where(
                or_(
                    is_among(line.patient_key, "keys"),
                    and_(line.patient_key == 0, is_among(line.patient_id, "ids")),
                )
            ).order_by(line.number),
            keys=self._sql.flavour.listed([key for key in patient_keys if key]),
            ids=self._sql.flavour.listed([one for one in patient_ids if one]),
        )
        left, keys, proofs = [], [], set()
        for lane, sequence, number, hash_, *rest in rows:
            told = line_of(tuple(rest))
            proofs.add(told.assertion_sha256)
            keys.append({"patient": told.patient_key or 0, "line": number, "trace": told.trace_id})
            left.append({
                "lane": lane if sequence else OLD, "sequence": sequence or number, "number": number,
                "digest": digest(told, number), "hash": hash_, "trace_id": trace_id,
            })
        self._sql.change_many("note destroyed", self._destroyed.insert, left)
        for table in (self._table, *self._beside):
            self._sql.change_many(("destroy", table.name), lambda t=table: _removal(t), keys)  # type: ignore[misc]
        self._proofs.forget(proofs)
        return len(keys)

    def add_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        self._sql.change("add checkpoint", self._checkpoints.insert, **checkpoint._asdict())

    def checkpoints(self) -> list[StoredCheckpoint]:
        """Oldest first."""
        columns = self._checkpoints.c
        rows = self._sql.rows(
            "checkpoints",
            lambda: select(columns.number, columns.body, columns.signature, columns.certificate)
            .order_by(columns.number),
        )
        return [StoredCheckpoint(*row) for row in rows]


OLD = -1
"""Lane of destroyed lines that were older than the chain."""


def _removal(table: Table) -> Any:
    columns = table.c
    return delete(table).where(
        columns.patient_key == bindparam("patient"), columns.number == bindparam("line"),
        columns.trace_id == bindparam("trace"),
    )
