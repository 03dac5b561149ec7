"""How many shadow VMs, against a newsvendor that tries every size; the life of one; what is done about too few, too many, old ones."""

import math
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from foreshape_controller.decide import pool as rules
from foreshape_controller.decide import shadow as life
from foreshape_controller.decide.claims import Demand, Known, cost, forecast
from foreshape_controller.errors import Invalid
from foreshape_controller.model.pool import CLAIMED_KEY, SHADOW_KEY, Claim, Fallback, Happened, Pool, Shadow, State

pytestmark = pytest.mark.unit

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86400.0
POOL = Pool(id="pool-1", name="web", project="p", image="cirros", flavor="f", created=NOW - DAY)
KEYS = (SHADOW_KEY, CLAIMED_KEY)

means = st.floats(0.01, 30.0)
demands = st.builds(lambda m, more: Demand(m, m * (1 + more)), means, st.sampled_from([0.0, 0.3, 2.0, 9.0]))
costs = st.floats(0.01, 100.0)


def shadow(ident: str = "s1", state: State = State.READY, **more) -> Shadow:
    said = {"pool": "pool-1", "project": "p", "name": f"foreshape-{ident}", "image": "i1", "flavor": "f", "created": NOW - HOUR}
    return Shadow(id=ident, state=state, **{**said, "since": NOW - HOUR, **more})


def stock(*states: State, **more) -> list[Shadow]:
    return [shadow(f"s{i}", s, **more) for i, s in enumerate(states)]


# -- newsvendor


@given(demands, costs, costs)
@settings(max_examples=60, deadline=None)
def test_no_other_size_costs_less_than_the_newsvendors(demand, miss, idle):
    chosen = demand.quantile(rules.fractile(miss, idle))
    every = [cost(demand, s, miss, idle) for s in range(chosen + 40)]
    assert cost(demand, chosen, miss, idle) <= min(every) * (1 + 1e-9) + 1e-9


@given(demands)
@settings(max_examples=60, deadline=None)
def test_chances_add_up_to_one_with_the_mean_and_variance_they_were_made_from(demand):
    chances = list(islice(demand.chances(), 4000))
    mean = sum(k * c for k, c in enumerate(chances))
    assert sum(chances) == pytest.approx(1.0, abs=1e-6)
    assert mean == pytest.approx(demand.mean, rel=1e-4)
    assert sum(c * (k - mean) ** 2 for k, c in enumerate(chances)) == pytest.approx(max(demand.variance, demand.mean), rel=1e-2)


@given(demands, st.floats(0.01, 0.99), st.floats(0.0, 0.5))
def test_a_higher_fractile_never_asks_for_fewer(demand, q, more):
    assert demand.quantile(min(0.999, q + more)) >= demand.quantile(q)


def test_poisson_by_hand():
    """Mean 2: P(0) = 0.135, P(<=1) = 0.406, P(<=2) = 0.677, P(<=3) = 0.857; a miss costs four times an idle one: 0.8 asks for 3."""
    assert Demand(2.0, 2.0).quantile(rules.fractile(4.0, 1.0)) == 3
    assert Demand(2.0, 2.0).law == "Poisson"


def test_nothing_expected_asks_for_none():
    assert Demand(0.0, 0.0).quantile(0.999) == 0


# -- bounds, budget, threshold


def sized(pool: Pool) -> rules.Sized:
    """Mean 2 in 0.1 h: with costs of 1 and 0.05 an hour the fractile is 0.995, which asks for 6."""
    return rules.size(pool, Demand(2.0, 2.0), 360.0)


def test_bounds_hold_in_both_directions():
    assert sized(replace(POOL, most=50)).wanted == 6
    assert sized(replace(POOL, most=4)).wanted == 4
    assert sized(replace(POOL, least=9, most=50)).wanted == 9


def test_a_budget_caps_what_waits_and_wins_over_the_least():
    """0.16 an hour at 0.05 each pays for three."""
    found = sized(replace(POOL, most=50, least=5, budget_h=0.16))
    assert (found.wanted, found.cap) == (3, 3)
    assert "budget" in found.why


@pytest.mark.parametrize(("fallback", "wanted"), [(Fallback.SMALLER, 4), (Fallback.COLD, 0), (Fallback.NONE, 0)])
def test_a_shadow_vm_above_the_threshold_is_not_made(fallback, wanted):
    """Mean 2 in 0.1 h is 20 an hour: the k-th waits k/20 h and costs 1 + 0.05k/20; 1.0101 is enough for four."""
    found = sized(replace(POOL, most=50, boot_cost=1.0, threshold=1.0101, fallback=fallback))
    assert found.wanted == wanted
    assert str(fallback) in found.why


def test_what_is_never_claimed_costs_its_whole_life():
    """24 h at 0.05 an hour: 1.2."""
    assert rules.creation_cost(POOL, Demand(0.0, 0.0), 360.0, 1) == pytest.approx(1.2)


@given(demands, st.integers(0, 20), st.integers(1, 30), st.floats(0, 3), st.floats(0, 3), st.sampled_from(Fallback))
def test_size_keeps_every_limit(demand, least, most, budget, threshold, fallback):
    pool = replace(POOL, least=min(least, most), most=most, budget_h=budget, threshold=threshold, fallback=fallback)
    found = rules.size(pool, demand, 300.0)
    assert 0 <= found.wanted <= found.cap <= most
    assert found.wanted * pool.idle_cost_h <= budget + 1e-6


# -- claims to come


def test_without_claims_the_operators_word_counts():
    """Six an hour are half a one in five minutes."""
    assert forecast(Known([], NOW, NOW), 300.0, NOW, 6.0).mean == pytest.approx(0.5)


def test_a_steady_stream_is_forecast_as_it_is():
    """One each 100 s for a day: three in five minutes."""
    times = [NOW - DAY + 100 * k + 1 for k in range(864)]
    assert forecast(Known(times, NOW - DAY, NOW), 300.0, NOW).mean == pytest.approx(3.0, rel=0.02)


def test_what_comes_every_morning_is_seen_before_it_comes():
    """Ten at nine o'clock on each of ten days; asked five minutes before, and at noon."""
    nine = NOW - 40 * 60
    times = sorted(nine - d * DAY + k for d in range(1, 11) for k in range(10))
    at = [forecast(Known(times, NOW - 15 * DAY, now), 600.0, now).mean for now in (nine - 300.0, nine + 3 * HOUR)]
    assert at[0] > 1.0 > 10 * at[1]


def test_bursts_have_more_variance_than_a_poisson():
    times = sorted(NOW - 600.0 * k * 6 - j for k in range(1, 20) for j in range(8))
    found = forecast(Known(times, NOW - DAY, NOW), 600.0, NOW)
    assert found.law == "negative binomial"
    assert found.quantile(0.99) > Demand(found.mean, found.mean).quantile(0.99)


def test_old_demand_that_stopped_is_forgotten():
    times = [NOW - DAY + 2 * HOUR + 60.0 * k for k in range(400)]  # at another time of day, and over for 15 h
    assert forecast(Known(times, NOW - DAY, NOW), 300.0, NOW).mean < 0.2


@given(st.lists(st.floats(NOW - 10 * DAY, NOW + DAY), max_size=60), st.floats(60, 7200), st.floats(0, DAY))
@settings(max_examples=50, deadline=None)
def test_any_history_gives_a_sound_forecast(times, window, ahead):
    found = forecast(Known(sorted(times), NOW - 10 * DAY, NOW), window, NOW + ahead)
    assert 0 <= found.mean <= found.variance + 1e-12 < math.inf


# -- what to do


def steps(pool: Pool, shadows: list[Shadow], wanted: int, cap: int = 9, image: str = "i1", last_claim: float = 0.0) -> rules.Steps:
    return rules.steps(pool, shadows, rules.Sized(wanted, cap, 0.9, "so many"), image, NOW, last_claim)


def test_what_is_missing_is_booted_at_once_and_what_boots_counts():
    assert steps(POOL, [], 3).boot == 3
    assert steps(POOL, stock(State.READY, State.BOOTING, State.PLANNED), 3).boot == 0


def test_failed_claimed_and_cold_ones_count_for_nobody():
    others = [*stock(State.FAILED, State.CLAIMED, State.HANDED_OVER, State.GONE), shadow("cold", State.READY, cold=True)]
    assert steps(POOL, others, 2).boot == 2


def test_one_too_many_goes_after_the_quiet_time_and_only_one():
    three = stock(State.READY, State.READY, State.READY)
    assert steps(POOL, three, 1).retire == ("s0",)
    assert steps(POOL, three, 1, last_claim=NOW - 60).retire == ()
    assert steps(POOL, [*three, shadow("s9", State.GONE, since=NOW - 60)], 1).retire == ()


def test_a_pool_whose_demand_ends_shrinks_step_by_step_to_its_least():
    """Four to one, an hour apart."""
    shadows, at, counts = stock(*[State.READY] * 4), NOW, []
    for _ in range(12):
        found = rules.steps(replace(POOL, max_age_s=30 * DAY), shadows, rules.Sized(1, 4, 0.9, ""), "i1", at, 0.0)
        shadows = [life.advance(s, Happened.RETIRE, "", at) if s.id in found.retire else s for s in shadows]
        counts.append(sum(s.state.stock for s in shadows))
        at += HOUR / 2
    assert counts == [3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]


def test_another_image_replaces_one_at_a_time_the_new_one_first():
    old = stock(State.READY, State.READY, image="i0")
    assert steps(POOL, old, 2) == rules.Steps(1, (), "so many")
    booting = [*old, shadow("n1", State.BOOTING)]
    assert steps(POOL, booting, 2) == rules.Steps(0, (), "so many")
    ready = [*old, shadow("n1", State.READY)]
    assert steps(POOL, ready, 2).retire == ("s0",)


def test_where_there_is_no_room_for_both_the_old_one_goes_first():
    old = stock(State.READY, State.READY, image="i0")
    assert steps(POOL, old, 2, cap=2).retire == ("s0",)
    assert steps(POOL, [old[1], shadow("n1", State.BOOTING)], 2, cap=2) == rules.Steps(0, (), "so many")


@given(st.integers(1, 6), st.integers(0, 6), st.booleans())
def test_rotation_ends_with_only_new_ones_and_never_with_fewer_than_all_but_one(wanted, extra, cramped):
    cap, shadows, at = wanted if cramped else wanted + 3, stock(*[State.READY] * (wanted + extra), image="i0"), NOW
    for k in range(60):
        found = rules.steps(POOL, shadows, rules.Sized(wanted, cap, 0.9, ""), "i1", at, 0.0)
        shadows = [life.advance(s, Happened.UP, "", at) if s.state is State.BOOTING else s for s in shadows]
        shadows = [life.advance(s, Happened.RETIRE, "", at) if s.id in found.retire else s for s in shadows]
        shadows += [shadow(f"n{k}-{i}", State.BOOTING, created=at) for i in range(found.boot)]
        assert sum(s.state is State.READY for s in shadows) >= wanted - 1
        at += 600.0
    alive = [s for s in shadows if s.state.stock]
    assert {s.image for s in alive} == {"i1"}
    assert len(alive) == wanted


def test_without_its_image_nothing_is_booted_and_nothing_replaced():
    found = steps(POOL, stock(State.READY, image="i0"), 3, image="")
    assert (found.boot, found.retire) == (0, ())
    assert "image" in found.why


def test_a_deleted_pool_retires_what_waits_and_nothing_else():
    every = stock(*State)
    found = steps(replace(POOL, deleted_at=NOW), every, 3)
    assert {s.state for s in every if s.id in found.retire} == {State.PLANNED, State.BOOTING, State.READY}


def test_boots_that_fail_are_tried_again_later_each_time():
    """60 s after the first, 120 s after the second; a good one in between forgets them."""
    failed = [shadow(f"s{i}", State.GONE, asked_at=NOW - 100, since=NOW + i) for i in range(2)]
    assert rules.pause_until(failed) == NOW + 1 + 120
    assert rules.pause_until([*failed, shadow("good", State.READY, asked_at=NOW, ready_at=NOW + 2, since=NOW + 2)]) == 0.0
    many = [shadow(f"s{i}", State.GONE, asked_at=NOW - 100, since=NOW + i) for i in range(40)]
    assert rules.pause_until(many) == NOW + 39 + rules.FAILED_MOST_S


def test_the_lead_time_is_as_measured_once_there_are_three():
    took = [shadow(f"s{i}", asked_at=NOW, ready_at=NOW + t) for i, t in enumerate((10.0, 20.0, 30.0))]
    assert rules.lead(POOL, took[:2]) == POOL.lead_s
    assert rules.lead(POOL, took) == 30.0


def test_a_claim_gets_the_newest_image_then_room_then_the_oldest():
    old_image = shadow("a", image="i0", host="big", created=NOW - 9 * HOUR)
    cramped = shadow("b", host="small", created=NOW - 5 * HOUR, sold_mib=2048.0)
    young, best = shadow("c", host="big", created=NOW - 60, sold_mib=2048.0), shadow("d", host="big", created=NOW - HOUR, sold_mib=2048.0)
    others = [shadow("e", State.BOOTING), shadow("f", cold=True)]
    found = rules.pick([old_image, cramped, young, best, *others], {"big": 4096.0, "small": 100.0}, "i1")
    assert [s.id for s in found] == ["d", "c", "b", "a"]


# -- the life of one

EVENTS = st.lists(st.sampled_from(Happened), max_size=25)


@given(st.sampled_from([State.PLANNED, State.READY]), EVENTS)
@example(State.READY, [Happened.CLAIM, Happened.VANISHED, Happened.FOUND, Happened.RETIRE])
@example(State.READY, [Happened.CLAIM, Happened.HANDED, Happened.RETIRE, Happened.CLEAN, Happened.GONE])
def test_whatever_happens_a_claimed_one_is_never_deletable(begin, events):
    one, claimed = shadow(state=begin), False
    for at, event in enumerate(events):
        if not life.may(one, event):
            with pytest.raises(Invalid):
                life.advance(one, event, "", NOW + at)
            continue
        one = life.advance(one, event, "", NOW + at)
        claimed = claimed or event is Happened.CLAIM
        assert (one.claimed_at is not None) == claimed
        if claimed:
            assert one.state in (State.CLAIMED, State.HANDED_OVER, State.LOST)
            assert life.deletable(one)


def test_only_who_retires_is_deletable_and_every_state_can_end():
    assert [s for s in State if not life.deletable(shadow(state=s))] == [State.RETIRING]
    reach = {s: {to for (of, _), to in life.NEXT.items() if of is s} for s in State}
    ends = {s for s in State if s.over}
    for state in State:
        found, todo = {state}, [state]
        while todo:
            todo += (new := reach[todo.pop()] - found)
            found |= new
        assert found & ends, state


def test_each_event_is_possible_somewhere_and_over_is_over():
    assert {event for _, event in life.NEXT} == set(Happened)
    assert {event for state, event in life.NEXT if state.over} == {Happened.FOUND}


@pytest.mark.parametrize(
    ("metadata", "project", "says"),
    [
        ({}, "p", "tag"),
        ({SHADOW_KEY: "s2"}, "p", "tag"),
        ({SHADOW_KEY: "s1", CLAIMED_KEY: "ann"}, "p", "claimed"),
        ({SHADOW_KEY: "s1"}, "q", "project"),
        ({SHADOW_KEY: "s1"}, "p", ""),
    ],
)
def test_a_server_is_ours_only_by_tag_record_and_project(metadata, project, says):
    found = life.proven_ours(shadow("s1"), "p", metadata, KEYS, project)
    assert says in found
    assert bool(found) == bool(says)


# -- figures, bad input


def test_a_report_counts_hits_ages_and_costs():
    """Two waited an hour each, one of them was taken: 0.1 for one hit, of three claims."""
    taken = shadow(
        "a", State.HANDED_OVER, asked_at=NOW - 2 * HOUR, ready_at=NOW - 2 * HOUR, claimed_at=NOW - HOUR, handed_at=NOW - HOUR + 4
    )
    waits = shadow("b", State.READY, asked_at=NOW - HOUR, ready_at=NOW - HOUR + 20)
    claims = [Claim(pool="pool-1", at=NOW - HOUR, hit=True, age_s=HOUR), *[Claim(pool="pool-1", at=NOW - k, hit=False) for k in (1, 2)]]
    found = rules.report(POOL, [taken, waits], claims, NOW - DAY, NOW)
    assert (found.claims, found.hits, found.misses, found.hit_rate) == (3, 1, 2, pytest.approx(1 / 3))
    assert (found.cost, found.cost_per_hit) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (found.age_s, found.hit_age_s, found.claim_s, found.boot_s) == (HOUR - 20, HOUR, 4.0, 10.0)


def test_a_report_without_anything_divides_by_nothing():
    found = rules.report(POOL, [], [], NOW - DAY, NOW)
    assert (found.hit_rate, found.cost_per_hit, found.age_s, found.cost) == (None, None, None, 0.0)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": " a"}, "name"),
        ({"least": 3, "most": 2}, "least"),
        ({"most": 0}, "most"),
        ({"idle_cost_h": math.nan}, "idle_cost_h"),
        ({"threshold": -1.0}, "threshold"),
        ({"max_age_s": math.inf}, "max_age_s"),
        ({"networks": ("",)}, "networks"),
        ({"image": "\n"}, "image"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(changed, says):
    with pytest.raises(Invalid, match=says):
        rules.check(replace(POOL, **changed))
