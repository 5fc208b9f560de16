"""The door without TLS: for test tools, on loopback, where credentials are off; it opens nothing else."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from carnet import settings as settings_module
from carnet.commands.serve import check
from carnet.supervisor import free_ports
from conformance import frames
from guard.credentials.pki import Pki
from tests.world import FIND_DOCUMENTS, World
from xds.ebxml import write
from xds.namespaces import APPROVED, INTERNAL
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.soap12 import write_envelope


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both services as processes, credentials off, each with a plain port."""
    registry, repository = free_ports(2)
    toml = f'http_port = {repository}\n[domain]\nname = "connectathon"\ncredentials = "off"\n'
    world = World.prepare(tmp_path_factory.mktemp("plain door"), toml, registry=f"http_port = {registry}")
    yield world.serve_processes()
    world.stop()


def post(port: int, path: str, action: str, body: bytes) -> tuple[int, etree._Element]:
    url = f"http://127.0.0.1:{port}{path}"
    message = b"".join(write_envelope(request_headers(action, new_message_id(), url), [body]))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, message, {"Content-Type": f'application/soap+xml; action="{action}"'})
        answer = connection.getresponse()
        return answer.status, etree.fromstring(answer.read())
    finally:
        connection.close()


def test_a_query_over_plain_http(open_house: World) -> None:
    """What was deposited over TLS is found without it; so is the description."""
    patient = open_house.patient()
    made = frames.valid_submission("connectathon", patient_id=patient)
    assert open_house.deposit(made).is_success
    slots = [
        ("$XDSDocumentEntryPatientId", [f"'{patient}'"]), ("$XDSDocumentEntryStatus", [f"('{APPROVED}')"]),
    ]
    status, answer = post(
        open_house.settings.registry.http_port, "/services/registry", "urn:ihe:iti:2007:RegistryStoredQuery",
        write.adhoc_query_request(FIND_DOCUMENTS, "LeafClass", slots),
    )
    assert status == 200 and made.entries[0].unique_id in etree.tostring(answer, encoding="unicode")
    connection = http.client.HTTPConnection("127.0.0.1", open_house.settings.repository.http_port, timeout=20)
    connection.request("GET", "/services/repository?wsdl")
    assert b"definitions" in connection.getresponse().read()
    connection.close()


def test_the_internal_address_stays_shut(open_house: World) -> None:
    """No certificate comes through this door, so nobody is a node of ours. Clause: ITI TF-2 3.19"""
    body = f'<ReconcileRequest xmlns="{INTERNAL}"><Document uniqueId="1.2" hash="{"0" * 40}"/></ReconcileRequest>'
    status, answer = post(
        open_house.settings.registry.http_port, "/internal/registry", f"{INTERNAL}:Reconcile", body.encode()
    )
    assert status in (400, 500)
    assert "FailedAuthentication" in etree.tostring(answer, encoding="unicode")


def test_a_silent_or_hasty_visitor_holds_nothing_up(open_house: World) -> None:
    """More connections than the door carries, all left open: the next honest one is served once they are gone."""
    port = open_house.settings.registry.http_port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(80)]
    for one in silent:
        one.close()
    for _ in range(50):
        try:
            status, _ = post(port, "/services/registry", "urn:x:nothing", b"<nothing/>")
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
            continue
        assert status == 400
        return
    pytest.fail("the door stayed shut")


@pytest.mark.parametrize("mode", ["tls", "assertion"])
def test_only_where_credentials_are_off(tmp_path: Path, mode: str) -> None:
    """A service that asks for credentials does not start with a plain port."""
    (tmp_path / settings_module.FILE_NAME).write_text("[registry]\nhttp_port = 8082\n", "utf-8")
    (tmp_path / "pki").symlink_to(made_pki(tmp_path))
    asking = settings_module.load(tmp_path, domain={"name": "connectathon", "credentials": mode})
    with pytest.raises(ValueError, match="credentials off"):
        check(asking)
    with pytest.raises(ValueError, match="credentials off"):
        check(settings_module.load(tmp_path))
    check(settings_module.load(tmp_path, domain={"name": "connectathon", "credentials": "off"}))


def made_pki(folder: Path) -> Path:
    return Pki.create(folder / "authorities").folder
