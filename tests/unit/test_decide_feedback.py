"""Predicted against actual, and tiers that learn of it: bounded, patient, and in the long run at their target."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_support import BEFORE, in_force, lived
from foreshape_controller.decide.feedback import FeedbackRule, adapt, adapted, judge_bins, tally, tally_moves
from foreshape_controller.decide.headroom import HeadroomRule, Window
from foreshape_controller.decide.headroom import adapt as narrow
from foreshape_controller.decide.tiers import BUILT_IN
from foreshape_controller.model.columns import GROW, SHRINK
from foreshape_controller.model.mark import FIELDS, Factors, Mark
from long_support import LONG

pytestmark = pytest.mark.unit

RULE = FeedbackRule()


def marked(came, decided) -> Mark:
    (mark,) = tally(came, BEFORE, decided, 1)
    return mark


# -- what a bin was ---------------------------------------------------------------------------------------------------


def test_a_bin_that_needed_more_than_there_was_is_violated_and_short():
    mark = marked(lived(need=1.2, had=1.0), in_force())
    assert (mark.bins, mark.violated, mark.short, mark.unmet, mark.sold_out) == (6, 6, 6, 0, 0)
    assert mark.demand == pytest.approx(6 * 1.2)
    assert mark.allocation == pytest.approx(6)
    assert mark.freed == pytest.approx(6 * 3)  # 4 were sold


def test_quiet_bins_have_slack_and_no_violation():
    mark = marked(lived(need=0.25, had=1.0), in_force())
    assert (mark.violated, mark.short, mark.acting) == (0, 0, 6)
    assert mark.slack == pytest.approx(0.75)
    assert mark.violation_share == 0


def test_a_rounding_of_the_store_is_no_violation():
    assert marked(lived(need=1.0005, had=1.0), in_force()).violated == 0


def test_a_bin_at_its_cap_is_counted_apart_and_teaches_as_much():
    mark = marked(lived(need=1.0, had=1.0, capped=0.6), in_force())
    assert (mark.violated, mark.capped, mark.short) == (0, 6, 6)


def test_who_has_all_it_can_have_teaches_nothing():
    mark = marked(lived(need=4.5, had=4.0), in_force(wanted=4.0, target=4.0))
    assert (mark.violated, mark.sold_out, mark.short) == (6, 6, 0)


def test_neither_does_who_was_refused_what_was_wanted():
    """2.0 were wanted and would have been enough; the host had no room."""
    mark = marked(lived(need=1.5, had=1.0), in_force(wanted=2.0, target=1.0))
    assert (mark.violated, mark.unmet, mark.short) == (6, 6, 0)


def test_nor_who_waits_for_an_order():
    assert marked(lived(need=1.5, had=1.0), in_force(wanted=2.0, target=2.0, choice=GROW)).unmet == 6


def test_within_the_dead_band_it_is_the_rule_s_own_fault():
    assert marked(lived(need=1.04, had=1.0), in_force(wanted=1.05, target=1.0)).short == 6


def test_in_mode_advise_violations_are_counted_and_teach_nothing():
    mark = marked(lived(need=1.5, had=1.0), in_force(acting=False))
    assert (mark.violated, mark.acting, mark.short) == (6, 0, 0)


def test_a_bin_without_data_is_missing():
    mark = marked(lived(need=np.nan, had=1.0), in_force())
    assert (mark.bins, mark.missing, mark.windows) == (0, 6, 0)


def test_what_a_longer_hold_would_have_covered_is_told():
    """It had 2 until bin 3 and needs 1.5 now: a hold of six bins sees bins 0 to 5 before the first bin judged."""
    had = np.array([[2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]])
    bins = judge_bins(lived(need=1.5, had=had), BEFORE, in_force())
    assert bins.short.sum() == 6
    assert bins.after_shrink[0].tolist() == [True, True, True, True, False, False]
    assert judge_bins(lived(need=1.5, had=had), BEFORE, in_force(hold_bins=2)).after_shrink.sum() == 0


def test_the_predicted_peak_is_held_against_the_measured_one():
    mark = marked(lived(need=0.5, had=1.0, peak=np.full((1, 12), 0.8)), in_force(wanted=1.0))
    assert (mark.windows, mark.exceeded, mark.predicted) == (1, 0, 1.0)
    assert mark.came == pytest.approx(0.8)
    assert marked(lived(need=0.5, had=2.0, peak=np.full((1, 12), 1.1)), in_force(wanted=1.0)).exceeded == 1


def test_what_could_not_be_decided_is_frozen_and_not_judged():
    mark = marked(lived(need=0.5, had=1.0), in_force(frozen=True))
    assert (mark.frozen, mark.windows, mark.held) == (1, 0, 0)


def test_tiers_are_told_apart_and_add_up():
    came = lived(need=[[1.2] * 12, [0.5] * 12, [0.5] * 12], had=1.0)
    first, second = tally(came, BEFORE, in_force(3, tier=[0, 1, 1]), 2)
    assert (first.violated, first.bins) == (6, 6)
    assert (second.violated, second.bins) == (0, 12)
    assert (first + second).bins == 18


# -- were decisions right ---------------------------------------------------------------------------------------------


def moves(choice, came, **more) -> Mark:
    (mark,) = tally_moves(came, np.array([BEFORE]), in_force(choice=choice, **more), 1)
    return mark


def test_a_growth_was_right_when_more_came_than_it_had():
    assert moves(GROW, lived(need=1.3, had=1.5), target=1.5).grew_came == 1
    too_early = moves(GROW, lived(need=0.7, had=1.5), target=1.5)
    assert (too_early.grew, too_early.grew_came) == (1, 0)


def test_a_shrink_was_wrong_when_the_next_half_hour_needed_more_than_was_left():
    assert moves(SHRINK, lived(need=0.9, had=0.8), target=0.8).shrank_short == 1
    fine = moves(SHRINK, lived(need=0.5, had=0.8), target=0.8)
    assert (fine.shrank, fine.shrank_short) == (1, 0)


def test_a_hold_was_wrong_when_it_was_short():
    assert marked(lived(need=1.2, had=1.0), in_force()).held_short == 1
    assert marked(lived(need=0.8, had=1.0), in_force()).held_short == 0


# -- what a tier learns -----------------------------------------------------------------------------------------------


def day(short: float, acting: float = 10_000, **more: float) -> Mark:
    return Mark(**{"bins": acting, "acting": acting, "short": short, "windows": acting / 6, **more})


def test_too_many_short_bins_widen_the_headroom():
    """2 % against 1 %: (200 + 1) / (10,000 + 100) = 1.99 %, and exp(0.15 · ln 1.99) = 1.109."""
    after = adapt(Factors(), day(200), 0.01, "cpu", RULE)
    assert after.headroom == pytest.approx(exp(0.15 * log(201 / 10_100 / 0.01)))
    assert after.hold == 1.0
    assert "2.00% of 10000 bins were short, 1.00% is the target" in after.reason
    assert "headroom 1.00 → 1.11" in after.reason


def test_what_a_longer_hold_would_have_covered_lengthens_the_hold_instead():
    after = adapt(Factors(), day(200, after_shrink=200), 0.01, "cpu", RULE)
    assert (after.headroom, after.hold) == (1.0, pytest.approx(1.109, abs=1e-3))


def test_none_at_all_narrows_both_slowly():
    """One to be expected in 100, none in 10,000: x is bounded at -2, and exp(-0.05 · 2 · 0.5) = 0.951."""
    after = adapt(Factors(), day(0), 0.01, "cpu", RULE)
    assert (after.headroom, after.hold) == (pytest.approx(exp(-0.05)), pytest.approx(exp(-0.05)))


def test_near_its_target_it_stays():
    after = adapt(Factors(headroom=1.2), day(108), 0.01, "cpu", RULE)
    assert after.headroom == 1.2
    assert after.reason.endswith("it stays")


def test_the_fewer_it_saw_the_more_it_takes_for_chance():
    """Eight short where six are expected: 1/√6 = 41 % is chance. 150 where 100 are is not."""
    assert adapt(Factors(), day(8, 600), 0.01, "cpu", RULE).headroom == 1.0
    assert adapt(Factors(), day(150, 10_000), 0.01, "cpu", RULE).headroom > 1.0


def test_memory_never_narrows_below_the_tier_s_own_quantile():
    assert adapt(Factors(), day(0), 0.01, "memory", RULE).headroom == 1.0


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (day(0, 0), "no server of it is in mode act"),
        (day(400, 499), "499 bins seen, 500 needed"),
        (day(400, missing=3000), "23% of the bins are missing"),
        (day(400, frozen=500), "nothing could be decided about 23% of the servers"),
    ],
)
def test_it_learns_nothing_from_too_little_or_from_a_day_out_of_order(mark, words):
    after = adapt(Factors(headroom=1.3, hold=0.9), mark, 0.01, "cpu", RULE)
    assert (after.headroom, after.hold) == (1.3, 0.9)
    assert words in after.reason


def test_the_policy_keeps_quantile_and_floors_and_changes_only_headroom_and_hold():
    tiers = adapted(BUILT_IN, {("economy", "cpu"): Factors(headroom=1.5, hold=0.5)})
    was, now = BUILT_IN.tiers["economy"].cpu, tiers.tiers["economy"].cpu
    assert (now.headroom, now.hold_s) == (1.5 * was.headroom, 0.5 * was.hold_s)
    assert (now.quantile, now.floor_share, now.floor_least) == (was.quantile, was.floor_share, was.floor_least)
    assert tiers.tiers["economy"].memory == BUILT_IN.tiers["economy"].memory
    assert tiers.tiers["standard"] == BUILT_IN.tiers["standard"]
    assert adapted(BUILT_IN, {}) is BUILT_IN
    assert adapted(BUILT_IN, {("gone", "cpu"): Factors(headroom=1.5)}) == BUILT_IN


# -- in the long run --------------------------------------------------------------------------------------------------

shares = st.floats(0, 1)
factors = st.builds(Factors, headroom=st.floats(0.1, 5), hold=st.floats(0.1, 5))


@settings(max_examples=min(LONG, 1000))
@given(factors, st.floats(0, 20_000), shares, shares, st.floats(0.0005, 0.1), st.sampled_from(["cpu", "memory"]))
def test_factors_stay_inside_their_bounds_and_move_by_no_more_than_a_day_may(before, acting, short, after_shrink, target, resource):
    before = adapt(before, day(0, 0), target, resource, RULE)  # into the bounds
    mark = day(short * acting, acting, after_shrink=after_shrink * short * acting)
    after = adapt(before, mark, target, resource, RULE)
    low, high = RULE.of(resource)
    assert low <= after.headroom <= high
    assert RULE.hold[0] <= after.hold <= RULE.hold[1]
    for was, now in ((before.headroom, after.headroom), (before.hold, after.hold)):
        assert exp(-0.1) - 1e-9 <= now / was <= exp(0.3) + 1e-9


@settings(max_examples=min(LONG, 1000))
@given(factors, st.lists(st.floats(0, 10_000), min_size=2, max_size=2), shares, st.floats(0.001, 0.1))
def test_more_short_bins_never_leave_less_room(before, shorts, after_shrink, target):
    """In logarithms together: what does not go to the headroom goes to the hold."""
    few, many = sorted(shorts)
    before = adapt(before, day(0, 0), target, "cpu", FeedbackRule(headroom=(0.01, 100), hold=(0.01, 100)))
    room = [
        log(a.headroom) + log(a.hold)
        for s in (few, many)
        for a in [adapt(before, day(s, after_shrink=after_shrink * s), target, "cpu", FeedbackRule(headroom=(0.01, 100), hold=(0.01, 100)))]
    ]
    assert room[1] >= room[0] - 1e-9


@settings(max_examples=LONG // 10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_marks_do_not_depend_on_the_order_of_servers_nor_on_how_they_are_cut_into_batches(seed, n):
    rng = np.random.default_rng(seed)
    came = lived(need=rng.gamma(2, 0.5, (n, 12)), had=rng.gamma(2, 0.6, (n, 12)), capped=rng.random((n, 12)))
    decided = in_force(
        n, tier=rng.integers(0, 3, n), wanted=rng.gamma(2, 0.6, n), target=rng.gamma(2, 0.6, n), hold_bins=rng.integers(1, 8, n)
    )
    whole = tally(came, BEFORE, decided, 3)
    order = rng.permutation(n)
    cut = rng.integers(0, n + 1)
    parts = [tally(came.pick(rows), BEFORE, decided.pick(rows), 3) for rows in (order[:cut], order[cut:])]
    for tier in range(3):
        together = parts[0][tier] + parts[1][tier]
        assert [getattr(together, f) for f in FIELDS] == pytest.approx([getattr(whole[tier], f) for f in FIELDS], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("target", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("wrong", [0.55, 1.6])
def test_a_tier_whose_forecasts_are_too_narrow_or_too_wide_comes_to_its_target(target, wrong):
    """Demand is normal around the median; the forecast's spread is wrong by a factor. 200 servers, 57,600 bins a day, 60 days."""
    rng = np.random.default_rng(7)
    deviate = {0.005: 2.5758, 0.01: 2.3263, 0.02: 2.0537}[target]
    now, seen = Factors(), []
    for _ in range(60):
        short = np.count_nonzero(rng.standard_normal(57_600) > wrong * deviate * now.headroom)
        seen.append(short / 57_600)
        now = adapt(now, day(short, 57_600), target, "cpu", RULE)
    assert seen[0] > 2 * target or seen[0] < target / 2
    assert np.mean(seen[-20:]) == pytest.approx(target, rel=0.2)
    assert RULE.headroom[0] < now.headroom < RULE.headroom[1]
    assert np.ptp([adapt(now, day(s * 57_600, 57_600), target, "cpu", RULE).headroom for s in seen[-20:]]) < 0.1  # it has come to rest


def test_the_servers_own_factors_and_the_tier_s_do_not_fight():
    """200 servers whose forecasts are too narrow or too wide by .6 to 1.6; peaks of half-hours are normal, a bin is a sixth of one.

    The servers' factors are judged without the tier's: they make all err alike often, and come to the same with and without it.
    Alone they leave 10 % of the half-hours short, a sixth of that of the bins; the tier's then sets how often it is: its 0.5 %.
    """
    with_tier, without = _two_loops(adapting=True), _two_loops(adapting=False)
    assert with_tier["servers"] == pytest.approx(without["servers"], abs=1e-6)
    assert np.corrcoef(with_tier["servers"], with_tier["wrong"])[0, 1] > 0.8  # each makes up for its own forecast
    assert without["short"] == pytest.approx(0.1 / 6, rel=0.1)
    assert with_tier["short"] == pytest.approx(0.005, rel=0.3)
    assert np.ptp(with_tier["tier"][-10:]) < 0.2  # it has come to rest


def _two_loops(*, adapting: bool) -> dict:
    rng, n, days = np.random.default_rng(11), 200, 40
    wrong, q = rng.uniform(0.6, 1.6, n), np.full(n, 0.9, np.float32)
    own, tier, seen = np.ones(n, np.float32), Factors(), []
    rule, no = HeadroomRule(rate=0.1, target=0.1, low=0.3, high=3.0), np.zeros(n, bool)
    reach = 1.2816 / wrong  # of the forecast's quantile above its median, in true deviates
    moved = []
    for _ in range(days):
        short = 0
        for _half in range(48):
            peak = rng.standard_normal(n).astype(np.float32)
            short += np.count_nonzero(peak > own * tier.headroom * reach)
            own = narrow(own, Window((own * reach).astype(np.float32), peak, no, no), q, rule)
        bins = n * 288
        seen.append(short / bins)
        if adapting:
            tier = adapt(tier, day(short, bins), 0.005, "cpu", RULE)
        moved.append(tier.headroom)
    return {"servers": own, "wrong": wrong, "short": float(np.mean(seen[-8:])), "tier": moved}
