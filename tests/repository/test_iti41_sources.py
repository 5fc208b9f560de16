"""Which sources may deposit: `repository.sources`.

Clause: ITI TF-2 3.41.4.1.3
"""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import frames
from tests.world import World, codes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("sources")
    return World.prepare(folder, f'sources = ["1.2.250.1.999.7.1", "{frames.SOURCE_ID}"]').serve_here()


@pytest.mark.parametrize("source", ["1.2.250.1.999.7.2", "1.2.250.1.999.7", ""])
def test_a_source_that_is_not_listed_is_refused(world: World, source: str) -> None:
    """It is told what it called itself, not who is known; nothing is stored.

    Rule: R-051
    """
    patient_id = world.patient()
    sent = frames.valid_submission("dmp", patient_id=patient_id)
    sent.submission_set.source_id = source
    outcome = world.deposit(sent)
    (error,) = outcome.errors
    assert not outcome.is_success and error.code == "XDSRepositoryMetadataError"
    found = f"found '{source}'" if source else "found nothing"
    assert error.context.startswith(
        f"SubmissionSet SubmissionSet01, sourceId: {found}; expected a source this repository knows "
        "(ITI TF-2 3.41.4.1.3 [R-051])"
    )
    assert "1.2.250.1.999.7.1" not in error.context
    assert not world.find(patient_id).objects


def test_listed_sources_deposit(world: World) -> None:
    """Each of the list.

    Rule: R-051
    """
    for source in ("1.2.250.1.999.7.1", frames.SOURCE_ID):
        sent = frames.valid_submission("dmp", patient_id=world.patient())
        sent.submission_set.source_id = source
        assert world.deposit(sent).is_success


def test_without_a_list_every_source_deposits(here: World) -> None:
    """The default: there the registry alone judges a sourceId.

    Rule: R-051, R-050
    """
    sent = frames.valid_submission("dmp", patient_id=here.patient())
    sent.submission_set.source_id = "1.2.250.1.999.7.2"
    assert here.deposit(sent).is_success
    sent = frames.valid_submission("dmp", patient_id=here.patient())
    sent.submission_set.source_id = "no OID"
    assert codes(here.deposit(sent)) == {"XDSRegistryMetadataError"}
