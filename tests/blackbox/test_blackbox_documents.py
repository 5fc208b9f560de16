"""ITI-41 and ITI-43: bytes, MTOM in every legal shape, the codes of the repository."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from lxml import etree

from tests.blackbox import meta, wire
from tests.blackbox.event import Event, good, refused
from tests.blackbox.meta import REPOSITORY, RPLC, Entry, Set, document, link, provide, retrieve

AWKWARD = b"\r\n--MIME-boundary-7d1x\r\n\x00\xff--MIME-boundary-7d1 \r\n--\r\n" + bytes(range(256)) * 40
REP = "XDSRepositoryMetadataError"


@pytest.fixture
def patient(event: Event) -> str:
    return event.patient()


def fetched(event: Event, *wanted: tuple[str, str], **more: str) -> wire.Reply:
    reply = event.repository.call_mtom(wire.RS, retrieve(*wanted, **more))
    assert reply.status == 200 and reply.is_mtom
    return reply


def content(reply: wire.Reply, found: Any) -> bytes:
    """Bytes of a DocumentResponse, inline or as a part."""
    element = found.find("xds:Document", wire.NS)
    include = element.find("xop:Include", wire.NS)
    if include is None:
        return base64.b64decode(element.text or "")
    assert element.text is None and include.tail is None, "xop:Include stands alone"
    return reply.parts[include.get("href").removeprefix("cid:")]


def test_a_deposit_is_found_and_retrieved_byte_for_byte(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3, 3.43.4.2: bytes as submitted, hash and size added, mimeType of the entry.

    Rule: R-047, R-052
    """
    entry = Entry(patient, data=AWKWARD, registered=False, slots={"repositoryUniqueId": "9.9.9"})
    assert good(event.provide(Set(patient, [entry]))).is_mtom
    (found,) = event.find(patient).objects("ExtrinsicObject")
    values = {s.get("name"): s.findtext(".//rim:Value", namespaces=wire.NS) for s in found.findall("rim:Slot", wire.NS)}
    assert values["hash"] == hashlib.sha1(AWKWARD).hexdigest() and values["size"] == str(len(AWKWARD))
    assert values["repositoryUniqueId"] == REPOSITORY
    reply = good(fetched(event, (REPOSITORY, entry.unique)))
    (answer,) = reply.all(".//xds:DocumentResponse")
    assert content(reply, answer) == AWKWARD
    assert [c.tag.rpartition("}")[2] for c in answer] == [
        "RepositoryUniqueId",
        "DocumentUniqueId",
        "mimeType",
        "Document",
    ]
    assert answer.findtext("xds:mimeType", namespaces=wire.NS) == "text/plain"


VARIANTS: dict[str, dict[str, Any]] = {
    "no start": {"start": None},
    "no start-info": {"start_info": None},
    "another start-info": {"start_info": 'start-info="application/soap+xml"; action="urn:something:else"'},
    "quotes and dots in the boundary": {"boundary": "=_Part.1'()+_,-./:=?"},
    "attachment of its own type": {"part_type": "application/octet-stream"},
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_legal_shapes_of_a_package(event: Event, patient: str, name: str) -> None:
    """ITI TF-2 V.3.6, RFC 2387: optional parameters, any boundary, any part type. Rule: M-03, M-05, M-10"""
    entry = Entry(patient, registered=False)
    body = wire.envelope(wire.P, provide(Set(patient, [entry]), document(entry.id, "cid:d1@tester")))
    good(event.repository.post(*wire.multipart(body, [("d1@tester", entry.data)], **VARIANTS[name])))


def test_content_type_names_are_caseless_and_unquoted(event: Event, patient: str) -> None:
    """RFC 2045: media types and parameter names without case, quotes optional. Rule: M-13"""
    entry = Entry(patient, registered=False)
    body = wire.envelope(wire.P, provide(Set(patient, [entry]), document(entry.id, "cid:d1@tester")))
    data, _ = wire.multipart(body, [("d1@tester", entry.data)])
    kind = 'Multipart/Related; Boundary=MIME-boundary-7d1; TYPE="application/xop+xml"; START="<root@tester>"; '
    kind += 'Start-Info="application/soap+xml"'
    good(event.repository.post(data, kind))


@pytest.mark.parametrize(
    ("part", "href"),
    [
        ("d%401@tester", "cid:d%401@tester"),
        ("d 1@tester", "cid:d%201@tester"),
        ("urn:uuid:1+2", "cid:urn%3Auuid%3A1%2B2"),
    ],
)
def test_a_percent_encoded_reference_is_decoded(event: Event, patient: str, part: str, href: str) -> None:
    """W3C XOP: href is the percent-encoded Content-ID; raw and decoded forms compare. Rule: M-07"""
    entry = Entry(patient, registered=False)
    body = wire.envelope(wire.P, provide(Set(patient, [entry]), document(entry.id, href)))
    good(event.repository.post(*wire.multipart(body, [(part, entry.data)])))


def test_inline_base64_and_parts_in_one_message(event: Event, patient: str) -> None:
    """ITI TF-2 V.3.6: a sender optimises none, some or all; line breaks inside base64 are legal. Rule: M-06, M-09"""
    one, two = Entry(patient, data=AWKWARD, registered=False), Entry(patient, data=b"part", registered=False)
    inline = base64.encodebytes(AWKWARD).decode()
    documents = document(one.id, inline=inline) + document(two.id, "cid:d2@tester")
    good(event.repository.call_mtom(wire.P, provide(Set(patient, [one, two]), documents), [("d2@tester", b"part")]))
    reply = good(fetched(event, (REPOSITORY, one.unique), (REPOSITORY, two.unique)))
    answers = {
        a.findtext("xds:DocumentUniqueId", namespaces=wire.NS): content(reply, a)
        for a in reply.all(".//xds:DocumentResponse")
    }
    assert answers == {one.unique: AWKWARD, two.unique: b"part"}


def test_a_part_in_base64_transfer_encoding_is_decoded(event: Event, patient: str) -> None:
    """RFC 2045: Content-Transfer-Encoding is undone. Rule: M-04"""
    entry = Entry(patient, data=b"decoded", registered=False)
    body = wire.envelope(wire.P, provide(Set(patient, [entry]), document(entry.id, "cid:d1@tester")))
    good(event.repository.post(*wire.multipart(body, [("d1@tester", base64.b64encode(b"decoded"))], encoding="base64")))
    reply = fetched(event, (REPOSITORY, entry.unique))
    assert content(reply, reply.find(".//xds:DocumentResponse")) == b"decoded"


def test_broken_base64_is_refused(event: Event, patient: str) -> None:
    """XML Schema base64Binary: strict alphabet and padding. Rule: M-09, R-042"""
    entry = Entry(patient, registered=False)
    reply = event.repository.call_mtom(
        wire.P, provide(Set(patient, [entry]), document(entry.id, inline="!!not base64!!"))
    )
    assert reply.find(".//soap:Fault") is not None or refused(reply)
    assert event.find(patient).ids == []


def test_a_reference_without_a_part(event: Event, patient: str) -> None:
    """W3C XOP: an Include that leads nowhere; XDSMissingDocument or a Sender fault. Rule: M-11"""
    entry = Entry(patient, registered=False)
    reply = event.repository.call_mtom(wire.P, provide(Set(patient, [entry]), document(entry.id, "cid:nowhere@tester")))
    if reply.find(".//soap:Fault") is not None:
        assert reply.fault[0] == "Sender"
    else:
        refused(reply, "XDSMissingDocument")


def test_two_parts_of_one_name(event: Event, patient: str) -> None:
    """RFC 2392: a Content-ID is unique. Rule: M-11"""
    entry = Entry(patient, registered=False)
    body = provide(Set(patient, [entry]), document(entry.id, "cid:d1@tester"))
    reply = event.repository.call_mtom(wire.P, body, [("d1@tester", b"one"), ("d1@tester", b"two")])
    assert reply.fault[0] == "Sender" and reply.status == 400


@pytest.mark.parametrize("action", [wire.P, wire.RS])
def test_document_transactions_come_in_mtom(event: Event, patient: str, action: str) -> None:
    """ITI TF-2 3.41.4.1, 3.43.4.1: MTOM is mandatory, also without binary content. Rule: M-14"""
    entry = Entry(patient, registered=False)
    inline = document(entry.id, inline=base64.b64encode(entry.data).decode())
    body = provide(Set(patient, [entry]), inline) if action == wire.P else retrieve((REPOSITORY, "1.2.3"))
    reply = event.repository.call(action, body)
    assert reply.fault[0] == "Sender" and reply.status == 400


# -- documents and metadata ----------------------------------------


def test_a_document_without_metadata_and_metadata_without_a_document(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: XDSMissingDocument, XDSMissingDocumentMetadata. Rule: R-040, R-041"""
    entry = Entry(patient, registered=False)
    refused(event.repository.call_mtom(wire.P, provide(Set(patient, [entry]), "")), "XDSMissingDocument")
    documents = document(entry.id, "cid:a@t") + document("stranger", "cid:b@t")
    reply = event.repository.call_mtom(
        wire.P, provide(Set(patient, [entry]), documents), [("a@t", b"x"), ("b@t", b"y")]
    )
    refused(reply, "XDSMissingDocumentMetadata")
    assert event.find(patient).ids == []


@pytest.mark.parametrize("slots", [{"hash": "0" * 40}, {"size": "1"}, {"hash": "zz"}])
def test_a_wrong_hash_or_size_is_refused_by_the_repository(event: Event, patient: str, slots: dict[str, str]) -> None:
    """ITI TF-2 3.41.4.1.3: XDSRepositoryMetadataError. Rule: R-044, R-045"""
    refused(event.provide(Set(patient, [Entry(patient, registered=False, slots=slots)])), REP)


def test_a_hash_in_capitals_is_right(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.3.2.10: hexadecimal compares without case. Rule: R-044"""
    entry = Entry(patient, registered=False)
    entry.slots = {"hash": entry.hash.upper(), "size": str(len(entry.data))}
    good(event.provide(Set(patient, [entry])))


def test_a_unique_id_twice_in_one_message(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: XDSRepositoryDuplicateUniqueIdInMessage. Rule: R-043"""
    entry = Entry(patient, registered=False)
    twin = Entry(patient, registered=False, unique=entry.unique)
    refused(
        event.provide(Set(patient, [entry, twin])),
        "XDSRepositoryDuplicateUniqueIdInMessage",
        "XDSRegistryDuplicateUniqueIdInMessage",
    )


def test_the_same_document_twice_and_other_bytes_under_its_id(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: same bytes accepted, others XDSNonIdenticalHash. Rule: R-048, R-049"""
    entry = Entry(patient, registered=False)
    good(event.provide(Set(patient, [entry])))
    good(event.provide(Set(patient, [entry])))
    refused(event.provide(Set(patient, [entry.but(data=b"tampered")])), "XDSNonIdenticalHash")
    reply = fetched(event, (REPOSITORY, entry.unique))
    assert content(reply, reply.find(".//xds:DocumentResponse")) == entry.data


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({"codes": {"classCode": (("nonesuch", meta.LOINC),)}}, "XDSRegistryMetadataError"),
        ({"drop": frozenset({"typeCode"})}, "XDSRegistryMetadataError"),
    ],
)
def test_what_the_registry_says_reaches_the_source(
    event: Event, patient: str, spoil: dict[str, Any], code: str
) -> None:
    """ITI TF-2 3.41.4.1.3: errors of the registry are relayed; the document is not to be had. Rule: A-5, A-7"""
    entry = Entry(patient, registered=False, **spoil)
    refused(event.provide(Set(patient, [entry])), code)
    refused(fetched(event, (REPOSITORY, entry.unique)), "XDSDocumentUniqueIdError")


def test_patient_errors_are_relayed(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: XDSPatientIdDoesNotMatch, XDSUnknownPatientId through the repository. Rule: A-7"""
    refused(event.provide(Set(patient, [Entry(event.patient(), registered=False)])), "XDSPatientIdDoesNotMatch")
    unknown = f"NOBODY^^^&{meta.AUTHORITY}&ISO"
    refused(event.provide(Set(unknown, [Entry(unknown, registered=False)])), "XDSUnknownPatientId")


def test_a_deposit_without_documents_is_relayed(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: folders alone are legal. Rule: R-055"""
    folder = meta.Folder(patient)
    good(event.repository.call_mtom(wire.P, provide(Set(patient, folders=[folder]), "")))


def test_a_replacement_through_the_repository(event: Event, patient: str) -> None:
    """ITI TF-2 3.41.4.1.3: RPLC by ITI-41; the replaced document can still be retrieved. Rule: R-100"""
    old, new = Entry(patient, registered=False, id=meta.new_uuid()), Entry(patient, data=b"new", registered=False)
    good(event.provide(Set(patient, [old])))
    good(event.provide(Set(patient, [new], links=[link(RPLC, new.id, old.id)])))
    assert event.status_of(old.id) == "Deprecated"
    good(fetched(event, (REPOSITORY, old.unique)))


def test_limited_metadata_is_refused(event: Event, patient: str) -> None:
    """ITI TF-3 4.3.1: prohibited in XDS. Rule: R-014"""
    entry = Entry(patient, registered=False)
    node = "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85"
    entry.extra = f'<rim:Classification id="lim" classifiedObject="{entry.id}" classificationNode="{node}"/>'
    refused(event.provide(Set(patient, [entry])), REP, "XDSRegistryMetadataError")


# -- ITI-43 ----------------------------------------


def test_unknown_documents_and_repositories(event: Event, patient: str) -> None:
    """ITI TF-2 3.43.4.2: codes per document, location is its uniqueId. Rule: R-121, R-122"""
    reply = refused(fetched(event, (REPOSITORY, "1.2.3.404")), "XDSDocumentUniqueIdError")
    assert [e[3] for e in reply.errors] == ["1.2.3.404"] and not reply.all(".//xds:DocumentResponse")
    reply = refused(fetched(event, ("9.9.9", "1.2.3.404")), "XDSUnknownRepositoryId")
    assert [e[3] for e in reply.errors] == ["1.2.3.404"]


def test_some_found_and_some_not_is_partial(event: Event, patient: str) -> None:
    """ITI TF-3 4.2.4.2: PartialSuccess with the IHE prefix. Rule: R-122"""
    entry = Entry(patient, registered=False)
    good(event.provide(Set(patient, [entry])))
    reply = fetched(event, (REPOSITORY, "1.2.3.404"), (REPOSITORY, entry.unique))
    assert reply.outcome == wire.PARTIAL and reply.codes == ["XDSDocumentUniqueIdError"]
    assert len(reply.all(".//xds:DocumentResponse")) == 1


def test_documents_of_several_patients_in_one_request(event: Event) -> None:
    """ITI TF-2 3.43.4.1.2: every document asked for comes, whoever's it is."""
    entries = [Entry(event.patient(), registered=False) for _ in range(2)]
    for entry in entries:
        good(event.provide(Set(entry.patient, [entry])))
    reply = fetched(event, *((REPOSITORY, e.unique) for e in entries))
    assert reply.outcome == wire.SUCCESS or "XDSResultNotSinglePatient" in reply.codes


def test_home_is_answered_only_where_it_was_asked(event: Event, patient: str) -> None:
    """ITI TF-2 3.43.4.2: HomeCommunityId exactly when in the request; a foreign one is XDSUnknownCommunity.

    Rule: R-124
    """
    entry = Entry(patient, registered=False)
    good(event.provide(Set(patient, [entry])))
    reply = fetched(event, (REPOSITORY, entry.unique), home="urn:oid:1.2.3.4")
    if reply.outcome == wire.SUCCESS:
        assert reply.find(".//xds:DocumentResponse/xds:HomeCommunityId").text == "urn:oid:1.2.3.4"
    else:
        refused(reply, "XDSUnknownCommunity")


def test_an_empty_request_is_refused(event: Event) -> None:
    """XDS.b schema: one DocumentRequest at least. Rule: R-120"""
    reply = fetched_or_fault(event, retrieve())
    assert reply.find(".//soap:Fault") is not None or refused(reply, "XDSRepositoryError", REP)


def fetched_or_fault(event: Event, body: str) -> wire.Reply:
    return event.repository.call_mtom(wire.RS, body)


# -- ITI-86 ----------------------------------------


def test_remove_documents(event: Event, patient: str) -> None:
    """Remove Documents supplement: gone for retrieval, metadata untouched; unknown ones named. Rule: R-158, R-159"""
    entry = Entry(patient, registered=False)
    good(event.provide(Set(patient, [entry])))

    def removal(*wanted: tuple[str, str]) -> wire.Reply:
        body = retrieve(*wanted, root="rmd:RemoveDocumentsRequest", more=' xmlns:rmd="urn:ihe:iti:rmd:2017"')
        return event.repository.call(wire.REMOVE_DOCUMENTS, body)

    refused(removal(("9.9.9", entry.unique)), "XDSUnknownRepositoryId")
    refused(removal((REPOSITORY, "1.2.3.404")), "XDSDocumentUniqueIdError")
    good(fetched(event, (REPOSITORY, entry.unique)))
    good(removal((REPOSITORY, entry.unique)))
    refused(fetched(event, (REPOSITORY, entry.unique)), "XDSDocumentUniqueIdError")
    assert len(event.find(patient).ids) == 1


@pytest.mark.parametrize("mime", ["text/xml", "text/plain"])
def test_an_on_demand_document_is_made_when_it_is_retrieved(event: Event, mime: str) -> None:
    """ITI TF-2 3.61, 3.43.4.1.3: whoever registered the entry, its repository makes the document, anew each time, and
    registers what it made as a snapshot before it answers.
    """
    patient = event.patient()
    listed = event.stored(patient)
    entry = Entry(patient, kind=meta.ONDEMAND, id=meta.new_uuid(), mime=mime)
    good(event.registry.call(wire.ON_DEMAND, Set(patient, [entry]).xml()))
    made = []
    for _ in range(2):
        reply = event.repository.call_mtom(wire.RS, meta.retrieve((REPOSITORY, entry.unique)))
        assert reply.outcome == wire.SUCCESS, reply.errors
        (answer,) = reply.all(".//xds:DocumentResponse")
        told = {etree.QName(child).localname: child.text for child in answer}
        assert told["DocumentUniqueId"] == entry.unique and told["RepositoryUniqueId"] == REPOSITORY
        assert told["NewRepositoryUniqueId"] == REPOSITORY and told["mimeType"] == mime
        (content,) = (data for name, data in reply.parts.items() if "root" not in name)
        assert listed.unique.encode() in content
        made.append((told["NewDocumentUniqueId"], content))
    (first, before), (second, _) = made
    assert len({entry.unique, first, second}) == 3
    again = event.repository.call_mtom(wire.RS, meta.retrieve((REPOSITORY, first)))
    assert before in again.parts.values(), "a snapshot is read again byte for byte"
    states = {}
    for unique in (first, second):
        found = event.ask("GetDocuments", XDSDocumentEntryUniqueId=f"('{unique}')", MetadataLevel="2")
        (snapshot,) = found.objects("ExtrinsicObject")
        states[unique] = snapshot.get("status").rpartition(":")[2]
        links = event.ask("GetAssociations", uuid=f"('{snapshot.get('id')}')").objects("Association")
        ends = [a.get("targetObject") for a in links if a.get("associationType") == meta.SNAPSHOT]
        assert ends == [entry.id] and snapshot.get("objectType") == meta.STABLE
    assert states == {first: "Deprecated", second: "Approved"}
