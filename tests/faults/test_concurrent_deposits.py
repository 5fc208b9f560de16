"""Many at once for one patient: serial in effect, nothing lost, and one winner where only one can be."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from conformance import frames
from conformance.client import Outcome
from tests.live import Live, a_document, provide, submission_of
from tests.world import codes, unique_ids
from xds.model import DocumentEntry, Submission
from xds.namespaces import APPROVED, DEPRECATED, RPLC

THREADS = 8


def all_at_once(live: Live, work: list[tuple[Submission, bytes]]) -> list[Outcome]:
    """Deposit each in a thread of its own, from one starting gun."""
    gate = threading.Barrier(len(work))

    def one(submission: Submission, data: bytes) -> Outcome:
        client = live.client(timeout=60)
        client.assertion(submission.submission_set.patient_id)
        gate.wait()
        return provide(client, submission, data)

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(lambda pair: one(*pair), work))


def test_one_of_eight_replacements_wins(apart: Live) -> None:
    """The others are told that the document is Deprecated. Rule: A-10, R-108"""
    for _ in range(3):
        first, outcome = apart.deposit(a_document())
        assert outcome.is_success
        patient_id = first.submission_set.patient_id
        stored = next(o for o in apart.world.find(patient_id).objects if isinstance(o, DocumentEntry))
        work = []
        for _ in range(THREADS):
            data = a_document()
            submission = submission_of(data, patient_id)
            link = frames.relationship(RPLC, submission.entries[0].entry_uuid, stored.entry_uuid)
            submission.associations.append(link)
            work.append((submission, data))
        outcomes = all_at_once(apart, work)
        told = Counter("Success" if o.is_success else ",".join(sorted(codes(o))) for o in outcomes)
        assert told == {"Success": 1, "XDSRegistryDeprecatedDocumentError": THREADS - 1}
        winner = next(s for (s, _), o in zip(work, outcomes, strict=True) if o.is_success)
        assert unique_ids(apart.world.find(patient_id, statuses=(APPROVED,))) == [winner.entries[0].unique_id]
        assert unique_ids(apart.world.find(patient_id, statuses=(DEPRECATED,))) == [stored.unique_id]
    apart.assert_agreement()


def test_deposits_for_one_patient_all_land(apart: Live) -> None:
    """Rule: A-1, A-3"""
    patient_id = apart.world.patient()
    sent = {}
    for _ in range(4):
        work = [(submission_of(data, patient_id), data) for data in (a_document(2_000) for _ in range(THREADS))]
        assert all(o.is_success for o in all_at_once(apart, work))
        sent |= {s.entries[0].unique_id: d for s, d in work}
    assert sorted(unique_ids(apart.world.find(patient_id))) == sorted(sent)
    _, items = apart.world.read(patient_id, list(sent))
    assert {i.unique_id: i.received for i in items} == sent
    lines = [line for line in apart.world.log_of(patient_id) if line.action == "deposit" and line.outcome == "success"]
    assert Counter(d for line in lines for d in line.documents) == dict.fromkeys(sent, 1)


def test_one_document_sent_eight_times_is_stored_once(apart: Live) -> None:
    """A repeat that crosses the first is refused as what it is. Rule: A-1, R-084"""
    data = a_document(2_000)
    patient_id = apart.world.patient()
    submission = submission_of(data, patient_id)
    outcomes = all_at_once(apart, [(submission, data)] * THREADS)
    told = Counter("Success" if o.is_success else ",".join(sorted(codes(o))) for o in outcomes)
    assert told == {"Success": 1, "XDSDuplicateUniqueIdInRegistry": THREADS - 1}
    assert unique_ids(apart.world.find(patient_id)) == [submission.entries[0].unique_id]
    assert apart.retrieve(submission) == data
    apart.assert_agreement()


def test_the_check_may_run_while_deposits_go_on(apart: Live) -> None:
    """It never takes a deposit under way for damage."""
    over = threading.Event()

    def deposit() -> int:
        count = 0
        patient_id = apart.world.patient()
        while not over.is_set():
            _, outcome = apart.deposit(a_document(20_000), patient_id)
            assert outcome.is_success
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(deposit) for _ in range(3)]
        try:
            for _ in range(2):
                report = apart.check("--full")
                assert report["agree"], report
        finally:
            over.set()
        assert sum(each.result() for each in running) > 0
