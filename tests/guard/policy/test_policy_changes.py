"""Changes of a stored document: who may mask, unmask, reveal, archive, delete, and who may remove.

Clause: DMP R526 v1.8 (TD3.3a to d), R606 v1.3
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from rights_oracle import RIGHT_COLUMNS, RIGHTS, key
from test_policy_decision import (
    ACTORS,
    ANYONE,
    DOCUMENT,
    MASKED,
    NURSE,
    OCCUPATIONAL,
    OPEN,
    PHYSICIAN,
    POLICY,
    STRUCTURE,
    clause,
)

from guard.credentials.caller import Mode
from guard.policy.decision import Policy
from guard.policy.facts import NOTHING, Action, EntryFacts, RecordStatus

CHANGES = {
    Action.MASK: "TD3.3a-mask", Action.UNMASK: "TD3.3a-unmask", Action.REVEAL: "TD3.3b",
    Action.SHOW: "TD3.3b-show", Action.HIDE: "TD3.3b-hide", Action.DELETE: "TD3.3c",
    Action.ARCHIVE: "TD3.3d",
}  # fmt: skip
NOBODYS = (Action.AMEND, Action.MOVE, Action.REMOVE)


def written_by(who: object, entry: EntryFacts = DOCUMENT) -> EntryFacts:
    return replace(entry, author_ids=frozenset({who.identifier}), structure_ids=frozenset({who.structure_id}))  # type: ignore[attr-defined]


@pytest.mark.parametrize("column", RIGHT_COLUMNS)
@pytest.mark.parametrize("action", CHANGES)
def test_every_cell_reaches_the_decision(column: str, action: Action) -> None:
    """Own documents and those of others, for each actor and mode of R526."""
    actor, _, letter = column.partition(" ")
    caller, record = ACTORS[actor]
    caller = replace(caller, purpose={"n": "normal", "r": "centre_15", "b": "bris_de_glace", "": "normal"}[letter])
    cell = RIGHTS[CHANGES[action]][0].split()[RIGHT_COLUMNS.index(column)]
    own = POLICY.decide(caller, action, record, written_by(caller)).allowed
    others = POLICY.decide(caller, action, record, DOCUMENT).allowed
    assert own is (cell != "-"), cell
    assert others is (cell == "Y"), cell
    assert POLICY.decide(caller, action, record).allowed is (cell != "-")


def test_a_structure_deletes_its_own_documents_only() -> None:
    """The value str: by the structure's number, whoever in it has written."""
    ours = replace(DOCUMENT, structure_ids=frozenset({STRUCTURE.structure_id}))
    assert clause(STRUCTURE, Action.DELETE, OPEN, ours) == "own-structure"
    assert clause(STRUCTURE, Action.DELETE, OPEN, DOCUMENT) == "owner"
    nameless = replace(STRUCTURE, structure_id="")
    assert clause(nameless, Action.DELETE, OPEN, replace(DOCUMENT, structure_ids=frozenset({""}))) == "owner"


def test_deleting_ones_own_needs_no_authorisation() -> None:
    """EX_3.3-1060; the other changes do."""
    record = replace(OPEN, is_authorised=False)
    assert clause(PHYSICIAN, Action.DELETE, record, written_by(PHYSICIAN)) == "own-document"
    for action in set(CHANGES) - {Action.DELETE}:
        assert clause(PHYSICIAN, action, record, written_by(PHYSICIAN)) == "authorisation"


def test_only_author_and_attending_physician_unmask() -> None:
    """Whoever does not see a masked document changes nothing about it."""
    attended = replace(OPEN, is_attending=True)
    assert clause(PHYSICIAN, Action.UNMASK, OPEN, MASKED) == "owner"
    assert clause(PHYSICIAN, Action.UNMASK, OPEN, written_by(PHYSICIAN, MASKED)) == "own-document"
    assert clause(PHYSICIAN, Action.UNMASK, attended, MASKED) == "granted"
    assert clause(PHYSICIAN, Action.REVEAL, OPEN, MASKED) == "masked"


def test_a_type_one_may_not_read_one_may_not_change() -> None:
    """Unless one has written it."""
    report = replace(DOCUMENT, type_code=key("68599-0"))
    assert clause(NURSE, Action.MASK, OPEN, report) == "document-type"
    assert clause(NURSE, Action.MASK, OPEN, written_by(NURSE, report)) == "own-document"
    assert clause(OCCUPATIONAL, Action.MASK, OPEN, DOCUMENT) == "granted"


@pytest.mark.parametrize("action", [Action.ARCHIVE, Action.DELETE])
def test_what_the_patient_deposited_only_his_attending_physician_archives(action: Action) -> None:
    """The star of R526: also not the physicians of an emergency, whose cell says Y.

    Rule: H-13
    """
    mine = replace(DOCUMENT, type_code="DOCPAT01^^1.2.250.1.213.1.1.4.12")
    for purpose in ("normal", "centre_15", "bris_de_glace"):
        caller = replace(PHYSICIAN, purpose=purpose)
        assert not POLICY.decide(caller, action, OPEN, mine).allowed
        assert not POLICY.decide(caller, action, OPEN, written_by(caller, mine)).allowed
    attended = replace(OPEN, is_attending=True)
    assert POLICY.decide(PHYSICIAN, action, attended, mine).allowed is (action is Action.ARCHIVE)


@pytest.mark.parametrize("action", NOBODYS)
@pytest.mark.parametrize("caller", [*(caller for caller, _ in ACTORS.values()), replace(PHYSICIAN, mode=Mode.OFF)])
def test_what_no_right_names_is_nobodys(caller: object, action: Action) -> None:
    """Other metadata, another patient, removal: not even the author's."""
    assert clause(caller, action, OPEN, written_by(caller)) == "functional-right"  # type: ignore[arg-type]


def test_our_own_systems_remove_and_do_nothing_else() -> None:
    """Also in a closed record; a machine still reads nothing and masks nothing."""
    node = replace(PHYSICIAN, mode=Mode.NODE)
    assert clause(node, Action.REMOVE, OPEN) == "granted"
    assert clause(node, Action.REMOVE, replace(OPEN, status=RecordStatus.CLOSED)) == "granted"
    assert all(clause(node, action, OPEN) == "functional-right" for action in (*CHANGES, Action.READ, Action.AMEND))


@pytest.mark.parametrize("action", [*CHANGES, *NOBODYS])
def test_a_change_has_no_filter_that_lets_through_what_the_decision_refuses(action: Action) -> None:
    """A filter is for reading; for a change it never says more than the decision."""
    for caller, record in ACTORS.values():
        visible = POLICY.visible(caller, action, record)
        for entry in (DOCUMENT, MASKED, written_by(caller)):
            assert visible == NOTHING or visible.passes(entry) <= POLICY.decide(caller, action, record, entry).allowed


def test_an_operator_may_open_other_metadata_to_authors(tmp_path: object) -> None:
    """A cell of the override table, for own documents only."""
    table = tmp_path / "rights-override.csv"  # type: ignore[operator]
    table.write_text(
        "right,label,PS n,PS r,PS b,MD n,MD r,MD b,OP,MT n,MT b,CPE n,ST n,ST r,PA,RL,SYS,AIR,note\n"
        "ITI-57-other,,,,,own,,,,,,,,,,,,,\n", "utf-8",
    )
    policy = Policy.load("dmp", folder=tmp_path)  # type: ignore[arg-type]
    assert policy.decide(PHYSICIAN, Action.AMEND, OPEN, written_by(PHYSICIAN)).allowed
    assert not policy.decide(PHYSICIAN, Action.AMEND, OPEN, DOCUMENT).allowed
    assert not policy.decide(NURSE, Action.AMEND, OPEN, written_by(NURSE)).allowed


def test_where_no_policy_is_named_everybody_may(tmp_path: object) -> None:
    """The connectathon: any caller, in an open record."""
    assert all(ANYONE.decide(NURSE, action, OPEN, DOCUMENT).allowed for action in (*CHANGES, *NOBODYS))
