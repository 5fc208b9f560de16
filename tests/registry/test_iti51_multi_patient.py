"""ITI-51: several patients in one question, each record decided on by itself, each with its line in the access log.

Clause: ITI TF-2 3.51
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import registry.queries
from conformance import frames
from conformance.client import MULTI_PATIENT_QUERY, Found
from guard.credentials import vihf
from guard.credentials.cards import Card
from tests.direct import Desk, ids, refused
from tests.registry.test_policy_on_the_wire import deposit, submission
from tests.world import STRUCTURE, World
from xds.check.query_params import quote, quote_list
from xds.model import Code
from xds.namespaces import APPROVED, DEPRECATED
from xds.wire.client import LocalTransport
from xds.wire.exchange import Peer

DOCUMENTS = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
FOLDERS = "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df"
BY_REFERENCE = "urn:uuid:1191642d-86c4-42d8-b784-f95445f9f0d5"
ENTRY, FOLDER = "$XDSDocumentEntry", "$XDSFolder"
LOINC, SNOMED = "2.16.840.1.113883.6.1", "2.16.840.1.113883.6.96"
MISSING, NUMBER, TOO_MANY = "XDSStoredQueryMissingParam", "XDSStoredQueryParamNumber", "XDSTooManyResults"
RETURN_TYPES = pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])


def ask(
    world: World, query: str, *slots: tuple[str, str], who: str = "physician", patient_id: str = "",
    return_type: str = "LeafClass", status: str = APPROVED,
) -> Found:
    base = (FOLDER if query == FOLDERS else ENTRY) + "Status"
    given = [(base, [quote_list([status])])] if status else []
    return world.client(who).query(
        query, [*given, *((n, [v]) for n, v in slots)], patient_id=patient_id, return_type=return_type,
        action=MULTI_PATIENT_QUERY,
    )


def of(kind: str, patient_ids: Sequence[str]) -> tuple[str, str]:
    return f"{kind}PatientId", quote_list(patient_ids)


@RETURN_TYPES
def test_documents_of_several_patients(plain: World, return_type: str) -> None:
    """In one full answer, in the order of the patients; nobody unknown, nobody twice, nobody else.

    Clause: ITI TF-2 3.51.4.1.2.2
    """
    desks = [Desk(plain) for _ in range(3)]
    made = [desk.new(2 - n).entries for n, desk in enumerate(desks[:2])]
    desks[2].new()
    asked = [desks[1].patient_id, frames.a_patient_id("connectathon", "NOBODY"), desks[0].patient_id]
    found = ids(ask(plain, DOCUMENTS, of(ENTRY, [*asked, asked[0]]), return_type=return_type))
    assert found == [made[1][0].entry_uuid, *sorted(e.entry_uuid for e in made[0])]
    assert ids(ask(plain, DOCUMENTS, of(ENTRY, asked), status=DEPRECATED, return_type=return_type)) == []
    narrowed = (f"{ENTRY}CreationTimeFrom", "2099")
    assert ids(ask(plain, DOCUMENTS, of(ENTRY, asked), narrowed, return_type=return_type)) == []


@RETURN_TYPES
def test_folders_of_several_patients(plain: World, return_type: str) -> None:
    """Clause: ITI TF-2 3.51.4.1.2.2"""
    desks = [Desk(plain) for _ in range(2)]
    made = [desk.new(folder=True).folders[0] for desk in desks]
    of_both = of(FOLDER, [desk.patient_id for desk in desks])
    assert ids(ask(plain, FOLDERS, of_both, return_type=return_type)) == [one.entry_uuid for one in made]
    coded = (f"{FOLDER}CodeList", quote_list(["x^^y"]))
    assert ids(ask(plain, FOLDERS, of_both, coded, return_type=return_type)) == []
    assert ids(ask(plain, FOLDERS, of_both, (f"{FOLDER}LastUpdateTimeTo", "2001"), return_type=return_type)) == []


@RETURN_TYPES
def test_patients_who_are_not_named(plain: World, return_type: str) -> None:
    """By class, event and kind of facility, all of them together; each with the other criteria.

    Clause: ITI TF-2 3.51.4.1.2.2
    """
    event = Code(frames.new_oid(), "2.25.1", "essai")
    desks = [Desk(plain) for _ in range(2)]
    made = [desk.new(event_codes=[event, Code("other", "2.25.1", "x")]).entries[0] for desk in desks]
    by_event = (f"{ENTRY}EventCodeList", quote_list([event.key]))
    assert set(ids(ask(plain, DOCUMENTS, by_event, return_type=return_type))) == {e.entry_uuid for e in made}
    kinds = made[0].class_code, made[0].healthcare_facility_type_code
    names = (f"{ENTRY}ClassCode", f"{ENTRY}HealthcareFacilityTypeCode")
    for name, kind in zip(names, kinds, strict=True):
        assert kind is not None
        assert len(ids(ask(plain, DOCUMENTS, by_event, (name, quote_list([kind.key])), return_type=return_type))) == 2
        assert ids(ask(plain, DOCUMENTS, by_event, (name, "('no^^such')"), return_type=return_type)) == []
    author = (f"{ENTRY}AuthorPerson", "('%FICTIF%')")
    assert len(ids(ask(plain, DOCUMENTS, by_event, author, return_type=return_type))) == 2
    assert ids(ask(plain, DOCUMENTS, by_event, (f"{ENTRY}AuthorPerson", "('%nobody%')"), return_type=return_type)) == []


@RETURN_TYPES
def test_folders_of_patients_who_are_not_named(plain: World, return_type: str) -> None:
    """By code; slots of the same name must all match. Clause: ITI TF-2 3.51.4.1.2.2"""
    made = Desk(plain).new(folder=True).folders[0]
    codes = (f"{FOLDER}CodeList", quote_list([made.codes[0].key]))
    assert made.entry_uuid in ids(ask(plain, FOLDERS, codes, return_type=return_type))
    none = (f"{FOLDER}CodeList", quote_list(["no^^such"]))
    assert ids(ask(plain, FOLDERS, codes, none, return_type=return_type)) == []


@RETURN_TYPES
def test_documents_of_several_patients_by_reference(plain: World, return_type: str) -> None:
    """With patients named or not; the reference is required.

    Rule: Q-06, Q-12
    """
    reference = f"{frames.new_oid()}^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:order"
    desks = [Desk(plain) for _ in range(2)]
    made = [desk.new(reference_ids=[reference]).entries[0].entry_uuid for desk in desks]
    desks[0].new()
    by = (f"{ENTRY}ReferenceIdList", quote_list([reference]))
    assert set(ids(ask(plain, BY_REFERENCE, by, return_type=return_type))) == set(made)
    one = of(ENTRY, [desks[0].patient_id])
    assert ids(ask(plain, BY_REFERENCE, by, one, return_type=return_type)) == [made[0]]
    refused(ask(plain, BY_REFERENCE, one), MISSING, "ReferenceIdList")


@pytest.mark.parametrize(
    ("query", "slots"),
    [
        (DOCUMENTS, []),
        (DOCUMENTS, [("PracticeSettingCode", "('a^^b')"), ("CreationTimeFrom", "2020"), ("AuthorPerson", "('%a%')")]),
        (DOCUMENTS, [("PatientId", "()"), ("ClassCode", "('')")]),
        (FOLDERS, []),
        (FOLDERS, [("LastUpdateTimeFrom", "2020")]),
    ],
    ids=str,
)
def test_something_to_begin_with_is_required(plain: World, query: str, slots: list[tuple[str, str]]) -> None:
    """A patient, a class, an event or a kind of facility; of folders a patient or a code.

    Rule: Q-12; Clause: ITI TF-2 3.51.4.1.2.2
    """
    kind = FOLDER if query == FOLDERS else ENTRY
    refused(ask(plain, query, *((f"{kind}{n}", v) for n, v in slots)), MISSING, "PatientId", "at least one")


def test_the_status_is_required_and_codes_need_a_scheme(plain: World) -> None:
    """Rule: Q-08, Q-12"""
    patient = of(ENTRY, ["a"])
    refused(ask(plain, DOCUMENTS, patient, status=""), MISSING, f"{ENTRY}Status")
    refused(ask(plain, DOCUMENTS, (f"{ENTRY}ClassCode", "('a')")), "XDSRegistryError", f"{ENTRY}ClassCode")


def test_the_number_of_patients_is_bounded(plain: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named or not. Attack: population-search"""
    monkeypatch.setattr(registry.queries, "MOST_PATIENTS", 2)
    event = Code(frames.new_oid(), "2.25.1", "essai")
    desks = [Desk(plain) for _ in range(3)]
    for desk in desks[:2]:
        desk.new(event_codes=[event])
    by_event = (f"{ENTRY}EventCodeList", quote_list([event.key]))
    assert len(ids(ask(plain, DOCUMENTS, by_event))) == 2
    desks[2].new(event_codes=[event])
    refused(ask(plain, DOCUMENTS, by_event), TOO_MANY, "more than 2 patients")
    refused(ask(plain, DOCUMENTS, of(ENTRY, [desk.patient_id for desk in desks])), NUMBER, "3 patients")


def test_it_is_served_at_an_address_of_its_own(plain: World) -> None:
    """And at the registry's; ITI-18 is not served there."""
    assert plain.registry is not None
    card: Card = plain.cards["physician"]
    peer = Peer("127.0.0.1", card.authentication.certificate.public_bytes(Encoding.DER))
    transport = LocalTransport(plain.registry.app, peer, "https://localhost/services/registry/iti51")
    client = plain.client("physician", registry=transport)
    slots = [(f"{ENTRY}Status", [quote_list([APPROVED])]), (f"{ENTRY}PatientId", ["('x')"])]
    assert client.query(DOCUMENTS, slots, action=MULTI_PATIENT_QUERY).outcome.is_success
    with pytest.raises(Exception, match="not served"):
        client.query(DOCUMENTS, slots)


# -- under the rules of the French record ------------------------------------------------------------------


@pytest.fixture
def three(here: World) -> SimpleNamespace:
    """One patient with a document, one whose record is closed, one whose document is masked."""
    patients = [here.patient() for _ in range(3)]
    entries = []
    for number, patient_id in enumerate(patients):
        made = deposit(here, submission(patient_id, masked=number == 2))
        entries += [e.entry_uuid for e in Desk(here, patient_id).entries(made.entries[0].unique_id)]
    here.close(patients[1])
    return SimpleNamespace(patients=patients, entries=entries)


@RETURN_TYPES
def test_each_record_is_decided_on_by_itself(here: World, three: SimpleNamespace, return_type: str) -> None:
    """A closed record and a masked document are not there, the rest is; every record has its line, an unknown
    patient too, and each tells of that record alone."""
    unknown = here.patient(is_open=False)
    seen = [len(here.log_of(one)) for one in three.patients]
    asked = of(ENTRY, [*three.patients, unknown])
    found = ask(here, DOCUMENTS, asked, who="colleague", return_type=return_type)
    assert ids(found) == [three.entries[0]]
    lines = [here.log_of(one)[count:] for one, count in zip(three.patients, seen, strict=True)]
    assert [len(one) for one in lines] == [1, 1, 1]
    of_open, of_closed, of_masked = (one[0] for one in lines)
    assert {one.event for one in (of_open, of_closed, of_masked)} == {"ITI-51"}
    assert (of_open.outcome, of_open.detail) == ("success", "FindDocumentsForMultiplePatients, 1 results")
    assert (of_closed.outcome, of_closed.clause) == ("refused", "record-open")
    assert (of_masked.outcome, of_masked.detail) == ("success", "FindDocumentsForMultiplePatients, 0 results")
    last = here.last_lines(1)[-1]
    assert (last.patient_id, last.event, last.trace_id) == (unknown, "ITI-51", of_open.trace_id)
    both = ids(ask(here, DOCUMENTS, asked, return_type=return_type))
    assert both == [three.entries[0], three.entries[2]]


def test_an_assertion_for_one_patient_asks_about_no_other(here: World, three: SimpleNamespace) -> None:
    """The whole question is refused in words; each record aimed at says why."""
    first, _, other = three.patients
    mine = ask(here, DOCUMENTS, of(ENTRY, [first]), patient_id=first)
    assert ids(mine) == [three.entries[0]]
    found = ask(here, DOCUMENTS, of(ENTRY, [first, other]), patient_id=first)
    refused(found, "XDSRegistryError", "access right", "another patient")
    assert here.log_of(other)[-1].clause == "assertion-patient"


@pytest.mark.parametrize("purpose", [vihf.NORMAL.code, "bris_de_glace", "centre_15"])
def test_nobody_searches_the_patients_he_does_not_name(here: World, three: SimpleNamespace, purpose: str) -> None:
    """Patients who are not named have authorised nobody: neither a physician nor an emergency looks for them."""
    client = here.client("physician", purpose=Code(purpose, vihf.PURPOSES, purpose), structure_id=STRUCTURE)
    (entry,) = Desk(here, three.patients[0]).world.find(three.patients[0]).objects
    slots = [(f"{ENTRY}Status", [quote_list([APPROVED])]), (f"{ENTRY}ClassCode", [quote_list([entry.class_code.key])])]
    for patient_id in ("", three.patients[0]):
        found = client.query(DOCUMENTS, slots, patient_id=patient_id, action=MULTI_PATIENT_QUERY)
        refused(found, "XDSRegistryError", "access right")
    line = here.last_lines(1)[-1]
    assert (line.event, line.outcome) == ("ITI-51", "refused")


@pytest.mark.parametrize("who", ["staff", "laboratory"])
def test_staff_and_structures_ask_about_nobody(here: World, three: SimpleNamespace, who: str) -> None:
    """As in ITI-18, for references too."""
    for return_type in ("LeafClass", "ObjectRef"):
        found = ask(here, DOCUMENTS, of(ENTRY, three.patients), who=who, return_type=return_type)
        refused(found, "XDSRegistryError", "access right", "functional rights")


def test_one_patient_in_quotes_is_a_list_of_one(plain: World) -> None:
    """Rule: Q-15"""
    desk = Desk(plain)
    made = desk.new().entries[0].entry_uuid
    assert ids(ask(plain, DOCUMENTS, (f"{ENTRY}PatientId", quote(desk.patient_id)))) == [made]
