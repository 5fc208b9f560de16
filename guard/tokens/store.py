"""What the token service keeps: the tokens it has issued while they hold, and the logins it has taken."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from guard.audit.store import AuditStore


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """``token_id`` is the assertion's ID, ``issuer`` its Issuer. ``holder`` is who may take it back: ``person`` or
    ``structure``, a colon, and the national identifier. ``until`` is in seconds since the epoch."""

    token_id: str
    issuer: str
    holder: str
    until: int


class TokenStore(Protocol):
    """Takes part in the transaction of its unit."""

    def add(self, token: IssuedToken) -> None: ...

    def use_login(self, sha256: str, until: int) -> None:
        """Note a login as used until then (seconds since the epoch). Raises KeyError when it was used before."""
        ...

    def cancel(self, token_id: str, holder: str) -> bool:
        """Take a token back; False when this holder has no such token. May be repeated."""
        ...

    def cancelled(self, now: int) -> list[tuple[str, str]]:
        """(issuer, token_id) of everything taken back that would hold still."""
        ...

    def forget(self, before: int) -> int:
        """Remove tokens and logins that ended before then; returns how many."""
        ...


class TokensUnit(Protocol):
    @property
    def tokens(self) -> TokenStore: ...

    @property
    def audit(self) -> AuditStore: ...


class TokensDatabase(Protocol):
    def read(self) -> AbstractContextManager[TokensUnit]: ...

    def write(self) -> AbstractContextManager[TokensUnit]:
        """Commits durably on normal exit, rolls back on any exception."""
        ...
