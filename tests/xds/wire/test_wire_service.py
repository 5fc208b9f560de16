"""The service: what each request is answered, in which packaging, and what happens to its parts."""

from __future__ import annotations

import errno
import io
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import (
    CONTENT_TYPE,
    DOC_LINES,
    PATH,
    QUERY,
    ROOT_LINES,
    SUBMIT,
    Bench,
    deposit,
    documents,
    envelope,
    multipart,
    reader,
    run,
)

from xds.errors import ErrorCode, Finding, Refused
from xds.limits import Limits
from xds.namespaces import SOAP11, XOP
from xds.wire.exchange import Peer
from xds.wire.faults import (
    ACTION_NOT_SUPPORTED,
    FAILED_AUTHENTICATION,
    HEADER_REQUIRED,
    MUST_UNDERSTAND,
    RECEIVER,
    SENDER,
    VERSION_MISMATCH,
    security_fault,
)
from xds.wire.http import BodyReader, HttpError, parse_media_type
from xds.wire.mime import MultipartReader
from xds.wire.soap12 import open_envelope, read_fault
from xds.wire.xml import parse


def fault_of(received):
    """(code, subcode, reason, trace id) of a fault answer, its form checked on the way."""
    assert parse_media_type(received.headers["Content-Type"]).name == "application/soap+xml"
    assert received.headers["Content-Length"] == str(len(received.body))
    found = read_fault(open_envelope(parse(received.body)).body)
    assert found is not None
    assert found[3] == received.headers["X-Trace-Id"]
    assert received.status == (400 if found[0] == SENDER else 500)
    return found


def test_a_simple_transaction_answers_simple_soap():
    """Rule: M-02, T-02, T-08, T-11"""
    bench = Bench()
    received = bench.post(envelope())
    assert received.status == 200
    assert received.headers["Content-Type"] == "application/soap+xml; charset=UTF-8"
    assert b"RelatesTo>urn:uuid:1<" in received.body and b"Action s:mustUnderstand" in received.body
    assert (QUERY + "Response").encode() in received.body
    assert bench.exchanges[0].caller == "somebody"
    assert bench.exchanges[0].trace_id == received.headers["X-Trace-Id"]
    assert bench.observed == [("QUERY", "answered")]


@pytest.mark.parametrize(
    "media", ['application/soap+xml; charset=utf-8; action="urn:something:else"', "Application/SOAP+XML"]
)
def test_the_action_parameter_is_ignored(media):
    """Rule: T-02, C-03, M-13"""
    assert Bench().post(envelope(), media, HTTP_SOAPACTION='"urn:other"').status == 200


def test_an_mtom_transaction_answers_mtom():
    """Rule: M-01, M-03, M-05, M-06, T-11, I-06"""
    bench = Bench()
    document = b"\r\n\0bytes\r\n"
    received = bench.submit(document=document)
    media = parse_media_type(received.headers["Content-Type"])
    assert (media.name, media.get("type"), media.get("start-info")) == (
        "multipart/related", "application/xop+xml", "application/soap+xml"
    )
    assert list(documents(received)) == [document]
    assert received.headers["Content-Length"] == str(len(received.body))
    assert [sink.state for sink in bench.sinks] == ["finished"]


def test_an_mtom_transaction_without_any_part_still_answers_mtom():
    """Rule: M-01"""
    bench = Bench()
    bench.fail = Refused([Finding(code=ErrorCode.XDSRepositoryError, subject="x")])
    received = bench.post(multipart([(ROOT_LINES, deposit(inside="QUJD"))]), CONTENT_TYPE)
    root = next(iter(MultipartReader(reader(received.body), received.headers["Content-Type"])))
    assert root.is_root and b"refused" in b"".join(root.chunks())


def test_inline_base64_is_as_good_as_a_part():
    """Rule: M-06, M-09"""
    received = Bench().post(multipart([(ROOT_LINES, deposit(inside=" QU\nJD "))]), CONTENT_TYPE)
    assert list(documents(received)) == [b"ABC"]


def test_parts_in_front_of_the_root_are_served():
    """Rule: M-10"""
    body = multipart([(DOC_LINES, b"early"), (ROOT_LINES, deposit())])
    assert list(documents(Bench().post(body, CONTENT_TYPE, chunk=11))) == [b"early"]


def test_mtom_is_demanded_where_it_is_due():
    """Rule: M-14, C-01, I-08"""
    bench = Bench()
    code, _, reason, _ = fault_of(bench.post(deposit(inside="QUJD")))
    assert code == SENDER and "MTOM" in reason
    assert bench.observed == [("SUBMIT", "fault")]
    not_xop = [("Content-Type: application/soap+xml", ROOT_LINES[2]), deposit(inside="QUJD")]
    related = 'multipart/related; boundary=MIMEboundary; start="<root@here>"'
    assert fault_of(bench.post(multipart([tuple(not_xop)]), related))[0] == SENDER


def test_mtom_may_be_waived_for_partners_that_cannot():
    """Rule: M-14, C-01"""
    bench = Bench(strict_mtom=False)
    assert list(documents(bench.post(deposit(inside="QUJD")))) == [b"ABC"]
    bench.fail = Refused([Finding(code=ErrorCode.XDSRepositoryError, subject="x")])
    received = bench.post(deposit(inside="QUJD"))
    assert received.headers["Content-Type"].startswith("application/soap+xml")


def test_a_simple_transaction_in_parts_is_tolerated_without_include():
    """Rule: M-15"""
    bench = Bench()
    received = bench.post(multipart([(ROOT_LINES, envelope()), (DOC_LINES, b"spare")]), CONTENT_TYPE)
    assert received.headers["Content-Type"].startswith("application/soap+xml")
    assert [sink.state for sink in bench.sinks] == ["aborted"]
    root = envelope(f'<q xmlns="urn:test"><Include xmlns="{XOP}" href="cid:doc@here"/></q>')
    assert fault_of(bench.post(multipart([(ROOT_LINES, root), (DOC_LINES, b"x")]), CONTENT_TYPE))[0] == SENDER


def test_a_service_without_sinks_drops_attachments():
    """Rule: M-15"""
    bench = Bench(begin_part=None)
    assert bench.post(multipart([(ROOT_LINES, envelope()), (DOC_LINES, b"spare")]), CONTENT_TYPE).status == 200
    assert not bench.exchanges[0].parts


def test_unclaimed_parts_are_dropped_however_the_request_ends():
    """Rule: M-11"""
    bench = Bench()
    bench.submit(root=deposit(inside="QUJD"))
    bench.submit(root=deposit(href="cid:nobody"))
    bench.submit(root=b"<broken")
    bench.submit(root=envelope(action="urn:unknown"))
    bench.refused_caller = security_fault(FAILED_AUTHENTICATION, "why", "a")
    bench.submit()
    body = multipart([(DOC_LINES, b"x"), (ROOT_LINES, deposit())])
    bench.post(body[:-40], CONTENT_TYPE)
    body = multipart([(DOC_LINES, b"x" * 600_000), (ROOT_LINES, deposit())])
    bench.post(body, CONTENT_TYPE, CONTENT_LENGTH=str(len(body) + 10))
    assert len(bench.sinks) == 7
    assert {sink.state for sink in bench.sinks} == {"aborted"}


def test_an_unresolved_include_is_a_sender_fault():
    """Rule: M-11"""
    assert fault_of(Bench().submit(root=deposit(href="cid:nobody")))[0] == SENDER


@pytest.mark.parametrize(
    "body, code, subcode",
    [
        (envelope(action="urn:nothing"), SENDER, ACTION_NOT_SUPPORTED),
        (envelope('<other xmlns="urn:test"/>'), SENDER, ACTION_NOT_SUPPORTED),
        (envelope("<q/>"), SENDER, ACTION_NOT_SUPPORTED),
        (envelope(action=None), SENDER, HEADER_REQUIRED),
        (envelope(headers='<x xmlns="urn:u" s:mustUnderstand="1"/>'), MUST_UNDERSTAND, None),
        (envelope(soap=SOAP11), VERSION_MISMATCH, None),
        (b"<!DOCTYPE a><a/>", SENDER, None),
        (b"no xml", SENDER, None),
        (b"", SENDER, None),
    ],
)
def test_what_is_not_understood_is_a_fault(body, code, subcode):
    """Rule: T-01, T-03, T-09, R-002, C-02, I-04"""
    bench = Bench()
    found = fault_of(bench.post(body))
    assert found[:2] == (code, subcode)
    assert bench.faults[0][0] == found[3]
    assert not bench.exchanges


def test_soap_1_1_by_its_media_type_is_told_the_version():
    """Rule: C-02"""
    assert fault_of(Bench().post(envelope(soap=SOAP11), "text/xml; charset=utf-8"))[0] == VERSION_MISMATCH


@pytest.mark.parametrize("media", ["application/soap+xml; charset=iso-8859-1", "application/soap+xml; charset=utf-16"])
def test_another_charset_is_refused(media):
    """Rule: T-12, C-24"""
    assert fault_of(Bench().post(envelope(), media))[0] == SENDER


@pytest.mark.parametrize(
    "environ, status",
    [
        ({"CONTENT_TYPE": "application/json"}, 415), ({"CONTENT_TYPE": ""}, 415), ({"CONTENT_TYPE": ";;"}, 415),
        ({"CONTENT_TYPE": "multipart/form-data; boundary=x"}, 415), ({"CONTENT_LENGTH": "9" * 30}, 413),
        ({"CONTENT_LENGTH": str(1 << 50)}, 413), ({"CONTENT_LENGTH": "-1"}, 400), ({"CONTENT_LENGTH": "x"}, 400),
        ({"CONTENT_LENGTH": ""}, 411), ({"CONTENT_LENGTH": "100000"}, 400), ({"REQUEST_METHOD": "PUT"}, 405),
        ({"PATH_INFO": "/elsewhere"}, 404), ({"CONTENT_LENGTH": "9000000"}, 413),
        ({"HTTP_CONTENT_ENCODING": "gzip"}, 415),
    ],
)
def test_http_errors_are_short_and_have_a_trace_id(environ, status):
    """A SOAP stack is given a fault whatever the status says, a browser a text.

    Rule: I-04. Attack: oversized-body, wrong-media-type
    """
    received = Bench().post(envelope(), environ.get("CONTENT_TYPE", "application/soap+xml"), **environ)
    assert received.status == status
    if environ.get("REQUEST_METHOD", "POST") == "POST":
        assert received.headers["Content-Type"].startswith("application/soap+xml")
        assert read_fault(open_envelope(parse(received.body)).body)[0] == SENDER
    else:
        assert received.headers["Content-Type"].startswith("text/plain")
    assert received.headers["X-Trace-Id"] in received.body.decode()
    if status == 405:
        assert received.headers["Allow"] == "GET, HEAD, POST"


def test_a_chunked_body_needs_no_length():
    """The transfer itself says where it ends; the size is bounded all the same. Attack: oversized-body"""
    assert Bench().post(envelope(), CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked").status == 200
    bounded = Bench(limits=Limits(message=100))
    assert bounded.post(envelope(), CONTENT_LENGTH="", **{"wsgi.input_terminated": True}).status == 413


def test_a_path_of_one_transaction_serves_only_that():
    """Rule: T-02"""
    bench = Bench()
    assert bench.post(envelope(), path=f"{PATH}/query").status == 200
    assert bench.post(envelope(), path=f"{PATH}/query/").status == 200
    body = multipart([(ROOT_LINES, deposit()), (DOC_LINES, b"x")])
    assert fault_of(bench.post(body, CONTENT_TYPE, path=f"{PATH}/query"))[1] == ACTION_NOT_SUPPORTED


def test_schema_errors_name_themselves_in_the_answer_of_the_transaction():
    """Rule: R-001"""
    bench = Bench()
    bench.schema_errors = ["line 3: rim:Slot: @name is missing", "line 9: rim:Name"]
    assert b"XDSRegistryMetadataError XDSRegistryMetadataError" in bench.post(envelope()).body
    assert [finding.rule for finding in bench.findings] == ["R-001", "R-001"]
    assert "line 3" in bench.findings[0].context()
    assert bench.observed == [("QUERY", "refused")]
    assert not bench.exchanges


def test_schema_errors_without_a_code_are_a_fault():
    """Rule: R-001"""
    bench = Bench(schema_error=None)
    bench.schema_errors = ["line 3: bad"]
    code, _, reason, _ = fault_of(bench.post(envelope()))
    assert code == SENDER and "line 3" in reason


def test_a_caller_is_asked_for_before_the_schema():
    """Nobody unknown learns anything about the schema. Rule: R-001"""
    bench = Bench()
    bench.schema_errors = ["line 3: bad"]
    bench.refused_caller = security_fault(FAILED_AUTHENTICATION, "card revoked", "k")
    received = bench.post(envelope())
    assert fault_of(received)[1] == FAILED_AUTHENTICATION
    assert b"revoked" not in received.body
    assert bench.faults[0][1].detail == "card revoked"


def test_findings_are_answered_with_200():
    """Rule: I-04, I-05"""
    bench = Bench()
    bench.fail = Refused([Finding(code=ErrorCode.XDSUnknownPatientId, subject="p")])
    received = bench.post(envelope())
    assert received.status == 200 and b"XDSUnknownPatientId" in received.body


def test_an_unexpected_error_is_answered_and_logged_without_content(caplog):
    """The log names type and place, never the text of the exception. Rule: I-04"""
    bench = Bench()
    bench.fail = ValueError("patient DUPONT 1850375114876")
    with caplog.at_level(logging.DEBUG):
        received = bench.post(envelope())
    assert received.status == 200 and b"XDSRegistryError" in received.body
    assert "DUPONT" not in caplog.text + received.body.decode() + bench.findings[0].context()
    assert "ValueError" in caplog.text and received.headers["X-Trace-Id"] in caplog.text
    assert "wire_messages.py" in caplog.text
    assert bench.observed == [("QUERY", "error")]


def test_a_failure_before_understanding_is_a_receiver_fault(caplog):
    """Rule: I-04"""
    bench = Bench(peer_of=lambda environ: 1 / 0)
    assert fault_of(bench.post(envelope()))[0] == RECEIVER
    assert bench.observed == [("", "error")]


def test_a_failing_audit_of_a_fault_still_answers(caplog):
    """Rule: I-04"""
    bench = Bench()

    def fails(*args):
        raise RuntimeError("audit")

    bench.app._on_fault = fails
    assert fault_of(bench.post(b"<a/>"))[0] == SENDER
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize("first", ["root", "document"])
@pytest.mark.parametrize("stage", ["write", "finish"])
def test_a_full_disk_is_said_in_the_words_of_the_transaction(first, stage):
    """Whatever the order of the parts. Rule: I-05"""
    bench = Bench()
    bench.sink_failure = OSError(errno.ENOSPC, "No space left on device")
    bench.sink_fail_at = stage
    parts = [(ROOT_LINES, deposit()), (DOC_LINES, b"x"), (["Content-ID: <more>"], b"y")]
    received = bench.post(multipart(parts if first == "root" else parts[::-1]), CONTENT_TYPE)
    assert received.status == 200
    assert b"XDSRepositoryOutOfResources" in received.body
    assert {sink.state for sink in bench.sinks} == {"aborted"}
    assert len(bench.sinks) == 1


def test_another_error_of_a_sink_is_an_internal_error():
    """Rule: I-05"""
    bench = Bench()
    bench.sink_failure = OSError(errno.EIO, "disk broken")
    assert b"XDSRepositoryError" in bench.submit().body


def test_out_of_space_in_a_registry_has_its_own_code():
    """Rule: I-05"""
    bench = Bench()
    bench.fail = OSError(errno.ENOSPC, "full")
    assert b"XDSRegistryOutOfResources" in bench.post(envelope()).body


def test_a_service_with_too_much_to_do_says_so() -> None:
    """A lock that was not to be had in time is no failure of the service: repeat later.

    Rule: R-054
    """
    bench = Bench()
    bench.fail = TimeoutError("too many writers before this one")
    answer = bench.post(envelope()).body
    assert b"XDSRegistryBusy" in answer and b"writers" not in answer


def test_a_slow_sender_is_cut_off():
    """Attack: slow-body"""
    now = [0.0]

    def trickle(buffer):
        now[0] += 1.0
        return 10

    body = BodyReader(trickle, 1_000_000, Limits(body_idle=20, body_rate=4096), clock=lambda: now[0])
    with pytest.raises(HttpError) as caught:
        while body.read():
            pass
    assert caught.value.status == 408
    assert 20 < now[0] < 25


def test_a_silent_sender_is_a_timeout_and_a_broken_one_malformed():
    """Attack: slow-body"""
    for raised, status in ((TimeoutError(), 408), (OSError("reset"), 400), (ValueError("bad chunk"), 400)):
        def fails(buffer, raised=raised):
            raise raised
        with pytest.raises(HttpError) as caught:
            BodyReader(fails, 10, Limits()).read()
        assert caught.value.status == status


def test_never_more_is_read_than_announced():
    """What follows belongs to the next request. Attack: request-smuggling"""
    stream = io.BytesIO(envelope() + b"POST /next")
    size = len(envelope())
    values = {"REQUEST_METHOD": "POST", "PATH_INFO": PATH, "CONTENT_TYPE": "application/soap+xml",
              "CONTENT_LENGTH": str(size), "wsgi.input": stream}
    assert run(Bench().app, values).status == 200
    assert stream.read() == b"POST /next"


def test_get_shows_a_page_and_the_contract():
    """A person who opens the address learns what it is. Rule: I-01"""
    def describe(path, query):
        return ("text/xml", f"<wsdl {path} {query}/>".encode()) if "no" not in query else None

    bench = Bench(describe=describe, title="Test & registry")
    page = bench.post(b"", REQUEST_METHOD="GET")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    assert QUERY in page.body.decode() and SUBMIT in page.body.decode() and b"Test &amp; registry" in page.body
    assert bench.post(b"", REQUEST_METHOD="GET", QUERY_STRING="wsdl").body == f"<wsdl {PATH} wsdl/>".encode()
    assert bench.post(b"", REQUEST_METHOD="GET", QUERY_STRING="xsd=rim").headers["Content-Type"] == "text/xml"
    assert bench.post(b"", REQUEST_METHOD="GET", QUERY_STRING="xsd=no").status == 404
    assert Bench().post(b"", REQUEST_METHOD="GET", QUERY_STRING="wsdl").status == 404
    head = bench.post(b"", REQUEST_METHOD="HEAD")
    assert head.body == b"" and int(head.headers["Content-Length"]) == len(page.body)


def test_the_peer_comes_from_the_server_or_from_inside_the_process():
    """A header cannot pretend to be the in-process key. Attack: peer-spoofing"""
    bench = Bench()
    bench.post(envelope(), HTTP_CARNET_PEER="evil")
    inside = Peer(address="local", certificate=b"der")
    bench.post(envelope(), **{"carnet.peer": inside})
    assert [exchange.peer for exchange in bench.exchanges] == [Peer(address="192.0.2.1"), inside]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([
    envelope(), deposit(), b"--MIMEboundary\r\n", b"\r\n", b"Content-ID: <root@here>", b"Content-ID: <doc@here>",
    b"\r\n--MIMEboundary--", b"<x/>",
]), max_size=10).map(b"".join)), st.sampled_from([CONTENT_TYPE, "application/soap+xml", "multipart/related", "x/y"]))
def test_every_request_gets_an_answer_with_a_trace_id(body, content_type):
    """Attack: fuzz"""
    received = Bench().post(body, content_type)
    assert received.status in (200, 400, 413, 415, 500)
    assert received.body and received.headers["X-Trace-Id"]


def test_no_answer_leaves_before_somebody_has_accepted_the_credential():
    """Not the answer and not a refusal of a transaction that asks another service: unless that one has vouched.

    Step: g
    """
    bench = Bench(asks_another=True)
    bench.refused_caller = security_fault(FAILED_AUTHENTICATION, "nobody", "g")
    assert b"FailedAuthentication" in bench.post(envelope()).body and len(bench.exchanges) == 1
    for failure in (Refused([]), RuntimeError("unforeseen")):
        bench.fail = failure
        answer = bench.post(envelope()).body
        assert b"FailedAuthentication" in answer and b"refused" not in answer
    bench.fail, bench.vouched = None, True
    assert b"<answer" in bench.post(envelope()).body
