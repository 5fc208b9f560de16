"""What the record services read of a message: everything they write, and nothing that makes them fail.

Clause: CI-SIS Structuration minimale 3.5.5.12
"""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from record.administrative import RELATIONS, AdministrativeData, Representative
from record.td import hl7_read, hl7_write
from record.td.td04_patient_list import _day
from record.td.td16_list_authorizations import specialty_code
from tests.record_messages import PASTED, message
from xds.domain import load
from xds.errors import Refused
from xds.namespaces import HL7

DOMAIN = load("dmp")
WORDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZéàçü'-&<>\" ", max_size=30).map(lambda text: " ".join(text.split()))
DIGITS = st.text("0123456789+", min_size=1, max_size=15)
DAYS = st.dates(date(1900, 1, 1), date(2026, 1, 1)).map(date.isoformat)
REPRESENTATIVES = st.builds(
    Representative, family_name=WORDS.filter(bool), given_name=WORDS, relation=st.sampled_from(sorted(RELATIONS)),
    phone=DIGITS, email=st.just("a@b.invalid"),
)
DATA = st.builds(
    AdministrativeData, birth_name=WORDS.filter(bool), birth_given_names=WORDS, used_name=WORDS, used_given_name=WORDS,
    sex=st.sampled_from(["", "M", "F", "U"]), birth_date=st.just("") | DAYS, birth_place=WORDS, street=WORDS,
    postal_code=WORDS, city=WORDS, country=WORDS, phone=st.just("") | DIGITS, mobile=st.just("") | DIGITS,
    email=st.just("") | st.just("x@y.invalid"), representatives=st.lists(REPRESENTATIVES, max_size=3).map(tuple),
)


@given(DATA)
def test_what_is_written_is_read(data: AdministrativeData) -> None:
    """Every field of administrative data comes back as it was."""
    person = "".join(hl7_write._person(data))
    patient = etree.fromstring(f'<patient xmlns="{HL7}"><patientPerson>{person}</patientPerson></patient>')
    assert hl7_read.traits(patient) == data


@st.composite
def trees(draw: st.DrawFn) -> etree._Element:
    """A message of the page with elements dropped, doubled, renamed or emptied."""
    root = message(draw(st.sampled_from([name for name, text in PASTED.items() if HL7 in text])))
    for _ in range(draw(st.integers(1, 6))):
        nodes = [node for node in root.iter("{*}*") if node.getparent() is not None]
        if not nodes:
            break
        node = draw(st.sampled_from(nodes))
        parent = node.getparent()
        match draw(st.integers(0, 3)):
            case 0:
                parent.remove(node)
            case 1:
                parent.append(etree.fromstring(etree.tostring(node)))
            case 2:
                node.tag = f"{{{HL7}}}{draw(st.sampled_from(['value', 'patient', 'id', 'code', 'name']))}"
            case _:
                for name in node.attrib:
                    node.set(name, draw(st.sampled_from(["", "x", "^&|", "9" * 300])))
    return root


@given(trees())
def test_no_message_makes_the_reader_fail(root: etree._Element) -> None:
    """It gives values, or says what is wrong under a rule. Rule: D-41, D-42"""
    hl7_read.reason_code(root)
    hl7_read.closing_reason(root)
    hl7_read.criteria(root)
    hl7_read.status_of(root)
    for read in (lambda: hl7_read.patient_id_of(root, DOMAIN), lambda: hl7_read.patient_element(root)):
        try:
            found = read()
        except Refused as refused:
            assert refused.findings[0].rule == "D-42" and len(refused.findings[0].found) <= 201
        else:
            if isinstance(found, etree._Element):
                hl7_read.traits(found)
                hl7_read.observations(found)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_both_forms_of_a_date_are_the_same_day(day: date) -> None:
    """Rule: D-53"""
    assert _day(f"{day:%d%m%Y}") == _day(day.isoformat()) == f"{day.isoformat()}T00:00:00.000Z"


def test_a_specialty_is_told_with_its_profession() -> None:
    """As the DMP writes it for physicians; other codes as they are."""
    assert specialty_code("SM26^^1.2.250.1.71.4.2.5") == "G15_10/SM26"
    assert specialty_code("60^^1.2.250.1.71.1.2.7") == "G15_60"
    assert specialty_code("SECRETARIAT_MEDICAL^^1.2.250.1.213.1.1.4.6") == "SECRETARIAT_MEDICAL"
