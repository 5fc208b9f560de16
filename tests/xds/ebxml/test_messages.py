"""Answers and requests around the objects."""

from __future__ import annotations

from pathlib import Path

import metadata_messages as w
import metadata_strategies as ms
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from xds import namespaces as ns
from xds.ebxml import read, write
from xds.errors import Actor, ErrorCode, Finding, Refused, Severity
from xds.model import Submission, SubmissionSet
from xds.model.messages import AdhocQuery, DocumentRequest, ReceivedError, RetrievedDocument

ERROR = Finding(code=ErrorCode.XDSRegistryMetadataError, subject="DocumentEntry D1", field="typeCode", found="<x>",
                expected="a code", clause="ITI TF-3 4.2.3.2.25", rule="R-024")
WARNING = Finding(code=ErrorCode.XDSExtraMetadataNotSaved, subject="Folder F1", severity=Severity.WARNING)


def test_problems_are_listed_with_errors_first() -> None:
    """codeContext names object, field, value, expectation, clause and trace; the highest severity is told.

    Clause: ITI TF-3 4.2.4.1
    """
    element = etree.fromstring(write.registry_response(ns.RESPONSE_FAILURE, [WARNING, ERROR], "t-1"))
    status, errors = read.read_registry_response(element)
    assert status == ns.RESPONSE_FAILURE
    assert [e.code for e in errors] == ["XDSRegistryMetadataError", "XDSExtraMetadataNotSaved"]
    assert errors[0].context == ERROR.context("t-1")
    assert errors[0].location == "DocumentEntry D1/typeCode"
    assert element[0].get("highestSeverity") == Severity.ERROR
    assert errors[1].severity == Severity.WARNING


def test_success_has_no_list_and_warnings_keep_success() -> None:
    """No findings, no list; warnings alone leave the highest severity at warning.

    Rule: A-9
    """
    assert len(etree.fromstring(write.registry_response(ns.RESPONSE_SUCCESS))) == 0
    warned = etree.fromstring(write.registry_response(ns.RESPONSE_SUCCESS, [WARNING]))
    assert warned[0].get("highestSeverity") == Severity.WARNING


def test_long_lists_and_long_values_are_bounded() -> None:
    """At most ``limit`` problems are written, the rest is counted; one context is cut."""
    many = [ERROR] * 9 + [ReceivedError("XDSRegistryError", "y" * 100_000)]
    _, errors = read.read_registry_response(etree.fromstring(
        write.registry_response(ns.RESPONSE_FAILURE, many, "t", limit=4)
    ))
    assert len(errors) == 5
    assert errors[-1].context == "6 more problems are not listed trace t"
    _, errors = read.read_registry_response(etree.fromstring(write.registry_response(ns.RESPONSE_FAILURE, many[-1:])))
    assert len(errors[0].context) < 2100


@given(st.lists(st.builds(
    ReceivedError, ms.trimmed, ms.free_text, st.sampled_from([s.value for s in Severity]), ms.free_text
), max_size=3))
def test_errors_of_another_service_are_relayed_word_for_word(errors: list[ReceivedError]) -> None:
    """Every error and warning of the registry comes through unchanged.

    Rule: A-7
    """
    element = etree.fromstring(write.registry_response(ns.RESPONSE_FAILURE, errors, "t"))
    _, relayed = read.read_registry_response(element)
    assert sorted(relayed, key=repr) == sorted(errors, key=repr)


def test_a_failed_query_still_has_its_empty_list() -> None:
    """RegistryObjectList is there, after the errors. Clause: ITI TF-2 3.18.4.1.3"""
    element = etree.fromstring(b"".join(write.adhoc_query_response(ns.RESPONSE_FAILURE, [], [ERROR], "t")))
    assert [etree.QName(c).localname for c in element] == ["RegistryErrorList", "RegistryObjectList"]
    assert len(element[1]) == 0


def test_object_references() -> None:
    """ObjectRefs are written with home only where there is one, and read back."""
    one, two = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:uuid:00000000-0000-4000-8000-000000000002"
    pieces = [write.object_ref(one), write.object_ref(two, "urn:oid:1.2")]
    element = etree.fromstring(b"".join(write.adhoc_query_response(ns.RESPONSE_SUCCESS, pieces)))
    assert read.read_query_response(element)[2] == [one, two]
    assert [r.get("home") for r in element[0]] == [None, "urn:oid:1.2"]


@given(st.lists(st.tuples(st.just("$P") | st.just("$Q"), st.lists(ms.free_text, max_size=3)), max_size=3))
def test_a_query_is_read_back(slots: list[tuple[str, list[str]]]) -> None:
    """Slots keep order, repetition and text."""
    request = write.adhoc_query_request("urn:uuid:q", "ObjectRef", slots)
    query, findings = read.read_adhoc_query(etree.fromstring(request))
    assert findings == []
    assert query == AdhocQuery("urn:uuid:q", "ObjectRef", slots)


def test_a_retrieve_is_read_back() -> None:
    """Requests keep their order; home is there only when given. Clause: ITI TF-2 3.43.4.1.2"""
    wanted = [DocumentRequest("1.2", "3.4"), DocumentRequest("1.2", "5^6", "urn:oid:1.9")]
    assert read.read_retrieve_request(etree.fromstring(write.retrieve_request(wanted))) == wanted
    assert read.read_retrieve_request(etree.fromstring(write.retrieve_request([("1.2", "3.4")]))) == wanted[:1]


@pytest.mark.parametrize("body", [
    "", "<DocumentRequest><RepositoryUniqueId>1.2</RepositoryUniqueId></DocumentRequest>",
    "<DocumentRequest><RepositoryUniqueId/><DocumentUniqueId>1</DocumentUniqueId></DocumentRequest>",
], ids=["nothing", "no-document", "empty-repository"])
def test_an_incomplete_retrieve_is_refused(body: str) -> None:
    """Nothing asked, or something half named.

    Rule: R-120
    """
    root = etree.fromstring(f'<RetrieveDocumentSetRequest xmlns="{ns.XDS}">{body}</RetrieveDocumentSetRequest>')
    with pytest.raises(Refused) as refused:
        read.read_retrieve_request(root)
    assert [(f.rule, f.code) for f in refused.value.findings] == [("R-120", ErrorCode.XDSRepositoryError)]


DOCUMENTS = [
    RetrievedDocument(repository_unique_id="1.2", document_unique_id="3.4", mime_type="text/xml",
                      content_id="a b%é@carnet"),
    RetrievedDocument(repository_unique_id="1.2", document_unique_id="5.6", mime_type="text/plain", inline="aGk=",
                      home_community_id="urn:oid:1.9", new_repository_unique_id="1.3",
                      new_document_unique_id="5.7"),
]


def test_retrieved_documents_are_read_back() -> None:
    """Included and inline documents; the Content-ID is percent-decoded.

    Rule: M-06, M-07
    """
    pieces = write.retrieve_response(ns.RESPONSE_PARTIAL, [ERROR], DOCUMENTS, "t")
    answer = read.read_retrieve_response(etree.fromstring(b"".join(pieces)))
    assert (answer.status, answer.documents) == (ns.RESPONSE_PARTIAL, DOCUMENTS)
    assert [e.code for e in answer.errors] == ["XDSRegistryMetadataError"]


def test_provide_and_register_joins_entry_and_part() -> None:
    """xds:Document carries the id of the entry and the cid of the part. Clause: ITI TF-2 3.41.4.1.2"""
    pieces = write.provide_and_register_request(Submission(SubmissionSet(entry_uuid="s")), [("Document01", "a@b")])
    element = etree.fromstring(b"".join(pieces))
    document = element.find(f"{{{ns.XDS}}}Document")
    assert document.get("id") == "Document01"
    assert read.included_content_id(document) == "a@b"
    assert document[0].get("href") == "cid:a@b"


def test_answers_and_requests_satisfy_the_published_schema(oracles: Path) -> None:
    """Every message around the objects is valid, with and without problems.

    The published schema knows base64 only, so Includes are replaced first. Clause: ITI TF-2 Appendix V
    """
    schema = etree.XMLSchema(etree.fromstring(
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="{ns.XDS}" '
        'schemaLocation="XDS.b_DocumentRepository.xsd"/></xs:schema>', base_url=f"{oracles}/ebxml-xsd/driver.xsd",
    ))
    messages = [
        write.registry_response(ns.RESPONSE_SUCCESS), write.registry_response(ns.RESPONSE_FAILURE, [ERROR, WARNING]),
        b"".join(write.adhoc_query_response(ns.RESPONSE_FAILURE, [], [ERROR])),
        b"".join(write.adhoc_query_response(ns.RESPONSE_SUCCESS, [write.object_ref("urn:uuid:x", "urn:oid:1")])),
        write.adhoc_query_request("urn:uuid:q", "LeafClass", [("$a", ["'x'"])], "urn:oid:1"),
        write.retrieve_request([DocumentRequest("1.2", "3", "urn:oid:1")]),
        b"".join(write.retrieve_response(ns.RESPONSE_PARTIAL, [ERROR], DOCUMENTS)),
        b"".join(write.provide_and_register_request(Submission(SubmissionSet(entry_uuid="s")), [("d", "c")])),
    ]
    for message in messages:
        element = etree.fromstring(message)
        for include in list(element.iter(f"{{{ns.XOP}}}Include")):
            w.drop(include)
        assert schema.validate(element), (message, schema.error_log)


@given(st.recursive(
    st.sampled_from(["Slot", "Value", "Name", "LocalizedString"]).map(lambda n: f"<r:{n}/>"),
    lambda inner: st.tuples(
        st.sampled_from(["ExtrinsicObject", "RegistryPackage", "Association", "Classification", "Slot", "ValueList",
                         "ExternalIdentifier", "Name", "VersionInfo", "RegistryObjectList", "Organization"]),
        st.sampled_from(["", f' classificationNode="{ns.SUBMISSION_SET_NODE}" id="x" classifiedObject="x"',
                         f' classificationScheme="{ns.DE_CLASS_CODE}"', ' id="x"', ' name="creationTime"']),
        st.lists(inner, max_size=4),
    ).map(lambda t: f"<r:{t[0]}{t[1]}>{''.join(t[2])}</r:{t[0]}>"), max_leaves=25,
))
def test_no_tree_makes_the_reader_raise(body: str) -> None:
    """Any shape of ebRIM is read and reported on."""
    root = etree.fromstring(
        f'<l:SubmitObjectsRequest xmlns:l="{ns.LCM}" xmlns:r="{ns.RIM}"><r:RegistryObjectList>{body}'
        f"</r:RegistryObjectList></l:SubmitObjectsRequest>"
    )
    submission, findings = read.read_submission(root, Actor.REGISTRY)
    assert findings
    assert isinstance(submission.submission_set, SubmissionSet)
    w.findings(root)
