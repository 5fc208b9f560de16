"""Signed submission sets at deposit: what is accepted, what is refused, and with which words.

Rule: R-170, R-171, R-172, R-173, R-174, R-175, R-176, R-177, R-178, R-179, R-180
"""

from __future__ import annotations

import hashlib

import pytest

from conformance import frames, signing
from conformance.client import Outcome, bytes_part
from tests.world import World
from xds.domain import load
from xds.model import Submission

DMP = load("dmp")


class Signing:
    """A set of documents on its way, signed or not, to be spoiled before it goes."""

    def __init__(self, world: World, who: str = "physician", documents: int = 2) -> None:
        self.world, self.who = world, who
        self.submission: Submission = frames.valid_submission("dmp", documents=documents, patient_id=world.patient())
        self.submission.submission_set.submission_time = signing.dt.dtm_text(signing.datetime.now(signing.UTC))
        self.documents = {
            entry.entry_uuid: frames.content(n) for n, entry in enumerate(self.submission.entries, 1)
        }

    def sign(self, **changes: object) -> Signing:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in self.documents.items()}
        card = self.world.cards[self.who]
        self.documents[signing.ENTRY] = signing.sign(self.submission, card, DMP, digests, **changes)  # type: ignore[arg-type]
        return self

    def replace_signature(self, data: bytes) -> Signing:
        """Other bytes as the signature document, whose entry tells their hash and size."""
        entry = self.submission.entries[-1]
        entry.hash, entry.size = hashlib.sha1(data).hexdigest(), len(data)
        self.documents[signing.ENTRY] = data
        return self

    def send(self, *, first: tuple[str, ...] = ()) -> Outcome:
        order = [*first, *(name for name in self.documents if name not in first)]
        parts = [(name, bytes_part(self.documents[name], f"{name}@test", "text/xml")) for name in order]
        return self.world.client(self.who).provide(self.submission, parts)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("signed")).serve_here()


def errors(outcome: Outcome) -> list[str]:
    return [f"{e.code}: {e.context}" for e in outcome.errors]


@pytest.mark.parametrize("who", ["physician", "laboratory"])
@pytest.mark.parametrize("first", [(), (signing.ENTRY,)])
def test_a_signed_set_is_accepted(world: World, who: str, first: tuple[str, ...]) -> None:
    """By a person's card and by a structure's, the signature first or last."""
    assert errors(Signing(world, who).sign().send(first=first)) == []
