"""Growth that a forecast asked for and nobody used: taken back in steps, before the hold time is over, and not at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foreshape_controller.decide.downgrade import MissRule, Past, held
from long_support import LONG

pytestmark = pytest.mark.unit

RULE = MissRule()
H = 36
"""Three hours."""
HOLD = np.array([H])


def past(wanted, measured, overhead=0.0):
    """One server: wishes of the last bins, of which those of 2 cores and more were made ahead, and demand of these bins."""
    w = np.full((1, H), np.nan)
    w[0, H - len(wanted) :] = wanted
    m = np.full((1, H), 0.2, np.float32)
    m[0, H - len(measured) :] = measured
    return Past(w, w >= 2.0, m, np.array([overhead]))


def wish(ago, amount=4.0, usual=0.25):
    """The usual every bin, and once, so many bins ago, much more."""
    wanted = np.full(H, usual)
    wanted[H - 1 - ago] = amount
    return wanted


def amount(ago, demand=0.2, **rule):
    return held(past(wish(ago), [demand] * (ago + 1)), HOLD, MissRule(**rule)).amount[0]


def test_a_wish_counts_whole_until_its_time_and_the_time_of_late_peaks_are_over():
    assert [amount(ago) for ago in (0, 6, 11, 12, 14)] == [4.0] * 5, "half an hour, half an hour more, and the first step after a quarter"


def test_then_it_is_taken_back_a_quarter_each_quarter_of_an_hour_down_to_what_came():
    assert amount(15) == pytest.approx(0.2 + 0.75 * 3.8)
    assert amount(18) == pytest.approx(0.2 + 0.5 * 3.8)
    assert amount(21) == pytest.approx(0.2 + 0.25 * 3.8)
    assert amount(24) == pytest.approx(0.25), "two hours after it was made: the usual"


def test_what_came_true_counts_for_the_whole_hold_time():
    assert amount(24, demand=3.0) == 4.0, "3.0 of 4.0"
    assert amount(24, demand=2.5) == 4.0, "more than 60 % of it"
    assert amount(24, demand=2.0) == pytest.approx(2.0), "less: what came stays"


def test_a_peak_that_came_late_came():
    late = [0.2] * 11 + [3.5] + [0.2] * 13
    assert held(past(wish(24), late), HOLD, RULE).amount[0] == 4.0, "55 minutes after the wish"
    too_late = [0.2] * 13 + [3.5] + [0.2] * 11
    assert held(past(wish(24), too_late), HOLD, RULE).amount[0] == pytest.approx(0.25)


def test_only_wishes_that_were_made_ahead_are_doubted():
    told = held(past(wish(24, amount=1.9), [0.2] * 25), HOLD, RULE)
    assert told.amount[0] == 1.9


def test_what_is_not_known_is_not_missed():
    gap = [0.2] * 5 + [np.nan] + [0.2] * 19
    assert held(past(wish(24), gap), HOLD, RULE).amount[0] == 4.0


def test_the_kernel_s_own_memory_is_no_demand_that_came():
    told = held(past(wish(24, amount=4.0, usual=1.2), [0.2] * 25, overhead=1.0), HOLD, RULE)
    assert told.amount[0] == pytest.approx(1.2), "0.2 and 1.0 beside it"
    assert (told.missed[0], told.came[0]) == (4.0, pytest.approx(1.2))


def test_a_hold_time_that_is_shorter_than_the_time_of_a_wish_is_not_cut():
    told = held(past(wish(10), [0.2] * 11), np.array([12]), RULE)
    assert told.amount[0] == told.whole[0] == 4.0
    assert np.isnan(held(past([4.0], [0.2]), np.array([1]), RULE).missed[0])


def test_a_short_history_judges_nobody():
    few = Past(np.full((2, 5), 3.0), np.ones((2, 5), bool), np.full((2, 5), 0.1, np.float32), np.zeros(2))
    told = held(few, np.array([36, 36]), RULE)
    assert told.amount.tolist() == [3.0, 3.0]
    assert np.isnan(told.missed).all()


amounts = st.floats(0, 100, width=32)


@st.composite
def pasts(draw):
    wanted = draw(arrays.arrays(np.float64, (2, 30), elements=st.one_of(st.floats(0, 100), st.just(np.nan))))
    measured = draw(arrays.arrays(np.float32, (2, 30), elements=st.one_of(amounts, st.just(np.float32(np.nan)))))
    ahead = draw(arrays.arrays(bool, (2, 30)))
    return Past(wanted, ahead, measured, draw(arrays.arrays(np.float64, 2, elements=st.floats(0, 10))))


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(pasts(), st.integers(1, 40))
def test_never_more_than_the_whole_hold_time_and_never_less_than_what_came(told, bins):
    hold = np.array([bins, bins])
    found = held(told, hold, RULE)
    whole = np.nan_to_num(found.whole)
    assert (np.nan_to_num(found.amount) <= whole + 1e-9).all()
    fading = np.isfinite(found.missed)
    assert (found.amount[fading] >= found.came[fading] - 1e-9).all()
    young = np.fmax.reduce(told.wanted[:, max(0, 30 - min(bins, RULE.least)) :], axis=1, initial=np.nan)
    assert (np.nan_to_num(found.amount) >= np.nan_to_num(young) - 1e-9).all(), "nothing is doubted within an hour"


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(pasts(), st.floats(0, 50))
def test_more_demand_never_takes_back_more(told, more):
    hold = np.array([30, 30])
    risen = Past(told.wanted, told.ahead, told.measured + np.float32(more), told.overhead)
    before, after = (np.nan_to_num(held(p, hold, RULE).amount) for p in (told, risen))
    assert (after >= before - 1e-4).all()


@settings(max_examples=min(LONG, 1000), deadline=None)
@given(pasts())
def test_nobody_s_wishes_matter_to_another(told):
    both = held(told, np.array([30, 30]), RULE).amount
    for i in (0, 1):
        one = Past(told.wanted[i : i + 1], told.ahead[i : i + 1], told.measured[i : i + 1], told.overhead[i : i + 1])
        assert np.array_equal(held(one, np.array([30]), RULE).amount, both[i : i + 1], equal_nan=True)
