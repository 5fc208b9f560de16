"""ITI-41 in plain IHE: documents and entries, hash and size, repeats, and what passes through to the registry.

Clause: ITI TF-2 3.41.4.1.3
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

import metadata_messages as w
import pytest

from conformance import frames
from tests import raw_submissions as raw
from tests.direct import Desk, content
from tests.raw_submissions import DE
from tests.world import World, codes
from xds import namespaces as ns
from xds.model import Submission
from xds.model.messages import ReceivedError

META = "XDSRepositoryMetadataError"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


def bare(root: raw.Element, *slots: str) -> raw.Element:
    for entry in [e.get("id") for e in root.iter(w.rim("ExtrinsicObject"))]:
        for name in slots:
            w.drop(w.slot(root, entry, name))
    return root


def codes_of(errors: list[ReceivedError]) -> list[str]:
    return [e.code for e in errors]


def in_line(id_: str, data: bytes) -> str:
    return f'<xds:Document id="{id_}">{b64encode(data).decode()}</xds:Document>'


def refused(desk: Desk, root: raw.Element, documents: str, made: Submission) -> list[ReceivedError]:
    """Must fail; nothing is registered and nothing is served."""
    before = content(desk.world)
    success, errors = raw.provide_text(desk, root, documents)
    assert not success and content(desk.world) == before
    outcome, items = desk.world.read(desk.patient_id, [e.unique_id for e in made.entries])
    assert not items and codes(outcome) == {"XDSDocumentUniqueIdError"}
    return errors


def test_hash_size_and_repository_are_filled_in(desk: Desk) -> None:
    """Absent, or of another repository: the repository's own count. Nothing else is changed.

    Rule: R-046, R-047, R-044
    """
    made = raw.valid(desk)
    root = bare(raw.tree(made), "hash", "size")
    w.set_slot(root, DE, "repositoryUniqueId", "1.2.3.4")
    assert raw.provide(desk, root, {DE: b"some bytes"}) == (True, [])
    (found,) = desk.entries(made.entries[0].unique_id)
    assert (found.hash, found.size) == (hashlib.sha1(b"some bytes").hexdigest(), 10)
    assert found.repository_unique_id == desk.repository
    _, items = desk.world.read(desk.patient_id, [found.unique_id])
    assert [i.received for i in items] == [b"some bytes"] and items[0].mime_type == "text/xml"


@pytest.mark.parametrize(
    ("hash_", "size"), [("", "0"), ("", ""), (" ", "0"), ("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", "0")]
)
def test_a_template_filled_with_nothing_claims_nothing(desk: Desk, hash_: str, size: str) -> None:
    """Size 0 beside an empty hash, or beside the hash of nothing, is a source that did not compute them.

    Rule: C-13
    """
    made = raw.valid(desk)
    root = raw.tree(made)
    w.set_slot(root, DE, "hash", hash_)
    w.set_slot(root, DE, "size", size)
    assert raw.provide(desk, root, raw.bytes_of(made)) == (True, [])
    (found,) = desk.entries(made.entries[0].unique_id)
    assert (found.hash, found.size) == (made.entries[0].hash, made.entries[0].size)


def test_a_hash_in_upper_case_is_the_same_hash(desk: Desk) -> None:
    """Rule: R-044, C-14"""
    made = raw.valid(desk, hash=frames.valid_entry().hash.upper())
    assert raw.provide(desk, raw.tree(made), raw.bytes_of(made)) == (True, [])


@pytest.mark.parametrize(("rule", "slot", "value"), [
    ("R-044", "hash", "0" * 40), ("R-044", "hash", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("R-045", "size", "1"), ("R-045", "size", "0"), ("R-045", "size", "999999999999"),
])
@pytest.mark.parametrize("alone", [True, False], ids=["the other absent", "the other right"])
def test_a_wrong_hash_or_size_is_refused(desk: Desk, rule: str, slot: str, value: str, alone: bool) -> None:
    """Also nought, and also the hash of nothing: the bytes are there.

    Rule: R-044, R-045
    """
    made = raw.valid(desk)
    root = raw.tree(made)
    if alone:
        bare(root, "hash", "size")
    w.set_slot(root, DE, slot, value)
    (error,) = refused(desk, root, in_line(DE, frames.content(1)), made)
    assert error.code == META and f"[{rule}]" in error.context and error.location == f"DocumentEntry {DE}/{slot}"


def test_entries_and_documents_are_matched_by_id(desk: Desk) -> None:
    """Each one without its other half is named, in one answer.

    Rule: R-040, R-041, C-05
    """
    made = raw.valid(desk, 2)
    documents = in_line(DE, frames.content(1)) + in_line("Document03", b"x") + in_line("document02", b"y")
    errors = refused(desk, raw.tree(made), documents, made)
    assert sorted((e.code, e.location) for e in errors) == [
        ("XDSMissingDocument", "DocumentEntry Document02/Document"),
        ("XDSMissingDocumentMetadata", "Document Document03/id"),
        ("XDSMissingDocumentMetadata", "Document document02/id"),
    ]


def test_two_documents_under_one_id_are_one_too_many(desk: Desk) -> None:
    """The second has no entry of its own.

    Rule: R-041, C-05
    """
    made = raw.valid(desk)
    errors = refused(desk, raw.tree(made), in_line(DE, frames.content(1)) * 2, made)
    assert codes_of(errors) == ["XDSMissingDocumentMetadata"] and "second time" in errors[0].context


def test_two_entries_under_one_id_are_refused(desk: Desk) -> None:
    """The second has no document of its own.

    Rule: R-040, C-05
    """
    made = raw.valid(desk, 2)
    made.entries[1].entry_uuid = DE
    errors = refused(desk, raw.tree(made), in_line(DE, frames.content(1)), made)
    assert codes_of(errors) == ["XDSMissingDocument"] and "second entry" in errors[0].context


@pytest.mark.parametrize(("inner", "rule"), [
    ("", "R-042"), ('<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:nobody@test"/>', "R-042"),
    ("QQ=", "R-001"), ("not base64!", "R-001"),
])
def test_a_document_whose_bytes_cannot_be_had_is_refused(desk: Desk, inner: str, rule: str) -> None:
    """Empty, a reference to no part, broken base64.

    Rule: R-042, M-12
    """
    made = raw.valid(desk)
    (error,) = refused(desk, raw.tree(made), f'<xds:Document id="{DE}">{inner}</xds:Document>', made)
    assert error.code == ("XDSMissingDocument" if rule == "R-042" else META) and f"[{rule}]" in error.context


def test_a_document_without_any_metadata(desk: Desk) -> None:
    """A folder with a document that no entry describes.

    Rule: R-041, R-055
    """
    made = raw.valid(desk, folder=True)
    made.entries.clear()
    made.associations[:] = [frames.has_member(raw.SS, raw.FO)]
    root = raw.tree(made)
    before = content(desk.world)
    success, errors = raw.provide_text(desk, root, in_line(DE, b"x"))
    assert not success and codes_of(errors) == ["XDSMissingDocumentMetadata"] and content(desk.world) == before
    assert raw.provide_text(desk, root, "") == (True, [])


def test_documents_of_any_type_come_back_as_they_went(desk: Desk) -> None:
    """Several documents of several types in one request.

    Rule: R-052
    """
    made = raw.valid(desk, 3)
    for entry, mime_type in zip(made.entries, ("application/pdf", "text/plain", "text/xml"), strict=True):
        entry.mime_type, entry.hash, entry.size = mime_type, "", None
    sent = {e.entry_uuid: bytes([n]) * 1000 + b"\r\n\x00" for n, e in enumerate(made.entries)}
    assert raw.provide(desk, raw.tree(made), sent) == (True, [])
    _, items = desk.world.read(desk.patient_id, [e.unique_id for e in made.entries])
    got = {i.unique_id: (i.received, i.mime_type) for i in items}
    assert got == {e.unique_id: (sent[e.entry_uuid], e.mime_type) for e in made.entries}


def test_the_same_document_again_and_never_with_other_bytes(desk: Desk) -> None:
    """Under a new set the same bytes make a second entry; other bytes, or another patient's, are refused.

    Rule: R-048, R-081, R-082, R-083, C-12
    """
    first = raw.valid(desk)
    unique_id = first.entries[0].unique_id
    assert raw.provide(desk, raw.tree(first), raw.bytes_of(first)) == (True, [])
    again = raw.valid(desk, unique_id=unique_id)
    assert raw.provide(desk, raw.tree(again), raw.bytes_of(again)) == (True, [])
    assert len(desk.entries(unique_id)) == 2
    other = raw.valid(desk, unique_id=unique_id)
    success, errors = raw.provide(desk, bare(raw.tree(other), "hash", "size"), {DE: b"other bytes"})
    assert not success and codes_of(errors) == ["XDSNonIdenticalHash", "XDSNonIdenticalSize"]
    same_length = raw.valid(desk, unique_id=unique_id)
    root = bare(raw.tree(same_length), "hash", "size")
    success, errors = raw.provide(desk, root, {DE: b"#" * len(frames.content(1))})
    assert not success and codes_of(errors) == ["XDSNonIdenticalHash"]
    _, items = desk.world.read(desk.patient_id, [unique_id])
    assert [i.received for i in items] == [frames.content(1)]


def test_the_very_same_request_again_is_told_so(desk: Desk) -> None:
    """Rule: R-084"""
    made = raw.valid(desk)
    root = raw.tree(made)
    assert raw.provide(desk, root, raw.bytes_of(made)) == (True, [])
    success, errors = raw.provide(desk, root, raw.bytes_of(made))
    assert not success and codes_of(errors) == ["XDSDuplicateUniqueIdInRegistry"]
    assert "that one succeeded" in errors[0].context and len(desk.entries(made.entries[0].unique_id)) == 1


@pytest.mark.parametrize("kind", [ns.RPLC, ns.APND, ns.XFRM, ns.XFRM_RPLC, ns.SIGNS])
def test_relationships_travel_through_the_repository(desk: Desk, kind: str) -> None:
    """With their code and their extra slots; the folder of a replaced document receives the new one.

    Rule: R-100, R-103, R-075, R-013
    """
    first = raw.valid(desk, folder=True)
    assert raw.provide(desk, raw.tree(first), raw.bytes_of(first)) == (True, [])
    (old,) = desk.entries(first.entries[0].unique_id)
    (folder,) = {a.source for a in desk.associations(old.entry_uuid)} - {s.entry_uuid for s in desk.sets()}
    made = raw.valid(desk)
    why = frames.Code("C1", "2.25.1", "Why")
    made.associations.append(frames.relationship(
        kind, DE, old.entry_uuid, documentation=why, slots={"urn:example:note": ["n"]}
    ))
    assert raw.provide(desk, raw.tree(made), raw.bytes_of(made)) == (True, [])
    (new,) = desk.entries(made.entries[0].unique_id)
    links = desk.associations(new.entry_uuid)
    (relation,) = (a for a in links if a.type == kind)
    assert (relation.source, relation.target, relation.documentation) == (new.entry_uuid, old.entry_uuid, why)
    assert relation.slots == {"urn:example:note": ["n"]}
    replaced = kind in ns.REPLACEMENTS
    assert desk.status(old.entry_uuid) == ["Deprecated" if replaced else "Approved"]
    assert any(a.source == folder for a in links) is replaced
    third = raw.valid(desk)
    third.associations.append(frames.relationship(kind, DE, old.entry_uuid))
    success, errors = raw.provide(desk, raw.tree(third), raw.bytes_of(third))
    assert success is not replaced
    assert codes_of(errors) == (["XDSRegistryDeprecatedDocumentError"] if replaced else [])


def test_objects_in_another_namespace_fail_the_schema(desk: Desk) -> None:
    """A request of the first XDS profile.

    Rule: C-16, R-001
    """
    made = raw.valid(desk)
    root = raw.etree.fromstring(raw.etree.tostring(raw.tree(made)).replace(b"xsd:rim:3.0", b"rim:xsd:2.1"))
    (error,) = refused(desk, root, in_line(DE, frames.content(1)), made)
    assert error.code == META and "[R-001]" in error.context


def test_the_registry_sees_what_the_source_wrote(desk: Desk) -> None:
    """Faults of form, of content and of state in one answer, under the registry's code and each once.

    Rule: R-050, R-047, A-7, A-8
    """
    first = raw.valid(desk)
    assert raw.provide(desk, raw.tree(first), raw.bytes_of(first)) == (True, [])
    made = raw.valid(desk)
    made.submission_set.unique_id = first.submission_set.unique_id
    root = raw.tree(made)
    w.part(root, DE, ns.DE_TYPE_CODE).set("nodeRepresentation", "")
    w.set_slot(root, DE, "languageCode", "fr", "en")
    w.set_slot(root, DE, "creationTime", "yesterday")
    w.set_slot(root, DE, "colour", "blue")
    errors = refused(desk, root, in_line(DE, frames.content(1)), made)
    assert sorted((e.code, e.location.split("/")[1]) for e in errors) == [
        ("XDSDuplicateUniqueIdInRegistry", "uniqueId"), ("XDSExtraMetadataNotSaved", "colour"),
        ("XDSRegistryMetadataError", "creationTime"), ("XDSRegistryMetadataError", "languageCode"),
        ("XDSRegistryMetadataError", "typeCode"),
    ]
