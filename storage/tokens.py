"""``tokens.store.TokenStore`` in SQL."""

from __future__ import annotations

from sqlalchemy import Table, bindparam, delete, select, update

from guard.tokens.store import IssuedToken
from storage.tables import issued_token, used_login
from storage.transaction import Transaction


class SqlTokenStore:
    """Within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._sql = transaction

    def add(self, token: IssuedToken) -> None:
        self._sql.change(
            "add token", issued_token.insert, token_id=token.token_id, issuer=token.issuer, holder=token.holder,
            until=token.until, cancelled=0,
        )

    def use_login(self, sha256: str, until: int) -> None:
        self._sql.change("use login", used_login.insert, sha256=sha256, until=until)

    def cancel(self, token_id: str, holder: str) -> bool:
        columns = issued_token.c
        changed = self._sql.change(
            "cancel token",
            lambda: update(issued_token).where(
                columns.token_id == bindparam("which"), columns.holder == bindparam("whose")
            ).values(cancelled=1),
            which=token_id, whose=holder,
        )
        return changed == 1

    def cancelled(self, now: int) -> list[tuple[str, str]]:
        columns = issued_token.c
        rows = self._sql.rows(
            "cancelled tokens",
            lambda: select(columns.issuer, columns.token_id).where(
                columns.cancelled == 1, columns.until > bindparam("now")
            ).order_by(columns.token_id),
            now=now,
        )
        return [(issuer, token_id) for issuer, token_id in rows]

    def forget(self, before: int) -> int:
        return self._forget(issued_token, before) + self._forget(used_login, before)

    def _forget(self, table: Table, before: int) -> int:
        return self._sql.change(
            ("forget", table.name), lambda: delete(table).where(table.c.until < bindparam("before")), before=before
        )
