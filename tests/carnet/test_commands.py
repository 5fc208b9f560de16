"""The command line against live services: what it does, what it says, and its exit status.

0 done, 1 refused, 2 misuse, 3 a peer cannot be reached.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from carnet.cli import main
from conformance import frames
from tests.world import STRUCTURE, World

PIN = "pin-7391"  # no number issued to a card can hold it
CAMILLE, LUC, INES, ANGE = (
    f"{number}^^^&1.2.250.1.213.1.4.10&ISO^NH"
    for number in ("279059999900134", "151119999900296", "215039999900332", "168072A99900496")
)
NOWHERE = "https://127.0.0.1:1"


@dataclass
class Desk:
    """A person at a terminal of the live installation."""

    world: World
    folder: Path

    def run(self, *words: str | Path, expect: int = 0, pin: str | None = PIN, data: Path | None = None) -> Result:
        """One command; its exit status must be ``expect``, its output never holds a PIN or a stack trace."""
        environment = {"CARNET_DATA": str(data or self.world.folder), "CARNET_PIN": pin, "CARNET_STRUCTURE": STRUCTURE}
        result = CliRunner().invoke(main, [str(word) for word in words], env=environment)
        assert result.exit_code == expect, f"{words}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        assert PIN not in result.output.replace(str(self.folder), "") and "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def json(self, *words: str | Path, expect: int = 0, **more: Any) -> Any:
        """As ``run``, with ``--json``; what was printed, a list where it was one line for each."""
        lines = [json.loads(line) for line in self.run(*words, "--json", expect=expect, **more).stdout.splitlines()]
        return lines[0] if len(lines) == 1 else lines

    def card(self, name: str) -> Path:
        return self.folder / f"{name}.p12"

    def by(self, name: str) -> tuple[str, str]:
        return "--card", str(self.card(name))


@pytest.fixture(scope="session")
def desk(live: World, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the cards of a physician, a nurse and a laboratory, and Camille's record open."""
    made = Desk(live, tmp_path_factory.mktemp("desk"))
    person = ("card", "issue", "person")
    made.run(*person, "899700000018", "--surname", "ESSAI", "--given", "Anne", "--specialty", "SM26",
             "--out", made.card("anne"))  # fmt: skip
    made.run(*person, "899700000026", "--surname", "FICTIF", "--given", "Paul", "--profession", "60",
             "--label", "Infirmier", "--out", made.card("paul"))  # fmt: skip
    made.run("card", "issue", "structure", STRUCTURE, "--organisation", "LABORATOIRE FICTIF", "--out", made.card("lab"))
    made.run("patient", "open", CAMILLE, "--consent")
    made.run("patient", "allow", CAMILLE, STRUCTURE, "--structure")
    return made


@pytest.fixture(scope="session")
def cda() -> Iterator[Path]:
    with as_file(files("fixtures").joinpath("cda")) as folder:
        yield folder


@pytest.fixture(scope="session")
def sent(desk: Desk, cda: Path) -> str:
    """The uniqueId of a report that the laboratory has sent."""
    result = desk.json("send", cda / "cr-bio-v1.xml", *desk.by("lab"))
    assert result["status"] == "deposited" and result["patient_id"] == CAMILLE
    return str(result["unique_id"])


# -- init, cards -------------------------------------------------------------------------------------------


def test_init_makes_an_installation_once(tmp_path: Path, desk: Desk) -> None:
    """It never overwrites; ``--if-missing`` is content with what is there."""
    data = tmp_path / "new"
    assert desk.json("init", data=data) == {"data": str(data), "created": True}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.suffix in (".toml", ".pem", ".key")}
    assert len(before) > 5
    assert "already an installation" in desk.run("init", data=data, expect=2).stderr
    assert desk.json("init", "--if-missing", data=data)["created"] is False
    assert {p: p.read_bytes() for p in before} == before


def test_a_folder_without_an_installation_is_misuse(tmp_path: Path, desk: Desk) -> None:
    """Every command that needs one says what to do first."""
    for words in (("patient", "list"), ("check",), ("log", "--all"), ("pki", "list"), ("serve", "registry")):
        assert "carnet init" in desk.run(*words, data=tmp_path / "none", expect=2).stderr


def test_a_settings_file_that_is_wrong_is_misuse(tmp_path: Path, desk: Desk) -> None:
    """The key is named."""
    desk.run("init", data=tmp_path / "new")
    (tmp_path / "new" / "carnet.toml").write_text("[registry]\nprot = 1\n", "utf-8")
    assert "prot" in desk.run("patient", "list", data=tmp_path / "new", expect=2).stderr
    (tmp_path / "new" / "carnet.toml").write_text("[registry\n", "utf-8")
    assert "carnet.toml" in desk.run("patient", "list", data=tmp_path / "new", expect=2).stderr


def test_a_card_is_issued_and_shown(desk: Desk) -> None:
    """Only its owner may read the file."""
    shown = desk.json("card", "show", desk.card("anne"))
    assert (shown["kind"], shown["identifier"], shown["profession"]) == ("person", "899700000018", 10)
    assert shown["can_sign"] and shown["specialties"] == ["SM26"]
    assert "identifier: 899700000018" in desk.run("card", "show", desk.card("anne")).stdout
    assert desk.json("card", "show", desk.card("lab"))["structure"] == STRUCTURE
    assert stat.S_IMODE(desk.card("anne").stat().st_mode) == 0o600


def test_a_card_is_never_overwritten(desk: Desk) -> None:
    """Nor is one made without a PIN, or for an identifier that is none."""
    before = desk.card("paul").read_bytes()
    words = ("card", "issue", "person", "899700000042", "--surname", "A", "--given", "B", "--out")
    assert "already exists" in desk.run(*words, desk.card("paul"), expect=1).stderr
    assert desk.card("paul").read_bytes() == before
    assert "PIN" in desk.run(*words, desk.folder / "x.p12", pin=None, expect=2).stderr
    assert "PIN" in desk.run(*words, desk.folder / "x.p12", pin="", expect=2).stderr
    (desk.folder / "empty.txt").write_bytes(b"")
    assert "PIN" in desk.run(*words, desk.folder / "x.p12", "--pin-file", desk.folder / "empty.txt", expect=2).stderr
    assert not (desk.folder / "x.p12").exists()


@pytest.mark.parametrize("identifier", ["", "Anne", "12", "899700000018 "])
def test_an_identifier_that_is_none_is_misuse(desk: Desk, identifier: str) -> None:
    """The form of PS_IdNat is checked before anything is issued."""
    issued = len(desk.json("pki", "list"))
    words = ("card", "issue", "person", identifier, "--surname", "A", "--given", "B", "--out", desk.folder / "y.p12")
    assert "identifier" in desk.run(*words, expect=2).stderr.lower()
    assert len(desk.json("pki", "list")) == issued


def test_a_wrong_pin_opens_nothing(desk: Desk, tmp_path: Path) -> None:
    """From the environment and from a file; without any PIN it is misuse."""
    assert "PIN does not open" in desk.run("card", "show", desk.card("anne"), pin="0000", expect=1).stderr
    pin_file = tmp_path / "pin.txt"
    pin_file.write_text(f"{PIN}\nsecond line\n", "utf-8")
    desk.run("card", "show", desk.card("anne"), "--pin-file", pin_file, pin="0000")
    assert "no PIN" in desk.run("card", "show", desk.card("anne"), pin=None, expect=2).stderr
    desk.run("query", CAMILLE, *desk.by("anne"), pin="0000", expect=1)


def test_a_pin_is_never_an_argument() -> None:
    """No option takes a PIN, only a file that holds one, so it is in no list of processes."""
    for path, command in leaves():
        for parameter in command.params:
            if "pin" in parameter.name:
                assert parameter.name == "pin_file" and isinstance(parameter.type, click.Path), path


def test_a_file_that_is_no_card_is_refused(desk: Desk, tmp_path: Path) -> None:
    """With words a person understands."""
    (tmp_path / "no.p12").write_bytes(b"not a card")
    assert "not a card" in desk.run("card", "show", tmp_path / "no.p12", expect=1).stderr
    desk.run("card", "show", tmp_path / "absent.p12", expect=2)


# -- patients ----------------------------------------------------------------------------------------------


def test_a_record_is_opened_closed_and_reopened(desk: Desk) -> None:
    """Each step once, each with what it needs."""
    assert "consent" in desk.run("patient", "open", LUC, expect=1).stderr
    assert desk.json("patient", "open", LUC, "--consent")["status"] == "active"
    assert "already open" in desk.run("patient", "open", LUC, "--consent", expect=1).stderr
    desk.run("patient", "close", LUC, expect=2)
    assert desk.json("patient", "close", LUC, "--reason", "essai")["status"] == "terminated"
    assert "already closed" in desk.run("patient", "close", LUC, "--reason", "essai", expect=1).stderr
    assert "consent" in desk.run("patient", "reopen", LUC, expect=1).stderr
    assert f"{LUC}: active" in desk.run("patient", "reopen", LUC, "--consent").stdout
    assert {p["patient_id"]: p["status"] for p in desk.json("patient", "list")}[LUC] == "active"
    assert LUC in desk.run("patient", "list").stdout
    log = desk.run("log", LUC).stdout
    assert [word in log for word in ("opened the record", "closed the record “essai”", "reopened")] == [True] * 3


@pytest.mark.parametrize(
    ("patient", "words"),
    [
        ("279059999900135^^^&1.2.250.1.213.1.4.10&ISO^NH", "key"),
        ("1^^^&9.9.9&ISO^NH", "authority"),
        ("279059999900134", "identifier"),
    ],
)
def test_a_wrong_patient_identifier_is_refused(desk: Desk, patient: str, words: str) -> None:
    """A key that does not match, a foreign authority, no CX at all."""
    assert words in desk.run("patient", "open", patient, "--consent", expect=1).stderr
    assert patient not in {p["patient_id"] for p in desk.json("patient", "list")}


def test_an_unknown_record_cannot_be_closed(desk: Desk) -> None:
    """Nor its log read."""
    desk.run("patient", "close", ANGE, "--reason", "x", expect=1)
    assert "no record" in desk.run("log", ANGE, expect=2).stderr


# -- send, query, retrieve ---------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["lab", "anne"])
def test_a_repeat_is_recognised(desk: Desk, cda: Path, sent: str, who: str) -> None:
    """Nothing is stored twice, and it is no error."""
    result = desk.json("send", cda / "cr-bio-v1.xml", *desk.by(who))
    assert (result["status"], result["unique_id"]) == ("already there", sent)
    assert "already there" in desk.run("send", cda / "cr-bio-v1.xml", *desk.by(who)).stdout


@pytest.mark.parametrize("who", ["lab", "anne"])
def test_a_signed_set_is_sent_and_verified(desk: Desk, cda: Path, sent: str, tmp_path: Path, who: str) -> None:
    """With the card's signature key, a person's or a structure's; a repeat is recognised; the proof is all there."""
    file = tmp_path / "signed.xml"
    file.write_text((cda / "cr-bio-v1.xml").read_text("utf-8").replace(sent, frames.new_oid()), "utf-8")
    result = desk.json("send", file, "--sign", *desk.by(who))
    assert result["status"] == "deposited", result
    assert desk.json("send", file, "--sign", *desk.by(who))["status"] == "already there"
    report = desk.json("verify", "--document", result["unique_id"], "--patient", CAMILLE)
    assert [report[name]["verdict"] for name in ("block", "signer", "documents")] == ["valid"] * 3
    assert report["signed_by"].split()[0] == (STRUCTURE if who == "lab" else "899700000018")
    desk.run("verify", "--document", sent, expect=1)


def test_a_dry_run_sends_nothing(desk: Desk, cda: Path) -> None:
    """It shows the metadata; no service is needed."""
    file = cda / "vsm.xml"
    facts = desk.json("send", file, "--dry-run", *desk.by("anne"), "--repository-url", NOWHERE)
    assert facts["patientId"] == CAMILLE and facts["hash"] and facts["typeCode"]
    assert "typeCode" in desk.run("send", file, "--dry-run", *desk.by("anne")).stdout
    found = desk.json("query", CAMILLE, *desk.by("anne"), "--status", "any")["objects"]
    assert facts["uniqueId"] not in {o["uniqueId"] for o in found}


def test_a_folder_is_sent_and_each_file_reported(desk: Desk, cda: Path, sent: str, tmp_path: Path) -> None:
    """One line each; the one that is no CDA does not stop the others; the status is 1."""
    for name in ("cr-bio-v1.xml", "lettre-sortie.xml"):
        (tmp_path / name).write_bytes((cda / name).read_bytes())
    (tmp_path / "broken.xml").write_bytes(b"<ClinicalDocument")
    (tmp_path / "notes.txt").write_bytes(b"not sent")
    reports = desk.json("send", tmp_path, *desk.by("anne"), expect=1)
    assert {Path(r["file"]).name: r["status"] for r in reports} == {
        "broken.xml": "unreadable", "cr-bio-v1.xml": "already there", "lettre-sortie.xml": "deposited",
    }
    text = desk.run("send", tmp_path, *desk.by("anne"), expect=1).stdout
    assert "3 files: 1 unreadable, 2 already there" in text
    desk.run("send", tmp_path / "broken.xml", *desk.by("anne"), expect=1)
    desk.run("send", tmp_path / "absent.xml", *desk.by("anne"), expect=2)


def test_a_document_is_masked_by_an_override(desk: Desk, cda: Path, tmp_path: Path) -> None:
    """The colleague does not find it; an override that is none is misuse."""
    (tmp_path / "override.toml").write_text('masked = true\ntitle = "Titre d\'essai"\n', "utf-8")
    result = desk.json("send", cda / "cr-bio-pdf.xml", "--override", tmp_path / "override.toml", *desk.by("lab"))
    assert result["status"] == "deposited", result
    found = desk.json("query", CAMILLE, *desk.by("paul"))["objects"]
    assert result["unique_id"] not in {o["uniqueId"] for o in found}
    desk.run("retrieve", CAMILLE, result["unique_id"], "--out", tmp_path, *desk.by("paul"), expect=1)
    (tmp_path / "override.toml").write_text("maskd = true\n", "utf-8")
    words = ("send", cda / "cr-bio-pdf.xml", "--override", tmp_path / "override.toml", *desk.by("anne"))
    assert "maskd" in desk.run(*words, expect=2).stderr


def test_a_document_for_a_patient_without_a_record_is_refused(desk: Desk, cda: Path, tmp_path: Path) -> None:
    """The text says why and carries the trace."""
    other = (cda / "vsm.xml").read_bytes().replace(b"279059999900134", b"290019999900509")
    (tmp_path / "noa.xml").write_bytes(other)
    result = desk.json("send", tmp_path / "noa.xml", *desk.by("anne"), expect=1)
    assert result["status"] == "refused" and "XDSUnknownPatientId" in result["messages"][0]
    assert "trace " in result["messages"][0]


@pytest.mark.parametrize("verb", ["send", "query", "retrieve"])
def test_a_peer_that_does_not_answer_has_its_own_status(desk: Desk, cda: Path, tmp_path: Path, verb: str) -> None:
    """Exit status 3, and words."""
    words: dict[str, tuple[str | Path, ...]] = {
        "send": ("send", cda / "vsm.xml"), "query": ("query", CAMILLE),
        "retrieve": ("retrieve", CAMILLE, "1.2.3", "--out", tmp_path),
    }
    result = desk.run(*words[verb], *desk.by("anne"), "--repository-url", NOWHERE, "--registry-url", NOWHERE, expect=3)
    assert "No connection" in result.output


def test_an_unreachable_repository_alone(desk: Desk, cda: Path) -> None:
    """The registry answers, the repository does not: nothing was stored.

    A structure, which may not search, goes straight to the repository.
    """
    for who in ("anne", "lab"):
        result = desk.json("send", cda / "vsm.xml", *desk.by(who), "--repository-url", NOWHERE, expect=3)
        assert result["status"] == "unreachable"


def test_what_is_found_and_how(desk: Desk, sent: str) -> None:
    """As a table, as JSON, as references, by every kind of query."""
    assert sent in desk.run("query", CAMILLE, *desk.by("anne")).stdout
    (entry,) = (o for o in desk.json("query", CAMILLE, *desk.by("anne"))["objects"] if o["uniqueId"] == sent)
    assert entry["status"] == "Approved" and entry["repositoryUniqueId"] and entry["size"] > 0
    by_name = ("--param", f"$XDSDocumentEntryUniqueId=('{sent}')")
    references = desk.json("query", CAMILLE, "--type", "GetDocuments", *by_name, "--references", *desk.by("anne"))
    assert references["references"] == [entry["entryUUID"]]
    found = desk.json("query", CAMILLE, "--type", "GetDocumentsAndAssociations", *by_name, *desk.by("anne"))
    assert [o["kind"] for o in found["objects"]] == ["DocumentEntry", "Association"]
    sets = desk.json("query", CAMILLE, "--type", "FindSubmissionSets", *desk.by("anne"))["objects"]
    assert {o["kind"] for o in sets} == {"SubmissionSet"}
    links = ("--type", "GetAssociations", "--param", f"$uuid=('{entry['entryUUID']}')")
    assert len(desk.json("query", CAMILLE, *links, *desk.by("anne"))["objects"]) == 1
    everything = desk.json("query", CAMILLE, "--type", "GetAll", "--status", "any", *desk.by("anne"))["objects"]
    assert {o["kind"] for o in everything} == {"DocumentEntry", "SubmissionSet", "Association"}
    assert desk.json("query", CAMILLE, "--type", "FindFolders", *desk.by("anne"))["objects"] == []
    several = desk.json("query", CAMILLE, "--type", "FindDocumentsForMultiplePatients", *desk.by("anne"))["objects"]
    assert sent in {o["uniqueId"] for o in several}
    assert "nothing found" in desk.run("query", CAMILLE, "--status", "deprecated", "--param",
                                       "$XDSDocumentEntryCreationTimeTo=1900", *desk.by("anne")).stdout  # fmt: skip


def test_a_query_that_is_wrong_is_refused_with_the_reason(desk: Desk) -> None:
    """Code and context of the registry's answer; what never leaves is misuse."""
    words = ("query", CAMILLE, *desk.by("anne"), "--param")
    assert "XDSRegistryError" in desk.run(*words, "$XDSDocumentEntryTypeCode=('x')", expect=1).stderr
    assert "NAME=VALUE" in desk.run(*words, "nothing", expect=2).stderr
    assert "access right" in desk.run("query", CAMILLE, *desk.by("lab"), expect=1).stderr


def test_a_document_is_retrieved_and_proved(desk: Desk, cda: Path, sent: str, tmp_path: Path) -> None:
    """The bytes that were sent, in a file of its own; a second time does not overwrite another file's content."""
    report = desk.json("retrieve", CAMILLE, sent, "--out", tmp_path / "out", *desk.by("anne"))
    (one,) = report["documents"]
    assert one["identical"] is True and report["errors"] == []
    assert Path(one["file"]).read_bytes() == (cda / "cr-bio-v1.xml").read_bytes()
    assert "identical" in desk.run("retrieve", CAMILLE, sent, "--out", tmp_path / "out", *desk.by("anne")).stdout
    assert [p.name for p in (tmp_path / "out").iterdir()] == [Path(one["file"]).name]


def test_of_two_documents_one_is_not_there(desk: Desk, sent: str, tmp_path: Path) -> None:
    """The one that is comes, and the status says that not all did."""
    report = desk.json("retrieve", CAMILLE, sent, "1.2.3.4", "--out", tmp_path, *desk.by("anne"), expect=1)
    assert [d["uniqueId"] for d in report["documents"]] == [sent] and "1.2.3.4" in report["errors"][0]
    desk.run("retrieve", CAMILLE, "1.2.3.4", "--out", tmp_path, *desk.by("anne"), expect=1)


def test_a_replacement_is_linked(desk: Desk, cda: Path, sent: str) -> None:
    """The second version names the first: that one becomes Deprecated."""
    result = desk.json("send", cda / "cr-bio-v2.xml", *desk.by("lab"))
    assert result["status"] == "deposited" and f"replaces {sent}" in result["messages"]
    old = desk.json("query", CAMILLE, "--status", "deprecated", *desk.by("anne"))["objects"]
    assert sent in {o["uniqueId"] for o in old}


# -- log, check, pki ---------------------------------------------------------------------------------------


def test_the_log_speaks_french_and_english(desk: Desk, sent: str) -> None:
    """Sentences for the patient; every field for programs."""
    desk.run("query", CAMILLE, *desk.by("anne"))
    french = desk.run("log", CAMILLE, "--language", "fr").stdout
    english = desk.run("log", CAMILLE, "--language", "en").stdout
    assert "a recherché dans le dossier" in french and "a déposé 1 document" in french
    assert "searched the record" in english and f"deposited 1 document ({sent})" in english
    lines = desk.json("log", CAMILLE)
    assert {"at", "trace_id", "caller_id", "action", "outcome"} <= set(lines[0])
    assert any(line["action"] == "deposit" and line["documents"] == [sent] for line in lines)


def test_refused_logins_are_in_the_whole_log(desk: Desk) -> None:
    """With the reason, which no patient's log shows."""
    with pytest.raises(Exception, match="FailedAuthentication"):
        desk.world.client("physician", tls=desk.world.bare_tls()).query("urn:uuid:x", [], patient_id=CAMILLE)
    assert "refused login" in {line["action"] for line in desk.json("log", "--all", "--last", "5")}
    assert "no TLS client certificate" in desk.run("log", "--all", "--last", "5").stdout
    desk.run("log", expect=2)
    desk.run("log", CAMILLE, "--all", expect=2)


def test_everything_agrees(desk: Desk, sent: str) -> None:
    """Registry, repository and files, with every byte read."""
    report = desk.json("check", "--full")
    assert report["agree"] and report["entries"] >= 1 and not report["missing"] and not report["damaged"]
    assert "they agree" in desk.run("check").stdout


def test_a_revoked_card_is_refused_within_seconds(desk: Desk) -> None:
    """Authentication certificate and signature certificate alike; other cards go on working."""
    person = ("card", "issue", "person")
    for number, purpose in (("899700000117", "authentication"), ("899700000125", "signature")):
        card = desk.card(number)
        desk.run(*person, number, "--surname", "REVOQUE", "--given", "Rose", "--specialty", "SM26", "--out", card)
        ask = ("query", CAMILLE, "--card", card)
        desk.run(*ask)
        (issued,) = (i for i in desk.json("pki", "list") if i["holder"] == number and i["purpose"] == purpose)
        assert desk.json("pki", "revoke", issued["serial"])["revoked"]
        assert refused_within(10, lambda ask=ask: CliRunner().invoke(
            main, [str(w) for w in ask],
            env={"CARNET_DATA": str(desk.world.folder), "CARNET_PIN": PIN, "CARNET_STRUCTURE": STRUCTURE},
        ).exit_code)  # fmt: skip
        assert issued["serial"] in desk.run("pki", "list").stdout
    desk.run("query", CAMILLE, *desk.by("anne"))
    assert "no certificate" in desk.run("pki", "revoke", "abcdef", expect=1).stderr
    desk.run("pki", "revoke", "not a number", expect=1)


def refused_within(seconds: float, ask: Callable[[], int]) -> bool:
    """Whether the command is refused (1) before the time is over; it must never fail in another way."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = ask()
        assert status in (0, 1), status
        if status == 1:
            return True
        time.sleep(0.2)
    return False


# -- help --------------------------------------------------------------------------------------------------


def leaves() -> list[tuple[str, click.Command]]:
    """Every verb with the words that lead to it."""
    found: list[tuple[str, click.Command]] = []

    def walk(path: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None, name
                walk(f"{path} {name}".strip(), below)
        else:
            found.append((path, command))

    walk("", main)
    return found


@pytest.mark.parametrize("path", [path for path, _ in leaves()])
def test_every_help_shows_an_example(path: str) -> None:
    """And the example begins as one would type it."""
    result = CliRunner().invoke(main, [*path.split(), "--help"])
    assert result.exit_code == 0 and "Example" in result.output
    assert f"carnet {path.split()[0]}" in result.output.partition("Example")[2]


def test_every_verb_that_ends_answers_programs() -> None:
    """Only what stays has no ``--json``, and the page says so."""
    silent = {path for path, command in leaves() if not any("--json" in one.opts for one in command.params)}
    assert silent == {"serve", "pki serve"}
    page = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text("utf-8")
    assert "`--json` but those that stay: `serve`,\n`pki serve`" in page


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    """``python -m carnet``; an unknown verb is misuse; nothing is written to standard output by an error."""
    done = subprocess.run([sys.executable, "-m", "carnet", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Deposit and read" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "carnet", "patient", "list", "--data", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and "carnet init" in done.stderr
    assert CliRunner().invoke(main, ["nothing"]).exit_code == 2


@pytest.mark.parametrize("verb", ["query", "retrieve"])
@pytest.mark.parametrize("patient", ["279059999900134", "279^^^&not-an-oid&ISO", "279^^^"])
def test_a_patient_who_is_no_identifier_is_misuse(verb: str, patient: str) -> None:
    """What the shell made of an unquoted & is told, not answered with nothing found."""
    result = CliRunner().invoke(main, [verb, patient, *(["1.2.3"] if verb == "retrieve" else [])])
    assert result.exit_code == 2 and patient in result.output and "in quotes" in result.output


def test_an_emergency_is_given_in_words(desk: Desk) -> None:
    """Without a reason it is refused; with one the patient reads it. Rule: U-01"""
    words = ("query", CAMILLE, *desk.by("anne"), "--purpose", "bris_de_glace")
    desk.run(*words, expect=1)
    desk.run(*words, "--reason", "patient sans connaissance")
    assert "« patient sans connaissance »" in desk.run("log", CAMILLE, "--lang", "fr").stdout
    shown = desk.run("card", "assert", "--card", desk.card("anne"), "--purpose", "bris_de_glace", "--reason", "essai")
    assert "Mode_Acces_Raison" in shown.stdout
