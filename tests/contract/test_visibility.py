"""What a filter hides never leaves the store, nor does what leads to it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.policy.facts import EntryFacts, EntryFilter
from registry.store import EntryCriteria, SetCriteria
from storage import SqlRegistryDatabase
from tests.contract import store_objects as make
from tests.contract.store_objects import MASKED, NORMAL
from xds import namespaces as ns
from xds.model import Author, Code, DocumentEntry

ARCHIVED = "urn:asip:ci-sis:2010:StatusType:Archived"
NO_MASKED = EntryFilter(hidden_by=frozenset({MASKED.key}))

_codes = st.sampled_from([Code("a", "1"), Code("A", "1"), Code("a", "2"), Code("é", "1"), Code("%", "_")])
_ids = st.sampled_from(["", "8001", "8002", "8_01", "é"])
_keys = st.frozensets(_codes.map(lambda code: code.key), max_size=3)
filters = st.builds(
    EntryFilter, types=st.none() | _keys, excluded_types=_keys, hidden_by=_keys, author_id=_ids, structure_id=_ids,
    statuses=st.none() | st.frozensets(st.sampled_from([ns.APPROVED, ns.DEPRECATED, ARCHIVED]), max_size=2),
    deny_all=st.booleans(),
)
documents = st.lists(st.builds(
    lambda type_code, confidentiality, authors, structures, status: make.entry(
        type_code=type_code, confidentiality_codes=confidentiality, status=status,
        authors=[Author(person=[f"{one}^Nom"]) for one in authors]
        + [Author(institutions=[f"Cabinet^^^^^&1.2&ISO^IDNST^^^{one}"]) for one in structures],
    ), _codes, st.lists(_codes, max_size=2), st.lists(_ids, max_size=2), st.lists(_ids, max_size=2),
    st.sampled_from([ns.APPROVED, ns.DEPRECATED, ARCHIVED]),
), min_size=1, max_size=8)


def facts(entry: DocumentEntry) -> EntryFacts:
    assert entry.type_code is not None
    return EntryFacts(
        type_code=entry.type_code.key, confidentiality=frozenset(c.key for c in entry.confidentiality_codes),
        author_ids=frozenset(p.split("^")[0] for a in entry.authors for p in a.person),
        structure_ids=frozenset(i.split("^")[9] for a in entry.authors for i in a.institutions), status=entry.status,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=documents, asked=st.lists(filters, min_size=1, max_size=12))
def test_the_store_hides_what_the_filter_hides(
    registry: SqlRegistryDatabase, entries: list[DocumentEntry], asked: list[EntryFilter]
) -> None:
    """SQL and ``EntryFilter.passes`` agree on every entry and filter."""
    key = make.opened(registry, f"{make.uuid()[-12:]}^^^&1.2&ISO")
    make.stored(registry, key, make.submission(*entries))
    with registry.read() as unit:
        for visible in asked:
            wanted = {one.entry_uuid for one in entries if visible.passes(facts(one))}
            assert set(unit.registry.entry_uuids(key, EntryCriteria(), visible)) == wanted
            of_sets = list(unit.registry.submission_sets(key, SetCriteria(), visible))
            assert bool(of_sets) == bool(wanted)
            seen = {a.target for a in unit.registry.associations(key, [e.entry_uuid for e in entries], visible)}
            assert seen == wanted


def sets(registry: SqlRegistryDatabase, key: int, visible: EntryFilter) -> set[str]:
    with registry.read() as unit:
        return {one.entry_uuid for one in unit.registry.submission_sets(key, SetCriteria(), visible)}


def links(registry: SqlRegistryDatabase, key: int, about: list[Any], visible: EntryFilter = NO_MASKED) -> set[str]:
    with registry.read() as unit:
        found = unit.registry.associations(key, [one.entry_uuid for one in about], visible)
        return {one.entry_uuid for one in found}


def masked(**changes: Any) -> DocumentEntry:
    return make.entry(confidentiality_codes=[NORMAL, MASKED], **changes)


def test_a_set_is_hidden_with_all_its_own_entries(registry: SqlRegistryDatabase) -> None:
    """One visible entry shows the set, none hides it; a set without entries is shown."""
    key = make.opened(registry)
    hidden = make.submission(masked(), masked())
    mixed = make.submission(masked(), make.entry())
    empty = make.submission(folders=[make.folder()])
    make.stored(registry, key, hidden, mixed, empty)
    assert sets(registry, key, NO_MASKED) == {mixed.submission_set.entry_uuid, empty.submission_set.entry_uuid}


def test_an_entry_referred_to_does_not_show_a_set(registry: SqlRegistryDatabase) -> None:
    """A set whose own entry is hidden stays hidden though it refers to a visible one; without own ones, that counts."""
    key = make.opened(registry)
    seen = make.submission(make.entry())
    visible = seen.entries[0]
    hidden = make.submission(masked())
    hidden.associations.append(make.member(hidden.submission_set, visible, "Reference"))
    refers = make.submission()
    refers.associations.append(make.member(refers.submission_set, visible, "Reference"))
    refers_to_hidden = make.submission()
    refers_to_hidden.associations.append(make.member(refers_to_hidden.submission_set, hidden.entries[0], "Reference"))
    make.stored(registry, key, seen, hidden, refers, refers_to_hidden)
    assert sets(registry, key, NO_MASKED) == {seen.submission_set.entry_uuid, refers.submission_set.entry_uuid}


def test_an_association_with_a_hidden_end_is_left_out(registry: SqlRegistryDatabase) -> None:
    """RPLC from or to a hidden entry, and the HasMember of a folder, are not shown; the others are."""
    key = make.opened(registry)
    one, secret, other, case = make.entry(), masked(), make.entry(), make.folder()
    replaces = make.link(one, secret, ns.RPLC)
    in_folder, hidden_in_folder = make.link(case, one), make.link(case, secret)
    appends = make.link(other, one, ns.APND)
    sent = make.submission(one, secret, other, folders=[case], associations=[
        replaces, in_folder, hidden_in_folder, appends])
    make.stored(registry, key, sent)
    found = links(registry, key, [one, secret, other, case])
    of_set = {a.entry_uuid for a in sent.associations if a.source == sent.submission_set.entry_uuid
              and a.target != secret.entry_uuid}
    assert found == {in_folder.entry_uuid, appends.entry_uuid} | of_set


def test_a_link_to_a_hidden_association_is_left_out(registry: SqlRegistryDatabase) -> None:
    """The set's HasMember to Folder-to-entry association goes with that association, over any number of steps."""
    key = make.opened(registry)
    one, secret, case = make.entry(), masked(), make.folder()
    sent = make.submission(one, secret, folders=[case])
    owner = sent.submission_set
    shown, hidden = make.link(case, one), make.link(case, secret)
    to_shown, to_hidden = make.link(owner, shown), make.link(owner, hidden)
    to_to_hidden = make.link(owner, to_hidden)
    sent.associations += [shown, hidden, to_shown, to_hidden, to_to_hidden]
    make.stored(registry, key, sent)
    found = links(registry, key, [owner])
    assert to_shown.entry_uuid in found
    assert not found & {hidden.entry_uuid, to_hidden.entry_uuid, to_to_hidden.entry_uuid}
    assert links(registry, key, [to_hidden]) == set()


def test_a_link_of_a_hidden_set_is_left_out(registry: SqlRegistryDatabase) -> None:
    """A folder does not show the set that brought it with nothing but hidden entries."""
    key = make.opened(registry)
    case = make.folder()
    make.stored(registry, key, make.submission(masked(), folders=[case]))
    assert links(registry, key, [case]) == set()
    assert len(links(registry, key, [case], EntryFilter())) == 1


def test_associations_in_a_circle_end(registry: SqlRegistryDatabase) -> None:
    """Two associations that point at each other are followed once. Attack: association-circle"""
    key = make.opened(registry)
    one = make.entry()
    first, second = make.uuid(), make.uuid()
    circle = [make.link(second, one, ns.SIGNS, entry_uuid=first), make.link(first, second, ns.SIGNS, entry_uuid=second)]
    make.stored(registry, key, make.submission(one, associations=circle))
    assert {first, second} <= links(registry, key, [one, circle[0]])


def test_the_author_sees_his_own_masked_document(registry: SqlRegistryDatabase) -> None:
    """author_id is the first component of any authorPerson; an excluded type hides even from him."""
    key = make.opened(registry)
    own = masked(authors=[Author(person=["8001^Autre"]), Author(person=["8002^Moi"])])
    make.stored(registry, key, make.submission(own))
    me = EntryFilter(types=frozenset(), hidden_by=NO_MASKED.hidden_by, author_id="8002")
    barred = EntryFilter(excluded_types=frozenset({make.REPORT.key}), author_id="8002")
    with registry.read() as unit:
        assert unit.registry.entry_uuids(key, EntryCriteria(), me) == [own.entry_uuid]
        assert unit.registry.entry_uuids(key, EntryCriteria(), NO_MASKED) == []
        assert unit.registry.entry_uuids(key, EntryCriteria(), barred) == []
