"""The transactions of the token service, and where they are served. Nothing else.

There is no Renew: a token lives minutes, and who asks for the next one proves himself again.

Clause: WS-Trust 1.3 3
"""

from __future__ import annotations

from guard.tokens import cancel, issue, validate
from guard.tokens.actor import TokensActor
from xds.wire.exchange import Transaction

FILES = (issue, validate, cancel)
SERVICE = "/services/tokens"

PATHS: dict[str, frozenset[str]] = {SERVICE: frozenset(file.NAME for file in FILES)}


def transactions(actor: TokensActor) -> list[Transaction]:
    """Every verb of this token service."""
    return [file.transaction(actor) for file in FILES]
