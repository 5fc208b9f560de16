"""The repository's index of held documents in SQL."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any

from sqlalchemy import Table, bindparam, delete, select, update

from guard.credentials.past import SignerProof
from repository.store import HeldDocument, KeptProof
from storage.tables import held_document, removed_document, revocation_list, signature_proof
from storage.transaction import Transaction
from storage.words import compared

_FIELDS = tuple(field.name for field in fields(HeldDocument))


class SqlDocumentIndex:
    """``repository.store.DocumentIndex`` within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction
        self._flavour = transaction.flavour

    def add(self, documents: Iterable[HeldDocument]) -> None:
        """Raises KeyError when a key is already there; the unit must then be left.

        What was removed on request and comes back is held like any other: its loss would be one.
        """
        rows = [{name: getattr(document, name) for name in _FIELDS} for document in documents]
        for row in rows:
            row["settled"] = int(row["settled"])
            row["unique_id"] = compared(row["unique_id"])
        if not rows:
            return
        self._sql.change_many("add documents", held_document.insert, rows)
        self._sql.change(
            "unbury documents",
            lambda: delete(removed_document).where(self._flavour.is_among(removed_document.c.unique_id, "ids")),
            ids=self._flavour.listed([row["unique_id"] for row in rows]),
        )

    def find(self, unique_id: str) -> list[HeldDocument]:
        """Oldest first."""
        rows = self._sql.rows(
            "find document",
            lambda: _all_columns().where(held_document.c.unique_id == bindparam("wanted"))
            .order_by(held_document.c.received_at, held_document.c.key),
            wanted=compared(unique_id),
        )
        return [_from_row(row) for row in rows]

    def remove(self, keys: Iterable[str]) -> None:
        gone = self._flavour.listed(list(keys))
        for table in (held_document, signature_proof):
            self._sql.change(f"remove {table.name}", partial(self._removal, table), keys=gone)

    def _removal(self, table: Table) -> Any:
        return delete(table).where(self._flavour.is_among(table.c.key, "keys"))

    def add_proof(self, key: str, proof: SignerProof, *, at: float) -> None:
        """Raises KeyError when the document has a proof already."""
        lists, answers = (_named(each) for each in (proof.lists, proof.answers))
        for sha256, content in (lists | answers).items():
            self._sql.change(
                "add revocation list", lambda: self._flavour.insert_if_free(revocation_list), sha256=sha256,
                content=content,
            )
        chain = " ".join(base64.b64encode(each).decode() for each in proof.chain)
        self._sql.change(
            "add proof", signature_proof.insert, key=key, chain=chain, lists=" ".join(lists), accepted_at=at,
            answers=" ".join(answers),
        )

    def proof(self, key: str) -> KeptProof | None:
        columns = signature_proof.c
        row = self._sql.first(
            "proof",
            lambda: select(columns.chain, columns.lists, columns.answers, columns.accepted_at).where(
                columns.key == bindparam("wanted")
            ),
            wanted=key,
        )
        if row is None:
            return None
        lists, answers = row[1].split(), row[2].split()
        contents = dict(self._sql.rows(
            "revocation lists",
            lambda: select(revocation_list.c.sha256, revocation_list.c.content).where(
                self._flavour.is_among(revocation_list.c.sha256, "wanted")
            ),
            wanted=self._flavour.listed([*lists, *answers]),
        ))
        proof = SignerProof(
            tuple(base64.b64decode(each) for each in row[0].split()),
            *(tuple(base64.b64decode(contents[name]) for name in names) for names in (lists, answers)),
        )
        return KeptProof(proof, row[3])

    def bury(self, documents: Iterable[HeldDocument], *, at: float, trace_id: str) -> None:
        gone = list(documents)
        self.remove([document.key for document in gone])
        for unique_id, sha1 in {(compared(document.unique_id), document.sha1) for document in gone}:
            self._sql.change(
                "bury document", lambda: self._flavour.insert_if_free(removed_document),
                unique_id=unique_id, sha1=sha1, removed_at=at, trace_id=trace_id,
            )

    def is_buried(self, unique_id: str, sha1: str) -> bool:
        columns = removed_document.c
        return self._sql.first(
            "buried document",
            lambda: select(columns.removed_at).where(
                columns.unique_id == bindparam("wanted"), columns.sha1 == bindparam("wanted_sha1")
            ),
            wanted=compared(unique_id), wanted_sha1=sha1,
        ) is not None

    def unsettled(self, older_than: float, limit: int = 1000) -> list[HeldDocument]:
        columns = held_document.c
        rows = self._sql.rows(
            "unsettled documents",
            lambda: _all_columns().where(columns.settled == 0, columns.received_at < bindparam("before"))
            .order_by(columns.received_at, columns.key).limit(bindparam("most")),
            before=older_than, most=limit,
        )
        return [_from_row(row) for row in rows]

    def settle(self, keys: Iterable[str]) -> None:
        self._sql.change(
            "settle documents",
            lambda: update(held_document).where(self._flavour.is_among(held_document.c.key, "keys")).values(settled=1),
            keys=self._flavour.listed(list(keys)),
        )

    def every(self) -> Iterator[HeldDocument]:
        ordered = (held_document.c.unique_id, held_document.c.sha1)
        stream = self._sql.stream("every document", lambda: _all_columns().order_by(*ordered))
        return (_from_row(row) for row in stream)

    def keys(self) -> Iterator[str]:
        stream = self._sql.stream("keys", lambda: select(held_document.c.key).order_by(held_document.c.key))
        return (row[0] for row in stream)


def _named(statements: Iterable[bytes]) -> dict[str, str]:
    """Each in base64, by its SHA-256."""
    return {hashlib.sha256(each).hexdigest(): base64.b64encode(each).decode() for each in statements}


def _all_columns() -> Any:
    return select(*(held_document.c[name] for name in _FIELDS))


def _from_row(row: tuple[Any, ...]) -> HeldDocument:
    values = dict(zip(_FIELDS, row, strict=True))
    values["settled"] = bool(values["settled"])
    return HeldDocument(**values)
