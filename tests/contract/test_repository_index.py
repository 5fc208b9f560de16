"""The repository's index of held documents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guard.credentials.past import SignerProof
from repository.store import HeldDocument
from storage import SqlRepositoryDatabase

ONE = HeldDocument(
    key="a" * 32, unique_id="1.2.3^é", sha1="c" * 40, size=5_000_000_000, mime_type="text/xml",
    submission_unique_id="1.2.4", received_at=1_700_000_000.25,
)


def filled(repository: SqlRepositoryDatabase, *documents: HeldDocument) -> None:
    with repository.write() as unit:
        unit.documents.add(documents)


def test_documents_are_found_by_unique_id(repository: SqlRepositoryDatabase) -> None:
    """All that carry it, oldest first; sizes beyond 4 GB and part seconds are kept."""
    later = replace(ONE, key="b" * 32, received_at=ONE.received_at + 1, settled=True)
    filled(repository, later, replace(ONE, key="d" * 32, unique_id="1.2.5"), ONE)
    with repository.read() as unit:
        assert unit.documents.find(ONE.unique_id) == [ONE, later]
        assert unit.documents.find("1.2.3^e\u0301") == [ONE, later]
        assert unit.documents.find("1.2") == []
        assert [one.unique_id for one in unit.documents.every()] == [ONE.unique_id, ONE.unique_id, "1.2.5"]
        assert list(unit.documents.keys()) == [letter * 32 for letter in "abd"]


def test_a_key_is_taken_once(repository: SqlRepositoryDatabase) -> None:
    """The unit that brings it again leaves nothing."""
    filled(repository, ONE)
    with pytest.raises(KeyError), repository.write() as unit:
        unit.documents.add([replace(ONE, key="b" * 32), ONE])
    with repository.read() as unit:
        assert list(unit.documents.every()) == [ONE]


def test_what_the_registry_confirmed_is_settled(repository: SqlRepositoryDatabase) -> None:
    """Only rows that are old enough and not settled are offered to the sweeper, oldest first."""
    rows = [replace(ONE, key=f"{n:032x}", received_at=100.0 - n) for n in range(5)]
    filled(repository, *rows)
    with repository.write() as unit:
        unit.documents.settle([rows[1].key, "unknown"])
    with repository.read() as unit:
        assert unit.documents.unsettled(99.5) == [rows[4], rows[3], rows[2]]
        assert unit.documents.unsettled(98.0) == [rows[4], rows[3]]
        assert unit.documents.unsettled(99.5, limit=1) == [rows[4]]
        assert [one for one in unit.documents.every() if one.settled] == [replace(rows[1], settled=True)]


def test_removed_rows_are_gone(repository: SqlRepositoryDatabase) -> None:
    """Thousands of keys at once; absent ones are ignored."""
    rows = [replace(ONE, key=f"{n:032x}") for n in range(2000)]
    filled(repository, *rows)
    with repository.write() as unit:
        unit.documents.remove([one.key for one in rows[1:]] + ["f" * 32])
        unit.documents.remove([])
    with repository.read() as unit:
        assert list(unit.documents.every()) == [rows[0]]


def test_what_was_known_of_a_signer_is_kept_with_his_document(repository: SqlRepositoryDatabase) -> None:
    """Chain in order, lists whatever their order, each list once; it goes with its document, and with no other."""
    proof = SignerProof((b"leaf", b"issuer", b"root"), (b"\0list of persons", b"list of roots"),
                        (b"\0answer", b"another"))
    two = replace(ONE, key="b" * 32, unique_id="1.2.5")
    filled(repository, ONE, two)
    with repository.write() as unit:
        unit.documents.add_proof(ONE.key, proof, at=1_700_000_000.25)
        unit.documents.add_proof(two.key, replace(proof, lists=proof.lists[:1], answers=()), at=1.5)
    with pytest.raises(KeyError), repository.write() as unit:
        unit.documents.add_proof(ONE.key, proof, at=2.0)
    with repository.write() as unit:
        kept = unit.documents.proof(ONE.key)
        assert kept is not None and kept.accepted_at == 1_700_000_000.25
        assert (kept.signer.chain, set(kept.signer.lists)) == (proof.chain, set(proof.lists))
        assert set(kept.signer.answers) == set(proof.answers)
        assert unit.documents.proof("c" * 32) is None
        unit.documents.remove([ONE.key])
        assert unit.documents.proof(ONE.key) is None
        left = unit.documents.proof(two.key)
        assert left is not None and left.signer == replace(proof, lists=proof.lists[:1], answers=())
