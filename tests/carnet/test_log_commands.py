"""The log's proof, its readers, accesses by emergency and their notices, at the terminal and over the wire."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

import storage
from carnet import log_keeper, notices
from carnet.cli import main
from carnet.node import pair_files
from conformance import frames
from conformance.client import Client
from guard.audit import chain
from guard.audit.checkpoint import Checkpoint, NotGenuine, verified
from guard.audit.emergencies import Thresholds
from guard.credentials import vihf
from guard.credentials.caller import Caller, Mode
from record import traces
from record.actor import Rules
from storage import SqlRegistryDatabase
from tests.feed import Feed
from tests.world import COLLEAGUE, FIND_DOCUMENTS, STRUCTURE, Memory, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.namespaces import APPROVED, EMERGENCY
from xds.wire.client import FaultReceived

FAR_AWAY = "1690000001"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An installation of its own: its log is spoiled."""
    return World.prepare(tmp_path_factory.mktemp("log")).serve_here()


@pytest.fixture
def registry(world: World) -> Iterator[SqlRegistryDatabase]:
    database = storage.open_registry(world.settings.registry_database)
    yield database
    database.close()


def run(world: World, *words: str, expect: int = 0) -> str:
    result = CliRunner().invoke(main, [*words, "--data", str(world.folder)])
    assert result.exit_code == expect, f"{result.output}\n{result.exception!r}"
    return result.output


def sql(world: World, statement: str, *values: Any) -> None:
    path = world.settings.registry_database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


def urgent(world: World, purpose: str = "bris_de_glace", **changes: Any) -> Client:
    """A physician in an emergency."""
    code = vihf.BREAK_GLASS if purpose == "bris_de_glace" else vihf.EMERGENCY_CENTRE
    values = {"purpose": code, "purpose_reason": "patient inconscient", "structure_id": STRUCTURE} | changes
    return world.client("colleague", **values)


def look(client: Client, patient_id: str) -> Any:
    slots = [("$XDSDocumentEntryPatientId", [quote(patient_id)]),
             ("$XDSDocumentEntryStatus", [quote_list([APPROVED])])]
    return client.query(FIND_DOCUMENTS, slots, patient_id=patient_id)


# -- proof ---------------------------------------------------------------------------------------------------------


def test_a_whole_log_verifies_and_a_spoiled_one_does_not(world: World) -> None:
    """Status 1, the line and its trace are named; put right again it verifies. Rule: J-02, J-03"""
    patient_id = world.patient()
    world.find(patient_id)
    assert "checkpoints" in run(world, "log", "verify")
    assert "registry.jsonl" in run(world, "log", "checkpoint")
    assert log_keeper.checkpoint_file(world.settings, "registry").stat().st_mode & 0o777 == 0o600
    assert "nothing new" in run(world, "log", "checkpoint")
    world.find(patient_id)
    line = world.log_of(patient_id)[-1]
    sql(world, "UPDATE access_log SET caller_name = 'NOBODY' WHERE trace_id = ?", line.trace_id)
    told = run(world, "log", "verify", expect=1)
    assert "CHANGED: line" in told and line.trace_id in told
    found = json.loads(run(world, "log", "verify", "--json", expect=1))
    assert [len(one["flaws"]) for one in found] == [1, 0, 0]
    sql(world, "UPDATE access_log SET caller_name = ? WHERE trace_id = ?", line.caller_name, line.trace_id)
    assert "CHANGED" not in run(world, "log", "verify")


def test_a_truncated_log_is_found_by_the_file_outside(world: World, tmp_path: Path) -> None:
    """Also when the end of the chain and the checkpoints inside are gone with it, and from a copy. Rule: J-03"""
    path = Path(world.settings.registry_database.removeprefix("sqlite:///"))
    run(world, "log", "checkpoint")
    before, after = tmp_path / "before.db", tmp_path / "after.db"
    _copy(path, before)
    world.find(world.patient())
    run(world, "log", "checkpoint")
    _copy(path, after)
    _copy(before, path)  # yesterday's backup: whole in itself, and older than what was signed
    told = run(world, "log", "verify", expect=1)
    assert "TRUNCATED: lines" in told and "checkpoint signed at" in told
    file = log_keeper.checkpoint_file(world.settings, "registry")
    copy = tmp_path / "witness"
    copy.mkdir()
    (copy / file.name).write_bytes(file.read_bytes())
    kept = file.read_bytes()
    file.unlink()
    assert "TRUNCATED" not in run(world, "log", "verify")
    run(world, "log", "verify", "--checkpoints", str(copy), expect=1)
    file.write_bytes(kept)
    _copy(after, path)
    run(world, "log", "verify")


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as this, closing(sqlite3.connect(target)) as that:
        this.backup(that)


def test_a_checkpoint_is_believed_only_from_our_service(world: World, registry: SqlRegistryDatabase) -> None:
    """Another body, another service, another authority, another certificate, no checkpoint at all. Rule: J-03"""
    world.patient()
    made = log_keeper.make_checkpoint(world.settings, "registry", registry)
    assert made is not None
    trusted = x509.load_pem_x509_certificates((world.settings.pki / "trust" / "ca.pem").read_bytes())
    assert verified(made, "registry", trusted)
    assert Checkpoint.from_line(made.as_line()) == made
    other = pair_files(world.settings, "repository").read().certificate
    foreign = [c for c in trusted if "PERSONNES" in c.subject.rfc4514_string()]
    der = b64encode(other.public_bytes(Encoding.DER)).decode()
    for spoiled, name, authorities in (
        (replace(made, body=made.body.replace('"heads":[[0,', '"heads":[[0,1')), "registry", trusted),
        (made, "repository", trusted), (made, "registry", foreign),
        (replace(made, certificate=der), "registry", trusted),
        (replace(made, signature="!"), "registry", trusted), (replace(made, certificate="AAAA"), "registry", trusted),
    ):
        with pytest.raises(NotGenuine):
            verified(spoiled, name, authorities)
    for text in ("", "[]", "{}", '"x"', "nonsense"):
        with pytest.raises(NotGenuine):
            Checkpoint.from_line(text)
    file = log_keeper.checkpoint_file(world.settings, "registry")
    kept = file.read_text()
    file.write_text(kept + made.as_line().replace("heads", "tails") + "\n")
    assert "checkpoint:" in run(world, "log", "verify", expect=1)
    file.write_text(kept)


def test_a_merge_leaves_the_chain_whole(world: World, plain: World) -> None:
    """Lines stay with the identifier they were written for and are read together. Rule: J-01"""
    feed = Feed(plain)
    old, new = feed.added(), feed.added()
    assert feed.merge(old, new).code == "AA"
    run(plain, "log", "verify")
    assert "merged" in run(plain, "log", new) and "made the identifier known" in run(plain, "log", new)


def test_traces_are_destroyed_ten_years_after_the_closing(world: World, registry: SqlRegistryDatabase) -> None:
    """And not a day before; both logs hold afterwards; a tombstone without its act does not pass. Rule: J-04"""
    patient_id = world.patient()
    assert world.deposit(frames.valid_submission("dmp", patient_id=patient_id)).is_success
    closed = datetime.now(UTC).replace(year=datetime.now(UTC).year - 10) + timedelta(days=1)
    world.close(patient_id)
    with registry.write() as unit:
        found = unit.record.find(patient_id)
        assert found is not None
        record = replace(found, closed_at=closed.isoformat())
        unit.record.update(record)
    assert not traces.retention_ended(record, datetime.now(UTC), Rules())
    assert traces.retention_ended(record, datetime.now(UTC) + timedelta(days=2), Rules())
    assert "0 lines" in run(world, "log", "expire")
    with registry.write() as unit:
        record = replace(record, closed_at=(closed - timedelta(days=2)).isoformat())
        unit.record.update(record)
    told = json.loads(run(world, "log", "expire", "--json"))
    assert told["records"] == 1 and told["lines"] >= 4
    assert world.log_of(patient_id) == []
    assert "destroyed" in run(world, "log", "verify")
    number = patient_id.split("^")[0]
    with closing(sqlite3.connect(world.settings.registry_database.removeprefix("sqlite:///"))) as database:
        for table in ("access_log", "access_log_destroyed", "audit_outbox"):
            assert not any(number in str(row) for row in database.execute(f"SELECT * FROM {table}"))
        named = {row[0] for row in database.execute("SELECT assertion_sha256 FROM access_log")}
        proofs = {row[0] for row in database.execute("SELECT sha256 FROM assertion_proof")}
        assert proofs <= named, "nor what was asserted"
    with registry.read() as unit:
        (act,) = [line for line in unit.audit.read_latest(50) if line.action == "traces destroyed"]
    sql(world, "UPDATE access_log_destroyed SET trace_id = 'other' WHERE trace_id = ?", act.trace_id)
    assert chain.UNFOUNDED.upper() in run(world, "log", "verify", expect=1)
    sql(world, "UPDATE access_log_destroyed SET trace_id = ? WHERE trace_id = 'other'", act.trace_id)
    run(world, "log", "verify")


# -- readers -------------------------------------------------------------------------------------------------------


def test_the_log_tells_each_reader_his_part(world: World) -> None:
    """Who, role, where, when, what, in French and in English; the look is a line too. Rule: J-07, J-08, J-09"""
    patient_id = world.patient()
    world.find(patient_id)
    look(urgent(world, is_secret_connection=True), patient_id)
    french = run(world, "log", patient_id, "--lang", "fr")
    assert "a recherché dans le dossier" in french and "en urgence (bris de glace) « patient inconscient »" in french
    assert "a consulté le journal" not in french
    assert "read the access log" in run(world, "log", patient_id, "--lang", "en")
    assert "inconscient" in run(world, "log", patient_id, "--as", "patient")
    assert "inconscient" not in run(world, "log", patient_id, "--as", "representative")
    own = run(world, "log", patient_id, "--as", COLLEAGUE)
    assert "inconscient" in own and "ESSAI" not in own
    assert own.count("\n") == 1
    assert "read the access log" in run(world, "log", patient_id, "--as", COLLEAGUE)
    run(world, "log", "--all", "--as", "patient", expect=2)


def test_a_barred_professional_reads_no_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a look leave anything but its refusal. Rule: J-08"""
    patient_id = world.patient()
    real = traces.facts_for
    monkeypatch.setattr(traces, "facts_for", lambda *a: replace(real(*a), is_blocked=True))
    run(world, "log", patient_id, "--as", COLLEAGUE, expect=1)
    monkeypatch.setattr(traces, "facts_for", lambda *a: replace(real(*a), is_attending=True))
    assert "opened the record" in run(world, "log", patient_id, "--as", COLLEAGUE)
    assert Caller(identifier=COLLEAGUE, mode=Mode.NODE).identifier in str(world.log_of(patient_id)[-1])


# -- emergencies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["bris_de_glace", "centre_15"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_an_emergency_without_a_reason_is_refused(world: World, purpose: str, reason: str) -> None:
    """At either service, with a line. Rule: U-01"""
    patient_id = world.patient()
    client = urgent(world, purpose, purpose_reason=reason)
    with pytest.raises(FaultReceived):
        look(client, patient_id)
    assert "Mode_Acces_Raison" in world.last_lines(1)[-1].reason
    with pytest.raises(FaultReceived):
        client.retrieve([(world.settings.repository.unique_id, "1.2.3")], Memory, patient_id=patient_id)
    assert "search" not in {line.action for line in world.log_of(patient_id)}


def header(world: World, who: str, actor: str, body: bytes, security: bytes, action: str) -> etree._Element | None:
    """The block of an answer as it came over the wire."""
    service = world.registry if actor == "registry" else world.repository
    assert service is not None
    seen: list[bytes] = []
    real = service.app._blocks
    assert real is not None

    def watched(exchange: Any) -> bytes:
        seen.append(real(exchange))
        return seen[-1]

    service.app._blocks = watched
    try:
        transport = getattr(world.client(who), actor)
        with transport.call(action, [body], security=security, mtom=actor == "repository", begin_part=Memory):
            pass
    finally:
        service.app._blocks = real
    return etree.fromstring(seen[-1]) if seen[-1] else None


@pytest.mark.parametrize("purpose", ["bris_de_glace", "centre_15"])
def test_an_emergency_is_plain_to_see_in_every_answer(world: World, purpose: str) -> None:
    """Of the registry, and of the repository that has not verified the assertion itself. Rule: U-02"""
    patient_id = world.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert world.deposit(made).is_success
    client = urgent(world, purpose)
    wanted = [(world.settings.repository.unique_id, made.entries[0].unique_id)]
    body = write.retrieve_request(wanted)
    action = "urn:ihe:iti:2007:RetrieveDocumentSet"
    block = header(world, "colleague", "repository", body, client.security(patient_id), action)
    assert block is not None and block.tag == f"{{{EMERGENCY}}}EmergencyAccess"
    assert block.get("purpose") == purpose and re.fullmatch("[0-9a-f]{32}", block.get("traceId", ""))
    assert [text.get("{http://www.w3.org/XML/1998/namespace}lang") for text in block] == ["fr", "en"]
    normal = world.client("colleague").security(patient_id)
    assert header(world, "colleague", "repository", body, normal, action) is None
    outcome, items = client.retrieve(wanted, Memory, patient_id=patient_id)
    assert outcome.is_success and len(items) == 1
    line = world.log_of(patient_id)[-1]
    assert (line.purpose, line.purpose_reason) == (purpose, "patient inconscient")


def test_patients_are_told_once_and_wait_until_they_are(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message a record and professional; a notifier that fails leaves it in the queue. Rule: U-03"""
    run(world, "notify", "--deliver", "--notifier", "true")
    patient_id = world.patient()
    client = urgent(world)
    look(client, patient_id), look(client, patient_id)
    (told,) = [json.loads(line) for line in run(world, "notify", "--pending", "--json").splitlines()]
    assert told["patient_id"] == patient_id and told["accesses"] == 2 and told["reason"] == "patient inconscient"
    assert told["professional"]["identifier"] == COLLEAGUE and "bris de glace" in told["text_fr"]
    assert "stay in the queue" in run(world, "notify", "--deliver", "--notifier", "false", expect=1)
    out = tmp_path / "out.json"
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat >> {out}\n")
    script.chmod(0o700)
    assert json.loads(run(world, "notify", "--deliver", "--notifier", str(script), "--json"))["delivered"] == 1
    assert json.loads(out.read_text()) == told
    assert run(world, "notify", "--pending") == ""
    listed = run(world, "log", "emergencies")
    assert f"{patient_id}: " in listed and "[told " in listed
    received: list[Any] = []
    monkeypatch.setattr(notices, "_collect", received.append, raising=False)
    look(client, patient_id)
    run(world, "notify", "--deliver", "--notifier", "carnet.notices:_collect")
    assert [one["accesses"] for one in received] == [1]
    for words in ((), ("--pending", "--deliver"), ("--deliver",), ("--deliver", "--notifier", "no.such:thing")):
        run(world, "notify", *words, expect=2)


def test_unusual_emergencies_are_alerts_in_the_log(world: World, registry: SqlRegistryDatabase) -> None:
    """Rate, a structure never seen, far away: once each, counted, and shown for control. Rule: U-05"""
    while log_keeper.watch(registry, Thresholds()):
        pass
    raised: list[str] = []
    patients = [world.patient() for _ in range(3)]
    rules = Thresholds(records=10**6)
    known = urgent(world)
    world.find(patients[0])  # the physician has acted for this structure before
    look(known, patients[0])
    assert log_keeper.watch(registry, rules, raised.append) == 1 and raised == []
    away = urgent(world, structure_id=FAR_AWAY)
    for patient_id in patients:
        look(away, patient_id)
    assert log_keeper.watch(registry, Thresholds(records=0), raised.append) == 3
    assert raised == ["new_structure", "far"]
    assert log_keeper.watch(registry, rules, raised.append) == 0
    raised.clear()
    person = world.client("physician", purpose=vihf.BREAK_GLASS)
    for patient_id in (*patients, patients[0]):
        look(person, patient_id)
    assert log_keeper.watch(registry, Thresholds(records=3), raised.append) == 4
    assert raised == ["rate"]
    with registry.read() as unit:
        alerts = [line for line in unit.audit.read_latest(20) if line.action == "emergency alert"]
    assert [line.event for line in alerts[-3:]] == ["new_structure", "far", "rate"]
    assert not any(patient_id in str(alerts) for patient_id in patients)
    listed = [json.loads(line) for line in run(world, "log", "emergencies", "--json").splitlines()]
    rate = ["rate: 3 records opened by emergency within 3600 seconds"]
    assert [one["alerts"] for one in listed[-4:]] == [[], [], rate, []]
    assert run(world, "log", "emergencies", "--since", "2100-01-01") == ""
    run(world, "log", "verify")


def test_the_keeper_signs_watches_and_says_when_it_cannot(world: World, registry: SqlRegistryDatabase) -> None:
    """Its failure ends neither the thread nor the service. Rule: J-03, U-05"""
    settings = world.settings.model_copy(update={
        "emergencies": world.settings.emergencies.model_copy(update={"watch_every": 0.01}),
    })
    failed: list[int] = []
    keeper = log_keeper.LogKeeper(settings, "registry", registry, watches=True, failed=lambda: failed.append(1))
    look(urgent(world), world.patient())
    before = len(_checkpoints(registry))
    thread = threading.Thread(target=keeper.run)
    thread.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (len(_checkpoints(registry)) == before or _unwatched(registry)):
        time.sleep(0.02)
    world.patient()
    keeper.stop()
    thread.join(20)
    assert len(_checkpoints(registry)) == before + 2 and not _unwatched(registry) and not failed
    broken = settings.model_copy(update={"data": world.folder / "nowhere"})
    world.patient()
    log_keeper.LogKeeper(broken, "registry", registry, failed=lambda: failed.append(1)).stop()
    assert failed == [1]


def _checkpoints(database: SqlRegistryDatabase) -> list[Any]:
    with database.read() as unit:
        return list(unit.chain.checkpoints())


def _unwatched(database: SqlRegistryDatabase) -> int:
    with database.read() as unit:
        return len(unit.emergencies.to_watch(1))


def test_running_services_sign_and_watch(live: World) -> None:
    """Processes of their own write checkpoints outside, raise alerts and count them; their log is whole.

    Rule: J-03, U-05
    """
    patient_id = live.patient()
    look(urgent(live, structure_id=FAR_AWAY), patient_id)
    files = [log_keeper.checkpoint_file(live.settings, name) for name in ("registry", "repository")]
    deadline, measures, listed = time.monotonic() + 60, "", ""
    while time.monotonic() < deadline and not (
        "[! new_structure: " in listed and 'pattern="new_structure"' in measures and all(f.is_file() for f in files)
    ):
        time.sleep(0.2)
        (listed,) = [line for line in run(live, "log", "emergencies").splitlines() if line.startswith(patient_id)]
        with urllib.request.urlopen(f"http://127.0.0.1:{live.settings.registry.admin_port}/metrics") as answer:
            measures = answer.read().decode()
    assert 'carnet_emergency_alerts_total{pattern="new_structure"}' in measures
    assert "carnet_emergency_notices_waiting" in measures and "carnet_log_failures_total 0.0" in measures
    assert all(file.is_file() for file in files)
    assert "[! new_structure: " in listed and "[patient not told yet]" in listed
    run(live, "log", "verify")
