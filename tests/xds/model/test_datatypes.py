"""HL7 types, times and identifiers inside metadata values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.model import datatypes as dt
from xds.model import hl7

INS = "999000000000012^^^&1.2.250.1.213.1.4.10&ISO"
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(
    lambda d: f"{d.year:04d}{d:%m%d%H%M%S}"
)


@pytest.mark.parametrize(("text", "start", "end"), [
    ("2024", "20240101000000", "20241231235959"),
    ("202402", "20240201000000", "20240229235959"),
    ("202302", "20230201000000", "20230228235959"),
    ("20240312", "20240312000000", "20240312235959"),
    ("2024031208", "20240312080000", "20240312085959"),
    ("202403120845", "20240312084500", "20240312084559"),
    ("20240312084530", "20240312084530", "20240312084530"),
])
def test_a_short_time_names_a_period(text: str, start: str, end: str) -> None:
    """First and last second of each precision."""
    assert (dt.dtm_start(text), dt.dtm_end(text)) == (start, end)


@pytest.mark.parametrize("text", [
    "", "24", "202", "20243", "2024031", "202413", "20240230", "2024031224", "202403120860", "20240312084560",
    "20240312084530.1", "20240312084530Z", "20240312+0100", " 2024", "00000101", "٢٠٢٤", "2024031208453099",
])
def test_what_is_no_time_is_refused(text: str) -> None:
    """No zone, no fraction, no odd length, no impossible date."""
    assert not dt.is_dtm(text)
    with pytest.raises(ValueError, match="UTC time"):
        dt.dtm_start(text)


@given(TIMES, st.sampled_from([4, 6, 8, 10, 12, 14]))
def test_a_cut_time_contains_the_full_one(full: str, length: int) -> None:
    """Start and end of any shortened time enclose it."""
    assert dt.dtm_start(full[:length]) <= full <= dt.dtm_end(full[:length])


def test_a_moment_is_written_in_utc() -> None:
    """A time of another zone becomes UTC, 14 digits."""
    paris = timezone(timedelta(hours=1))
    assert dt.dtm_text(datetime(2024, 3, 12, 0, 30, 5, tzinfo=paris)) == "20240311233005"


@given(st.text())
def test_escapes_come_back(text: str) -> None:
    """escape, then unescape, is the text again, and leaves no separator bare."""
    assert hl7.unescape(hl7.escape(text)) == text
    assert not set("|^&~") & set(hl7.escape(text))


@pytest.mark.parametrize(("text", "normal"), [
    (INS, INS), (INS + "^NH", INS + "^NH"), (f" {INS}^^^ ", INS), (INS + "&^", INS),
    (INS + "^NH^^20100907", INS + "^NH^^20100907"), (INS + "^INS-C", INS + "^INS-C"),
    (r"A\S\B^^^&1.2.3&ISO", r"A\S\B^^^&1.2.3&ISO"),
])
def test_a_patient_identifier_has_one_spelling(text: str, normal: str) -> None:
    """Trailing empty components say nothing; the French component 5 stays."""
    assert dt.normalise_cx(text) == normal


def test_parts_of_a_patient_identifier() -> None:
    """Identifier unescaped, authority, type code."""
    cx = dt.Cx.parse(r"A\T\B^^^&1.2.250.1.213.1.4.10&ISO^NH^^20100907")
    assert (cx.id, cx.authority, cx.type_code, cx.extra) == (
        "A&B", "1.2.250.1.213.1.4.10", "NH", ("NH", "", "20100907")
    )


REFUSED: list[tuple[Callable[[str], object], str, str]] = [
    (dt.Cx.parse, "", "CX.1"), (dt.Cx.parse, "^^^&1.2&ISO", "CX.1"), (dt.Cx.parse, "1^2^^&1.2&ISO", "CX.2"),
    (dt.Cx.parse, "1", "CX.4"), (dt.Cx.parse, "1^^^NS&1.2&ISO", "CX.4.1"), (dt.Cx.parse, "1^^^&1.x&ISO", "CX.4.2"),
    (dt.Cx.parse, "1^^^&1.2", "CX.4.3"), (dt.Cx.parse, "1^^^&1.2&ISO&x", "three parts"),
    (dt.Cx.parse, "1~2^^^&1.2&ISO", "repetition"),
    (dt.Cxi.parse, "^^^^urn:x", "CXi.1"), (dt.Cxi.parse, "1^^^&1.2&ISO", "CXi.5"),
    (dt.Cxi.parse, "1^2^^^t", "CXi.2"), (dt.Cxi.parse, "1^^^&x&ISO^t", "CXi.4"),
    (dt.Cxi.parse, "1^^^^t^h^x", "six"),
    (dt.Xcn.parse, "", "XCN.1"), (dt.Xcn.parse, "1^A^B^^^^^^1.2", "XCN.9"),
    (dt.Xon.parse, "^^^^^&1.2&ISO", "XON.1"), (dt.Xon.parse, "H^^^^^^^^^123", "XON.6"),
    (dt.Xon.parse, "H^x", "components"),
    (dt.Xtn.parse, "0102030405", "XTN.3"), (dt.Xtn.parse, "^NET^Internet", "XTN.4"), (dt.Xtn.parse, "^^PH", "XTN.7"),
    (dt.Recipient.parse, "||", "names"), (dt.Recipient.parse, "H|1^A||x", "three"),
    (dt.PidValue.parse, "PID-05|x", "PID-"), (dt.PidValue.parse, "PID-5", "PID-"),
]


@pytest.mark.parametrize(("parse", "text", "reason"), REFUSED, ids=[f"{p.__qualname__}-{t}" for p, t, _ in REFUSED])
def test_malformed_values_are_refused_with_a_reason(parse: Callable[[str], object], text: str, reason: str) -> None:
    """The reason names the component.

    Rule: R-026
    """
    with pytest.raises(ValueError, match=reason.replace(".", r"\.")):
        parse(text)


def test_french_actors_are_read() -> None:
    """Identifier types and name types of the national framework are kept.

    Rule: R-026
    """
    person = dt.Xcn.parse("899700000001^DOCTEUR-TEST^Camille^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS")
    assert (person.id, person.family, person.name_type, person.id_type) == (
        "899700000001", "DOCTEUR-TEST", "D", "IDNPS"
    )
    place = dt.Xon.parse("Cabinet fictif^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^499999999999999")
    assert (place.name, place.id_type, place.id) == ("Cabinet fictif", "IDNST", "499999999999999")
    assert place.authority.universal_id == "1.2.250.1.71.4.2.2"


def test_other_values_are_read() -> None:
    """One valid example of each remaining type.

    Rule: E-23
    """
    assert dt.Xtn.parse("^^Internet^essai@example.org").address == "essai@example.org"
    assert dt.Xtn.parse("^PRN^PH^^33^1^02030405").local == "02030405"
    assert dt.Xon.parse("H^^^^^^^^^1.2.250.1").id == "1.2.250.1"
    assert dt.Cxi.parse("1^^^NS&1.2&ISO^urn:ihe:iti:xds:2013:order^urn:oid:1.9").home_community_id == "urn:oid:1.9"
    recipient = dt.Recipient.parse("H|1^A^B|^^Internet^a@b")
    assert recipient.organization is not None and recipient.organization.name == "H"
    assert recipient.person is not None and recipient.person.family == "A"
    assert dt.PidValue.parse("PID-5|FICTIF^Anne") == dt.PidValue(5, "FICTIF^Anne")


@pytest.mark.parametrize(("values", "uri"), [
    (["a.xml"], "a.xml"), (["1|a.xml"], "a.xml"), (["2|b", "1|a"], "ab"), (["a|b"], "a|b"),
])
def test_a_uri_is_joined(values: list[str], uri: str) -> None:
    """One value, or numbered parts in any order. Clause: ITI TF-3 4.2.3.2.27

    Rule: E-05
    """
    assert dt.join_uri(values) == uri


@pytest.mark.parametrize("values", [["1|a", "3|b"], ["1|a", "1|b"], ["a", "b"], ["2|a"], []])
def test_a_uri_with_gaps_is_refused(values: list[str]) -> None:
    """Parts are numbered from 1 without a gap."""
    with pytest.raises(ValueError, match="numbered"):
        dt.join_uri(values)


@pytest.mark.parametrize(("accepts", "good", "bad"), [
    (dt.is_oid, ["1.2.250", "0.1", "2.999." + "1" * 50], ["1", "1.", ".1", "1.02", "3.1", "1." + "2" * 64, "1.2\n"]),
    (dt.is_uuid_urn, ["urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f"], [
        "urn:uuid:0A0B0C0D-54a3-4c0e-9a37-0f6b1c2d3e4f", "0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f", "urn:uuid:x"]),
    (dt.is_oid_urn, ["urn:oid:1.2"], ["1.2", "urn:oid:x", "urn:oid:1." + "2" * 60]),
    (dt.is_language_tag, ["fr", "fr-FR", "art", "zh-Hant-TW", "x-essai", "i-klingon"], ["", "f", "fr_FR", "fr-", "x"]),
    (dt.is_sha1, ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"], ["da39"]),
    (dt.is_mime_type, ["text/xml", "application/vnd.oasis.x+xml", "x/x-hl7"], ["text", "text/", "a/b;c=d", "a/b c"]),
    (dt.is_identifier, ["1.2^3", "urn:uuid:x", "x" * 256], ["", "1 2", "é", "x" * 257]),
], ids=["oid", "uuid", "oid-urn", "language", "sha1", "mime", "identifier"])
def test_identifiers(accepts: Callable[[str], bool], good: list[str], bad: list[str]) -> None:
    """Accepted and refused spellings.

    Rule: R-030, R-031, R-032, I-17, I-18
    """
    assert [t for t in good if not accepts(t)] == []
    assert [t for t in bad if accepts(t)] == []


@given(st.sampled_from([dt.Cx, dt.Cxi, dt.Xcn, dt.Xon, dt.Xtn, dt.Hd, dt.Recipient, dt.PidValue]),
       st.text(st.sampled_from("^&~|\\1.2aISO-PID "), max_size=30) | st.text())
def test_no_text_makes_a_parser_raise_otherwise(kind: type, text: str) -> None:
    """A value, or ValueError with a reason."""
    try:
        kind.parse(text)  # type: ignore[attr-defined]
    except ValueError as error:
        assert str(error)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    """normalise_cx is idempotent on what it accepts."""
    once = dt.normalise_cx(f"{hl7.escape(text.strip()) or 'x'}^^^&1.2&ISO^NH")
    assert dt.normalise_cx(once) == once
