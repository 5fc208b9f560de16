"""Metadata as JSON text."""

from __future__ import annotations

import json

import metadata_strategies as ms
import pytest
from hypothesis import HealthCheck, given, settings

from xds.model import DocumentEntry, RegistryObject
from xds.model.json import decode, encode


@given(ms.objects)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
def test_an_object_comes_back(obj: RegistryObject) -> None:
    """Lossless for every kind; one line of text."""
    text = encode(obj)
    assert decode(obj.kind, text) == obj
    assert "\n" not in text


def test_empty_values_are_left_out() -> None:
    """An entry with nothing but its id is nothing but its id; size 0 is a value."""
    assert encode(DocumentEntry(entry_uuid="x")) == '{"id":"x"}'
    assert decode("DocumentEntry", encode(DocumentEntry(entry_uuid="x", size=0))).size == 0


def test_what_stands_beside_is_left_out() -> None:
    """As if it were empty, also what is not written as plain text."""
    entry = DocumentEntry(entry_uuid="x", version=2, size=3, object_type="urn:uuid:y", hash="h", mime_type="text/xml")
    assert encode(entry, without=("entry_uuid", "version", "size", "object_type", "hash")) == '{"mt":"text/xml"}'
    assert entry.size == 3


def test_objects_decoded_twice_share_no_lists() -> None:
    """Changing one decoded entry leaves the other alone."""
    text = encode(DocumentEntry(entry_uuid="x"))
    one, two = decode("DocumentEntry", text), decode("DocumentEntry", text)
    one.uri.append("a")
    one.extra_slots["b"] = []
    assert (two.uri, two.extra_slots) == ([], {})


def test_keys_of_a_later_version_are_ignored() -> None:
    """A key that is not known does not stop an older reader."""
    assert decode("Folder", json.dumps({"id": "f", "zz": 1})).entry_uuid == "f"


@pytest.mark.parametrize("kind", ["", "Document", "documententry"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    """KeyError for anything that is not one of the four kinds."""
    with pytest.raises(KeyError):
        decode(kind, "{}")
