"""The author in a CDA header against who signs.

Rule: R-190
Clause: DMP R526
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from lxml import etree

from conformance import frames
from conformance.client import Outcome, bytes_part
from repository.cda_header import CHUNK, LONGEST, read
from tests.world import PHYSICIAN, STRUCTURE, World
from xds.model import Submission
from xds.namespaces import HL7

STRANGER, ELSEWHERE = "899900000017", "1990000017"
NS = {"c": HL7}


def cda(
    person: str = STRANGER, structure: str = ELSEWHERE, *, more: str = "", before: str = "", after: str = ""
) -> bytes:
    """A CDA with its header, as small as it gets."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>{before}
<ClinicalDocument xmlns="{HL7}">{more}<recordTarget><patientRole><id extension="279059999900134"/></patientRole>
</recordTarget><author><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="{person}"/><representedOrganization>
<id root="1.2.250.1.71.4.2.2" extension="{structure}"/></representedOrganization></assignedAuthor></author>
<custodian><id extension="{PHYSICIAN}"/></custodian>{after}</ClinicalDocument>""".encode()


def pieces(data: bytes, size: int = CHUNK) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("authors"), '[credentials]\nauthor = "refuse"').serve_here()


def send(world: World, data: bytes, who: str = "physician", mime_type: str = "text/xml") -> Outcome:
    """A set of one document, whose metadata name the sender."""
    submission: Submission = frames.valid_submission("dmp", patient_id=world.patient())
    (entry,) = submission.entries
    entry.mime_type, entry.hash, entry.size = mime_type, "", None
    author = submission.submission_set.authors[0]
    author.person[:] = [f"{PHYSICIAN}^ESSAI^Anne^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"]
    author.institutions[:] = [f"LABO^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^{STRUCTURE}"]
    return world.client(who).provide(submission, [(entry.entry_uuid, bytes_part(data, "1@test", mime_type))])


def refused(outcome: Outcome, found: str, expected: str) -> None:
    (error,) = outcome.errors
    assert error.code == "InvalidDocumentContent" and "[R-190]" in error.context
    assert f"found '{found}'" in error.context and f"expected {expected}, whom the assertion names" in error.context


def test_a_document_comes_from_whom_the_credential_names(world: World) -> None:
    """A professional is an author himself; a structure, and staff, are so by the institution. Both values are told."""
    assert not send(world, cda(PHYSICIAN)).errors
    refused(send(world, cda()), STRANGER, PHYSICIAN)
    refused(send(world, cda(structure=STRUCTURE)), STRANGER, PHYSICIAN)
    for who in ("laboratory", "staff"):
        assert not send(world, cda(structure=STRUCTURE), who).errors
        refused(send(world, cda(PHYSICIAN), who), ELSEWHERE, STRUCTURE)


def test_one_of_several_authors_is_enough(world: World) -> None:
    """Beside a device, a colleague; with identifiers of other kinds."""
    device = (f'<author><assignedAuthor><id root="2.25.1" extension="device"/><id extension="{STRANGER}"/>'
              "<assignedAuthoringDevice/></assignedAuthor></author>")
    assert not send(world, cda(PHYSICIAN, more=device)).errors


@pytest.mark.parametrize(("data", "found"), [
    (cda(more=f'<author><informant><assignedAuthor><id extension="{PHYSICIAN}"/></assignedAuthor></informant>'
              "</author>"), STRANGER),
    (cda(after=f'<author><assignedAuthor><id extension="{PHYSICIAN}"/></assignedAuthor></author>'), STRANGER),
    (cda(more=f'<author xmlns="urn:other"><assignedAuthor><id extension="{PHYSICIAN}"/></assignedAuthor></author>'),
     "nobody"),
    (cda(more=f'<author><assignedAuthor><assignedPerson><id extension="{PHYSICIAN}"/></assignedPerson>'
              "</assignedAuthor></author>"), STRANGER),
    (cda(more=f'<!-- <author><assignedAuthor><id extension="{PHYSICIAN}"/></assignedAuthor></author> -->'), STRANGER),
])
def test_an_author_is_named_in_his_place_only(world: World, data: bytes, found: str) -> None:
    """Elsewhere in the document, of another namespace (which ends the header), in a comment: it is not he who wrote
    it."""
    refused(send(world, data), found, PHYSICIAN)


@pytest.mark.parametrize("mime_type", ["text/XML", "Application/xml"])
def test_a_media_type_is_the_same_in_capitals(world: World, mime_type: str) -> None:
    """It opened a way around the check."""
    refused(send(world, cda(), mime_type=mime_type), STRANGER, PHYSICIAN)


def test_a_number_counts_under_its_register_only(world: World) -> None:
    """The sender's own number under a root of his making stands beside the other's: that makes him no author."""
    beside = cda().replace(b"<assignedAuthor>", f'<assignedAuthor><id root="9.9.9" extension="{PHYSICIAN}"/>'.encode())
    refused(send(world, beside), STRANGER, PHYSICIAN)


def test_what_is_no_cda_is_let_be(world: World) -> None:
    """Other XML, and text that is none."""
    assert not send(world, b"<essai/>").errors
    assert not send(world, b"no XML at all").errors


@pytest.mark.parametrize(("data", "why"), [
    (cda(PHYSICIAN, before="<!DOCTYPE ClinicalDocument>"), "a document type declaration"),
    (cda(PHYSICIAN, before='<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]>'), "a document type declaration"),
    (cda(PHYSICIAN).replace(b"<recordTarget>", b"<recordTarget><"), "a header that is not well-formed"),
    (cda(PHYSICIAN, more=f"<title>{'x' * LONGEST}</title>"), f"no end of its header in {LONGEST} bytes"),
    (f'<ClinicalDocument xmlns="{HL7}"/>'.encode(), "nobody"),
])
def test_a_header_that_is_not_read_names_nobody(world: World, data: bytes, why: str) -> None:
    """Refused with the reason, and nothing of it is expanded or held."""
    refused(send(world, data), why, PHYSICIAN)


@pytest.mark.parametrize(("rule", "is_told"), [("off", False), ("warn", True), ("", True)])
def test_the_setting_decides(tmp_path: Path, rule: str, is_told: bool, caplog: pytest.LogCaptureFixture) -> None:
    """By default what the domain says: dmp warns, in the service's log."""
    world = World.prepare(tmp_path, f'[credentials]\nauthor = "{rule}"').serve_here()
    with caplog.at_level(logging.WARNING, "guard.credentials.authorship"):
        assert not send(world, cda()).errors
    (line,) = caplog.messages if is_told else [""]
    assert (PHYSICIAN in line and "trace " in line) is is_told and STRANGER not in line


def test_the_log_repeats_nothing_of_a_document(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the patient, whom a header may name as author, nor a line of its own making."""
    world = World.prepare(tmp_path, '[credentials]\nauthor = "warn"').serve_here()
    with caplog.at_level(logging.WARNING, "guard.credentials.authorship"):
        for person in ("279059999900134", "x&#10;2026-11-28 ERROR carnet.gate forged"):
            assert not send(world, cda(person)).errors
    assert len(caplog.messages) == 2
    assert not any("279059999900134" in line or "forged" in line or "\n" in line for line in caplog.messages)


def test_off_reads_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is paid for a check that is not asked for."""
    world = World.prepare(tmp_path, '[credentials]\nauthor = "off"').serve_here()
    monkeypatch.setattr("repository.cda_check.read", lambda chunks, **how: pytest.fail("read"))
    assert not send(world, cda()).errors


def test_no_more_than_the_header_is_read() -> None:
    """Of a document of any size the pieces up to the end of the authors; of other XML the first."""
    for data, most in ((cda(PHYSICIAN), 1), (b"<essai>", 1), (cda(more="<title>" + "x" * 3 * CHUNK + "</title>"), 4)):
        taken = []
        body = b"<component/>" * 200_000
        read(taken.append(piece) or piece for piece in pieces(data.removesuffix(b"</ClinicalDocument>") + body))
        assert 1 <= len(taken) <= most


def test_the_published_samples_are_read(oracles: Path) -> None:
    """All of them, the self-presentable ones too: the authors a whole tree shows, within the time of a few reads.

    Clause: CI-SIS structuration minimale, author
    """
    samples = sorted((oracles / "cda-fr").glob("*.xml"))
    assert len(samples) == 70
    spent = 0.0
    for sample in samples:
        data = sample.read_bytes()
        root = etree.fromstring(data, etree.XMLParser(huge_tree=True))
        document = root if root.tag == f"{{{HL7}}}ClinicalDocument" else root.find(f".//{{{HL7}}}ClinicalDocument")
        started = time.thread_time()
        found = read(pieces(data))
        spent += time.thread_time() - started
        assert found is not None and not found.unread, sample.name
        for path, names in (("c:id", found.persons), ("c:representedOrganization/c:id", found.structures)):
            there = document.findall(f"c:author/c:assignedAuthor/{path}", NS)
            assert names == {one.get("extension", "").strip() for one in there}, sample.name
        assert found.persons - {""}, sample.name
    assert spent / len(samples) < 0.01


XSL = "http://www.w3.org/1999/XSL/Transform"


@pytest.mark.parametrize(("root", "space"), [("stylesheet", XSL), ("Signature", "http://www.w3.org/2000/09/xmldsig#")])
def test_a_cda_may_have_something_around_it(root: str, space: str) -> None:
    """The stylesheet of a self-presentable document, a signature; without a CDA it is none, unless that is hidden."""
    inner = cda(PHYSICIAN).split(b"\n", 1)[1]

    def around(content: bytes) -> list[bytes]:
        return list(pieces(f'<x:{root} xmlns:x="{space}"><x:any>'.encode() + content + f"</x:any></x:{root}>".encode()))

    found = read(around(inner))
    assert found is not None and found.persons == {PHYSICIAN}
    assert read(around(b"<essai/>")) is None
    hidden = read(around(b"<essai/>" * (LONGEST // 8) + inner))
    assert hidden is not None and hidden.unread and not hidden.persons


def test_our_own_documents_are_read() -> None:
    """Documents of the fixtures, in pieces of any size, as one."""
    for name in ("cr-bio-v1.xml", "lettre-sortie.xml", "vsm.xml"):
        data = (files("fixtures") / "cda" / name).read_bytes()
        whole = read([data])
        assert whole is not None and whole.persons and not whole.unread
        assert read(pieces(data, 7)) == whole
