"""Notices of new documents, and the lines of one caller, in the stores of both engines.

Clause: DMP section 6 (R527 2.3, 2.7), EX_AIR-120
"""

from __future__ import annotations

from record.notices import HOLDER, PROFESSIONAL, Wish
from storage import SqlRegistryDatabase
from tests.contract import store_objects as make


def wish(key: int, kind: str = HOLDER, recipient: str = "patient", **changes: object) -> Wish:
    return Wish(patient_key=key, kind=kind, recipient=recipient, caller="{}", since="2026-01-01", **changes)  # type: ignore[arg-type]


def leave(registry: SqlRegistryDatabase, key: int, **changes: object) -> None:
    given = {"action": "deposit", "outcome": "success", "documents": ("1.2.3",), "patient_key": key} | changes
    with registry.write() as unit:
        unit.audit.append(make.line(**given))


def test_a_deposit_leaves_a_notice_for_each_wish(registry: SqlRegistryDatabase) -> None:
    """Of its own record and of nothing that was refused; what is announced is for the holder's side alone."""
    key = make.opened(registry)
    leave(registry, key, trace_id="before")
    with registry.write() as unit:
        unit.notices.set_wish(wish(key))
        unit.notices.set_wish(wish(key, PROFESSIONAL, "8997", types=frozenset({"a^^1"})))
        unit.notices.set_wish(wish(key, PROFESSIONAL, "8997", types=frozenset({"b^^1"})))
    leave(registry, key, trace_id="1")
    leave(registry, key, trace_id="2", action="reveal")
    for number, changes in enumerate((
        {"outcome": "refused"}, {"action": "read"}, {"documents": ()}, {"patient_key": key + 1}, {"patient_key": None},
    )):
        leave(registry, key, **{"trace_id": f"no {number}"} | changes)
    with registry.read() as unit:
        found = unit.notices.waiting(9)
        assert sorted((line.trace_id, one.kind, one.recipient) for _, line, one in found) == [
            ("1", HOLDER, "patient"), ("1", PROFESSIONAL, "8997"), ("2", HOLDER, "patient"),
        ]
        assert {one.types for _, _, one in found} == {frozenset(), frozenset({"b^^1"})}
        assert unit.notices.count() == 3 and len(unit.notices.waiting(1)) == 1
    with registry.write() as unit:
        unit.notices.told([key for key, line, _ in found if line.trace_id == "1"])
        assert [line.trace_id for _, line, _ in unit.notices.waiting(9)] == ["2"]
        unit.notices.drop_wish(key, HOLDER, "patient")
        assert unit.notices.waiting(9) == [] and unit.notices.count() == 0


def test_what_waits_is_read_in_parts(registry: SqlRegistryDatabase) -> None:
    """Each notice once, those of one line too; what is too old is counted and given up."""
    key = make.opened(registry)
    with registry.write() as unit:
        for number in range(3):
            unit.notices.set_wish(wish(key, PROFESSIONAL, f"8997{number}"))
    for number in range(2):
        leave(registry, key, trace_id=str(number))
    seen, last = [], None
    with registry.read() as unit:
        while found := unit.notices.waiting(2, last):
            seen += [(line.trace_id, one.recipient) for _, line, one in found]
            last = found[-1][0]
    assert seen == [(trace, f"8997{number}") for trace in ("0", "1") for number in range(3)]
    assert last is not None
    with registry.write() as unit:
        assert (unit.notices.count(last.number), unit.notices.count()) == (3, 6)
        unit.notices.give_up(last.number)
        assert {line.trace_id for _, line, _ in unit.notices.waiting(9)} == {"1"} and unit.notices.count() == 3


def test_accesses_to_tell_are_read_in_parts(registry: SqlRegistryDatabase) -> None:
    """From a time on, behind a key; those of a span are counted."""
    with registry.write() as unit:
        for number in range(3):
            unit.audit.append(make.line(patient_key=1, purpose="bris_de_glace", trace_id=str(number)))
    with registry.read() as unit:
        first, second, third = (key for key, _ in unit.emergencies.to_notify(9))
        assert [key for key, _ in unit.emergencies.to_notify(2, after=first)] == [second, third]
        assert [key for key, _ in unit.emergencies.to_notify(9, since=third.number)] == [third]
        assert unit.emergencies.to_notify(9, since=first.number, after=third) == []
        assert unit.emergencies.waiting(first.number, third.number) == 2 and unit.emergencies.waiting() == 3


def test_a_destruction_takes_wishes_and_notices_along(registry: SqlRegistryDatabase) -> None:
    key = make.opened(registry)
    with registry.write() as unit:
        unit.notices.set_wish(wish(key))
    leave(registry, key, trace_id="1")
    with registry.write() as unit:
        record = unit.record.get(key)
        assert record is not None
        unit.record.destroy(record, "R", "2026-02-01T00:00:00.000Z")
    leave(registry, key, trace_id="2")
    with registry.read() as unit:
        assert unit.notices.waiting(9) == [] and unit.notices.count() == 0


def test_the_lines_of_one_caller(registry: SqlRegistryDatabase) -> None:
    """In all records, by time and not by number, a part at a time."""
    key = make.opened(registry)
    days = ("2026-01-03", "2026-01-01", "2026-01-02")
    for number, day in enumerate(days):
        told = {"at": f"{day}T10:00:00.000Z", "caller_id": "8997"}
        leave(registry, key if number else 0, trace_id=day, mode="DIRECTE", **told)
        leave(registry, key, trace_id=f"an account of that name {day}", mode="REPRESENTANT", **told)
        leave(registry, key, trace_id=f"other {day}", at=f"{day}T10:00:00.000Z", caller_id="89970", mode="DIRECTE")

    def read(since: str = "", until: str = "", skip: int = 0, limit: int = 0) -> list[str]:
        with registry.read() as unit:
            found = unit.audit.read_of_caller("8997", since=since, until=until, skip=skip, limit=limit)
            return [line.trace_id for line in found]

    assert read() == sorted(days)
    assert read(since="2026-01-02T00:00:00.000Z") == sorted(days)[1:]
    assert read(until="2026-01-02T00:00:00.000Z") == ["2026-01-01"]
    assert read(skip=1, limit=1) == ["2026-01-02"] and read(skip=3) == []
