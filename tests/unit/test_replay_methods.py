"""The methods a forecast has to beat, and the arithmetic they are judged by."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foreshape_controller.errors import TraceError
from foreshape_controller.forecast.fans import Past
from foreshape_controller.model.forecast import LEVELS, Forecast
from foreshape_controller.model.history import History
from foreshape_controller.replay.backtest import Result, before, evaluate, origins, some, strata, summary, thinned
from foreshape_controller.replay.judge import Judge, Sums, by_bin, daily_change, ratio_range
from foreshape_controller.replay.methods import SIMPLE, expand, held, simple_or_baseline, smooth
from foreshape_controller.replay.training import joined
from trace_support import START, history

pytestmark = pytest.mark.unit

DAY = 288
NAN = float("nan")
LEVEL_AT = {level: i for i, level in enumerate(LEVELS)}
EVERYONE = ("baseline", *SIMPLE)


def waves(days: int = 5, n: int = 3, seed: int = 1) -> History:
    """A daily wave between 0 and 2, a little noise, a tenth of the bins missing."""
    rng = np.random.default_rng(seed)
    wave = 1 + np.sin(np.arange(days * DAY) * 2 * np.pi / DAY)
    values = wave * rng.uniform(0.5, 1, (n, 1)) + rng.gamma(2, 0.02, (n, days * DAY))
    values[rng.random(values.shape) < 0.1] = NAN
    return history(values)


def forecast(value: float | np.ndarray, n: int = 1, origin: int = START) -> Forecast:
    """The same fan for everything: [13], or one number at every level."""
    fan = np.broadcast_to(np.asarray(value, np.float32), (13,))

    def part(*shape: int) -> np.ndarray:
        return np.broadcast_to(fan, (n, *shape, 13)).astype(np.float32)

    names = tuple(f"vm{i}" for i in range(n))
    return Forecast("cpu", names, origin, part(6), part(48), part(), part(), ("x",) * n, ("",) * n, np.zeros(n))


# -- what every method owes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYONE)
def test_no_method_sees_anything_at_or_after_the_origin(name: str) -> None:
    h = waves()
    origin = START + 4 * DAY * 300
    other = replace(h, mean=h.mean.copy(), max=h.max.copy())
    other.mean[:, 4 * DAY :] = 1e6
    other.max[:, 4 * DAY :] = 1e6
    method = simple_or_baseline(name)
    a, b = (method.predict(before(x, origin), origin) for x in (h, replace(other, max=other.mean)))
    np.testing.assert_array_equal(by_bin(a), by_bin(b))
    np.testing.assert_array_equal(a.peak24h, b.peak24h)


@settings(max_examples=25)
@given(
    name=st.sampled_from(EVERYONE),
    values=arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 700)), elements=st.sampled_from([0.0, 0.5, 2.0, 100.0, NAN])),
)
def test_whatever_the_past_quantiles_are_there_in_order_and_not_negative(name: str, values: np.ndarray) -> None:
    h = history(values)
    said = simple_or_baseline(name).predict(h, h.until)
    for part in (said.steps, said.half_hours, said.peak30m, said.peak24h):
        assert np.isfinite(part).all()
        assert (part >= 0).all()
        assert (np.diff(part, axis=-1) >= -1e-5).all()


@pytest.mark.parametrize("name", EVERYONE)
def test_without_any_past_anything_up_to_the_entitlement_is_as_likely(name: str) -> None:
    h = before(history([[1.0] * 10], entitlement=9), START)
    said = simple_or_baseline(name).predict(h, START)
    assert said.steps[0, 0, LEVEL_AT[0.5]] == pytest.approx(9 * 0.5 / 0.9)
    assert said.peak24h[0, LEVEL_AT[0.99]] == 9


@pytest.mark.parametrize("name", SIMPLE)
def test_a_series_that_never_changes_is_forecast_as_it_is(name: str) -> None:
    h = history([[3.0] * (4 * DAY)])
    said = SIMPLE[name]().predict(h, h.until)
    np.testing.assert_allclose(by_bin(said), 3, rtol=1e-5)
    np.testing.assert_allclose(said.peak24h, 3, rtol=1e-5)


# -- each method ----------------------------------------------------------------------------------------------------------


def test_window_quantiles_are_those_of_the_window() -> None:
    h = history([[100.0] * 100 + list(range(24))])  # the last two hours: 0 … 23
    said = SIMPLE["window-2h"]().predict(h, h.until)
    assert said.steps[0, 3, LEVEL_AT[0.5]] == pytest.approx(11.5)
    assert said.half_hours[0, 40, LEVEL_AT[0.9]] == pytest.approx(0.9 * 23)


def test_naive_is_the_last_value_with_the_errors_it_made_so_far_ahead() -> None:
    h = history([list(np.arange(400.0))])  # rises by one a bin: h bins ahead it erred by h, always
    said = SIMPLE["naive-residual"]().predict(h, h.until)
    np.testing.assert_allclose(said.steps[0, :, LEVEL_AT[0.5]], 399 + np.arange(1, 7))
    np.testing.assert_allclose(said.peak30m[0], 399 + 6)


def test_naive_holds_the_last_value_over_a_gap() -> None:
    np.testing.assert_array_equal(held(np.array([[NAN, 1, NAN, NAN, 2, NAN]], np.float32)), [[NAN, 1, 1, 1, 2, 2]])


def test_smoothing_moves_the_level_by_alpha_and_not_in_gaps() -> None:
    level = smooth(np.array([[NAN, 10, 20, NAN, 0]], np.float32), np.float32(0.3))
    np.testing.assert_allclose(level, [[NAN, 10, 13, 13, 9.1]], rtol=1e-5)  # 10 + .3·10 = 13; 13 − .3·13 = 9.1


def test_seasonal_methods_know_yesterday_and_level_methods_do_not() -> None:
    wave = np.tile(np.repeat([1.0, 5.0], DAY // 2), 9)[: 8 * DAY + DAY // 2]  # ends at noon, where 5 begins
    h = history([wave])
    for name in ("seasonal-naive", "time-of-day", "holt-winters"):
        said = SIMPLE[name]().predict(h, h.until)
        evening, morning = said.half_hours[0, 12, LEVEL_AT[0.5]], said.half_hours[0, 36, LEVEL_AT[0.5]]
        assert (evening, morning) == (pytest.approx(5, abs=0.5), pytest.approx(1, abs=0.5)), name
    late = SIMPLE["window-2h"]().predict(h, h.until).half_hours[0, 12, LEVEL_AT[0.5]]
    assert late == 1  # the last two hours know of no 5


def test_names_expand_and_unknown_ones_are_refused() -> None:
    assert expand(["ewma", "baseline", "ewma-0.3"]) == ["ewma-0.1", "ewma-0.3", "baseline"]
    assert set(expand(["simple"])) == set(SIMPLE)
    with pytest.raises(TraceError, match="'prophet' is no method: one of baseline"):
        expand(["prophet"])


# -- the arithmetic of the judge --------------------------------------------------------------------------------------------


def test_weighted_quantile_loss_by_hand() -> None:
    sums = Sums(1)
    sums.add(np.array([[2.0, 4.0]], np.float32), np.full((1, 2, 13), 3, np.float32), np.zeros(1, np.float32), None)
    # y = 2: 1 below the fan, loss (1 − q)·1; y = 4: 1 above, loss q·1; together 1 at every level; 2·1 / (2 + 4) = 1/3
    found = sums.figures()
    assert found is not None
    assert found.wql == pytest.approx(1 / 3)
    assert (found.n, found.below_q95, found.cov80) == (2, 0.5, 0)


def test_coverage_counts_what_lies_inside_with_a_little_room() -> None:
    fan = np.arange(13, dtype=np.float32)[None, None, :]  # q01 is 0, q10 is 2, q90 is 10, q99 is 12
    sums = Sums(1)
    y = np.array([[0.0, 2.0, 10.0, 11.5, 13.0, 12.0005]], np.float32)
    sums.add(y, np.repeat(fan, 6, axis=1), np.full(1, 0.001, np.float32), None)
    found = sums.figures()
    assert found is not None
    assert found.cov80 == 2 / 6  # 2 and 10
    assert found.cov98 == 5 / 6  # all but 13: 12.0005 is within the room
    assert found.below_q99 == 5 / 6


def test_a_gap_counts_nowhere_and_figures_are_of_the_series_asked_for() -> None:
    sums = Sums(2)
    y = np.array([[1.0, NAN], [NAN, NAN]], np.float32)
    sums.add(y, np.ones((2, 2, 13), np.float32), np.zeros(2, np.float32), None)
    found = sums.figures()
    assert found is not None
    assert (found.n, found.wql) == (1, 0)
    assert sums.figures(np.array([False, True])) is None


def test_scaled_error_is_the_median_s_beside_a_day_ago_s() -> None:
    days = [[1.0] * DAY + [3.0] * DAY + [1.0] * DAY]  # a day differs from the day before by 2
    h = history(days)
    at = START + 2 * DAY * 300
    np.testing.assert_allclose(daily_change(h, at), 2)
    judge = Judge(h, at)
    judge.add(forecast(1.5, origin=at))  # 0.5 off everywhere
    found = judge.sums["24h"].figures()
    assert found is not None
    assert found.mase == pytest.approx(0.25)
    assert daily_change(history([[1.0] * 3 * DAY]), at)[0] != daily_change(history([[1.0] * 3 * DAY]), at)[0]  # no change, no scale: NaN


def test_a_window_s_peak_needs_nine_tenths_of_its_bins() -> None:
    y = np.full(2 * DAY, 1.0)
    y[DAY + 100] = 7.0
    full = Judge(history([y]), START + DAY * 300)
    full.add(forecast(7.0, origin=START + DAY * 300))
    found = full.sums["peak24h"].figures()
    assert found is not None
    assert (found.n, found.wql) == (1, 0)
    y[DAY : DAY + 30] = NAN  # 258 of 288 are fewer than nine tenths
    holed = Judge(history([y]), START + DAY * 300)
    holed.add(forecast(7.0, origin=START + DAY * 300))
    assert holed.sums["peak24h"].figures() is None


def test_each_bin_of_a_day_gets_its_own_step_or_its_half_hour() -> None:
    said = forecast(0.0)
    steps, halves = said.steps.copy(), said.half_hours.copy()
    steps[0, 5], halves[0, 0], halves[0, 1], halves[0, 47] = 5, 99, 1, 47
    fan = by_bin(replace(said, steps=steps, half_hours=halves))
    assert fan.shape == (1, 288, 13)
    assert (fan[0, 5, 0], fan[0, 6, 0], fan[0, 11, 0], fan[0, 12, 0], fan[0, 287, 0]) == (5, 1, 1, 0, 47)


def test_the_interval_of_a_ratio_holds_the_ratio_and_is_a_point_for_equals() -> None:
    a, b = Sums(20), Sums(20)
    y = np.random.default_rng(1).gamma(2, 1, (20, 30)).astype(np.float32)
    for sums, level in ((a, 1.5), (b, 3.0)):
        sums.add(y, np.full((20, 30, 13), level, np.float32), np.zeros(20, np.float32), None)
    low, high = ratio_range(a, b)
    everyone = np.arange(20)
    assert low < a.wql_of(everyone) / b.wql_of(everyone) < high
    assert ratio_range(a, a) == (1, 1)


# -- the backtest ----------------------------------------------------------------------------------------------------------


def test_origins_are_multiples_of_the_step_between_them_plus_a_phase() -> None:
    assert origins(100_000, 170_000, 21_600) == [108_000, 129_600, 151_200]
    assert origins(100_000, 170_000, 21_600, 3_600) == [111_600, 133_200, 154_800]
    assert origins(108_000, 108_001, 21_600) == [108_000]
    with pytest.raises(TraceError, match="no origin"):
        origins(108_001, 108_300, 21_600)
    with pytest.raises(TraceError, match="multiples of 300 s"):
        origins(0, 10_000, 100)
    assert thinned([1, 2, 3, 4, 5, 6], 3) == [1, 3, 5]


def test_a_cut_history_ends_where_the_origin_is_and_knows_no_later_birth() -> None:
    h = replace(waves(), first_seen=np.array([START, START + 1e6, START + 300.0]))
    cut = before(h, START + 2 * DAY * 300, DAY)
    assert (cut.start, cut.bins, cut.until) == (START + DAY * 300, DAY, START + 2 * DAY * 300)
    np.testing.assert_array_equal(np.isnan(cut.first_seen), [False, True, False])


def test_every_method_is_judged_on_the_same_windows_beside_the_best_simple_one() -> None:
    h = {"cpu": waves()}
    when = origins(START + 3 * DAY * 300, START + 4 * DAY * 300, 6 * 3600)
    results: list[Result] = []
    for name in ("baseline", "naive-residual", "time-of-day"):
        results += evaluate(h, simple_or_baseline(name), when)
    lines = summary(results, ("naive-residual", "time-of-day"))
    day = {line.method: line for line in lines if line.horizon == "24h"}
    assert len({line.figures.n for line in day.values()}) == 1
    best = min(day["naive-residual"].figures.wql, day["time-of-day"].figures.wql)
    for line in day.values():
        assert line.ratio == pytest.approx(line.figures.wql / best)
    assert day["time-of-day"].ratio == 1  # a daily wave
    assert results[0].windows == 3 * len(when)


def test_strata_are_by_the_past_s_high_demand() -> None:
    h = history([[0.1] * DAY, [1.0] * DAY, [3.0] * DAY], entitlement=4)  # 2.5, 25 and 75 % of the entitlement
    found = strata(h, h.until)
    assert {name: int(rows.argmax()) for name, rows in found.items()} == {"idle": 0, "mid": 1, "busy": 2}
    assert some(h, ["vm2"]).series == ("vm2",)


# -- several traces as one -------------------------------------------------------------------------------------------------


def test_clouds_of_different_years_are_laid_over_each_other_by_whole_weeks() -> None:
    week = 7 * 86400
    a, b = history([[1.0] * DAY]), replace(history([[2.0] * DAY]), series=("other",), start=START + 100 * week + 3600)
    both = joined([{"cpu": a}, {"cpu": b}], [None, None])["cpu"]
    assert both.series == ("vm0", "other")
    known = np.isfinite(both.mean)
    first = known.argmax(axis=1)
    assert (both.start + first[0] * 300 - START) % week == 0  # the older cloud's hours and weekdays are what they were
    assert first[1] - first[0] == 12  # an hour apart in the week
    np.testing.assert_array_equal(np.nansum(both.mean, axis=1), [DAY, 2 * DAY])


def test_a_name_that_two_traces_have_gets_its_trace_s_number_and_each_has_its_end() -> None:
    a, b = history([[1.0] * DAY]), history([[2.0] * DAY])
    both = joined([{"cpu": a}, {"cpu": b}], [START + 300 * 100, None])["cpu"]
    assert both.series == ("vm0-1", "vm0-2")
    assert np.isfinite(both.mean).sum(axis=1).tolist() == [100, DAY]
    with pytest.raises(TraceError, match="nothing of it lies before"):
        joined([{"cpu": a}], [START])


def test_what_a_past_holds_is_what_the_methods_get() -> None:
    h = before(waves(), START + 2 * DAY * 300)
    assert Past.before(h, h.until).mean.shape[1] == 2 * DAY
