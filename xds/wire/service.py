"""A WSGI application that serves the transactions of one actor.

Clause: ITI TF-2 Appendix V 3.2 to 3.6
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from lxml import etree

from xds.errors import Finding, Refused
from xds.limits import DEFAULT, Limits
from xds.namespaces import WSA_ANONYMOUS
from xds.wire.addressing import read_addressing, response_headers
from xds.wire.delivery import Deliveries, Letter
from xds.wire.exchange import (
    Addressing,
    Endpoint,
    Exchange,
    OutgoingPart,
    PartSink,
    Peer,
    Reply,
    Transaction,
)
from xds.wire.faults import (
    ACTION_NOT_SUPPORTED,
    HEADER_REQUIRED,
    ONLY_ANONYMOUS,
    RECEIVER,
    SENDER,
    SoapFault,
)
from xds.wire.http import PEER_KEY, SOAP, BodyReader, HttpError
from xds.wire.mime import multipart_response
from xds.wire.outcome import exhausted, place_of, refusal_for
from xds.wire.pages import Describe, describe_service
from xds.wire.receive import Message, Packaging, abort_unclaimed, receive
from xds.wire.soap12 import fault_action, open_envelope, write_envelope, write_fault
from xds.wire.source import source_of
from xds.wire.turns import in_turn
from xds.wire.xml import parse
from xds.wire.xop import INCLUDE

_LOG = logging.getLogger("carnet.wire")
_JOIN = 1 << 18
_TRACE = re.compile("[0-9a-f]{32}")
_REASONS = {
    200: "200 OK", 202: "202 Accepted", 400: "400 Bad Request", 404: "404 Not Found", 405: "405 Method Not Allowed",
    408: "408 Request Timeout", 411: "411 Length Required", 413: "413 Content Too Large",
    415: "415 Unsupported Media Type", 500: "500 Internal Server Error",
}

OnFault = Callable[[str, Peer, SoapFault, Exchange | None], None]
OnRefused = Callable[[Exchange, Transaction, Sequence[Finding]], None]
Observe = Callable[[str, str, float], None]
"""Transaction name or "", outcome (``answered``, ``refused``, ``fault``, ``http``, ``error``), seconds."""


class SoapService:
    """One actor behind HTTP: finds the transaction by ``wsa:Action``, checks, authenticates, answers.

    ``paths``         path to the names of the transactions it serves, None for all of them
    ``admit``         told of the peer before a byte of its request is read; raises SoapFault to read nothing
    ``authenticate``  turns an exchange into its caller, or raises SoapFault
    ``begin_part``    a sink for one attachment; None when no transaction takes any (then they are dropped)
    ``foresee``       given the serialised envelope, the sinks of the attachments after it, in place of ``begin_part``
    ``validate``      messages, one per schema error of a body element; None to leave the schema alone
    ``on_fault``      told of every fault; the exchange is None when the request was not understood
    ``describe``      (path, query) to (content type, bytes) for ``?wsdl`` and ``?xsd=name``
    ``on_refused``    told of a refusal that no transaction has seen: schema errors, unexpected failures
    ``is_ours``       tells our own services, which may carry on a trace and speak for their own caller
    ``strict_mtom``   refuse an MTOM transaction that arrives without MTOM (M-14)
    ``blocks``        further header blocks of an answer that is no fault, serialised; b"" for none
    ``deliveries``    sends answers to other addresses; None when they only ever go back on the same connection

    Faults are sent as plain application/soap+xml, also to a multipart request: every stack met reads that.
    The instance holds no state of a request and serves any number of threads.
    """

    def __init__(
        self, *, transactions: Iterable[Transaction], paths: Mapping[str, frozenset[str] | None],
        authenticate: Callable[[Exchange], Any], claim: Callable[[Exchange], Any] | None = None,
        begin_part: Callable[[], PartSink] | None = None,
        limits: Limits = DEFAULT, validate: Callable[[etree._Element], list[str]] | None = None,
        on_fault: OnFault | None = None, peer_of: Callable[[WSGIEnvironment], Peer] | None = None,
        observe: Observe | None = None, describe: Describe | None = None, strict_mtom: bool = True,
        title: str = "SOAP service", is_ours: Callable[[Peer], bool] | None = None,
        on_refused: OnRefused | None = None, admit: Callable[[Peer], None] | None = None,
        deliveries: Deliveries | None = None, blocks: Callable[[Exchange], bytes] | None = None,
        foresee: Callable[[bytes], Callable[[], PartSink]] | None = None,
    ) -> None:
        served = tuple(transactions)
        self._by_path: dict[str, dict[str, Transaction]] = {
            path.rstrip("/"): {t.action: t for t in served if names is None or t.name in names}
            for path, names in paths.items()
        }
        self._authenticate = authenticate
        self._claim = claim
        self._begin_part = begin_part
        self._foresee = foresee
        self._limits = limits
        self._validate = validate
        self._on_fault = on_fault
        self._peer_of = peer_of or peer_from_environ
        self._observe = observe
        self._describe = describe
        self._strict_mtom = strict_mtom
        self._title = title
        self._is_ours = is_ours
        self._on_refused = on_refused
        self._admit = admit
        self._deliveries = deliveries
        self._blocks = blocks

    @property
    def paths(self) -> frozenset[str]:
        """Every path this service answers."""
        return frozenset(self._by_path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).rstrip("/")
        actions = self._by_path.get(path)
        trace_id = token_hex(16)
        method = environ["REQUEST_METHOD"]
        if actions is None:
            return _refused(environ, start_response, trace_id, HttpError(404, "No service lives at this address"))
        if method == "POST":
            return _Post(self, environ, path, actions, trace_id).answer(start_response)
        if method in ("GET", "HEAD"):
            query = environ.get("QUERY_STRING", "")
            page = describe_service(self._title, path, query, actions.values(), self._describe)
            if page is None:
                refusal = HttpError(404, "This service has no such description")
                return _refused(environ, start_response, trace_id, refusal)
            headers = [("Content-Type", page[0]), ("Content-Length", str(len(page[1]))), ("X-Trace-Id", trace_id)]
            start_response(_REASONS[200], headers)
            return [] if method == "HEAD" else [page[1]]
        refusal = HttpError(405, "Send requests by POST", (("Allow", "GET, HEAD, POST"),))
        return _refused(environ, start_response, trace_id, refusal)


class _Post:
    """The way of one request through the service."""

    __slots__ = ("_actions", "_addressing", "_begun", "_environ", "_exchange", "_message", "_on_behalf", "_outcome",
                 "_path", "_peer", "_reserved", "_service", "_trace_id", "_transaction")

    def __init__(
        self, service: SoapService, environ: WSGIEnvironment, path: str, actions: dict[str, Transaction],
        trace_id: str,
    ) -> None:
        self._service = service
        self._environ = environ
        self._path = path
        self._actions = actions
        self._trace_id = trace_id
        self._peer: Peer = Peer()
        self._exchange: Exchange | None = None
        self._transaction: Transaction | None = None
        self._message: Message | None = None
        self._on_behalf: bytes | None = None
        self._addressing = Addressing("")
        self._reserved = False
        self._begun = False
        """The transaction has been asked; what comes before it is answered on the connection."""
        self._outcome = "answered"

    def answer(self, start_response: StartResponse) -> Iterable[bytes]:
        """Serve the request. Everything that can go wrong ends in an answer with a trace id."""
        began = time.perf_counter()
        try:
            try:
                self._peer = self._environ.get(PEER_KEY) or self._service._peer_of(self._environ)
                self._carry_on()
                return self._send(start_response, self._process())
            except HttpError as error:
                self._outcome = "http"
                return _refused(self._environ, start_response, self._trace_id, error)
            except SoapFault as fault:
                return self._fault(start_response, fault)
            except Exception as error:
                self._outcome = "error"
                self._log(error)
                return self._fault(start_response, SoapFault(RECEIVER, _failure_text(error)))
        finally:
            exchange, message = self._exchange, self._message
            if exchange is not None:
                abort_unclaimed(exchange.parts.values())
            elif message is not None:
                abort_unclaimed(message.parts.values())
            if self._reserved and self._service._deliveries is not None:
                self._service._deliveries.release()
            if self._service._observe is not None:
                name = self._transaction.name if self._transaction is not None else ""
                self._service._observe(name, self._outcome, time.perf_counter() - began)

    def _carry_on(self) -> None:
        """Keep the trace id (32 hex digits) and the certificate (base64 of DER) that one of our own services passes on.

        Nobody else may choose a trace or speak for another.
        """
        trace, certificate = self._environ.get("HTTP_X_TRACE_ID", ""), self._environ.get("HTTP_X_ON_BEHALF", "")
        is_ours = self._service._is_ours
        if not (trace or certificate) or is_ours is None or not is_ours(self._peer):
            return
        if _TRACE.fullmatch(trace):
            self._trace_id = trace
        if certificate:
            self._on_behalf = _decoded(certificate)

    def _process(self) -> Reply:
        """From the first byte of the body to the reply of the transaction."""
        service = self._service
        environ, limits = self._environ, service._limits
        if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
            raise HttpError(415, "Compressed requests are not accepted", (("Accept-Encoding", "identity"),))
        if service._admit is not None:
            service._admit(self._peer)
        body = BodyReader(source_of(environ, limits.body_idle), _content_length(environ), limits)
        message = receive(body, environ.get("CONTENT_TYPE", ""), limits, service._begin_part, service._foresee)
        self._message = message
        with in_turn():
            return self._consider(message)

    def _consider(self, message: Message) -> Reply:
        """From the message to the reply of the transaction."""
        if not message.envelope:
            raise SoapFault(SENDER, "The request holds no message")
        exchange = self._understand(message)
        transaction = self._transaction
        assert transaction is not None
        self._check_packaging(transaction, message.packaging, exchange)
        if transaction.needs_caller and not transaction.asks_another:
            _ = exchange.caller
        self._reserve()
        self._begun = True
        reply = self._carry_out(transaction, exchange, message)
        exchange.settle()
        return reply

    def _carry_out(self, transaction: Transaction, exchange: Exchange, message: Message) -> Reply:
        """The reply, or the refusal in the transaction's own form."""
        try:
            if message.failure is not None:
                raise message.failure
            findings = self._schema_findings(transaction, exchange)
            if findings:
                return self._refuse(transaction, exchange, "refused", findings)
            return transaction.handle(exchange)
        except Refused as refused:
            self._outcome = "refused"
            return transaction.refuse(exchange, refused.findings)
        except (SoapFault, HttpError) as error:
            if isinstance(error, HttpError) or not error.is_security:
                exchange.settle()
            raise
        except Exception as error:
            self._log(error)
            return self._refuse(transaction, exchange, "error", [refusal_for(error, transaction)])

    def _refuse(self, transaction: Transaction, exchange: Exchange, outcome: str, findings: list[Finding]) -> Reply:
        """Refuse what the transaction itself never saw, or failed on; it has not told anybody."""
        _ = exchange.caller
        self._outcome = outcome
        if self._service._on_refused is not None:
            try:
                self._service._on_refused(exchange, transaction, findings)
            except Exception as error:
                self._log(error)
        return transaction.refuse(exchange, findings)

    def _understand(self, message: Message) -> Exchange:
        """Envelope, addressing and dispatch. Rule: T-01 to T-10, R-002"""
        envelope = open_envelope(parse(message.envelope, self._service._limits))
        message.envelope = b""
        addressing = self._addressing = read_addressing(envelope.header)
        self._check_endpoints(addressing)
        transaction = self._actions.get(addressing.action)
        if transaction is None:
            raise SoapFault(
                SENDER, "The action is not served at this address", subcode=ACTION_NOT_SUPPORTED,
                detail=f"an action that is not served at {self._path}",
            )
        self._transaction = transaction
        if envelope.body.tag != transaction.body:
            raise SoapFault(SENDER, "The body element does not fit the action", subcode=ACTION_NOT_SUPPORTED)
        self._exchange = Exchange(
            trace_id=self._trace_id, peer=self._peer, envelope=envelope.root, body=envelope.body,
            addressing=addressing, security=envelope.security, parts=message.parts, endpoint=self._path,
            transaction=transaction.name, on_behalf=self._on_behalf,
            authenticate=self._service._authenticate if transaction.needs_caller else None,
            claim=self._service._claim if transaction.needs_caller else None,
        )
        return self._exchange

    def _check_endpoints(self, addressing: Addressing) -> None:
        """Answers go back on the connection, nowhere, or to an address on the list. Rule: T-06, T-14, T-15"""
        deliveries = self._service._deliveries
        for name, endpoint in (("ReplyTo", addressing.reply_to), ("FaultTo", addressing.fault_to)):
            if endpoint is None or not endpoint.is_elsewhere:
                continue
            if deliveries is None:
                raise SoapFault(
                    SENDER, f"wsa:{name} must be the anonymous address: answers are sent on the same connection",
                    subcode=ONLY_ANONYMOUS,
                )
            if deliveries.find(endpoint.address) is None:
                raise SoapFault(
                    SENDER, f"wsa:{name} is not an address this service may send to: use the anonymous address, "
                    "or ask the operator to permit yours", subcode=ONLY_ANONYMOUS,
                )
            if not addressing.message_id:
                raise SoapFault(
                    SENDER, f"The header wsa:MessageID is missing; an answer to wsa:{name} has to relate to it",
                    subcode=HEADER_REQUIRED,
                )

    def _reserve(self) -> None:
        """Be sure that an answer can be sent elsewhere before anything is done."""
        wanted = (self._addressing.reply_to, self._addressing.fault_to)
        if self._service._deliveries is not None and any(one is not None and one.is_elsewhere for one in wanted):
            self._service._deliveries.reserve()
            self._reserved = True

    def _check_packaging(self, transaction: Transaction, packaging: Packaging, exchange: Exchange) -> None:
        """Rule: M-01, M-14, M-15"""
        if transaction.mtom:
            if self._service._strict_mtom and packaging is not Packaging.MTOM:
                raise SoapFault(
                    SENDER, f"{transaction.name} must be sent as MTOM: multipart/related of type application/xop+xml"
                )
        elif packaging is not Packaging.SIMPLE and next(exchange.envelope.iter(INCLUDE), None) is not None:
            raise SoapFault(SENDER, f"{transaction.name} is sent as simple SOAP, without xop:Include")

    def _schema_findings(self, transaction: Transaction, exchange: Exchange) -> list[Finding]:
        """One finding per schema error, or a fault when the transaction has no answer for them. Rule: R-001"""
        validate = self._service._validate
        messages = [] if validate is None else validate(exchange.body)
        if not messages:
            return []
        if transaction.schema_error is None:
            raise SoapFault(SENDER, f"The body is not valid against the schema: {messages[0]}")
        subject = etree.QName(exchange.body).localname
        return [
            Finding(
                code=transaction.schema_error, subject=subject, found=text,
                expected="a message valid against the published schema", clause="ITI TF-2 Appendix V 3.2", rule="R-001",
            )
            for text in messages[: self._service._limits.findings]
        ]

    def _send(self, start_response: StartResponse, reply: Reply) -> Iterable[bytes]:
        """Write a reply in the packaging of its transaction.

        Tolerated: a sender allowed to come without MTOM is answered without, as long as nothing is attached.
        Rule: M-01, M-02, T-11
        """
        transaction, message = self._transaction, self._message
        assert transaction is not None and message is not None
        action, to = transaction.response_action, self._addressing.reply_to
        head = response_headers(action, self._addressing.message_id, to)
        if self._service._blocks is not None and self._exchange is not None:
            head += self._service._blocks(self._exchange)
        pieces = write_envelope(head, reply.body)
        mtom = bool(reply.parts) or (transaction.mtom and message.packaging is not Packaging.SIMPLE)
        if to is not None and to.address != WSA_ANONYMOUS:
            return self._accept(start_response, to, action, pieces, mtom, reply.parts)
        if mtom:
            headers, _, blocks = multipart_response(pieces, reply.parts, action)
            headers.append(("X-Trace-Id", self._trace_id))
            start_response(_REASONS[200], headers)
            return blocks
        return _simple(start_response, 200, pieces, self._trace_id)

    def _fault(self, start_response: StartResponse, fault: SoapFault) -> Iterable[bytes]:
        if self._outcome != "error":
            self._outcome = "fault"
        if self._service._on_fault is not None:
            try:
                self._service._on_fault(self._trace_id, self._peer, fault, self._exchange)
            except Exception as error:
                self._log(error)
        to = (self._addressing.fault_to or self._addressing.reply_to) if self._may_leave(fault) else None
        pieces = write_fault(fault, self._trace_id, self._addressing.message_id, to)
        if to is not None and to.address != WSA_ANONYMOUS:
            return self._accept(start_response, to, fault_action(fault), pieces)
        return _simple(start_response, fault.http_status, pieces, self._trace_id)

    def _may_leave(self, fault: SoapFault) -> bool:
        """Only the fault of a known caller goes elsewhere, or nowhere; a refused credential is always said here."""
        transaction, exchange = self._transaction, self._exchange
        if not self._begun or fault.is_security or transaction is None or exchange is None:
            return False
        return not transaction.needs_caller or exchange.is_vouched or exchange.known_caller is not None

    def _accept(
        self, start_response: StartResponse, to: Endpoint, action: str, pieces: Sequence[bytes], mtom: bool = False,
        parts: Sequence[OutgoingPart] = (),
    ) -> Iterable[bytes]:
        """Hand an answer over for delivery, or drop it when nobody wants it; say here only that it was taken.

        Rule: T-13, T-14
        """
        deliveries = self._service._deliveries
        target = deliveries.find(to.address) if deliveries is not None and to.is_elsewhere else None
        if deliveries is not None and target is not None:
            name = self._transaction.name if self._transaction is not None else ""
            deliveries.submit(Letter(name, self._trace_id, target, action, pieces, mtom, parts))
            self._reserved = False
        start_response(_REASONS[202], [("Content-Length", "0"), ("X-Trace-Id", self._trace_id)])
        return []

    def _log(self, error: BaseException) -> None:
        """Type and place of an unexpected error: never its text, which may quote the message."""
        name = self._transaction.name if self._transaction is not None else "a request not understood"
        _LOG.error("%s in %s, trace %s, at %s", type(error).__name__, name, self._trace_id, place_of(error))


def peer_from_environ(environ: WSGIEnvironment) -> Peer:
    """The address of the other end; a certificate is read by the server's own function."""
    return Peer(address=environ.get("REMOTE_ADDR", ""))


def _content_length(environ: WSGIEnvironment) -> int | None:
    """Announced size of the body, None when chunked; HttpError 411 when nothing tells where it ends."""
    text = environ.get("CONTENT_LENGTH") or ""
    if text:
        if not (text.isascii() and text.isdigit()):
            raise HttpError(400, "The Content-Length is malformed")
        if len(text) > 18:
            raise HttpError(413, "The message is too large")
        return int(text)
    if environ.get("wsgi.input_terminated") or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    raise HttpError(411, "A Content-Length is needed")


def _decoded(certificate: str) -> bytes:
    try:
        return base64.b64decode(certificate, validate=True)
    except ValueError:
        raise HttpError(400, "The certificate passed on is not base64") from None


def _failure_text(error: Exception) -> str:
    return "The service has no storage left" if exhausted(error) else "The service failed unexpectedly"


def _simple(
    start_response: StartResponse, status: int, pieces: Sequence[bytes], trace_id: str
) -> Iterable[bytes]:
    size = sum(map(len, pieces))
    headers = [
        ("Content-Type", f"{SOAP}; charset=UTF-8"), ("Content-Length", str(size)), ("X-Trace-Id", trace_id),
    ]
    start_response(_REASONS[status], headers)
    return [b"".join(pieces)] if size <= _JOIN else _blocks(pieces)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Large answers in blocks worth one write each."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _JOIN:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _refused(
    environ: WSGIEnvironment, start_response: StartResponse, trace_id: str, error: HttpError
) -> Iterable[bytes]:
    """What HTTP refuses: with a fault to whoever posted, whose stack reads nothing else; in words to a browser.

    Rule: I-04
    """
    if environ["REQUEST_METHOD"] == "POST":
        text, kind = b"".join(write_fault(SoapFault(SENDER, error.reason), trace_id)), f"{SOAP}; charset=UTF-8"
    else:
        text, kind = f"{error.reason}\ntrace {trace_id}\n".encode(), "text/plain; charset=utf-8"
    headers = [("Content-Type", kind), ("Content-Length", str(len(text))), ("X-Trace-Id", trace_id), *error.headers]
    start_response(_REASONS[error.status], headers)
    return [text]
