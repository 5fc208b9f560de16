"""Affinity domains: what is shipped, what a tester's file may look like, what an error says."""

from __future__ import annotations

import csv
import shutil
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds import ins
from xds.domain import DEFAULT, DomainError, load, read_codes, shipped
from xds.model import Code

MASKED = "MASQUE_PS^^1.2.250.1.213.1.1.4.13"
TEST_EVENT = b"""<?xml version="1.0" encoding="ISO-8859-1"?>
<!-- code set of an event -->
<Codes>
  <AssigningAuthority id="&amp;1.3.6.1.4.1.21367.2005.3.7&amp;ISO"/>
  <AssigningAuthority id="1.3.6.1.4.1.21367.13.20.1000"/>
  <CodeType name="classCode" classScheme="urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a">
    <Code code="Communication" display="Communication" codingScheme="Connect-a-thon classCodes"/>
    <Code code="34133-9" display="r\xe9sum\xe9" codingScheme="2.16.840.1.113883.6.1"/>
  </CodeType>
  <CodeType name="classCode"><Code code="History" codingScheme="local"/></CodeType>
  <CodeType name="favouriteColour" classScheme="urn:uuid:none"><Code code="blue" codingScheme="x"/></CodeType>
  <CodeType name="mimeType"><Code code="text/plain" display="text" codingScheme="IANA"/></CodeType>
  <mimeType code="application/pdf"/>
</Codes>"""


def test_both_domains_are_shipped() -> None:
    """The two domains load from package data by name."""
    assert {"dmp", "connectathon"} <= set(shipped())
    for name in ("dmp", "connectathon"):
        assert load(name).name == name


def test_dmp_holds_the_published_lists() -> None:
    """Sizes of the French value sets, and attributes left free.

    Rule: R-024
    """
    domain = load("dmp")
    sizes = {attribute: len(listed) for attribute, listed in domain.codes.items()}
    assert sizes == {
        "class_code": 12, "type_code": 114, "confidentiality_codes": 6, "healthcare_facility_type_code": 69,
        "practice_setting_code": 12, "format_code": 90, "content_type_code": 101,
    }  # fmt: skip
    assert domain.allows("event_codes", Code("anything", "any scheme"))
    assert domain.allows("type_code", Code("68599-0", "2.16.840.1.113883.6.1", "display is not compared"))
    assert not domain.allows("type_code", Code("68599-0", "1.2.3"))
    assert domain.mime_types == {"text/xml", "application/xslt+xml", "application/dicom"}
    assert domain.patient_id_type_codes == {"NH", "INS-C"}
    assert domain.credentials.required and domain.credentials.mode == "assertion"
    assert domain.policy == "dmp"


def test_dmp_hides_by_confidentiality() -> None:
    """Who loses sight of a document by which flag; signatures are shown to nobody."""
    domain = load("dmp")
    assert domain.hidden_from_professionals == {MASKED}
    assert domain.hidden_from_patient < domain.hidden_from_representatives
    assert MASKED not in domain.hidden_from_representatives
    assert domain.unlisted_types == {"E1762^^ASTM"}
    assert len(domain.base_confidentiality) == 3


def test_dmp_tables_cover_every_type() -> None:
    """Each type of J07 has a class of J57, and each sector of the code system is a sector of activity."""
    domain = load("dmp")
    assert set(domain.codes["type_code"]) == set(domain.class_of_type) - {DEFAULT}
    assert domain.class_of_type["68599-0^^2.16.840.1.113883.6.1"].startswith("11^^")
    assert domain.format_of_template["1.2.250.1.213.1.1.1.59"].startswith("urn:ans:ci-sis:trod:2024^^")
    assert "SA07^^1.2.250.1.71.4.2.4" in domain.credentials.sectors
    assert "EXP_PATIENT^^1.2.250.1.213.1.1.4.6" not in domain.credentials.sectors
    assert "10^^1.2.250.1.71.1.2.7" in domain.credentials.roles


def test_dmp_types_agree_with_the_published_table(oracles: Path) -> None:
    """The type list equals the extract of the nomenclature, code for code."""
    extract = oracles.parent / "reference" / "dmp" / "valuesets.csv"
    if not extract.is_file():
        pytest.skip(f"extract of the value sets not found at {extract}")
    with extract.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["value_set"].startswith("JDV_J07")]
    domain = load("dmp")
    assert {f"{row['code']}^^{row['code_system']}": row["display"] for row in rows} == dict(domain.codes["type_code"])
    for row in rows:
        if row["class_code_for_type"]:
            assert domain.class_of_type[f"{row['code']}^^{row['code_system']}"].startswith(row["class_code_for_type"])


def test_connectathon_is_plain() -> None:
    """No CX.5, nothing hidden, no policy: plain XDS.b."""
    domain = load("connectathon")
    assert not domain.patient_id_type_codes and not domain.hidden_from_professionals and not domain.policy
    assert not domain.credentials.required
    assert all(not names for names in domain.required.values())


def test_code_set_of_an_event_replaces_ours(tmp_path: Path) -> None:
    """A tester points at the file of the event: authorities in both forms, MIME types in both forms.

    Rule: R-024
    """
    codes = tmp_path / "event.xml"
    codes.write_bytes(TEST_EVENT)
    domain = load("connectathon", codes)
    assert domain.assigning_authorities == {"1.3.6.1.4.1.21367.2005.3.7", "1.3.6.1.4.1.21367.13.20.1000"}
    assert dict(domain.codes) == {
        "class_code": {
            "Communication^^Connect-a-thon classCodes": "Communication",
            "34133-9^^2.16.840.1.113883.6.1": "résumé",
            "History^^local": "History",
        }
    }
    assert domain.mime_types == {"text/plain", "application/pdf"}
    assert domain.code("class_code", "34133-9^^2.16.840.1.113883.6.1").display == "résumé"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Codes><CodeType name='classCode'>\n<Code code='1'/></CodeType></Codes>", "line 2: Code has no codingScheme"),
        ("<Codes>\n<CodeType name='classCode'/></Codes>", "line 2: CodeType classCode lists no Code"),
        ("<Codes>\n\n<AssigningAuthority id='here'/></Codes>", "line 3: AssigningAuthority 'here' is not an OID"),
        ("<Codes>\n<mimeType/></Codes>", "line 2: mimeType has no code"),
        ("<CodeSet/>", "root is CodeSet; expected Codes"),
        ("<Codes>\n<", "line 2"),
        ("<!DOCTYPE Codes [<!ENTITY a 'b'>]><Codes/>", "a DOCTYPE is not accepted"),
    ],
)
def test_errors_of_a_code_set_name_file_and_line(text: str, expected: str) -> None:
    """Each fault of a code-set file is told with its place.

    Attack: doctype-in-configuration
    """
    with pytest.raises(DomainError) as caught:
        read_codes(text.encode(), "event.xml")
    assert str(caught.value).startswith("event.xml: ")
    assert expected in str(caught.value)


@given(st.binary(max_size=300))
def test_a_code_set_never_fails_otherwise(data: bytes) -> None:
    """Whatever the bytes, the reader answers or raises its own error."""
    with suppress(DomainError):
        read_codes(data, "x")


def _copy(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    for source in (files("schemas") / "domains" / "dmp").iterdir():
        shutil.copy(str(source), folder / source.name)
    return folder


def test_a_folder_is_a_domain(tmp_path: Path) -> None:
    """A community's own folder loads like a shipped name."""
    assert load(_copy(tmp_path)) == load("dmp")


@pytest.mark.parametrize(
    ("file_name", "old", "new", "expected"),
    [
        ("domain.toml", 'policy = "dmp"', 'policie = "dmp"', "unknown key policie; expected one of"),
        ("domain.toml", "MASQUE_PS^^", "MASQUE_PZ^^", "MASQUE_PZ^^1.2.250.1.213.1.1.4.13 is not among"),
        ("domain.toml", 'mode = "assertion"', 'mode = "off"', 'asks for credentials.mode = "assertion"'),
        ("domain.toml", 'name = "dmp"', "", "name is missing"),
        ("domain.toml", 'name = "dmp"', "name = ", "line 2"),
        ("type-class.csv", "type,class", "type,klass", "line 1: expected the columns type and class"),
        ("type-class.csv", ",95^^", ",96^^", "96^^1.2.250.1.213.1.1.4.1 is not among the class_code values"),
    ],
)
def test_errors_of_a_folder_say_what_to_do(
    tmp_path: Path, file_name: str, old: str, new: str, expected: str
) -> None:
    """A slip in any file of the folder is found at load, not at the first refused document."""
    folder = _copy(tmp_path)
    text = (folder / file_name).read_text("utf-8")
    assert old in text
    (folder / file_name).write_text(text.replace(old, new), "utf-8")
    with pytest.raises(DomainError) as caught:
        load(folder)
    assert file_name in str(caught.value) and expected in str(caught.value)


def test_a_missing_domain_names_those_there_are(tmp_path: Path) -> None:
    """Neither a name nor a folder."""
    with pytest.raises(DomainError, match="connectathon, dmp"):
        load("nowhere")
    with pytest.raises(DomainError, match=r"domain\.toml: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("matricule", "valid"),
    [
        ("255081416802538", True),
        ("255081416802539", False),
        ("168072A99900496", True),
        ("168072B99900496", False),
        ("25508141680253", False),
        ("2550814168025380", False),
        ("25508141680253\u0668", False),
        ("", False),
    ],
)
def test_key_of_the_ins(matricule: str, valid: bool) -> None:
    """97 minus the number modulo 97, departments of Corsica as 19 and 18."""
    assert ins.is_valid(matricule) is valid


def test_key_of_another_form_is_an_error() -> None:
    """The key is not computed for what is not a matricule."""
    with pytest.raises(ValueError, match="13 characters"):
        ins.control_key("2550814A68025")
