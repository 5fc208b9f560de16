"""Who reads how much of a log, and what is unusual about an access by emergency."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.audit import access_log, emergencies
from guard.audit.emergencies import Pattern, Thresholds
from guard.audit.readers import DEPTH_LINES, WITHHELD, Reader, ReaderKind, visible
from guard.audit.store import AccessLine
from guard.audit.words import CATALOGUES

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LINE = AccessLine(
    at=access_log.stamp(NOW - timedelta(days=1)), trace_id="t", event="ITI-43", action="read", outcome="success",
    patient_key=1, caller_id="A", documents=("1.2",),
)
PATIENT, REPRESENTATIVE = Reader(ReaderKind.PATIENT), Reader(ReaderKind.REPRESENTATIVE)
A, ATTENDING = Reader(ReaderKind.PROFESSIONAL, "A"), Reader(ReaderKind.ATTENDING, "A")


def test_the_patient_sees_every_line_and_representatives_no_secret_one() -> None:
    """Nor a document that was deposited in secret, in anybody's line. Rule: J-07"""
    secret = replace(LINE, is_secret=True, action="deposit", documents=("9.9",))
    looked = replace(LINE, is_secret=True, documents=("1.2",))
    both = replace(LINE, caller_id="B", documents=("9.9", "1.2"))
    only = replace(LINE, caller_id="B", documents=("9.9",))
    search = replace(LINE, action="search", documents=())
    lines = [LINE, secret, looked, both, only, search]
    assert visible(lines, PATIENT, NOW) == lines == visible(lines, Reader(ReaderKind.OPERATOR), NOW)
    assert visible(lines, REPRESENTATIVE, NOW) == [LINE, replace(both, documents=("1.2",)), search]


def test_a_professional_sees_his_own_lines_and_the_attending_physician_all() -> None:
    """One year deep, a hundred lines at most, the newest. Rule: J-08"""
    old = replace(LINE, at=access_log.stamp(NOW - timedelta(days=366)))
    others = replace(LINE, caller_id="B")
    assert visible([old, LINE, others], A, NOW) == [LINE]
    assert visible([old, LINE, others], ATTENDING, NOW) == [LINE, others]
    assert visible([LINE, replace(LINE, caller_id="")], Reader(ReaderKind.PROFESSIONAL), NOW) == []
    many = [replace(LINE, trace_id=str(n)) for n in range(250)]
    assert visible(many, A, NOW) == many[-DEPTH_LINES:]


def test_what_may_not_be_known_is_not_named() -> None:
    """The patient sees that somebody read, not which document before its announcement; a representative not even
    that."""
    both, only = replace(LINE, documents=("9.9", "1.2")), replace(LINE, documents=("9.9",))
    hidden = frozenset({"9.9"})
    seen = visible([LINE, both, only], replace(PATIENT, hidden=hidden), NOW)
    assert [line.documents for line in seen] == [("1.2",), (WITHHELD, "1.2"), (WITHHELD,)]
    seen = visible([LINE, both, only], replace(REPRESENTATIVE, hidden=hidden), NOW)
    assert [line.documents for line in seen] == [("1.2",), ("1.2",)]


def test_a_line_about_a_hidden_document_does_not_tell_that_it_is_there() -> None:
    """A refused read, an empty or refused search: a professional finds no line of it; patient and physician do."""
    search = replace(LINE, action="search", documents=())
    nothing = [
        replace(LINE, outcome="refused"), replace(search, detail="GetDocuments, 0 results"),
        replace(search, outcome="refused"),
    ]
    found = [replace(search, detail=f"{said} results") for said in (
        "GetDocuments, 10", "FindDocuments, 0", "GetAll, 0")]
    assert visible([*nothing, *found, LINE], A, NOW) == [*found, LINE]
    assert visible(nothing, ATTENDING, NOW) == nothing == visible(nothing, PATIENT, NOW)
    refused = replace(LINE, action="deposit", outcome="refused")
    assert visible([refused], A, NOW) == [refused]


@given(
    st.lists(st.builds(
        AccessLine, at=st.just(LINE.at), trace_id=st.just("t"), event=st.just("e"),
        action=st.sampled_from(["deposit", "read", "search"]), outcome=st.just("success"),
        caller_id=st.sampled_from(["A", "B", ""]), is_secret=st.booleans(),
        documents=st.lists(st.sampled_from(["1", "2", "3"]), max_size=3, unique=True).map(tuple),
    ), max_size=12)
)
def test_nobody_sees_more_than_the_patient(lines: list[AccessLine]) -> None:
    """And to representatives nothing tells of what was deposited in secret. Rule: J-07, J-08"""
    hidden = {name for line in lines if line.is_secret and line.action == "deposit" for name in line.documents}
    shown = visible(lines, REPRESENTATIVE, NOW)
    assert not any(line.is_secret or hidden & set(line.documents) for line in shown)
    assert all(line in lines and line.caller_id == "A" for line in visible(lines, A, NOW))
    assert len(shown) <= len(lines)


@pytest.mark.parametrize(
    ("structure", "place"),
    [("1750712184", "75"), ("12A0000123", "2A"), ("1971234567", "971"), ("339172288100052", ""), ("", ""),
     ("499900063480001", "")],
)
def test_a_finess_number_tells_its_department(structure: str, place: str) -> None:
    """Other identifiers do not."""
    assert emergencies.department(structure) == place


def unusual(line: AccessLine, *known: str, records: int = 1, first: bool = True, **rules: object) -> list[Pattern]:
    found = emergencies.patterns(
        line, Thresholds(**rules), records=records, structures=known, is_first=first,  # type: ignore[arg-type]
    )
    return [pattern for pattern, told in found if told]


def test_patterns_follow_their_thresholds() -> None:
    """Each can be set, and switched off. Rule: U-05"""
    paris, lyon, company = "1750712184", "1690000001", "339172288100052"
    line = replace(LINE, purpose="bris_de_glace", structure_id=paris)
    assert unusual(line, paris) == []
    assert unusual(line, paris, records=4) == []
    assert unusual(line, paris, records=5) == unusual(line, paris, records=9) == [Pattern.RATE]
    assert unusual(line, paris, records=5, first=False) == []
    assert emergencies.patterns(line, Thresholds(records=0), records=99, structures=[paris]) == []
    assert unusual(line) == [Pattern.NEW_STRUCTURE]
    assert unusual(line, company) == [Pattern.NEW_STRUCTURE]
    assert unusual(line, lyon) == [Pattern.NEW_STRUCTURE, Pattern.FAR]
    assert unusual(line, lyon, new_structure=False) == [Pattern.FAR]
    assert unusual(line, lyon, far=False) == [Pattern.NEW_STRUCTURE]
    assert unusual(replace(line, structure_id=company), paris) == [Pattern.NEW_STRUCTURE]


def test_an_alert_names_the_professional_and_no_patient() -> None:
    """The trace leads to the access. It is no access itself. Rule: U-05"""
    line = replace(LINE, purpose="bris_de_glace", patient_id="1^^^&2&ISO", peer="10.0.0.1")
    told = emergencies.alert(line, Pattern.RATE, "5 records", "2026-06-01T00:00:00.000Z")
    assert (told.caller_id, told.trace_id, told.event, told.detail) == ("A", "t", "rate", "5 records")
    assert (told.patient_key, told.patient_id, told.documents, told.peer) == (None, "", (), "")
    assert emergencies.is_emergency(line) and not emergencies.is_emergency(told)
    assert not emergencies.is_emergency(replace(line, patient_key=None))
    assert not emergencies.is_emergency(replace(line, purpose="normal"))


@pytest.mark.parametrize("language", CATALOGUES)
def test_every_new_act_has_its_sentence(language: str) -> None:
    """Both languages say the reason of either kind of emergency. Rule: J-09"""
    for action in (access_log.LOG_READ, access_log.TRACES_DESTROYED, emergencies.ALERT):
        assert action not in access_log.in_words(replace(LINE, action=action), language)
    for purpose in emergencies.PURPOSES:
        line = replace(LINE, purpose=purpose, purpose_reason="inconscient")
        assert "inconscient" in access_log.in_words(line, language)
