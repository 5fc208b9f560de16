"""Whatever an update request says, it is taken apart without an exception, and every operation is one or a finding."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.version_change import actions_of, compare
from tests import metadata_strategies as ms
from xds import domain
from xds import namespaces as ns
from xds.check.update import plan_update
from xds.errors import has_errors
from xds.model import Association, DocumentEntry, Folder, Submission, SubmissionSet

DMP = domain.load("dmp")
ids = st.sampled_from(["set", "d1", "f1", "a1", "a2", "", "urn:uuid:00000000-0000-4000-8000-000000000001"])
types = st.sampled_from([ns.HAS_MEMBER, ns.RPLC, ns.APND, *ns.METADATA_UPDATE_ASSOCIATIONS, "urn:x", ""])
NAMES = ("PreviousVersion", "SubmissionSetStatus", "AssociationPropagation", "OriginalStatus", "NewStatus")
VALUES = ("1", "0", "yes", "no", "Original", ns.APPROVED, ns.DEPRECATED, ns.DELETED, "")
slots = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(VALUES), max_size=2))
associations = st.lists(
    st.builds(Association, entry_uuid=st.sampled_from(["a1", "a2", "a3"]), type=types, source=ids, target=ids,
              slots=slots),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(associations, ms.entries, ids, st.booleans())
def test_any_request_is_taken_apart(links: list[Association], entry: DocumentEntry, lid: str, restricted: bool) -> None:
    """No exception; a plan without a finding does something. Rule: R-140, R-146, R-147, R-148"""
    entry.entry_uuid, entry.logical_id = "d1", lid
    folder = Folder(entry_uuid="f1", logical_id=lid)
    submission = Submission(SubmissionSet(entry_uuid="set"), [entry], [folder], links)
    plan, findings = plan_update(submission, DMP, restricted=restricted)
    assert has_errors(findings)
    assert all(f.clause and f.rule for f in findings)
    assert len(plan.versions) + len(plan.statuses) + len(plan.additions) <= len(links)
    if restricted:
        assert not plan.statuses and not plan.additions


@settings(max_examples=200, deadline=None)
@given(ms.entries, ms.entries, st.booleans())
def test_a_change_always_needs_a_right(before: DocumentEntry, after: DocumentEntry, restricted: bool) -> None:
    """Also where nothing differs; what is compared never raises. Rule: L-08"""
    assert actions_of(before, after, DMP)
    assert actions_of(before, before, DMP) and not list(compare(before, before, "x", restricted=restricted))
    list(compare(before, after, "x", restricted=restricted))
