"""The hardened parse."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.limits import Limits
from xds.wire.faults import SENDER, SoapFault
from xds.wire.xml import escape_attribute, escape_text, parse

ATTACKS = {
    "empty-doctype": b"<!DOCTYPE a><a/>",
    "internal-subset": b'<?xml version="1.0"?><!DOCTYPE a [<!ELEMENT a ANY>]><a/>',
    "billion-laughs": (
        b'<!DOCTYPE a [<!ENTITY b "hahahaha">' + b"".join(
            b'<!ENTITY %c "%s">' % (99 + n, b"&%c;" % (98 + n) * 10) for n in range(9)
        ) + b"]><a>&k;</a>"
    ),
    "quadratic-entity": b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 50000 + b'">]><a>' + b"&b;" * 5000 + b"</a>",
    "external-entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "parameter-entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]><a/>',
    "external-dtd": b'<!-- c --><?p?>\n<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
    "lower-case-doctype": b"<!doctype a><a/>",
    "undefined-entity": b"<a>&nbsp;</a>",
    "deep-nesting": b"<a>" * 5000 + b"</a>" * 5000,
    "instruction": b"<a><?run me?></a>",
    "instruction-before": b'<?xml-stylesheet href="x"?><a/>',
    "instruction-after": b"<a/><?x y?>",
    "utf-16": "<a/>".encode("utf-16"),
    "utf-7-declared": b'<?xml version="1.0" encoding="utf-7"?><a/>',
    "latin-1-declared": b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>',
    "latin-1-bytes": b"<a>\xe9</a>",
    "two-roots": b"<a/><b/>", "cut-short": b"<a><b>", "nothing": b"", "blank": b" \n", "nul": b"<a>\0</a>",
    "bare-text": b"hello", "unbound-prefix": b"<x:a/>", "second-declaration": b'<a/><?xml version="1.0"?>',
    "unbound-prefix-excused": b'<x:a><b xmlns="relative"/></x:a>',
    "attribute-twice-excused": b'<a xmlns:p="urn:x" xmlns:q="urn:x" p:a="1" q:a="2"><b xmlns="relative"/></a>',
    "duplicate-attribute": b"<a b='1' b='2'/>", "endless-comment": b"<!-- <a/>", "bad-declaration": b"<?xml >",
}


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_xml_is_a_sender_fault(data):
    """Rule: T-12, C-24. Attack: entity-bomb, external-entity, deep-nesting, doctype, encoding-confusion

    Step: a
    """
    with pytest.raises(SoapFault) as caught:
        parse(data)
    assert caught.value.code == SENDER


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf<a/>", b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n<a/>',
             b"<?xml version='1.0'?><a/>", b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?><a/>"],
)
def test_byte_order_mark_and_declaration_are_tolerated(data):
    """Rule: T-12, C-24"""
    assert parse(data).tag == "a"


def test_words_that_only_look_dangerous_pass():
    """A DOCTYPE or an instruction inside CDATA is text."""
    root = parse(b"<a><![CDATA[<!DOCTYPE x><?php ?>]]></a>")
    assert root.text == "<!DOCTYPE x><?php ?>"


def test_comments_never_split_a_value():
    """Attack: comment-in-nameid"""
    assert parse(b"<!-- x --><a>adm<!-- y -->in</a>").text == "admin"


def test_instructions_are_allowed_for_documents_only():
    """A CDA document carries a stylesheet reference; it is dropped, and the text around stays whole."""
    data = b'<?xml version="1.0"?><?xml-stylesheet href="cda.xsl"?><a>x<?y?>z</a>'
    assert parse(data, allow_instructions=True).text == "xz"
    with pytest.raises(SoapFault):
        parse(data)
    with pytest.raises(SoapFault):
        parse(b"<!DOCTYPE a><a/>", allow_instructions=True)


def test_size_elements_and_attributes_are_bounded():
    """Attack: oversized-xml, element-flood, attribute-flood"""
    limits = Limits(xml_part=1 << 20, elements=1000)
    assert parse(b"<a>" + b"<b/>" * 900 + b"</a>", limits) is not None
    for data in (
        b"<a>" + b"<b/>" * 1001 + b"</a>", b"<a>" + b"x" * (1 << 20) + b"</a>",
        b"<a " + b" ".join(b'b%d=""' % n for n in range(4001)) + b"/>",
    ):
        with pytest.raises(SoapFault, match=r"larger|more than"):
            parse(data, limits)


def test_errors_tell_the_place_and_no_content():
    """Rule: R-001. No patient data in an answer."""
    with pytest.raises(SoapFault) as caught:
        parse(b"<patient>\n<name>DUPONT</nom></patient>")
    assert "line 2" in caught.value.reason
    assert "DUPONT" not in caught.value.reason + caught.value.detail
    assert "nom" not in caught.value.reason + caught.value.detail


@settings(max_examples=300, deadline=None)
@given(st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(
        [b"<", b">", b"/", b"a", b"<!", b"--", b"<?xml ", b"?>", b"<![CDATA[", b"]]>", b"&", b";", b"='", b'"', b" ",
         b"\xef\xbb\xbf"]
    ), max_size=30).map(b"".join),
))
def test_random_bytes_parse_or_fault(data):
    """Attack: fuzz"""
    with contextlib.suppress(SoapFault):
        assert isinstance(parse(data).tag, str)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_escaped_text_reads_back(text):
    """Whatever a peer sent can be quoted in an answer. Attack: markup-injection"""
    root = parse(f'<a b="{escape_attribute(text)}">{escape_text(text)}</a>'.encode("utf-8", "replace"))
    legal = "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
    assert (root.text or "") == legal
    assert root.get("b") == legal
