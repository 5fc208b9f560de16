"""``carnet send --sign`` and ``carnet verify``: three results, from what is stored here or from files."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import storage
from carnet import pki_door
from carnet.cli import main
from carnet.supervisor import free_ports
from conformance import signing
from guard.credentials.pki import Pki
from tests.carnet.test_record_commands import a_report
from tests.repository.test_signed_sets import Signing, errors
from tests.signatures import spoiled, the
from tests.world import STRUCTURE, World
from xds.namespaces import DS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("verify")).serve_here()


@pytest.fixture
def deposit(world: World) -> Signing:
    made = Signing(world).sign()
    assert errors(made.send()) == []
    return made


def carnet(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def verified(world: World, *arguments: object) -> tuple[int, dict[str, Any]]:
    result = carnet("verify", *arguments, "--data", world.folder, "--json")
    assert result.stdout, result.output
    return result.exit_code, json.loads(result.stdout)


def verdicts(report: dict[str, Any]) -> tuple[str, str, str]:
    return report["block"]["verdict"], report["signer"]["verdict"], report["documents"]["verdict"]


def test_a_stored_set_is_verified_by_any_of_its_identifiers(world: World, deposit: Signing) -> None:
    """The set, a document, the signature document; the look is a line of the log."""
    one, entries = deposit.submission.submission_set, deposit.submission.entries
    for option, value in (("--submission", one.unique_id), ("--document", entries[0].unique_id),
                          ("--document", entries[-1].unique_id)):
        status, report = verified(world, option, value, "--patient", one.patient_id)
        assert (status, verdicts(report), report["good"]) == (0, ("valid", "valid", "valid"), True), report
        assert report["signed_by"] == "899700000018 ESSAI Anne" and report["accepted_at"]
        assert len(report["signed"]) == 2
    database = storage.open_repository(world.settings.repository_database)
    with database.read() as unit:
        (line,) = unit.audit.read_latest(1)
    database.close()
    assert (line.event, line.action, line.mode) == ("DSG", "signature verified", "NODE")
    assert "block valid" in line.detail and line.documents == (entries[-1].unique_id,)


def path_of(world: World, unique_id: str) -> Path:
    database = storage.open_repository(world.settings.repository_database)
    with database.read() as unit:
        (held,) = unit.documents.find(unique_id)
    database.close()
    return next(Path(world.settings.documents).rglob(held.key))


def test_a_document_changed_on_disk_shows(world: World, deposit: Signing) -> None:
    """The block and the signer stay good: the results are independent."""
    entry = deposit.submission.entries[0]
    path = path_of(world, entry.unique_id)
    path.write_bytes(path.read_bytes().replace(b"essai", b"autre"))
    status, report = verified(world, "--submission", deposit.submission.submission_set.unique_id)
    assert (status, verdicts(report)) == (1, ("valid", "valid", "invalid"))
    assert entry.unique_id in report["documents"]["reasons"][0]


def test_a_document_that_is_gone_leaves_the_rest_verified(world: World, deposit: Signing) -> None:
    """Partial: said, and refused unless asked for."""
    entry = deposit.submission.entries[0]
    path_of(world, entry.unique_id).unlink()
    arguments = ("--submission", deposit.submission.submission_set.unique_id)
    status, report = verified(world, *arguments)
    assert (status, verdicts(report)) == (1, ("valid", "valid", "partial"))
    assert "cannot be read" in report["documents"]["reasons"][0]
    assert verified(world, *arguments, "--partial")[0] == 0


def test_a_signature_changed_on_disk_shows(world: World, deposit: Signing) -> None:
    """The block alone is bad, or the document is none."""
    def zeros(root: Any) -> None:
        value = the(root, "SignatureValue", DS)
        value.text = "A" * (len((value.text or "").rstrip("=")) // 4 * 4) + "AA=="

    path = path_of(world, deposit.submission.entries[-1].unique_id)
    good = path.read_bytes()
    path.write_bytes(spoiled(good, zeros))
    status, report = verified(world, "--submission", deposit.submission.submission_set.unique_id)
    assert (status, verdicts(report)) == (1, ("invalid", "valid", "valid"))
    path.write_bytes(b"<a/>")
    status, report = verified(world, "--submission", deposit.submission.submission_set.unique_id)
    assert (status, verdicts(report)) == (1, ("invalid", "unknown", "unknown"))


def test_revocation_after_deposit_changes_nothing(tmp_path: Path) -> None:
    """And lists that have left the folder since are still known: they were kept."""
    world = World.prepare(tmp_path / "w").serve_here()
    deposit = Signing(world).sign()
    assert errors(deposit.send()) == []
    arguments = ("--submission", deposit.submission.submission_set.unique_id)
    time.sleep(1.1)  # lists count in whole seconds
    Pki.open(world.folder / "pki").revoke(world.cards["physician"].signature.certificate.serial_number)
    status, report = verified(world, *arguments)
    assert (status, verdicts(report)) == (0, ("valid", "valid", "valid"))
    assert "revoked since" in report["signer"]["reasons"][0]
    for file in (world.folder / "pki" / "trust").glob("*.crl"):
        file.unlink()
    assert verified(world, *arguments)[0] == 0


def test_what_a_responder_said_at_deposit_is_known_later(tmp_path: Path) -> None:
    """No list in the folder: an OCSP responder is asked at the door, and its answer tells years later, here and in the
    saved proof. Without it nothing would. Clause: ETSI EN 319 102-1 5.2.6"""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    toml = f'[credentials]\nrevocation_hosts = ["127.0.0.1:{port}"]'
    world = World.prepare(tmp_path / "w", toml, pki_url=base)
    lists = list((world.folder / "pki" / "trust").glob("*.crl"))
    assert lists
    _, stop = pki_door.listen(Pki.open(world.folder / "pki"), "127.0.0.1", port)
    for file in lists:
        file.unlink()
    deposit = Signing(world.serve_here()).sign()
    outcome = errors(deposit.send())
    stop()
    assert outcome == []
    proof = tmp_path / "proof.json"
    status, report = verified(
        world, "--submission", deposit.submission.submission_set.unique_id, "--save-proof", proof
    )
    assert (status, verdicts(report)) == (0, ("valid", "valid", "valid")), report
    saved = json.loads(proof.read_text("utf-8"))
    assert len(saved["answers"]) == 2 and saved["lists"] == []
    files = [tmp_path / f"{entry.entry_uuid}.xml" for entry in deposit.submission.entries]
    for entry, file in zip(deposit.submission.entries, files, strict=True):
        file.write_bytes(deposit.documents[entry.entry_uuid])

    def by_files() -> int:
        trust = world.folder / "pki" / "trust"
        return carnet("verify", "--signature", files[-1], *files[:-1], "--trust", trust, "--proof", proof).exit_code

    assert by_files() == 0
    proof.write_text(json.dumps({name: value for name, value in saved.items() if name != "answers"}), "utf-8")
    assert by_files() == 1


def test_files_are_verified_without_an_installation(world: World, deposit: Signing, tmp_path: Path) -> None:
    """With authorities and the kept proof alone; a wrong, a missing and a foreign file are told apart."""
    entries = deposit.submission.entries
    trust = tmp_path / "trust"
    trust.mkdir()
    for file in (world.folder / "pki" / "trust").glob("*.pem"):
        (trust / file.name).write_bytes(file.read_bytes())
    names = [tmp_path / f"{entry.entry_uuid}.xml" for entry in entries]
    for entry, name in zip(entries, names, strict=True):
        name.write_bytes(deposit.documents[entry.entry_uuid])
    *documents, signature = names
    proof = tmp_path / "proof.json"
    saved = carnet("verify", "--data", world.folder, "--submission", deposit.submission.submission_set.unique_id,
                   "--save-proof", proof)
    assert saved.exit_code == 0, saved.output
    base = ("verify", "--data", tmp_path / "nowhere", "--signature", signature, "--trust", trust, "--json")

    def result(*more: object) -> tuple[int, tuple[str, str, str]]:
        answer = carnet(*base, *more)
        return answer.exit_code, verdicts(json.loads(answer.stdout))

    assert result("--proof", proof, *documents) == (0, ("valid", "valid", "valid"))
    assert result(*documents) == (1, ("valid", "invalid", "valid"))
    assert result("--proof", proof, documents[0]) == (1, ("valid", "valid", "partial"))
    other = tmp_path / "other.xml"
    other.write_bytes(b"<other/>")
    assert result("--proof", proof, *documents, other) == (1, ("valid", "valid", "invalid"))


def options(world: World, who: str, folder: Path) -> tuple[str, ...]:
    """Of a person who asks the services."""
    file, pin = folder / f"{who}.p12", folder / "pin"
    world.cards[who].save(file, "1234")
    pin.write_text("1234", "utf-8")
    return ("--wire", "--card", str(file), "--pin-file", str(pin), "--structure", STRUCTURE)


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A test event, where signature documents are shown like any other."""
    toml = '[domain]\nname = "connectathon"\nsignatures = "optional"\n'
    world = World.prepare(tmp_path_factory.mktemp("event"), toml).serve_processes()
    yield world
    world.stop()


def test_a_set_is_verified_over_the_wire(event: World, tmp_path: Path) -> None:
    """By the set, by a document of it, by the signature; by whoever is shown it, with authorities of a folder of his
    own. A document that is gone leaves the rest. Clause: ITI TF-3 5.5.6"""
    deposit = Signing(event, domain="connectathon").sign()
    assert errors(deposit.send()) == []
    one, entries = deposit.submission.submission_set, deposit.submission.entries
    asked = (*options(event, "colleague", tmp_path), "--patient", one.patient_id)
    for option, value in (("--submission", one.unique_id), ("--document", entries[0].unique_id),
                          ("--document", entries[-1].unique_id)):
        status, report = verified(event, *asked, option, value)
        assert (status, verdicts(report)) == (0, ("valid", "valid", "valid")), report
        assert report["signed_by"] == "899700000018 ESSAI Anne" and len(report["signed"]) == 2
    bare = tmp_path / "trust"
    bare.mkdir()
    for file in (event.folder / "pki" / "trust").glob("*.pem"):
        (bare / file.name).write_bytes(file.read_bytes())
    arguments = (*asked, "--submission", one.unique_id, "--trust", bare)
    status, report = verified(event, *arguments)
    assert (status, verdicts(report)) == (1, ("valid", "invalid", "valid")), report
    proof = tmp_path / "proof.json"
    assert carnet("verify", "--data", event.folder, "--submission", one.unique_id, "--save-proof", proof).exit_code == 0
    assert verified(event, *arguments, "--proof", proof)[0] == 0
    path_of(event, entries[0].unique_id).unlink()
    status, report = verified(event, *asked, "--submission", one.unique_id)
    assert (status, verdicts(report)) == (1, ("valid", "valid", "partial")), report


def test_in_dmp_no_person_is_shown_a_signature(live: World, tmp_path: Path) -> None:
    """Not even who deposited it: he is told whom to ask. What is not here is not shown."""
    deposit = Signing(live).sign()
    assert errors(deposit.send()) == []
    one = deposit.submission.submission_set
    his = (*options(live, "physician", tmp_path), "--patient", one.patient_id, "--data", live.folder)
    result = carnet("verify", *his, "--submission", one.unique_id)
    assert result.exit_code == 1 and "0 signature documents" in result.output and "operator" in result.output
    for option, said in (("--submission", "submission set 1.2.3 is not"), ("--document", "document 1.2.3 is")):
        result = carnet("verify", *his, option, "1.2.3")
        assert result.exit_code == 1 and said in result.output and "shown to this card" in result.output, option


def test_what_does_not_go_with_wire_is_misuse(world: World, deposit: Signing, tmp_path: Path) -> None:
    """Without a patient, or of files: told before anybody is asked."""
    one, file = deposit.submission.submission_set, tmp_path / "signature.xml"
    file.write_bytes(b"")
    his, of_set = options(world, "physician", tmp_path), ("--submission", one.unique_id)
    of_patient = ("--patient", one.patient_id)
    for wrong in (of_set, (*of_patient, "--signature", file), (*of_patient, *of_set, file)):
        result = carnet("verify", *his, *wrong, "--data", world.folder)
        assert result.exit_code == 2 and "--wire goes with --patient" in result.output, (wrong, result.output)


def test_misuse_and_what_is_not_here(world: World, tmp_path: Path) -> None:
    """Exit status 2 for misuse, 1 for what is not found; never a stack trace."""
    nothing = tmp_path / "nothing.xml"
    nothing.write_bytes(b"")
    either, without = "give --submission or --document, or --signature", "--trust and --proof go with --signature"
    for arguments, status, said in (
        ((), 2, either), (("--submission", "1.2.3", "--signature", nothing), 2, either),
        (("--submission", "1.2.3", nothing), 2, without), (("--submission", "1.2.3", "--trust", tmp_path), 2, without),
        (("--document", "1.2.3", "--proof", nothing), 2, without),
        (("--submission", "1.2.3"), 1, "no submission set of 1.2.3"),
        (("--document", "1.2.3"), 1, "no submission set of 1.2.3"), (("--signature", nothing), 1, "invalid"),
        (("--signature", nothing, "--proof", nothing), 2, "is no proof"),
        (("--signature", nothing, "--trust", tmp_path), 2, str(tmp_path)),
    ):
        result = carnet("verify", *arguments, "--data", world.folder)
        assert result.exit_code == status and said in result.output, (arguments, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit)
    deposit = Signing(world)
    assert errors(deposit.send()) == []
    result = carnet("verify", "--submission", deposit.submission.submission_set.unique_id, "--data", world.folder)
    assert result.exit_code == 1 and "0 signature documents" in result.output


def test_the_words_for_a_person(world: World, deposit: Signing) -> None:
    """Three lines first, then who and when."""
    result = carnet("verify", "--submission", deposit.submission.submission_set.unique_id, "--data", world.folder)
    assert [line.split() for line in result.output.splitlines()[:3]] == [
        ["block", "valid"], ["signer", "valid"], ["documents", "valid"],
    ]
    assert "899700000018 ESSAI Anne" in result.output
    assert signing.ENTRY not in result.output


def test_a_signature_is_kept_where_it_is_made(live: World, tmp_path: Path) -> None:
    """`send --save-signature`: what is kept verifies without the services, for its owner alone to read; what was not
    deposited leaves nothing behind. Clause: ITI TF-3 5.5.6"""
    patient = live.patient()
    card = (*options(live, "physician", tmp_path)[1:], "--data", live.folder)

    def send(*words: object, expect: int = 0, to: str = patient) -> list[dict[str, Any]]:
        result = carnet("send", *words, *card, "--patient", to, "--json")
        assert result.exit_code == expect, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def verify(signature: object, file: Path) -> tuple[str, str, str]:
        return verdicts(json.loads(carnet(
            "verify", "--signature", signature, file, "--data", live.folder, "--json"
        ).stdout))

    one, two, three, four = (a_report(tmp_path / f"{number}.xml") for number in range(4))
    signature, folder = tmp_path / "signature.xml", tmp_path / "kept"
    (told,) = send(one, "--sign", "--save-signature", signature)
    assert (told["status"], told["signature"]) == ("deposited", str(signature))
    assert stat.S_IMODE(signature.stat().st_mode) == 0o600
    assert verify(signature, one) == ("valid", "valid", "valid")
    assert verify(signature, two)[2] == "invalid"
    kept = signature.read_bytes()
    for wrong in ((two, "--sign", "--save-signature", signature), (two, three, "--sign", "--save-signature", folder),
                  (two, "--save-signature", folder), (two, "--sign", "--save-signature", folder / "x" / "y.xml")):
        send(*wrong, expect=2)
    assert signature.read_bytes() == kept
    folder.mkdir()
    assert send(one, "--sign", "--save-signature", folder)[0]["status"] == "already there"
    (refused,) = send(four, "--sign", "--save-signature", folder, expect=1, to=live.patient(is_open=False))
    assert (refused["status"], refused["signature"]) == ("refused", "") and list(folder.iterdir()) == []
    for told in send(two, three, "--sign", "--save-signature", folder):
        assert verify(told["signature"], Path(told["file"])) == ("valid", "valid", "valid")
    assert len(list(folder.iterdir())) == 2


def test_what_cannot_be_kept_is_not_sent(live: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything half written left."""
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    card = (*options(live, "physician", tmp_path)[1:], "--data", live.folder, "--patient", live.patient())
    file, folder = a_report(tmp_path / "report.xml"), tmp_path / "kept"
    folder.mkdir()
    done = carnet("send", file, "--sign", "--save-signature", folder, *card, "--json")
    assert done.exit_code == 1 and "nothing was sent" in done.stdout, done.output
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    assert '"deposited"' in carnet("send", file, "--sign", "--save-signature", folder, *card, "--json").stdout
