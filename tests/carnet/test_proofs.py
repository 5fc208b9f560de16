"""What an assertion said is provable later: kept once, named by every line, verified again as of its day."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import storage
from carnet import proofs
from carnet.cli import main
from conformance import frames
from guard.credentials import vihf
from guard.credentials.pki import Pki
from storage.proofs import KeptProofs, Proof
from tests.contract import store_objects as make
from tests.world import STRUCTURE, World

_BILLION = 10**9


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield World.prepare(tmp_path).serve_here()


def proof_rows(world: World) -> dict[str, int]:
    """Proofs kept by each service."""
    found = {}
    for name, url in (("assertion_proof", world.settings.registry_database),
                      ("repository_assertion_proof", world.settings.repository_database)):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            found[name] = connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
    return found


def kept(world: World, sha256: str) -> Proof:
    database = storage.open_registry(world.settings.registry_database)
    with database.read() as unit:
        found = unit.proofs.find(sha256)
    database.close()
    assert found is not None
    return found


def test_one_row_an_assertion_where_it_was_verified(world: World) -> None:
    """A session costs one row in the registry, and one in the repository once that has verified it for an answer of its
    own; every line of whoever verified names it, and the bytes are those that were sent.
    """
    patient = world.patient()
    client = world.client()
    signed = client.security(patient)
    for _ in range(3):
        world.registry_lines(1)
        client.query("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", [], patient_id=patient, security=signed)
    assert proof_rows(world) == {"assertion_proof": 1, "repository_assertion_proof": 0}
    assert world.deposit(frames.valid_submission("dmp", patient_id=patient)).is_success
    assert proof_rows(world) == {"assertion_proof": 1, "repository_assertion_proof": 0}
    wrong = frames.valid_submission("dmp", patient_id=patient)
    wrong.entries[0].hash = "0" * 40
    assert not world.deposit(wrong).is_success
    assert proof_rows(world)["repository_assertion_proof"] == 1
    line = world.registry_lines(4)[0]
    assert len(line.assertion_sha256) == 64
    value = re.search(rb"<ds:SignatureValue>(.+?)<", kept(world, line.assertion_sha256).assertion, re.DOTALL)
    assert value is not None and value[0] in signed


def test_nothing_is_kept_of_what_is_undone(world: World) -> None:
    """The proof is part of the transaction of its line; a later act keeps it."""
    database = storage.open_registry(world.settings.registry_database)
    line = replace(make.line(), assertion_sha256="a" * 64, assertion=b"<x/>")
    with pytest.raises(RuntimeError), database.write() as unit:
        unit.audit.append(line)
        unit.audit.read_latest(1)
        raise RuntimeError
    with database.read() as unit:
        assert unit.proofs.find("a" * 64) is None
    for _ in range(2):
        with database.write() as unit:
            unit.audit.append(line)
    with database.read() as unit:
        assert unit.proofs.find("a" * 64) is not None
    database.close()


def test_what_another_process_has_removed_is_kept_anew(world: World) -> None:
    """A record is destroyed by hand while a session goes on: its next line names a proof that is there."""
    line = replace(make.line(), patient_key=77, assertion_sha256="b" * 64, assertion=b"<y/>")
    serving = storage.open_registry(world.settings.registry_database)
    other = storage.open_registry(world.settings.registry_database)
    with serving.write() as unit:
        unit.audit.append(line)
    with other.write() as unit:
        assert unit.chain.destroy([77], [], "t" * 32)
        assert unit.proofs.find("b" * 64) is None
    with serving.write() as unit:
        unit.audit.append(line)
    with serving.read() as unit:
        assert unit.proofs.find("b" * 64) is not None
    serving.close()
    other.close()


def test_what_is_remembered_is_bounded() -> None:
    memory = KeptProofs()
    for number in range(5000):
        memory.add(str(number))
    assert "4999" in memory and "0" not in memory


def run(world: World, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["log", "proof", *arguments, "--data", str(world.folder)])
    return result.exit_code, result.output


def test_the_command_shows_and_verifies(world: World) -> None:
    """By trace or by hash; status 1 when it does not hold, 2 when there is none."""
    patient = world.patient()
    world.find(patient)
    line = world.registry_lines(1)[0]
    status, text = run(world, line.trace_id)
    assert status == 0 and "the signature holds" in text and "899700000018 (DIRECTE, VIHF 3.0)" in text
    status, text = run(world, line.assertion_sha256, "--json")
    (told,) = json.loads(text)
    assert (told["identifier"], told["structure_id"], told["problem"]) == ("899700000018", STRUCTURE, "")
    assert told["assertion_id"] == line.assertion_id and told["homologation"] == "CARNET-TEST"
    assert run(world, line.trace_id, "--xml")[1].startswith("<saml2:Assertion")
    assert run(world, "f" * 32)[0] == 2
    with sqlite3.connect(world.settings.registry_database.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE assertion_proof SET sha256 = ?", ("b" * 64,))
    status, text = run(world, "b" * 64)
    assert status == 1 and "not the assertion that the log names" in text


def test_verified_as_of_its_day(world: World) -> None:
    """Years later the certificate has ended, or was taken back: it was good then. Taken back before: it was not."""
    world.find(world.patient())
    proof = kept(world, world.registry_lines(1)[0].assertion_sha256)
    pki, card = Pki.open(world.folder / "pki"), world.cards["physician"]
    assert proofs.verify(world.settings, proof).holds
    time.sleep(1.1)
    pki.revoke(card.signature.certificate.serial_number)
    later = proofs.verify(world.settings, proof)
    assert later.holds and later.revoked_since
    after = proof._replace(number=int((datetime.now(UTC) + timedelta(minutes=2)).timestamp()) * _BILLION)
    assert "revoked at" in proofs.verify(world.settings, after).problem
    before = proof._replace(number=int((datetime.now(UTC) - timedelta(days=4000)).timestamp()) * _BILLION)
    assert "not valid" in proofs.verify(world.settings, before).problem
    spoiled = proof._replace(assertion=proof.assertion.replace(b"899700000018", b"899700000034"))
    assert not proofs.verify(world.settings, spoiled).holds


def test_every_attribute_is_in_the_caller(world: World) -> None:
    """What the assertion said of software, user and authentication is read, not only kept."""
    from carnet.affinity import domain_of
    from carnet.gate import verifier_of
    from conformance.negative_kit import MESSAGE, parse, put

    card = world.cards["laboratory"]
    says = replace(
        vihf.for_card(card, name_id="899700000018", subject_name="ESSAI Anne",
                      roles=(vihf.Code("10", vihf.PROFESSIONS), vihf.Code("SM26", vihf.SPECIALTIES))),
        mode=vihf.Mode.REINFORCED_INDIRECT, context_declaration="APP_BROWSER_AUTH", version="4.0",
        software_id="poste-7",
    )
    root = vihf.build(says, vihf.distinguished_name.write(card.signature.certificate.subject))
    vihf.text_attribute(root.find("{*}AttributeStatement"), vihf.USER_PROFILE, "urgences")  # type: ignore[arg-type]
    caller = verifier_of(world.settings, domain_of(world.settings)).authenticate(
        envelope=parse(put(MESSAGE, vihf.security_header(vihf.sign(root, card.signature)))), security=None,
        peer_certificate=card.authentication.der,
    )
    assert (caller.vihf_version, caller.software_id, caller.user_profile) == ("4.0", "poste-7", "urgences")
    assert (caller.authn_class, caller.authn_declaration) == (vihf.SMARTCARD_PKI, "APP_BROWSER_AUTH")
    assert (caller.homologation, caller.software_version) == ("CARNET-TEST", "0.1")
