"""What an audit message says of an exchange beyond its line in the access log.

Nothing here is needed to understand the log; it is kept until the message has been sent and for a time after.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from cryptography import x509
from lxml import etree

from guard.credentials.caller import Caller, Mode
from xds.wire.exchange import Exchange

LONGEST_REQUEST = 65_536
"""Characters of a query kept for the audit; a longer one is cut there, and the message says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """Facts of one exchange for its audit message; "" where there is none.

    ``row`` is the row of ``atna_rows`` where it is not the line's event, ``act`` the action code where the row leaves
    a choice (C, R, U, D, E). ``endpoint`` is the path that was called, or a whole URI; ``facility|application`` in
    HL7 v2. ``client`` is how the peer names itself, ``client_address`` its address where the line's peer is another.
    ``user`` is the person of the token, ``purpose`` the token's purpose of use as (code, scheme, name), of several one
    behind the other.
    ``sent_on`` names the transaction this exchange was forwarded as, or that we started; ``reporter`` who of ours did,
    where it is not the actor whose log holds the line.
    """

    row: str = ""
    act: str = ""
    endpoint: str = ""
    client: str = ""
    client_address: str = ""
    process: str = ""
    user: str = ""
    purpose: tuple[str, ...] = ()
    submission_set: str = ""
    query_id: str = ""
    request: str = ""
    request_size: int = 0
    """Characters of the request, where ``request`` holds only its beginning"""
    repository: str = ""
    home_community: str = ""
    message_id: str = ""
    objects: tuple[str, ...] = ()
    """entryUUIDs of registry objects, where the line's documents do not tell them"""
    sent_on: str = ""
    reporter: str = ""

    def as_json(self) -> str:
        """What is set, as one JSON object."""
        return _dumps({name: value for name, value in zip(_NAMES, _facts(self), strict=True) if value})

    @classmethod
    def from_json(cls, text: str) -> Particulars:
        """Names another version has written and this one does not know are left out."""
        given = {name: value for name, value in json.loads(text or "{}").items() if name in _NAMES}
        return cls(**given | {name: tuple(given.get(name, ())) for name in ("purpose", "objects")})


_NAMES = tuple(field.name for field in fields(Particulars))
_facts = attrgetter(*_NAMES)
_dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
NONE = Particulars()


def particulars(exchange: Exchange, **facts: Any) -> Particulars:
    """The particulars of a SOAP exchange, with what its transaction knows besides (see ``Particulars``)."""
    caller: Caller | None = exchange.accepted
    reply_to = exchange.addressing.reply_to
    given = {
        "endpoint": exchange.endpoint,
        "client": reply_to.address if reply_to is not None else subject(exchange.peer.certificate),
        "process": process_id(),
        "user": user_of(caller),
        "purpose": purpose_of(caller),
    }
    return Particulars(**given | facts)


def of_query(exchange: Exchange, query_id: str) -> Particulars:
    """The same of a stored query: the request is kept whole, up to ``LONGEST_REQUEST``. Clause: ITI TF-2 3.18.5.1"""
    text: str = etree.tostring(exchange.body, encoding="unicode", with_tail=False)
    return particulars(exchange, **request_of(query_id, text))


def request_of(query_id: str, request: str) -> dict[str, Any]:
    """What a message says of a stored query, as fields of ``Particulars``; ``request`` is the AdhocQueryRequest."""
    told = {"query_id": query_id, "request": request[:LONGEST_REQUEST]}
    return told if len(request) <= LONGEST_REQUEST else told | {"request_size": len(request)}


def user_of(caller: Caller | None) -> str:
    """``alias<user@issuer>`` of the person a token was accepted for, else "". Clause: ITI TF-2 3.40.4.2"""
    return "" if caller is None or caller.mode in (Mode.NODE, Mode.OFF) else caller.audit_name


def purpose_of(caller: Caller | None) -> tuple[str, ...]:
    if caller is None or caller.purpose_code is None:
        return ()
    codes = (caller.purpose_code, *caller.further_purposes)
    return tuple(part for code in codes for part in (code.code, code.scheme, code.display))


def process_id(pid: int = 0) -> str:
    """Of the process that serves, or of another on this machine, as ``pid@host``."""
    return f"{pid or os.getpid()}@{_HOST}"


_HOST = socket.gethostname()


def subject(certificate: bytes | None) -> str:
    """Subject of a certificate in DER (RFC 4514), "" when there is none or it cannot be read."""
    return _subject(certificate) if certificate else ""


@lru_cache(maxsize=256)
def _subject(certificate: bytes) -> str:
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except ValueError:
        return ""
