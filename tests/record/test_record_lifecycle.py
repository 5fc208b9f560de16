"""Opening, closing, reopening: each with its consent or reason, its line in the log, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from guard.policy.facts import RecordStatus
from record.actor import Actor, RecordProblem, RecordRefused, as_actor
from record.lifecycle import (
    OPENING_CONSENT,
    REOPENING_CONSENT,
    checked_identifier,
    close_record,
    open_record,
    reopen_record,
)
from record.store import Record
from xds import domain

PATIENT = "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
AUTHORITIES = domain.load("dmp").assigning_authorities
DESK = Caller(identifier="310B0127189/desk", mode=Mode.NODE, name="ACCUEIL")
DAY = datetime(2026, 3, 12, 13, 3, tzinfo=UTC)


def desk(at: datetime = DAY, **context: str) -> Actor:
    """The desk, at that time."""
    return replace(as_actor(DESK), at=at, **context)


class Records:
    """The record store, in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, Record] = {}
        self.locked: list[int] = []
        self.taken_meanwhile = False

    def find(self, patient_id: str) -> Record | None:
        return next((r for r in self.rows.values() if r.patient_id == patient_id), None)

    def get(self, patient_key: int) -> Record | None:
        return self.rows.get(patient_key)

    def lock(self, patient_key: int) -> None:
        self.locked.append(patient_key)

    def add(self, record: Record) -> Record:
        if self.taken_meanwhile:
            raise KeyError(record.patient_id)
        stored = replace(record, patient_key=len(self.rows) + 1)
        self.rows[stored.patient_key] = stored
        return stored

    def update(self, record: Record) -> None:
        assert record.patient_key in self.locked
        self.rows[record.patient_key] = record

    def places_of(self, patient_key: int, person: str, structure: str) -> list[object]:
        return []

    def all(self) -> list[Record]:
        return list(self.rows.values())


class Log:
    """The audit store, in memory."""

    def __init__(self) -> None:
        self.lines: list[AccessLine] = []

    def append(self, line: AccessLine) -> None:
        self.lines.append(line)

    def read_for_patient(self, patient_key: int) -> list[AccessLine]:
        return [line for line in self.lines if line.patient_key == patient_key]

    def read_latest(self, limit: int) -> list[AccessLine]:
        return self.lines[-limit:]


class Unit:
    """One write unit over both."""

    def __init__(self) -> None:
        self.record = Records()
        self.audit = Log()


@pytest.fixture
def unit() -> Unit:
    return Unit()


@pytest.fixture
def opened(unit: Unit) -> Unit:
    """A unit in which the patient's record is open."""
    open_record(unit, PATIENT, by=desk(DAY), consent=OPENING_CONSENT, authorities=AUTHORITIES)
    return unit


def refused(problem: RecordProblem) -> object:
    """The exception carries this problem and says what to do next, and names no patient."""
    return pytest.raises(
        RecordRefused,
        check=lambda e: e.problem is problem and bool(e.what_next) and "279035121518989" not in str(e),
    )


def test_open_with_consent(unit: Unit) -> None:
    """The record is active, knows its consent, opener, channel and objections, and the log has one line."""
    record = open_record(
        unit, f" {PATIENT}", by=desk(trace_id="t", peer="10.0.0.1"), consent=OPENING_CONSENT, channel="desk",
        authorities=AUTHORITIES, objected_purposes=frozenset({"bris_de_glace"}),
    )
    assert record == Record(
        patient_key=1, patient_id=PATIENT, status=RecordStatus.ACTIVE, opened_at="2026-03-12T13:03:00.000Z",
        opened_by=DESK.identifier, consent=OPENING_CONSENT, channel="desk",
        objected_purposes=frozenset({"bris_de_glace"}),
    )
    assert unit.record.find(PATIENT) == record
    (line,) = unit.audit.lines
    assert (line.action, line.outcome, line.patient_key) == ("record opened", "success", 1)
    assert line.caller_id == DESK.identifier
    assert (line.at, line.trace_id, line.peer) == ("2026-03-12T13:03:00.000Z", "t", "10.0.0.1")
    assert OPENING_CONSENT in line.detail


@pytest.mark.parametrize("consent", ["", "   "])
def test_no_opening_and_no_reopening_without_consent(opened: Unit, consent: str) -> None:
    """Rule EX_1.1-1010, EX_1.2-1030: the consent box is mandatory."""
    with refused(RecordProblem.CONSENT_MISSING):
        open_record(opened, PATIENT, by=DESK, consent=consent)
    close_record(opened, PATIENT, by=DESK, reason="x")
    with refused(RecordProblem.CONSENT_MISSING):
        reopen_record(opened, PATIENT, by=DESK, consent=consent)


def test_open_twice(opened: Unit) -> None:
    """An open record is not opened again, also when another writer was faster."""
    with refused(RecordProblem.ALREADY_OPEN):
        open_record(opened, PATIENT, by=DESK, consent=OPENING_CONSENT)
    racing = Unit()
    racing.record.taken_meanwhile = True
    with refused(RecordProblem.ALREADY_OPEN):
        open_record(racing, PATIENT, by=DESK, consent=OPENING_CONSENT)
    assert len(opened.audit.lines) == 1 and racing.audit.lines == []


def test_unknown_channel(unit: Unit) -> None:
    """The channel of opening is one of four."""
    with refused(RecordProblem.UNKNOWN_CHANNEL):
        open_record(unit, PATIENT, by=DESK, consent=OPENING_CONSENT, channel="fax")


def test_close_keeps_everything_but_the_status(opened: Unit) -> None:
    """Closed, with the time, and the reason in the log; consent and opening stay."""
    record = close_record(opened, PATIENT, by=desk(DAY), reason=" FERMETURE_DEMANDE_PATIENT souhait ")
    before = replace(record, status=RecordStatus.ACTIVE, closed_at="")
    assert (record.status, record.closed_at) == (RecordStatus.CLOSED, "2026-03-12T13:03:00.000Z")
    assert before.consent == OPENING_CONSENT
    assert opened.record.get(record.patient_key) == record
    assert opened.audit.lines[-1].action == "record closed"
    assert opened.audit.lines[-1].detail == "FERMETURE_DEMANDE_PATIENT souhait"


def test_close_refusals(opened: Unit) -> None:
    """Without a reason, twice, or an unknown patient: refused and nothing written."""
    with refused(RecordProblem.REASON_MISSING):
        close_record(opened, PATIENT, by=DESK, reason=" ")
    with refused(RecordProblem.UNKNOWN):
        close_record(opened, PATIENT.replace("2790", "1790"), by=DESK, reason="x")
    close_record(opened, PATIENT, by=DESK, reason="x")
    with refused(RecordProblem.ALREADY_CLOSED):
        close_record(opened, PATIENT, by=DESK, reason="x")
    assert [line.action for line in opened.audit.lines] == ["record opened", "record closed"]


def test_closed_record_is_reopened_not_opened(opened: Unit) -> None:
    """Opening points to reopening; reopening takes a new consent and clears the closing date."""
    close_record(opened, PATIENT, by=desk(DAY), reason="x")
    with refused(RecordProblem.CLOSED):
        open_record(opened, PATIENT, by=DESK, consent=OPENING_CONSENT)
    record = reopen_record(opened, PATIENT, by=desk(DAY.replace(year=2030)), consent=REOPENING_CONSENT)
    assert (record.status, record.closed_at, record.consent) == (RecordStatus.ACTIVE, "", REOPENING_CONSENT)
    assert record.opened_at == "2026-03-12T13:03:00.000Z"
    assert opened.audit.lines[-1].action == "record reopened"
    with refused(RecordProblem.ALREADY_OPEN):
        reopen_record(opened, PATIENT, by=DESK, consent=REOPENING_CONSENT)
    with refused(RecordProblem.UNKNOWN):
        reopen_record(opened, "x", by=DESK, consent=REOPENING_CONSENT)


@pytest.mark.parametrize(
    ("closed", "asked", "problem"),
    [
        (datetime(2026, 3, 12, tzinfo=UTC), datetime(2036, 3, 11, 23, 59, tzinfo=UTC), None),
        (datetime(2026, 3, 12, tzinfo=UTC), datetime(2036, 3, 12, tzinfo=UTC), RecordProblem.RETENTION_ENDED),
        (datetime(2024, 2, 29, tzinfo=UTC), datetime(2034, 2, 28, 23, tzinfo=UTC), None),
        (datetime(2024, 2, 29, tzinfo=UTC), datetime(2034, 3, 1, tzinfo=UTC), RecordProblem.RETENTION_ENDED),
    ],
)
def test_reopening_within_ten_years(
    opened: Unit, closed: datetime, asked: datetime, problem: RecordProblem | None
) -> None:
    """A record closed ten years ago or more is not reopened; a leap day ends on 1 March."""
    close_record(opened, PATIENT, by=desk(closed), reason="x")
    if problem is None:
        assert reopen_record(opened, PATIENT, by=desk(asked), consent="c").status is RecordStatus.ACTIVE
        return
    with refused(problem):
        reopen_record(opened, PATIENT, by=desk(asked), consent="c")


def ins(number: str, oid: str) -> str:
    return f"{number}^^^&{oid}&ISO^NH"


@pytest.mark.parametrize(
    "patient_id",
    [
        PATIENT, ins("277076322082910", "1.2.250.1.213.1.4.8"), ins("279035121518989", "1.2.250.1.213.1.4.9"),
        ins("1800192123456" + "86", "1.2.250.1.213.1.4.11"), ins("2990" * 5 + "12", "1.2.250.1.213.1.4.2"),
        PATIENT + "^^20100907",
    ],
)  # fmt: skip
def test_valid_identifiers(patient_id: str) -> None:
    """NIR, NIA, test and demonstration numbers with their key, INS-C with 22 digits, an effective date."""
    assert checked_identifier(f"{patient_id} ", AUTHORITIES) == patient_id


@pytest.mark.parametrize(
    ("patient_id", "problem"),
    [
        (ins("279035121518988", "1.2.250.1.213.1.4.10"), RecordProblem.INVALID_IDENTIFIER),
        (ins("27903512151898", "1.2.250.1.213.1.4.8"), RecordProblem.INVALID_IDENTIFIER),
        (ins("279035121518989", "1.2.250.1.213.1.4.2"), RecordProblem.INVALID_IDENTIFIER),
        (ins("²" * 22, "1.2.250.1.213.1.4.2"), RecordProblem.INVALID_IDENTIFIER),
        (ins("", "1.2.250.1.213.1.4.8"), RecordProblem.INVALID_IDENTIFIER),
        ("279035121518989", RecordProblem.INVALID_IDENTIFIER),
        ("279035121518989^^^^NH", RecordProblem.INVALID_IDENTIFIER),
        (PATIENT[:-1] + "\x00", RecordProblem.INVALID_IDENTIFIER),
        (PATIENT + "^" * 300, RecordProblem.INVALID_IDENTIFIER),
        (ins("279035121518989", "1.2.3"), RecordProblem.FOREIGN_AUTHORITY),
    ],
)
def test_invalid_identifiers(unit: Unit, patient_id: str, problem: RecordProblem) -> None:
    """Wrong key, length, form or authority: no record is opened."""
    with refused(problem):
        open_record(unit, patient_id, by=DESK, consent=OPENING_CONSENT, authorities=AUTHORITIES)
    assert unit.record.rows == {} and unit.audit.lines == []


def test_corsican_departments() -> None:
    """2A counts as 19 and 2B as 18 in the key."""
    for number in ("275122A004123", "275122B004123"):
        digits = number.replace("2A", "19").replace("2B", "18")
        key = f"{97 - int(digits) % 97:02d}"
        assert checked_identifier(ins(number + key, "1.2.250.1.213.1.4.8"))


def test_domain_without_authorities_takes_any_identifier() -> None:
    """Plain IHE communities number their patients as they like."""
    assert checked_identifier("P-1^^^&1.2.3&ISO") == "P-1^^^&1.2.3&ISO"
