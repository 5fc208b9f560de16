"""One attack on a signed assertion, and the message it is made in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lxml import etree

from conformance.negative_assertions import Peer
from conformance.negative_kit import Kit, put
from guard.credentials import vihf
from xds.wire.addressing import request_headers
from xds.wire.faults import (
    FAILED_AUTHENTICATION,
    FAILED_CHECK,
    INVALID_SECURITY,
    INVALID_SECURITY_TOKEN,
    UNSUPPORTED_ALGORITHM,
    UNSUPPORTED_SECURITY_TOKEN,
    QName,
)
from xds.wire.soap12 import write_envelope

FAULTS: dict[str, frozenset[QName]] = {
    "b": frozenset({INVALID_SECURITY}),
    "c": frozenset({UNSUPPORTED_SECURITY_TOKEN}),
    "d": frozenset({INVALID_SECURITY_TOKEN}),
    "e": frozenset({FAILED_CHECK, UNSUPPORTED_ALGORITHM}),
    "f": frozenset({FAILED_CHECK}),
    "g": frozenset({FAILED_AUTHENTICATION}),
    "l": frozenset({INVALID_SECURITY_TOKEN}),
}
"""The codes each step may answer with."""

Spoil = Callable[[bytes, Kit], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """The attacker holds ``kit.card`` and wants to be the holder of ``kit.other``.

    ``step`` is the one that refuses the message as it is served: ``a`` is the parser of the wire and the reader of the
    envelope. ``""`` means that the message is taken, for exactly what was signed. ``alone`` is the step that refuses
    it where the wire lets anything through, ``same`` where that is no other.
    """

    name: str
    tries: str
    spoil: Spoil
    step: str
    alone: str = "same"
    peer: Peer = lambda kit: kit.card

    @property
    def alone_step(self) -> str:
        return self.step if self.alone == "same" else self.alone


Row = tuple[str, str, Spoil]
"""Name, what it tries, how it is made."""


def message() -> bytes:
    """A request like those of the services, to be spoiled."""
    headers = request_headers("urn:ihe:iti:2007:RegistryStoredQuery", "urn:uuid:5f9b2d1c", "https://localhost/")
    body = b'<Question xmlns="urn:carnet:example"><About>one</About><About>two</About></Question>'
    return b"".join(write_envelope(headers, [body]))


def in_header(make: Callable[[Kit], bytes]) -> Spoil:
    """One assertion in a proper header."""
    return lambda sent, kit: put(sent, vihf.security_header(make(kit)))


def replaced(before: str | bytes, after: str | bytes, make: Callable[[Kit], bytes] = Kit.good, count: int = 1) -> Spoil:
    """A good assertion with bytes changed after it was signed; what is not found is a mistake of the test."""
    old, new = (text.encode() if isinstance(text, str) else text for text in (before, after))

    def spoil(sent: bytes, kit: Kit) -> bytes:
        assertion = make(kit)
        assert old in assertion, f"{old!r} is not in the assertion"
        return put(sent, vihf.security_header(assertion.replace(old, new, count)))

    return spoil


def lenient(data: bytes) -> etree._Element:
    """A tree with comments, instructions and entity references kept: the verifier may not lean on the wire."""
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, strip_cdata=False))
