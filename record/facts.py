"""From what is stored to the plain facts a decision is taken on."""

from __future__ import annotations

from datetime import UTC, date, datetime

from guard.audit.access_log import stamp
from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import same_patient
from guard.policy.facts import EntryFacts, RecordFacts, RecordStatus
from record.store import Place, Record, RecordStore
from xds.model import Author, DocumentEntry

CARE_TEAM = "equipe_de_soins"
"""In ``objected_purposes``: members of the care team do not count as authorised. Clause: CSP R1111-46"""
CARE_TEAM_BASIS, CONSENT_BASIS = "care team", "consent"
_WITHOUT_PLACE = frozenset({Mode.NODE, Mode.OFF, Mode.PATIENT, Mode.REPRESENTATIVE})
_ABSENT = RecordFacts(RecordStatus.ABSENT)


def facts_for(
    records: RecordStore, record: Record | None, caller: Caller, now: datetime | None = None
) -> RecordFacts:
    """What a decision needs of this record for this caller; None stands for "no such record".

    One look-up by key finds the place of the person and that of his structure. ``now`` is an aware time.
    """
    if record is None:
        return _ABSENT
    at = stamp(now or datetime.now(UTC))
    places = places_of(records, record, caller)
    return RecordFacts(
        status=record.status,
        is_blocked=any(one.blocked_since for one in places),
        is_authorised=any(counts(one, record, at) for one in places),
        is_attending=any(one.attending_since for one in places),
        is_representative=represents(records, record, caller),
        is_attached=record.is_attached,
        age=_age(records, record, now) if caller.secret_connection else None,
        objected_purposes=record.objected_purposes,
        patient_id=_named(records, record, caller),
        shows_masked_in_emergency=record.shows_masked,
    )


def _age(records: RecordStore, record: Record, now: datetime | None) -> int | None:
    """In whole years, None where the day of birth is not known."""
    try:
        born = date.fromisoformat(records.traits(record.patient_key).birth_date)
    except ValueError:
        return None
    today = (now or datetime.now(UTC)).date()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _named(records: RecordStore, record: Record, caller: Caller) -> str:
    """The identifier of the record by which the caller's credential names it, if it is one of them: a person has
    several (INS-C, INS-NIR)."""
    named = caller.patient_id
    if not named or same_patient(named, record.patient_id):
        return record.patient_id
    found = records.find(named)
    return named if found is not None and found.patient_key == record.patient_key else record.patient_id


def places_of(records: RecordStore, record: Record, caller: Caller) -> list[Place]:
    """The places of the person and of the structure he acts for; only professionals have any."""
    if caller.mode in _WITHOUT_PLACE or not (caller.identifier or caller.structure_id):
        return []
    return records.places_of(record.patient_key, caller.identifier, caller.structure_id)


def represents(records: RecordStore, record: Record | None, caller: Caller) -> bool:
    """Whether the record names the caller as legal representative."""
    if record is None or caller.mode is not Mode.REPRESENTATIVE:
        return False
    known = {one.identifier for one in records.traits(record.patient_key).representatives}
    return bool(caller.identifier) and caller.identifier in known


def counts(place: Place, record: Record, at: str) -> bool:
    """Does this place authorise at that time? A member of the care team by it, unless the patient objects."""
    if place.basis == CARE_TEAM_BASIS and CARE_TEAM in record.objected_purposes:
        return False
    return place.is_valid(at)


def access_status(record: Record, places: list[Place], at: str) -> str:
    """The AUTORISATION of an existence test: VALIDE, EXPIRE, INTERDIT or NON_EXISTE. Clause: DMP TD0.2"""
    if any(one.blocked_since for one in places):
        return "INTERDIT"
    if any(counts(one, record, at) for one in places):
        return "VALIDE"
    return "EXPIRE" if any(one.since for one in places) else "NON_EXISTE"


def entry_facts(entry: DocumentEntry) -> EntryFacts:
    """What a decision needs of this document. Reads damaged authors as far as they go; never raises."""
    return EntryFacts(
        type_code=entry.type_code.key if entry.type_code else "",
        confidentiality=frozenset(code.key for code in entry.confidentiality_codes),
        author_ids=author_ids(entry.authors),
        structure_ids=structure_ids(entry.authors),
        status=entry.status,
    )


def author_ids(authors: list[Author]) -> frozenset[str]:
    """XCN.1 of every authorPerson. Clause: ITI TF-3 4.2.3.1.7 (XCN)"""
    return frozenset(_component(value, 1) for author in authors for value in author.person) - {""}


def structure_ids(authors: list[Author]) -> frozenset[str]:
    """XON.10 of every authorInstitution. Clause: ITI TF-3 4.2.3.1.7 (XON)"""
    return frozenset(_component(value, 10) for author in authors for value in author.institutions) - {""}


def _component(value: str, number: int) -> str:
    """The ``number``-th component, from 1, first sub-component, trimmed; "" when there is none."""
    components = value.split("^", number)
    return components[number - 1].partition("&")[0].strip() if len(components) >= number else ""
