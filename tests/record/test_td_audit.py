"""Every call of the record services leaves its audit message, told by a table written out here a second time.

Clause: DICOM PS3.15 A.5; ITI TF-2 3.20.7
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from guard.audit.atna_td import RECORDS
from guard.credentials.vihf import Code
from record.td.services import ACTS
from tests.carnet.test_audit_messages import Told, last, told
from tests.portal import with_portal
from tests.record.test_td_system import call
from tests.record_messages import PASTED, ask, message, send, stranger
from tests.registry.test_iti57_rights import Bedside
from tests.world import NURSE, World

REGULATION = Code("centre_15", "1.2.250.1.213.1.1.4.248", "Accès Centre 15")
ALERT, QUERY, RECORD, USED = "Security Alert", "Query", "Patient Record", "Audit Log Used"
TABLE: dict[str, tuple[str, str, list[str]]] = {
    "TD0.2": (QUERY, "E", ["TD0.2"]), "TD0.3": (ALERT, "E", ["110137", "TD0.3"]), "TD0.4": (QUERY, "E", ["TD0.4"]),
    "TD0.5": (QUERY, "E", ["TD0.5"]), "TD1.1": (RECORD, "C", ["TD1.1"]), "TD1.2": (RECORD, "U", ["TD1.2"]),
    "TD1.3a": (QUERY, "E", ["TD1.3a"]), "TD1.3b": (RECORD, "U", ["TD1.3b"]), "TD1.4": (RECORD, "U", ["TD1.4"]),
    "TD1.6": (QUERY, "E", ["TD1.6"]), "setAccess": (ALERT, "E", ["110137", "setAccess"]),
    "setDocument": (ALERT, "E", ["110135", "setDocument"]), "readLog": (USED, "R", ["readLog"]),
    "patient act": (ALERT, "E", ["110135", "patientAct"]),
    "announceRecords": (RECORD, "C", ["announceRecords"]), "recordDeath": (RECORD, "U", ["recordDeath"]),
    "runRetention": (RECORD, "U", ["runRetention"]), "extractTraces": (USED, "R", ["extractTraces"]),
    "getParameters": (QUERY, "E", ["getParameters"]),
}
TRAITS = ("CAMILLE", "19790514", "1979-05-14", "rue des Essais", "0102030405")


def read(one: Told) -> tuple[str, str, list[str]]:
    kinds = one.root.iterfind("EventIdentification/EventTypeCode")
    return one.event, one.act, [kind.get("csd-code") or "" for kind in kinds]


def body_of(operation: str, **arguments: str) -> etree._Element:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    return etree.fromstring(f'<{operation} xmlns="{ACTS}">{inner}</{operation}>')


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An installation of these tests alone: TD0.4 tells of every record the caller may open, and the other tests of a
    session open many."""
    return World.prepare(tmp_path_factory.mktemp("td-audit")).serve_here()


@pytest.fixture(scope="module")
def schema(oracles: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(oracles / "audit-xsd" / "dicom2017c.xsd")))


def test_every_row_is_in_the_table() -> None:
    assert set(TABLE) == set(RECORDS)


def test_each_call_is_told(here: World, schema: etree.XMLSchema) -> None:
    """Event, action, type, who, the patient; valid by the published schema; not one trait in any. Rule: A-20, A-21"""
    patient = stranger(here)
    assert {"TD1.1", *(name for name in TABLE if name.startswith("TD"))} == set(PASTED)
    for name in PASTED:
        purpose: dict[str, Any] = {"purpose": REGULATION} if name == "TD0.5" else {}
        since = last(here)
        ask(here, name, patient, **purpose)
        messages = [one for one in told(here, since) if patient in one.what]
        assert messages, name
        for one in messages:
            assert read(one) == TABLE[name], name
            assert one.outcome == "0" and one.source == "carnet-registry"
            assert any(who.startswith("<899700000018@") for who in one.who)
            schema.assertValid(one.root)
            text = etree.tostring(one.root, encoding="unicode")
            assert not [trait for trait in TRAITS if trait in text], name
            if TABLE[name][0] == QUERY:
                assert len(one.what) == 2 and one.what[1].startswith("urn:uuid:")


def test_each_act_for_the_patient_is_told(here: World, schema: etree.XMLSchema) -> None:
    """Rights, marks on documents, the log; a document is named by its uniqueId. Rule: A-20"""
    bed = Bedside(here)
    document = bed.deposit().unique_id
    send(here, message("TD0.3"), bed.patient_id)
    for body, row, objects in (
        (body_of("setAccess", action="BLOQUER", nationalId=NURSE), "setAccess", 1),
        (body_of("setObjection", code="OPPOSITION_ACCES_URGENCE", value="true"), "patient act", 1),
        (body_of("setDocument", action="MASQUER", uniqueId=document), "setDocument", 2),
        (body_of("askDestruction"), "patient act", 1),
        (body_of("readLog"), "readLog", 2),
    ):
        since = last(here)
        assert send(here, body, bed.patient_id).status == "DMPOk"
        (one,) = told(here, since)
        assert read(one) == TABLE[row] and one.what[0] == bed.patient_id and len(one.what) == objects
        assert document in one.what or row != "setDocument"
        schema.assertValid(one.root)


def test_what_managers_do_is_told(here: World, schema: etree.XMLSchema) -> None:
    """By the certificate that did it; a patient is named where one is concerned. Rule: A-20"""
    managed, patient = with_portal(here, "laboratory"), stranger(here)
    cx = patient.replace("&", "&amp;")
    for operation, arguments in (
        ("announceRecords", {"patientId": cx}), ("runRetention", {}), ("extractTraces", {"nationalId": NURSE}),
        ("getParameters", {}), ("recordDeath", {"patientId": cx, "dateOfDeath": "2026-01-01"}),
    ):
        if operation == "recordDeath":
            patient = here.patient()
            arguments = arguments | {"patientId": patient.replace("&", "&amp;")}
        since = last(here)
        assert call(managed, operation, **arguments).status == "DMPOk", operation
        messages = told(here, since)
        assert messages and {(one.event, one.act) for one in messages} == {TABLE[operation][:2]}
        for one in messages:
            assert read(one) == TABLE[operation] and one.outcome == "0"
            assert any(who.startswith("<10B0000001/Automate@") for who in one.who)
            schema.assertValid(one.root)
        named = any(patient in one.what for one in messages)
        assert named is (operation in ("announceRecords", "recordDeath"))


def test_a_refusal_is_told_as_one(here: World) -> None:
    """Rule: A-22"""
    patient = stranger(here)
    assert ask(here, "TD1.1", patient).ack == "AA"
    since = last(here)
    assert ask(here, "TD1.3b", patient, who="laboratory").ack == "AE"
    (one,) = told(here, since)
    assert read(one) == TABLE["TD1.3b"] and one.outcome == "8"
