"""The service descriptions load in zeep without network, and messages made from them are ours."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zeep
from lxml import etree
from zeep.transports import Transport

from xds import namespaces as ns
from xds.ebxml import schema
from xds.errors import Actor

WSA = f"{{{ns.WSA}}}"
RIM = f"{{{ns.RIM}}}"
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
XS = "{http://www.w3.org/2001/XMLSchema}"
CORPUS = Path(__file__).resolve().parent / "corpus"
IHE = "urn:ihe:iti:2007:"
ACTIONS = {
    Actor.REGISTRY: {
        "DocumentRegistry_RegisterDocumentSet-b": f"{IHE}RegisterDocumentSet-b",
        "DocumentRegistry_RegisterOnDemandDocumentEntry": "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry",
        "DocumentRegistry_RegistryStoredQuery": f"{IHE}RegistryStoredQuery",
        "DocumentRegistry_MultiPatientStoredQuery": "urn:ihe:iti:2009:MultiPatientStoredQuery",
        "DocumentRegistry_UpdateDocumentSet": "urn:ihe:iti:2010:UpdateDocumentSet",
        "DocumentRegistry_DeleteDocumentSet": "urn:ihe:iti:2010:DeleteDocumentSet",
        "UpdateResponder_RestrictedUpdateDocumentSet": "urn:ihe:iti:2018:RestrictedUpdateDocumentSet",
        **{
            f"DocumentRegistry_PRPA_IN20130{n}UV02": f"{ns.HL7}:PRPA_IN20130{n}UV02"
            for n in (1, 2, 4)
        },
    },
    Actor.REPOSITORY: {
        "DocumentRepository_ProvideAndRegisterDocumentSet-b": f"{IHE}ProvideAndRegisterDocumentSet-b",
        "DocumentRepository_RetrieveDocumentSet": f"{IHE}RetrieveDocumentSet",
        "DocumentRepository_RemoveDocuments": "urn:ihe:iti:2017:RemoveDocuments",
    },
}
ACKNOWLEDGED = f"{ns.HL7}:MCCI_IN000002UV01"
RESPONSES = {
    "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry": "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse",
}
"""Answers that are not called like their request with ``Response`` at its end (E-01)."""
SLOT = {"name": "$XDSDocumentEntryPatientId", "ValueList": {"Value": ["'42'"]}}


def endpoint(actor: Actor) -> str:
    """An address that no resolver knows, with a character to escape."""
    return f"https://carnet.invalid/services/{actor}&co"


class Offline(Transport):
    """Serves ``?wsdl`` and ``?xsd=`` from the helper, answers posts from a file, and fails on anything else."""

    def __init__(self, answer: str = "") -> None:
        super().__init__()
        self.answer = answer
        self.served: list[str] = []

    def load(self, url: str) -> bytes:
        """A file, or what a service of ours would answer."""
        if not url.startswith("http"):
            loaded: bytes = super().load(url)
            return loaded
        address, query = url.split("?", 1)
        actor = Actor(urlsplit(address).path.rpartition("/")[2].removesuffix("&co"))
        assert address == endpoint(actor)
        self.served.append(query)
        content = schema.wsdl(actor, address) if query == "wsdl" else schema.xsd(parse_qs(query)["xsd"][0], address)
        assert content is not None, url
        return content

    def post(self, address: str, message: bytes, headers: Any) -> Any:
        """The prepared answer in an envelope."""
        body = (CORPUS / self.answer).read_text().split("?>", 1)[1]
        content = f'<s:Envelope xmlns:s="{ns.SOAP12}"><s:Body>{body}</s:Body></s:Envelope>'.encode()
        return type("Answer", (), {
            "status_code": 200, "content": content, "encoding": "utf-8",
            "headers": {"Content-Type": "application/soap+xml; charset=UTF-8"},
        })()


def client(actor: Actor, transport: Offline | None = None) -> Any:
    """A zeep client made from the served description."""
    return zeep.Client(f"{endpoint(actor)}?wsdl", transport=transport or Offline())


def operations(made: Any) -> dict[str, str]:
    """Operation and action of every port of the one service."""
    (service,) = made.wsdl.services.values()
    return {
        name: operation.abstract.wsa_action
        for port in service.ports.values() for name, operation in port.binding.all().items()
    }


@pytest.mark.parametrize("actor", Actor)
def test_description_loads_from_files(actor: Actor) -> None:
    """The files as they lie in the tree, with the strict schemas beside them."""
    with as_file(files("schemas")) as folder:
        made = zeep.Client(str(folder / "wsdl" / f"{actor}.wsdl"), transport=Offline())
    assert operations(made) == ACTIONS[actor]


def test_the_token_service_loads_from_files() -> None:
    """Three verbs of WS-Trust with their actions. Clause: WS-Trust 1.3 3"""
    with as_file(files("schemas")) as folder:
        made = zeep.Client(str(folder / "wsdl" / "tokens.wsdl"), transport=Offline())
    verbs = ("Issue", "Validate", "Cancel")
    assert operations(made) == {verb: f"{ns.WST}/RST/{verb}" for verb in verbs}


@pytest.mark.parametrize("actor", Actor)
def test_description_loads_as_served(actor: Actor) -> None:
    """Every schema is asked for at the address of the service and nowhere else. Rule: E-02"""
    transport = Offline()
    made = client(actor, transport)
    assert operations(made) == ACTIONS[actor]
    assert set(transport.served) - {"wsdl"} <= {f"xsd={name}" for name in schema.PUBLISHED}
    (service,) = made.wsdl.services.values()
    port, *others = service.ports.values()
    title = f"Document{actor.value.title()}"
    assert (service.name, port.name) == (f"{title}_Service", f"{title}_Port_Soap12")
    assert port.binding.name.localname == f"{title}_Binding_Soap12"
    assert port.binding_options["address"] == endpoint(actor)
    assert [(o.name, o.binding_options["address"]) for o in others] == (
        [("UpdateResponder_Port_Soap12", endpoint(actor))] if actor is Actor.REGISTRY else []
    )


@pytest.mark.parametrize("actor", Actor)
def test_every_input_and_output_states_its_action_twice(actor: Actor) -> None:
    """Both spellings of the attribute, equal; the answer's is the request's with ``Response``, but for two.

    Rule: E-01
    """
    root = etree.fromstring(schema.wsdl(actor, endpoint(actor)))
    stated = {}
    for operation in root.iterfind(f"{WSDL}portType/{WSDL}operation"):
        asked = ACTIONS[actor][operation.get("name")]
        answered = ACKNOWLEDGED if asked.startswith(ns.HL7) else RESPONSES.get(asked, f"{asked}Response")
        for tag, action in (("input", asked), ("output", answered)):
            node = operation.find(WSDL + tag)
            assert node is not None
            old = node.get("{http://www.w3.org/2006/05/addressing/wsdl}Action")
            new = node.get("{http://www.w3.org/2007/05/addressing/metadata}Action")
            assert old == new == action
            stated[operation.get("name")] = True
    assert set(stated) == set(ACTIONS[actor])


def body_of(message: etree._Element, action: str) -> etree._Element:
    """The body of a message made by zeep, after a look at its action."""
    assert [e.text for e in message.iter(f"{WSA}Action")] == [action]
    assert len(list(message.iter(f"{WSA}MessageID"))) == 1
    (body,) = message.find(f"{{{ns.SOAP12}}}Body")
    return body


def test_query_made_by_zeep_is_valid() -> None:
    """A typed ITI-18 request."""
    made = client(Actor.REGISTRY)
    message = made.create_message(
        made.service, "DocumentRegistry_RegistryStoredQuery",
        ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
        AdhocQuery={"id": "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", "Slot": [SLOT]},
    )
    body = body_of(message, f"{IHE}RegistryStoredQuery")
    assert body.tag == f"{{{ns.QUERY}}}AdhocQueryRequest" and schema.validate(body) == []


def test_submission_made_by_zeep_is_valid() -> None:
    """ITI-42 with registry objects given as elements, which is how zeep carries what it has no type for."""
    made = client(Actor.REGISTRY)
    objects = [etree.Element(f"{RIM}{name}", id=name) for name in ("ExtrinsicObject", "RegistryPackage", "ObjectRef")]
    message = made.create_message(
        made.service, "DocumentRegistry_RegisterDocumentSet-b", RegistryObjectList={"_value_1": objects}
    )
    body = body_of(message, f"{IHE}RegisterDocumentSet-b")
    assert [e.tag for e in body[0]] == [e.tag for e in objects] and schema.validate(body) == []


def test_deposit_and_retrieve_made_by_zeep_are_valid() -> None:
    """ITI-41 with a document as bytes, and ITI-43."""
    made = client(Actor.REPOSITORY)
    message = made.create_message(
        made.service, "DocumentRepository_ProvideAndRegisterDocumentSet-b",
        SubmitObjectsRequest={"RegistryObjectList": {"_value_1": [etree.Element(f"{RIM}RegistryPackage", id="a")]}},
        Document=[{"id": "Document01", "_value_1": b"abc"}],
    )
    body = body_of(message, f"{IHE}ProvideAndRegisterDocumentSet-b")
    assert body[1].text == "YWJj" and schema.validate(body) == []
    message = made.create_message(
        made.service, "DocumentRepository_RetrieveDocumentSet",
        DocumentRequest=[{"RepositoryUniqueId": "1.2", "DocumentUniqueId": "1.3"}],
    )
    assert schema.validate(body_of(message, f"{IHE}RetrieveDocumentSet")) == []


def test_changes_made_by_zeep_are_valid() -> None:
    """ITI-57, ITI-92, ITI-62 and ITI-86."""
    made = client(Actor.REGISTRY)
    objects = {"_value_1": [etree.Element(f"{RIM}RegistryPackage", id="a")]}
    for service, name in (
        (made.service, "DocumentRegistry_UpdateDocumentSet"),
        (made.bind("DocumentRegistry_Service", "UpdateResponder_Port_Soap12"),
         "UpdateResponder_RestrictedUpdateDocumentSet"),
    ):
        message = made.create_message(service, name, RegistryObjectList=objects)
        assert schema.validate(body_of(message, ACTIONS[Actor.REGISTRY][name])) == []
    name = "DocumentRegistry_DeleteDocumentSet"
    message = made.create_message(made.service, name, ObjectRefList={"ObjectRef": [{"id": "urn:uuid:1"}]})
    assert schema.validate(body_of(message, ACTIONS[Actor.REGISTRY][name])) == []
    made, name = client(Actor.REPOSITORY), "DocumentRepository_RemoveDocuments"
    message = made.create_message(
        made.service, name, DocumentRequest=[{"RepositoryUniqueId": "1.2", "DocumentUniqueId": "1.3"}]
    )
    assert schema.validate(body_of(message, ACTIONS[Actor.REPOSITORY][name])) == []


def test_answer_to_a_query_is_read_by_zeep() -> None:
    """Registry objects of several kinds arrive as elements, in order."""
    made = client(Actor.REGISTRY, Offline("iti18-response-leafclass.xml"))
    call = made.service["DocumentRegistry_RegistryStoredQuery"]
    answer = call(ResponseOption={}, AdhocQuery={"id": "urn:uuid:1"})
    assert answer.status == ns.RESPONSE_SUCCESS and answer.totalResultCount == 3
    kinds = [etree.QName(e).localname for e in answer.RegistryObjectList["_value_1"]]
    assert kinds == ["ExtrinsicObject", "RegistryPackage", "Association"]


def test_answer_to_a_retrieve_is_read_by_zeep() -> None:
    """Documents arrive as bytes."""
    made = client(Actor.REPOSITORY, Offline("iti43-response.xml"))
    answer = made.service["DocumentRepository_RetrieveDocumentSet"](
        DocumentRequest=[{"RepositoryUniqueId": "1.2", "DocumentUniqueId": "1.3"}]
    )
    assert answer.DocumentResponse[1].Document == b"<doc>oui</doc>"
    assert [e.errorCode for e in answer.RegistryResponse.RegistryErrorList.RegistryError] == [
        "XDSDocumentUniqueIdError", "XDSExtraMetadataNotSaved",
    ]


def test_strict_schema_alone_would_not_do_for_zeep() -> None:
    """Why a variant is served at all: with substitution groups zeep reads no registry object."""
    with as_file(files("schemas")) as folder:
        made = zeep.Client(
            str(folder / "wsdl" / "registry.wsdl"), transport=Offline("iti18-response-leafclass.xml")
        )
        with pytest.raises(zeep.exceptions.XMLParseError):
            made.service["DocumentRegistry_RegistryStoredQuery"](ResponseOption={}, AdhocQuery={"id": "urn:uuid:1"})


@pytest.mark.parametrize("name", sorted(schema.PUBLISHED))
def test_served_schema_differs_only_where_the_source_says(name: str) -> None:
    """Apart from addresses and the marked declarations, what is served is the strict schema."""
    strict = etree.fromstring(files("schemas").joinpath("xsd", name).read_bytes())
    served = etree.fromstring(schema.xsd(name, "https://carnet.invalid/x") or b"")
    marked = [n for n in strict.iter(f"{XS}appinfo") if n.get("source") == "urn:carnet:schema:wsdl"]
    assert len(marked) == {"rim.xsd": 1, "xds-b.xsd": 2}.get(name, 0)
    assert not list(served.iter(f"{XS}appinfo"))
    for reference in served.iter(f"{XS}import"):
        assert reference.get("schemaLocation", "").startswith("https://carnet.invalid/x?xsd=")
    names = [[e.get("name") for e in root if e.get("name")] for root in (strict, served)]
    assert names[0] == names[1]


def test_served_schemas_compile_together() -> None:
    """The variants are sound XML Schema, not only something that zeep swallows."""

    class Served(etree.Resolver):
        """Answers imports as the service would."""

        def resolve(self, url: str, public_id: str, context: Any = None) -> Any:
            """The schema named by the query."""
            return self.resolve_string(schema.xsd(url.rpartition("?xsd=")[2], "x://y") or b"", context, base_url=url)

    parser = etree.XMLParser()
    parser.resolvers.add(Served())
    for name in schema.PUBLISHED:
        etree.XMLSchema(etree.fromstring(schema.xsd(name, "x://y") or b"", parser, base_url=f"x://y?xsd={name}"))


@pytest.mark.parametrize("name", ["internal.xsd", "messages.xsd", "../MANIFEST.md", "", "../xsd/rs.xsd", "a" * 9999])
def test_other_names_are_not_served(name: str) -> None:
    """Only the published schemas are given away, whatever the name looks like.

    Attack: path-traversal
    """
    assert schema.xsd(name, "https://carnet.invalid/x") is None


def test_address_cannot_break_out_of_its_attribute() -> None:
    """The address is escaped wherever it is written."""
    address = "https://carnet.invalid/\"><x/>&'"
    root = etree.fromstring(schema.wsdl("registry", address))
    assert {e.get("location") for e in root.iter("{http://schemas.xmlsoap.org/wsdl/soap12/}address")} == {address}
    assert not list(root.iter("x"))


def test_unknown_actor_has_no_description() -> None:
    """Only the two actors are described."""
    with pytest.raises(ValueError, match="gateway"):
        schema.wsdl("gateway", "https://carnet.invalid")
