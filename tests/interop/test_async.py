"""Asynchronous exchange between real services and a partner's HTTPS address, for each of the four transactions."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carnet.commands.serve import admin_addresses
from carnet.supervisor import free_ports
from conformance import frames
from conformance.client import bytes_part
from guard.credentials.pki import Pki
from tests.receiver import Posted, Receiver, receiving
from tests.world import FIND_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import read, write
from xds.model import Submission
from xds.namespaces import APPROVED, RESPONSE_FAILURE, RESPONSE_SUCCESS, WSA_ANONYMOUS, WSA_NONE
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.exchange import OutgoingPart
from xds.wire.faults import INVALID_SECURITY, ONLY_ANONYMOUS
from xds.wire.http import SOAP
from xds.wire.mime import multipart_response
from xds.wire.soap12 import open_envelope, read_fault, write_envelope
from xds.wire.xml import parse

PROVIDE = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
REGISTER = "urn:ihe:iti:2007:RegisterDocumentSet-b"
RETRIEVE = "urn:ihe:iti:2007:RetrieveDocumentSet"
QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
AWKWARD = b"\r\n--boundary--\r\n" + bytes(range(256)) * 4000 + b"\r\n"


def partner_tls(folder: Path) -> ssl.SSLContext:
    """A partner's certificate, of our authorities; one is asked of whoever posts."""
    files = Pki.open(folder / "pki").issue_server("partner", ("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate_file, files.key_file)
    context.load_verify_locations(folder / "pki" / "trust" / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture(scope="module")
def asynchronous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Receiver]]:
    """Both services as processes that may answer to one partner, and the partner."""
    (port,) = free_ports(1)
    toml = f'[replies]\nallowed = ["https://127.0.0.1:{port}/answers"]\npause = 0.2\nkeep = 5.0\n'
    world = World.prepare(tmp_path_factory.mktemp("async"), toml, registry="direct_registration = true")
    with receiving(partner_tls(world.folder), port) as receiver:
        world.serve_processes()
        try:
            yield world, receiver
        finally:
            world.stop()


class Asking:
    """Requests of one card whose answers are wanted at the partner's."""

    def __init__(self, world: World, receiver: Receiver) -> None:
        self.world, self.receiver = world, receiver
        self.client = world.client()
        self.settings = world.settings

    def send(
        self, actor: str, action: str, body: list[bytes], patient_id: str, *, reply_to: str = "/answers",
        mtom: bool = False, parts: tuple[OutgoingPart, ...] = (), security: bytes | None = None,
    ) -> tuple[str, int, bytes]:
        """(MessageID, HTTP status, body) of a request; ``reply_to`` is a path of the partner's, or an address."""
        base = self.settings.registry_url if actor == "registry" else self.settings.repository_url
        to, message_id = f"{base}/services/{actor}", new_message_id()
        address = self.receiver.base + reply_to if reply_to.startswith("/") else reply_to
        headers = request_headers(action, message_id, to).replace(WSA_ANONYMOUS.encode(), address.encode())
        signed = self.client.security(patient_id) if security is None else security
        pieces = write_envelope(headers + signed, body)
        if mtom:
            fields, _, blocks = multipart_response(pieces, parts, action)
            data, named = b"".join(blocks), dict(fields)
        else:
            data, named = b"".join(pieces), {"Content-Type": f"{SOAP}; charset=UTF-8"}
        host = base.split("//")[1]
        tls = self.world.cards["physician"].tls_context(self.world.folder / "pki" / "trust" / "ca.pem")
        connection = http.client.HTTPSConnection(host, context=tls, timeout=30)
        connection.request("POST", f"/services/{actor}", data, named)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return message_id, answer.status, said

    def accepted(self, *args: Any, **options: Any) -> Posted:
        """Send, and wait for the message the partner gets."""
        before = len(self.receiver.posted)
        message_id, status, said = self.send(*args, **options)
        assert (status, said) == (202, b"")
        posted = self.receiver.wait(before + 1)[before]
        _, addressing, _ = posted.opened()
        assert addressing.relates_to == message_id
        assert addressing.action == f"{args[1]}Response" and addressing.to.startswith(self.receiver.base)
        return posted

    def provide(self, submission: Submission, **options: Any) -> Posted:
        parts = tuple(bytes_part(AWKWARD, f"{e.entry_uuid}@test", "text/xml") for e in submission.entries)
        pairs = [(e.entry_uuid, p.content_id) for e, p in zip(submission.entries, parts, strict=True)]
        body = write.provide_and_register_request(submission, pairs)
        patient_id = submission.submission_set.patient_id
        return self.accepted("repository", PROVIDE, list(body), patient_id, mtom=True, parts=parts, **options)

    def submission(self) -> Submission:
        return frames.valid_submission("dmp", patient_id=self.world.patient(), hash="", size=None)

    def metric(self, actor: str, line: str) -> float:
        with urllib.request.urlopen(f"{admin_addresses(self.settings)[actor]}/metrics", timeout=5) as page:
            found = [one for one in page.read().decode().splitlines() if one.startswith(line)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


@pytest.fixture
def asking(asynchronous: tuple[World, Receiver]) -> Asking:
    return Asking(*asynchronous)


def registry_answer(posted: Posted) -> tuple[str, set[str]]:
    status, errors = read.read_registry_response(posted.opened()[0].body)
    return status, {error.code for error in errors}


def test_a_deposit_and_its_documents(asking: Asking) -> None:
    """ITI-41, ITI-18, ITI-43: each accepted with 202, each answer posted over TLS with the node's certificate.

    Rule: T-13, M-01, R-052
    """
    made = asking.submission()
    patient_id, entry = made.submission_set.patient_id, made.entries[0]
    deposited = asking.provide(made, reply_to="/answers/deposits")
    assert registry_answer(deposited) == (RESPONSE_SUCCESS, set())
    assert deposited.path == "/answers/deposits" and "repository" in deposited.peer
    assert deposited.headers["content-type"].startswith("multipart/related")

    slots = [
        ("$XDSDocumentEntryPatientId", [quote(patient_id)]), ("$XDSDocumentEntryStatus", [quote_list([APPROVED])]),
    ]
    query = write.adhoc_query_request(FIND_DOCUMENTS, "LeafClass", slots)
    found = asking.accepted("registry", QUERY, [query], patient_id)
    status, objects, _, _ = read.read_query_response(found.opened()[0].body)
    assert status == RESPONSE_SUCCESS and [o.unique_id for o in objects] == [entry.unique_id]
    assert found.headers["content-type"].startswith(SOAP) and "registry" in found.peer

    wanted = write.retrieve_request([(asking.settings.repository.unique_id, entry.unique_id)])
    fetched = asking.accepted("repository", RETRIEVE, [wanted], patient_id, mtom=True)
    envelope, _, parts = fetched.opened()
    assert read.read_retrieve_response(envelope.body).status == RESPONSE_SUCCESS and parts == [AWKWARD]


def test_a_registration(asking: Asking) -> None:
    """ITI-42. Rule: T-13"""
    made = frames.valid_submission(
        "dmp", patient_id=asking.world.patient(), repository_unique_id=asking.settings.repository.unique_id
    )
    body = [write.submit_objects_request(made)]
    posted = asking.accepted("registry", REGISTER, body, made.submission_set.patient_id)
    assert registry_answer(posted) == (RESPONSE_SUCCESS, set())
    assert posted.headers["content-type"].startswith(SOAP)


def test_an_answer_that_was_lost_leaves_its_effect_and_a_repeat_says_so(asking: Asking) -> None:
    """The partner refuses the answer; the document is there, and the same deposit again is told that it is.

    Rule: T-13, A-3
    """
    made = asking.submission()
    lost = 'carnet_replies_total{outcome="lost",transaction="ITI-41"}'
    before = asking.metric("repository", lost)
    asking.receiver.statuses = [403]
    asking.provide(made)
    deadline = time.monotonic() + 5
    while asking.metric("repository", lost) == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(asking.world.find(made.submission_set.patient_id).objects) == 1
    status, codes = registry_answer(asking.provide(made))
    assert (status, codes) == (RESPONSE_FAILURE, {"XDSDuplicateUniqueIdInRegistry"})


def test_a_partner_back_from_a_pause_gets_his_answer(asking: Asking) -> None:
    """Rule: T-13"""
    asking.receiver.statuses = [503]
    made = asking.submission()
    before = len(asking.receiver.posted)
    asking.provide(made)
    first, second = asking.receiver.wait(before + 2)[before:]
    assert first.opened()[1].message_id == second.opened()[1].message_id
    assert registry_answer(second) == (RESPONSE_SUCCESS, set())


def test_a_deposit_nobody_wants_an_answer_to(asking: Asking) -> None:
    """Rule: T-14"""
    made = frames.valid_submission(
        "dmp", patient_id=asking.world.patient(), repository_unique_id=asking.settings.repository.unique_id
    )
    patient_id, body = made.submission_set.patient_id, [write.submit_objects_request(made)]
    assert asking.send("registry", REGISTER, body, patient_id, reply_to=WSA_NONE)[1:] == (202, b"")
    assert len(asking.world.find(patient_id).objects) == 1


def test_no_connection_for_strangers_or_to_strangers(asking: Asking, live: World) -> None:
    """A message without assertion, an address off the list, a service without a list: refused where it was asked.

    Rule: T-15, T-06, I-19. Attack: reply-to-redirection
    """
    before = len(asking.receiver.posted)
    patient_id = asking.world.patient()
    body = [write.retrieve_request([("1.2", "1.3")])]
    _, status, said = asking.send("repository", RETRIEVE, body, patient_id, mtom=True, security=b"")
    assert status == 400 and read_fault(open_envelope(parse(said)).body)[1] == INVALID_SECURITY
    _, status, said = asking.send("repository", RETRIEVE, body, patient_id, mtom=True, reply_to="/other")
    assert status == 400 and read_fault(open_envelope(parse(said)).body)[1] == ONLY_ANONYMOUS
    _, status, said = Asking(live, asking.receiver).send("repository", RETRIEVE, body, patient_id, mtom=True)
    assert status == 400 and read_fault(open_envelope(parse(said)).body)[1] == ONLY_ANONYMOUS
    assert len(asking.receiver.posted) == before
