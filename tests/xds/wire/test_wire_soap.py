"""Envelope, header blocks, addressing and fault messages."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import NS, QUERY, envelope

from xds.namespaces import SOAP11, SOAP12, WSA, WSA_ANONYMOUS, WSSE
from xds.wire.addressing import (
    FAULT_ACTION,
    SOAP_FAULT_ACTION,
    new_message_id,
    read_addressing,
    request_headers,
    response_headers,
)
from xds.wire.exchange import Endpoint
from xds.wire.faults import (
    ACTION_NOT_SUPPORTED,
    FAILED_AUTHENTICATION,
    HEADER_REQUIRED,
    INVALID_HEADER,
    MUST_UNDERSTAND,
    RECEIVER,
    SENDER,
    VERSION_MISMATCH,
    SoapFault,
)
from xds.wire.soap12 import open_envelope, read_fault, write_envelope, write_fault
from xds.wire.xml import parse

S = f'xmlns:s="{SOAP12}"'


def address(headers: str, action: str | None = QUERY, message_id: str = ""):
    """The addressing of a request with these extra headers."""
    return read_addressing(open_envelope(parse(envelope(action=action, headers=headers, message_id=message_id))).header)


def shaped(inside: str) -> bytes:
    return f'<s:Envelope {S}>{inside}</s:Envelope>'.encode()


def test_a_proper_envelope_is_taken_apart():
    """Rule: T-01"""
    opened = open_envelope(parse(envelope()))
    assert opened.body.tag == f"{{{NS}}}q"
    assert opened.security is None


@pytest.mark.parametrize(
    "inside",
    [
        "", "<s:Header/>", "<s:Header/><s:Body/>", "<s:Header/><s:Header/><s:Body><a/></s:Body>",
        "<s:Header/><s:Body><a/></s:Body><s:Body><a/></s:Body>", "<s:Header/><s:Body><a/><b/></s:Body>",
        "<s:Body><a/></s:Body><s:Header/>", "<s:Header/><s:Body><a/></s:Body><x/>",
        "<s:Header/><s:Body>text<a/></s:Body>", "<s:Header/><s:Body><a/>text</s:Body>", "<s:Header/><Body><a/></Body>",
    ],
)
def test_an_envelope_of_another_shape_is_refused(inside):
    """Rule: T-01. Attack: second-body"""
    with pytest.raises(SoapFault) as caught:
        open_envelope(parse(shaped(inside)))
    assert caught.value.code == SENDER


@pytest.mark.parametrize("namespace", [SOAP11, "urn:other"])
def test_another_soap_version_is_a_version_mismatch(namespace):
    """Rule: C-02, T-01"""
    with pytest.raises(SoapFault) as caught:
        open_envelope(parse(envelope(soap=namespace)))
    assert caught.value.code == VERSION_MISMATCH
    assert caught.value.http_status == 500
    answer = parse(b"".join(write_fault(caught.value, "t")))
    supported = answer.find(f"{{{SOAP12}}}Header/{{{SOAP12}}}Upgrade/{{{SOAP12}}}SupportedEnvelope")
    prefix, name = supported.get("qname").split(":")
    assert (supported.nsmap[prefix], name) == (SOAP12, "Envelope")


def test_no_envelope_at_all_is_a_sender_fault():
    """Rule: T-01"""
    with pytest.raises(SoapFault) as caught:
        open_envelope(parse(b"<a/>"))
    assert caught.value.code == SENDER


@pytest.mark.parametrize("value", ["1", "true", " true "])
def test_an_unknown_block_that_must_be_understood_is_refused(value):
    """The fault names every such block. Rule: T-09"""
    blocks = f'<u:A xmlns:u="urn:u?a&amp;b" s:mustUnderstand="{value}"/><B s:mustUnderstand="{value}"/>'
    with pytest.raises(SoapFault) as caught:
        open_envelope(parse(envelope(headers=blocks)))
    assert caught.value.code == MUST_UNDERSTAND
    answer = parse(b"".join(write_fault(caught.value, "t")))
    named = answer.findall(f"{{{SOAP12}}}Header/{{{SOAP12}}}NotUnderstood")
    assert [n.get("qname") for n in named] == ["n:A", "B"]
    assert named[0].nsmap["n"] == "urn:u?a&b"


@pytest.mark.parametrize(
    "block",
    [
        '<A xmlns="urn:u"/>', '<A xmlns="urn:u" s:mustUnderstand="0"/>', '<A xmlns="urn:u" s:mustUnderstand="false"/>',
        '<A xmlns="urn:u" s:mustUnderstand="1" s:role="urn:somebody-else"/>',
        f'<A xmlns="urn:u" s:mustUnderstand="1" s:role="{SOAP12}/role/none"/>',
        f'<w:Unknown xmlns:w="{WSA}" s:mustUnderstand="1"/>', f'<w:Security xmlns:w="{WSSE}" s:mustUnderstand="1"/>',
    ],
)
def test_blocks_known_optional_or_for_others_pass(block):
    """Rule: T-09, T-10"""
    assert open_envelope(parse(envelope(headers=block))).body is not None


@pytest.mark.parametrize("role", ["", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver"])
def test_security_addressed_to_us_is_found_and_only_once(role):
    """Rule: T-10. Attack: second-security-header"""
    block = f'<w:Security xmlns:w="{WSSE}" s:role="{role}"/>'
    other = f'<w:Security xmlns:w="{WSSE}" s:role="urn:other"/>'
    assert open_envelope(parse(envelope(headers=block + other))).security.get(f"{{{SOAP12}}}role") == role
    with pytest.raises(SoapFault):
        open_envelope(parse(envelope(headers=block * 2)))


def test_must_understand_takes_four_spellings_only():
    """Rule: T-09"""
    with pytest.raises(SoapFault, match="mustUnderstand"):
        open_envelope(parse(envelope(headers='<A s:mustUnderstand="yes"/>')))


def test_addressing_is_read():
    """Rule: T-03, T-04, T-05, T-06"""
    read = read_addressing(open_envelope(parse(envelope())).header)
    assert (read.action, read.message_id) == (QUERY, "urn:uuid:1")
    assert (read.to, read.reply_to) == ("https://here.example/x", Endpoint(WSA_ANONYMOUS))


def test_missing_message_id_to_and_reply_to_are_tolerated():
    """Rule: C-04, T-06"""
    root = parse(shaped(f'<s:Header><Action xmlns="{WSA}">{QUERY}</Action></s:Header><s:Body><a/></s:Body>'))
    read = read_addressing(open_envelope(root).header)
    assert read.action == QUERY
    assert read.message_id == read.to == ""
    assert read.reply_to is None and read.fault_to is None


@pytest.mark.parametrize("header", ["<s:Header/>", "", f'<s:Header><Action xmlns="{WSA}"> </Action></s:Header>'])
def test_a_missing_action_is_named(header):
    """Rule: T-03, C-04"""
    with pytest.raises(SoapFault) as caught:
        read_addressing(open_envelope(parse(shaped(f"{header}<s:Body><a/></s:Body>"))).header)
    assert (caught.value.code, caught.value.subcode) == (SENDER, HEADER_REQUIRED)


@pytest.mark.parametrize(
    "block", ["Action>urn:x</a:Action", "MessageID>urn:y</a:MessageID", "To>http://x/</a:To",
              f"ReplyTo><a:Address>{WSA_ANONYMOUS}</a:Address></a:ReplyTo"],
)
def test_a_repeated_header_is_refused(block):
    """Rule: T-07"""
    with pytest.raises(SoapFault) as caught:
        address(f"<a:{block}>", message_id="urn:uuid:1")
    assert caught.value.subcode == INVALID_HEADER


@pytest.mark.parametrize("action", [f" {QUERY}", f"{QUERY}\n", "urn:a<b/>", "urn:" + "x" * 3000])
def test_an_action_with_surroundings_is_refused(action):
    """Rule: T-03"""
    with pytest.raises(SoapFault) as caught:
        address("", action=action)
    assert caught.value.subcode == INVALID_HEADER


@pytest.mark.parametrize("message_id", ["no-scheme", "urn:with blank", "urn:uuid:" + "1" * 3000])
def test_a_message_id_that_is_no_iri_is_refused(message_id):
    """Rule: T-04"""
    with pytest.raises(SoapFault) as caught:
        address("", message_id=message_id)
    assert caught.value.subcode == INVALID_HEADER


def test_to_must_be_a_web_address():
    """Rule: T-05"""
    with pytest.raises(SoapFault) as caught:
        read_addressing(open_envelope(parse(envelope().replace(b"https://here.example/x", b"urn:here"))).header)
    assert caught.value.subcode == INVALID_HEADER


def test_reference_parameters_come_back_as_header_blocks():
    """Each with its mark, its namespaces and nothing else. Rule: T-08

    Clause: W3C WS-Addressing 1.0 SOAP Binding 3.3
    """
    inside = (
        '<a:Address>https://his.example/</a:Address><a:ReferenceParameters><p:Id xmlns:p="urn:p">7</p:Id> '
        "</a:ReferenceParameters>"
    )
    read = address(f"<a:FaultTo>{inside}</a:FaultTo>")
    headers = response_headers("urn:r", "urn:uuid:1", read.fault_to)
    back = open_envelope(parse(b"".join(write_envelope(headers, [b"<q/>"])))).header
    block = back.find("{urn:p}Id")
    assert (block.text, block.get(f"{{{WSA}}}IsReferenceParameter")) == ("7", "true")
    assert back.findtext(f"{{{WSA}}}To") == "https://his.example/"


@pytest.mark.parametrize(
    "inside",
    ["", f"<a:Address>{WSA_ANONYMOUS}</a:Address>" * 2, "<a:Address>here</a:Address>", "<a:Address> </a:Address>",
     f"<a:Address>{WSA_ANONYMOUS}</a:Address>" + "<a:ReferenceParameters/>" * 2,
     *(f"<a:Address>{WSA_ANONYMOUS}</a:Address><a:ReferenceParameters>{bad}</a:ReferenceParameters>"
       for bad in ("<a:To>https://x/</a:To>", "<s:Fault/>", f'<w:Security xmlns:w="{WSSE}"/>',
                   "<p>" + "x" * 4096 + "</p>"))],
)
def test_an_endpoint_needs_one_address(inside):
    """Rule: T-06"""
    with pytest.raises(SoapFault) as caught:
        address(f"<a:FaultTo>{inside}</a:FaultTo>")
    assert caught.value.subcode == INVALID_HEADER


def test_requests_and_answers_of_ours_satisfy_the_rules():
    """Rule: T-03, T-04, T-06, T-08, E-26, I-01"""
    message_id = new_message_id()
    headers = request_headers("urn:a&b", message_id, "https://x/")
    request = open_envelope(parse(b"".join(write_envelope(headers, [b"<q/>"]))))
    read = read_addressing(request.header)
    assert (read.action, read.message_id, read.reply_to) == ("urn:a&b", message_id, Endpoint(WSA_ANONYMOUS))
    assert request.header.find(f"{{{WSA}}}Action").get(f"{{{SOAP12}}}mustUnderstand") == "1"
    assert request.header.find(f"{{{WSA}}}ReplyTo").get(f"{{{SOAP12}}}mustUnderstand") is None
    answer = open_envelope(parse(b"".join(write_envelope(response_headers("urn:r", message_id), [b"<q/>"]))))
    back = read_addressing(answer.header)
    assert (back.action, back.relates_to) == ("urn:r", message_id)
    assert back.message_id.startswith("urn:uuid:")
    assert answer.header.find(f"{{{WSA}}}Action").get(f"{{{SOAP12}}}mustUnderstand") == "1"


@pytest.mark.parametrize(
    "fault, action",
    [
        (SoapFault(SENDER, "a <b> & c", subcode=ACTION_NOT_SUPPORTED, detail="secret"), FAULT_ACTION),
        (SoapFault(SENDER, "no", subcode=FAILED_AUTHENTICATION, detail="secret"), SOAP_FAULT_ACTION),
        (SoapFault(RECEIVER, "failed", detail="secret"), SOAP_FAULT_ACTION),
    ],
)
def test_a_fault_says_what_it_may_and_reads_back(fault, action):
    """Code, subcode, reason and trace id; never the detail meant for the log. Rule: I-04, T-08"""
    data = b"".join(write_fault(fault, "trace-1", "urn:uuid:7"))
    assert b"secret" not in data
    opened = open_envelope(parse(data))
    assert read_fault(opened.body) == (fault.code, fault.subcode, fault.reason, "trace-1")
    assert opened.body.find(f"{{{SOAP12}}}Reason/{{{SOAP12}}}Text").get(
        "{http://www.w3.org/XML/1998/namespace}lang"
    ) == "en"
    addressing = read_addressing(opened.header)
    assert (addressing.action, addressing.relates_to) == (action, "urn:uuid:7")


def test_a_body_that_is_no_fault_is_told_apart():
    """The client asks this of every answer."""
    assert read_fault(parse(b"<a/>")) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([
    "<s:Header>", "</s:Header>", "<s:Body>", "</s:Body>", "<a/>", "text", f'<w:Action xmlns:w="{WSA}">x</w:Action>',
    f'<w:ReplyTo xmlns:w="{WSA}"/>', '<b s:mustUnderstand="1"/>', '<b s:mustUnderstand=""/>', '<b s:role="x"/>',
]), max_size=12).map("".join))
def test_random_envelopes_open_or_fault(inside):
    """Attack: fuzz"""
    with contextlib.suppress(SoapFault):
        read_addressing(open_envelope(parse(shaped(inside))).header)
