"""The peak that a server is sized by: its tier's quantile, its headroom, and as much of the future as a change takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import HOUR, NOW
from foreshape_controller.decide.peak import at_quantile, no_peaks, peaks
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS, Forecast

pytestmark = pytest.mark.unit

MINUTE = 60.0


def forecast(peak=1.0, later=(), n=1, step_s=300):
    """A fan from 0.5 to 1.5 times the peak; ``later``: medians of the half-hours after the next one."""
    shape = np.linspace(0.5, 1.5, len(LEVELS))  # at the median: 1
    half_hours = np.zeros((n, HALF_HOURS, len(LEVELS)), np.float32)
    for k, amount in enumerate(later, start=1):
        half_hours[:, k] = amount * shape
    fan = np.tile(peak * shape, (n, 1)).astype(np.float32)
    return Forecast(
        resource="cpu",
        series=tuple(f"vm{i + 1}" for i in range(n)),
        origin=int(NOW),
        steps=np.repeat(fan[:, None], 6, axis=1),
        half_hours=half_hours,
        peak30m=fan,
        peak24h=fan,
        source=("baseline",) * n,
        reason=("own history",) * n,
        age_s=np.full(n, 72 * HOUR),
        step_s=step_s,
    )


def looked(found, until=0.0, quantile=0.95, headroom=1.0, rows=(0,), now=NOW):
    at = np.array(rows)
    same = np.ones(len(at))
    return peaks(found, at, quantile * same, headroom * same, now + until * same, now)


def test_a_quantile_between_two_levels_lies_between_their_amounts():
    fan = np.array([np.linspace(0.0, 1.2, 13)])
    assert at_quantile(fan, np.array([0.925])) == pytest.approx([1.05]), "half way from the 90 % of 1.0 to the 95 % of 1.1"
    assert at_quantile(fan, np.array([0.999])) == pytest.approx([1.2]), "beyond the last level there is nothing to read"


@given(st.lists(st.floats(0, 100), min_size=13, max_size=13).map(sorted), st.floats(0.01, 0.99))
def test_it_reads_a_fan_as_numpy_does(fan, quantile):
    assert at_quantile(np.array([fan]), np.array([quantile]))[0] == pytest.approx(np.interp(quantile, LEVELS, fan))


def test_headroom_stretches_what_lies_above_the_median():
    usual, doubled = looked(forecast()), looked(forecast(), headroom=2.0)
    assert usual.median.tolist() == [1.0]
    assert doubled.wanted - 1.0 == pytest.approx(2 * (usual.wanted - 1.0))
    assert doubled.headroom.tolist() == [2.0]


def test_a_change_that_is_there_within_the_half_hour_asks_for_no_more():
    found = looked(forecast(1.0, later=[9.0]), until=30 * MINUTE)
    assert (found.median.tolist(), found.half_hours.tolist()) == ([1.0], [0.0])


def test_a_rise_after_the_half_hour_counts_when_the_change_takes_that_long():
    """A lever that needs 40 minutes has to be pulled now for what comes in the second half-hour."""
    found = looked(forecast(1.0, later=[3.0, 9.0]), until=40 * MINUTE)
    assert (found.median.tolist(), found.half_hours.tolist()) == ([3.0], [1.0])
    assert found.wanted == pytest.approx(3.0 * (1 + 5 / 12)), "95 % is the twelfth of thirteen levels, five twelfths above the median"
    assert looked(forecast(1.0, later=[3.0, 9.0]), until=61 * MINUTE).median.tolist() == [9.0]


def test_an_old_forecast_is_read_further_on():
    """Made 25 minutes ago, its first half-hour ends in 5: a change that takes 6 minutes meets the second."""
    found = looked(forecast(1.0, later=[3.0]), until=6 * MINUTE, now=NOW + 25 * MINUTE)
    assert (found.median.tolist(), found.made_s.tolist()) == ([3.0], [25 * MINUTE])


def test_a_lower_half_hour_later_changes_nothing():
    found = looked(forecast(5.0, later=[1.0, 1.0]), until=80 * MINUTE)
    assert (found.median.tolist(), found.half_hours.tolist()) == ([5.0], [2.0])


def test_beyond_the_day_there_is_no_more_to_take():
    assert looked(forecast(1.0), until=90 * HOUR).half_hours.tolist() == [HALF_HOURS - 1]


def test_on_a_compressed_grid_a_half_hour_is_six_bins():
    assert looked(forecast(1.0, later=[3.0], step_s=10), until=61.0).median.tolist() == [3.0]


def test_who_has_no_row_has_no_peak_and_the_others_have_theirs():
    found = looked(forecast(n=2), rows=(1, -1))
    assert found.there.tolist() == [True, False]
    assert np.isnan(found.wanted).tolist() == [False, True]
    assert looked(forecast(n=0), rows=(-1,)).there.tolist() == [False]
    assert no_peaks(2).there.tolist() == [False, False]
