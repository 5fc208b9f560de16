"""``carnet matrix`` and ``carnet explain``: the tables in force, and why somebody may or may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from carnet.cli import main
from conformance import frames
from guard.policy.clauses import MATRIX_CLAUSES
from guard.policy.matrix import RIGHT_COLUMNS
from tests.direct import Desk
from tests.world import PHYSICIAN, STRUCTURE, World, contents
from xds.model import Code

PIN = "pin-4417"
MASKED = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué aux professionnels")
AUTHOR = f"{PHYSICIAN}^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"


def run(world: World, *words: str | Path, expect: int = 0) -> str:
    environment = {"CARNET_DATA": str(world.folder), "CARNET_PIN": PIN, "CARNET_STRUCTURE": STRUCTURE}
    result = CliRunner().invoke(main, [str(word) for word in words], env=environment)
    assert result.exit_code == expect, f"{words}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def cards(here: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cards")
    for name in ("physician", "colleague", "laboratory"):
        here.cards[name].save(folder / f"{name}.p12", PIN)
    return {name: folder / f"{name}.p12" for name in ("physician", "colleague", "laboratory")}


@pytest.fixture(scope="module")
def masked(here: World) -> tuple[str, str]:
    """(patient, uniqueId) of a masked document by the physician."""
    patient_id = here.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    made.entries[0].authors = [frames.an_author(person=[AUTHOR])]
    made.entries[0].confidentiality_codes.append(MASKED)
    assert here.deposit(made, contents(made)).is_success
    return patient_id, made.entries[0].unique_id


def explained(world: World, card: Path, masked: tuple[str, str], *words: str) -> dict[str, Any]:
    patient, document = masked
    given = ("explain", "--card", card, "--patient", patient, "--document", document, "--json", *words)
    told: dict[str, Any] = json.loads(run(world, *given))
    return told


def test_each_clause_is_told_with_the_one_that_decided(
    here: World, cards: dict[str, Path], masked: tuple[str, str]
) -> None:
    """The author is let through by authorship, the colleague stopped by the mask; all clauses are listed.

    Rule: H-09
    """
    own = explained(here, cards["physician"], masked)
    assert own["allowed"] and own["clause"] == "own-document"
    other = explained(here, cards["colleague"], masked)
    assert not other["allowed"] and other["clause"] == "masked"
    assert [one["clause"] for one in other["clauses"]] == [c.name for c in MATRIX_CLAUSES]
    deciding = next(one for one in other["clauses"] if one["clause"] == "masked")
    assert deciding["verdict"] == "deny" and "masked from professionals" in deciding["reason"]
    assert (other["caller"]["column"], other["caller"]["profession"]) == ("MD n", "10")


def test_what_is_explained_is_what_is_answered(here: World, cards: dict[str, Path], masked: tuple[str, str]) -> None:
    """The same card at the services, reading and finding.

    Rule: H-09
    """
    patient, document = masked
    for who in ("physician", "colleague", "laboratory"):
        outcome, _ = here.read(patient, [document], who)
        assert outcome.is_success is explained(here, cards[who], masked)["allowed"]
    (entry,) = Desk(here, patient).entries(document)
    for name in (document, entry.entry_uuid):
        assert explained(here, cards["colleague"], (patient, name), "--action", "search")["clause"] == "masked"


def test_purpose_and_action_are_those_asked_about(
    here: World, cards: dict[str, Path], masked: tuple[str, str]
) -> None:
    """Break-glass stands in another column; a structure may not read at all.

    Rule: H-09
    """
    urgent = explained(here, cards["colleague"], masked, "--purpose", "bris_de_glace")
    assert urgent["caller"]["column"] == "MD b" and urgent["clause"] == "masked"
    assert explained(here, cards["laboratory"], masked)["clause"] == "functional-right"
    assert explained(here, cards["laboratory"], masked, "--action", "delete")["clause"] == "owner"
    text = run(here, "explain", "--card", cards["colleague"], "--patient", masked[0], "--action", "search")
    assert text.startswith("ALLOWED: TD3.1 search") and "limit" in text


def test_a_secret_connection_is_explained(here: World, cards: dict[str, Path], masked: tuple[str, str]) -> None:
    """``explain --secret``: the clause of such connections is asked, and says no for a deposit that is not hidden.

    Rule: H-07, H-09
    """
    given = (here, cards["physician"], masked, "--action", "feed")
    plain, secret = explained(*given), explained(*given, "--secret")
    assert plain["clause"] != "secret-connection" and (secret["allowed"], secret["clause"]) == (
        False, "secret-connection",
    )


def test_what_cannot_be_explained_is_refused(here: World, cards: dict[str, Path], masked: tuple[str, str]) -> None:
    """An unknown document and an unknown purpose; a patient without a record is an answer."""
    given = ("explain", "--card", cards["physician"], "--patient", masked[0])
    assert "no document 1.2.3" in run(here, *given, "--document", "1.2.3", expect=1)
    run(here, *given, "--purpose", "curiosity", expect=2)
    told = json.loads(run(here, *given[:3], "--patient", here.patient(is_open=False), "--json"))
    assert not told["allowed"] and told["clause"] == "record-open"


def test_both_matrices_can_be_printed(here: World, plain: World, tmp_path: Path) -> None:
    """As text and for programs; without an installation those shipped; a domain without rules says so.

    Rule: H-03
    """
    told = json.loads(run(here, "matrix", "--json"))
    assert told["rights"]["TD3.2-masked"]["PS r"] == "pat" and told["rights"]["TD2.1"]["AIR MD n"] == "-"
    psychiatric = told["types"]["68599-0^^2.16.840.1.113883.6.1"]
    assert psychiatric["cells"]["60"] == "-" and "60" in psychiatric["attested"]
    assert "TD3.3c" in run(here, "matrix", "rights") and "-*" in run(here, "matrix", "types")
    assert "TD3.3c" in run(here, "matrix", "rights", "--data", tmp_path)
    run(plain, "matrix", expect=1)


def test_a_changed_cell_is_printed(here: World, tmp_path: Path) -> None:
    """The operator's own cells are those in force.

    Rule: H-03
    """
    columns = ["right", "label", *RIGHT_COLUMNS, "AIR", "note"]
    row = {"right": "TD3.2", "OP": "Y"}
    table = tmp_path / "rights-override.csv"
    table.write_text(",".join(columns) + "\n" + ",".join(row.get(c, "") for c in columns) + "\n", "utf-8")
    result = CliRunner().invoke(
        main, ["matrix", "rights", "--json"],
        env={"CARNET_DATA": str(here.folder), "CARNET__DOMAIN__MATRIX": str(tmp_path)},
    )
    assert json.loads(result.output)["rights"]["TD3.2"]["OP"] == "Y"
