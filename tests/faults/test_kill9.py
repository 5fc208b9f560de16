"""kill -9 of either service at any moment of a deposit: what was acknowledged is whole, nothing is ever half there."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.live import Live, Service, a_document, provide, served, submission_of
from tests.world import codes, unique_ids
from xds.model import Submission
from xds.wire.client import BadAnswer, PeerUnreachable

CLIENTS = 4
SIZES = (300, 3_000, 60_000, 400_000, 3_000_000)
A_FEW = 150
"""Deposits for one patient, about: enough to hold them all in one answer."""
FORMS = ("worker",) * 6 + ("group",) * 3 + ("master",)
ACKNOWLEDGED, NOTHING_DONE, UNKNOWN = "acknowledged", "nothing done", "outcome unknown"


@dataclass
class Sent:
    """One deposit and what its sender was told."""

    submission: Submission
    data: bytes
    told: str

    @property
    def unique_id(self) -> str:
        return self.submission.entries[0].unique_id


@dataclass
class Campaign:
    """Clients that deposit without pause, and a killer."""

    live: Live
    seed: int
    sent: list[Sent] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, kills: int) -> None:
        chance = random.Random(self.seed)
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(self._client, random.Random(f"{self.seed} {n}")) for n in range(CLIENTS)]
            try:
                for _ in range(kills):
                    time.sleep(chance.uniform(0, 0.25))
                    service, form = chance.choice(list(self.live.services.values())), chance.choice(FORMS)
                    _kill(service, form)
                    self.kills[f"{service.name} {form}"] += 1
                    self.live.wait_ready()
                self._settle(kills)
            finally:
                self.over.set()
            for each in running:
                each.result()

    def _settle(self, kills: int) -> None:
        """On a busy machine the last kill comes before much was acknowledged: go on until there is enough to judge."""
        last = time.monotonic() + 60
        while sum(s.told == ACKNOWLEDGED for s in list(self.sent)) <= kills and time.monotonic() < last:
            time.sleep(0.2)

    def _client(self, chance: random.Random) -> None:
        client = self.live.client(timeout=40)
        patient_id = self.live.world.patient()
        while not self.over.is_set():
            if chance.random() < 1 / A_FEW:
                patient_id = self.live.world.patient()
            data = a_document(chance.choice(SIZES))
            submission = submission_of(data, patient_id)
            try:
                outcome = provide(client, submission, data)
            except PeerUnreachable as error:
                told = UNKNOWN if error.sent else NOTHING_DONE
                time.sleep(0.1)
            except BadAnswer:
                told = UNKNOWN
            else:
                told = ACKNOWLEDGED if outcome.is_success else self._refused(outcome)
            self.sent.append(Sent(submission, data, told))

    def _refused(self, outcome: object) -> str:
        """Only a registry that cannot be reached is a reason to refuse here."""
        texts = [e.context for e in outcome.errors]  # type: ignore[attr-defined]
        if codes(outcome) != {"XDSRegistryNotAvailable"}:  # type: ignore[arg-type]
            self.unexpected += texts
        return UNKNOWN if "outcome is unknown" in texts[0] else NOTHING_DONE

    def found(self) -> set[str]:
        """uniqueIds that FindDocuments shows, of every patient of the campaign."""
        seen: list[str] = []
        for patient_id in {s.submission.submission_set.patient_id for s in self.sent}:
            seen += unique_ids(self.live.world.find(patient_id))
        assert len(seen) == len(set(seen)), "a document is shown twice"
        return set(seen)

    def verify(self) -> dict[str, int]:
        """Every claim of the requirement; returns counts for the report."""
        assert not self.unexpected, self.unexpected[:3]
        before = self.found()
        acknowledged = {s.unique_id for s in self.sent if s.told == ACKNOWLEDGED}
        nothing_done = {s.unique_id for s in self.sent if s.told == NOTHING_DONE}
        assert acknowledged <= before, "acknowledged, not found"
        assert not nothing_done & before, "found, though its sender was told that nothing was stored"
        self._retrieve_all(before)
        report = self.live.check("--full")
        assert report["agree"], report
        self.live.assert_agreement()
        assert self.found() == before, "the sweep changed what is visible"
        self._retrieve_all(before)
        self._logged(acknowledged)
        self._repeat(before)
        after = self.live.assert_agreement()
        assert after["entries"] == after["documents"] == len(self.sent)
        return {
            **Counter(s.told for s in self.sent),
            "unanswered but stored": len(before - acknowledged),
            "leftovers swept": report["unfinished"] + report["orphans"],
        }

    def _retrieve_all(self, visible: set[str]) -> None:
        by_patient: dict[str, list[Sent]] = {}
        for each in self.sent:
            if each.unique_id in visible:
                by_patient.setdefault(each.submission.submission_set.patient_id, []).append(each)
        for patient_id, documents in by_patient.items():
            for start in range(0, len(documents), 20):
                some = documents[start : start + 20]
                outcome, items = self.live.world.read(patient_id, [s.unique_id for s in some])
                assert outcome.is_success, outcome.errors[:3]
                got = {item.unique_id: item.received for item in items}
                assert got == {s.unique_id: s.data for s in some}

    def _logged(self, acknowledged: set[str]) -> None:
        """Each acknowledged deposit has its line in the patient's access log."""
        logged = {
            document
            for patient_id in {s.submission.submission_set.patient_id for s in self.sent}
            for line in self.live.world.log_of(patient_id) if line.action == "deposit" and line.outcome == "success"
            for document in line.documents
        }
        assert acknowledged <= logged

    def _repeat(self, visible: set[str]) -> None:
        """A sender without an answer repeats: it is told the document is there, or it is stored now."""
        for each in (s for s in self.sent if s.told != ACKNOWLEDGED):
            outcome = provide(self.live.client(), each.submission, each.data)
            if each.unique_id in visible:
                assert codes(outcome) == {"XDSDuplicateUniqueIdInRegistry"}
            else:
                assert outcome.is_success, outcome
        assert self.found() == {s.unique_id for s in self.sent}


def _kill(service: Service, form: str) -> None:
    {"worker": service.kill_worker, "group": service.kill_group, "master": service.kill_master}[form]()


@pytest.fixture
def to_be_killed(tmp_path: Path) -> Iterator[Live]:
    with served(tmp_path / "data") as live:
        yield live


def _campaign(live: Live, kills: int) -> None:
    seed = int(os.environ.get("CARNET_SEED") or random.SystemRandom().randrange(10**9))
    print(f"CARNET_SEED={seed}")
    campaign = Campaign(live, seed)
    campaign.run(kills)
    counts = campaign.verify()
    print(f"{kills} kills {dict(campaign.kills)}; {len(campaign.sent)} deposits {counts}")
    assert counts[ACKNOWLEDGED] > kills


def test_ten_kills_at_random_moments(to_be_killed: Live) -> None:
    """Acknowledged means whole and findable, unacknowledged means absent or whole. Rule: A-1, A-2, A-3, A-5"""
    _campaign(to_be_killed, 10)


@pytest.mark.slow
def test_two_hundred_kills_at_random_moments(to_be_killed: Live) -> None:
    """The same, long enough to meet the rare moments. Rule: A-1, A-2, A-3, A-5"""
    _campaign(to_be_killed, 200)
