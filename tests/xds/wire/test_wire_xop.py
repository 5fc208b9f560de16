"""Where the bytes of a Document element are."""

from __future__ import annotations

import base64
import contextlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import Sink

from xds.namespaces import XOP
from xds.wire.exchange import Part
from xds.wire.faults import SENDER, SoapFault
from xds.wire.mime import normal_content_id
from xds.wire.xml import parse
from xds.wire.xop import UnresolvedInclude, decode_inline, include, receive_document, resolve_document


def exchange(*content_ids: str):
    """An exchange with one part per raw Content-ID header value."""
    names = [normal_content_id(c) for c in content_ids]
    return SimpleNamespace(parts={n: Part(n, "a/b", Sink(), raw) for n, raw in zip(names, content_ids, strict=True)})


def document(inside: str):
    return parse(f'<d xmlns:x="{XOP}">{inside}</d>'.encode())


def at(href: str) -> str:
    return f'<x:Include href="{href}"/>'


@pytest.mark.parametrize(
    "content_id, href",
    [
        ("<a@b>", "cid:a@b"), ("<a@b>", "cid:a%40b"), ("<a%40b>", "cid:a%40b"), ("<a%40b>", "cid:a@b"),
        ("<a%40b>", "cid:a%2540b"), ("<http://tempuri.org/1>", "cid:http%3A%2F%2Ftempuri.org%2F1"),
        ("<http://tempuri.org/1>", "cid:http://tempuri.org/1"), ("a@b", "cid:a@b"), ("<a@b>", "cid:&lt;a@b&gt;"),
        ("<a@b>", "cid:%3Ca@b%3E"), ("<A@B>", "cid:a@b"), ("<a+b@c>", "cid:a+b@c"), ("<a@b>", "CID:a@b"),
    ],
)
def test_references_meet_content_ids_in_every_spelling(content_id, href):
    """Rule: M-07, I-07, C-25"""
    assert resolve_document(document(at(href)), exchange("<other@x>", content_id)).received == content_id


def test_case_is_tolerated_only_when_one_part_fits():
    """Rule: M-07"""
    with pytest.raises(UnresolvedInclude):
        resolve_document(document(at("cid:a@b")), exchange("<A@b>", "<a@B>"))
    assert resolve_document(document(at("cid:a@b")), exchange("<A@b>", "<a@b>")).received == "<a@b>"


@pytest.mark.parametrize("href", ["cid:c@d", "cid:", "a@b", "", "http://x/a@b", "file:///etc/passwd", "#a"])
def test_an_unresolved_reference_is_refused(href):
    """Rule: M-11. Attack: include-elsewhere"""
    with pytest.raises(UnresolvedInclude) as caught:
        resolve_document(document(at(href)), exchange("<a@b>"))
    assert caught.value.code == SENDER


def test_white_space_around_an_include_is_tolerated():
    """Rule: M-08"""
    assert resolve_document(document(f"\n  {at('cid:a@b')}\t"), exchange("<a@b>")).received == "<a@b>"


@pytest.mark.parametrize("inside", [at("cid:a@b") * 2, f"QUJD{at('cid:a@b')}", f"{at('cid:a@b')}QUJD", "<other/>",
                                    '<x:Include href="cid:a@b"><y/></x:Include>'])
def test_anything_beside_an_include_is_refused(inside):
    """Rule: M-08"""
    with pytest.raises(SoapFault):
        resolve_document(document(inside), exchange("<a@b>"))


@pytest.mark.parametrize(
    "text, data", [("QUJD", b"ABC"), (" Q U\r\nJ\tD\n", b"ABC"), ("QQ==", b"A"), ("", b""), (" \n", b"")]
)
def test_inline_base64_is_decoded(text, data):
    """Rule: M-06, M-09, M-12"""
    assert b"".join(resolve_document(document(text), exchange())) == data


@pytest.mark.parametrize(
    "text", ["QUJ", "QUJD!", "QQ==QUJD", "QQ=", "=", "Q=Q=", "QUJD-_AA", "é", "QUJD\u00a0", "Q" * 300000]
)
def test_what_is_not_base64_is_refused(text):
    """Strict on alphabet and padding. Rule: M-09"""
    if len(text) > 1000:
        text += "="
    with pytest.raises(SoapFault, match="base64"):
        b"".join(decode_inline(text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=600), st.integers(1, 90))
def test_inline_base64_of_any_bytes_comes_back(data, width):
    """Rule: M-09"""
    text = base64.b64encode(data).decode()
    broken = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    assert b"".join(decode_inline(broken)) == data


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("QUJD=+/- \n\té"), max_size=40))
def test_random_text_decodes_or_faults(text):
    """Attack: fuzz"""
    with contextlib.suppress(SoapFault):
        b"".join(decode_inline(text))


def test_inline_bytes_over_many_slices():
    """Rule: M-09"""
    data = bytes(range(256)) * 4000
    text = base64.encodebytes(data).decode()
    assert b"".join(decode_inline(text)) == data


def test_padding_at_the_border_of_a_slice_still_ends_the_text():
    """Rule: M-09"""
    with pytest.raises(SoapFault):
        b"".join(decode_inline("Q" * ((1 << 18) - 2) + "==" + "QUJD"))


def test_receive_document_gives_inline_bytes_a_part_of_their_own():
    """The part joins the exchange, so it is dropped with the others when nobody claims it. Rule: M-06"""
    here = exchange("<a@b>")
    assert receive_document(document(at("cid:a@b")), here, Sink).received == "<a@b>"
    part = receive_document(document("QUJD"), here, Sink)
    assert part.received == b"ABC" and part in here.parts.values()


def test_receive_document_drops_bytes_that_fail_half_way():
    """Rule: M-09"""
    sink = Sink()
    with pytest.raises(SoapFault):
        receive_document(document("Q" * (1 << 19) + "!"), exchange(), lambda: sink)
    assert sink.state == "aborted"


def test_an_include_of_ours_resolves():
    """Rule: M-07, M-16"""
    for name in ("a@b", "x&y@z", "a b@c", 'q"@x', "é@x"):
        element = parse(b"<d>" + include(name) + b"</d>")
        assert resolve_document(element, exchange(name)).content_id == name
