"""The shipped provider: what a summary says, that it is valid CDA, and that no metadata can break it.

Clause: HL7 CDA R2; CI-SIS Structuration minimale 3.5
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from conformance import frames
from conformance.cda import read_cda
from guard.credentials.caller import Caller, Mode
from repository.on_demand import Enrolment, OnDemandRequest
from repository.on_demand_cda import summary, words_of
from repository.on_demand_entries import author, registration
from repository.on_demand_summary import MOST, RecordSummary
from tests.metadata_strategies import entries as any_entry
from xds.check.context import Stage
from xds.check.submission import check_submission
from xds.domain import load
from xds.errors import Actor
from xds.model import Author, Code, DocumentEntry, LocalizedString
from xds.namespaces import PROVIDER_SLOT

OURS = "1.2.250.1.999.1.1"
C = {"c": "urn:hl7-org:v3"}
CALLER = Caller(identifier="899700000018", mode=Mode.DIRECT, name="ESSAI Anne")


@pytest.fixture(scope="module")
def schema(oracles: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(oracles / "cda-xsd" / "CDA_extended.xsd")))


def enrolment(domain: str, **changes: object) -> Enrolment:
    patient_id = frames.a_patient_id(domain)
    values: dict[str, object] = {
        "patient_id": patient_id,
        "source_patient_id": patient_id,
        "source_patient_info": ("PID-5|ESSAI-DUPONT^CAMILLE^^^^^L", "PID-7|19790514", "PID-8|F"),
        "responsible": author("899700000018", "ESSAI Anne", "10B0000001", "Cabinet fictif"),
        "since": "20260101080000",
    }
    return Enrolment(**values | changes)  # type: ignore[arg-type]


def request(listed: list[DocumentEntry], domain: str = "dmp", **changes: object) -> OnDemandRequest:
    entry = replace(RecordSummary(load(domain), OURS).describe(enrolment(domain)), unique_id="1.2.3", **changes)
    return OnDemandRequest(
        entry=entry, unique_id="2.25.7", caller=CALLER, moment=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
        documents=lambda most: listed[:most],
    )


def made_of(listed: list[DocumentEntry], domain: str = "dmp", **changes: object) -> bytes:
    assembled = RecordSummary(load(domain), OURS).assemble(request(listed, domain, **changes))
    return b"".join(assembled.chunks)


@pytest.mark.parametrize("domain", ["dmp", "connectathon"])
@pytest.mark.parametrize("who", ["person", "structure"])
def test_what_it_describes_can_be_registered(domain: str, who: str) -> None:
    """Every code is of the affinity domain, and everything the domain requires is there.

    Rule: R-130, R-020, R-021, R-024
    """
    loaded = load(domain)
    provider = RecordSummary(loaded, OURS)
    responsible = author("10B0000001/AUTOMATE", "AUTOMATE", "10B0000001", "LABO") if who == "structure" else None
    changes = {} if responsible is None else {"responsible": responsible}
    made = registration(provider.describe(enrolment(domain, **changes)), provider, loaded, OURS, "20260105093000")
    assert check_submission(made, loaded, Actor.REGISTRY, stage=Stage.ON_DEMAND) == []


@pytest.mark.parametrize("domain", ["dmp", "connectathon"])
@pytest.mark.parametrize("count", [0, 1, MOST])
def test_it_is_valid_cda(schema: etree.XMLSchema, domain: str, count: int) -> None:
    """Against the French extended schema, empty and full."""
    root = etree.fromstring(made_of([frames.valid_entry(domain, n + 1) for n in range(count)], domain))
    assert schema.validate(root), [f"{e.line}: {e.message}" for e in schema.error_log]
    assert len(root.findall(".//c:entry", C)) == len(root.findall(".//c:tbody/c:tr", C)) == count


def test_it_lists_what_the_caller_finds() -> None:
    """Date, title, type, author and structure for people; identifier, type and time for programs."""
    listed = [frames.valid_entry("dmp", n, unique_id=u) for n, u in enumerate(("1.2.9^X1", "free text-id"), 1)]
    root = etree.fromstring(made_of(listed))
    cells = ["".join(td.itertext()) for td in root.findall(".//c:tbody/c:tr[1]/c:td", C)]
    kind = listed[0].type_code.display if listed[0].type_code else ""
    assert cells == ["2026-01-05", "Document d'essai", kind, "Alix BIOLOGISTE-FICTIF", "LABORATOIRE FICTIF"]
    first, second = (dict(e.attrib) for e in root.findall(".//c:externalDocument/c:id", C))
    assert first == {"root": "1.2.9", "extension": "X1"} and second == {"root": OURS, "extension": "free text-id"}
    times = [e.get("value") for e in root.findall(".//c:entry/c:act/c:effectiveTime", C)]
    assert times == ["20260105080000+0000"] * 2
    assert [e.get("value") for e in root.findall(".//c:entry/c:act/c:text/c:reference", C)] == [
        f"#{row.get('ID')}" for row in root.findall(".//c:tbody/c:tr", C)
    ]


def test_its_header_can_be_read_like_any_other() -> None:
    """Identifier, patient, type and time are those of the request; who it was made for is named."""
    data = made_of([frames.valid_entry("dmp")])
    header = read_cda(data)
    assert (header.unique_id, header.effective_time) == ("2.25.7", "20260105093000+0000")
    assert header.patient_ids[0].extension == "279059999900134"
    assert header.type_code is not None and header.type_code.code == "SYNTH"
    root = etree.fromstring(data)
    assert root.findtext(".//c:patient/c:name/c:family", "", C) == "ESSAI-DUPONT"
    assert root.find("c:informationRecipient/c:intendedRecipient/c:id", C).get("extension") == CALLER.identifier


def test_snapshots_are_not_listed_and_confidentiality_is_told() -> None:
    """A summary of summaries would grow with every look at it.

    Rule: R-185
    """
    mask = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "")
    own = frames.valid_entry("dmp", 1, extra_slots={PROVIDER_SLOT: ["summary"]})
    other = frames.valid_entry("dmp", 2, confidentiality_codes=[mask])
    provider = RecordSummary(load("dmp"), OURS)
    assembled = provider.assemble(request([own, other]))
    assert assembled.confidentiality == {mask.key}
    assert len(etree.fromstring(b"".join(assembled.chunks)).findall(".//c:entry", C)) == 1


def test_it_speaks_the_language_of_its_entry() -> None:
    """French for French regions, else English."""
    titles = {language: words_of(language).columns[1] for language in ("fr-BE", "frr", "en")}
    assert titles == {"fr-BE": "Titre", "frr": "Title", "en": "Title"}
    assert "Title" in made_of([frames.valid_entry("dmp")], language_code="en-GB").decode()


def test_hostile_metadata_stays_text(schema: etree.XMLSchema) -> None:
    """Mark-up, control characters and codes CDA cannot carry do not change the document's shape."""
    entry = frames.valid_entry(
        "dmp",
        title=[LocalizedString("</td><script>\x00\x1b]]>&", "fr-FR")],
        authors=[Author(person=["^", "x"], institutions=["<^^^^^&not-an-oid&ISO"])],
        type_code=Code("a b", "URN", "\x07 Type <b>"),
        unique_id="1.2.3^<>&\x01",
        service_start_time="junk",
    )
    root = etree.fromstring(made_of([entry]))
    assert schema.validate(root), [f"{e.line}: {e.message}" for e in schema.error_log]
    assert "".join(root.find(".//c:tbody/c:tr/c:td[2]", C).itertext()) == "</td><script>]]>&"
    assert root.find(".//c:entry/c:act/c:code", C).get("nullFlavor") == "OTH"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(listed=st.lists(any_entry, max_size=3), about=any_entry)
def test_no_metadata_breaks_it(schema: etree.XMLSchema, listed: list[DocumentEntry], about: DocumentEntry) -> None:
    """Whatever a registry has stored, the document is well formed and keeps to the schema."""
    asked = replace(request([]), entry=replace(about, language_code="fr-FR"))
    root = etree.fromstring(summary(asked, listed, OURS))
    assert len(root.findall(".//c:entry", C)) == len(listed)
    assert schema.validate(root), [f"{e.line}: {e.message}" for e in schema.error_log]
