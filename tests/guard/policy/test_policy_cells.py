"""Every actor, mode, record, document and operation against the second reading of the rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from decision_oracle import OPERATIONS, PERSONAL, PSYCHIATRIC, REPORT, SIGNATURE, Document, Someone, may
from rights_oracle import ALL_COLUMNS, CELLS, COLUMNS, TYPES, cells, key
from test_policy_decision import (
    ACTORS,
    DMP,
    DOCUMENT,
    FROM_PARENTS,
    G15,
    G16,
    MASQUE,
    NORMAL,
    OPEN,
    PATIENT,
    PHYSICIAN,
    POLICY,
    VEILED,
)

from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import MATRIX_CLAUSES
from guard.policy.decision import Policy
from guard.policy.facts import Action, EntryFacts, RecordFacts, RecordStatus
from guard.policy.matrix import RIGHT_COLUMNS, AccessMatrix, FunctionalRights
from guard.professions import Professions
from xds.model import Code
from xds.namespaces import APPROVED, DEPRECATED

ACTION = {
    "TD0.2": Action.EXISTS, "TD0.3 declare": Action.DECLARE, "TD0.3 remove": Action.WITHDRAW,
    "TD0.3 become MT": Action.ATTEND, "TD0.3 stop MT": Action.STOP_ATTENDING, "TD0.4": Action.LIST_RECORDS,
    "TD0.5": Action.SEARCH_PATIENTS, "TD0.9": Action.BROWSE, "TD1.1": Action.OPEN, "TD1.2": Action.REOPEN,
    "TD1.3a": Action.READ_DATA, "TD1.3b": Action.CHANGE_DATA, "TD1.4": Action.CLOSE, "TD1.5": Action.ACCOUNT,
    "TD1.6": Action.LIST_CIRCLE, "authorise": Action.AUTHORISE, "block": Action.BLOCK, "unblock": Action.UNBLOCK,
    "object": Action.OBJECT, "log": Action.READ_LOG, "be told": Action.BE_TOLD,
    "ask destruction": Action.ASK_DESTRUCTION, "destroy": Action.DESTROY, "TD2": Action.FEED,
    "TD3.1": Action.SEARCH, "TD3.1 id": Action.SEARCH_ID,
    "TD3.2": Action.READ, "TD3.3a mask": Action.MASK, "TD3.3a unmask": Action.UNMASK, "TD3.3b": Action.REVEAL,
    "TD3.3b show": Action.SHOW, "TD3.3b hide": Action.HIDE,
    "TD3.3c": Action.DELETE, "TD3.3d": Action.ARCHIVE, "ITI-57": Action.AMEND, "move": Action.MOVE,
    "remove": Action.REMOVE,
}  # fmt: skip
PURPOSE = {"n": "normal", "r": "centre_15", "b": "bris_de_glace"}
OTHER_PATIENT = PATIENT.replace("2790", "1790")
CODES = {"MASQUE": MASQUE, "PATIENT": VEILED, "PARENTS": FROM_PARENTS}
STATUS = {
    "approved": APPROVED, "obsolete": DEPRECATED, "archived": DMP.archived_status, "deleted": DMP.deleted_status,
}  # fmt: skip
PEOPLE = [
    *(Someone(actor, mode) for actor, mode in product(("PS", "MD", "OP", "MT", "CPE", "ST", "PA", "RL", "SYS"), "nrb")),
    *(Someone(actor, mode, air=True) for actor, mode in product(("PS", "MD", "OP", "MT", "CPE"), "nrb")),
    Someone("MD", secret=True), Someone("ST", secret=True),
]  # fmt: skip
STRANGERS = {
    "insurer": replace(PHYSICIAN, sector="SA23"),
    "insurer with a sector's scheme": replace(PHYSICIAN, sector="SA23^1.2.250.1.71.4.2.4"),
    "student": replace(PHYSICIAN, profession=Code("10", G16)),
    "nobody": replace(PHYSICIAN, mode=Mode.OFF),
    "curious": replace(PHYSICIAN, purpose="curiosity"),
}
RECORDS = [frozenset(words.split(", ")) for words in (
    "open", "closed", "absent", "subsumed", "open, barred", "open, unauthorised", "open, objects r", "open, objects b",
    "open, shows masked", "open, attached, unrepresented", "open, other patient", "closed, barred",
)]  # fmt: skip
DOCUMENTS = [
    *(
        Document(type_code, frozenset(codes), author)
        for type_code, codes, author in product(
            (REPORT, PSYCHIATRIC, PERSONAL, SIGNATURE),
            ((), ("MASQUE",), ("PATIENT",), ("PARENTS",), ("MASQUE", "PARENTS")),
            ("other", "own", "structure"),
        )
    ),
    *(
        Document(REPORT, frozenset(codes), author, status)
        for codes, author, status in product(
            ((), ("MASQUE",), ("PARENTS",)), ("other", "own", "structure"), ("obsolete", "archived", "deleted")
        )
    ),
]  # fmt: skip


def caller_of(who: Someone) -> Caller:
    """The caller who plays this actor; his own number is never a document's by chance."""
    holders = {"PA": Mode.PATIENT, "RL": Mode.REPRESENTATIVE, "SYS": Mode.NODE}
    if who.actor in holders:
        made = Caller(identifier="279035121518989", mode=holders[who.actor], patient_id=PATIENT, structure_id="S")
    else:
        made = replace(ACTORS[who.actor][0], structure_id="S")
    if who.air:
        made = replace(made, mode=Mode.REINFORCED_INDIRECT)
    return replace(made, purpose=PURPOSE[who.mode], secret_connection=who.secret)


def record_of(who: Someone, words: frozenset[str]) -> RecordFacts:
    states = {"open": "ACTIVE", "closed": "CLOSED", "absent": "ABSENT", "subsumed": "SUBSUMED"}
    return RecordFacts(
        RecordStatus[next(state for word, state in states.items() if word in words)],
        is_blocked="barred" in words, is_authorised="unauthorised" not in words, is_attending=who.actor == "MT",
        is_representative="unrepresented" not in words, is_attached="attached" in words,
        objected_purposes=frozenset(PURPOSE[word[-1]] for word in words if word.startswith("objects")),
        patient_id=OTHER_PATIENT if "other patient" in words else PATIENT,
        shows_masked_in_emergency="shows masked" in words,
    )  # fmt: skip


def facts_of(document: Document, caller: Caller) -> EntryFacts:
    return EntryFacts(
        document.type_code,
        frozenset({NORMAL, *(CODES[code] for code in document.codes)}),
        frozenset({caller.identifier if document.author == "own" else "899900099999"}),
        frozenset({"S" if document.author == "structure" else "T"}),
        STATUS[document.status],
    )


def disagreements(
    policy: Policy, who: Someone, records: list[frozenset[str]], operations: list[str], documents: list[Document],
    table: dict[tuple[str, str], str] = CELLS,
) -> tuple[int, list[object]]:
    """(cells looked at, those in which decision or filter say other than the oracle)."""
    caller, looked_at, wrong = caller_of(who), 0, list[object]()
    entries = [(document, facts_of(document, caller)) for document in documents]
    for words, operation in product(records, operations):
        action, record = ACTION[operation], record_of(who, words)
        is_query = operation in ("TD3.1", "TD3.1 id", "TD3.2")
        visible = policy.visible(caller, action, record)
        for document, entry in [(None, None), *entries]:
            expected = may(who, operation, words, document, table)
            said = policy.decide(caller, action, record, entry)
            looked_at += 1
            if said.allowed is not expected or (is_query and entry and visible.passes(entry) is not expected):
                wrong.append((sorted(words), operation, document, said))
    return looked_at, wrong


@pytest.mark.parametrize("who", PEOPLE, ids=lambda w: f"{w.actor}{w.mode}{'-air' * w.air}{'-secret' * w.secret}")
def test_every_cell_is_decided_as_read_a_second_time(who: Someone) -> None:
    """Operation × record × visibility × authorship × status for one actor and mode, decision and filter.

    Rule: H-01
    """
    looked_at, wrong = disagreements(POLICY, who, RECORDS, list(OPERATIONS), DOCUMENTS)
    assert looked_at == len(RECORDS) * len(OPERATIONS) * (len(DOCUMENTS) + 1)
    assert not wrong, (len(wrong), wrong[:5])


@pytest.mark.parametrize("stranger", STRANGERS)
def test_who_has_no_column_has_no_right(stranger: str) -> None:
    """Insurers, students, nobody, and purposes that are none: nothing at all, in any record, on any document.

    Rule: H-08
    """
    caller = STRANGERS[stranger]
    for action, entry in product(Action, [None, *(facts_of(one, caller) for one in DOCUMENTS)]):
        assert not POLICY.decide(caller, action, OPEN, entry).allowed
        assert not POLICY.decide(caller, action, replace(OPEN, is_attending=True), entry).allowed


def test_every_operation_is_an_action_and_the_other_way_round() -> None:
    """No action escapes the table, nor a row of rights the operations.

    Rule: H-01
    """
    assert set(ACTION) == set(OPERATIONS) and set(ACTION.values()) == set(Action)
    named = {right for rights in OPERATIONS.values() for right in rights.split()}
    states = {"TD3.2-masked", "TD3.2-invisible", "TD3.2-invisible-rl", "TD3.2-status"}
    assert named | states == {right for right, _ in CELLS}
    assert tuple(ALL_COLUMNS) == RIGHT_COLUMNS


@pytest.mark.parametrize("profession", [c for c in COLUMNS if c != "role"])
def test_every_type_for_every_profession_in_every_mode(profession: str) -> None:
    """The matrix of types for searching and reading: the block, the mask and the authorisation on top of each cell.

    Rule: H-02
    """
    settings = {"n": (OPEN, replace(OPEN, is_authorised=False)), "r": (OPEN,), "b": (OPEN,)}
    table = cells()
    for code in (code for codes in TYPES.values() for code in codes.split()):
        for mode, action in product("nrb", (Action.SEARCH, Action.READ)):
            caller = replace(
                PHYSICIAN, profession=Code(profession, G15), specialty=None, purpose=PURPOSE[mode], sector="SA07"
            )
            entry = replace(DOCUMENT, type_code=key(code))
            for record in settings[mode]:
                expected = table[key(code), profession] == "R" and record.is_authorised
                assert POLICY.decide(caller, action, record, entry).allowed is expected, (code, mode, action)
                assert POLICY.visible(caller, action, record).passes(entry) is expected
                masked = replace(entry, confidentiality=frozenset({MASQUE}))
                assert not POLICY.decide(caller, action, record, masked).allowed
                assert not POLICY.decide(caller, action, replace(record, is_blocked=True), entry).allowed


FLIPPED = list(dict.fromkeys(right for right, _ in CELLS))
_ACCESS, _PROFESSIONS = AccessMatrix.load(), Professions.load()


@pytest.mark.parametrize("right", FLIPPED)
def test_every_cell_is_alive(right: str) -> None:
    """One changed cell changes what is decided exactly as the second reading of the changed table says.

    Rule: H-03
    """
    rows = {r: {c: CELLS[r, c] for c in ALL_COLUMNS} | {"AIR": "="} for r in FLIPPED}
    operations = [o for o, rights in OPERATIONS.items() if right in rights.split()] or ["TD3.1", "TD3.2"]
    documents = [d for d in DOCUMENTS if d.type_code in (REPORT, PERSONAL)]
    for column in ALL_COLUMNS:
        changed = {**CELLS, (right, column): "-" if CELLS[right, column] != "-" else "Y"}
        table = {**rows, right: {**rows[right], column: changed[right, column]}}
        policy = Policy(
            MATRIX_CLAUSES, access=_ACCESS, rights=FunctionalRights(table), professions=_PROFESSIONS,
            hidden_from_professionals=DMP.hidden_from_professionals, hidden_from_patient=DMP.hidden_from_patient,
            hidden_from_representatives=DMP.hidden_from_representatives, unlisted_types=DMP.unlisted_types,
            patient_types=DMP.patient_types,
        )  # fmt: skip
        actor, _, mode = column.partition(" ")
        _, wrong = disagreements(policy, Someone(actor, mode or "n"), RECORDS[:1], operations, documents, changed)
        assert not wrong, (column, wrong[:3])
