"""No looking ahead: the last half-hour stands for the next, whatever came before it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide_support import NOW, history
from foreshape_controller.forecast.reactive import Reactive
from foreshape_controller.model.forecast import HALF_HOURS, NO_FORECAST

pytestmark = pytest.mark.unit

VALUES = st.lists(st.one_of(st.floats(0, 64, width=32), st.just(float("nan")), st.just(-1.0)), min_size=1, max_size=400)


def predict(past, origin=NOW):
    return Reactive().predict(past, int(origin))


def test_the_peak_is_the_largest_maximum_of_the_last_six_bins_at_every_level():
    peaks = np.array([9.0, 0.1, 0.2, 0.7, 0.2, 0.1, 0.3])  # the 9.0 is the seventh bin back
    found = predict(history([peaks / 2], peaks=[peaks]))
    assert found.peak30m.tolist() == [[pytest.approx(0.7)] * 13]
    assert found.peak24h.tolist() == [[pytest.approx(9.0)] * 13], "the last day saw it"


def test_means_follow_the_means_not_the_maxima():
    found = predict(history([np.full(10, 0.5)], peaks=[np.full(10, 2.0)]))
    assert found.steps.tolist() == [[[0.5] * 13] * 6]
    assert found.half_hours.shape == (1, HALF_HOURS, 13)
    assert np.unique(found.half_hours).tolist() == [0.5]


def test_a_rise_that_came_every_day_is_not_seen_coming():
    day = np.where(np.arange(288) < 12, 1.7, 0.2)
    assert predict(history([np.tile(day, 4)])).peak30m.max() == pytest.approx(0.2), "the fifth day begins with a rise, as did the four"


def test_what_was_measured_after_the_origin_is_not_known():
    past = history([np.array([0.2] * 12 + [5.0] * 6)])
    assert predict(past, NOW - 6 * 300).peak30m.max() == pytest.approx(0.2)


def test_a_silent_server_is_given_its_entitlement():
    found = predict(history([np.array([1.0] * 12 + [np.nan] * 6)], entitlement=4.0))
    assert set(found.peak30m[0].tolist()) == {4.0}
    assert found.reason == ("nothing measured in the last half-hour: entitlement",)


def test_it_says_that_nobody_looked_ahead():
    assert (Reactive.name, predict(history([np.ones(3)])).source) == (NO_FORECAST, (NO_FORECAST,))


@given(VALUES)
def test_nothing_odd_comes_out_of_anything_odd(values):
    found = predict(history([np.array(values)]))
    for fan in (found.steps, found.half_hours, found.peak30m, found.peak24h):
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) == 0).all(), "no range is claimed"
    assert (found.peak24h >= found.peak30m).all()
    assert (found.peak30m >= found.steps.max(axis=1)).all()
