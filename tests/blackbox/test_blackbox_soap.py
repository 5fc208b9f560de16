"""SOAP, WS-Addressing and asynchronous exchange: ITI TF-2 Appendix V, W3C SOAP 1.2 and WS-Addressing 1.0."""

from __future__ import annotations

import http.server
import queue
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import QUERIES, Event, good
from tests.blackbox.meta import APPROVED, REPOSITORY, Entry, Set, slot

WSA = "{" + wire.NS["wsa"] + "}"


def body_of(patient: str) -> str:
    return meta.query(
        QUERIES["FindDocuments"],
        slot("$XDSDocumentEntryPatientId", f"'{patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    )


@pytest.fixture(scope="module")
def patient(event: Event) -> str:
    return event.patient()


RESPONSES = {
    wire.R: "urn:ihe:iti:2007:RegisterDocumentSet-bResponse",
    wire.SQ: "urn:ihe:iti:2007:RegistryStoredQueryResponse",
    wire.UPDATE: "urn:ihe:iti:2010:UpdateDocumentSetResponse",
    wire.RMU: "urn:ihe:iti:2018:RestrictedUpdateDocumentSetResponse",
    wire.REMOVE: "urn:ihe:iti:2010:DeleteDocumentSetResponse",
}


@pytest.mark.parametrize("action", list(RESPONSES))
def test_answers_carry_action_and_relates_to(event: Event, patient: str, action: str) -> None:
    """ITI TF-2 V.3: wsa:Action with mustUnderstand, RelatesTo, own MessageID; simple answers simple.

    Rule: T-03, T-08, T-11
    """
    bodies = {wire.SQ: body_of(patient), wire.REMOVE: meta.remove(meta.new_uuid())}
    name = wire.message_id()
    reply = event.registry.call(action, bodies.get(action, Set(patient, [Entry(patient)]).xml()), message=name)
    (found,) = reply.all("soap:Header/wsa:Action")
    assert found.text == RESPONSES[action]
    assert found.get("{" + wire.NS["soap"] + "}mustUnderstand") in ("1", "true")
    assert [r.text for r in reply.all("soap:Header/wsa:RelatesTo")] == [name]
    (own,) = reply.all("soap:Header/wsa:MessageID")
    assert own.text != name and own.text.startswith("urn:uuid:")
    kind = reply.headers["content-type"].lower()
    assert kind.startswith("application/soap+xml") and "charset=utf-8" in kind.replace('"', "").replace(" ", "")


@pytest.mark.parametrize("action", [wire.P, wire.RS])
def test_the_repository_answers_in_mtom(event: Event, patient: str, action: str) -> None:
    """ITI TF-2 V.3.6: multipart/related with type, start, start-info, boundary. Rule: M-01, M-03, T-11"""
    reply = (
        event.repository.call_mtom(action, meta.retrieve((REPOSITORY, "1.2.3.404")))
        if action == wire.RS
        else event.provide(Set(patient, [Entry(patient, registered=False)]))
    )
    kind = reply.headers["content-type"]
    for part in ('type="application/xop+xml"', 'start="<', 'start-info="application/soap+xml"', 'boundary="'):
        assert part in kind
    assert reply.find("soap:Header/wsa:Action").text == action + "Response"


def test_only_the_action_header_counts(event: Event, patient: str) -> None:
    """ITI TF-2 V.3.2: the action parameter and SOAPAction are ignored. Rule: T-02"""
    body = wire.envelope(wire.SQ, body_of(patient))
    good(event.registry.post(body, 'application/soap+xml; charset=UTF-8; action="urn:something:else"'))
    good(event.registry.post(body, headers={"SOAPAction": '"urn:something:else"'}))


@pytest.mark.parametrize(
    "given",
    [
        {"reply_to": None},
        {"message": None},
        {"to": "https://somewhere.example/else"},
        {"to": "http://127.0.0.1/x"},
        {"action_xml": f"<wsa:Action>{wire.SQ}</wsa:Action>"},
        {"action_xml": f'<wsa:Action soap:mustUnderstand="true">{wire.SQ}</wsa:Action>'},
        {"extra": "<wsa:From><wsa:Address>urn:me</wsa:Address></wsa:From>"},
        {"extra": '<x:Trace xmlns:x="urn:x" soap:mustUnderstand="0">1</x:Trace>'},
    ],
)
def test_tolerated_headers(event: Event, patient: str, given: dict[str, str]) -> None:
    """WS-Addressing 1.0 defaults: what may be absent, and what says nothing. Rule: T-05, T-06, T-09"""
    good(event.registry.call(wire.SQ, body_of(patient), **given))


def test_any_prefix_will_do(event: Event, patient: str) -> None:
    """XML namespaces: prefixes are free, declarations may stand anywhere. Rule: T-01"""
    text = wire.envelope(wire.SQ, body_of(patient)).decode()
    text = (
        text.replace("soap:", "S-1_:")
        .replace("xmlns:soap", "xmlns:S-1_")
        .replace("wsa:", "")
        .replace("xmlns:wsa", "xmlns")
    )
    good(event.registry.post(text.encode()))


@pytest.mark.parametrize(
    ("given", "subcode"),
    [
        ({"action_xml": ""}, "MessageAddressingHeaderRequired"),
        ({"action_xml": f"<wsa:Action>{wire.SQ}</wsa:Action>" * 2}, "InvalidAddressingHeader"),
        ({"extra": "<wsa:MessageID>urn:uuid:again</wsa:MessageID>"}, "InvalidAddressingHeader"),
        ({"action_xml": "<wsa:Action>urn:ihe:iti:2007:NoSuchThing</wsa:Action>"}, "ActionNotSupported"),
        ({"action_xml": f"<wsa:Action>{wire.RS}</wsa:Action>"}, "ActionNotSupported"),
        ({"action_xml": f"<wsa:Action>{wire.R}</wsa:Action>"}, "ActionNotSupported"),
        ({"reply_to": "http://not.listed.example/x"}, ""),
    ],
)
def test_addressing_faults(event: Event, patient: str, given: dict[str, str], subcode: str) -> None:
    """WS-Addressing 1.0 SOAP binding 6.4: Sender with the subcode, HTTP 400, no side effect. Rule: T-03, T-07, R-002"""
    reply = event.registry.call(wire.SQ, body_of(patient), **given)
    code, sub, reason = reply.fault
    assert code == "Sender" and reply.status == 400 and reason.strip()
    if subcode:
        assert sub == WSA + subcode


def test_an_unknown_header_that_must_be_understood(event: Event, patient: str) -> None:
    """SOAP 1.2 part 1, 5.4.8: MustUnderstand fault. Rule: T-09"""
    extra = '<x:Deal xmlns:x="urn:x" soap:mustUnderstand="true">1</x:Deal>'
    reply = event.registry.call(wire.R, Set(patient, [Entry(patient)]).xml(), extra=extra)
    assert reply.fault[0] == "MustUnderstand" and reply.status == 500


def test_soap_11_is_a_version_mismatch(event: Event, patient: str) -> None:
    """SOAP 1.2 part 1, 5.4.7: VersionMismatch, with the answer in an envelope a SOAP 1.1 node can read or ours.

    Rule: C-02
    """
    old = wire.envelope(wire.SQ, body_of(patient)).replace(
        wire.NS["soap"].encode(), b"http://schemas.xmlsoap.org/soap/envelope/"
    )
    reply = event.registry.post(old)
    assert b"VersionMismatch" in reply.raw and reply.status == 500
    reply = event.registry.post(old, "text/xml; charset=utf-8")
    assert reply.status in (415, 500) and reply.raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<",
        b"<a/>",
        b"not xml at all",
        b'<!DOCTYPE x [<!ENTITY e "boom">]><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Body>&e;</soap:Body></soap:Envelope>',
        b'<?target data?><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Header/><soap:Body/></soap:Envelope>',
        b'<soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope"><soap:Header/></soap:Envelope>',
    ],
)
def test_what_is_no_message_gets_a_fault(event: Event, raw: bytes) -> None:
    """SOAP 1.2 part 1, 5 and 6: a Sender fault, never an empty body or a page. Rule: T-01, T-12"""
    reply = event.registry.post(raw)
    code, _, reason = reply.fault
    assert code in ("Sender", "VersionMismatch") and reply.status in (400, 500) and reason.strip()
    assert b"Traceback" not in reply.raw and b".py" not in reply.raw


def test_a_query_against_the_schema(event: Event) -> None:
    """ebRS 3.0 schema: an unknown body, or one that is not valid, is told. Rule: R-001"""
    query = (
        body_of("x")
        .replace("<query:ResponseOption", "<query:Nonsense")
        .replace("</query:ResponseOption", "</query:Nonsense")
    )
    reply = event.registry.call(wire.SQ, query)
    assert reply.find(".//soap:Fault") is not None or reply.outcome == wire.FAILURE
    reply = event.registry.call(wire.SQ, "<nothing/>")
    assert reply.fault[0] == "Sender"


def test_a_simple_transaction_in_a_package(event: Event, patient: str) -> None:
    """ITI TF-2 V.3.6: multipart around a simple message is tolerated or refused with a fault. Rule: M-15"""
    reply = event.registry.call_mtom(wire.SQ, body_of(patient))
    assert reply.find(".//soap:Fault") is not None or good(reply).is_mtom is False or reply.is_mtom


@pytest.mark.parametrize(
    ("actor", "path"), [("registry", "/iti18"), ("registry", "/iti42"), ("repository", "/iti41"), ("repository", "")]
)
def test_service_descriptions(event: Event, actor: str, path: str) -> None:
    """WSDL 1.1: every input and output has an explicit Action; a GET tells a person what is here. Rule: I-01"""
    peer = event.peers[actor]
    wsdl = peer.post(b"", path=peer.path + path + "?wsdl", method="GET")
    assert wsdl.status == 200 and wsdl.root.tag == "{http://schemas.xmlsoap.org/wsdl/}definitions"
    messages = [
        e for op in wsdl.root.iter("{http://schemas.xmlsoap.org/wsdl/}portType") for e in op.iter() if e.get("message")
    ]
    assert messages and all(any(k.endswith("}Action") for k in e.attrib) for e in messages)
    page = peer.post(b"", path=peer.path + path, method="GET")
    assert page.status == 200 and page.raw.strip()


def test_paths_that_are_not_there(event: Event) -> None:
    """HTTP: 404 and 405 with a body."""
    reply = event.registry.post(b"", path="/services/nothing", method="POST")
    assert reply.status == 404 and reply.raw.strip()
    reply = event.registry.post(b"", method="DELETE")
    assert reply.status == 405 and reply.raw.strip()


def test_one_address_per_transaction(event: Event, patient: str) -> None:
    """One address takes its own transaction only. Rule: R-002"""
    body = wire.envelope(wire.SQ, body_of(patient))
    good(event.registry.post(body, path="/services/registry/iti18"))
    assert event.registry.post(body, path="/services/registry/iti42").fault[0] == "Sender"


def test_plain_http_for_test_tools(event: Event, patient: str) -> None:
    """The same service on a plain loopback port, where it was opened."""
    plain = wire.Peer("127.0.0.1", event.ports[5], "/services/registry", None)
    good(plain.call(wire.SQ, body_of(patient)))
    assert urllib.request.urlopen(f"http://127.0.0.1:{event.ports[5]}/services/registry?wsdl", timeout=5).status == 200


# -- asynchronous exchange ----------------------------------------


class Mailbox(http.server.BaseHTTPRequestHandler):
    """Where answers arrive."""

    arrived: queue.Queue[wire.Reply] = queue.Queue()

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.arrived.put(wire.read(0, {k.lower(): v for k, v in self.headers.items()}, data))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def mailbox(answers_port: int) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", answers_port), Mailbox)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{answers_port}/answers"
    server.shutdown()


def test_an_answer_to_another_address(event: Event, patient: str, mailbox: str) -> None:
    """ITI TF-2 V.5: 202 without an envelope, then a POST with To, RelatesTo, own MessageID and the response action."""
    name = wire.message_id()
    reply = event.registry.call(wire.SQ, body_of(patient), reply_to=mailbox, message=name)
    assert reply.status == 202 and not reply.raw.strip()
    answer = Mailbox.arrived.get(timeout=20)
    good(answer)
    assert answer.find("soap:Header/wsa:RelatesTo").text == name and answer.find("soap:Header/wsa:To").text == mailbox
    assert answer.find("soap:Header/wsa:Action").text == RESPONSES[wire.SQ]
    assert answer.find("soap:Header/wsa:MessageID").text not in ("", name)


def test_a_deposit_and_a_retrieve_answered_elsewhere(event: Event, patient: str, mailbox: str) -> None:
    """ITI TF-2 V.5: MTOM answers too."""
    entry = Entry(patient, registered=False)
    body = meta.provide(Set(patient, [entry]), meta.document(entry.id, "cid:d@t"))
    assert event.repository.call_mtom(wire.P, body, [("d@t", entry.data)], reply_to=mailbox).status == 202
    assert good(Mailbox.arrived.get(timeout=20)).is_mtom
    assert (
        event.repository.call_mtom(wire.RS, meta.retrieve((REPOSITORY, entry.unique)), reply_to=mailbox).status == 202
    )
    answer = good(Mailbox.arrived.get(timeout=20))
    assert answer.is_mtom and entry.data in answer.parts.values()
