"""What a net is told of a series: in its own units, without the future, gaps as gaps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshape_controller.forecast import features
from foreshape_controller.forecast.features import CALENDAR, NEAR, WEEK, compute, cut
from foreshape_controller.forecast.quantiles import quantiles
from foreshape_controller.model.forecast import LEVELS
from foreshape_controller.model.history import BINS_PER_DAY, History

pytestmark = pytest.mark.unit

START = 1_700_000_100 - 1_700_000_100 % 300
MEDIAN = LEVELS.index(0.5)


def history(mean, *, resource="cpu", step_s=300, sold=4.0):
    mean = np.atleast_2d(np.asarray(mean, np.float32))
    n = len(mean)
    return History(
        resource=resource,
        series=tuple(f"server-{i}" for i in range(n)),
        start=START,
        mean=mean,
        max=mean,
        coverage=np.isfinite(mean).astype(np.float32),
        censored=np.zeros_like(mean),
        entitlement=np.full(n, sold, np.float32),
        first_seen=np.full(n, float(START)),
        step_s=step_s,
    )


def told(h, origin=None):
    return compute(cut(h, h.until if origin is None else origin, slice(None)))


def noise(n=3, bins=WEEK, seed=0):
    return np.random.default_rng(seed).gamma(2.0, 0.3, (n, bins)).astype(np.float32)


def natural(fan, f):
    shape = (-1,) + (1,) * (fan.ndim - 1)
    return fan * f.spread.reshape(shape) + f.middle.reshape(shape)


def test_the_two_day_fan_is_the_two_days_quantiles():
    h = history(noise())
    f = told(h)
    np.testing.assert_allclose(natural(f.levels[:, 2], f), quantiles(h.mean[:, -NEAR:], LEVELS), rtol=1e-4, atol=1e-4)


def test_the_first_expert_is_the_last_value_with_its_past_errors():
    values = noise(1)
    f = told(history(values))
    errors = values[:, -NEAR + 3 :: 2] - values[:, -NEAR:-3:2]
    np.testing.assert_allclose(natural(f.steps[:, 2, 0], f), values[:, -1:] + quantiles(errors, LEVELS), rtol=1e-3, atol=1e-3)


def test_a_job_that_comes_every_hour_is_foretold_by_its_period():
    hour = np.asarray([0.1, 0.1, 2.0, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    f = told(history(np.tile(hour, WEEK // 12)))
    # WEEK is a whole number of hours: the next half-hour is the hour's first six bins
    np.testing.assert_allclose(natural(f.steps[:, :, 2, MEDIAN], f)[0], hour[:6], atol=1e-4)


def test_yesterdays_and_last_weeks_course_are_told():
    values = np.zeros((1, WEEK))
    values[0, -BINS_PER_DAY : -BINS_PER_DAY + 6] = 3.0  # yesterday, in the half-hour that is next
    values[0, 6:12] = 2.0  # a week ago, in the one after it
    f = told(history(values))
    courses = natural(f.courses, f)[0]
    assert courses[0, 0] == pytest.approx(3.0, abs=1e-4)
    assert courses[1, 1] == pytest.approx(2.0, abs=1e-4)
    assert np.abs(courses).sum() == pytest.approx(5.0, abs=1e-3)


def test_nothing_after_the_origin_is_looked_at():
    values = noise(2, WEEK + BINS_PER_DAY)
    origin = START + WEEK * 300
    other = values.copy()
    other[:, WEEK:] = 99.0
    for name, a in vars(told(history(values), origin)).items():
        np.testing.assert_array_equal(a, getattr(told(history(other), origin), name), err_msg=name)


def test_a_gap_is_not_a_zero():
    values = noise(1) + 5.0
    holes = values.copy()
    holes[0, -NEAR::3] = np.nan
    f = told(history(holes))
    known = holes[0, -NEAR:][np.isfinite(holes[0, -NEAR:])]
    assert f.middle[0] == pytest.approx(np.median(known), rel=1e-5)
    assert natural(f.levels, f).min() > 4.9
    assert natural(f.steps, f).min() > values.min() - np.ptp(values)


def test_units_do_not_matter():
    values = noise(2)
    small, large = told(history(values)), told(history(values * 64, sold=4.0 * 64))
    np.testing.assert_allclose(small.steps, large.steps, atol=0.02)
    np.testing.assert_allclose(small.sequence, large.sequence, atol=0.02)


def test_a_row_does_not_depend_on_its_neighbours():
    values = noise(5)
    alone, together = told(history(values[2])), told(history(values))
    for name in vars(alone):
        np.testing.assert_allclose(getattr(alone, name)[0], getattr(together, name)[2], atol=1e-5, err_msg=name)


def test_two_bins_are_not_a_spread_of_nothing():
    values = np.full((1, 2), 0.5)
    f = told(history(values, sold=8.0))
    # usual spread of 8 sold cores at 0.5: 0.25 · 0.5 + 0.05 · 8 + 0.001 = 0.526; two bins of it beside two bins without: / √2
    assert f.spread[0] == pytest.approx(0.526 / np.sqrt(2), rel=1e-3)


def test_age_counts_from_the_first_known_bin():
    values = np.full((3, WEEK), np.nan)
    values[0, -12:] = 1.0
    values[1] = 1.0
    windows = cut(history(values), START + WEEK * 300, slice(None))
    assert windows.age.tolist() == [12, WEEK, 0]
    assert windows.speaks.tolist() == [True, True, False]


def test_on_a_compressed_grid_there_is_no_time_of_day():
    clock = told(history(noise(1))).table[0, -CALENDAR:]
    assert clock[-1] == 1.0
    assert np.hypot(*clock[:2]) == pytest.approx(1.0, abs=1e-5)
    assert not told(history(noise(1), step_s=1)).table[0, -CALENDAR:].any()


def test_a_group_says_that_it_is_one():
    h = history(noise(1))
    f, g = told(h), told(replace(h, series=("host:a",)))
    assert (f.table != g.table).sum() == 1


@settings(max_examples=30, deadline=None)
@given(
    bins=st.sampled_from((0, 1, 2, 11, 12, 100, 575, 576, 577, 2015, 2016, 2100)),
    value=st.sampled_from((0.0, 1e-12, 0.3, 1e6, -1.0, np.inf, np.nan)),
    gaps=st.floats(0, 1),
    resource=st.sampled_from(("cpu", "memory", "disk", "net")),
    seed=st.integers(0, 5),
)
def test_any_history_gives_finite_features(bins, value, gaps, resource, seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 1.0, (2, bins)).astype(np.float32)
    values[0] = value
    values[rng.random(values.shape) < gaps] = np.nan
    f = told(history(values, resource=resource, sold=np.nan if resource in ("disk", "net") else 4.0), START + bins * 300)
    for name, part in vars(f).items():
        assert part.dtype == np.float32, name
        assert np.isfinite(part).all(), name
    assert (f.spread > 0).all()


def test_squash_keeps_order_and_sign():
    values = np.asarray([-1e9, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e9], np.float32)
    squashed = features.squash(values)
    assert (np.diff(squashed) > 0).all()
    assert squashed[3] == 0
    assert features.squash(np.asarray([np.nan, np.inf], np.float32)).tolist() == [0.0, 0.0]
