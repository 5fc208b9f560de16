"""The patient at a portal and the managers of the system over real TLS, called by zeep from the served descriptions.

Clause: DMP VIHF resource-id; loi OTSS; CSP L1111-18; DMP EX_AIR-120
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from carnet import settings as settings_module
from carnet.cli import main
from guard.credentials.pki import KeyKind, Pki
from record.td.services import ACTS, SYSTEM
from tests.interop.test_record_services import CX, PIN, Service
from tests.portal import PORTAL, fingerprint, signing
from tests.record_messages import PAGE, PASTED, PATIENT, stranger
from tests.world import NURSE, World


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation whose settings file lists a portal and a manager."""
    made = World.prepare(tmp_path_factory.mktemp("listed"))
    pki = Pki.open(made.folder / "pki")
    made.cards["portal"] = pki.issue_structure(PORTAL, "PORTAIL FICTIF", "Portail", key=KeyKind.EC)
    with (made.folder / settings_module.FILE_NAME).open("a", encoding="utf-8") as file:
        file.write(f'[credentials]\nportals = ["{fingerprint(made.cards["portal"])}"]\n'
                   f'[record]\nmanagers = ["{fingerprint(made.cards["laboratory"])}"]\n')
    world = replace(made, settings=settings_module.load(made.folder)).serve_processes()
    yield world
    world.stop()


def test_the_messages_of_the_page_work_by_paste(listed: World, tmp_path: Path) -> None:
    """The patient's and the managers', in their order, by `carnet call`. Rule: D-58, K-09"""
    for name in ("portal", "laboratory", "physician"):
        listed.cards[name].save(tmp_path / f"{name}.p12", PIN)
    blocks = re.findall(r"```xml\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    ours = [text for text in blocks if f'"{ACTS}"' in text or f'"{SYSTEM}"' in text]
    assert len(ours) == 11
    for text in [PASTED["TD1.1"], *ours]:
        (tmp_path / "message.xml").write_text(text, "utf-8")
        who = "portal" if SYSTEM not in text else "laboratory"
        patient = ["--account", PATIENT, "--patient", CX] if who == "portal" else []
        card = str(tmp_path / f"{who}.p12")
        environment = {"CARNET_CARD": card, "CARNET_PIN": PIN, "CARNET_DATA": str(listed.folder)}
        done = CliRunner().invoke(main, ["call", str(tmp_path / "message.xml"), *patient], env=environment)
        assert done.exit_code == 0 and ("DMPOk" in done.stdout or 'typeCode code="AA"' in done.stdout), done.output


def test_records_announced_by_a_manager_are_declined_by_the_patient(listed: World) -> None:
    """Two services, two callers, one record; types and names come from the descriptions alone. Rule: D-58, K-09"""
    manage = Service(listed, "/services/system", "laboratory")
    one, two = stranger(listed), stranger(listed)
    said = manage.call("announceRecords", "", patientId=[one, two])
    assert [(record.patientId, record.status) for record in said.record] == [(one, "DMPOk"), (two, "DMPOk")]
    acts = Service(listed, "/services/patient-acts", "portal", sign=signing(listed))
    assert acts.call("declineRecord", one).status == "DMPOk"
    again = manage.call("announceRecords", "", patientId=[one])
    assert [record.status for record in again.record] == ["DMPDeclined"]
    assert acts.call("setAccess", two, action="BLOQUER", nationalId=NURSE).status == "DMPRecordUnknown"


def test_what_a_manager_does_is_nobody_elses(listed: World) -> None:
    """And everybody reads the parameters. Rule: D-58"""
    manage = Service(listed, "/services/system", "laboratory")
    assert manage.call("runRetention", "").status == "DMPOk"
    assert manage.call("recordDeath", "", patientId=stranger(listed), dateOfDeath="2026-01-01").status == (
        "DMPRecordUnknown")
    assert manage.call("extractTraces", "", nationalId=NURSE).line == []
    anybody = Service(listed, "/services/system")
    assert anybody.call("runRetention", "").status == "DMPAccessDeniedByRightsService"
    assert {one.name for one in anybody.call("getParameters", "").parameter} > {"fonctions-gestion-mineurs"}
