"""What the store adds for updates and removals, on every engine."""

from __future__ import annotations

from dataclasses import replace

from guard.policy.facts import EVERYTHING, EntryFilter
from registry.store import EntryCriteria, SetCriteria
from storage import SqlRegistryDatabase, SqlRepositoryDatabase
from tests.contract import store_objects as make
from tests.contract.test_repository_index import ONE, filled
from xds import namespaces as ns
from xds.model import DocumentEntry

OTHER = "2^^^&1.2&ISO"
UNMASKED = EntryFilter(hidden_by=frozenset({make.MASKED.key}))


def later(entry: DocumentEntry, **changes: object) -> DocumentEntry:
    """The next version of it."""
    values = {"entry_uuid": make.uuid(), "version": entry.version + 1, "logical_id": entry.logical_id} | changes
    return replace(entry, **values)  # type: ignore[arg-type]


def test_versions_are_found_by_their_logical_id(registry: SqlRegistryDatabase) -> None:
    """All of them, of any patient and of folders too, asked in any letter case; also without the first."""
    mine, theirs = make.opened(registry), make.opened(registry, OTHER)
    one, case = make.entry(), make.folder()
    two = later(one, patient_id=OTHER)
    case_two = replace(case, entry_uuid=make.uuid(), version=2)
    make.stored(registry, mine, make.submission(one, folders=[case]))
    make.stored(registry, theirs, make.submission(two))
    make.stored(registry, mine, make.submission(make.entry(), folders=[case_two]))
    with registry.read() as unit:
        found = unit.registry.versions([one.logical_id.upper(), case.logical_id, make.uuid()])
        assert {(o.entry_uuid, o.version, o.patient_key, o.logical_id) for o in found} == {
            (one.entry_uuid, 1, mine, one.entry_uuid), (two.entry_uuid, 2, theirs, one.entry_uuid),
            (case.entry_uuid, 1, mine, case.entry_uuid), (case_two.entry_uuid, 2, mine, case.entry_uuid),
        }
        first = [unit.registry.known([one.entry_uuid])[one.entry_uuid]]
    with registry.write() as unit:
        unit.registry.remove(first)
    with registry.read() as unit:
        assert [o.entry_uuid for o in unit.registry.versions([one.logical_id])] == [two.entry_uuid]


def test_references_are_found_from_every_patient_and_in_every_status(registry: SqlRegistryDatabase) -> None:
    """By either end; a Reference from another patient's set is one of them."""
    mine, theirs = make.opened(registry), make.opened(registry, OTHER)
    one, owner, foreign = make.entry(), make.submission_set(), make.submission_set(patient_id=OTHER)
    gone = make.link(make.entry().entry_uuid, one, ns.APND, status=ns.DEPRECATED)
    sent = make.submission(one, owner=owner, associations=[gone])
    make.stored(registry, mine, sent)
    pointing = make.member(foreign, one, "Reference")
    make.stored(registry, theirs, make.submission(make.entry(patient_id=OTHER), owner=foreign, associations=[pointing]))
    with registry.read() as unit:
        found = {(key, a.entry_uuid) for key, a in unit.registry.references_to([one.entry_uuid])}
        own = next(a for a in sent.associations if a.target == one.entry_uuid and a.type == ns.HAS_MEMBER)
        assert found == {(mine, own.entry_uuid), (mine, gone.entry_uuid), (theirs, pointing.entry_uuid)}
        assert {a.entry_uuid for _, a in unit.registry.references_to([own.entry_uuid])} == set()
        assert own.entry_uuid in {a.entry_uuid for _, a in unit.registry.references_to([owner.entry_uuid])}
        assert unit.registry.references_to([]) == []


def test_references_of_other_patients_are_looked_up_in_their_index(registry: SqlRegistryDatabase) -> None:
    """However many associations there are, none but references is read for it. On both engines."""
    key = make.opened(registry)
    make.stored(registry, key, make.submission(*(make.entry() for _ in range(300))))
    with registry.read() as unit:
        unit.registry.references_to([make.uuid()])
    (statement,) = (s for s in registry.engine._statements.values() if "IS_REFERENCE" in s.sql or "Reference" in s.sql)
    with registry.engine.sqlalchemy.connect() as connection:
        driver = connection.connection.driver_connection
        if registry.engine.sqlalchemy.dialect.name == "sqlite":
            values = {"ids": "[]", "patients": "[]", "entries": "[]"} | statement.constants
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement.sql}", values).fetchall()
            told = " | ".join(row[3] for row in rows)
        else:
            values = {"ids": [], "patients": [], "entries": []} | statement.constants
            driver.execute("ANALYZE association")
            driver.execute("SET enable_seqscan = off")
            rows = driver.execute(f"EXPLAIN {statement.sql}", values).fetchall()
            told = " | ".join(row[0] for row in rows)
    assert "ix_association_reference" in told and "SCAN association" not in told, told


def test_what_is_removed_leaves_no_identifier_behind(registry: SqlRegistryDatabase) -> None:
    """Only what was named goes; its identifiers are free again; a twin under the same uniqueId stays found."""
    key = make.opened(registry)
    one = make.entry(reference_ids=["r"])
    twin = make.entry(unique_id=one.unique_id)
    sent = make.submission(one, owner=make.submission_set(), folders=[make.folder()])
    make.stored(registry, key, sent)
    make.stored(registry, key, make.submission(twin))
    with registry.write() as unit:
        unit.registry.remove(unit.registry.known([o.entry_uuid for o in sent.objects()]).values())
    with registry.read() as unit:
        assert unit.registry.known([o.entry_uuid for o in sent.objects()]) == {}
        assert [o.entry_uuid for o in unit.registry.by_unique_id([one.unique_id])] == [twin.entry_uuid]
        assert unit.registry.by_unique_id([sent.submission_set.unique_id, sent.folders[0].unique_id]) == []
        assert [e.entry_uuid for e in unit.registry.entries(key, EntryCriteria(), EVERYTHING)] == [twin.entry_uuid]
        assert len(list(unit.registry.submission_sets(key, SetCriteria(), EVERYTHING))) == 1
    make.stored(registry, key, sent)


def test_a_removal_that_fails_removes_nothing(registry: SqlRegistryDatabase) -> None:
    """It is part of its unit."""
    key = make.opened(registry)
    sent = make.submission(make.entry())
    make.stored(registry, key, sent)
    try:
        with registry.write() as unit:
            unit.registry.remove(unit.registry.known([o.entry_uuid for o in sent.objects()]).values())
            raise RuntimeError("later in the unit")
    except RuntimeError:
        pass
    with registry.read() as unit:
        assert len(unit.registry.known([o.entry_uuid for o in sent.objects()])) == len(list(sent.objects()))


def test_a_filter_goes_by_the_confidentiality_that_was_set(registry: SqlRegistryDatabase) -> None:
    """For the entries named; what they say of themselves stays."""
    key = make.opened(registry)
    one, other = make.entry(), make.entry()
    make.stored(registry, key, make.submission(one))
    make.stored(registry, key, make.submission(other))
    for codes, seen in (([make.NORMAL.key, make.MASKED.key], 1), ([make.NORMAL.key], 2)):
        with registry.write() as unit:
            unit.registry.set_confidentiality(unit.registry.known([one.entry_uuid]).values(), codes)
        with registry.read() as unit:
            assert len(unit.registry.entry_uuids(key, EntryCriteria(), UNMASKED)) == seen
            (found,) = unit.registry.entries(
                key, EntryCriteria(entry_uuids=frozenset({one.entry_uuid})), EVERYTHING
            )
            assert found == one


def test_the_status_of_the_french_framework_is_kept(registry: SqlRegistryDatabase) -> None:
    """Archived is a status like any other to the store."""
    key = make.opened(registry)
    one = make.entry()
    make.stored(registry, key, make.submission(one))
    with registry.write() as unit:
        unit.registry.set_status(key, [one.entry_uuid], ns.ARCHIVED)
    with registry.read() as unit:
        where = EntryCriteria(statuses=frozenset({ns.ARCHIVED}))
        assert [e.status for e in unit.registry.entries(key, where, EVERYTHING)] == [ns.ARCHIVED]


def test_removed_documents_are_remembered_until_they_come_back(repository: SqlRepositoryDatabase) -> None:
    """Rows go in the unit that remembers them; a second removal of the same is none."""
    filled(repository, ONE, replace(ONE, key="b" * 32))
    with repository.write() as unit:
        unit.documents.bury(unit.documents.find(ONE.unique_id), at=1.5, trace_id="t")
    with repository.write() as unit:
        unit.documents.bury([], at=2.5, trace_id="u")
        assert unit.documents.find(ONE.unique_id) == [] and unit.documents.is_buried(ONE.unique_id, ONE.sha1)
        assert not unit.documents.is_buried(ONE.unique_id, "d" * 40)
        assert unit.documents.is_buried("1.2.3^e\u0301", ONE.sha1)
    filled(repository, ONE)
    with repository.write() as unit:
        assert not unit.documents.is_buried(ONE.unique_id, ONE.sha1)
        unit.documents.bury([ONE], at=3.5, trace_id="v")
    with repository.read() as unit:
        assert unit.documents.is_buried(ONE.unique_id, ONE.sha1)
