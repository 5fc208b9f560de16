"""What is written is read back unchanged, and is what the published schemas accept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import metadata_strategies as ms
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from xds import namespaces as ns
from xds.ebxml import read, write
from xds.ebxml.completion import FILLED
from xds.errors import Actor
from xds.model import Association, DocumentEntry, Folder, LocalizedString, Submission, SubmissionSet

XmlSchema = etree.XMLSchema
ORDER = ["Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier"]


@pytest.fixture(scope="module")
def published(oracles: Path) -> XmlSchema:
    """The published ebXML and XDS.b schemas, compiled together."""
    folder = oracles / "ebxml-xsd"
    return etree.XMLSchema(etree.fromstring(
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="{ns.XDS}" '
        'schemaLocation="XDS.b_DocumentRepository.xsd"/></xs:schema>', base_url=f"{folder}/driver.xsd",
    ))


def answer(*objects: DocumentEntry | SubmissionSet | Folder | Association) -> etree._Element:
    pieces = write.adhoc_query_response(ns.RESPONSE_SUCCESS, [write.registry_object(o) for o in objects])
    return etree.fromstring(b"".join(pieces))


@given(ms.objects)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
def test_an_object_of_an_answer_is_read_back(obj: DocumentEntry | SubmissionSet | Folder | Association) -> None:
    """Any object, any text XML can carry, survives a query answer."""
    status, objects, references, errors = read.read_query_response(answer(obj))
    assert (status, references, errors) == (ns.RESPONSE_SUCCESS, [], [])
    assert objects == [obj]


@given(ms.submissions)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=60)
def test_a_submission_is_read_back(submission: Submission) -> None:
    """A whole submission survives the way from repository to registry."""
    again, _ = read.read_submission(etree.fromstring(write.submit_objects_request(submission)), Actor.REGISTRY)
    assert again == submission


@given(ms.submissions, st.sampled_from(sorted(FILLED)), st.lists(st.text("0aé ", max_size=3), max_size=2))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=60)
def test_in_brief_a_repository_reads_all_it_needs(submission: Submission, slot: str, values: list[str]) -> None:
    """What it compares, sets and reports is the same as in the whole; authors are left to the registry.

    Clause: ITI TF-2 3.41.4.1.3
    """
    request = etree.fromstring(write.submit_objects_request(submission))
    for entry in request.iter(f"{{{ns.RIM}}}ExtrinsicObject"):
        for spoiled in [s for s in entry.iterchildren(f"{{{ns.RIM}}}Slot") if s.get("name") == slot]:
            spoiled[0][:] = [etree.Element(f"{{{ns.RIM}}}Value") for _ in values]
            for element, text in zip(spoiled[0], values, strict=True):
                element.text = text
    (whole, said), (brief, told) = (
        read.read_submission(request, Actor.REPOSITORY, brief=brief) for brief in (False, True)
    )
    assert [f for f in told if f.field in FILLED] == [f for f in said if f.field in FILLED]
    needed = ("entry_uuid", "unique_id", "mime_type", "hash", "size", "repository_unique_id", "format_code",
              "class_code")
    assert [[getattr(e, n) for n in needed] for e in brief.entries] == [
        [getattr(e, n) for n in needed] for e in whole.entries
    ]
    for name in ("entry_uuid", "unique_id", "patient_id"):
        assert getattr(brief.submission_set, name) == getattr(whole.submission_set, name)
    assert [f.unique_id for f in brief.folders] == [f.unique_id for f in whole.folders]
    assert not any(e.authors for e in brief.entries)


@given(st.lists(ms.objects, max_size=2))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
def test_answers_satisfy_the_published_schema(
    published: XmlSchema, objects: list[DocumentEntry | SubmissionSet | Folder | Association]
) -> None:
    """Whatever is in the objects, the answer is valid. Clause: ITI TF-2 Appendix V"""
    element = answer(*objects)
    assert published.validate(element), published.error_log


@given(ms.submissions)
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=40)
def test_submissions_satisfy_the_published_schema(published: XmlSchema, submission: Submission) -> None:
    """Whatever is in the objects, the request is valid. Clause: ITI TF-2 3.42.4.1.2"""
    assert published.validate(etree.fromstring(write.submit_objects_request(submission))), published.error_log


@given(ms.entries | ms.submission_sets | ms.folders)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
def test_every_element_has_an_id_of_its_own_and_belongs_to_its_object(
    obj: DocumentEntry | SubmissionSet | Folder
) -> None:
    """Ids are unique, owners right, children in order, constants present, each answer the same.

    Rule: R-009, R-010
    """
    element = answer(obj).find(f"{{{ns.RIM}}}RegistryObjectList")[0]
    inner = list(element.iterchildren(f"{{{ns.RIM}}}Classification", f"{{{ns.RIM}}}ExternalIdentifier"))
    counts = Counter(e.get("id") for e in (element, *inner))
    assert max(counts.values()) == 1
    assert {e.get("classifiedObject") or e.get("registryObject") for e in inner} <= {obj.entry_uuid}
    names = [etree.QName(child).localname for child in element]
    assert names == sorted(names, key=ORDER.index)
    assert all(e.get("objectType") for e in (element, *inner))
    assert write.registry_object(obj) == write.registry_object(obj)


def test_characters_xml_cannot_carry_are_dropped() -> None:
    """Control characters, lone surrogates and noncharacters never break an answer."""
    entry = DocumentEntry(
        entry_uuid="urn:uuid:00000000-0000-4000-8000-000000000001", unique_id="1.2\x003",
        title=[LocalizedString("a\x00\x1f\ud800\ufffeb & <c> \"d\"\r\n\te")],
    )
    _, objects, _, _ = read.read_query_response(answer(entry))
    assert objects[0].unique_id == "1.23"
    assert objects[0].title[0].value == "ab & <c> \"d\"\r\n\te"


def test_stored_sets_and_associations_carry_lid_and_version() -> None:
    """Update clients look for lid and VersionInfo on every returned object.

    Clause: ITI TF-2 3.18.4.1.3
    """
    id_ = "urn:uuid:00000000-0000-4000-8000-000000000001"
    for obj in (
        SubmissionSet(entry_uuid=id_, status=ns.APPROVED),
        Association(entry_uuid=id_, type=ns.HAS_MEMBER, source=id_, target=id_, status=ns.APPROVED),
    ):
        element = answer(obj).find(f"{{{ns.RIM}}}RegistryObjectList")[0]
        assert element.get("lid") == id_
        assert element.find(f"{{{ns.RIM}}}VersionInfo").get("versionName") == "1"


def test_uuids_in_upper_case_are_normalised() -> None:
    """Ids and the references to them are read in lower case; symbolic ids keep their case."""
    upper = "URN:UUID:0A0B0C0D-54A3-4C0E-9A37-0F6B1C2D3E4F"
    a = Association(entry_uuid="Assoc-A", type=ns.RPLC, source="Doc-B", target=upper)
    _, objects, _, _ = read.read_query_response(answer(a))
    assert (objects[0].entry_uuid, objects[0].source, objects[0].target) == ("Assoc-A", "Doc-B", upper.lower())


def test_a_comment_does_not_cut_a_value_short() -> None:
    """Text around a comment is one value. Attack: comment-in-value"""
    text = write.submit_objects_request(Submission(
        SubmissionSet(entry_uuid="s"), [DocumentEntry(entry_uuid="d", language_code="fr-FR")]
    )).replace(b"fr-FR", b"fr<!-- x -->-FR")
    submission, _ = read.read_submission(etree.fromstring(text), Actor.REGISTRY)
    assert submission.entries[0].language_code == "fr-FR"
