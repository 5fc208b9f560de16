"""From CDA headers to metadata: our own documents, the published samples, and documents spoiled on purpose."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from conformance.cda import (
    CdaError,
    OverrideError,
    Overrides,
    overrides_from,
    read_cda,
    read_overrides,
    to_submission,
    to_utc,
)
from conformance.overrides import KEYS
from xds import namespaces as ns
from xds.check.submission import check_submission
from xds.domain import load
from xds.errors import Actor
from xds.model import Code, DocumentEntry, LocalizedString, Submission
from xds.model.datatypes import Xcn, Xon

SOURCE = "2.25.1"
DMP = load("dmp")
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def document(name: str) -> bytes:
    return (files("fixtures") / "cda" / name).read_bytes()


def submission_of(data: bytes, overrides: Overrides | None = None) -> Submission:
    return to_submission(read_cda(data), domain=DMP, source_id=SOURCE, overrides=overrides, now=NOW)


def entry_of(data: bytes, overrides: Overrides | None = None) -> DocumentEntry:
    return submission_of(data, overrides).entries[0]


def spoiled(pattern: str, replacement: str, name: str = "cr-bio-v1.xml", count: int = 0) -> bytes:
    """A fixture with one passage changed; fails when the passage is not there."""
    text, changed = re.subn(pattern, replacement, document(name).decode(), count=count, flags=re.DOTALL)
    assert changed, pattern
    return text.encode()


def samples(oracles: Path) -> list[Path]:
    return sorted((oracles / "cda-fr").glob("*.xml"))


def test_every_published_sample_is_carried(oracles: Path) -> None:
    """All published samples map with no special case, and the result passes the checks of the domain.

    Rule: R-020, R-021, R-023, R-024, R-026
    """
    found = samples(oracles)
    assert len(found) == 70
    problems: list[str] = []
    for path in found:
        submission = to_submission(read_cda(path), domain=DMP, source_id=SOURCE)
        entry = submission.entries[0]
        assert entry.size == path.stat().st_size
        entry.repository_unique_id = "1.2.250.1.213.4.1.1.1.2"
        for stage, actor in (("ITI-41", Actor.REPOSITORY), ("ITI-42", Actor.REGISTRY)):
            problems += [f"{path.name}: {f.context()}" for f in check_submission(submission, DMP, actor, stage=stage)]
    assert not problems, "\n".join(problems)


def test_published_samples_take_their_own_template(oracles: Path) -> None:
    """No structured sample falls back to the format for documents outside all profiles."""
    formats = {p.name: entry_of(p.read_bytes()).format_code for p in samples(oracles)}
    assert all(code is not None and "HorsProfils" not in code.code for code in formats.values())
    mime_types = [read_cda(p).mime_type for p in samples(oracles)]
    assert mime_types.count("application/xslt+xml") == 2


def test_identity_of_the_document() -> None:
    """uniqueId is id/@root, hash and size are those of the exact bytes, times are UTC.

    Rule: R-032
    """
    data = document("cr-bio-v1.xml")
    entry = entry_of(data)
    assert entry.unique_id == "2.25.162627667188392397613854201487782908828"
    assert (entry.hash, entry.size) == (hashlib.sha1(data).hexdigest(), len(data))
    assert entry.creation_time == "20260105103000"
    assert (entry.service_start_time, entry.service_stop_time) == ("20260105071500", "20260105100000")
    assert entry.language_code == "fr-FR" and entry.mime_type == "text/xml"


def test_unique_id_with_extension() -> None:
    """A document id with an extension becomes root^extension."""
    data = spoiled(r'<id root="2\.25\.162627667188392397613854201487782908828"/>', '<id root="1.2.3" extension="A7"/>')
    assert entry_of(data).unique_id == "1.2.3^A7"


@pytest.mark.parametrize("written", ["A &amp; B", "&amp;#38;", "&#38;", "&#38;amp;", "&lt;&quot;&gt;"])
def test_references_in_attributes_are_what_they_stand_for(written: str) -> None:
    """As whoever builds a tree of the document reads them: once, and no more than once."""
    expected = etree.fromstring(f'<a v="{written}"/>').get("v")
    data = spoiled(r'<id root="2\.25\.162627667188392397613854201487782908828"/>',
                   f'<id root="1.2.3" extension="{written}"/>')
    assert entry_of(data).unique_id == f"1.2.3^{expected}"


def test_codes_of_a_laboratory_report() -> None:
    """Class by type, format by template, facility and practice from the header, display names always there.

    Rule: R-023
    """
    submission = submission_of(document("cr-bio-v1.xml"))
    entry = submission.entries[0]
    assert entry.type_code == Code("11502-2", "2.16.840.1.113883.6.1", "CR d'examens biologiques")
    assert entry.class_code == Code("10", "1.2.250.1.213.1.1.4.1", "Compte rendu")
    assert entry.format_code is not None and entry.format_code.key == "urn:ihe:lab:xd-lab:2008^^1.3.6.1.4.1.19376.1.2.3"
    assert entry.healthcare_facility_type_code is not None and entry.healthcare_facility_type_code.code == "SA25"
    assert entry.practice_setting_code is not None and entry.practice_setting_code.code == "AMBULATOIRE"
    assert [c.code for c in entry.confidentiality_codes] == ["N"]
    assert [c.code for c in entry.event_codes] == ["18719-5"]
    content_type = submission.submission_set.content_type_code
    assert content_type is not None and content_type.key == "26^^1.2.250.1.213.2.2"


@pytest.mark.parametrize(
    ("name", "format_code"),
    [
        ("cr-bio-pdf.xml", "urn:ihe:iti:xds-sd:pdf:2008"),
        ("lettre-sortie.xml", "urn:ihe:iti:xds-sd:text:2008"),
        ("synthese-psychiatrique.xml", "urn:ihe:iti:xds-sd:pdf:2008"),
        ("vsm.xml", "urn:asip:ci-sis:vsm:2012"),
        ("cr-bio-v2.xml", "urn:ihe:lab:xd-lab:2008"),
    ],
)
def test_format_by_level_and_template(name: str, format_code: str) -> None:
    """Level 1 by media type, level 3 by the most specific known template."""
    found = entry_of(document(name)).format_code
    assert found is not None and found.code == format_code


def test_format_of_the_last_known_template_wins() -> None:
    """Several models in one document: the most specific comes last."""
    data = spoiled(r'(<templateId root="1\.2\.250\.1\.213\.1\.1\.1\.)55"/>', r'\g<1>59"/>')
    found = entry_of(data).format_code
    assert found is not None and found.code == "urn:ans:ci-sis:trod:2024"


def test_format_of_an_unknown_template_is_outside_all_profiles() -> None:
    """A template nobody knows is not an error."""
    data = spoiled(r'<templateId root="1\.(3\.6\.1\.4\.1\.19376\.1\.3\.3|2\.250\.1\.213\.1\.1\.1\.55)"/>', "")
    found = entry_of(data).format_code
    assert found is not None and found.code == "urn:asipSante:modelesHorsProfils:2011"


def test_patient_identifier_is_chosen_by_root() -> None:
    """Order of the ids does not matter; the local one becomes sourcePatientId, the INS when there is none."""
    national = '<id root="1.2.250.1.213.1.4.10" extension="279059999900134"/>'
    local = '<id root="2.25.314159265358979323846" extension="ESSAI-1001"/>'
    turned = spoiled(rf"{re.escape(national)}\s*{re.escape(local)}", local + national)
    for data in (document("cr-bio-v1.xml"), turned):
        entry = entry_of(data)
        assert entry.patient_id == "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH"
        assert entry.source_patient_id == "ESSAI-1001^^^&2.25.314159265358979323846&ISO^PI"
    assert entry_of(spoiled(re.escape(local), "")).source_patient_id == entry.patient_id
    older = '<id root="1.2.250.1.213.1.4.2" extension="0123456789012345678901"/>'
    assert entry_of(spoiled(re.escape(national), older + national)).patient_id == entry.patient_id
    only_older = entry_of(spoiled(re.escape(national), older))
    assert only_older.patient_id == "0123456789012345678901^^^&1.2.250.1.213.1.4.2&ISO^INS-C"


def test_patient_traits() -> None:
    """PID-5 holds the birth name, PID-8 one of M, F, U.

    Rule: R-034
    """
    entry = entry_of(document("cr-bio-v1.xml"))
    assert entry.source_patient_info == ["PID-5|ESSAI-DUPONT^CAMILLE^^^^^L", "PID-7|19790514", "PID-8|F"]
    unknown = spoiled(r'<administrativeGenderCode code="F"', '<administrativeGenderCode code="UN"')
    assert entry_of(unknown).source_patient_info[-1] == "PID-8|U"


def test_names_are_escaped() -> None:
    """A separator of HL7 v2 inside a name does not become one."""
    entry = entry_of(spoiled("BIOLOGISTE-FICTIF", "D^ESSAI &amp; FILS|x"))
    assert entry.authors[0].person[0].startswith("899900000017^D\\S\\ESSAI \\T\\ FILS\\F\\x^Alix^")
    assert Xcn.parse(entry.authors[0].person[0]).family == "D^ESSAI & FILS|x"


def test_author_is_a_professional() -> None:
    """National identifier, structure, specialty; the legal authenticator has the same form."""
    entry = entry_of(document("vsm.xml"))
    person = "899900000025^GENERALISTE-FICTIF^Dominique^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert entry.authors[0].person == [person] and entry.legal_authenticator == person
    assert entry.authors[0].institutions == [
        "CABINET FICTIF DU DR ESSAI^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^499900000025002"
    ]
    assert entry.authors[0].specialties == [
        "G15_10/SM26^Médecin - Qualifié en Médecine Générale (SM)^1.2.250.1.213.1.1.4.5"
    ]


def test_author_role_is_the_function() -> None:
    """functionCode gives authorRole: its label, or the one listed for a code without label."""
    function = '<functionCode code="PCP" codeSystem="2.16.840.1.113883.5.88"/>'
    data = spoiled(r"<author>\s*<time", f"<author>{function}<time")
    assert entry_of(data).authors[0].roles == ["Médecin traitant"]
    assert entry_of(data, Overrides(author_role="Correspondant")).authors[0].roles == ["Correspondant"]


def test_author_is_internal_to_a_structure() -> None:
    """An identifier with a slash is internal: type EI."""
    data = spoiled('extension="899900000017"', 'extension="3990000017/42"')
    assert Xcn.parse(entry_of(data).authors[0].person[0]).id_type == "EI"


def test_author_is_a_device() -> None:
    """Model and software are the names of a system, type U and RI."""
    device = (
        "<assignedAuthoringDevice><manufacturerModelName>Automate E</manufacturerModelName>"
        "<softwareName>Essai 1.0</softwareName></assignedAuthoringDevice>"
    )
    data = spoiled(r"<assignedPerson>.*?</assignedPerson>", device, count=1)
    entry = entry_of(data)
    assert entry.authors[0].person == [
        "899900000017^Automate E^Essai 1.0^^^^^^&1.2.250.1.71.4.2.1&ISO^U^^^RI"
    ]


def test_author_is_the_patient() -> None:
    """A patient has the INS for identifier and no institution."""
    data = spoiled(
        r'(<assignedAuthor>\s*)<id root="1\.2\.250\.1\.71\.4\.2\.1" extension="899900000017"/>',
        r'\1<id root="1.2.250.1.213.1.4.10" extension="279059999900134"/>',
    )
    author = entry_of(data).authors[0]
    assert author.person[0].endswith("&1.2.250.1.213.1.4.10&ISO^D^^^NH") and not author.institutions


def test_several_authors_and_missing_parts() -> None:
    """Each author becomes one; nullFlavors leave components empty; the set takes the first author."""
    second = (
        '<author><time nullFlavor="UNK"/><assignedAuthor><id nullFlavor="UNK"/><assignedPerson><name>'
        '<family>SECOND-FICTIF</family></name></assignedPerson><representedOrganization><id nullFlavor="UNK"/>'
        "<name>STRUCTURE FICTIVE</name></representedOrganization></assignedAuthor></author>"
    )
    submission = submission_of(spoiled("<custodian>", second + "<custodian>"))
    authors = submission.entries[0].authors
    assert [a.person for a in authors][1] == ["^SECOND-FICTIF^^^^^^^^D"]
    assert authors[1].institutions == ["STRUCTURE FICTIVE"] and Xon.parse(authors[1].institutions[0]).id == ""
    assert submission.submission_set.authors == [authors[0]]


def test_practice_setting_of_the_first_performer_that_has_one() -> None:
    """A service event without practice setting, put first, is passed over; its code is still an event code."""
    event = (
        '<documentationOf><serviceEvent><code code="77" codeSystem="1.2.3"/>'
        '<effectiveTime><low value="20250101"/></effectiveTime></serviceEvent></documentationOf>'
    )
    entry = entry_of(spoiled("<documentationOf>", event + "<documentationOf>", count=1))
    assert entry.service_start_time == "20260105071500"
    assert [c.code for c in entry.event_codes] == ["77", "18719-5"]


def test_title_is_cut_at_its_limit() -> None:
    """A longer title than XDS takes is cut.

    Rule: R-029
    """
    entry = entry_of(spoiled("<title>Compte rendu d'examens biologiques", "<title>" + "é" * 200, count=1))
    assert entry.title == [LocalizedString("é" * 128, "fr-FR")]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20260105113000+0100", "20260105103000"),
        ("20260101003000.5+0100", "20251231233000"),
        ("202601051130+0100", "202601051030"),
        ("2026010511+0100", "2026010510"),
        ("2026010511+0530", "202601050530"),
        ("20260105113000-0300", "20260105143000"),
        ("20260105", "20260105"),
        ("20260105+0100", "20260105"),
        ("2026", "2026"),
        ("20260105113000", "20260105113000"),
        ("20261305", ""),
        ("202601051", ""),
        ("yesterday", ""),
        ("", ""),
        ("00010101000000+1400", ""),
    ],
)
def test_times_become_utc_and_keep_their_precision(written: str, expected: str) -> None:
    """Offset applied, no part invented.

    Rule: R-026
    """
    assert to_utc(written) == expected


@given(st.text(alphabet="0123456789+-. ", max_size=24))
def test_any_text_for_a_time_gives_a_time_or_nothing(written: str) -> None:
    """Never an exception, never another form."""
    assert re.fullmatch(r"(\d{4}(\d\d){0,5})?", to_utc(written))


def test_submission_is_the_same_for_the_same_documents() -> None:
    """The set's uniqueId follows from source, documents and bytes: a repeat is recognised.

    Rule: R-031
    """
    data = document("cr-bio-v1.xml")
    first = submission_of(data).submission_set
    assert first.unique_id == submission_of(data).submission_set.unique_id
    assert first.unique_id != submission_of(data + b"\n").submission_set.unique_id
    other = to_submission(read_cda(data), domain=DMP, source_id="2.25.2").submission_set
    assert first.unique_id != other.unique_id
    assert re.fullmatch(r"2\.25\.[1-9][0-9]{0,38}", first.unique_id)
    assert first.submission_time == "20260105120000" and first.source_id == SOURCE


def test_new_version_replaces_the_one_it_names() -> None:
    """The header says which uniqueId is replaced; with its entryUUID a RPLC is written, without it none."""
    header = read_cda(document("cr-bio-v2.xml"))
    first = read_cda(document("cr-bio-v1.xml"))
    assert header.replaces == first.unique_id and header.set_id == first.set_id
    assert (first.version_number, header.version_number, first.replaces) == ("1", "2", "")
    target = "urn:uuid:2f9b4b2e-7d2c-4bb8-9fb0-000000000001"
    with_target = to_submission(header, domain=DMP, source_id=SOURCE, targets={header.replaces: target})
    assert [(a.type, a.source, a.target) for a in with_target.associations if a.type == ns.RPLC] == [
        (ns.RPLC, "Document01", target)
    ]
    assert not [a for a in to_submission(header, domain=DMP, source_id=SOURCE).associations if a.type == ns.RPLC]


def test_several_documents_in_one_set() -> None:
    """Two documents of one patient share a set; of two patients they do not."""
    both = [read_cda(document(name)) for name in ("cr-bio-v1.xml", "vsm.xml")]
    submission = to_submission(both, domain=DMP, source_id=SOURCE)
    assert [e.entry_uuid for e in submission.entries] == ["Document01", "Document02"]
    assert all(a.slots == {"SubmissionSetStatus": ["Original"]} for a in submission.associations)
    other = read_cda(spoiled('extension="279059999900134"', 'extension="151119999900296"'))
    with pytest.raises(CdaError, match="different patients"):
        to_submission([both[0], other], domain=DMP, source_id=SOURCE)


def test_flags_and_overrides() -> None:
    """What is not in the CDA comes from the submitter; what is there can be replaced."""
    overrides = overrides_from(
        {
            "title": "Autre titre",
            "masked": True,
            "invisible_to_representatives": True,
            "event_codes": [{"code": "ACTE", "scheme": "1.2.250.1.213.2.5", "display": "Acte"}],
            "reference_ids": ["A1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"],
            "content_type_code": "97^^1.2.250.1.213.2.2",
        },
        DMP,
    )
    submission = submission_of(document("cr-bio-v1.xml"), overrides)
    entry = submission.entries[0]
    assert entry.title[0].value == "Autre titre"
    assert [c.code for c in entry.confidentiality_codes] == ["N", "MASQUE_PS", "INVISIBLE_REPRESENTANTS_LEGAUX"]
    assert all(c.display for c in entry.confidentiality_codes)
    assert [c.code for c in entry.event_codes] == ["18719-5", "ACTE"]
    assert entry.reference_ids == ["A1^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"]
    content_type = submission.submission_set.content_type_code
    assert content_type == Code("97", "1.2.250.1.213.2.2", "Type d'activité indifférencié")


def test_conflicting_flags_are_refused() -> None:
    """Hidden from professionals and from the patient at once: nobody would ever tell the patient."""
    with pytest.raises(CdaError, match="may not stand together"):
        entry_of(document("cr-bio-v1.xml"), Overrides(masked=True, invisible_to_patient=True))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('titel = "x"', "titel: unknown key; expected one of author_role"),
        ("masked = 1", "masked: 1 is not true or false"),
        ('class_code = "10"', "class_code: '10' is not a code"),
        ('event_codes = "10^^1.2"', "event_codes: '10^^1.2' is not a list"),
        ("title = ", "Invalid value"),
    ],
)
def test_errors_of_an_override_file(tmp_path: Path, content: str, expected: str) -> None:
    """File and key are named, and what would be right."""
    path = tmp_path / "overrides.toml"
    path.write_text(content, "utf-8")
    with pytest.raises(OverrideError) as caught:
        read_overrides(path, DMP)
    assert str(path) in str(caught.value) and expected in str(caught.value)


def test_every_override_has_a_documented_key() -> None:
    """The list of keys and the fields are the same."""
    assert sorted(field.name for field in fields(Overrides)) == sorted(KEYS)


def test_override_file(tmp_path: Path) -> None:
    """A TOML file carries the same keys as a mapping."""
    path = tmp_path / "overrides.toml"
    path.write_text('masked = true\nclass_code = { code = "11", scheme = "1.2.250.1.213.1.1.4.1" }\n', "utf-8")
    overrides = read_overrides(path, DMP)
    assert overrides.masked and overrides.class_code == Code("11", "1.2.250.1.213.1.1.4.1", "Synthèse")
    with pytest.raises(OverrideError, match="cannot be read"):
        read_overrides(tmp_path / "none.toml", DMP)


def test_everything_missing_is_reported_at_once() -> None:
    """An empty header: one error, every item with its XPath and clause."""
    with pytest.raises(CdaError) as caught:
        entry_of(b'<ClinicalDocument xmlns="urn:hl7-org:v3"/>')
    items = {problem.item: problem.xpath for problem in caught.value.problems}
    assert items["uniqueId"] == "/ClinicalDocument/id/@root"
    assert items["healthcareFacilityTypeCode"].endswith("/location/healthCareFacility/code")
    assert {
        "patientId", "typeCode", "title", "author", "creationTime", "languageCode", "confidentialityCode",
        "practiceSettingCode", "serviceStartTime", "legalAuthenticator",
    } <= set(items)  # fmt: skip
    assert all(problem.clause for problem in caught.value.problems)
    assert "Traceback" not in str(caught.value)


def test_patient_of_an_unknown_authority() -> None:
    """The roots that were found are told.

    Rule: R-092
    """
    with pytest.raises(CdaError, match=r"found 1\.2\.250\.1\.213\.1\.4\.99, 2\.25\.314159265358979323846"):
        entry_of(spoiled(r'root="1\.2\.250\.1\.213\.1\.4\.10"', 'root="1.2.250.1.213.1.4.99"'))


def test_self_presentable_document() -> None:
    """The ClinicalDocument inside a stylesheet gives the metadata; media type and bytes are the file's."""
    inner = document("cr-bio-v1.xml").partition(b"?>")[2]
    sheet = b'<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    data = sheet + b'<d:Contenu xmlns:d="urn:asip-sante:ci-sis">' + inner + b"</d:Contenu></xsl:stylesheet>"
    entry = entry_of(data)
    assert entry.mime_type == "application/xslt+xml"
    assert entry.hash == hashlib.sha1(data).hexdigest()
    assert entry.unique_id == entry_of(document("cr-bio-v1.xml")).unique_id


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<essai/>", "no ClinicalDocument of namespace"),
        (b"<ClinicalDocument/>", "no ClinicalDocument of namespace"),
        (b"%PDF-1.4", "not well-formed XML"),
        (b"", "not well-formed XML"),
        (b'<ClinicalDocument xmlns="urn:hl7-org:v3"><title>', "not well-formed XML"),
        (b'<a xmlns:c="urn:hl7-org:v3"><c:ClinicalDocument/><c:ClinicalDocument/></a>', "more than one"),
        (
            b'<ClinicalDocument xmlns="urn:hl7-org:v3"><author><ClinicalDocument/></author></ClinicalDocument>',
            "more than one",
        ),
        (
            b'<ClinicalDocument xmlns="urn:hl7-org:v3"><component>' + b"<list>" * 3000 + b"</list>" * 3000
            + b"</component></ClinicalDocument>",
            "more than 1000 elements inside one another",
        ),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><ClinicalDocument xmlns="urn:hl7-org:v3"/>', "a DOCTYPE is not accepted"),
        (b'<ClinicalDocument xmlns="urn:hl7-org:v3"><title>&a;</title></ClinicalDocument>', "not well-formed XML"),
    ],
)
def test_what_is_not_a_cda_document(data: bytes, expected: str) -> None:
    """Other files are refused in words.

    Attack: doctype-in-cda, deep-nesting-in-cda
    """
    with pytest.raises(CdaError, match=expected):
        read_cda(data)


def test_a_header_without_end_is_refused() -> None:
    """The header is bounded, whatever the size of the file.

    Attack: oversized-cda-header
    """
    flood = b'<ClinicalDocument xmlns="urn:hl7-org:v3"><title>' + b"A" * 5_000_000
    with pytest.raises(CdaError, match="header is too large"):
        read_cda(flood)
    with pytest.raises(CdaError, match="header is too large"):
        read_cda(b'<ClinicalDocument xmlns="urn:hl7-org:v3">' + b"<author/>" * 60_000)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(CdaError, match=r"none\.xml:\n  document: cannot be read"):
        read_cda(tmp_path / "none.xml")


MEASURE = """
import resource, sys
from conformance.cda import read_cda
path, growth = sys.argv[1], lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = growth()
header = read_cda(path)
print(header.body_media_type, header.size, growth() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_a_large_body_costs_no_memory(tmp_path: Path) -> None:
    """40 MB in one text node, four times what a tree would take: the header is read, memory stays flat."""
    head, mark, tail = document("cr-bio-pdf.xml").partition(b'representation="B64">')
    path = tmp_path / "large.xml"
    path.write_bytes(head + mark + b"QUJD" * 10_000_000 + tail)
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )
    media_type, size, kibibytes = answer.stdout.split()
    assert media_type == "application/pdf" and int(size) == path.stat().st_size
    assert int(kibibytes) < 8 * 1024


def test_connectathon_takes_a_patient_without_type_code() -> None:
    """Where CX.5 is forbidden none is written, and codes come from the plain tables."""
    plain = load("connectathon")
    data = spoiled(r'root="1\.2\.250\.1\.213\.1\.4\.10"', 'root="1.3.6.1.4.1.21367.13.20.1000"')
    entry = to_submission(read_cda(data), domain=plain, source_id=SOURCE).entries[0]
    assert entry.patient_id == "279059999900134^^^&1.3.6.1.4.1.21367.13.20.1000&ISO"
    assert entry.source_patient_id == "ESSAI-1001^^^&2.25.314159265358979323846&ISO"
    assert entry.class_code is not None and entry.class_code.code == "11502-2"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_cda_error(data: bytes) -> None:
    """The reader has one kind of error."""
    with suppress(CdaError):
        read_cda(data)
