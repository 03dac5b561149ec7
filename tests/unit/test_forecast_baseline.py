"""The forecast that is always there: what it says of each kind of series, and that nothing odd comes out of anything odd."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import HOUR, NOW, history
from foreshape_controller.forecast.baseline import Baseline
from foreshape_controller.model.forecast import HALF_HOURS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY

pytestmark = pytest.mark.unit

MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.95)
RNG = np.random.default_rng(5)


def noisy(level, bins=3 * BINS_PER_DAY, spread=0.1):
    return np.clip(RNG.normal(level, spread, bins), 0.01, None)


def predict(past, origin=NOW):
    return Baseline().predict(past, int(origin))


def fans(forecast):
    return forecast.steps, forecast.half_hours, forecast.peak30m, forecast.peak24h


def assert_sane(forecast, bound):
    """No NaN, nothing negative or absurd, no crossing levels, longer windows peak higher."""
    for fan in fans(forecast):
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) >= 0).all()
        assert fan.max(initial=0) <= bound
    assert (forecast.peak24h >= forecast.peak30m).all()
    assert (forecast.peak30m >= forecast.steps.max(axis=1)).all()


def test_shapes_and_words():
    found = predict(history([noisy(1.0), noisy(2.0)], names=["a", "b"]))
    assert [f.shape for f in fans(found)] == [(2, 6, 13), (2, HALF_HOURS, 13), (2, 13), (2, 13)]
    assert (found.series, found.resource, found.origin) == (("a", "b"), "cpu", int(NOW))
    assert found.source == ("baseline", "baseline")
    assert found.age_s.tolist() == [72 * HOUR] * 2


def test_a_steady_series_stays_where_it_is():
    found = predict(history([noisy(1.0, spread=0.05)]))
    assert found.steps[0, :, MEDIAN] == pytest.approx([1.0] * 6, abs=0.1)
    assert found.peak30m[0, HIGH] == pytest.approx(1.15, abs=0.1), "the largest of six normal draws, 95 % of the time"


def test_peaks_come_from_the_maxima_not_from_the_means():
    calm = noisy(1.0, spread=0.01)
    bursts = history([calm], peaks=[calm + 2.0])
    assert predict(bursts).peak30m[0, MEDIAN] == pytest.approx(3.0, abs=0.1)
    assert predict(bursts).steps[0, 0, MEDIAN] == pytest.approx(1.0, abs=0.1)


def test_after_a_jump_the_next_half_hour_is_expected_at_the_new_level():
    jump = np.concatenate([noisy(1.0, 850), noisy(3.0, 14)])
    assert predict(history([jump])).steps[0, 0, MEDIAN] > 2.0


def test_a_daily_rise_is_seen_before_it_comes():
    day = np.full(BINS_PER_DAY, 0.5)
    day[:12] = 3.0
    found = predict(history([np.tile(day, 3) + RNG.normal(0, 0.01, 864)]))
    assert found.peak30m[0, MEDIAN] == pytest.approx(3.0, abs=0.2)
    assert found.steps[0, 0, MEDIAN] == pytest.approx(3.0, abs=0.2)


def test_a_daily_burst_that_means_do_not_show_is_seen_as_well():
    burst = np.full(BINS_PER_DAY, 0.5)
    burst[:6] = 3.0
    found = predict(history([noisy(0.4, spread=0.01)], peaks=[np.tile(burst, 3)]))
    assert found.peak30m[0, MEDIAN] == pytest.approx(3.0, abs=0.2)
    assert found.steps[0, 0, MEDIAN] == pytest.approx(0.4, abs=0.1)
    an_hour_before = predict(history([noisy(0.4, spread=0.01)], peaks=[np.tile(np.roll(burst, 12), 3)]))
    assert an_hour_before.peak30m[0, MEDIAN] == pytest.approx(0.5, abs=0.2)


def test_what_ran_into_its_cap_is_expected_to_want_more():
    flat = np.full(864, 1.0)
    capped = history([flat])
    capped.censored[:] = 1.0
    assert predict(capped).peak30m[0, MEDIAN] == pytest.approx(1.3), "30 % above what was seen"
    assert predict(history([flat])).peak30m[0, MEDIAN] == pytest.approx(1.0)


def test_the_future_is_not_used():
    rows = noisy(1.0)
    past, origin = history([rows]), NOW - 3600
    later = np.where(np.arange(864) >= 864 - 12, 99.0, rows)
    for a, b in zip(fans(predict(past, origin)), fans(predict(history([later]), origin)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_with_little_history_the_fleet_speaks_in_the_size_of_the_entitlement():
    young = np.full(864, np.nan)
    young[-6:] = 0.3
    past = history([noisy(1.0), noisy(1.1), noisy(0.9), young])
    past.entitlement[3] = 8.0
    found = predict(past)
    assert found.source == ("baseline", "baseline", "baseline", "fleet")
    assert "6 bins" in found.reason[3]
    assert 1.2 < found.steps[3, 0, MEDIAN] < 2.2, "the fleet uses a quarter of its entitlement; 6 of 36 bins say 0.3"


def test_the_fleet_that_speaks_for_a_newborn_is_that_of_its_size_where_that_is_large_enough():
    """20 small ones (4) use half of theirs, 20 large ones (16) a tenth: one new of 16 is expected at 1.6; of 64 nobody is known."""
    past = history([*[noisy(2.0, spread=0.02)] * 20, *[noisy(1.6, spread=0.02)] * 20, np.full(864, np.nan), np.full(864, np.nan)])
    past.entitlement[20:40], past.entitlement[40], past.entitlement[41] = 16.0, 16.0, 64.0
    found = predict(past)
    assert found.source[40:] == ("fleet", "fleet")
    assert found.half_hours[40, -1, MEDIAN] == pytest.approx(1.6, abs=0.1)
    assert found.half_hours[40, -1, HIGH] == pytest.approx(1.6, abs=0.2)
    assert found.half_hours[41, -1, HIGH] == pytest.approx(32, abs=2), "all sizes pooled: half use a half of what they were sold"


def test_without_any_data_anything_up_to_the_entitlement_may_come():
    found = predict(history([np.full(864, np.nan)]))
    assert found.source == ("entitlement",)
    assert found.peak30m[0, HIGH] == pytest.approx(4.0)
    assert "4" in found.reason[0]


def test_an_old_last_value_says_nothing_about_the_next_half_hour():
    rows = noisy(1.0)
    rows[-20:-7] = 3.5
    rows[-7:] = np.nan
    assert predict(history([rows])).steps[0, 0, MEDIAN] < 3.0


def test_on_a_compressed_grid_horizons_count_bins():
    rows = noisy(1.0)
    usual, fast = predict(history([rows])), predict(history([rows], step_s=1))
    for a, b in zip(fans(usual), fans(fast), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bins", [0, 1, 2, 5, 6, 7, 23, 24, 25, 29, 36, 287, 288, 289, 294, 577, 600])
def test_every_length_of_history_is_enough_to_answer(bins):
    found = predict(history(np.full((4, bins), 1.0)) if bins else history(np.empty((4, 0))))
    assert_sane(found, 6.0)


odd = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-30, 1.0, 3.0, 1e6])


@settings(max_examples=60)
@given(st.lists(st.lists(odd, min_size=40, max_size=40), min_size=1, max_size=5), st.integers(0, 700), st.sampled_from([0.0, 4.0, np.nan]))
def test_nothing_odd_comes_out_of_anything_odd(rows, steady, entitlement):
    past = history([[1.0] * steady + row for row in rows], entitlement=entitlement)
    past.censored[:, ::3] = np.nan
    assert_sane(predict(past), 1.5 * 1.3 * 1e6 + 10)


@given(st.permutations(range(5)))
@settings(max_examples=10)
def test_the_order_of_series_does_not_matter(order):
    rng = np.random.default_rng(1)
    past = history(rng.gamma(2, 0.5, (5, 700)))
    names = tuple(past.series[i] for i in order)
    shuffled = replace(past, series=names, mean=past.mean[order], max=past.max[order])
    for a, b in zip(fans(predict(past)), fans(predict(shuffled)), strict=True):
        np.testing.assert_allclose(a[order], b, rtol=1e-5)


def test_levels_cover_what_they_promise():
    """On 200 independent gamma series the 95 % quantile of the half-hour's peak is above it about 95 times in 100."""
    rng = np.random.default_rng(11)
    rows = rng.gamma(2, 0.5, (200, 870)).astype(np.float32)
    found = predict(history(rows[:, :864]))
    covered = (rows[:, 864:].max(axis=1) <= found.peak30m[:, HIGH]).mean()
    assert 0.90 <= covered <= 0.99


def test_a_resource_of_which_nothing_was_sold_is_forecast_from_its_own_history():
    """Disk and network have no entitlement (NaN): there is no fleet prior to scale, and the series speak for themselves."""
    rows = 100 + 10 * np.random.default_rng(3).standard_normal((5, 600)).astype(np.float32)
    seen = history(rows, resource="disk", entitlement=float("nan"))
    told = Baseline().predict(seen, seen.until)
    median = LEVELS.index(0.5)
    assert told.steps[..., median] == pytest.approx(100, abs=15)
    assert (told.peak24h[:, median] > 100).all()
