"""``carnet check`` reads both sides in one order, side by side, and holds no more than one name of each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from carnet.agreement import _side_by_side

NAMES = st.lists(st.text(alphabet="ab1.é", max_size=3), max_size=12).map(sorted)


@given(NAMES, NAMES)
def test_each_name_is_met_once_with_all_of_either_side(left: list[str], right: list[str]) -> None:
    """As if both sides were held in memory and compared by name."""
    found = list(_side_by_side(groupby(left), groupby(right)))
    wanted = [(n, [n] * left.count(n), [n] * right.count(n)) for n in sorted({*left, *right})]
    assert found == wanted


def test_no_side_is_read_ahead() -> None:
    """Of a million names on either side, what has been compared is gone before the next is read."""
    taken = [0, 0]

    def stream(side: int) -> Iterator[str]:
        for number in range(1_000_000):
            taken[side] += 1
            yield f"{number:07d}"

    pairs = _side_by_side(groupby(stream(0)), groupby(stream(1)))
    for number, (name, here, there) in zip(range(5), pairs, strict=False):
        assert (name, here, there) == (f"{number:07d}",) + ([f"{number:07d}"],) * 2
        assert max(taken) <= number + 3
