"""Stored forms of identifiers and URNs are reversible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.words import bare, long, short, urn
from xds import namespaces as ns


@given(st.text() | st.uuids().map(lambda one: one.urn) | st.sampled_from(["", "=", "urn:uuid:", "URN:UUID:A", "=x"]))
def test_an_identifier_comes_back_in_lower_case(text: str) -> None:
    """Whatever it is, and two different ones never share a stored form."""
    assert urn(bare(text)) == text.lower()


def test_a_urn_comes_back() -> None:
    """Statuses, types and anything else that was sent in their place."""
    for text in (ns.APPROVED, ns.DEPRECATED, ns.STABLE, ns.ON_DEMAND, ns.HAS_MEMBER, ns.IS_SNAPSHOT_OF, "urn:x", ""):
        assert long(short(text)) == text
    assert len(short(ns.APPROVED)) < 12
