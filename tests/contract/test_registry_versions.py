"""Versions, folders by criteria, exclusions, and look-ups over all patients, on each engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

import storage
from guard.policy.facts import EVERYTHING, NOTHING, EntryFilter
from registry.store import EntryCriteria, FolderCriteria, SetCriteria
from storage import SqlRegistryDatabase, schema
from storage.engines import connect
from tests.contract import store_objects as make
from tests.contract.store_objects import MASKED, NORMAL, SCHEME
from xds import namespaces as ns
from xds.model import Author, Code

NO_MASKED = EntryFilter(hidden_by=frozenset({MASKED.key}))


def entries(registry: SqlRegistryDatabase, key: int, visible: EntryFilter = EVERYTHING, **criteria: Any) -> set[str]:
    where = EntryCriteria(**criteria)
    with registry.read() as unit:
        found = unit.registry.entry_uuids(key, where, visible)
        assert [one.entry_uuid for one in unit.registry.entries(key, where, visible)] == found
    return set(found)


def folders(registry: SqlRegistryDatabase, key: int, visible: EntryFilter = EVERYTHING, **criteria: Any) -> list[str]:
    with registry.read() as unit:
        return [one.entry_uuid for one in unit.registry.find_folders(key, FolderCriteria(**criteria), visible)]


def test_the_newest_version_of_each_document(registry: SqlRegistryDatabase) -> None:
    """And nothing offline. The newest of one document says nothing of another, nor of another patient's.

    Clause: ITI TF-2 3.18.4.1.2.3.5.1.1
    """
    key, other = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    first = make.entry(status=ns.DEPRECATED)
    second = make.entry(logical_id=first.entry_uuid, version=2, status=ns.DEPRECATED)
    third = make.entry(logical_id=first.entry_uuid, version=3)
    alone, offline = make.entry(document_availability=ns.ONLINE), make.entry(document_availability=ns.OFFLINE)
    make.stored(registry, key, make.submission(first, alone, offline), make.submission(third), make.submission(second))
    elsewhere = make.entry()
    later = make.entry(logical_id=elsewhere.entry_uuid, version=2)
    make.stored(registry, other, make.submission(elsewhere, later))
    assert entries(registry, key, is_current=True) == {third.entry_uuid, alone.entry_uuid}
    assert len(entries(registry, key)) == 5
    assert entries(registry, other, is_current=True) == {later.entry_uuid}
    named = frozenset({first.entry_uuid})
    assert entries(registry, key, logical_ids=named, is_current=True) == {third.entry_uuid}
    assert entries(registry, key, entry_uuids=named, is_current=True) == set()


def test_a_mask_covers_the_versions_before(registry: SqlRegistryDatabase) -> None:
    """An entry passes when it and its newest version do, at every level, and so do the links to it."""
    key = make.opened(registry)
    first = make.entry(status=ns.DEPRECATED)
    second = make.entry(logical_id=first.entry_uuid, version=2, confidentiality_codes=[NORMAL, MASKED])
    alone = make.entry()
    sent = make.submission(first, alone)
    make.stored(registry, key, sent, make.submission(second))
    assert entries(registry, key, NO_MASKED) == entries(registry, key, NO_MASKED, is_current=True) == {alone.entry_uuid}
    with registry.read() as unit:
        links = unit.registry.associations(key, [first.entry_uuid, second.entry_uuid], NO_MASKED)
        assert links == []
    third = make.entry(logical_id=first.entry_uuid, version=3)
    make.stored(registry, key, make.submission(third))
    shown = {first.entry_uuid, third.entry_uuid, alone.entry_uuid}
    assert entries(registry, key, NO_MASKED) == shown
    own = EntryFilter(hidden_by=NO_MASKED.hidden_by, author_id="801234567897")
    assert len(entries(registry, key, own)) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("codes", {"class_code": frozenset({f"A^^{SCHEME}"})}),
        ("all_codes", {"event_codes": (frozenset({"e^^1"}),)}),
        ("author_patterns", ("%Smith%", "%Nobody%")),
        ("object_types", frozenset({ns.ON_DEMAND})),
    ],
)
def test_what_is_not_wanted(registry: SqlRegistryDatabase, name: str, value: Any) -> None:
    """Each criterion excludes by itself; what lacks the attribute stays. Clause: ITI TF-2 3.18.4.1.2.3.7.15"""
    bad = make.entry(
        class_code=Code("A", SCHEME), event_codes=[Code("e", "1"), Code("f", "1")],
        authors=[Author(person=["1^Smith"]), Author(person=["2^Ford"])], object_type=ns.ON_DEMAND, creation_time="",
    )
    good = make.entry(authors=[], event_codes=[])
    key = make.opened(registry)
    make.stored(registry, key, make.submission(bad, good))
    assert entries(registry, key, without=EntryCriteria(**{name: value})) == {good.entry_uuid}
    codes = {"type_code": frozenset({"x^^y"})} | (value if name == "codes" else {})
    more = EntryCriteria(**{name: value} | {"codes": codes})
    assert entries(registry, key, without=more) == {good.entry_uuid}
    both = EntryCriteria(all_codes={"event_codes": (frozenset({"e^^1"}), frozenset({"g^^1"}))})
    assert entries(registry, key, without=both) == {good.entry_uuid, bad.entry_uuid}


def test_folders_by_every_criterion(registry: SqlRegistryDatabase) -> None:
    """Newest lastUpdateTime first. Clause: ITI TF-2 3.18.4.1.2.3.7.3"""
    key = make.opened(registry)
    a, b = Code("é", "1"), Code("B", "1")
    old = make.folder(codes=[a, b], last_update_time="20240101000000")
    new = make.folder(codes=[b], last_update_time="20240201000000")
    gone = make.folder(codes=[a], last_update_time="20230101000000", status=ns.DEPRECATED)
    later = make.folder(last_update_time="20220101000000", version=2)
    later.logical_id, later.unique_id = new.entry_uuid, new.unique_id
    make.stored(registry, key, make.submission(folders=[old, new, gone]), make.submission(folders=[later]))
    names = {one.entry_uuid: name for one, name in ((old, "o"), (new, "n"), (gone, "g"), (later, "l"))}

    def found(visible: EntryFilter = EVERYTHING, **criteria: Any) -> str:
        return "".join(names[one] for one in folders(registry, key, visible, **criteria))

    assert found() == "nogl"
    assert found(is_current=True) == "ol"
    assert found(statuses=frozenset({ns.DEPRECATED})) == "g"
    assert found(codes=(frozenset({"e\u0301^^1"}),)) == "og"
    assert found(codes=(frozenset({"é^^1", "x^^1"}), frozenset({"B^^1"}))) == "o"
    assert found(last_update_time=("20240101000000", "20240201000000")) == "o"
    assert found(last_update_time=("", "20240101000000")) == "gl"
    assert found(unique_ids=frozenset({new.unique_id})) == found(logical_ids=frozenset({new.entry_uuid})) == "nl"
    assert found(unique_ids=frozenset({new.unique_id}), is_current=True) == "l"
    assert found(entry_uuids=frozenset({old.entry_uuid.upper()})) == "o"
    assert found(entry_uuids=frozenset()) == found(unique_ids=frozenset({"1.9"})) == found(NOTHING) == ""
    with registry.read() as unit:
        (whole,) = unit.registry.find_folders(key, FolderCriteria(entry_uuids=frozenset({old.entry_uuid})), EVERYTHING)
    assert whole == old


def test_a_folder_is_hidden_with_all_it_holds(registry: SqlRegistryDatabase) -> None:
    """An empty one is shown; what leads to a hidden one is hidden, and a set that did nothing but fill it."""
    key = make.opened(registry)
    secret, seen = make.entry(confidentiality_codes=[MASKED]), make.entry()
    hidden, mixed, empty = make.folder(), make.folder(), make.folder()
    inside = [make.link(hidden, secret), make.link(mixed, secret), make.link(mixed, seen)]
    first = make.submission(secret, seen, folders=[mixed, empty], associations=inside[1:])
    filler = make.submission(folders=[hidden], associations=inside[:1])
    filler.associations.append(make.link(filler.submission_set, inside[0]))
    make.stored(registry, key, first, filler)
    assert set(folders(registry, key, NO_MASKED)) == {mixed.entry_uuid, empty.entry_uuid}
    assert len(folders(registry, key)) == 3
    with registry.read() as unit:
        shown = {one.entry_uuid for one in unit.registry.submission_sets(key, SetCriteria(), NO_MASKED)}
        assert shown == {first.submission_set.entry_uuid}
        about = [hidden.entry_uuid, filler.submission_set.entry_uuid]
        assert unit.registry.associations(key, about, NO_MASKED) == []
        assert len(unit.registry.associations(key, about, EVERYTHING)) == 3


def test_associations_by_name(registry: SqlRegistryDatabase) -> None:
    """By their own identifier, filtered like the others."""
    key = make.opened(registry)
    secret, seen = make.entry(confidentiality_codes=[MASKED]), make.entry()
    sent = make.submission(secret, seen)
    past = make.link(seen, secret, ns.APND, status=ns.DEPRECATED)
    sent.associations.append(past)
    make.stored(registry, key, sent)
    every = [one.entry_uuid.upper() for one in sent.associations] + [seen.entry_uuid]

    def found(visible: EntryFilter = EVERYTHING, statuses: frozenset[str] | None = None) -> set[str]:
        with registry.read() as unit:
            return {one.entry_uuid for one in unit.registry.associations_named(key, every, visible, statuses)}

    assert found() == {one.entry_uuid for one in sent.associations}
    assert found(statuses=frozenset({ns.DEPRECATED})) == {past.entry_uuid}
    assert found(NO_MASKED) == {one.entry_uuid for one in sent.associations if one.target == seen.entry_uuid}
    assert found(NOTHING) == set()


def test_patients_who_have_something(registry: SqlRegistryDatabase) -> None:
    """By codes, events and authors of one entry, not of several together; no more than asked for."""
    event, kind = Code("e", "1"), Code("K", "1")
    keys = [make.opened(registry, f"{n}^^^&1.2&ISO") for n in range(4)]
    make.stored(registry, keys[0], make.submission(make.entry(event_codes=[event], class_code=kind)))
    make.stored(registry, keys[1], make.submission(make.entry(event_codes=[event]), make.entry(class_code=kind)))
    for key in keys[2:]:
        code = Code(f"F{key}", "1")
        make.stored(registry, key, make.submission(make.entry(class_code=kind), folders=[make.folder(codes=[code])]))

    def found(where: EntryCriteria | FolderCriteria, limit: int = 10) -> list[int]:
        with registry.read() as unit:
            return unit.registry.patients_with(where, limit)

    by_kind, by_event = {"class_code": frozenset({"K^^1"})}, {"event_codes": (frozenset({"e^^1", "x^^1"}),)}
    assert found(EntryCriteria(codes=by_kind)) == keys
    assert found(EntryCriteria(all_codes=by_event)) == keys[:2]
    assert found(EntryCriteria(codes=by_kind, all_codes=by_event, author_patterns=("%Dupont%",))) == keys[:1]
    assert found(EntryCriteria(codes=by_kind, author_patterns=("%Nobody%",))) == []
    assert len(found(EntryCriteria(codes=by_kind), 3)) == 3
    assert found(FolderCriteria(codes=(frozenset({f"F{keys[3]}^^1"}),), is_current=True)) == [keys[3]]
    assert found(EntryCriteria(codes=by_kind, is_current=True)) == keys


def test_the_newest_version_is_looked_up_in_the_index_of_later_ones(tmp_path: Path) -> None:
    """Neither the table nor an index of all versions is read for it."""
    url = f"sqlite:///{tmp_path}/x.db"
    storage.upgrade_registry(url)
    database = SqlRegistryDatabase(url)
    with database.read() as unit:
        unit.registry.entry_uuids(1, EntryCriteria(statuses=frozenset({ns.APPROVED}), is_current=True), NO_MASKED)
    (statement,) = (s.sql for s in database.engine._statements.values() if "document_entry" in s.sql)
    with connect(url).sqlalchemy.connect() as connection:
        names = dict.fromkeys((f"v{n}" for n in range(9)), "x") | {"patient": 1}
        plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", names | {
            name: value for s in database.engine._statements.values() for name, value in s.constants.items()})
        told = " | ".join(row[3] for row in plan)
    database.close()
    assert "ix_document_entry_newest" in told and "ix_document_entry_later" in told and "SCAN document" not in told


def test_folders_of_before_get_their_codes(tmp_path: Path) -> None:
    """The migration reads them from what is stored: they are found as if they had come after it."""
    url = f"sqlite:///{tmp_path}/x.db"
    schema._create_file(tmp_path / "x.db")
    engine = connect(url)
    with engine.sqlalchemy.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(schema._folder("registry")))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        folder = make.folder()
        content = json.dumps({"cl": [["e\u0301", "1", "Dossier"], ["B", "2", "b"]]})
        connection.exec_driver_sql(
            "INSERT INTO folder VALUES (7, ?, 'Approved', '20240101000000', '1.2', ?, 1, 'p', ?)",
            (folder.entry_uuid[9:], folder.entry_uuid[9:], content),
        )
        connection.commit()
    engine.close()
    storage.upgrade_registry(url)
    database = SqlRegistryDatabase(url)
    for code in ("é^^1", "B^^2"):
        assert folders(database, 7, codes=(frozenset({code}),)) == [folder.entry_uuid]
    assert folders(database, 7, codes=(frozenset({"B^^1"}),)) == []
    database.close()
