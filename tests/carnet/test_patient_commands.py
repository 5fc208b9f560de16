"""``carnet patient add``, ``merge`` and ``list``: by hand what the feeds do by message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from carnet.cli import main
from tests.direct import Desk
from tests.feed import Feed
from tests.world import World, codes, unique_ids


def run(world: World, *words: str, expect: int = 0) -> str:
    """One command of an installation; its output, errors included."""
    result = CliRunner().invoke(main, list(words), env={"CARNET_DATA": str(world.folder)})
    assert result.exit_code == expect, f"{words}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result.output


def listed(world: World) -> dict[str, dict[str, Any]]:
    return {one["patient_id"]: one for one in json.loads(run(world, "patient", "list", "--json"))}


@pytest.mark.parametrize("namespace", ["", "NAME"])
def test_one_line_makes_a_patient_known(plain: World, namespace: str) -> None:
    """No consent, no ceremony: submissions are taken at once, under the CX without namespace. Rule: F-01, F-03"""
    patient = Feed(plain).new_id()
    desk = Desk(plain, patient)
    assert codes(plain.register(desk.submission())) == {"XDSUnknownPatientId"}
    for _ in range(2):
        assert f"{patient}: active" in run(plain, "patient", "add", patient.replace("&", f"{namespace}&", 1))
    desk.new()
    assert listed(plain)[patient]["status"] == "active"


def test_a_merge_by_hand_is_the_same_merge(plain: World) -> None:
    """Documents, states, and the log of both under the survivor. Rule: F-05, F-12, F-20"""
    old, new = Desk(plain, Feed(plain).added()), Desk(plain, Feed(plain).added())
    made = old.new().entries[0].unique_id
    run(plain, "patient", "merge", old.patient_id, new.patient_id)
    assert unique_ids(plain.find(new.patient_id)) == [made]
    assert listed(plain)[old.patient_id] | {"opened_at": "", "opened_by": ""} == {
        "patient_id": old.patient_id, "status": "subsumed", "opened_at": "", "opened_by": "", "channel": "ITI-8",
        "consent": "not needed in this domain", "closed_at": "", "closed_because": "", "objections": "",
        "merged_into": new.patient_id,
    }
    told = run(plain, "log", new.patient_id)
    assert "merged this identifier into another" in told and "merged another identifier into this one" in told
    lines = [json.loads(line) for line in run(plain, "log", new.patient_id, "--json").splitlines()]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert {line["patient_id"] for line in lines} == {old.patient_id, new.patient_id}


def test_refusals_are_said_and_change_nothing(plain: World) -> None:
    """The rules are those of the feeds. Rule: F-06, F-07, F-08, F-10"""
    feed = Feed(plain)
    old, new = feed.added(), feed.added()
    run(plain, "patient", "merge", old, new)
    for words, said in (
        (("merge", old, new), "was merged into another"),
        (("merge", new, new), "into itself"),
        (("merge", feed.new_id(), new), "not an active one"),
        (("merge", "1^^^&9.9&ISO", new), "assigning authority"),
        (("add", old), "was merged into another"),
        (("add", "1"), "not valid"),
        (("close", old, "--reason", "x"), "was merged into another"),
    ):
        assert said in run(plain, "patient", *words, expect=1)


def test_the_dmp_asks_for_consent_also_by_hand(here: World) -> None:
    """``add`` opens no record there; ``merge`` works on open ones. Rule: F-23"""
    unknown = "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH"
    assert "consent" in run(here, "patient", "add", unknown, expect=1)
    assert unknown not in listed(here)
    run(here, "patient", "open", unknown, "--consent")
    run(here, "patient", "open", "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH", "--consent")
    run(here, "patient", "merge", "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH", unknown, "--yes")
    assert listed(here)["279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"]["merged_into"] == unknown
