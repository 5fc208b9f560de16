"""``carnet patient data``, ``identify``, ``search``; ``carnet circle`` and ``carnet document`` with a card, against
live services: what they do, what they say, and their exit status.

Clause: DMP TD0.3, TD0.4, TD0.5, TD1.3a, TD1.3b, TD1.6, TD3.3
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from carnet.cli import main
from conformance import frames
from tests.record_messages import PASTED
from tests.registry.test_iti57_rights import Bedside
from tests.world import NURSE, PHYSICIAN, STRUCTURE, World, unique_ids
from xds.model import DocumentEntry

PIN = "pin-5520"
PARAMETERS = '<getParameters xmlns="urn:carnet:system:2026"/>'
FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"


class Terminal:
    """A person with a card at a terminal of the live installation."""

    def __init__(self, world: World, cards: Path):
        self.world, self.cards = world, cards

    def run(self, *words: str, who: str = "", expect: int = 0) -> str:
        environment: dict[str, str | None] = {"CARNET_DATA": str(self.world.folder), "CARNET_PIN": PIN,
                                              "CARNET_STRUCTURE": STRUCTURE}
        card = ["--card", str(self.cards / f"{who}.p12")] if who else []
        done = CliRunner().invoke(main, [*words, *card], env=environment)
        assert done.exit_code == expect, f"{words}: exit {done.exit_code}\n{done.output}\n{done.exception!r}"
        return done.output

    def json(self, *words: str, who: str = "") -> Any:
        return json.loads(self.run(*words, "--json", who=who))


@pytest.fixture(scope="module")
def at(live: World, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    folder = tmp_path_factory.mktemp("cards")
    for name in ("physician", "colleague", "nurse", "staff"):
        live.cards[name].save(folder / f"{name}.p12", PIN)
    return Terminal(live, folder)


def test_administrative_data_are_read_and_changed(at: Terminal) -> None:
    """By the operator and as the patient; the log names fields, never values. Rule: D-42"""
    patient = at.world.patient()
    assert "no administrative data" in at.run("patient", "data", patient)
    at.run("patient", "data", patient, "--set", "birth_name=ESSAIMARQUE", "--set", "city=PARIS",
           "--representative", "MTH:ESSAIMERE:Anne:RL-0001", "--as-patient")
    told = at.json("patient", "data", patient)
    assert (told["birth_name"], told["city"], told["phone"]) == ("ESSAIMARQUE", "PARIS", "")
    assert told["representatives"][0]["relation"] == "MTH" and told["identifiers"] == [patient]
    assert "MTH ESSAIMERE" in at.run("patient", "data", patient, "--set", "city=")
    assert at.json("patient", "data", patient)["city"] == ""
    lines = at.world.log_of(patient)
    assert {"administrative data read", "administrative data changed"} <= {line.action for line in lines}
    assert "ESSAIM" not in repr(lines) and any("birth_name" in line.detail for line in lines)
    assert "birth_date" in at.run("patient", "data", patient, "--set", "birth_date=2999-01-01", expect=1)
    for option, wrong in (("--set", "shoe=42"), ("--set", "city"), ("--representative", "DOG:REX"),
                          ("--representative", "MTH")):  # fmt: skip
        at.run("patient", "data", patient, option, wrong, expect=2)


def test_a_person_has_several_identifiers(at: Terminal) -> None:
    """An INS-C of 22 digits leads to the record of the INS-NIR; twice, or a wrong one, is refused."""
    patient = at.world.patient()
    number = patient.split("^")[0].rjust(22, "9")[-22:]
    further = f"{number}^^^&1.2.250.1.213.1.4.2&ISO^INS-C"
    assert at.run("patient", "identify", patient, further).splitlines() == [patient, further]
    made = frames.valid_submission("dmp", patient_id=further)
    assert at.world.deposit(made).is_success
    for name in (patient, further):
        assert unique_ids(at.world.find(name)) == [made.entries[0].unique_id]
        assert at.world.read(name, [made.entries[0].unique_id])[0].is_success
    at.run("document", "mask", further, made.entries[0].unique_id)
    at.run("document", "unmask", patient, made.entries[0].unique_id)
    assert "DMPIdentifierTaken" in at.run("patient", "identify", at.world.patient(), further, expect=1)
    short = f"{number[1:]}^^^&1.2.250.1.213.1.4.2&ISO^INS-C"
    assert "22 digits" in at.run("patient", "identify", patient, short, expect=1)


def test_a_record_is_found_by_traits(at: Terminal) -> None:
    """By the beginning of the name; more than ten is a refusal. Rule: D-46"""
    for number in range(11):
        at.run("patient", "data", at.world.patient(), "--set", f"birth_name=CHERCHEZ-{number % 10}")
    (found,) = at.json("patient", "search", "--name", "cherchez 4")
    assert found["birth_name"] == "CHERCHEZ-4"
    assert "DMPTooMany" in at.run("patient", "search", "--name", "cherchez", expect=1)
    assert at.json("patient", "search", "--name", "personne-ainsi") == []


def test_the_circle_by_card(at: Terminal) -> None:
    """TD0.3, TD1.6 and TD0.4 by their commands, over TLS; nothing without the patient's agreement. Rule: D-48, D-49"""
    patient = at.world.patient()
    at.run("circle", "join", patient, who="physician", expect=2)
    at.run("circle", "join", patient, "--care-team", "--attending", who="physician", expect=2)
    assert at.run("circle", "join", patient, "--care-team", who="colleague").strip() == "done"
    assert at.run("circle", "join", patient, "--agreed", "--attending", who="physician").strip() == "done"
    assert "already present" in at.run("circle", "join", patient, "--agreed", who="physician")
    (mine,) = (one for one in at.json("circle", "show", patient, who="physician") if one["nationalId"] == PHYSICIAN)
    assert (mine["mode"], mine["specificRight"]) == ("ACTIVE", "MEDECIN_TRAITANT")
    number = patient.split("^")[0]
    listed = at.json("circle", "records", who="physician")
    assert [one["MT"] for one in listed if one["nationalId"] == number] == ["true"]
    assert number not in at.run("circle", "records", "--since", "2099-01-01", who="physician")
    at.run("circle", "leave", patient, "--attending", who="physician")
    at.run("circle", "leave", patient, who="physician")
    assert PHYSICIAN not in at.run("circle", "show", patient, who="nurse")
    assert "DMPAccessDeniedByRightsService" in at.run("circle", "leave", patient, who="staff", expect=1)
    at.run("patient", "block", patient, NURSE)
    assert "barred" in at.run("circle", "join", patient, "--agreed", who="nurse", expect=1)
    assert NURSE in at.run("circle", "show", patient, "--which", "INTERDITE", who="colleague")


def test_a_document_by_card(at: Terminal) -> None:
    """Masked by a colleague, found no more by him, unmasked by its author."""
    bed = Bedside(at.world)
    stored = bed.deposit()
    assert at.run("document", "mask", bed.patient_id, stored.unique_id, who="colleague") == (
        f"{stored.unique_id}: masked\n"
    )
    assert bed.seen("colleague", stored.unique_id) == []
    assert "DMPUnknownDocument" in at.run(
        "document", "unmask", bed.patient_id, stored.unique_id, who="colleague", expect=1)
    at.run("document", "unmask", bed.patient_id, stored.unique_id, "--as", "card", who="physician")
    assert len(bed.seen("colleague", stored.unique_id)) == 3
    assert [(one.caller_id, one.action) for one in at.world.log_of(bed.patient_id) if one.event == "patient act"] == [
        ("899700000034", "mask"), ("899700000034", "unmask"), (PHYSICIAN, "unmask"),
    ]


def test_a_deposit_under_a_secret_connection(at: Terminal, tmp_path: Path) -> None:
    """What is sent so is marked for that, and neither it nor its line is for representatives. Rule: H-07"""
    patient, file = at.world.patient(), a_report(tmp_path / "report.xml")
    said = json.loads(at.run("send", str(file), "--patient", patient, "--secret", "--json", who="physician"))
    assert said["status"] == "deposited", said
    (found,) = at.world.find(patient, "physician").objects
    assert isinstance(found, DocumentEntry)
    assert "INVISIBLE_REPRESENTANTS_LEGAUX" in {code.code for code in found.confidentiality_codes}
    for reader, told in (("patient", True), ("representative", False)):
        shown = at.run("log", patient, "--as", reader)
        assert (found.unique_id in shown) is told, reader
    said = at.run("card", "assert", "--patient", patient, "--secret", who="physician")
    assert "INVISIBLE_REPRESENTANTS_LEGAUX" in said


def a_report(file: Path) -> Path:
    """One that nobody has deposited yet."""
    shipped = (FIXTURES / "cda" / "cr-bio-v1.xml").read_text("utf-8")
    file.write_text(re.sub(r'<id root="[0-9.]+"', f'<id root="{frames.new_oid()}"', shipped, count=1), "utf-8")
    return file


def test_a_given_assertion_says_everything_itself(at: Terminal, tmp_path: Path) -> None:
    """What would be its content is misuse beside it, and nothing is sent. Rule: H-07"""
    patient, given = at.world.patient(), tmp_path / "assertion.xml"
    given.write_text(at.run("card", "assert", "--patient", patient, who="physician"), "utf-8")
    words = ("send", str(a_report(tmp_path / "report.xml")), "--patient", patient, "--assertion", str(given))
    for more in (("--secret",), ("--purpose", "normal"), ("--reason", "essai")):
        assert "sent as it is" in at.run(*words, *more, who="physician", expect=2)
    message = tmp_path / "message.xml"
    message.write_text(PARAMETERS, "utf-8")
    words = ("call", str(message), "--assertion", str(given))
    assert "sent as it is" in at.run(*words, "--account", "1", who="physician", expect=2)
    at.run(*words, who="physician")
    assert at.world.find(patient, "physician").objects == []


def test_a_refusal_by_a_record_service_is_a_status(at: Terminal, tmp_path: Path) -> None:
    """Of `call`: 1 when the answer refuses, which is printed all the same; 2 for what is no message; 3 for nobody
    there. Rule: D-41"""
    file, patient = tmp_path / "message.xml", at.world.patient()

    def call(text: str, *more: str, expect: int) -> str:
        file.write_text(text, "utf-8")
        return at.run("call", str(file), *more, who="staff", expect=expect)

    act = (
        '<setAccess xmlns="urn:carnet:patient-acts:2026"><action>BLOQUER</action><nationalId>1</nationalId></setAccess>'
    )
    told = call(act, "--patient", patient, expect=1)
    assert "status>DMP" in told and "Error: " in told
    told = call(act, "--patient", patient, "--json", expect=1).splitlines()
    said = json.loads(told[0])
    assert said["status"].startswith("DMPAccessDenied") and said["status"] in said["answer"] and told[1:]
    search = PASTED["TD0.5"]
    assert "AE" in call(search, expect=1)
    assert json.loads(call(PARAMETERS, "--json", expect=0))["status"] == "DMPOk"
    for wrong in ("<getParameters", "", "<!DOCTYPE x []><x/>", "<x/>", "<x xmlns='urn:nobody'/>"):
        assert "message.xml" in call(wrong, expect=2)
    call(PARAMETERS, "--registry-url", "https://127.0.0.1:1", expect=3)


def test_the_traces_of_a_professional_are_taken_out(at: Terminal) -> None:
    """Of every record, between days; that they were is a line of its own. Rule: D-61"""
    patients = [at.world.patient(), at.world.patient()]
    for one in patients:
        at.run("circle", "join", one, "--agreed", who="nurse")
    lines = [json.loads(text) for text in at.run("log", "extract", NURSE, "--json").splitlines()]
    assert [line["patient_id"] for line in lines[-2:]] == patients
    assert {line["caller_id"] for line in lines} == {NURSE}
    told = at.run("log", "extract", NURSE, "--since", "2026-01-01", "--lang", "fr")
    assert patients[1] in told and "a donné l'autorisation" in told
    assert at.run("log", "extract", NURSE, "--until", "2020-01-01") == ""
    assert "blank" in at.run("log", "extract", " ", expect=2)
    assert at.world.registry_lines(1)[0].action == "traces handed out"


def test_the_parameters_of_the_server(at: Terminal) -> None:
    """Asked with any card."""
    told = {one["name"]: one["value"] for one in at.json("circle", "parameters", who="staff")}
    assert (told["fonctions-gestion-mineurs"], told["age-majorite"]) == ("true", "18")
