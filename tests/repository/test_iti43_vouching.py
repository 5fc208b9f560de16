"""ITI-43: who verifies the caller's credential. The registry, which decides; the repository where it has not.

Clause: ITI TF-2 3.40.4.1.3, 3.43.4.1.3
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from carnet import wiring
from conformance import frames
from conformance.client import Client
from guard.credentials import signature
from guard.credentials.certificates import Accepted
from guard.credentials.vihf import security_header
from tests.world import STRUCTURE, Memory, World
from xds.ebxml.write import retrieve_request
from xds.model.messages import DocumentRequest
from xds.namespaces import INTERNAL
from xds.wire.client import FaultReceived, LocalTransport
from xds.wire.exchange import Peer
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK

RETRIEVE = "urn:ihe:iti:2007:RetrieveDocumentSet"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signers of the assertions that were verified, in order."""
    seen: list[str] = []
    real = signature.verify

    def counting(*args: object) -> signature.Signed:
        signed = real(*args)  # type: ignore[arg-type]
        signer: Accepted = signed.signer
        seen.append(signer.identity.common_name)
        return signed

    monkeypatch.setattr(signature, "verify", counting)
    return seen


def deposited(world: World) -> tuple[str, str]:
    """A patient and the uniqueId of a document of his."""
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert world.deposit(made).is_success
    return patient_id, made.entries[0].unique_id


def request(world: World, unique_id: str) -> list[bytes]:
    ours = world.settings.repository.unique_id
    return [retrieve_request([DocumentRequest(ours, unique_id)])]


def test_the_registry_alone_verifies_a_deposit_and_a_retrieve(here: World, verified: list[str]) -> None:
    """It registers the one and decides the other, so its verification is the one that counts."""
    patient_id, unique_id = deposited(here)
    assert len(verified) == 1
    verified.clear()
    wanted = [(here.settings.repository.unique_id, unique_id)]
    outcome, items = here.client(structure_id=STRUCTURE).retrieve(wanted, Memory, patient_id=patient_id)
    assert outcome.is_success and items[0].received == frames.content(1)
    assert len(verified) == 1


def test_what_the_repository_answers_alone_it_has_verified_itself(here: World, verified: list[str]) -> None:
    """A refusal that never reached the registry leaves only after the repository's own verification."""
    patient_id = here.patient()
    wanted = [("1.2.3", "9.8.7")]
    here.client().retrieve(wanted, Memory, patient_id=patient_id)
    assert len(verified) == 1
    client = here.client()
    bad = client.security(patient_id).replace(b"SignatureValue>", b"SignatureValue>AAAA", 1)
    body = [retrieve_request([DocumentRequest(*wanted[0])])]
    with pytest.raises(FaultReceived) as caught:
        client._repository.call(RETRIEVE, body, mtom=True, security=bad)
    assert caught.value.subcode == FAILED_CHECK


def test_the_fault_is_the_same_and_both_logs_have_it(here: World) -> None:
    """The registry refuses, the repository finds the cause for its own log, the caller gets one fault.

    Step: f
    """
    patient_id, unique_id = deposited(here)
    client = here.client()
    bad = client.security(patient_id).replace(b"SignatureValue>", b"SignatureValue>AAAA", 1)
    with pytest.raises(FaultReceived) as caught:
        client._repository.call(RETRIEVE, request(here, unique_id), mtom=True, security=bad)
    assert caught.value.subcode == FAILED_CHECK
    lines = [line for line in here.last_lines(1) if line.trace_id == caught.value.trace_id]
    assert [(line.event, line.outcome) for line in lines] == [("registry", "refused"), ("repository", "refused")]


def peer_of(world: World, who: str) -> Peer:
    return Peer("127.0.0.1", world.cards[who].authentication.certificate.public_bytes(Encoding.DER))


@dataclass
class Internal:
    """The registry's internal address, called as any peer and on behalf of any."""

    world: World

    def ask(self, peer: Peer, unique_id: str, security: bytes, on_behalf: bytes | None) -> str:
        assert self.world.registry is not None
        transport = LocalTransport(self.world.registry.app, peer, "https://localhost/internal/registry")
        body = (
            f'<RetrieveDecisionRequest xmlns="{INTERNAL}"><RepositoryUniqueId>'
            f"{self.world.settings.repository.unique_id}</RepositoryUniqueId>"
            f"<DocumentUniqueId>{unique_id}</DocumentUniqueId></RetrieveDecisionRequest>"
        )
        answer = transport.call(
            f"{INTERNAL}:RetrieveDecision", [body.encode()], security=security, on_behalf=on_behalf
        )
        return str(answer.body[0].get("permitted"))


def node(world: World) -> Peer:
    link = wiring.link_of(world.settings, world.registry.app if world.registry else None)
    peer = link._internal._peer  # type: ignore[attr-defined]
    assert isinstance(peer, Peer)
    return peer


def test_a_decision_needs_the_certificate_of_the_one_who_asks(here: World) -> None:
    """A node that names nobody, or somebody other than the signer, gets no decision.

    Step: tls
    """
    patient_id, unique_id = deposited(here)
    internal, ours = Internal(here), node(here)
    security = here.client().security(patient_id)
    asker = peer_of(here, "physician").certificate
    assert internal.ask(ours, unique_id, security, asker) == "true"
    for on_behalf in (None, peer_of(here, "colleague").certificate, ours.certificate, b"no certificate"):
        with pytest.raises(FaultReceived) as caught:
            internal.ask(ours, unique_id, security, on_behalf)
        assert caught.value.subcode == FAILED_AUTHENTICATION


def test_only_our_nodes_speak_for_another(here: World) -> None:
    """A colleague who holds somebody's assertion and certificate cannot pass for him.

    Step: tls
    """
    patient_id, _ = deposited(here)
    client = here.client("colleague")
    stolen = here.client("physician").security(patient_id)
    body = [b'<query:AdhocQueryRequest xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"/>']
    with pytest.raises(FaultReceived) as caught:
        client._registry.call(
            "urn:ihe:iti:2007:RegistryStoredQuery",
            body,
            security=stolen,
            on_behalf=peer_of(here, "physician").certificate,
        )
    assert caught.value.subcode == FAILED_AUTHENTICATION


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation where an assertion serves once."""
    folder: Path = tmp_path_factory.mktemp("strict") / "data"
    yield World.prepare(folder, '[credentials]\nreplay = "strict"').serve_here()


def test_an_assertion_shown_again_is_refused_at_every_door(strict: World, caplog: pytest.LogCaptureFixture) -> None:
    """What one retrieve has used up neither a second retrieve nor a query may use; the fault comes through.

    Step: n
    """
    patient_id = strict.patient()
    client: Client = strict.client()
    security = security_header(client_assertion(client, patient_id))
    body = request(strict, "1.2.3")
    answer = client._repository.call(RETRIEVE, body, mtom=True, security=security, begin_part=Memory)
    assert answer.body.tag.endswith("RetrieveDocumentSetResponse")
    with caplog.at_level(logging.INFO), pytest.raises(FaultReceived) as caught:
        client._repository.call(RETRIEVE, body, mtom=True, security=security, begin_part=Memory)
    assert caught.value.subcode == FAILED_AUTHENTICATION
    query = [b'<query:AdhocQueryRequest xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"/>']
    with pytest.raises(FaultReceived) as caught:
        client._registry.call("urn:ihe:iti:2007:RegistryStoredQuery", query, security=security)
    assert caught.value.subcode == FAILED_AUTHENTICATION


def client_assertion(client: Client, patient_id: str) -> bytes:
    """The assertion of the client's next request."""
    block = client.security(patient_id)
    start, end = block.index(b"<saml"), block.rindex(b"</wsse:Security>")
    return block[start:end]
