"""Byte-exact messages, sinks and a small service to send them to."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from xds.errors import ErrorCode, Finding
from xds.limits import DEFAULT, Limits
from xds.namespaces import SOAP12, WSA, WSA_ANONYMOUS, XOP
from xds.wire.exchange import Exchange, OutgoingPart, Part, Reply, Transaction
from xds.wire.http import BLOCK
from xds.wire.mime import ReadBehind
from xds.wire.service import SoapService
from xds.wire.xop import include, resolve_document

SUBMIT = "urn:test:Submit"
QUERY = "urn:test:Query"
PATH = "/services/test"
NS = "urn:test"


class Sink:
    """Keeps one part in memory and remembers how it ended."""

    def __init__(self, fail: OSError | None = None, fail_at: str = "write"):
        self.data = bytearray()
        self.state = "open"
        self._fail = fail
        self._fail_at = fail_at

    def write(self, chunk: bytes | memoryview) -> None:
        if self._fail is not None and self._fail_at == "write":
            raise self._fail
        self.data += chunk

    def finish(self) -> bytes:
        if self._fail is not None and self._fail_at == "finish":
            raise self._fail
        self.state = "finished"
        return bytes(self.data)

    def abort(self) -> None:
        self.state = "aborted"


def reader(data: bytes, chunk: int = BLOCK) -> ReadBehind:
    """What gives ``chunk`` bytes at a time."""
    stream = io.BytesIO(data)
    return lambda rest: bytearray(rest) + stream.read(chunk)


def reader_of(blocks: Iterable[bytes]) -> ReadBehind:
    """What gives exactly these blocks."""
    iterator = iter([block for block in blocks if block])
    return lambda rest: bytearray(rest) + next(iterator, b"")


def envelope(
    body: str = f'<q xmlns="{NS}"/>', action: str | None = QUERY, *, headers: str = "", message_id: str = "urn:uuid:1",
    soap: str = SOAP12,
) -> bytes:
    """A request envelope; ``action`` None leaves the header out."""
    wsa = f'<a:Action s:mustUnderstand="1">{action}</a:Action>' if action is not None else ""
    wsa += f"<a:MessageID>{message_id}</a:MessageID>" if message_id else ""
    wsa += f"<a:ReplyTo><a:Address>{WSA_ANONYMOUS}</a:Address></a:ReplyTo><a:To>https://here.example/x</a:To>"
    return (
        f'<s:Envelope xmlns:s="{soap}" xmlns:a="{WSA}"><s:Header>{wsa}{headers}</s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def deposit(href: str = "cid:doc@here", inside: str | None = None) -> bytes:
    """An envelope of the MTOM transaction with one Document."""
    content = f'<x:Include xmlns:x="{XOP}" href="{href}"/>' if inside is None else inside
    return envelope(f'<deposit xmlns="{NS}"><Document>{content}</Document></deposit>', SUBMIT)


def multipart(
    parts: Sequence[tuple[Sequence[str], bytes]], boundary: str = "MIMEboundary", end: str = "\r\n", closing: str = "--"
) -> bytes:
    """Parts as (header lines, bytes), framed with ``end`` as line end."""
    out = b""
    for lines, data in parts:
        head = end.join([f"--{boundary}", *lines, "", ""])
        out += head.encode() + data + end.encode()
    return out + f"--{boundary}{closing}{end}".encode()


ROOT_LINES = (
    'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"',
    "Content-Transfer-Encoding: binary", "Content-ID: <root@here>",
)
DOC_LINES = ("Content-Type: text/xml", "Content-Transfer-Encoding: binary", "Content-ID: <doc@here>")
CONTENT_TYPE = (
    'multipart/related; boundary="MIMEboundary"; type="application/xop+xml"; start="<root@here>"; '
    'start-info="application/soap+xml"'
)


class Received:
    """What came back from a service."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes):
        self.status = int(status.split()[0])
        self.headers = dict(headers)
        self.body = body


class Bench:
    """A service with one MTOM transaction that echoes its document and one simple transaction."""

    def __init__(self, **options: Any):
        self.sinks: list[Sink] = []
        self.faults: list[tuple[str, Any]] = []
        self.observed: list[tuple[str, str]] = []
        self.exchanges: list[Exchange] = []
        self.findings: list[Finding] = []
        self.fail: Exception | None = None
        self.schema_errors: list[str] = []
        self.refused_caller: Exception | None = None
        self.sink_failure: OSError | None = None
        self.sink_fail_at = "write"
        self.asks_another, self.vouched = bool(options.pop("asks_another", False)), False
        self.schema_error = options.pop("schema_error", ErrorCode.XDSRegistryMetadataError)
        limits: Limits = options.pop("limits", DEFAULT)
        self.app = SoapService(
            transactions=self._transactions(), paths={PATH: None, f"{PATH}/query": frozenset({"QUERY"})},
            authenticate=self._authenticate, begin_part=options.pop("begin_part", self.begin), limits=limits,
            validate=lambda element: self.schema_errors,
            on_fault=lambda trace, peer, fault, exchange: self.faults.append((trace, fault)),
            observe=lambda name, outcome, seconds: self.observed.append((name, outcome)), **options,
        )

    def _transactions(self) -> list[Transaction]:
        return [
            Transaction(
                name="SUBMIT", action=SUBMIT, response_action=SUBMIT + "Response", body=f"{{{NS}}}deposit", mtom=True,
                handle=self._echo, refuse=self._refuse, schema_error=self.schema_error,
                internal_error=ErrorCode.XDSRepositoryError,
            ),
            Transaction(
                name="QUERY", action=QUERY, response_action=QUERY + "Response", body=f"{{{NS}}}q", mtom=False,
                handle=self._answer, refuse=self._refuse, schema_error=self.schema_error,
                internal_error=ErrorCode.XDSRegistryError, asks_another=self.asks_another,
            ),
        ]

    def begin(self) -> Sink:
        self.sinks.append(Sink(self.sink_failure, self.sink_fail_at))
        return self.sinks[-1]

    def _authenticate(self, exchange: Exchange) -> str:
        if self.refused_caller is not None:
            raise self.refused_caller
        return "somebody"

    def _answer(self, exchange: Exchange) -> Reply:
        self.exchanges.append(exchange)
        if self.fail is not None:
            raise self.fail
        exchange.is_vouched = self.vouched
        return Reply([b'<answer xmlns="urn:test"/>'])

    def _echo(self, exchange: Exchange) -> Reply:
        self.exchanges.append(exchange)
        if self.fail is not None:
            raise self.fail
        content = resolve_document(exchange.body[0], exchange)
        if isinstance(content, Part):
            content.claimed = True
            data = content.received
        else:
            data = b"".join(content)
        part = OutgoingPart("echo@here", "application/octet-stream", len(data), lambda: iter([data]))
        return Reply([b'<answer xmlns="urn:test"><Document>', include("echo@here"), b"</Document></answer>"], [part])

    def _refuse(self, exchange: Exchange, findings: Sequence[Finding]) -> Reply:
        self.findings = list(findings)
        codes = " ".join(finding.code for finding in findings)
        return Reply([f'<refused xmlns="urn:test">{codes}</refused>'.encode()])

    def post(
        self, body: bytes, content_type: str = "application/soap+xml; charset=UTF-8", *, path: str = PATH,
        chunk: int = 1 << 20, **environ: Any,
    ) -> Received:
        """POST bytes and collect the answer."""
        stream = io.BytesIO(body)

        class Input:
            def read(self, size: int) -> bytes:
                return stream.read(min(size, chunk))

        values = {
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)), "wsgi.input": Input(), "REMOTE_ADDR": "192.0.2.1", **environ,
        }
        return run(self.app, values)

    def submit(
        self, root: bytes | None = None, document: bytes = b"<doc/>", content_type: str = CONTENT_TYPE
    ) -> Received:
        """POST a well-packed deposit."""
        parts = [(ROOT_LINES, deposit() if root is None else root), (DOC_LINES, document)]
        return self.post(multipart(parts), content_type)


def run(app: Any, environ: dict[str, Any]) -> Received:
    """Call a WSGI application and read its answer to the end."""
    told: list[Any] = []
    result = app(environ, lambda status, headers, exc=None: told.extend((status, headers)))
    return Received(told[0], told[1], b"".join(result))


def documents(received: Received) -> Iterator[bytes]:
    """The attached parts of a multipart answer."""
    from xds.wire.mime import MultipartReader

    for part in MultipartReader(reader(received.body), received.headers["Content-Type"]):
        data = b"".join(part.chunks())
        if not part.is_root:
            yield data
