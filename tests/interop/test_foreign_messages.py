"""Requests as other stacks and test tools send them: their HTTP, their media types, their SOAP headers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.world import FIND_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.namespaces import APPROVED, SOAP12, WSA, WSA_ANONYMOUS, WSU
from xds.wire.faults import ACTION_NOT_SUPPORTED, HEADER_REQUIRED, INVALID_HEADER, MUST_UNDERSTAND, SENDER
from xds.wire.soap12 import open_envelope, read_fault
from xds.wire.xml import parse

ACTION = "urn:ihe:iti:2007:RegistryStoredQuery"
PATH = "/services/registry"
SOAP = "application/soap+xml"
TIMESTAMP = (
    f'<u:Timestamp xmlns:u="{WSU}" u:Id="_0"><u:Created>2026-01-01T00:00:00Z</u:Created>'
    "<u:Expires>2036-01-01T00:00:00Z</u:Expires></u:Timestamp>"
)


@dataclass
class Sender:
    """Raw requests to the live registry by a card, all for one patient without documents."""

    world: World
    patient_id: str = ""
    security: bytes = b""
    body: bytes = b""
    context: Any = field(default=None)

    def __post_init__(self) -> None:
        self.patient_id = self.world.patient()
        self.security = self.world.client().security(self.patient_id)
        slots = [
            ("$XDSDocumentEntryPatientId", [quote(self.patient_id)]),
            ("$XDSDocumentEntryStatus", [quote_list([APPROVED])]),
        ]
        self.body = write.adhoc_query_request(FIND_DOCUMENTS, "LeafClass", slots)
        self.context = self.world.cards["physician"].tls_context(self.world.folder / "pki" / "trust" / "ca.pem")

    def envelope(self, headers: str | None = None, *, security: bytes | None = None, body: str = "") -> bytes:
        """A query; ``headers`` in place of the usual addressing, ``body`` are attributes of soap12:Body."""
        usual = f"<a:Action>{ACTION}</a:Action><a:MessageID>urn:uuid:1</a:MessageID>"
        return (
            f'<s:Envelope xmlns:s="{SOAP12}" xmlns:a="{WSA}"><s:Header>'.encode()
            + (usual if headers is None else headers).encode()
            + (self.security if security is None else security)
            + f"</s:Header><s:Body{body}>".encode() + self.body + b"</s:Body></s:Envelope>"
        )

    def connect(self) -> ssl.SSLSocket:
        port = self.world.settings.registry.port
        plain = socket.create_connection(("127.0.0.1", port), timeout=15)
        made: ssl.SSLSocket = self.context.wrap_socket(plain, server_hostname="127.0.0.1")
        return made

    def say(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the answer to these bytes on a connection of their own."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return listen(connection)

    def post(self, message: bytes, *lines: str, version: str = "1.1") -> tuple[int, dict[str, str], bytes]:
        """POST with these header lines and a Content-Length."""
        head = [f"POST {PATH} HTTP/{version}", "Host: x", *lines, f"Content-Length: {len(message)}", "", ""]
        return self.say("\r\n".join(head).encode() + message)

    def fault(self, message: bytes) -> tuple[Any, Any, str]:
        """(code, subcode, reason) of a refused message."""
        status, headers, body = self.post(message, f"Content-Type: {SOAP}")
        assert status in (400, 500) and headers["content-type"].startswith(SOAP)
        found = read_fault(open_envelope(parse(body)).body)
        assert found is not None and found[3] == headers["x-trace-id"]
        return found[:3]


def listen(connection: ssl.SSLSocket, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        assert more, f"closed: {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while has_body and len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


@pytest.fixture(scope="module")
def sender(live: World) -> Sender:
    return Sender(live)


def understood(answer: tuple[int, dict[str, str], bytes]) -> bool:
    return answer[0] == 200 and b"ResponseStatusType:Success" in answer[2]


# -- HTTP --------------------------------------------------------------------------------------------------------


def test_expect_100_continue_is_answered_before_the_body(sender: Sender) -> None:
    """curl, WCF and Axis ask first. Clause: RFC 9110 10.1.1"""
    message = sender.envelope()
    with sender.connect() as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {SOAP}\r\nExpect: 100-continue\r\n"
        connection.sendall(f"{head}Content-Length: {len(message)}\r\n\r\n".encode())
        status, _, rest = listen(connection, has_body=False)
        assert (status, rest) == (100, b"")
        connection.sendall(message)
        assert understood(listen(connection))


@pytest.mark.parametrize("lines", [(), ("Connection: keep-alive",)])
def test_http_1_0(sender: Sender, lines: tuple[str, ...]) -> None:
    """Clause: RFC 9112 9.3"""
    assert understood(sender.post(sender.envelope(), f"Content-Type: {SOAP}", *lines, version="1.0"))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_chunked_message(sender: Sender, size: int) -> None:
    """With extensions and a trailer. Clause: RFC 9112 7.1"""
    message = sender.envelope()
    chunks = [message[n : n + size] for n in range(0, min(len(message), 40 * size), size)]
    chunks.append(message[sum(map(len, chunks)) :])
    coded = b"".join(b"%X;x=y\r\n%b\r\n" % (len(c), c) for c in chunks if c) + b"0\r\nX-Trailer: z\r\n\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {SOAP}\r\ntransfer-encoding: chunked\r\n\r\n"
    assert understood(sender.say(head.encode(), coded))


def test_header_names_in_any_case(sender: Sender) -> None:
    """And without a blank behind the colon. Clause: RFC 9110 5.1"""
    message = sender.envelope()
    head = f"POST {PATH} HTTP/1.1\r\nhost:x\r\nCONTENT-TYPE:{SOAP}\r\ncontent-LENGTH:{len(message)}\r\n\r\n"
    assert understood(sender.say(head.encode() + message))


@pytest.mark.parametrize(
    "target, status",
    [(PATH, 200), (f"{PATH}?wsdl", 200), (f"{PATH}?WSDL", 200), (f"{PATH}/?xsd=rim.xsd", 200),
     (f"{PATH}?xsd=../rim.xsd", 404), (f"{PATH}?wsdl=2", 200), ("/", 404), ("/services", 404),
     ("/services/registry/iti99", 404), ("/%2e%2e/etc/passwd", 404), (f"http://x{PATH}", 200)],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_of_any_address(sender: Sender, method: str, target: str, status: int) -> None:
    """HEAD says what GET says, without a body. Clause: RFC 9110 9.3.2"""
    with sender.connect() as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        said, headers, body = listen(connection, has_body=method == "GET")
        assert said == status and int(headers["content-length"]) > 0
        assert bool(body) == (method == "GET")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_told_which_are_served(sender: Sender, method: str) -> None:
    """Clause: RFC 9110 15.5.6"""
    status, headers, _ = sender.say(f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize(
    "media",
    [f"{SOAP};charset=utf-8", f"{SOAP}; charset='utf-8'", f'{SOAP} ; charset="UTF-8" ; action="{ACTION}"',
     f'{SOAP};action={ACTION}', f'{SOAP};ACTION="urn:other";Charset=utf-8;', "Application/Soap+XML; charset=UTF8",
     f'{SOAP}; action=""', f'{SOAP}; profile="a;b=\\"c\\""; charset=utf-8'],
)
def test_media_types_as_they_are_written(sender: Sender, media: str) -> None:
    """Quotes, blanks, case, order; an action that says something else. Rule: M-13, T-02, C-03"""
    assert understood(sender.post(sender.envelope(), f"Content-Type: {media}", 'SOAPAction: "urn:other"'))


@pytest.mark.parametrize(
    "media, root",
    [
        ('multipart/related;boundary=X;type=application/xop+xml;start=<r@x>;start-info=application/soap+xml', ""),
        ('Multipart/Related; Boundary="X"; TYPE="application/xop+xml"; start="<r@x>"; start-info='
         f'"application/soap+xml; action=\\"{ACTION}\\""',
         f'application/xop+xml; charset=utf-8; type="application/soap+xml; action=\\"{ACTION}\\""'),
        ('multipart/related; boundary="X"; type="application/soap+xml"', "application/soap+xml; charset=UTF-8"),
        ('multipart/related; boundary=X; start="r@x"; start-info="text/xml"; type="application/xop+xml"',
         'application/xop+xml;charset=utf-8;type="text/xml"'),
    ],
    ids=["bare", "wcf", "without-xop", "node"],
)
def test_multipart_types_as_they_are_written(sender: Sender, media: str, root: str) -> None:
    """Rule: M-13, M-15, C-25"""
    head = f"Content-Type: {root or 'application/xop+xml'}\r\nContent-ID: <r@x>\r\nContent-Transfer-Encoding: 8bit"
    message = f"--X\r\n{head}\r\n\r\n".encode() + sender.envelope() + b"\r\n--X--\r\n"
    assert understood(sender.post(message, f"Content-Type: {media}", "MIME-Version: 1.0"))


# -- SOAP headers ------------------------------------------------------------------------------------------------

TO = f"https://registry.example:8443{PATH}"
ACCEPTED: dict[str, Callable[[Sender], bytes]] = {
    "CXF, no mustUnderstand": lambda s: s.envelope(
        f'<a:Action>{ACTION}</a:Action><a:MessageID>urn:uuid:1</a:MessageID><a:To>{TO}</a:To>'
        f"<a:ReplyTo><a:Address>{WSA_ANONYMOUS}</a:Address></a:ReplyTo>"
    ),
    "Axis2, mustUnderstand on all": lambda s: s.envelope(
        f'<a:To s:mustUnderstand="true">{TO}</a:To><a:ReplyTo s:mustUnderstand="true"><a:Address>{WSA_ANONYMOUS}'
        f'</a:Address></a:ReplyTo><a:From s:mustUnderstand="1"><a:Address>urn:me</a:Address></a:From>'
        f'<a:MessageID s:mustUnderstand="true">urn:uuid:A-B</a:MessageID><a:Action s:mustUnderstand="true">{ACTION}'
        f'</a:Action><a:FaultTo s:mustUnderstand="1"><a:Address>{WSA_ANONYMOUS}</a:Address></a:FaultTo>'
    ),
    "WCF, activity and endpoint metadata": lambda s: s.envelope(
        f'<a:Action s:mustUnderstand="1">{ACTION}</a:Action><a:MessageID>urn:uuid:1</a:MessageID><ActivityId '
        'CorrelationId="1" xmlns="http://schemas.microsoft.com/2004/09/ServiceModel/Diagnostics">x</ActivityId>'
        f"<a:ReplyTo><a:Address>{WSA_ANONYMOUS}</a:Address><a:Metadata><x/></a:Metadata></a:ReplyTo>"
        f'<a:To s:mustUnderstand="1">{TO}</a:To>'
    ),
    "only an action": lambda s: s.envelope(f"<a:Action>{ACTION}</a:Action>"),
    "To anonymous": lambda s: s.envelope(f"<a:Action>{ACTION}</a:Action><a:To>{WSA_ANONYMOUS}</a:To>"),
    "relations of another message": lambda s: s.envelope(
        f'<a:Action>{ACTION}</a:Action><a:RelatesTo RelationshipType="urn:x">urn:uuid:2</a:RelatesTo>'
        "<a:RelatesTo>urn:uuid:3</a:RelatesTo>"
    ),
    "ids for a signature": lambda s: s.envelope(
        f'<a:Action xmlns:u="{WSU}" u:Id="id-1">{ACTION}</a:Action>', body=f' xmlns:u="{WSU}" u:Id="id-2"'
    ),
    "for the ultimate receiver": lambda s: s.envelope(
        f'<a:Action s:role="{SOAP12}/role/ultimateReceiver" s:relay="false">{ACTION}</a:Action>'
    ),
    "a header for somebody else": lambda s: s.envelope(
        f'<a:Action>{ACTION}</a:Action><x xmlns="urn:x" s:mustUnderstand="1" s:role="urn:a-proxy"/>'
    ),
    "a time stamp beside the assertion": lambda s: s.envelope(
        security=s.security.replace(b"</wsse:Security>", TIMESTAMP.encode() + b"</wsse:Security>")
    ),
    "white space everywhere": lambda s: (
        s.envelope().replace(b"><a:", b">\r\n\t<a:").replace(b"<s:Body>", b"\n<s:Body>\n")
    ),
    "declaration and byte-order mark": lambda s: (
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n' + s.envelope()
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_headers_that_are_accepted(sender: Sender, name: str) -> None:
    """Rule: T-03, T-04, T-05, T-06, T-09, T-10, C-04, E-26"""
    status, _, body = sender.post(ACCEPTED[name](sender), f"Content-Type: {SOAP}")
    assert status == 200 and b"ResponseStatusType:Success" in body, body


OLD = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
REFUSED: dict[str, tuple[str, Any, Any, str]] = {
    "WS-Addressing of 2004": (
        f'<w:Action xmlns:w="{OLD}">{ACTION}</w:Action><w:To xmlns:w="{OLD}">{TO}</w:To>',
        SENDER, HEADER_REQUIRED, "another version",
    ),
    "WS-Addressing of 2004, to be understood": (
        f'<w:Action xmlns:w="{OLD}" s:mustUnderstand="1">{ACTION}</w:Action>', MUST_UNDERSTAND, None, "mustUnderstand",
    ),
    "no action": ("<a:MessageID>urn:uuid:1</a:MessageID>", SENDER, HEADER_REQUIRED, "wsa:Action"),
    "the action of an answer": (f"<a:Action>{ACTION}Response</a:Action>", SENDER, ACTION_NOT_SUPPORTED, "not served"),
    "an action made up from the WSDL": (
        "<a:Action>urn:ihe:iti:xds-b:2007:DocumentRegistry_PortType:RegistryStoredQuery_Message</a:Action>",
        SENDER, ACTION_NOT_SUPPORTED, "not served",
    ),
    "the action of another transaction": (
        "<a:Action>urn:ihe:iti:2007:RegisterDocumentSet-b</a:Action>", SENDER, ACTION_NOT_SUPPORTED, "body element",
    ),
    "two actions": (f"<a:Action>{ACTION}</a:Action>" * 2, SENDER, INVALID_HEADER, "more than once"),
    "an action in quotes": (f'<a:Action>"{ACTION}"</a:Action>', SENDER, ACTION_NOT_SUPPORTED, "not served"),
    "an action in two lines": (f"<a:Action>\n{ACTION}\n</a:Action>", SENDER, INVALID_HEADER, "white space"),
    "a header nobody knows": (
        f'<a:Action>{ACTION}</a:Action><x xmlns="urn:x" s:mustUnderstand="true"/>', MUST_UNDERSTAND, None, "known",
    ),
    "mustUnderstand in words": (f'<a:Action s:mustUnderstand="yes">{ACTION}</a:Action>', SENDER, None, "1, 0, true"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_headers_that_are_refused(sender: Sender, name: str) -> None:
    """Each with the code and the words its sender needs. Rule: T-02, T-03, T-07, T-09, I-01, R-002"""
    headers, code, subcode, words = REFUSED[name]
    found = sender.fault(sender.envelope(headers))
    assert found[:2] == (code, subcode) and words in found[2]
