"""The register of homologated software: id, version, days and profile, each named when it is not kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import record.td.app
import registry.app
import repository.app
from carnet import gate
from carnet.settings import Settings
from conformance import frames
from guard.credentials.caller import Caller, Mode
from guard.credentials.software import PROFILES, Register, RegisterSource, version_of
from guard.credentials.structures import Structures
from guard.professions import TableError, table_rows, table_text
from tests.world import FIND_DOCUMENTS, World
from xds.domain import load
from xds.wire.client import FaultReceived
from xds.wire.faults import SoapFault

HEAD = "id,name,versions,profiles,from,until\n"
TODAY = date(2026, 6, 1)


def caller(homologation: str = "A-1", version: str = "2.1") -> Caller:
    return Caller(identifier="8", mode=Mode.DIRECT, homologation=homologation, software_version=version,
                  assertion=b"<x/>", assertion_sha256="a" * 64)


def register(folder: Path, lines: str) -> Register:
    (folder / "software.csv").write_text(HEAD + lines, "utf-8")
    return Register.load("dmp", folder)


@pytest.mark.parametrize(
    ("line", "version", "transaction", "problem"),
    [
        ("A-1,A,,alimentation consultation,,", "2.1", "ITI-41", ""),
        ("B-1,B,,alimentation,,", "2.1", "ITI-41", "'A-1' is not in the register"),
        ("A-1,A,2.0..2.4,alimentation,,", "2.4.9", "ITI-41", ""),
        ("A-1,A,2.0..2.4,alimentation,,", "2.10", "ITI-41", "in the versions 2.0..2.4, not in '2.10'"),
        ("A-1,A,2.0..,alimentation,,", "1.9", "ITI-41", "in the versions 2.0.., not in '1.9'"),
        ("A-1,A,..2.4,alimentation,,", "v2.06.01", "ITI-41", "not in 'v2.06.01'"),
        ("A-1,A,2.1,alimentation,,", "2.1", "ITI-41", ""),
        ("A-1,A,2.0..2.4,alimentation,,", "beta", "ITI-41", "not in 'beta'"),
        ("A-1,A,,alimentation,2026-06-01,2026-06-01", "2.1", "ITI-41", ""),
        ("A-1,A,,alimentation,,2026-05-31", "2.1", "ITI-41", "valid from … to 2026-05-31"),
        ("A-1,A,,alimentation,2026-06-02,", "2.1", "ITI-41", "valid from 2026-06-02 to …"),
        ("A-1,A,,consultation,,", "2.1", "ITI-41", "ITI-41 needs the profile alimentation; software 'A-1' is "
                                                   "homologated for consultation"),
        ("A-1,A,,alimentation,,", "2.1", "ITI-43", "ITI-43 needs the profile consultation"),
        ("A-1,A,,alimentation,,", "2.1", "PRPA_IN201311UV02", "needs the profile creation"),
        ("A-1,A,,alimentation,,", "2.1", "ITI-18", ""),
        ("A-1,A,,creation,,", "2.1", "PRPA_IN201307UV02", ""),
        ("A-1,A,,,,", "2.1", "PRPA_IN201307UV02", "is homologated for nothing"),
        ("A-1,A,,creation,,", "2.1", "readLog", "needs the profile consultation"),
        ("A-1,A,,creation,,", "2.1", "not in the table", "not in the table is in no row of software-profiles.csv"),
    ],
)
def test_the_rule_that_is_not_kept_is_named(
    tmp_path: Path, line: str, version: str, transaction: str, problem: str
) -> None:
    """Clause: DMP homologation"""
    found = register(tmp_path, line + "\n").refusal(caller(version=version), transaction, TODAY)
    assert (problem in found) if problem else found == ""


def test_two_lines_of_one_software_add_up(tmp_path: Path) -> None:
    """A second homologation for further versions or profiles is a line of its own."""
    both = register(tmp_path, "A-1,A,1..1,alimentation,,\nA-1,A,2..2,consultation,,\n")
    assert both.refusal(caller(version="1.5"), "ITI-41", TODAY) == ""
    assert "alimentation" in both.refusal(caller(version="2.0"), "ITI-41", TODAY)
    assert "1..1, 2..2" in both.refusal(caller(version="3.0"), "ITI-41", TODAY)


@pytest.mark.parametrize(
    ("line", "column"),
    [(",A,,,,", "id"), ("A,A,,reading,,", "profiles"), ("A,A,new,,,", "versions"), ("A,A,,,01/02/2026,", "from")],
)
def test_a_register_that_cannot_be_read_says_where(tmp_path: Path, line: str, column: str) -> None:
    with pytest.raises(TableError, match=rf"software.csv, line 2, column '{column}'"):
        register(tmp_path, line + "\n")


def test_versions_compare_by_their_numbers() -> None:
    assert version_of("v2.06.01") == (2, 6, 1) < version_of("2.10") and version_of("beta") == ()


def test_the_register_follows_its_file(tmp_path: Path) -> None:
    """Read again without a restart; a file of no use changes nothing and is told."""
    register(tmp_path, "A-1,A,,alimentation,,\n")
    source = RegisterSource("dmp", tmp_path, look_every=0)
    assert source.current.refusal(caller(), "ITI-41", TODAY) == ""
    for number, (text, told, refused) in enumerate((
        ("A,A,,nothing,,\n", True, False), ("A-1,A,,consultation,,\n", False, True),
    )):
        (tmp_path / "software.csv").write_text(HEAD + text, "utf-8")
        os.utime(tmp_path / "software.csv", (time.time() + number + 1,) * 2)
        assert bool(source.current.refusal(caller(), "ITI-41", TODAY)) is refused
        assert bool(source.problem) is told


@pytest.mark.parametrize(("rule", "is_refused"), [("off", False), ("warn", False), ("refuse", True), ("", True)])
def test_the_setting_decides(tmp_path: Path, rule: str, is_refused: bool) -> None:
    """Off, warn, refuse; by default what the domain says: dmp refuses."""
    door = gate.SoftwareGate(Settings(data=tmp_path, credentials={"software": rule}), load("dmp"))  # type: ignore[arg-type]
    if not is_refused:
        assert door.check(caller("NOBODY"), "ITI-41").homologation == "NOBODY"
        return
    with pytest.raises(SoapFault, match="'NOBODY' is not in the register") as fault:
        door.check(caller("NOBODY"), "ITI-41")
    assert "'NOBODY' is not in the register" in fault.value.reason and fault.value.step == gate.SOFTWARE_STEP


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("software")
    (folder / "software.csv").write_text(HEAD + "CARNET-TEST,Carnet,,alimentation,,\n", "utf-8")
    toml = f'[credentials]\nsoftware_folder = "{folder}"\nauthor = "refuse"'
    yield World.prepare(folder / "data", toml).serve_here()


def test_the_answer_names_the_rule_and_a_retrieve_is_refused_too(world: World) -> None:
    """The repository asks the registry, whose refusal the caller gets."""
    patient = world.patient()
    world.client().query(FIND_DOCUMENTS, [], patient_id=patient)
    with pytest.raises(FaultReceived, match="needs the profile consultation"):
        world.read(patient, ["1.2.3"])


@pytest.mark.parametrize("rule", ["warn", "refuse"])
def test_a_deposit_is_counted_once(tmp_path: Path, rule: str) -> None:
    """The repository judges what the assertion says, and judges again when it has verified it."""
    (tmp_path / "software.csv").write_text(HEAD + "OTHER,Other,,alimentation,,\n", "utf-8")
    toml = f'[credentials]\nsoftware_folder = "{tmp_path}"\nsoftware = "{rule}"'
    world = World.prepare(tmp_path / "data", toml).serve_here()
    submission = frames.valid_submission("dmp", patient_id=world.patient())
    if rule == "refuse":
        with pytest.raises(FaultReceived, match="not in the register"):
            world.deposit(submission)
    else:
        assert world.deposit(submission).is_success
    assert world.repository is not None
    counted = world.repository.meter.collected.get_sample_value("carnet_software_total", {"outcome": rule})
    assert counted == 1


def test_a_submission_comes_from_whom_the_credential_names(world: World) -> None:
    """Direct: the person; through a structure: the institution. Both values are in the answer."""
    from conformance import frames

    patient = world.patient()
    outcome = world.deposit(frames.valid_submission("dmp", patient_id=patient))
    (error,) = outcome.errors
    assert error.code == "XDSRegistryMetadataError"
    assert "899900000017" in error.context and "899700000018" in error.context
    own = frames.valid_submission("dmp", patient_id=patient)
    own.submission_set.authors[0].person[:] = ["899700000018^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"]
    assert not world.deposit(own).errors
    for institution, good in (("10B0000001", True), ("1990000017", False)):
        of_lab = frames.valid_submission("dmp", patient_id=patient)
        of_lab.submission_set.authors[0].institutions[:] = [
            f"LABO^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{institution}"
        ]
        assert (not world.deposit(of_lab, who="laboratory").errors) is good


def test_a_legal_entity_serves_its_sites(tmp_path: Path) -> None:
    """Those it lists, and the establishments of its SIREN where the domain says so. Clause: DMP Struct_IdNat"""
    file = tmp_path / "structures.csv"
    file.write_text("legal_entity,site,name\n1750000001,1750000019,Site fictif\n", "utf-8")
    known = Structures.load(file, siren_covers_siret=True)
    assert known.serves("1750000001", "1750000001") and known.serves("1750000001", "1750000019")
    assert not known.serves("1750000019", "1750000001"), "a site does not serve its entity"
    assert known.serves("2339172288", "339172288100052"[:1] + "339172288" + "10005")
    assert not known.serves("2339172288", "3" + "339172289" + "10005")
    assert not Structures.load(file, siren_covers_siret=False).serves("2339172288", "333917228810005")
    file.write_text("legal_entity,site,name\n1750000001,,x\n", "utf-8")
    with pytest.raises(TableError, match="line 2"):
        Structures.load(file, siren_covers_siret=True)


def test_every_transaction_asks_for_a_profile() -> None:
    """One that is not in the table could be sent by software homologated for something else."""
    applications = (registry.app, repository.app, record.td.app)
    served = {name for one in applications for names in one.PATHS.values() for name in names}
    _, text = table_text("dmp", PROFILES)
    listed = {row["transaction"] for _, row in table_rows(PROFILES, text, ("transaction", "profiles"))}
    assert listed == served - {"ITI-44", "reconcile", "erasures"}, "those three come without an assertion"
