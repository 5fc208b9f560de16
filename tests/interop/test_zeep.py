"""zeep, given nothing but the address of a service and a card, speaks every transaction to live services.

Clause: ITI TF-2 3.18, 3.41, 3.42, 3.43, 3.51, Appendix V
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zeep
from lxml import etree

from carnet.commands.serve import admin_addresses
from carnet.supervisor import Supervisor
from conformance import frames
from conformance.zeep_transport import MtomTransport
from tests.world import FIND_DOCUMENTS, GET_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.model import Submission
from xds.namespaces import APPROVED, RESPONSE_FAILURE, RESPONSE_PARTIAL, RESPONSE_SUCCESS, RIM

AWKWARD = [
    b"\r\n",
    b"\r\n\r\nline\rline\n\r\n--boundary--\r\n",
    b"\xef\xbb\xbf<?xml version='1.0'?>\r\n<a>\r</a>\r\n",
    bytes(range(256)) * 40,
    b"",
]
"""Line ends at both edges, a look-alike of a boundary, every byte, nothing at all."""


class Zeep:
    """A zeep client of one of the two services, made from what the service says of itself."""

    def __init__(self, world: World, actor: str, who: str = "physician") -> None:
        base = world.settings.registry_url if actor == "registry" else world.settings.repository_url
        self.source = world.client(who)
        self.transport = MtomTransport(base, world.cards[who], world.folder / "pki" / "trust" / "ca.pem")
        self.client = zeep.Client(f"{base}/services/{actor}?wsdl", transport=self.transport)
        self.prefix = f"Document{actor.title()}_"

    def call(self, operation: str, patient_id: str, **content: Any) -> Any:
        """One operation with the card's assertion in its header, as a raw element."""
        security = etree.fromstring(self.source.security(patient_id))
        return self.client.service[self.prefix + operation](_soapheaders=[security], **content)


@pytest.fixture(scope="module")
def repository(live: World) -> Zeep:
    return Zeep(live, "repository")


@pytest.fixture(scope="module")
def registry(live: World) -> Zeep:
    return Zeep(live, "registry")


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A registry alone, as a process, that takes registrations of anyone."""
    world = World.prepare(tmp_path_factory.mktemp("open"), registry="direct_registration = true")
    world.supervisor = Supervisor(world.folder, ("registry",), ("--log-level", "warning"))
    world.supervisor.start()
    try:
        world.supervisor.wait_ready({"registry": admin_addresses(world.settings)["registry"]})
        yield world
    finally:
        world.stop()


def objects(submission: Submission) -> list[etree._Element]:
    """The registry objects as elements, which is how zeep carries them."""
    return list(etree.fromstring(write.submit_objects_request(submission)).find(f"{{{RIM}}}RegistryObjectList"))


def provide(zeep_client: Zeep, submission: Submission, documents: dict[str, bytes]) -> Any:
    return zeep_client.call(
        "ProvideAndRegisterDocumentSet-b",
        submission.submission_set.patient_id,
        SubmitObjectsRequest={"RegistryObjectList": {"_value_1": objects(submission)}},
        Document=[{"id": name, "_value_1": data} for name, data in documents.items()],
    )


def query(
    zeep_client: Zeep, patient_id: str, query_id: str, slots: dict[str, str], return_type: str,
    operation: str = "RegistryStoredQuery",
) -> Any:
    return zeep_client.call(
        operation,
        patient_id,
        ResponseOption={"returnType": return_type, "returnComposedObjects": True},
        AdhocQuery={
            "id": query_id,
            "Slot": [{"name": name, "ValueList": {"Value": [value]}} for name, value in slots.items()],
        },
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
    answer = query(registry, patient_id, FIND_DOCUMENTS, slots, return_type)
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
    answer = query(registry, "", query_id, slots, "LeafClass", "MultiPatientStoredQuery")
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    assert len(answer.RegistryObjectList["_value_1"]) == len(AWKWARD)


def test_refusals_are_read(live: World, registry: Zeep, repository: Zeep, deposited: Submission) -> None:
    """Errors of a query, a partial retrieve and a deposit are typed values with code, place and severity."""
    patient_id = deposited.submission_set.patient_id
    answer = query(registry, patient_id, GET_DOCUMENTS, {"$Nothing": "1"}, "LeafClass")
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


def test_a_registration_is_accepted_where_it_is_allowed(open_registry: World) -> None:
    """ITI-42, then ITI-18 on the same connection: the entry is there, with the ids zeep's message gave it."""
    registry = Zeep(open_registry, "registry")
    patient_id = open_registry.patient()
    made = frames.valid_submission(
        "dmp", patient_id=patient_id, repository_unique_id=open_registry.settings.repository.unique_id
    )
    answer = registry.call(
        "RegisterDocumentSet-b", patient_id, RegistryObjectList={"_value_1": objects(made)}
    )
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    slots = {"$XDSDocumentEntryUniqueId": quote_list([made.entries[0].unique_id])}
    answer = query(registry, patient_id, GET_DOCUMENTS, slots, "LeafClass")
    (entry,) = answer.RegistryObjectList["_value_1"]
    assert entry.get("id", "").startswith("urn:uuid:") and entry.get("lid") == entry.get("id")


def test_nothing_is_asked_for_elsewhere(live: World, registry: Zeep) -> None:
    """A description that points somewhere else leads nowhere.

    Attack: ssrf
    """
    for url in ("https://example.org/x.xsd", "http://127.0.0.1:1/x", live.settings.registry_url + "9/x"):
        with pytest.raises(ValueError, match="no other place is asked"):
            registry.transport.load(url)
        with pytest.raises(ValueError, match="no other place is asked"):
            registry.transport.post_xml(url, etree.Element("x"), {})
