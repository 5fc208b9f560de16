"""Answers to another address: which addresses, what is sent, what happens when nobody takes it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import CONTENT_TYPE, DOC_LINES, QUERY, ROOT_LINES, SUBMIT, Bench, deposit, envelope, multipart

from tests.receiver import Receiver, receiving
from xds.errors import ErrorCode, Finding, Refused
from xds.namespaces import WSA_ANONYMOUS, WSA_NONE
from xds.wire.addressing import FAULT_ACTION, SOAP_FAULT_ACTION
from xds.wire.delivery import Deliveries
from xds.wire.exchange import OutgoingPart, Reply
from xds.wire.faults import (
    ENDPOINT_UNAVAILABLE,
    FAILED_AUTHENTICATION,
    HEADER_REQUIRED,
    ONLY_ANONYMOUS,
    RECEIVER,
    SENDER,
    SoapFault,
    security_fault,
)
from xds.wire.reply_addresses import ReplyAddresses, read_target
from xds.wire.soap12 import open_envelope, read_fault
from xds.wire.xml import parse


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


class Async:
    """A bench whose answers may go to one receiver."""

    def __init__(self, receiver: Receiver, **options):
        self.replied: list[tuple[str, str]] = []
        addresses = ReplyAddresses([f"{receiver.base}/answers"], plain_loopback=True)
        values = {"pause": 0.02, "timeout": 5.0, **options}
        self.deliveries = Deliveries(
            addresses, None, replied=lambda name, outcome: self.replied.append((name, outcome)), **values
        )
        self.bench = Bench(deliveries=self.deliveries)
        self.address = f"{receiver.base}/answers"

    def post(self, reply_to: str = "", fault_to: str = "", **changes):
        return self.bench.post(wanting(envelope(**changes), reply_to or self.address, fault_to))

    def settled(self, count: int = 1):
        deadline = time.monotonic() + 10
        while len(self.replied) < count:
            assert time.monotonic() < deadline, self.replied
            time.sleep(0.005)
        return self.replied


def wanting(message: bytes, reply_to: str, fault_to: str = "") -> bytes:
    """The message with these endpoints in place of the anonymous one."""
    fault = f"<a:FaultTo><a:Address>{fault_to}</a:Address></a:FaultTo>" if fault_to else ""
    message = message.replace(WSA_ANONYMOUS.encode(), reply_to.encode())
    return message.replace(b"</s:Header>", fault.encode() + b"</s:Header>")


def fault_in(body: bytes):
    return read_fault(open_envelope(parse(body)).body)


def test_an_answer_is_posted_to_the_address_the_request_names(receiver):
    """202 and nothing in it; then the message, related to the request, with the response action.

    Rule: T-13, T-08, T-11
    """
    one = Async(receiver)
    accepted = one.post(reply_to=f"{one.address}/inbox?n=1")
    assert (accepted.status, accepted.body, accepted.headers["Content-Length"]) == (202, b"", "0")
    (posted,) = receiver.wait()
    opened, addressing, parts = posted.opened()
    assert posted.path == "/answers/inbox?n=1" and not parts
    assert posted.headers["content-type"].startswith("application/soap+xml")
    assert posted.headers["x-trace-id"] == accepted.headers["X-Trace-Id"] == one.bench.exchanges[0].trace_id
    assert (addressing.action, addressing.relates_to) == (f"{QUERY}Response", "urn:uuid:1")
    assert addressing.to == f"{one.address}/inbox?n=1" and addressing.message_id.startswith("urn:uuid:")
    assert opened.body.tag == "{urn:test}answer"
    assert one.settled() == [("QUERY", "delivered")]
    assert one.bench.observed == [("QUERY", "answered")]


def test_documents_travel_as_mtom(receiver):
    """Rule: T-13, M-01"""
    one = Async(receiver)
    document = bytes(range(256)) * 5000
    body = multipart([(ROOT_LINES, wanting(deposit(), one.address)), (DOC_LINES, document)])
    assert one.bench.post(body, CONTENT_TYPE).status == 202
    (posted,) = receiver.wait()
    _, addressing, parts = posted.opened()
    assert posted.headers["content-type"].startswith("multipart/related") and parts == [document]
    assert addressing.action == f"{SUBMIT}Response"
    assert [sink.state for sink in one.bench.sinks] == ["finished"]


def test_a_refusal_by_the_rules_is_an_answer_like_any_other(receiver):
    """It goes to ReplyTo, not to FaultTo. Rule: T-13"""
    one = Async(receiver)
    one.bench.fail = Refused([Finding(code=ErrorCode.XDSUnknownPatientId, subject="p")])
    assert one.post(fault_to=f"{one.address}/faults").status == 202
    (posted,) = receiver.wait()
    assert posted.path == "/answers" and b"XDSUnknownPatientId" in posted.body


@pytest.mark.parametrize("fault_to, path", [("", "/answers"), ("/faults", "/answers/faults")])
def test_a_fault_goes_to_fault_to_or_else_to_reply_to(receiver, fault_to, path):
    """Once the caller is known. Rule: T-13

    Clause: W3C WS-Addressing 1.0 Core 3.4
    """
    one = Async(receiver)
    one.bench.fail = SoapFault(SENDER, "no such thing")
    assert one.post(fault_to=fault_to and one.address + fault_to).status == 202
    (posted,) = receiver.wait()
    _, addressing, _ = posted.opened()
    assert posted.path == path and fault_in(posted.body)[2] == "no such thing"
    assert (addressing.action, addressing.relates_to) == (SOAP_FAULT_ACTION, "urn:uuid:1")


def test_a_fault_goes_back_on_the_connection_when_fault_to_says_so(receiver):
    """And only the fault. Rule: T-13"""
    one = Async(receiver)
    one.bench.fail = SoapFault(SENDER, "no such thing")
    received = one.post(fault_to=WSA_ANONYMOUS)
    assert received.status == 400 and fault_in(received.body)[2] == "no such thing"
    one.bench.fail = None
    assert one.post(fault_to=WSA_ANONYMOUS).status == 202
    assert len(receiver.wait()) == 1


def test_a_stranger_makes_us_connect_to_nobody(receiver):
    """A refused credential is answered on the connection, whatever the message asks for.

    Rule: T-13. Attack: reply-to-redirection
    """
    one = Async(receiver)
    one.bench.refused_caller = security_fault(FAILED_AUTHENTICATION, "why", "a")
    for reply_to, fault_to in ((one.address, ""), (WSA_NONE, ""), (WSA_NONE, one.address)):
        received = one.post(reply_to=reply_to, fault_to=fault_to)
        assert received.status == 400 and fault_in(received.body)[1] == FAILED_AUTHENTICATION
    assert one.post(action="urn:nothing").status == 400
    assert one.deliveries._reserved == 0 and not one.replied and not receiver.posted


def test_an_answer_wanted_nowhere_is_not_sent(receiver):
    """What the request asks for is done all the same; faults are dropped too. Rule: T-14"""
    bench = Bench()
    received = bench.post(wanting(envelope(), WSA_NONE))
    assert (received.status, received.body) == (202, b"") and len(bench.exchanges) == 1
    bench.fail = SoapFault(SENDER, "no such thing")
    assert bench.post(wanting(envelope(), WSA_NONE)).body == b""
    assert bench.post(envelope()).status == 400
    assert bench.post(wanting(envelope(), WSA_ANONYMOUS, WSA_NONE)).status == 202
    assert len(bench.faults) == 3


@pytest.mark.parametrize("name", ["ReplyTo", "FaultTo"])
def test_without_a_list_answers_go_nowhere_else(name):
    """Nothing is done for such a request. Rule: T-06, T-15, I-19. Attack: reply-to-redirection"""
    bench = Bench()
    elsewhere = "http://198.51.100.1/"
    message = wanting(envelope(), elsewhere) if name == "ReplyTo" else wanting(envelope(), WSA_ANONYMOUS, elsewhere)
    received = bench.post(message)
    code, subcode, reason, _ = fault_in(received.body)
    assert (received.status, code, subcode) == (400, SENDER, ONLY_ANONYMOUS) and name in reason
    assert b"addressing/fault<" in received.body.replace(FAULT_ACTION.encode(), b"addressing/fault")
    assert not bench.exchanges


def test_an_address_off_the_list_is_refused_before_anything_is_done(receiver):
    """Rule: T-15, I-19. Attack: reply-to-redirection"""
    one = Async(receiver)
    for address in (f"{receiver.base}/answersX", f"{receiver.base}/", "http://169.254.169.254/answers"):
        assert fault_in(one.post(reply_to=address).body)[1] == ONLY_ANONYMOUS
        assert fault_in(one.post(fault_to=address).body)[1] == ONLY_ANONYMOUS
    assert not one.bench.exchanges and not receiver.posted


def test_an_answer_that_could_not_relate_to_anything_is_refused(receiver):
    """Rule: T-13, T-04"""
    one = Async(receiver)
    assert fault_in(one.post(message_id="").body)[:2] == (SENDER, HEADER_REQUIRED)
    assert not one.bench.exchanges


# -- the list --------------------------------------------------------------------------------------------------

LISTED = ReplyAddresses(["https://his.example/answers", "https://[2001:db8::1]:8443/", "https://slash.example/a/"])


@pytest.mark.parametrize(
    "address",
    ["https://his.example/answers", "HTTPS://HIS.Example:443/answers", "https://his.example/answers/a/b?c=d",
     "https://[2001:DB8::1]:8443/x", "https://slash.example/a/b", "https://slash.example/a/"],
)
def test_what_the_list_covers(address):
    """Rule: T-15"""
    assert LISTED.find(address) is not None


@pytest.mark.parametrize(
    "address",
    ["http://his.example/answers", "https://his.example:444/answers", "https://his.example/Answers",
     "https://his.example/answersX", "https://his.example/answers/../x", "https://his.example/answers/%2e%2e/x",
     "https://his.example/answers/%2Fx", "https://his.example/answers//x", "https://his.example/answers/./x",
     "https://his.example./answers", "https://his.example@evil.example/answers", "https://evil.example#his.example/answers",
     "https://his.example\\@evil.example/answers", "https://his.example/answers#x", "https://his.example/ans wers",
     "https://his.example:0/answers", "https://his.example:99999/answers", "https://his.example:443:1/answers",
     "https://h\u0456s.example/answers", "https://his.example/answers\r\nX: y", "ftp://his.example/answers",
     "https:///answers", "//his.example/answers", "https://slash.example/a", "https://[2001:db8::1]/", "urn:uuid:1",
     ""],
)
def test_what_the_list_does_not_cover(address):
    """Another scheme, host, port or path; whatever could be read in two ways.

    Rule: T-15. Attack: reply-to-redirection
    """
    assert LISTED.find(address) is None


@given(st.text(alphabet="htps:/.@#?%\\[]2eFhis.exampleansw 0\n", max_size=60))
def test_no_other_spelling_gets_through(text):
    """Whatever is found has the scheme, the host, the port and the path of an entry. Rule: T-15"""
    for address in (text, f"https://his.example{text}", f"https://{text}/answers"):
        target = LISTED.find(address)
        if target is not None:
            assert (target.scheme, target.host, target.port) == ("https", "his.example", 443)
            assert target.path == "/answers" or target.path.startswith("/answers/")
            assert target == read_target(address) and not set(target.path + target.query) & set("\r\n \\#@")


@pytest.mark.parametrize(
    "entry",
    ["http://his.example/", "http://localhost/", "http://127.0.0.1:80", "his.example", "https://his.example/?a", ""],
)
def test_an_entry_that_is_no_safe_address_is_a_mistake_of_the_operator(entry):
    """Rule: T-15"""
    with pytest.raises(ValueError, match="reply address"):
        ReplyAddresses([entry])
    assert ReplyAddresses(["http://127.0.0.1:80", "http://[::1]/x"], plain_loopback=True).find("http://127.0.0.1/")
    with pytest.raises(ValueError, match="reply address"):
        ReplyAddresses(["http://192.0.2.1/"], plain_loopback=True)


# -- when nobody takes it --------------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_tried_again(receiver, caplog):
    """The same message, the same MessageID; the log names no path. Rule: T-13"""
    receiver.statuses = [503, 500, 429]
    one = Async(receiver)
    with caplog.at_level(logging.WARNING):
        one.post(reply_to=f"{one.address}/secret-of-his")
        assert one.settled() == [("QUERY", "delivered")]
    posted = receiver.wait(4)
    assert len({one.opened()[1].message_id for one in posted}) == 1
    assert caplog.text.count("not taken by") == 3 and "secret-of-his" not in caplog.text


def test_documents_are_read_again_for_another_attempt(receiver):
    """Rule: T-13"""
    receiver.statuses = [503]
    one = Async(receiver)
    body = multipart([(ROOT_LINES, wanting(deposit(), one.address)), (DOC_LINES, b"again")])
    one.bench.post(body, CONTENT_TYPE)
    assert [posted.opened()[2] for posted in receiver.wait(2)] == [[b"again"]] * 2


@pytest.mark.parametrize("status", [301, 307, 308, 400, 403, 404])
def test_a_redirection_or_a_refusal_ends_the_delivery(receiver, status, caplog):
    """Nobody is asked twice, nobody else is asked at all. Rule: T-15. Attack: reply-to-redirection"""
    with receiving() as other:
        receiver.statuses, receiver.elsewhere = [status], f"{other.base}/answers"
        one = Async(receiver)
        one.post()
        assert one.settled() == [("QUERY", "lost")]
        assert len(receiver.wait()) == 1 and not other.posted
    assert f"answered {status}" in caplog.text and one.deliveries._reserved == 0


def test_an_answer_is_lost_when_its_time_is_over(caplog):
    """An address where nobody listens: tried again until then, logged and counted; its place is free again.

    Rule: T-13
    """
    with receiving() as gone:
        pass
    one = Async(gone, keep=0.3, pause=0.05)
    assert one.post().status == 202
    assert one.settled() == [("QUERY", "lost")]
    assert "lost after" in caplog.text and one.bench.exchanges[0].trace_id in caplog.text
    assert (one.deliveries._reserved, one.deliveries._weight) == (0, 0)


def test_a_full_queue_refuses_before_anything_is_done():
    """Rule: T-13. Attack: slow-receiver"""
    with receiving() as gone:
        pass
    one = Async(gone, queue=2, keep=30, pause=20)
    assert [one.post().status for _ in range(3)] == [202, 202, 500]
    code, subcode, _, _ = fault_in(one.post().body)
    assert (code, subcode) == (RECEIVER, ENDPOINT_UNAVAILABLE) and len(one.bench.exchanges) == 2
    one.deliveries.close(patience=1)
    assert one.settled(2) == [("QUERY", "lost")] * 2


def test_heavy_answers_fill_the_queue_sooner():
    """Rule: T-13. Attack: slow-receiver"""
    with receiving() as gone:
        pass
    one = Async(gone, room=300 << 10, keep=30, pause=20)
    body = multipart([(ROOT_LINES, wanting(deposit(), one.address)), (DOC_LINES, b"x")])
    assert [one.bench.post(body, CONTENT_TYPE).status for _ in range(3)] == [202, 202, 500]
    one.deliveries.close(patience=1)


def test_a_slow_receiver_does_not_hold_up_the_others(receiver):
    """Attack: slow-receiver"""
    free = threading.Event()
    with receiving() as slow:
        slow.before_answer = lambda: free.wait(10)
        addresses = ReplyAddresses([receiver.base, slow.base], plain_loopback=True)
        one = Async(receiver)
        one.bench.app._deliveries = Deliveries(addresses, None, timeout=10)
        for _ in range(8):
            assert one.post(reply_to=f"{slow.base}/x").status == 202
        assert one.post().status == 202
        receiver.wait(1, patience=3)
        free.set()
        slow.wait(8)


def test_a_receiver_that_takes_a_message_too_slowly_is_left():
    """Attack: slow-receiver"""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        fake = Receiver(port=listening.getsockname()[1])
        one = Async(fake, timeout=0.3, keep=0.4, pause=1)
        part = OutgoingPart("a@b", "text/plain", 64 << 20, lambda: iter([b"x" * (64 << 20)]))
        one.bench.app._by_path["/services/test"][QUERY] = _with_reply(one.bench, Reply([b"<a/>"], [part]))
        assert one.post().status == 202
        assert one.settled() == [("QUERY", "lost")]


def _with_reply(bench, reply):
    return replace(bench.app._by_path["/services/test"][QUERY], handle=lambda exchange: reply)


def test_a_part_that_changed_its_size_is_given_up(receiver, caplog):
    """A document that is not what was promised is never sent in full. Rule: T-13"""
    one = Async(receiver)
    part = OutgoingPart("a@b", "text/plain", 10, lambda: iter([b"x"]))
    one.bench.app._by_path["/services/test"][QUERY] = _with_reply(one.bench, Reply([b"<a/>"], [part]))
    one.post()
    assert one.settled() == [("QUERY", "lost")] and "RuntimeError" in caplog.text


def test_a_service_that_ends_sends_what_can_leave(receiver):
    """Rule: T-13"""
    one = Async(receiver)
    one.post()
    one.deliveries.close()
    assert one.replied == [("QUERY", "delivered")]
    assert fault_in(one.post().body)[1] == ENDPOINT_UNAVAILABLE
