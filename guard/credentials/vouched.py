"""What a token service may say: the binding of an assertion to the one who uses it, where neither he nor his structure
has signed.

A token service signs for others, so its word counts where its certificate is listed (``CredentialRule.token_services``)
and nowhere else. It speaks in reinforced indirect mode only: the modes in which somebody signs for himself, or a
structure for its people, stay theirs. How the person proved herself decides who may use the assertion:

======================  =======================================  ====================================================
proof                   AuthnContextDecl                         the connection must be
======================  =======================================  ====================================================
a card                  that of a smart card                     the card of the very person
a login in a browser    ``APP_BROWSER_AUTH``                     of the structure the assertion names
======================  =======================================  ====================================================

Clause: DMP VIHF 1 (AIR, AuthnContextDecl); ITI TF-2 3.40.4.1.2
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from lxml import etree

from guard.credentials.attributes import Attributes
from guard.credentials.caller import Mode
from guard.credentials.certificates import Accepted
from guard.credentials.identity import Kind
from guard.credentials.replay import ReplayKey
from guard.credentials.token import text
from guard.credentials.vihf import SMARTCARD_PKI
from xds.namespaces import SAML
from xds.wire.faults import FAILED_AUTHENTICATION, SoapFault, security_fault

BROWSER_LOGIN = "APP_BROWSER_AUTH"
"""AuthnContextDecl of a login in a browser"""


def check_statement(root: etree._Element, said: Attributes) -> None:
    """The mode, and a declaration that is known. Raises SoapFault of step g. Rule: W-03"""
    if said.mode is not Mode.REINFORCED_INDIRECT:
        raise _refused("a token service speaks in reinforced indirect mode only", "g")
    if _declared(root) not in (SMARTCARD_PKI, BROWSER_LOGIN):
        raise _refused("AuthnContextDecl does not say how the person proved herself", "g")


def check_peer(root: etree._Element, name_id: str, said: Attributes, peer: Accepted) -> None:
    """Who uses the assertion is whom it was made for. Raises SoapFault of step tls. Rule: W-04"""
    who = peer.identity
    if _declared(root) == BROWSER_LOGIN:
        good = peer.kind is Kind.ORGANISATION and who.unit != "" and who.unit == said.structure_id
    else:
        good = peer.kind is Kind.PERSON and who.common_name != "" and who.common_name == name_id
    if not good:
        raise _refused("TLS certificate is not of the one the assertion was made for", "tls")


def _declared(root: etree._Element) -> str:
    return text(root.find(f"{{{SAML}}}AuthnStatement/{{{SAML}}}AuthnContext/{{{SAML}}}AuthnContextDecl"))


class CancelledTokens:
    """The list of cancelled assertions a token service writes, looked at each time. Thread-safe.

    A list that is missing or cannot be read refuses every assertion of a token service: nobody knows which still holds.

    Rule: W-11
    """

    def __init__(self, file: Path):
        self._file = file
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._listed: frozenset[ReplayKey] | None = None

    def check(self, key: ReplayKey) -> None:
        """Raises SoapFault of step g for an assertion that was cancelled, or when that cannot be known."""
        listed = self._current()
        if listed is None:
            raise _refused("the list of cancelled tokens cannot be read", "g")
        if key in listed:
            raise _refused("the token was cancelled", "g")

    def _current(self) -> frozenset[ReplayKey] | None:
        with self._lock:
            try:
                status = self._file.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._stamp:
                    self._listed, self._stamp = _read(self._file.read_bytes()), stamp
            except (OSError, ValueError, TypeError):
                self._listed = self._stamp = None
            return self._listed


def _read(data: bytes) -> frozenset[ReplayKey]:
    return frozenset((str(issuer), str(token_id)) for issuer, token_id in json.loads(data))


def listed(keys: list[ReplayKey]) -> bytes:
    """The file ``CancelledTokens`` reads."""
    return json.dumps(sorted(keys), ensure_ascii=False, indent=0).encode()


def _refused(detail: str, step: str) -> SoapFault:
    return security_fault(FAILED_AUTHENTICATION, detail, step)
