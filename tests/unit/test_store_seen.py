"""A report's number is taken once, whatever the order and however often it comes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.store.seen import Range, join

pytestmark = pytest.mark.unit


def take(ranges: list[Range], n: int) -> bool:
    """What ``mark`` does, on a list instead of a table."""
    touching = [r for r in ranges if r.first <= n + 1 and r.last >= n - 1]
    joined = join(touching, n)
    if joined is None:
        return False
    for r in touching:
        ranges.remove(r)
    ranges.append(joined)
    return True


def test_the_next_number_extends_the_range():
    assert join([Range(1, 4)], 5) == Range(1, 5)


def test_a_number_between_two_ranges_joins_them():
    assert join([Range(1, 4), Range(6, 9)], 5) == Range(1, 9)


def test_a_number_inside_was_taken():
    assert join([Range(1, 4)], 3) is None


@given(st.lists(st.integers(0, 60), max_size=120))
def test_each_number_is_new_exactly_once_and_the_ranges_stay_few(numbers):
    ranges: list[Range] = []
    for i, n in enumerate(numbers):
        assert take(ranges, n) == (n not in numbers[:i])
    held = sorted(x for r in ranges for x in range(r.first, r.last + 1))
    assert held == sorted(set(numbers))
    ranges.sort()
    assert all(a.last + 1 < b.first for a, b in pairwise(ranges))  # none touch: as few as can be
