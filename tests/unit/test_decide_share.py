"""A host's capacity among its servers: weighted max-min fairness above the floors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.decide.share import Claim, share

pytestmark = pytest.mark.unit

amounts = st.floats(0, 100)


@st.composite
def claims(draw):
    rows = draw(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 16), st.floats(0.1, 8)), min_size=1, max_size=12))
    return [Claim(f"vm{i}", floor, floor + need, weight) for i, (floor, need, weight) in enumerate(rows)]


def test_weights_decide_where_needs_compete():
    found = share(9.0, [Claim("a", 1, 10, 2), Claim("b", 1, 10, 1), Claim("c", 1, 1, 4)])
    assert found == {"a": 5.0, "b": 3.0, "c": 1.0}, "6 above the floors: two thirds and one third"


def test_what_a_satisfied_server_leaves_goes_to_the_others():
    found = share(9.0, [Claim("a", 0, 1, 1), Claim("b", 0, 10, 1), Claim("c", 0, 10, 1)])
    assert found == {"a": 1.0, "b": 4.0, "c": 4.0}


def test_a_heavy_server_is_full_before_a_small_light_one():
    assert share(5.5, [Claim("a", 0, 4, 4), Claim("b", 0, 2, 1)]) == {"a": 4.0, "b": 1.5}


def test_floors_are_given_even_where_they_do_not_fit():
    assert share(3.0, [Claim("a", 2, 4), Claim("b", 2, 4)]) == {"a": 2.0, "b": 2.0}


@given(amounts, claims())
def test_nobody_is_below_the_floor_or_above_the_target(capacity, asked):
    found = share(capacity, asked)
    assert all(c.floor <= found[c.name] <= c.target + 1e-9 for c in asked)


@given(amounts, claims())
def test_the_sum_fits_where_the_floors_do(capacity, asked):
    floors = sum(c.floor for c in asked)
    assert sum(share(capacity, asked).values()) <= max(capacity, floors) + 1e-6


@given(amounts, claims())
def test_nothing_is_left_while_somebody_is_short(capacity, asked):
    found = share(capacity, asked)
    short = any(found[c.name] < c.target - 1e-6 for c in asked)
    assert not short or sum(found.values()) >= capacity - 1e-6


@given(amounts, claims(), st.floats(1, 4))
def test_more_weight_never_gets_less(capacity, asked, factor):
    first, *rest = asked
    heavier = Claim(first.name, first.floor, first.target, first.weight * factor)
    assert share(capacity, [heavier, *rest])[first.name] >= share(capacity, asked)[first.name] - 1e-6


@given(amounts, claims(), st.randoms())
def test_the_order_of_servers_does_not_matter(capacity, asked, random):
    shuffled = list(asked)
    random.shuffle(shuffled)
    assert share(capacity, shuffled) == pytest.approx(share(capacity, asked), abs=1e-6)
