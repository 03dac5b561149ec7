"""Budgets: what is ordered now and what waits; pressing growth never does, hosts take turns, nothing is spent twice."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.decide.budgets import ALWAYS_SHRUNK, GROWTH, PRESSING, SHRINK, Change, Wish, in_turn, refused
from foreshape_controller.model.brakes import Budget, Spent
from long_support import LONG

pytestmark = pytest.mark.unit

NOTHING = Spent()
MANY = min(LONG, 1000)
"""Drawing a fleet costs milliseconds."""


def wish(server, *changes, host="h1", urgency=1.0):
    return Wish(server, host, urgency, changes or (Change("cpu", -1.0),))


def grow(amount=1.0, resource="cpu"):
    return Change(resource, amount)


def press(amount=1.0, resource="cpu"):
    return Change(resource, amount, pressing=True)


def shrink(amount=1.0, resource="cpu"):
    return Change(resource, -amount)


def test_pressing_comes_first_then_growth_then_shrinks_each_the_most_urgent_first():
    wishes = [wish("a", shrink(), urgency=9), wish("b", grow(), urgency=1), wish("c", grow(), urgency=2), wish("d", press(), urgency=0.1)]
    assert [w.server for w in in_turn(wishes)] == ["d", "c", "b", "a"]


def test_hosts_take_turns():
    many = [wish(f"a{i}", host="big", urgency=10 - i) for i in range(5)] + [wish("b", host="small", urgency=1)]
    assert [w.server for w in in_turn(many)][:3] == ["a0", "b", "a1"]


def test_pressing_growth_passes_every_budget_that_is_spent():
    spent = Spent(orders=9, by_host={"h1": 9}, grow_cores=99, grow_mib=9e9, shrink_cores=99)
    told = refused([wish("a", press(50)), wish("b", grow()), wish("c", shrink())], Budget(orders=5, orders_per_host=5), spent, 100)
    assert {server for server, _ in told} == {"b", "c"}


def test_what_a_lower_tier_gives_for_growth_that_waits_is_not_held_by_the_budgets_of_shrinks():
    spent = Spent(shrink_cores=99, shrunk=frozenset(f"s{i}" for i in range(50)))
    given = Change("cpu", -1.0, for_another=True)
    told = refused([wish("a", given), wish("b", shrink())], Budget(shrink_cores=9), spent, 100)
    assert {server for server, _ in told} == {"b"}
    assert refused([wish("a", given)], Budget(orders=2), Spent(orders=2), 100), "orders a minute hold it all the same"


def test_a_server_that_grows_in_one_and_shrinks_in_the_other_keeps_its_growth():
    told = refused([wish("a", press(), shrink(100, "memory"))], Budget(shrink_mib=50), Spent(shrink_mib=50), 100)
    assert dict(told) == {("a", "memory"): "it waits: 50 MiB a minute are taken at most"}


def test_what_another_plan_of_this_minute_ordered_counts():
    assert refused([wish("a", grow())], Budget(orders=2), Spent(orders=1), 10) == {}
    assert refused([wish("a", grow())], Budget(orders=2), Spent(orders=2), 10) == {("a", "cpu"): "it waits: 2 orders a minute are made"}


def test_one_change_larger_than_a_minutes_amount_is_made_when_nothing_else_was():
    big = [wish("a", shrink(300))]
    assert refused(big, Budget(shrink_cores=100), NOTHING, 100) == {}
    assert refused(big, Budget(shrink_cores=100), Spent(shrink_cores=1), 100) != {}


def test_a_share_of_the_fleet_is_shrunk_an_hour_and_those_that_were_may_go_on():
    spent = Spent(shrunk=frozenset(f"s{i}" for i in range(30)))
    told = refused([wish("s3"), wish("new")], Budget(fleet_share=0.3), spent, 100)
    assert dict(told) == {("new", "cpu"): "it waits: 30 servers were shrunk within the hour, 30% of the fleet"}


def test_of_a_small_fleet_ten_servers_always_may_be_shrunk():
    told = refused([wish(f"s{i:02}") for i in range(12)], Budget(fleet_share=0.1), NOTHING, 12)
    assert sorted(server for server, _ in told) == ["s10", "s11"]


@st.composite
def fleets(draw):
    n = draw(st.integers(0, 25))
    kinds = draw(st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, 40), st.integers(0, 3), st.booleans()), min_size=n, max_size=n))
    return [
        Wish(
            f"s{i}",
            f"h{host}",
            amount,
            tuple(
                Change(r, -amount if kind == SHRINK else amount, pressing=kind == PRESSING)
                for r in (("cpu", "memory") if both else ("cpu",))
            ),
        )
        for i, (kind, amount, host, both) in enumerate(kinds)
    ]


budgets = st.builds(
    Budget,
    orders=st.integers(1, 20),
    orders_per_host=st.integers(1, 8),
    fleet_share=st.floats(0, 1),
    shrink_cores=st.floats(1, 200),
    grow_cores=st.floats(1, 200),
    shrink_mib=st.floats(1, 200),
    grow_mib=st.floats(1, 200),
)
spents = st.builds(
    Spent,
    orders=st.integers(0, 25),
    by_host=st.dictionaries(st.sampled_from(["h0", "h1", "h2"]), st.integers(0, 9)),
    shrink_cores=st.floats(0, 250),
    grow_cores=st.floats(0, 250),
    shrunk=st.frozensets(st.sampled_from([f"s{i}" for i in range(25)])),
)


@settings(max_examples=MANY, deadline=None)
@given(fleets(), budgets, spents, st.integers(0, 60))
def test_no_budget_is_exceeded_and_no_pressing_growth_waits(wishes, budget, spent, fleet):
    told = refused(wishes, budget, spent, fleet)
    made = [(w, [c for c in w.changes if (w.server, c.resource) not in told]) for w in wishes]
    made = [(w, chosen) for w, chosen in made if chosen]
    calm = [(w, chosen) for w, chosen in made if w.kind != PRESSING]
    assert not [w for w in wishes for c in w.changes if c.kind == PRESSING and (w.server, c.resource) in told]
    if calm:  # growth under pressure may take the whole minute; whatever is beside it keeps within the budget
        assert spent.orders + len(calm) <= max(budget.orders, spent.orders)
        per_host = Counter(w.host for w, _ in calm)
        assert all(spent.by_host.get(h, 0) + n <= max(budget.orders_per_host, spent.by_host.get(h, 0)) for h, n in per_host.items())
    for kind, whole, used in ((SHRINK, budget.shrink_cores, spent.shrink_cores), (GROWTH, budget.grow_cores, spent.grow_cores)):
        amounts = [abs(c.amount) for _, chosen in made for c in chosen if c.resource == "cpu" and c.kind == kind]
        assert not amounts or used + sum(amounts) <= max(whole, amounts[0] if len(amounts) == 1 else 0) + 1e-9
    shrunk = {w.server for w, chosen in made if any(c.kind == SHRINK for c in chosen)} | spent.shrunk
    assert len(shrunk) <= max(len(spent.shrunk), ALWAYS_SHRUNK, -(-budget.fleet_share * fleet // 1))


@settings(max_examples=MANY, deadline=None)
@given(fleets(), budgets, st.randoms(use_true_random=False))
def test_the_order_in_which_servers_come_makes_no_difference(wishes, budget, random):
    mixed = list(wishes)
    random.shuffle(mixed)
    assert refused(mixed, budget, NOTHING, 50) == refused(wishes, budget, NOTHING, 50)


@given(fleets())
def test_what_waits_comes_in_later_minutes(wishes):
    budget, left, minutes = Budget(orders=4, orders_per_host=2, fleet_share=1), list(wishes), 0
    while left and minutes < 50:
        told = refused(left, budget, NOTHING, 1000)
        left = [w for w in left if any((w.server, c.resource) in told for c in w.changes)]
        minutes += 1
    assert not left
