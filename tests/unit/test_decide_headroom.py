"""Room above the forecast, learnt online: bounded, patient with what was not measured, and in the long run right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foreshape_controller.decide.headroom import HeadroomRule, Window, adapt, wanted
from foreshape_controller.decide.peak import at_quantile
from foreshape_controller.model.forecast import LEVELS

pytestmark = pytest.mark.unit

RULE = HeadroomRule(rate=0.5, target=0.02, low=0.5, high=3.0)
Q95 = np.array([0.95], np.float32)
NO, YES = np.array([False]), np.array([True])


def half_hour(wanted: float = 1.0, peak: float = 0.5, censored: np.ndarray = NO, odd: np.ndarray = NO) -> Window:
    return Window(np.array([wanted], np.float32), np.array([peak], np.float32), censored, odd)


def after(factor: float, window: Window, rule: HeadroomRule = RULE, quantile: float = 0.95) -> float:
    return float(adapt(np.array([factor], np.float32), window, np.array([quantile], np.float32), rule)[0])


def test_a_violation_adds_half_a_spread_less_the_target_and_a_quiet_half_hour_takes_a_hundredth():
    assert after(1.0, half_hour(peak=1.2)) == pytest.approx(1.0 + 0.5 * (1 - 0.02))
    assert after(1.0, half_hour(peak=0.9)) == pytest.approx(1.0 - 0.5 * 0.02)


def test_a_peak_that_was_just_what_was_wanted_is_no_violation():
    assert after(1.0, half_hour(peak=1.0)) < 1.0


@pytest.mark.parametrize("window", [half_hour(peak=float("nan")), half_hour(wanted=float("nan"), peak=2.0)])
def test_what_was_not_measured_or_not_asked_for_teaches_nothing(window):
    assert after(1.3, window) == pytest.approx(1.3)


@pytest.mark.parametrize("peak", [0.5, 2.0])
def test_neither_does_a_half_hour_with_an_anomaly(peak):
    assert after(1.3, half_hour(peak=peak, odd=YES)) == pytest.approx(1.3)


def test_what_ran_into_its_cap_wanted_at_least_what_was_seen():
    assert after(1.3, half_hour(peak=0.5, censored=YES)) == pytest.approx(1.3), "below says nothing"
    assert after(1.3, half_hour(peak=2.0, censored=YES)) == pytest.approx(1.3 + 0.5 * 0.98), "above is above"


def test_memory_may_only_widen_unless_it_is_told_that_it_may_narrow():
    assert after(1.0, half_hour(peak=0.1), RULE.of("memory")) == 1.0
    assert after(1.0, half_hour(peak=0.1), HeadroomRule(memory_narrows=True).of("memory")) == pytest.approx(0.99)
    assert after(1.0, half_hour(peak=0.1), RULE.of("cpu")) == pytest.approx(0.99)


def test_a_tier_that_promises_more_has_a_smaller_target():
    """Quantile .99 leaves 1 % open: the target is that, not the option's 2 %."""
    assert after(2.0, half_hour(), quantile=0.99) == pytest.approx(2.0 - 0.5 * 0.01)


def test_what_is_wanted_is_the_median_and_the_factor_times_the_rest():
    fan = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 20]], np.float32)
    assert wanted(fan, Q95, np.array([1.0], np.float32)) == pytest.approx(15)
    assert wanted(fan, Q95, np.array([2.0], np.float32)) == pytest.approx(7 + 2 * (15 - 7))
    assert wanted(fan, Q95, np.array([0.0], np.float32)) == pytest.approx(7)


@given(
    fan=hnp.arrays(np.float32, (3, 13), elements=st.floats(0, 1000, width=32)).map(lambda a: np.sort(a, axis=1)),
    q=st.floats(0.02, 0.98),
)
def test_the_quantile_is_read_as_the_size_rule_reads_it(fan, q):
    """Linear between levels, as ``np.interp`` in decide.peak."""
    expected = [np.interp(q, LEVELS, row.astype(float)) for row in fan]
    assert at_quantile(fan, np.full(3, q, np.float32)) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@st.composite
def windows(draw) -> Window:
    amounts = hnp.arrays(np.float32, 4, elements=st.floats(0, 100, width=32) | st.just(float("nan")))
    flags = hnp.arrays(np.bool_, 4)
    return Window(draw(amounts), draw(amounts), draw(flags), draw(flags))


@given(
    st.lists(windows(), max_size=30),
    st.floats(0.001, 2),
    st.floats(0.0001, 0.2),
    hnp.arrays(np.float32, 4, elements=st.floats(0, 10, width=32)),
)
def test_whatever_happens_the_factor_stays_inside_its_bounds_and_is_a_number(seen, rate, target, factors):
    rule = HeadroomRule(rate=rate, target=target, low=0.5, high=3.0)
    q = np.full(4, 0.95, np.float32)
    for window in seen:
        factors = adapt(factors, window, q, rule)
        assert np.isfinite(factors).all()
        assert ((factors >= rule.low) & (factors <= rule.high)).all()


@given(windows(), hnp.arrays(np.float32, 4, elements=st.floats(0.5, 3, width=32)))
def test_a_larger_peak_never_makes_the_factor_smaller(window, factors):
    q = np.full(4, 0.95, np.float32)
    higher = Window(window.wanted, window.peak + 1, window.censored, window.odd)
    assert (adapt(factors, higher, q, RULE) >= adapt(factors, window, q, RULE)).all()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(0.4, 1.6))
def test_on_stationary_data_violations_come_to_the_target_whatever_the_forecast_got_wrong(seed, wrong):
    """The fan's spread is ``wrong`` times the true one. Peaks are 1 + Exp(.3); over T half-hours inside the bounds the share of
    violations differs from the target by |s_T − s_0| / (η·T): with s in [0, 20], η .05 and T 6000, by at most 20 / 300 = 6.7 points;
    here it has to stay within 1 point."""
    rng = np.random.default_rng(seed)
    rule = HeadroomRule(rate=0.05, target=0.02, low=0.0, high=20.0)
    median, spread = 1.0 + 0.3 * np.log(2), wrong * 0.3 * (np.log(20) - np.log(2))
    factor, violated = np.array([1.0], np.float32), []
    for peak in 1.0 + rng.exponential(0.3, 6000):
        asked = median + float(factor[0]) * spread
        violated.append(peak > asked)
        factor = adapt(factor, half_hour(asked, peak), Q95, rule)
    assert np.mean(violated) == pytest.approx(0.02, abs=0.01)
    assert np.mean(violated) == pytest.approx(0.02 + (float(factor[0]) - 1.0) / (0.05 * 6000), abs=1e-3)
