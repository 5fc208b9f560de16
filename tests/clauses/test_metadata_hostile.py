"""Submissions mutated at random: the reader and the checks never raise, and whatever they say can be acted on."""

from __future__ import annotations

import copy

import metadata_messages as w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from metadata_spoils import DEPOSIT, FOLDER

from xds.check import Stage
from xds.errors import Actor
from xds.rules import CLAUSES

VALUES = st.sampled_from([
    "", " ", "urn:uuid:", "urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1", "Document01", "SubmissionSet01", "Folder01",
    "^", "^^^&&", "a^b^c^d^e^f", "|", "||||", "~", "\\", "\\S\\", "PID-|", "PID-3|~~", "1|a", "2|b", "9" * 40, "-1",
    "٣", "2026023", "20260230", "x" * 5000, "\U0001f600", "urn:ihe:iti:xds:2013:referenceIdList", "Original",
    "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", "urn:ihe:iti:2007:AssociationType:RPLC",
]) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
STEP = st.tuples(st.sampled_from(["drop", "twin", "move", "attribute", "remove", "text", "rename"]),
                 st.integers(0, 10_000), st.integers(0, 10_000), VALUES)


def mutate(root: etree._Element, kind: str, where: int, other: int, value: str) -> None:
    """One change somewhere below the root."""
    elements = list(root.iterdescendants("{*}*"))
    if not elements:
        return
    one = elements[where % len(elements)]
    parent = one.getparent()
    assert parent is not None
    if kind == "drop":
        parent.remove(one)
    elif kind == "twin":
        parent.append(copy.deepcopy(one))
    elif kind == "move":
        target = elements[other % len(elements)]
        if one not in (target, *target.iterancestors()):
            target.append(one)
    elif kind == "text":
        one.text = value
    elif kind == "rename":
        one.tag = elements[other % len(elements)].tag
    elif one.attrib:
        name = sorted(one.attrib)[other % len(one.attrib)]
        if kind == "remove":
            del one.attrib[name]
        else:
            one.set(name, value)


@given(st.sampled_from([DEPOSIT, FOLDER]), st.lists(STEP, min_size=1, max_size=8))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_nothing_a_sender_writes_raises(name: str, steps: list[tuple[str, int, int, str]]) -> None:
    """Each finding has an object, words of what was expected, a rule and its clause, and is bounded.

    Rule: A-8
    """
    root = w.message(name)
    for step in steps:
        mutate(root, *step)
    for actor, stage in ((Actor.REGISTRY, Stage.REGISTER), (Actor.REPOSITORY, Stage.PROVIDE)):
        for finding in w.findings(root, actor, stage):
            assert finding.rule in CLAUSES and finding.clause.startswith("ITI TF-") and finding.expected
            assert finding.subject and len(finding.context()) < 1500
