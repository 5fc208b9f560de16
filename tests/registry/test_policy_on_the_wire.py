"""Who sees what, from outside: what is hidden looks exactly like what does not exist, and the log says why.

Clause: ITI TF-2 3.18.4.1.3, 3.43.4.1.3; DMP R526, TD3.3a; CSP L1111-17, L1111-18
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lxml import etree

from conformance import frames, updates
from conformance.client import bytes_part
from guard.credentials import vihf
from record.administrative import AdministrativeData
from tests.direct import (
    FIND_SUBMISSION_SETS,
    GET_ASSOCIATIONS,
    GET_DOCUMENTS_AND_ASSOCIATIONS,
    Desk,
    ask,
    ids,
    refused,
)
from tests.world import FIND_DOCUMENTS, GET_DOCUMENTS, PHYSICIAN, STRUCTURE, Memory, World, codes, contents
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.model import Association, Code, Submission
from xds.namespaces import APPROVED, DEPRECATED, RPLC
from xds.wire.exchange import OutgoingPart

MASKED = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué aux professionnels")
FROM_PARENTS = Code("INVISIBLE_REPRESENTANTS_LEGAUX", "1.2.250.1.213.1.1.4.13", "Invisible aux représentants légaux")
DELETED = "urn:asip:ci-sis:2010:StatusType:Deleted"
LOINC = "2.16.840.1.113883.6.1"
AUTHOR = f"{PHYSICIAN}^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
RETURN_TYPES = ("LeafClass", "ObjectRef")
HIDDEN_FROM = ("colleague", "nurse")
Question = tuple[str, list[tuple[str, str]]]
"""Query id and slots."""


def submission(patient_id: str, *, masked: bool = False, **changes: object) -> Submission:
    """By the physician, with UUIDs."""
    made = frames.valid_submission("dmp", patient_id=patient_id, **changes)  # type: ignore[arg-type]
    for entry in made.entries:
        entry.authors = [frames.an_author(person=[AUTHOR])]
        if masked:
            entry.confidentiality_codes.append(MASKED)
    return made


def deposit(world: World, made: Submission, who: str = "physician") -> Submission:
    """Deposit, and learn the ids the registry has given."""
    outcome = world.deposit(made, contents(made), who=who)
    assert outcome.is_success, outcome
    return made


@dataclass
class Hidden:
    """One patient: a masked document, alone in its set, in a folder, replacing a document that is not masked."""

    world: World
    patient_id: str
    unique_id: str
    entry: str
    sets: str
    links: list[str]
    folder: str

    @property
    def desk(self) -> Desk:
        return Desk(self.world, self.patient_id)


@pytest.fixture(scope="module")
def hidden(here: World) -> Hidden:
    patient_id = here.patient()
    made = deposit(here, submission(patient_id, masked=True, folder=True))
    desk, unique_id = Desk(here, patient_id), made.entries[0].unique_id
    (entry,) = desk.entries(unique_id)
    links = desk.associations(entry.entry_uuid)
    (own,) = desk.sets()
    (folder,) = {a.source for a in links} - {own.entry_uuid}
    links += [a for a in desk.associations(own.entry_uuid) if a not in links]
    return Hidden(here, patient_id, unique_id, entry.entry_uuid, own.entry_uuid, [a.entry_uuid for a in links], folder)


def questions(patient_id: str, entry: str, unique_id: str, of_set: str, link: str) -> Iterator[Question]:
    """Every query of this stage about these objects."""
    statuses = quote_list([APPROVED, DEPRECATED])
    yield FIND_DOCUMENTS, [("$XDSDocumentEntryPatientId", quote(patient_id)), ("$XDSDocumentEntryStatus", statuses)]
    yield (
        FIND_SUBMISSION_SETS,
        [("$XDSSubmissionSetPatientId", quote(patient_id)), ("$XDSSubmissionSetStatus", statuses)],
    )
    for query in (GET_DOCUMENTS, GET_DOCUMENTS_AND_ASSOCIATIONS):
        yield query, [("$XDSDocumentEntryEntryUUID", quote_list([entry]))]
        yield query, [("$XDSDocumentEntryUniqueId", quote_list([unique_id]))]
    yield GET_DOCUMENTS, [("$XDSDocumentEntryLogicalID", quote_list([entry]))]
    for one in (entry, of_set, link):
        yield GET_ASSOCIATIONS, [("$uuid", quote_list([one]))]


def raw(world: World, who: str, query: str, slots: list[tuple[str, str]], return_type: str, patient_id: str) -> bytes:
    body = write.adhoc_query_request(query, return_type, [(name, [value]) for name, value in slots])
    answer = world.ask(who, "registry", "RegistryStoredQuery", body, patient_id)
    return normal(etree.tostring(answer.body))


def normal(answer: bytes, *names: str) -> bytes:
    """The answer without what differs from one question to the next."""
    for name in names:
        answer = answer.replace(name.encode(), b"ID")
    return re.sub(rb"trace [0-9a-f]+", b"trace T", answer)


@pytest.mark.parametrize("who", HIDDEN_FROM)
@pytest.mark.parametrize("return_type", RETURN_TYPES)
def test_every_query_answers_for_a_masked_document_as_for_none(hidden: Hidden, who: str, return_type: str) -> None:
    """Byte for byte: the document, its associations and its set, asked for in every way."""
    world = hidden.world
    empty = world.patient()
    there = questions(hidden.patient_id, hidden.entry, hidden.unique_id, hidden.sets, hidden.links[0])
    absent = questions(empty, frames.new_uuid(), frames.new_oid(), frames.new_uuid(), frames.new_uuid())
    for (query, slots), (_, others) in zip(there, absent, strict=True):
        assert raw(world, who, query, slots, return_type, hidden.patient_id) == raw(
            world, who, query, others, return_type, empty
        ), (query, slots)
    for link in hidden.links:
        assert ids(ask(hidden.desk, GET_ASSOCIATIONS, ("$uuid", quote_list([link])), who=who)) == []


@pytest.mark.parametrize("return_type", RETURN_TYPES)
def test_its_author_sees_a_masked_document(hidden: Hidden, return_type: str) -> None:
    """With its set and every association."""
    every = questions(hidden.patient_id, hidden.entry, hidden.unique_id, hidden.sets, hidden.links[0])
    for query, slots in every:
        asked_for_link = slots[0][1] == quote_list([hidden.links[0]])
        found = ids(ask(hidden.desk, query, *slots, return_type=return_type))
        assert found or asked_for_link, (query, slots)
    outcome, items = hidden.world.read(hidden.patient_id, [hidden.unique_id])
    assert outcome.is_success and [i.received for i in items] == [frames.content(1)]


def retrieved(world: World, who: str, patient_id: str, unique_id: str) -> bytes:
    body = write.retrieve_request([(world.settings.repository.unique_id, unique_id)])
    answer = world.ask(who, "repository", "RetrieveDocumentSet", body, patient_id)
    assert not answer.parts
    return normal(etree.tostring(answer.body), unique_id)


@pytest.mark.parametrize("who", [*HIDDEN_FROM, "laboratory", "staff"])
def test_a_retrieve_answers_for_a_masked_document_as_for_none(hidden: Hidden, who: str) -> None:
    """Byte for byte; the log knows the difference.

    Rule: R-122, R-123
    """
    world = hidden.world
    there = retrieved(world, who, hidden.patient_id, hidden.unique_id)
    line = world.log_of(hidden.patient_id)[-1]
    absent = retrieved(world, who, hidden.patient_id, frames.new_oid())
    assert there == absent and b"XDSDocumentUniqueIdError" in there
    assert (line.action, line.outcome, line.documents) == ("read", "refused", (hidden.unique_id,))
    assert line.clause == ("masked" if who == "colleague" or who == "nurse" else "functional-right")
    assert line.reason and line.event == "ITI-43"


def test_one_readable_document_beside_a_masked_one(here: World) -> None:
    """The readable one comes, the other is as if it were not there: in a retrieve, a set and a folder.

    Rule: R-123
    """
    patient_id = here.patient()
    made = submission(patient_id, documents=2, folder=True)
    made.entries[0].confidentiality_codes.append(MASKED)
    deposit(here, made)
    desk = Desk(here, patient_id)
    outcome, items = here.read(patient_id, [e.unique_id for e in made.entries], "colleague")
    assert [i.unique_id for i in items] == [made.entries[1].unique_id]
    assert [(e.code, e.location) for e in outcome.errors] == [("XDSDocumentUniqueIdError", made.entries[0].unique_id)]
    (masked,) = desk.entries(made.entries[0].unique_id)
    (own,) = desk.sets()
    statuses = ("$XDSSubmissionSetStatus", quote_list([APPROVED]))
    sets = ask(desk, FIND_SUBMISSION_SETS, ("$XDSSubmissionSetPatientId", quote(patient_id)), statuses, who="colleague")
    assert ids(sets) == [own.entry_uuid]
    found = ask(desk, GET_ASSOCIATIONS, ("$uuid", quote_list([own.entry_uuid])), who="colleague").objects
    everything = desk.associations(own.entry_uuid)
    lead_there = {masked.entry_uuid} | {a.entry_uuid for a in desk.associations(masked.entry_uuid)}
    shown = {a.entry_uuid for a in found if isinstance(a, Association)}
    assert shown == {a.entry_uuid for a in everything if not {a.entry_uuid, a.target} & lead_there}


def test_the_relation_to_a_masked_document_is_hidden_with_it(here: World) -> None:
    """A replacement of a masked document is seen, what it replaced is not."""
    patient_id = here.patient()
    old = deposit(here, submission(patient_id, masked=True))
    desk = Desk(here, patient_id)
    (masked,) = desk.entries(old.entries[0].unique_id)
    new = submission(patient_id)
    new.associations.append(frames.relationship(RPLC, "Document01", masked.entry_uuid))
    deposit(here, new)
    found = ask(
        desk, GET_DOCUMENTS_AND_ASSOCIATIONS, ("$XDSDocumentEntryUniqueId", quote_list([new.entries[0].unique_id])),
        who="colleague",
    )  # fmt: skip
    links = [o for o in found.objects if isinstance(o, Association)]
    assert len(links) == 1 and links[0].type != RPLC
    assert masked.entry_uuid not in {end for a in links for end in (a.source, a.target)}


def test_a_closed_record_is_empty_everywhere(here: World) -> None:
    """Even to the author: byte for byte as for a patient without a record.

    Rule: R-090, E-17
    """
    patient_id, unknown = here.patient(), here.patient(is_open=False)
    made = deposit(here, submission(patient_id))
    desk = Desk(here, patient_id)
    (entry,) = desk.entries(made.entries[0].unique_id)
    (own,) = desk.sets()
    (link,) = desk.associations(entry.entry_uuid)
    here.close(patient_id)
    seen = len(here.log_of(patient_id))
    there = list(questions(patient_id, entry.entry_uuid, entry.unique_id, own.entry_uuid, link.entry_uuid))
    absent = questions(unknown, frames.new_uuid(), frames.new_oid(), frames.new_uuid(), frames.new_uuid())
    for (query, slots), (_, others) in zip(there, absent, strict=True):
        for return_type in RETURN_TYPES:
            assert raw(here, "physician", query, slots, return_type, patient_id) == raw(
                here, "physician", query, others, return_type, unknown
            )
    assert retrieved(here, "physician", patient_id, entry.unique_id) == retrieved(
        here, "physician", patient_id, frames.new_oid()
    )
    lines = here.log_of(patient_id)[seen:]
    assert len(lines) == 2 * len(there) + 1
    assert {(line.outcome, line.clause) for line in lines} == {("refused", "record-open")}


def test_a_nurse_does_not_see_a_psychiatric_synthesis(here: World) -> None:
    """Neither in a query nor in a retrieve; a physician does."""
    patient_id = here.patient()
    domain = frames._domain("dmp")
    made = deposit(
        here,
        submission(
            patient_id,
            type_code=domain.code("type_code", f"68599-0^^{LOINC}"),
            class_code=domain.code("class_code", "11^^1.2.250.1.213.1.1.4.1"),
        ),
    )
    desk, unique_id = Desk(here, patient_id), made.entries[0].unique_id
    asked = ("$XDSDocumentEntryUniqueId", quote_list([unique_id]))
    for return_type in RETURN_TYPES:
        assert ids(ask(desk, GET_DOCUMENTS, asked, who="nurse", return_type=return_type)) == []
        assert len(ids(ask(desk, GET_DOCUMENTS, asked, who="colleague", return_type=return_type))) == 1
    assert here.find(patient_id, "nurse").objects == []
    assert b"XDSDocumentUniqueIdError" in retrieved(here, "nurse", patient_id, unique_id)
    line = here.log_of(patient_id)[-1]
    assert (line.outcome, line.clause) == ("refused", "document-type")
    assert here.read(patient_id, [unique_id], "colleague")[0].is_success


def test_a_nurse_sees_an_ordinary_document(here: World) -> None:
    """So that the refusals above are about the document."""
    patient_id = here.patient()
    made = deposit(here, submission(patient_id))
    assert [o.entry_uuid for o in here.find(patient_id, "nurse").objects]
    assert here.read(patient_id, [made.entries[0].unique_id], "nurse")[0].is_success
    line = here.log_of(patient_id)[-1]
    assert (line.outcome, line.action, line.caller_name) == ("success", "read", "FICTIF Paul")


def test_an_assertion_for_one_patient_opens_no_other(here: World) -> None:
    """Query by patient, query by identifier, retrieve and deposit; each in the log of the record aimed at."""
    mine, other = here.patient(), here.patient()
    made = deposit(here, submission(other))
    unique_id = made.entries[0].unique_id
    client = here.client()
    security = client.security(mine)
    statuses = quote_list([APPROVED])
    found = client.query(
        FIND_DOCUMENTS,
        [("$XDSDocumentEntryPatientId", [quote(other)]), ("$XDSDocumentEntryStatus", [statuses])],
        security=security,
    )
    refused(found, "XDSRegistryError", "access right", "another patient")
    found = client.query(GET_DOCUMENTS, [("$XDSDocumentEntryUniqueId", [quote_list([unique_id])])], security=security)
    assert ids(found) == []
    outcome, items = client.retrieve(
        [(here.settings.repository.unique_id, unique_id)], Memory, security=security
    )
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}
    again = submission(other)
    outcome = client.provide(again, _parts(again), security=security)
    assert codes(outcome) == {"XDSRegistryError"} and "another patient" in outcome.errors[0].context
    lines = here.log_of(other)[-4:]
    assert [line.action for line in lines] == ["search", "search", "read", "deposit"]
    assert {(line.outcome, line.clause, line.patient_id) for line in lines} == {("refused", "assertion-patient", other)}
    assert here.log_of(mine)[1:] == []


def _parts(made: Submission) -> list[tuple[str, OutgoingPart]]:
    return [(name, bytes_part(data, f"{name}@test", "text/xml")) for name, data in contents(made).items()]


@pytest.mark.parametrize("who", ["staff", "laboratory"])
def test_staff_and_structures_search_references_only(here: World, who: str) -> None:
    """They may learn the technical id of a document they can name, and nothing else; the refusal is in words."""
    patient_id = here.patient()
    made = deposit(here, submission(patient_id))
    unique_id = made.entries[0].unique_id
    desk = Desk(here, patient_id)
    (entry,) = desk.entries(unique_id)
    seen = len(here.log_of(patient_id))
    found = here.find(patient_id, who)
    refused(found, "XDSRegistryError", "access right", "functional rights")
    by_name = ("$XDSDocumentEntryUniqueId", quote_list([unique_id]))
    assert ids(ask(desk, GET_DOCUMENTS, by_name, who=who, return_type="ObjectRef")) == [entry.entry_uuid]
    for query, slots in questions(patient_id, entry.entry_uuid, unique_id, frames.new_uuid(), frames.new_uuid()):
        refused(ask(desk, query, *slots, who=who), "XDSRegistryError", "access right", "functional rights")
        if query != GET_DOCUMENTS:
            refused(ask(desk, query, *slots, who=who, return_type="ObjectRef"), "XDSRegistryError", "access right")
    assert b"XDSDocumentUniqueIdError" in retrieved(here, who, patient_id, unique_id)
    lines = here.log_of(patient_id)[seen:]
    assert lines[0].outcome == "refused" and lines[-1].clause == "functional-right"
    assert {line.clause for line in lines if line.outcome == "refused"} == {"functional-right"}


def test_a_structure_learns_no_technical_id_of_a_masked_document(hidden: Hidden) -> None:
    """The mask holds for references too.

    Rule: H-06
    """
    by_name = ("$XDSDocumentEntryUniqueId", quote_list([hidden.unique_id]))
    assert ids(ask(hidden.desk, GET_DOCUMENTS, by_name, who="laboratory", return_type="ObjectRef")) == []


def test_a_structure_finds_and_deletes_its_own_masked_document(here: World) -> None:
    """By its number in the author's institution: the technical id, not the metadata, and nobody else's document.

    Rule: H-06
    """
    patient_id = here.patient()
    made = submission(patient_id, masked=True)
    for entry in made.entries:
        entry.authors = [frames.an_author(institutions=[f"LABO^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{STRUCTURE}"])]
    deposit(here, made, "laboratory")
    desk = Desk(here, patient_id)
    by_name = ("$XDSDocumentEntryUniqueId", quote_list([made.entries[0].unique_id]))
    (found,) = ids(ask(desk, GET_DOCUMENTS, by_name, who="laboratory", return_type="ObjectRef"))
    refused(ask(desk, GET_DOCUMENTS, by_name, who="laboratory"), "XDSRegistryError", "access right")
    assert ids(ask(desk, GET_DOCUMENTS, by_name, who="colleague", return_type="ObjectRef")) == []
    gone = updates.empty_update("dmp", patient_id)
    updates.new_status(gone, found, APPROVED, DELETED)
    assert here.client("laboratory").update(gone).is_success
    assert [line.outcome for line in here.log_of(patient_id) if line.action == "delete"] == ["success"]


def test_a_secret_connection_deposits_secret_documents_only(here: World) -> None:
    """Each must be invisible to representatives; the refusal names the one that is not.

    Rule: H-07
    """
    patient_id = here.patient()
    client = here.client()
    assert client.card is not None
    content = vihf.for_card(client.card, structure_id=STRUCTURE, patient_id=patient_id, is_secret_connection=True)
    security = vihf.security_header(vihf.issue(content, client.card.signature))
    made = submission(patient_id)
    outcome = client.provide(made, _parts(made), security=security)
    assert codes(outcome) == {"XDSRegistryError"} and "the connection is secret" in outcome.errors[0].context
    assert here.log_of(patient_id)[-1].clause == "secret-connection"
    made = submission(patient_id)
    for entry in made.entries:
        entry.confidentiality_codes.append(FROM_PARENTS)
    assert client.provide(made, _parts(made), security=security).is_success


@pytest.mark.parametrize(("born", "taken"), [("2015-03-01", True), ("1979-05-14", False), ("", True)])
def test_a_secret_connection_is_for_minors(here: World, born: str, taken: bool) -> None:
    """By the day of birth the record knows; an age that is not known may be a minor's. Rule: H-07"""
    patient_id = here.patient()
    with here._registry_database() as database, database.write() as unit:
        record = unit.record.find(patient_id)
        unit.record.set_traits(record.patient_key, AdministrativeData(birth_date=born))
    made = submission(patient_id)
    made.entries[0].confidentiality_codes.append(FROM_PARENTS)
    outcome = here.client("physician", is_secret_connection=True).provide(made, _parts(made))
    assert outcome.is_success is taken
    assert taken or here.log_of(patient_id)[-1].clause == "secret-connection"


@pytest.mark.parametrize("purpose", ["bris_de_glace", "centre_15"])
def test_an_emergency_the_patient_objected_to_is_refused(here: World, purpose: str) -> None:
    """It looks like an empty record; in the normal way the same caller reads; the log says the patient objected.

    Rule: U-04
    """
    patient_id = here.patient(objected_purposes=frozenset({purpose}))
    made = deposit(here, submission(patient_id))
    desk, unique_id = Desk(here, patient_id), made.entries[0].unique_id
    (entry,) = desk.entries(unique_id)
    client = here.client("colleague", purpose=Code(purpose, vihf.PURPOSES, purpose), structure_id=STRUCTURE)
    seen = len(here.log_of(patient_id))
    every = list(questions(patient_id, entry.entry_uuid, unique_id, frames.new_uuid(), frames.new_uuid()))
    for query, slots in every:
        assert ids(client.query(query, [(n, [v]) for n, v in slots], patient_id=patient_id)) == []
    outcome, items = client.retrieve(
        [(here.settings.repository.unique_id, unique_id)], Memory, patient_id=patient_id
    )
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}
    again = submission(patient_id)
    assert codes(client.provide(again, _parts(again))) == {"XDSUnknownPatientId"}
    lines = here.log_of(patient_id)[seen:]
    assert {(n.outcome, n.clause, n.purpose) for n in lines} == {("refused", "emergency-objection", purpose)}
    assert [line.action for line in lines[-2:]] == ["read", "deposit"]
    assert here.read(patient_id, [unique_id], "colleague")[0].is_success


def test_an_emergency_without_objection_reads(here: World) -> None:
    """But not what is masked."""
    patient_id = here.patient()
    plain = deposit(here, submission(patient_id))
    masked = deposit(here, submission(patient_id, masked=True))
    client = here.client("colleague", purpose=Code("bris_de_glace", vihf.PURPOSES, ""), structure_id=STRUCTURE)
    found = client.query(
        GET_DOCUMENTS,
        [("$XDSDocumentEntryUniqueId", [quote_list([plain.entries[0].unique_id, masked.entries[0].unique_id])])],
        patient_id=patient_id,
    )
    assert [getattr(o, "unique_id", "") for o in found.objects] == [plain.entries[0].unique_id]
    assert here.log_of(patient_id)[-1].purpose == "bris_de_glace"


def test_each_search_is_in_the_log_with_its_count(here: World) -> None:
    """Of each record looked into; a question about two patients tells neither of the other."""
    one, other = here.patient(), here.patient()
    first, second = deposit(here, submission(one, documents=2)), deposit(here, submission(other))
    names = [e.unique_id for e in (*first.entries, *second.entries)]
    client = here.client()
    security = client.security("")
    found = client.query(
        GET_DOCUMENTS, [("$XDSDocumentEntryUniqueId", [quote_list(names)])], return_type="ObjectRef", security=security
    )
    assert len(ids(found)) == 3
    assert here.log_of(one)[-1].detail == "GetDocuments, 2 results"
    assert here.log_of(other)[-1].detail == "GetDocuments, 1 results"
    assert here.log_of(one)[-1].trace_id == here.log_of(other)[-1].trace_id


def test_a_question_about_nobody_is_in_the_log_of_the_service(here: World) -> None:
    """An unknown patient and an unknown query."""
    unknown = here.patient(is_open=False)
    here.find(unknown)
    line = here.last_lines(1)[-1]
    assert (line.action, line.outcome, line.patient_id, line.detail) == (
        "search", "success", unknown, "FindDocuments, 0 results",
    )
    here.client().query("urn:uuid:00000000-0000-0000-0000-000000000001", [], patient_id=unknown)
    line = here.last_lines(1)[-1]
    assert line.outcome == "refused" and line.reason.startswith("XDSUnknownStoredQuery")
