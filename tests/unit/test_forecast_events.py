"""Events on forecasts and off histories, and what is learned of them: the formulas and what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import history
from event_support import HOUR, START, forecast, influence
from foreshape_controller.errors import Invalid
from foreshape_controller.forecast import events
from foreshape_controller.model.event import FACTOR_MOST, Event, check, check_factors, check_scope
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.history import BINS_PER_DAY

pytestmark = pytest.mark.unit

STEP = 300.0
MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)
DAY = (START, BINS_PER_DAY, STEP)
FACTORS = st.floats(0, FACTOR_MOST, width=32)
MEASURED = st.lists(st.tuples(st.floats(0.05, FACTOR_MOST), st.floats(0, 1)), max_size=8)


def everybody(n):
    return lambda scope: np.ones(n, np.float32)


def under(*influences, n=1, grid=DAY, resource="cpu"):
    return events.effect(events.curves(influences, grid), everybody(n), resource, grid[1])


def applied(*influences, of=None):
    told = forecast() if of is None else of
    return events.apply(told, under(*influences, n=len(told.series)), {0: "event 'Black Friday' ×3 declared"})


# -- factors over time ------------------------------------------------------------------------------------------------


def test_a_bin_that_is_covered_by_half_counts_by_half():
    # an hour from 00:02:30: half of the first bin, eleven whole ones, half of the thirteenth
    share = events.covered(influence(START + 150), START + STEP * np.arange(14), STEP)
    assert share == pytest.approx([0.5] + 11 * [1.0] + [0.5, 0.0])


def test_ramps_rise_and_fall_linearly():
    # ten minutes of lead are two bins: their means are 1/4 and 3/4
    share = events.covered(influence(START + 600, lead_s=600.0, tail_s=600.0), START + STEP * np.arange(17), STEP)
    assert share[:3] == pytest.approx([0.25, 0.75, 1.0])
    assert share[13:] == pytest.approx([1.0, 0.75, 0.25, 0.0])


@given(st.floats(-3 * HOUR, 3 * HOUR), st.floats(1, 2 * HOUR), st.floats(0, HOUR), st.floats(0, HOUR))
def test_the_bins_together_hold_the_whole_occurrence(shift, length, lead, tail):
    i = influence(START + shift, length / HOUR, lead_s=lead, tail_s=tail)
    share = events.covered(i, START - 6 * HOUR + STEP * np.arange(160), STEP)
    assert share.sum() * STEP == pytest.approx(length + (lead + tail) / 2, rel=1e-3, abs=1.0)
    assert ((share >= 0) & (share <= 1)).all()


def test_overlapping_events_multiply_and_stay_within_bounds():
    two = under(influence(), influence(factors={"cpu": 4.0}))
    assert two.factor[0, 0] == 12
    assert under(*[influence()] * 3).factor[0, 0] == FACTOR_MOST, "27 is too much to believe"


def test_an_event_without_effect_on_this_resource_touches_no_row():
    assert len(under(influence(), resource="memory").rows) == 0
    assert len(under(influence(START + 2 * 86400)).rows) == 0, "too far ahead"


def test_only_members_of_the_scope_are_touched():
    members = {"project:p1": np.asarray([0, 1, 0], np.float32), "cloud": np.ones(3, np.float32)}
    found = events.effect(events.curves([influence(scope="project:p1")], DAY), members.__getitem__, "cpu", 288)
    assert found.rows.tolist() == [1]


def test_a_group_moves_by_the_share_of_its_servers():
    # servers of 1 and 3 cores; the event is on the second: three quarters of the group, so 1 + 0.75 * (3 - 1) = 2.5
    share = events.group_share(np.asarray([False, True]), np.asarray([1.0, 3.0], np.float32))
    assert share == 0.75
    found = events.effect(events.curves([influence()], DAY), lambda scope: np.asarray([share], np.float32), "cpu", 288)
    assert found.factor[0, 0] == 2.5


def test_what_a_host_needs_for_itself_dilutes_its_servers_events():
    assert events.group_share(np.asarray([True]), np.asarray([1.0], np.float32), whole=4.0) == 0.25


def test_servers_of_unknown_demand_count_alike():
    assert events.group_share(np.asarray([True, False]), np.full(2, np.nan, np.float32)) == 0.5
    assert events.group_share(np.zeros(0, bool), np.zeros(0, np.float32)) == 0.0


# -- onto a forecast --------------------------------------------------------------------------------------------------


def test_an_event_over_the_whole_day_multiplies_everything():
    f, usual = applied(influence(hours=24)), forecast()
    for head in ("steps", "half_hours", "peak30m", "peak24h"):
        assert getattr(f, head) == pytest.approx(3 * getattr(usual, head), rel=1e-5)
    assert f.reason == ("own history; event 'Black Friday' ×3 declared",)


def test_an_event_in_twenty_minutes_raises_the_last_two_steps_and_the_peak():
    f = applied(influence(START + 1200))
    assert f.steps[0, :, MEDIAN] == pytest.approx([0.5] * 4 + [1.5] * 2)
    assert f.peak30m[0] == pytest.approx(3 * forecast().peak30m[0])
    assert f.half_hours[0, 1, MEDIAN] == pytest.approx(1.5)
    assert f.half_hours[0, 3:] == pytest.approx(forecast().half_hours[0, 3:])


def test_a_half_hour_that_is_covered_in_part_is_a_mixture():
    # uniform on 0..1, and on 0..3 for a third of the time: F(x) = 2/3·x + 1/9·x up to 1, then 2/3 + x/9
    f = applied(influence(START + 1200))
    assert f.half_hours[0, 0, MEDIAN] == pytest.approx(0.5 / (7 / 9), rel=0.03)
    assert f.half_hours[0, 0, HIGH] == pytest.approx(9 * (0.95 - 2 / 3), rel=0.03)


def test_an_event_at_night_raises_the_day_s_peak_only_by_what_the_night_comes_to():
    quiet = forecast()
    quiet.half_hours[:, 40:] *= 0.1  # the night's level is a tenth of the day's
    f = applied(influence(START + 20.5 * HOUR), of=quiet)
    assert f.peak24h == pytest.approx(quiet.peak24h), "3 times a tenth is less than the day's peak"
    f = applied(influence(START + 20.5 * HOUR, factors={"cpu": 20.0}), of=quiet)
    assert f.peak24h == pytest.approx(2 * quiet.peak24h), "20 times a tenth is twice the day's"


def test_a_quiet_event_over_the_whole_window_lowers_its_peak_but_a_part_of_it_does_not():
    half = influence(hours=24, factors={"cpu": 0.5})
    assert applied(half).peak24h == pytest.approx(0.5 * forecast().peak24h)
    assert applied(influence(factors={"cpu": 0.5})).peak24h == pytest.approx(forecast().peak24h)


def test_rows_without_an_event_come_back_to_the_bit():
    told = forecast(3)
    members = np.asarray([0, 1, 0], np.float32)
    f = events.apply(told, events.effect(events.curves([influence()], DAY), lambda scope: members, "cpu", 288), {1: "x"})
    for head in ("steps", "half_hours", "peak30m", "peak24h"):
        assert np.array_equal(getattr(f, head)[[0, 2]], getattr(told, head)[[0, 2]])
    assert f.reason == ("own history", "own history; x", "own history")
    assert events.apply(told, under(n=3), {}) is told


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(-HOUR, 26 * HOUR), st.floats(0.01, 26), FACTORS, st.floats(0, 4 * HOUR)), max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_whatever_happens_levels_keep_their_order_and_nothing_is_absurd(told, seed):
    fans = np.sort(np.random.default_rng(seed).lognormal(0, 1, (2, 56, 13)).astype(np.float32), axis=-1)
    usual = forecast(2)
    usual.steps[:], usual.half_hours[:] = fans[:, :6], fans[:, 6:54]
    usual.peak30m[:], usual.peak24h[:] = fans[:, 54], np.maximum(fans[:, 54], fans[:, 55])
    influences = [influence(START + at, hours, factors={"cpu": f}, lead_s=ramp, tail_s=ramp) for at, hours, f, ramp in told]
    f = events.apply(usual, under(*influences, n=2), {})
    for head in ("steps", "half_hours", "peak30m", "peak24h"):
        fan, was = getattr(f, head), getattr(usual, head)
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) >= 0).all()
        assert fan.max() <= FACTOR_MOST * max(was.max(), usual.peak30m.max()) * (1 + 1e-5)
    assert (f.peak24h >= f.peak30m).all()


# -- off a history ----------------------------------------------------------------------------------------------------


def test_past_occurrences_are_divided_out():
    past = history([[1.0, 1.0, 3.0, 3.0, 1.0]], until=START + 5 * STEP)
    i = influence(START + 2 * STEP, 2 * STEP / HOUR)
    neutral = events.neutral(past, under(i, grid=(START, 5, STEP)))
    assert neutral.mean == pytest.approx(np.ones((1, 5)))
    assert neutral.max == pytest.approx(np.ones((1, 5)))
    assert past.mean[0, 2] == 3.0, "what was measured stays as it was"


def test_a_bin_that_was_all_but_silenced_says_nothing():
    past = history([[1.0, 0.0]], until=START + 2 * STEP)
    i = influence(START + STEP, STEP / HOUR, factors={"cpu": 0.0})
    neutral = events.neutral(past, under(i, grid=(START, 2, STEP)))
    assert np.isnan(neutral.mean[0, 1])
    assert neutral.coverage[0].tolist() == [1.0, 0.0]


@given(st.floats(0.1, FACTOR_MOST), st.floats(0.01, 100))
def test_dividing_and_multiplying_by_one_factor_gives_what_was_measured(factor, level):
    past = history([[level, np.nan, level]], until=START + 3 * STEP)
    found = under(influence(factors={"cpu": factor}), grid=(START, 3, STEP))
    back = events.neutral(past, found).mean[0] * (found.factor[0] if len(found.rows) else 1)
    assert back[[0, 2]] == pytest.approx([level, level], rel=1e-4)
    assert np.isnan(back[1]), "a gap stays a gap"


# -- learning ---------------------------------------------------------------------------------------------------------


def measure(observed, expected, coverage=None, share=None):
    o, e = np.atleast_2d(np.asarray(observed, np.float32)), np.atleast_2d(np.asarray(expected, np.float32))
    c = np.isfinite(o).astype(np.float32) if coverage is None else np.atleast_2d(np.asarray(coverage, np.float32))
    return events.measure(o, e, c, np.ones(o.shape[1], np.float32) if share is None else np.asarray(share, np.float32))


def test_the_measured_factor_is_the_median_ratio_of_what_was_wanted_to_what_was_expected():
    assert measure([2, 2, 40, 2], [1, 1, 1, 1]) == (2.0, 1.0), "one odd bin does not count"
    # two servers: (3 + 3) / (1 + 2) = 2
    assert measure([[3, 3], [3, 3]], [[1, 1], [2, 2]]) == (2.0, 1.0)


def test_bins_that_are_covered_by_a_part_are_scaled_and_by_little_are_left_out():
    # three quarters of a bin under a factor of 3 give 1 + 0.75 * 2 = 2.5
    assert measure([2.5, 1.2], [1, 1], share=[0.75, 0.1]) == (pytest.approx(3.0), 1.0)


def test_nothing_is_learned_from_nothing():
    assert measure([np.nan, np.nan], [1, 1]) == (1.0, 0.0)
    assert measure([1, 1], [np.nan, np.nan]) == (1.0, 0.0)
    assert measure([1, 1], [0, 0]) == (1.0, 0.0), "no ratio to nothing"
    assert measure(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))) == (1.0, 0.0)


@given(st.floats(0.1, 15), st.lists(st.booleans(), min_size=4, max_size=30))
def test_gaps_lower_the_weight_and_not_the_factor(factor, there):
    observed = np.where(there, factor, np.nan)
    found, weight = measure(observed, np.ones(len(there)))
    assert weight == pytest.approx(np.mean(there), abs=1e-6)
    assert found == pytest.approx(factor if any(there) else 1.0, rel=1e-4)


def test_a_cap_does_not_teach_that_an_event_is_small():
    # expected 1, promised 3: where demand ran into a cap at 2, it was 3 at least; where it did not, 2 was all of it
    seen = events.uncapped(np.float32([2.0, 2.0, 4.0, np.nan]), np.float32([1.0, 0.0, 1.0, 0.0]), np.float32([3.0] * 4))
    assert seen[:3].tolist() == [3.0, 2.0, 4.0]
    assert np.isnan(seen[3])


def test_one_whole_occurrence_outweighs_what_was_declared_four_to_one():
    # ln f = (0.25 ln 3 + ln 2) / 1.25
    assert events.in_force(3.0, [(2.0, 1.0)]) == pytest.approx(math.exp((0.25 * math.log(3) + math.log(2)) / 1.25))
    assert events.in_force(3.0, []) == 3.0
    assert events.in_force(3.0, [(2.0, 0.0)]) == 3.0, "nothing was seen of it"


@given(FACTORS, MEASURED)
def test_the_factor_in_force_lies_between_the_declared_and_the_measured(declared, told):
    seen = [f for f, w in told if w > 0]
    f = events.in_force(declared, told)
    assert min([declared, *seen]) - 1e-6 <= f <= max([declared, *seen, events.LEAST]) + 1e-6


@given(FACTORS, MEASURED, st.randoms(use_true_random=False))
def test_the_order_of_occurrences_does_not_matter(declared, told, random):
    mixed = list(told)
    random.shuffle(mixed)
    assert events.in_force(declared, mixed) == pytest.approx(events.in_force(declared, told), rel=1e-9)


@given(st.floats(0.1, FACTOR_MOST), st.floats(0.1, FACTOR_MOST), st.integers(1, 50))
def test_with_more_occurrences_it_goes_to_what_was_measured(declared, measured, times):
    def far(n):
        return abs(math.log(events.in_force(declared, [(measured, 1.0)] * n) / measured))

    assert far(times + 1) <= far(times) + 1e-9
    assert far(times) == pytest.approx(abs(math.log(declared / measured)) * 0.25 / (0.25 + times), abs=1e-6)


def test_a_small_effect_on_what_nobody_spoke_of_is_taken_for_chance():
    assert events.expected(None, [(1.08, 1.0)]) == 1.0
    assert events.expected(None, [(1.8, 1.0)]) == pytest.approx(1.8**0.8)
    assert events.expected(1.05, []) == 1.05, "what was declared counts"


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", "planet:x", "project:", "server: ", "cloud:x", "zone", "server:" + "x" * 400, "project:a\x1b[0m"])
def test_a_scope_that_is_none_is_refused(scope):
    with pytest.raises(Invalid, match="scope"):
        check_scope(scope)


@pytest.mark.parametrize("factors", [{"cpu": -1.0}, {"cpu": math.nan}, {"cpu": math.inf}, {"memory": 20.5}, {"gpu": 2.0}])
def test_a_factor_that_is_none_is_refused(factors):
    with pytest.raises(Invalid, match="factors"):
        check_factors(factors)


def test_an_event_that_makes_no_sense_is_refused_by_field():
    words = {"id": "e", "name": "n", "scope": "cloud", "factors": {}, "start": 1.0, "end": 2.0, "time_zone": "UTC", "calendar": ""}
    assert check(Event(**words))
    for odd, field in [({"end": 1.0}, "end"), ({"name": " "}, "name"), ({"name": "a\nb"}, "name"), ({"note": "x" * 3000}, "note")]:
        with pytest.raises(Invalid, match=field):
            check(Event(**words | odd))
    for ramp in ("lead_s", "tail_s"):
        for value in (-1.0, math.nan, 1e9):
            with pytest.raises(Invalid, match=ramp):
                check(Event(**words | {ramp: value}))
