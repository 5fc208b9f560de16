"""The tokenizer of query parameters over arbitrary text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds.check.query_params import Kind, Param, Token, parse_params, quote, quote_list, tokenize
from xds.model.messages import AdhocQuery

SYNTAX = st.text(st.sampled_from("'(),^ \n12ab&;--%\\\""), max_size=30)


@given(st.text())
def test_a_quoted_string_comes_back(text: str) -> None:
    """quote, then tokenize, gives the string again.

    Rule: Q-03
    """
    assert tokenize(quote(text)) == [Token(text, quoted=True)]


@given(st.lists(st.text(), max_size=5))
def test_a_quoted_list_comes_back(texts: list[str]) -> None:
    """quote_list, then tokenize, gives the strings again, whatever commas and quotes they hold.

    Rule: Q-04, Q-16
    """
    assert [t.text for t in tokenize(quote_list(texts))] == texts


@given(SYNTAX | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but ValueError ever comes out, with a reason."""
    try:
        tokenize(text)
    except ValueError as error:
        assert str(error)


@given(st.lists(st.tuples(st.sampled_from(["$P", "$Q"]), st.lists(SYNTAX | st.text(), max_size=3)), max_size=4),
       st.sampled_from(list(Kind)), st.booleans(), st.booleans(), st.booleans())
def test_any_query_is_read_or_reported(
    slots: list[tuple[str, list[str]]], kind: Kind, required: bool, multiple: bool, and_slots: bool
) -> None:
    """parse_params never raises; a value and a finding exclude each other, and a required one has either."""
    spec = Param("$P", kind, required, multiple, and_slots)
    found, findings = parse_params(AdhocQuery("q", "LeafClass", slots), [spec])
    assert not (found and findings)
    assert found or findings or not required


@given(st.text(min_size=1, max_size=2000))
def test_a_finding_never_echoes_without_bound(text: str) -> None:
    """What is repeated to the sender is cut.

    Rule: Q-17
    """
    _, findings = parse_params(AdhocQuery("q", "LeafClass", [("$P", ["x" + text * 20])]), [Param("$P")])
    assert len(findings[0].found) <= 201
