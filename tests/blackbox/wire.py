"""HTTP, SOAP and multipart as a stranger writes them. Nothing of the product is imported here."""

from __future__ import annotations

import http.client
import re
import ssl
import uuid
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

NS = {
    "soap": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "rs": "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "query": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "xds": "urn:ihe:iti:xds-b:2007",
    "xop": "http://www.w3.org/2004/08/xop/include",
    "hl7": "urn:hl7-org:v3",
}
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"
SIMPLE = "application/soap+xml; charset=UTF-8"
SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
ERROR = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
WARNING = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"

P = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
R = "urn:ihe:iti:2007:RegisterDocumentSet-b"
SQ = "urn:ihe:iti:2007:RegistryStoredQuery"
MPQ = "urn:ihe:iti:2009:MultiPatientStoredQuery"
RS = "urn:ihe:iti:2007:RetrieveDocumentSet"
UPDATE = "urn:ihe:iti:2010:UpdateDocumentSet"
RMU = "urn:ihe:iti:2018:RestrictedUpdateDocumentSet"
REMOVE = "urn:ihe:iti:2010:DeleteDocumentSet"
REMOVE_DOCUMENTS = "urn:ihe:iti:2017:RemoveDocuments"
ON_DEMAND = "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry"


def message_id() -> str:
    return f"urn:uuid:{uuid.uuid4()}"


@dataclass
class Reply:
    """An HTTP answer, its root part as a tree and its other parts by Content-ID."""

    status: int
    headers: dict[str, str]
    raw: bytes
    parts: dict[str, bytes] = field(default_factory=dict)
    part_types: dict[str, str] = field(default_factory=dict)
    root: Any = None

    @property
    def is_mtom(self) -> bool:
        return self.headers.get("content-type", "").lower().startswith("multipart/related")

    def find(self, path: str) -> Any:
        return self.root.find(path, NS)

    def all(self, path: str) -> list[Any]:
        return list(self.root.iterfind(path, NS))

    # -- registry answers
    @property
    def outcome(self) -> str:
        """Status URN of the registry response, whatever element carries it; a fault fails loudly."""
        for path in (".//query:AdhocQueryResponse", ".//rs:RegistryResponse"):
            found = self.find(path)
            if found is not None:
                return str(found.get("status"))
        raise AssertionError(f"no registry response in HTTP {self.status}: {self.raw[:1500]!r}")

    @property
    def errors(self) -> list[tuple[str, str, str, str]]:
        """(errorCode, severity, codeContext, location)"""
        return [
            (e.get("errorCode", ""), e.get("severity", ""), e.get("codeContext", ""), e.get("location", ""))
            for e in self.all(".//rs:RegistryError")
        ]

    @property
    def codes(self) -> list[str]:
        return [code for code, *_ in self.errors]

    @property
    def ids(self) -> list[str]:
        """ids of the objects of a query answer, in their order."""
        found = self.find(".//rim:RegistryObjectList")
        return [] if found is None else [str(child.get("id")) for child in found]

    def objects(self, name: str) -> list[Any]:
        return self.all(f".//rim:RegistryObjectList/rim:{name}")

    # -- faults
    @property
    def fault(self) -> tuple[str, str, str]:
        """(local name of the code, ``{namespace}local`` of the innermost subcode, reason)"""
        found = self.find("soap:Body/soap:Fault")
        assert found is not None, f"no fault in HTTP {self.status}: {self.raw[:1500]!r}"
        assert found.getparent()[:] == [found], "a fault stands alone in the Body"

        def name(element: Any) -> str:
            prefix, _, local = element.text.strip().rpartition(":")
            return f"{{{element.nsmap[prefix or None]}}}{local}"

        code = name(found.find("soap:Code/soap:Value", NS))
        assert code.startswith("{" + NS["soap"] + "}")
        subs = found.findall(".//soap:Subcode/soap:Value", NS)
        reason = found.findtext("soap:Reason/soap:Text", namespaces=NS) or ""
        return code.rpartition("}")[2], name(subs[-1]) if subs else "", reason


def envelope(
    action: str,
    body: str,
    *,
    reply_to: str | None = ANONYMOUS,
    message: str | None = "",
    extra: str = "",
    to: str = "",
    action_xml: str | None = None,
) -> bytes:
    """A SOAP 1.2 envelope; ``message`` empty: a fresh id, None: none; ``action_xml`` in place of wsa:Action."""
    head = action_xml if action_xml is not None else f'<wsa:Action soap:mustUnderstand="1">{action}</wsa:Action>'
    if message is not None:
        head += f"<wsa:MessageID>{message or message_id()}</wsa:MessageID>"
    if reply_to is not None:
        head += f"<wsa:ReplyTo><wsa:Address>{reply_to}</wsa:Address></wsa:ReplyTo>"
    if to:
        head += f"<wsa:To>{to}</wsa:To>"
    return (
        f'<soap:Envelope xmlns:soap="{NS["soap"]}" xmlns:wsa="{NS["wsa"]}">'
        f"<soap:Header>{head}{extra}</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()


def multipart(
    root: bytes,
    parts: list[tuple[str, bytes]],
    *,
    boundary: str = "MIME-boundary-7d1",
    start: str | None = "root@tester",
    start_info: str | None = 'start-info="application/soap+xml"',
    part_type: str = "text/plain",
    eol: bytes = b"\r\n",
    encoding: str = "binary",
) -> tuple[bytes, str]:
    """Body and Content-Type of an MTOM message; ``parts`` are (Content-ID without brackets, bytes)."""
    lines = [
        b"--" + boundary.encode(),
        b'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"',
        b"Content-Transfer-Encoding: binary",
        b"Content-ID: <root@tester>",
        b"",
        root,
    ]
    for name, data in parts:
        lines += [
            b"--" + boundary.encode(),
            b"Content-Type: " + part_type.encode(),
            b"Content-Transfer-Encoding: " + encoding.encode(),
            b"Content-ID: <" + name.encode() + b">",
            b"",
            data,
        ]
    lines += [b"--" + boundary.encode() + b"--", b""]
    kind = f'multipart/related; type="application/xop+xml"; boundary="{boundary}"'
    if start is not None:
        kind += f'; start="<{start}>"'
    if start_info:
        kind += f"; {start_info}"
    return eol.join(lines), kind


def _parameter(value: str, name: str) -> str:
    found = re.search(rf'{name}="?([^";]+)"?', value)
    return found.group(1) if found else ""


def read(status: int, headers: dict[str, str], raw: bytes) -> Reply:
    """Take an answer apart."""
    reply = Reply(status, headers, raw)
    kind = headers.get("content-type", "")
    xml = raw
    if reply.is_mtom:
        for chunk in (b"\r\n" + raw).split(b"\r\n--" + _parameter(kind, "boundary").encode())[1:-1]:
            head, _, data = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            fields = dict(re.findall(r"(?m)^([\w-]+):\s*(.*?)\s*$", head.decode("ascii").replace("\r", "")))
            lowered = {k.lower(): v for k, v in fields.items()}
            name = lowered["content-id"].strip("<>")
            assert name not in reply.parts, "Content-IDs are unique"
            reply.parts[name], reply.part_types[name] = data, lowered["content-type"]
        xml = reply.parts[_parameter(kind, "start").strip("<>")]
    if xml.strip() and "html" not in kind and "plain" not in kind:
        reply.root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True))
    return reply


@dataclass
class Peer:
    """One service address and how to speak TLS with it."""

    host: str
    port: int
    path: str
    context: ssl.SSLContext | None
    _connection: http.client.HTTPConnection | None = None

    def _connect(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=30)
        return http.client.HTTPSConnection(self.host, self.port, timeout=30, context=self.context)

    def post(
        self,
        body: bytes,
        kind: str = SIMPLE,
        *,
        path: str = "",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One exchange; the connection is kept while the service keeps it."""
        for attempt in (1, 2):
            connection = self._connection = self._connection or self._connect()
            try:
                connection.request(method, path or self.path, body, {"Content-Type": kind} | (headers or {}))
                answer = connection.getresponse()
                raw = answer.read()
            except (http.client.HTTPException, OSError):  # a kept connection may have been ended meanwhile
                connection.close()
                self._connection = None
                if attempt == 2:
                    raise
                continue
            found = {k.lower(): v for k, v in answer.getheaders()}
            if answer.will_close:
                connection.close()
                self._connection = None
            return read(answer.status, found, raw)
        raise AssertionError("unreachable")

    def call(self, action: str, body: str, **parts: Any) -> Reply:
        """A simple SOAP exchange."""
        return self.post(envelope(action, body, **parts))

    def call_mtom(self, action: str, body: str, parts: list[tuple[str, bytes]] = [], **head: Any) -> Reply:  # noqa: B006
        """An MTOM exchange; ``parts`` are (Content-ID, bytes)."""
        return self.post(*multipart(envelope(action, body, **head), parts))
