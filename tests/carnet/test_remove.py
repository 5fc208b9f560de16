"""``carnet remove``: metadata, then bytes, under the operator's name."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from carnet.cli import main
from conformance import frames, updates
from tests.direct import content
from tests.updating import Shelf, titled
from tests.world import World


@pytest.fixture
def desk(plain: World) -> Shelf:
    return Shelf(plain)


def run(world: World, *words: str) -> Result:
    return CliRunner().invoke(main, ["remove", *words, "--json"], env={"CARNET_DATA": str(world.folder)})


def test_a_document_goes_with_all_that_leads_to_it(desk: Shelf) -> None:
    """Versions, relationships, places in folders, and the sets that are empty then; others stay.

    Rule: R-155, R-156, L-07
    """
    made = frames.valid_submission(desk.domain, folder=True, patient_id=desk.patient_id)
    assert desk.world.deposit(made).is_success
    (stored,) = desk.entries(made.entries[0].unique_id)
    desk.update(updates.update_of(desk.domain, stored, title=titled("a")))
    sets = len(desk.sets())
    result = run(desk.world, stored.unique_id, "--yes")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["documents"] == 1 and report["problems"] == [] and report["objects"] > 5
    assert desk.found("UniqueId", stored.unique_id) == []
    assert len(desk.sets()) == sets - 1, "the set of the folder stays, that of the update is empty"
    lines = [line for line in desk.world.log_of(desk.patient_id) if line.event == "ITI-62"]
    assert [(line.action, line.outcome, line.caller_id.split()[0]) for line in lines] == [
        ("remove", "success", "operator")
    ]


def test_nothing_is_removed_by_the_way(desk: Shelf) -> None:
    """Without --yes it is misuse, without a document a refusal; neither changes anything."""
    made = desk.new()
    before = content(desk.world)
    assert run(desk.world, made.entries[0].unique_id).exit_code == 2
    assert run(desk.world, "1.2.3.4.5.6.7", "--yes").exit_code == 1
    assert content(desk.world) == before
