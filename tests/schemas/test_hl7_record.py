"""The messages of the record services against the published schemas of HL7 v3.

The published set at hand has no PRPA_IN201307, 201308, 201311 nor 201314; those are put together here of the published
types they consist of: wrapper, control act, and the payload of a patient.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from guard.credentials.vihf import Code
from tests.record_messages import PASTED, ask, message, send, stranger
from tests.world import World
from xds.namespaces import HL7

REGULATION = Code("centre_15", "1.2.250.1.213.1.1.4.248", "Accès Centre 15")
WRAPPERS = ("MCCI_MT000100UV01", "MCCI_MT000300UV01")
INCLUDES = (
    *WRAPPERS, "QUQI_MT021001UV01", "MFMI_MT700701UV01", "MFMI_MT700711UV01", "PRPA_MT201301UV02", "PRPA_MT201303UV02",
    "PRPA_MT201307UV02",
)


def _elements(*rows: tuple[str, str]) -> str:
    return "".join(
        f'<xs:element name="{name}" type="{kind}" minOccurs="0" maxOccurs="unbounded"/>' for name, kind in rows
    )


def _message(name: str, wrapper: str, control: str) -> str:
    """An interaction of these types. Order is as published; how often is for our own schema."""
    given = wrapper.removesuffix(".Message")
    parts = _elements(
        ("id", "II"), ("creationTime", "TS"), ("interactionId", "II"), ("processingCode", "CS"),
        ("processingModeCode", "CS"), ("acceptAckCode", "CS"), ("receiver", f"{given}.Receiver"),
        ("sender", f"{given}.Sender"), ("attentionLine", f"{given}.AttentionLine"),
        *([("acknowledgement", f"{given}.Acknowledgement")] if given == WRAPPERS[1] else []),
    )
    return (
        f'<xs:element name="{name}"><xs:complexType><xs:sequence>{parts}<xs:element name="controlActProcess">'
        f"<xs:complexType><xs:sequence>{control}</xs:sequence>"
        '<xs:attribute name="classCode" type="ActClassControlAct"/>'
        '<xs:attribute name="moodCode" type="x_ActMoodIntentEvent"/></xs:complexType></xs:element></xs:sequence>'
        '<xs:attribute name="ITSVersion" fixed="XML_1.0" use="required"/></xs:complexType></xs:element>'
    )


def _subject(act: str, mood: str, payload: str) -> str:
    """A registration event or request about one patient."""
    custodian = _elements(("author", "MFMI_MT700701UV01.Author2"), ("custodian", "MFMI_MT700711UV01.Custodian"))
    return (
        f'<xs:element name="subject" minOccurs="0" maxOccurs="unbounded"><xs:complexType><xs:sequence>'
        f'<xs:element name="{act}"><xs:complexType><xs:sequence><xs:element name="statusCode" type="CS"/>'
        '<xs:element name="subject1"><xs:complexType><xs:sequence>'
        f'<xs:element name="patient" type="{payload}.Patient"/>'
        '</xs:sequence><xs:attribute name="typeCode" fixed="SBJ"/></xs:complexType></xs:element>'
        f'{custodian}</xs:sequence><xs:attribute name="classCode" fixed="REG"/>'
        f'<xs:attribute name="moodCode" fixed="{mood}"/></xs:complexType></xs:element></xs:sequence>'
        '<xs:attribute name="typeCode" fixed="SUBJ"/></xs:complexType></xs:element>'
    )


@cache
def composed(folder: Path) -> etree.XMLSchema:
    """The interactions that are missing, of published types."""
    head = _elements(("code", "CD"), ("reasonCode", "CE"))
    query = _elements(("queryByParameter", "PRPA_MT201307UV02.QueryByParameter"))
    reason = _elements(("reasonOf", "MFMI_MT700711UV01.Reason"))
    answer = (
        head + _subject("registrationEvent", "EVN", "PRPA_MT201303UV02") + reason
        + _elements(("queryAck", "MFMI_MT700711UV01.QueryAck")) + query
    )
    request = head + _subject("registrationRequest", "RQO", "PRPA_MT201301UV02") + reason
    text = (
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="{HL7}" targetNamespace="{HL7}" '
        'elementFormDefault="qualified">'
        + "".join(f'<xs:include schemaLocation="{folder}/{name}.xsd"/>' for name in INCLUDES)
        + _message("PRPA_IN201307UV02", WRAPPERS[0], head + query)
        + "".join(_message(f"PRPA_IN2013{n}UV02", WRAPPERS[0], request) for n in (11, 14))
        + "".join(_message(f"PRPA_IN2013{n}UV02", WRAPPERS[1], answer) for n in ("08", 12, 13, 15, 16))
        + "</xs:schema>"
    )
    return etree.XMLSchema(etree.fromstring(text, base_url=f"{folder}/composed.xsd"))


@pytest.fixture(scope="module")
def published(oracles: Path) -> Path:
    return oracles / "hl7v3-xsd" / "multicacheschemas"


def problems(published: Path, element: etree._Element) -> list[str]:
    """By the published schema of the interaction, or by the composed one."""
    name = etree.QName(element).localname
    file = published / f"{name}.xsd"
    schema = etree.XMLSchema(etree.parse(str(file))) if file.is_file() else composed(published)
    schema.validate(etree.fromstring(etree.tostring(element)))
    return [f"{entry.line}: {entry.message}" for entry in schema.error_log]


@pytest.mark.parametrize("name", [name for name, text in PASTED.items() if HL7 in text])
def test_every_message_of_the_page_is_valid(published: Path, name: str) -> None:
    """What an integrator copies from the page satisfies the published schemas."""
    assert problems(published, message(name)) == []


def test_every_answer_is_valid(here: World, published: Path) -> None:
    """Open, closed, absent, refused, found: each answer of the story."""
    patient_id = stranger(here)
    said = [
        ask(here, "TD0.2", patient_id), ask(here, "TD1.1", patient_id), ask(here, "TD1.1", patient_id),
        ask(here, "TD0.2", patient_id), ask(here, "TD1.3a", patient_id), ask(here, "TD1.3b", patient_id),
        ask(here, "TD1.4", patient_id), ask(here, "TD0.2", patient_id), ask(here, "TD1.4", patient_id),
        ask(here, "TD1.3a", patient_id), ask(here, "TD1.2", patient_id), send(here, message("TD0.5")),
        send(here, message("TD0.5"), purpose=REGULATION),
        send(here, message("TD0.2", patient_id, TEST_EXST="NONE"), patient_id),
    ]
    names = set()
    for one in said:
        inner = one.body if one.body.tag.startswith(f"{{{HL7}}}") else one.body[0]
        assert problems(published, inner) == [], etree.tostring(inner, pretty_print=True).decode()
        names.add(one.name)
    assert {name[5:13] for name in names} == {f"IN2013{n}" for n in ("06", "08", 12, 13, 15, 16)}


def test_the_composed_schema_can_fail(published: Path) -> None:
    """A wrong child, a wrong value and a wrong order are seen."""
    for old, new in (("semanticsText", "text"), ('code="new"', 'codes="new"'), ("statusCode", "priorityCode")):
        assert problems(published, etree.fromstring(PASTED["TD0.2"].replace(old, new))), old
