"""The decision: one test for each clause, and properties that hold over all callers, records and documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rights_oracle import LOINC, RIGHT_COLUMNS, RIGHTS, cells, key

from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import MATRIX_CLAUSES, same_patient
from guard.policy.decision import Policy
from guard.policy.facts import EVERYTHING, NOTHING, Action, EntryFacts, RecordFacts, RecordStatus
from guard.policy.matrix import PROFESSION_COLUMNS
from xds import domain
from xds.model import Code
from xds.namespaces import APPROVED, DEPRECATED

G15, R01, A00 = "1.2.250.1.71.1.2.7", "1.2.250.1.71.4.2.5", "1.2.250.1.213.1.1.4.6"
G16 = "1.2.250.1.71.1.2.8"
ROLES = "1.2.250.1.213.1.6.1.107"
MASQUE = "MASQUE_PS^^1.2.250.1.213.1.1.4.13"
NORMAL = "N^^2.16.840.1.113883.5.25"
VEILED = "INVISIBLE_PATIENT^^1.2.250.1.213.1.1.4.13"
FROM_PARENTS = "INVISIBLE_REPRESENTANTS_LEGAUX^^1.2.250.1.213.1.1.4.13"
PATIENT = "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
SIGNATURE = "E1762^^ASTM"
REPORT = key("11488-4")

DMP = domain.load("dmp")
POLICY = Policy.load(
    DMP.policy, hidden_from_professionals=DMP.hidden_from_professionals, unlisted_types=DMP.unlisted_types,
    patient_types=DMP.patient_types, hidden_from_patient=DMP.hidden_from_patient,
    hidden_from_representatives=DMP.hidden_from_representatives,
)
ANYONE = Policy.load(domain.load("connectathon").policy)

PHYSICIAN = Caller(
    identifier="899900063480", mode=Mode.DIRECT, profession=Code("10", G15), specialty=Code("SM26", R01),
    sector="SA07", structure_id="499900063480001", patient_id=PATIENT,
)
NURSE = replace(PHYSICIAN, identifier="899900000060", profession=Code("60", G15), specialty=None)
OCCUPATIONAL = replace(PHYSICIAN, specialty=Code("SM25", R01))
STAFF = replace(PHYSICIAN, identifier="3/secretary", profession=Code("SECRETARIAT_MEDICAL", A00), specialty=None)
STRUCTURE = replace(
    PHYSICIAN, identifier="310B0127189/1", mode=Mode.INDIRECT, profession=Code("AUTOMATE", A00), specialty=None
)
OPEN = RecordFacts(RecordStatus.ACTIVE, patient_id=PATIENT)
DOCUMENT = EntryFacts(REPORT, frozenset({NORMAL}), frozenset({"899900099999"}), frozenset(), "Approved")
MASKED = replace(DOCUMENT, confidentiality=frozenset({NORMAL, MASQUE}))
READING = (Action.SEARCH, Action.READ)


def clause(caller: Caller, action: Action, record: RecordFacts, entry: EntryFacts | None = None) -> str:
    """Name of the deciding clause; "granted" when none refuses."""
    decision = POLICY.decide(caller, action, record, entry)
    assert decision.allowed is (decision.clause in ("granted", "own-document", "own-structure"))
    assert decision.reason
    return decision.clause


# -- one test for each clause -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RecordStatus.CLOSED, RecordStatus.ABSENT])
@pytest.mark.parametrize("action", [Action.FEED, Action.SEARCH, Action.SEARCH_ID, Action.READ])
def test_record_must_be_open(status: RecordStatus, action: Action) -> None:
    """A closed record and an absent one refuse everybody with the same words, and show nothing.

    Step: p
    """
    record = replace(OPEN, status=status)
    assert clause(PHYSICIAN, action, record, DOCUMENT) == "record-open"
    absent = replace(OPEN, status=RecordStatus.ABSENT)
    assert POLICY.decide(PHYSICIAN, action, record) == POLICY.decide(PHYSICIAN, action, absent)
    assert POLICY.visible(PHYSICIAN, action, record) is NOTHING


def test_closed_record_can_be_reopened() -> None:
    """Reopening needs the right to it, not an open record; nor does asking whether there is one."""
    closed = replace(OPEN, status=RecordStatus.CLOSED)
    assert clause(PHYSICIAN, Action.REOPEN, closed) == "granted"
    assert clause(PHYSICIAN, Action.EXISTS, closed) == "granted"
    assert clause(PHYSICIAN, Action.CHANGE_DATA, closed) == "record-open"


@pytest.mark.parametrize("action", [Action.FEED, Action.SEARCH, Action.READ])
def test_assertion_of_one_patient_opens_no_other_record(action: Action) -> None:
    """resource-id of the assertion and patient of the record must be the same."""
    other = replace(OPEN, patient_id=PATIENT.replace("2790", "1790"))
    assert clause(PHYSICIAN, action, other) == "assertion-patient"
    assert clause(PHYSICIAN, action, replace(OPEN, patient_id="")) == "assertion-patient"
    assert clause(replace(PHYSICIAN, patient_id=""), action, other) == "granted"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PATIENT, PATIENT + "^^20100907", True),
        (PATIENT, PATIENT.replace("^NH", ""), True),
        (PATIENT, " " + PATIENT, True),
        (PATIENT, PATIENT.replace(".4.10&", ".4.8&"), False),
        (PATIENT, "279035121518989", False),
        ("", "", False),
        ("^^^&1.2&ISO", "^^^&1.2&ISO^NH", False),
        ("A^^^X", "A^^^X^PI", True),
    ],
)
def test_same_patient_compares_identifier_and_authority(one: str, other: str, same: bool) -> None:
    """Type code and effective date of a CX do not make another patient."""
    assert same_patient(one, other) is same
    assert same_patient(other, one) is same


@pytest.mark.parametrize("caller", [STAFF, STRUCTURE, replace(PHYSICIAN, profession=None, specialty=None)])
def test_staff_and_structures_feed_and_find_ids_but_neither_search_nor_read(caller: Caller) -> None:
    """CPE and structure certificates: feeding and the technical id of a document, no metadata, no content."""
    assert clause(caller, Action.FEED, OPEN) == "granted"
    assert clause(caller, Action.SEARCH_ID, OPEN, DOCUMENT) == "granted"
    for action in READING:
        own = replace(DOCUMENT, author_ids=frozenset({caller.identifier}))
        assert clause(caller, action, OPEN, own) == "functional-right"
        assert POLICY.visible(caller, action, OPEN) is NOTHING


def test_search_by_technical_id_does_not_find_what_is_masked() -> None:
    """Even an identifier known beforehand finds no masked and no signature document."""
    found = POLICY.visible(STRUCTURE, Action.SEARCH_ID, OPEN)
    assert found.passes(DOCUMENT)
    assert not found.passes(MASKED)
    assert not found.passes(replace(DOCUMENT, type_code=SIGNATURE))
    assert clause(STRUCTURE, Action.SEARCH_ID, OPEN, MASKED) == "masked"


@pytest.mark.parametrize(
    "caller",
    [OCCUPATIONAL, replace(PHYSICIAN, specialty=Code("C41", R01)), replace(PHYSICIAN, sector="SA13"),
     replace(PHYSICIAN, sector="SA66^1.2.250.1.71.4.2.4"), replace(NURSE, sector="SA66")],
)  # fmt: skip
def test_occupational_health_never_reads_content(caller: Caller) -> None:
    """By specialty or sector: metadata may be found, content is not given, his own document's included."""
    own = replace(DOCUMENT, author_ids=frozenset({caller.identifier}))
    assert clause(caller, Action.SEARCH, OPEN, DOCUMENT) == "granted"
    for record in (OPEN, replace(OPEN, is_attending=True)):
        for entry in (DOCUMENT, own):
            assert clause(caller, Action.READ, record, entry) == "functional-right"
    assert clause(caller, Action.FEED, OPEN) == "granted"
    for purpose in ("bris_de_glace", "centre_15"):
        assert clause(replace(caller, purpose=purpose), Action.READ, OPEN, DOCUMENT) == "functional-right"


def test_occupational_nurse_finds_no_more_than_any_nurse() -> None:
    """The occupational column narrows the profession's, it does not replace it."""
    at_work = POLICY.visible(replace(NURSE, sector="SA66"), Action.SEARCH, OPEN)
    assert at_work.types is not None
    assert at_work.types <= (POLICY.visible(NURSE, Action.SEARCH, OPEN).types or frozenset())


@pytest.mark.parametrize("mode", [Mode.NODE, Mode.OFF])
def test_callers_who_prove_no_person_have_no_right(mode: Mode) -> None:
    """A machine alone, or nobody at all, gets nothing where rules of access hold."""
    ours = {Action.REMOVE, Action.DESTROY} if mode is Mode.NODE else set()
    for action in set(Action) - ours:
        assert clause(replace(PHYSICIAN, mode=mode), action, OPEN) == "functional-right"


@pytest.mark.parametrize(
    "caller",
    [replace(PHYSICIAN, purpose="curiosity"), replace(PHYSICIAN, purpose=""),
     replace(PHYSICIAN, profession=Code("10", "1.2.3")), replace(PHYSICIAN, profession=Code("10", G16)),
     replace(PHYSICIAN, profession=Code("AUTOMATE", A00)),
     replace(STAFF, purpose="bris_de_glace"), replace(STRUCTURE, purpose="bris_de_glace"),
     replace(STAFF, mode=Mode.REINFORCED_INDIRECT), replace(OCCUPATIONAL, mode=Mode.REINFORCED_INDIRECT)],
)  # fmt: skip
def test_unknown_purposes_professions_and_columns_have_no_right(caller: Caller) -> None:
    """What no column of R526 or R606 is meant for is refused everything."""
    for action in Action:
        assert clause(caller, action, OPEN) == "functional-right"


def test_reinforced_indirect_mode_reads_and_does_not_feed() -> None:
    """R606: as in direct mode, except feeding."""
    air = replace(PHYSICIAN, mode=Mode.REINFORCED_INDIRECT)
    assert clause(air, Action.READ, OPEN, DOCUMENT) == "granted"
    assert clause(air, Action.FEED, OPEN) == "functional-right"
    assert clause(air, Action.READ, replace(OPEN, is_attending=True), MASKED) == "granted"


def test_profession_by_role_is_told_by_the_second_role() -> None:
    """99 in the table of other actors: the role decides, and an unknown role has no right."""
    by_role = replace(PHYSICIAN, profession=Code("99", "1.2.250.1.213.1.6.1.140"))
    assert POLICY.standing(replace(by_role, specialty=Code("330", ROLES)), OPEN) == ("PS", "PS n", "role")
    assert POLICY.standing(replace(by_role, specialty=Code("331", ROLES)), OPEN).column == "CPE n"
    assert POLICY.standing(replace(by_role, specialty=Code("303", ROLES)), OPEN).column == ""


@pytest.mark.parametrize("action", sorted(set(Action) - {Action.EXISTS}))
def test_block_is_stronger_than_everything(action: Action) -> None:
    """A barred professional has no access in any way: not as author, not as attending, not in an emergency.

    Rule: H-04
    """
    barred = replace(OPEN, is_blocked=True, is_attending=True)
    own = replace(DOCUMENT, author_ids=frozenset({PHYSICIAN.identifier}))
    has_it = POLICY.decide(PHYSICIAN, action, replace(barred, is_blocked=False)).allowed
    assert clause(PHYSICIAN, action, barred, own) == ("patient-block" if has_it else "functional-right")
    assert POLICY.visible(PHYSICIAN, action, barred) is NOTHING
    for purpose in ("bris_de_glace", "centre_15"):
        assert not POLICY.decide(replace(PHYSICIAN, purpose=purpose), action, barred, own).allowed


def test_a_barred_professional_learns_that_he_is() -> None:
    """The existence test answers INTERDIT, so it is answered; nothing else is."""
    assert clause(PHYSICIAN, Action.EXISTS, replace(OPEN, is_blocked=True)) == "granted"


@pytest.mark.parametrize("purpose", ["bris_de_glace", "centre_15"])
def test_objection_refuses_that_emergency_only(purpose: str) -> None:
    """Each of the two objections bars its own mode and leaves normal access alone.

    Rule: H-12
    """
    record = replace(OPEN, objected_purposes=frozenset({purpose}))
    other = {"bris_de_glace": "centre_15", "centre_15": "bris_de_glace"}[purpose]
    assert clause(replace(PHYSICIAN, purpose=purpose), Action.READ, record, DOCUMENT) == "emergency-objection"
    assert clause(replace(PHYSICIAN, purpose=other), Action.READ, record, DOCUMENT) == "granted"
    assert clause(PHYSICIAN, Action.READ, record, DOCUMENT) == "granted"


def test_reading_needs_authorisation_except_in_an_emergency() -> None:
    """Feeding and finding an identifier need none.

    Rule: H-12
    """
    record = replace(OPEN, is_authorised=False)
    for action in READING:
        assert clause(PHYSICIAN, action, record, DOCUMENT) == "authorisation"
        for purpose in ("bris_de_glace", "centre_15"):
            assert clause(replace(PHYSICIAN, purpose=purpose), action, record, DOCUMENT) == "granted"
    assert clause(PHYSICIAN, Action.FEED, record) == "granted"
    assert clause(PHYSICIAN, Action.SEARCH_ID, record) == "granted"


@pytest.mark.parametrize("action", READING)
def test_signature_documents_are_shown_to_nobody(action: Action) -> None:
    """Not even to their author or the attending physician."""
    mine = EntryFacts(SIGNATURE, frozenset({NORMAL}), frozenset({PHYSICIAN.identifier}))
    assert clause(PHYSICIAN, action, replace(OPEN, is_attending=True), mine) == "unlisted-type"


@pytest.mark.parametrize("action", READING)
def test_author_reads_his_own_whatever_type_and_mask(action: Action) -> None:
    """A nurse wrote a psychiatric synthesis and someone masked it: she still reads it."""
    mine = replace(MASKED, type_code=key("68599-0"), author_ids=frozenset({"x", NURSE.identifier}))
    assert clause(NURSE, action, OPEN, mine) == "own-document"
    assert clause(NURSE, action, OPEN, replace(mine, author_ids=frozenset({"x"}))) == "document-type"


def test_caller_without_identifier_is_author_of_nothing() -> None:
    """An empty identifier must not match a document whose author carries none."""
    nobody = replace(NURSE, identifier="")
    mine = replace(MASKED, author_ids=frozenset({""}))
    assert clause(nobody, Action.READ, OPEN, mine) == "masked"
    assert not POLICY.visible(nobody, Action.READ, OPEN).passes(mine)


@pytest.mark.parametrize("column", [c for c in PROFESSION_COLUMNS if c not in ("role", "occupational", "31")])
def test_every_profession_reads_and_finds_the_types_of_its_column(column: str) -> None:
    """The type matrix reaches the decision and the filter, cell by cell."""
    caller = replace(PHYSICIAN, profession=Code(column, G15), specialty=None)
    for (type_code, profession), cell in cells().items():
        if profession != column:
            continue
        for action in READING:
            decision = POLICY.decide(caller, action, OPEN, replace(DOCUMENT, type_code=type_code))
            assert decision.allowed is (cell == "R"), (type_code, action)
            if not decision.allowed:
                assert decision.clause == ("unlisted-type" if type_code == SIGNATURE else "document-type")


@pytest.mark.parametrize("action", READING)
def test_masked_is_seen_by_author_and_attending_only(action: Action) -> None:
    """In an emergency only where the patient allowed it."""
    attending = replace(OPEN, is_attending=True)
    assert clause(PHYSICIAN, action, OPEN, MASKED) == "masked"
    assert clause(PHYSICIAN, action, attending, MASKED) == "granted"
    assert clause(NURSE, action, attending, MASKED) == "masked"
    urgent = replace(PHYSICIAN, purpose="bris_de_glace")
    assert clause(urgent, action, attending, MASKED) == "masked"
    assert clause(urgent, action, replace(OPEN, shows_masked_in_emergency=True), MASKED) == "granted"
    assert clause(PHYSICIAN, action, replace(OPEN, shows_masked_in_emergency=True), MASKED) == "masked"


FUNCTIONS = {
    Action.FEED: ("TD2.1", "TD2.2"), Action.SEARCH: ("TD3.1",), Action.SEARCH_ID: ("TD3.1-id",),
    Action.READ: ("TD3.2",),
}  # fmt: skip
ACTORS = {
    "PS": (NURSE, OPEN), "MD": (PHYSICIAN, OPEN), "OP": (OCCUPATIONAL, OPEN),
    "MT": (PHYSICIAN, replace(OPEN, is_attending=True)), "CPE": (STAFF, OPEN), "ST": (STRUCTURE, OPEN),
}  # fmt: skip


@pytest.mark.parametrize("column", RIGHT_COLUMNS)
@pytest.mark.parametrize("action", FUNCTIONS)
def test_functional_rights_reach_the_decision(column: str, action: Action) -> None:
    """Every actor and mode of R526, for each action of this stage."""
    actor, _, letter = column.partition(" ")
    caller, record = ACTORS[actor]
    purpose = {"n": "normal", "r": "centre_15", "b": "bris_de_glace", "": "normal"}[letter]
    position = RIGHT_COLUMNS.index(column)
    expected = any(RIGHTS[right][0].split()[position] != "-" for right in FUNCTIONS[action])
    assert POLICY.decide(replace(caller, purpose=purpose), action, record).allowed is expected


# -- properties -------------------------------------------------------------------------------------------------------

TYPE_CODES = [
    *(key(c) for c in ("11488-4", "68599-0", "83901-9", "ATTEST-RESID", "PRESC-KINE", "74207-2")), SIGNATURE, "x^^y",
]  # fmt: skip
PEOPLE = ["899900063480", "899900000060", "p3", ""]
callers = st.builds(
    Caller,
    identifier=st.sampled_from(PEOPLE),
    mode=st.sampled_from(list(Mode)),
    profession=st.sampled_from(
        [None, *(Code(c, G15) for c in ("10", "21", "40", "60", "70", "98", "28", "93", "77")),
         Code("SECRETARIAT_MEDICAL", A00), Code("AUTOMATE", A00), Code("330", ROLES), Code("10", "9.9")]
    ),
    specialty=st.sampled_from([None, Code("SM26", R01), Code("SM25", R01), Code("C41", R01)]),
    sector=st.sampled_from(["SA07", "SA13", "SA66", ""]),
    purpose=st.sampled_from(["normal", "normal", "bris_de_glace", "centre_15", "other"]),
    patient_id=st.sampled_from(["", PATIENT, PATIENT, "other^^^&1.2&ISO"]),
    structure_id=st.sampled_from(["s1", ""]),
    secret_connection=st.booleans(),
)  # fmt: skip
records = st.builds(
    RecordFacts,
    status=st.sampled_from([RecordStatus.ACTIVE] * 4 + [RecordStatus.CLOSED, RecordStatus.ABSENT]),
    is_blocked=st.sampled_from([False, False, False, True]),
    is_authorised=st.sampled_from([True, True, False]),
    is_attending=st.booleans(),
    is_representative=st.booleans(),
    is_attached=st.booleans(),
    objected_purposes=st.frozensets(st.sampled_from(["bris_de_glace", "centre_15"])),
    patient_id=st.just(PATIENT),
    shows_masked_in_emergency=st.booleans(),
)
entries = st.builds(
    EntryFacts,
    type_code=st.sampled_from(TYPE_CODES),
    confidentiality=st.frozensets(st.sampled_from([NORMAL, MASQUE, VEILED, FROM_PARENTS])),
    author_ids=st.frozensets(st.sampled_from(PEOPLE)),
    structure_ids=st.frozensets(st.sampled_from(["s1", "s2"])),
    status=st.sampled_from([APPROVED, DEPRECATED, *sorted(DMP.statuses)]),
)
MANY = settings(max_examples=600, deadline=None)


@MANY
@given(callers, records, entries, st.sampled_from((*READING, Action.SEARCH_ID)))
def test_filter_and_decision_agree(caller: Caller, record: RecordFacts, entry: EntryFacts, action: Action) -> None:
    """What a query shows is what a retrieve gives: one list of clauses behind both.

    Rule: H-10
    """
    decision = POLICY.decide(caller, action, record, entry)
    assert POLICY.visible(caller, action, record).passes(entry) == decision.allowed
    assert decision.allowed <= POLICY.decide(caller, action, record).allowed


@MANY
@given(callers, records, entries, st.sampled_from(list(Action)))
def test_explanation_agrees_with_the_decision(
    caller: Caller, record: RecordFacts, entry: EntryFacts, action: Action
) -> None:
    """Every clause is told, and the first that denies or allows is the one that decided."""
    told = POLICY.explain(caller, action, record, entry)
    assert [t.clause for t in told] == [c.name for c in MATRIX_CLAUSES]
    deciding = next((t for t in told if t.verdict in ("deny", "allow")), None)
    decision = POLICY.decide(caller, action, record, entry)
    assert decision.clause == (deciding.clause if deciding else "granted")
    assert decision.allowed is (deciding is None or deciding.verdict == "allow")


@MANY
@given(callers, records, entries, st.sampled_from(list(Action)))
def test_patients_settings_never_widen(caller: Caller, record: RecordFacts, entry: EntryFacts, action: Action) -> None:
    """A mask, a block, an objection, a withdrawn authorisation or closing the record only ever take away.

    Rule: H-05
    """
    hiding = (MASQUE, VEILED) if caller.secret_connection and action is Action.FEED else (MASQUE, VEILED, FROM_PARENTS)
    tighter = (
        *((record, replace(entry, confidentiality=entry.confidentiality | {code})) for code in hiding),
        (replace(record, is_blocked=True), entry),
        (replace(record, is_authorised=False), entry),
        (replace(record, objected_purposes=frozenset({"bris_de_glace", "centre_15"})), entry),
        (replace(record, shows_masked_in_emergency=False), entry),
    )
    before = POLICY.decide(caller, action, record, entry).allowed
    for facts, document in tighter:
        assert POLICY.decide(caller, action, facts, document).allowed <= before


@MANY
@given(callers, records, entries, st.sampled_from(list(Action)))
def test_the_filter_never_widens_either(
    caller: Caller, record: RecordFacts, entry: EntryFacts, action: Action
) -> None:
    """What a tighter setting's filter passes, the looser one's passed too; a barred caller's passes nothing.

    Rule: H-04, H-05
    """
    before = POLICY.visible(caller, action, record).passes(entry)
    masked = replace(entry, confidentiality=entry.confidentiality | {MASQUE, VEILED, FROM_PARENTS})
    assert POLICY.visible(caller, action, record).passes(masked) <= before
    for tighter in (replace(record, is_authorised=False), replace(record, shows_masked_in_emergency=False)):
        assert POLICY.visible(caller, action, tighter).passes(entry) <= before
    barred = replace(record, is_blocked=True)
    if action is not Action.EXISTS:
        assert POLICY.visible(caller, action, barred) == NOTHING
        assert not POLICY.decide(caller, action, barred, entry).allowed


HOLDER = Caller(identifier="279035121518989", mode=Mode.PATIENT, patient_id=PATIENT)
PARENT = replace(HOLDER, mode=Mode.REPRESENTATIVE)
REPRESENTED = replace(OPEN, is_representative=True)


@pytest.mark.parametrize("action", [*READING, Action.SEARCH_ID])
def test_patient_and_representative_see_all_but_what_is_hidden_from_them(action: Action) -> None:
    """Every type, masked, archived, unauthorised: it is his record. Signatures are for nobody.

    Rule: H-11
    """
    record = replace(REPRESENTED, is_authorised=False, objected_purposes=frozenset({"bris_de_glace", "centre_15"}))
    for code, patient, parent in ((MASQUE, True, True), (FROM_PARENTS, True, False), (VEILED, False, False)):
        entry = EntryFacts(key("68599-0"), frozenset({NORMAL, code}), status=DEPRECATED)
        assert POLICY.decide(HOLDER, action, record, entry).allowed is patient
        assert POLICY.decide(PARENT, action, record, entry).allowed is parent
    mine = replace(DOCUMENT, author_ids=frozenset({HOLDER.identifier}), confidentiality=frozenset({VEILED}))
    assert clause(HOLDER, action, record, mine) == "invisible"
    assert clause(HOLDER, action, record, replace(mine, type_code=SIGNATURE)) == "unlisted-type"


@pytest.mark.parametrize("caller", [HOLDER, PARENT])
def test_a_holders_right_is_to_his_own_record_in_normal_mode(caller: Caller) -> None:
    """The credential names the record, the record names the representative; an emergency is for professionals.

    Rule: H-11
    """
    for patient_id in ("", PATIENT.replace("2790", "1790")):
        assert clause(replace(caller, patient_id=patient_id), Action.READ, REPRESENTED) == "assertion-patient"
    assert clause(PARENT, Action.READ, OPEN) == "representative"
    assert clause(replace(caller, purpose="bris_de_glace"), Action.READ, REPRESENTED) == "functional-right"
    as_professional = replace(caller, profession=Code("10", G15), identifier=PHYSICIAN.identifier)
    assert POLICY.standing(as_professional, replace(REPRESENTED, is_attending=True)).profession == ""
    as_patient = replace(PHYSICIAN, identifier=HOLDER.identifier)
    assert clause(as_patient, Action.BLOCK, OPEN) == "functional-right"


@pytest.mark.parametrize(
    ("action", "closed"), [(Action.READ_LOG, True), (Action.REOPEN, True), (Action.DESTROY, True), (Action.READ, False)]
)
def test_what_the_patient_does_in_a_closed_record(action: Action, closed: bool) -> None:
    """He sees who was there, reopens or destroys it; nothing in it is read.

    Rule: H-11
    """
    assert POLICY.decide(HOLDER, action, replace(OPEN, status=RecordStatus.CLOSED)).allowed is closed


def test_how_far_an_act_reaches() -> None:
    """A professional's own traces, the attending physician's all; a structure's authorisation; nothing if refused.

    Rule: H-01
    """
    assert POLICY.extent(PHYSICIAN, Action.READ_LOG, OPEN) == "own"
    assert POLICY.extent(PHYSICIAN, Action.READ_LOG, replace(OPEN, is_attending=True)) == "Y"
    assert POLICY.extent(STAFF, Action.DECLARE, OPEN) == "str"
    assert POLICY.extent(STRUCTURE, Action.LIST_RECORDS, OPEN) == "new"
    assert POLICY.extent(PHYSICIAN, Action.READ_LOG, replace(OPEN, is_blocked=True)) == "-"
    assert ANYONE.extent(NURSE, Action.READ_LOG, OPEN) == "Y"


def test_data_of_an_attached_record_are_changed_elsewhere() -> None:
    """Note 10 of R526; they are still read here.

    Rule: H-01
    """
    attached = replace(OPEN, is_attached=True)
    assert clause(PHYSICIAN, Action.CHANGE_DATA, attached) == "attached-record"
    assert clause(PHYSICIAN, Action.READ_DATA, attached) == "granted"


@MANY
@given(callers, records, entries)
def test_closed_record_gives_nothing(caller: Caller, record: RecordFacts, entry: EntryFacts) -> None:
    """Whoever asks, in whatever mode, for whatever document."""
    closed = replace(record, status=RecordStatus.CLOSED)
    for action in (Action.FEED, Action.SEARCH, Action.SEARCH_ID, Action.READ):
        assert not POLICY.decide(caller, action, closed, entry).allowed
        assert POLICY.visible(caller, action, closed) == NOTHING


@MANY
@given(callers, records, entries, st.sampled_from(list(Action)))
def test_open_policy_allows_everything_in_an_open_record(
    caller: Caller, record: RecordFacts, entry: EntryFacts, action: Action
) -> None:
    """A domain that names no policy has one rule: the record is open. A closed one is closed in every domain.

    Rule: R-090
    """
    is_open = record.status is RecordStatus.ACTIVE
    always = [
        Action.EXISTS, Action.LIST_RECORDS, Action.SEARCH_PATIENTS, Action.OPEN, Action.REOPEN, Action.ASK_DESTRUCTION,
        Action.DESTROY, Action.REMOVE,
    ]
    if record.status is RecordStatus.CLOSED and caller.mode in (Mode.PATIENT, Mode.REPRESENTATIVE):
        always.append(Action.READ_LOG)
    assert ANYONE.decide(caller, action, record, entry).allowed is (is_open or action in always)
    assert (ANYONE.visible(caller, Action.SEARCH, record) == EVERYTHING) is is_open
    assert [told.clause for told in ANYONE.explain(caller, action, record, entry)] == ["record-open"]


@pytest.mark.parametrize("who", [PHYSICIAN, NURSE, STAFF])
def test_what_one_may_know_of_by_name(who: Caller) -> None:
    """Never more than a search by technical id, nothing when barred. Who searches knows what a search shows; one whom
    the patient has not allowed knows of his own. Rule: L-08"""
    own = replace(DOCUMENT, author_ids=frozenset({who.identifier}))
    documents = [DOCUMENT, own, replace(DOCUMENT, type_code=key("68599-0")),
                 replace(DOCUMENT, confidentiality=POLICY.hidden_from_professionals)]  # fmt: skip
    for record in (OPEN, replace(OPEN, is_authorised=False), replace(OPEN, is_attending=True)):
        known = POLICY.known(who, record)
        assert all(
            POLICY.visible(who, Action.SEARCH_ID, record).passes(one) for one in documents if known.passes(one)
        )
        if POLICY.decide(who, Action.SEARCH, record).allowed:
            assert known == POLICY.visible(who, Action.SEARCH, record)
    strange = POLICY.known(who, replace(OPEN, is_authorised=False))
    assert strange.passes(own) and (who is STAFF or not strange.passes(DOCUMENT))
    assert POLICY.known(who, replace(OPEN, is_blocked=True)) == NOTHING


# -- explanations, names ---------------------------------------------------------------------------------------


def test_explanation_of_a_query_tells_its_limits() -> None:
    """Without a document, a limit is told with its size."""
    told = {t.clause: t for t in POLICY.explain(PHYSICIAN, Action.SEARCH, OPEN)}
    assert told["document-type"].verdict == "limit"
    assert "112 values" in told["document-type"].reason
    assert told["record-open"].verdict == "pass"


def test_each_clause_has_a_name_a_source_and_a_docstring() -> None:
    """Names are keys of the access log's sentences, so they are unique."""
    names = [c.name for c in MATRIX_CLAUSES]
    assert len(set(names)) == len(names)
    assert all(c.source and c.rule.__doc__ for c in MATRIX_CLAUSES)


def test_search_only_cell_is_found_and_not_read(tmp_path: Path) -> None:
    """A cell S of the type matrix shows the metadata and keeps the content."""
    columns = ("level", "code", "scheme", "follows", "label", *PROFESSION_COLUMNS, "attested")
    cell = {"level": "type", "code": "68599-0", "scheme": LOINC, "60": "S"}
    table = tmp_path / "access-override.csv"
    table.write_text(",".join(columns) + "\n" + ",".join(cell.get(column, "") for column in columns) + "\n")
    policy = Policy.load("dmp", folder=tmp_path)
    psychiatric = replace(DOCUMENT, type_code=key("68599-0"))
    assert policy.decide(NURSE, Action.SEARCH, OPEN, psychiatric).allowed
    assert policy.visible(NURSE, Action.SEARCH, OPEN).passes(psychiatric)
    assert policy.decide(NURSE, Action.READ, OPEN, psychiatric).clause == "document-type"
    assert not policy.visible(NURSE, Action.READ, OPEN).passes(psychiatric)
