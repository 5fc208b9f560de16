"""What a repository passes on is what its source wrote, but for the slots it sets."""

from __future__ import annotations

import copy

import metadata_messages as w
import pytest
from lxml import etree
from metadata_spoils import DE

from xds.ebxml.completion import FILLED, completed
from xds.namespaces import LCM

VALUES = {"hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "size": "0", "repositoryUniqueId": "1.2.3"}


def without_filled(root: etree._Element) -> bytes:
    for slot in [s for s in root.iter(w.rim("Slot")) if s.get("name") in FILLED]:
        w.drop(slot)
    for element in root.iter("{*}*"):
        element.tail = None
        element.text = element.text if len(element) == 0 else None
    etree.cleanup_namespaces(root)
    return etree.tostring(root, method="c14n", exclusive=True)


@pytest.mark.parametrize("given", [{}, {"hash": ["old"], "size": ["7", "8"], " repositoryUniqueId": ["1.9"]}])
def test_only_what_the_repository_sets_changes(given: dict[str, list[str]]) -> None:
    """Also where the source has said something else; other objects, other slots and what nobody knows stay.

    Rule: R-046, R-047
    """
    request = next(w.message("iti41/deposit").iter(f"{{{LCM}}}SubmitObjectsRequest"))
    for name, values in given.items():
        w.set_slot(request, DE, name, *values)
    w.set_slot(request, "document01-author", "urn:x:unknown", "é & <kept>")
    before = copy.deepcopy(request)
    after = etree.fromstring(completed(request, {DE: VALUES}))
    found = {
        (s.get("name") or "").strip(): ["".join(v.itertext()) for v in s.iter(w.rim("Value"))]
        for s in w.by_id(after, DE).iterchildren(w.rim("Slot"))
    }
    assert {name: found[name] for name in VALUES} == {name: [value] for name, value in VALUES.items()}
    for slot in [s for s in before.iter(w.rim("Slot")) if (s.get("name") or "").strip() in FILLED]:
        w.drop(slot)
    assert without_filled(after) == without_filled(before)
