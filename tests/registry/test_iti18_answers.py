"""ITI-18: what an answer looks like: complete, in order, without repetition, as submitted, and valid.

Clause: ITI TF-2 3.18.4.1.3
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from carnet import wiring
from conformance import frames
from conformance.client import Found
from tests.direct import (
    FIND_SUBMISSION_SETS,
    GET_ASSOCIATIONS,
    GET_DOCUMENTS_AND_ASSOCIATIONS,
    Desk,
    ask,
    ids,
    refused,
)
from tests.world import FIND_DOCUMENTS, GET_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.model import Association, Author, Code, DocumentEntry, LocalizedString, SubmissionSet
from xds.namespaces import APPROVED, DEPRECATED, QUERY, RESPONSE_FAILURE, RIM, RPLC
from xds.wire.client import LocalTransport
from xds.wire.exchange import Peer

STATUS = ("$XDSDocumentEntryStatus", f"('{APPROVED}','{DEPRECATED}')")
FOLDER_STATUS = ("$XDSFolderStatus", f"('{APPROVED}')")
UUID = "$XDSDocumentEntryEntryUUID"
GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def of_patient(desk: Desk) -> list[tuple[str, str]]:
    return [("$XDSDocumentEntryPatientId", quote(desk.patient_id)), STATUS]


def full(desk: Desk) -> DocumentEntry:
    """An entry that carries everything an entry can, in forms that are easily damaged."""
    authors = [
        frames.an_author(roles=["Rédacteur & <auteur>"], telecommunications=["^^Internet^essai@example.org"]),
        Author(institutions=["HÔPITAL \"FICTIF\"^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1990000017", "AUTRE"]),
        Author(person=["^ESSAI^Zoé"], specialties=["a^b^1.2", "texte libre"]),
    ]
    return frames.valid_entry(
        desk.domain,
        entry_uuid=frames.new_uuid(),
        patient_id=desk.patient_id,
        repository_unique_id=desk.repository,
        source_patient_info=["PID-3|X^^^&1.2.3&ISO", "PID-5|O'NEIL^Zoé^^^^^L", "PID-7|19790514", "PID-8|F"],
        title=[LocalizedString("Œuvre — « l'été » & <co>", "fr-FR"), LocalizedString("Summer", "en-US")],
        comments=[LocalizedString("ligne 1\nligne 2\tfin", "fr-FR")],
        authors=authors,
        confidentiality_codes=[
            Code("N", "2.16.840.1.113883.5.25", "Normal"), Code("R", "2.16.840.1.113883.5.25", "Restreint à l'équipe"),
        ],
        event_codes=[Code("e1", "2.25.1", "un"), Code("e1", "2.25.2", "un aussi")],
        creation_time="200401",
        service_start_time="2003",
        service_stop_time="200312",
        reference_ids=["REF-1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"],
        uri=["document.xml"],
        hash=("ABCDEF" * 7)[:40],
        size=0,
        extra_slots={"urn:essai:un": ["a", "b", "a"], "urn:essai:deux": ["à l'heure"]},
    )  # fmt: skip


def test_metadata_come_back_exactly_as_submitted(desk: Desk) -> None:
    """Every attribute, repeated authors and codes, precision of times, case of the hash, extra slots, languages.

    Rule: R-013, I-11
    """
    made = desk.submission()
    made.entries[0] = replace(full(desk), entry_uuid=made.entries[0].entry_uuid)
    made.submission_set.title = [LocalizedString("Lot d'essai", "fr-FR")]
    made.submission_set.comments = [LocalizedString("à lire", "fr-FR"), LocalizedString("to read", "en-US")]
    made.submission_set.authors = [frames.an_author(), Author(person=["^AUTRE"])]
    made.submission_set.intended_recipients = ["Hôpital^^^^^^^^^1.2.3|^RECEVEUR^Léa|^^Internet^a@example.org"]
    made.submission_set.extra_slots = {"urn:essai:lot": ["1", "2"]}
    made.associations[0].slots["urn:essai:lien"] = ["x"]
    desk.register(made)
    sent = made.entries[0]
    (entry,) = desk.entries(sent.unique_id)
    assert entry == replace(sent, status=APPROVED, logical_id=sent.entry_uuid, version=1)
    (own,) = desk.sets()
    assert own == replace(made.submission_set, status=APPROVED)
    assert desk.associations(sent.entry_uuid) == [replace(made.associations[0], status=APPROVED)]


@pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
def test_answers_satisfy_the_published_schema(desk: Desk, published: etree.XMLSchema, return_type: str) -> None:
    """Each query, with everything in it, and a refusal, whose list of objects is there and empty.

    Rule: I-09
    """
    made = desk.submission(folder=True)
    made.entries[0] = replace(full(desk), entry_uuid=made.entries[0].entry_uuid)
    desk.register(made)
    desk.register(desk.related(RPLC, made.entries[0].entry_uuid))
    entry = quote_list([made.entries[0].entry_uuid])
    of_sets = [
        ("$XDSSubmissionSetPatientId", quote(desk.patient_id)), ("$XDSSubmissionSetStatus", quote_list([APPROVED])),
    ]
    questions: list[tuple[str, list[tuple[str, str]], int]] = [
        (FIND_DOCUMENTS, of_patient(desk), 2),
        (FIND_SUBMISSION_SETS, of_sets, 2),
        (GET_DOCUMENTS, [(UUID, entry)], 1),
        (GET_ASSOCIATIONS, [("$uuid", entry)], 3),
        (GET_DOCUMENTS_AND_ASSOCIATIONS, [(UUID, entry)], 4),
        (GET_ALL, [("$patientId", quote(desk.patient_id)), *of_sets[1:], STATUS, FOLDER_STATUS], 13),
        (FIND_DOCUMENTS, [], 0),
    ]
    for query, slots, count in questions:
        body = write.adhoc_query_request(query, return_type, [(name, [value]) for name, value in slots])
        answer = desk.world.ask("physician", "registry", "RegistryStoredQuery", body, desk.patient_id).body
        published.assertValid(answer)
        assert len(answer.find(f"{{{RIM}}}RegistryObjectList")) == count
        assert answer.tag == f"{{{QUERY}}}AdhocQueryResponse"


@pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
def test_answers_are_complete_ordered_and_without_repetition(desk: Desk, return_type: str) -> None:
    """Newest creationTime first, then entryUUID, whatever the order of arrival and however many match twice.

    Rule: E-16, I-16
    """
    dice = random.Random(18)
    sent: list[DocumentEntry] = []
    for _ in range(8):
        made = desk.submission(3, event_codes=[Code("e1", "2.25.1", "x"), Code("e2", "2.25.1", "y")])
        for entry in made.entries:
            entry.creation_time = f"20260105{dice.randrange(9, 12):02d}0000"
        sent += desk.register(made).entries
    expected = [e.entry_uuid for e in sorted(sent, key=lambda e: (-int(e.creation_time), e.entry_uuid))]
    events = ("$XDSDocumentEntryEventCodeList", "('e1^^2.25.1','e2^^2.25.1')")
    assert ids(ask(desk, FIND_DOCUMENTS, *of_patient(desk), events, return_type=return_type)) == expected
    shuffled = quote_list(dice.sample(expected, len(expected)))
    assert ids(ask(desk, GET_DOCUMENTS, (UUID, shuffled), return_type=return_type)) == expected
    found = ids(ask(desk, GET_DOCUMENTS_AND_ASSOCIATIONS, (UUID, shuffled), return_type=return_type))
    assert found[: len(expected)] == expected and len(set(found)) == len(found) == 2 * len(expected)


def test_a_submission_set_and_an_association_come_with_all_they_have(desk: Desk) -> None:
    """lid and version of documents too.

    Rule: I-03
    """
    made = desk.new()
    (entry,) = desk.entries(made.entries[0].unique_id)
    assert (entry.logical_id, entry.version) == (entry.entry_uuid, 1)
    (own,) = desk.sets()
    (link,) = desk.associations(entry.entry_uuid)
    assert isinstance(own, SubmissionSet) and isinstance(link, Association)
    assert (own.unique_id, own.source_id, link.slot("SubmissionSetStatus")) == (
        made.submission_set.unique_id, frames.SOURCE_ID, "Original",
    )


def test_too_large_an_answer_is_refused_and_references_are_not(desk: Desk) -> None:
    """The bound counts objects of full answers only.

    Rule: E-15
    """
    actor = replace(wiring.registry_actor(desk.world.settings), max_results=3)
    app = wiring.registry_service(desk.world.settings, actor).app
    peer = Peer("127.0.0.1", desk.world.cards["physician"].authentication.certificate.public_bytes(Encoding.DER))
    client = desk.world.client("physician", registry=LocalTransport(app, peer, "https://localhost/services/registry"))
    made = desk.new(3)

    def found(query: str, *slots: tuple[str, str], return_type: str = "LeafClass") -> Found:
        return client.query(
            query, [(n, [v]) for n, v in slots], patient_id=desk.patient_id, return_type=return_type
        )

    assert len(ids(found(FIND_DOCUMENTS, *of_patient(desk)))) == 3
    with_links = (UUID, quote_list([e.entry_uuid for e in made.entries]))
    refused(found(GET_DOCUMENTS_AND_ASSOCIATIONS, with_links), "XDSTooManyResults", "ObjectRef")
    assert len(ids(found(GET_DOCUMENTS_AND_ASSOCIATIONS, with_links, return_type="ObjectRef"))) == 6
    desk.new()
    refused(found(FIND_DOCUMENTS, *of_patient(desk)), "XDSTooManyResults", "more than 3 objects")
    assert len(ids(found(FIND_DOCUMENTS, *of_patient(desk), return_type="ObjectRef"))) == 4


@pytest.mark.parametrize(
    "query",
    [
        "urn:uuid:00000000-0000-0000-0000-000000000001",
        "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f",
        "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df",
        "FindDocuments",
    ],
)
def test_an_unknown_query_is_refused(desk: Desk, query: str) -> None:
    """Also one of another transaction.

    Rule: C-09
    """
    refused(ask(desk, query, *of_patient(desk)), "XDSUnknownStoredQuery", "AdhocQuery, id")


def test_the_id_of_a_query_is_compared_without_case(desk: Desk) -> None:
    """And whitespace around it is ignored."""
    made = desk.new()
    assert ids(ask(desk, f" {FIND_DOCUMENTS.upper()} ", *of_patient(desk))) == [made.entries[0].entry_uuid]


@pytest.mark.parametrize("return_type", ["LeafClassWithRepositoryItem", "RegistryObject", "leafclass", ""])
def test_another_return_type_is_refused(desk: Desk, return_type: str) -> None:
    """Rule: Q-19"""
    found = ask(desk, FIND_DOCUMENTS, *of_patient(desk), return_type=return_type)
    assert found.outcome.status == RESPONSE_FAILURE and {e.code for e in found.outcome.errors} == {"XDSRegistryError"}
    assert "returnType" in found.outcome.errors[0].context and not found.objects


def test_paging_home_and_federation_are_accepted_and_ignored(desk: Desk) -> None:
    """Rule: Q-18, Q-20, E-12"""
    made = desk.new(2)
    slots = [(name, [value]) for name, value in of_patient(desk)]
    body = write.adhoc_query_request(FIND_DOCUMENTS, "ObjectRef", slots, home="urn:oid:1.2.3")
    assert b'home="urn:oid:1.2.3"' in body
    extra = b' startIndex="1" maxResults="1" federated="false"'
    body = body.replace(b"<query:AdhocQueryRequest", b"<query:AdhocQueryRequest" + extra, 1)
    body = body.replace(b'returnComposedObjects="true"', b'returnComposedObjects="false"')
    answer = desk.world.ask("physician", "registry", "RegistryStoredQuery", body, desk.patient_id).body
    assert {e.get("id") for e in answer.iter(f"{{{RIM}}}ObjectRef")} == {e.entry_uuid for e in made.entries}
