"""Queries of the registry's store over one patient's entries, sets and associations."""

from __future__ import annotations

from typing import Any

import pytest

from guard.policy.facts import EVERYTHING, NOTHING
from registry.store import EntryCriteria, SetCriteria
from storage import SqlRegistryDatabase, engines
from tests.contract import store_objects as make
from tests.contract.store_objects import SCHEME
from xds import namespaces as ns
from xds.model import Author, Code, DocumentEntry


def ids(registry: SqlRegistryDatabase, key: int, **criteria: Any) -> list[str]:
    """entryUUIDs found, after checking that the full entries come in the same rows and order."""
    asked = EntryCriteria(**criteria)
    with registry.read() as unit:
        found = unit.registry.entry_uuids(key, asked, EVERYTHING)
        assert [entry.entry_uuid for entry in unit.registry.entries(key, asked, EVERYTHING)] == found
    return found


def filled(registry: SqlRegistryDatabase, *entries: DocumentEntry) -> int:
    key = make.opened(registry)
    make.stored(registry, key, make.submission(*entries))
    return key


def test_entries_come_newest_first_then_by_identifier(registry: SqlRegistryDatabase) -> None:
    """The order is the same for ids and full entries, whatever the precision of the time."""
    late_b = make.entry(entry_uuid=make.uuid(22), creation_time="20240316")
    late_a = make.entry(entry_uuid=make.uuid(21), creation_time="20240316000000")
    early = make.entry(entry_uuid=make.uuid(20), creation_time="2023")
    assert ids(registry, filled(registry, early, late_b, late_a)) == [
        late_a.entry_uuid, late_b.entry_uuid, early.entry_uuid]


def test_another_patients_entries_are_never_found(registry: SqlRegistryDatabase) -> None:
    """Every query is bound to one patient, also one by identifier."""
    one = make.entry()
    filled(registry, one)
    other = make.opened(registry, "2^^^&1.2&ISO")
    assert ids(registry, other) == []
    assert ids(registry, other, entry_uuids=frozenset({one.entry_uuid})) == []
    assert ids(registry, other, unique_ids=frozenset({one.unique_id})) == []


def test_criteria_are_anded_and_empty_ones_ignored(registry: SqlRegistryDatabase) -> None:
    """None and empty mean "not asked"; an empty set of identifiers matches nothing. Rule: Q-12"""
    one, other = make.entry(class_code=Code("A", SCHEME)), make.entry(class_code=Code("B", SCHEME), mime_type="x/y")
    key = filled(registry, one, other)
    both = {one.entry_uuid, other.entry_uuid}
    assert set(ids(registry, key, statuses=frozenset(), codes={"class_code": frozenset()},
                   times={"creation_time": ("", "")}, all_codes={"event_codes": ()})) == both
    for name in ("entry_uuids", "unique_ids", "logical_ids"):
        assert ids(registry, key, **{name: frozenset()}) == []
    assert ids(registry, key, codes={"class_code": frozenset({f"A^^{SCHEME}"})}) == [one.entry_uuid]
    assert ids(registry, key, codes={"class_code": frozenset({f"A^^{SCHEME}"}),
                                     "type_code": frozenset({"no^^such"})}) == []


@pytest.mark.parametrize("name", ["class_code", "type_code", "practice_setting_code", "healthcare_facility_type_code",
                                  "format_code"])
def test_a_code_is_compared_with_its_scheme(registry: SqlRegistryDatabase, name: str) -> None:
    """Value, scheme and letter case count; several values are alternatives. Rule: Q-08"""
    one = make.entry(**{name: Code("Ab", "1.2")})
    other = make.entry(**{name: Code("Ab", "1.3")})
    bare = make.entry(**{name: None})
    key = filled(registry, one, other, bare)
    assert ids(registry, key, codes={name: frozenset({"Ab^^1.2"})}) == [one.entry_uuid]
    assert ids(registry, key, codes={name: frozenset({"ab^^1.2"})}) == []
    both = ids(registry, key, codes={name: frozenset({"Ab^^1.2", "Ab^^1.3", "x^^y"})})
    assert set(both) == {one.entry_uuid, other.entry_uuid}


def test_availability_and_object_type(registry: SqlRegistryDatabase) -> None:
    """documentAvailability and objectType are compared as they are."""
    online = make.entry(document_availability="urn:ihe:iti:2010:DocumentAvailability:Online")
    on_demand = make.entry(object_type=ns.ON_DEMAND, creation_time="")
    key = filled(registry, online, on_demand)
    accepted = frozenset({"urn:ihe:iti:2010:DocumentAvailability:Online"})
    assert ids(registry, key, codes={"document_availability": accepted}) == [online.entry_uuid]
    assert ids(registry, key, object_types=frozenset({ns.ON_DEMAND})) == [on_demand.entry_uuid]
    assert len(ids(registry, key, object_types=frozenset({ns.ON_DEMAND, ns.STABLE}))) == 2


def test_lists_of_codes_are_and_of_or(registry: SqlRegistryDatabase) -> None:
    """Each group must be met by one of the entry's codes. Rule: Q-06"""
    a, b, c = (Code(letter, SCHEME) for letter in "ABC")
    ab, only_a, only_c = make.entry(event_codes=[a, b]), make.entry(event_codes=[a]), make.entry(event_codes=[c])
    key = filled(registry, ab, only_a, only_c)

    def found(*groups: tuple[Code, ...]) -> set[str]:
        asked = tuple(frozenset(code.key for code in group) for group in groups)
        return set(ids(registry, key, all_codes={"event_codes": asked}))

    assert found((a,)) == {ab.entry_uuid, only_a.entry_uuid}
    assert found((a,), (b,)) == {ab.entry_uuid}
    assert found((b, c)) == {ab.entry_uuid, only_c.entry_uuid}
    assert found((a,), (c,)) == set()


def test_side_values_of_one_kind_do_not_answer_for_another(registry: SqlRegistryDatabase) -> None:
    """An event code is no confidentiality code and no reference, even with the same text."""
    code = Code("X", "S")
    key = filled(registry, make.entry(event_codes=[code]))
    assert ids(registry, key, all_codes={"confidentiality_codes": (frozenset({"X^^S"}),)}) == []
    assert ids(registry, key, all_codes={"reference_ids": (frozenset({"X^^S"}),)}) == []
    assert ids(registry, key, author_patterns=("X^^S",)) == []


def test_reference_ids_match_whole_and_exactly(registry: SqlRegistryDatabase) -> None:
    """A reference id is found by its whole CXi text only. Clause: ITI TF-2 3.18.4.1.2.3.7.14"""
    reference = "2024-17^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession"
    one = make.entry(reference_ids=[reference, "other^^^^t"])
    key = filled(registry, one, make.entry())
    assert ids(registry, key, all_codes={"reference_ids": (frozenset({reference}),)}) == [one.entry_uuid]
    assert ids(registry, key, all_codes={"reference_ids": (frozenset({reference[:-1]}),)}) == []


@pytest.mark.parametrize("name", ["creation_time", "service_start_time", "service_stop_time"])
@pytest.mark.parametrize(("start", "end", "is_found"), [
    ("20041224000000", "", True),
    ("20041224000001", "", False),
    ("", "20041224000000", False),
    ("", "20041224000001", True),
    ("20041224000000", "20041224000000", False),
    ("20041225000000", "20041223000000", False),
    ("20041223000000", "20041225000000", True),
])
def test_a_time_range_is_half_open(
    registry: SqlRegistryDatabase, name: str, start: str, end: str, is_found: bool
) -> None:
    """From counts, To does not, and a short time stands for its first second. Clause: ITI TF-2 3.18.4.1.2.3.3"""
    key = filled(registry, make.entry(**{name: "20041224"}))
    assert len(ids(registry, key, times={name: (start, end)})) == is_found


def test_an_entry_without_a_service_time_is_kept(registry: SqlRegistryDatabase) -> None:
    """A criterion on a time the entry does not have is not applied to it. Clause: ITI TF-2 3.18.4.1.2.3.3"""
    one = make.entry(service_start_time="", service_stop_time="")
    key = filled(registry, one)
    for name in ("service_start_time", "service_stop_time"):
        assert ids(registry, key, times={name: ("20990101000000", "")}) == [one.entry_uuid]
        assert ids(registry, key, times={name: ("20200101000000", "20190101000000")}) == [one.entry_uuid]


def test_only_an_on_demand_entry_may_lack_a_creation_time(registry: SqlRegistryDatabase) -> None:
    """A stable entry without creationTime does not pass a criterion on it; an on-demand one does."""
    stable = make.entry(creation_time="")
    on_demand = make.entry(creation_time="", object_type=ns.ON_DEMAND)
    key = filled(registry, stable, on_demand)
    assert ids(registry, key, times={"creation_time": ("", "20990101000000")}) == [on_demand.entry_uuid]
    assert ids(registry, key, times={"creation_time": ("20990101000000", "")}) == [on_demand.entry_uuid]
    assert len(ids(registry, key)) == 2


@pytest.mark.parametrize(("pattern", "is_found"), [
    ("%Dupont%", True), ("%dupont%", False), ("Dupont", False), ("%^Dup_nt^%", True), ("%^Dup__nt^%", False),
    ("%", True), ("", False), ("_%", True), ("801234567897%", True), ("%IDNPS", True), ("%IDNPS_", False),
    ("%Du%%nt%", True), ("%[D]upont%", False), ("%Dupon?%", False), ("*Dupont*", False), ("%\\Dupont%", False),
    ("%Dupont\\%", False), ("%Dup%ont%Jean%", True), ("%Jean%Dupont%", False), ("%]%", False), ("%'%", False),
])
def test_an_author_matches_a_like_pattern(registry: SqlRegistryDatabase, pattern: str, is_found: bool) -> None:
    """Case counts, % is any run, _ is one character, nothing else is special. Clause: ITI TF-2 3.18.4.1.2.3.5"""
    key = filled(registry, make.entry())
    assert len(ids(registry, key, author_patterns=(pattern,))) == is_found


@pytest.mark.parametrize(("person", "pattern"), [
    ("1^100%[a]*?\\x_", "1^100%[a]*?\\x_"), ("1^100%[a]*?\\x_", "%[a]*?\\x_"), ("1^a\\", "%\\"), ("1^[", "%["),
    ("1^]", "%]"), ("1^[^a]", "1^[^a]"), ("1^É", "1^_"), ("1^😀x", "1^_x"),
    ("1^l'Hôpital", "%l'H_pital"), ("1^*", "1^*"),
])
def test_a_pattern_takes_every_other_character_literally(
    registry: SqlRegistryDatabase, person: str, pattern: str
) -> None:
    """Characters that are special to one engine or the other match only themselves."""
    one = make.entry(authors=[Author(person=[person])])
    key = filled(registry, one, make.entry(authors=[Author(person=["1^other"])]))
    assert ids(registry, key, author_patterns=(pattern,)) == [one.entry_uuid]


def test_any_author_may_match_any_pattern(registry: SqlRegistryDatabase) -> None:
    """Several authors and several patterns are alternatives."""
    one = make.entry(authors=[Author(person=["1^Martin"]), Author(person=["2^Ford"])])
    key = filled(registry, one, make.entry(authors=[]))
    assert ids(registry, key, author_patterns=("%Smith%", "%Ford")) == [one.entry_uuid]
    assert ids(registry, key, author_patterns=("%Smith%", "%Jones")) == []


def test_thousands_of_patterns_in_one_query(registry: SqlRegistryDatabase) -> None:
    """A long list of names is one condition, not a deep expression. Attack: expression-depth"""
    one = make.entry()
    key = filled(registry, one, make.entry(authors=[]))
    names = tuple(f"%Nobody{n}%" for n in range(3000))
    assert ids(registry, key, author_patterns=(*names, "%Dupont%")) == [one.entry_uuid]
    assert ids(registry, key, author_patterns=names) == []


def test_a_costly_pattern_ends(registry: SqlRegistryDatabase) -> None:
    """Many wildcards over a long name do not hold the engine. Attack: like-backtracking"""
    key = filled(registry, make.entry(authors=[Author(person=["1^" + "a" * 200])]))
    assert ids(registry, key, author_patterns=("%a" * 100 + "%b",)) == []


def test_ever_new_shapes_of_query_take_no_memory(
    registry: SqlRegistryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements kept ready are bounded, and those of a full store are made again. Attack: statement-cache"""
    monkeypatch.setattr(engines, "STATEMENTS", 5)
    one = make.entry(event_codes=[Code("a", "b")])
    key = filled(registry, one)
    for count in range(1, 16):
        assert ids(registry, key, all_codes={"event_codes": (frozenset({"a^^b"}),) * count}) == [one.entry_uuid]
        assert len(registry.engine._statements) <= 5


def test_thousands_of_identifiers_in_one_query(registry: SqlRegistryDatabase) -> None:
    """A long list is one query, on every path that takes identifiers. Rule: Q-05"""
    one = make.entry()
    sent = make.submission(one)
    key = make.opened(registry)
    make.stored(registry, key, sent)
    many = frozenset({one.entry_uuid, *(make.uuid() for _ in range(40_000))})
    uids = frozenset({one.unique_id, *(f"1.9.{n}" for n in range(40_000))})
    assert ids(registry, key, entry_uuids=many) == [one.entry_uuid]
    assert ids(registry, key, unique_ids=uids) == [one.entry_uuid]
    with registry.write() as unit:
        assert unit.registry.known(many).keys() == {one.entry_uuid}
        assert len(unit.registry.by_unique_id(uids)) == 1
        assert unit.registry.locate(entry_uuids=many, unique_ids=uids, logical_ids=many) == {key}
        assert len(unit.registry.associations(key, many, EVERYTHING)) == 1
        assert list(unit.registry.folders(key, many)) == []
        unit.registry.set_status(key, many, ns.DEPRECATED)
    assert ids(registry, key, statuses=frozenset({ns.DEPRECATED})) == [one.entry_uuid]


def test_identifiers_are_compared_in_lower_case(registry: SqlRegistryDatabase) -> None:
    """entryUUID and logical id in capitals find their object, which shows them in lower case."""
    one = make.entry(entry_uuid=make.uuid(0xABC).upper().replace("URN:UUID", "urn:uuid"))
    key = filled(registry, one)
    lower = one.entry_uuid.lower()
    assert ids(registry, key, entry_uuids=frozenset({lower.upper()})) == [lower]
    assert ids(registry, key, logical_ids=frozenset({lower.upper()})) == [lower]
    with registry.read() as unit:
        assert unit.registry.locate(logical_ids=[lower.upper()]) == {key}
        assert unit.registry.known([lower.upper()]).keys() == {lower}


def test_a_logical_id_finds_every_version(registry: SqlRegistryDatabase) -> None:
    """All versions of a logical document share its lid, which is the entryUUID of the first."""
    first = make.entry(status=ns.DEPRECATED)
    second = make.entry(logical_id=first.entry_uuid, version=2, creation_time="2025")
    key = filled(registry, first, second, make.entry())
    assert ids(registry, key, logical_ids=frozenset({first.entry_uuid})) == [second.entry_uuid, first.entry_uuid]
    assert ids(registry, key, logical_ids=frozenset({second.entry_uuid})) == []
    with registry.read() as unit:
        assert unit.registry.locate(logical_ids=[first.entry_uuid]) == {key}


def test_locate_names_every_patient(registry: SqlRegistryDatabase) -> None:
    """One uniqueId may lead to several patients; an unknown identifier to none."""
    first, second = make.opened(registry), make.opened(registry, "2^^^&1.2&ISO")
    make.stored(registry, first, make.submission(make.entry(unique_id="1.2.3")))
    sent = make.submission(make.entry(unique_id="1.2.3"))
    make.stored(registry, second, sent)
    with registry.read() as unit:
        assert unit.registry.locate(unique_ids=["1.2.3"]) == {first, second}
        assert unit.registry.locate(entry_uuids=[sent.associations[0].entry_uuid]) == {second}
        assert unit.registry.locate(entry_uuids=["1.2.3", make.uuid()], unique_ids=[make.PATIENT]) == set()
        assert unit.registry.locate() == set()


def test_find_submission_sets(registry: SqlRegistryDatabase) -> None:
    """Every criterion of FindSubmissionSets, newest first. Clause: ITI TF-2 3.18.4.1.2.3.7.2"""
    key = make.opened(registry)
    old = make.submission_set(source_id="1.1", submission_time="2023", content_type_code=Code("A", SCHEME))
    new = make.submission_set(submission_time="20240102", authors=[Author(person=["1^Smith"])], status=ns.DEPRECATED)
    make.stored(registry, key, make.submission(make.entry(), owner=old), make.submission(make.entry(), owner=new))

    def found(**criteria: Any) -> list[str]:
        with registry.read() as unit:
            return [s.entry_uuid for s in unit.registry.submission_sets(key, SetCriteria(**criteria), EVERYTHING)]

    assert found() == [new.entry_uuid, old.entry_uuid]
    assert found(source_ids=frozenset({"1.1", "9"})) == [old.entry_uuid]
    assert found(content_types=frozenset({f"A^^{SCHEME}"})) == [old.entry_uuid]
    assert found(statuses=frozenset({ns.DEPRECATED})) == [new.entry_uuid]
    assert found(author_patterns=("%Smith",)) == [new.entry_uuid]
    assert found(author_patterns=("%smith",)) == []
    assert found(submission_time=("20240102000000", "")) == [new.entry_uuid]
    assert found(submission_time=("", "20240102000000")) == [old.entry_uuid]
    assert found(unique_ids=frozenset({old.unique_id})) == [old.entry_uuid]
    assert found(entry_uuids=frozenset({new.entry_uuid.upper()})) == [new.entry_uuid]
    assert found(unique_ids=frozenset({"1.2.3"})) == []


def test_associations_by_type_and_status(registry: SqlRegistryDatabase) -> None:
    """Both ends count, once each; an empty set of types or statuses matches nothing."""
    key = make.opened(registry)
    old, new = make.entry(), make.entry()
    replaces, past = make.link(new, old, ns.RPLC), make.link(old, new, ns.APND, status=ns.DEPRECATED)
    make.stored(registry, key, make.submission(old, new, associations=[replaces, past]))

    def found(**criteria: Any) -> set[str]:
        with registry.read() as unit:
            both = [old.entry_uuid, new.entry_uuid]
            listed = [a.entry_uuid for a in unit.registry.associations(key, both, EVERYTHING, **criteria)]
        assert len(listed) == len(set(listed))
        return set(listed)

    assert len(found()) == 4
    assert found(types=frozenset({ns.RPLC, ns.APND})) == {replaces.entry_uuid, past.entry_uuid}
    assert found(types=frozenset({ns.RPLC, ns.APND}), statuses=frozenset({ns.APPROVED})) == {replaces.entry_uuid}
    assert found(types=frozenset()) == found(statuses=frozenset()) == set()


def test_nothing_is_visible_when_all_is_denied(registry: SqlRegistryDatabase) -> None:
    """A filter that denies all hides entries, sets and associations, also those that lead to no entry."""
    key = make.opened(registry)
    sent = make.submission(make.entry(), folders=[make.folder()])
    make.stored(registry, key, sent, make.submission(folders=[make.folder()]))
    everything = [o.entry_uuid for o in sent.objects()]
    with registry.read() as unit:
        assert unit.registry.entry_uuids(key, EntryCriteria(), NOTHING) == []
        assert list(unit.registry.entries(key, EntryCriteria(), NOTHING)) == []
        assert list(unit.registry.submission_sets(key, SetCriteria(), NOTHING)) == []
        assert unit.registry.associations(key, everything, NOTHING) == []
