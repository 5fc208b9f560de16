"""A submission on its way from a repository to its registry: as received, with what the repository sets.

Why not written anew from the model: the registry judges the metadata, so it must see them as the source sent them, with
what a model cannot carry. Else a fault of form would be the repository's to report, alone and under another code.

Clause: ITI TF-2 3.41.4.1.3
"""

from __future__ import annotations

from collections.abc import Mapping

from lxml import etree

from xds.ebxml.tree import children, reference, rim

FILLED = frozenset({"hash", "size", "repositoryUniqueId"})
"""The slots of a DocumentEntry that a repository sets."""


def completed(request: etree._Element, values: Mapping[str, Mapping[str, str]]) -> bytes:
    """``lcm:SubmitObjectsRequest`` with these slots (entry id -> slot name -> value) set; the tree is changed.

    Slots of these names are replaced; nothing else of the request changes.
    """
    for entry in request.iter(rim("ExtrinsicObject")):
        given = values.get(reference(entry.get("id")), {})
        for slot in list(children(entry, rim("Slot"))):
            if (slot.get("name") or "").strip() in given:
                entry.remove(slot)
        for name, value in given.items():
            slot = etree.Element(rim("Slot"), name=name)
            etree.SubElement(etree.SubElement(slot, rim("ValueList")), rim("Value")).text = value
            entry.insert(0, slot)
    return etree.tostring(request, encoding="UTF-8", xml_declaration=False, with_tail=False)
