"""ITI-86: bytes go for good, what is registered of them is answered as unknown.

Clause: ITI TF-2 3.86.4.1.3
"""

from __future__ import annotations

from pathlib import Path

import pytest

from carnet import wiring
from carnet.agreement import Report, compare
from conformance import frames
from repository.sweep import sweep
from tests.updating import Shelf
from tests.world import World, codes, contents
from xds.model import Submission
from xds.namespaces import RESPONSE_PARTIAL


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def deposit(desk: Shelf, documents: int = 1) -> Submission:
    """Through the repository, each document with bytes of its own."""
    made = frames.valid_submission(desk.domain, documents=documents, patient_id=desk.patient_id)
    outcome = desk.world.deposit(made)
    assert outcome.is_success, outcome
    return made


def named(desk: Shelf, made: Submission) -> list[tuple[str, str]]:
    return [(desk.repository, e.unique_id) for e in made.entries]


def check(world: World) -> Report:
    """What ``carnet check`` finds."""
    registry = wiring.registry_actor(world.settings)
    link = wiring.link_of(world.settings, wiring.registry_service(world.settings, registry).app)
    return compare(registry, wiring.repository_actor(world.settings, link), full=True)


def files_of(world: World) -> set[str]:
    return {p.name for p in (Path(world.settings.documents) / "kept").rglob("*") if p.is_file()}


def test_a_removed_document_is_answered_as_unknown(desk: Shelf) -> None:
    """Its metadata stay as they are; its bytes are off the disk; check tells a removal from a loss.

    Rule: R-159, L-07
    """
    made, before, files = deposit(desk), check(desk.world), files_of(desk.world)
    assert desk.world.client().remove_documents(named(desk, made)).is_success
    outcome, found = desk.world.read(desk.patient_id, [made.entries[0].unique_id])
    assert found == [] and codes(outcome) == {"XDSDocumentUniqueIdError"}
    assert [e.unique_id for e in desk.entries(made.entries[0].unique_id)] == [made.entries[0].unique_id]
    after = check(desk.world)
    assert len(files_of(desk.world)) == len(files) - 1
    assert (after.removed, after.missing) == (before.removed + 1, before.missing)


def test_every_deposit_of_the_document_goes(desk: Shelf) -> None:
    """The same bytes may have been sent twice. Rule: R-160"""
    made, files = deposit(desk), files_of(desk.world)
    again = frames.valid_submission(
        desk.domain, patient_id=desk.patient_id, unique_id=made.entries[0].unique_id
    )
    assert desk.world.deposit(again).is_success
    assert desk.world.client().remove_documents(named(desk, made)).is_success
    assert len(files_of(desk.world)) == len(files) - 1
    assert codes(desk.world.read(desk.patient_id, [made.entries[0].unique_id])[0]) == {"XDSDocumentUniqueIdError"}


def test_another_repository_and_an_unknown_document_are_refused(desk: Shelf) -> None:
    """And nothing goes. Rule: R-158, R-159"""
    made = deposit(desk)
    client = desk.world.client()
    foreign = client.remove_documents([("1.2.3.4", made.entries[0].unique_id)])
    unknown = client.remove_documents([(desk.repository, "9.9.9")])
    assert not foreign.is_success and codes(foreign) == {"XDSUnknownRepositoryId"}
    assert not unknown.is_success and codes(unknown) == {"XDSDocumentUniqueIdError"}
    assert foreign.errors[0].location == made.entries[0].unique_id and unknown.errors[0].location == "9.9.9"
    assert desk.world.read(desk.patient_id, [made.entries[0].unique_id])[0].is_success


def test_what_can_go_goes(desk: Shelf) -> None:
    """Some documents removed, others not: PartialSuccess with an error for each of these.

    Rule: R-158, R-159
    """
    made = deposit(desk, 2)
    outcome = desk.world.client().remove_documents([*named(desk, made), (desk.repository, "9.9.9")])
    assert outcome.status == RESPONSE_PARTIAL and [e.location for e in outcome.errors] == ["9.9.9"]
    assert desk.world.read(desk.patient_id, [e.unique_id for e in made.entries])[1] == []


def test_a_document_removed_may_be_deposited_again(desk: Shelf) -> None:
    """And is held like any other then: a later loss would be one. Rule: L-07"""
    made = deposit(desk)
    desk.world.client().remove_documents(named(desk, made))
    removed = check(desk.world).removed
    again = frames.valid_submission(
        desk.domain, patient_id=desk.patient_id, unique_id=made.entries[0].unique_id
    )
    assert desk.world.deposit(again).is_success
    _, (found,) = desk.world.read(desk.patient_id, [made.entries[0].unique_id])
    assert found.received == contents(again)["Document01"]
    assert check(desk.world).removed == removed - 1


def test_each_removal_is_logged_in_its_transaction(desk: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed or not. A log that cannot be written removes nothing. Rule: A-3"""
    made = deposit(desk)
    unique_id = made.entries[0].unique_id
    with monkeypatch.context() as broken:
        def fails(*_: object) -> None:
            raise OSError(28, "no space")

        broken.setattr("storage.audit.SqlAuditStore.append", fails)
        assert not desk.world.client().remove_documents(named(desk, made)).is_success
    assert desk.world.read(desk.patient_id, [unique_id])[0].is_success
    desk.world.client().remove_documents(named(desk, made))
    line = [one for one in desk.world.last_lines(5) if one.event == "ITI-86"][-1]
    assert (line.action, line.outcome, line.documents) == ("remove", "success", (unique_id,))


def test_bytes_that_a_crash_has_left_are_given_to_nobody_and_swept(
    desk: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and log line are durable, the process dies before the bytes go. Rule: A-5, L-07"""
    made, files = deposit(desk), files_of(desk.world)
    with monkeypatch.context() as dying:
        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        dying.setattr("storage.files.FileDocumentStore.discard", dies)
        with pytest.raises(KeyboardInterrupt):
            desk.world.client().remove_documents(named(desk, made))
    assert files_of(desk.world) == files
    assert codes(desk.world.read(desk.patient_id, [made.entries[0].unique_id])[0]) == {"XDSDocumentUniqueIdError"}
    report = check(desk.world)
    assert report.orphans == 1 and made.entries[0].unique_id not in report.missing
    registry = wiring.registry_actor(desk.world.settings)
    link = wiring.link_of(desk.world.settings, wiring.registry_service(desk.world.settings, registry).app)
    sweep(wiring.repository_actor(desk.world.settings, link), -1)
    assert len(files_of(desk.world)) == len(files) - 1 and check(desk.world).orphans == 0


def test_too_many_documents_at_once_are_refused(desk: Shelf) -> None:
    """Rule: R-160"""
    outcome = desk.world.client().remove_documents([(desk.repository, f"1.2.{n}") for n in range(200)])
    assert codes(outcome) == {"XDSRemoveDocumentsError"}
