"""The reader of CDA headers, over documents cut, spoiled and made to hurt.

Rule: R-053
Clause: CDA R2 4.2
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from itertools import chain, pairwise, repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repository.cda_header import CHUNK, DEPTH, LONGEST, ROOM, SILENCE, CdaHeader, Identifier, read
from xds.namespaces import HL7

TYPE = Identifier("2.16.840.1.113883.1.3", "POCD_HD000040")
SAMPLE = (files("fixtures") / "cda" / "cr-bio-v1.xml").read_bytes()
HEAD = f'<ClinicalDocument xmlns="{HL7}"><id root="1.2"/>'.encode()
AROUND = '<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform">'


def document(inner: str = "", *, before: str = "", after: str = "") -> str:
    """A CDA by one author about one patient."""
    return f"""{before}<ClinicalDocument xmlns="{HL7}"><typeId root="{TYPE.root}" extension=" {TYPE.extension} "/>
<id root="1.2.3" extension="é&amp;7"/><recordTarget><patientRole><id root="1.4" extension="12"/><id root="1.5"/>
</patientRole></recordTarget><author><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="8997"/></assignedAuthor>
</author><custodian/>{inner}<component/></ClinicalDocument>{after}"""


def whole(data: bytes, size: int = CHUNK) -> CdaHeader | None:
    return read((data[start : start + size] for start in range(0, len(data), size)), is_whole=True)


def wrong(chunks: Iterable[bytes]) -> str:
    """Why this is no CDA document to its end."""
    header = read(chunks, is_whole=True)
    assert header is not None
    return header.wrong


def test_the_facts_of_a_document() -> None:
    """In their places alone."""
    header = whole(document('<id root="9"/><x xmlns="u"><id root="8"/></x><recordTarget><id root="7"/>'
                            '<patientRole><id root="1.4" extension="34"/></patientRole></recordTarget>').encode())
    assert header is not None and not header.wrong and not header.unread
    assert header.type_ids == [TYPE] and header.ids == [Identifier("1.2.3", "é&7"), Identifier("9", "")]
    assert header.patients == {Identifier("1.4", "12"), Identifier("1.5", ""), Identifier("1.4", "34")}
    assert header.persons == {"8997"} and not header.structures
    assert f"{{{HL7}}}component" in header.elements and "{u}x" in header.elements


def test_both_readings_name_the_same_authors(oracles: Path) -> None:
    """Of every published sample: to read on changes nothing."""
    samples = sorted((oracles / "cda-fr").glob("*.xml"))
    assert len(samples) == 70
    spent = 0.0
    for sample in samples:
        data = sample.read_bytes()
        brief = read(data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
        began = time.thread_time()
        header = whole(data)
        spent += time.thread_time() - began
        assert brief is not None and header is not None, sample.name
        assert (brief.persons, brief.structures, brief.unread) == (header.persons, header.structures, header.unread)
        assert not header.wrong and len(header.ids) == 1 and header.type_ids == [TYPE], sample.name
    assert spent / len(samples) < 0.05


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=40), st.booleans())
def test_where_it_is_cut_makes_no_difference(cuts: list[int], is_whole: bool) -> None:
    """Inside names, values and characters."""
    edges = [0, *sorted(cuts), len(SAMPLE)]
    pieces = [SAMPLE[a:b] for a, b in pairwise(edges)]
    assert read(pieces, is_whole=is_whole) == read([SAMPLE], is_whole=is_whole)


def test_byte_by_byte() -> None:
    """The smallest pieces there are."""
    assert whole(SAMPLE, 1) == whole(SAMPLE)


@pytest.mark.parametrize("before", ["", '<?xml version="1.0"?>', AROUND])
def test_a_part_of_it_is_never_whole(before: str) -> None:
    """Whatever byte is the last: no CDA yet, or a wrong one."""
    data = document(before=before, after="</x:stylesheet>" if before == AROUND else "").encode()
    assert (whole(data) or pytest.fail()).wrong == ""
    for end in range(len(data)):
        header = whole(data[:end])
        assert header is None or header.wrong, end
        assert header is not None or end < len(before) + 60


@settings(max_examples=300)
@given(st.integers(0, len(SAMPLE)), st.integers(0, 40), st.binary(max_size=12), st.booleans())
def test_a_spoiled_document_raises_nothing(at: int, cut: int, put: bytes, is_whole: bool) -> None:
    """What is wrong is told, at most with line and column: no word of the document."""
    header = read([SAMPLE[:at] + put + SAMPLE[at + cut :]], is_whole=is_whole)
    if header is not None and header.wrong.startswith("XML that is not"):
        assert header.wrong.rstrip(")0123456789").endswith("column ")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings_are_read_as_they_say(encoding: str) -> None:
    """With a byte-order mark, or by the declaration."""
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    data = document(before=f'<?xml version="1.0" encoding="{declared}"?>').encode(encoding)
    assert whole(data) == whole(document().encode()) == whole(data, 3)


def test_an_encoding_that_is_not_read_hides_nothing() -> None:
    """Who knows it finds a CDA behind it, perhaps."""
    data = document(before='<?xml version="1.0" encoding="x-essai"?>').encode()
    assert wrong([data]) == "XML in an encoding that is not read"
    assert read([data]) is None


@pytest.mark.parametrize("after", ["x", "<a/>", "<ClinicalDocument/>", "</a>", "\0", "<!--"])
def test_nothing_comes_behind_it(after: str) -> None:
    """But white space and comments."""
    assert wrong([document(after=after).encode()]).startswith("XML that is not well-formed (line ")
    assert wrong([document(after="\n <!-- - -->\n").encode()]) == ""


@pytest.mark.parametrize("inner", ["<y:a/>", '<a b="1" b="2"/>', "&nbsp;", "<a></b>", "<a b=1/>", "\x01", "<?xml ?>"])
def test_what_is_not_well_formed_is_told(inner: str) -> None:
    """An unbound prefix, an entity nobody has declared, characters XML has not."""
    assert wrong([document(inner).encode()]).startswith("XML that is not well-formed (line ")


BOMB = "".join(f'<!ENTITY {b} "{f"&{a};" * 20}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("doctype", [
    "<!DOCTYPE ClinicalDocument>", "<!DOCTYPE a>", '<!DOCTYPE a SYSTEM "file:///dev/zero">', "<!DOCTYPE a [<!-- -->]>",
    f'<!DOCTYPE a [<!ENTITY a "{"x" * 100}">{BOMB}]>', '<!DOCTYPE a [<!ENTITY % b SYSTEM "http://[::1]:1/"> %b;]>',
    '<!DOCTYPE a [<!ATTLIST ClinicalDocument c CDATA "d">]>', '<!DOCTYPE a PUBLIC "b" "c" [<!ENTITY d SYSTEM "e">]>',
    "<!DOCTYPE a [", f"<!DOCTYPE a [<!--{'x' * 3 * LONGEST}-->]>",
])
def test_a_document_type_is_refused_and_nothing_of_it_done(doctype: str) -> None:
    """Also where it hides what follows."""
    began = time.thread_time()
    for before in (doctype, '<?xml version="1.0"?>\n' + doctype):
        assert wrong([document("<a>&i;&d;</a>", before=before).encode()]) == "a document type declaration"
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize("data", [
    b"", b" ", b"\0\0", b"%PDF-1.4", b"PK\3\4", b"<", b"<a>", b"<essai/>", b"<ClinicalDocument/>",
    b"<!DOCTYPE html><html>", b'<a><ClinicalDocument xmlns="urn:hl7-org:v3"/></a>', b"\xff\xfe<",
    AROUND.encode() + b"</x:stylesheet>",
])
def test_what_begins_no_cda(data: bytes) -> None:
    """Of another name or namespace, around one, or no XML."""
    assert whole(data) is None and read([data]) is None


@pytest.mark.parametrize("data", [
    AROUND + document() + document() + "</x:stylesheet>", document(document()), document(f"<a>{document()}</a>"),
])
def test_one_file_is_one_document(data: str) -> None:
    """A second one, of another patient perhaps, would be read by nobody here."""
    assert wrong([data.encode()]) == "a second ClinicalDocument"


def test_around_it_nothing_counts() -> None:
    """Before and behind the ClinicalDocument of a self-presentable file."""
    number = '<id root="1.2.250.1.71.4.2.1" extension="1"/>'
    author = f'<author xmlns="{HL7}"><assignedAuthor>{number}</assignedAuthor></author>'
    data = f"{AROUND}{author}<x:a>{document()}</x:a>{author}<x:b/></x:stylesheet>".encode()
    assert whole(data) == whole(document().encode())


def numbered(pattern: str, count: int, start: bytes = HEAD) -> Iterator[bytes]:
    """A document that never ends, in pieces of a thousand."""
    yield start
    for n in range(count // 1000):
        yield "".join(pattern.format(n * 1000 + m) for m in range(1000)).encode()


NAMES = f"names and identifiers of more than {ROOM} characters"
SILENT = f"a tag, comment, instruction or CDATA section of more than {SILENCE} bytes"
DEEP = f"more than {DEPTH} elements inside one another"


@pytest.mark.parametrize(("chunks", "why"), [
    (lambda: numbered("<a>", 10**6), DEEP),
    (lambda: numbered("<x:a>", 10**6, AROUND.encode()), DEEP),
    (lambda: numbered("<a{}/>", 10**6), NAMES),
    (lambda: numbered("<a b{}=''/>", 10**6), NAMES),
    (lambda: numbered("<a xmlns:b='urn:{}'/>", 10**6), NAMES),
    (lambda: numbered("<a xmlns:b{}='urn:c'/>", 10**6), NAMES),
    (lambda: numbered("<?b{} ?>", 10**6), NAMES),
    (lambda: numbered("<id root='{}'/>", 10**6), NAMES),
    (lambda: numbered("<recordTarget><patientRole><id root='{}'/></patientRole></recordTarget>", 10**6), NAMES),
    (lambda: numbered("<b:a/>", 10**6), "XML that is not well-formed (line 1, column "),
    (lambda: chain([HEAD, b"<!--"], repeat(b"x" * CHUNK, 5000)), SILENT),
    (lambda: chain([b"<!--"], repeat(b"x" * CHUNK, 5000), [b"-->", HEAD]), SILENT),
    (lambda: chain([HEAD, b"<a b='"], repeat(b"x" * CHUNK, 5000)), SILENT),
    (lambda: chain([HEAD, b"<?a "], repeat(b"x" * CHUNK, 5000)), SILENT),
    (lambda: chain([HEAD, b"<", b"a" * 10**5]), "XML that is not well-formed (line 1, column "),
])
def test_a_flood_ends_early(chunks: Callable[[], Iterator[bytes]], why: str) -> None:
    """Of depth, names, identifiers, or of one thing without end."""
    began = time.thread_time()
    given_out = 0

    def counted() -> Iterator[bytes]:
        nonlocal given_out
        for chunk in chunks():
            given_out += len(chunk)
            yield chunk

    assert wrong(counted()).startswith(why)
    assert given_out < 24 * LONGEST and time.thread_time() - began < 5


@pytest.mark.parametrize("piece", [
    b"<!-- x -->", b"<?a b?>", b"\n", b"text", b"<a b='c'/>", b"<![CDATA[<]]>", b"&amp;",
])
def test_what_is_long_and_harmless_is_read(piece: bytes) -> None:
    """Scans of many megabytes, in any form; nothing of them is held."""
    flood = repeat(piece * (CHUNK // len(piece)), 300)
    assert wrong(chain([HEAD], flood, [b"</ClinicalDocument>"])) == ""


def test_warnings_hide_no_error() -> None:
    """However many there are before it: instructions whose name is reserved."""
    flood = [HEAD, *repeat(b"<?xmla ?>" * (CHUNK // 9), 50)]
    assert wrong([*flood, b"</ClinicalDocument>"]) == ""
    assert wrong([*flood, b"<y:a/></ClinicalDocument>"]).startswith("XML that is not well-formed")


def test_authors_behind_the_bound_count_for_nobody() -> None:
    """Reading on finds the patient there, and no author that a brief reading would not have found."""
    late = [AROUND.encode(), *repeat(b"<!-- x -->" * (CHUNK // 10), LONGEST // CHUNK + 1), document().encode()]
    header, brief = read([*late, b"</x:stylesheet>"], is_whole=True), read(late)
    assert header is not None and brief is not None and not header.wrong
    assert header.unread == brief.unread == f"no end of its header in {LONGEST} bytes"
    assert not header.persons and not brief.persons and Identifier("1.4", "12") in header.patients
