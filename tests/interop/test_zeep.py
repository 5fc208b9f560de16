"""zeep, given nothing but the address of a service and a card, speaks every transaction to live services.

Clause: ITI TF-2 3.18, 3.41, 3.42, 3.43, 3.51, Appendix V
"""

from __future__ import annotations

from typing import Any

import pytest
import zeep
from lxml import etree

from conformance import frames
from tests.interop.rows import AWKWARD as LINE_ENDS
from tests.interop.rows import objects, query
from tests.interop.stacks import Zeep
from tests.world import FIND_DOCUMENTS, GET_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.model import Submission
from xds.namespaces import APPROVED, RESPONSE_FAILURE, RESPONSE_PARTIAL, RESPONSE_SUCCESS

AWKWARD = [*LINE_ENDS, b""]


@pytest.fixture(scope="module")
def repository(live: World) -> Zeep:
    return Zeep(live, "repository")


@pytest.fixture(scope="module")
def registry(live: World) -> Zeep:
    return Zeep(live, "registry")


def provide(zeep_client: Zeep, submission: Submission, documents: dict[str, bytes]) -> Any:
    return zeep_client.call(
        "ProvideAndRegisterDocumentSet-b",
        submission.submission_set.patient_id,
        SubmitObjectsRequest={"RegistryObjectList": {"_value_1": objects(submission)}},
        Document=[{"id": name, "_value_1": data} for name, data in documents.items()],
    )


@pytest.fixture(scope="module")
def deposited(live: World, repository: Zeep) -> Submission:
    """Documents that suffer when line ends are touched, deposited by zeep."""
    made = frames.valid_submission("dmp", documents=len(AWKWARD), patient_id=live.patient(), hash="", size=None)
    answer = provide(repository, made, {e.entry_uuid: d for e, d in zip(made.entries, AWKWARD, strict=True)})
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    return made


def test_documents_travel_unchanged_both_ways(live: World, repository: Zeep, deposited: Submission) -> None:
    """ITI-41 and ITI-43 by zeep; our own streaming client reads the same bytes.

    Rule: R-052
    """
    patient_id = deposited.submission_set.patient_id
    names = [e.unique_id for e in deposited.entries]
    answer = repository.call(
        "RetrieveDocumentSet",
        patient_id,
        DocumentRequest=[
            {"RepositoryUniqueId": live.settings.repository.unique_id, "DocumentUniqueId": name} for name in names
        ],
    )
    assert answer.RegistryResponse.status == RESPONSE_SUCCESS
    assert [(d.DocumentUniqueId, d.Document or b"") for d in answer.DocumentResponse] == list(
        zip(names, AWKWARD, strict=True)
    )
    outcome, items = live.read(patient_id, names)
    assert outcome.is_success and [i.received for i in items] == AWKWARD


@pytest.mark.parametrize("return_type", ["LeafClass", "ObjectRef"])
def test_a_query_is_answered(live: World, registry: Zeep, deposited: Submission, return_type: str) -> None:
    """ITI-18: the objects arrive as elements."""
    patient_id = deposited.submission_set.patient_id
    slots = {
        "$XDSDocumentEntryPatientId": quote(patient_id), "$XDSDocumentEntryStatus": quote_list([APPROVED]),
    }
    answer = registry.call("RegistryStoredQuery", patient_id, **query(FIND_DOCUMENTS, slots, return_type))
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    found = answer.RegistryObjectList["_value_1"]
    kind = "ExtrinsicObject" if return_type == "LeafClass" else "ObjectRef"
    assert [etree.QName(e).localname for e in found] == [kind] * len(AWKWARD)
    assert {e.get("id") for e in found} == {o.entry_uuid for o in live.find(patient_id).objects}


def test_a_question_about_several_patients_is_answered(live: World, registry: Zeep, deposited: Submission) -> None:
    """ITI-51. The assertion names nobody: each patient is decided on by himself. Clause: ITI TF-2 3.51"""
    slots = {
        "$XDSDocumentEntryPatientId": quote_list([deposited.submission_set.patient_id, live.patient()]),
        "$XDSDocumentEntryStatus": quote_list([APPROVED]),
    }
    query_id = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
    answer = registry.call("MultiPatientStoredQuery", "", **query(query_id, slots))
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    assert len(answer.RegistryObjectList["_value_1"]) == len(AWKWARD)


def test_refusals_are_read(live: World, registry: Zeep, repository: Zeep, deposited: Submission) -> None:
    """Errors of a query, a partial retrieve and a deposit are typed values with code, place and severity."""
    patient_id = deposited.submission_set.patient_id
    answer = registry.call("RegistryStoredQuery", patient_id, **query(GET_DOCUMENTS, {"$Nothing": "1"}))
    (error,) = answer.RegistryErrorList.RegistryError
    assert (answer.status, error.errorCode) == (RESPONSE_FAILURE, "XDSStoredQueryMissingParam")
    assert "trace " in error.codeContext and error.severity.endswith(":Error")
    wanted = [(live.settings.repository.unique_id, n) for n in (deposited.entries[0].unique_id, "1.2.3.4.5")]
    answer = repository.call(
        "RetrieveDocumentSet",
        patient_id,
        DocumentRequest=[{"RepositoryUniqueId": r, "DocumentUniqueId": d} for r, d in wanted],
    )
    assert answer.RegistryResponse.status == RESPONSE_PARTIAL and len(answer.DocumentResponse) == 1
    assert answer.RegistryResponse.RegistryErrorList.RegistryError[0].location == "1.2.3.4.5"
    made = frames.valid_submission("dmp", patient_id=live.patient())
    answer = provide(repository, made, {"Document01": b"other bytes"})
    codes = {e.errorCode for e in answer.RegistryErrorList.RegistryError}
    assert answer.status == RESPONSE_FAILURE and codes == {"XDSRepositoryMetadataError"}


def test_a_fault_is_an_exception(live: World, registry: Zeep) -> None:
    """A message without an assertion is refused with a SOAP fault that zeep understands."""
    with pytest.raises(zeep.exceptions.Fault) as caught:
        registry.client.service["DocumentRegistry_RegistryStoredQuery"](
            ResponseOption={"returnType": "LeafClass"}, AdhocQuery={"id": FIND_DOCUMENTS}
        )
    assert "InvalidSecurity" in {subcode.localname for subcode in caught.value.subcodes}


def test_nothing_is_asked_for_elsewhere(live: World, registry: Zeep) -> None:
    """A description that points somewhere else leads nowhere.

    Attack: ssrf
    """
    for url in ("https://example.org/x.xsd", "http://127.0.0.1:1/x", live.settings.registry_url + "9/x"):
        with pytest.raises(ValueError, match="no other place is asked"):
            registry.transport.load(url)
        with pytest.raises(ValueError, match="no other place is asked"):
            registry.transport.post_xml(url, etree.Element("x"), {})
