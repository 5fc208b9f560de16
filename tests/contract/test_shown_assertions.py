"""What may be shown once only, over every engine: whole for all processes, bounded, forgotten when it has ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from storage import SqlRegistryDatabase
from storage.replay import SqlReplay
from storage.tables import shown_assertion

NOW = datetime(2026, 1, 1, tzinfo=UTC)
END = NOW + timedelta(minutes=10)
KEY = ("CN=issuer", "_1")


def test_shown_once_and_again(registry: SqlRegistryDatabase) -> None:
    """Counted across connections; the same act passed on counts once; other content under the ID is told."""
    one, other = registry.replay, SqlReplay(registry.engine, shown_assertion)
    assert one.show(KEY, "a", END, NOW, "t1") == 1
    assert other.show(KEY, "a", END, NOW, "t1") == 1, "one of our services passes it on"
    assert other.show(KEY, "a", END, NOW, "t2") == 2
    assert one.show(KEY, "a", END, NOW, "") == 3
    assert one.show(KEY, "b", END, NOW, "t1") == 0
    assert one.show(("CN=other", "_1"), "b", END, NOW, "t3") == 1


def test_of_many_at_once_one_is_the_first(registry: SqlRegistryDatabase) -> None:
    stores = [SqlReplay(registry.engine, shown_assertion) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        times = list(pool.map(lambda n: stores[n % 4].show(KEY, "a", END, NOW, f"t{n}"), range(12)))
    assert sorted(times) == list(range(1, 13))


def test_what_has_ended_is_forgotten_and_a_full_store_says_so(registry: SqlRegistryDatabase) -> None:
    store = SqlReplay(registry.engine, shown_assertion, capacity=3, tidy_every=1)
    for number in range(3):
        assert store.show(("i", str(number)), "a", END, NOW, "") == 1
    assert store.show(("i", "new"), "a", END, NOW, "") is None
    assert store.show(("i", "1"), "a", END, NOW, "") == 2, "known ones are still told"
    later = END + timedelta(seconds=2)
    assert store.show(("i", "new"), "a", later + timedelta(minutes=1), later, "") == 1
    assert store.show(("i", "1"), "z", later + timedelta(minutes=1), later, "") == 1
