"""What every transaction of the token service works with; built once by ``carnet``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from guard.credentials.assertion import Verifier
from guard.credentials.cards import KeyPair
from guard.credentials.certificates import Accepted, TrustStore, Use
from guard.credentials.openid import LoginVerifier
from guard.credentials.replay import ReplayKey
from guard.credentials.rule import CredentialRule
from guard.tokens.request import fault
from guard.tokens.store import TokensDatabase
from xds.model.codes import Code
from xds.wire.exchange import Exchange


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensActor:
    """The token service of one affinity domain.

    ``rule`` is what the services of the domain ask of an assertion, and ``verifier`` applies it; ``trust`` judges who
    connects. ``signer`` signs. ``logins`` is None where no login is taken; ``logins_once`` says whether each may serve
    once only. ``audiences`` are the addresses tokens may be asked for, ``purposes`` the purposes of use, the usual one
    first. ``lifetime`` is in seconds. ``login_class`` is the AuthnContextClassRef of a login. ``publish`` is told of
    every list of cancelled tokens.
    """

    database: TokensDatabase
    rule: CredentialRule
    verifier: Verifier
    trust: TrustStore
    signer: KeyPair
    purposes: Sequence[Code]
    audiences: Sequence[str]
    lifetime: int
    publish: Callable[[list[ReplayKey]], None]
    logins: LoginVerifier | None = None
    logins_once: bool = True
    login_class: str = ""
    clock: Callable[[], datetime] = utc_now
    publishing: Lock = field(default_factory=Lock)
    """Held from reading the cancelled tokens to publishing them, so that an older list never follows a newer one."""

    def peer(self, exchange: Exchange) -> Accepted:
        """The certificate that was accepted for this exchange."""
        _ = exchange.caller
        assert exchange.peer.certificate is not None
        return self.trust.check(exchange.peer.certificate, Use.TLS_CLIENT)

    def purpose(self, asked: str) -> Code:
        """The purpose of use asked for, by its code or ``code^^OID``; the usual one for "". Raises SoapFault."""
        for code in self.purposes:
            if not asked or asked in (code.code, code.key):
                return code
        known = ", ".join(code.key for code in self.purposes)
        raise fault("InvalidRequest", f"purpose of use: found {asked[:100]!r}, expected one of {known} (TF-2 3.40.4.1)")
