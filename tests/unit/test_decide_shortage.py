"""Hosts that are short: how likely, what segments can spare, who gave whom, who has to leave and by when; and a whole plan of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import NOW, host, numbered, sample, server, size_of
from foreshape_controller.decide.known import Limits
from foreshape_controller.decide.needs import SETUP_S, Asked, Movable, needs, seconds
from foreshape_controller.decide.plan import make_plan
from foreshape_controller.decide.risk import Risks, exceeds, risks
from foreshape_controller.decide.swap import party, spares, transfers
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.group import Groups
from foreshape_controller.model.plan import Choice
from foreshape_controller.model.server import ClusterView
from foreshape_wire.order import Mode
from long_support import LONG
from short_support import FAN, crowded, forecast

pytestmark = pytest.mark.unit

# -- risk -------------------------------------------------------------------------------------------------------------


def test_the_chance_is_read_between_the_quantiles():
    fans = np.repeat(FAN[None], 3, axis=0)
    at = np.array([FAN[LEVELS.index(0.5)], FAN[LEVELS.index(0.95)], (FAN[LEVELS.index(0.95)] + FAN[LEVELS.index(0.99)]) / 2])
    assert exceeds(fans, at) == pytest.approx([0.5, 0.05, 0.03])


def test_beyond_the_quantiles_it_falls_off_as_steeply_as_at_their_end():
    step = FAN[-1] - FAN[-2]
    assert exceeds(FAN[None], np.array([FAN[-1] + step])) == pytest.approx([0.01 * 0.01 / 0.05]), "from 5 % to 1 % in one step: to 0.2 %"
    assert exceeds(FAN[None], np.array([0.0])) == pytest.approx([1.0])


@given(st.lists(st.floats(0, 100), min_size=13, max_size=13), st.floats(0, 200), st.floats(0, 50))
@settings(max_examples=min(LONG, 2000), deadline=None)
def test_it_is_a_probability_and_more_room_never_makes_it_larger(values, capacity, more):
    fan = np.sort(np.array(values))[None]
    small, large = (float(exceeds(fan, np.array([c]))[0]) for c in (capacity, capacity + more))
    assert 0.0 <= large <= small + 1e-9 <= 1.0 + 1e-9


def test_the_shortage_begins_with_the_first_half_hour_that_is_too_likely():
    later = np.r_[np.full(4, 1.0), np.full(44, 4.0)]
    found = risks(forecast(level=1.0, later=later), np.array([0]), np.array([4.0]), 0.01)
    assert found.starts[0] == int(NOW) + 4 * 1800
    assert found.excess[0] == 0, "the next half-hour fits"
    assert found.amount[0] == pytest.approx(1.0), "5 at 99 %, and 4 are there"


def test_a_host_without_a_forecast_has_no_risk_that_anybody_knows():
    found = risks(forecast(), np.array([-1, 0]), np.array([1.0, 1e6]), 0.01)
    assert np.isnan(found.soon[0])
    assert found.amount.tolist() == [0, 0]
    assert np.isnan(risks(None, np.array([0]), np.array([1.0]), 0.01).starts).all()


# -- swap -------------------------------------------------------------------------------------------------------------


def groups(**of):
    return Groups({name: tuple(f"segment:{s}" for s in segments) for name, segments in of.items()})


def test_what_a_segment_as_a_whole_will_not_need_is_spare_and_spread_over_headrooms():
    asked = ["a", "b", "c"], groups(a=["web"], b=["web"], c=[]), forecast(series=("segment:web",), level=2.0)
    found = spares(*asked, target=np.array([3.0, 2.0, 4.0]), used=np.array([1.0, 1.0, 1.0]))
    peak = np.interp(0.95, LEVELS, FAN)
    assert found.sum() == pytest.approx(5.0 - peak), "targets of 5 together"
    assert found.tolist() == pytest.approx([2 / 3 * (5 - peak), 1 / 3 * (5 - peak), 0])


def test_a_segment_that_is_forecast_high_has_nothing_to_spare():
    high = forecast(series=("segment:web",), level=9.0)
    assert spares(["a"], groups(a=["web"]), high, np.array([3.0]), np.array([1.0])).tolist() == [0.0]


def test_expected_use_is_never_spare_and_the_stricter_of_two_segments_counts():
    low = forecast(series=("segment:web", "segment:db"), level=[0.0, 9.0])
    target, used = np.array([3.0, 3.0]), np.array([2.5, 2.5])
    assert spares(["a", "b"], groups(a=["web"], b=["web", "db"]), low, target, used).tolist() == pytest.approx([0.5, 0.0])


def test_who_is_in_no_segment_counts_as_its_tier():
    assert party("a", "economy", groups(a=["web", "db"])) == "segment:web"
    assert party("b", "economy", Groups({"b": ("host:hv1",)})) == "tier:economy"


def test_what_is_given_goes_to_those_who_wait_on_the_same_host():
    hosts, parties = ["h1", "h1", "h1", "h2"], ["tier:low", "tier:high", "segment:web", "tier:low"]
    found = transfers("cpu", hosts, parties, np.array([3.0, 0, 0, 1.0]), np.array([0, 2.0, 4.0, 0]))
    assert [(t.host, t.giver, t.taker, t.amount) for t in found] == [
        ("h1", "tier:low", "tier:high", 1.0),
        ("h1", "tier:low", "segment:web", 2.0),
    ], "on h2 nobody waits"


# -- needs ------------------------------------------------------------------------------------------------------------


def movable(**columns):
    usual = {
        "ids": ["a", "b", "c"],
        "tiers": ["low", "low", "high"],
        "host": np.zeros(3, np.intp),
        "order": np.array([1.0, 1.0, 3.0]),
        "may": np.ones(3, bool),
        "relief": np.array([1.0, 1.0, 4.0]),
        "ram": np.array([4000.0, 1000.0, 1000.0]),
    }
    return Movable(**(usual | columns))


def asked(now=NOW):
    return Asked("cpu", ["hv1"], now, 100.0, 0.01)


def risk(starts=np.nan, amount=0.0):
    one = np.array([0.2])
    return Risks(one, np.zeros(1), np.array([starts]), one, np.array([amount]))


def test_use_that_finds_no_room_is_a_need_now():
    (need,) = needs(asked(), np.array([0.5, 0.0, 0.0]), risk(), movable())
    assert (need.amount, need.starts, need.deadline) == (0.5, NOW, NOW)
    assert "0.50 cores that are used find no room" in need.reason


def test_a_predicted_shortage_is_a_need_with_a_deadline_before_it():
    (need,) = needs(asked(), np.zeros(3), risk(NOW + 7200, 2.0), movable())
    assert need.deadline == NOW + 7200 - seconds(4000, 100)
    assert seconds(4000, 100) == SETUP_S + 52.0
    assert (need.amount, need.probability) == (2.0, 0.2)


def test_a_deadline_is_never_over_before_it_is_known():
    assert needs(asked(), np.zeros(3), risk(NOW + 5, 2.0), movable())[0].deadline == NOW


def test_lower_migrate_orders_go_first_and_among_equals_the_quicker():
    (need,) = needs(asked(), np.array([1.0, 0, 0]), risk(), movable())
    assert [c.server for c in need.candidates] == ["b", "a", "c"]


def test_where_nobody_can_be_moved_it_says_so():
    (need,) = needs(asked(), np.array([1.0, 0, 0]), risk(), movable(may=np.zeros(3, bool)))
    assert need.candidates == ()
    assert "nobody on it can be moved" in need.reason


def test_a_host_that_has_enough_needs_nothing():
    assert needs(asked(), np.zeros(3), risk(), movable()) == ()


# -- a whole plan -----------------------------------------------------------------------------------------------------


def planned(**changes):
    return make_plan(*crowded(**changes), NOW, numbered())


def test_a_plan_takes_from_the_lower_tier_what_the_higher_one_is_about_to_need():
    plan = planned()
    high, low = plan.decision("high").cpu, plan.decision("low").cpu
    assert (high.choice, high.target, high.code) == (Choice.GROW, 2.0, "host_short"), "2 of 6 are free"
    assert (low.choice, low.target, low.code) == (Choice.SHRINK, 2.0, "throttled"), "6 − 4"
    assert low.reason == "host hv1 is short, and its fair share is 2.00 cores; what is above goes to high (tier high)"
    assert [(t.giver, t.taker, t.amount) for t in plan.transfers] == [("tier:low", "tier:high", 2.0)]


def test_the_low_ones_use_that_finds_no_room_is_a_need():
    (need,) = planned().needs
    assert (need.host, need.resource, need.amount) == ("hv1", "cpu", 2.0)
    assert need.candidates[0].server == "low"


def test_servers_that_are_only_advised_give_nothing_that_others_could_get():
    view, known = crowded()
    view = ClusterView(at=NOW, hosts=view.hosts, servers=(view.servers[0], server("low", tier="low", mode=Mode.ADVISE)))
    plan = make_plan(view, known, NOW, numbered())
    assert plan.decision("low").cpu.choice is Choice.HOLD
    assert plan.decision("high").cpu.target == 2.0


def test_growth_of_lower_tiers_waits_on_a_host_whose_own_forecast_is_high():
    view, known = crowded(limits=Limits(cpu_ratio=1.0), group_forecasts={"cpu": forecast(level=17.0)})
    low = server("low", tier="low", allocation=size_of(2.0, 4096), last=sample("low", cpu=2.0))
    plan = make_plan(ClusterView(at=NOW, hosts=view.hosts, servers=(view.servers[0], low)), known, NOW, numbered())
    assert plan.decision("low").cpu.code == "host_risk"
    assert "hv1 runs short with" in plan.decision("low").cpu.reason
    assert plan.decision("high").cpu.code != "host_risk"
    assert [n.probability > 0.9 for n in plan.needs if n.resource == "cpu"] == [True]


@pytest.mark.parametrize(("source", "needed"), [("baseline", 1), ("off", 1), ("entitlement", 0), ("fleet", 0)])
def test_nobody_leaves_a_host_whose_forecast_only_repeats_what_it_has(source, needed):
    """Nobody has measured it yet; it has 16 CPUs, and 15 may be wanted."""
    fan = replace(forecast(level=16.0), source=(source,))
    view, known = crowded(limits=Limits(cpu_ratio=15 / 16), group_forecasts={"cpu": fan})
    plan = make_plan(view, known, NOW, numbered())
    assert len([n for n in plan.needs if n.resource == "cpu"]) == needed


def test_floors_that_are_more_than_the_host_has_are_said_in_the_notes():
    plan = planned(limits=Limits(cpu_ratio=0.01))
    assert "cpu: the floors together are more than there is on 1 of the hosts: hv1" in plan.notes


@pytest.mark.parametrize("total", [0.0, 1500.0, 1e-3])
def test_a_host_with_a_wrong_memory_total_takes_nothing_from_anybody(total):
    """Both use 1000 MiB, and want 3900."""
    view, known = crowded()
    small = server("high", tier="high", allocation=size_of(1.0, 2048))
    odd = ClusterView(at=NOW, hosts=(host(memory=total),), servers=(small, view.servers[1]))
    plan = make_plan(odd, known, NOW, numbered())
    assert [d.memory.choice for d in plan.decisions] == [Choice.HOLD, Choice.HOLD]
    assert any("memory: 1 hosts say that they have less than is in use" in note for note in plan.notes)


def test_a_host_without_cpus_stops_nothing():
    view, known = crowded()
    plan = make_plan(ClusterView(at=NOW, hosts=(host(cpus=0),), servers=view.servers), known, NOW, numbered())
    assert [d.cpu.choice for d in plan.decisions] == [Choice.HOLD, Choice.HOLD]
