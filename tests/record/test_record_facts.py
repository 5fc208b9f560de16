"""Facts for a decision, from stored records and documents."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from guard.audit.words import CATALOGUES
from guard.credentials.caller import Caller, Mode
from guard.policy.facts import RecordFacts, RecordStatus
from record import acts, circle, destruction, lifecycle, personal
from record.facts import CARE_TEAM_BASIS, entry_facts, facts_for
from record.store import Kind, Place, Record
from xds.model import Author, Code, DocumentEntry

CALLER = Caller(identifier="899900063480", mode=Mode.DIRECT)


class Places:
    """The part of a record store that facts are read from."""

    def __init__(self, *places: Place) -> None:
        self.rows = places
        self.asked = 0

    def places_of(self, patient_key: int, person: str, structure: str) -> list[Place]:
        self.asked += 1
        return [one for one in self.rows if one.subject == (person if one.kind is Kind.PERSON else structure)]


def test_absent_record() -> None:
    """No record is a record of status ABSENT that knows no patient."""
    assert facts_for(Places(), None, CALLER) == RecordFacts(RecordStatus.ABSENT)


RECORD = Record(
    patient_key=3, patient_id="1^^^&2&ISO^NH", status=RecordStatus.CLOSED, opened_at="2026-01-01T00:00:00.000Z",
    objected_purposes=frozenset({"centre_15"}), shows_masked=True,
)


def test_facts_of_a_record() -> None:
    """Status, objections and patient come from the record; without a place in the circle nobody is authorised."""
    assert facts_for(Places(), RECORD, CALLER) == RecordFacts(
        RecordStatus.CLOSED, objected_purposes=frozenset({"centre_15"}), patient_id="1^^^&2&ISO^NH",
        is_authorised=False, shows_masked_in_emergency=True,
    )


def test_facts_of_a_place() -> None:
    """An authorisation counts until it ends, a block always; one look-up tells both."""
    place = Place(
        patient_key=3, kind=Kind.PERSON, subject=CALLER.identifier, basis="consent", since="2026-01-01T00:00:00.000Z",
        until="2026-02-01T00:00:00.000Z", attending_since="2026-01-01T00:00:00.000Z",
        blocked_since="2026-01-02T00:00:00.000Z",
    )
    store = Places(place)
    before = facts_for(store, RECORD, CALLER, datetime(2026, 1, 31, tzinfo=UTC))
    after = facts_for(store, RECORD, CALLER, datetime(2026, 2, 1, tzinfo=UTC))
    assert (before.is_authorised, before.is_attending, before.is_blocked) == (True, True, True)
    assert (after.is_authorised, after.is_blocked) == (False, True)
    assert store.asked == 2


def test_facts_of_a_document() -> None:
    """Codes as code^^scheme, authors by XCN.1, structures by XON.10."""
    entry = DocumentEntry(
        entry_uuid="urn:uuid:1", status="Approved", type_code=Code("11488-4", "2.16.840.1.113883.6.1", "CR"),
        confidentiality_codes=[Code("N", "2.16.840.1.113883.5.25"), Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13")],
        authors=[
            Author(
                person=["801234567890^MULLER^Charles^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"],
                institutions=["CABINET^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^499900063480001", "B^^^^^^^^^1.2&x&ISO^y"],
            ),
            Author(person=[" 3/auto ^X"]),
        ],
    )
    facts = entry_facts(entry)
    assert facts.type_code == "11488-4^^2.16.840.1.113883.6.1"
    assert facts.confidentiality == {"N^^2.16.840.1.113883.5.25", "MASQUE_PS^^1.2.250.1.213.1.1.4.13"}
    assert facts.author_ids == {"801234567890", "3/auto"}
    assert facts.structure_ids == {"499900063480001", "1.2"}
    assert facts.status == "Approved"


def test_document_without_type_or_authors() -> None:
    """What is missing gives nothing to match, in particular no empty author."""
    nameless = Author(person=["", "^MULLER"], institutions=["", "NAME", "^^^^^^^^^"])
    entry = DocumentEntry(entry_uuid="x", authors=[nameless])
    facts = entry_facts(entry)
    assert (facts.type_code, facts.author_ids, facts.structure_ids) == ("", frozenset(), frozenset())


@given(st.lists(st.text()), st.lists(st.text()))
def test_damaged_authors_never_raise(people: list[str], institutions: list[str]) -> None:
    """Whatever was stored, facts come out, and no identifier in them is empty or untrimmed."""
    entry = DocumentEntry(entry_uuid="x", authors=[Author(person=people, institutions=institutions)])
    facts = entry_facts(entry)
    for value in facts.author_ids | facts.structure_ids:
        assert value and value == value.strip() and "^" not in value and "&" not in value


def test_every_act_has_its_sentence_in_both_languages() -> None:
    """A patient reads what was done to his record in words, not in a keyword."""
    said = {
        value for room in (acts, circle, destruction, lifecycle, personal) for name, value in vars(room).items()
        if name.isupper() and isinstance(value, str) and " " in value
        and name not in ("ALREADY_PRESENT", "USE_SURVIVOR")
    } - {CARE_TEAM_BASIS, "log read"}
    assert len(said) > 20
    for words in CATALOGUES.values():
        assert said - set(words.done) == set()
