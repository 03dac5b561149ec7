"""Scores: the arithmetic of the public judge, sums that add up, strata."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide_support import HOUR, NOW, history
from foreshape_controller.forecast import scores
from foreshape_controller.model.forecast import HEADS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY, STEP_S
from foreshape_controller.model.learned import JUDGED, Score
from learned_support import DAY, LEVEL, Knowing, a_day_ago, draws

pytestmark = pytest.mark.unit


def one(forecast, truth, head):
    """The sums of all strata of one head."""
    return sum((s for s in scores.judge(forecast, truth) if s.head == head), Score(resource="cpu", stratum="all", head=head))


def judge_py(y, q, entitlement):
    """What score.py does with one row per value: y [m], q [m, 13]."""
    loss = 0.0
    for k in range(2, 13):
        e = y - q[:, k]
        loss += 2 * np.maximum(LEVELS[k] * e, (LEVELS[k] - 1) * e).sum()
    eps = 1e-4 * entitlement
    inside = {c: ((y >= q[:, a] - eps) & (y <= q[:, b] + eps)).mean() for c, a, b in ((0.8, 2, 10), (0.9, 1, 11), (0.98, 0, 12))}
    return loss / 11 / y.sum(), inside, (y <= q[:, 12] + eps).mean()


def by_hand(head, truth, forecast):
    """Values and their fans, one row each, without any of the code under test."""
    future = truth.mean[:, -BINS_PER_DAY:]
    fan = getattr(forecast, head)
    if head == "steps":
        return future[:, :6].ravel(), fan.reshape(-1, 13)
    if head == "half_hours":
        return future.ravel(), np.repeat(fan, 6, axis=1).reshape(-1, 13)
    width = 6 if head == "peak30m" else BINS_PER_DAY
    return future[:, :width].max(axis=1), fan


@pytest.mark.parametrize("head", HEADS)
def test_the_judge_would_say_the_same(head):
    truth = draws(series=7)
    forecast = Knowing(shift=0.3, stretch=0.8).predict(truth, a_day_ago())
    score = one(forecast, truth, head)
    y, q = by_hand(head, truth, forecast)
    wql, inside, below99 = judge_py(y, q, 25.0)
    assert score.count == len(y)
    assert score.wql == pytest.approx(wql, rel=1e-5)
    assert {c: score.inside(c) for c in (0.8, 0.9, 0.98)} == pytest.approx(inside)
    assert score.under(0.99) == pytest.approx(below99)


def test_wql_of_two_values_by_hand():
    """Levels all at 1; y = 2 and y = 1. Pinball of y = 2 at level q is q, of y = 1 nothing: 2 · mean(q of the judged) / 3."""
    truth = history([[1.0] * 12 + [2.0, 1.0]], until=NOW)
    fan = Knowing().predict(truth, int(NOW - 2 * STEP_S))
    for head in HEADS:
        getattr(fan, head)[:] = 1.0
    score = one(fan, truth, "steps")
    judged = [LEVELS[k] for k in JUDGED]
    assert score.count == 2
    assert score.wql == pytest.approx(2 * np.mean(judged) / 3)
    assert score.under(0.5) == 0.5
    assert score.inside(0.8) == 0.5


def test_mase_is_the_mean_over_windows_of_error_by_the_seasonal_naive_error():
    """Even days 1, odd days 3: "as a day ago" errs by 2. The median says 5 + 0; the truth is 3: |3 − 5| / 2 = 1."""
    days = np.repeat([1.0, 3.0, 1.0, 3.0], BINS_PER_DAY)
    truth = history([days])
    assert one(Knowing().predict(truth, a_day_ago()), truth, "steps").mase == pytest.approx((LEVEL - 3) / 2)


def test_gaps_are_not_scored_and_a_peak_needs_nine_bins_in_ten():
    truth = draws(series=2)
    truth.mean[0, -BINS_PER_DAY : -BINS_PER_DAY + 2] = np.nan
    forecast = Knowing().predict(truth, a_day_ago())
    assert one(forecast, truth, "steps").count == 6 + 4
    assert one(forecast, truth, "peak30m").count == 1, "4 of 6 bins are not enough"
    assert one(forecast, truth, "peak24h").count == 2, "286 of 288 are"


def test_a_future_that_is_not_there_yet_counts_as_far_as_it_is():
    truth = draws(series=3)
    late = int(NOW - 3 * STEP_S)
    forecast = Knowing().predict(truth, late)
    assert one(forecast, truth, "steps").count == 9
    assert one(forecast, truth, "half_hours").count == 9
    assert one(forecast, truth, "peak30m").count == 0


def test_a_silent_row_counts_nothing():
    truth = draws(series=3)
    forecast = Knowing(silent=("vm2",)).predict(truth, a_day_ago())
    assert one(forecast, truth, "steps").windows == 2


def test_a_true_fan_covers_what_it_promises():
    """60 series × 288 values: the standard error of a share is under 0.3 points."""
    truth = draws(series=60)
    score = one(Knowing().predict(truth, a_day_ago()), truth, "half_hours")
    assert [score.inside(c) for c in (0.8, 0.9, 0.98)] == pytest.approx([0.8, 0.9, 0.98], abs=0.015)
    assert score.under(0.95) == pytest.approx(0.95, abs=0.01)


def test_series_are_found_by_name_and_strangers_left_out():
    truth = draws(series=3)
    forecast = Knowing().predict(truth, a_day_ago())
    other = truth.pick([2, 0])
    for head in HEADS:
        alone = sum((s.count for s in scores.judge(forecast.pick([0, 2]), truth) if s.head == head), 0)
        assert one(forecast, other, head).count == alone


def test_strata_by_the_95_percent_quantile_of_the_week_by_age_by_kind():
    """Of an entitlement of 4: under 0.2 idle, over 1.2 busy."""
    rows = np.full((6, 3 * BINS_PER_DAY), 0.5)
    rows[0], rows[1], rows[3] = 0.1, 2.0, 0.1
    rows[3, -30:] = 2.0
    rows[4, :-BINS_PER_DAY] = np.nan
    past = history(rows, names=["a", "b", "c", "d", "e", "host:f"])
    assert scores.stratum(past, int(NOW)).tolist() == ["idle", "busy", "mid", "idle", "young", "group"]
    flow = history(rows, names=["a", "b", "c", "d", "e", "host:f"], resource="net", entitlement=np.nan)
    assert scores.stratum(flow, int(NOW)).tolist() == ["flow"] * 5 + ["group"]


def test_nothing_after_the_origin_changes_a_stratum():
    rows = np.full((1, 4 * BINS_PER_DAY), 0.1)
    rows[0, -BINS_PER_DAY:] = 4.0
    assert scores.stratum(history(rows), a_day_ago()).tolist() == ["idle"]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=7), st.integers(0, 2**16))
@settings(max_examples=30)
def test_sums_add_up_however_series_are_grouped(parts, seed):
    """Scores of pieces added up are the score of the whole, to rounding."""
    rng = np.random.default_rng(seed)
    truth = draws(series=7, days=3, seed=seed)
    truth.mean[rng.random(truth.mean.shape) < 0.1] = np.nan
    forecast = Knowing(shift=float(rng.normal())).predict(truth, a_day_ago())
    groups = np.array([str(parts[i % len(parts)]) for i in range(7)])
    found = scores.marks(forecast, truth)
    pieces = scores.tally(found, groups, "cpu", "net")
    whole = scores.tally(found, np.full(7, "all"), "cpu", "net")
    for w in whole:
        added = sum((p for p in pieces if p.head == w.head), Score(resource="cpu", stratum="all", head=w.head))
        assert (added.count, added.windows, added.below, added.above) == (w.count, w.windows, w.below, w.above)
        assert added.wql == pytest.approx(w.wql)


def test_totals_keep_predictors_and_strata_apart():
    a = Score(resource="cpu", stratum="idle", head="steps", predictor="net", count=1)
    b = Score(resource="cpu", stratum="idle", head="steps", predictor="baseline", count=5)
    assert [(s.predictor, s.count) for s in scores.total([a, b, a])] == [("net", 2), ("baseline", 5)]


def test_on_a_compressed_grid_horizons_count_bins():
    slow, fast = draws(series=3), draws(series=3, step_s=1)
    for s, f in zip(
        scores.judge(Knowing().predict(slow, a_day_ago()), slow),
        scores.judge(Knowing().predict(fast, int(NOW - BINS_PER_DAY)), fast),
        strict=True,
    ):
        assert (s.count, s.pinball) == (f.count, f.pinball)


def test_an_origin_inside_a_bin_looks_from_the_next_one():
    """As forecasts do: the bin that is filling belongs to the past."""
    truth = draws(series=1)
    inside = scores.truth_of(truth, a_day_ago() - 100)
    assert inside.steps[0].tolist() == truth.mean[0, -BINS_PER_DAY : -BINS_PER_DAY + 6].tolist()


def test_young_is_counted_from_the_first_value_not_from_the_first_bin():
    rows = np.full((1, 3 * BINS_PER_DAY), np.nan)
    rows[0, -10:] = 1.0
    past = history(rows)
    assert scores.age_bins(past, int(NOW)).tolist() == [10]
    assert scores.age_bins(past, int(NOW - DAY)).tolist() == [0]
    assert scores.stratum(past, int(NOW - HOUR)).tolist() == ["young"]
