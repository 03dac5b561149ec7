"""How far a host is sold: up when it was free for long, back before the load comes, never below what is allocated."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foreshape_controller.decide import sell
from foreshape_controller.decide.sell import SellRule, Terms
from foreshape_controller.decide.spare import spare
from foreshape_controller.model.sale import GRAIN, MOVED, OVERWRITTEN, WATCHED, WRITING, Room, same
from sell_support import HOUR, NOW, RULE, TERMS, expects, forecast, room, sale

pytestmark = pytest.mark.unit

DEMANDS = st.floats(0.0, 400.0)
ROOMS = st.builds(
    Room,
    total=st.integers(1, 600_000),
    reserved=st.integers(0, 600),
    used=st.integers(0, 900_000),
    ratio=st.floats(0.1, 16.0).map(lambda r: round(r, 3)),
).filter(lambda r: r.physical > 0 and r.used <= r.capacity(r.ratio))


def looks(start, at, seen, now, terms=TERMS, rule=RULE):
    return sell.look(start, at, seen, terms, rule, now)


# -- how much


def test_what_is_free_is_sold_by_what_sold_units_really_use():
    # 100 cores, 80 sold, these use 20 at their peak: each 0.25, but a newcomer counts 0.5. 90 - 20 = 70 free: 140 more, 220 in all.
    assert sell.supported(room(used=80), 20.0, 0.5, 0.9) == pytest.approx(2.2)
    # Those who are there use 0.75 each: 90 - 60 = 30 free, 40 more.
    assert sell.supported(room(used=80), 60.0, 0.5, 0.9) == pytest.approx(1.2)
    assert sell.supported(room(used=80), 95.0, 0.5, 0.9) == pytest.approx(0.8), "nothing is free: no more than is allocated"


@given(ROOMS, st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.01, 2.0), st.floats(0.1, 1.0))
def test_more_demand_never_lets_more_be_sold(at, one, other, newcomer, full):
    low, high = sorted((one, other))
    assert sell.supported(at, high, newcomer, full) <= sell.supported(at, low, newcomer, full)
    assert sell.supported(at, low, newcomer, full) * at.physical >= at.used - 1e-6


@given(ROOMS, st.floats(0.0, 50.0))
@example(Room(total=100, used=401, ratio=5.0), 4.01)  # int(100 * 4.01) is 400
@example(Room(total=3, used=1, ratio=1.0), 0.333)
def test_no_ratio_is_below_what_is_allocated_by_placements_own_arithmetic(at, ratio):
    found = sell.at_least(ratio, at)
    assert at.capacity(found) >= at.used
    assert found <= max(ratio, at.used / at.physical + 2 * GRAIN) + 1e-9, "and no further above than that takes"


@given(ROOMS, st.floats(0.0, 50.0), st.floats(0.0, 20.0), st.floats(0.1, 16.0))
def test_bounds_hold_except_for_what_is_allocated_or_was_there_before(at, ratio, most, original):
    found = sell.bounded(ratio, at, Terms(most=most), original)
    assert at.capacity(found) >= at.used
    assert original - GRAIN <= found <= max(most, original, at.used / at.physical + 2 * GRAIN) + 1e-9


# -- what now


def test_it_rises_by_one_step_only_after_a_day_in_which_every_look_allowed_it():
    state, at = sale(1.0), room(used=80)
    for hour, later in enumerate([20.0] * 12 + [60.0] + [20.0] * 11):
        state = looks(state, at, expects(10.0, later), NOW + hour * HOUR)
        assert math.isnan(state.wanted), f"hour {hour}: {state.reason}"
    state = looks(state, at, expects(10.0, 20.0), NOW + 24 * HOUR)
    assert state.wanted == pytest.approx(1.2), "the one look of 60 cores allowed 1.2, less than a step more"
    assert "free for 24 h" in state.reason


def test_one_look_without_room_begins_the_wait_anew():
    state, at = sale(1.0), room(used=80)
    state = looks(state, at, expects(10.0, 20.0), NOW)
    assert state.free_since == NOW
    state = looks(state, at, expects(10.0, 89.0), NOW + 20 * HOUR)
    assert state.free_since is None
    state = looks(state, at, expects(10.0, 20.0), NOW + 25 * HOUR)
    assert math.isnan(state.wanted)


def test_within_the_dead_band_nothing_moves():
    # 45 free, newcomers cost 0.5, the operator allows 1.04 at most: four hundredths are not worth a write.
    state = looks(sale(1.0, free_since=NOW - 48 * HOUR), room(used=80), expects(10.0, 20.0), NOW, Terms(most=1.04))
    assert math.isnan(state.wanted)
    assert "no more can be sold" in state.reason


def test_it_goes_back_at_once_and_all_the_way_when_a_rise_comes_within_the_lead_time():
    state = sale(2.0, original=1.0, state=MOVED)
    later_only = looks(state, room(used=80, ratio=2.0), expects(20.0, 85.0), NOW)
    assert math.isnan(later_only.wanted), "tomorrow's rise only ends the wait"
    near = looks(state, room(used=80, ratio=2.0), expects(85.0, 85.0), NOW)
    assert near.wanted == 1.0, "85 of 90 cores: 4 more at most, and the host had 1.0 before"
    assert near.short == 0.0


def test_what_was_bought_meanwhile_is_never_taken_back_but_somebody_has_to_leave():
    # 150 are allocated of 100 cores, sold at 2.0: the ratio stops at 1.5, and 95 cores are asked of 90.
    state = looks(sale(2.0, original=1.0, state=MOVED), room(used=150, ratio=2.0), expects(95.0), NOW)
    assert state.wanted == 1.5
    assert state.short == pytest.approx(5.0)
    assert state.short_from == NOW + HOUR


def test_a_shortage_that_is_not_our_doing_is_left_to_the_plan():
    state = looks(sale(2.0, state=WATCHED), room(used=150, ratio=2.0), expects(95.0), NOW)
    assert state.short == 0.0, "the host was sold at 2.0 before we came"
    assert math.isnan(state.wanted)


def test_what_nobody_forecasts_is_not_sold_and_what_was_goes_back():
    assert math.isnan(looks(sale(1.0, free_since=NOW - 48 * HOUR), room(), "nobody forecasts its demand", NOW).wanted)
    back = looks(sale(2.0, original=1.0, state=MOVED), room(used=120, ratio=2.0), "its forecast is 90 minutes old", NOW)
    assert back.wanted == 1.2
    assert back.reason.startswith("moved back: its forecast is 90 minutes old")
    assert "120 are allocated: 1 when these are gone" in back.reason


def test_giving_back_ends_exactly_where_it_began():
    state = sale(2.0, original=4 / 3, state=MOVED)
    back = sell.give_back(state, room(used=40, ratio=2.0), "stopped", NOW)
    assert back.wanted == 4 / 3
    assert sell.arrived(back, 4 / 3).state == WATCHED
    assert math.isnan(sell.give_back(sell.arrived(back, 4 / 3), room(used=40, ratio=4 / 3), "stopped", NOW).wanted)


STEPS = st.lists(
    st.tuples(DEMANDS, DEMANDS, st.integers(-30, 30), st.booleans(), st.floats(0.1, 30.0)),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=50)
@given(STEPS, st.integers(4, 128), st.sampled_from([1.0, 1.5, 4.0, 16.0]), st.floats(0.5, 8.0))
def test_whatever_comes_it_stays_above_what_is_allocated_rises_slowly_and_waits(steps, cores, original, most):
    """A host whose users come and go as Placement lets them."""
    terms, rule = Terms(most=most, step=0.25), SellRule()
    state, ratio, used, now = sale(original), original, 0, NOW
    last_write = now
    for soon, later, change, blind, hours in steps:
        now += hours * HOUR
        at = Room(total=cores, used=used, ratio=ratio)
        before, state = state, sell.look(state, at, "silent" if blind else expects(soon, later), terms, rule, now)
        if not math.isnan(state.wanted):
            assert at.capacity(state.wanted) >= used
            assert state.wanted <= ratio + terms.step + GRAIN
            if state.wanted > ratio:
                assert now - last_write >= rule.hold_s
                assert before.free_since is not None
                assert state.wanted <= max(most, original) + GRAIN
            ratio, last_write = state.wanted, now
            state = sell.arrived(state, ratio)
        assert ratio >= original - GRAIN
        used = max(0, min(used + change, int(cores * ratio)))


# -- who wrote it


def test_a_ratio_that_others_wrote_ends_ours_with_a_sentence_that_says_what_to_change():
    seen = sell.reread(sale(2.0, original=1.0, state=MOVED), 16.0)
    assert seen.state == OVERWRITTEN
    assert "[DEFAULT] cpu_allocation_ratio is set in its nova.conf" in seen.reason
    assert "foreshape sell start hv1" in seen.reason
    assert sell.reread(seen, 16.0) is seen, "until somebody says start"
    memory = sell.reread(sale(1.2, original=1.0, state=MOVED, resource="memory"), 1.0)
    assert "ram_allocation_ratio" in memory.reason


def test_a_ratio_that_an_operator_sets_before_we_did_anything_is_the_new_original():
    seen = sell.reread(sale(1.0), 3.0)
    assert (seen.state, seen.original, seen.ratio) == (WATCHED, 3.0, 3.0)


@pytest.mark.parametrize(
    ("there", "state"),
    [(1.0, WATCHED), (1.25, MOVED), (1.1, OVERWRITTEN), (16.0, OVERWRITTEN)],
    ids=["not done", "done", "something between", "somebody's"],
)
def test_an_interrupted_rise_is_settled_by_what_is_there(there, state):
    assert sell.reread(sale(1.0, state=WRITING, target=1.25), there).state == state


def test_an_interrupted_way_back_may_have_stopped_earlier_because_more_was_allocated():
    way = sale(2.0, original=1.0, state=WRITING, target=1.2)
    assert [sell.reread(way, r).state for r in (2.0, 1.6, 1.2, 1.0)] == [MOVED, MOVED, MOVED, OVERWRITTEN]


@given(st.floats(0.1, 16.0), st.floats(0.1, 16.0))
def test_ratios_that_a_database_rounded_are_still_the_same(a, b):
    rounded = float(f"{round(a, 3):.6g}")
    assert same(round(a, 3), rounded)
    assert same(a, b) == same(b, a)


# -- out of a forecast


def test_the_outlook_takes_the_lead_time_and_the_day():
    # Half-hours of 10 cores, from the 13th on (6 h away) 50.
    rising = forecast([10.0] * 12 + [50.0])
    seen = sell.outlook(rising, RULE, 40.0, NOW)
    assert (seen.soon, seen.later, seen.short_from) == (10.0, 50.0, math.inf)
    nearer = sell.outlook(rising, replace(RULE, lead_s=6.1 * HOUR), 40.0, NOW)
    assert (nearer.soon, nearer.short_from) == (50.0, int(NOW) + 6 * HOUR)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (None, "nobody forecasts"),
        (forecast([10.0], origin=NOW - 2 * HOUR), "120 minutes old"),
        (forecast([10.0], age_h=3.0), "measured for 3 h only"),
        (forecast([10.0], age_h=math.nan), "measured for 0 h only"),
        (forecast([math.nan]), "no numbers"),
        (forecast([10.0, math.inf]), "no numbers"),
    ],
    ids=["none", "old", "young", "age unknown", "not a number", "infinite"],
)
def test_what_is_no_ground_says_why(told, why):
    assert why in sell.outlook(told, RULE, 40.0, NOW)


def test_switched_off_forecasts_are_no_ground():
    assert sell.outlook(replace(forecast([10.0]), source=("off",)), RULE, 40.0, NOW) == "forecasts are switched off"


def test_a_host_without_room_of_a_kind_is_left_alone():
    state = looks(sale(1.0), Room(total=8, reserved=8, ratio=1.0), expects(0.0), NOW)
    assert math.isnan(state.wanted)
    assert state.physical == 0


# -- headroom for Nova's scheduler


def test_headroom_is_what_the_day_leaves_of_the_fuller_resource_and_nothing_is_said_of_the_unknown():
    looks = [
        ("hv1", 100, expects(10.0, 40.0)),
        ("hv1", 1000, expects(700.0)),
        ("hv2", 100, expects(20.0)),
        ("hv2", 1000, "nobody forecasts its demand"),
        ("hv3", 100, expects(140.0)),
        ("hv4", 0, expects(0.0)),
    ]
    assert spare(looks) == {"hv1": pytest.approx(0.3), "hv3": 0.0}
