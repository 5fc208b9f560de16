"""``carnet on-demand`` and ``carnet retrieve`` of what it offers, against live services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from lxml import etree

from carnet.cli import main
from tests.world import STRUCTURE, World


class Terminal:
    """A person with a card at the live installation."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.environment = {"CARNET_DATA": str(world.folder), "CARNET_PIN": "pin-7391", "CARNET_STRUCTURE": STRUCTURE}
        self.card = ("--card", str(folder / "anne.p12"))
        self.patient = world.patient()

    def run(self, *words: str, expect: int = 0) -> Result:
        result = CliRunner().invoke(main, list(words), env=self.environment)
        assert result.exit_code == expect, f"{words}: {result.output} {result.exception!r}"
        return result

    def json(self, *words: str, expect: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", expect=expect).stdout)


@pytest.fixture(scope="module")
def terminal(live: World, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    made = Terminal(live, tmp_path_factory.mktemp("terminal"))
    made.run("card", "issue", "person", "899700000018", "--surname", "ESSAI", "--given", "Anne", "--specialty", "SM26",
             "--out", made.card[1])  # fmt: skip
    made.run("card", "issue", "structure", STRUCTURE, "--organisation", "LABO", "--out", str(made.folder / "lab.p12"))
    return made


def test_a_summary_is_offered_once_and_proved_when_retrieved(terminal: Terminal) -> None:
    """Registered, not twice, retrieved into a file that agrees with the snapshot the registry knows.

    Rule: R-181
    """
    first = terminal.json("on-demand", "register", terminal.patient, *terminal.card)
    again = terminal.json("on-demand", "register", terminal.patient, *terminal.card)
    assert (first["status"], again["status"]) == ("registered", "already there")
    assert first["uniqueId"] == again["uniqueId"]
    out = str(terminal.folder / "out")
    options = (*terminal.card, "--out", out)
    (report,) = terminal.json("retrieve", terminal.patient, first["uniqueId"], *options)["documents"]
    assert report["identical"] is True and report["kept"] is True and report["newUniqueId"] != report["uniqueId"]
    root = etree.fromstring(Path(report["file"]).read_bytes())
    assert root.find("{urn:hl7-org:v3}id").get("root") == report["newUniqueId"]
    assert "identical" in terminal.run("retrieve", terminal.patient, report["newUniqueId"], *options).stdout


def test_a_structure_may_offer_it_too(terminal: Terminal) -> None:
    """It finds nothing in a record, so each of its offers is a new one."""
    card = ("--card", str(terminal.folder / "lab.p12"))
    assert terminal.json("on-demand", "register", terminal.patient, *card)["status"] == "registered"


def test_an_unknown_provider_and_an_unknown_patient(terminal: Terminal, live: World) -> None:
    """Misuse, and refused with the registry's own words."""
    words = ("on-demand", "register", terminal.patient, *terminal.card)
    assert "no provider" in terminal.run(*words, "--provider", "weather", expect=2).output
    nobody = live.patient(is_open=False)
    assert "XDSUnknownPatientId" in terminal.run("on-demand", "register", nobody, *terminal.card, expect=1).output
