"""The connectathon domain over real TLS: a round in each of its three modes, and every classic bad assertion."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from carnet.assertions import Desk
from carnet.cli import main
from conformance import frames, tester_assertions
from conformance.client import Client, bytes_part
from conformance.tester_assertions import FAULTS, SPOILS
from guard.credentials import vihf
from guard.credentials.cards import KeyPair
from guard.credentials.rule import Required
from tests.certificates import self_signed
from tests.live import ROOT
from tests.world import Memory, World, codes, contents, unique_ids
from xds.model import Submission
from xds.namespaces import INTERNAL
from xds.wire.client import FaultReceived, SoapClient
from xds.wire.faults import FAILED_AUTHENTICATION, FAILED_CHECK

MODES = ("off", "tls", "assertion")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """One installation for each mode, as processes."""
    worlds: dict[str, World] = {}
    try:
        for mode in MODES:
            toml = f'[domain]\nname = "connectathon"\ncredentials = "{mode}"\n'
            worlds[mode] = World.prepare(tmp_path_factory.mktemp(mode), toml).serve_processes()
        yield worlds
    finally:
        for world in worlds.values():
            world.stop()


def visitor(world: World) -> Client:
    """A client without a certificate and without an assertion."""
    return world.client(card=None, tls=world.bare_tls(), sign=lambda _: b"")


def a_submission(world: World, patient_id: str, **changes: object) -> Submission:
    return frames.valid_submission("connectathon", patient_id=patient_id, **changes)


@pytest.mark.parametrize("mode", MODES)
def test_a_round_in_each_mode(served: dict[str, World], mode: str) -> None:
    """Deposit, query, retrieve: the bytes come back as they were sent.

    Rule: R-024
    """
    world = served[mode]
    client = visitor(world) if mode == "off" else world.client()
    patient = world.patient()
    made = a_submission(world, patient)
    parts = [(name, bytes_part(data, f"{name}@test", "text/xml")) for name, data in contents(made).items()]
    assert client.provide(made, parts).is_success
    found = client.query(
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        [("$XDSDocumentEntryPatientId", [f"'{patient}'"]),
         ("$XDSDocumentEntryStatus", ["('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"])],
        patient_id=patient,
    )
    assert unique_ids(found) == [made.entries[0].unique_id]
    outcome, items = client.retrieve(
        [(world.settings.repository.unique_id, made.entries[0].unique_id)], Memory, patient_id=patient
    )
    assert outcome.is_success and [item.received for item in items] == [frames.content(1)]


@pytest.mark.parametrize("mode", MODES)
def test_a_registry_alone_takes_documents_of_other_repositories(served: dict[str, World], mode: str) -> None:
    """ITI-42 of a test tool, for a repository nobody has heard of, and no setting needed."""
    world = served[mode]
    client = visitor(world) if mode == "off" else world.client()
    patient = world.patient()
    outcome = client.register(a_submission(world, patient, repository_unique_id="1.2.3.4.5"))
    assert outcome.is_success, outcome
    assert len(world.find(patient).objects) == 1
    spoiled = a_submission(world, patient, repository_unique_id="1.2.3.4.5")
    spoiled.entries[0].class_code = vihf.Code("blue", "1.2.3", "no such class")
    refused = client.register(spoiled)
    assert codes(refused) == {"XDSRegistryMetadataError"}
    assert any("classCode" in e.context and "blue" in e.context and "1.2.3" in e.context for e in refused.errors)


@pytest.mark.parametrize("mode", ["tls", "assertion"])
def test_nobody_comes_without_a_certificate(served: dict[str, World], mode: str) -> None:
    """Where a credential is asked for, a peer without a certificate gets the fault on both services.

    Step: b
    """
    world = served[mode]
    for service in ("registry", "repository"):
        with pytest.raises(FaultReceived) as refused:
            ask(visitor(world), service, world.patient(), b"")
        assert refused.value.subcode == FAILED_AUTHENTICATION


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_behind_the_services_is_for_nodes_in_every_mode(served: dict[str, World], mode: str) -> None:
    """The internal address refuses a stranger and a card, also where credentials are off."""
    world = served[mode]
    body = f'<ReconcileRequest xmlns="{INTERNAL}"><Document uniqueId="1.2" hash="{"0" * 40}"/></ReconcileRequest>'
    physician = world.cards["physician"].tls_context(world.folder / "pki" / "trust" / "ca.pem")
    for context in (world.bare_tls(), physician):
        client = SoapClient(f"{world.settings.registry_url}/internal/registry", context)
        with pytest.raises(FaultReceived) as refused:
            client.call(f"{INTERNAL}:Reconcile", [body.encode()])
        assert refused.value.subcode == FAILED_AUTHENTICATION


def ask(client: Client, transaction: str, patient: str, security: bytes) -> None:
    """One request of that transaction under this security header."""
    made = frames.valid_submission("connectathon", patient_id=patient)
    match transaction:
        case "ITI-41":
            parts = [(name, bytes_part(data, f"{name}@test", "text/xml")) for name, data in contents(made).items()]
            outcome = client.provide(made, parts, security=security)
        case "ITI-42":
            made.entries[0].repository_unique_id = "1.2.3.4.5"
            outcome = client.register(made, security=security)
        case "ITI-43" | "repository":
            outcome, _ = client.retrieve([("1.2.250.1.999.1.1", "1.2.3")], Memory, security=security)
        case _:
            outcome = client.query(
                "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
                [("$XDSDocumentEntryPatientId", [f"'{patient}'"]),
                 ("$XDSDocumentEntryStatus", ["('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"])],
                security=security,
            ).outcome
    assert outcome.is_success or transaction == "ITI-43", outcome


def header(world: World, patient: str, *, spoil: str = "", consent: bool = False) -> bytes:
    card = world.cards["physician"]
    root = Desk.of(world.settings).build(card, patient_id=patient)
    return vihf.security_header(tester_assertions.issue(root, card.signature, spoil=spoil, consent=consent))


@pytest.mark.parametrize("transaction", ["ITI-18", "ITI-42", "ITI-41", "ITI-43"])
@pytest.mark.parametrize("spoil", list(SPOILS))
def test_each_bad_assertion_is_refused_on_each_service(served: dict[str, World], spoil: str, transaction: str) -> None:
    """The eight classic bad ones over TLS: the fault each deserves, and a line in the access log.

    Step: d, e, j, k, m, o
    Clause: ITI TF-2 3.40.4.1.3
    """
    world = served["assertion"]
    patient = world.patient()
    with pytest.raises(FaultReceived) as refused:
        ask(world.client(), transaction, patient, header(world, patient, spoil=spoil))
    assert refused.value.subcode == FAULTS[spoil]
    assert refused.value.trace_id in {line.trace_id for line in world.last_lines(3)}


@pytest.mark.parametrize("transaction", ["ITI-18", "ITI-42", "ITI-41", "ITI-43"])
def test_the_good_one_with_a_consent_is_accepted(served: dict[str, World], transaction: str) -> None:
    """The Authz-Consent option's attributes do no harm. Clause: ITI TF-2 3.40.4.1.2.3"""
    world = served["assertion"]
    patient = world.patient()
    ask(world.client(), transaction, patient, header(world, patient, consent=True))


def carnet(world: World, *words: str | Path) -> Result:
    """One command of this installation, told nothing but where it is."""
    environment = {"CARNET_DATA": str(world.folder), "CARNET_PIN": "0000"}
    return CliRunner().invoke(main, [str(word) for word in words], env=environment)


@pytest.mark.parametrize("mode", MODES)
def test_the_commands_speak_every_mode(served: dict[str, World], mode: str, tmp_path: Path) -> None:
    """patient add, send, query, retrieve; without a card where credentials are off."""
    world = served[mode]
    patient = frames.a_patient_id("connectathon", f"CLI-{mode}")
    world.cards["physician"].save(tmp_path / "anne.p12", "0000")
    card = [] if mode == "off" else ["--card", str(tmp_path / "anne.p12")]
    assert carnet(world, "patient", "add", patient).exit_code == 0
    sent = carnet(
        world, "send", ROOT / "fixtures/cda/cr-bio-v1.xml", "--patient", patient, "--override",
        ROOT / "fixtures/cda/connectathon.toml", *card,
    )
    assert sent.exit_code == 0, sent.output
    unique_id = sent.stdout.split()[2]
    found = carnet(world, "query", patient, *card)
    assert found.exit_code == 0 and unique_id in found.stdout, found.output
    read = carnet(world, "retrieve", patient, unique_id, "--out", str(tmp_path), *card)
    assert read.exit_code == 0 and "identical" in read.stdout, read.output


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_hidden_where_no_connection_is_secret(served: dict[str, World], mode: str, tmp_path: Path) -> None:
    """``send --secret`` where assertions know no such thing, or are not sent: misuse, and nothing leaves. Rule: H-07"""
    world = served[mode]
    patient = world.patient()
    world.cards["physician"].save(tmp_path / "anne.p12", "0000")
    card = [] if mode == "off" else ["--card", str(tmp_path / "anne.p12")]
    done = carnet(
        world, "send", ROOT / "fixtures/cda/cr-bio-v1.xml", "--patient", patient, "--override",
        ROOT / "fixtures/cda/connectathon.toml", "--secret", *card,
    )
    assert done.exit_code == 2 and "secret connection" in done.output, done.output
    assert "nothing found" in carnet(world, "query", patient, *card).stdout


@pytest.mark.parametrize("mode", [Required.OFF, Required.TLS])
def test_without_an_assertion_no_connection_is_secret(mode: Required) -> None:
    """Also where the domain's assertions would say so, were they sent. Rule: H-07"""
    desk = Desk(mode=mode)
    assert desk.signing(None)("x") == b""
    with pytest.raises(ValueError, match="secret connection"):
        desk.signing(None, is_secret=True)


def test_an_assertion_on_standard_output(served: dict[str, World], tmp_path: Path) -> None:
    """card assert prints what the services accept, and with --spoil what they refuse, byte for byte."""
    world = served["assertion"]
    world.cards["physician"].save(tmp_path / "anne.p12", "0000")
    patient = world.patient()
    command = ("card", "assert", "--card", str(tmp_path / "anne.p12"), "--patient", patient)
    good = carnet(world, *command).stdout_bytes.rstrip(b"\n")
    ask(world.client(), "ITI-18", patient, vihf.security_header(good))
    bad = carnet(world, *command, "--spoil", "unsigned").stdout_bytes.rstrip(b"\n")
    assert etree.fromstring(bad).find("{*}Signature") is None
    with pytest.raises(FaultReceived) as refused:
        ask(world.client(), "ITI-18", patient, vihf.security_header(bad))
    assert refused.value.subcode == FAILED_CHECK
    told = json.loads(carnet(world, *command, "--json").stdout)
    assert etree.fromstring(told["assertion"]).get("ID") == told["id"] != ""
    assert carnet(world, *command, "--spoil", "sideways").exit_code == 2
    assert carnet(world, *command, "--purpose", "whatever").exit_code == 2


def test_a_token_service_is_trusted_when_its_certificate_is_dropped_in(
    served: dict[str, World], tmp_path: Path
) -> None:
    """``carnet pki trust`` makes running services believe a token service within seconds."""
    world = served["assertion"]
    patient = world.patient()
    key, certificate = self_signed()
    file = tmp_path / "sts.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    root = Desk.of(world.settings).build(world.cards["physician"], patient_id=patient)
    signed = vihf.security_header(vihf.sign(root, KeyPair(key, certificate)))
    with pytest.raises(FaultReceived):
        ask(world.client(), "ITI-18", patient, signed)
    assert carnet(world, "pki", "trust", str(file)).exit_code == 0
    deadline = time.monotonic() + 20
    for transaction in ("ITI-18", "ITI-41"):  # each service looks at the folder for itself
        while time.monotonic() < deadline:
            with suppress(FaultReceived):
                ask(world.client(), transaction, patient, signed)
                break
            time.sleep(0.3)
        else:
            pytest.fail(f"{transaction} does not believe it")
