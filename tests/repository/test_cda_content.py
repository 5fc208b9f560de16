"""CDA documents against the entry that announces them: `repository.cda`.

Rule: R-053
Clause: ITI TF-3 4.2.4.1
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from conformance import frames
from conformance.cda import read_cda, to_submission
from conformance.client import Outcome, bytes_part
from repository.cda_check import NEEDED, Fault, fault_of
from repository.cda_header import CHUNK, CdaHeader, read
from tests.world import PHYSICIAN, STRUCTURE, World
from xds.domain import load
from xds.errors import Severity
from xds.model import Code, DocumentEntry, Submission
from xds.model.datatypes import Cx
from xds.namespaces import HL7
from xds.wire.client import FaultReceived

DMP, PLAIN = load("dmp"), load("connectathon")
INS, OTHER = "1.2.250.1.213.1.4.10", "279059999999999"
"""The authority of the tests' patients, and somebody who is none of them."""
TYPE = '<typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>'
OUTSIDE = Code("urn:asipSante:modelesHorsProfils:2011", "1.2.250.1.213.1.1.4.2.282", "hors profils")
"""A format of no CDA model."""


def cda(unique_id: str, patient: str, *, root: str = INS, more: str = "", person: str = PHYSICIAN) -> bytes:
    """A CDA with every element the rule asks for, as small as it gets."""
    document, _, extension = unique_id.partition("^")
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="{HL7}">{TYPE}<templateId root="2.16.840.1.113883.2.8.2.1"/>
<id root="{document}"{f' extension="{extension}"' if extension else ''}/><code code="11502-2"/>
<effectiveTime value="20260105103000+0100"/><confidentialityCode code="N"/>
<recordTarget><patientRole>{more}<id root="{root}" extension="{patient}"/></patientRole></recordTarget>
<author><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="{person}"/></assignedAuthor></author>
<custodian/><component/></ClinicalDocument>""".encode()


def without(data: bytes, name: str) -> bytes:
    """The same with that child of ClinicalDocument under another name."""
    return data.replace(f"<{name}".encode(), b"<copyTime").replace(f"</{name}>".encode(), b"</copyTime>")


@dataclass
class Deposit:
    """A set about one new patient, one entry for each of its documents."""

    world: World
    documents: int = 1
    submission: Submission = field(init=False)
    patient: Cx = field(init=False)

    def __post_init__(self) -> None:
        patient_id = self.world.patient()
        self.patient = Cx.parse(patient_id)
        self.submission = frames.valid_submission("dmp", documents=self.documents, patient_id=patient_id)
        for entry in self.submission.entries:
            entry.hash, entry.size = "", None

    @property
    def entry(self) -> DocumentEntry:
        return self.submission.entries[0]

    def fitting(self, number: int = 0) -> bytes:
        """The CDA that this entry announces."""
        return cda(self.submission.entries[number].unique_id, self.patient.id)

    def send(self, *documents: bytes, security: bytes | None = None) -> Outcome:
        author = self.submission.submission_set.authors[0]
        author.person[:] = [f"{PHYSICIAN}^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"]
        author.institutions[:] = [f"LABO^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{STRUCTURE}"]
        parts = [
            (entry.entry_uuid, bytes_part(data, f"{n}@test", entry.mime_type))
            for n, (entry, data) in enumerate(zip(self.submission.entries, documents, strict=True))
        ]
        return self.world.client().provide(self.submission, parts, security=security)

    def is_stored(self) -> bool:
        return bool(self.world.find(str(self.patient)).objects)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("content"), 'cda = "refuse"').serve_here()


def test_to_be_called_a_signature_is_no_way_around(tmp_path: Path) -> None:
    """Where the domain verifies no signatures, nobody else looks at what is called one."""
    world = World.prepare(tmp_path, 'cda = "refuse"\n[domain]\nname = "connectathon"\n').serve_here()
    submission = frames.valid_submission("connectathon", patient_id=world.patient())
    (entry,) = submission.entries
    entry.hash, entry.size = "", None
    entry.class_code = Code("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN", "Digital Signature")
    assert PLAIN.signatures.is_signature(entry)
    data = cda("1.2.3.4", "1")
    outcome = world.client().provide(submission, [(entry.entry_uuid, bytes_part(data, "a@test", entry.mime_type))])
    assert [error.code for error in outcome.errors] == ["InvalidDocumentContent"]


def test_a_document_that_is_what_its_entry_says_is_kept(world: World) -> None:
    """With a root alone or an extension; of two identifiers of the authority one is the patient's; a local one says
    nothing, nor does one without a value."""
    for change in ("", "^A7"):
        deposit = Deposit(world)
        deposit.entry.unique_id += change
        more = (f'<id root="{INS}" extension="{OTHER}"/><id root="1.2.3" extension="{OTHER}"/>'
                f'<id root="1.2.250.1.213.1.4.8" nullFlavor="UNK"/>')
        data = cda(deposit.entry.unique_id, deposit.patient.id, more=more)
        outcome = deposit.send(data)
        assert outcome.is_success and not outcome.errors
        _, (item,) = world.read(str(deposit.patient), [deposit.entry.unique_id])
        assert item.received == data


def wrongs(deposit: Deposit) -> Iterator[tuple[bytes, str, str, str]]:
    """Documents, each with one thing wrong; the field, what is found and what is expected."""
    good, unique_id = deposit.fitting(), deposit.entry.unique_id
    whole = "one ClinicalDocument in well-formed XML without document type"
    yield good[:-3], "ClinicalDocument", "'XML that is not well-formed (line ", whole
    yield good + b"<more/>", "ClinicalDocument", "'XML that is not well-formed (line ", whole
    typed = good.replace(b"<Clin", b'<!DOCTYPE ClinicalDocument SYSTEM "CDA.dtd"><Clin', 1)
    yield typed, "ClinicalDocument", "'a document type declaration'", whole
    expected = "2.16.840.1.113883.1.3 POCD_HD000040"
    other = good.replace(b"HD000040", b"HD000020")
    yield other, "ClinicalDocument/typeId", "'2.16.840.1.113883.1.3 POCD_HD000020'", expected
    yield good.replace(TYPE.encode(), b""), "ClinicalDocument/typeId", "", expected
    for name in NEEDED:
        yield without(good, name), f"ClinicalDocument/{name}", "", "this element"
    expected = f"{unique_id}, the uniqueId of its entry"
    yield cda("1.2.3", deposit.patient.id), "ClinicalDocument/id", "'1.2.3'", expected
    yield cda(unique_id + "^1", deposit.patient.id), "ClinicalDocument/id", f"'{unique_id}^1'", expected


def test_each_refusal_names_document_place_found_and_expected(world: World) -> None:
    """One error, with the uniqueId; nothing is stored."""
    deposit = Deposit(world)
    deposit.entry.format_code = OUTSIDE
    for data, place, found, expected in wrongs(deposit):
        outcome = deposit.send(data)
        (error,) = outcome.errors
        assert not outcome.is_success and error.code == "InvalidDocumentContent"
        assert error.context.startswith(f"Document {deposit.entry.unique_id} of DocumentEntry Document01, {place}: ")
        assert f"found {found or 'nothing'}" in error.context
        assert f"expected {expected}" in error.context and "[R-053]" in error.context
    assert not deposit.is_stored()
    assert deposit.send(deposit.fitting()).is_success, "the entry was not the reason"


@pytest.mark.parametrize("root", [INS, "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.2"])
def test_another_patients_document_is_refused_and_nobody_is_named(
    world: World, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under the authority of the patientId, or another one of the INS. Neither answer nor log says who it is."""
    deposit = Deposit(world)
    with caplog.at_level(logging.DEBUG):
        outcome = deposit.send(cda(deposit.entry.unique_id, OTHER, root=root))
    (error,) = outcome.errors
    assert error.code == "InvalidDocumentContent" and "recordTarget/patientRole/id" in error.context
    assert "found \"another patient's identifier\"" in error.context and deposit.entry.unique_id in error.context
    told = [error.context, error.location, *caplog.messages, *map(repr, world.last_lines(2))]
    assert not any(OTHER in text for text in told)
    assert deposit.patient.id not in error.context + error.location + "".join(caplog.messages)
    assert not deposit.is_stored()


def test_one_error_for_each_document(world: World) -> None:
    """Whatever else is wrong with it, and beside one that is in order."""
    deposit = Deposit(world, documents=3)
    both = cda("1.2.3", OTHER).replace(b"HD000040", b"HD1")
    outcome = deposit.send(both, deposit.fitting(1), cda("1.2.3", OTHER))
    first, _, third = (entry.unique_id for entry in deposit.submission.entries)
    assert [e.code for e in outcome.errors] == ["InvalidDocumentContent"] * 2
    assert f"{first} of DocumentEntry Document01, ClinicalDocument/typeId" in outcome.errors[0].context
    assert f"{third} of DocumentEntry Document03, ClinicalDocument/id" in outcome.errors[1].context
    assert not deposit.is_stored()


@pytest.mark.parametrize(("mime_type", "data"), [
    ("application/dicom", b"%PDF-1.4"), ("text/xml", b"<essai/>"), ("text/xml", b"no XML"), ("text/xml", b" "),
    ("text/xml", b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg/>'),
    ("application/xslt+xml", b'<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform"/>'),
])
def test_what_is_no_cda_is_taken_as_it_is(world: World, mime_type: str, data: bytes) -> None:
    """Rule: R-052"""
    deposit = Deposit(world)
    deposit.entry.mime_type, deposit.entry.format_code = mime_type, OUTSIDE
    assert not deposit.send(data).errors


def test_what_the_format_calls_a_cda_is_one(world: World) -> None:
    """A table of the domain says which formats are; of a media type that is not XML it may be encrypted."""
    deposit = Deposit(world)
    (error,) = deposit.send(b"<essai/>").errors
    assert "ClinicalDocument: found nothing; expected a CDA document" in error.context and "[R-053]" in error.context
    deposit.entry.mime_type = "application/dicom"
    assert not deposit.send(b"encrypted").errors


def test_a_media_type_is_no_way_around(world: World) -> None:
    """What begins a CDA is one, whatever the entry says of it."""
    deposit = Deposit(world)
    deposit.entry.mime_type, deposit.entry.format_code = "application/dicom", OUTSIDE
    (error,) = deposit.send(cda(deposit.entry.unique_id, OTHER)).errors
    assert "another patient" in error.context


def test_a_warning_leaves_a_success_and_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The document is stored, the sender is told, the operator too; the log has nothing of the document.

    Rule: A-9
    """
    world = World.prepare(tmp_path, 'cda = "warn"').serve_here()
    deposit = Deposit(world)
    with caplog.at_level(logging.WARNING, "repository.cda_check"):
        outcome = deposit.send(cda(deposit.entry.unique_id, OTHER))
    (warning,) = outcome.errors
    assert outcome.is_success and deposit.is_stored()
    assert (warning.code, warning.severity) == ("InvalidDocumentContent", Severity.WARNING)
    assert "another patient's identifier" in warning.context
    (line,) = caplog.messages
    assert deposit.entry.unique_id in line and "recordTarget/patientRole/id" in line and OTHER not in line


def test_by_default_no_document_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is paid for a check that is not asked for."""
    world = World.prepare(tmp_path, '[credentials]\nauthor = "off"').serve_here()
    monkeypatch.setattr("repository.cda_check.read", lambda chunks, **how: pytest.fail("read"))
    deposit = Deposit(world)
    assert not deposit.send(cda("1.2.3", OTHER)).errors


def test_nobody_has_documents_read_before_he_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole reading costs time: who signs with a value that is not his gets none of it."""
    monkeypatch.setattr("repository.cda_check.read", lambda chunks, **how: pytest.fail("read"))
    deposit = Deposit(world)
    security = world.client().security(str(deposit.patient))
    with pytest.raises(FaultReceived):
        deposit.send(deposit.fitting(), security=security.replace(b"SignatureValue>", b"SignatureValue>AAAA", 1))


def test_both_rules_cost_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one error a document: its author is judged when its content is in order.

    Rule: R-190
    """
    world = World.prepare(tmp_path, 'cda = "refuse"\n[credentials]\nauthor = "refuse"').serve_here()
    readings: list[bool] = []

    def counted(chunks: Iterator[bytes], *, is_whole: bool) -> CdaHeader | None:
        readings.append(is_whole)
        return read(chunks, is_whole=is_whole)

    monkeypatch.setattr("repository.cda_check.read", counted)
    deposit = Deposit(world)
    stranger = cda(deposit.entry.unique_id, deposit.patient.id, person="899900000017")
    (error,) = deposit.send(stranger).errors
    assert "[R-190]" in error.context and readings == [True]
    (error,) = deposit.send(stranger.replace(b"<custodian/>", b"")).errors
    assert "[R-053]" in error.context and "custodian" in error.context
    assert deposit.send(deposit.fitting()).is_success and readings == [True] * 3


# -- beside the server ------------------------------------------------------------------------------------------------


def pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def fault(data: bytes, entry: DocumentEntry) -> Fault | None:
    return fault_of(read(pieces(data), is_whole=True), entry, DMP)


def test_every_published_sample_passes(oracles: Path) -> None:
    """Under the metadata our own mapping gives it; and not under another patient's, another document's, or cut."""
    samples = sorted((oracles / "cda-fr").glob("*.xml"))
    assert len(samples) == 70
    for sample in samples:
        data = sample.read_bytes()
        entry = to_submission(read_cda(sample), domain=DMP, source_id="2.25.1").entries[0]
        assert fault(data, entry) is None, sample.name
        other = replace(entry, patient_id=f"{OTHER}^^^&{INS}&ISO^NH")
        assert (fault(data, other) or pytest.fail(sample.name)).found == "another patient's identifier"
        other = replace(entry, unique_id="1.2.3")
        assert (fault(data, other) or pytest.fail(sample.name)).field == "ClinicalDocument/id"
        cut = fault(data.rstrip()[:-1], entry)
        assert cut is not None and "not well-formed" in cut.found, sample.name


def test_what_the_registry_misses_is_left_to_it() -> None:
    """An entry without uniqueId, or whose patientId is none, is not judged by them. Rule: R-050"""
    entry = frames.valid_entry("dmp")
    data = cda(entry.unique_id, Cx.parse(entry.patient_id).id)
    assert fault(data, replace(entry, unique_id="")) is None
    for patient_id in ("", "12", "^^^&1.2.3&ISO"):
        assert fault(data, replace(entry, patient_id=patient_id)) is None


def test_a_patient_named_by_no_identifier_of_the_authority_is_not_judged() -> None:
    """Local ones, and one that is masked."""
    entry = frames.valid_entry("dmp")
    masked = f'<id root="{INS}" nullFlavor="MSK"/>'
    assert fault(cda(entry.unique_id, OTHER, root="1.2.3", more=masked), entry) is None


def test_where_no_authority_is_ranked_the_patients_own_counts() -> None:
    """An identifier escaped in the entry is compared as it is meant."""
    entry = frames.valid_entry("connectathon", patient_id="A\\T\\1^^^&1.2.3&ISO")
    for root, extension, is_right in (("1.2.3", "A&amp;1", True), ("1.2.3", "A1", False), ("1.2.4", "A1", True)):
        header = read([cda(entry.unique_id, extension, root=root)], is_whole=True)
        assert (fault_of(header, entry, PLAIN) is None) is is_right


def test_formats_of_cda_are_those_of_the_tables() -> None:
    """Not the one they give to all the rest."""
    for domain, rest in ((DMP, OUTSIDE.key), (PLAIN, PLAIN.format_of_media["*"])):
        assert rest in {*domain.format_of_template.values(), *domain.format_of_media.values()}
        assert not domain.is_cda_format(domain.code("format_code", rest)) and not domain.is_cda_format(None)
        assert domain.is_cda_format(domain.code("format_code", domain.format_of_media["application/pdf"]))
        assert domain.is_cda_format(domain.code("format_code", domain.format_of_template["1.3.6.1.4.1.19376.1.3.3"]))
