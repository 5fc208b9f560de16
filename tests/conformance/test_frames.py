"""The builders give valid submissions, so that what a test spoils is the only fault."""

from __future__ import annotations

import hashlib

import pytest

from conformance import frames
from xds import namespaces as ns
from xds.check.submission import check_submission
from xds.domain import load
from xds.errors import Actor, Finding
from xds.model import Code, Submission

DOMAINS = ("connectathon", "dmp")


def findings(submission: Submission, domain: str) -> list[Finding]:
    for entry in submission.entries:
        entry.repository_unique_id = entry.repository_unique_id or "1.2.3"
    return check_submission(submission, load(domain), Actor.REGISTRY, stage="ITI-42")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("folder", [False, True])
def test_submissions_are_valid(domain: str, folder: bool) -> None:
    """Documents, alone and in a folder, pass every check of their domain."""
    assert findings(frames.valid_submission(domain, documents=2, folder=folder), domain) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_replacement_is_valid(domain: str) -> None:
    """So does a replacement of a stored document."""
    submission = frames.valid_replacement(frames.new_uuid(), domain)
    assert [a.type for a in submission.associations] == [ns.HAS_MEMBER, ns.RPLC]
    assert findings(submission, domain) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_change_is_the_only_fault(domain: str) -> None:
    """A wrong code gives one finding, of its rule.

    Rule: R-024
    """
    submission = frames.valid_submission(domain, type_code=Code("none", "1.2.3", "none"))
    assert [f.rule for f in findings(submission, domain)] == ["R-024"]


def test_contents_fit_their_entries() -> None:
    """Hash and size are those of the bytes; ids are new each time."""
    submission = frames.valid_submission(documents=3)
    for number, entry in enumerate(submission.entries, 1):
        data = frames.content(number)
        assert (entry.hash, entry.size) == (hashlib.sha1(data).hexdigest(), len(data))
    assert frames.valid_entry().unique_id != frames.valid_entry().unique_id


def test_patient_of_choice() -> None:
    """One patient for the whole submission."""
    patient = frames.a_patient_id("dmp", "151119999900296")
    submission = frames.valid_submission("dmp", patient_id=patient, folder=True)
    assert patient == "151119999900296^^^&1.2.250.1.213.1.4.10&ISO^NH"
    assert {o.patient_id for o in (submission.submission_set, *submission.entries, *submission.folders)} == {patient}
