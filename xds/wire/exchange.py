"""What a transaction sees of one request, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lxml import etree

from xds.errors import ErrorCode, Finding
from xds.namespaces import WSA_ANONYMOUS, WSA_NONE
from xds.wire.faults import SoapFault


class PartSink(Protocol):
    """Where the bytes of one attached part go while they arrive."""

    def write(self, chunk: bytes | memoryview) -> None: ...

    def finish(self) -> Any:
        """No more will come; returns what the owner of the sink knows about the bytes (size, hash, key)."""
        ...

    def abort(self) -> None:
        """Drop the bytes; also after ``finish`` as long as nobody claimed them. Never raises."""
        ...


@dataclass(slots=True)
class Part:
    """One attached part of a multipart message, already received."""

    content_id: str
    """Without angle brackets, percent-decoded."""
    content_type: str
    sink: PartSink
    received: Any
    """What ``sink.finish()`` returned."""
    claimed: bool = False
    """Set by the transaction that takes the bytes over; unclaimed parts are aborted when it ends."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the connection."""

    address: str = ""
    certificate: bytes | None = None
    """DER of the client certificate the TLS layer has verified, None when there is none."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an answer is wanted."""

    address: str
    """Absolute IRI; the anonymous one means this connection, ``none`` means nowhere."""
    parameters: bytes = b""
    """Reference parameters, ready to stand among the header blocks of the answer."""

    @property
    def is_elsewhere(self) -> bool:
        """The answer must travel on a connection of its own."""
        return self.address not in (WSA_ANONYMOUS, WSA_NONE)


@dataclass(frozen=True, slots=True)
class Addressing:
    """WS-Addressing headers of one message; "" or None where absent."""

    action: str
    message_id: str = ""
    to: str = ""
    reply_to: Endpoint | None = None
    fault_to: Endpoint | None = None
    relates_to: str = ""


@dataclass(slots=True)
class Exchange:
    """One understood request."""

    trace_id: str
    peer: Peer
    envelope: etree._Element
    body: etree._Element
    """The one child of soap12:Body; still attached to ``envelope``."""
    addressing: Addressing
    security: etree._Element | None
    """The wsse:Security header block, None when absent."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """By Content-ID; empty for simple SOAP."""
    endpoint: str = ""
    """Path the request came to."""
    transaction: str = ""
    """Name of the transaction it asks for."""
    on_behalf: bytes | None = None
    """DER of the certificate whose request one of our own services passes on, None when it acts for itself."""
    authenticate: Callable[[Exchange], Any] | None = None
    """Turns this exchange into its caller, or raises SoapFault."""
    claim: Callable[[Exchange], Any] | None = None
    """Turns it into whom it names as its caller, unproven, or raises SoapFault; None where that is not known."""
    is_vouched: bool = False
    """Another of our services has accepted the caller's credential while it answered this very request."""
    known_caller: Any = None
    """The caller when he is known already, else None."""
    claimed: Any = None
    """Whom it names as its caller, once that was read."""

    @property
    def caller(self) -> Any:
        """Who sent this. The first look verifies the credential, and raises SoapFault when it is not accepted."""
        if self.known_caller is None and self.authenticate is not None:
            self.known_caller = self.authenticate(self)
        return self.known_caller

    @property
    def claimant(self) -> Any:
        """Who says he sent this, unproven unless he is known. Raises SoapFault for what nobody could prove.

        For a transaction that asks another service, which verifies him before anything comes of it.
        """
        if self.known_caller is not None or self.claim is None:
            return self.caller
        if self.claimed is None:
            try:
                self.claimed = self.claim(self)
            except SoapFault:
                _ = self.caller  # what may be said of a refusal depends on the signature
                raise
        return self.claimed

    def settle(self) -> None:
        """Be sure that one of our services has accepted the caller, before anything is answered. Raises SoapFault."""
        if not self.is_vouched:
            _ = self.caller

    @property
    def accepted(self) -> Any:
        """The caller once one of our services has accepted his credential, else None; None too of whom another has
        accepted and this one knows nothing."""
        return self.claimed if self.known_caller is None and self.is_vouched else self.known_caller


@dataclass(frozen=True, slots=True)
class OutgoingPart:
    """A part to attach to an outgoing message. ``chunks`` is called when its turn comes.

    It is called again when the message is sent again, which only answers to another address are.
    """

    content_id: str
    content_type: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(slots=True)
class Reply:
    """The answer of a transaction: the serialised body element (no XML declaration), and parts if MTOM."""

    body: Sequence[bytes]
    parts: Sequence[OutgoingPart] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One verb of an actor. ``body`` is the Clark name of the element it accepts.

    ``handle`` raises ``Refused`` for findings; ``refuse`` writes the transaction's own form of "no".
    ``schema_error`` is the code for a body that does not satisfy the schema, None to answer with a fault.
    """

    name: str
    action: str
    response_action: str
    body: str
    mtom: bool
    handle: Callable[[Exchange], Reply]
    refuse: Callable[[Exchange, Sequence[Finding]], Reply]
    schema_error: ErrorCode | None
    internal_error: ErrorCode
    needs_caller: bool = True
    asks_another: bool = False
    """The answer comes from another of our services, which verifies the credential for it: here it is verified only
    when that service has not done so. No answer leaves before one of the two has."""
