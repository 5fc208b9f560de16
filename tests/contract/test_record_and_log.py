"""The record store and the access log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guard.policy.facts import RecordStatus
from record.store import Record
from storage import SqlRegistryDatabase, SqlRepositoryDatabase
from tests.contract import store_objects as make

NEW = Record(
    patient_key=99, patient_id=make.PATIENT, status=RecordStatus.ACTIVE, opened_at="2024-01-01T00:00:00Z",
    opened_by="801234567897", consent="CONSENTEMENT_OUVERTURE_DMP", channel="professional",
    objected_purposes=frozenset({"bris_de_glace", "centre_15"}),
)


def test_a_record_comes_back_as_it_was_added(registry: SqlRegistryDatabase) -> None:
    """The store assigns the key; every other field is kept."""
    with registry.write() as unit:
        added = unit.record.add(NEW)
    with registry.read() as unit:
        assert unit.record.find(make.PATIENT) == unit.record.get(added.patient_key) == added
        assert replace(added, patient_key=99) == NEW
        assert unit.record.all() == [added]
        assert unit.record.get(added.patient_key + 1) is None
        assert unit.record.find("9^^^&1.2&ISO") is None


@pytest.mark.parametrize("written", [" {}\n", "{}^", "{}^^^", "{}^&"])
def test_a_record_is_found_however_its_identifier_ends(registry: SqlRegistryDatabase, written: str) -> None:
    """Blanks around the CX and empty components at its end do not count. Clause: ITI TF-3 4.2.3.2.16"""
    key = make.opened(registry)
    with registry.read() as unit:
        found = unit.record.find(written.format(make.PATIENT))
    assert found is not None
    assert found.patient_key == key


def test_an_identifier_is_taken_once(registry: SqlRegistryDatabase) -> None:
    """A second record under another spelling is refused, and the unit can go on."""
    key = make.opened(registry)
    with registry.write() as unit:
        with pytest.raises(KeyError):
            unit.record.add(replace(NEW, patient_id=f"{make.PATIENT}^^"))
        other = unit.record.add(replace(NEW, patient_id="2^^^&1.2&ISO"))
        unit.audit.append(make.line(patient_key=other.patient_key))
    with registry.read() as unit:
        assert [one.patient_key for one in unit.record.all()] == [key, other.patient_key]
        assert len(list(unit.audit.read_for_patient(other.patient_key))) == 1


def test_a_record_changes_its_state_but_not_its_identifier(registry: SqlRegistryDatabase) -> None:
    """Closing and objecting are kept; a record that does not exist is not made by the way."""
    key = make.opened(registry)
    closed = replace(NEW, patient_key=key, status=RecordStatus.CLOSED, closed_at="2024-02-01T00:00:00Z",
                     objected_purposes=frozenset())
    with registry.write() as unit:
        unit.record.update(replace(closed, patient_id="other"))
    with registry.read() as unit:
        assert unit.record.find(make.PATIENT) == closed
    with pytest.raises(KeyError), registry.write() as unit:
        unit.record.update(replace(closed, patient_key=key + 1))


FULL = make.line(
    patient_key=1, patient_id=make.PATIENT, caller_id="801234567897", caller_name="Dr Élise Dupont", role="10",
    structure_id="1750712184", structure_name="Hôpital", mode="DIRECTE", purpose="bris_de_glace",
    purpose_reason="urgence", documents=("1.2.3", "1.2.4"), detail="FindDocuments, 2 results", outcome="refused",
    reason="masked", clause="DMP EX", peer="10.0.0.1 CN=x", assertion_id="_1",
)


def test_a_line_comes_back_as_it_was_written(registry: SqlRegistryDatabase, repository: SqlRepositoryDatabase) -> None:
    """Every field, in the registry's log and in the repository's."""
    for database in (registry, repository):
        with database.write() as unit:
            unit.audit.append(FULL)
        with database.read() as unit:
            assert list(unit.audit.read_for_patient(1)) == [FULL]


def test_a_patient_sees_his_lines_in_order(registry: SqlRegistryDatabase) -> None:
    """Oldest first, and only his; a line without a patient belongs to nobody."""
    mine = [make.line(patient_key=1) for _ in range(600)]
    others = [make.line(patient_key=2), make.line(outcome="refused", action="refused login")]
    for line in (*mine[:300], *others, *mine[300:]):
        with registry.write() as unit:
            unit.audit.append(line)
    with registry.read() as unit:
        assert list(unit.audit.read_for_patient(1)) == mine
        assert list(unit.audit.read_for_patient(2)) == others[:1]
        assert list(unit.audit.read_latest(301)) == [others[1], *mine[300:]]
        assert list(unit.audit.read_latest(0)) == list(unit.audit.read_latest(-1)) == []
        assert len(list(unit.audit.read_latest(10_000))) == 602


def test_lines_of_one_unit_keep_their_order(registry: SqlRegistryDatabase) -> None:
    """Also when they carry the same time and trace."""
    lines = [make.line(patient_key=1, trace_id="t", detail=str(n)) for n in range(50)]
    with registry.write() as unit:
        for line in lines:
            unit.audit.append(line)
    with registry.read() as unit:
        assert list(unit.audit.read_for_patient(1)) == lines


def test_the_log_has_no_verb_to_change_it(registry: SqlRegistryDatabase) -> None:
    """Lines are appended and read. Rule: A-1"""
    with registry.read() as unit:
        verbs = {name for name in dir(unit.audit) if not name.startswith("_")}
    assert verbs == {"append", "read_for_patient", "read_latest", "read_of_caller"}
