"""The chain of the access log on every engine: it holds under concurrent writers, and shows what was done to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from guard.audit import chain
from guard.audit.chain import Anchor, Flaw
from guard.audit.store import KEPT
from storage import SqlRegistryDatabase, SqlRepositoryDatabase
from storage.audit_chain import StoredCheckpoint
from tests.contract import store_objects as make

PATIENT = 16
"""In the first lane, whatever the number of lanes."""


def write(database: SqlRegistryDatabase, count: int, **changes: Any) -> None:
    for n in range(count):
        with database.write() as unit:
            unit.audit.append(make.line(**{"patient_key": PATIENT, "detail": str(n)} | changes))


def flaws(database: SqlRegistryDatabase, anchors: list[Anchor] | None = None) -> list[Flaw]:
    with database.read() as unit:
        return list(chain.flaws(unit.chain.links(), unit.chain.heads(), anchors or []))


def sql(database: SqlRegistryDatabase, statement: str, **values: Any) -> None:
    """What somebody with the password of the database may do."""
    with database.engine.sqlalchemy.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql("PRAGMA query_only=OFF")
        connection.execute(text(statement), values)
        connection.commit()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("COMMIT")


def test_lines_of_every_unit_hang_together(registry: SqlRegistryDatabase, repository: SqlRepositoryDatabase) -> None:
    """Several lines a unit, several patients, both databases: no flaw, and nothing outside of the chain.

    Rule: J-01
    """
    for database in (registry, repository):
        for n in range(5):
            with database.write() as unit:
                for key in (None, 1, 2, PATIENT):
                    unit.audit.append(make.line(patient_key=key, detail=str(n), documents=("1.2", "é")))
        with database.read() as unit:
            assert list(chain.flaws(unit.chain.links(), unit.chain.heads())) == []
            assert sum(head.sequence for head in unit.chain.heads()) == 20
            assert unit.chain.unchained() == (0, 0)


def test_a_unit_that_fails_leaves_no_gap(registry: SqlRegistryDatabase) -> None:
    """Its lines are not there, and the chain goes on from the line before. Rule: J-01"""
    write(registry, 2)
    with pytest.raises(RuntimeError), registry.write() as unit:
        unit.audit.append(make.line(patient_key=PATIENT))
        assert len(list(unit.audit.read_for_patient(PATIENT))) == 3  # written for the reader of the same unit
        raise RuntimeError
    write(registry, 1)
    assert flaws(registry) == []
    with registry.read() as unit:
        assert [head.sequence for head in unit.chain.heads() if head.sequence] == [3]


def test_a_line_needs_a_unit_that_writes(registry: SqlRegistryDatabase) -> None:
    """A line that would never be written is refused at once. Rule: J-05"""
    with registry.read() as unit, pytest.raises(RuntimeError):
        unit.audit.append(make.line())


def test_the_chain_holds_under_concurrent_writers(registry: SqlRegistryDatabase) -> None:
    """Eight writers, some of them of several lanes at once and in different orders. Rule: J-01"""
    failed: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for n in range(25):
                with registry.write() as unit:
                    for key in ((start, start + 1, 3) if n % 2 else (3, start + 1)):
                        unit.audit.append(make.line(patient_key=key))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert flaws(registry) == []
    with registry.read() as unit:
        assert sum(head.sequence for head in unit.chain.heads()) == 8 * (12 * 3 + 13 * 2)


def place(n: int) -> str:
    return f"patient_key = {PATIENT} AND sequence = {n}"


SPOILS: dict[str, tuple[str, Callable[[list[Flaw]], bool]]] = {
    "a changed line": (
        f"UPDATE access_log SET caller_name = 'nobody' WHERE {place(3)}",
        lambda found: [(f.kind, f.first, f.last) for f in found] == [(chain.CHANGED, 3, 3)],
    ),
    "a line that is secret no more": (
        f"UPDATE access_log SET is_secret = 1 WHERE {place(3)}",
        lambda found: [(f.kind, f.first) for f in found] == [(chain.CHANGED, 3)],
    ),
    "a line that cannot be read": (
        f"UPDATE access_log SET documents = '[' WHERE {place(3)}",
        lambda found: [(f.kind, f.first) for f in found] == [(chain.CHANGED, 3)],
    ),
    "two removed lines": (
        f"DELETE FROM access_log WHERE patient_key = {PATIENT} AND sequence IN (2, 3)",
        lambda found: [(f.kind, f.first, f.last) for f in found] == [(chain.REMOVED, 2, 3)],
    ),
    "an inserted line": (
        "INSERT INTO access_log SELECT patient_key, number + 1, at, 'forged', event, action, outcome, patient_id, "
        "caller_id, caller_name, role, structure_id, structure_name, mode, purpose, purpose_reason, documents, detail, "
        "reason, clause, peer, assertion_id, is_secret, lane, sequence, hash, assertion_sha256 "
        f"FROM access_log WHERE {place(3)}",
        lambda found: [(f.kind, f.first, f.trace_id) for f in found] == [(chain.INSERTED, 3, "forged")],
    ),
    "a truncated end": (
        f"DELETE FROM access_log WHERE patient_key = {PATIENT} AND sequence > 3",
        lambda found: [(f.kind, f.first, f.last) for f in found] == [(chain.TRUNCATED, 4, 5)],
    ),
    "two lines that changed places": (
        f"UPDATE access_log SET sequence = 5 - sequence WHERE patient_key = {PATIENT} AND sequence IN (2, 3)",
        lambda found: {f.first for f in found} == {2, 3, 4},
    ),
    "a removed end of the chain": (
        "DELETE FROM access_log_head",
        lambda found: [f.kind for f in found] == [chain.CHANGED],
    ),
}


@pytest.mark.parametrize("what", SPOILS)
def test_what_was_done_to_the_log_is_found(registry: SqlRegistryDatabase, what: str) -> None:
    """The flaw names the line, and no other line is accused. Rule: J-02"""
    statement, expected = SPOILS[what]
    write(registry, 5)
    assert flaws(registry) == []
    sql(registry, statement)
    found = flaws(registry)
    assert expected(found), found


def test_a_truncation_that_moves_the_end_is_found_by_a_checkpoint(registry: SqlRegistryDatabase) -> None:
    """So is a chain that was computed anew. Rule: J-03"""
    write(registry, 5)
    with registry.read() as unit:
        anchors = [Anchor(head, "then") for head in unit.chain.heads()]
    assert flaws(registry, anchors) == []
    sql(registry, f"DELETE FROM access_log WHERE {place(5)}")
    with registry.read() as unit:
        last = [link for link in unit.chain.links() if link.lane == 0][-1]
    sql(registry, "UPDATE access_log_head SET sequence = 4, hash = :hash WHERE lane = 0", hash=last.hash)
    assert flaws(registry) == []
    assert [(f.kind, f.first, f.last) for f in flaws(registry, anchors)] == [(chain.TRUNCATED, 5, 5)]
    write(registry, 1, detail="in its place")
    assert flaws(registry) == []
    assert [(f.kind, f.first) for f in flaws(registry, anchors)] == [(chain.REWRITTEN, 5)]
    with registry.read() as unit:
        again = [Anchor(head, "now") for head in unit.chain.heads()]
    assert [(f.kind, f.first) for f in flaws(registry, [*anchors, *again])] == [(chain.REWRITTEN, 5)]


def test_lines_older_than_the_chain_are_counted(registry: SqlRegistryDatabase) -> None:
    """A line that pretends to be old is found by their number. Rule: J-02"""
    write(registry, 2)
    sql(registry, f"UPDATE access_log SET sequence = 0, hash = '' WHERE {place(2)}")
    with registry.read() as unit:
        assert unit.chain.unchained() == (0, 1)
    assert [(f.kind, f.first) for f in flaws(registry)] == [(chain.TRUNCATED, 2)]


def test_a_destroyed_trace_leaves_its_hash(registry: SqlRegistryDatabase, repository: SqlRepositoryDatabase) -> None:
    """Lines, messages and rows beside them go; the chain holds; nothing of their content stays. Rule: J-04"""
    for database in (registry, repository):
        write(database, 3, purpose="bris_de_glace", caller_name="SECRET-NAME")
        write(database, 2, patient_key=PATIENT * 2)
        with database.write() as unit:
            unit.audit.append(make.line(patient_key=None, patient_id=make.PATIENT, caller_name="SECRET-NAME"))
            unit.audit.append(make.line(patient_key=None, patient_id="other"))
        with database.write() as unit:
            assert unit.chain.destroy([PATIENT, 0], [make.PATIENT, ""], "act") == 4
        write(database, 1)
        with database.read() as unit:
            assert list(chain.flaws(unit.chain.links(), unit.chain.heads())) == []
            assert unit.chain.destroyed_by() == {"act": 4}
            assert len(list(unit.audit.read_for_patient(PATIENT))) == 1
            assert len(list(unit.audit.read_for_patient(PATIENT * 2))) == 2
            assert "SECRET-NAME" not in str([unit.outbox.latest(99), list(unit.audit.read_latest(99))])
            assert unit.outbox.depth()[0] == 4
        with database.read() as unit:
            gone = [link for link in unit.chain.links() if link.is_destroyed]
            assert [link.trace_id for link in gone] == ["act"] * 4


def test_an_old_line_can_be_destroyed_too(registry: SqlRegistryDatabase) -> None:
    """The number of lines older than the chain follows. Rule: J-04"""
    write(registry, 1)
    sql(registry, f"UPDATE access_log SET sequence = 0, hash = '' WHERE {place(1)}")
    sql(registry, "UPDATE access_log_head SET sequence = 0, unchained = 1, hash = :g", g=chain.GENESIS)
    with registry.write() as unit:
        assert unit.chain.unchained() == (1, 1)
        assert unit.chain.destroy([PATIENT], [], "act") == 1
    with registry.read() as unit:
        assert unit.chain.unchained() == (0, 0)
    assert flaws(registry) == []


def test_checkpoints_come_back(registry: SqlRegistryDatabase) -> None:
    """Oldest first, byte for byte."""
    given = [StoredCheckpoint(n, '{"at": "é"}', "c2ln", "Y2VydA==") for n in (2, 1)]
    with registry.write() as unit:
        for one in given:
            unit.chain.add_checkpoint(one)
    with registry.read() as unit:
        assert unit.chain.checkpoints() == given[::-1]


def test_a_line_differs_by_every_field() -> None:
    """Every field of a line is under its digest; what is empty adds nothing."""
    plain = make.line(patient_key=1)
    seen = {chain.digest(plain, 1), chain.digest(plain, 2)}
    for name in KEPT:
        value: Any = {"documents": ("x",), "is_secret": True, "patient_key": 2}.get(name, "changed")
        seen.add(chain.digest(replace(plain, **{name: value}), 1))
    assert len(seen) == len(KEPT) + 2


def test_accesses_by_emergency_are_noted(registry: SqlRegistryDatabase) -> None:
    """In the transaction of their line, and of nothing else. Rule: U-03"""
    urgent = make.line(patient_key=1, purpose="bris_de_glace", caller_id="A", structure_id="S")
    with pytest.raises(RuntimeError), registry.write() as unit:
        unit.audit.append(urgent)
        raise RuntimeError
    with registry.write() as unit:
        unit.audit.append(urgent)
        unit.audit.append(make.line(patient_key=1, purpose="normal"))
        unit.audit.append(make.line(purpose="bris_de_glace"))
        unit.audit.append(replace(urgent, patient_key=2, trace_id="2", purpose="centre_15", outcome="refused"))
        unit.audit.append(replace(urgent, trace_id="3"))
    with registry.write() as unit:
        waiting = unit.emergencies.to_notify(9)
        assert [line.trace_id for _, line in waiting] == [urgent.trace_id, "2", "3"]
        assert unit.emergencies.to_watch(9) == waiting and unit.emergencies.waiting() == 3
        window = 60 * 10**9
        assert [unit.emergencies.records_opened(*one, window) for one in waiting] == [(1, True), (2, True), (2, False)]
        assert [unit.emergencies.records_opened(*one, 1)[0] for one in waiting] == [1, 1, 1]
        assert [unit.emergencies.structures_before(*one) for one in waiting] == [[], ["S"], ["S"]]
        unit.emergencies.notified([waiting[0][0]], 5)
        unit.emergencies.watched([waiting[1][0]])
    with registry.read() as unit:
        assert [line.trace_id for _, line in unit.emergencies.to_notify(9)] == ["2", "3"]
        assert [line.trace_id for _, line in unit.emergencies.to_watch(9)] == [urgent.trace_id, "3"]
        assert [told for _, _, told in unit.emergencies.since(0)] == [5, 0, 0]
        assert unit.emergencies.since(waiting[2][0].number + 1) == []
