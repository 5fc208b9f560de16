"""What a merge means for documents: queries, submissions, the life cycle, retrieval and rights.

Clause: ITI TF-2 3.8.4.2.4
"""

from __future__ import annotations

import threading

import pytest

from conformance import frames
from guard.policy.facts import RecordStatus
from record.actor import RecordProblem, RecordRefused
from record.identity import Act, merge_identities
from record.lifecycle import close_record, open_record, reopen_record
from tests.direct import FIND_SUBMISSION_SETS, Desk, content
from tests.feed import Feed, adt, cx
from tests.world import OPERATOR, World, codes, unique_ids
from xds.check.query_params import quote, quote_list
from xds.model import Code, SubmissionSet
from xds.namespaces import APPROVED, DEPRECATED, RPLC


@pytest.fixture(scope="module")
def feed(plain: World) -> Feed:
    return Feed(plain)


def merged(feed: Feed) -> tuple[Desk, Desk]:
    """Two patients with a document, a folder and a set each, then one of them."""
    old, new = Desk(feed.world), Desk(feed.world)
    for desk in (old, new):
        desk.first = desk.new(folder=True)  # type: ignore[attr-defined]
    assert feed.merge(old.patient_id, new.patient_id).code == "AA"
    return old, new


def entry_of(desk: Desk) -> str:
    return str(desk.first.entries[0].entry_uuid)  # type: ignore[attr-defined]


def test_the_survivor_has_the_documents_of_both(feed: Feed) -> None:
    """Each is shown with the surviving identifier; what its source said about the patient is untouched. Rule: F-05"""
    old, new = merged(feed)
    found = feed.world.find(new.patient_id).objects
    mine = [d.first.entries[0] for d in (old, new)]  # type: ignore[attr-defined]
    assert {e.unique_id for e in found} == {e.unique_id for e in mine}
    assert {e.patient_id for e in found} == {new.patient_id}
    sources = {e.unique_id: (e.source_patient_id, e.source_patient_info) for e in mine}
    assert {e.unique_id: (e.source_patient_id, e.source_patient_info) for e in found} == sources
    assert {s.patient_id for s in new.sets() if isinstance(s, SubmissionSet)} == {new.patient_id}
    assert len(new.sets()) == 2
    folder = new.folder(old.first.folders[0].entry_uuid)  # type: ignore[attr-defined]
    assert folder.patient_id == new.patient_id
    assert len(new.associations(entry_of(old))) == 2


def test_the_subsumed_identifier_finds_nothing(feed: Feed) -> None:
    """Success without content, for documents and sets. Rule: F-13, E-17"""
    old, _ = merged(feed)
    assert feed.world.find(old.patient_id).objects == []
    assert feed.world.find(old.patient_id).outcome.is_success
    assert old.sets() == []


def test_the_subsumed_identifier_takes_nothing(feed: Feed) -> None:
    """ITI-42 and ITI-41 are refused as for an unknown patient, and nothing is stored. Rule: R-093"""
    old, new = merged(feed)
    errors = old.refused(old.submission())
    assert [e.code for e in errors] == ["XDSUnknownPatientId"]
    made = frames.valid_submission("connectathon", patient_id=old.patient_id)
    assert codes(feed.world.deposit(made)) == {"XDSUnknownPatientId"}
    new.new()


def test_the_life_cycle_goes_on_under_the_survivor(feed: Feed) -> None:
    """A document of the subsumed patient is replaced for the surviving one, and its folder takes the new one.

    Rule: F-05, R-100, R-103
    """
    old, new = merged(feed)
    later = new.register(new.related(RPLC, entry_of(old)))
    assert new.status(entry_of(old), later.entries[0].entry_uuid) == ["Deprecated", "Approved"]
    assert old.first.folders[0].entry_uuid in {a.source for a in new.associations(later.entries[0].entry_uuid)}  # type: ignore[attr-defined]


def test_identifiers_of_moved_objects_stay_taken(feed: Feed) -> None:
    """uniqueIds and entryUUIDs are found as before, by whoever asks. Rule: R-084, R-087, F-05"""
    old, new = merged(feed)
    again = new.submission()
    again.submission_set.unique_id = old.first.submission_set.unique_id  # type: ignore[attr-defined]
    assert [e.code for e in new.refused(again)] == ["XDSDuplicateUniqueIdInRegistry"]
    unique_id = old.first.entries[0].unique_id  # type: ignore[attr-defined]
    assert [e.patient_id for e in new.entries(unique_id)] == [new.patient_id]


def test_merges_form_a_chain(feed: Feed) -> None:
    """A into B, B into C: C has all, A and B nothing, and the way back is kept. Rule: F-12"""
    a, b, c = (Desk(feed.world) for _ in range(3))
    made = [desk.new().entries[0].unique_id for desk in (a, b, c)]
    assert [feed.merge(a.patient_id, b.patient_id).code, feed.merge(b.patient_id, c.patient_id).code] == ["AA", "AA"]
    assert set(unique_ids(feed.world.find(c.patient_id))) == set(made)
    assert unique_ids(feed.world.find(a.patient_id)) == unique_ids(feed.world.find(b.patient_id)) == []
    with feed.actor.database.read() as unit:
        record = unit.record.find(c.patient_id)
        chain = [one.patient_id for one in unit.record.merged_into(record.patient_key)]
    assert chain == [b.patient_id, a.patient_id]


def test_a_refused_merge_leaves_every_row_where_it_was(feed: Feed) -> None:
    """Not one table but the log has changed. Rule: F-08"""
    old, _ = merged(feed)
    other = Desk(feed.world)
    other.new()
    before = content(feed.world)
    assert feed.merge(old.patient_id, other.patient_id).code == "AE"
    assert feed.merge(other.patient_id, old.patient_id).code == "AE"
    assert content(feed.world) == before


def test_merges_at_the_same_time(feed: Feed) -> None:
    """A into B and B into A at once: one wins, one is refused, nothing is lost. Rule: F-14"""
    for _ in range(4):
        one, two = Desk(feed.world), Desk(feed.world)
        made = {desk.new().entries[0].unique_id for desk in (one, two)}
        answers = {}
        feeds = [Feed(feed.world), Feed(feed.world)]
        pairs = [(one.patient_id, two.patient_id), (two.patient_id, one.patient_id)]

        def run(number: int, feeds: list[Feed] = feeds, pairs: list = pairs, answers: dict = answers) -> None:
            answers[number] = feeds[number].merge(*pairs[number]).code

        threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers.values()) == ["AA", "AE"]
        survivor = pairs[0 if answers[0] == "AA" else 1][1]
        assert set(unique_ids(feed.world.find(survivor))) == made


# -- in the dmp ---------------------------------------------------------------------------------------------------


def test_masks_and_rights_go_with_the_documents(here: World) -> None:
    """After a merge the colleague sees no more than before, its author reads his own. Rule: F-21, F-05"""
    feed = Feed(here)
    old, new = here.patient(), here.patient()
    mask = here_mask(feed)
    hidden = frames.valid_submission("dmp", patient_id=old)
    hidden.entries[0].confidentiality_codes.append(mask)
    shown = frames.valid_submission("dmp", patient_id=old)
    for made in (hidden, shown):
        assert here.deposit(made).is_success
    assert feed.merge(old, new).code == "AA"
    plain_one, masked_one = shown.entries[0].unique_id, hidden.entries[0].unique_id
    assert unique_ids(here.find(new, "colleague")) == [plain_one]
    outcome, items = here.read(new, [masked_one], "colleague")
    assert not outcome.is_success and items == []
    outcome, items = here.read(new, [plain_one], "colleague")
    assert outcome.is_success and len(items) == 1
    outcome, items = here.read(old, [plain_one], "colleague")
    assert not outcome.is_success and items == []


def here_mask(feed: Feed) -> Code:
    key = min(feed.actor.domain.hidden_from_professionals)
    return feed.actor.domain.code("confidentiality_codes", key)


def test_objections_of_either_side_hold(here: World) -> None:
    """The stricter rule survives. Rule: F-21"""
    feed, act = Feed(here), Act(by=OPERATOR, event="operator")
    with feed.actor.database.write() as unit:
        for number, purpose in (("279059980000001", "bris_de_glace"), ("279059980000002", "centre_15")):
            open_record(unit, frames.a_patient_id("dmp", number), by=OPERATOR, consent="essai", check_key=False,
                        objected_purposes=frozenset({purpose}))
        pair = [frames.a_patient_id("dmp", n) for n in ("279059980000001", "279059980000002")]
        survivor = merge_identities(unit, feed.actor.domain, *pair, act)
        assert survivor.objected_purposes == {"bris_de_glace", "centre_15"}
        assert unit.record.find(pair[1]) == survivor


@pytest.mark.parametrize("closed", ["old", "new"])
def test_a_closed_record_takes_no_part(here: World, closed: str) -> None:
    """Merged into an open one it would be read again; and an open one does not vanish into it. Rule: F-21, F-10, F-11
    """
    feed = Feed(here)
    pair = {"old": here.patient(), "new": here.patient()}
    here.close(pair[closed])
    ack = feed.merge(pair["old"], pair["new"])
    assert ack.code == "AE" and "closed" in ack.text
    assert feed.status(pair[closed]) == "terminated"


def test_no_feed_makes_a_patient_known_where_consent_is_needed(here: World) -> None:
    """The record is opened by a person, with consent; an open one is acknowledged. Rule: F-23"""
    feed = Feed(here)
    unknown = here.patient(is_open=False)
    ack = feed.send(adt("A01", cx(unknown)))
    assert ack.code == "AE" and "consent" in ack.text and feed.status(unknown) == ""
    assert feed.send(adt("A01", cx(here.patient()))).code == "AA"
    closed = here.patient()
    here.close(closed)
    assert feed.send(adt("A01", cx(closed))).code == "AE" and feed.status(closed) == "terminated"


def test_a_merged_record_is_neither_opened_closed_nor_reopened(here: World) -> None:
    """It is gone for good; each act says where to go instead. Rule: F-08"""
    feed = Feed(here)
    old = here.patient()
    assert feed.merge(old, here.patient()).code == "AA"
    for act in (
        lambda unit: open_record(unit, old, by=OPERATOR, consent="essai", check_key=False),
        lambda unit: close_record(unit, old, by=OPERATOR, reason="essai"),
        lambda unit: reopen_record(unit, old, by=OPERATOR, consent="essai"),
    ):
        with (
            pytest.raises(RecordRefused, check=lambda e: e.problem is RecordProblem.SUBSUMED),
            feed.actor.database.write() as unit,
        ):
            act(unit)
    assert feed.status(old) == RecordStatus.SUBSUMED


def test_a_set_query_of_the_survivor_is_one_patients(feed: Feed) -> None:
    """LeafClass answers of moved and own objects together are of a single patient. Rule: F-05"""
    old, new = merged(feed)
    wanted = quote_list([entry_of(old), entry_of(new)])
    found = feed.world.client().query(
        "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4", [("$XDSDocumentEntryEntryUUID", [wanted])],
        patient_id=new.patient_id,
    )
    assert found.outcome.is_success and len(found.objects) == 2
    sets = feed.world.client().query(
        FIND_SUBMISSION_SETS,
        [("$XDSSubmissionSetPatientId", [quote(new.patient_id)]),
         ("$XDSSubmissionSetStatus", [quote_list([APPROVED, DEPRECATED])])],
        patient_id=new.patient_id,
    )
    assert len(sets.objects) == 2
